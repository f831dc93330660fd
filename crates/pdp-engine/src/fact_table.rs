//! The one walk over [`Facts`]: Cedar context, canonical bytes and explanations are all made from it, so that they
//! cannot disagree.
//!
//! Invariants: every field of [`Facts`] is named here (the patterns below have no `..`, so a new field does not compile
//! until it is); records and attributes come in the order of deterministic CBOR, shorter names first, then bytewise.

use std::collections::BTreeSet;

use model::Facts;
use model::facts::{AuthFacts, DeviceFacts, NetFacts, PostureFact, RequestFacts, RiskFacts, SessionFacts};

/// A fact as policies see it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FactValue<'a> {
    Bool(bool),
    Long(i64),
    Posture(&'a PostureFact),
    Text(&'a str),
    Texts(&'a BTreeSet<String>),
}

/// An attribute.
pub(crate) type Fact<'a> = (&'static str, FactValue<'a>);

use FactValue::{Bool, Long, Posture, Text, Texts};

/// How many records there are.
pub(crate) const RECORDS: usize = 6;

/// Calls `record` with the name and attributes of each record.
pub(crate) fn walk<'a>(facts: &'a Facts, mut record: impl FnMut(&'static str, &[Fact<'a>])) {
    let Facts { auth, device, net, request, risk, session } = facts;
    record("net", &net_facts(net));
    record("auth", &auth_facts(auth));
    record("risk", &risk_facts(risk));
    record("device", &device_facts(device));
    record("request", &request_facts(request));
    record("session", &session_facts(session));
}

/// The attributes of a posture fact.
pub(crate) fn posture(fact: &PostureFact) -> [Fact<'_>; 3] {
    let PostureFact { ok, age_secs, level } = fact;
    [("ok", Bool(*ok)), ("level", Long(*level)), ("age_secs", Long(*age_secs))]
}

fn auth_facts(facts: &AuthFacts) -> [Fact<'_>; 9] {
    let AuthFacts {
        authenticated,
        acr,
        amr,
        idp,
        mfa,
        phishing_resistant,
        passkey_synced,
        auth_age_secs,
        step_up_age_secs,
    } = facts;
    [
        ("acr", Text(acr)),
        ("amr", Texts(amr)),
        ("idp", Text(idp)),
        ("mfa", Bool(*mfa)),
        ("auth_age_secs", Long(*auth_age_secs)),
        ("authenticated", Bool(*authenticated)),
        ("passkey_synced", Bool(*passkey_synced)),
        ("step_up_age_secs", Long(*step_up_age_secs)),
        ("phishing_resistant", Bool(*phishing_resistant)),
    ]
}

fn device_facts(facts: &DeviceFacts) -> [Fact<'_>; 13] {
    let DeviceFacts {
        known,
        id,
        state,
        ownership,
        owner_is_principal,
        key_level,
        managed,
        encrypted,
        compliant,
        os_patched,
        firewall,
        screen_lock,
        edr,
    } = facts;
    [
        ("id", Text(id)),
        ("edr", Posture(edr)),
        ("known", Bool(*known)),
        ("state", Text(state)),
        ("managed", Posture(managed)),
        ("firewall", Posture(firewall)),
        ("compliant", Posture(compliant)),
        ("encrypted", Posture(encrypted)),
        ("key_level", Long(*key_level)),
        ("ownership", Text(ownership)),
        ("os_patched", Posture(os_patched)),
        ("screen_lock", Posture(screen_lock)),
        ("owner_is_principal", Bool(*owner_is_principal)),
    ]
}

fn net_facts(facts: &NetFacts) -> [Fact<'_>; 6] {
    let NetFacts { zones, country, country_known, asn, tor, high_risk_country } = facts;
    [
        ("asn", Long(*asn)),
        ("tor", Bool(*tor)),
        ("zones", Texts(zones)),
        ("country", Text(country)),
        ("country_known", Bool(*country_known)),
        ("high_risk_country", Bool(*high_risk_country)),
    ]
}

