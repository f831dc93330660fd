//! Withdrawing what was allowed (GW-55, GW-57, GW-58; ATK-45, ATK-46).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use model::record::{AuditRecord, EndCause, RecordType};
use model::seams::{Cause, CutReport, Scope};
use model::{Action, AppName, Decision, Effect, GroupId, LiveStreams, Reason, SessionId, UserId, UserState};
use pep_gateway::streams::{PROGRESS_INTERVAL, STREAM_TICK};
use pep_gateway::{Gateway, Outcome, Permit};
use testkit::FakePdp;
use tokio::task::JoinHandle;

use super::world::{ALICE, BOB, CAROL, World, apps, changed, connection, directory, judge, raw, route, rules};

/// A door that relays until it is cut, then says that its last byte is through.
fn relay(permit: Box<Permit>) -> JoinHandle<()> {
    tokio::spawn(async move {
        permit.stream().cut().await;
        drop(permit);
    })
}

async fn open(world: &World, user: UserId, host: &str) -> (SessionId, JoinHandle<()>) {
    let (id, cookie) = world.sign_in(user, host);
    let permit = world.permitted(&format!("GET /live {host}:8443\nCookie: {cookie}")).await;
    permit.stream().count_out(10);
    (id, relay(permit))
}

async fn withdraw(world: &World, scope: Scope, cause: Cause) -> CutReport {
    world.gateway.streams().reevaluate(scope, cause).await
}

fn people(report: &CutReport) -> Vec<String> {
    report.streams.iter().map(|stream| stream.principal.to_string()).collect()
}

#[tokio::test]
async fn atk_45_a_revoked_session_loses_its_streams_and_nobody_else_does() {
    let world = World::new();
    let (alice, alices) = open(&world, ALICE, "wiki.localhost").await;
    let (_, carols) = open(&world, CAROL, "wiki.localhost").await;
    world.sessions.revoke(alice);
    let report = withdraw(&world, Scope::Session(alice), Cause::SessionRevoked).await;
    assert_eq!(people(&report), [ALICE.to_string()]);
    assert_eq!(report.examined, 1);
    let cut = &report.streams[0];
    assert_eq!((cut.protocol, cut.app.as_str(), cut.bytes_out), ("http1", "wiki", 10));
    alices.await.unwrap();
    assert!(!carols.is_finished());
    assert_eq!(world.gateway.streams().len(), 1);
    world.gateway.finish_records().await;
    let ends = world.recorder.of_type(RecordType::AccessCompletion);
    assert_eq!(ends.iter().map(|end| end.completion.end_cause).collect::<Vec<_>>(), [Some(EndCause::Revoked)]);
    carols.abort();
}

#[tokio::test]
async fn atk_45_every_stream_of_a_disabled_person_dies() {
    let world = World::new();
    let mut tasks = Vec::new();
    for host in ["wiki.localhost", "payroll.localhost", "wiki.localhost"] {
        tasks.push(open(&world, ALICE, host).await.1);
    }
    let (_, carols) = open(&world, CAROL, "payroll.localhost").await;
    world.publish(changed(ALICE, |user| user.state = UserState::Disabled), |directory| rules(directory.clone()));
    let report = withdraw(&world, Scope::User(ALICE), Cause::UserDisabled).await;
    assert_eq!(people(&report), vec![ALICE.to_string(); 3]);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(!carols.is_finished());
    carols.abort();
}

#[tokio::test]
async fn atk_46_leaving_a_group_cuts_what_the_group_allowed() {
    let world = World::new();
    let (_, wiki) = open(&world, ALICE, "wiki.localhost").await;
    let (_, payroll) = open(&world, ALICE, "payroll.localhost").await;
    let (_, carols) = open(&world, CAROL, "wiki.localhost").await;
    let left = changed(ALICE, |user| {
        user.direct_groups.remove(&GroupId::new("engineering"));
    });
    world.publish(left, |directory| rules(directory.clone()));
    let report = withdraw(&world, Scope::Group(GroupId::new("engineering")), Cause::FactsChanged).await;
    assert_eq!(report.streams.iter().map(|stream| stream.app.as_str()).collect::<Vec<_>>(), ["wiki"]);
    wiki.await.unwrap();
    assert!(!payroll.is_finished() && !carols.is_finished());
    payroll.abort();
    carols.abort();
}

