//! The users and groups of a SCIM 2.0 service (RFC 7643, RFC 7644): a `ListResponse`, a list of them (pages, users and
//! groups), or a bare list of resources. SCIM gives out no hashes.
//!
//! Invariants: a file that lacks some of what its pages count is refused as a whole, so that half an export is never
//! taken for all of it; a group whose name is not there is told and not dropped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Person, Place, Rows, checked, group_id, text};

/// The most resources of one file, groups included.
const MAX_RESOURCES: usize = 10_000;

pub(super) fn read(file: &str) -> Result<Rows, String> {
    let whole: Value = serde_json::from_str(file).map_err(|error| format!("the file is no JSON: {error}"))?;
    let resources = resources(&whole)?;
    let groups = Groups::of(&resources);
    let people = resources.iter().enumerate().filter(|(_, resource)| is(resource, "User"));
    Ok(people.map(|(at, user)| (Place::Entry(at + 1), checked(person(user, &groups)))).collect())
}

/// Every resource of every page.
fn resources(whole: &Value) -> Result<Vec<&Value>, String> {
    let pages = match whole {
        Value::Array(list) => list.iter().collect(),
        page => vec![page],
    };
    let mut all: Vec<&Value> = Vec::new();
    // By what a page holds, as users and groups are asked for apart: how many came, how many there are.
    let mut counts: BTreeMap<bool, (u64, u64)> = BTreeMap::new();
    for page in pages {
        let Some(total) = page.get("totalResults") else {
            all.push(page);
            continue;
        };
        let total = total.as_u64().ok_or("its `totalResults` is no number")?;
        let list = page.get("Resources").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let holds_groups = list.first().is_some_and(|first| is(first, "Group"));
        let (came, there) = counts.entry(holds_groups).or_default();
        *came += u64::try_from(list.len()).unwrap_or(u64::MAX);
        *there = total.max(*there);
        all.extend(list);
    }
    if let Some((came, there)) = counts.values().find(|(came, there)| came < there) {
        return Err(format!(
            "{came} of {there} are in the file; put all pages into it, as a list, or ask with a larger `count`"
        ));
    }
    if all.len() > MAX_RESOURCES {
        return Err(format!("the file has more than {MAX_RESOURCES} users and groups; split it"));
    }
    if !all.iter().any(|resource| is(resource, "User") || is(resource, "Group")) {
        return Err("nothing in the file is a SCIM user or group (its `schemas` say so)".to_owned());
    }
    Ok(all)
}

/// Names of groups by their id, and groups by the id of a member.
struct Groups<'a> {
    names: BTreeMap<&'a str, String>,
    of_member: BTreeMap<&'a str, BTreeSet<String>>,
}

impl<'a> Groups<'a> {
    fn of(resources: &[&'a Value]) -> Self {
        let mut groups = Groups { names: BTreeMap::new(), of_member: BTreeMap::new() };
        for group in resources.iter().filter(|resource| is(resource, "Group")) {
            let name = group_id(&text(group, "displayName"));
            if let Some(id) = group.get("id").and_then(Value::as_str) {
                groups.names.insert(id, name.clone());
            }
            let members = group.get("members").and_then(Value::as_array);
            for member in members.into_iter().flatten().filter_map(|member| member.get("value")?.as_str()) {
                groups.of_member.entry(member).or_default().insert(name.clone());
            }
        }
        groups
    }
}

fn person(user: &Value, groups: &Groups<'_>) -> Result<Person, String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for group in user.get("groups").and_then(Value::as_array).into_iter().flatten() {
        let id = text(group, "value");
        let name = match (text(group, "display"), groups.names.get(id.as_str())) {
            (_, Some(name)) => name.clone(),
            (display, None) if !display.is_empty() => group_id(&display),
            _ => {
                return Err(format!("its group `{}` has no name; put the groups into the file too", id.escape_debug()));
            }
        };
        names.insert(name);
    }
    let id = user.get("id").and_then(Value::as_str).unwrap_or_default();
    names.extend(groups.of_member.get(id).into_iter().flatten().cloned());
    Ok(Person {
        email: email(user),
        name: name(user),
        groups: names,
        is_disabled: user.get("active").and_then(Value::as_bool) == Some(false),
        ..Person::default()
    })
}

