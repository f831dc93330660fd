//! Rows become the one [`Directory`] that engine and doors read. Pure. Also the checks a name must pass before it
//! becomes a row (ID-76, R-4).
//!
//! Invariants: groups of a person are closed over parents and sorted; a group is never its own ancestor; chains of
//! parents are at most [`MAX_GROUP_DEPTH`] long.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::directory::{ADMINS_GROUP, GroupId, close_groups};
use model::{Directory, GroupEntry, ServiceEntry, UserEntry, UserId};

use crate::store::{DirectoryRows, GroupRow, ServiceRow, UserRow};

/// The longest chain of groups in groups (ID-76).
pub const MAX_GROUP_DEPTH: usize = 16;
/// The longest address (RFC 5321 §4.5.3.1.3, less the angle brackets).
pub const MAX_EMAIL_BYTES: usize = 254;
/// The longest part before the `@` (RFC 5321 §4.5.3.1.1).
pub const MAX_LOCAL_PART_BYTES: usize = 64;
/// The longest group id.
pub const MAX_GROUP_ID_BYTES: usize = 63;
/// The longest display name or group title, in characters.
pub const MAX_NAME_CHARS: usize = 128;

/// Why a name or the shape of the groups is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Not an address.
    #[error("`{text}` is not an e-mail address: {why}")]
    Email {
        /// The offending text, cut.
        text: String,
        /// Which rule.
        why: &'static str,
    },
    /// Not a group id.
    #[error("`{0}` is not a group name; use 1 to 63 of a-z, 0-9 and -, with no - at either end")]
    GroupName(String),
    /// Not a display name.
    #[error("`{0}` is not a name; use 1 to 128 characters, none of them a control character")]
    Name(String),
    /// A group is inside itself.
    #[error("group `{0}` is inside itself; remove it from the parents of one of: {1}")]
    Cycle(GroupId, String),
    /// Too many levels.
    #[error("group `{0}` is more than 16 levels deep; flatten its parents")]
    TooDeep(GroupId),
    /// A parent that does not exist.
    #[error("group `{group}` names the parent `{parent}`, which does not exist; declare it or remove it")]
    NoParent {
        /// Who names it.
        group: GroupId,
        /// What is missing.
        parent: GroupId,
    },
}

/// Makes the directory as engine and doors see it. Memberships in groups that do not exist count for nothing; nor does,
/// for people who have recovery codes to save, any that would let them administer (ID-1). Addresses at one of `domains`
/// count as verified.
///
/// # Errors
/// Refuses cycles, missing parents and chains longer than [`MAX_GROUP_DEPTH`].
pub fn build(rows: &DirectoryRows, domains: &[String]) -> Result<Directory, DirectoryError> {
    let mut directory = build_whole(rows, domains)?;
    let admins = GroupId::new(ADMINS_GROUP);
    for user in &rows.awaiting_codes {
        let Some(entry) = directory.users.get_mut(user) else { continue };
        let mut waiting = UserEntry::clone(entry);
        let leads_there =
            |group: &GroupId| close_groups(&BTreeSet::from([group.clone()]), &directory.groups).contains(&admins);
        waiting.direct_groups.retain(|group| !leads_there(group));
        waiting.groups = close_groups(&waiting.direct_groups, &directory.groups);
        *entry = Arc::new(waiting);
    }
    Ok(directory)
}

