//! Apps as the doors know them: parsed, cross-checked values, never the text an operator wrote (that is `config`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::access::AccessRules;
use crate::action::Action;

/// How long an app is served on facts that nobody has confirmed, unless it says otherwise (GW-47).
pub const MAX_STALENESS_DEFAULT: Duration = Duration::from_secs(300);
/// The same for `max_staleness: strict`.
pub const MAX_STALENESS_STRICT: Duration = Duration::from_secs(1);

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name that its parser has checked (1–63 of `a-z0-9-`, no dash at either end).
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name_type!(
    /// `metadata.name` of an App; the Cedar id `App::"payroll"` and the `aud` of assertions.
    AppName
);
name_type!(
    /// The name of a route within its app; the Cedar id is `Route::"payroll/records"`.
    RouteName
);
name_type!(
    /// The name of an upstream within its app.
    UpstreamName
);

/// The name of the built-in app: console, API and pages.
pub const CONTROL_APP: &str = "countersign";

/// How much a resource matters. Absent counts as critical and is a finding (PO-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sensitivity {
    /// `low`
    Low,
    /// `medium`
    Medium,
    /// `high`
    High,
    /// `critical`
    Critical,
}

impl Sensitivity {
    /// The word policies compare with.
    pub fn as_str(self) -> &'static str {
        match self {
            Sensitivity::Low => "low",
            Sensitivity::Medium => "medium",
            Sensitivity::High => "high",
            Sensitivity::Critical => "critical",
        }
    }
}

/// A host an app answers to, in canonical form (GW-3): lower case, A-label, no port, no trailing dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostPattern {
    /// Exactly this host.
    Exact(String),
    /// `*.suffix`: one label in front of `suffix` (stored without `*.`).
    Wildcard(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// How much a refused person reads (GW-16, R-12).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Explain {
    /// "No such app" and "not yours" look alike.
    None,
    /// One sentence (default).
    Reason,
    /// Also policy names, for administrators.
    Full,
}

/// How a path is brought into its one form (GW-4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathSettings {
    /// Which profile.
    pub profile: PathProfile,
    /// Single openings of the strict profile.
    pub allow: BTreeSet<PathOpening>,
    /// True for upstreams that fold case: rules match the lower-cased path.
    pub is_case_insensitive: bool,
}

/// The profiles of GW-4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PathProfile {
    /// Ambiguity is refused (default).
    Strict,
    /// Dot segments resolved, `\` to `/`, unreserved decoded.
    Base,
    /// Base, and `//` collapsed.
    MergeSlashes,
    /// MergeSlashes, with `%2F` and `%5C` decoded first.
    DecodeAndMergeSlashes,
}

/// What the strict profile may let through (GW-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PathOpening {
    /// `//`
    EmptySegment,
    /// `%25` followed by two hex digits
    EncodedPercent,
    /// `%2F`
    EncodedSlash,
    /// `;`
    Semicolon,
}

/// What of the request the assertion is bound to (GW-28, GW-30).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AssertionBinding {
    /// Method and authority are always bound; the target unless the app's framework hides it.
    pub binds_target: bool,
}

/// The assertion of an app (GW-28, GW-31).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssertionSettings {
    /// False turns the header off.
    pub is_enabled: bool,
    /// Which groups are named: exact or with one trailing `*`; empty names all.
    pub groups: Vec<String>,
    /// What it is bound to.
    pub binding: AssertionBinding,
}

/// What a plain header says about a person (GW-32).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UserClaim {
    /// `user.email`
    Email,
    /// `user.groups`: those the assertion names, joined by commas.
    Groups,
    /// `user.id`
    Id,
    /// `user.name`
    Name,
}

impl UserClaim {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            UserClaim::Email => "user.email",
            UserClaim::Groups => "user.groups",
            UserClaim::Id => "user.id",
            UserClaim::Name => "user.name",
        }
    }
}

