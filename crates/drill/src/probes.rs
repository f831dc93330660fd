//! Cases of more than one exchange, or whose bytes depend on what the proxy turned out to do.

use crate::DrillError;
use crate::card::{Outcome, Verdict};
use crate::judge::{FORGED, Sent, holds, judge, secrets_of};
use crate::play::Drill;
use crate::setup::{head, origin};
use crate::wire::{Reply, WEBSOCKET_KEY, exchange};

/// Which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    ConnectionNamesAdded,
    CredentialAtTheApp,
    CutCredential,
    DebugRoutes,
    DoubledCredential,
    ForeignOrigin,
    ForwardedFields,
    HugeBody,
    NoCredential,
    Reflection,
    RefusedUpgrade,
    ScriptIsTold,
    UserAgents,
}

/// Names that monitors and load balancers give themselves.
const USER_AGENTS: &[&str] =
    &["kube-probe/1.31", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Prometheus/3.0", "Blackbox Exporter"];
/// Where proxies and their libraries serve what is not for everybody.
const DEBUG_ROUTES: &[&str] = &[
    "/metrics",
    "/debug/pprof/",
    "/debug/vars",
    "/stats",
    "/server-status",
    "/nginx_status",
    "/haproxy?stats",
    "/config_dump",
    "/admin/api",
    "/.env",
    "/actuator/env",
    "/api/v1/status",
    "/quitquitquit",
];

/// Plays it.
pub(crate) async fn play(probe: Probe, drill: &mut Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    match probe {
        Probe::ConnectionNamesAdded => connection_names_added(drill).await,
        Probe::CredentialAtTheApp => credential_at_the_app(drill, marker).await,
        Probe::CutCredential => {
            credential(drill, marker, |name, value| vec![(name.to_owned(), changed(name, value, shortened))]).await
        }
        Probe::DebugRoutes => debug_routes(drill).await,
        Probe::DoubledCredential => {
            let twice = |name: &str, value: &str| {
                let other = changed(name, value, |secret| "A".repeat(secret.len()));
                match name.eq_ignore_ascii_case("cookie") {
                    true => vec![(name.to_owned(), format!("{value}; {other}"))],
                    false => vec![(name.to_owned(), value.to_owned()), (name.to_owned(), other)],
                }
            };
            credential(drill, marker, twice).await
        }
        Probe::ForeignOrigin => foreign_origin(drill, marker).await,
        Probe::ForwardedFields => forwarded_fields(drill).await,
        Probe::HugeBody => huge_body(drill, marker).await,
        Probe::NoCredential => credential(drill, marker, |_, _| Vec::new()).await,
        Probe::Reflection => reflection(drill, marker).await,
        Probe::RefusedUpgrade => refused_upgrade(drill, marker).await,
        Probe::ScriptIsTold => script_is_told(drill, marker).await,
        Probe::UserAgents => user_agents(drill, marker).await,
    }
}

async fn send(drill: &Drill<'_>, bytes: &str) -> Result<Reply, DrillError> {
    exchange(&drill.options.target, bytes.as_bytes(), 1, drill.options.case_limit).await
}

/// Nothing may reach the app.
fn nothing(drill: &Drill<'_>, marker: &str, reply: &Reply) -> Verdict {
    match drill.arrived(marker).iter().find(|one| one.is_whole) {
        Some(one) => Verdict::of(Outcome::Bypassed, format!("{} {} reached the app", one.method, one.target)),
        None => Verdict::of(
            Outcome::Refused,
            reply.status().map_or("no answer".to_owned(), |status| format!("status {status}")),
        ),
    }
}

async fn credential(
    drill: &Drill<'_>,
    marker: &str,
    change: impl Fn(&str, &str) -> Vec<(String, String)>,
) -> Result<Verdict, DrillError> {
    let changed = drill.options.credentials.iter().flat_map(|(name, value)| change(name, value));
    let lines: String = changed.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let reply = send(drill, &head(drill.options, marker, &drill.options.allow_path, false, &lines)).await?;
    Ok(nothing(drill, marker, &reply))
}

/// The credential with every secret in it changed.
fn changed(name: &str, value: &str, change: impl Fn(&str) -> String) -> String {
    let secrets = secrets_of(name, value);
    secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(value.to_owned(), |text, secret| text.replace(secret, &change(secret)))
}

fn shortened(secret: &str) -> String {
    secret.chars().take(secret.chars().count().saturating_sub(1)).collect()
}

async fn credential_at_the_app(drill: &Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    let fields = "Cookie: theme=drill\r\nX-Debug: 1\r\n";
    send(drill, &head(drill.options, marker, &drill.options.allow_path, true, fields)).await?;
    let arrived = drill.arrived(marker);
    let leaked = |secret: &str| arrived.iter().any(|one| holds(one, secret));
    let is_leaked = |(name, value): &&(String, String)| secrets_of(name, value).into_iter().any(leaked);
    Ok(match drill.options.credentials.iter().find(is_leaked) {
        Some((name, _)) => Verdict::of(Outcome::Leaked, format!("the app can read the credential in `{name}`")),
        None => Verdict::of(Outcome::Normalised, "the app got the request without it"),
    })
}

async fn script_is_told(drill: &Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    let fields =
        "Accept: application/json\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Site: same-origin\r\n";
    let reply = send(drill, &head(drill.options, marker, &drill.options.allow_path, false, fields)).await?;
    Ok(match reply.status() {
        Some(401 | 403) => nothing(drill, marker, &reply),
        Some(status @ 300..=399) => Verdict::of(Outcome::Other, format!("a script is sent elsewhere ({status})")),
        status => Verdict::of(Outcome::Other, format!("a script is told {status:?}")),
    })
}

/// Only the head of a body of four gigabytes: a proxy that answers before the body is there never reads it.
async fn huge_body(drill: &Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    let options = drill.options;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nx-drill: {marker}\r\nContent-Length: 4000000000\r\n\r\n{}",
        options.allow_path,
        options.target.authority,
        "x".repeat(64 * 1024)
    );
    let reply = send(drill, &head).await?;
    Ok(match reply.status() {
        Some(400..=499 | 303) => nothing(drill, marker, &reply),
        status => {
            Verdict::of(Outcome::Unbounded, format!("after 64 KiB of a stranger's body the proxy said {status:?}"))
        }
    })
}

