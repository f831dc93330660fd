//! Kind App: hosts, routes, upstreams and how an app is treated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::app::{
    App, AppName, AssertionBinding, AssertionSettings, Explain, HostPattern, MAX_STALENESS_DEFAULT,
    MAX_STALENESS_STRICT, PathOpening, PathProfile, PathSettings, Rewrite, Route, RouteName, Sensitivity, Upstream,
    UpstreamName, UpstreamScheme, UpstreamTimeouts, UpstreamTls, UserClaim,
};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::access::{self, AccessSpec, Owner};
use super::{Document, SourceFile, at};
use crate::problem::choices;
use crate::text;

mod cors;
mod upstreams;

use cors::CorsSpec;
use upstreams::HealthSpec;

/// The most hosts, routes and public paths of one app.
const MAX_HOSTS: usize = 64;
const MAX_ROUTES: usize = 256;
const MAX_PUBLIC_PATHS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppSpec {
    /// For people.
    ///
    /// Type: text; default: the name.
    title: Option<String>,
    /// 1 to 64; `*.example.org` covers one label. A certificate of a listener must cover each.
    ///
    /// Type: list of hosts; default: required.
    hosts: Spanned<Vec<Spanned<String>>>,
    /// Required when there are several upstreams; at most 256.
    ///
    /// Type: list; default: one named `all` for `/`.
    routes: Option<Spanned<Vec<RouteSpec>>>,
    /// Exact paths anybody may GET and HEAD without signing in; at most 32, no patterns.
    ///
    /// Type: list of paths; default: none.
    #[serde(default)]
    public_paths: Vec<Spanned<String>>,
    /// Where the app really is.
    ///
    /// Type: map by name; default: required.
    upstreams: Spanned<BTreeMap<String, Spanned<UpstreamSpec>>>,
    /// Read by policies as `resource.sensitivity`.
    ///
    /// Type: `low` `medium` `high` `critical`; default: counts as `critical`, with a warning.
    sensitivity: Option<Spanned<String>>,
    /// Class of the data, read by policies as `resource.label`.
    ///
    /// Type: `public` `internal` `confidential` `restricted`; default: `internal`.
    label: Option<Spanned<String>>,
    /// Whether people may ask for access; read by policies. There is no way to ask yet.
    ///
    /// Type: true or false; default: `false`.
    #[serde(default)]
    requestable: bool,
    /// Your own key and value pairs; policies read them as tags.
    ///
    /// Type: map of text; default: none.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// What a refused person reads. `none`: the app is not admitted to exist. `full`: administrators also read policy
    /// names.
    ///
    /// Type: `none` `reason` `full`; default: `reason`.
    explain: Option<Spanned<String>>,
    /// The signed header the app receives.
    ///
    /// Type: `off` or table; default: on.
    #[serde(default)]
    assertion: AssertionSpec,
    /// How paths are brought into one form.
    ///
    /// Type: table; default: strict.
    #[serde(default)]
    path: PathSpec,
    /// Other origins that may open WebSockets.
    ///
    /// Type: table; default: none.
    #[serde(default)]
    websocket: OriginsSpec,
    /// What scripts of other origins may do (CORS).
    ///
    /// Type: table; default: nothing.
    #[serde(default)]
    cors: CorsSpec,
    /// Header names with `_` or `.`.
    ///
    /// Type: `drop` or `pass`; default: `drop`.
    header_names: Option<Spanned<String>>,
    /// `X-HTTP-Method-Override` and its kin: removed, or taken as the method that is judged and sent.
    ///
    /// Type: `remove` or `judge`; default: `remove`.
    method_override: Option<Spanned<String>>,
    /// What the app is told of the client: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded` (RFC 7239) beside
    /// them. Each is made afresh; what a client sends under these names never arrives.
    ///
    /// Type: `x_forwarded` or `rfc7239`; default: `x_forwarded`.
    forwarded: Option<Spanned<String>>,
    /// Plain headers that tell the app who asks, for apps that cannot read the assertion: `user.id`, `user.name`,
    /// `user.email`, `user.groups` by header name. What a client sends under these names is removed. They are not signed:
    /// an app that can be reached past the gateway must not believe them. At most 16.
    ///
    /// Type: map of header names; default: none.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    /// Request headers that policies may read; never credentials.
    ///
    /// Type: list of header names; default: none.
    #[serde(default)]
    context_headers: Vec<Spanned<String>>,
    /// Unsafe requests that a page of another site makes in a person's name.
    ///
    /// Type: `allow` or `refuse`; default: `allow`.
    csrf: Option<Spanned<String>>,
    /// What a sign-out does to browsers.
    ///
    /// Type: table.
    #[serde(default)]
    logout: LogoutSpec,
    /// `Strict-Transport-Security` on the app's hosts; never sent for `localhost` names.
    ///
    /// Type: true or false; default: `true`.
    hsts: Option<bool>,
    /// How long the app is served when the process can no longer confirm who is still allowed (its control loop
    /// hangs); then 503 `facts_stale`, and open streams are cut. `strict` is `1s`; `1s` to `1h`.
    ///
    /// Type: `strict` or duration; default: `5m`.
    max_staleness: Option<Spanned<String>>,
    /// Simple rules.
    ///
    /// Type: table; default: only policies decide.
    access: Option<Spanned<AccessSpec>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteSpec {
    /// Unique within the app.
    ///
    /// Type: name; default: from the path: `/api/v1` is `api-v1`.
    name: Option<Spanned<String>>,
    /// Covers itself and everything below it by whole segments.
    ///
    /// Type: path; default: required.
    path: Spanned<String>,
    /// A key of `upstreams`.
    ///
    /// Type: name; default: required.
    upstream: Spanned<String>,
    /// Upper case.
    ///
    /// Type: list of methods; default: every method.
    methods: Option<Spanned<Vec<Spanned<String>>>>,
    /// Changes the path **before** it is judged.
    ///
    /// Type: table; default: none.
    rewrite: Option<RewriteSpec>,
    /// Larger request bodies are 413.
    ///
    /// Type: size; default: unlimited, streamed.
    max_body: Option<Spanned<String>>,
    /// Simple rules that narrow those of the app.
    ///
    /// Type: table; default: none.
    access: Option<Spanned<AccessSpec>>,
    /// What scripts of other origins may do here (CORS); stands instead of the app's.
    ///
    /// Type: table; default: the app's.
    cors: Option<CorsSpec>,
    /// Unsafe requests that a page of another site makes in a person's name.
    ///
    /// Type: `allow` or `refuse`; default: the app's.
    csrf: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewriteSpec {
    /// Removes this prefix of the route's path.
    ///
    /// Type: path; default: none.
    strip_prefix: Option<Spanned<String>>,
    /// Puts another prefix in place of one.
    ///
    /// Type: table; default: none.
    replace_prefix: Option<ReplaceSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplaceSpec {
    /// A prefix of the route's path.
    ///
    /// Type: path; default: required.
    from: Spanned<String>,
    /// What stands there instead.
    ///
    /// Type: path; default: required.
    to: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamSpec {
    /// `http://host:port`, `https://host[:port]`, `h2c://host:port`, no path.
    ///
    /// Type: list of URLs; default: required.
    targets: Vec<Spanned<String>>,
    /// How `https://` targets are verified.
    ///
    /// Type: table.
    #[serde(default)]
    tls: TlsSpec,
    /// The `Host` the app receives.
    ///
    /// Type: host; default: the host the client asked for.
    host: Option<Spanned<String>>,
    /// How long each step may take.
    ///
    /// Type: table.
    #[serde(default)]
    timeouts: TimeoutsSpec,
    /// How requests are spread over several targets: to the less busy of two taken at random, in turn, or so that what
    /// belongs together (a session, a client's address, the value of a header) stays on one target.
    ///
    /// Type: `least_request` `round_robin` `session` `client_ip` or `header:NAME`; default: `least_request`.
    balance: Option<Spanned<String>>,
    /// Looks after the targets by itself. Without it, and beside it, a target rests after five failures in a row.
    ///
    /// Type: table; default: none.
    health: Option<HealthSpec>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TlsSpec {
    /// A `.pem` file of the applied folder with the roots to trust.
    ///
    /// Type: file name; default: `upstream_roots`.
    ca: Option<Spanned<String>>,
    /// The server name to send and verify.
    ///
    /// Type: host; default: the target's host.
    sni: Option<Spanned<String>>,
    /// The name the certificate must carry, when it is not the server name sent.
    ///
    /// Type: host; default: `sni`.
    san: Option<Spanned<String>>,
    /// The `[[certificate]]` this side shows when the app asks for one.
    ///
    /// Type: name; default: none.
    client: Option<Spanned<String>>,
    /// `false` needs a `reason` and stays a warning.
    ///
    /// Type: true or false; default: `true`.
    verify: Option<Spanned<bool>>,
    /// Why the certificate is not verified.
    ///
    /// Type: text; default: none.
    reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TimeoutsSpec {
    /// TCP connect.
    ///
    /// Type: duration; default: `5s`.
    connect: Option<Spanned<String>>,
    /// TLS handshake.
    ///
    /// Type: duration; default: `5s`.
    tls: Option<Spanned<String>>,
    /// Until the head of the response.
    ///
    /// Type: duration; default: `60s`.
    response_head: Option<Spanned<String>>,
    /// Between two parts of a body.
    ///
    /// Type: duration; default: `5m`.
    body_idle: Option<Spanned<String>>,
    /// Between two parts of a WebSocket or event stream.
    ///
    /// Type: duration; default: `1h`.
    stream_idle: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PathSpec {
    /// `strict` refuses whatever two servers could read differently; the others rewrite it into one form, which is
    /// judged and sent.
    ///
    /// Type: `strict` `base` `merge_slashes` `decode_and_merge_slashes`; default: `strict`.
    profile: Option<Spanned<String>>,
    /// Single openings of `strict`, each a warning.
    ///
    /// Type: list of `encoded_slash` `semicolon` `empty_segment` `encoded_percent`; default: none.
    #[serde(default)]
    allow: Vec<Spanned<String>>,
    /// For apps that fold case: rules match the lower-case path.
    ///
    /// Type: `sensitive` or `insensitive`; default: `sensitive`.
    case: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct OriginsSpec {
    /// `https://other.example.org`; the app's own origin is always allowed.
    ///
    /// Type: list of origins; default: none.
    #[serde(default)]
    origins: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LogoutSpec {
    /// Sends `Clear-Site-Data` when a person signs out.
    ///
    /// Type: true or false; default: `false`.
    #[serde(default)]
    clear_site_data: bool,
}

/// `assertion: off` or a mapping.
struct AssertionSpec {
    is_enabled: bool,
    /// Which of a person's groups are named; one `*` may stand at the end.
    ///
    /// Type: list of group names; default: all.
    groups: Vec<String>,
    /// `[method, authority]` for apps whose framework hides the raw target; a warning says what is lost.
    ///
    /// Type: list; default: `[method, authority, target]`.
    bind: Option<Vec<String>>,
}

impl Default for AssertionSpec {
    fn default() -> Self {
        Self { is_enabled: true, groups: Vec::new(), bind: None }
    }
}

impl<'de> Deserialize<'de> for AssertionSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AssertionVisitor;

        impl<'de> Visitor<'de> for AssertionVisitor {
            type Value = AssertionSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off` or a mapping with `groups` and `bind`")
            }

            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(AssertionSpec { is_enabled: value, ..AssertionSpec::default() })
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
                match value {
                    "off" => self.visit_bool(false),
                    "on" => self.visit_bool(true),
                    other => Err(E::custom(format!("`{other}` is not valid here; write `off` or a mapping"))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut spec = AssertionSpec::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "groups" => spec.groups = map.next_value()?,
                        "bind" => spec.bind = Some(map.next_value()?),
                        other => return Err(serde::de::Error::unknown_field(other, &["bind", "groups"])),
                    }
                }
                Ok(spec)
            }
        }

        deserializer.deserialize_any(AssertionVisitor)
    }
}

/// Builds the app; `None` when a problem makes it unusable (all are noted).
pub(crate) fn build(
    document: &mut Document<'_>,
    name: &Spanned<String>,
    spec: AppSpec,
    pems: &[&SourceFile],
) -> Option<App> {
    let app_name = document.parsed(name, |text| text::name(text).map(str::to_owned));
    if name.value == model::app::CONTROL_APP {
        document.refuse(name, "the name `countersign` belongs to the built-in app");
    }
    let hosts = hosts(document, &spec.hosts);
    let upstreams = upstreams(document, &spec.upstreams, pems);
    let routes = routes(document, spec.routes.as_ref(), &spec.upstreams);
    let public_paths = public_paths(document, &spec.public_paths);
    let sensitivity = sensitivity(document, name, spec.sensitivity.as_ref());
    let path = path_settings(document, &spec.path);
    Some(App {
        title: spec.title.unwrap_or_else(|| name.value.clone()),
        name: AppName::new(&app_name?),
        hosts,
        routes,
        public_paths,
        upstreams,
        sensitivity,
        label: label(document, spec.label.as_ref()),
        is_requestable: spec.requestable,
        labels: spec.labels,
        explain: explain(document, spec.explain.as_ref()),
        assertion: assertion(document, name, spec.assertion),
        path,
        websocket_origins: origins(document, &spec.websocket),
        cors: Arc::new(cors::build(document, &spec.cors)),
        passes_odd_header_names: flag(document, spec.header_names.as_ref(), "pass", "drop"),
        judges_method_override: flag(document, spec.method_override.as_ref(), "judge", "remove"),
        unsigned_headers: unsigned_headers(document, &spec.headers),
        sends_forwarded: flag(document, spec.forwarded.as_ref(), "rfc7239", "x_forwarded"),
        context_headers: spec
            .context_headers
            .iter()
            .filter_map(|header| document.parsed(header, header_name))
            .collect(),
        refuses_cross_site_writes: flag(document, spec.csrf.as_ref(), "refuse", "allow"),
        clears_site_data: spec.logout.clear_site_data,
        access: access::build(document, spec.access.as_ref(), Owner::App),
        sends_hsts: spec.hsts.unwrap_or(true),
        max_staleness: max_staleness(document, spec.max_staleness.as_ref()),
        declared_at: format!("{}:{}", document.file, name.referenced.line()),
    })
}

/// The most plain headers of one app.
const MAX_UNSIGNED_HEADERS: usize = 16;
/// The longest name of one; longer ones are not compared in every spelling.
const MAX_HEADER_NAME_BYTES: usize = 64;

fn unsigned_headers(
    document: &mut Document<'_>,
    headers: &BTreeMap<String, Spanned<String>>,
) -> BTreeMap<String, UserClaim> {
    let claims = [UserClaim::Email, UserClaim::Groups, UserClaim::Id, UserClaim::Name];
    let words = claims.map(|claim| (claim.as_str(), claim));
    let mut read = BTreeMap::new();
    for (at, (name, claim)) in headers.iter().enumerate() {
        if at == MAX_UNSIGNED_HEADERS {
            document.refuse(claim, format!("an app may be sent at most {MAX_UNSIGNED_HEADERS} headers"));
        }
        match unsigned_header_name(name) {
            Err(message) => document.refuse(claim, message),
            Ok(lower) => {
                let Some(word) = document.word(claim, &words) else { continue };
                if read.insert(lower, word).is_some() {
                    document.refuse(claim, format!("`{name}` is there twice, in another case"));
                }
            }
        }
    }
    if let Some(claim) = headers.values().next() {
        let message = "headers that are not signed prove nothing to an app that can be reached past the gateway";
        document.warn(
            claim,
            message,
            "let only the gateway reach the app, or have it verify `X-Countersign-Assertion`",
        );
    }
    read
}

/// A name an app may be told something under: not one that means something to servers, and not one of ours.
fn unsigned_header_name(name: &str) -> Result<String, String> {
    const TAKEN: &[&str] = &[
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "origin",
        "proxy",
        "range",
        "referer",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-real-ip",
        "x-request-id",
        "x-rewrite-url",
    ];
    const TAKEN_BEGINNINGS: &[&str] = &["x-countersign", "x-envoy-", "proxy-", "sec-", "access-control-"];
    let lower = header_name(name)?;
    let is_taken = TAKEN.contains(&lower.as_str()) || TAKEN_BEGINNINGS.iter().any(|taken| lower.starts_with(taken));
    if is_taken {
        return Err(format!("`{name}` has a meaning of its own; choose another name, e.g. `Remote-User`"));
    }
    if lower.len() > MAX_HEADER_NAME_BYTES {
        return Err(format!("`{name}` is longer than {MAX_HEADER_NAME_BYTES} bytes"));
    }
    Ok(lower)
}

/// A two-word switch: true for `on`; absent is `off`.
fn flag(document: &mut Document<'_>, value: Option<&Spanned<String>>, on: &str, off: &str) -> bool {
    value.is_some_and(|value| document.word(value, &[(on, true), (off, false)]).unwrap_or(false))
}

/// Where each host is named.
pub(super) fn host_places(spec: &AppSpec) -> BTreeMap<HostPattern, (u64, u64)> {
    let places = spec.hosts.value.iter();
    places.filter_map(|host| Some((text::host_pattern(&host.value).ok()?, at(&host.referenced)))).collect()
}

fn hosts(document: &mut Document<'_>, hosts: &Spanned<Vec<Spanned<String>>>) -> Vec<model::app::HostPattern> {
    if hosts.value.is_empty() || hosts.value.len() > MAX_HOSTS {
        document.refuse(hosts, format!("an app needs 1 to {MAX_HOSTS} hosts"));
    }
    hosts.value.iter().filter_map(|host| document.parsed(host, text::host_pattern)).collect()
}

fn upstreams(
    document: &mut Document<'_>,
    specs: &Spanned<BTreeMap<String, Spanned<UpstreamSpec>>>,
    pems: &[&SourceFile],
) -> BTreeMap<UpstreamName, Upstream> {
    if specs.value.is_empty() {
        document.refuse(specs, "an app needs at least one upstream");
    }
    specs
        .value
        .iter()
        .filter_map(|(name, spec)| {
            if let Err(message) = text::name(name) {
                document.refuse(spec, message);
            }
            Some((UpstreamName::new(name), upstream(document, spec, pems)?))
        })
        .collect()
}

fn upstream(document: &mut Document<'_>, spec: &Spanned<UpstreamSpec>, pems: &[&SourceFile]) -> Option<Upstream> {
    let targets: Vec<_> =
        spec.value.targets.iter().filter_map(|target| document.parsed(target, text::upstream_target)).collect();
    if spec.value.targets.is_empty() {
        document.refuse(spec, "an upstream needs at least one target");
    }
    let has_tls = targets.iter().any(|target| target.scheme == UpstreamScheme::Https);
    let tls = upstream_tls(document, &spec.value.tls, has_tls, pems);
    let host = match &spec.value.host {
        Some(host) => Some(document.parsed(host, text::host)?),
        None => None,
    };
    Some(Upstream {
        targets,
        balance: spec
            .value
            .balance
            .as_ref()
            .and_then(|value| document.parsed(value, upstreams::balance))
            .unwrap_or_default(),
        health: spec.value.health.as_ref().and_then(|health| upstreams::health(document, health)),
        tls,
        host,
        timeouts: timeouts(document, &spec.value.timeouts),
    })
}

fn upstream_tls(document: &mut Document<'_>, spec: &TlsSpec, has_tls: bool, pems: &[&SourceFile]) -> UpstreamTls {
    let mut tls = UpstreamTls::default();
    if let Some(ca) = &spec.ca {
        match pems.iter().find(|pem| pem.name == ca.value) {
            Some(pem) => tls.ca_pem = Some(Arc::from(pem.text.as_str())),
            None => {
                let valid: Vec<&str> = pems.iter().map(|pem| pem.name.as_str()).collect();
                let message = format!("no file `{}` is among those applied", ca.value);
                document.refuse_with_hint(ca, message, choices(&ca.value, &valid));
            }
        }
        if !has_tls {
            document.refuse(ca, "`ca` is set but no target is `https://`");
        }
    }
    if let Some(sni) = &spec.sni {
        tls.sni = document.parsed(sni, text::host);
    }
    if let Some(san) = &spec.san {
        tls.san = document.parsed(san, text::host);
        if spec.verify.as_ref().is_some_and(|verify| !verify.value) {
            document.refuse(san, "`san` is set but the certificate is not verified");
        }
    }
    tls.client = spec.client.as_ref().map(|client| Arc::from(client.value.as_str()));
    for (key, value) in [("san", &spec.san), ("client", &spec.client)] {
        if let Some(value) = value.as_ref().filter(|_| !has_tls) {
            document.refuse(value, format!("`{key}` is set but no target is `https://`"));
        }
    }
    if let Some(verify) = spec.verify.as_ref().filter(|verify| !verify.value) {
        match spec.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty()) {
            Some(reason) => {
                tls.unverified_because = Some(reason.to_owned());
                let hint = "give the upstream a certificate and name its CA with `ca`";
                document.warn(verify, "the upstream's certificate is not verified", hint);
            }
            None => document.refuse(verify, "`verify: false` needs a `reason`"),
        }
    }
    tls
}

fn timeouts(document: &mut Document<'_>, spec: &TimeoutsSpec) -> UpstreamTimeouts {
    let mut chosen = UpstreamTimeouts::STANDARD;
    let fields = [
        (&spec.connect, &mut chosen.connect),
        (&spec.tls, &mut chosen.tls),
        (&spec.response_head, &mut chosen.response_head),
        (&spec.body_idle, &mut chosen.body_idle),
        (&spec.stream_idle, &mut chosen.stream_idle),
    ];
    for (value, field) in fields {
        let Some(value) = value else { continue };
        match document.parsed(value, text::duration) {
            Some(duration) if duration.is_zero() => {
                document.refuse(value, "a time-out of zero would refuse everything")
            }
            Some(duration) => *field = duration,
            None => {}
        }
    }
    chosen
}

fn routes(
    document: &mut Document<'_>,
    specs: Option<&Spanned<Vec<RouteSpec>>>,
    upstreams: &Spanned<BTreeMap<String, Spanned<UpstreamSpec>>>,
) -> Vec<Route> {
    let Some(specs) = specs else {
        return only_route(document, upstreams).into_iter().collect();
    };
    if specs.value.is_empty() || specs.value.len() > MAX_ROUTES {
        document.refuse(
            specs,
            format!("an app needs 1 to {MAX_ROUTES} routes; leave `routes` out for one that covers `/`"),
        );
    }
    let mut routes: Vec<Route> = Vec::new();
    for (index, spec) in specs.value.iter().enumerate() {
        if let Some(route) = route(document, spec, index, upstreams) {
            let is_taken = |other: &&Route| other.path_prefix == route.path_prefix && overlaps(other, &route);
            if routes.iter().any(|other| other.name == route.name) {
                document.refuse(&spec.path, format!("two routes are called `{}`; give one a `name`", route.name));
            } else if let Some(other) = routes.iter().find(is_taken) {
                document.refuse(
                    &spec.path,
                    format!("the routes `{}` and `{}` claim the same path", other.name, route.name),
                );
            }
            routes.push(route);
        }
    }
    routes.sort_by(|a, b| b.path_prefix.len().cmp(&a.path_prefix.len()).then(a.name.cmp(&b.name)));
    routes
}

/// Without `routes`, everything goes to the one upstream.
fn only_route(
    document: &mut Document<'_>,
    upstreams: &Spanned<BTreeMap<String, Spanned<UpstreamSpec>>>,
) -> Option<Route> {
    let mut names = upstreams.value.keys();
    let (Some(upstream), None) = (names.next(), names.next()) else {
        document.refuse(upstreams, "with several upstreams, `routes` must say which path goes where");
        return None;
    };
    Some(Route {
        name: RouteName::new("all"),
        path_prefix: "/".to_owned(),
        methods: None,
        upstream: UpstreamName::new(upstream),
        rewrite: None,
        max_body_bytes: None,
        action: None,
        access: None,
        cors: None,
        refuses_cross_site_writes: None,
    })
}

/// Two routes on one path collide unless their method lists are apart; one without a list is the rest.
fn overlaps(a: &Route, b: &Route) -> bool {
    match (&a.methods, &b.methods) {
        (Some(a), Some(b)) => !a.is_disjoint(b),
        (None, None) => true,
        _ => false,
    }
}

fn route(
    document: &mut Document<'_>,
    spec: &RouteSpec,
    index: usize,
    upstreams: &Spanned<BTreeMap<String, Spanned<UpstreamSpec>>>,
) -> Option<Route> {
    let path = document.parsed(&spec.path, |path| text::plain_path(path).map(str::to_owned));
    if spec.path.value.starts_with("/.countersign") {
        document.refuse(&spec.path, "paths under `/.countersign` are ours and never reach an app");
    }
    let name = match &spec.name {
        Some(name) => document.parsed(name, |name| text::name(name).map(str::to_owned)),
        None => Some(default_route_name(&spec.path.value, index)),
    };
    if !upstreams.value.contains_key(&spec.upstream.value) {
        let valid: Vec<&str> = upstreams.value.keys().map(String::as_str).collect();
        let message = format!("no upstream is called `{}`", spec.upstream.value);
        document.refuse_with_hint(&spec.upstream, message, choices(&spec.upstream.value, &valid));
    }
    let methods = spec.methods.as_ref().map(|methods| {
        if methods.value.is_empty() {
            document.refuse(methods, "`methods` is empty; leave it out for every method");
        }
        methods.value.iter().filter_map(|method| document.parsed(method, http_method)).collect()
    });
    let max_body_bytes = spec.max_body.as_ref().and_then(|size| document.parsed(size, text::size));
    let prefix = path?;
    Some(Route {
        rewrite: spec.rewrite.as_ref().and_then(|rewrite| self::rewrite(document, rewrite, spec, &prefix)),
        name: RouteName::new(&name?),
        path_prefix: prefix,
        methods,
        upstream: UpstreamName::new(&spec.upstream.value),
        max_body_bytes,
        action: None,
        access: access::build(document, spec.access.as_ref(), Owner::Route),
        cors: spec.cors.as_ref().map(|cors| Arc::new(cors::build(document, cors))),
        refuses_cross_site_writes: spec
            .csrf
            .as_ref()
            .and_then(|csrf| document.word(csrf, &[("refuse", true), ("allow", false)])),
    })
}

/// `/api/v1` becomes `api-v1`, `/` becomes `all`; a path that gives no name gets `route-N`.
fn default_route_name(path: &str, index: usize) -> String {
    if path == "/" {
        return "all".to_owned();
    }
    let name: String = path
        .trim_matches('/')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let name = name.trim_matches('-').to_owned();
    if text::name(&name).is_ok() { name } else { format!("route-{}", index + 1) }
}

fn rewrite(document: &mut Document<'_>, rewrite: &RewriteSpec, spec: &RouteSpec, prefix: &str) -> Option<Rewrite> {
    let path = |text: &str| text::plain_path(text).map(str::to_owned);
    let covered = |document: &mut Document<'_>, from: &Spanned<String>| {
        if from.value != prefix && !prefix.starts_with(&format!("{}/", from.value)) {
            document.refuse(from, format!("`{}` is not a prefix of the route's path `{prefix}`", from.value));
        }
    };
    match (&rewrite.strip_prefix, &rewrite.replace_prefix) {
        (Some(strip), None) => {
            covered(document, strip);
            document.parsed(strip, path).map(Rewrite::StripPrefix)
        }
        (None, Some(replace)) => {
            covered(document, &replace.from);
            let from = document.parsed(&replace.from, path);
            let to = document.parsed(&replace.to, path);
            Some(Rewrite::ReplacePrefix(from?, to?))
        }
        _ => {
            document.refuse(&spec.path, "`rewrite` needs exactly one of `strip_prefix` and `replace_prefix`");
            None
        }
    }
}

fn http_method(method: &str) -> Result<String, String> {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Ok(method.to_owned()),
        "TRACE" | "CONNECT" => Err(format!("`{method}` never reaches an app")),
        other
            if !other.is_empty() && other.len() <= 32 && other.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') =>
        {
            Ok(other.to_owned())
        }
        other => Err(format!("`{other}` is not a method; methods are upper case, e.g. `GET`")),
    }
}

fn header_name(name: &str) -> Result<String, String> {
    let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let lower = name.to_ascii_lowercase();
    if !is_token {
        return Err(format!("`{name}` is not a header name"));
    }
    if matches!(lower.as_str(), "cookie" | "authorization" | "proxy-authorization") {
        return Err(format!("`{name}` carries credentials and is never shown to policies"));
    }
    Ok(lower)
}

fn public_paths(document: &mut Document<'_>, paths: &[Spanned<String>]) -> BTreeSet<String> {
    if let Some(extra) = paths.get(MAX_PUBLIC_PATHS) {
        document.refuse(extra, format!("an app may have at most {MAX_PUBLIC_PATHS} public paths"));
    }
    let parse = |path: &str| {
        if path.contains(['*', '{', '[']) {
            return Err(format!("`{path}` is a pattern; public paths are exact, list each one"));
        }
        text::plain_path(path).map(str::to_owned)
    };
    paths.iter().filter_map(|path| document.parsed(path, parse)).collect()
}

fn sensitivity(
    document: &mut Document<'_>,
    name: &Spanned<String>,
    value: Option<&Spanned<String>>,
) -> Option<Sensitivity> {
    let words = [
        ("low", Sensitivity::Low),
        ("medium", Sensitivity::Medium),
        ("high", Sensitivity::High),
        ("critical", Sensitivity::Critical),
    ];
    match value {
        Some(value) => document.word(value, &words),
        None => {
            let message = format!("app `{}` has no `sensitivity` and counts as critical", name.value);
            document.warn(name, message, "add `sensitivity: low`, `medium`, `high` or `critical`");
            None
        }
    }
}

fn label(document: &mut Document<'_>, value: Option<&Spanned<String>>) -> String {
    let words = [
        ("public", "public"),
        ("internal", "internal"),
        ("confidential", "confidential"),
        ("restricted", "restricted"),
    ];
    value.and_then(|value| document.word(value, &words)).unwrap_or("internal").to_owned()
}

/// The least and the most that may be said; below a second every pause of the process would close the app.
const STALENESS: std::ops::RangeInclusive<Duration> = MAX_STALENESS_STRICT..=Duration::from_secs(3600);

fn max_staleness(document: &mut Document<'_>, value: Option<&Spanned<String>>) -> Duration {
    let Some(value) = value else { return MAX_STALENESS_DEFAULT };
    if value.value == "strict" {
        return MAX_STALENESS_STRICT;
    }
    let staleness = document.parsed(value, text::duration).unwrap_or(MAX_STALENESS_DEFAULT);
    if !STALENESS.contains(&staleness) {
        document.refuse(value, format!("`{}` is outside 1s to 1h; `strict` means 1s", value.value));
    }
    staleness
}

fn explain(document: &mut Document<'_>, value: Option<&Spanned<String>>) -> Explain {
    let words = [("none", Explain::None), ("reason", Explain::Reason), ("full", Explain::Full)];
    value.and_then(|value| document.word(value, &words)).unwrap_or(Explain::Reason)
}

fn assertion(document: &mut Document<'_>, name: &Spanned<String>, spec: AssertionSpec) -> AssertionSettings {
    let binds_target = match &spec.bind {
        None => true,
        Some(parts) => {
            let mut parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            parts.sort_unstable();
            if parts != ["authority", "method"] && parts != ["authority", "method", "target"] {
                document.refuse(name, "`assertion.bind` is `[method, authority]` or `[method, authority, target]`");
            }
            parts.contains(&"target")
        }
    };
    if !binds_target {
        let hint = "leave `bind` out if the app can see the raw target";
        document.warn(name, "assertions of this app are not bound to the target", hint);
    }
    for pattern in &spec.groups {
        let stem = pattern.strip_suffix('*').unwrap_or(pattern);
        if stem.contains('*') {
            document.refuse(name, format!("`{pattern}`: only one `*` at the end of a group pattern is allowed"));
        }
    }
    AssertionSettings { is_enabled: spec.is_enabled, groups: spec.groups, binding: AssertionBinding { binds_target } }
}

fn path_settings(document: &mut Document<'_>, spec: &PathSpec) -> PathSettings {
    let profiles = [
        ("strict", PathProfile::Strict),
        ("base", PathProfile::Base),
        ("merge_slashes", PathProfile::MergeSlashes),
        ("decode_and_merge_slashes", PathProfile::DecodeAndMergeSlashes),
    ];
    let openings = [
        ("encoded_slash", PathOpening::EncodedSlash),
        ("semicolon", PathOpening::Semicolon),
        ("empty_segment", PathOpening::EmptySegment),
        ("encoded_percent", PathOpening::EncodedPercent),
    ];
    let profile = spec.profile.as_ref().and_then(|value| document.word(value, &profiles));
    let is_case_insensitive = spec
        .case
        .as_ref()
        .and_then(|value| document.word(value, &[("sensitive", false), ("insensitive", true)]))
        .unwrap_or(false);
    for opening in &spec.allow {
        let hint = "path rules of this app see the opened form; check each of them";
        document.warn(opening, format!("`{}` weakens the path rules of this app", opening.value), hint);
    }
    PathSettings {
        profile: profile.unwrap_or(PathProfile::Strict),
        allow: spec.allow.iter().filter_map(|value| document.word(value, &openings)).collect(),
        is_case_insensitive,
    }
}

fn origins(document: &mut Document<'_>, spec: &OriginsSpec) -> BTreeSet<String> {
    spec.origins.iter().filter_map(|origin| document.parsed(origin, text::origin)).collect()
}
