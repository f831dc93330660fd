//! What a person could do at best: with every factor proven, on a perfect device, at the right place and hour. For
//! guards and plans, which ask whether somebody *could*, not whether they would now.
//!
//! Which places, hours and names are right is taken from the texts of the policies themselves. Approved requests for
//! access (`session.granted`) are not assumed: somebody would have to give them. What only a combination of several of
//! the tried values would open is not found; a guard then errs towards refusing.

use std::collections::BTreeSet;

use model::app::{App, AppName};
use model::decision::StepUpContext;
use model::facts::{Facts, PostureFact};
use model::{
    AccessRequest, Action, Directory, Effect, PolicyDecisionPoint, Principal, ResourceRef, RouteName, TimeZone,
    Timestamp, UserState,
};
use pdp_engine::CompiledPolicies;

/// How many words of policies are tried as zones and methods.
const MAX_WORDS: usize = 256;
/// How many sets of facts are tried for one question.
const MAX_VARIANTS: usize = 128;
/// How many people are asked about under every set of facts.
const MAX_THOROUGH: usize = 1_000;
const PERFECT: PostureFact = PostureFact { ok: true, age_secs: 0, level: 3 };

/// Puts a word into the facts.
type Put = fn(&mut Facts, &str);

/// Facts of which policies name single values, and how a value is put.
const SINGLE: &[(&str, Put)] = &[
    ("auth.acr", |facts, value| facts.auth.acr = value.to_owned()),
    ("auth.idp", |facts, value| facts.auth.idp = value.to_owned()),
    ("device.ownership", |facts, value| facts.device.ownership = value.to_owned()),
    ("device.state", |facts, value| facts.device.state = value.to_owned()),
    ("net.country", |facts, value| facts.net.country = value.to_owned()),
];

/// The sets of facts to try, best guess first.
pub(super) struct BestCase {
    variants: Vec<Facts>,
    now: Timestamp,
}

impl BestCase {
    /// For questions under `policies`.
    pub(super) fn of(policies: &CompiledPolicies, now: Timestamp) -> Self {
        let texts: Vec<String> = policies.policies().into_iter().map(|policy| policy.cedar).collect();
        let mut best = perfect(now, &policies.settings().time_zone);
        let words: BTreeSet<String> = texts.iter().flat_map(|text| literals(text)).take(MAX_WORDS).collect();
        best.net.zones.clone_from(&words);
        best.request.hours.extend(words.iter().cloned());
        best.auth.amr.extend(words);
        let singles: Vec<_> = SINGLE.iter().map(|(path, put)| (values_of(&texts, path), put)).collect();
        for (values, put) in &singles {
            if let Some(first) = values.iter().next() {
                put(&mut best, first);
            }
        }
        let mut variants = vec![best.clone()];
        let mut vary = |change: &dyn Fn(&mut Facts)| {
            let mut facts = best.clone();
            change(&mut facts);
            variants.push(facts);
        };
        vary(&|facts| facts.net.zones.clear());
        vary(&|facts| facts.request.hours = [model::access::HOURS_KNOWN.to_owned()].into());
        for (values, put) in &singles {
            for value in values.iter().skip(1) {
                vary(&|facts| put(facts, value));
            }
        }
        if texts.iter().any(|text| text.contains("minute_of_day") || text.contains("weekday")) {
            for (weekday, hour) in (1..=7).flat_map(|day| (0..24).step_by(3).map(move |hour| (day, hour))) {
                vary(&|facts| (facts.request.weekday, facts.request.minute_of_day) = (weekday, hour * 60 + 30));
            }
        }
        variants.truncate(MAX_VARIANTS);
        Self { variants, now }
    }

    /// Whether somebody could do this at best, with or without a step-up.
    pub(super) fn could(
        &self,
        pdp: &dyn PolicyDecisionPoint,
        principal: &Principal,
        action: Action,
        resource: &ResourceRef,
    ) -> bool {
        self.could_under(&self.variants, pdp, principal, action, resource)
    }

    fn could_under(
        &self,
        variants: &[Facts],
        pdp: &dyn PolicyDecisionPoint,
        principal: &Principal,
        action: Action,
        resource: &ResourceRef,
    ) -> bool {
        variants.iter().any(|facts| {
            let mut facts = facts.clone();
            facts.request.method = method(action).to_owned();
            facts.request.route = resource.route.as_ref().map(|route| route.as_str().to_owned()).unwrap_or_default();
            let question = AccessRequest {
                principal: principal.clone(),
                action,
                resource: resource.clone(),
                facts,
                is_public_path: false,
                session_ends: None,
                step_up: StepUpContext::default(),
            };
            pdp.decide(&question, self.now).effect != Effect::Deny
        })
    }

