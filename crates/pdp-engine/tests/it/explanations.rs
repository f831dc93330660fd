//! What two readers are told, for every reason the engine can give (PO-15).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use model::decision::{DrivenFixes, FactRead};
use model::{AccessRequest, Action, Explanation, PolicyDecisionPoint, Principal, Reason, Remedy};

use crate::support::*;

const POLICIES: &str = r#"
@id("staff") @title("staff read the wiki")
permit (principal in Group::"staff", action in Action::"http", resource in App::"wiki")
when { context.auth.mfa && context.risk.points < 50 } unless { context.net.tor };
@id("payroll") permit (principal in Group::"staff", action in Action::"http", resource in App::"payroll");
@id("batch") permit (principal is Workload, action in Action::"http", resource in App::"payroll");
@id("fresh") @class("step_up") @stage("1")
forbid (principal, action == Action::"http.delete", resource in App::"payroll")
when { context.auth.step_up_age_secs > 300 };
@id("tor") @stage("3") @reason("network") forbid (principal, action == Action::"http.put", resource) when { context.net.tor };
@id("unmanaged") @stage("2") @reason("device_not_compliant")
forbid (principal, action == Action::"http.post", resource) unless { context.device.managed.ok };
@id("unknown-device") @stage("2") @reason("device_unknown")
forbid (principal, action == Action::"http.patch", resource) unless { context.device.known };
@id("risky") @stage("4") @reason("risk")
forbid (principal, action == Action::"http.options", resource) when { context.risk.points >= 100 };
@id("stale") @stage("4") @reason("facts_stale")
forbid (principal, action == Action::"http.head", resource) when { context.risk.age_secs > 60 };
@id("closed") forbid (principal in Group::"contractors", action == Action::"http.delete", resource in App::"payroll");
@id("frozen") forbid (principal, action == Action::"http.delete", resource in App::"wiki");
@id("encrypted") @class("step_up") @stage("2")
forbid (principal, action == Action::"http.options", resource in App::"wiki")
unless { context.device.encrypted.ok && context.device.encrypted.age_secs <= 86400 };
@id("granted") permit (principal, action == Action::"http.get", resource in App::"payroll") when { context.session.granted };
@id("overflow") forbid (principal, action == Action::"http.other", resource)
when { context.risk.points + 9223372036854775807 > 5 };
"#;

fn read(fact: &FactRead) -> String {
    let age = fact.age_secs.map(|age| format!(", {age} s old")).unwrap_or_default();
    let level = fact.level.map(|level| format!(", level {level}")).unwrap_or_default();
    format!("{} = {} ({}{age}{level})", fact.path, fact.value, fact.source)
}

fn render(request: &AccessRequest, told: &Explanation) -> String {
    let mut text = String::new();
    let decision = &told.decision;
    let asked = format!("{} {} {}", request.principal, request.action, request.resource);
    writeln!(text, "{asked}\n  {} {}", decision.effect, decision.reason).unwrap();
    writeln!(text, "  stages: {}", told.failed_stages.join(", ")).unwrap();
    for part in &told.policies {
        let role = if part.is_determining { "decided" } else { "nearest" };
        writeln!(text, "  {role}: {} ({}) {}", part.id, part.set.as_str(), part.declared_at).unwrap();
        part.title.iter().for_each(|title| writeln!(text, "    title: {title}").unwrap());
        part.failing_conditions.iter().for_each(|condition| writeln!(text, "    false: {condition}").unwrap());
        for fact in &part.facts {
            writeln!(text, "    {}", read(fact)).unwrap();
        }
        part.error.iter().for_each(|error| writeln!(text, "    error: {error}").unwrap());
    }
    for fix in &decision.fix {
        let (name, facts) = (fix.remedy.as_str(), fix.facts.join(", "));
        writeln!(text, "  fix: {name} {} {} s: {facts}", fix.acr_values, fix.max_age_secs).unwrap();
    }
    told.unmet.iter().for_each(|fact| writeln!(text, "  unmet: {}", read(fact)).unwrap());
    writeln!(text, "  user: {}", told.user_text).unwrap();
    text
}

