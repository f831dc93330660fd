//! A second way to the answer, sharing nothing with the engine but Cedar and the schema text: facts and entities as JSON,
//! every policy evaluated by Cedar's own authorizer.

use std::str::FromStr;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, Schema,
};
use model::decision::PolicySet as Set;
use model::facts::PostureFact;
use model::{AccessRequest, App, Directory, Facts, Principal};
use pdp_engine::CompiledPolicies;
use serde_json::{Value, json};

pub(crate) struct Oracle {
    schema: Schema,
    hard: PolicySet,
    permits: PolicySet,
    soft: PolicySet,
}

/// A question but for its facts.
pub(crate) struct Posed<'a> {
    oracle: &'a Oracle,
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    entities: Entities,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Allow(Vec<String>),
    Error(Vec<String>),
    Hard(Vec<String>),
    /// No policy decides: always empty.
    NotPermitted(Vec<String>),
    Soft(Vec<String>),
}

impl Oracle {
    pub(crate) fn new(policies: &CompiledPolicies) -> Self {
        let (schema, _) = Schema::from_cedarschema_str(include_str!("../../assets/schema.cedarschema")).unwrap();
        let set = |wanted: Set| {
            let chosen = policies.policies().into_iter().filter(|policy| !policy.is_shadow && policy.set == wanted);
            let parsed = chosen.map(|policy| Policy::parse(Some(PolicyId::new(&*policy.id)), policy.cedar).unwrap());
            PolicySet::from_policies(parsed).unwrap()
        };
        Self { schema, hard: set(Set::HardForbid), permits: set(Set::Permit), soft: set(Set::SoftForbid) }
    }

    pub(crate) fn pose(&self, request: &AccessRequest, apps: &[App], directory: &Directory) -> Posed<'_> {
        let (principal, resource, entities) = self.entities(request, apps, directory);
        let action = EntityUid::from_str(&format!("Action::\"{}\"", request.action.as_str())).unwrap();
        Posed { oracle: self, principal, action, resource, entities }
    }

    fn entities(
        &self,
        request: &AccessRequest,
        apps: &[App],
        directory: &Directory,
    ) -> (EntityUid, EntityUid, Entities) {
        let uid = |kind: &str, id: &str| json!({ "type": kind, "id": id });
        let mut all = Vec::new();
        for group in directory.groups.values() {
            let parents: Vec<Value> = group.parents.iter().map(|parent| uid("Group", parent.as_str())).collect();
            all.push(json!({ "uid": uid("Group", group.id.as_str()), "parents": parents, "attrs": {} }));
        }
        for user in directory.users.values() {
            let parents: Vec<Value> = user.direct_groups.iter().map(|group| uid("Group", group.as_str())).collect();
            all.push(json!({ "uid": uid("User", &user.id.to_string()), "parents": parents,
                "attrs": { "external": user.is_external, "age_days": 10 }, "tags": user.tags }));
        }
        all.push(
            json!({ "uid": uid("User", "anonymous"), "parents": [], "attrs": { "external": true, "age_days": 0 } }),
        );
        for app in apps {
            let attrs = json!({ "sensitivity": app.effective_sensitivity().as_str(), "label": app.label,
                "requestable": app.is_requestable });
            let tags: Value =
                app.labels.iter().map(|(k, v)| (k.clone(), json!([v]))).collect::<serde_json::Map<_, _>>().into();
            all.push(json!({ "uid": uid("App", app.name.as_str()), "parents": [], "attrs": attrs, "tags": tags }));
            for route in &app.routes {
                let id = format!("{}/{}", app.name, route.name);
                let parents = [uid("App", app.name.as_str())];
                all.push(json!({ "uid": uid("Route", &id), "parents": parents, "attrs": attrs, "tags": tags }));
            }
        }
        let (kind, id) = match &request.principal {
            Principal::Anonymous => ("User", "anonymous".to_owned()),
            Principal::User(id) => ("User", id.to_string()),
            Principal::Workload(name) => ("Workload", name.to_string()),
        };
        if kind == "Workload" {
            let attrs = json!({ "selectors": [], "trust_domain": "corp.test" });
            all.push(json!({ "uid": uid(kind, &id), "parents": [], "attrs": attrs }));
        }
        let principal = EntityUid::from_str(&format!("{kind}::\"{id}\"")).unwrap();
        let kind = if request.resource.route.is_some() { "Route" } else { "App" };
        let resource = EntityUid::from_str(&format!("{kind}::\"{}\"", request.resource)).unwrap();
        (principal, resource, Entities::from_json_value(Value::Array(all), Some(&self.schema)).unwrap())
    }
}

