//! The machine, step by step: sessions, cookies, the one kill path and what doors owe.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Action;
use model::app::AppName;
use model::changes::{HostToken, SessionChange, SessionSnapshot, Tombstone};
use model::decision::{Principal, Remedy};
use model::ids::{AccessId, RevocationId, StreamId};
use model::seams::{Cause, CutReport, CutStream, Scope};
use model::session::{ROTATION_GRACE, StepUp};
use model::time::Timestamp;
use pdp_administrator::{
    ABSOLUTE_CEILING, ACK_TIMEOUT, Administrator, CLOCK_SKEW, Input, MAX_DOORS, MAX_SESSIONS_PER_PERSON, MAX_STEP_UPS,
    MAX_TOKENS, Output, Receipt, Refusal, STALE_FACTS_AFTER, WITHDRAWAL_KEPT, changes,
};
use uuid::Uuid;

use crate::people::{at, session, session_id, token, user};

const WIKI: &str = "wiki.localhost";

fn revocation(number: u128) -> RevocationId {
    RevocationId(Uuid::from_u128(0xe000 + number))
}

fn hand_off(number: u128, host: &str, hash: u8) -> Input {
    Input::HandedOff { session: session_id(number), host: host.into(), token: token(hash) }
}

fn end(number: u128) -> Input {
    Input::SessionEnded { revocation: revocation(number), session: session_id(number), cause: Cause::SessionRevoked }
}

fn end_user(owner: u128, epoch: u64) -> Input {
    Input::UserEnded { revocation: revocation(owner), user: user(owner), epoch, cause: Cause::UserDisabled }
}

fn report(now: Timestamp) -> CutReport {
    CutReport { examined: 3, streams: Vec::new(), unproven: Vec::new(), received: now, last_cut: now }
}

/// Two sessions of `user(0)`, one of `user(1)`.
fn peopled() -> Administrator {
    let mut administrator = Administrator::new();
    for (number, owner) in [(0, 0), (1, 0), (2, 1)] {
        administrator.handle(Input::SignedIn(session(number, owner, 0, at(0))), at(0));
    }
    administrator
}

fn live(administrator: &Administrator) -> Vec<u128> {
    administrator.sessions().map(|session| session.id.0.as_u128() - session_id(0).0.as_u128()).collect()
}

fn ended_in(outputs: &[Output]) -> BTreeSet<u128> {
    let tombstones = changes(outputs).into_iter().filter_map(|change| match change {
        SessionChange::Tombstone(tombstone) => Some(tombstone.session.0.as_u128() - session_id(0).0.as_u128()),
        _ => None,
    });
    tombstones.collect()
}

/// The tokens of the one upsert among `outputs`.
fn bound(outputs: &[Output]) -> Vec<HostToken> {
    match outputs {
        [Output::Change(SessionChange::Upsert { tokens, .. })] => tokens.clone(),
        other => panic!("not one upsert: {other:?}"),
    }
}

#[track_caller]
fn refused(outputs: &[Output], why: Refusal) {
    assert_eq!(outputs, [Output::Refused(why)]);
}

#[test]
fn ending_a_person_ends_their_sessions_and_no_other() {
    let mut administrator = peopled();
    let outputs = administrator.handle(end_user(0, 1), at(1));
    assert_eq!(ended_in(&outputs), BTreeSet::from([0, 1]));
    assert_eq!(live(&administrator), [2]);
    let order =
        Output::Reevaluate { revocation: revocation(0), scope: Scope::User(user(0)), cause: Cause::UserDisabled };
    assert_eq!(outputs.last(), Some(&order), "streams are cut after the changes they are judged by");
    assert!(outputs.contains(&Output::Change(SessionChange::UserEpoch { user: user(0), epoch: 1 })));
}

