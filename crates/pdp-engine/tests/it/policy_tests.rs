//! Tables of tests: what passes, what fails and how it says so (PO-38).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::app::{AppName, RouteName};
use model::policy_test::{BaseFacts, FactInput, PolicyTest, TestPrincipal, TestQuestion, TestRow};
use model::{Action, Effect, GroupId, Remedy, ResourceRef, Sensitivity};
use pdp_engine::{TestReport, run_tests};

use crate::support::*;

const POLICIES: &str =
    "@id(\"staff\") permit (principal in Group::\"staff\", action in Action::\"http\", resource in App::\"payroll\");
    @id(\"fresh\") @class(\"step_up\") forbid (principal, action, resource in App::\"payroll\")
    when { resource.sensitivity == \"high\" && context.auth.step_up_age_secs > 900 };
    @id(\"unused\") forbid (principal, action, resource in App::\"wiki\") when { context.net.tor };";

fn row(name: &str, facts: &[(&str, FactInput)], want: Effect) -> TestRow {
    TestRow {
        name: name.into(),
        question: TestQuestion {
            principal: TestPrincipal::User {
                name: "ann".into(),
                groups: BTreeSet::from([GroupId::new("engineering")]),
                is_external: false,
            },
            action: Action::HttpGet,
            resource: ResourceRef { app: AppName::new("payroll"), route: Some(RouteName::new("records")) },
            sensitivity: None,
            is_requestable: None,
            base: BaseFacts::Clean,
            facts: facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        },
        want,
        by: None,
        fix: None,
        declared_at: "tests.yaml:9".into(),
    }
}

fn run(rows: Vec<TestRow>) -> TestReport {
    let groups: BTreeMap<_, _> = directory().groups.clone();
    let tests = [PolicyTest { name: "payroll".into(), rows }];
    run_tests(&compile(POLICIES), &apps(), &groups, &tests).unwrap()
}

fn recent() -> (&'static str, FactInput) {
    ("auth.step_up_age_secs", FactInput::Long(10))
}

#[test]
fn rows_that_get_what_they_want_pass() {
    let fresh = TestRow { by: Some(BTreeSet::from(["t/staff".into()])), ..row("fresh", &[recent()], Effect::Allow) };
    let stale = TestRow {
        by: Some(BTreeSet::from(["t/fresh".into()])),
        fix: Some(BTreeSet::from([Remedy::Reauth])),
        ..row("stale", &[], Effect::StepUp)
    };
    let mut low = row("low", &[], Effect::Allow);
    low.question.sensitivity = Some(Sensitivity::Low);
    let mut nobody = row("nobody", &[], Effect::Deny);
    nobody.question.principal = TestPrincipal::Anonymous;
    let mut outsider = row("outsider", &[recent()], Effect::Deny);
    outsider.question.principal = TestPrincipal::Workload("spiffe://corp.test/x".into());
    let report = run(vec![fresh, stale, low, nobody, outsider]);
    assert_eq!(report.failed().map(|row| (&row.row, &row.wrong)).collect::<Vec<_>>(), []);
    assert_eq!(report.rows.len(), 5);
}

#[test]
fn a_row_that_fails_says_what_it_got_and_which_row_is_nearest() {
    let by = TestRow { by: Some(BTreeSet::from(["t/other".into()])), ..row("by", &[recent()], Effect::Allow) };
    let report = run(vec![row("fine", &[recent()], Effect::Allow), row("wrong", &[], Effect::Allow), by]);
    let failed: Vec<_> = report.failed().collect();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0].wrong, ["wants ALLOW, got STEP_UP (step_up.reauth)"]);
    assert_eq!(failed[0].policies, [Arc::from("t/fresh")]);
    assert!(
        failed[0].facts.iter().any(|fact| fact.path == "context.auth.step_up_age_secs" && fact.value == "1000000000")
    );
    assert_eq!(failed[0].nearest, Some(("fine".into(), vec!["auth.step_up_age_secs = 10".into()])));
    assert_eq!(failed[1].wrong, ["wants it decided by t/other, it was by t/staff"]);
}

#[test]
fn a_fact_that_does_not_exist_makes_a_row_unusable() {
    let report = run(vec![row("slip", &[("auth.mfaa", FactInput::Bool(true))], Effect::Allow)]);
    assert!(report.rows.is_empty());
    let (place, message) = &report.unusable[0];
    assert_eq!(&**place, "tests.yaml:9");
    assert!(message.contains("`auth.mfaa` is not a fact; did you mean `auth.mfa`"), "{message}");
}

#[test]
fn coverage_names_what_no_row_reaches() {
    let report = run(vec![row("stale", &[], Effect::StepUp)]);
    let coverage = &report.coverage;
    let ids = |ids: &[Arc<str>]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(coverage.policies, 3);
    assert_eq!(ids(&coverage.never_determining), ["t/staff", "t/unused"]);
    assert_eq!(ids(&coverage.never_true), ["t/unused"]);
    assert_eq!(ids(&coverage.never_false), ["t/fresh", "t/unused"]);
    assert_eq!(coverage.percent(), 33);
}
