//! Small texts inside values: durations, sizes, hosts, addresses, upstream URLs, names.

use std::net::IpAddr;
use std::time::Duration;

use model::app::{HostPattern, UpstreamScheme, UpstreamTarget};

/// `90s`, `15m`, `1h`, `2d`, `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let unit: String = text.chars().skip(digits.len()).collect();
    let number: u64 =
        digits.parse().map_err(|_| format!("`{text}` is not a duration; write e.g. `90s`, `15m`, `1h`"))?;
    let secs = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit.as_str() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => secs(1),
        "m" => secs(60),
        "h" => secs(3600),
        "d" => secs(86_400),
        _ => None,
    }
    .ok_or_else(|| format!("`{text}` is not a duration; write e.g. `90s`, `15m`, `1h`"))
}

/// `64MiB`, `512KiB`, `1GiB`, or bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let refuse = || format!("`{text}` is not a size; write e.g. `512KiB`, `64MiB`");
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let unit: String = text.chars().skip(digits.len()).collect();
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    let factor = match unit.as_str() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(refuse()),
    };
    number.checked_mul(factor).ok_or_else(refuse)
}

/// A name of ours: 1–63 of `a-z0-9-`, no dash at either end.
pub(crate) fn name(text: &str) -> Result<&str, String> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        Ok(text)
    } else {
        Err(format!("`{text}` is not a name; use 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end"))
    }
}

/// A host or `*.suffix`, brought into canonical form (GW-3).
pub(crate) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    if text.contains(':') && text.parse::<std::net::Ipv6Addr>().is_err() {
        return Err(format!("`{text}` has a port or scheme; write the host alone, the port is the listener's"));
    }
    match text.strip_prefix("*.") {
        Some(suffix) => host(suffix).map(HostPattern::Wildcard),
        None => host(text).map(HostPattern::Exact),
    }
}

/// A host in canonical form: lower case, A-labels, no trailing dot; or an address.
pub(crate) fn host(text: &str) -> Result<String, String> {
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let refuse = || format!("`{text}` is not a host name");
    let ascii = idna::domain_to_ascii_strict(text).map_err(|_| refuse())?;
    let fits = !ascii.is_empty()
        && ascii.len() <= 253
        && ascii.split('.').all(|label| (1..=63).contains(&label.len()))
        && ascii.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    if fits { Ok(ascii) } else { Err(refuse()) }
}

/// `http://host:port`, `https://host[:port]`, `h2c://host:port`; no path.
pub(crate) fn upstream_target(text: &str) -> Result<UpstreamTarget, String> {
    let refuse = |why: &str| format!("`{text}` is not an upstream: {why}; write e.g. `http://127.0.0.1:8080`");
    let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse("the scheme is missing"))?;
    let (scheme, default_port) = match scheme {
        "http" => (UpstreamScheme::Http, Some(80)),
        "https" => (UpstreamScheme::Https, Some(443)),
        "h2c" => (UpstreamScheme::H2c, None),
        _ => return Err(refuse("the scheme must be http, https or h2c")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err(refuse("only scheme, host and port are allowed; change paths with `rewrite`"));
    }
    let (host_text, port) = split_port(authority).ok_or_else(|| refuse("the port is not a number from 1 to 65535"))?;
    let port = port.or(default_port).ok_or_else(|| refuse("the port is missing"))?;
    Ok(UpstreamTarget { scheme, host: host(host_text).map_err(|why| refuse(&why))?, port })
}

/// Splits `host:port`; `None` if what follows the colon is no port.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_bracket = authority.rfind(']').map_or(authority, |_| authority.rsplit(']').next().unwrap_or_default());
    if !after_bracket.contains(':') {
        return Some((authority, None));
    }
    let (host, port) = authority.rsplit_once(':')?;
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    Some((host, Some(port)))
}