#[test]
fn re_enabling_a_person_revives_nothing() {
    let mut administrator = peopled();
    administrator.handle(end_user(0, 1), at(1));
    refused(&administrator.handle(hand_off(0, WIKI, 1), at(2)), Refusal::NoSession(session_id(0)));
    let again = Input::SignedIn(session(0, 0, 0, at(0)));
    refused(&administrator.handle(again, at(2)), Refusal::Withdrawn(session_id(0)));
    let forged = Input::SignedIn(session(7, 0, 0, at(2)));
    refused(&administrator.handle(forged, at(2)), Refusal::OldEpoch(session_id(7)));
    administrator.handle(Input::SignedIn(session(8, 0, 1, at(3))), at(3));
    assert_eq!(live(&administrator), [2, 8], "a new sign-in under the new epoch is let in");
}

#[test]
fn a_late_end_under_an_old_epoch_spares_a_newer_session() {
    let mut administrator = peopled();
    administrator.handle(end_user(0, 2), at(1));
    administrator.handle(Input::SignedIn(session(5, 0, 2, at(2))), at(2));
    let outputs = administrator.handle(end_user(0, 1), at(3));
    assert_eq!(ended_in(&outputs), BTreeSet::new());
    assert_eq!(administrator.user_epoch(user(0)), 2);
    assert_eq!(live(&administrator), [2, 5]);
}

#[test]
fn a_revocation_that_overtakes_its_sign_in_wins() {
    let mut administrator = Administrator::new();
    let outputs = administrator.handle(end(0), at(0));
    let until = at(0) + ABSOLUTE_CEILING + CLOCK_SKEW;
    let tombstone = Tombstone { session: session_id(0), user: None, cause: Cause::SessionRevoked, until };
    assert_eq!(outputs.first(), Some(&Output::Change(SessionChange::Tombstone(tombstone))));
    let late = Input::SignedIn(session(0, 0, 0, at(0)));
    refused(&administrator.handle(late, at(1)), Refusal::Withdrawn(session_id(0)));
}

#[test]
fn ending_everyone_ends_everyone() {
    let mut administrator = peopled();
    let outputs = administrator
        .handle(Input::EveryoneEnded { revocation: revocation(9), epoch: 1, cause: Cause::SessionRevoked }, at(1));
    assert_eq!(ended_in(&outputs), BTreeSet::from([0, 1, 2]));
    assert_eq!(administrator.global_epoch(), 1);
    refused(&administrator.handle(Input::SignedIn(session(3, 0, 0, at(2))), at(2)), Refusal::OldEpoch(session_id(3)));
}

#[test]
fn a_sign_in_under_a_higher_epoch_ends_the_older_sessions_at_once() {
    let mut administrator = peopled();
    let outputs = administrator.handle(Input::SignedIn(session(5, 0, 1, at(1))), at(1));
    assert_eq!(ended_in(&outputs), BTreeSet::from([0, 1]));
    assert_eq!(live(&administrator), [2, 5]);
}

#[test]
fn a_rotated_cookie_gets_a_grace_and_then_an_end() {
    let mut administrator = peopled();
    administrator.handle(hand_off(0, WIKI, 1), at(1));
    let tokens = bound(&administrator.handle(hand_off(0, WIKI, 2), at(5)));
    let ends: Vec<_> = tokens.iter().map(|token| (token.token, token.valid_until)).collect();
    assert_eq!(ends, [(token(1), Some(at(5) + ROTATION_GRACE)), (token(2), None)]);
    let other_host = bound(&administrator.handle(hand_off(0, "payroll.localhost", 3), at(6)));
    assert_eq!(other_host.len(), 1, "cookies of other hosts are left alone");
}

#[test]
fn a_pre_planted_cookie_is_never_adopted() {
    let mut administrator = peopled();
    administrator.handle(hand_off(2, WIKI, 1), at(1));
    for attempt in [hand_off(0, WIKI, 1), hand_off(2, "payroll.localhost", 1)] {
        let Input::HandedOff { session, .. } = &attempt else { panic!("not a hand-off") };
        let why = Refusal::TokenSpent(*session);
        refused(&administrator.handle(attempt, at(2)), why);
    }
}

