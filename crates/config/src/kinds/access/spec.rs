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
    /// At least one must hold. A route's `include` narrows the app's; left out, it narrows nothing.
    ///
    /// Type: list of entries; default: required for an app.
    pub(super) include: Option<Spanned<Entries>>,
    /// Every one must hold, whoever lets in.
    ///
    /// Type: list of entries; default: none.
    pub(super) require: Option<Spanned<Entries>>,
    /// None may hold.
    ///
    /// Type: list of entries; default: none.
    pub(super) exclude: Option<Spanned<Entries>>,
    /// Says that `everyone` in `include` is meant.
    ///
    /// Type: true or false; default: `false`.
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
    /// Any service account with a token for the app.
    ///
    /// Type: `true`; decides today: yes.
    pub(super) any_service_token: Option<Spanned<bool>>,
    /// Whoever signed in.
    ///
    /// Type: `true`; decides today: yes.
    pub(super) authenticated: Option<Spanned<bool>>,
    /// A claim of an identity provider.
    ///
    /// Type: table; decides today: not yet.
    pub(super) claim: Option<Spanned<ClaimSpec>>,
    /// A client certificate.
    ///
    /// Type: table; decides today: not yet.
    pub(super) client_cert: Option<Spanned<CertSpec>>,
    /// The country of the client's address.
    ///
    /// Type: ISO 3166 codes; decides today: not yet.
    pub(super) country: Option<Spanned<Texts>>,
    /// The state of the device.
    ///
    /// Type: table; decides today: not yet.
    pub(super) device: Option<Spanned<DeviceSpec>>,
    /// Whether the device is managed, seen within a day.
    ///
    /// Type: true or false; decides today: not yet.
    pub(super) device_managed: Option<Spanned<bool>>,
    /// A person whose verified address is one of these, compared without case.
    ///
    /// Type: addresses; decides today: yes.
    pub(super) email: Option<Spanned<Texts>>,
    /// A person whose verified address has exactly this domain, in lower-case A-labels; subdomains are not covered.
    ///
    /// Type: domains; decides today: yes.
    pub(super) email_domain: Option<Spanned<Texts>>,
    /// Any principal; `include` of an app only. Requests must still be signed in.
    ///
    /// Type: `true`; decides today: yes.
    pub(super) everyone: Option<Spanned<bool>>,
    /// Members, also over parent groups.
    ///
    /// Type: groups; decides today: yes.
    pub(super) group: Option<Spanned<Texts>>,
    /// A client address in one of these.
    ///
    /// Type: address blocks; decides today: yes.
    pub(super) ip_range: Option<Spanned<Texts>>,
    /// A sign-in by this identity provider, or with this method of RFC 8176 (`hwk`, `otp` …).
    ///
    /// Type: words; decides today: yes.
    pub(super) login_method: Option<Spanned<Texts>>,
    /// A sign-in with a second factor.
    ///
    /// Type: table; decides today: yes.
    pub(super) mfa: Option<Spanned<MfaSpec>>,
    /// Risk points up to this.
    ///
    /// Type: 0 to 100; decides today: not yet.
    pub(super) risk_at_most: Option<Spanned<u64>>,
    /// These service accounts, by a token of theirs for the app.
    ///
    /// Type: names; decides today: yes.
    pub(super) service_token: Option<Spanned<Texts>>,
    /// A session bound to a key of the device.
    ///
    /// Type: `true`; decides today: not yet.
    pub(super) session_bound: Option<Spanned<bool>>,
    /// Certain hours.
    ///
    /// Type: table; decides today: yes.
    pub(super) time: Option<Spanned<TimeSpec>>,
    /// The connection's key exchange.
    ///
    /// Type: table; decides today: yes.
    pub(super) tls: Option<Spanned<TlsSpec>>,
    /// These workloads.
    ///
    /// Type: SPIFFE IDs; decides today: not yet.
    pub(super) workload: Option<Spanned<Texts>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct MfaSpec {
    /// The level: `phr` is a passkey; nothing gives `phrh` yet.
    ///
    /// Type: `phr` `phrh` `urn:countersign:acr:mfa`; default: any second factor.
    pub(super) acr: Option<Spanned<String>>,
    /// How long ago it was proven at most.
    ///
    /// Type: duration; default: any.
    pub(super) max_age: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceSpec {
    /// The disk is encrypted.
    ///
    /// Type: true or false; default: any.
    pub(super) encrypted: Option<bool>,
    /// In line with its own policy.
    ///
    /// Type: true or false; default: any.
    pub(super) compliant: Option<bool>,
    /// Evidence at least this good; alone, that of the device's key.
    ///
    /// Type: 1 to 3; default: any.
    pub(super) level: Option<Spanned<i64>>,
    /// How old the facts may be.
    ///
    /// Type: duration; default: `1d`.
    pub(super) max_age: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimSpec {
    /// The identity provider.
    ///
    /// Type: text; default: required.
    pub(super) idp: Spanned<String>,
    /// The claim.
    ///
    /// Type: text; default: required.
    pub(super) name: Spanned<String>,
    /// One of these values.
    ///
    /// Type: text or list; default: required.
    pub(super) value: Spanned<Texts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertSpec {
    /// SHA-256 of the public key.
    ///
    /// Type: hex digests; default: none.
    pub(super) spki: Option<Spanned<Texts>>,
    /// A subject alternative name.
    ///
    /// Type: texts; default: none.
    pub(super) san: Option<Spanned<Texts>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSpec {
    /// A hybrid post-quantum key exchange.
    ///
    /// Type: `true`; default: required.
    pub(super) pq: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeSpec {
    /// Where the clock hangs.
    ///
    /// Type: IANA time zone such as `Europe/Berlin`; default: `[policy] time_zone`.
    pub(super) zone: Option<Spanned<String>>,
    /// With hours over midnight, the day they begin on.
    ///
    /// Type: `mon` … `sun`, stretches such as `mon-fri`; default: every day.
    pub(super) days: Option<Spanned<Texts>>,
    /// First minute.
    ///
    /// Type: `00:00` to `23:59`; default: `00:00`.
    pub(super) from: Option<Spanned<String>>,
    /// The minute it ends before; less than `from` goes over midnight.
    ///
    /// Type: `00:01` to `24:00`; default: `24:00`.
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