/// [`build`] without regard to recovery codes that are still to be saved.
pub(crate) fn build_whole(rows: &DirectoryRows, domains: &[String]) -> Result<Directory, DirectoryError> {
    let groups: BTreeMap<GroupId, Arc<GroupEntry>> =
        rows.groups.iter().map(|row| (row.id.clone(), Arc::new(group_entry(row)))).collect();
    check_groups(&groups)?;
    let mut direct: HashMap<UserId, BTreeSet<GroupId>> = HashMap::new();
    for membership in rows.memberships.iter().filter(|row| groups.contains_key(&row.group)) {
        direct.entry(membership.user).or_default().insert(membership.group.clone());
    }
    let users = rows
        .users
        .iter()
        .map(|row| {
            let direct = direct.remove(&row.id).unwrap_or_default();
            (row.id, Arc::new(user_entry(row, direct, &groups, domains)))
        })
        .collect();
    let owner = |id: &UserId| rows.users.iter().any(|row| row.id == *id);
    let services = rows.services.iter().map(|row| {
        let entry = service_entry(row, &groups, row.owner.filter(owner));
        (Arc::clone(&row.name), Arc::new(entry))
    });
    let services = services.collect();
    let service_tokens = rows.service_tokens.iter().map(|token| (token.id, Arc::new(token.clone()))).collect();
    Ok(Directory { version: rows.version, users, groups, services, service_tokens })
}

/// An address as it is stored: the domain lower-cased.
///
/// # Errors
/// Says which rule the text breaks. Only plain ASCII addresses with a dotted or single-label A-label domain pass.
pub fn parse_email(text: &str) -> Result<String, DirectoryError> {
    let refuse = |why| Err(DirectoryError::Email { text: cut(text), why });
    if text.len() > MAX_EMAIL_BYTES {
        return refuse("it is longer than 254 bytes");
    }
    let Some((local, domain)) = text.split_once('@') else {
        return refuse("it has no @");
    };
    if domain.contains('@') {
        return refuse("it has more than one @");
    }
    if local.is_empty() || local.len() > MAX_LOCAL_PART_BYTES {
        return refuse("the part before the @ must have 1 to 64 bytes");
    }
    if !local.bytes().all(is_local_byte) || local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return refuse("the part before the @ may have letters, digits, single dots inside, and !#$%&'*+-/=?^_`{|}~");
    }
    let domain = domain.to_ascii_lowercase();
    if domain.ends_with('.') {
        return refuse("the domain ends in a dot");
    }
    if !domain.split('.').all(is_domain_label) {
        return refuse("the domain must be labels of a-z, 0-9 and -, in the form xn--… where it is not ASCII");
    }
    Ok(format!("{local}@{domain}"))
}

/// A group id as it is stored.
///
/// # Errors
/// The text is not 1–63 of `a-z0-9-` without a dash at either end.
pub fn parse_group_id(text: &str) -> Result<GroupId, DirectoryError> {
    if !is_domain_label(text) {
        return Err(DirectoryError::GroupName(cut(text)));
    }
    Ok(GroupId::new(text))
}

/// A display name or title as it is stored: trimmed.
///
/// # Errors
/// The text is empty, too long or holds control characters.
pub fn parse_name(text: &str) -> Result<String, DirectoryError> {
    let name = text.trim();
    let is_invisible =
        |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(is_invisible) {
        return Err(DirectoryError::Name(cut(text)));
    }
    Ok(name.to_owned())
}

