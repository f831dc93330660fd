//! Cases of [`SessionStore`].

use std::sync::Arc;
use std::time::Duration;

use model::Action;
use model::app::AppName;
use model::changes::{HostToken, SessionChange, SessionSnapshot, Tombstone};
use model::ids::{SessionId, TokenHash, UserId};
use model::seams::Cause;
use model::session::{Epochs, Session, StepUp};
use store::{MAX_CHANGES, SessionStore, StoreError};
use uuid::Uuid;

use super::{at, cases};

cases! { dyn SessionStore;
    an_empty_store_knows_nobody covers "sessions";
    every_column_reads_back_as_written covers "keep_sessions" "sessions";
    an_upsert_replaces_what_may_change_and_nothing_else covers "keep_sessions" "sessions";
    a_tombstone_wins_over_an_upsert_in_either_order covers "keep_sessions" "sessions";
    a_forgotten_session_leaves_nothing covers "keep_sessions" "sessions";
    epochs_never_fall covers "keep_sessions" "sessions";
    a_batch_that_fails_half_way_changes_nothing covers "keep_sessions" "sessions";
    a_batch_too_large_is_refused covers "keep_sessions";
    applying_twice_is_applying_once covers "keep_sessions" "sessions";
}

fn id(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(number))
}

fn session(number: u128) -> Session {
    Session {
        id: id(number),
        user: UserId(Uuid::from_u128(77)),
        idp: "local".into(),
        acr: "phr".into(),
        amr: ["pop", "user", "\"quoted\""].map(str::to_owned).into(),
        is_mfa: true,
        is_phishing_resistant: false,
        is_passkey_synced: true,
        credential: "0123abcd".into(),
        auth_time: at(1),
        created: at(2),
        last_active: at(3),
        idle_limit: Duration::from_nanos(3_600_000_000_001),
        absolute_limit: Duration::from_secs(43_200),
        epochs: Epochs { global: 1, user: 2, session: 3, device: 4 },
        step_ups: vec![
            StepUp { app: AppName::new("wiki"), action: Action::HttpPost, at: at(4), fix: Vec::new() },
            StepUp { app: AppName::new("payroll"), action: Action::HttpDelete, at: at(5), fix: Vec::new() },
        ],
        rounds: Vec::new(),
        src_net: "192.0.2.0/24".into(),
        user_agent: "Mozilla/5.0 ünïcode".into(),
    }
}

fn token(number: u8, owner: u128, valid_until: Option<model::Timestamp>) -> HostToken {
    HostToken { token: TokenHash([number; 32]), session: id(owner), host: "wiki.localhost".into(), valid_until }
}

fn upsert(session: Session, tokens: Vec<HostToken>) -> SessionChange {
    SessionChange::Upsert { session: Arc::new(session), tokens }
}

fn tombstone(number: u128, cause: Cause) -> Tombstone {
    Tombstone { session: id(number), user: Some(UserId(Uuid::from_u128(77))), cause, until: at(43_202) }
}

async fn keep(store: &dyn SessionStore, changes: impl IntoIterator<Item = SessionChange>) {
    store.keep_sessions(changes.into_iter().collect()).await.unwrap();
}

/// The snapshot in a fixed order.
async fn kept(store: &dyn SessionStore) -> SessionSnapshot {
    let mut snapshot = store.sessions().await.unwrap();
    snapshot.sessions.sort_by_key(|session| session.id);
    snapshot.tokens.sort_by_key(|token| token.token);
    snapshot.tombstones.sort_by_key(|tombstone| tombstone.session);
    snapshot.user_epochs.sort_unstable();
    snapshot
}

async fn an_empty_store_knows_nobody(store: &dyn SessionStore) {
    assert_eq!(kept(store).await, SessionSnapshot::default());
}

async fn every_column_reads_back_as_written(store: &dyn SessionStore) {
    let tokens = vec![token(1, 1, Some(at(9))), token(2, 1, None)];
    let unknown = Tombstone { user: None, ..tombstone(9, Cause::SessionRevoked) };
    let tombstones: Vec<Tombstone> = (10..).zip(Cause::ALL).map(|(number, cause)| tombstone(number, *cause)).collect();
    let changes = [
        upsert(session(1), tokens.clone()),
        SessionChange::Tombstone(unknown.clone()),
        SessionChange::UserEpoch { user: UserId(Uuid::from_u128(77)), epoch: 2 },
        SessionChange::GlobalEpoch(1),
    ];
    keep(store, changes).await;
    keep(store, tombstones.iter().cloned().map(SessionChange::Tombstone)).await;
    let expected = SessionSnapshot {
        sessions: vec![Arc::new(session(1))],
        tokens,
        tombstones: std::iter::once(unknown).chain(tombstones).collect(),
        user_epochs: vec![(UserId(Uuid::from_u128(77)), 2)],
        global_epoch: 1,
    };
    assert_eq!(kept(store).await, expected);
}

