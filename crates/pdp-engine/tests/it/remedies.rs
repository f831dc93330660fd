//! Remedies of the operators' own, and the `.cedarschema` files that say what they change (PO-6, PO-32).

use std::sync::Arc;

use model::decision::FixKind;
use model::remedy::{OwnRemedy, RemedyEntry, Who};
use model::{Action, App, Effect, Freshness, PolicySettings, Remedy, RemedyList};
use pdp_engine::{CompiledPolicies, Engine, PolicyInput, PolicySource};

use crate::support::*;

const POLICIES: &str = r#"
@id("staff") permit (principal in Group::"staff", action, resource in App::"payroll");
@id("firewall") @class("step_up") @stage("2") forbid (principal, action in Action::"read", resource in App::"payroll")
unless { context.device.firewall.ok && context.device.firewall.age_secs <= 3600 };
@id("strong") @class("step_up") forbid (principal, action == Action::"http.put", resource in App::"payroll")
unless { context.auth.phishing_resistant };
"#;

fn list() -> RemedyList {
    let entry = |(id, kind, cost, en): (&str, FixKind, u8, &str)| RemedyEntry {
        remedy: Remedy::Own(OwnRemedy::new(id, kind, cost).unwrap()),
        who: Who::Admin,
        texts: [("en".to_owned(), en.to_owned())].into(),
        page: None,
        declared_at: Arc::from("remedies.yaml:1"),
    };
    let entries = [
        ("help_desk", FixKind::Device, 4, "Call the help desk"),
        ("token", FixKind::Auth, 2, "Plug in your token"),
        ("ask", FixKind::Grant, 9, "Ask"),
    ];
    RemedyList::new(entries.map(entry).to_vec())
}

