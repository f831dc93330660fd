//! What each selector asks, as Cedar (GW-21, GW-22).

use std::collections::BTreeSet;
use std::time::Duration;

use model::access::{ADDRESS_KNOWN, CERTIFICATE_KNOWN, Cidr, HOURS_KNOWN, Hours, Selector};

/// How old a fact about a device may be where the rule does not say: after a day without a report nothing is known.
const DEVICE_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// A selector as conditions.
pub(super) struct Condition {
    /// Holds and is known to hold.
    pub(super) holds: String,
    /// Holds, or is not known.
    pub(super) excludes: String,
    /// The facts of the context a person would have to change; empty if none of it is theirs to change.
    pub(super) facts: Vec<String>,
    /// Where explanations put it.
    pub(super) stage: Option<u8>,
    /// What a refusal says.
    pub(super) reason: Option<&'static str>,
}

impl Condition {
    /// What is always known.
    fn certain(holds: impl Into<String>) -> Self {
        let holds = holds.into();
        Self { excludes: holds.clone(), holds, facts: Vec::new(), stage: None, reason: None }
    }

    /// What is known only where `known` is.
    fn guarded(known: &str, holds: &str) -> Self {
        Self { excludes: format!("!({known}) || {holds}"), ..Self::certain(format!("{known} && {holds}")) }
    }

    /// A value of a person's tag. Workloads have no such tag, and that is known.
    fn person_tag(tag: &str, values: &BTreeSet<String>) -> Self {
        let (tag, values) = (quoted(tag), set(values));
        let held = format!("principal.getTag({tag}).containsAny({values})");
        Self {
            excludes: format!("principal is User && (if principal.hasTag({tag}) then {held} else true)"),
            ..Self::certain(format!("principal is User && principal.hasTag({tag}) && {held}"))
        }
    }

    fn at_stage(self, stage: u8) -> Self {
        Self { stage: Some(stage), ..self }
    }

    fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    fn reading(self, facts: Vec<String>) -> Self {
        Self { facts, ..self }
    }
}

/// The conditions of a selector.
pub(super) fn condition(selector: &Selector) -> Condition {
    match selector {
        Selector::AnyServiceToken => Condition {
            // Only what names no trust domain can be a token.
            excludes: "principal is Workload && principal.trust_domain == \"\"".to_owned(),
            ..Condition::certain("principal is Workload && principal.hasTag(\"service_token\")")
        },
        Selector::Authenticated => Condition::certain("context.auth.authenticated").because("login_required"),
        Selector::Claim { idp, name, values } => Condition::person_tag(&format!("claim:{idp}:{name}"), values),
        Selector::ClientCert { spki, san } => client_cert(spki, san),
        Selector::Country(codes) => {
            let holds = format!("{}.contains(context.net.country)", set(codes));
            Condition::guarded("context.net.country_known", &holds).at_stage(3).because("network")
        }
        Selector::Device { encrypted, compliant, level, max_age } => {
            device(&[("compliant", *compliant), ("encrypted", *encrypted)], *level, *max_age)
        }
        Selector::DeviceManaged(is_managed) => device(&[("managed", Some(*is_managed))], None, None),
        Selector::Email(addresses) => Condition::person_tag("email", addresses).because("not_permitted"),
        Selector::EmailDomain(domains) => Condition::person_tag("email_domain", domains).because("not_permitted"),
        Selector::Everyone => Condition::certain("true"),
        Selector::Group(groups) => {
            let groups = groups.iter().map(|group| format!("Group::{}", quoted(group.as_str())));
            Condition::certain(format!("principal in [{}]", join(groups))).because("not_permitted")
        }
        Selector::IpRange(networks) => ip_range(networks),
        Selector::LoginMethod(methods) => {
            let methods = set(methods);
            let known = "(context.auth.authenticated && (context.auth.idp != \"\" || !context.auth.amr.isEmpty()))";
            let holds = format!("({methods}.contains(context.auth.idp) || context.auth.amr.containsAny({methods}))");
            Condition::guarded(known, &holds)
        }
        Selector::Mfa { acr, max_age } => mfa(acr.as_deref(), *max_age),
        Selector::RiskAtMost(points) => {
            let holds = format!("context.risk.points <= {points}");
            Condition::guarded("context.risk.known", &holds).at_stage(4).because("risk")
        }
        Selector::ServiceToken(names) => one_of_workloads(names.iter().map(|name| format!("service-account:{name}"))),
        Selector::SessionBound => Condition::guarded("context.auth.authenticated", "context.session.bound")
            .reading(vec!["context.session.bound".to_owned()]),
        Selector::Time(hours) if hours.zone.is_some() => {
            let [known, now] = [HOURS_KNOWN.to_owned(), hours.label()]
                .map(|label| format!("context.request.hours.contains({})", quoted(&label)));
            Condition::guarded(&known, &now)
        }
        Selector::Time(Hours { days, from, to, .. }) => {
            Condition::guarded("context.request.epoch_secs > 0", &format!("({})", hours(days, *from, *to)))
        }
        Selector::TlsPq => Condition::guarded("context.request.tls_version != \"\"", "context.request.tls_pq")
            .at_stage(3)
            .because("network"),
        Selector::Workload(ids) => one_of_workloads(ids.iter().cloned()),
    }
}

