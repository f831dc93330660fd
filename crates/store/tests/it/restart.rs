//! Administrator, store and table together across restarts: whatever a cookie stood for before, it stands for after.

use std::collections::BTreeSet;
use std::path::Path;

use model::Action;
use model::app::AppName;
use model::ids::{RevocationId, SessionId, TokenHash, UserId};
use model::seams::{Cause, SessionView};
use model::session::{ABSOLUTE_DEFAULT, Epochs, IDLE_DEFAULT, Session, SessionLookup, StepUp};
use pdp_administrator::{Administrator, Input, SessionTable, changes};
use store::{SessionStore, Store};
use uuid::Uuid;

use crate::conformance::at;

const HOST: &str = "wiki.localhost";

fn id(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(number))
}

fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(0xa000 + number))
}

fn session(number: u128, owner: u128) -> Session {
    Session {
        id: id(number),
        user: user(owner),
        idp: "local".into(),
        acr: "phr".into(),
        amr: BTreeSet::from(["pop".to_owned()]),
        is_mfa: true,
        is_phishing_resistant: true,
        is_passkey_synced: false,
        credential: "00ff".into(),
        auth_time: at(0),
        created: at(0),
        last_active: at(0),
        idle_limit: IDLE_DEFAULT,
        absolute_limit: ABSOLUTE_DEFAULT,
        epochs: Epochs::default(),
        step_ups: Vec::new(),
        rounds: Vec::new(),
        src_net: "192.0.2.0/24".into(),
        user_agent: "test".into(),
    }
}

fn hand_off(number: u128, hash: u8) -> Input {
    Input::HandedOff { session: id(number), host: HOST.into(), token: TokenHash([hash; 32]) }
}

/// One run of the server: restores, takes each input as the control loop does, and is gone.
async fn run(path: &Path, secs: i64, inputs: Vec<Input>) -> Vec<SessionLookup> {
    let store = Store::open(path, at(secs)).await.unwrap();
    let snapshot = store.sessions().await.unwrap();
    let table = SessionTable::new();
    table.load(&snapshot);
    let (mut administrator, outputs) = Administrator::restore(&snapshot, at(secs));
    let mut pending = vec![outputs];
    for input in inputs {
        pending.push(administrator.handle(input, at(secs)));
    }
    for outputs in pending {
        let changes = changes(&outputs);
        store.keep_sessions(changes.clone()).await.unwrap();
        changes.iter().for_each(|change| table.apply(change));
    }
    store.close().await;
    (1..=7).map(|hash| table.look_up(&TokenHash([hash; 32]), HOST, at(secs))).collect()
}

fn names(found: &[SessionLookup]) -> Vec<&'static str> {
    let name = |lookup: &SessionLookup| match lookup {
        SessionLookup::Live(_) => "live",
        SessionLookup::Expired => "expired",
        SessionLookup::Revoked => "revoked",
        SessionLookup::Unknown => "unknown",
    };
    found.iter().map(name).collect()
}

#[tokio::test]
async fn a_restart_keeps_who_lives_and_revives_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let step_up = StepUp { app: AppName::new("payroll"), action: Action::HttpDelete, at: at(10), fix: Vec::new() };
    let revocation = RevocationId(Uuid::from_u128(0xe000));
    let before = run(
        &path,
        10,
        vec![
            Input::SignedIn(session(1, 1)),
            hand_off(1, 1),
            hand_off(1, 2),
            Input::SteppedUp { session: id(1), step_up, proof: None },
            Input::Active(vec![(id(1), at(9))]),
            Input::SignedIn(session(2, 2)),
            hand_off(2, 3),
            Input::SessionEnded { revocation, session: id(2), cause: Cause::SignedOut },
            Input::SignedIn(session(3, 3)),
            hand_off(3, 4),
            Input::UserEnded { revocation, user: user(3), epoch: 1, cause: Cause::UserDisabled },
            // The end comes first here.
            Input::SessionEnded { revocation, session: id(4), cause: Cause::SessionRevoked },
            Input::SignedIn(session(4, 4)),
            hand_off(4, 5),
            Input::SignedIn(session(5, 5)),
            hand_off(5, 6),
        ],
    )
    .await;
    assert_eq!(names(&before), ["live", "live", "revoked", "revoked", "unknown", "live", "unknown"]);

    let mut after = run(&path, 10, Vec::new()).await;
    // Rounds of the loop guard last ten minutes and are not kept over a restart.
    for (after, before) in after.iter_mut().zip(&before) {
        if let (SessionLookup::Live(after), SessionLookup::Live(before)) = (after, before) {
            std::sync::Arc::make_mut(after).rounds.clone_from(&before.rounds);
        }
    }
    assert_eq!(after, before, "the same sessions, step-ups and activity included");

    // The first cookie's grace is over; signing in with what was known before the restart is refused as it was.
    let again = vec![
        Input::SignedIn(session(2, 2)),
        Input::SignedIn(session(3, 3)),
        Input::SignedIn(session(4, 4)),
        Input::SignedIn(session(6, 3)),
        hand_off(2, 7),
        hand_off(3, 7),
        hand_off(4, 7),
        hand_off(6, 7),
    ];
    let later = run(&path, 30, again).await;
    assert_eq!(names(&later), ["unknown", "live", "revoked", "revoked", "unknown", "live", "unknown"]);

    // What ran out while the server was down is told from what was withdrawn.
    let idle = run(&path, 3605, Vec::new()).await;
    assert_eq!(names(&idle), ["unknown", "live", "revoked", "revoked", "unknown", "expired", "unknown"]);

    let next_day = run(&path, 26 * 3600, Vec::new()).await;
    assert_eq!(names(&next_day), ["unknown"; 7]);
    let store = Store::open(&path, at(26 * 3600)).await.unwrap();
    let left = store.sessions().await.unwrap();
    assert_eq!((left.sessions.len(), left.tokens.len(), left.tombstones.len()), (0, 0, 0));
}
