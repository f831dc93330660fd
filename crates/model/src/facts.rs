//! The context of a question: typed facts, each with the value that helps least when unknown.
//!
//! Invariant: [`Facts::unknown`] never satisfies a requirement, so whatever a door forgets to fill in can only close it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::access::HOURS_KNOWN;
use crate::app::App;
use crate::time::Timestamp;
use crate::time_zone::TimeZone;

/// The age policies read when something never happened, in seconds.
pub const NEVER_SECS: i64 = 1_000_000_000;

/// Everything a decision may depend on beside principal, action and resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// How the principal signed in.
    pub auth: AuthFacts,
    /// The device.
    pub device: DeviceFacts,
    /// Where from.
    pub net: NetFacts,
    /// The request itself.
    pub request: RequestFacts,
    /// Behaviour.
    pub risk: RiskFacts,
    /// The session.
    pub session: SessionFacts,
}

/// How the principal signed in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthFacts {
    /// A live session or credential was presented.
    pub authenticated: bool,
    /// `phr`, `phrh`, `urn:countersign:acr:mfa` or empty.
    pub acr: String,
    /// RFC 8176 methods.
    pub amr: BTreeSet<String>,
    /// Which identity provider.
    pub idp: String,
    /// More than one factor.
    pub mfa: bool,
    /// A passkey.
    pub phishing_resistant: bool,
    /// The passkey is synced between devices (BE set).
    pub passkey_synced: bool,
    /// Seconds since the sign-in.
    pub auth_age_secs: i64,
    /// Seconds since the newest step-up for this app and action (PO-8, R-11).
    pub step_up_age_secs: i64,
}

/// A posture fact with its age and evidence level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PostureFact {
    /// Whether it holds.
    pub ok: bool,
    /// Seconds since it was seen.
    pub age_secs: i64,
    /// Evidence level.
    pub level: i64,
}

impl PostureFact {
    /// Not known: does not hold.
    pub const UNKNOWN: PostureFact = PostureFact { ok: false, age_secs: NEVER_SECS, level: 0 };
}

/// The device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceFacts {
    /// Enrolled.
    pub known: bool,
    /// Its id or empty.
    pub id: String,
    /// Its state or empty.
    pub state: String,
    /// Its ownership or empty.
    pub ownership: String,
    /// Its owner is the principal.
    pub owner_is_principal: bool,
    /// 0–3.
    pub key_level: i64,
    /// Under management.
    pub managed: PostureFact,
    /// Disk encrypted.
    pub encrypted: PostureFact,
    /// Compliant with its own policy.
    pub compliant: PostureFact,
    /// Operating system patched.
    pub os_patched: PostureFact,
    /// Firewall on.
    pub firewall: PostureFact,
    /// Screen lock on.
    pub screen_lock: PostureFact,
    /// Endpoint detection running.
    pub edr: PostureFact,
}

impl DeviceFacts {
    /// Everything a device reports about its state.
    pub fn postures_mut(&mut self) -> [&mut PostureFact; 7] {
        [
            &mut self.managed,
            &mut self.encrypted,
            &mut self.compliant,
            &mut self.os_patched,
            &mut self.firewall,
            &mut self.screen_lock,
            &mut self.edr,
        ]
    }
}

/// Where from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetFacts {
    /// Named zones.
    pub zones: BTreeSet<String>,
    /// ISO 3166 code or empty.
    pub country: String,
    /// Whether the country is known.
    pub country_known: bool,
    /// Autonomous system or 0.
    pub asn: i64,
    /// A Tor exit.
    pub tor: bool,
    /// On the operator's list.
    pub high_risk_country: bool,
}

/// The request itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestFacts {
    /// `http`, `control` …
    pub door: String,
    /// As sent.
    pub method: String,
    /// Canonical host without port.
    pub host: String,
    /// Canonical path without query, after any rewrite.
    pub path: String,
    /// Canonical path before the rewrite; equal to `path` without one.
    pub original_path: String,
    /// Its segments.
    pub segments: BTreeSet<String>,
    /// Route name.
    pub route: String,
    /// `name=value`, only those the app names.
    pub headers: BTreeSet<String>,
    /// gRPC service or empty.
    pub grpc_service: String,
    /// gRPC method or empty.
    pub grpc_method: String,
    /// An upgrade to WebSocket.
    pub websocket: bool,
    /// Listener port.
    pub port: i64,
    /// `1.3`, `1.2` or empty.
    pub tls_version: String,
    /// A hybrid post-quantum key exchange.
    pub tls_pq: bool,
    /// Seconds since 1970.
    pub epoch_secs: i64,
    /// 0–1439, in the time zone of the policies.
    pub minute_of_day: i64,
    /// 1 (Monday) – 7, in the time zone of the policies.
    pub weekday: i64,
    /// Those times of the week that the app's rules name with a zone and that it is now ([`Hours::label`](crate::access::Hours::label)), and that they
    /// are known.
    pub hours: BTreeSet<String>,
    /// When `hours` may change, or a clock is set forward or back; bounds how long an answer holds. Policies do not see
    /// it.
    pub clock_until: Option<Timestamp>,
}

