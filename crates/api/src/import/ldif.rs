//! People from an LDAP directory as LDIF (RFC 2849): what `ldapsearch` and `slapcat` print. OpenLDAP, 389 Directory Server
//! and Active Directory name things differently; the names of all three are known.
//!
//! Invariants: a value that points to a file or an address (`:<`) is never followed; lists of changes are refused; who is
//! in which group is taken from the groups of the file and from `memberOf`, one level deep, and never guessed.

mod name;
mod record;

use std::collections::{BTreeMap, BTreeSet};

use self::name::{first_value, folded};
use self::record::{Read, Record};
use super::{Person, Place, Rows, checked, group_id};

/// Entries of these classes are people, unless they are computers.
const PEOPLE: &[&str] = &["inetorgperson", "organizationalperson", "person", "posixaccount", "user"];
/// Attributes whose values are the names of members.
const MEMBERS: &[&str] = &["member", "uniquemember"];
/// The bit of `userAccountControl` that says: disabled.
const ACCOUNT_DISABLE: u32 = 2;

pub(super) fn read(text: &str) -> Result<Rows, String> {
    let records = record::read(text)?;
    let groups = Groups::of(&records);
    let mut rows = Vec::new();
    for record in &records {
        match record {
            Err((line, why)) => rows.push((Place::Line(*line), Err(why.clone()))),
            Ok(record) if is_person(record) => rows.push((Place::Line(record.line), checked(person(record, &groups)))),
            Ok(_) => {}
        }
    }
    Ok(rows)
}

/// Who is in which group, from the side of the groups.
#[derive(Default)]
struct Groups {
    by_name: BTreeMap<Vec<String>, BTreeSet<String>>,
    by_uid: BTreeMap<String, BTreeSet<String>>,
}

impl Groups {
    fn of(records: &[Read]) -> Self {
        let mut groups = Groups::default();
        for record in records.iter().flatten() {
            // A person that carries an attribute of this name is none.
            if is_person(record) {
                continue;
            }
            let Some(id) = record.text("cn").ok().flatten().map(group_id) else { continue };
            for name in MEMBERS.iter().flat_map(|attribute| record.texts(attribute)) {
                groups.by_name.entry(folded(name)).or_default().insert(id.clone());
            }
            for uid in record.texts("memberuid") {
                groups.by_uid.entry(uid.to_owned()).or_default().insert(id.clone());
            }
        }
        groups
    }
}

fn is_person(record: &Record) -> bool {
    let classes: Vec<String> = record.texts("objectclass").map(str::to_ascii_lowercase).collect();
    let is = |class: &str| classes.iter().any(|own| own == class);
    PEOPLE.iter().any(|class| is(class)) && !is("computer")
}

fn person(record: &Record, groups: &Groups) -> Result<Person, String> {
    let mut person = Person {
        email: record.text("mail")?.unwrap_or_default().to_owned(),
        name: record.text("displayname")?.or(record.text("cn")?).unwrap_or_default().to_owned(),
        is_disabled: is_disabled(record),
        ..Person::default()
    };
    person.groups.extend(record.texts("memberof").map(|name| group_id(&first_value(name))));
    person.groups.extend(groups.by_name.get(&folded(&record.name)).into_iter().flatten().cloned());
    let uid = record.text("uid")?.unwrap_or_default();
    person.groups.extend(groups.by_uid.get(uid).into_iter().flatten().cloned());
    match record.text("userpassword")?.map(hash) {
        Some(Ok(hash)) => person.hash = Some(hash),
        Some(Err(why)) => person.unread_hash = Some(why),
        None => {}
    }
    Ok(person)
}

/// As Active Directory, 389 Directory Server and the password policy of OpenLDAP say it.
fn is_disabled(record: &Record) -> bool {
    let first = |attribute: &str| record.texts(attribute).next().unwrap_or_default();
    let control: u32 = first("useraccountcontrol").parse().unwrap_or(0);
    control & ACCOUNT_DISABLE != 0
        || first("nsaccountlock").eq_ignore_ascii_case("true")
        || first("pwdaccountlockedtime") == "000001010000Z"
}

