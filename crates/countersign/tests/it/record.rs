//! The record under stress, seen from the street (AUD-18, AUD-19): what a full or hanging disk and a deleted log do to
//! people at the door, and what is left of it in the record.

use std::time::{Duration, Instant};

use audit::log::faults::Fault;

use crate::harness::{PATIENCE, WIKI, World, request};

/// A disk that says no says it at once; this is for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// The bound on a disk that hangs: room in the queue, then the answer, then the machine.
const AT_LAST: Duration = Duration::from_secs(10);

async fn knock(world: &World) -> (u16, String, Duration) {
    let start = Instant::now();
    let mut wire = world.door.http1().await;
    wire.send(request("GET", WIKI, "/page", "", "Accept: application/json\r\n")).await;
    let answer = tokio::time::timeout(PATIENCE, wire.answer()).await.expect("the door hangs");
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned(), start.elapsed())
}

async fn until_well(world: &World, before: u16) {
    let start = Instant::now();
    while knock(world).await.0 != before {
        assert!(start.elapsed() < PATIENCE, "the door does not come back by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn has_gap(world: &World) -> String {
    let start = Instant::now();
    loop {
        let gaps = world.operator.get_with("/api/v1/audit/records", &[("type", "audit.gap".into())]).await.unwrap();
        if let Some(text) = gaps["records"][0]["change"].as_str() {
            return text.to_owned();
        }
        assert!(start.elapsed() < PATIENCE, "the record does not say what it missed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_at_every_door_and_the_door_comes_back_by_itself() {
    let world = World::open().await;
    let (usual, ..) = knock(&world).await;
    assert_ne!(usual, 503);
    world.server.log().faults().set(Fault::Full);
    for _ in 0..5 {
        let (status, body, took) = knock(&world).await;
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("audit_unavailable"), "{body}");
        assert!(took < AT_ONCE, "{took:?}");
    }
    assert!(world.operator.get("/api/v1/status").await.is_err(), "nobody reads what cannot be recorded either");
    world.server.log().faults().set(Fault::None);
    until_well(&world, usual).await;
    let gap = has_gap(&world).await;
    assert!(gap.contains("no space left on device"), "{gap}");
    let status = world.operator.get("/api/v1/status").await.unwrap();
    assert_eq!(status["audit"]["state"], "well");
    let alerts = status["audit"]["alerts"].as_array().unwrap();
    assert!(alerts.iter().any(|alert| alert["kind"] == "disk_full" && alert["active"] == false), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_disk_hangs_nobody_at_the_door() {
    let world = World::open().await;
    let (usual, ..) = knock(&world).await;
    world.server.log().faults().set(Fault::Hung);
    let (status, body, took) = knock(&world).await;
    assert_eq!(status, 503, "{body}");
    assert!(took < AT_LAST, "{took:?}");
    // Known by now: nobody else waits.
    let (status, _, took) = knock(&world).await;
    assert_eq!(status, 503);
    assert!(took < AT_ONCE, "{took:?}");
    world.server.log().faults().set(Fault::None);
    until_well(&world, usual).await;
    has_gap(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_deleted_under_a_running_server_is_an_alert_and_nothing_is_lost() {
    let world = World::open().await;
    let (usual, ..) = knock(&world).await;
    let before = world.server.log().next_seq();
    let folder = world.audit_folder();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let start = Instant::now();
    loop {
        let alerts = world.operator.get("/api/v1/audit/alerts").await.unwrap();
        let alerts = alerts["alerts"].as_array().unwrap().clone();
        if alerts.iter().any(|alert| alert["kind"] == "file_deleted") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(knock(&world).await.0, usual, "people are served all the while");
    world.server.stop().await;
    let found = audit::verify::verify(&folder).unwrap();
    assert_eq!(found.problems, vec![]);
    assert!(found.records > before, "{} of {before}", found.records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_of_the_real_log_passes_and_is_recorded_while_people_are_served() {
    let world = World::open().await;
    let (usual, ..) = knock(&world).await;
    let body = serde_json::json!({ "live": true });
    let report = world.operator.post("/api/v1/audit/drill", &body).await.unwrap();
    assert_eq!(report["passed"], true, "{report}");
    let outcome = |rung: &str| {
        let rungs = report["rungs"].as_array().unwrap();
        rungs.iter().find(|found| found["rung"] == rung).unwrap()["outcome"].clone()
    };
    assert_eq!(outcome("delete_file"), "passed");
    assert_eq!(outcome("disk_full"), "passed");
    assert_eq!(outcome("sink_hang"), "passed");
    assert_eq!(outcome("corrupt"), "passed");
    assert_eq!(knock(&world).await.0, usual);
    let filters = [("type", "audit.drill".to_owned()), ("what", "report".to_owned())];
    let records = world.operator.get_with("/api/v1/audit/records", &filters).await.unwrap();
    let text = records["records"][0]["change"].as_str().unwrap();
    assert!(text.starts_with("live drill passed: disk_full passed (seen in "), "{text}");
    let folder = world.audit_folder();
    world.server.stop().await;
    assert_eq!(audit::verify::verify(&folder).unwrap().problems, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_by_an_hour_is_recorded_and_an_alert() {
    let world = World::open().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    world.clock.jump(Duration::from_secs(3_600));
    let start = Instant::now();
    loop {
        let found = world.operator.get_with("/api/v1/audit/records", &[("type", "system.clock".into())]).await.unwrap();
        let records = found["records"].as_array().unwrap().clone();
        if records.iter().any(|record| record["change"].as_str().unwrap().contains("the wall clock was set by +3")) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "nobody noticed: {found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let alerts = world.operator.get("/api/v1/audit/alerts").await.unwrap();
    assert!(alerts["alerts"].as_array().unwrap().iter().any(|alert| alert["kind"] == "clock_jump"), "{alerts}");
}
