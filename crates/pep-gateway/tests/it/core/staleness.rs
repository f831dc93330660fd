//! Facts that nobody confirms any more close the door, app by app (GW-47).

use std::time::Duration;

use model::app::MAX_STALENESS_STRICT;
use model::{App, Reason};
use tokio_util::sync::CancellationToken;

use super::world::{ALICE, World, apps, rules};

const WIKI: &str = "wiki.localhost";

fn strict_wiki() -> Vec<App> {
    let strict = |app: App| match app.name.as_str() {
        "wiki" => App { max_staleness: MAX_STALENESS_STRICT, ..app },
        _ => app,
    };
    apps().into_iter().map(strict).collect()
}

#[tokio::test(start_paused = true)]
async fn a_silent_control_loop_closes_apps_after_their_limit_and_they_come_back_by_themselves() {
    let world = World::with(strict_wiki(), |people| rules(std::sync::Arc::clone(people)));
    let (_, wiki) = world.sign_in(ALICE, WIKI);
    let (_, payroll) = world.sign_in(ALICE, "payroll.localhost");
    let to_wiki = format!("GET /live {WIKI}:8443\nCookie: {wiki}");
    let to_payroll = format!("GET /live payroll.localhost:8443\nCookie: {payroll}");
    let door = world.gateway.live_streams();
    let stop = CancellationToken::new();
    let timer = tokio::spawn(std::sync::Arc::clone(&world.gateway).run_stream_timer(stop.clone()));
    let strict = world.permitted(&to_wiki).await;
    let usual = world.permitted(&to_payroll).await;

    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        door.heartbeat();
    }
    assert!(!strict.stream().is_cut(), "told every 250 ms that all is current");

    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert!(strict.stream().is_cut(), "open streams of the strict app are cut");
    assert!(!usual.stream().is_cut(), "others have five minutes");
    let refusal = world.refused(&to_wiki).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::FactsStale));
    let response = refusal.into_response();
    assert!(response.headers().contains_key("retry-after"), "{response:?}");
    assert_eq!(world.refused(&format!("GET /live {WIKI}:8443")).await.reason(), Reason::FactsStale, "also for nobody");
    drop(world.permitted(&to_payroll).await);

    door.heartbeat();
    drop(world.permitted(&to_wiki).await);

    tokio::time::sleep(Duration::from_secs(302)).await;
    assert!(usual.stream().is_cut());
    assert_eq!(world.refused(&to_payroll).await.reason(), Reason::FactsStale);
    stop.cancel();
    timer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_way_in_and_out_stays_open_on_stale_facts() {
    let world = World::with(strict_wiki(), |people| rules(std::sync::Arc::clone(people)));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let outcome = world.ask("GET /login localhost:8443").await;
    assert!(matches!(outcome, pep_gateway::Outcome::Reserved(_)), "sign-in is served");
}
