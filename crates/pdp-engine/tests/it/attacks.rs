//! The pitfalls of that an engine can fall into (T-1 to T-4, T-10, T-12, T-13).

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Action, PolicyDecisionPoint, Reason};
use pdp_engine::{
    CompiledPolicies, Engine, MAX_NESTING, MAX_POLICIES, MAX_POLICY_BYTES, MAX_SOURCE_BYTES, PolicySource,
};

use crate::support::*;

const OVERFLOW: &str = "context.risk.points + 9223372036854775807 > 5";

#[test]
fn an_erroring_forbid_does_not_open_the_door() {
    // T-1: Cedar skips a policy that raises an error.
    let engine = engine(&format!(
        r#"@id("all") permit (principal, action, resource);
           @id("risky") forbid (principal, action, resource) when {{ {OVERFLOW} }};"#
    ));
    let decision = decide(&engine, &ask(user(ALICE), Action::HttpGet, "wiki"));
    assert_eq!(short(&decision), "DENY deny.error t/risky");
}

#[test]
fn an_erroring_policy_of_any_set_denies() {
    for policy in ["permit", "@class(\"step_up\") forbid", "@class(\"deny\") forbid"] {
        let engine = engine(&format!(
            r#"@id("all") permit (principal, action, resource);
               @id("bad") {policy} (principal, action, resource) when {{ {OVERFLOW} }};"#
        ));
        let decision = decide(&engine, &ask(user(ALICE), Action::HttpGet, "wiki"));
        assert_eq!(decision.reason, Reason::PolicyError, "{policy}");
    }
}

#[test]
fn an_error_that_only_the_remedied_question_meets_denies() {
    let engine = engine(
        r#"@id("all") permit (principal, action, resource);
           @id("fresh") @class("step_up") forbid (principal, action, resource)
           when { context.auth.step_up_age_secs > 5 };
           @id("bad") forbid (principal, action, resource)
           when { context.auth.step_up_age_secs == 0 && context.risk.points + 9223372036854775807 > 5 };"#,
    );
    assert_eq!(short(&decide(&engine, &ask(user(ALICE), Action::HttpGet, "wiki"))), "DENY deny.error t/bad");
}

#[test]
fn a_forbid_scoped_by_an_action_group_holds() {
    // T-2: entity stores built without the schema hold no action groups and every such forbid vanishes.
    let engine = engine(
        r#"@id("all") permit (principal, action, resource);
           @id("none") forbid (principal, action in Action::"door", resource);
           @id("write") forbid (principal, action, resource) when { action in Action::"write" };"#,
    );
    let get = decide(&engine, &ask(user(ALICE), Action::HttpGet, "wiki"));
    assert_eq!(short(&get), "DENY deny.policy t/none");
    let delete = decide(&engine, &ask(user(ALICE), Action::HttpDelete, "wiki"));
    assert_eq!(short(&delete), "DENY deny.policy t/none,t/write");
}

#[test]
fn a_prefix_of_letters_opens_more_than_a_segment() {
    // T-4: `like` knows no segments; the segments of the canonical path do.
    let engine = engine(
        r#"@id("letters") permit (principal, action == Action::"http.get", resource)
           when { context.request.path like "/admin*" };
           @id("segment") permit (principal, action == Action::"http.head", resource)
           when { context.request.segments.contains("admin") };"#,
    );
    for (path, letters, segment) in [("/admin/x", true, true), ("/administrator", true, false), ("/x", false, false)] {
        for (action, expected) in [(Action::HttpGet, letters), (Action::HttpHead, segment)] {
            let mut request = ask(user(ALICE), action, "wiki");
            request.facts.request.path = path.to_owned();
            request.facts.request.segments = path.split('/').skip(1).map(str::to_owned).collect();
            assert_eq!(is_allowed(&engine, &request), expected, "{action} {path}");
        }
    }
}

#[test]
fn two_files_with_one_id_cannot_hide_each_other() {
    // T-10: of two policies with one id neither would be sure to run.
    let file = |text: &str| PolicySource { file: "crm.cedar".into(), text: text.into() };
    let permit = file("@id(\"a\") permit (principal, action, resource);");
    let forbid = file("@id(\"a\") forbid (principal, action, resource);");
    let problems = CompiledPolicies::compile(&[permit, forbid]).unwrap_err();
    assert!(problems[0].to_string().contains("the id `crm/a` is taken"), "{}", problems[0]);
}

