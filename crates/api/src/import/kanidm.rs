//! The people of Kanidm: `kanidm person list -o json`, a list of entries whose attributes are lists of texts. Kanidm gives
//! out no hashes. Its own groups (`idm_…`) stay behind.

use serde_json::Value;

use super::{Person, group_id, texts};

pub(super) fn person(entry: &Value) -> Option<Result<Person, String>> {
    let attributes = entry.get("attrs").unwrap_or(entry);
    let classes = texts(attributes, "class");
    if !classes.is_empty() && !classes.iter().any(|class| class == "person") {
        return None;
    }
    let first = |member: &str| texts(attributes, member).into_iter().next().unwrap_or_default();
    // `staff@idm.example.org`: the part before the @ is the name.
    let member_of = texts(attributes, "directmemberof").into_iter().chain(texts(attributes, "memberof"));
    let names = member_of.map(|spn| spn.split('@').next().unwrap_or_default().to_owned());
    let groups = names.filter(|name| !name.starts_with("idm_")).map(|name| group_id(&name)).collect();
    // `kanidm person validity expire-at NAME epoch` is how somebody is locked there.
    let is_disabled = first("account_expire").starts_with("1970-");
    Some(Ok(Person {
        email: first("mail"),
        name: first("displayname"),
        groups,
        is_external: false,
        is_disabled,
        hash: None,
        passkeys: texts(attributes, "passkeys").len() + texts(attributes, "attested_passkeys").len(),
        unread_hash: None,
    }))
}
