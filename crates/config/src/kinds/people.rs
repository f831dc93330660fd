//! Kinds Group and User.

use std::collections::BTreeSet;

use model::directory::GroupId;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Document;
use crate::text;

/// Who keeps a group's members.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Membership {
    /// The applied files.
    Applied,
    /// The command line, the API, later SCIM; files declare only the group.
    External,
}

/// A group as declared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeclaredGroup {
    /// Immutable id.
    pub id: GroupId,
    /// For people.
    pub title: String,
    /// Groups it belongs to.
    pub parents: BTreeSet<GroupId>,
    /// Who keeps its members.
    pub membership: Membership,
    /// Where it was declared.
    pub declared_at: String,
}

/// A user as declared; the id is found or made when the file is applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeclaredUser {
    /// The address, domain in lower case; the key.
    pub email: String,
    /// Display name.
    pub name: String,
    /// Groups with `membership: applied` that the person is in.
    pub groups: BTreeSet<GroupId>,
    /// From outside the organisation.
    pub is_external: bool,
    /// May not sign in.
    pub is_disabled: bool,
    /// Where it was declared.
    pub declared_at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupSpec {
    /// For people.
    ///
    /// Type: text; default: the name.
    title: Option<String>,
    /// Members of this group are members of these too.
    ///
    /// Type: list of groups; default: none.
    #[serde(default)]
    parents: Vec<Spanned<String>>,
    /// Who says who is in it: the files (`spec.groups` of users), or the command line and the API.
    ///
    /// Type: `applied` or `external`; default: `applied`.
    membership: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserSpec {
    /// Display name, 1 to 128 characters.
    ///
    /// Type: text; default: required.
    name: Spanned<String>,
    /// Groups with `membership: applied`.
    ///
    /// Type: list of groups; default: none.
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    /// From outside the organisation; policies read `principal.external`.
    ///
    /// Type: true or false; default: `false`.
    #[serde(default)]
    external: bool,
    /// Ends all sessions and refuses new ones.
    ///
    /// Type: true or false; default: `false`.
    #[serde(default)]
    disabled: bool,
}

pub(crate) fn group(document: &mut Document<'_>, name: &Spanned<String>, spec: GroupSpec) -> Option<DeclaredGroup> {
    let id = document.parsed(name, group_id);
    let words = [("applied", Membership::Applied), ("external", Membership::External)];
    let membership = spec.membership.as_ref().and_then(|value| document.word(value, &words));
    Some(DeclaredGroup {
        title: spec.title.unwrap_or_else(|| name.value.clone()),
        parents: spec.parents.iter().filter_map(|parent| document.parsed(parent, group_id)).collect(),
        membership: membership.unwrap_or(Membership::Applied),
        declared_at: format!("{}:{}", document.file, name.referenced.line()),
        id: id?,
    })
}

pub(crate) fn user(document: &mut Document<'_>, name: &Spanned<String>, spec: UserSpec) -> Option<DeclaredUser> {
    let email = document.parsed(name, email);
    let display = spec.name.value.trim().to_owned();
    if display.is_empty() || display.chars().count() > 128 || display.chars().any(char::is_control) {
        document.refuse(&spec.name, "a name has 1 to 128 characters and no control characters");
    }
    Some(DeclaredUser {
        name: display,
        groups: spec.groups.iter().filter_map(|group| document.parsed(group, group_id)).collect(),
        is_external: spec.external,
        is_disabled: spec.disabled,
        declared_at: format!("{}:{}", document.file, name.referenced.line()),
        email: email?,
    })
}

pub(crate) fn group_id(text: &str) -> Result<GroupId, String> {
    text::name(text).map(GroupId::new)
}

/// An address with exactly one `@` and a domain in lower-case A-labels (ID-23 of the gateway's e-mail rule, GW-23).
pub(crate) fn email(address: &str) -> Result<String, String> {
    let refuse = || format!("`{address}` is not an e-mail address; a User is named by one, e.g. `ann@example.org`");
    let (local, domain) = address.split_once('@').ok_or_else(refuse)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_{|}~.".contains(c);
    if domain.contains('@') || local.is_empty() || local.len() > 64 || !local.chars().all(is_plain) {
        return Err(refuse());
    }
    let domain = text::host(domain).map_err(|_| refuse())?;
    if !domain.contains('.') || domain.parse::<std::net::IpAddr>().is_ok() {
        return Err(refuse());
    }
    Ok(format!("{local}@{domain}"))
}
