//! `access:` of an app and of its routes: simple rules as operators write them (GW-20 to GW-23).
//!
//! Not their meaning: `pdp-engine` translates them. What can never hold is refused by [`contradiction`].
//!
//! Invariants: what leaves here has one selector per entry, no empty list, and every value in the one form it is
//! compared in; a selector nothing feeds yet is a warning at its line.

mod contradiction;
mod spec;
mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::access::{AccessRules, Hours, Rule, Selector};
use serde_saphyr::Spanned;

pub(crate) use spec::AccessSpec;
use spec::{Entries, EntrySpec, FieldsSpec, Texts, WORDS};

use super::people::group_id;
use super::{Document, at};
use crate::problem::choices;

/// The most entries of one list of rules.
const MAX_ENTRIES: usize = 64;
/// The most values of one selector; an address range or a group says more in fewer.
const MAX_VALUES: usize = 256;
/// The most evidence a device fact can have.
const MAX_DEVICE_LEVEL: i64 = 3;

/// Whose rules they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    App,
    Route,
}

/// Which list an entry stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum List {
    Include,
    Require,
    Exclude,
}

/// Builds the rules; `None` when something is wrong (all is noted).
pub(crate) fn build(
    document: &mut Document<'_>,
    spec: Option<&Spanned<AccessSpec>>,
    owner: Owner,
) -> Option<Arc<AccessRules>> {
    let spec = spec?;
    let problems = document.problems.len();
    shape(document, spec, owner);
    let accepts_public = spec.value.accept_public.unwrap_or(false);
    let mut rules = |list, entries: Option<&Spanned<Entries>>| -> Vec<Rule> {
        let Some(entries) = entries else { return Vec::new() };
        if entries.value.len() > MAX_ENTRIES {
            document.refuse(entries, format!("a list of rules has at most {MAX_ENTRIES} entries"));
        }
        let mut built = Vec::new();
        for entry in &entries.value {
            let place = at(&entry.referenced);
            let Some(selector) = selector(document, entry) else { continue };
            everyone(document, &selector, place, (list, owner, accepts_public));
            unfed(document, &selector, place, list);
            built.push(Rule { selector, declared_at: format!("{}:{}", document.file, place.0).into() });
        }
        built
    };
    let rules = AccessRules {
        include: rules(List::Include, spec.value.include.as_ref()),
        require: rules(List::Require, spec.value.require.as_ref()),
        exclude: rules(List::Exclude, spec.value.exclude.as_ref()),
    };
    contradiction::check(document, &rules);
    let is_refused = document.problems.iter().skip(problems).any(|p| p.severity == crate::Severity::Error);
    (!is_refused).then(|| Arc::new(rules))
}

/// Lists that are there and say something.
fn shape(document: &mut Document<'_>, spec: &Spanned<AccessSpec>, owner: Owner) {
    let AccessSpec { include, require, exclude, .. } = &spec.value;
    match include {
        Some(include) if include.value.is_empty() => {
            document.refuse(include, "`include` is empty, so nobody would be let in; name at least one selector");
        }
        None if owner == Owner::App => {
            let message = "`access` has no `include`, so nobody would be let in; name at least one selector";
            document.refuse(spec, message);
        }
        None if require.is_none() && exclude.is_none() => {
            document.refuse(spec, "`access` of a route says nothing; leave it out or narrow the app's rules");
        }
        _ => {}
    }
}

