//! What a refused person is asked for, and what keeps that from becoming a loop, an oracle or a promise (PO-5 to PO-12).

use std::sync::Arc;

use model::decision::{DrivenFixes, StepUpContext};
use model::{AccessRequest, Action, Decision, Fix, PolicyDecisionPoint, Principal, Reason, Remedy};
use pdp_engine::Engine;

use crate::support::*;

/// A delete takes a fresh confirmation and a device that is known; a put takes a patched device for good.
const PAYROLL: &str = r#"
@id("staff") permit (principal in Group::"staff", action in Action::"http", resource in App::"payroll");
@id("service") permit (principal == Workload::"spiffe://corp.test/batch", action, resource in App::"payroll");
@id("fresh") @class("step_up") @stage("1")
forbid (principal, action == Action::"http.delete", resource in App::"payroll")
when { context.auth.step_up_age_secs > 300 };
@id("known") @class("step_up") @stage("2")
forbid (principal, action == Action::"http.post", resource in App::"payroll")
unless { context.device.known };
@id("both") @class("step_up") @stage("2")
forbid (principal, action == Action::"http.put", resource in App::"payroll")
unless { context.device.known && context.auth.step_up_age_secs <= 300 };
@id("patched") @stage("2") @reason("device_not_compliant")
forbid (principal, action == Action::"http.patch", resource in App::"payroll")
unless { context.device.os_patched.ok };
"#;

/// `STEP_UP step_up.reauth t/fresh -> reauth`
fn row(decision: &Decision) -> String {
    format!("{} -> {}", short(decision), fixes(decision))
}

fn alice(action: Action) -> AccessRequest {
    ask(user(ALICE), action, "payroll/records")
}

fn with(mut request: AccessRequest, context: StepUpContext) -> AccessRequest {
    request.step_up = context;
    request
}

fn check(request: &AccessRequest, want: &str) {
    assert_eq!(row(&decide(&engine(PAYROLL), request)), want);
}

#[test]
fn everything_that_is_missing_is_asked_for_at_once_and_judged_afresh() {
    let engine = engine(PAYROLL);
    let mut request = alice(Action::HttpPut);
    assert_eq!(row(&decide(&engine, &request)), "STEP_UP step_up.reauth t/both -> enrol+reauth");
    request.facts.device.known = true;
    assert_eq!(row(&decide(&engine, &request)), "STEP_UP step_up.reauth t/both -> reauth");
    request.facts.auth.step_up_age_secs = 0;
    assert!(is_allowed(&engine, &request));
    request.facts.device.known = false;
    assert_eq!(row(&decide(&engine, &request)), "STEP_UP step_up.device t/both -> enrol");
}

#[test]
fn a_fix_names_the_facts_it_changes_and_how_fresh_they_must_be() {
    let decision = decide(&engine(PAYROLL), &alice(Action::HttpPut));
    let named: Vec<(Remedy, i64, Vec<&str>)> = decision
        .fix
        .iter()
        .map(|fix| (fix.remedy, fix.max_age_secs, fix.facts.iter().map(|fact| &**fact).collect()))
        .collect();
    // Payroll is of high sensitivity: where no rule compares an age, a quarter of an hour.
    let enrol = (Remedy::Enrol, 900, vec!["context.device.known"]);
    let reauth = (Remedy::Reauth, 300, vec!["context.auth.step_up_age_secs"]);
    assert_eq!(named, [enrol, reauth]);
}

#[test]
fn a_hard_forbid_that_holds_now_stays_a_refusal_and_tells_what_would_help() {
    check(&alice(Action::HttpPatch), "DENY deny.device_posture t/patched -> patch");
    let told = engine(PAYROLL).explain(&alice(Action::HttpPatch), NOW);
    assert!(told.user_text.ends_with("Install the pending system updates on this device."), "{}", told.user_text);
    assert!(!told.decision.policies.is_empty() && told.failed_stages == ["device"]);
}

#[test]
fn a_remedy_that_turns_a_forbid_on_is_not_taken_for_harmless() {
    // A second factor would open the soft forbid, but for people with one there is a hard forbid.
    let engine = engine(
        r#"@id("all") permit (principal, action, resource);
           @id("factor") @class("step_up") forbid (principal, action, resource)
           unless { context.auth.mfa || context.device.known };
           @id("trap") forbid (principal, action, resource) when { context.auth.mfa && !context.device.known };"#,
    );
    let mut request = alice(Action::HttpGet);
    request.facts.auth.mfa = false;
    let decision = decide(&engine, &request);
    assert_eq!(row(&decision), "STEP_UP step_up.device t/factor -> enrol");
}