fn compile_with(
    schemas: &[&str],
    remedies: &RemedyList,
    settings: &PolicySettings,
) -> Result<CompiledPolicies, Vec<String>> {
    let schemas = schemas
        .iter()
        .enumerate()
        .map(|(at, text)| PolicySource { file: format!("own{at}.cedarschema"), text: (*text).to_owned() });
    let (policies, schemas) = ([source(POLICIES)], schemas.collect::<Vec<_>>());
    let apps: &[Arc<App>] = &[];
    CompiledPolicies::compile_all(&PolicyInput { policies: &policies, schemas: &schemas, apps, remedies, settings })
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn engine_with(schemas: &[&str]) -> Engine {
    let policies = compile_with(schemas, &list(), &PolicySettings::default()).unwrap();
    Engine::new(Arc::new(policies), &apps(), directory(), 7).unwrap()
}

const FIREWALL: &str = "type Device = { @remedy_help_desk(\"ok=true,age_secs=0\") firewall: Posture };";
const TOKEN: &str = "type Auth = {\n  @remedy_token(\"true\") phishing_resistant: Bool,\n  @remedy_token(\"0\") step_up_age_secs: Long,\n};";

#[test]
fn a_fact_no_built_in_remedy_mends_is_mended_by_one_of_the_operators() {
    let get = ask(user(ALICE), Action::HttpGet, "payroll/records");
    assert_eq!(short(&decide(&engine(POLICIES), &get)), "DENY deny.policy t/firewall", "the schema offers nothing");
    let decision = decide(&engine_with(&[FIREWALL]), &get);
    assert_eq!((decision.effect, fixes(&decision)), (Effect::StepUp, "help_desk".to_owned()));
    let explained = model::PolicyDecisionPoint::explain(&engine_with(&[FIREWALL]), &get, NOW);
    assert!(explained.user_text.ends_with(" Call the help desk."), "{}", explained.user_text);
}

#[test]
fn an_own_way_to_prove_more_asks_for_the_level_it_promises_and_wins_by_cost() {
    let mut put = ask(user(ALICE), Action::HttpPut, "payroll/records");
    put.facts.auth.phishing_resistant = false;
    assert_eq!(fixes(&decide(&engine(POLICIES), &put)), "passkey");
    let decision = decide(&engine_with(&[TOKEN]), &put);
    assert_eq!(fixes(&decision), "token", "2 is less than 3");
    assert_eq!(decision.fix[0].acr_values, "phr");
}

#[test]
fn what_cannot_work_is_refused_with_place_and_nearest_word() {
    for (schema, place, says) in [
        ("type Device = {", "1:16", "not a schema"),
        ("namespace Corp { type Auth = { mfa: Bool }; }", "1:11", "no namespaces"),
        ("entity Printer;", "1:8", "one that no door asks about"),
        ("action \"print\";", "1:9", "one that no door asks about"),
        ("type Printer = { on: Bool };", "1:6", "no record of the context"),
        ("type Facts = { mfa: Bool };", "1:6", "no record of the context"),
        ("type Devices = { known: Bool };", "1:6", "did you mean `Device`?"),
        ("\ntype Device = {\n  jailbroken: Bool\n};", "3:3", "nothing brings a fact `device.jailbroken`"),
        ("type Auth = { mfaa: Bool };", "1:15", "did you mean `mfa`?"),
        ("type Auth = { mfa: String };", "1:15", "another type"),
        ("type Auth = { mfa?: Bool };", "1:15", "another type"),
        ("type Auth = { mfa: Bool };", "1:15", "says nothing new"),
        ("type Auth = { @doc(\"x\") mfa: Bool };", "1:16", "nothing reads `@doc`"),
        ("type Auth = { @remedy_tokn(\"true\") mfa: Bool };", "1:16", "did you mean `token`?"),
        ("type Auth = { @remedy_token(\"yes\") mfa: Bool };", "1:16", "nothing a remedy can make of `auth.mfa`"),
        ("type Net = { @remedy_token(\"false\") tor: Bool };", "1:15", "nothing a remedy can make of `net.tor`"),
        ("type Risk = { @remedy_token(\"0\") points: Long };", "1:16", "nothing a remedy can make of `risk.points`"),
        ("type Auth = { @remedy_mfa(\"true\") phishing_resistant: Bool };", "1:16", "what `mfa` changes is fixed"),
        ("type Device = { @remedy_token(\"true\") known: Bool };", "1:18", "changes facts of `auth.` only"),
        ("type Auth = { @remedy_ask(\"true\") mfa: Bool };", "1:16", "changes facts of `session.` only"),
        ("type Auth = { @remedy_token(\"false\") mfa: Bool };", "1:16", "another remedy makes something else"),
        ("type Auth = { @remedy_token(\"60\") auth_age_secs: Long };", "1:16", "another remedy makes something else"),
    ] {
        let refused = compile_with(&[schema], &list(), &PolicySettings::default()).unwrap_err().join("\n");
        assert!(
            refused.contains(says) && refused.starts_with(&format!("own0.cedarschema:{place}: ")),
            "{schema}: {refused}"
        );
    }
    let long = format!("// {}", "x".repeat(70_000));
    assert!(compile_with(&[&long], &list(), &PolicySettings::default()).unwrap_err()[0].contains("65536 are allowed"));
}

#[test]
fn two_files_that_disagree_are_refused_and_a_remedy_that_is_not_declared_is_unknown() {
    let other = "type Device = { @remedy_help_desk(\"ok=true,age_secs=9\") edr: Posture };";
    let agrees = "type Device = { @remedy_recheck(\"level=2\") edr: Posture };";
    let disagrees = "type Device = { @remedy_help_desk(\"level=1\") edr: Posture };";
    let compile = |schemas: &[&str]| compile_with(schemas, &list(), &PolicySettings::default());
    assert!(compile(&[other]).unwrap_err()[0].contains("something else of `device.edr`"), "recheck makes its age 0");
    assert!(compile(&[agrees]).is_ok());
    assert!(compile(&[agrees, disagrees]).unwrap_err()[0].contains("two files make different things"));
    let undeclared = compile_with(&[FIREWALL], &RemedyList::default(), &PolicySettings::default()).unwrap_err();
    assert!(undeclared[0].contains("`help_desk` is not a remedy"), "{undeclared:?}");
}

#[test]
fn additions_and_settings_are_part_of_the_version_and_formatting_is_not() {
    let hash =
        |schemas: &[&str], settings: &PolicySettings| compile_with(schemas, &list(), settings).unwrap().policy_hash();
    let standard = PolicySettings::default();
    let spaced = FIREWALL.replace("{ @", "{ // the help desk does it\n @");
    assert_eq!(hash(&[FIREWALL], &standard), hash(&[&spaced], &standard));
    assert_eq!(hash(&[FIREWALL, TOKEN], &standard), hash(&[TOKEN, FIREWALL], &standard));
    assert_ne!(hash(&[FIREWALL], &standard), hash(&[], &standard));
    let freshness = Freshness { high: std::time::Duration::from_secs(60), ..Freshness::STANDARD };
    assert_ne!(hash(&[], &standard), hash(&[], &PolicySettings { freshness, ..PolicySettings::default() }));
}

#[test]
fn a_step_up_is_as_fresh_as_the_operator_says_for_the_sensitivity() {
    let mut put = ask(user(ALICE), Action::HttpPut, "payroll/records");
    put.facts.auth.phishing_resistant = false;
    let fresh = |settings: &PolicySettings| {
        let policies = Arc::new(compile_with(&[], &RemedyList::default(), settings).unwrap());
        decide(&Engine::new(policies, &apps(), directory(), 7).unwrap(), &put).fix[0].max_age_secs
    };
    assert_eq!(fresh(&PolicySettings::default()), 900, "payroll is of sensitivity high");
    let freshness = Freshness { high: std::time::Duration::from_secs(120), ..Freshness::STANDARD };
    assert_eq!(fresh(&PolicySettings { freshness, ..PolicySettings::default() }), 120);
}
