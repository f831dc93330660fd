//! The process configuration: one TOML file.

mod gateway;
mod sink;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use model::{Freshness, PolicySettings, TimeZone};
use serde::Deserialize;
use toml::Spanned;

use crate::problem::{Problem, Problems, choices};
use crate::text;

pub use gateway::GatewayConfig;
pub use sink::{SinkConfig, SinkTarget, WebhookUrl};

/// What one process is told at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Where store, log and keys live; relative paths are relative to the file's folder (the binary resolves them).
    pub data_dir: PathBuf,
    /// The public address of sign-in pages and API.
    pub auth_url: AuthUrl,
    /// At least one.
    pub listeners: Vec<ListenerConfig>,
    /// Certificates by name.
    pub certificates: Vec<CertificateFiles>,
    /// People.
    pub identity: IdentityConfig,
    /// The record.
    pub audit: AuditConfig,
    /// Decisions.
    pub policy: PolicySettings,
    /// How many persons other than the author must approve a configuration before it goes live (PO-35).
    pub approvals: u8,
    /// Signing keys.
    pub keys: KeysConfig,
    /// Gateways in processes of their own.
    pub gateways: GatewaysConfig,
    /// The Unix socket of the local command line (R-20); `None`: `control.sock` in the data directory.
    pub control_socket: Option<PathBuf>,
    /// Health (`/livez`, `/readyz`); never public.
    pub admin_listen: SocketAddr,
    /// PEM file of the roots upstreams are verified against when their own `ca` is not set.
    pub upstream_roots: Option<PathBuf>,
}

/// The public address of the auth host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthUrl {
    /// Canonical host.
    pub host: String,
    /// Public port.
    pub port: u16,
}

impl AuthUrl {
    /// `https://host[:port]`, which is also its origin.
    pub fn origin(&self) -> String {
        match self.port {
            443 => format!("https://{}", self.host),
            port => format!("https://{}:{port}", self.host),
        }
    }
}

/// A TLS listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// Names of certificates.
    pub certificates: Vec<String>,
    /// TLS 1.3 only.
    pub requires_tls13: bool,
    /// Only hybrid post-quantum key exchange.
    pub requires_pq: bool,
    /// Who may say where a request came from; nobody by default (GW-66).
    pub trusted_peers: Vec<(IpAddr, u8)>,
}

/// Files of a certificate (R-38).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// Its name.
    pub name: String,
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// People.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdentityConfig {
    /// WebAuthn relying party id: the auth host or a suffix of it. Fixed at install (ID-24).
    pub rp_id: String,
    /// Shown by browsers beside the passkey.
    pub rp_name: String,
    /// Domains whose local addresses count as verified (R-19).
    pub domains: Vec<String>,
    /// Origins that may use passkeys of this relying party, `https://host[:port]` (WebAuthn L3 §5.11).
    pub related_origins: Vec<String>,
    /// Whether there are passwords, always together with one-time codes (ID-15).
    pub passwords: bool,
    /// The fewest code points of a password.
    pub password_min_chars: usize,
    /// Administrators need a passkey; otherwise password and one-time code are enough (ID-11).
    pub admins_need_passkey: bool,
    /// A proven recovery of an administrator waits a day (ID-6).
    pub admin_recovery_waits: bool,
    /// Idle limit of sessions.
    pub session_idle: Duration,
    /// Absolute limit of sessions.
    pub session_absolute: Duration,
}

/// Signing keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeysConfig {
    /// How old a signing key gets before the next one is published (GW-29).
    pub rotate_every: Duration,
}

/// Gateways in processes of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewaysConfig {
    /// Where they connect; `None`: there are none.
    pub listen: Option<SocketAddr>,
    /// The trust domain of their SPIFFE IDs.
    pub trust_domain: String,
}

/// The record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditConfig {
    /// Name of the log.
    pub origin: String,
    /// Segment size in bytes.
    pub segment_bytes: u64,
    /// Path patterns whose variable parts are recorded as `***`.
    pub mask: Vec<String>,
    /// Whether standard accesses go on while the log cannot write; they are counted then (AUD-18).
    pub allows_marked: bool,
    /// Free space in percent below which there is an alert.
    pub low_space: u8,
    /// The same for the second, louder one.
    pub critical_space: u8,
    /// Where the record goes beside the log.
    pub sinks: Vec<SinkConfig>,
}