fn request_facts(facts: &RequestFacts) -> [Fact<'_>; 18] {
    let RequestFacts {
        door,
        method,
        host,
        path,
        original_path,
        segments,
        route,
        headers,
        grpc_service,
        grpc_method,
        websocket,
        port,
        tls_version,
        tls_pq,
        epoch_secs,
        minute_of_day,
        weekday,
        hours,
        // Says how long, not what: see `hold`.
        clock_until: _,
    } = facts;
    [
        ("door", Text(door)),
        ("host", Text(host)),
        ("path", Text(path)),
        ("port", Long(*port)),
        ("hours", Texts(hours)),
        ("route", Text(route)),
        ("method", Text(method)),
        ("tls_pq", Bool(*tls_pq)),
        ("headers", Texts(headers)),
        ("weekday", Long(*weekday)),
        ("segments", Texts(segments)),
        ("websocket", Bool(*websocket)),
        ("epoch_secs", Long(*epoch_secs)),
        ("grpc_method", Text(grpc_method)),
        ("tls_version", Text(tls_version)),
        ("grpc_service", Text(grpc_service)),
        ("minute_of_day", Long(*minute_of_day)),
        ("original_path", Text(original_path)),
    ]
}

fn risk_facts(facts: &RiskFacts) -> [Fact<'_>; 5] {
    let RiskFacts { known, points, anomaly, signals, age_secs } = facts;
    [
        ("known", Bool(*known)),
        ("points", Long(*points)),
        ("anomaly", Long(*anomaly)),
        ("signals", Texts(signals)),
        ("age_secs", Long(*age_secs)),
    ]
}

fn session_facts(facts: &SessionFacts) -> [Fact<'_>; 5] {
    let SessionFacts { age_secs, idle_secs, bound, grants, granted } = facts;
    [
        ("bound", Bool(*bound)),
        ("grants", Texts(grants)),
        ("granted", Bool(*granted)),
        ("age_secs", Long(*age_secs)),
        ("idle_secs", Long(*idle_secs)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn kind(value: &FactValue<'_>) -> &'static str {
        match value {
            Bool(_) => "Bool",
            Long(_) => "Long",
            Posture(_) => "Posture",
            Text(_) => "String",
            Texts(_) => "Set",
        }
    }

    #[test]
    fn the_walk_and_the_schema_name_the_same_facts_with_the_same_types() {
        let (fragment, _) = cedar_policy::SchemaFragment::from_cedarschema_str(crate::schema::SCHEMA_TEXT).unwrap();
        let json = fragment.to_json_value().unwrap();
        let types = json.pointer("//commonTypes").unwrap();
        let declared = |record: &str| -> BTreeMap<String, String> {
            let attributes = types.get(record).unwrap_or_else(|| panic!("no type {record}")).get("attributes").unwrap();
            let name = |declaration: &serde_json::Value| {
                let found = declaration.get("type").and_then(|t| t.as_str()).unwrap();
                match found {
                    "EntityOrCommon" => declaration.get("name").unwrap().as_str().unwrap().to_owned(),
                    other => other.to_owned(),
                }
            };
            attributes.as_object().unwrap().iter().map(|(k, v)| (k.clone(), name(v))).collect()
        };
        let facts = Facts::unknown();
        let mut records = Vec::new();
        walk(&facts, |record, attributes| {
            records.push(record.to_owned());
            let mut type_name = record.to_owned();
            type_name.get_mut(..1).unwrap().make_ascii_uppercase();
            let walked: BTreeMap<String, String> =
                attributes.iter().map(|(name, value)| ((*name).to_owned(), kind(value).to_owned())).collect();
            assert_eq!(walked, declared(&type_name), "{record}");
        });
        let walked: BTreeMap<String, String> =
            posture(&PostureFact::UNKNOWN).iter().map(|(k, v)| ((*k).to_owned(), kind(v).to_owned())).collect();
        assert_eq!(walked, declared("Posture"));
        records.sort();
        assert_eq!(records, declared("Facts").into_keys().collect::<Vec<_>>());
        assert_eq!(records.len(), RECORDS);
    }

    #[test]
    fn names_come_in_the_order_of_deterministic_cbor() {
        let facts = Facts::unknown();
        let mut records = Vec::new();
        let is_ordered = |names: &[&str]| names.windows(2).all(|p| (p[0].len(), p[0]) < (p[1].len(), p[1]));
        walk(&facts, |record, attributes| {
            records.push(record);
            let names: Vec<&str> = attributes.iter().map(|(name, _)| *name).collect();
            assert!(is_ordered(&names), "{names:?}");
        });
        assert!(is_ordered(&records), "{records:?}");
    }
}
