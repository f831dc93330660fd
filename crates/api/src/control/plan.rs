//! What an apply would do, worked out before it does it: what is declared, changed and removed, and who would gain or lose
//! which app at best (PO-32, PO-33). An apply prints the same afterwards.
//!
//! Invariant: nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::ids::Digest32;
use model::policy_test::PolicyTest;
use model::remedy::RemedyEntry;
use model::{Action, App, Directory, GroupId, Principal, RemedyList, Timestamp, UserId, UserState};
use pdp_engine::CompiledPolicies;
use pip_identity::people::Change;

use super::Published;
use super::best_case::BestCase;

/// How many pairs of person and app are looked at; a plan says when there are more.
pub const MAX_PAIRS: usize = 4_000;
/// The actions that stand for reading and for changing.
const ACTIONS: &[(Action, &str)] = &[(Action::HttpGet, "read"), (Action::HttpPost, "write")];

/// Names of what would be new, different and gone, each sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delta {
    /// New.
    pub added: Vec<String>,
    /// Different.
    pub changed: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
}

/// What would become of people: addresses, each list sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeopleDelta {
    /// New, different, and gone: `removed` are those who would be disabled or deleted.
    pub users: Delta,
    /// Disabled now, and enabled again by it. They are not among the changed.
    pub enabled: Vec<String>,
    /// Direct memberships that would begin: address, group.
    pub joined: Vec<(String, String)>,
    /// Direct memberships that would end: address, group.
    pub left: Vec<(String, String)>,
}

/// Somebody who could reach an app at best and now cannot, or the other way round.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Reach {
    /// Sign-in address.
    pub user: String,
    /// App.
    pub app: String,
    /// `read` or `write`.
    pub action: &'static str,
}

/// What an apply would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The digest of the configuration.
    pub digest: Digest32,
    /// The kept version that says the same already, if there is one.
    pub known_as: Option<u64>,
    /// The version that is live now, 0 for none.
    pub live: u64,
    /// Apps by name.
    pub apps: Delta,
    /// Groups by id.
    pub groups: Delta,
    /// People by address, and their groups.
    pub people: PeopleDelta,
    /// Policies by id.
    pub policies: Delta,
    /// Policy tests by name.
    pub tests: Delta,
    /// Declared remedies by id.
    pub remedies: Delta,
    /// Who could reach more.
    pub gained: Vec<Reach>,
    /// Who could reach less.
    pub lost: Vec<Reach>,
    /// Pairs of person and app that were not looked at because there are more than [`MAX_PAIRS`].
    pub unexamined: usize,
    /// Why nobody could administer afterwards; `None` when somebody could.
    pub lockout: Option<String>,
}

/// Apps of both sides compared.
pub(super) fn apps(before: &[Arc<App>], after: &[Arc<App>]) -> Delta {
    let by_name = |apps: &[Arc<App>]| -> BTreeMap<String, App> {
        // Where an app stands in a file is not part of what it is.
        apps.iter().map(|app| (app.name.to_string(), App { declared_at: String::new(), ..App::clone(app) })).collect()
    };
    delta(&by_name(before), &by_name(after))
}

/// Policies of both sides compared.
pub(super) fn policies(before: &CompiledPolicies, after: &CompiledPolicies) -> Delta {
    if before.policy_hash() == after.policy_hash() {
        return Delta::default();
    }
    let by_id = |policies: &CompiledPolicies| -> BTreeMap<String, String> {
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        policies.policies().into_iter().map(|policy| (policy.id.to_string(), plain(&policy.cedar))).collect()
    };
    delta(&by_id(before), &by_id(after))
}

/// Tests of both sides compared; where they stand in a file is not part of what they ask.
pub(super) fn tests(before: &[PolicyTest], after: &[PolicyTest]) -> Delta {
    let by_name = |tests: &[PolicyTest]| -> BTreeMap<String, PolicyTest> {
        let without_place = |test: &PolicyTest| {
            let mut test = test.clone();
            test.rows.iter_mut().for_each(|row| row.declared_at = Arc::from(""));
            (test.name.clone(), test)
        };
        tests.iter().map(without_place).collect()
    };
    delta(&by_name(before), &by_name(after))
}

