//! Whether a change would lock everybody out of the control plane (PO-33). The engine is asked, with the policies and the
//! people as they would be; nothing is guessed from names of groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::decision::LOCAL_OPERATOR;
use model::directory::{ADMINS_GROUP, close_groups};
use model::{App, Directory, GroupId, Principal, Timestamp, UserEntry, UserId, UserState};

use pdp_engine::CompiledPolicies;

use super::best_case::BestCase;
use super::{Published, assemble};
use crate::failure::Failure;

/// When files are asked about, which have no clock: a Friday, 08:00 UTC. Every hour is tried where hours matter.
const FORESEEN_AT: Timestamp = Timestamp(1_800_000_000_000_000_000);

/// Whether a change may lock everybody out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Lockout {
    /// Somebody asked for it by name.
    Allow,
    /// It may not.
    #[default]
    Refuse,
}

/// Why everybody would be locked out, if they would.
///
/// Where nobody could administer before either, before the set-up say, it counts whether the administrator that a
/// set-up link makes could.
///
/// # Errors
/// The engine refuses the entities.
pub(super) fn why(before: &Published, after: &Published, now: Timestamp) -> Result<Option<String>, Failure> {
    let best = BestCase::of(&after.policies, now);
    let operator = Principal::Workload(Arc::from(LOCAL_OPERATOR));
    if !best.administers(after.pdp.as_ref(), &operator) {
        return Ok(Some("the local operator could not administer any more".to_owned()));
    }
    if best.somebody_administers(after.pdp.as_ref(), &after.directory) {
        return Ok(None);
    }
    if BestCase::of(&before.policies, now).somebody_administers(before.pdp.as_ref(), &before.directory) {
        return Ok(Some("no enrolled person could administer any more, whatever they prove".to_owned()));
    }
    let newcomer = UserId(uuid::Uuid::max());
    let directory = with_newcomer(&after.directory, newcomer, now);
    let probe = assemble(0, Arc::clone(&after.apps), Arc::clone(&after.policies), directory)?;
    if best.administers(probe.pdp.as_ref(), &Principal::User(newcomer)) {
        return Ok(None);
    }
    Ok(Some("the administrator whom a set-up link makes could not administer".to_owned()))
}

/// Whether somebody could administer before and nobody could afterwards.
pub(super) fn takes_the_last(before: &Published, after: &Published, now: Timestamp) -> bool {
    let best = BestCase::of(&after.policies, now);
    !best.somebody_administers(after.pdp.as_ref(), &after.directory)
        && BestCase::of(&before.policies, now).somebody_administers(before.pdp.as_ref(), &before.directory)
}

/// The most groups whose members are asked about when files are looked at.
const MAX_GROUPS: usize = 200;

/// Why files alone would lock everybody out, as far as they say: the local operator could not administer, or no made-up
/// member of any one group could. Who is enrolled, and groups that people are put in elsewhere, only a server knows.
///
/// # Errors
/// The engine refuses the entities.
pub(super) fn foreseen(
    apps: &Arc<[Arc<App>]>,
    policies: &Arc<CompiledPolicies>,
    directory: &Directory,
) -> Result<Option<String>, Failure> {
    let best = BestCase::of(policies, FORESEEN_AT);
    let someone = UserId(uuid::Uuid::max());
    let could = |principal: &Principal, group: &GroupId| {
        let directory = with_member(directory, someone, group, FORESEEN_AT);
        let probe = assemble(0, Arc::clone(apps), Arc::clone(policies), directory)?;
        Ok::<_, Failure>(best.administers(probe.pdp.as_ref(), principal))
    };
    let admins = GroupId::new(ADMINS_GROUP);
    if !could(&Principal::Workload(Arc::from(LOCAL_OPERATOR)), &admins)? {
        return Ok(Some("the local operator could not administer any more".to_owned()));
    }
    let others = directory.groups.keys().filter(|group| **group != admins).take(MAX_GROUPS);
    for group in [&admins].into_iter().chain(others) {
        if could(&Principal::User(someone), group)? {
            return Ok(None);
        }
    }
    Ok(Some("no member of `admins` or of another group could administer any more, whatever they prove".to_owned()))
}

/// The refusal.
pub(super) fn refusal(why: &str) -> Failure {
    Failure::Conflict {
        message: format!("this would lock everybody out: {why}; use `--allow-lockout` if that is what you want"),
    }
}

/// The directory with one more enrolled member of `admins`.
fn with_newcomer(directory: &Directory, id: UserId, now: Timestamp) -> Arc<Directory> {
    with_member(directory, id, &GroupId::new(ADMINS_GROUP), now)
}

/// The directory with one more enrolled member of a group.
fn with_member(directory: &Directory, id: UserId, group: &GroupId, now: Timestamp) -> Arc<Directory> {
    let user = UserEntry {
        id,
        name: String::new(),
        email: String::new(),
        is_email_verified: false,
        state: UserState::Active,
        direct_groups: BTreeSet::from([group.clone()]),
        groups: close_groups(&BTreeSet::from([group.clone()]), &directory.groups),
        is_external: false,
        created_at: now,
        epoch: 0,
        tags: BTreeMap::new(),
    };
    let mut users: HashMap<UserId, Arc<UserEntry>> = directory.users.clone();
    users.insert(id, Arc::new(user));
    Arc::new(Directory { users, ..directory.clone() })
}