/// An absolute path in normal form that a rule can be written about (GW-4): no query, no dot segments, no empty
/// segments, no escapes.
pub(crate) fn plain_path(text: &str) -> Result<&str, String> {
    let refuse = |why: &str| Err(format!("`{text}` is not a path in normal form: {why}"));
    if !text.starts_with('/') {
        return refuse("it must begin with `/`");
    }
    if text.len() > 1024 {
        return refuse("it is longer than 1,024 bytes");
    }
    if text.contains("//") {
        return refuse("it has an empty segment");
    }
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return refuse("it has a dot segment");
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || "%?#;\\*\"<>^`{|}".contains(*c)) {
        return refuse(&format!("`{}` cannot stand in it", odd.escape_default()));
    }
    Ok(text)
}

/// An address block: `10.0.0.0/8`, `::1`.
pub(crate) fn cidr(text: &str) -> Result<(IpAddr, u8), String> {
    let refuse = || format!("`{text}` is not an address block; write e.g. `10.0.0.0/8` or `::1`");
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| refuse())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().map_err(|_| refuse())?,
        None => most,
    };
    if bits > most {
        return Err(refuse());
    }
    if has_host_bits(address, bits) {
        return Err(format!("`{text}` names one address inside a block; write the block's first address"));
    }
    Ok((address, bits))
}

/// Whether anything beyond the first `bits` is set: a block written so is a slip of the pen.
fn has_host_bits(address: IpAddr, bits: u8) -> bool {
    let (value, width) = match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let host_bits = width - u32::from(bits);
    1u128.checked_shl(host_bits).map_or(value, |above| value & (above - 1)) != 0
}

/// An origin: `https://host[:port]`, lower case, no path.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let refuse = || format!("`{text}` is not an origin; write e.g. `https://app.example.org`");
    let rest = text.strip_prefix("https://").ok_or_else(refuse)?;
    if rest.contains(['/', '?', '#', '@']) {
        return Err(refuse());
    }
    let (host_text, port) = split_port(rest).ok_or_else(refuse)?;
    let host = host(host_text).map_err(|_| refuse())?;
    Ok(match port {
        Some(443) | None => format!("https://{host}"),
        Some(port) => format!("https://{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read() {
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("15").unwrap_err().contains("`15` is not a duration"));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert!(size("64MB").is_err());
    }

    #[test]
    fn address_blocks_have_no_bits_beyond_their_length() {
        assert!(cidr("10.0.0.0/8").is_ok() && cidr("::1").is_ok() && cidr("0.0.0.0/0").is_ok() && cidr("::/0").is_ok());
        assert!(cidr("10.0.0.1/8").unwrap_err().contains("first address"));
        assert!(cidr("10.0.0.0/33").is_err() && cidr("10.0.0").is_err());
    }

    #[test]
    fn hosts_come_out_canonical() {
        assert_eq!(host("Bücher.Example"), Ok("xn--bcher-kva.example".to_owned()));
        assert_eq!(host("[2001:DB8::0001]"), Ok("2001:db8::1".to_owned()));
        assert!(host("a..b").is_err());
        assert!(host("a b").is_err());
        assert_eq!(host_pattern("*.x.test"), Ok(HostPattern::Wildcard("x.test".to_owned())));
        assert!(host_pattern("x.test:8443").unwrap_err().contains("port"));
    }

    #[test]
    fn upstreams_are_scheme_host_and_port() {
        let target = upstream_target("http://127.0.0.1:8080").unwrap();
        assert_eq!(target.to_string(), "http://127.0.0.1:8080");
        assert_eq!(upstream_target("https://app.test/").unwrap().port, 443);
        assert!(upstream_target("http://a/b").unwrap_err().contains("rewrite"));
        assert!(upstream_target("h2c://a").unwrap_err().contains("port"));
        assert!(upstream_target("http://user@a").is_err());
    }

    #[test]
    fn rule_paths_must_be_in_normal_form() {
        assert!(plain_path("/a/b").is_ok());
        for bad in ["a", "/a//b", "/a/../b", "/%41", "/a?b", "/a#b", "/a;b", "/a\\b", "/a*"] {
            assert!(plain_path(bad).is_err(), "{bad}");
        }
    }
}
