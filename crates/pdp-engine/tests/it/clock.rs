//! Hours on clocks that are set forward and back: rules with a zone of their own, and the policies' clock (GW-21, PO-14).

use std::sync::Arc;
use std::time::Duration;

use model::access::{AccessRules, Hours, Selector};
use model::{Action, App, Effect, PolicyDecisionPoint, TimeZone, Timestamp};
use pdp_engine::{CompiledPolicies, Engine};

use crate::rules::{rule, ruled_app};
use crate::support::*;

/// Europe/Berlin in 2026: an hour more from 29 March, 01:00 UTC, to 25 October, 01:00 UTC.
fn berlin() -> TimeZone {
    TimeZone::new(
        "Europe/Berlin",
        3_600,
        vec![(at("2026-03-29T01:00:00Z").unix_secs(), 7_200), (at("2026-10-25T01:00:00Z").unix_secs(), 3_600)],
    )
}

fn at(utc: &str) -> Timestamp {
    Timestamp::parse_rfc3339(utc).unwrap()
}

/// An app whose hours are `from` to `to` every day in `zone`.
fn open(zone: TimeZone, from: u16, to: u16) -> Arc<App> {
    let hours = Hours { zone: Some(zone), days: (1..=7).collect(), from, to };
    let include = vec![rule(Selector::Authenticated, 1)];
    let rules = AccessRules { include, require: vec![rule(Selector::Time(hours), 2)], exclude: Vec::new() };
    ruled_app("crm", rules, None)
}

/// Asks every second, believes each answer as long as it says it holds, and gives the seconds at which one was wrong.
fn walk(app: &Arc<App>, from: Timestamp, seconds: u64, is_open: impl Fn(Timestamp) -> bool) -> usize {
    let policies = CompiledPolicies::compile_for(&[], std::slice::from_ref(app)).unwrap();
    let engine = Engine::new(Arc::new(policies), std::slice::from_ref(app), directory(), 1).unwrap();
    let (mut promised, mut believed, mut asked) = (from, Effect::Deny, 0);
    for second in 0..seconds {
        let now = from + Duration::from_secs(second);
        if now >= promised {
            let mut request = ask(user(ALICE), Action::HttpGet, "crm");
            request.facts.request.tell_time(now, &TimeZone::utc(), Some(app));
            let decision = engine.decide(&request, now);
            (promised, believed) = (decision.hold_until, decision.effect);
            asked += 1;
        }
        assert_eq!(believed == Effect::Allow, is_open(now), "{now}");
    }
    asked
}

#[test]
fn hours_in_berlin_hold_to_the_second_over_the_change_to_summer_time() {
    // 02:30 does not exist that day: the clock goes from 02:00 to 03:00 at 01:00 UTC.
    let asked = walk(&open(berlin(), 150, 240), at("2026-03-29T00:50:00Z"), 5_000, |now| {
        (at("2026-03-29T01:00:00Z")..at("2026-03-29T02:00:00Z")).contains(&now)
    });
    assert!(asked < 40, "{asked} questions: answers hold longer than that");
}

#[test]
fn hours_in_berlin_hold_to_the_second_over_the_change_to_winter_time() {
    // 02:30 comes twice that day, at 00:30 and at 01:30 UTC.
    walk(&open(berlin(), 150, 180), at("2026-10-25T00:20:00Z"), 6_600, |now| {
        (at("2026-10-25T00:30:00Z")..at("2026-10-25T01:00:00Z")).contains(&now)
            || (at("2026-10-25T01:30:00Z")..at("2026-10-25T02:00:00Z")).contains(&now)
    });
}

#[test]
fn hours_in_a_zone_that_never_changes_are_as_far_from_utc_in_summer_as_in_winter() {
    let tokyo = || TimeZone::new("Asia/Tokyo", 32_400, Vec::new());
    for day in ["2026-03-29", "2026-10-25"] {
        let opens = at(&format!("{day}T00:00:00Z"));
        walk(&open(tokyo(), 540, 600), opens - Duration::from_secs(300), 4_500, |now| {
            (opens..opens + Duration::from_secs(3_600)).contains(&now)
        });
    }
}

#[test]
fn the_clock_of_the_policies_is_asked_again_when_it_is_set() {
    let engine = engine(
        "@id(\"night\") permit (principal, action, resource in App::\"wiki\") when { context.request.minute_of_day < 170 };",
    );
    for (change, minute) in [("2026-03-29T01:00:00Z", 119), ("2026-10-25T01:00:00Z", 179)] {
        let now = at(change) - Duration::from_secs(20);
        let mut request = ask(user(ALICE), Action::HttpGet, "wiki");
        request.facts.request.tell_time(now, &berlin(), None);
        assert_eq!(request.facts.request.minute_of_day, minute);
        assert_eq!(engine.decide(&request, now).hold_until, at(change), "not five minutes: the clock is set before");
    }
}

#[test]
fn hours_nobody_told_are_neither_required_nor_excluded_ones() {
    let app = open(berlin(), 0, 1_440);
    let policies = CompiledPolicies::compile_for(&[], std::slice::from_ref(&app)).unwrap();
    let engine = Engine::new(Arc::new(policies), std::slice::from_ref(&app), directory(), 1).unwrap();
    let mut request = ask(user(ALICE), Action::HttpGet, "crm");
    assert!(!is_allowed(&engine, &request), "nothing is known of that clock");
    request.facts.request.tell_time(NOW, &TimeZone::utc(), Some(&app));
    assert!(is_allowed(&engine, &request));
}
