//! The three sets, reasons, step-up, shadow, built-in policies (PO-1, PO-2, PO-4, PO-10, PO-34).

use std::sync::Arc;

use model::{Action, Facts, Principal, Reason, Remedy};
use pdp_engine::Engine;

use crate::support::*;

const STAFF: &str = r#"
@id("staff") permit (principal in Group::"staff", action in Action::"http", resource in App::"wiki");
@id("payroll") permit (principal in Group::"staff", action in Action::"http", resource in App::"payroll");
"#;

fn check(policies: &str, principal: Principal, action: Action, path: &str, expected: &str) {
    let engine = engine(policies);
    assert_eq!(short(&decide(&engine, &ask(principal, action, path))), expected, "{policies}");
}

#[test]
fn a_permit_by_inherited_group_covers_the_routes_of_its_app() {
    check(STAFF, user(ALICE), Action::HttpGet, "wiki/pages", "ALLOW allow t/staff");
    check(STAFF, user(ALICE), Action::HttpGet, "wiki", "ALLOW allow t/staff");
}

#[test]
fn without_a_permit_the_answer_is_no() {
    check(STAFF, user(BOB), Action::HttpGet, "wiki/pages", "DENY deny.default");
    check(STAFF, user(ALICE), Action::HttpGet, "typo/all", "DENY deny.no_rule");
    check(STAFF, user(ALICE), Action::AdminRead, "countersign", "DENY deny.default");
}

#[test]
fn hard_forbids_come_before_permits_and_permits_before_soft_forbids() {
    let hard = format!("{STAFF} @id(\"no\") forbid (principal, action, resource in App::\"wiki\");");
    check(&hard, user(ALICE), Action::HttpGet, "wiki/pages", "DENY deny.policy t/no");
    let soft =
        format!("{STAFF} @id(\"no\") @class(\"step_up\") forbid (principal, action, resource in App::\"wiki\");");
    check(&soft, user(ALICE), Action::HttpGet, "wiki/pages", "DENY deny.policy t/no");
    check(&soft, user(BOB), Action::HttpGet, "wiki/pages", "DENY deny.default");
}

#[test]
fn nobody_is_asked_to_sign_in_and_never_to_step_up() {
    check(STAFF, Principal::Anonymous, Action::HttpGet, "wiki/pages", "DENY deny.no_session builtin/identity");
    check(STAFF, Principal::Anonymous, Action::HttpGet, "typo/all", "DENY deny.no_session builtin/identity");
    check(STAFF, Principal::Anonymous, Action::PortalSignin, "wiki", "DENY deny.no_session");
}

#[test]
fn an_anonymous_principal_is_never_authenticated_whatever_the_door_claims() {
    let engine = engine("@id(\"all\") permit (principal, action, resource);");
    let mut request = ask(Principal::Anonymous, Action::HttpGet, "wiki/pages");
    request.facts = signed_in();
    assert_eq!(decide(&engine, &request).reason, Reason::LoginRequired);
}

#[test]
fn the_way_in_is_open_to_everybody_and_no_door_policy_can_lock_it() {
    let lock = "@id(\"lock\") forbid (principal, action in Action::\"door\", resource);";
    check(lock, Principal::Anonymous, Action::PortalSignin, "countersign/portal", "ALLOW allow builtin/portal");
    check(lock, user(BOB), Action::PortalRequest, "countersign", "ALLOW allow builtin/portal");
}

#[test]
fn admins_and_the_local_operator_administer() {
    check("", user(CAROL), Action::AdminWrite, "countersign/console", "ALLOW allow builtin/admins");
    check("", user(CAROL), Action::AuditReadSealed, "countersign", "ALLOW allow builtin/admins");
    check("", user(CAROL), Action::AuditErase, "countersign", "DENY deny.default");
    check("", user(ALICE), Action::AdminRead, "countersign", "DENY deny.default");
    let operator = Principal::Workload(Arc::from("local-operator"));
    check("", operator, Action::AdminWrite, "countersign", "ALLOW allow builtin/local-operator");
    let other = Principal::Workload(Arc::from("spiffe://corp.test/other"));
    check("", other, Action::AdminWrite, "countersign", "DENY deny.default");
}

#[test]
fn a_disabled_or_deleted_person_is_refused_before_any_policy_is_read() {
    let overflow = r#"@id("all") permit (principal, action, resource)
        when { context.risk.points + 9223372036854775807 > 5 };"#;
    check(overflow, user(DAVE_DISABLED), Action::HttpGet, "wiki", "DENY deny.user_disabled");
    check(overflow, user(99), Action::HttpGet, "wiki", "DENY deny.user_disabled");
}

#[test]
fn a_resource_that_does_not_exist_is_an_unknown_type() {
    let all = "@id(\"all\") permit (principal, action, resource);";
    check(all, user(ALICE), Action::HttpGet, "nowhere", "DENY deny.unknown_type");
    check(all, user(ALICE), Action::HttpGet, "wiki/nowhere", "DENY deny.unknown_type");
    check(all, user(ALICE), Action::HttpGet, "wiki/pages", "ALLOW allow t/all");
}

