//! The cases as data. Those over HTTP/1.1 whose bytes are fixed come from the gate's own attack table; paths and headers
//! are made for the rule and the headers that the target has.
//!
//! In every text `HOST` is what the target is asked as, `DENIED` the path it refuses.

mod http1;
mod http2;

pub(crate) use http2::list;

use crate::card::Verdict;
use crate::floods::Flood;
use crate::probes::Probe;
use crate::setup::Doors;
use crate::target::Options;

/// What a proxy must have for a case to mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// A path that it refuses.
    Rule,
    /// A method that it refuses.
    Method,
    /// Headers that only it may set.
    Identity,
    /// It takes a prefix off.
    Strip,
    /// It speaks HTTP/2.
    Http2,
    /// It asks who is there, and a credential is at hand.
    SignIn,
    /// It lets WebSockets through.
    WebSocket,
}

impl Need {
    /// Why a case cannot be played, if so.
    pub(crate) fn lacking(self, options: &Options, doors: &Doors) -> Option<&'static str> {
        let (is_there, why) = match self {
            Need::Rule => (options.deny_path.is_some(), "no path that the proxy refuses was named (--deny-path)"),
            Need::Method => {
                (options.deny_method.is_some(), "no method that the proxy refuses was named (--deny-method)")
            }
            Need::Identity => (
                !options.identity_headers.is_empty(),
                "no header that only the proxy may set was named (--identity-header)",
            ),
            Need::Strip => (options.stripped_prefix.is_some(), "the proxy takes no prefix off (--strip-prefix)"),
            Need::Http2 => (doors.speaks_http2, "the proxy does not offer HTTP/2 over TLS"),
            Need::SignIn => (
                doors.asks_who_is_there,
                "the proxy asks for no sign-in, or no credential was given (--cookie, --header)",
            ),
            Need::WebSocket => (doors.has_websocket, "the proxy lets no WebSocket through"),
        };
        (!is_there).then_some(why)
    }
}

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) attack: &'static str,
    pub(crate) name: String,
    pub(crate) needs: Vec<Need>,
    pub(crate) play: Play,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Play {
    /// Bytes of an HTTP/1.1 client, in which it means so many requests.
    Http1 { sent: Vec<u8>, requests: usize },
    /// A header list, and a body if there is one.
    Http2 { fields: Vec<(Vec<u8>, Vec<u8>)>, body: Option<Vec<u8>> },
    /// Too much of something.
    Flood(Flood),
    /// The app answers like this.
    App(&'static str),
    /// More than one exchange.
    Probe(Probe),
    /// Played by a test of the product.
    OwnTest(&'static str),
}

impl Case {
    fn new(attack: &'static str, name: impl Into<String>, needs: &[Need], play: Play) -> Self {
        Self { attack, name: name.into(), needs: needs.to_vec(), play }
    }

    /// Why it cannot be played.
    pub(crate) fn lacking(&self, options: &Options, doors: &Doors) -> Option<Verdict> {
        let why = self.needs.iter().find_map(|need| need.lacking(options, doors))?;
        Some(Verdict::NotApplicable { why: why.to_owned() })
    }
}

/// Every case for this target, in the order of the attacks.
pub(crate) fn all(options: &Options) -> Vec<Case> {
    let mut cases = http1::cases(options);
    cases.extend(http2::cases(options));
    cases.extend(FLOODS.iter().map(|(name, flood)| Case::new("ATK-10", *name, &[Need::Http2], Play::Flood(*flood))));
    cases.extend(APPS.iter().map(|(name, order)| Case::new("ATK-12", *name, &[], Play::App(order))));
    cases
        .extend(PROBES.iter().map(|(attack, name, needs, probe)| Case::new(attack, *name, needs, Play::Probe(*probe))));
    cases.extend(OWN_TESTS.iter().map(|(attack, test)| Case::new(attack, "all of it", &[], Play::OwnTest(test))));
    let number = |case: &Case| case.attack.trim_start_matches("ATK-").parse::<u32>().unwrap_or(0);
    cases.sort_by_key(number);
    cases.retain(|case| options.only.is_empty() || options.only.iter().any(|id| id.eq_ignore_ascii_case(case.attack)));
    cases
}

const FLOODS: &[(&str, Flood)] = &[
    ("streams opened and reset at once", Flood::RapidReset),
    ("streams that the server is made to reset", Flood::MadeYouReset),
    ("a header block without end", Flood::Continuation),
    ("settings nobody needs, acknowledgements unread", Flood::Settings),
    ("pings, answers unread", Flood::Ping),
];

const APPS: &[(&str, &str)] = &[
    ("more bytes than the length says", "leftover"),
    ("content-length and chunked together", "length-and-chunked"),
    ("two lengths", "two-lengths"),
    ("204 with a body", "no-content-with-body"),
    ("304 with a body", "not-modified-with-body"),
    ("a bare carriage return in a header", "line-end-in-header"),
    ("101 that nobody asked for", "unasked-switch"),
    ("a negative chunk size", "bad-chunk"),
];

const PROBES: &[(&str, &str, &[Need], Probe)] = &[
    (
        "ATK-4",
        "a request behind a WebSocket that the app refuses",
        &[Need::Rule, Need::WebSocket],
        Probe::RefusedUpgrade,
    ),
    ("ATK-11", "four gigabytes announced without a credential", &[Need::SignIn], Probe::HugeBody),
    ("ATK-19", "User-Agents of probes", &[Need::Rule], Probe::UserAgents),
    ("ATK-23", "every header that the proxy adds", &[], Probe::ConnectionNamesAdded),
    ("ATK-28", "forwarded fields of the client's own", &[], Probe::ForwardedFields),
    ("ATK-29", "the credential in what the app reads", &[Need::SignIn], Probe::CredentialAtTheApp),
    ("ATK-35", "script in the path of a refused request", &[Need::Rule], Probe::Reflection),
    ("ATK-35", "a script's request without a credential", &[Need::SignIn], Probe::ScriptIsTold),
    ("ATK-44", "a foreign origin", &[Need::SignIn, Need::WebSocket], Probe::ForeignOrigin),
    ("ATK-48", "no credential", &[Need::SignIn], Probe::NoCredential),
    ("ATK-48", "a credential cut short", &[Need::SignIn], Probe::CutCredential),
    ("ATK-48", "a credential sent twice, differently", &[Need::SignIn], Probe::DoubledCredential),
    ("ATK-53", "routes of metrics, profiling and administration", &[], Probe::DebugRoutes),
];

/// What needs people, sessions, tokens or a second process to mean anything.
const OWN_TESTS: &[(&str, &str)] = &[
    ("ATK-27", "countersign/tests/it/attacks/forgeries.rs"),
    ("ATK-30", "countersign/tests/it/attacks/front_door.rs"),
    ("ATK-31", "pep-gateway/tests/it/core/sign_in.rs"),
    ("ATK-32", "countersign/tests/it/attacks/ways_in.rs"),
    ("ATK-33", "countersign/tests/it/attacks/sessions.rs"),
    ("ATK-34", "pdp-engine/tests/it/rules.rs"),
    ("ATK-36", "pki/tests/it/tokens.rs"),
    ("ATK-37", "pki/tests/it/tokens.rs"),
    ("ATK-43", "pep-gateway/tests/it/sockets/http2.rs"),
    ("ATK-45", "countersign/tests/it/attacks/live.rs"),
    ("ATK-46", "countersign/tests/it/attacks/live.rs"),
    ("ATK-50", "countersign/tests/it/attacks/sessions.rs"),
    ("ATK-51", "api/tests/it/journeys.rs"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::{ATTACKS, attack};
    use crate::target::Target;

    async fn options() -> Options {
        let mut options = Options::new(Target::resolve("http://127.0.0.1:1", None).await.unwrap());
        options.deny_path = Some("/private".to_owned());
        options.identity_headers = vec!["X-User".to_owned()];
        options.stripped_prefix = Some("/api".to_owned());
        options.deny_method = Some("DELETE".to_owned());
        options
    }

    #[tokio::test]
    async fn every_case_belongs_to_an_attack_and_has_a_name_of_its_own() {
        let cases = all(&options().await);
        assert!(cases.len() > 200, "{}", cases.len());
        let mut names: Vec<(&str, &str)> = cases.iter().map(|case| (case.attack, case.name.as_str())).collect();
        assert!(cases.iter().all(|case| attack(case.attack).is_some()));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[tokio::test]
    async fn every_attack_that_has_a_door_has_a_case() {
        /// Doors that do not exist yet, or are no proxy's.
        const NONE: &[&str] = &["ATK-24", "ATK-25", "ATK-26", "ATK-41"];
        let cases = all(&options().await);
        for attack in ATTACKS {
            let has_case = cases.iter().any(|case| case.attack == attack.id);
            assert_eq!(has_case, !NONE.contains(&attack.id), "{}", attack.id);
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_to_the_names_of_the_table() {
        for case in all(&options().await) {
            if let Play::Http1 { sent, .. } = &case.play {
                let text = String::from_utf8_lossy(sent);
                for name in ["HOST", "DENIED", "/admin"] {
                    assert!(!text.contains(name), "{} {}: {text}", case.attack, case.name);
                }
            }
        }
    }

    #[test]
    fn the_tests_of_the_product_that_are_named_exist() {
        for (attack, test) in OWN_TESTS {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(test);
            assert!(path.is_file(), "{attack}: {test}");
        }
    }
}