/// The primary address, or the only one; where there is none, a user name that looks like one.
fn email(user: &Value) -> String {
    let list = user.get("emails").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_primary = |email: &&Value| email.get("primary").and_then(Value::as_bool) == Some(true);
    let is_work = |email: &&Value| text(email, "type") == "work";
    let found = list.iter().find(is_primary).or_else(|| list.iter().find(is_work)).or_else(|| list.first());
    match found.map(|email| text(email, "value")) {
        Some(address) if !address.is_empty() => address,
        _ => Some(text(user, "userName")).filter(|name| name.contains('@')).unwrap_or_default(),
    }
}

fn name(user: &Value) -> String {
    let parts = user.get("name").cloned().unwrap_or_default();
    let full = format!("{} {}", text(&parts, "givenName"), text(&parts, "familyName"));
    let candidates = [text(user, "displayName"), text(&parts, "formatted"), full.trim().to_owned()];
    candidates.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

/// Whether a resource is of the core schema with this name.
fn is(resource: &Value, kind: &str) -> bool {
    let schema = format!("urn:ietf:params:scim:schemas:core:2.0:{kind}");
    let schemas = resource.get("schemas").and_then(Value::as_array);
    let mut schemas = schemas.into_iter().flatten().filter_map(Value::as_str);
    schemas.any(|own| own.eq_ignore_ascii_case(&schema))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
    const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

    #[test]
    fn half_an_export_is_refused_as_a_whole() {
        let user = |n: u32| json!({ "schemas": [USER], "id": n.to_string(), "userName": format!("u{n}@example.org") });
        let page = json!({ "totalResults": 3, "startIndex": 1, "Resources": [user(1), user(2)] });
        let why = read(&page.to_string()).err().unwrap();
        assert!(why.contains("2 of 3"), "{why}");
        let last = json!({ "totalResults": 3, "startIndex": 3, "Resources": [user(3)] });
        let groups = json!({ "totalResults": 1, "Resources": [
            { "schemas": [GROUP], "id": "g", "displayName": "Staff", "members": [{ "value": "1" }] },
        ] });
        let rows = read(&json!([page, last, groups]).to_string()).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].1.as_ref().ok().unwrap().groups, BTreeSet::from(["staff".to_owned()]));
        assert!(read(&json!([page, groups]).to_string()).is_err(), "groups do not make up for people");
    }

    #[test]
    fn what_is_no_scim_is_said_and_a_group_without_name_is_told() {
        for text in ["{}", "[]", "1", "{\"totalResults\": \"many\"}", "[{\"userName\": \"a@b.example\"}]"] {
            assert!(read(text).is_err(), "{text}");
        }
        let many: Vec<Value> = (0..=MAX_RESOURCES).map(|_| json!({ "schemas": [GROUP] })).collect();
        assert!(read(&json!(many).to_string()).err().unwrap().contains("split it"));
        let user = json!([{ "schemas": [USER], "userName": "a@b.example", "groups": [{ "value": "7" }] }]);
        assert!(read(&user.to_string()).unwrap()[0].1.as_ref().err().unwrap().contains("`7` has no name"));
    }

    #[test]
    fn the_primary_address_comes_first_and_a_user_name_last() {
        let emails = json!({ "userName": "ann", "emails": [
            { "value": "home@example.org", "type": "home" }, { "value": "work@example.org", "type": "work" },
        ] });
        assert_eq!(email(&emails), "work@example.org");
        let primary =
            json!({ "emails": [{ "value": "a@example.org" }, { "value": "b@example.org", "primary": true }] });
        assert_eq!(email(&primary), "b@example.org");
        assert_eq!(email(&json!({ "userName": "c@example.org" })), "c@example.org");
        assert_eq!(email(&json!({ "userName": "c" })), "");
    }
}
