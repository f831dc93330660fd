//! The one form of a host (GW-3): lower case, no trailing dot, A-labels, canonical addresses.
//!
//! It does not know which hosts are served; matching patterns is the door's. ATK-8, ATK-18.
//!
//! Invariant: two spellings of one host give equal values; a value prints what goes into `Host` upstream.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::limits::MAX_HOST_BYTES;

/// A host in canonical form, with the port if the client named one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CanonicalHost {
    name: String,
    port: Option<u16>,
}

impl CanonicalHost {
    /// Parses `host[:port]`. `None` if it is neither a host name nor an address in any accepted spelling: names are
    /// lower-cased, one trailing dot is dropped, Unicode becomes A-labels; user-info, percent-encoding, empty labels,
    /// half addresses such as `127.1` or `0x7f000001`, zone ids and empty ports are not accepted.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        if raw.len() > MAX_HOST_BYTES {
            return None;
        }
        let (name, port) = split_port(raw)?;
        let name = match name.strip_prefix(b"[") {
            Some(rest) => canonical_ipv6(rest.strip_suffix(b"]")?)?,
            None => canonical_name(name)?,
        };
        Some(Self { name, port })
    }

    /// Without port; IPv6 in brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port the client named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port the client meant, where `default` is that of the scheme.
    pub fn port_or(&self, default: u16) -> u16 {
        self.port.unwrap_or(default)
    }

    /// `name[:port]` with the port left out where it is `default`: the authority a browser writes.
    pub fn authority(&self, default: u16) -> String {
        match self.port {
            Some(port) if port != default => format!("{}:{port}", self.name),
            _ => self.name.clone(),
        }
    }
}

impl fmt::Display for CanonicalHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn split_port(raw: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let is_bracketed = raw.first() == Some(&b'[');
    let colon = match is_bracketed {
        true => raw.iter().position(|&byte| byte == b']')? + 1,
        false => raw.iter().position(|&byte| byte == b':').unwrap_or(raw.len()),
    };
    let (name, rest) = raw.split_at_checked(colon)?;
    match rest.split_first() {
        None => Some((name, None)),
        Some((b':', digits)) => Some((name, Some(parse_port(digits)?))),
        Some(_) => None,
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    let is_plain = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
    if !is_plain {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn canonical_ipv6(inside: &[u8]) -> Option<String> {
    let address: Ipv6Addr = std::str::from_utf8(inside).ok()?.parse().ok()?;
    Some(format!("[{address}]"))
}

fn canonical_name(raw: &[u8]) -> Option<String> {
    let mut name = match is_plain_ascii(raw) {
        true => std::str::from_utf8(raw).ok()?.to_ascii_lowercase(),
        false => idna::domain_to_ascii_cow(raw, idna::AsciiDenyList::URL).ok()?.into_owned(),
    };
    if name.ends_with('.') {
        name.pop();
    }
    let last = name.rsplit('.').next()?;
    if ends_in_number(last) {
        // What looks like an address must be one: `127.1`, `0x7f.1` and `2130706433` reach other parsers as 127.0.0.1.
        let address: Ipv4Addr = name.parse().ok()?;
        return Some(address.to_string());
    }
    let is_valid = name.len() <= 253 && name.split('.').all(is_label);
    is_valid.then_some(name)
}

/// True where lower-casing is all that IDNA processing would do.
fn is_plain_ascii(raw: &[u8]) -> bool {
    let has_a_label = || raw.windows(4).any(|window| window.eq_ignore_ascii_case(b"xn--"));
    raw.is_ascii() && !has_a_label()
}

/// The WHATWG URL standard's "ends in a number" check on one label.
fn ends_in_number(label: &str) -> bool {
    let is_hex = label.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hex || (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Letters, digits, dashes inside, and the underscore that real names carry (`_dmarc`, Docker Compose services).
fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(is_inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expect: Option<&str>) {
        let host = CanonicalHost::parse(raw.as_bytes()).map(|host| host.to_string());
        assert_eq!(host.as_deref(), expect, "host `{raw}`");
    }

    #[test]
    fn every_spelling_of_a_host_has_one_form() {
        check("wiki.localhost", Some("wiki.localhost"));
        check("WIKI.LocalHost", Some("wiki.localhost"));
        check("wiki.localhost.", Some("wiki.localhost"));
        check("wiki.localhost:8443", Some("wiki.localhost:8443"));
        check("wiki.localhost.:8443", Some("wiki.localhost:8443"));
        check("münchen.example", Some("xn--mnchen-3ya.example"));
        check("MÜNCHEN.example", Some("xn--mnchen-3ya.example"));
        check("XN--mnchen-3yA.example", Some("xn--mnchen-3ya.example"));
        check("ｗｉｋｉ.localhost", Some("wiki.localhost"));
        check("wiki。localhost", Some("wiki.localhost"));
        check("[::1]", Some("[::1]"));
        check("[0:0:0:0:0:0:0:1]:8443", Some("[::1]:8443"));
        check("[2001:DB8::0:1]", Some("[2001:db8::1]"));
        check("127.0.0.1:80", Some("127.0.0.1:80"));
        check("my_app.internal", Some("my_app.internal"));
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for raw in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a.b..",
            "a b",
            "a/b",
            "a,b",
            "a@b",
            "user@wiki.localhost",
            "a%2eb",
            "a?b",
            "a#b",
            "a\\b",
            "a:",
            "a:0",
            "a:00",
            "a:080",
            "a:65536",
            "a:+80",
            "a:80:80",
            "a:x",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[fe80::1%25eth0]",
            "[fe80::1%eth0]",
            "[1.2.3.4]",
            "127.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "127.0.0.01",
            "1.2.3.4.5",
            "256.1.1.1",
            "-a.b",
            "a-.b",
            "xn--a",
            "a\u{ad}\u{ad}..b",
            "*",
            "*.b",
            "a\tb",
        ] {
            check(raw, None);
        }
        check(&"a".repeat(64), None);
        check(&"a.".repeat(130), None);
    }

    #[test]
    fn the_authority_leaves_out_the_default_port() {
        let host = CanonicalHost::parse(b"wiki.localhost:443").unwrap();
        assert_eq!(host.authority(443), "wiki.localhost");
        assert_eq!(host.authority(8443), "wiki.localhost:443");
        assert_eq!(host.port_or(443), 443);
    }
}