#[test]
fn a_cookie_in_its_grace_cannot_mint_a_successor() {
    let mut administrator = peopled();
    administrator.handle(hand_off(0, WIKI, 1), at(1));
    let rotate =
        |from, to| Input::Rotated { session: session_id(0), host: WIKI.into(), from: token(from), to: token(to) };
    assert_eq!(bound(&administrator.handle(rotate(1, 2), at(2))).len(), 2);
    refused(&administrator.handle(rotate(1, 3), at(3)), Refusal::TokenSpent(session_id(0)));
    assert_eq!(bound(&administrator.handle(rotate(2, 4), at(3))).len(), 2);
}

#[test]
fn the_same_input_again_answers_the_same_changes_so_that_a_failed_write_can_be_repeated() {
    let mut administrator = Administrator::new();
    for input in [Input::SignedIn(session(0, 0, 0, at(0))), hand_off(0, WIKI, 1), end(0)] {
        let first = changes(&administrator.handle(input.clone(), at(1)));
        assert!(!first.is_empty());
        assert_eq!(changes(&administrator.handle(input, at(1))), first);
    }
}

#[test]
fn a_session_id_of_another_person_is_refused() {
    let mut administrator = peopled();
    let stolen = Input::SignedIn(session(0, 1, 0, at(0)));
    refused(&administrator.handle(stolen, at(1)), Refusal::IdTaken(session_id(0)));
}

#[test]
fn a_session_from_the_future_or_beyond_the_ceiling_is_refused() {
    let mut administrator = Administrator::new();
    let future = session(0, 0, 0, at(1) + CLOCK_SKEW);
    refused(&administrator.handle(Input::SignedIn(future), at(0)), Refusal::FromTheFuture(session_id(0)));
    let mut long = session(1, 0, 0, at(0));
    long.absolute_limit = ABSOLUTE_CEILING + Duration::from_secs(1);
    refused(&administrator.handle(Input::SignedIn(long), at(0)), Refusal::LimitTooLong(session_id(1)));
}

#[test]
fn idle_and_absolute_time_end_a_session_and_activity_holds_only_the_first_off() {
    let mut administrator = peopled();
    for turn in 1..=12 {
        let now = at(turn * 3500);
        administrator.handle(Input::Active(vec![(session_id(0), now)]), now);
        administrator.handle(Input::Tick, now);
    }
    assert_eq!(live(&administrator), [0]);
    let outputs = administrator.handle(Input::Tick, at(12 * 3600));
    assert_eq!(ended_in(&outputs), BTreeSet::from([0]));
    let late = Input::Active(vec![(session_id(0), at(12 * 3600))]);
    assert_eq!(administrator.handle(late, at(12 * 3600)), []);
}

#[test]
fn activity_reported_after_the_end_does_not_revive_even_before_the_tick() {
    let mut administrator = peopled();
    assert_eq!(administrator.handle(Input::Active(vec![(session_id(0), at(3599))]), at(3600)), []);
    refused(&administrator.handle(hand_off(0, WIKI, 1), at(3600)), Refusal::Expired(session_id(0)));
}

#[test]
fn a_clock_set_back_keeps_no_session_longer() {
    let mut administrator = peopled();
    administrator.handle(Input::Tick, at(3599));
    administrator.handle(Input::Active(vec![(session_id(0), at(0))]), at(0));
    assert_eq!(ended_in(&administrator.handle(Input::Tick, at(3600))), BTreeSet::from([0, 1, 2]));
}

