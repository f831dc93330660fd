//! Values of selectors, each brought into the one form it is compared in.

use model::access::Cidr;

use crate::text;

/// The longest free word: a claim, a method, a name in a certificate.
const MAX_WORD: usize = 256;

/// An address, all lower case: the directory holds one person per address whatever its case (GW-23).
pub(super) fn email(address: &str) -> Result<String, String> {
    crate::kinds::people::email(address).map(|address| address.to_ascii_lowercase()).map_err(|_| {
        format!("`{address}` is not an e-mail address; write one `@` and a domain without a dot at its end, e.g. `ann@example.org`")
    })
}

/// The domain of addresses: lower-case A-labels, no `@`, no dot at either end, no pattern (GW-23).
pub(super) fn domain(domain: &str) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("`{domain}` is not a domain of addresses: {why}; write e.g. `example.org`"));
    if domain.contains('@') {
        return refuse("leave the `@` out");
    }
    if domain.contains('*') || domain.starts_with('.') {
        return refuse("exactly this domain is meant, subdomains are listed one by one");
    }
    if domain.ends_with('.') {
        return refuse("leave the dot at its end out");
    }
    match text::host(domain) {
        Ok(canonical)
            if canonical == domain && canonical.contains('.') && domain.parse::<std::net::IpAddr>().is_err() =>
        {
            Ok(canonical)
        }
        Ok(canonical) if canonical != domain => refuse(&format!("its one form is `{canonical}`")),
        _ => refuse("it has no such form"),
    }
}

/// An ISO 3166 code in upper case.
pub(super) fn country(code: &str) -> Result<String, String> {
    match code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(code.to_owned()),
        false => Err(format!("`{code}` is not a country; write the two letters of ISO 3166 in upper case, e.g. `DE`")),
    }
}

/// An address block.
pub(super) fn network(text: &str) -> Result<Cidr, String> {
    let (network, prefix) = text::cidr(text)?;
    match network {
        std::net::IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(format!("`{text}` is an IPv4 block in IPv6 clothes; write it as IPv4, e.g. `10.0.0.0/8`"))
        }
        network => Ok(Cidr { network, prefix }),
    }
}

/// The name of an identity provider, or a method of RFC 8176.
pub(super) fn login_method(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    fits.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` is neither the name of an identity provider nor a method; write e.g. `hwk`, `otp` or `corp-idp`"
        )
    })
}

/// A SPIFFE ID with a trust domain and a path.
pub(super) fn spiffe_id(text: &str) -> Result<String, String> {
    let refuse = || format!("`{text}` is not a SPIFFE ID; write e.g. `spiffe://example.org/nightly`");
    let rest = text.strip_prefix("spiffe://").ok_or_else(refuse)?;
    let (domain, path) = rest.split_once('/').ok_or_else(refuse)?;
    let is_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    let is_path = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let fits = !domain.is_empty()
        && text.len() <= 2048
        && domain.bytes().all(is_domain)
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_path));
    if fits { Ok(text.to_owned()) } else { Err(refuse()) }
}

/// SHA-256 of a public key in lower-case hex.
pub(super) fn spki(text: &str) -> Result<String, String> {
    let fits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    fits.then(|| text.to_owned()).ok_or_else(|| format!("`{text}` is not a key digest; write 64 lower-case hex digits"))
}

/// Any printable text of some length.
pub(super) fn word(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= MAX_WORD && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(|| {
        format!("`{}` is not valid here; use 1 to {MAX_WORD} bytes without control characters", text.escape_debug())
    })
}

/// `mon`, or `mon-fri`, as numbers from 1.
pub(super) fn days(text: &str) -> Result<Vec<u8>, String> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let refuse = || format!("`{text}` is not a day; write {} or a stretch such as `mon-fri`", DAYS.join(", "));
    let number = |day: &str| DAYS.iter().zip(1_u8..).find(|(name, _)| **name == day).map(|(_, number)| number);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first).ok_or_else(refuse)?, number(last).ok_or_else(refuse)?);
    // `sat-mon` goes over the end of the week.
    let length = (last + 7 - first) % 7;
    Ok((0..=length).map(|step| (first - 1 + step) % 7 + 1).collect())
}

/// `09:00` as minutes of the day; `24:00` is its end.
pub(super) fn minute(text: &str) -> Result<u16, String> {
    let refuse = || format!("`{text}` is not a time of day; write `00:00` to `24:00`");
    let (hours, minutes) = text.split_once(':').ok_or_else(refuse)?;
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    let number = |part: &str| if is_number(part) { part.parse::<u16>().ok() } else { None };
    let (hours, minutes) = (number(hours).ok_or_else(refuse)?, number(minutes).ok_or_else(refuse)?);
    let minute = hours * 60 + minutes;
    if minutes > 59 || minute > 1440 { Err(refuse()) } else { Ok(minute) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_of_an_address_are_no_address() {
        assert_eq!(email("Ann@corp.test"), Ok("ann@corp.test".to_owned()));
        for bad in
            ["a@corp.test@evil.test", "a@", "@corp.test", "a b@corp.test", "a@corp.test.", "a@192.0.2.1", "а@corp.test"]
        {
            assert!(email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_has_one_form_and_covers_itself_alone() {
        assert_eq!(domain("corp.test"), Ok("corp.test".to_owned()));
        assert_eq!(domain("xn--bcher-kva.example"), Ok("xn--bcher-kva.example".to_owned()));
        for bad in [
            ".corp.test",
            "corp.test.",
            "Corp.test",
            "*.corp.test",
            "@corp.test",
            "bücher.example",
            "corp",
            "192.0.2.1",
            "",
        ] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn days_are_names_and_stretches() {
        assert_eq!(days("mon-fri"), Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(days("sat-mon"), Ok(vec![6, 7, 1]));
        assert_eq!(days("sun"), Ok(vec![7]));
        assert!(days("monday").is_err() && days("mon-").is_err());
    }

    #[test]
    fn times_of_day_are_two_and_two_digits() {
        assert_eq!((minute("00:00"), minute("09:30"), minute("24:00")), (Ok(0), Ok(570), Ok(1440)));
        for bad in ["9:30", "24:01", "25:00", "09:60", "0930", "+9:00", ""] {
            assert!(minute(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_values_have_one_form_each() {
        assert!(country("DE").is_ok() && country("de").is_err() && country("DEU").is_err());
        assert!(network("10.0.0.0/8").is_ok() && network("::ffff:10.0.0.0/104").is_err());
        assert!(spiffe_id("spiffe://corp.test/a/b").is_ok());
        for bad in [
            "spiffe://corp.test",
            "spiffe://corp.test/",
            "spiffe://corp.test/../a",
            "https://corp.test/a",
            "spiffe:///a",
        ] {
            assert!(spiffe_id(bad).is_err(), "{bad}");
        }
        assert!(login_method("hwk").is_ok() && login_method("").is_err() && login_method("A").is_err());
        assert!(spki(&"0".repeat(64)).is_ok() && spki(&"G".repeat(64)).is_err());
        assert!(word("a b").is_ok() && word("a\nb").is_err());
    }
}