#[tokio::test]
async fn atk_46_a_policy_edit_cuts_what_it_no_longer_allows() {
    let world = World::new();
    let (_, wiki) = open(&world, ALICE, "wiki.localhost").await;
    let (_, payroll) = open(&world, ALICE, "payroll.localhost").await;
    world.publish(directory(), |directory| {
        let directory = directory.clone();
        FakePdp::new(move |question, now| match question.resource.app.as_str() {
            "payroll" => testkit::decision(Effect::StepUp, Reason::StepUpRequired, now),
            _ => judge(&directory, question, now),
        })
    });
    let report = withdraw(&world, Scope::Apps(vec![AppName::new("payroll")]), Cause::ConfigApplied).await;
    assert_eq!((report.examined, report.streams.len()), (1, 1), "a step-up is no allow");
    payroll.await.unwrap();
    assert!(!wiki.is_finished());
    wiki.abort();
}

#[tokio::test]
async fn atk_46_routes_and_public_paths_that_went_away_take_their_streams_along() {
    let world = World::new();
    let public = relay(world.permitted("GET /favicon.ico wiki.localhost:8443").await);
    let (_, wiki) = open(&world, ALICE, "wiki.localhost").await;
    let (_, payroll) = open(&world, ALICE, "payroll.localhost").await;
    let mut list = apps();
    list[0].public_paths.clear();
    list[1].routes = vec![route("reports", "/reports")];
    let old = world.gateway.snapshot();
    let apps: Arc<[_]> = list.into_iter().map(Arc::new).collect();
    let next = pep_gateway::GatewaySnapshot::new(2, apps, Arc::clone(&old.pdp), Arc::clone(&old.directory));
    world.gateway.publish(next);
    let report = withdraw(&world, Scope::Everything, Cause::ConfigApplied).await;
    assert_eq!((report.examined, report.streams.len()), (3, 2));
    public.await.unwrap();
    payroll.await.unwrap();
    assert!(!wiki.is_finished());
    wiki.abort();
}

#[tokio::test]
async fn atk_46_a_route_that_stands_for_a_stronger_action_now_is_judged_by_it() {
    let world = World::new();
    let (_, payroll) = open(&world, ALICE, "payroll.localhost").await;
    let mut list = apps();
    list[1].routes.iter_mut().for_each(|route| route.action = Some(Action::HttpDelete));
    let old = world.gateway.snapshot();
    let apps: Arc<[_]> = list.into_iter().map(Arc::new).collect();
    let next = pep_gateway::GatewaySnapshot::new(2, apps, Arc::clone(&old.pdp), Arc::clone(&old.directory));
    world.gateway.publish(next);
    let report = withdraw(&world, Scope::Everything, Cause::ConfigApplied).await;
    assert_eq!(report.streams.len(), 1, "deleting asks for a confirmation");
    payroll.await.unwrap();
}

#[tokio::test]
async fn a_panic_while_judging_again_cuts() {
    let world = World::new();
    let (_, wiki) = open(&world, ALICE, "wiki.localhost").await;
    world.publish(directory(), |_| FakePdp::new(|_, _| panic!("a bug in the engine")));
    let report = withdraw(&world, Scope::Everything, Cause::ConfigApplied).await;
    assert_eq!(report.streams.len(), 1);
    wiki.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_confirm_its_end_is_not_reported_as_cut() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let stuck = world.permitted(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}")).await;
    world.sessions.revoke(id);
    let report = withdraw(&world, Scope::Session(id), Cause::SessionRevoked).await;
    assert!(stuck.stream().is_cut());
    assert_eq!((report.examined, report.streams.len()), (1, 0));
}