#[test]
fn a_step_up_from_the_future_is_not_fresher_than_now() {
    let mut administrator = peopled();
    let step_up = StepUp { app: AppName::new("payroll"), action: Action::HttpDelete, at: at(9000), fix: Vec::new() };
    administrator.handle(Input::SteppedUp { session: session_id(0), step_up, proof: None }, at(10));
    let known = administrator.session(session_id(0)).unwrap();
    assert_eq!(known.step_ups.first().map(|step_up| step_up.at), Some(at(10)));
}

#[test]
fn a_newer_step_up_is_never_told_by_what_an_older_one_was_for() {
    let mut administrator = peopled();
    for (secs, fix) in [(10, vec![Remedy::Passkey]), (400, vec![Remedy::Mfa]), (300, vec![Remedy::Passkey])] {
        let step_up = StepUp { app: AppName::new("payroll"), action: Action::HttpDelete, at: at(secs), fix };
        administrator.handle(Input::SteppedUp { session: session_id(0), step_up, proof: None }, at(400));
    }
    let known = &administrator.session(session_id(0)).unwrap().step_ups;
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].at, known[0].fix.as_slice()), (at(400), &[Remedy::Mfa][..]));
}

#[test]
fn step_ups_cookies_and_sessions_are_bounded() {
    let mut administrator = peopled();
    for number in 0..MAX_STEP_UPS + 5 {
        let app = AppName::new(&format!("app-{number}"));
        let now = at(i64::try_from(number).unwrap());
        let step_up = StepUp { app, action: Action::HttpDelete, at: now, fix: Vec::new() };
        administrator.handle(Input::SteppedUp { session: session_id(0), step_up, proof: None }, now);
    }
    let known = administrator.session(session_id(0)).unwrap();
    assert_eq!(known.step_ups.len(), MAX_STEP_UPS);
    assert_eq!(known.step_ups.first().map(|step_up| step_up.app.as_str()), Some("app-5"), "the oldest goes first");

    for number in 0..MAX_TOKENS {
        let hash = model::TokenHash::of(&number.to_be_bytes());
        let input = Input::HandedOff { session: session_id(0), host: WIKI.into(), token: hash };
        bound(&administrator.handle(input, at(100)));
    }
    refused(&administrator.handle(hand_off(0, WIKI, 1), at(100)), Refusal::TooManyTokens(session_id(0)));

    for number in 0..MAX_SESSIONS_PER_PERSON as u128 {
        administrator.handle(Input::SignedIn(session(100 + number, 1, 0, at(101))), at(101));
    }
    let of_person = administrator.sessions().filter(|session| session.user == user(1)).count();
    assert_eq!(of_person, MAX_SESSIONS_PER_PERSON);
    assert!(!live(&administrator).contains(&2), "the oldest session ends first");
}

#[test]
fn a_tombstone_is_forgotten_when_its_session_could_not_live_any_more() {
    let mut administrator = peopled();
    administrator.handle(end(0), at(1));
    let before = administrator.handle(Input::Tick, at(12 * 3600 - 1));
    assert!(!before.contains(&Output::Change(SessionChange::Forget(session_id(0)))));
    let after = administrator.handle(Input::Tick, at(12 * 3600));
    assert!(after.contains(&Output::Change(SessionChange::Forget(session_id(0)))));
    let late = Input::SignedIn(session(0, 0, 0, at(0)));
    refused(&administrator.handle(late, at(12 * 3600)), Refusal::Expired(session_id(0)));
}

