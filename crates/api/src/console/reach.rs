//! What somebody would get at the front of an app, and the path that gives it: group, parents, policy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use model::app::App;
use model::decision::PolicySet;
use model::directory::GroupId;
use model::{Directory, Effect, Explanation, Timestamp, UserEntry};

use super::text::shown;
use crate::control::Published;
use crate::control::standing::Standing;

/// The questions of one page, over one version.
pub(super) struct Reaching<'a> {
    published: &'a Published,
    standing: Standing<'a>,
    now: Timestamp,
    /// Groups that the text of a permit names.
    named: BTreeMap<Arc<str>, BTreeSet<GroupId>>,
}

impl<'a> Reaching<'a> {
    pub(super) fn new(published: &'a Published, now: Timestamp) -> Self {
        let listings = published.policies.policies().into_iter().filter(|listing| listing.set == PolicySet::Permit);
        let named = listings.map(|listing| (listing.id, groups_of(&listing.cedar))).collect();
        Self { published, standing: Standing::new(published, now), now, named }
    }

    /// The answer and the path that gives it, or the reason that does not.
    pub(super) fn path(&self, user: &UserEntry, app: &App) -> (Effect, String) {
        let explanation = self.published.pdp.explain(&self.standing.question(user, app, None, None), self.now);
        let effect = explanation.decision.effect;
        let text = match effect {
            Effect::Allow => self.over(user, &explanation),
            Effect::Deny | Effect::StepUp => {
                let reason = explanation.decision.reason;
                format!("{}: {}", reason.audit_code(), explanation.user_text)
            }
        };
        (effect, shown(&text))
    }

    fn over(&self, user: &UserEntry, explanation: &Explanation) -> String {
        let determining = explanation.decision.policies.iter().filter(|policy| policy.set == PolicySet::Permit);
        let paths = determining.map(|policy| {
            let named = self.named.get(&policy.id);
            let group = named.and_then(|named| user.groups.iter().find(|group| named.contains(*group)));
            match group {
                Some(group) => format!("{} › {}", chain(&self.published.directory, user, group), policy.id),
                None => policy.id.to_string(),
            }
        });
        paths.collect::<Vec<_>>().join("; ")
    }
}

/// `team › engineering`: from the group a person is put into to the one a policy names.
fn chain(directory: &Directory, user: &UserEntry, wanted: &GroupId) -> String {
    let mut open: VecDeque<Vec<GroupId>> = user.direct_groups.iter().map(|group| vec![group.clone()]).collect();
    let mut seen: BTreeSet<GroupId> = user.direct_groups.clone();
    while let Some(path) = open.pop_front() {
        let Some(last) = path.last() else { continue };
        if last == wanted {
            return path.iter().map(GroupId::as_str).collect::<Vec<_>>().join(" › ");
        }
        let parents = directory.groups.get(last).map(|group| group.parents.clone()).unwrap_or_default();
        for parent in parents {
            if seen.insert(parent.clone()) {
                let mut longer = path.clone();
                longer.push(parent);
                open.push_back(longer);
            }
        }
    }
    wanted.to_string()
}

/// How somebody comes to be in a group: directly, or over which groups.
pub(super) fn membership(directory: &Directory, user: &UserEntry, group: &GroupId) -> String {
    if user.direct_groups.contains(group) {
        return "directly".to_owned();
    }
    format!("over {}", shown(&chain(directory, user, group)))
}

/// The groups that the text of a policy names.
fn groups_of(cedar: &str) -> BTreeSet<GroupId> {
    let after = cedar.split("Group::\"").skip(1);
    after.filter_map(|rest| rest.split('"').next()).map(GroupId::new).collect()
}

/// People by address, which is how lists go on.
pub(super) fn by_address(directory: &Directory) -> Vec<&Arc<UserEntry>> {
    let mut users: Vec<&Arc<UserEntry>> = directory.users.values().collect();
    users.sort_by(|a, b| a.email.cmp(&b.email));
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_text_of_a_policy() {
        let text = "permit (principal in Group::\"staff\", action, resource) when { principal in Group::\"x-1\" };";
        assert_eq!(groups_of(text), BTreeSet::from([GroupId::new("staff"), GroupId::new("x-1")]));
        assert!(groups_of("permit (principal, action, resource);").is_empty());
    }
}
