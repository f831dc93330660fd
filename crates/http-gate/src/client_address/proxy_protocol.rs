//! The PROXY protocol header, versions 1 and 2 (HAProxy's specification), of a trusted peer.
//!
//! Only for connections whose peer is trusted: anybody else who sends one gets a 400 from the HTTP parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::{MAX_PROXY_V1_BYTES, MAX_PROXY_V2_BYTES};
use crate::refusal::{GateCode, GateRefusal};

const V1_START: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD_BYTES: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    /// No PROXY header: the peer speaks for itself.
    Absent,
    /// More bytes are needed to tell.
    NeedMore,
    /// A whole header.
    Present {
        /// How many bytes to skip.
        length: usize,
        /// For whom the peer speaks; `None` for its own health checks (`LOCAL`, `UNKNOWN`).
        source: Option<SocketAddr>,
    },
}

/// Reads the header at the start of a connection.
///
/// # Errors
/// [`GateCode::ProxyProtocol`]: close; no answer would reach anybody.
pub fn read_proxy_header(start: &[u8]) -> Result<ProxyHeader, GateRefusal> {
    if agrees(start, V2_SIGNATURE) {
        return read_v2(start);
    }
    if agrees(start, V1_START) {
        return read_v1(start);
    }
    Ok(ProxyHeader::Absent)
}

/// True if `bytes` begin with `expected` as far as they go.
fn agrees(bytes: &[u8], expected: &[u8]) -> bool {
    let length = bytes.len().min(expected.len());
    bytes.get(..length) == expected.get(..length)
}

fn read_v1(start: &[u8]) -> Result<ProxyHeader, GateRefusal> {
    let window = start.get(..MAX_PROXY_V1_BYTES).unwrap_or(start);
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return match start.len() < MAX_PROXY_V1_BYTES {
            true => Ok(ProxyHeader::NeedMore),
            false => Err(GateRefusal::new(GateCode::ProxyProtocol, MAX_PROXY_V1_BYTES)),
        };
    };
    let line =
        window.get(..end).and_then(|line| line.strip_suffix(b"\r")).and_then(|line| std::str::from_utf8(line).ok());
    let source = line.and_then(parse_v1).ok_or(GateRefusal::new(GateCode::ProxyProtocol, 0))?;
    Ok(ProxyHeader::Present { length: end + 1, source })
}

/// The outer `None` is a malformed line, the inner one an unknown source.
fn parse_v1(line: &str) -> Option<Option<SocketAddr>> {
    let mut parts = line.split(' ').skip(1);
    let family = parts.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let source: IpAddr = parts.next()?.parse().ok()?;
    let destination: IpAddr = parts.next()?.parse().ok()?;
    let (source_port, destination_port) = (parse_port(parts.next()?)?, parse_port(parts.next()?));
    let is_family = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    let is_valid = is_family && destination_port.is_some() && parts.next().is_none();
    is_valid.then(|| Some(SocketAddr::new(source.to_canonical(), source_port)))
}

fn parse_port(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if is_plain { digits.parse().ok() } else { None }
}

fn read_v2(start: &[u8]) -> Result<ProxyHeader, GateRefusal> {
    let Some(&[command, family, high, low]) =
        start.get(V2_SIGNATURE.len()..V2_HEAD_BYTES).and_then(|rest| rest.as_array())
    else {
        return Ok(ProxyHeader::NeedMore);
    };
    let refusal = |offset| GateRefusal::new(GateCode::ProxyProtocol, offset);
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_PROXY_V2_BYTES {
        return Err(refusal(14));
    }
    let Some(block) = start.get(V2_HEAD_BYTES..V2_HEAD_BYTES + length) else { return Ok(ProxyHeader::NeedMore) };
    let source = match (command, family) {
        // LOCAL: the peer's own connection; UNSPEC: it does not say.
        (0x20, _) | (0x21, 0x00) => None,
        (0x21, 0x11) => Some(v4_source(block).ok_or(refusal(V2_HEAD_BYTES))?),
        (0x21, 0x21) => Some(v6_source(block).ok_or(refusal(V2_HEAD_BYTES))?),
        (0x21, _) => return Err(refusal(13)),
        _ => return Err(refusal(12)),
    };
    Ok(ProxyHeader::Present { length: V2_HEAD_BYTES + length, source })
}

/// Source and destination address, source and destination port.
fn v4_source(block: &[u8]) -> Option<SocketAddr> {
    let source: [u8; 4] = *block.first_chunk()?;
    let [high, low, ..] = *block.get(8..12)? else { return None };
    Some(SocketAddr::new(Ipv4Addr::from(source).into(), u16::from_be_bytes([high, low])))
}

fn v6_source(block: &[u8]) -> Option<SocketAddr> {
    let source: [u8; 16] = *block.first_chunk()?;
    let [high, low, ..] = *block.get(32..36)? else { return None };
    Some(SocketAddr::new(IpAddr::from(Ipv6Addr::from(source)).to_canonical(), u16::from_be_bytes([high, low])))
}