/// How old a signing key gets unless said otherwise.
const KEY_AGE: Duration = Duration::from_secs(30 * 86_400);
/// How old it may be allowed to get. Below an hour the next key would be due before the last one signs for long.
const KEY_AGES: std::ops::RangeInclusive<Duration> = Duration::from_secs(3_600)..=Duration::from_secs(400 * 86_400);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Where store, record and keys live; made with mode 0700.
    ///
    /// Type: path; default: `data`.
    data_dir: Option<PathBuf>,
    /// Public address of sign-in pages and API, `https://host[:port]`; app hosts are served on the same port.
    ///
    /// Type: URL; default: required.
    auth_url: Spanned<String>,
    /// Unix socket of the command line; only the server's user and root may connect.
    ///
    /// Type: path; default: `<data_dir>/control.sock`.
    control_socket: Option<PathBuf>,
    /// PEM file with the roots `https://` upstreams are verified against when they name no `ca`.
    ///
    /// Type: path; default: the system's.
    upstream_roots: Option<PathBuf>,
    /// Doors to the network.
    ///
    /// Type: list of tables; default: at least one.
    #[serde(default)]
    listener: Vec<Spanned<Listener>>,
    /// Certificates that listeners and upstreams name.
    ///
    /// Type: list of tables; default: none.
    #[serde(default)]
    certificate: Vec<Spanned<Certificate>>,
    /// People and passkeys.
    ///
    /// Type: table.
    #[serde(default)]
    identity: Identity,
    /// The record.
    ///
    /// Type: table.
    #[serde(default)]
    audit: Audit,
    /// Decisions.
    ///
    /// Type: table.
    #[serde(default)]
    policy: Policy,
    /// Signing keys.
    ///
    /// Type: table.
    #[serde(default)]
    keys: Keys,
    /// Gateways in processes of their own ([gateways.md](gateways.md)).
    ///
    /// Type: table.
    #[serde(default)]
    gateways: Gateways,
    /// Health and counters for machines.
    ///
    /// Type: table.
    #[serde(default)]
    admin: Admin,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listener {
    /// Where to listen, e.g. `0.0.0.0:443` or `[::]:443`.
    ///
    /// Type: socket address; default: required.
    address: Spanned<String>,
    /// Certificates by name; the one that fits the asked server name is used, exact before wildcard.
    ///
    /// Type: list of names; default: required.
    certificates: Vec<Spanned<String>>,
    /// Versions and key exchange.
    ///
    /// Type: table.
    #[serde(default)]
    tls: Tls,
    /// Who may say by `X-Forwarded-For` or PROXY protocol where a request came from, e.g. `10.0.0.0/8`.
    ///
    /// Type: list of address blocks; default: nobody.
    #[serde(default)]
    trusted_peers: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Tls {
    /// Oldest version of TLS; 1.2 means ECDHE with AEAD only.
    ///
    /// Type: `1.2` or `1.3`; default: `1.2`.
    min: Option<Spanned<String>>,
    /// Hybrid post-quantum key exchange (X25519MLKEM768); `require` implies `min = "1.3"`.
    ///
    /// Type: `prefer` or `require`; default: `prefer`.
    pq: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    /// What listeners call it.
    ///
    /// Type: name; default: required.
    name: Spanned<String>,
    /// PEM chain, leaf first.
    ///
    /// Type: path; default: required.
    cert: PathBuf,
    /// PEM private key.
    ///
    /// Type: path; default: required.
    key: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Identity {
    /// What passkeys belong to: the auth host or a suffix of it. **Fixed at the first start**; a later change is
    /// refused with the number of passkeys it would cost, unless `serve --lose-passkeys` says that they may go.
    ///
    /// Type: host; default: host of `auth_url`.
    rp_id: Option<Spanned<String>>,
    /// Shown by browsers beside the passkey.
    ///
    /// Type: text; default: `Countersign`.
    rp_name: Option<String>,
    /// The organisation's own mail domains: addresses there, exactly there, count as verified; no password may be made
    /// of them.
    ///
    /// Type: list of hosts; default: none.
    #[serde(default)]
    domains: Vec<Spanned<String>>,
    /// Other addresses whose pages may use passkeys of `rp_id`, as `https://host[:port]`: told to browsers at
    /// `/.well-known/webauthn` of the auth host, for moving to another name. At most 5.
    ///
    /// Type: list of origins; default: none.
    #[serde(default)]
    related_origins: Vec<Spanned<String>>,
    /// Whether people may set a password; always together with one-time codes from an authenticator app, and never
    /// enough alone. A security key that asks for no PIN or fingerprint is accepted nowhere, not beside a password
    /// either.
    ///
    /// Type: true or false; default: `false`.
    #[serde(default)]
    passwords: bool,
    /// The fewest characters of a password; `8` to `64`.
    ///
    /// Type: number; default: `15`.
    password_min: Option<Spanned<usize>>,
    /// What administrators sign in with: a passkey, or also password and one-time code.
    ///
    /// Type: `phr` or `mfa`; default: `phr`.
    admins_require: Option<Spanned<String>>,
    /// Whether the recovery of an administrator's account opens 24 hours after its last proof and not before; until then every
    /// administrator can stop it. `countersign admin recover` on the machine itself does not wait.
    ///
    /// Type: true or false; default: `false`.
    #[serde(default)]
    admin_recovery_waits: bool,
    /// How long a sign-in lasts.
    ///
    /// Type: table.
    #[serde(default)]
    session: Session,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Session {
    /// A session ends when it was not used for so long; `2m` to `1h`.
    ///
    /// Type: duration; default: `1h`.
    idle: Option<Spanned<String>>,
    /// A session ends so long after sign-in whatever happens; `2m` to `24h`.
    ///
    /// Type: duration; default: `12h`.
    absolute: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Policy {
    /// How many persons other than the author must approve a configuration before it goes live
    /// ([operate.md](operate.md#approval-by-others)); 0 to 10.
    ///
    /// Type: number; default: `0`.
    approvals: Option<Spanned<u8>>,
    /// What `minute_of_day`, `weekday` and the hours of rules without a `zone` mean.
    ///
    /// Type: IANA time zone such as `Europe/Berlin`; default: `UTC`.
    time_zone: Option<Spanned<String>>,
    /// How fresh a step-up must be.
    ///
    /// Type: table.
    #[serde(default)]
    fresh: Fresh,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Fresh {
    /// For resources of sensitivity `low`; `30s` to `24h`, and so the others.
    ///
    /// Type: duration; default: `12h`.
    low: Option<Spanned<String>>,
    /// For `medium`; not longer than for `low`.
    ///
    /// Type: duration; default: `1h`.
    medium: Option<Spanned<String>>,
    /// For `high`; not longer than for `medium`.
    ///
    /// Type: duration; default: `15m`.
    high: Option<Spanned<String>>,
    /// For `critical`, and for what declares no sensitivity; not longer than for `high`.
    ///
    /// Type: duration; default: `5m`.
    critical: Option<Spanned<String>>,
}

/// The most approvals that can be asked for (PO-35).
const MAX_APPROVALS: u8 = 10;

/// How fresh a step-up can be asked to be (PO-8). A person needs the least to come back from the ceremony.
const FRESHNESS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(model::decision::SHORTEST_PROOF_SECS.unsigned_abs())..=Duration::from_secs(24 * 3_600);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// Age at which a signing key gets a successor, `1h` to `400d`; the new key is published ten minutes before it signs
    /// and the old one ten minutes after.
    ///
    /// Type: duration; default: `30d`.
    rotate_every: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Audit {
    /// Name of the log, 1 to 128 visible ASCII characters without `+`; another name begins a new epoch.
    ///
    /// Type: text; default: `countersign`.
    origin: Option<Spanned<String>>,
    /// Size of a log file, 1 MiB to 1 GiB; files are preallocated.
    ///
    /// Type: size; default: `64MiB`.
    segment: Option<Spanned<String>>,
    /// `/reset/{token}`: the segment in braces is recorded as `***`; `*` stands for any segment, `**` at the end for
    /// any rest.
    ///
    /// Type: list of path patterns; default: none.
    #[serde(default)]
    mask: Vec<String>,
    /// While the log cannot write: refuse with 503, or let requests of standard policies through and count them;
    /// strict policies and administration are always refused ([record.md](record.md)).
    ///
    /// Type: `deny` or `allow_marked`; default: `deny`.
    on_failure: Option<Spanned<String>>,
    /// Percent of free space on the disk of the log below which there is an alert; 0 to 90, 0 for none.
    ///
    /// Type: number; default: `20`.
    low_space: Option<Spanned<u8>>,
    /// The same for the second alert; not above `low_space`.
    ///
    /// Type: number; default: `10`.
    critical_space: Option<Spanned<u8>>,
    /// Where the record goes beside the log ([record.md](record.md)); at most 16.
    ///
    /// Type: list of tables; default: none.
    #[serde(default)]
    sink: Vec<Spanned<sink::Sink>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Gateways {
    /// Where gateways connect, with mutual TLS; no person and no browser ever does.
    ///
    /// Type: socket address; default: none.
    listen: Option<Spanned<String>>,
    /// Trust domain of their SPIFFE IDs, `spiffe://<trust_domain>/countersign/gateway/<name>`: 1 to 255 of `a-z0-9._-`.
    /// Do not change it while there are gateways; they would have to join again.
    ///
    /// Type: text; default: host of `auth_url`.
    trust_domain: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Admin {
    /// Plain HTTP `/livez`, `/readyz` and [`/metrics`](metrics.md) for machines; never make it public.
    ///
    /// Type: socket address; default: `127.0.0.1:9464`.
    listen: Option<Spanned<String>>,
}

/// Percent of free space below which there are alerts, unless said otherwise (AUD-18).
const LOW_SPACE: u8 = 20;
const CRITICAL_SPACE: u8 = 10;
/// The most that can be asked for: a fuller disk than that is no disk for a log.
const MAX_SPACE_PERCENT: u8 = 90;
/// Smallest and largest segment.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 30);
/// Activity is known only to the minute (GW-45); a shorter limit would end sessions that are in use.
/// What browsers at least take of a list of related origins (WebAuthn L3 §5.11.1).
const MAX_RELATED_ORIGINS: usize = 5;
const SESSION_LIMIT_MIN: Duration = Duration::from_secs(120);
/// The fewest code points of a password when nothing is said, and what may be said (ID-15).
const PASSWORD_MIN_DEFAULT: usize = 15;
const PASSWORD_MIN: std::ops::RangeInclusive<usize> = 8..=64;
/// Ceilings of a session (ID-57).
const SESSION_IDLE_MAX: Duration = Duration::from_secs(3600);
const SESSION_ABSOLUTE_MAX: Duration = Duration::from_secs(24 * 3600);

impl ServerConfig {
    /// Reads the file called `name`.
    ///
    /// # Errors
    /// Every problem at once; nothing is usable then.
    pub fn parse(name: &str, content: &str) -> Result<Self, Problems> {
        let file: File = toml::from_str(content).map_err(|error| Problems(vec![syntax(name, content, &error)]))?;
        let mut reader = Reader { name, content, problems: Vec::new() };
        let config = reader.read(file);
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(Problems(reader.problems)),
        }
    }
}

/// A TOML error as a problem; unknown keys name the nearest valid one.
fn syntax(name: &str, content: &str, error: &toml::de::Error) -> Problem {
    let at = error.span().map_or((0, 0), |span| place(content, span.start));
    let message = error.message();
    let problem = Problem::error(name, at, message.lines().next().unwrap_or(message));
    match unknown_key(message) {
        Some((word, valid)) => {
            let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
            Problem { message: format!("unknown key `{word}`"), ..problem }.hint(choices(&word, &valid))
        }
        None => problem,
    }
}

/// Reads serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown_key(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2).map(str::to_owned);
    let word = quoted.next()?;
    Some((word, quoted.collect()))
}

/// Line and column of a byte offset, both from 1.
fn place(content: &str, offset: usize) -> (u64, u64) {
    let before = content.get(..offset).unwrap_or(content);
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) as u64 + 1;
    (line, column)
}

struct Reader<'a> {
    name: &'a str,
    content: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn at(&self, offset: usize) -> (u64, u64) {
        place(self.content, offset)
    }

    fn refuse<T>(&mut self, value: &Spanned<T>, message: impl Into<String>) {
        let at = self.at(value.span().start);
        self.problems.push(Problem::error(self.name, at, message));
    }

    /// Parses a spanned text; a failure is noted and gives `None`.
    fn parsed<T>(&mut self, value: &Spanned<String>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match parse(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.refuse(value, message);
                None
            }
        }
    }

    fn read(&mut self, file: File) -> Option<ServerConfig> {
        let auth_url = self.parsed(&file.auth_url, auth_url);
        let certificates = self.certificates(file.certificate);
        let listeners = self.listeners(file.listener, &certificates);
        let identity = self.identity(&file.identity, auth_url.as_ref());
        let audit = self.audit(file.audit);
        let keys = self.keys(&file.keys);
        let admin_listen = self.admin(&file.admin);
        let gateways = self.gateways(&file.gateways, auth_url.as_ref());
        let policy = self.policy(&file.policy);
        let approvals = self.approvals(file.policy.approvals.as_ref());
        Some(ServerConfig {
            data_dir: file.data_dir.unwrap_or_else(|| PathBuf::from("data")),
            auth_url: auth_url?,
            listeners,
            certificates,
            identity: identity?,
            audit: audit?,
            policy: policy?,
            approvals,
            keys: keys?,
            gateways: gateways?,
            control_socket: file.control_socket,
            admin_listen: admin_listen?,
            upstream_roots: file.upstream_roots,
        })
    }

    fn admin(&mut self, admin: &Admin) -> Option<SocketAddr> {
        match &admin.listen {
            Some(listen) => self.parsed(listen, socket_address),
            None => Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
        }
    }

    fn gateways(&mut self, gateways: &Gateways, auth_url: Option<&AuthUrl>) -> Option<GatewaysConfig> {
        let listen = match &gateways.listen {
            Some(listen) => Some(self.parsed(listen, socket_address)?),
            None => None,
        };
        let trust_domain = match &gateways.trust_domain {
            Some(domain) => self.parsed(domain, trust_domain)?,
            None => auth_url?.host.clone(),
        };
        Some(GatewaysConfig { listen, trust_domain })
    }

    fn certificates(&mut self, declared: Vec<Spanned<Certificate>>) -> Vec<CertificateFiles> {
        let mut certificates: Vec<CertificateFiles> = Vec::new();
        for certificate in declared.into_iter().map(Spanned::into_inner) {
            let name = certificate.name.get_ref().clone();
            if let Err(message) = text::name(&name) {
                self.refuse(&certificate.name, message);
            }
            if certificates.iter().any(|other| other.name == name) {
                self.refuse(&certificate.name, format!("two certificates are called `{name}`"));
            }
            certificates.push(CertificateFiles { name, cert: certificate.cert, key: certificate.key });
        }
        certificates
    }

    fn listeners(&mut self, declared: Vec<Spanned<Listener>>, known: &[CertificateFiles]) -> Vec<ListenerConfig> {
        if declared.is_empty() {
            let problem = Problem::error(self.name, (0, 0), "no listener is declared");
            self.problems
                .push(problem.hint("add `[[listener]]` with `address = \"0.0.0.0:443\"` and `certificates = [\"…\"]`"));
        }
        declared.into_iter().filter_map(|listener| self.listener(listener.into_inner(), known)).collect()
    }

    fn listener(&mut self, listener: Listener, known: &[CertificateFiles]) -> Option<ListenerConfig> {
        let names: Vec<&str> = known.iter().map(|certificate| certificate.name.as_str()).collect();
        if listener.certificates.is_empty() {
            self.refuse(&listener.address, "the listener names no certificate");
        }
        for certificate in &listener.certificates {
            let name = certificate.get_ref();
            if !names.contains(&name.as_str()) {
                let at = self.at(certificate.span().start);
                let problem = Problem::error(self.name, at, format!("no certificate is called `{name}`"));
                self.problems.push(problem.hint(choices(name, &names)));
            }
        }
        let requires_tls13 = self.one_of(listener.tls.min.as_ref(), &["1.2", "1.3"], "1.2") == "1.3";
        let requires_pq = self.one_of(listener.tls.pq.as_ref(), &["prefer", "require"], "prefer") == "require";
        let trusted_peers = listener.trusted_peers.iter().filter_map(|peer| self.parsed(peer, text::cidr)).collect();
        Some(ListenerConfig {
            address: self.parsed(&listener.address, socket_address)?,
            certificates: listener.certificates.into_iter().map(Spanned::into_inner).collect(),
            requires_tls13: requires_tls13 || requires_pq,
            requires_pq,
            trusted_peers,
        })
    }

    fn one_of(
        &mut self,
        value: Option<&Spanned<String>>,
        valid: &[&'static str],
        default: &'static str,
    ) -> &'static str {
        let Some(value) = value else { return default };
        match valid.iter().find(|word| **word == value.get_ref().as_str()) {
            Some(word) => word,
            None => {
                let at = self.at(value.span().start);
                let problem = Problem::error(self.name, at, format!("`{}` is not valid here", value.get_ref()));
                self.problems.push(problem.hint(choices(value.get_ref(), valid)));
                default
            }
        }
    }

    fn identity(&mut self, identity: &Identity, auth_url: Option<&AuthUrl>) -> Option<IdentityConfig> {
        let idle = self.limited(identity.session.idle.as_ref(), model::session::IDLE_DEFAULT, SESSION_IDLE_MAX);
        let absolute =
            self.limited(identity.session.absolute.as_ref(), model::session::ABSOLUTE_DEFAULT, SESSION_ABSOLUTE_MAX);
        let domains = identity.domains.iter().filter_map(|domain| self.parsed(domain, text::host)).collect();
        let password_min_chars = self.password_min(identity.password_min.as_ref());
        let admins_need_passkey = self.one_of(identity.admins_require.as_ref(), &["phr", "mfa"], "phr") == "phr";
        let auth_host = &auth_url?.host;
        let rp_id = match &identity.rp_id {
            Some(rp_id) => {
                let host = self.parsed(rp_id, text::host)?;
                if *auth_host != host && !auth_host.ends_with(&format!(".{host}")) {
                    self.refuse(
                        rp_id,
                        format!("rp_id `{host}` is neither the auth host `{auth_host}` nor a suffix of it"),
                    );
                }
                host
            }
            None => auth_host.clone(),
        };
        Some(IdentityConfig {
            rp_id,
            rp_name: identity.rp_name.clone().unwrap_or_else(|| "Countersign".to_owned()),
            domains,
            related_origins: self.origins(&identity.related_origins),
            passwords: identity.passwords,
            password_min_chars,
            admins_need_passkey,
            admin_recovery_waits: identity.admin_recovery_waits,
            session_idle: idle,
            session_absolute: absolute,
        })
    }

    fn origins(&mut self, origins: &[Spanned<String>]) -> Vec<String> {
        if let Some(surplus) = origins.get(MAX_RELATED_ORIGINS) {
            self.refuse(surplus, format!("browsers look at {MAX_RELATED_ORIGINS} related origins and no more"));
        }
        origins.iter().filter_map(|origin| self.parsed(origin, text::origin)).collect()
    }

    fn password_min(&mut self, value: Option<&Spanned<usize>>) -> usize {
        let Some(value) = value else { return PASSWORD_MIN_DEFAULT };
        if !PASSWORD_MIN.contains(value.get_ref()) {
            self.refuse(value, format!("`{}` is outside 8 to 64 characters", value.get_ref()));
        }
        *value.get_ref()
    }

    fn limited(&mut self, value: Option<&Spanned<String>>, default: Duration, most: Duration) -> Duration {
        let Some(value) = value else { return default };
        let Some(duration) = self.parsed(value, text::duration) else { return default };
        if !(SESSION_LIMIT_MIN..=most).contains(&duration) {
            self.refuse(value, format!("`{}` is outside 2m to {}m", value.get_ref(), most.as_secs() / 60));
        }
        duration
    }

    fn policy(&mut self, policy: &Policy) -> Option<PolicySettings> {
        let time_zone = match &policy.time_zone {
            Some(name) => self.parsed(name, crate::zone::time_zone),
            None => Some(TimeZone::utc()),
        };
        let (fresh, standard) = (&policy.fresh, Freshness::STANDARD);
        let low = self.window(fresh.low.as_ref(), standard.low);
        let medium = self.window(fresh.medium.as_ref(), standard.medium);
        let high = self.window(fresh.high.as_ref(), standard.high);
        let critical = self.window(fresh.critical.as_ref(), standard.critical);
        let windows = [("low", &fresh.low, low), ("medium", &fresh.medium, medium), ("high", &fresh.high, high)];
        let narrower =
            [("medium", &fresh.medium, medium), ("high", &fresh.high, high), ("critical", &fresh.critical, critical)];
        for ((wide, written, longest), (narrow, said, window)) in windows.into_iter().zip(narrower) {
            // Told where something was written: one of both was, or the defaults would stand.
            let Some(at) = said.as_ref().or(written.as_ref()).filter(|_| longest < window) else { continue };
            self.refuse(at, format!("`{narrow}` would be satisfied by an older step-up than `{wide}`; give `{narrow}` the shorter window"));
        }
        Some(PolicySettings {
            time_zone: time_zone?,
            freshness: Freshness { low: low?, medium: medium?, high: high?, critical: critical? },
        })
    }

    fn approvals(&mut self, value: Option<&Spanned<u8>>) -> u8 {
        let Some(value) = value else { return 0 };
        if *value.get_ref() > MAX_APPROVALS {
            let message = format!("`{}` is outside 0 to {MAX_APPROVALS}; 0 asks nobody", value.get_ref());
            self.refuse(value, message);
        }
        *value.get_ref()
    }

    fn window(&mut self, value: Option<&Spanned<String>>, standard: Duration) -> Option<Duration> {
        let Some(value) = value else { return Some(standard) };
        let window = self.parsed(value, text::duration)?;
        if !FRESHNESS.contains(&window) {
            self.refuse(value, format!("`{}` is outside 30s to 24h", value.get_ref()));
        }
        Some(window)
    }

    fn keys(&mut self, keys: &Keys) -> Option<KeysConfig> {
        let Some(value) = &keys.rotate_every else { return Some(KeysConfig { rotate_every: KEY_AGE }) };
        let rotate_every = self.parsed(value, text::duration)?;
        if !KEY_AGES.contains(&rotate_every) {
            self.refuse(value, format!("`{}` is outside 1h to 400d", value.get_ref()));
        }
        Some(KeysConfig { rotate_every })
    }

    fn audit(&mut self, audit: Audit) -> Option<AuditConfig> {
        let segment_bytes = match &audit.segment {
            Some(segment) => {
                let bytes = self.parsed(segment, text::size)?;
                if !SEGMENT_BYTES.contains(&bytes) {
                    self.refuse(segment, format!("`{}` is outside 1MiB to 1GiB", segment.get_ref()));
                }
                bytes
            }
            None => 64 << 20,
        };
        let origin = match &audit.origin {
            Some(origin) => self.parsed(origin, log_origin)?,
            None => "countersign".to_owned(),
        };
        let allows_marked = match &audit.on_failure {
            None => false,
            Some(word) => match word.get_ref().as_str() {
                "deny" => false,
                "allow_marked" => true,
                other => {
                    self.refuse(word, format!("`{other}` is neither `deny` nor `allow_marked`"));
                    false
                }
            },
        };
        let low_space = self.percent(audit.low_space.as_ref(), LOW_SPACE);
        let critical_space = self.percent(audit.critical_space.as_ref(), CRITICAL_SPACE);
        if let Some(value) = audit.critical_space.as_ref().or(audit.low_space.as_ref())
            && critical_space > low_space
        {
            self.refuse(value, format!("`critical_space` ({critical_space}) is above `low_space` ({low_space})"));
        }
        let sinks = self.sinks(&audit.sink);
        Some(AuditConfig { origin, segment_bytes, mask: audit.mask, allows_marked, low_space, critical_space, sinks })
    }

    fn percent(&mut self, value: Option<&Spanned<u8>>, default: u8) -> u8 {
        let Some(value) = value else { return default };
        if *value.get_ref() > MAX_SPACE_PERCENT {
            self.refuse(
                value,
                format!("`{}` is outside 0 to {MAX_SPACE_PERCENT}; 0 switches the alert off", value.get_ref()),
            );
        }
        *value.get_ref()
    }
}

/// A log origin has no spaces and no `+` (AUD-33).
fn log_origin(text: &str) -> Result<String, String> {
    let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a log origin; use 1 to 128 visible ASCII characters without `+`"))
    }
}

/// Lower case, no port (SPIFFE ID §2.1).
fn trust_domain(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(wrong) => Err(format!("`{wrong}` cannot be in a trust domain; use a-z, 0-9, `.`, `-` and `_`")),
        None if (1..=255).contains(&text.len()) => Ok(text.to_owned()),
        None => Err("a trust domain has 1 to 255 characters".to_owned()),
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address; write e.g. `0.0.0.0:443` or `[::]:443`"))
}

fn auth_url(url: &str) -> Result<AuthUrl, String> {
    let origin = text::origin(url.strip_suffix('/').unwrap_or(url))
        .map_err(|_| format!("`{url}` is not an auth URL; write e.g. `https://auth.example.org`"))?;
    let rest = origin.strip_prefix("https://").unwrap_or(&origin);
    let (host, port) = text::split_port(rest).ok_or_else(|| format!("`{url}` has no valid port"))?;
    Ok(AuthUrl { host: text::host(host)?, port: port.unwrap_or(443) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
data_dir = "/var/lib/countersign"
auth_url = "https://auth.corp.test"

[[certificate]]
name = "corp"
cert = "corp.pem"
key = "corp.key"

[[listener]]
address = "0.0.0.0:443"
certificates = ["corp"]
tls = { min = "1.3", pq = "prefer" }

[identity]
rp_id = "corp.test"
domains = ["corp.test"]
session = { idle = "30m", absolute = "8h" }

[audit]
segment = "4MiB"
"#;

    fn problems(text: &str) -> String {
        ServerConfig::parse("server.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_complete_file_reads() {
        let config = ServerConfig::parse("server.toml", GOOD).unwrap();
        assert_eq!(config.auth_url.origin(), "https://auth.corp.test");
        assert!(config.listeners[0].requires_tls13);
        assert_eq!(config.identity.session_idle, Duration::from_secs(1800));
        assert_eq!(config.audit.segment_bytes, 4 << 20);
    }

    #[test]
    fn decisions_have_a_time_zone_and_windows_that_fit_one_another() {
        let policy = |text: &str| ServerConfig::parse("server.toml", &format!("{GOOD}[policy]\n{text}\n"));
        assert_eq!(ServerConfig::parse("server.toml", GOOD).unwrap().policy, PolicySettings::default());
        let said =
            policy("time_zone = \"europe/berlin\"\nfresh = { high = \"10m\", critical = \"30s\" }").unwrap().policy;
        assert_eq!(said.time_zone.name(), "Europe/Berlin");
        let high = Duration::from_secs(600);
        assert_eq!(said.freshness, Freshness { high, critical: Duration::from_secs(30), ..Freshness::STANDARD });
        for (text, says) in [
            ("time_zone = \"Europe/Berlim\"", "did you mean `Europe/Berlin`?"),
            ("fresh = { low = \"25h\" }", "outside 30s to 24h"),
            ("fresh = { critical = \"29s\" }", "outside 30s to 24h"),
            ("fresh = { critical = \"soon\" }", "soon"),
            ("fresh = { critical = \"1h\" }", "`critical` would be satisfied by an older step-up than `high`"),
            ("fresh = { low = \"30m\" }", "`medium` would be satisfied by an older step-up than `low`"),
            ("fresh = { hihg = \"1m\" }", "did you mean `high`?"),
            ("timezone = \"UTC\"", "did you mean `time_zone`?"),
        ] {
            let refused = policy(text).unwrap_err().to_string();
            assert!(refused.contains(says) && refused.starts_with("server.toml:2"), "{text}: {refused}");
        }
    }

    #[test]
    fn so_many_approve_as_is_said_and_nobody_by_default() {
        let policy = |text: &str| ServerConfig::parse("server.toml", &format!("{GOOD}[policy]\n{text}\n"));
        assert_eq!(ServerConfig::parse("server.toml", GOOD).unwrap().approvals, 0);
        assert_eq!(policy("approvals = 10").unwrap().approvals, 10);
        let refused = policy("approvals = 11").unwrap_err().to_string();
        assert!(refused.contains("`11` is outside 0 to 10"), "{refused}");
        assert!(policy("approvals = 256").is_err() && policy("approvals = -1").is_err());
    }

    #[test]
    fn how_the_record_fails_is_said_in_words_and_percent_that_fit() {
        let config = ServerConfig::parse("server.toml", GOOD).unwrap().audit;
        assert_eq!((config.allows_marked, config.low_space, config.critical_space), (false, 20, 10));
        let audit = |line: &str| GOOD.replace("segment = \"4MiB\"", line);
        let config = ServerConfig::parse(
            "server.toml",
            &audit("on_failure = \"allow_marked\"\nlow_space = 0\ncritical_space = 0"),
        );
        assert!(config.unwrap().audit.allows_marked);
        for (line, why) in [
            ("on_failure = \"allow\"", "`allow` is neither `deny` nor `allow_marked`"),
            ("low_space = 95", "`95` is outside 0 to 90"),
            ("critical_space = 30", "`critical_space` (30) is above `low_space` (20)"),
        ] {
            let text = problems(&audit(line));
            assert!(text.contains(why), "{text}");
        }
    }

    #[test]
    fn signing_keys_are_changed_every_month_unless_said_otherwise_and_never_within_the_hour() {
        let with = |age: &str| format!("{GOOD}\n[keys]\nrotate_every = \"{age}\"\n");
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!(ServerConfig::parse("server.toml", GOOD).unwrap().keys.rotate_every, days(30));
        assert_eq!(ServerConfig::parse("server.toml", &with("168h")).unwrap().keys.rotate_every, days(7));
        assert!(problems(&with("59m")).contains("`59m` is outside 1h to 400d"));
        assert!(problems(&with("soon")).contains("`soon` is not a duration"));
    }

    #[test]
    fn gateways_connect_nowhere_unless_said_so_and_live_in_the_domain_of_the_auth_host() {
        let config = ServerConfig::parse("server.toml", GOOD).unwrap().gateways;
        assert_eq!(config, GatewaysConfig { listen: None, trust_domain: "auth.corp.test".to_owned() });
        let with = |lines: &str| format!("{GOOD}\n[gateways]\n{lines}\n");
        let said = with("listen = \"0.0.0.0:8444\"\ntrust_domain = \"corp.test\"");
        let config = ServerConfig::parse("server.toml", &said).unwrap().gateways;
        assert_eq!((config.listen.unwrap().port(), config.trust_domain.as_str()), (8444, "corp.test"));
        assert!(problems(&with("trust_domain = \"Corp.test\"")).contains("`C` cannot be in a trust domain"));
    }

    #[test]
    fn an_unknown_key_names_line_and_nearest_key() {
        let text = problems(&GOOD.replace("certificates = [\"corp\"]", "certificate = [\"corp\"]"));
        assert!(text.starts_with("server.toml:12:1: error: unknown key `certificate`"), "{text}");
        assert!(text.contains("did you mean `certificates`?"), "{text}");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = problems(
            &GOOD
                .replace("\"corp\"]", "\"crop\"]")
                .replace("30m", "3 hours")
                .replace("0.0.0.0:443", "everywhere")
                .replace("rp_id = \"corp.test\"", "rp_id = \"other.test\""),
        );
        for part in
            ["no certificate is called `crop`", "`3 hours` is not a duration", "`everywhere`", "rp_id `other.test`"]
        {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn passwords_are_off_and_long_and_not_for_administrators_unless_said_otherwise() {
        let identity = ServerConfig::parse("server.toml", GOOD).unwrap().identity;
        assert!(!identity.passwords && identity.admins_need_passkey && !identity.admin_recovery_waits);
        assert_eq!(identity.password_min_chars, 15);
        let with = |lines: &str| GOOD.replace("rp_id = \"corp.test\"", &format!("rp_id = \"corp.test\"\n{lines}"));
        let said = with("passwords = true\npassword_min = 8\nadmins_require = \"mfa\"\nadmin_recovery_waits = true");
        let identity = ServerConfig::parse("server.toml", &said).unwrap().identity;
        assert!(identity.passwords && !identity.admins_need_passkey && identity.admin_recovery_waits);
        assert_eq!(identity.password_min_chars, 8);
        assert!(problems(&with("password_min = 7")).contains("`7` is outside 8 to 64 characters"));
        assert!(problems(&with("admins_require = \"nothing\"")).contains("`nothing` is not valid here"));
    }

    #[test]
    fn a_plain_http_auth_url_is_refused() {
        assert!(problems(&GOOD.replace("https://auth", "http://auth")).contains("is not an auth URL"));
    }
}