/// `everyone` opens an app only where that was said twice, and means nothing elsewhere.
fn everyone(
    document: &mut Document<'_>,
    selector: &Selector,
    place: (u64, u64),
    (list, owner, accepts_public): (List, Owner, bool),
) {
    if *selector != Selector::Everyone {
        return;
    }
    match (list, owner) {
        (List::Include, Owner::App) if accepts_public => document.warn_at(
            place,
            "`everyone` needs no group, but every request must still be signed in: the built-in policy `builtin/identity` holds",
            "list what needs no sign-in under `public_paths`",
        ),
        (List::Include, Owner::App) => document.refuse_at(
            place,
            "`everyone` lets in whoever signs in; add `accept_public: true` beside `include` if that is meant",
        ),
        (List::Include, Owner::Route) => {
            document.refuse_at(place, "a route narrows its app and `everyone` narrows nothing; leave it out");
        }
        (List::Require, _) => document.refuse_at(place, "`everyone` requires nothing; leave it out"),
        (List::Exclude, _) => document.refuse_at(place, "`everyone` in `exclude` keeps everybody out"),
    }
}

/// The one selector of an entry.
fn selector(document: &mut Document<'_>, entry: &Spanned<EntrySpec>) -> Option<Selector> {
    let selector = match &entry.value {
        EntrySpec::Word(word) => word_of(document, entry, word)?,
        EntrySpec::Fields(fields) if fields.count() == 1 => {
            flags(document, fields).or_else(|| lists(document, fields)).or_else(|| records(document, fields))?
        }
        EntrySpec::Fields(_) => {
            document.refuse(entry, "an entry names exactly one selector; write one per entry");
            return None;
        }
    };
    Some(selector)
}

fn word_of(document: &mut Document<'_>, entry: &Spanned<EntrySpec>, word: &str) -> Option<Selector> {
    Some(match word {
        "any_service_token" => Selector::AnyServiceToken,
        "authenticated" => Selector::Authenticated,
        "everyone" => Selector::Everyone,
        "mfa" => Selector::Mfa { acr: None, max_age: None },
        "session_bound" => Selector::SessionBound,
        other => {
            let message = format!(
                "`{other}` is not a selector that stands alone; others have a value, e.g. `{{ group: staff }}`"
            );
            document.refuse_with_hint(entry, message, choices(other, WORDS));
            return None;
        }
    })
}

/// Selectors that are words, written as `word: true`.
fn flags(document: &mut Document<'_>, entry: &FieldsSpec) -> Option<Selector> {
    let words = [
        (&entry.any_service_token, Selector::AnyServiceToken),
        (&entry.authenticated, Selector::Authenticated),
        (&entry.everyone, Selector::Everyone),
        (&entry.session_bound, Selector::SessionBound),
    ];
    let (value, selector) = words.into_iter().find_map(|(value, selector)| Some((value.as_ref()?, selector)))?;
    if !value.value {
        document.refuse(value, "only `true` is valid here; put the opposite into `exclude`");
    }
    Some(selector)
}

/// Selectors with a value or a list of values.
fn lists(document: &mut Document<'_>, entry: &FieldsSpec) -> Option<Selector> {
    if let Some(texts) = &entry.email {
        return some(values(document, texts, value::email)).map(Selector::Email);
    }
    if let Some(texts) = &entry.email_domain {
        return some(values(document, texts, value::domain)).map(Selector::EmailDomain);
    }
    if let Some(texts) = &entry.group {
        return some(values(document, texts, group_id)).map(Selector::Group);
    }
    if let Some(texts) = &entry.login_method {
        return some(values(document, texts, value::login_method)).map(Selector::LoginMethod);
    }
    if let Some(texts) = &entry.country {
        return some(values(document, texts, value::country)).map(Selector::Country);
    }
    if let Some(texts) = &entry.ip_range {
        return some(values(document, texts, value::network)).map(Selector::IpRange);
    }
    if let Some(texts) = &entry.service_token {
        let name = |text: &str| crate::text::name(text).map(str::to_owned);
        return some(values(document, texts, name)).map(Selector::ServiceToken);
    }
    let texts = entry.workload.as_ref()?;
    some(values(document, texts, value::spiffe_id)).map(Selector::Workload)
}

