//! The doors' table: look-ups, attacks on cookies, activity, and readers beside the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::changes::{HostToken, SessionChange, SessionSnapshot, Tombstone};
use model::seams::{Cause, SessionView};
use model::session::{IDLE_DEFAULT, ROTATION_GRACE, Session, SessionLookup};
use model::time::Timestamp;
use pdp_administrator::{ACTIVITY_PERIOD, SessionTable};

use crate::people::{at, session, session_id, token, user};

const WIKI: &str = "wiki.localhost";

fn upsert(session: Session, tokens: Vec<HostToken>) -> SessionChange {
    SessionChange::Upsert { session: Arc::new(session), tokens }
}

fn bound(number: u128, hash: u8, valid_until: Option<Timestamp>) -> HostToken {
    HostToken { token: token(hash), session: session_id(number), host: WIKI.into(), valid_until }
}

fn tombstone(number: u128, cause: Cause) -> SessionChange {
    SessionChange::Tombstone(Tombstone { session: session_id(number), user: None, cause, until: at(99_999) })
}

/// `session(0)` of `user(0)` with cookie 1 on the wiki.
fn table() -> SessionTable {
    let table = SessionTable::new();
    table.apply(&upsert(session(0, 0, 0, at(0)), vec![bound(0, 1, None)]));
    table
}

#[track_caller]
fn check(table: &SessionTable, hash: u8, host: &str, now: Timestamp, expected: &str) {
    let found = match table.look_up(&token(hash), host, now) {
        SessionLookup::Live(_) => "live",
        SessionLookup::Expired => "expired",
        SessionLookup::Revoked => "revoked",
        SessionLookup::Unknown => "unknown",
    };
    assert_eq!(found, expected);
}

#[test]
fn cookie_of_one_app_on_another_is_unknown() {
    let table = table();
    check(&table, 1, WIKI, at(1), "live");
    for host in ["payroll.localhost", "localhost", "", "wiki.localhost.", "WIKI.localhost", "x.wiki.localhost"] {
        check(&table, 1, host, at(1), "unknown");
    }
    check(&table, 2, WIKI, at(1), "unknown");
}

#[test]
fn a_rotated_cookie_works_through_its_grace_and_not_longer() {
    let table = table();
    let until = at(5) + ROTATION_GRACE;
    table.apply(&upsert(session(0, 0, 0, at(0)), vec![bound(0, 1, Some(until)), bound(0, 2, None)]));
    check(&table, 1, WIKI, until - Duration::from_nanos(1), "live");
    check(&table, 1, WIKI, until, "unknown");
    check(&table, 2, WIKI, until, "live");
}

#[test]
fn a_tombstone_wins_over_an_upsert_in_either_order() {
    let table = table();
    table.apply(&tombstone(0, Cause::SessionRevoked));
    check(&table, 1, WIKI, at(1), "revoked");
    table.apply(&upsert(session(0, 0, 0, at(0)), vec![bound(0, 1, None), bound(0, 2, None)]));
    check(&table, 1, WIKI, at(1), "revoked");
    check(&table, 2, WIKI, at(1), "unknown");
    table.touch(session_id(0), at(1));
    assert_eq!(table.session(session_id(0), at(1)), None);
    assert_eq!(table.sessions(at(1)), []);
    assert_eq!(table.drain_activity(at(500)), []);
}

#[test]
fn an_epoch_kills_before_the_tombstones_arrive_and_never_falls() {
    let epoch_of_person = |epoch| SessionChange::UserEpoch { user: user(0), epoch };
    for (raise, lower) in
        [(epoch_of_person(1), epoch_of_person(0)), (SessionChange::GlobalEpoch(1), SessionChange::GlobalEpoch(0))]
    {
        let table = table();
        table.apply(&raise);
        check(&table, 1, WIKI, at(1), "revoked");
        table.apply(&lower);
        check(&table, 1, WIKI, at(1), "revoked");
        assert_eq!(table.session(session_id(0), at(1)), None);
    }
}

#[test]
fn an_expired_session_is_told_from_a_revoked_one() {
    let table = table();
    check(&table, 1, WIKI, at(3599), "live");
    check(&table, 1, WIKI, at(3600), "expired");
    table.apply(&tombstone(0, Cause::Expired));
    check(&table, 1, WIKI, at(1), "expired");
    table.apply(&SessionChange::Forget(session_id(0)));
    check(&table, 1, WIKI, at(1), "unknown");
}