impl RequestFacts {
    /// Puts the time into the facts: of the policies' clock, which hangs in `zone`, and of those that the rules of `app`
    /// name.
    pub fn tell_time(&mut self, now: Timestamp, zone: &TimeZone, app: Option<&App>) {
        self.epoch_secs = now.unix_secs();
        (self.minute_of_day, self.weekday) = zone.minute_and_weekday(now);
        self.hours = BTreeSet::from([HOURS_KNOWN.to_owned()]);
        self.clock_until = zone.next_change(now);
        let rules = app
            .into_iter()
            .flat_map(|app| app.access.iter().chain(app.routes.iter().filter_map(|route| route.access.as_ref())));
        for (zone, hours) in rules.flat_map(|rules| rules.zoned_hours()) {
            let (minute, weekday) = zone.minute_and_weekday(now);
            if hours.contains(minute, weekday) {
                self.hours.insert(hours.label());
            }
            let until = zone.next_of(&[0, i64::from(hours.from), i64::from(hours.to)], now);
            self.clock_until = Some(self.clock_until.map_or(until, |known| known.min(until)));
        }
    }
}

/// Behaviour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RiskFacts {
    /// Whether anything is known.
    pub known: bool,
    /// 0–100.
    pub points: i64,
    /// 0–1000.
    pub anomaly: i64,
    /// Named signals.
    pub signals: BTreeSet<String>,
    /// Seconds since computed.
    pub age_secs: i64,
}

/// The session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionFacts {
    /// Seconds since created.
    pub age_secs: i64,
    /// Seconds since last active.
    pub idle_secs: i64,
    /// Bound to a key of the device.
    pub bound: bool,
    /// Grant ids.
    pub grants: BTreeSet<String>,
    /// An approved grant covers this principal, action and resource now.
    pub granted: bool,
}

impl Facts {
    /// Everything unknown.
    pub fn unknown() -> Self {
        Self {
            auth: AuthFacts {
                authenticated: false,
                acr: String::new(),
                amr: BTreeSet::new(),
                idp: String::new(),
                mfa: false,
                phishing_resistant: false,
                passkey_synced: false,
                auth_age_secs: NEVER_SECS,
                step_up_age_secs: NEVER_SECS,
            },
            device: DeviceFacts {
                known: false,
                id: String::new(),
                state: String::new(),
                ownership: String::new(),
                owner_is_principal: false,
                key_level: 0,
                managed: PostureFact::UNKNOWN,
                encrypted: PostureFact::UNKNOWN,
                compliant: PostureFact::UNKNOWN,
                os_patched: PostureFact::UNKNOWN,
                firewall: PostureFact::UNKNOWN,
                screen_lock: PostureFact::UNKNOWN,
                edr: PostureFact::UNKNOWN,
            },
            net: NetFacts {
                zones: BTreeSet::new(),
                country: String::new(),
                country_known: false,
                asn: 0,
                tor: false,
                high_risk_country: false,
            },
            request: RequestFacts {
                door: String::new(),
                method: String::new(),
                host: String::new(),
                path: String::new(),
                original_path: String::new(),
                segments: BTreeSet::new(),
                route: String::new(),
                headers: BTreeSet::new(),
                grpc_service: String::new(),
                grpc_method: String::new(),
                websocket: false,
                port: 0,
                tls_version: String::new(),
                tls_pq: false,
                epoch_secs: 0,
                minute_of_day: 0,
                weekday: 1,
                hours: BTreeSet::new(),
                clock_until: None,
            },
            risk: RiskFacts { known: false, points: 100, anomaly: 0, signals: BTreeSet::new(), age_secs: NEVER_SECS },
            session: SessionFacts {
                age_secs: NEVER_SECS,
                idle_secs: NEVER_SECS,
                bound: false,
                grants: BTreeSet::new(),
                granted: false,
            },
        }
    }
}

/// The network of an address as it may be recorded in the clear: /24 for IPv4, /48 for IPv6 (AUD-8 `src_net`).
pub fn recorded_network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}