impl Posed<'_> {
    pub(crate) fn answer(&self, facts: &Facts) -> Answer {
        let Oracle { schema, hard, permits, soft } = self.oracle;
        let context = Context::from_json_value(context(facts), Some((schema, &self.action))).unwrap();
        let (principal, action, resource) = (self.principal.clone(), self.action.clone(), self.resource.clone());
        let question = Request::new(principal, action, resource, context, Some(schema)).unwrap();
        let mut errors = Vec::new();
        // A set of one kind alone: Cedar names every policy of it that holds.
        let mut holding = |set: &PolicySet| -> Vec<String> {
            let response = Authorizer::new().is_authorized(&question, set, &self.entities);
            let said = response.diagnostics();
            errors.extend(said.errors().map(|AuthorizationError::PolicyEvaluationError(e)| e.policy_id().to_string()));
            let mut ids: Vec<String> = said.reason().map(ToString::to_string).collect();
            ids.sort();
            ids
        };
        let (hard, permits, soft) = (holding(hard), holding(permits), holding(soft));
        errors.sort();
        match () {
            () if !errors.is_empty() => Answer::Error(errors),
            () if !hard.is_empty() => Answer::Hard(hard),
            () if permits.is_empty() => Answer::NotPermitted(vec![]),
            () if !soft.is_empty() => Answer::Soft(soft),
            () => Answer::Allow(permits),
        }
    }
}

fn context(facts: &Facts) -> Value {
    let posture = |p: &PostureFact| json!({ "ok": p.ok, "age_secs": p.age_secs, "level": p.level });
    let Facts { auth, device, net, request, risk, session } = facts;
    json!({
        "auth": { "authenticated": auth.authenticated, "acr": auth.acr, "amr": auth.amr, "idp": auth.idp, "mfa": auth.mfa,
            "phishing_resistant": auth.phishing_resistant, "passkey_synced": auth.passkey_synced,
            "auth_age_secs": auth.auth_age_secs, "step_up_age_secs": auth.step_up_age_secs },
        "device": { "known": device.known, "id": device.id, "state": device.state, "ownership": device.ownership,
            "owner_is_principal": device.owner_is_principal, "key_level": device.key_level,
            "managed": posture(&device.managed), "encrypted": posture(&device.encrypted),
            "compliant": posture(&device.compliant), "os_patched": posture(&device.os_patched),
            "firewall": posture(&device.firewall), "screen_lock": posture(&device.screen_lock), "edr": posture(&device.edr) },
        "net": { "zones": net.zones, "country": net.country, "country_known": net.country_known, "asn": net.asn,
            "tor": net.tor, "high_risk_country": net.high_risk_country },
        "request": { "door": request.door, "method": request.method, "host": request.host, "path": request.path,
            "original_path": request.original_path, "segments": request.segments, "route": request.route,
            "headers": request.headers, "grpc_service": request.grpc_service, "grpc_method": request.grpc_method,
            "websocket": request.websocket, "port": request.port, "tls_version": request.tls_version,
            "tls_pq": request.tls_pq, "epoch_secs": request.epoch_secs, "minute_of_day": request.minute_of_day,
            "weekday": request.weekday, "hours": request.hours },
        "risk": { "known": risk.known, "points": risk.points, "anomaly": risk.anomaly, "signals": risk.signals,
            "age_secs": risk.age_secs },
        "session": { "age_secs": session.age_secs, "idle_secs": session.idle_secs, "bound": session.bound,
            "grants": session.grants, "granted": session.granted },
    })
}