#[test]
fn activity_counts_at_once_here_and_is_reported_at_most_once_a_minute() {
    let table = table();
    assert_eq!(table.drain_activity(at(100)), [], "nothing happened yet");
    for second in 100..150 {
        table.touch(session_id(0), at(second));
    }
    assert_eq!(table.drain_activity(at(150)), [(session_id(0), at(149))]);
    table.touch(session_id(0), at(160));
    assert_eq!(table.drain_activity(at(150) + ACTIVITY_PERIOD - Duration::from_secs(1)), []);
    assert_eq!(table.drain_activity(at(150) + ACTIVITY_PERIOD), [(session_id(0), at(160))]);
    assert_eq!(table.drain_activity(at(9000)), [], "nothing new");
    check(&table, 1, WIKI, at(160) + IDLE_DEFAULT - Duration::from_secs(1), "live");
    check(&table, 1, WIKI, at(160) + IDLE_DEFAULT, "expired");
}

#[test]
fn activity_after_the_end_revives_nothing() {
    let table = table();
    table.touch(session_id(0), at(3600));
    check(&table, 1, WIKI, at(3600), "expired");
    assert_eq!(table.drain_activity(at(4000)), []);
}

#[test]
fn activity_survives_an_upsert_that_did_not_know_of_it() {
    let table = table();
    table.touch(session_id(0), at(3000));
    table.apply(&upsert(session(0, 0, 0, at(0)), Vec::new()));
    check(&table, 1, WIKI, at(3700), "live");
}

#[test]
fn sessions_are_listed_newest_first() {
    let table = SessionTable::new();
    for (number, created) in [(0, 5), (1, 9), (2, 7)] {
        table.apply(&upsert(session(number, 0, 0, at(created)), Vec::new()));
    }
    let ids: Vec<_> = table.sessions(at(10)).iter().map(|session| session.id).collect();
    assert_eq!(ids, [session_id(1), session_id(2), session_id(0)]);
    assert_eq!(table.sessions(at(7000)), []);
}

#[test]
fn what_the_store_kept_is_taken_in_whole() {
    let snapshot = SessionSnapshot {
        sessions: vec![Arc::new(session(0, 0, 0, at(0))), Arc::new(session(1, 1, 0, at(0)))],
        tokens: vec![bound(0, 1, None), bound(1, 2, None), bound(2, 3, None)],
        tombstones: vec![Tombstone {
            session: session_id(2),
            user: Some(user(0)),
            cause: Cause::SignedOut,
            until: at(9999),
        }],
        user_epochs: vec![(user(1), 1)],
        global_epoch: 0,
    };
    let table = SessionTable::new();
    table.load(&snapshot);
    check(&table, 1, WIKI, at(1), "live");
    check(&table, 2, WIKI, at(1), "revoked");
    check(&table, 3, WIKI, at(1), "revoked");
    let other = SessionTable::new();
    other.load(&SessionSnapshot { global_epoch: 1, ..snapshot });
    check(&other, 1, WIKI, at(1), "revoked");
}

#[test]
fn readers_beside_the_writer_never_see_a_revoked_session_again() {
    let table = Arc::new(table());
    let is_over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (table, is_over) = (Arc::clone(&table), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut looked = 0_u64;
                loop {
                    // Read before the look-up: what was over by then must stay over.
                    let was_over = is_over.load(Ordering::SeqCst);
                    let is_live = matches!(table.look_up(&token(1), WIKI, at(1)), SessionLookup::Live(_));
                    assert!(!(was_over && is_live), "alive after its tombstone");
                    table.touch(session_id(0), at(1));
                    looked += 1;
                    if was_over && looked > 1000 {
                        return looked;
                    }
                }
            })
        })
        .collect();
    for _ in 0..1000 {
        table.apply(&upsert(session(0, 0, 0, at(0)), vec![bound(0, 1, None)]));
    }
    table.apply(&tombstone(0, Cause::SessionRevoked));
    is_over.store(true, Ordering::SeqCst);
    for _ in 0..1000 {
        table.apply(&upsert(session(0, 0, 0, at(0)), vec![bound(0, 1, None)]));
    }
    for reader in readers {
        assert!(reader.join().unwrap() > 1000);
    }
}
