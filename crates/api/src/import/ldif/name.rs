//! Distinguished names as text (RFC 4514), as far as comparing two spellings and reading the first value needs it.

/// The same for every spelling of a name: lower case, no spaces around its parts, nothing escaped that need not be.
pub(super) fn folded(name: &str) -> Vec<String> {
    let fold = |part: String| {
        let (attribute, value) = part.split_once('=').unwrap_or(("", &part));
        format!("{}={}", attribute.trim().to_lowercase(), value.trim().to_lowercase())
    };
    parts(name).into_iter().map(fold).collect()
}

/// `cn=Staff,ou=Groups,dc=example,dc=org`: `Staff`.
pub(super) fn first_value(name: &str) -> String {
    let first = parts(name).into_iter().next().unwrap_or_default();
    first.split_once('=').map_or(first.as_str(), |(_, value)| value).trim().to_owned()
}

/// Split at commas that are not escaped; escapes taken out.
fn parts(name: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    let mut bytes = name.bytes();
    let text = |part: Vec<u8>| String::from_utf8_lossy(&part).into_owned();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' => parts.push(text(std::mem::take(&mut part))),
            b'\\' => {
                let mut rest = bytes.clone();
                let pair = (rest.next().and_then(hex), rest.next().and_then(hex));
                if let (Some(high), Some(low)) = pair {
                    part.push(high << 4 | low);
                    bytes = rest;
                } else {
                    part.extend(bytes.next());
                }
            }
            byte => part.push(byte),
        }
    }
    parts.push(text(part));
    parts
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_name_are_one() {
        let name = folded("CN=Lee\\, Ann,OU=People, DC=org");
        assert_eq!(name, folded("cn=lee\\2C ann, ou = people,dc=ORG"));
        assert_eq!(name, ["cn=lee, ann", "ou=people", "dc=org"]);
        assert_ne!(name, folded("cn=lee,cn=ann,ou=people,dc=org"));
    }

    #[test]
    fn a_comma_in_the_name_of_a_group_does_not_make_it_another_group() {
        assert_eq!(first_value("cn=Admins\\, retired,ou=groups"), "Admins, retired");
        assert_eq!(first_value("cn=\\C3\\89quipe,ou=groups"), "\u{c9}quipe");
        for odd in ["", "\\", "cn=a\\", "\\zz", ",,,"] {
            first_value(odd);
            folded(odd);
        }
    }
}
