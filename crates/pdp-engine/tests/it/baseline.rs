//! The decision table of the baseline rules (PO-22): verdict, reason, determining policies and fix set of every row.

use std::sync::{Arc, LazyLock};

use model::app::Sensitivity::{self, Critical, High, Low, Medium};
use model::facts::{NEVER_SECS, PostureFact};
use model::{AccessRequest, Action, Decision, PolicyDecisionPoint, Principal};
use pdp_engine::{CompiledPolicies, Engine, PolicySource};

use crate::support::*;

const BASELINE: &str = include_str!("../baseline/baseline.cedar");
const CRM: &str = include_str!("../baseline/crm.cedar");
const GRANTED: &str = include_str!("../baseline/granted.cedar");
/// Overflows on every request; strict validation finds nothing wrong with it (T-1).
const OVERFLOW: &str = r#"@id("overflow") forbid (principal, action, resource)
    when { context.risk.points + 9223372036854775807 > 5 };"#;

const ALLOWED: &str = "ALLOW allow crm/staff";
const RISKY: &str = "STEP_UP step_up.reauth baseline/adaptive-risk -> reauth";

fn compiled(more: &[(&str, &str)]) -> Arc<CompiledPolicies> {
    let files = [("baseline.cedar", BASELINE), ("crm.cedar", CRM)];
    let sources = files.iter().chain(more);
    let sources: Vec<PolicySource> =
        sources.map(|(file, text)| PolicySource { file: (*file).to_owned(), text: (*text).to_owned() }).collect();
    Arc::new(CompiledPolicies::compile(&sources).unwrap())
}

fn engine(sensitivity: Option<Sensitivity>, is_requestable: bool, more: &[(&str, &str)]) -> Engine {
    static USUAL: LazyLock<Arc<CompiledPolicies>> = LazyLock::new(|| compiled(&[]));
    let policies = if more.is_empty() { USUAL.clone() } else { compiled(more) };
    let mut crm = app("crm", sensitivity, &["all"]);
    Arc::make_mut(&mut crm).is_requestable = is_requestable;
    Engine::new(policies, &[crm], directory(), 1).unwrap()
}

/// A member of staff on a device that is all it should be, signed in with two factors, nothing unusual, no step-up yet.
fn clean() -> AccessRequest {
    let mut request = ask(user(ALICE), Action::HttpGet, "crm/all");
    let fine = PostureFact { ok: true, age_secs: 10, level: 1 };
    let device = &mut request.facts.device;
    device.known = true;
    (device.managed, device.encrypted, device.compliant, device.os_patched) = (fine, fine, fine, fine);
    request.facts.risk.known = true;
    request.facts.risk.points = 0;
    request.facts.risk.anomaly = 100;
    request.facts.risk.age_secs = 1;
    request.facts.request.method = "GET".to_owned();
    request.facts.request.path = "/x".to_owned();
    request
}

/// `STEP_UP step_up.reauth baseline/adaptive-risk -> reauth`
fn row(decision: &Decision) -> String {
    let fix = fixes(decision);
    if fix.is_empty() { short(decision) } else { format!("{} -> {fix}", short(decision)) }
}

fn check(on: impl Into<Option<Sensitivity>>, want: &str, change: impl Fn(&mut AccessRequest)) {
    let engine = engine(on.into(), false, &[]);
    let mut request = clean();
    change(&mut request);
    assert_eq!(row(&engine.decide(&request, NOW)), want, "{:?}", request.facts);
}

fn points(on: impl Into<Option<Sensitivity>>, points: i64, want: &str) {
    check(on, want, |request| request.facts.risk.points = points);
}

fn sends(request: &mut AccessRequest, method: &str, path: &str) {
    request.facts.request.method = method.to_owned();
    request.facts.request.path = path.to_owned();
    request.action = match method {
        "DELETE" => Action::HttpDelete,
        "PATCH" => Action::HttpPatch,
        _ => Action::HttpGet,
    };
}

#[test]
fn a_clean_request_is_allowed() {
    check(Medium, ALLOWED, |_| {});
}

