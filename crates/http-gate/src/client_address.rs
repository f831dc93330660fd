//! Whose address a request came from, and what upstreams are told about it (GW-66).
//!
//! It knows no sockets: the listener gives the peer, the first bytes of the connection, or the fields of a request.
//! ATK-21, ATK-28.
//!
//! Invariants: without trusted peers nothing a client sends changes its address; with them the address is the
//! right-most hop that is not trusted, and whatever stands left of it is not even read.

mod proxy_protocol;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderValue;

use crate::fields::{Fields, is_token_byte, list_members};
use crate::limits::MAX_FORWARDED_HOPS;
use crate::refusal::{GateCode, GateRefusal};

pub use proxy_protocol::{ProxyHeader, read_proxy_header};

/// A block of addresses, `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Text that is not a block of addresses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{0}` is not a block of addresses; write it like `10.0.0.0/8` or `2001:db8::/32`, without bits beyond the prefix"
)]
pub struct CidrError(String);

impl Cidr {
    /// True if `address` lies inside; IPv4 in IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }

    fn has_host_bits(&self) -> bool {
        match self.network {
            IpAddr::V4(network) => network.to_bits().checked_shl(u32::from(self.prefix)).is_some_and(|rest| rest != 0),
            IpAddr::V6(network) => network.to_bits().checked_shl(u32::from(self.prefix)).is_some_and(|rest| rest != 0),
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// An address alone is a block of one.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = || CidrError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| error())?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| error())?,
            Some(_) => return Err(error()),
        };
        let cidr = Self { network, prefix };
        if prefix > longest || cidr.has_host_bits() { Err(error()) } else { Ok(cidr) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Peers of a listener that may say for whom they speak. Nobody unless configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustedPeers(Vec<Cidr>);

impl TrustedPeers {
    /// Nobody.
    pub const NONE: TrustedPeers = TrustedPeers(Vec::new());

    /// These.
    pub fn new(blocks: Vec<Cidr>) -> Self {
        Self(blocks)
    }

    /// True if `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }
}

/// The client's address: `peer` itself unless it is trusted, else the right-most hop of `X-Forwarded-For` that is not.
/// `peer` is the socket's, or the source of its PROXY header.
///
/// # Errors
/// [`GateCode::ForwardedFor`] if a trusted peer sent a hop that is no address, or too many: answer 400.
pub fn client_address(peer: SocketAddr, trusted: &TrustedPeers, fields: &Fields) -> Result<SocketAddr, GateRefusal> {
    let mut client = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if !trusted.contains(client.ip()) {
        return Ok(client);
    }
    let named: Vec<_> = fields.iter().filter(|field| field.is_named("x-forwarded-for")).collect();
    let hops = named.iter().rev().flat_map(|field| {
        let members: Vec<&[u8]> = list_members(&field.value).collect();
        members.into_iter().rev().map(|member| (member, field.offset.0))
    });
    for (index, (hop, offset)) in hops.enumerate() {
        let refusal = GateRefusal::new(GateCode::ForwardedFor, offset);
        client = parse_hop(hop).filter(|_| index < MAX_FORWARDED_HOPS).ok_or(refusal)?;
        if !trusted.contains(client.ip()) {
            break;
        }
    }
    Ok(client)
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`; port 0 where none is named.
fn parse_hop(hop: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, 0),
        Err(_) => text.parse::<SocketAddr>().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Our name in [`forwarded`]: it says nothing of where we are (RFC 7239 §6.3).
const OBFUSCATED_SELF: &str = "_countersign";

/// `Forwarded` for an upstream, one element made afresh: nothing of the client's own is kept (ATK-28). `authority` as
/// the client asked for it; `None` only for one that no header can carry.
pub fn forwarded(client: IpAddr, scheme: &str, authority: &str) -> Option<HeaderValue> {
    let client = match client.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = token_or_quoted(authority);
    HeaderValue::try_from(format!("by={OBFUSCATED_SELF};for={client};host={host};proto={scheme}")).ok()
}

/// As RFC 7239 §4 writes a value: a token, or quoted, so that `;`, `,` and `"` in it end nothing.
fn token_or_quoted(value: &str) -> Cow<'_, str> {
    if !value.is_empty() && value.bytes().all(is_token_byte) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fields::Field;

    fn trusted() -> TrustedPeers {
        TrustedPeers::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()])
    }

    fn check(peer: &str, values: &[&str], expect: Result<&str, GateCode>) {
        let name = Bytes::from_static(b"x-forwarded-for");
        let fields = values.iter().map(|value| Field::new(name.clone(), Bytes::copy_from_slice(value.as_bytes()), 0));
        let client = client_address(peer.parse().unwrap(), &trusted(), &Fields(fields.collect()));
        let client = client.map(|client| client.to_string()).map_err(|refusal| refusal.code);
        assert_eq!(client, expect.map(str::to_owned), "{peer} {values:?}");
    }

    #[test]
    fn an_untrusted_peer_speaks_for_itself() {
        check("192.0.2.1:1000", &["127.0.0.1"], Ok("192.0.2.1:1000"));
        check("[::ffff:192.0.2.1]:1000", &["127.0.0.1"], Ok("192.0.2.1:1000"));
        check("192.0.2.1:1000", &["not an address"], Ok("192.0.2.1:1000"));
        assert!(!TrustedPeers::NONE.contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_client_is_the_right_most_untrusted_hop() {
        check("10.0.0.1:1000", &[], Ok("10.0.0.1:1000"));
        check("10.0.0.1:1000", &["192.0.2.1"], Ok("192.0.2.1:0"));
        check("10.0.0.1:1000", &["127.0.0.1, 192.0.2.1"], Ok("192.0.2.1:0"));
        check("10.0.0.1:1000", &["127.0.0.1, 192.0.2.1, 10.0.0.2"], Ok("192.0.2.1:0"));
        check("10.0.0.1:1000", &["127.0.0.1", "192.0.2.1:4711 , 10.0.0.2"], Ok("192.0.2.1:4711"));
        check("10.0.0.1:1000", &["[2001:db9::1]:4711"], Ok("[2001:db9::1]:4711"));
        check("10.0.0.1:1000", &["[2001:db9::1]", "2001:db8::1"], Ok("[2001:db9::1]:0"));
        check("[::ffff:10.0.0.1]:1000", &["::ffff:192.0.2.1"], Ok("192.0.2.1:0"));
        check("10.0.0.1:1000", &["10.0.0.3, 10.0.0.2"], Ok("10.0.0.3:0"));
    }

    #[test]
    fn garbage_is_refused_only_where_it_is_read() {
        check("10.0.0.1:1000", &["garbage, 192.0.2.1"], Ok("192.0.2.1:0"));
        check("10.0.0.1:1000", &["192.0.2.1, garbage"], Err(GateCode::ForwardedFor));
        check("10.0.0.1:1000", &["unknown"], Err(GateCode::ForwardedFor));
        check("10.0.0.1:1000", &["192.0.2.1, 10.0.0.1, 010.0.0.2"], Err(GateCode::ForwardedFor));
        let most = vec!["10.0.0.2"; MAX_FORWARDED_HOPS].join(",");
        check("10.0.0.1:1000", &[&most], Ok("10.0.0.2:0"));
        check("10.0.0.1:1000", &["10.0.0.2", &most], Err(GateCode::ForwardedFor));
    }

    #[test]
    fn blocks_are_read_as_written_or_refused() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            let block: Cidr = text.parse().unwrap();
            assert!(block.contains(inside.parse().unwrap()), "{inside} in {block}");
            assert!(!block.contains(outside.parse().unwrap()), "{outside} in {block}");
        }
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.1/8", "::/129", "10.0.0/8", "localhost"] {
            assert!(text.parse::<Cidr>().is_err(), "`{text}`");
        }
    }