/// Declared remedies of both sides compared, places aside.
pub(super) fn remedies(before: &RemedyList, after: &RemedyList) -> Delta {
    let by_id = |list: &RemedyList| -> BTreeMap<String, RemedyEntry> {
        let entry = |entry: &RemedyEntry| {
            (entry.remedy.as_str().to_owned(), RemedyEntry { declared_at: Arc::from(""), ..entry.clone() })
        };
        list.entries().iter().map(entry).collect()
    };
    delta(&by_id(before), &by_id(after))
}

fn delta<T: PartialEq>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Delta {
    let missing_in = |from: &BTreeMap<String, T>, other: &BTreeMap<String, T>| {
        from.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let is_changed = |(name, was): &(&String, &T)| after.get(*name).is_some_and(|now| now != *was);
    Delta {
        added: missing_in(after, before),
        changed: before.iter().filter(is_changed).map(|(name, _)| name.clone()).collect(),
        removed: missing_in(before, after),
    }
}

/// People and groups as a change of the directory moves them.
pub(super) fn people(before: &Directory, change: &Change) -> (PeopleDelta, Delta) {
    let email = |id: &UserId| {
        let entry = change.directory.users.get(id).or_else(|| before.users.get(id));
        entry.map_or_else(|| id.to_string(), |user| user.email.clone())
    };
    let gone: BTreeSet<UserId> = change.disabled.union(&change.deleted).copied().collect();
    let touched = change.joined.iter().chain(&change.left).map(|(_, id)| id).chain(&change.facts_moved);
    let has_line = |id: &&UserId| gone.contains(*id) || change.created.contains(*id) || change.enabled.contains(*id);
    let changed: BTreeSet<UserId> = touched.filter(|id| !has_line(id)).copied().collect();
    let names = |ids: &BTreeSet<UserId>| {
        let mut names: Vec<String> = ids.iter().map(email).collect();
        names.sort();
        names
    };
    let memberships = |pairs: &BTreeSet<(GroupId, UserId)>| {
        let mut pairs: Vec<_> = pairs.iter().map(|(group, id)| (email(id), group.as_str().to_owned())).collect();
        pairs.sort();
        pairs
    };
    let people = PeopleDelta {
        users: Delta { added: names(&change.created), changed: names(&changed), removed: names(&gone) },
        enabled: names(&change.enabled),
        joined: memberships(&change.joined),
        left: memberships(&change.left),
    };
    let mut groups = Delta::default();
    for id in &change.groups {
        let list = match (before.groups.contains_key(id), change.directory.groups.contains_key(id)) {
            (false, _) => &mut groups.added,
            (true, true) => &mut groups.changed,
            (true, false) => &mut groups.removed,
        };
        list.push(id.as_str().to_owned());
    }
    (people, groups)
}

/// Who could reach more and who less, and how many pairs were left out.
pub(super) fn reach(before: &Published, after: &Published, now: Timestamp) -> (Vec<Reach>, Vec<Reach>, usize) {
    let people = everybody(&before.directory, &after.directory);
    let apps: BTreeSet<String> = before.apps.iter().chain(after.apps.iter()).map(|app| app.name.to_string()).collect();
    let (old, new) = (BestCase::of(&before.policies, now), BestCase::of(&after.policies, now));
    let (mut gained, mut lost) = (Vec::new(), Vec::new());
    let pairs = people.iter().flat_map(|person| apps.iter().map(move |app| (person, app)));
    for ((email, id), app) in pairs.take(MAX_PAIRS) {
        for (action, word) in ACTIONS {
            let could = |side: &Published, best: &BestCase| {
                let app = side.apps.iter().find(|it| it.name.as_str() == app);
                let exists = side.directory.users.get(id).is_some_and(|user| user.state != UserState::Disabled);
                exists && app.is_some_and(|app| best.could_in(side.pdp.as_ref(), &Principal::User(*id), *action, app))
            };
            let row = || Reach { user: (*email).clone(), app: app.clone(), action: word };
            match (could(before, &old), could(after, &new)) {
                (false, true) => gained.push(row()),
                (true, false) => lost.push(row()),
                _ => {}
            }
        }
    }
    (gained, lost, (people.len() * apps.len()).saturating_sub(MAX_PAIRS))
}

/// Everybody on either side, by address.
fn everybody(before: &Directory, after: &Directory) -> BTreeMap<String, UserId> {
    let both = before.users.values().chain(after.users.values());
    both.map(|user| (user.email.clone(), user.id)).collect()
}

impl Plan {
    /// True when the files say what is live already.
    pub fn is_live_already(&self) -> bool {
        self.known_as == Some(self.live) && self.live > 0
    }
}