fn rounds(rounds: &[&[Remedy]]) -> StepUpContext {
    StepUpContext { completed_rounds: rounds.iter().map(|round| round.to_vec()).collect(), ..StepUpContext::browser() }
}

const REAUTH: &[Remedy] = &[Remedy::Reauth];
const MFA: &[Remedy] = &[Remedy::Mfa];
const ENROL: &[Remedy] = &[Remedy::Enrol];

#[test]
fn the_third_round_of_one_step_up_that_never_helps_is_refused_and_says_what_is_missing() {
    // T-7: the person confirms, but what they have is no second factor, or the rule wants more than anybody can give.
    let engine = engine(
        r#"@id("all") permit (principal, action, resource);
           @id("factor") @class("step_up") forbid (principal, action == Action::"http.get", resource)
           unless { context.auth.mfa };
           @id("now") @class("step_up") forbid (principal, action == Action::"http.delete", resource)
           when { context.auth.step_up_age_secs > 0 };
           @id("known") @class("step_up") forbid (principal, action == Action::"http.put", resource)
           unless { context.device.known };"#,
    );
    let third = |action, tried: &[&[Remedy]]| {
        let mut request = with(alice(action), rounds(tried));
        (request.facts.auth.mfa, request.facts.auth.step_up_age_secs) = (false, 5);
        request
    };
    let check = |action, tried: &[&[Remedy]], want: &str| {
        assert_eq!(row(&decide(&engine, &third(action, tried))), want, "{tried:?}");
    };
    for tried in [vec![], vec![MFA], vec![MFA, ENROL], vec![REAUTH, REAUTH, ENROL, ENROL]] {
        check(Action::HttpGet, &tried, "STEP_UP step_up.mfa t/factor -> mfa");
    }
    check(Action::HttpGet, &[MFA, ENROL, MFA], "DENY deny.step_up_loop t/factor -> mfa");
    check(Action::HttpDelete, &[REAUTH, REAUTH], "DENY deny.step_up_loop t/now -> reauth");
    check(Action::HttpPut, &[ENROL, ENROL], "DENY deny.step_up_loop t/known -> enrol");
    let told = engine.explain(&third(Action::HttpGet, &[MFA, MFA]), NOW);
    assert!(told.user_text.ends_with("Still missing: Confirm with a second factor."), "{}", told.user_text);
}

#[test]
fn a_confirmation_that_helped_and_ran_out_is_no_loop() {
    let tried = |age| {
        let mut request = with(alice(Action::HttpDelete), rounds(&[REAUTH, REAUTH]));
        request.facts.auth.step_up_age_secs = age;
        request
    };
    check(&tried(300), "ALLOW allow t/staff -> ");
    check(&tried(301), "STEP_UP step_up.reauth t/fresh -> reauth");
    // Two rounds for other actions of the app leave this one unconfirmed.
    check(&tried(model::facts::NEVER_SECS), "STEP_UP step_up.reauth t/fresh -> reauth");
}

#[test]
fn what_the_door_cannot_drive_is_a_refusal_with_advice() {
    let auth = DrivenFixes { auth: true, ..DrivenFixes::NONE };
    let driving = |drives| StepUpContext { drives, ..StepUpContext::default() };
    let fresh = alice(Action::HttpDelete);
    check(&with(fresh.clone(), driving(auth)), "STEP_UP step_up.reauth t/fresh -> reauth");
    check(&with(fresh, driving(DrivenFixes::NONE)), "DENY deny.policy t/fresh -> reauth");
    // One that cannot be driven is enough: half a step-up helps nobody.
    check(&with(alice(Action::HttpPut), driving(auth)), "DENY deny.policy t/both -> enrol+reauth");
    check(&with(alice(Action::HttpPost), driving(auth)), "DENY deny.policy t/known -> enrol");
}

#[test]
fn a_workload_is_never_asked_and_the_administrator_reads_what_it_lacks() {
    let batch = Principal::Workload(Arc::from("spiffe://corp.test/batch"));
    let lacking = |action| ask(batch.clone(), action, "payroll/records");
    check(&lacking(Action::HttpGet), "ALLOW allow t/service -> ");
    check(&lacking(Action::HttpDelete), "DENY deny.step_up_impossible t/fresh -> ");
    check(&lacking(Action::HttpPatch), "DENY deny.device_posture t/patched -> ");
    let told = engine(PAYROLL).explain(&lacking(Action::HttpDelete), NOW);
    let unmet: Vec<&str> = told.unmet.iter().map(|fact| fact.path.as_str()).collect();
    assert_eq!(unmet, ["context.auth.step_up_age_secs"]);
    assert!(!told.user_text.contains("Sign in"), "{}", told.user_text);
}