/// A part of an app with a name of its own (GW-3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Unique within the app.
    pub name: RouteName,
    /// Matches by whole segments: `/admin` covers `/admin` and `/admin/x`.
    pub path_prefix: String,
    /// `None`: every method.
    pub methods: Option<BTreeSet<String>>,
    /// Where requests go; a key of [`App::upstreams`].
    pub upstream: UpstreamName,
    /// Applied before the decision (GW-5).
    pub rewrite: Option<Rewrite>,
    /// The largest request body in bytes; `None` is unlimited and streamed.
    pub max_body_bytes: Option<u64>,
    /// A fixed action instead of the method's; only the built-in app uses it.
    pub action: Option<Action>,
    /// Simple rules that narrow the app's.
    pub access: Option<Arc<AccessRules>>,
    /// What scripts of other origins may do here, instead of [`App::cors`].
    pub cors: Option<Arc<CrossOrigin>>,
    /// Whether cross-site unsafe requests are refused here, instead of [`App::refuses_cross_site_writes`] (GW-48).
    pub refuses_cross_site_writes: Option<bool>,
}

/// What scripts of other origins may do with an app (CORS; Fetch §3.2; GW-9, GW-10).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CrossOrigin {
    /// Exact origins, `https://other.example.org`.
    pub origins: BTreeSet<String>,
    /// Methods a preflight is answered with.
    pub methods: BTreeSet<String>,
    /// Request headers a preflight is answered with, lower case.
    pub headers: BTreeSet<String>,
    /// Who answers preflights.
    pub preflight: Preflight,
}

/// Who answers a CORS preflight (GW-10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Preflight {
    /// The door, from [`CrossOrigin`]; without origins it is refused.
    #[default]
    Door,
    /// The app; the request reaches it without cookies and credentials, and the door adds nothing to any answer.
    App,
}

/// A change of the path before the decision (GW-5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rewrite {
    /// Removes this prefix (whole segments).
    StripPrefix(String),
    /// Replaces the first prefix by the second.
    ReplacePrefix(String, String),
}

/// Where an app really is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// At least one.
    pub targets: Vec<UpstreamTarget>,
    /// How requests are spread over them.
    pub balance: Balance,
    /// How they are looked after; `None`: only by how requests come out.
    pub health: Option<HealthCheck>,
    /// Used by `https` targets.
    pub tls: UpstreamTls,
    /// `None` sends the original Host.
    pub host: Option<String>,
    /// Time-outs (GW-73).
    pub timeouts: UpstreamTimeouts,
}

/// How requests are spread over the targets of an upstream (GW-70).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// What belongs together goes to one target, as long as it is there.
    Hash(HashBy),
    /// The less busy of two taken at random.
    #[default]
    LeastRequest,
    /// In turn.
    RoundRobin,
}

/// What belongs together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HashBy {
    /// The client's address.
    ClientIp,
    /// The value of a request header, lower case.
    Header(String),
    /// The session.
    Session,
}

/// A request that tells whether a target is well (GW-71).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// What is asked for; 2xx and 3xx are well.
    pub path: String,
    /// From check to check.
    pub interval: Duration,
    /// For the whole of one.
    pub timeout: Duration,
    /// Failures in a row that close a target.
    pub down_after: u32,
    /// Successes in a row that open it again.
    pub up_after: u32,
}

impl HealthCheck {
    /// The defaults of GW-71, without a path.
    pub const STANDARD: HealthCheck = HealthCheck {
        path: String::new(),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        down_after: 3,
        up_after: 2,
    };
}

/// One address of an upstream.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UpstreamTarget {
    /// How it is spoken to.
    pub scheme: UpstreamScheme,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for UpstreamTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            UpstreamScheme::Http => "http",
            UpstreamScheme::Https => "https",
            UpstreamScheme::H2c => "h2c",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// How an upstream is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UpstreamScheme {
    /// HTTP/1.1 in the clear.
    Http,
    /// TLS; HTTP/2 or HTTP/1.1 by ALPN.
    Https,
    /// HTTP/2 in the clear, prior knowledge.
    H2c,
}