    #[test]
    fn forwarded_is_quoted_where_a_token_is_not_enough() {
        let check = |client: &str, authority: &str, expected: &str| {
            let value = forwarded(client.parse().unwrap(), "https", authority).unwrap();
            assert_eq!(value, format!("by=_countersign;{expected};proto=https"), "{client} {authority}");
        };
        check("192.0.2.1", "wiki.localhost", "for=192.0.2.1;host=wiki.localhost");
        check("192.0.2.1", "wiki.localhost:8443", "for=192.0.2.1;host=\"wiki.localhost:8443\"");
        check("2001:db8::1", "wiki.localhost", "for=\"[2001:db8::1]\";host=wiki.localhost");
        check("::ffff:192.0.2.1", "[::1]:8443", "for=192.0.2.1;host=\"[::1]:8443\"");
        check("192.0.2.1", "", "for=192.0.2.1;host=\"\"");
    }

    #[test]
    fn atk_28_no_authority_adds_an_element_or_a_line_to_forwarded() {
        for authority in ["a;proto=http", "a,for=127.0.0.1", "a\";for=127.0.0.1;x=\"", "a\\\"", "a\\", "a b", "\"\""] {
            let value = forwarded("192.0.2.1".parse().unwrap(), "https", authority).unwrap();
            let value = value.to_str().unwrap();
            let quoted = value.strip_prefix("by=_countersign;for=192.0.2.1;host=\"").unwrap();
            let quoted = quoted.strip_suffix("\";proto=https").unwrap_or_else(|| panic!("{value}"));
            let mut read = String::new();
            let mut characters = quoted.chars();
            while let Some(character) = characters.next() {
                assert_ne!(character, '"', "the value ends early: {value}");
                read.push(if character == '\\' { characters.next().unwrap() } else { character });
            }
            assert_eq!(read, authority, "it says what was asked for");
        }
        for authority in ["a\r\nx: y", "a\nb", "a\0b"] {
            assert_eq!(forwarded("192.0.2.1".parse().unwrap(), "https", authority), None, "{authority:?}");
        }
    }
}