/// Selectors with members.
fn records(document: &mut Document<'_>, entry: &FieldsSpec) -> Option<Selector> {
    if let Some(managed) = &entry.device_managed {
        return Some(Selector::DeviceManaged(managed.value));
    }
    if let Some(points) = &entry.risk_at_most {
        if points.value > 100 {
            document
                .refuse(points, format!("`{}` is not a number of risk points; they go from 0 to 100", points.value));
        }
        return Some(Selector::RiskAtMost(u8::try_from(points.value).unwrap_or(100)));
    }
    if let Some(mfa) = &entry.mfa {
        return mfa_of(document, mfa);
    }
    if let Some(device) = &entry.device {
        return device_of(document, device);
    }
    if let Some(claim) = &entry.claim {
        let spec = &claim.value;
        return Some(Selector::Claim {
            idp: document.parsed(&spec.idp, value::word)?,
            name: document.parsed(&spec.name, value::word)?,
            values: some(values(document, &spec.value, value::word))?,
        });
    }
    if let Some(cert) = &entry.client_cert {
        let mut of = |texts: &Option<Spanned<Texts>>, parse: fn(&str) -> Result<String, String>| {
            texts.as_ref().map(|texts| values(document, texts, parse)).unwrap_or_default()
        };
        let (spki, san) = (of(&cert.value.spki, value::spki), of(&cert.value.san, value::word));
        if spki.is_empty() && san.is_empty() {
            document.refuse(cert, "`client_cert` needs `spki` or `san`");
        }
        return Some(Selector::ClientCert { spki, san });
    }
    if let Some(tls) = &entry.tls {
        if !tls.value.pq {
            document.refuse(tls, "`tls` knows `pq: true` only; put the opposite into `exclude`");
        }
        return Some(Selector::TlsPq);
    }
    time_of(document, entry.time.as_ref()?)
}

fn mfa_of(document: &mut Document<'_>, mfa: &Spanned<spec::MfaSpec>) -> Option<Selector> {
    let words = [("phr", "phr"), ("phrh", "phrh"), ("urn:countersign:acr:mfa", "urn:countersign:acr:mfa")];
    let acr = match &mfa.value.acr {
        Some(acr) => Some(document.word(acr, &words)?.to_owned()),
        None => None,
    };
    if acr.as_deref() == Some("phrh") {
        let hint = "write `phr`, which any passkey gives";
        document.warn(mfa, "no sign-in gives the level `phrh` yet, so this never holds", hint);
    }
    Some(Selector::Mfa { acr, max_age: max_age(document, mfa.value.max_age.as_ref())? })
}

/// `Some(None)`: not given. Zero never holds.
fn max_age(document: &mut Document<'_>, value: Option<&Spanned<String>>) -> Option<Option<std::time::Duration>> {
    let Some(value) = value else { return Some(None) };
    let age = document.parsed(value, crate::text::duration)?;
    if age.as_secs() == 0 {
        document.refuse(value, format!("a `max_age` of `{}` never holds; write at least `1s`", value.value));
    }
    Some(Some(age))
}

fn device_of(document: &mut Document<'_>, device: &Spanned<spec::DeviceSpec>) -> Option<Selector> {
    let spec = &device.value;
    if let Some(level) = spec.level.as_ref().filter(|level| !(1..=MAX_DEVICE_LEVEL).contains(&level.value)) {
        document.refuse(level, format!("`{}` is not a level of evidence; write 1 to {MAX_DEVICE_LEVEL}", level.value));
    }
    if spec.encrypted.is_none() && spec.compliant.is_none() && spec.level.is_none() {
        document.refuse(device, "`device` asks for nothing; write `encrypted`, `compliant` or `level`");
    }
    Some(Selector::Device {
        encrypted: spec.encrypted,
        compliant: spec.compliant,
        level: spec.level.as_ref().map(|level| level.value),
        max_age: max_age(document, spec.max_age.as_ref())?,
    })
}