#[test]
fn points_at_the_limit_of_the_sensitivity_ask_for_a_fresh_sign_in() {
    let limits = [(Some(Low), 70), (Some(Medium), 50), (Some(High), 30), (Some(Critical), 10), (None, 10)];
    for (on, limit) in limits {
        points(on, limit - 1, ALLOWED);
        points(on, limit, RISKY);
    }
}

#[test]
fn signals_count_by_their_points() {
    let not_compliant = |request: &mut AccessRequest| {
        request.facts.device.compliant.ok = false;
        request.facts.risk.points = 30;
    };
    check(Medium, ALLOWED, not_compliant);
    check(High, RISKY, not_compliant);
    let (travel, time, address) = (50, 20, 40);
    points(Low, travel, ALLOWED);
    points(Medium, travel, RISKY);
    points(High, time, ALLOWED);
    points(Critical, time, RISKY);
    points(Medium, address, ALLOWED);
    points(High, address, RISKY);
    points(Low, time + address, ALLOWED);
    points(Low, travel + time, RISKY);
    points(Low, 100, RISKY);
}

#[test]
fn a_step_up_counts_until_it_is_older_than_the_sensitivity_allows() {
    for (on, limit, fresh) in [(Low, 70, 43_200), (Medium, 50, 3_600), (High, 30, 900), (Critical, 10, 300)] {
        for (age, want) in [(fresh, ALLOWED), (fresh + 1, RISKY)] {
            check(on, want, |request| {
                request.facts.risk.points = limit;
                request.facts.auth.step_up_age_secs = age;
            });
        }
        // What is asked for is the age that is enough here, of the four the rule compares with.
        let mut request = clean();
        request.facts.risk.points = limit;
        let decision = engine(Some(on), false, &[]).decide(&request, NOW);
        assert_eq!(decision.fix[0].max_age_secs, fresh, "{on:?}");
    }
    check(Critical, ALLOWED, |request| {
        request.facts.risk.points = 100;
        request.facts.auth.step_up_age_secs = 10;
    });
}

#[test]
fn an_anomaly_is_never_stepped_up_away() {
    let anomalous = "DENY deny.risk baseline/anomaly";
    for step_up in [NEVER_SECS, 10] {
        for (anomaly, want) in [(800, ALLOWED), (801, anomalous)] {
            check(Medium, want, |request| {
                request.facts.risk.anomaly = anomaly;
                request.facts.auth.step_up_age_secs = step_up;
            });
        }
    }
    check(Medium, anomalous, |request| (request.facts.risk.anomaly, request.facts.risk.points) = (801, 100));
}

#[test]
fn what_is_sensitive_takes_a_second_factor() {
    let asked = "STEP_UP step_up.mfa baseline/sensitive-mfa -> mfa";
    let sensitive = [("DELETE", "/x"), ("PATCH", "/x"), ("GET", "/admin"), ("GET", "/admin/u")];
    // T-4: a prefix of letters is no prefix of segments.
    let usual = [("GET", "/administrator"), ("GET", "/api/admin"), ("GET", "/x")];
    for (method, path) in sensitive.into_iter().chain(usual) {
        let want = if sensitive.contains(&(method, path)) { asked } else { ALLOWED };
        check(Medium, want, |request| {
            sends(request, method, path);
            request.facts.auth.mfa = false;
        });
    }
    check(Medium, "DENY deny.device_posture baseline/device,baseline/sensitive-device -> enrol", |request| {
        sends(request, "DELETE", "/x");
        request.facts.device.managed.ok = false;
    });
}

#[test]
fn a_second_factor_refreshes_the_step_up_too() {
    let want = "STEP_UP step_up.mfa baseline/adaptive-risk,baseline/sensitive-mfa -> mfa";
    check(High, want, |request| {
        sends(request, "PATCH", "/x");
        request.facts.auth.mfa = false;
        request.facts.risk.points = 30;
    });
}

