//! How long answers hold (PO-14).

use std::time::Duration;

use model::{AccessRequest, Action};

use crate::support::*;

fn held(policies: &str, request: &AccessRequest) -> Duration {
    NOW.until(decide(&engine(policies), request).hold_until)
}

fn permit(condition: &str) -> String {
    format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};")
}

#[test]
fn an_answer_holds_until_a_fact_crosses_its_literal() {
    let mut request = ask(user(ALICE), Action::HttpGet, "wiki");
    request.facts.auth.step_up_age_secs = 800;
    let check = |condition: &str, expected: u64| {
        assert_eq!(held(&permit(condition), &request), Duration::from_secs(expected), "{condition}");
    };
    check("context.auth.mfa", 300);
    check("context.auth.step_up_age_secs <= 900", 100);
    check("context.auth.step_up_age_secs < 900", 99);
    check("context.auth.step_up_age_secs <= 800", 1);
    check("context.auth.step_up_age_secs > 100", 300);
    check("context.auth.step_up_age_secs <= 900 || context.auth.step_up_age_secs <= 850", 50);
    check("context.auth.step_up_age_secs < context.session.age_secs", 1);
    check("context.auth.step_up_age_secs < 100000", 300);
}

#[test]
fn an_answer_names_the_facts_it_can_depend_on_and_no_others() {
    let request = ask(user(ALICE), Action::HttpGet, "wiki");
    let policies =
        "@id(\"a\") permit (principal, action, resource) when { context.auth.mfa && resource.sensitivity == \"low\" };
        @id(\"b\") forbid (principal, action == Action::\"http.delete\", resource) when { context.risk.known };";
    let decision = decide(&engine(policies), &request);
    let read: Vec<&str> = decision.read_set.iter().map(|path| &**path).collect();
    // The built-in identity rule covers every door; the rule about DELETE is not part of this question.
    assert_eq!(read, ["context.auth.authenticated", "context.auth.mfa", "resource.sensitivity"]);
}

#[test]
fn an_answer_ends_with_the_session() {
    let mut request = ask(user(ALICE), Action::HttpGet, "wiki");
    request.session_ends = Some(NOW + Duration::from_secs(7));
    assert_eq!(held(&permit("context.auth.mfa"), &request), Duration::from_secs(7));
    request.session_ends = Some(NOW - Duration::from_secs(7));
    assert_eq!(held(&permit("context.auth.mfa"), &request), Duration::ZERO);
}

#[test]
fn the_answer_really_stays_the_same_until_then() {
    // Walks the clock second by second and compares with the promise of the first answer.
    let conditions = [
        "context.auth.step_up_age_secs <= 30",
        "context.auth.step_up_age_secs == 40",
        "context.session.age_secs >= 3620",
        "context.request.minute_of_day != 1",
    ];
    for condition in conditions {
        let engine = engine(&permit(condition));
        let mut promised = NOW;
        let mut last = None;
        for second in 0..120_u64 {
            let now = NOW + Duration::from_secs(second);
            let mut request = ask(user(ALICE), Action::HttpGet, "wiki");
            let passed = i64::try_from(second).unwrap();
            request.facts.auth.step_up_age_secs = passed;
            request.facts.session.age_secs = 3600 + passed;
            (request.facts.request.minute_of_day, request.facts.request.weekday) = now.minute_and_weekday();
            let decision = model::PolicyDecisionPoint::decide(&engine, &request, now);
            if now < promised {
                assert_eq!(Some(decision.effect), last, "{condition} {second}");
            } else {
                promised = decision.hold_until;
                last = Some(decision.effect);
            }
        }
    }
}
