//! `access:` as YAML has it. One entry is one selector, written as a word (`authenticated`) or a mapping
//! (`{ group: staff }`); a value may be one text or a list.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessSpec {
    pub(super) include: Option<Spanned<Entries>>,
    pub(super) require: Option<Spanned<Entries>>,
    pub(super) exclude: Option<Spanned<Entries>>,
    pub(super) accept_public: Option<bool>,
}

pub(super) type Entries = Vec<Spanned<EntrySpec>>;

/// The selectors that may stand as a word alone.
pub(super) const WORDS: &[&str] = &["any_service_token", "authenticated", "everyone", "mfa", "session_bound"];

/// One entry.
pub(super) enum EntrySpec {
    /// `authenticated`
    Word(String),
    /// `{ group: staff }`
    Fields(Box<FieldsSpec>),
}

/// The selectors an entry may name; it should name one.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldsSpec {
    pub(super) any_service_token: Option<Spanned<bool>>,
    pub(super) authenticated: Option<Spanned<bool>>,
    pub(super) claim: Option<Spanned<ClaimSpec>>,
    pub(super) client_cert: Option<Spanned<CertSpec>>,
    pub(super) country: Option<Spanned<Texts>>,
    pub(super) device: Option<Spanned<DeviceSpec>>,
    pub(super) device_managed: Option<Spanned<bool>>,
    pub(super) email: Option<Spanned<Texts>>,
    pub(super) email_domain: Option<Spanned<Texts>>,
    pub(super) everyone: Option<Spanned<bool>>,
    pub(super) group: Option<Spanned<Texts>>,
    pub(super) ip_range: Option<Spanned<Texts>>,
    pub(super) login_method: Option<Spanned<Texts>>,
    pub(super) mfa: Option<Spanned<MfaSpec>>,
    pub(super) risk_at_most: Option<Spanned<u64>>,
    pub(super) service_token: Option<Spanned<Texts>>,
    pub(super) session_bound: Option<Spanned<bool>>,
    pub(super) time: Option<Spanned<TimeSpec>>,
    pub(super) tls: Option<Spanned<TlsSpec>>,
    pub(super) workload: Option<Spanned<Texts>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct MfaSpec {
    pub(super) acr: Option<Spanned<String>>,
    pub(super) max_age: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceSpec {
    pub(super) encrypted: Option<bool>,
    pub(super) compliant: Option<bool>,
    pub(super) level: Option<Spanned<i64>>,
    pub(super) max_age: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimSpec {
    pub(super) idp: Spanned<String>,
    pub(super) name: Spanned<String>,
    pub(super) value: Spanned<Texts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertSpec {
    pub(super) spki: Option<Spanned<Texts>>,
    pub(super) san: Option<Spanned<Texts>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSpec {
    pub(super) pq: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeSpec {
    pub(super) zone: Option<Spanned<String>>,
    pub(super) days: Option<Spanned<Texts>>,
    pub(super) from: Option<Spanned<String>>,
    pub(super) to: Option<Spanned<String>>,
}

impl FieldsSpec {
    /// How many selectors it names.
    pub(super) fn count(&self) -> usize {
        let FieldsSpec {
            any_service_token,
            authenticated,
            claim,
            client_cert,
            country,
            device,
            device_managed,
            email,
            email_domain,
            everyone,
            group,
            ip_range,
            login_method,
            mfa,
            risk_at_most,
            service_token,
            session_bound,
            time,
            tls,
            workload,
        } = self;
        let flags = [any_service_token, authenticated, device_managed, everyone, session_bound].map(Option::is_some);
        let lists =
            [country, email, email_domain, group, ip_range, login_method, service_token, workload].map(Option::is_some);
        let records = [
            claim.is_some(),
            client_cert.is_some(),
            device.is_some(),
            mfa.is_some(),
            risk_at_most.is_some(),
            time.is_some(),
            tls.is_some(),
        ];
        flags.into_iter().chain(lists).chain(records).filter(|is_named| *is_named).count()
    }
}

impl<'de> Deserialize<'de> for EntrySpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = EntrySpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one selector, such as `authenticated` or `{ group: staff }`")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
                Ok(EntrySpec::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                FieldsSpec::deserialize(MapAccessDeserializer::new(map))
                    .map(|fields| EntrySpec::Fields(Box::new(fields)))
            }
        }

        deserializer.deserialize_any(EntryVisitor)
    }
}

/// One text or several.
pub(super) struct Texts(pub(super) Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;

        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                // The place of a single text is that of the selector it belongs to.
                let (referenced, defined) = (Location::UNKNOWN, Location::UNKNOWN);
                Ok(Texts(vec![Spanned { value: text.to_owned(), referenced, defined }]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_any(TextsVisitor)
    }
}