#[test]
fn a_restart_revives_nothing_that_died_before_or_meanwhile() {
    let tombstone = Tombstone { session: session_id(1), user: Some(user(1)), cause: Cause::SignedOut, until: at(9000) };
    let bound_to = |number, hash| HostToken {
        token: token(hash),
        session: session_id(number),
        host: WIKI.into(),
        valid_until: None,
    };
    let snapshot = SessionSnapshot {
        sessions: [(0, 0, 1), (1, 1, 0), (2, 2, 0), (3, 0, 0)]
            .map(|(number, owner, epoch)| std::sync::Arc::new(session(number, owner, epoch, at(0))))
            .to_vec(),
        tokens: vec![bound_to(0, 1), bound_to(1, 2)],
        tombstones: vec![tombstone],
        // The directory had raised user 0's epoch before the crash, and the session store had not heard of it.
        user_epochs: vec![(user(0), 1)],
        global_epoch: 0,
    };
    let (mut administrator, outputs) = Administrator::restore(&snapshot, at(10));
    assert_eq!(live(&administrator), [0, 2]);
    assert_eq!(ended_in(&outputs), BTreeSet::from([3]));
    refused(&administrator.handle(hand_off(2, WIKI, 2), at(11)), Refusal::TokenSpent(session_id(2)));
    assert_eq!(bound(&administrator.handle(hand_off(0, WIKI, 3), at(11))).len(), 2, "the kept cookie is rotated out");
    let (later, _) = Administrator::restore(&snapshot, at(3600));
    assert_eq!(live(&later), [] as [u128; 0]);
}

#[test]
fn every_door_acknowledges_or_is_listed_as_stale() {
    let mut administrator = peopled();
    for door in ["north", "south"] {
        administrator.handle(Input::DoorJoined(door.into()), at(0));
    }
    administrator.handle(end(0), at(1));
    let ack = |door: &str| Input::Acked { revocation: revocation(0), door: door.into(), report: report(at(1)) };
    let outputs = administrator.handle(ack("north"), at(1));
    let [Output::Receipt(receipt)] = &outputs[..] else { panic!("no receipt: {outputs:?}") };
    assert_eq!(
        (receipt.door.as_str(), receipt.accepted, &receipt.sessions[..]),
        ("north", at(1), &[session_id(0)][..])
    );
    refused(&administrator.handle(ack("north"), at(1)), Refusal::NotAwaited(revocation(0)));
    refused(&administrator.handle(ack("west"), at(1)), Refusal::NotAwaited(revocation(0)));

    assert_eq!(administrator.handle(Input::Tick, at(1) + ACK_TIMEOUT - Duration::from_nanos(1)), []);
    let outputs = administrator.handle(Input::Tick, at(1) + ACK_TIMEOUT);
    let [Output::Stale(stale)] = &outputs[..] else { panic!("not stale: {outputs:?}") };
    assert_eq!((stale.door.as_str(), stale.fails_closed_at), ("south", at(1) + STALE_FACTS_AFTER));
    assert!(!administrator.withdrawal(revocation(0)).unwrap().is_proven());

    let outputs = administrator.handle(ack("south"), at(60));
    assert!(matches!(&outputs[..], [Output::Receipt(_)]), "late is better than never: {outputs:?}");
    assert!(administrator.withdrawal(revocation(0)).unwrap().is_proven());
    administrator.handle(Input::Tick, at(1) + WITHDRAWAL_KEPT);
    assert_eq!(administrator.withdrawal(revocation(0)), None);
}

#[test]
fn a_door_that_leaves_owes_its_answers_for_ever() {
    let mut administrator = peopled();
    administrator.handle(Input::DoorJoined("north".into()), at(0));
    administrator.handle(end(0), at(1));
    let outputs = administrator.handle(Input::DoorLeft("north".into()), at(1));
    assert!(matches!(&outputs[..], [Output::Stale(stale)] if stale.door == "north"), "{outputs:?}");
    assert_eq!(administrator.handle(Input::Tick, at(1) + ACK_TIMEOUT), [], "listed once");
    administrator.handle(end(1), at(5));
    assert!(administrator.withdrawal(revocation(1)).unwrap().is_proven(), "new orders do not wait for it");
}

#[test]
fn the_number_of_doors_is_bounded() {
    let mut administrator = Administrator::new();
    for number in 0..MAX_DOORS {
        assert_eq!(administrator.handle(Input::DoorJoined(number.to_string()), at(0)), []);
    }
    refused(&administrator.handle(Input::DoorJoined("one too many".into()), at(0)), Refusal::TooManyDoors);
    assert_eq!(administrator.handle(Input::DoorJoined("0".into()), at(0)), [], "a known door may join again");
}

