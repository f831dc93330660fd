//! Simple access rules of an app (GW-20 to GW-25), parsed and cross-checked. `config` makes them, `pdp-engine`
//! translates them to Cedar; nothing evaluates them directly.
//!
//! At least one `include` holds and every `require` holds and no `exclude` holds. An unknown fact makes `include` and
//! `require` false and `exclude` true (GW-22).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::directory::GroupId;
use crate::time_zone::TimeZone;

/// The rules of an app or of one of its routes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessRules {
    /// Any of these lets in. Never empty for an app; a route's list narrows what the app allows (PO-16).
    pub include: Vec<Rule>,
    /// All of these must hold.
    pub require: Vec<Rule>,
    /// None of these may hold.
    pub exclude: Vec<Rule>,
}

/// One entry: one selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What it asks.
    pub selector: Selector,
    /// `apps.yaml:12`.
    pub declared_at: Arc<str>,
}

/// What one entry asks (GW-21). A list inside is OR; lists are never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector {
    /// Anybody, signed in or not; `config` demands `accept_public: true` beside it.
    Everyone,
    /// Whoever signed in.
    Authenticated,
    /// A verified address, domain in lower-case A-label form (GW-23).
    Email(BTreeSet<String>),
    /// The domain of a verified address: exactly this one, no subdomain (GW-23).
    EmailDomain(BTreeSet<String>),
    /// Member of one of these groups, directly or over parents.
    Group(BTreeSet<GroupId>),
    /// Name of an identity provider, or an RFC 8176 method.
    LoginMethod(BTreeSet<String>),
    /// A second factor.
    Mfa {
        /// The level asked for: `phr`, `phrh` or `urn:countersign:acr:mfa`; `None`: any second factor.
        acr: Option<String>,
        /// How long ago at most.
        max_age: Option<Duration>,
    },
    /// A claim of an identity provider, kept as a directory attribute.
    Claim {
        /// The provider.
        idp: String,
        /// The claim.
        name: String,
        /// Any of these values.
        values: BTreeSet<String>,
    },
    /// Under management (true) or not (false).
    DeviceManaged(bool),
    /// Posture of the device; every member given must hold.
    Device {
        /// Disk encrypted.
        encrypted: Option<bool>,
        /// In line with its own policy.
        compliant: Option<bool>,
        /// Evidence level at least this.
        level: Option<i64>,
        /// How old the facts may be.
        max_age: Option<Duration>,
    },
    /// ISO 3166 codes, upper case.
    Country(BTreeSet<String>),
    /// Client addresses in CIDR form.
    IpRange(BTreeSet<Cidr>),
    /// One of these service tokens.
    ServiceToken(BTreeSet<String>),
    /// Any service token of the product.
    AnyServiceToken,
    /// SPIFFE IDs.
    Workload(BTreeSet<String>),
    /// A client certificate by SPKI digest or subject alternative name.
    ClientCert {
        /// SHA-256 of the SubjectPublicKeyInfo, hex.
        spki: BTreeSet<String>,
        /// DNS names, addresses or URIs.
        san: BTreeSet<String>,
    },
    /// Risk points at most this (0–100).
    RiskAtMost(u8),
    /// A time of the week.
    Time(Hours),
    /// The session is bound to the device's key.
    SessionBound,
    /// The connection's key exchange is post-quantum.
    TlsPq,
}

/// A time of the week.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hours {
    /// Where the clock hangs; `None`: in the time zone of the policies.
    pub zone: Option<TimeZone>,
    /// 1 (Monday) to 7; all days when every one is listed.
    pub days: BTreeSet<u8>,
    /// First minute of the day, 0–1439.
    pub from: u16,
    /// Minute of the day it ends before, 1–1440; smaller than `from` means over midnight, on the day it began.
    pub to: u16,
}

impl Hours {
    /// Whether a local minute and weekday are within.
    pub fn contains(&self, minute: i64, weekday: i64) -> bool {
        let on = |weekday: i64| u8::try_from(weekday).is_ok_and(|day| self.days.contains(&day));
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        match from < to {
            true => on(weekday) && minute >= from && minute < to,
            false => (on(weekday) && minute >= from) || (on((weekday + 5) % 7 + 1) && minute < to),
        }
    }