/// A hash as `userPassword` holds it (RFC 2307 §5.3) in the form that is read here.
fn hash(stored: &str) -> Result<String, String> {
    let Some((scheme, value)) = stored.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return Err("its password is there in clear text, which is never read; leave `userPassword` out".to_owned());
    };
    let scheme = scheme.to_ascii_uppercase().replace('_', "-");
    match scheme.as_str() {
        "ARGON2" | "CRYPT" if value.starts_with("$argon2") || value.starts_with("$2") => Ok(value.to_owned()),
        "PBKDF2" | "PBKDF2-SHA1" | "PBKDF2-SHA256" | "PBKDF2-SHA512" => {
            let mut parts = value.split('$');
            let (Some(rounds), Some(salt), Some(output), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(format!("its `{{{scheme}}}` password is not ROUNDS$SALT$HASH"));
            };
            // OpenLDAP writes a dot where base64 has a plus.
            let base64 = |text: &str| text.replace('.', "+").trim_end_matches('=').to_owned();
            let digest = scheme.to_ascii_lowercase();
            Ok(format!("${digest}$i={rounds}${}${}", base64(salt), base64(output)))
        }
        _ => Err(format!(
            "its password is kept as `{{{}}}`, which is not read: argon2, pbkdf2 and bcrypt are",
            scheme.escape_debug().take(32).collect::<String>()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(text: &str) -> Vec<(Place, Result<Person, String>)> {
        read(text).unwrap()
    }

    fn only(text: &str) -> Person {
        let mut rows = people(text);
        assert_eq!(rows.len(), 1);
        rows.pop().unwrap().1.unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn groups_are_found_from_both_sides_and_names_in_any_spelling() {
        let text = "dn: CN=Ann Lee,OU=People, DC=example,DC=org\nobjectClass: inetOrgPerson\ncn: Ann Lee\nuid: ann\n\
                    mail: ann@example.org\nmemberOf: cn=Writers,ou=g,dc=example,dc=org\n\n\
                    dn: cn=Human Resources,dc=example,dc=org\nobjectClass: groupOfNames\ncn: Human Resources\n\
                    member: cn=ann lee, ou=people,dc=example,dc=org\n\n\
                    dn: cn=ops,dc=example,dc=org\nobjectClass: posixGroup\ncn: ops\nmemberUid: ann\nmemberUid: bob\n";
        let groups: Vec<String> = only(text).groups.into_iter().collect();
        assert_eq!(groups, ["human-resources", "ops", "writers"]);
    }

    #[test]
    fn locked_accounts_of_every_kind_of_server_are_disabled_and_computers_are_no_people() {
        for (line, is_disabled) in [
            ("userAccountControl: 514", true),
            ("userAccountControl: 512", false),
            ("nsAccountLock: TRUE", true),
            ("pwdAccountLockedTime: 000001010000Z", true),
            ("description: 514", false),
        ] {
            let text = format!("dn: cn=a\nobjectClass: user\nmail: a@example.org\n{line}\n");
            assert_eq!(only(&text).is_disabled, is_disabled, "{line}");
        }
        assert!(people("dn: cn=pc\nobjectClass: user\nobjectClass: computer\n").is_empty());
    }

    #[test]
    fn hashes_that_are_read_here_are_taken_over_and_others_are_named() {
        for (stored, read) in [
            ("{ARGON2}$argon2id$v=19$m=8,t=1,p=1$c2E$aGE", "$argon2id$v=19$m=8,t=1,p=1$c2E$aGE"),
            ("{CRYPT}$2b$10$abc", "$2b$10$abc"),
            ("{PBKDF2-SHA512}10000$a.b$c.d", "$pbkdf2-sha512$i=10000$a+b$c+d"),
            ("{pbkdf2_sha256}10000$ab==$cd", "$pbkdf2-sha256$i=10000$ab$cd"),
        ] {
            assert_eq!(hash(stored).unwrap(), read);
        }
        for (stored, told) in [
            ("{SSHA}AAAA", "`{SSHA}`"),
            ("{CRYPT}$6$salt$hash", "`{CRYPT}`"),
            ("{PBKDF2}10000", "ROUNDS$SALT$HASH"),
            ("secret", "clear text"),
        ] {
            let why = hash(stored).unwrap_err();
            assert!(why.contains(told) && !why.contains("secret"), "{why}");
        }
    }
}