#[test]
fn a_public_path_is_open_without_policies_and_still_pinned() {
    let engine = engine("@id(\"no\") forbid (principal, action, resource);");
    let mut request = ask(Principal::Anonymous, Action::HttpGet, "wiki/pages");
    request.is_public_path = true;
    let decision = decide(&engine, &request);
    assert_eq!(short(&decision), "ALLOW allow.public");
    assert_eq!(decision.pins.policy_hash, engine.policies().policy_hash());
    assert_eq!(decision.pins.entities_version, 7);
    assert!(!decision.pins.context.is_empty() && !decision.pins.entity_slice.bytes.is_empty());
}

const FRESH: &str = r#"
@id("staff") permit (principal in Group::"staff", action in Action::"http", resource in App::"payroll");
@id("service") permit (principal == Workload::"spiffe://corp.test/batch", action, resource in App::"payroll");
@id("fresh") @class("step_up") @stage("1")
forbid (principal, action == Action::"http.delete", resource in App::"payroll")
when { context.auth.step_up_age_secs > 300 };
"#;

#[test]
fn a_soft_forbid_asks_for_the_cheapest_single_remedy_and_its_literal() {
    let engine = engine(FRESH);
    let decision = decide(&engine, &ask(user(ALICE), Action::HttpDelete, "payroll/records"));
    assert_eq!(short(&decision), "STEP_UP step_up.reauth t/fresh");
    let [fix] = decision.fix.as_slice() else { panic!("{:?}", decision.fix) };
    assert_eq!((fix.remedy, fix.acr_values.as_str(), fix.max_age_secs), (Remedy::Reauth, "phr", 300));
    let mut fresh = ask(user(ALICE), Action::HttpDelete, "payroll/records");
    fresh.facts.auth.step_up_age_secs = 300;
    assert_eq!(short(&decide(&engine, &fresh)), "ALLOW allow t/staff");
    fresh.facts.auth.step_up_age_secs = 301;
    assert_eq!(decide(&engine, &fresh).reason, Reason::StepUpRequired);
}

#[test]
fn a_permit_that_misses_a_passkey_asks_for_one() {
    let engine = engine(
        r#"@id("strong") permit (principal in Group::"staff", action, resource in App::"payroll")
           when { context.auth.phishing_resistant };"#,
    );
    let mut request = ask(user(ALICE), Action::HttpGet, "payroll/records");
    request.facts.auth.phishing_resistant = false;
    let decision = decide(&engine, &request);
    assert_eq!(short(&decision), "STEP_UP step_up.mfa");
    let [fix] = decision.fix.as_slice() else { panic!("{:?}", decision.fix) };
    // No literal is compared, so the sensitivity `high` says how fresh.
    assert_eq!((fix.remedy, fix.acr_values.as_str(), fix.max_age_secs), (Remedy::Passkey, "phr", 900));
}

#[test]
fn a_hard_forbid_is_never_remedied() {
    let hard = FRESH.replace("@class(\"step_up\")", "@class(\"deny\")");
    check(&hard, user(ALICE), Action::HttpDelete, "payroll/records", "DENY deny.policy t/fresh");
}

#[test]
fn the_annotated_reason_of_the_earliest_stage_wins() {
    let text = r#"
        @id("all") permit (principal, action, resource);
        @id("a") @stage("4") @reason("risk") forbid (principal, action, resource);
        @id("b") @stage("3") @reason("network") forbid (principal, action, resource);"#;
    check(text, user(ALICE), Action::HttpGet, "wiki", "DENY deny.network t/a,t/b");
}

#[test]
fn shadow_policies_change_nothing_and_are_reported() {
    let engine = engine(&format!(
        r#"{STAFF}
        @id("would") @mode("shadow") forbid (principal, action, resource in App::"wiki");
        @id("errs") @mode("shadow") forbid (principal, action, resource)
        when {{ context.risk.points + 9223372036854775807 > 5 }};
        @id("grant") @mode("shadow") permit (principal, action, resource);"#
    ));
    let allowed = decide(&engine, &ask(user(ALICE), Action::HttpGet, "wiki/pages"));
    assert_eq!(short(&allowed), "ALLOW allow t/staff");
    assert_eq!(allowed.would.iter().map(|id| &**id).collect::<Vec<_>>(), ["t/errs", "t/would"]);
    let refused = decide(&engine, &ask(user(BOB), Action::HttpGet, "wiki/pages"));
    assert_eq!(short(&refused), "DENY deny.default");
    assert_eq!(refused.would.iter().map(|id| &**id).collect::<Vec<_>>(), ["t/errs", "t/would"]);
}