    /// The label under which it shows in `context.request.hours` while it is that time: `Europe/Berlin 1,2,3 08:00-18:00`.
    pub fn label(&self) -> String {
        let days: Vec<String> = self.days.iter().map(u8::to_string).collect();
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let zone = self.zone.as_ref().map_or("", TimeZone::name);
        format!("{zone} {} {}-{}", days.join(","), clock(self.from), clock(self.to))
    }
}

/// The label in `context.request.hours` that says the hours that rules name with a zone are known, so that one that does
/// not show is not now (GW-22).
pub const HOURS_KNOWN: &str = "known";

/// A network: address and prefix length, host bits zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cidr {
    /// The network address.
    pub network: std::net::IpAddr,
    /// 0–32 or 0–128.
    pub prefix: u8,
}

impl Cidr {
    /// Whether `address` lies in it; an IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        use std::net::IpAddr;
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }

    /// The label under which a matching address shows in `context.net.zones`: `cidr:10.0.0.0/8`.
    pub fn zone(&self) -> String {
        format!("cidr:{self}")
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// The label in `context.net.zones` that says the client's address is known, so that a network that does not match is
/// one it is not in (GW-22).
pub const ADDRESS_KNOWN: &str = "cidr:known";

/// The label in `context.net.zones` that says whether the client showed a certificate is known. Nothing sets it yet.
pub const CERTIFICATE_KNOWN: &str = "cert:known";

impl AccessRules {
    /// Every entry: `include`, then `require`, then `exclude`.
    pub fn entries(&self) -> impl Iterator<Item = &Rule> {
        self.include.iter().chain(&self.require).chain(&self.exclude)
    }

    /// Every network its entries name, so that the door can label addresses.
    pub fn networks(&self) -> impl Iterator<Item = Cidr> {
        self.entries().flat_map(|rule| match &rule.selector {
            Selector::IpRange(ranges) => ranges.iter().copied().collect::<Vec<_>>(),
            _ => Vec::new(),
        })
    }

    /// Every time of the week its entries name with a zone, so that the door can say which of them it is.
    pub fn zoned_hours(&self) -> impl Iterator<Item = (&TimeZone, &Hours)> {
        self.entries().filter_map(|rule| match &rule.selector {
            Selector::Time(hours) => hours.zone.as_ref().map(|zone| (zone, hours)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(network: &str, prefix: u8) -> Cidr {
        Cidr { network: network.parse().unwrap(), prefix }
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_they_began_on() {
        let hours = |from, to| Hours { zone: None, days: [5].into(), from, to };
        let (day, night) = (hours(540, 1_020), hours(1_320, 360));
        for (hours, minute, weekday, is_in) in [
            (&day, 539, 5, false),
            (&day, 540, 5, true),
            (&day, 1_020, 5, false),
            (&day, 600, 6, false),
            (&night, 1_320, 5, true),
            (&night, 359, 6, true),
            (&night, 360, 6, false),
            (&night, 100, 5, false),
        ] {
            assert_eq!(hours.contains(minute, weekday), is_in, "{minute} {weekday}");
        }
        let sunday = Hours { days: [7].into(), ..night };
        assert!(sunday.contains(0, 1) && !sunday.contains(0, 7));
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        assert!(cidr("10.0.0.0", 8).contains("10.255.0.1".parse().unwrap()));
        assert!(!cidr("10.0.0.0", 8).contains("11.0.0.1".parse().unwrap()));
        assert!(cidr("0.0.0.0", 0).contains("203.0.113.9".parse().unwrap()));
        assert!(!cidr("0.0.0.0", 0).contains("2001:db8::1".parse().unwrap()));
        assert!(cidr("10.0.0.0", 8).contains("::ffff:10.0.0.1".parse().unwrap()));
        assert!(cidr("2001:db8::", 32).contains("2001:db8:5::1".parse().unwrap()));
        assert!(cidr("192.0.2.7", 32).contains("192.0.2.7".parse().unwrap()));
        assert!(!cidr("192.0.2.7", 32).contains("192.0.2.6".parse().unwrap()));
    }
}