/// How the upstream's certificate is judged (GW-74).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpstreamTls {
    /// PEM of the roots; `None` uses the roots the binary was started with.
    pub ca_pem: Option<Arc<str>>,
    /// Server name to send and verify; `None` uses the target's host.
    pub sni: Option<String>,
    /// Name the certificate must carry when it is not the server name sent.
    pub san: Option<String>,
    /// Certificate and key this side proves itself with, by the name of a `[[certificate]]`.
    pub client: Option<Arc<str>>,
    /// Set only with a reason the operator wrote: the certificate is not verified. A finding.
    pub unverified_because: Option<String>,
}

/// Time-outs of an upstream (GW-73). Each 504 names which one fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpstreamTimeouts {
    /// TCP connect.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// Until the response head.
    pub response_head: Duration,
    /// Between two chunks of a body.
    pub body_idle: Duration,
    /// Between two chunks of a WebSocket or event stream.
    pub stream_idle: Duration,
}

impl UpstreamTimeouts {
    /// The defaults of GW-73.
    pub const STANDARD: UpstreamTimeouts = UpstreamTimeouts {
        connect: Duration::from_secs(5),
        tls: Duration::from_secs(5),
        response_head: Duration::from_secs(60),
        body_idle: Duration::from_secs(300),
        stream_idle: Duration::from_secs(3600),
    };
}

/// An app: hosts, routes, upstreams and how it is treated (GW-1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct App {
    /// Unique.
    pub name: AppName,
    /// For people.
    pub title: String,
    /// At least one.
    pub hosts: Vec<HostPattern>,
    /// At least one; sorted longest prefix first.
    pub routes: Vec<Route>,
    /// Exact paths anyone may GET or HEAD (GW-6); at most 32.
    pub public_paths: BTreeSet<String>,
    /// Empty for the built-in app, which is served in process.
    pub upstreams: BTreeMap<UpstreamName, Upstream>,
    /// `None` counts as critical (PO-4).
    pub sensitivity: Option<Sensitivity>,
    /// Simple rules; `None`: only policies decide.
    pub access: Option<Arc<AccessRules>>,
    /// Data class of AUD-50; unlabelled is `internal`.
    pub label: String,
    /// Whether a grant may be asked for.
    pub is_requestable: bool,
    /// The operator's own key and value pairs.
    pub labels: BTreeMap<String, String>,
    /// What a refused person reads.
    pub explain: Explain,
    /// The assertion.
    pub assertion: AssertionSettings,
    /// Path form.
    pub path: PathSettings,
    /// Origins that may open a WebSocket beside the app's own (GW-39).
    pub websocket_origins: BTreeSet<String>,
    /// What scripts of other origins may do, where a route says nothing of its own (GW-9, GW-10).
    pub cors: Arc<CrossOrigin>,
    /// True lets header names with `_` or `.` through (GW-65).
    pub passes_odd_header_names: bool,
    /// True makes `X-HTTP-Method-Override` the judged method (GW-67).
    pub judges_method_override: bool,
    /// Plain headers that tell its upstreams who asks (GW-32), by lower-case name.
    pub unsigned_headers: BTreeMap<String, UserClaim>,
    /// Its upstreams get `Forwarded` beside the `X-Forwarded-` fields (GW-66).
    pub sends_forwarded: bool,
    /// Request headers the engine may see (GW-27), lower case.
    pub context_headers: BTreeSet<String>,
    /// Refuses cross-site unsafe requests, where a route says nothing of its own (ID-60, GW-48).
    pub refuses_cross_site_writes: bool,
    /// Signed-out pages send `Clear-Site-Data` (GW-19).
    pub clears_site_data: bool,
    /// HSTS on its hosts (GW-76).
    pub sends_hsts: bool,
    /// How long it is served on facts that nobody has confirmed (GW-47).
    pub max_staleness: Duration,
    /// Where it was declared: `apps.yaml:3`.
    pub declared_at: String,
}

impl App {
    /// True for the built-in app, which no upstream serves.
    pub fn is_control_plane(&self) -> bool {
        self.name.as_str() == CONTROL_APP
    }

    /// What policies see: the declared sensitivity, else `critical`.
    pub fn effective_sensitivity(&self) -> Sensitivity {
        self.sensitivity.unwrap_or(Sensitivity::Critical)
    }
}