#[test]
fn a_device_that_fails_is_refused_with_advice() {
    let unpatched = "DENY deny.device_posture baseline/os-patched -> patch";
    check(Medium, unpatched, |request| request.facts.device.os_patched.ok = false);
    check(Medium, unpatched, |request| request.facts.device.os_patched = PostureFact::UNKNOWN);
    let device = |fix: &str| format!("DENY deny.device_posture baseline/device -> {fix}");
    check(Medium, &device("enrol"), |request| request.facts.device.managed.ok = false);
    check(Medium, &device("encrypt"), |request| request.facts.device.encrypted.ok = false);
    check(Medium, &device("encrypt+enrol"), |request| {
        request.facts.device.managed.ok = false;
        request.facts.device.encrypted.ok = false;
    });
    check(Medium, ALLOWED, |request| request.facts.device.managed.age_secs = 86_400);
    check(Medium, &device("recheck"), |request| request.facts.device.managed.age_secs = 86_401);
}

#[test]
fn where_a_request_comes_from_has_no_remedy() {
    check(Medium, "DENY deny.network baseline/network", |request| request.facts.net.tor = true);
    check(Medium, "DENY deny.network baseline/network", |request| request.facts.net.high_risk_country = true);
    let both = |request: &mut AccessRequest| {
        request.facts.net.tor = true;
        request.facts.device.encrypted.ok = false;
    };
    check(Medium, "DENY deny.device_posture baseline/device,baseline/network", both);
    let mut request = clean();
    both(&mut request);
    let told = engine(Some(Medium), false, &[]).explain(&request, NOW);
    assert_eq!(told.failed_stages, ["device", "network"]);
}

#[test]
fn nobody_is_sent_to_sign_in() {
    check(Medium, "DENY deny.no_session baseline/identity,builtin/identity", |request| {
        request.principal = Principal::Anonymous;
    });
}

#[test]
fn unknown_risk_counts_as_the_highest() {
    let unknown = |request: &mut AccessRequest| {
        (request.facts.risk.known, request.facts.risk.points, request.facts.risk.anomaly) = (false, 100, 0);
    };
    check(Low, RISKY, unknown);
    check(Low, ALLOWED, |request| {
        unknown(request);
        request.facts.auth.step_up_age_secs = 60;
    });
}

#[test]
fn an_outsider_learns_of_a_grant_only_where_it_can_be_asked_for() {
    let outsider = || AccessRequest { principal: user(BOB), ..clean() };
    let more = [("granted.cedar", GRANTED)];
    let decide = |is_requestable, more: &[(&str, &str)], request: &AccessRequest| {
        row(&engine(Some(Medium), is_requestable, more).decide(request, NOW))
    };
    assert_eq!(decide(false, &more, &outsider()), "DENY deny.default");
    assert_eq!(decide(true, &more, &outsider()), "STEP_UP step_up.approval -> grant");
    assert_eq!(decide(true, &[], &outsider()), "DENY deny.default");
    // A hard forbid is told as what it is; what would mend it is not the outsider's business.
    let mut unmanaged = outsider();
    unmanaged.facts.device.managed.ok = false;
    assert_eq!(decide(false, &more, &unmanaged), "DENY deny.device_posture baseline/device");
}

#[test]
fn rules_for_people_leave_workloads_alone() {
    let batch = |request: &mut AccessRequest| {
        let clean = request.facts.clone();
        request.principal = Principal::Workload(Arc::from("spiffe://corp.test/batch"));
        request.facts = model::Facts { auth: clean.auth, request: clean.request, ..model::Facts::unknown() };
    };
    check(Medium, "ALLOW allow crm/batch", batch);
    check(Medium, "DENY deny.risk baseline/anomaly", |request| {
        batch(request);
        request.facts.risk.anomaly = 801;
    });
}

#[test]
fn an_overflow_in_any_policy_refuses_everything() {
    let engine = engine(Some(Medium), false, &[("risk.cedar", OVERFLOW)]);
    let mut request = clean();
    request.facts.risk.points = 1;
    assert_eq!(row(&engine.decide(&request, NOW)), "DENY deny.error risk/overflow");
}