#[test]
fn a_stranger_learns_no_fix() {
    // T-8: otherwise the answers tell an outsider which devices, confirmations and grants the insiders need.
    for action in [Action::HttpGet, Action::HttpDelete, Action::HttpPost, Action::HttpPut, Action::HttpPatch] {
        let decision = decide(&engine(PAYROLL), &ask(user(BOB), action, "payroll/records"));
        assert_eq!((decision.effect, fixes(&decision)), (model::Effect::Deny, String::new()), "{action}");
    }
    let told = engine(PAYROLL).explain(&ask(user(BOB), Action::HttpPatch, "payroll/records"), NOW);
    assert_eq!(told.user_text, Reason::DeviceNotCompliant.sentence());
    assert!(told.unmet.is_empty());
    // Who administers still sees which rule held.
    assert_eq!(&*told.decision.policies[0].id, "t/patched");
}

#[test]
fn a_grant_is_offered_only_where_it_can_be_asked_for() {
    let engine = engine(
        r#"@id("here") permit (principal, action, resource in App::"payroll") when { context.session.granted };
           @id("there") permit (principal, action, resource in App::"wiki") when { context.session.granted };"#,
    );
    let asked = |path| ask(user(BOB), Action::HttpGet, path);
    assert_eq!(row(&decide(&engine, &asked("payroll/records"))), "STEP_UP step_up.approval -> grant");
    assert_eq!(row(&decide(&engine, &asked("wiki/pages"))), "DENY deny.default -> ");
    let only = StepUpContext { only_fix: Some(Arc::from([Remedy::Grant])), ..StepUpContext::browser() };
    assert_eq!(row(&decide(&engine, &with(asked("wiki/pages"), only))), "DENY deny.default -> ");
    assert_eq!(engine.ways_in(&asked("wiki/pages"), NOW), Vec::<Vec<Fix>>::new());
}

#[test]
fn after_too_many_questions_only_the_last_set_is_tried() {
    let only = |remedies: &[Remedy]| StepUpContext { only_fix: Some(Arc::from(remedies)), ..StepUpContext::browser() };
    let asked = |action, remedies: &[Remedy]| with(alice(action), only(remedies));
    check(&asked(Action::HttpDelete, &[Remedy::Reauth]), "STEP_UP step_up.reauth t/fresh -> reauth");
    check(&asked(Action::HttpDelete, &[Remedy::Passkey]), "STEP_UP step_up.mfa t/fresh -> passkey");
    // Neither the smallest set nor a part of the answer is worked out.
    check(&asked(Action::HttpPut, &[Remedy::Reauth]), "DENY deny.policy t/both -> ");
    check(&asked(Action::HttpDelete, &[]), "DENY deny.policy t/fresh -> ");
    check(&asked(Action::HttpPatch, &[Remedy::Encrypt]), "DENY deny.device_posture t/patched -> ");
}

fn ways(engine: &Engine, request: &AccessRequest) -> Vec<String> {
    let ways = engine.ways_in(request, NOW);
    ways.iter().map(|way| way.iter().map(|fix| fix.remedy.as_str()).collect::<Vec<_>>().join("+")).collect()
}

#[test]
fn all_ways_in_are_listed_cheapest_first() {
    let engine = engine(
        r#"@id("any") permit (principal in Group::"staff", action, resource in App::"payroll")
           when { context.auth.phishing_resistant || context.session.granted
               || (context.device.encrypted.ok && context.auth.step_up_age_secs < 60) };"#,
    );
    let mut request = alice(Action::HttpGet);
    request.facts.auth.phishing_resistant = false;
    assert_eq!(ways(&engine, &request), ["passkey", "encrypt+reauth", "grant", "encrypt+mfa"]);
    assert_eq!(fixes(&decide(&engine, &request)), "passkey");
    // What a door can drive and what was tried does not matter to who administers.
    assert_eq!(ways(&engine, &with(request.clone(), StepUpContext::default())).len(), 4);
    request.facts.auth.phishing_resistant = true;
    assert!(ways(&engine, &request).is_empty(), "it is open already");
}

#[test]
fn there_are_no_ways_in_for_who_cannot_act() {
    let engine = engine(PAYROLL);
    let batch = Principal::Workload(Arc::from("spiffe://corp.test/batch"));
    for principal in [Principal::Anonymous, batch, user(BOB), user(DAVE_DISABLED)] {
        assert!(ways(&engine, &ask(principal, Action::HttpDelete, "payroll/records")).is_empty());
    }
    assert!(ways(&engine, &ask(user(ALICE), Action::HttpDelete, "nowhere")).is_empty());
    assert_eq!(ways(&engine, &alice(Action::HttpPatch)), ["patch"], "the way past a hard forbid is told too");
}