async fn an_upsert_replaces_what_may_change_and_nothing_else(store: &dyn SessionStore) {
    keep(store, [upsert(session(1), vec![token(1, 1, None)])]).await;
    let mut later = session(1);
    later.last_active = at(100);
    later.step_ups.remove(0);
    // Its cookie gets an end and a successor; a cookie hash that is bound elsewhere stays where it is.
    let mut planted = token(1, 1, None);
    planted.host = "payroll.localhost".into();
    keep(store, [upsert(later.clone(), vec![token(1, 1, Some(at(110))), token(2, 1, None), planted])]).await;
    keep(store, [upsert(session(2), vec![token(2, 2, Some(at(0)))])]).await;
    let snapshot = kept(store).await;
    assert_eq!(snapshot.sessions, [Arc::new(later.clone()), Arc::new(session(2))]);
    assert_eq!(snapshot.tokens, [token(1, 1, Some(at(110))), token(2, 1, None)]);
    // Activity never goes back, and an id never changes hands.
    let mut earlier = later.clone();
    earlier.last_active = at(50);
    let mut stolen = session(2);
    stolen.user = UserId(Uuid::from_u128(78));
    stolen.step_ups.clear();
    keep(store, [upsert(earlier, Vec::new()), upsert(stolen, Vec::new())]).await;
    let snapshot = kept(store).await;
    let [first, second] = &snapshot.sessions[..] else { panic!("not two sessions") };
    assert_eq!(first.last_active, at(100));
    assert_eq!(second.user, UserId(Uuid::from_u128(77)));
}

async fn a_tombstone_wins_over_an_upsert_in_either_order(store: &dyn SessionStore) {
    let end = |number| SessionChange::Tombstone(tombstone(number, Cause::SignedOut));
    keep(store, [upsert(session(1), vec![token(1, 1, None)]), end(1)]).await;
    keep(store, [end(2), upsert(session(2), vec![token(2, 2, None)])]).await;
    keep(store, [upsert(session(1), vec![token(3, 1, None)])]).await;
    let second = tombstone(1, Cause::UserDisabled);
    keep(store, [SessionChange::Tombstone(second)]).await;
    let snapshot = kept(store).await;
    assert_eq!(snapshot.sessions, []);
    assert_eq!(snapshot.tombstones, [tombstone(1, Cause::SignedOut), tombstone(2, Cause::SignedOut)]);
    assert_eq!(snapshot.tokens, [token(1, 1, None)], "known for what it was while the tombstone stands");
}

async fn a_forgotten_session_leaves_nothing(store: &dyn SessionStore) {
    keep(store, [upsert(session(1), vec![token(1, 1, None)]), upsert(session(2), Vec::new())]).await;
    keep(store, [SessionChange::Tombstone(tombstone(1, Cause::Expired)), SessionChange::Forget(id(1))]).await;
    let expected = SessionSnapshot { sessions: vec![Arc::new(session(2))], ..SessionSnapshot::default() };
    assert_eq!(kept(store).await, expected);
    // Nothing of the forgotten one clings to a newcomer with its id or cookie.
    let mut newcomer = session(1);
    newcomer.step_ups.clear();
    keep(store, [upsert(newcomer.clone(), vec![token(1, 1, None)])]).await;
    let snapshot = kept(store).await;
    assert_eq!(snapshot.sessions, [Arc::new(newcomer), Arc::new(session(2))]);
    assert_eq!(snapshot.tokens, [token(1, 1, None)]);
}

async fn epochs_never_fall(store: &dyn SessionStore) {
    let user = UserId(Uuid::from_u128(77));
    for epoch in [3, 1, 2] {
        keep(store, [SessionChange::UserEpoch { user, epoch }, SessionChange::GlobalEpoch(epoch + 4)]).await;
    }
    let snapshot = kept(store).await;
    assert_eq!((snapshot.user_epochs, snapshot.global_epoch), (vec![(user, 3)], 7));
}

async fn a_batch_that_fails_half_way_changes_nothing(store: &dyn SessionStore) {
    let changes = vec![
        upsert(session(1), vec![token(1, 1, None)]),
        SessionChange::Tombstone(tombstone(2, Cause::SignedOut)),
        SessionChange::GlobalEpoch(u64::MAX),
    ];
    let refusal = store.keep_sessions(changes).await;
    assert!(matches!(refusal, Err(StoreError::Malformed { .. })), "{refusal:?}");
    assert_eq!(kept(store).await, SessionSnapshot::default());
}

async fn a_batch_too_large_is_refused(store: &dyn SessionStore) {
    let refusal = store.keep_sessions(vec![SessionChange::Forget(id(1)); MAX_CHANGES + 1]).await;
    assert!(matches!(refusal, Err(StoreError::TooLarge { .. })), "{refusal:?}");
}

async fn applying_twice_is_applying_once(store: &dyn SessionStore) {
    let changes = vec![
        upsert(session(1), vec![token(1, 1, None)]),
        upsert(session(2), vec![token(2, 2, None)]),
        SessionChange::Tombstone(tombstone(2, Cause::SignedOut)),
        SessionChange::UserEpoch { user: UserId(Uuid::from_u128(77)), epoch: 1 },
    ];
    keep(store, changes.clone()).await;
    let once = kept(store).await;
    keep(store, changes).await;
    assert_eq!(kept(store).await, once);
}
