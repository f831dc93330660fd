//! Rules between answers (T-10, PO-5, PO-29): index equals full scan, fixes included; forbids never open, permits never
//! close; what is told opens, and all of it is needed; order is nothing.

use std::sync::Arc;

use model::{AccessRequest, Action, App, Decision, Effect, Facts, Fix, PolicyDecisionPoint, Principal, Reason};
use pdp_engine::{CompiledPolicies, Engine};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::oracle::{Answer, Oracle};
use crate::reference;
use crate::support::*;

fn pick(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

const EFFECTS: &[&str] =
    &["permit", "permit", "permit", "forbid", "@class(\"step_up\") forbid", "@mode(\"shadow\") permit"];
const PRINCIPALS: &[&str] = &[
    "principal",
    "principal is User",
    "principal is Workload",
    "principal == User::\"usr_aaaaaaaaaaaaaaaaaaaaaaaaae\"",
    "principal == User::\"anonymous\"",
    "principal == Workload::\"spiffe://corp.test/batch\"",
    "principal in Group::\"staff\"",
    "principal in Group::\"engineering\"",
    "principal is User in Group::\"contractors\"",
    "principal in Group::\"nobody\"",
];
const ACTIONS: &[&str] = &[
    "action",
    "action == Action::\"http.get\"",
    "action == Action::\"http.delete\"",
    "action in Action::\"door\"",
    "action in [Action::\"write\", Action::\"http.head\"]",
];
const RESOURCES: &[&str] = &[
    "resource",
    "resource is App",
    "resource is Route",
    "resource == App::\"wiki\"",
    "resource in App::\"wiki\"",
    "resource is Route in App::\"payroll\"",
    "resource == Route::\"payroll/records\"",
    "resource in Route::\"wiki/pages\"",
];
const CONDITIONS: &[&str] = &[
    "",
    "when { context.auth.mfa }",
    "when { context.auth.step_up_age_secs > 300 }",
    "unless { context.auth.phishing_resistant }",
    "when { resource.sensitivity == \"low\" }",
    "when { action in Action::\"write\" }",
    "when { !context.auth.mfa }",
    "unless { context.device.encrypted.ok && context.device.encrypted.age_secs <= 86400 }",
    "when { context.device.known && context.device.managed.ok }",
    "when { context.session.granted && !context.device.compliant.ok }",
    "when { context.session.granted || context.device.os_patched.age_secs < 10 }",
    "when { context.risk.points > 40 && context.risk.points + 9223372036854775800 > 5 }",
];

/// One policy without its `@id`.
fn policy() -> impl Strategy<Value = String> {
    (pick(EFFECTS), pick(PRINCIPALS), pick(ACTIONS), pick(RESOURCES), pick(CONDITIONS)).prop_map(
        |(effect, principal, action, resource, condition)| {
            format!("{effect} ({principal}, {action}, {resource}) {condition};")
        },
    )
}

fn text(policies: &[String]) -> String {
    policies.iter().enumerate().map(|(n, policy)| format!("@id(\"p{n}\") {policy}\n")).collect()
}

fn question() -> impl Strategy<Value = AccessRequest> {
    let principals = vec![
        Principal::Anonymous,
        user(ALICE),
        user(BOB),
        user(CAROL),
        Principal::Workload(Arc::from("spiffe://corp.test/batch")),
    ];
    let actions = vec![Action::HttpGet, Action::HttpDelete, Action::HttpHead, Action::PortalSignin, Action::AdminRead];
    let resources = vec!["wiki", "wiki/pages", "payroll/records", "payroll", "countersign/console"];
    (
        prop::sample::select(principals),
        prop::sample::select(actions),
        prop::sample::select(resources),
        prop::sample::select(vec![5_i64, 300, 301, 1_000_000_000]),
        any::<(bool, bool)>(),
        prop::sample::select(vec![0_i64, 41]),
    )
        .prop_map(|(principal, action, resource, step_up, (mfa, phr), points)| {
            let mut request = ask(principal, action, resource);
            request.facts.auth.step_up_age_secs = step_up;
            request.facts.auth.mfa = mfa;
            request.facts.auth.phishing_resistant = phr;
            request.facts.risk.points = points;
            request
        })
}

fn answers(policies: &str, questions: &[AccessRequest]) -> Vec<Decision> {
    let engine = engine(policies);
    questions.iter().map(|request| decide(&engine, request)).collect()
}

fn ids(decision: &Decision) -> Vec<String> {
    decision.policies.iter().map(|policy| policy.id.to_string()).collect()
}

fn names(fix: &[Fix]) -> Vec<&str> {
    fix.iter().map(|fix| fix.remedy.as_str()).collect()
}

fn agrees(oracle: &Oracle, request: &AccessRequest, decision: &Decision) {
    let all: Vec<App> = apps().iter().map(|app| (**app).clone()).collect();
    let people = directory();
    let posed = oracle.pose(request, &all, &people);
    let ask = |facts: &Facts| posed.answer(facts);
    let got = (decision.effect, decision.reason, ids(decision), fixes(decision));
    let said = |effect, reason, ids: Vec<String>, fix: &str| (effect, reason, ids, fix.to_owned());
    let now = ask(&request.facts);
    let expected = match now.clone() {
        Answer::Allow(permits) => said(Effect::Allow, Reason::Allow, permits, ""),
        Answer::Error(errors) => said(Effect::Deny, Reason::PolicyError, errors, ""),
        Answer::Hard(forbids) if request.principal == Principal::Anonymous => {
            // The built-in rule gives its reason; another one alone gives the usual.
            said(Effect::Deny, decision.reason, forbids, "")
        }
        // Also where a sign-in alone would not do, such as a soft rule about a page that needs none.
        Answer::Soft(forbids) if request.principal == Principal::Anonymous => {
            said(Effect::Deny, Reason::LoginRequired, forbids, "")
        }
        _ if request.principal == Principal::Anonymous => said(Effect::Deny, Reason::LoginRequired, vec![], ""),
        Answer::Hard(ids) | Answer::Soft(ids) | Answer::NotPermitted(ids) => {
            let is_requestable = request.resource.app.as_str() == "payroll";
            let found = reference::fix(&request.facts, is_requestable, &ask);
            match (found, &request.principal) {
                (Err(errors), _) => said(Effect::Deny, Reason::PolicyError, errors, ""),
                (Ok(Some(fix)), Principal::User(_)) if !matches!(now, Answer::Hard(_)) => {
                    said(Effect::StepUp, decision.reason, ids, &fix)
                }
                (Ok(Some(_)), Principal::Workload(_)) if !matches!(now, Answer::Hard(_)) => {
                    said(Effect::Deny, Reason::StepUpImpossible, ids, "")
                }
                (Ok(Some(fix)), Principal::User(_)) => said(Effect::Deny, decision.reason, ids, &fix),
                (Ok(_), _) => said(Effect::Deny, decision.reason, ids, ""),
            }
        }
    };
    assert_eq!(got, expected, "{:?} {} {}\n{:?}", request.principal, request.action, request.resource, request.facts);
}

/// How many sets of policies are tried: more in an optimised build, which `cargo xtask ci` also runs.
const SETS: u32 = if cfg!(debug_assertions) { 12 } else { 400 };

proptest! {
    #![proptest_config(ProptestConfig { cases: SETS, max_global_rejects: 100 * SETS, ..ProptestConfig::default() })]

    #[test]
    fn the_index_answers_like_a_full_scan(
        policies in prop::collection::vec(policy(), 0..24),
        questions in prop::collection::vec(question(), 8),
    ) {
        let compiled = compile(&text(&policies));
        let engine = Engine::new(compiled.clone(), &apps(), directory(), 1).unwrap();
        let oracle = Oracle::new(&compiled);
        for request in &questions {
            agrees(&oracle, request, &decide(&engine, request));
        }
    }

    #[test]
    fn adding_a_forbid_never_allows_more(
        policies in prop::collection::vec(policy(), 0..10),
        extra in policy(),
        questions in prop::collection::vec(question(), 16),
    ) {
        prop_assume!(!extra.contains("permit"));
        let before = answers(&text(&policies), &questions);
        let more: Vec<String> = policies.into_iter().chain([extra]).collect();
        for (before, after) in before.iter().zip(answers(&text(&more), &questions)) {
            prop_assert!(before.effect == Effect::Allow || after.effect != Effect::Allow);
        }
    }

    #[test]
    fn adding_a_permit_never_denies_more(
        policies in prop::collection::vec(policy(), 0..10),
        extra in policy(),
        questions in prop::collection::vec(question(), 16),
    ) {
        // A permit that raises an error does deny more, on purpose (PO-3).
        prop_assume!(extra.contains("permit") && !extra.contains("9223372036854775800"));
        let before = answers(&text(&policies), &questions);
        let more: Vec<String> = policies.into_iter().chain([extra]).collect();
        for (before, after) in before.iter().zip(answers(&text(&more), &questions)) {
            prop_assert!(before.effect != Effect::Allow || after.effect == Effect::Allow);
        }
    }

    #[test]
    fn every_set_that_is_told_opens_and_none_of_it_can_be_left_out(
        policies in prop::collection::vec(policy(), 1..12),
        questions in prop::collection::vec(question(), 12),
    ) {
        let engine = engine(&text(&policies));
        for request in &questions {
            let opens = |names: &[&str]| {
                let facts = reference::after(&request.facts, names);
                is_allowed(&engine, &AccessRequest { facts, ..request.clone() })
            };
            let (decided, open) = (decide(&engine, request), engine.ways_in(request, NOW));
            let told = names(&decided.fix);
            let ways: Vec<Vec<&str>> = open.iter().map(|way| names(way)).collect();
            prop_assert!(told.is_empty() || ways.contains(&told), "{told:?} is not among {ways:?}");
            for way in &ways {
                prop_assert!(opens(way), "{way:?} does not open");
                for left_out in way {
                    let rest: Vec<&str> = way.iter().copied().filter(|name| name != left_out).collect();
                    prop_assert!(!opens(&rest), "{way:?} without {left_out} opens too");
                }
            }
        }
    }

    #[test]
    fn the_order_of_policies_and_files_changes_nothing(
        policies in prop::collection::vec(policy(), 2..10),
        questions in prop::collection::vec(question(), 8),
    ) {
        let lines: Vec<String> = text(&policies).lines().map(str::to_owned).collect();
        let file = |stem: &str, lines: &[String]| {
            pdp_engine::PolicySource { file: format!("{stem}.cedar"), text: lines.join("\n") }
        };
        let (left, right) = lines.split_at(lines.len() / 2);
        let reversed = |lines: &[String]| lines.iter().rev().cloned().collect::<Vec<_>>();
        let straight = CompiledPolicies::compile(&[file("a", left), file("b", right)]).unwrap();
        let turned = CompiledPolicies::compile(&[file("b", &reversed(right)), file("a", &reversed(left))]).unwrap();
        prop_assert_eq!(straight.policy_hash(), turned.policy_hash());
        let engines = [straight, turned].map(|p| Engine::new(Arc::new(p), &apps(), directory(), 1).unwrap());
        for request in &questions {
            let [a, b] = engines.each_ref().map(|engine| decide(engine, request));
            prop_assert_eq!(a, b);
        }
    }
}

#[test]
fn the_index_answers_like_a_full_scan_of_many_policies() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut draw = |n: usize| -> (Vec<String>, Vec<AccessRequest>) {
        let strategy = (prop::collection::vec(policy(), n), prop::collection::vec(question(), 5));
        strategy.new_tree(&mut runner).unwrap().current()
    };
    for size in [10, 100, 2_000] {
        let (mut policies, questions) = draw(size);
        if size > 100 {
            // Enough that most name something else than what is asked for, as in real life.
            for (n, policy) in policies.iter_mut().enumerate().filter(|(n, _)| n % 100 != 0) {
                *policy = policy.replace("resource)", &format!("resource in App::\"app-{n}\")"));
            }
        }
        let compiled = compile(&text(&policies));
        let engine = Engine::new(compiled.clone(), &apps(), directory(), 1).unwrap();
        let oracle = Oracle::new(&compiled);
        for request in &questions {
            agrees(&oracle, request, &decide(&engine, request));
        }
    }
}
