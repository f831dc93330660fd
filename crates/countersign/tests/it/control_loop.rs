//! The control loop when something around it does not answer: a door, or the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign::roles::control_loop::{self, ControlLoopParts, Controller};
use countersign::roles::hub::Hub;
use countersign::roles::local_door::LocalDoor;
use countersign::system::{SystemClock, SystemIds};
use feed::{ConfigSource, Source};
use model::changes::{SessionChange, SessionSnapshot};
use model::ids::Digest32;
use model::seams::{Cause, CutReport, Scope};
use model::{BoxFuture, Clock, LiveStreams, SessionControl, SessionId, UserId};
use pdp_administrator::{Administrator, SessionTable};
use pki::{KeyRing, SigningKey};
use store::{SessionStore, StoreError};
use testkit::FakeRecorder;
use uuid::Uuid;

use crate::harness::soon;

/// A door that hears everything and answers nothing.
#[derive(Default)]
struct SilentDoor {
    beats: AtomicUsize,
}

impl LiveStreams for SilentDoor {
    fn reevaluate(&self, _: Scope, _: Cause) -> BoxFuture<'_, CutReport> {
        Box::pin(std::future::pending())
    }

    fn heartbeat(&self) {
        self.beats.fetch_add(1, Ordering::SeqCst);
    }
}

/// A store that keeps, or never answers.
#[derive(Default)]
struct HangingStore {
    hangs: AtomicBool,
    goes_on: tokio::sync::Notify,
}

impl SessionStore for HangingStore {
    fn keep_sessions(&self, _: Vec<SessionChange>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            if self.hangs.load(Ordering::SeqCst) {
                self.goes_on.notified().await;
            }
            Ok(())
        })
    }

    fn sessions(&self) -> BoxFuture<'_, Result<SessionSnapshot, StoreError>> {
        Box::pin(std::future::ready(Ok(SessionSnapshot::default())))
    }
}

fn started() -> (Arc<Controller>, Arc<SilentDoor>, Arc<HangingStore>) {
    let (door, store) = (Arc::<SilentDoor>::default(), Arc::<HangingStore>::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let ring = KeyRing::new(SigningKey::generate("receipt").unwrap(), clock.now());
    let terms = feed::Terms { time_zone: "UTC".to_owned(), fresh_secs: Vec::new() };
    let config = Arc::new(ConfigSource { number: 0, files: Vec::new(), terms, policy_hash: Digest32([0; 32]) });
    let source = Source::new(Uuid::nil(), config, Arc::default());
    let (known, table) = (source.known().clone(), Arc::new(SessionTable::new()));
    let (hub, news) = Hub::new(source);
    let streams = door.clone() as Arc<dyn LiveStreams>;
    hub.add_local(LocalDoor::new("far", (Uuid::nil(), known), Arc::clone(&table), streams, None, hub.news()));
    let (controller, _task) = control_loop::start(ControlLoopParts {
        administrator: Administrator::new(),
        restored: Vec::new(),
        table,
        store: store.clone(),
        hub,
        news,
        recorder: Arc::new(FakeRecorder::default()),
        receipt_keys: Arc::new(ArcSwap::from_pointee(ring)),
        issuer: "https://localhost".to_owned(),
        clock,
        ids: Arc::new(SystemIds),
    });
    (controller, door, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_does_not_answer_is_named_with_the_time_it_fails_closed() {
    let (controller, _door, _store) = started();
    let revocation = soon(controller.reevaluate(Scope::Everything, Cause::ConfigApplied)).await.unwrap();
    assert!(revocation.reports.is_empty() && revocation.receipts.is_empty(), "nobody proved anything: {revocation:?}");
    let [(name, fails_closed_at)] = revocation.unreachable.as_slice() else { panic!("{revocation:?}") };
    assert_eq!(name, "far");
    assert_eq!(fails_closed_at.since(revocation.accepted).as_secs(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_loop_that_hangs_tells_no_door_that_it_lives_and_goes_on_by_itself() {
    let (controller, door, store) = started();
    let beats = || door.beats.load(Ordering::SeqCst);
    soon(async {
        while beats() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    store.hangs.store(true, Ordering::SeqCst);
    let session =
        testkit::session(SessionId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)), SystemClock::default().now());
    let opening = tokio::spawn(async move { controller.open(session).await });
    tokio::time::sleep(Duration::from_millis(600)).await;
    let before = beats();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(beats(), before, "a loop that waits for the store is not alive");
    store.hangs.store(false, Ordering::SeqCst);
    store.goes_on.notify_one();
    soon(opening).await.unwrap().unwrap();
    soon(async {
        while beats() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