#[test]
fn a_strict_determining_policy_makes_the_request_strict() {
    let engine = engine(
        r#"@id("a") permit (principal, action == Action::"http.get", resource);
           @id("b") @audit("strict") permit (principal, action == Action::"http.delete", resource);"#,
    );
    assert!(!decide(&engine, &ask(user(ALICE), Action::HttpGet, "wiki")).is_audit_strict);
    assert!(decide(&engine, &ask(user(ALICE), Action::HttpDelete, "wiki")).is_audit_strict);
}

#[test]
fn policies_read_attributes_and_tags_of_principal_and_resource() {
    let permit = |condition: &str| format!("@id(\"a\") permit (principal, action, resource) when {{ {condition} }};");
    let allow = "ALLOW allow t/a";
    check(&permit("resource.sensitivity == \"low\""), user(ALICE), Action::HttpGet, "wiki/pages", allow);
    check(&permit("resource.sensitivity == \"critical\""), user(ALICE), Action::HttpGet, "typo", allow);
    let tags = "resource is Route && principal is User && principal.hasTag(\"team\") && resource.hasTag(\"team\") \
                && principal.getTag(\"team\") == resource.getTag(\"team\")";
    check(&permit(tags), user(ALICE), Action::HttpGet, "wiki/pages", allow);
    check(&permit("principal is User && principal.external"), user(BOB), Action::HttpGet, "wiki", allow);
    check(
        &permit("principal is User && principal.external"),
        user(ALICE),
        Action::HttpGet,
        "wiki",
        "DENY deny.default",
    );
    check(&permit("principal is User && principal.age_days == 10"), user(ALICE), Action::HttpGet, "wiki", allow);
}

#[test]
fn a_new_engine_sees_new_memberships_though_slices_are_shared() {
    let policies = compile(STAFF);
    let request = ask(user(ALICE), Action::HttpGet, "wiki/pages");
    let before = Engine::new(policies.clone(), &apps(), directory(), 1).unwrap();
    assert!(is_allowed(&before, &request));
    let after = Engine::new(policies, &apps(), directory_with(&["contractors"]), 2).unwrap();
    assert!(!is_allowed(&after, &request));
    assert!(is_allowed(&before, &request));
}

#[test]
fn unknown_facts_satisfy_no_requirement() {
    let engine = engine(
        r#"@id("a") permit (principal, action, resource)
           when { context.auth.mfa || context.auth.phishing_resistant || context.device.known || context.session.granted
             || context.device.managed.ok || context.auth.step_up_age_secs < 86400 || context.risk.points < 100 };"#,
    );
    let mut request = ask(user(ALICE), Action::HttpGet, "wiki");
    request.facts = Facts::unknown();
    request.facts.auth.authenticated = true;
    assert_ne!(decide(&engine, &request).reason, Reason::Allow);
}

/// A directory with the service account `nightly`, in these groups.
fn with_service(groups: &[&str], is_enabled: bool) -> Arc<model::Directory> {
    let mut directory = model::Directory::clone(&directory());
    let direct_groups = groups.iter().map(|group| model::GroupId::new(group)).collect();
    let service = model::ServiceEntry {
        name: Arc::from("nightly"),
        title: "Nightly export".to_owned(),
        owner: None,
        is_enabled,
        groups: model::directory::close_groups(&direct_groups, &directory.groups),
        direct_groups,
        created_at: NOW,
    };
    directory.services.insert(Arc::clone(&service.name), Arc::new(service));
    Arc::new(directory)
}

#[test]
fn a_service_account_is_in_its_groups_carries_its_tag_and_opens_nothing_when_disabled() {
    let tagged = r#"@id("machines") permit (principal is Workload, action in Action::"http", resource in App::"wiki")
when { principal.hasTag("service_token") };"#;
    let machine = || Principal::Workload("service-account:nightly".into());
    let other = Principal::Workload("service-account:other".into());
    let answer = |policies: &str, directory, who: Principal| {
        let engine = Engine::new(compile(policies), &apps(), directory, 7).unwrap();
        short(&decide(&engine, &ask(who, Action::HttpGet, "wiki/pages")))
    };
    assert_eq!(answer(STAFF, with_service(&["engineering"], true), machine()), "ALLOW allow t/staff");
    assert_eq!(answer(STAFF, with_service(&[], true), machine()), "DENY deny.default");
    assert_eq!(answer(STAFF, with_service(&["engineering"], false), machine()), "DENY deny.user_disabled");
    assert_eq!(answer(tagged, with_service(&[], true), machine()), "ALLOW allow t/machines");
    assert_eq!(answer(tagged, with_service(&[], true), other), "DENY deny.default", "only an account has the tag");
    let demanding = format!(
        "{STAFF} @id(\"fresh\") @class(\"step_up\") forbid (principal, action, resource in App::\"wiki\") \
         unless {{ context.auth.step_up_age_secs <= 60 }};"
    );
    let told = answer(&demanding, with_service(&["engineering"], true), machine());
    assert_eq!(told, "DENY deny.step_up_impossible t/fresh");
}