fn refused(text: &str) -> String {
    let problems = CompiledPolicies::compile(&[source(text)]).expect_err(text);
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_tag_read_without_a_test_and_comparisons_across_types_are_refused() {
    // T-3: at run time the first raises an error and the second is silently false.
    let permit = |condition: &str| format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
    assert!(refused(&permit("resource.getTag(\"x\").contains(\"y\")")).contains("t.cedar:1:"));
    assert!(refused(&permit("context.risk.points == \"5\"")).contains("t.cedar:1:"));
    assert!(refused(&permit("context.auth.mfaa")).contains("mfa"));
}

#[test]
fn access_through_more_than_one_entity_is_refused() {
    // Level 1: attributes of principal and resource, nothing behind them.
    let ok = "@id(\"a\") permit (principal, action, resource) when { resource.label == \"internal\" };";
    assert!(CompiledPolicies::compile(&[source(ok)]).is_ok());
    let literal = "@id(\"a\") permit (principal, action, resource) when { App::\"wiki\".label == \"internal\" };";
    assert!(refused(literal).contains("level"), "{}", refused(literal));
}

#[test]
fn extension_functions_are_refused_with_the_native_fact() {
    let permit = |condition: &str| format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
    assert!(refused(&permit("ip(\"10.0.0.1\").isIpv4()")).contains("context.net.zones"));
    assert!(refused(&permit("decimal(\"1.0\") == decimal(\"1.0\")")).contains("context.risk.points"));
    assert!(refused(&permit("datetime(\"2026-01-01\") == datetime(\"2026-01-01\")")).contains("epoch_secs"));
}

#[test]
fn templates_are_refused() {
    let template = "@id(\"a\") permit (principal == ?principal, action, resource);";
    assert!(refused(template).contains("templates are not supported"), "{}", refused(template));
}

/// Compiles and decides on a thread with a small stack, as workers of the server have; gives what came of it.
fn abuse(condition: String) -> Result<Reason, String> {
    let text = format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
    let run = move || {
        let policies = CompiledPolicies::compile(&[source(&text)]).map_err(|problems| problems[0].to_string())?;
        let engine = Engine::new(Arc::new(policies), &apps(), directory(), 1).unwrap();
        let mut request = ask(user(ALICE), Action::HttpGet, "wiki");
        request.facts.request.path = "/".to_owned() + &"a".repeat(8 * 1024);
        let warm = engine.decide(&request, NOW);
        let started = Instant::now();
        assert_eq!(engine.decide(&request, NOW), warm);
        let budget = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 10 });
        assert!(started.elapsed() < budget, "{:?} for {warm:?}", started.elapsed());
        Ok(warm.reason)
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().expect("no panic")
}

#[test]
fn hostile_policies_are_refused_or_evaluate_quickly() {
    let refused = |condition: String, why: &str| {
        let problem = abuse(condition).expect_err(why);
        assert!(problem.contains(why), "{why}: {problem}");
    };
    let evaluates = |condition: String, expected: Reason| {
        let shown: String = condition.chars().take(40).collect();
        assert_eq!(abuse(condition), Ok(expected), "{shown}");
    };
    let nested = |n: usize| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    refused(nested(MAX_NESTING), "levels of brackets");
    evaluates(nested(MAX_NESTING - 1), Reason::Allow);
    refused("[".repeat(10_000), "levels of brackets");
    refused(vec!["true"; 5_000].join(" && "), "operators");
    refused(vec!["true"; 257].join(" || "), "operators");
    evaluates(vec!["context.auth.mfa"; 20].join(" && "), Reason::Allow);
    refused(format!("context.request.path like \"{}\"", "*a".repeat(1_000)), "`like`");
    evaluates(format!("context.request.path like \"{}b\"", "*a".repeat(100)), Reason::NotPermitted);
    let set: Vec<String> = (0..3_000).map(|n| format!("\"segment-{n}\"")).collect();
    evaluates(format!("[{}].containsAll(context.request.segments)", set.join(",")), Reason::Allow);
    refused(format!("context.request.path == \"{}\"", "x".repeat(MAX_POLICY_BYTES)), "bytes");
    evaluates(format!("context.request.path == \"{}\"", "x".repeat(MAX_POLICY_BYTES / 2)), Reason::NotPermitted);
    refused(format!("{}true", "!".repeat(400)), "t.cedar:1:");
    refused("if true then ".repeat(2_000), "`if`s");
    refused(format!("{}false", "if context.auth.mfa then true else ".repeat(33)), "`if`s");
    evaluates(format!("{}false", "if context.auth.mfa then true else ".repeat(32)), Reason::Allow);
}

#[test]
fn the_longest_chain_that_compiles_never_kills_the_process() {
    // In an optimised build it evaluates; with the large frames of a debug build Cedar may stop it: then the answer is no.
    let answer = abuse(vec!["context.auth.mfa"; 120].join(" && ")).unwrap();
    assert!(answer == Reason::Allow || (cfg!(debug_assertions) && answer == Reason::PolicyError), "{answer}");
}

#[test]
fn more_text_or_policies_than_allowed_are_refused_with_the_count() {
    let big = PolicySource { file: "big.cedar".into(), text: " ".repeat(MAX_SOURCE_BYTES + 1) };
    let problems = CompiledPolicies::compile(&[big]).unwrap_err();
    assert!(problems[0].to_string().contains(&(MAX_SOURCE_BYTES + 1).to_string()), "{}", problems[0]);
    let many = PolicySource { file: "many.cedar".into(), text: "a;".repeat(MAX_POLICIES + 1) };
    let problems = CompiledPolicies::compile(&[many]).unwrap_err();
    assert!(problems[0].to_string().contains("there are 50001 policies; 50000 are allowed"), "{}", problems[0]);
}

#[test]
fn a_thousand_reloads_during_load_never_mix_versions() {
    // T-12: every answer comes from one whole version; old versions stay right while new ones are made.
    let open = compile("@id(\"a\") permit (principal in Group::\"staff\", action, resource);");
    let request = ask(user(ALICE), Action::HttpGet, "wiki/pages");
    let member = Engine::new(open.clone(), &apps(), directory(), 1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 0..1_000 {
                let groups = if version % 2 == 0 { ["staff"] } else { ["contractors"] };
                let engine = Engine::new(open.clone(), &apps(), directory_with(&groups), version).unwrap();
                let decision = engine.decide(&request, NOW);
                assert_eq!(decision.reason == Reason::Allow, version % 2 == 0);
                assert_eq!(decision.pins.entities_version, version);
            }
        });
        for _ in 0..1_000 {
            assert!(is_allowed(&member, &request));
        }
    });
}
