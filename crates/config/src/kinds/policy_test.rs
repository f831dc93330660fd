//! Kind PolicyTest (PO-38): questions with the answers people expect.
//!
//! Names of facts and policies are not checked here: the engine knows them. Apps, routes and groups are, in
//! [`super::cross`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::app::{AppName, RouteName};
use model::policy_test::{BaseFacts, FactInput, PolicyTest, TestPrincipal, TestQuestion, TestRow};
use model::{Action, Effect, RemedyList, ResourceRef, Sensitivity};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::people::group_id;
use super::{Document, at};
use crate::problem::choices;

/// The most rows of one table.
const MAX_ROWS: usize = 2_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyTestSpec {
    /// What the rows have in common.
    ///
    /// Type: table; default: none.
    given: Option<GivenSpec>,
    /// 1 to 2,000.
    ///
    /// Type: list of rows; default: required.
    table: Spanned<Vec<Spanned<RowSpec>>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct GivenSpec {
    /// Who asks.
    ///
    /// Type: table; default: the row says it.
    principal: Option<Spanned<PrincipalSpec>>,
    /// Doing what.
    ///
    /// Type: action; default: `http.get`.
    action: Option<Spanned<String>>,
    /// To what.
    ///
    /// Type: table; default: the row says it.
    resource: Option<Spanned<ResourceSpec>>,
    /// `clean`: signed in with a passkey just now, never stepped up, on a managed device in order, without risk.
    /// `unknown`: nothing. By name: over `clean`.
    ///
    /// Type: `clean`, `unknown` or facts by name; default: `clean`.
    facts: Option<Spanned<FactsSpec>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowSpec {
    /// Unique within the table.
    ///
    /// Type: text; default: required.
    name: Spanned<String>,
    /// Who asks.
    ///
    /// Type: table; default: that of `given`.
    principal: Option<Spanned<PrincipalSpec>>,
    /// Doing what.
    ///
    /// Type: action; default: that of `given`.
    action: Option<Spanned<String>>,
    /// To what.
    ///
    /// Type: table; default: that of `given`.
    resource: Option<Spanned<ResourceSpec>>,
    /// Set over those of `given`, e.g. `{ risk.points: 50, net.tor: true }`.
    ///
    /// Type: as in `given`; default: none.
    facts: Option<Spanned<FactsSpec>>,
    /// The verdict.
    ///
    /// Type: `ALLOW` `DENY` `STEP_UP`; default: required.
    want: Spanned<String>,
    /// Exactly these decide; `[]`: none does.
    ///
    /// Type: list of policy ids; default: any.
    by: Option<Vec<String>>,
    /// Exactly these are offered.
    ///
    /// Type: list of remedies; default: any.
    fix: Option<Vec<Spanned<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalSpec {
    /// A made-up person; an address counts as verified.
    ///
    /// Type: text.
    user: Option<String>,
    /// Direct groups of `user`; parents are added.
    ///
    /// Type: list of groups; default: none.
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    /// From outside the organisation.
    ///
    /// Type: true or false; default: `false`.
    #[serde(default)]
    external: bool,
    /// A SPIFFE ID.
    ///
    /// Type: text.
    workload: Option<String>,
    /// Nobody.
    ///
    /// Type: `true`.
    #[serde(default)]
    anonymous: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceSpec {
    /// A declared app.
    ///
    /// Type: name.
    app: Option<String>,
    /// A declared route, instead of `app`.
    ///
    /// Type: `APP/ROUTE`.
    route: Option<String>,
    /// As if the app declared it.
    ///
    /// Type: `low` `medium` `high` `critical`; default: the app's.
    sensitivity: Option<Spanned<String>>,
    /// As if the app declared it.
    ///
    /// Type: true or false; default: the app's.
    requestable: Option<bool>,
}

/// `clean`, `unknown`, or facts by name over `clean`.
enum FactsSpec {
    Base(String),
    Facts(BTreeMap<String, FactInputSpec>),
}

struct FactInputSpec(FactInput);

/// Builds the table; `None` when something is wrong (all is noted).
pub(crate) fn build(
    document: &mut Document<'_>,
    remedies: &RemedyList,
    name: &Spanned<String>,
    spec: PolicyTestSpec,
) -> Option<PolicyTest> {
    let test_name = document.parsed(name, |name| crate::text::name(name).map(str::to_owned));
    let given = spec.given.unwrap_or_default();
    if spec.table.value.is_empty() || spec.table.value.len() > MAX_ROWS {
        document.refuse(&spec.table, format!("a table has 1 to {MAX_ROWS} rows"));
    }
    let mut names = BTreeSet::new();
    let mut rows = Vec::new();
    for row in &spec.table.value {
        if !names.insert(row.value.name.value.as_str()) {
            document.refuse(&row.value.name, format!("two rows are called `{}`", row.value.name.value));
        }
        rows.extend(self::row(document, remedies, &given, row));
    }
    (rows.len() == spec.table.value.len()).then_some(PolicyTest { name: test_name?, rows })
}

fn row(
    document: &mut Document<'_>,
    remedies: &RemedyList,
    given: &GivenSpec,
    spanned: &Spanned<RowSpec>,
) -> Option<TestRow> {
    let row = &spanned.value;
    let verdicts = [("ALLOW", Effect::Allow), ("DENY", Effect::Deny), ("STEP_UP", Effect::StepUp)];
    let want = document.word(&row.want, &verdicts);
    let remedy = |remedy: &str| {
        let unknown = || format!("`{remedy}` is not a remedy; {}", choices(remedy, &remedies.ids()));
        remedies.find(remedy).ok_or_else(unknown)
    };
    let fix = row.fix.as_ref().map(|fix| fix.iter().filter_map(|word| document.parsed(word, remedy)).collect());
    let mut missing = |what: &str| {
        document.refuse(spanned, format!("the row has no `{what}` and neither has `given`"));
    };
    let (principal, resource) =
        (row.principal.as_ref().or(given.principal.as_ref()), row.resource.as_ref().or(given.resource.as_ref()));
    for (what, is_missing) in [("principal", principal.is_none()), ("resource", resource.is_none())] {
        if is_missing {
            missing(what);
        }
    }
    let (base, facts) = facts(document, [given.facts.as_ref(), row.facts.as_ref()]);
    let action = match row.action.as_ref().or(given.action.as_ref()) {
        Some(action) => {
            document.parsed(action, |action| action.parse::<Action>().map_err(|error| error.to_string()))?
        }
        None => Action::HttpGet,
    };
    let (resource, sensitivity, is_requestable) = resource_of(document, resource?)?;
    Some(TestRow {
        name: row.name.value.clone(),
        question: TestQuestion {
            principal: principal_of(document, principal?)?,
            action,
            resource,
            sensitivity,
            is_requestable,
            base,
            facts,
        },
        want: want?,
        by: row.by.as_ref().map(|ids| ids.iter().cloned().collect()),
        fix,
        declared_at: format!("{}:{}", document.file, at(&spanned.referenced).0).into(),
    })
}

/// The facts of `given`, then those of the row.
fn facts(
    document: &mut Document<'_>,
    specs: [Option<&Spanned<FactsSpec>>; 2],
) -> (BaseFacts, Vec<(String, FactInput)>) {
    let (mut base, mut facts) = (BaseFacts::Clean, Vec::new());
    for spec in specs.into_iter().flatten() {
        match &spec.value {
            FactsSpec::Base(word) if word == "clean" => base = BaseFacts::Clean,
            FactsSpec::Base(word) if word == "unknown" => base = BaseFacts::Unknown,
            FactsSpec::Base(word) => document.refuse_with_hint(
                spec,
                format!("`{word}` is not valid here; write facts by name, or what is known beforehand"),
                choices(word, &["clean", "unknown"]),
            ),
            FactsSpec::Facts(set) => facts.extend(set.iter().map(|(name, value)| (name.clone(), value.0.clone()))),
        }
    }
    (base, facts)
}

fn principal_of(document: &mut Document<'_>, spec: &Spanned<PrincipalSpec>) -> Option<TestPrincipal> {
    let PrincipalSpec { user, groups, external, workload, anonymous } = &spec.value;
    let groups = groups.iter().filter_map(|group| document.parsed(group, group_id)).collect();
    match (user, workload, anonymous) {
        (Some(name), None, false) => Some(TestPrincipal::User { name: name.clone(), groups, is_external: *external }),
        (None, Some(id), false) if groups.is_empty() => Some(TestPrincipal::Workload(id.as_str().into())),
        (None, None, true) if groups.is_empty() => Some(TestPrincipal::Anonymous),
        _ => {
            let message = "a principal is one of `user` (with `groups`), `workload` and `anonymous: true`";
            document.refuse(spec, message);
            None
        }
    }
}

fn resource_of(
    document: &mut Document<'_>,
    spec: &Spanned<ResourceSpec>,
) -> Option<(ResourceRef, Option<Sensitivity>, Option<bool>)> {
    let words = [
        ("low", Sensitivity::Low),
        ("medium", Sensitivity::Medium),
        ("high", Sensitivity::High),
        ("critical", Sensitivity::Critical),
    ];
    let ResourceSpec { app, route, sensitivity, requestable } = &spec.value;
    let sensitivity = sensitivity.as_ref().and_then(|word| document.word(word, &words));
    let resource = match (app, route.as_deref().map(|route| route.split_once('/'))) {
        (Some(app), None) => ResourceRef { app: AppName::new(app), route: None },
        (None, Some(Some((app, route)))) => ResourceRef { app: AppName::new(app), route: Some(RouteName::new(route)) },
        _ => {
            document.refuse(spec, "a resource is `app: NAME` or `route: APP/ROUTE`");
            return None;
        }
    };
    Some((resource, sensitivity, *requestable))
}

impl<'de> Deserialize<'de> for FactsSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FactsVisitor;

        impl<'de> Visitor<'de> for FactsVisitor {
            type Value = FactsSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`clean`, `unknown` or facts by name")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
                Ok(FactsSpec::Base(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(FactsSpec::Facts)
            }
        }

        deserializer.deserialize_any(FactsVisitor)
    }
}

impl<'de> Deserialize<'de> for FactInputSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;

        impl<'de> Visitor<'de> for InputVisitor {
            type Value = FactInputSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a whole number, a text or a list of texts")
            }

            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(FactInputSpec(FactInput::Bool(value)))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(FactInputSpec(FactInput::Long(value)))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                i64::try_from(value).map(|value| FactInputSpec(FactInput::Long(value))).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(FactInputSpec(FactInput::Text(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = BTreeSet::new();
                while let Some(text) = seq.next_element()? {
                    texts.insert(text);
                }
                Ok(FactInputSpec(FactInput::Texts(texts)))
            }
        }

        deserializer.deserialize_any(InputVisitor)
    }
}
