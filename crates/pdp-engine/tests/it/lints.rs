//! What an operator is told to look at (PO-42, GW-4, GW-7).

use std::sync::Arc;

use model::App;
use model::app::PathOpening;
use pdp_engine::{Engine, FindingKind};

use crate::support::*;

/// `policy` (after its `@id("a")`) has this finding, and `fine` has not.
fn check(kind: FindingKind, policy: &str, fine: &str) {
    let found = |text: &str| {
        let engine = engine(&format!("@id(\"a\") {text}"));
        engine.findings().into_iter().filter(|finding| finding.kind == kind).collect::<Vec<_>>()
    };
    let told = found(policy);
    assert_eq!(told.len(), 1, "{policy}: {told:?}");
    assert_eq!(told[0].declared_at, "t.cedar:1");
    assert!(found(fine).is_empty(), "{fine}");
}

const WIKI: &str = "(principal, action in Action::\"door\", resource in App::\"wiki\")";

#[test]
fn each_lint_finds_its_mistake_and_leaves_the_mended_policy_alone() {
    let forbid = |condition: &str| format!("forbid {WIKI} {condition};");
    let permit = |condition: &str| format!("permit {WIKI} {condition};");
    check(
        FindingKind::NoRemedy,
        &format!("@class(\"step_up\") {}", forbid("when { context.net.tor }")),
        &format!("@class(\"step_up\") {}", forbid("unless { context.auth.mfa }")),
    );
    check(
        FindingKind::PostureWithoutAge,
        &forbid("unless { context.device.encrypted.ok }"),
        &forbid("unless { context.device.encrypted.ok && context.device.encrypted.age_secs <= 60 }"),
    );
    check(
        FindingKind::GrantIgnoresRisk,
        &permit("when { context.session.granted }"),
        &permit("when { context.session.granted && context.risk.points < 30 }"),
    );
    check(
        FindingKind::NoSource,
        &forbid("when { context.risk.points > 30 || context.net.tor }"),
        &forbid("unless { context.auth.mfa && context.net.zones.contains(\"office\") }"),
    );
    check(
        FindingKind::UnanchoredPath,
        &forbid("when { context.request.path like \"/admin*\" }"),
        &forbid("when { context.request.path == \"/admin\" || context.request.path like \"/admin/*\" }"),
    );
    check(
        FindingKind::Arithmetic,
        &forbid("when { context.risk.points + context.risk.anomaly > 5 }"),
        &forbid("when { context.risk.points > 2 + 3 }"),
    );
    check(
        FindingKind::UnknownWord,
        &forbid("when { resource.sensitivity == \"hihg\" }"),
        &forbid("when { [\"high\", \"critical\"].contains(resource.sensitivity) }"),
    );
    check(
        FindingKind::RemedyCloses,
        &forbid("when { context.auth.mfa && context.net.tor }"),
        &forbid("when { context.net.tor }"),
    );
    // By asking, not by looking: the fact is there in both, and so is its remedy.
    check(
        FindingKind::NoRemedy,
        &format!("@class(\"step_up\") {}", forbid("when { context.net.tor || !context.auth.mfa && context.net.tor }")),
        &format!("@class(\"step_up\") {}", forbid("when { context.net.tor && !context.auth.mfa }")),
    );
    check(
        FindingKind::NoRemedy,
        &format!(
            "@class(\"step_up\") {}",
            forbid("unless { context.device.firewall.ok && context.device.firewall.age_secs <= 60 }")
        ),
        &format!(
            "@class(\"step_up\") {}",
            forbid("unless { context.device.encrypted.ok && context.device.encrypted.age_secs <= 60 }")
        ),
    );
    check(
        FindingKind::RemedyCloses,
        &forbid("unless { !context.auth.mfa || context.request.path != \"/x\" }"),
        &forbid("unless { context.auth.mfa || context.request.path != \"/x\" }"),
    );
    check(
        FindingKind::RemedyCloses,
        &forbid("when { context.auth.step_up_age_secs < 10 && context.auth.acr == \"phr\" }"),
        &forbid("when { context.auth.step_up_age_secs > 10 && context.auth.acr == \"phr\" }"),
    );
    let control = |action: &str| {
        format!(
            "forbid (principal, {action}, resource in App::\"countersign\") unless {{ context.device.managed.ok && context.device.managed.age_secs <= 60 }};"
        )
    };
    check(
        FindingKind::UnreachableFix,
        &control("action == Action::\"portal.enrol\""),
        &control("action in Action::\"door\""),
    );
    check(
        FindingKind::RouteWidened,
        "permit (principal in Group::\"staff\", action in Action::\"http\", resource == Route::\"wiki/pages\");",
        "forbid (principal in Group::\"staff\", action in Action::\"http\", resource == Route::\"wiki/pages\");",
    );
    check(
        FindingKind::ShadowedPermit,
        &format!("{} @id(\"b\") {}", permit(""), forbid("")),
        &format!("{} @id(\"b\") {}", permit(""), forbid("when { context.net.tor }")),
    );
}

#[test]
fn an_opened_path_form_names_every_rule_it_weakens() {
    let mut app = App::clone(&app("wiki", None, &["pages"]));
    app.path.allow.insert(PathOpening::Semicolon);
    app.public_paths.insert("/favicon.ico".into());
    let text = format!("@id(\"a\") forbid {WIKI} when {{ context.request.path == \"/x\" }};");
    let engine = Engine::new(compile(&text), &[Arc::new(app)], directory(), 1).unwrap();
    let told: Vec<_> = engine.findings().into_iter().filter(|f| f.kind == FindingKind::WeakenedPath).collect();
    assert_eq!(
        told.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>(),
        [
            "`path.allow: [semicolon]` of the app `wiki` weakens what is decided by path: route `pages` (/pages), public path \
          `/favicon.ico`, policy `t/a`"
        ]
    );
}