async fn foreign_origin(drill: &Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    let fields = websocket("https://evil.example");
    let reply = send(drill, &head(drill.options, marker, &drill.options.allow_path, true, &fields)).await?;
    Ok(nothing(drill, marker, &reply))
}

fn websocket(origin: &str) -> String {
    format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\nOrigin: {origin}\r\n"
    )
}

/// The app answers 200 instead of 101; what the client sends next must be judged.
async fn refused_upgrade(drill: &mut Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    let options = drill.options;
    let Some(mut stream) = crate::wire::connect(&options.target, pki::tls::ALPN_HTTP11).await? else {
        return Ok(Verdict::of(Outcome::Other, "no connection"));
    };
    let path = format!("{}/refuses-upgrade", options.allow_path.trim_end_matches('/'));
    let first = head(options, marker, &path, true, &websocket(&origin(options)));
    let reply = crate::wire::exchange_on(&mut stream, first.as_bytes(), 1, options.case_limit).await;
    let denied = options.deny_path.as_deref().unwrap_or_default();
    let second = head(options, marker, denied, true, "");
    let after = crate::wire::exchange_on(&mut stream, second.as_bytes(), 1, options.case_limit).await;
    let sent = Sent { requests: 1, line: "", status: after.status().or(reply.status()), is_http2: false };
    Ok(judge(options, sent, &drill.arrived(marker)))
}

async fn user_agents(drill: &Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    let denied = drill.options.deny_path.clone().unwrap_or_default();
    for agent in USER_AGENTS {
        let fields = format!("User-Agent: {agent}\r\n");
        let reply = send(drill, &head(drill.options, marker, &denied, true, &fields)).await?;
        let verdict = nothing(drill, marker, &reply);
        if matches!(verdict, Verdict::Failed { .. }) {
            return Ok(Verdict::of(Outcome::Bypassed, format!("`{agent}` reached the app")));
        }
    }
    Ok(Verdict::of(Outcome::Refused, format!("{} names", USER_AGENTS.len())))
}

