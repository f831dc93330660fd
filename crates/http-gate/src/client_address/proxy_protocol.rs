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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn present(length: usize, source: Option<&str>) -> Result<ProxyHeader, GateCode> {
        Ok(ProxyHeader::Present { length, source: source.map(|source| source.parse().unwrap()) })
    }

    /// Checks the header, and that every shorter piece of an accepted one asks for more.
    fn check(start: &[u8], expect: Result<ProxyHeader, GateCode>) {
        assert_eq!(read_proxy_header(start).map_err(|refusal| refusal.code), expect, "{}", start.escape_ascii());
        if let Ok(ProxyHeader::Present { length, .. }) = expect {
            for shorter in 0..length {
                assert_eq!(read_proxy_header(&start[..shorter]), Ok(ProxyHeader::NeedMore));
            }
        }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, [command, family].as_slice(), &length, block].concat()
    }

    #[test]
    fn version_one_is_read() {
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\nGET /", present(40, Some("192.0.2.1:4711")));
        check(b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", present(37, Some("[2001:db8::1]:4711")));
        check(b"PROXY UNKNOWN\r\n", present(15, None));
        check(b"PROXY UNKNOWN ff:: ff:: 1 2\r\n", present(29, None));
    }

    #[test]
    fn a_malformed_version_one_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443 1\r\n",
            "PROXY TCP4 2001:db8::1 ::1 4711 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 04711 443\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 70000 443\r\n",
            "PROXY  TCP4 192.0.2.1 10.0.0.1 4711 443\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 4711 443\r\n",
            "PROXY \r\n",
        ] {
            check(line.as_bytes(), Err(GateCode::ProxyProtocol));
        }
        check(&[b"PROXY ".as_slice(), &[b'x'; MAX_PROXY_V1_BYTES]].concat(), Err(GateCode::ProxyProtocol));
    }

    #[test]
    fn version_two_is_read() {
        let v4 = [&[192, 0, 2, 1, 10, 0, 0, 1], 4711u16.to_be_bytes().as_slice(), &443u16.to_be_bytes(), b"\x04\0\0"]
            .concat();
        check(&v2(0x21, 0x11, &v4), present(16 + 15, Some("192.0.2.1:4711")));
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[33] = 80;
        check(&v2(0x21, 0x21, &v6), present(52, Some("[::1]:80")));
        check(&v2(0x20, 0x00, b""), present(16, None));
        check(&v2(0x21, 0x00, b""), present(16, None));
    }

    #[test]
    fn a_malformed_version_two_is_refused() {
        check(&v2(0x11, 0x11, &[0; 12]), Err(GateCode::ProxyProtocol));
        check(&v2(0x22, 0x11, &[0; 12]), Err(GateCode::ProxyProtocol));
        check(&v2(0x21, 0x31, &[0; 216]), Err(GateCode::ProxyProtocol));
        check(&v2(0x21, 0x11, &[0; 11]), Err(GateCode::ProxyProtocol));
        check(&v2(0x21, 0x21, &[0; 35]), Err(GateCode::ProxyProtocol));
        check(&v2(0x20, 0x00, &[0; MAX_PROXY_V2_BYTES]), present(16 + MAX_PROXY_V2_BYTES, None));
        check(&v2(0x20, 0x00, &[0; MAX_PROXY_V2_BYTES + 1]), Err(GateCode::ProxyProtocol));
    }

    #[test]
    fn a_request_is_no_proxy_header() {
        check(b"PUT / HTTP/1.1\r\n", Ok(ProxyHeader::Absent));
        check(b"\x16\x03\x01", Ok(ProxyHeader::Absent));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail: Vec<u8>, is_v2: bool) {
            let start = [if is_v2 { V2_SIGNATURE.as_slice() } else { V1_START }, &tail].concat();
            let _ = read_proxy_header(&start);
            let _ = read_proxy_header(&tail);
        }
    }
}