#[test]
fn a_receipt_says_who_was_ended_why_and_what_the_door_did() {
    let mut administrator = peopled();
    administrator.handle(Input::DoorJoined("north".into()), at(0));
    administrator.handle(end_user(0, 1), at(1));
    let cut = CutStream {
        stream: StreamId(1),
        access: AccessId(Uuid::from_u128(7)),
        protocol: "websocket",
        app: AppName::new("wiki"),
        principal: Principal::User(user(0)),
        opened: at(0),
        cut: at(1) + Duration::from_millis(80),
        bytes_in: 10,
        bytes_out: 20,
    };
    let report =
        CutReport { examined: 2, last_cut: cut.cut, streams: vec![cut], unproven: Vec::new(), received: at(1) };
    let ack = Input::Acked { revocation: revocation(0), door: "north".into(), report: report.clone() };
    let expected = Receipt {
        revocation: revocation(0),
        cause: Cause::UserDisabled,
        accepted: at(1),
        sessions: vec![session_id(0), session_id(1)],
        door: "north".into(),
        report,
    };
    assert_eq!(administrator.handle(ack, at(2)), [Output::Receipt(expected)]);
}

#[test]
fn a_door_that_is_away_is_not_waited_for_but_named_with_every_order_until_it_is_back() {
    let mut administrator = peopled();
    for door in ["near", "far"] {
        administrator.handle(Input::DoorJoined(door.into()), at(0));
    }
    administrator.handle(Input::DoorAway { door: "far".into(), fails_closed_at: at(77) }, at(0));
    administrator.handle(Input::DoorAway { door: "never joined".into(), fails_closed_at: at(77) }, at(0));
    let outputs = administrator.handle(end(0), at(1));
    let Some(Output::Stale(stale)) = outputs.last() else { panic!("{outputs:?}") };
    assert_eq!((stale.door.as_str(), stale.fails_closed_at), ("far", at(77)));
    let order = administrator.withdrawal(revocation(0)).unwrap();
    assert_eq!(order.awaiting, BTreeSet::from(["near".to_owned()]), "only who is there is waited for");
    assert!(!order.is_proven());
    // It comes back, carries out what it has missed, and says so.
    administrator.handle(Input::DoorJoined("far".into()), at(2));
    let acked = Input::Acked { revocation: revocation(0), door: "far".into(), report: report(at(2)) };
    assert!(matches!(administrator.handle(acked, at(2)).as_slice(), [Output::Receipt(_)]));
    administrator.handle(end(1), at(3));
    assert_eq!(administrator.withdrawal(revocation(1)).unwrap().awaiting.len(), 2);
}

#[test]
fn a_snapshot_is_all_that_is_known_and_an_administrator_restored_from_it_knows_the_same() {
    let mut administrator = peopled();
    administrator.handle(hand_off(1, WIKI, 7), at(1));
    administrator.handle(end(0), at(1));
    administrator.handle(end_user(1, 4), at(1));
    let snapshot = administrator.snapshot();
    let (restored, outputs) = Administrator::restore(&snapshot, at(1));
    assert_eq!(outputs, []);
    assert_eq!(live(&restored), live(&administrator));
    let sorted = |mut snapshot: SessionSnapshot| {
        snapshot.sessions.sort_by_key(|session| session.id);
        snapshot.tokens.sort_by_key(|token| token.token);
        snapshot.tombstones.sort_by_key(|tombstone| tombstone.session);
        snapshot.user_epochs.sort();
        snapshot
    };
    let (before, mut after) = (sorted(snapshot), sorted(restored.snapshot()));
    assert_eq!(before.tokens.len(), 1);
    after.tokens.retain(|token| before.tokens.contains(token));
    assert_eq!(after, before);
}