/// The proxy's own page about a refused path must not carry the path's script.
async fn reflection(drill: &Drill<'_>, marker: &str) -> Result<Verdict, DrillError> {
    let denied = drill.options.deny_path.clone().unwrap_or_default();
    let path = format!("{denied}/%22%3E%3Cscript%3Edrill()%3C/script%3E?q=%3Cscript%3Edrill()%3C/script%3E");
    let fields =
        "Accept: text/html\r\nUser-Agent: <script>drill()</script>\r\nReferer: https://x/<script>drill()</script>\r\n";
    let reply = send(drill, &head(drill.options, marker, &path, true, fields)).await?;
    Ok(match reply.text().contains("<script>drill()") {
        true => Verdict::of(Outcome::Leaked, "the page about the refusal runs the client's script"),
        false => nothing(drill, marker, &reply),
    })
}

/// A route that the proxy answers with 200 although the app was not asked is its own.
async fn debug_routes(drill: &mut Drill<'_>) -> Result<Verdict, DrillError> {
    let mut own = Vec::new();
    for route in DEBUG_ROUTES {
        let marker = drill.marker();
        let reply = send(drill, &head(drill.options, &marker, route, true, "")).await?;
        let was_asked = drill.arrived(&marker).iter().any(|one| one.marker() == Some(marker.as_str()));
        if reply.status() == Some(200) && !was_asked {
            own.push(*route);
        }
    }
    Ok(match own.is_empty() {
        true => Verdict::of(Outcome::Refused, format!("{} routes belong to the app or to nobody", DEBUG_ROUTES.len())),
        false => Verdict::of(Outcome::Leaked, format!("the proxy itself answers {}", own.join(", "))),
    })
}

/// For every field that the proxy adds: `Connection` naming it must not take it away.
async fn connection_names_added(drill: &mut Drill<'_>) -> Result<Verdict, DrillError> {
    let added: Vec<String> = drill.doors.added_fields.iter().map(|(name, _)| name.clone()).collect();
    if added.is_empty() {
        return Ok(Verdict::NotApplicable { why: "the proxy adds no field".to_owned() });
    }
    for name in &added {
        let marker = drill.marker();
        let bytes = head(drill.options, &marker, &drill.options.allow_path, true, &format!("Connection: {name}\r\n"));
        send(drill, &bytes).await?;
        let arrived = drill.arrived(&marker);
        if arrived.iter().any(|one| one.is_whole && one.all(name).next().is_none()) {
            return Ok(Verdict::of(Outcome::Leaked, format!("`Connection: {name}` takes `{name}` away")));
        }
    }
    Ok(Verdict::of(Outcome::Normalised, format!("{} stayed", added.join(", "))))
}

/// What the proxy says about scheme and host must stay its own word; of the address, the last one must be.
async fn forwarded_fields(drill: &mut Drill<'_>) -> Result<Verdict, DrillError> {
    let added = drill.doors.added_fields.clone();
    let watched =
        ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "x-forwarded-for", "forwarded"];
    let told: Vec<&(String, String)> = added.iter().filter(|(name, _)| watched.contains(&name.as_str())).collect();
    if told.is_empty() {
        return Ok(Verdict::NotApplicable {
            why: "the proxy tells the app nothing about the client's connection".to_owned(),
        });
    }
    let marker = drill.marker();
    let lines: String = told.iter().map(|(name, _)| format!("{name}: {FORGED}\r\n")).collect();
    send(drill, &head(drill.options, &marker, &drill.options.allow_path, true, &lines)).await?;
    for one in drill.arrived(&marker) {
        for (name, value) in &told {
            let values: Vec<&str> = one.all(name).collect();
            let last = values.last().and_then(|values| values.rsplit(',').next()).map(str::trim);
            let is_list = matches!(name.as_str(), "x-forwarded-for" | "forwarded");
            let fits = if is_list { last == Some(value.as_str()) } else { values == [value.as_str()] };
            if one.is_whole && !fits {
                return Ok(Verdict::of(Outcome::Leaked, format!("the app reads `{name}: {}`", values.join(", "))));
            }
        }
    }
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    Ok(Verdict::of(Outcome::Normalised, format!("{} stayed the proxy's word", names.join(", "))))
}