fn questions() -> Vec<AccessRequest> {
    let mut public = ask(Principal::Anonymous, Action::HttpGet, "wiki/pages");
    public.is_public_path = true;
    let with = |request: AccessRequest, change: &dyn Fn(&mut AccessRequest)| {
        let mut request = request;
        request.facts.risk.points = 0;
        change(&mut request);
        request
    };
    let alice = |action, path| ask(user(ALICE), action, path);
    let batch = Principal::Workload(Arc::from("spiffe://corp.test/batch"));
    let tried = |request: &mut AccessRequest| {
        request.facts.auth.mfa = false;
        request.facts.auth.step_up_age_secs = 5;
        request.step_up.completed_rounds = vec![vec![Remedy::Mfa]; 2];
    };
    let packets = |request: &mut AccessRequest| request.step_up.drives = DrivenFixes::NONE;
    vec![
        public,
        with(alice(Action::HttpGet, "wiki/pages"), &|_| {}),
        alice(Action::HttpGet, "wiki/pages"),
        with(alice(Action::HttpGet, "wiki/pages"), &|request| request.facts.auth.mfa = false),
        ask(user(BOB), Action::HttpGet, "wiki/pages"),
        ask(user(BOB), Action::HttpGet, "payroll/records"),
        ask(user(BOB), Action::HttpDelete, "payroll/records"),
        alice(Action::HttpDelete, "payroll/records"),
        with(alice(Action::HttpGet, "wiki/pages"), &tried),
        with(alice(Action::HttpDelete, "payroll/records"), &packets),
        ask(batch, Action::HttpDelete, "payroll/records"),
        ask(Principal::Anonymous, Action::HttpGet, "wiki/pages"),
        alice(Action::HttpGet, "typo/all"),
        alice(Action::HttpGet, "nowhere"),
        ask(user(DAVE_DISABLED), Action::HttpGet, "wiki"),
        with(alice(Action::HttpPut, "payroll/records"), &|request| request.facts.net.tor = true),
        with(alice(Action::HttpDelete, "wiki/pages"), &|_| {}),
        with(alice(Action::HttpOptions, "wiki/pages"), &|_| {}),
        alice(Action::HttpPost, "payroll"),
        alice(Action::HttpPatch, "payroll"),
        alice(Action::HttpOptions, "payroll"),
        alice(Action::HttpHead, "payroll"),
        alice(Action::HttpOther, "payroll"),
    ]
}

#[test]
fn every_reason_is_explained_to_both_readers() {
    let engine = engine(POLICIES);
    let mut text = String::new();
    let mut seen = BTreeSet::new();
    for request in questions() {
        let told = engine.explain(&request, NOW);
        assert_eq!(told.decision, engine.decide(&request, NOW));
        seen.insert(told.decision.reason);
        text.push_str(&render(&request, &told));
    }
    let expected = BTreeSet::from([
        Reason::Allow,
        Reason::AllowPublic,
        Reason::DeviceNotCompliant,
        Reason::DeviceUnknown,
        Reason::FactsStale,
        Reason::Forbidden,
        Reason::GrantRequired,
        Reason::LoginRequired,
        Reason::Network,
        Reason::NoRule,
        Reason::NotPermitted,
        Reason::PolicyError,
        Reason::Risk,
        Reason::StepUpDevice,
        Reason::StepUpImpossible,
        Reason::StepUpLoop,
        Reason::StepUpMfa,
        Reason::StepUpRequired,
        Reason::UnknownType,
        Reason::UserDisabled,
    ]);
    assert_eq!(seen, expected);
    insta::assert_snapshot!(text);
}

#[test]
fn the_person_never_reads_thresholds_groups_or_policy_names() {
    let engine = engine(POLICIES);
    for request in questions() {
        let told = engine.explain(&request, NOW);
        for secret in ["300", "50", "100", "staff", "contractors", "t/", "points"] {
            assert!(!told.user_text.contains(secret), "{}", told.user_text);
        }
    }
}