/// Who a selector names, as scopes of permits; empty if it asks for something else.
pub(super) fn scopes(selector: &Selector) -> Vec<String> {
    match selector {
        Selector::Group(groups) => {
            groups.iter().map(|group| format!("principal in Group::{}", quoted(group.as_str()))).collect()
        }
        Selector::ServiceToken(names) => names
            .iter()
            .map(|name| format!("principal == Workload::{}", quoted(&format!("service-account:{name}"))))
            .collect(),
        Selector::Workload(ids) => ids.iter().map(|id| format!("principal == Workload::{}", quoted(id))).collect(),
        _ => Vec::new(),
    }
}

fn one_of_workloads(ids: impl Iterator<Item = String>) -> Condition {
    let ids = ids.map(|id| format!("Workload::{}", quoted(&id)));
    Condition::certain(format!("principal is Workload && [{}].contains(principal)", join(ids)))
}

fn mfa(acr: Option<&str>, max_age: Option<Duration>) -> Condition {
    let (level, fact) = match acr {
        Some("phr") => ("context.auth.phishing_resistant".to_owned(), "context.auth.phishing_resistant"),
        None | Some("urn:countersign:acr:mfa") => ("context.auth.mfa".to_owned(), "context.auth.mfa"),
        Some(other) => (format!("context.auth.acr == {}", quoted(other)), "context.auth.acr"),
    };
    let mut facts = vec![fact.to_owned()];
    let holds = match max_age {
        Some(max_age) => {
            facts.push("context.auth.auth_age_secs".to_owned());
            format!("({level} && context.auth.auth_age_secs <= {})", max_age.as_secs())
        }
        None => level,
    };
    Condition::guarded("context.auth.authenticated", &holds).at_stage(1).reading(facts)
}

/// Posture facts, each with its age: an old one says nothing (DV-21). A level alone is that of the device's key.
fn device(wanted: &[(&'static str, Option<bool>)], level: Option<i64>, max_age: Option<Duration>) -> Condition {
    let max_age = max_age.unwrap_or(DEVICE_MAX_AGE).as_secs();
    let (mut known, mut holds, mut facts) = (Vec::new(), Vec::new(), Vec::new());
    let wanted: Vec<(&str, bool)> = wanted.iter().filter_map(|(fact, wanted)| Some((*fact, (*wanted)?))).collect();
    for (fact, is_wanted) in &wanted {
        let path = format!("context.device.{fact}");
        known.push(format!("{path}.age_secs <= {max_age}"));
        holds.push(format!("{}{path}.ok", if *is_wanted { "" } else { "!" }));
        facts.extend([format!("{path}.ok"), format!("{path}.age_secs")]);
        if let Some(level) = level {
            holds.push(format!("{path}.level >= {level}"));
            facts.push(format!("{path}.level"));
        }
    }
    if let (true, Some(level)) = (wanted.is_empty(), level) {
        known.push("context.device.known".to_owned());
        holds.push(format!("context.device.key_level >= {level}"));
        facts.push("context.device.key_level".to_owned());
    }
    if wanted.iter().any(|(_, is_wanted)| !is_wanted) {
        // Nobody is asked to make a device worse.
        facts.clear();
    }
    let (known, holds) = (known.join(" && "), format!("({})", holds.join(" && ")));
    Condition::guarded(&known, &holds).at_stage(2).because("device_not_compliant").reading(facts)
}

fn ip_range(networks: &BTreeSet<Cidr>) -> Condition {
    let zones = join(networks.iter().map(|network| quoted(&network.zone())));
    let known = format!("context.net.zones.contains({})", quoted(ADDRESS_KNOWN));
    let holds = format!("context.net.zones.containsAny([{zones}])");
    Condition::guarded(&known, &holds).at_stage(3).because("network")
}

fn client_cert(spki: &BTreeSet<String>, san: &BTreeSet<String>) -> Condition {
    let spki = spki.iter().map(|digest| quoted(&format!("cert:spki:{digest}")));
    let labels = join(spki.chain(san.iter().map(|name| quoted(&format!("cert:san:{name}")))));
    let known = format!("context.net.zones.contains({})", quoted(CERTIFICATE_KNOWN));
    Condition::guarded(&known, &format!("context.net.zones.containsAny([{labels}])"))
}

/// Over midnight, the day is the one it began on.
fn hours(days: &BTreeSet<u8>, from: u16, to: u16) -> String {
    let on =
        |days: Vec<u8>| format!("[{}].contains(context.request.weekday)", join(days.iter().map(ToString::to_string)));
    let (minute, today) = ("context.request.minute_of_day", on(days.iter().copied().collect()));
    if from < to {
        return format!("{today} && {minute} >= {from} && {minute} < {to}");
    }
    let tomorrow = on(days.iter().map(|day| day % 7 + 1).collect::<BTreeSet<u8>>().into_iter().collect());
    format!("({today} && {minute} >= {from}) || ({tomorrow} && {minute} < {to})")
}

/// A Cedar string. Cedar reads the escapes that Rust writes.
pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn set(values: &BTreeSet<String>) -> String {
    format!("[{}]", join(values.iter().map(|value| quoted(value))))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