fn time_of(document: &mut Document<'_>, time: &Spanned<spec::TimeSpec>) -> Option<Selector> {
    let spec = &time.value;
    let zone = match &spec.zone {
        Some(zone) => Some(document.parsed(zone, crate::zone::time_zone)?),
        None => None,
    };
    let days = match &spec.days {
        Some(days) => values(document, days, value::days).into_iter().flatten().collect(),
        None => (1..=7).collect(),
    };
    let from = spec.from.as_ref().map_or(Some(0), |from| document.parsed(from, value::minute))?;
    let to = spec.to.as_ref().map_or(Some(1440), |to| document.parsed(to, value::minute))?;
    if from == to || from == 1440 || to == 0 {
        document.refuse(time, "`from` and `to` leave no time between them; a whole day is `00:00` to `24:00`");
    }
    Some(Selector::Time(Hours { zone, days: some(days)?, from, to }))
}

/// Every value of a selector; problems are noted, an empty list is one.
fn values<T: Ord>(
    document: &mut Document<'_>,
    texts: &Spanned<Texts>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> BTreeSet<T> {
    let Texts(values) = &texts.value;
    if values.is_empty() || values.len() > MAX_VALUES {
        document.refuse(texts, format!("a selector needs 1 to {MAX_VALUES} values"));
    }
    let mut parsed = |value: &Spanned<String>| match parse(&value.value) {
        Ok(parsed) => Some(parsed),
        Err(message) if at(&value.referenced).0 == 0 => {
            document.refuse(texts, message);
            None
        }
        Err(message) => {
            document.refuse(value, message);
            None
        }
    };
    values.iter().filter_map(&mut parsed).collect()
}

fn some<T>(values: BTreeSet<T>) -> Option<BTreeSet<T>> {
    Some(values).filter(|values| !values.is_empty())
}

/// Warns of a selector whose fact nothing brings yet, and says what that does at this place (GW-22).
fn unfed(document: &mut Document<'_>, selector: &Selector, place: (u64, u64), list: List) {
    let Some((missing, otherwise)) = missing_source(selector) else { return };
    let effect = match (list, otherwise) {
        (List::Include, _) => "so this lets nobody in",
        (List::Require, _) => "so this lets nobody in who is let in elsewhere",
        (List::Exclude, Otherwise::Unknown) => "and what is unknown is excluded, so this keeps everybody out",
        (List::Exclude, Otherwise::No) => "so this keeps nobody out",
    };
    let hint = "docs/access-rules.md says which selectors decide today";
    document.warn_at(place, format!("nothing brings {missing} yet, {effect}"), hint);
}

/// What a question about a missing source is answered with.
#[derive(Clone, Copy)]
enum Otherwise {
    /// A person is no workload, whatever else is not known.
    No,
    Unknown,
}

/// What a selector asks for that no part of this version brings.
fn missing_source(selector: &Selector) -> Option<(&'static str, Otherwise)> {
    Some(match selector {
        Selector::Workload(_) => ("workload identities", Otherwise::No),
        Selector::SessionBound => ("sessions bound to a device key", Otherwise::No),
        Selector::Claim { .. } => ("claims of identity providers", Otherwise::Unknown),
        Selector::ClientCert { .. } => ("client certificates", Otherwise::Unknown),
        Selector::Country(_) => ("the country of an address", Otherwise::Unknown),
        Selector::Device { .. } | Selector::DeviceManaged(_) => ("facts about devices", Otherwise::Unknown),
        Selector::RiskAtMost(_) => ("risk points", Otherwise::Unknown),
        Selector::AnyServiceToken
        | Selector::Authenticated
        | Selector::Email(_)
        | Selector::EmailDomain(_)
        | Selector::Everyone
        | Selector::Group(_)
        | Selector::IpRange(_)
        | Selector::LoginMethod(_)
        | Selector::Mfa { .. }
        | Selector::ServiceToken(_)
        | Selector::Time { .. }
        | Selector::TlsPq => return None,
    })
}

#[cfg(test)]
mod tests;