/// The narrowest race: the withdrawal comes while the request is being judged, or while its record is being written,
/// and sees no stream to cut.
#[tokio::test]
async fn atk_45_a_withdrawal_during_the_decision_is_not_missed() {
    let gateway: Arc<OnceLock<Arc<Gateway>>> = Arc::default();
    let (in_pdp, armed) = (Arc::clone(&gateway), Arc::new(AtomicBool::new(true)));
    let world = World::with(apps(), |people| {
        let people = people.clone();
        FakePdp::new(move |question, now| {
            let decision = judge(&people, question, now);
            let gateway = in_pdp.get().expect("set below");
            if armed.swap(false, Ordering::SeqCst) {
                // The answer is made; before the stream is in the table the facts change and all streams are judged.
                let old = gateway.snapshot();
                let none = Arc::new(FakePdp::refusing());
                let next =
                    pep_gateway::GatewaySnapshot::new(2, Arc::clone(&old.apps), none, Arc::clone(&old.directory));
                gateway.publish(next);
                let report = futures_now(gateway.streams().reevaluate(Scope::Everything, Cause::ConfigApplied));
                assert_eq!(report.examined, 0, "the stream is not there yet");
            }
            decision
        })
    });
    assert!(gateway.set(Arc::clone(&world.gateway)).is_ok());
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let refusal = world.refused(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}")).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (503, Reason::FactsStale));
    assert!(world.gateway.streams().is_empty());
    assert_eq!(world.refused(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}")).await.status().as_u16(), 403);
}

fn futures_now<T>(mut future: model::BoxFuture<'_, T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("nothing to wait for"),
    }
}

/// Appends wait until they are let go, so that a withdrawal can come in between.
struct SlowRecorder(tokio::sync::Notify, std::sync::Mutex<Vec<model::record::AuditRecord>>);

struct SharedRecorder(Arc<SlowRecorder>);

impl model::Recorder for SharedRecorder {
    fn append(
        &self,
        record: model::record::AuditRecord,
        _: model::seams::Durability,
    ) -> model::BoxFuture<'static, Result<model::seams::Recorded, model::seams::RecordError>> {
        let slow = Arc::clone(&self.0);
        slow.1.lock().unwrap().push(record);
        Box::pin(async move {
            slow.0.notified().await;
            Ok(model::seams::Recorded { seq: 0 })
        })
    }
}

