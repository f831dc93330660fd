//! What is refused at load, and how it is said (PO-24, PO-25, PO-32, PO-37).

use model::decision::PolicySet;
use pdp_engine::{CompiledPolicies, Engine, FindingKind, PolicySource};

use crate::support::*;

fn problems(sources: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<PolicySource> = sources
        .iter()
        .map(|(file, text)| PolicySource { file: (*file).to_owned(), text: (*text).to_owned() })
        .collect();
    let problems = CompiledPolicies::compile(&sources).expect_err("refused");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_problem_of_every_file_is_reported_at_once() {
    let first = "// rules of the crm\n@id(\"a\")\npermit (principal, action, resource)\nwhen { context.auth.mfa &&& };\n\n\
                 permit (principal, action, resource);\n\n@id(\"c\") @clas(\"step_up\") forbid (principal, action, resource);";
    let second = "@id(\"a\") permit (principal, action, resource) when { tru";
    insta::assert_snapshot!(problems(&[("p/crm.cedar", first), ("hr.cedar", second)]).join("\n"));
}

#[test]
fn validation_names_place_and_nearest_word() {
    let text = "@id(\"a\") permit (principal, action == Action::\"http.gett\", resource);\n\
                @id(\"b\") permit (principal in Grup::\"x\", action, resource);\n\
                @id(\"c\") permit (principal, action, resource)\n  when { context.auth.mfaa };\n\
                @id(\"d\") permit (principal, action, resource)\n  when { context.auth.mfa == \"yes\" };\n";
    insta::assert_snapshot!(problems(&[("crm.cedar", text)]).join("\n"));
    let without_kind = text.replace("Grup", "Group");
    insta::assert_snapshot!(problems(&[("crm.cedar", &without_kind)]).join("\n"));
}

#[test]
fn one_id_in_two_files_of_one_name_is_refused() {
    let policy = "@id(\"a\") permit (principal, action, resource);";
    let found = problems(&[("x/crm.cedar", policy), ("y/crm.cedar", policy)]);
    assert_eq!(found, ["y/crm.cedar:1:1: the id `crm/a` is taken by x/crm.cedar:1; choose another `@id`"]);
    let ok = [("x/crm.cedar", policy), ("y/hr.cedar", policy)]
        .map(|(file, text)| PolicySource { file: file.to_owned(), text: text.to_owned() });
    assert!(CompiledPolicies::compile(&ok).is_ok());
}

#[test]
fn a_file_that_takes_the_name_of_the_built_in_policies_is_refused() {
    let found = problems(&[("builtin.cedar", "@id(\"x\") permit (principal, action, resource);")]);
    assert!(found[0].contains("`builtin` is the name of the built-in policies"), "{found:?}");
}

#[test]
fn formatting_does_not_change_the_hash_and_meaning_does() {
    let a = compile("@id(\"a\") permit (principal, action, resource) when { context.auth.mfa };");
    let b = compile("// why\n@id(\"a\")\npermit (\n  principal,\n  action, resource)\nwhen { (context.auth.mfa) };\n");
    let c = compile("@id(\"a\") permit (principal, action, resource) when { !context.auth.mfa };");
    let d = compile("@id(\"a\") @audit(\"strict\") permit (principal, action, resource) when { context.auth.mfa };");
    assert_eq!(a.policy_hash(), b.policy_hash());
    assert_ne!(a.policy_hash(), c.policy_hash());
    assert_ne!(a.policy_hash(), d.policy_hash());
    assert_eq!(a.schema_hash(), d.schema_hash());
}

#[test]
fn the_listing_names_every_policy() {
    let policies = compile("\n@id(\"a\") @class(\"step_up\") @title(\"fresh\") forbid (principal, action, resource);");
    let listed = policies.policies();
    let ids: Vec<&str> = listed.iter().map(|policy| &*policy.id).collect();
    assert_eq!(ids, ["builtin/admins", "builtin/identity", "builtin/local-operator", "builtin/portal", "t/a"]);
    let last = listed.last().unwrap();
    assert_eq!((last.set, last.declared_at.as_str()), (PolicySet::SoftForbid, "t.cedar:2"));
    assert_eq!(last.title.as_deref(), Some("fresh"));
}

#[test]
fn findings_tell_and_refuse_nothing() {
    let policies = compile(
        r#"@id("all") @owner("crm") permit (principal, action, resource);
           @id("age") permit (principal, action, resource in App::"wiki")
           when { context.auth.auth_age_secs < context.session.age_secs };
           @id("never") permit (principal, action, resource in App::"wiki") when { context.auth.mfa && !context.auth.mfa };"#,
    );
    let found: Vec<(FindingKind, &str)> =
        policies.findings().iter().map(|finding| (finding.kind, finding.declared_at.as_str())).collect();
    assert!(found.contains(&(FindingKind::UnconditionalPermit, "t.cedar:1")), "{found:?}");
    assert!(found.contains(&(FindingKind::UnknownAnnotation, "t.cedar:1")), "{found:?}");
    assert!(found.contains(&(FindingKind::ComparisonWithoutLiteral, "t.cedar:2")), "{found:?}");
}

#[test]
fn unreachable_apps_and_missing_names_are_findings() {
    let engine = engine(
        r#"@id("a") permit (principal in Group::"enginering", action, resource in App::"wiki");
           @id("b") permit (principal, action, resource == App::"payroll");"#,
    );
    let names: Vec<String> = engine.unreachable_apps().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["typo"]);
    let findings: Vec<String> = engine.findings().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(findings.join("\n"));
}

#[test]
fn two_apps_of_one_name_are_refused() {
    let twice = [app("wiki", None, &[]), app("wiki", None, &[])];
    let error = Engine::new(compile(""), &twice, directory(), 1).unwrap_err();
    assert_eq!(error.to_string(), "the app `wiki` is declared twice; rename one of them");
}

#[test]
fn a_shadow_permit_does_not_make_an_app_reachable() {
    let engine = engine("@id(\"a\") @mode(\"shadow\") permit (principal, action, resource);");
    assert!(engine.unreachable_apps().iter().any(|app| app.as_str() == "wiki"));
}

#[test]
fn a_policy_without_an_id_hides_no_other_mistake() {
    let text = "permit (principal, action, resource) when { context.auth.mfaa };\n\
                permit (principal, action, resource);\n\
                @id(\"b\") @stage(\"9\") forbid (principal, action, resource) unless { context.net.torr };\n\
                @id(\"c\") forbid (principal, action, resource) when { context.risk.pionts > 3 };\n\
                @id(\"c\") forbid (principal, action, resource);";
    let problems = CompiledPolicies::compile(&[source(text)]).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for (line, says) in [
        (1, "no `@id`"),
        (1, "did you mean `mfa`"),
        (2, "no `@id`"),
        (3, "@stage(\"9\")"),
        (3, "did you mean `tor`"),
        (4, "did you mean `points`"),
        (5, "is taken by t.cedar:4"),
    ] {
        assert!(
            told.iter().any(|told| told.contains(&format!("t.cedar:{line}:")) && told.contains(says)),
            "{says}: {told:#?}"
        );
    }
}