/// Refuses cycles, missing parents and too deep chains.
pub(crate) fn check_groups(groups: &BTreeMap<GroupId, Arc<GroupEntry>>) -> Result<(), DirectoryError> {
    for (id, group) in groups {
        if let Some(parent) = group.parents.iter().find(|parent| !groups.contains_key(*parent)) {
            return Err(DirectoryError::NoParent { group: id.clone(), parent: parent.clone() });
        }
    }
    // Kahn's algorithm from the top: a group gets its depth when all its parents have theirs; what never gets one
    // is on or below a cycle. Linear, whatever the shape.
    let mut children: HashMap<&GroupId, Vec<&GroupId>> = HashMap::new();
    let mut missing: BTreeMap<&GroupId, usize> = BTreeMap::new();
    for (id, group) in groups {
        missing.insert(id, group.parents.len());
        for parent in &group.parents {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut depths: HashMap<&GroupId, usize> = HashMap::new();
    let mut ready: Vec<&GroupId> = missing.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = ready.pop() {
        missing.remove(id);
        let depth = depths.get(id).copied().unwrap_or(0) + 1;
        if depth > MAX_GROUP_DEPTH {
            return Err(DirectoryError::TooDeep(id.clone()));
        }
        for child in children.get(id).into_iter().flatten() {
            let below = depths.entry(child).or_insert(0);
            *below = (*below).max(depth);
            if let Some(count) = missing.get_mut(*child) {
                *count -= 1;
                if *count == 0 {
                    ready.push(child);
                }
            }
        }
    }
    let Some(first) = missing.keys().next() else { return Ok(()) };
    let names: Vec<String> = missing.keys().map(|id| format!("`{id}`")).collect();
    Err(DirectoryError::Cycle((*first).clone(), names.join(", ")))
}

fn group_entry(row: &GroupRow) -> GroupEntry {
    GroupEntry { id: row.id.clone(), title: row.title.clone(), parents: row.parents.clone() }
}

fn service_entry(row: &ServiceRow, groups: &BTreeMap<GroupId, Arc<GroupEntry>>, owner: Option<UserId>) -> ServiceEntry {
    let direct: BTreeSet<GroupId> = row.groups.iter().filter(|group| groups.contains_key(*group)).cloned().collect();
    ServiceEntry {
        name: Arc::clone(&row.name),
        title: row.title.clone(),
        owner,
        is_enabled: row.is_enabled,
        groups: close_groups(&direct, groups),
        direct_groups: direct,
        created_at: row.created_at,
    }
}

fn user_entry(
    row: &UserRow,
    direct: BTreeSet<GroupId>,
    groups: &BTreeMap<GroupId, Arc<GroupEntry>>,
    domains: &[String],
) -> UserEntry {
    let domain = row.email.rsplit_once('@').map_or("", |(_, domain)| domain);
    UserEntry {
        id: row.id,
        name: row.name.clone(),
        email: row.email.clone(),
        is_email_verified: domains.iter().any(|own| own.eq_ignore_ascii_case(domain)),
        state: row.state,
        groups: close_groups(&direct, groups),
        direct_groups: direct,
        is_external: row.is_external,
        created_at: row.created_at,
        epoch: row.epoch,
        tags: row.tags.clone(),
    }
}

fn is_local_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte)
}

