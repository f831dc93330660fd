//! Rules that can never hold together: two entries of `require` that exclude each other, an `exclude` that covers
//! what a `require` or every `include` asks for (GW-20).
//!
//! Not a proof that anything else can hold: only what is plain from the entries themselves is said.

use std::collections::BTreeSet;

use model::access::{AccessRules, Cidr, Hours, Rule, Selector};

use crate::kinds::Document;

pub(super) fn check(document: &mut Document<'_>, rules: &AccessRules) {
    for (at, second) in rules.require.iter().enumerate() {
        if let Some(first) = rules.require.iter().take(at).find(|first| is_apart(&first.selector, &second.selector)) {
            let message = format!(
                "this entry of `require` and the one in line {} can never hold together, so nobody would be let in; \
                 values that may stand for each other belong into one entry as a list",
                line(first)
            );
            document.refuse_at((line(second), 0), message);
        }
        for excluded in rules.exclude.iter().filter(|excluded| covers(&excluded.selector, &second.selector)) {
            let message = format!(
                "this entry of `exclude` keeps out whoever `require` in line {} asks for, so nobody would be let in",
                line(second)
            );
            document.refuse_at((line(excluded), 0), message);
        }
    }
    for shut in rules.exclude.iter().filter(|rule| rule.selector == Selector::Authenticated) {
        let message =
            "`authenticated` in `exclude` keeps everybody out: whoever is not signed in is asked to sign in first";
        document.refuse_at((line(shut), 0), message);
    }
    let is_shut = |included: &Rule| rules.exclude.iter().any(|excluded| covers(&excluded.selector, &included.selector));
    if let (Some(first), true) = (rules.exclude.first(), !rules.include.is_empty())
        && rules.include.iter().all(is_shut)
    {
        let message = "`exclude` keeps out everybody whom `include` lets in, so nobody would be let in";
        document.refuse_at((line(first), 0), message);
    }
}

fn line(rule: &Rule) -> u64 {
    rule.declared_at.rsplit_once(':').and_then(|(_, line)| line.parse().ok()).unwrap_or(0)
}

/// Whether no request can satisfy both.
fn is_apart(a: &Selector, b: &Selector) -> bool {
    use Selector as S;
    match (a, b) {
        (S::Country(a), S::Country(b)) | (S::Email(a), S::Email(b)) | (S::EmailDomain(a), S::EmailDomain(b)) => {
            a.is_disjoint(b)
        }
        (S::ServiceToken(a), S::ServiceToken(b)) | (S::Workload(a), S::Workload(b)) => a.is_disjoint(b),
        (S::Email(addresses), S::EmailDomain(domains)) | (S::EmailDomain(domains), S::Email(addresses)) => {
            !addresses.iter().any(|address| address.split_once('@').is_some_and(|(_, domain)| domains.contains(domain)))
        }
        (S::IpRange(a), S::IpRange(b)) => !a.iter().any(|a| b.iter().any(|b| overlap(a, b))),
        (S::DeviceManaged(a), S::DeviceManaged(b)) => a != b,
        (S::Device { encrypted: e1, compliant: c1, .. }, S::Device { encrypted: e2, compliant: c2, .. }) => {
            differ(*e1, *e2) || differ(*c1, *c2)
        }
        (S::Time(a), S::Time(b)) if a.zone == b.zone => minutes(a).is_disjoint(&minutes(b)),
        (a, b) => principal(a).zip(principal(b)).is_some_and(|(a, b)| a != b),
    }
}

fn differ(a: Option<bool>, b: Option<bool>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a != b)
}

fn overlap(a: &Cidr, b: &Cidr) -> bool {
    a.contains(b.network) || b.contains(a.network)
}

/// The minutes of the week a time covers, by weekday and minute.
fn minutes(Hours { days, from, to, .. }: &Hours) -> BTreeSet<(u8, u16)> {
    let mut covered = BTreeSet::new();
    for day in days {
        if from < to {
            covered.extend((*from..*to).map(|minute| (*day, minute)));
        } else {
            covered.extend((*from..1440).map(|minute| (*day, minute)));
            covered.extend((0..*to).map(|minute| (day % 7 + 1, minute)));
        }
    }
    covered
}

/// Which kind of principal a selector speaks of.
#[derive(PartialEq, Eq)]
enum Kind {
    Person,
    SpiffeWorkload,
    Token,
}

fn principal(selector: &Selector) -> Option<Kind> {
    match selector {
        Selector::Email(_) | Selector::EmailDomain(_) | Selector::Claim { .. } => Some(Kind::Person),
        Selector::AnyServiceToken | Selector::ServiceToken(_) => Some(Kind::Token),
        Selector::Workload(_) => Some(Kind::SpiffeWorkload),
        _ => None,
    }
}

/// Whether `wide` holds whenever `narrow` does.
fn covers(wide: &Selector, narrow: &Selector) -> bool {
    use Selector as S;
    match (wide, narrow) {
        (S::Country(wide), S::Country(narrow))
        | (S::Email(wide), S::Email(narrow))
        | (S::EmailDomain(wide), S::EmailDomain(narrow))
        | (S::LoginMethod(wide), S::LoginMethod(narrow))
        | (S::ServiceToken(wide), S::ServiceToken(narrow))
        | (S::Workload(wide), S::Workload(narrow)) => narrow.is_subset(wide),
        (S::Group(wide), S::Group(narrow)) => narrow.is_subset(wide),
        (S::EmailDomain(domains), S::Email(addresses)) => {
            addresses.iter().all(|address| address.split_once('@').is_some_and(|(_, domain)| domains.contains(domain)))
        }
        (S::IpRange(wide), S::IpRange(narrow)) => narrow
            .iter()
            .all(|narrow| wide.iter().any(|wide| wide.prefix <= narrow.prefix && wide.contains(narrow.network))),
        (S::AnyServiceToken, S::ServiceToken(_)) => true,
        (S::Mfa { acr: None, max_age: None }, S::Mfa { .. }) => true,
        (S::Authenticated, narrow) => {
            !matches!(narrow, S::Everyone | S::IpRange(_) | S::Country(_) | S::Time { .. } | S::TlsPq)
        }
        (S::RiskAtMost(wide), S::RiskAtMost(narrow)) => wide >= narrow,
        (wide, narrow) => wide == narrow,
    }
}