    /// Whether somebody could do this on any route of an app.
    pub(super) fn could_in(
        &self,
        pdp: &dyn PolicyDecisionPoint,
        principal: &Principal,
        action: Action,
        app: &App,
    ) -> bool {
        let route = |name: Option<RouteName>| ResourceRef { app: app.name.clone(), route: name };
        let named = app.routes.iter().map(|it| route(Some(it.name.clone())));
        named.chain([route(None)]).any(|resource| self.could(pdp, principal, action, &resource))
    }

    /// Whether any enrolled person could administer at best. Members of `admins` are asked first; of very many people,
    /// all are asked under the best guess and the first [`MAX_THOROUGH`] under every other.
    pub(super) fn somebody_administers(&self, pdp: &dyn PolicyDecisionPoint, directory: &Directory) -> bool {
        let admins = model::GroupId::new(model::directory::ADMINS_GROUP);
        let mut enrolled: Vec<_> = directory.users.values().filter(|user| user.state == UserState::Active).collect();
        enrolled.sort_by_key(|user| (!user.groups.contains(&admins), user.id));
        let people: Vec<Principal> = enrolled.into_iter().map(|user| Principal::User(user.id)).collect();
        let first = self.variants.get(..1).unwrap_or_default();
        people.iter().any(|person| self.could_under(first, pdp, person, Action::AdminWrite, &administration()))
            || people.iter().take(MAX_THOROUGH).any(|person| self.administers(pdp, person))
    }

    /// Whether this principal could administer at best.
    pub(super) fn administers(&self, pdp: &dyn PolicyDecisionPoint, principal: &Principal) -> bool {
        self.could(pdp, principal, Action::AdminWrite, &administration())
    }
}

/// What the control plane's changing routes are.
fn administration() -> ResourceRef {
    ResourceRef { app: AppName::new(model::app::CONTROL_APP), route: Some(RouteName::new("api-write")) }
}

fn method(action: Action) -> &'static str {
    match action {
        Action::HttpPost | Action::AdminWrite => "POST",
        _ => "GET",
    }
}

fn perfect(now: Timestamp, zone: &TimeZone) -> Facts {
    let mut facts = Facts::unknown();
    facts.auth.authenticated = true;
    facts.auth.acr = "phrh".to_owned();
    facts.auth.idp = "local".to_owned();
    facts.auth.mfa = true;
    facts.auth.phishing_resistant = true;
    (facts.auth.auth_age_secs, facts.auth.step_up_age_secs) = (0, 0);
    let device = &mut facts.device;
    (device.known, device.owner_is_principal, device.key_level) = (true, true, 3);
    device.postures_mut().into_iter().for_each(|fact| *fact = PERFECT);
    facts.net.country_known = true;
    facts.request.door = "http".to_owned();
    facts.request.tls_version = "1.3".to_owned();
    facts.request.tls_pq = true;
    facts.request.port = 443;
    facts.request.tell_time(now, zone, None);
    (facts.risk.known, facts.risk.points, facts.risk.age_secs) = (true, 0, 0);
    (facts.session.age_secs, facts.session.idle_secs, facts.session.bound) = (0, 0, true);
    facts
}

/// The plain string literals of a policy.
fn literals(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('"').skip(1).step_by(2).filter(|word| !word.contains('\\')).map(str::to_owned)
}

/// The values that policies compare a fact with or find in a list, in order.
fn values_of(texts: &[String], path: &str) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for text in texts {
        for (at, _) in text.match_indices(path) {
            let before = text.get(..at).unwrap_or_default();
            let after = text.get(at + path.len()..).unwrap_or_default();
            let list =
                before.rsplit_once('[').map(|(_, list)| list).filter(|_| before.trim_end().ends_with("context."));
            let equal = after.trim_start().strip_prefix("==").and_then(|rest| rest.split(['&', '|', ')', '}']).next());
            let listed = list.filter(|list| list.contains("].contains("));
            values.extend(equal.into_iter().chain(listed).flat_map(literals));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_policies_ask_for_are_found() {
        let texts = [
            r#"permit (principal, action, resource) when { context.net.country == "DE" || ["AT", "CH"].contains(context.net.country) };"#.to_owned(),
        ];
        let found: Vec<String> = values_of(&texts, "net.country").into_iter().collect();
        assert_eq!(found, ["AT", "CH", "DE"]);
        assert!(values_of(&texts, "device.state").is_empty());
    }
}