fn is_domain_label(label: &str) -> bool {
    (1..=MAX_GROUP_ID_BYTES).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn cut(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MembershipRow, MembershipSource, Origin};
    use model::{Timestamp, UserState};
    use uuid::Uuid;

    fn group(id: &str, parents: &[&str]) -> GroupRow {
        GroupRow {
            id: GroupId::new(id),
            title: id.to_owned(),
            parents: parents.iter().map(|parent| GroupId::new(parent)).collect(),
            origin: Origin::Local,
            membership: MembershipSource::External,
        }
    }

    fn check(groups: Vec<GroupRow>) -> Result<Directory, DirectoryError> {
        build(&DirectoryRows { version: 3, groups, ..Default::default() }, &[])
    }

    #[test]
    fn groups_of_a_person_are_closed_over_parents_and_sorted() {
        let id = UserId(Uuid::from_u128(1));
        let alice = UserRow {
            id,
            email: "alice@corp.example".into(),
            name: "Alice".into(),
            state: UserState::Active,
            is_external: false,
            created_at: Timestamp(0),
            epoch: 2,
            tags: BTreeMap::new(),
            origin: Origin::Local,
            handle: [0; 64],
        };
        let membership =
            |group: &str| MembershipRow { group: GroupId::new(group), user: id, source: MembershipSource::External };
        let rows = DirectoryRows {
            version: 3,
            users: vec![alice],
            groups: vec![group("staff", &[]), group("engineering", &["staff"]), group("backend", &["engineering"])],
            memberships: vec![membership("backend"), membership("gone")],
            awaiting_codes: BTreeSet::new(),
            deletion_wishes: BTreeMap::new(),
            ..Default::default()
        };
        let directory = build(&rows, &[]).unwrap();
        assert_eq!(directory.version, 3);
        let alice = &directory.users[&id];
        let names: Vec<&str> = alice.groups.iter().map(GroupId::as_str).collect();
        assert_eq!(names, ["backend", "engineering", "staff"]);
        assert_eq!(alice.direct_groups, BTreeSet::from([GroupId::new("backend")]));
        assert_eq!(alice.epoch, 2);
    }

    #[test]
    fn groups_in_a_circle_are_refused_however_long() {
        assert!(matches!(check(vec![group("a", &["a"])]), Err(DirectoryError::Cycle(..))));
        let circle = vec![group("a", &["b"]), group("b", &["c"]), group("c", &["a"]), group("d", &[])];
        let error = check(circle).unwrap_err();
        assert_eq!(
            error.to_string(),
            "group `a` is inside itself; remove it from the parents of one of: `a`, `b`, `c`"
        );
    }

    #[test]
    fn sixteen_levels_pass_and_seventeen_are_refused() {
        let chain = |levels: usize| -> Vec<GroupRow> {
            (0..levels)
                .map(|n| match n {
                    0 => group("g00", &[]),
                    n => group(&format!("g{n:02}"), &[&format!("g{:02}", n - 1)]),
                })
                .collect()
        };
        check(chain(MAX_GROUP_DEPTH)).unwrap();
        let error = check(chain(MAX_GROUP_DEPTH + 1)).unwrap_err();
        assert_eq!(error, DirectoryError::TooDeep(GroupId::new("g16")));
    }

    #[test]
    fn a_lattice_of_groups_is_checked_in_linear_time() {
        // Every group has both groups of the level above as parents: 2^15 paths, 30 edges per pair of levels.
        let mut groups = vec![group("a0", &[]), group("b0", &[])];
        for n in 1..MAX_GROUP_DEPTH {
            let (a, b) = (format!("a{}", n - 1), format!("b{}", n - 1));
            groups.push(group(&format!("a{n}"), &[&a, &b]));
            groups.push(group(&format!("b{n}"), &[&a, &b]));
        }
        check(groups).unwrap();
    }

    #[test]
    fn a_missing_parent_is_named() {
        let error = check(vec![group("a", &["b"])]).unwrap_err();
        assert_eq!(error.to_string(), "group `a` names the parent `b`, which does not exist; declare it or remove it");
    }

    #[test]
    fn addresses_are_read_with_their_domain_in_lower_case() {
        for (text, stored) in [
            ("alice@corp.example", "alice@corp.example"),
            ("Alice@Corp.EXAMPLE", "Alice@corp.example"),
            ("a.b+c'd@xn--bcher-kva.example", "a.b+c'd@xn--bcher-kva.example"),
            ("root@localhost", "root@localhost"),
        ] {
            assert_eq!(parse_email(text).as_deref(), Ok(stored));
        }
    }

    #[test]
    fn lookalike_and_malformed_addresses_are_refused() {
        let long_local = format!("{}@corp.example", "a".repeat(65));
        let long = format!("a@{}example", "a.".repeat(130));
        for text in [
            "",
            "alice",
            "@corp.example",
            "alice@",
            "alice@evil@corp.example",
            "alice@corp.example.",
            "alice@corp..example",
            "alice@-corp.example",
            "alice@c_rp.example",
            "alice@b\u{fc}cher.example",
            "\u{430}lice@corp.example",
            "al ice@corp.example",
            "alice\n@corp.example",
            ".alice@corp.example",
            "alice.@corp.example",
            "a..b@corp.example",
            "\"a b\"@corp.example",
            &long_local,
            &long,
        ] {
            assert!(matches!(parse_email(text), Err(DirectoryError::Email { .. })), "{text:?}");
        }
    }

    #[test]
    fn group_names_and_display_names_have_their_limits() {
        parse_group_id("contractors-2").unwrap();
        for text in ["", "-a", "a-", "A", "a b", "a.b", &"a".repeat(64)] {
            assert!(parse_group_id(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_name("  Zo\u{eb} Q. "), Ok("Zo\u{eb} Q.".to_owned()));
        for text in ["", "   ", "a\u{0}b", "a\nb", "evil\u{202e}gpj", &"a".repeat(129)] {
            assert!(parse_name(text).is_err(), "{text:?}");
        }
    }
}