#[tokio::test]
async fn atk_45_a_withdrawal_while_the_record_is_written_is_not_missed() {
    let slow = Arc::new(SlowRecorder(tokio::sync::Notify::new(), std::sync::Mutex::default()));
    let world = World::recorded_by(Arc::new(SharedRecorder(Arc::clone(&slow))));
    let (id, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let gateway = Arc::clone(&world.gateway);
    let request = raw(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}"));
    let asking = tokio::spawn(async move {
        match gateway.enforce(request, &connection()).await {
            Outcome::Refuse(refusal) => refusal.reason(),
            _ => Reason::Allow,
        }
    });
    while world.gateway.streams().is_empty() {
        tokio::task::yield_now().await;
    }
    world.sessions.revoke(id);
    let gateway = Arc::clone(&world.gateway);
    let withdrawing =
        tokio::spawn(async move { gateway.streams().reevaluate(Scope::Session(id), Cause::SessionRevoked).await });
    tokio::task::yield_now().await;
    slow.0.notify_one();
    assert_eq!(asking.await.unwrap(), Reason::FactsStale);
    assert_eq!(withdrawing.await.unwrap().streams.len(), 1);
    // The record of the end says what the client got in place of the app.
    tokio::task::yield_now().await;
    let records = slow.1.lock().unwrap();
    let end = &records.last().unwrap().completion;
    assert_eq!((end.status, end.end_cause), (Some(503), Some(model::record::EndCause::Revoked)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_ran_out_is_asked_again_and_cut_when_it_is_no() {
    let expires = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&expires);
    let world = World::with(apps(), |_| {
        FakePdp::new(move |question, now| {
            let is_wiki = question.resource.app.as_str() == "wiki";
            let effect = if is_wiki && flag.load(Ordering::SeqCst) { Effect::Deny } else { Effect::Allow };
            let hold_until = now + Duration::from_secs(60);
            Decision { hold_until, ..testkit::decision(effect, Reason::Allow, now) }
        })
    });
    let (_, wiki) = open(&world, ALICE, "wiki.localhost").await;
    let (_, payroll) = open(&world, BOB, "payroll.localhost").await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let timer = tokio::spawn(Arc::clone(&world.gateway).run_stream_timer(shutdown.clone()));
    expires.store(true, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(59));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.gateway.streams().len(), 2, "the answer still holds");
    world.clock.advance(Duration::from_secs(1));
    wiki.await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!payroll.is_finished(), "still allowed: held on");
    shutdown.cancel();
    timer.await.unwrap();
    payroll.abort();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_runs_out_cuts_without_any_signal() {
    let world = World::new();
    let (_, wiki) = open(&world, ALICE, "wiki.localhost").await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let timer = tokio::spawn(Arc::clone(&world.gateway).run_stream_timer(shutdown.clone()));
    world.clock.advance(model::session::IDLE_DEFAULT);
    wiki.await.unwrap();
    shutdown.cancel();
    timer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_confirm_its_last_byte_is_reported_as_unproven() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let stuck = world.permitted(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}")).await;
    let quick = world.permitted(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}")).await;
    let (stuck_access, quick_access, quick) = (stuck.access_id(), quick.access_id(), relay(quick));
    world.sessions.revoke(id);

    let report = withdraw(&world, Scope::Session(id), Cause::SessionRevoked).await;
    assert_eq!(report.streams.iter().map(|cut| cut.access).collect::<Vec<_>>(), [quick_access]);
    assert_eq!(report.unproven, [stuck_access]);
    quick.await.unwrap();

    // Asked again, the door does not forget that it is still dying.
    let again = withdraw(&world, Scope::Session(id), Cause::SessionRevoked).await;
    assert_eq!((again.streams.len(), again.unproven), (0, vec![stuck_access]));
    drop(stuck);
    let last = withdraw(&world, Scope::Session(id), Cause::SessionRevoked).await;
    assert_eq!((last.examined, last.unproven.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_long_stream_records_its_progress_every_five_minutes() {
    let world = World::with(apps(), |_| {
        FakePdp::new(|_, now| Decision {
            hold_until: now + 10 * PROGRESS_INTERVAL,
            ..testkit::decision(Effect::Allow, Reason::Allow, now)
        })
    });
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let permit = world.permitted(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}")).await;
    let decision = world.last_record();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let timer = tokio::spawn(Arc::clone(&world.gateway).run_stream_timer(shutdown.clone()));
    let pass = async |span: Duration| {
        world.clock.advance(span);
        tokio::time::sleep(span).await;
        tokio::time::sleep(2 * STREAM_TICK).await;
        world.recorder.of_type(RecordType::AccessProgress)
    };
    assert!(pass(PROGRESS_INTERVAL - 4 * STREAM_TICK).await.is_empty(), "too young");
    permit.stream().count_out(7);
    let first = pass(4 * STREAM_TICK).await;
    permit.stream().count_in(3);
    let both = pass(PROGRESS_INTERVAL).await;
    assert_eq!((first.len(), both.len()), (1, 2), "one each");
    let bytes = |record: &AuditRecord| (record.completion.bytes_in, record.completion.bytes_out);
    assert_eq!((bytes(&both[0]), bytes(&both[1])), ((Some(0), Some(7)), (Some(3), Some(7))));
    for progress in &both {
        assert_eq!(progress.access_id, decision.access_id);
        assert_eq!((&progress.trace_id, &progress.what.route), (&decision.trace_id, &decision.what.route));
        assert_eq!((progress.completion.end_cause, progress.completion.status), (None, None), "it has not ended");
    }
    drop(permit);
    assert_eq!(pass(PROGRESS_INTERVAL).await.len(), 2, "what has ended makes no progress");
    world.gateway.finish_records().await;
    let ends = world.recorder.of_type(RecordType::AccessCompletion);
    assert_eq!(ends.iter().map(bytes).collect::<Vec<_>>(), [(Some(3), Some(7))]);
    shutdown.cancel();
    timer.await.unwrap();
}

#[tokio::test]
async fn ten_thousand_streams_are_walked_in_no_time() {
    let world = World::new();
    let (id, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let request = format!("GET /live wiki.localhost:8443\nCookie: {cookie}");
    let mut permits = Vec::with_capacity(10_000);
    for _ in 0..10_000 {
        permits.push(world.permitted(&request).await);
    }
    let (bob, bobs) = (world.sign_in(CAROL, "wiki.localhost"), Instant::now());
    let report = withdraw(&world, Scope::Session(bob.0), Cause::SessionRevoked).await;
    let walk = bobs.elapsed();
    assert_eq!((report.examined, report.streams.len()), (0, 0));
    let started = Instant::now();
    let report = withdraw(&world, Scope::Session(id), Cause::FactsChanged).await;
    println!("10,000 streams: walked in {walk:?}, judged in {:?}", started.elapsed());
    assert_eq!((report.examined, report.streams.len()), (10_000, 0));
    assert!(walk < Duration::from_millis(50), "{walk:?}");
}

#[tokio::test]
async fn atk_46_a_body_held_back_until_its_sender_was_withdrawn_does_nothing() {
    let world = World::new();
    let withdrawn = |what: &'static str| async move {
        let world = World::new();
        let (id, cookie) = world.sign_in(CAROL, "localhost");
        // The head is judged and let in; the last byte of the body is still to come.
        let held = world.ask(&format!("POST /api/v1/users localhost:8443\nCookie: {cookie}")).await;
        let Outcome::Reserved(call) = held else { panic!("an administrator is kept out") };
        let gone = match what {
            "disabled" => changed(CAROL, |user| user.state = UserState::Disabled),
            "left admins" => changed(CAROL, |user| {
                user.direct_groups.clear();
                user.groups = Arc::from([]);
            }),
            _ => {
                world.sessions.revoke(id);
                directory()
            }
        };
        world.publish(gone, |directory| rules(directory.clone()));
        withdraw(&world, Scope::User(CAROL), Cause::UserDisabled).await;
        let response = call.answer(bytes::Bytes::from_static(b"{}")).await;
        assert_eq!(response.status().as_u16(), 403, "{what}");
        assert!(world.reserved.calls().is_empty(), "{what}");
        world.gateway.finish_records().await;
        assert_eq!(world.last_record().completion.end_cause, Some(EndCause::Revoked), "{what}");
    };
    for what in ["disabled", "left admins", "revoked"] {
        withdrawn(what).await;
    }
    // Whoever keeps their right keeps their request, whatever is withdrawn from others meanwhile.
    let (_, cookie) = world.sign_in(CAROL, "localhost");
    let held = world.ask(&format!("POST /api/v1/users localhost:8443\nCookie: {cookie}")).await;
    let Outcome::Reserved(call) = held else { panic!("an administrator is kept out") };
    withdraw(&world, Scope::User(ALICE), Cause::UserDisabled).await;
    assert_eq!(call.answer(bytes::Bytes::new()).await.status().as_u16(), 200);
}
