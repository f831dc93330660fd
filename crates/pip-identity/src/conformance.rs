//! What every [`DirectoryStore`] must do, as cases that any implementation's tests run: the in-memory one here,
//! SQLite in `store`. Each case gets an empty store.

mod accounts;

use std::collections::{BTreeMap, BTreeSet};

use model::directory::GroupId;
use model::{BoxFuture, InvitationId, Timestamp, TokenHash, UserId, UserState};
use uuid::Uuid;

use self::accounts::{
    a_deleted_person_leaves_no_way_in_behind, a_notice_is_armed_used_once_and_seen,
    a_one_time_code_is_accepted_once_and_counted_before, a_password_gives_way_only_to_whoever_read_it,
    a_recovery_moves_only_from_the_revision_that_was_read, a_security_key_is_no_passkey_and_goes_with_the_password,
    a_service_account_goes_with_its_tokens, a_wish_for_deletion_keeps_its_time_and_goes_with_its_person,
    a_withdrawn_sign_in_changes_nothing, the_browsers_used_last_are_known,
    waiting_for_saved_codes_is_part_of_the_directory,
};
use crate::store::{
    DirectoryChange, DirectoryStore, GroupRow, LinkKind, LinkRow, LinkState, MembershipRow, MembershipSource, Origin,
    PasskeyRow, PasskeyTouch, StoreError, USER_HANDLE_BYTES, Unique, UserRow,
};

/// What a case found: the first thing that is not as it must be.
pub type Outcome = Result<(), String>;

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: &'static str,
    /// The methods of the trait it covers.
    pub covers: &'static [&'static str],
    /// Runs it on an empty store.
    pub run: for<'a> fn(&'a dyn DirectoryStore) -> BoxFuture<'a, Outcome>,
}

/// The methods of [`DirectoryStore`]; a test holds this against what the cases cover.
pub const METHODS: &[&str] = &[
    "apply",
    "factors_of",
    "link",
    "links",
    "load",
    "notice",
    "notices_of",
    "passkey",
    "passkeys_of",
    "recoveries",
    "recovery_codes_of",
];

macro_rules! cases {
    ($($name:ident covers $($method:literal)*;)*) => {
        /// Every case.
        pub const CASES: &[Case] = &[$(Case {
            name: stringify!($name),
            covers: &[$($method),*],
            run: |store| Box::pin($name(store)),
        },)*];
    };
}

cases! {
    a_batch_that_fails_half_way_changes_nothing covers "apply" "load";
    a_batch_on_an_old_version_changes_nothing covers "apply" "load";
    a_counter_that_moved_refuses_the_touch covers "apply" "passkey";
    a_credential_id_belongs_to_one_person covers "apply" "passkey" "passkeys_of";
    a_deleted_group_leaves_no_membership covers "apply" "load";
    a_deleted_person_leaves_nothing_behind covers "apply" "load" "link" "passkey" "passkeys_of" "recovery_codes_of";
    a_link_is_used_once covers "apply" "link";
    a_recovery_code_is_spent_once covers "apply" "recovery_codes_of";
    a_deleted_person_leaves_no_way_in_behind covers "factors_of" "notices_of" "recoveries";
    a_notice_is_armed_used_once_and_seen covers "apply" "notice" "notices_of";
    a_one_time_code_is_accepted_once_and_counted_before covers "apply" "factors_of";
    a_password_gives_way_only_to_whoever_read_it covers "apply" "factors_of";
    a_recovery_moves_only_from_the_revision_that_was_read covers "apply" "recoveries";
    a_withdrawn_sign_in_changes_nothing covers "apply" "recovery_codes_of";
    the_browsers_used_last_are_known covers "apply" "factors_of";
    a_service_account_goes_with_its_tokens covers "apply" "load";
    waiting_for_saved_codes_is_part_of_the_directory covers "apply" "load";
    a_security_key_is_no_passkey_and_goes_with_the_password covers "apply" "factors_of" "passkey";
    a_wish_for_deletion_keeps_its_time_and_goes_with_its_person covers "apply" "load";
    addresses_are_unique_without_regard_to_case covers "apply";
    an_empty_store_is_at_version_zero covers "load" "links";
    every_column_reads_back_as_written covers "apply" "load" "passkey" "link" "recovery_codes_of";
    links_are_voided_and_purged covers "apply" "link" "links";
    only_the_directory_moves_the_version covers "apply" "load";
    passkeys_are_listed_oldest_first covers "passkeys_of";
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Outcome {
    if found == wanted { Ok(()) } else { Err(format!("{what}: found {found:?}, wanted {wanted:?}")) }
}

fn failed(error: StoreError) -> String {
    format!("the store failed: {error}")
}

async fn write(store: &dyn DirectoryStore, expected: u64, changes: Vec<DirectoryChange>) -> Result<u64, String> {
    store.apply(Some(expected), changes).await.map_err(failed)
}

fn user(n: u128) -> UserRow {
    let mut handle = [0; USER_HANDLE_BYTES];
    for (byte, value) in handle.iter_mut().zip(n.to_be_bytes()) {
        *byte = value;
    }
    UserRow {
        id: UserId(Uuid::from_u128(n)),
        email: format!("user{n}@corp.example"),
        name: format!("User {n}"),
        state: UserState::Active,
        is_external: false,
        created_at: Timestamp::from_unix_secs(1_000),
        epoch: 0,
        tags: BTreeMap::new(),
        origin: Origin::Local,
        handle,
    }
}

fn group(id: &str) -> GroupRow {
    GroupRow {
        id: GroupId::new(id),
        title: id.to_owned(),
        parents: BTreeSet::new(),
        origin: Origin::Local,
        membership: MembershipSource::External,
    }
}

fn membership(group: &str, user: u128) -> MembershipRow {
    MembershipRow {
        group: GroupId::new(group),
        user: UserId(Uuid::from_u128(user)),
        source: MembershipSource::External,
    }
}

fn passkey(id: &[u8], user: u128, secs: i64) -> PasskeyRow {
    PasskeyRow {
        credential_id: id.to_vec(),
        user: UserId(Uuid::from_u128(user)),
        name: "Laptop".into(),
        created_at: Timestamp::from_unix_secs(secs),
        last_used_at: None,
        counter: 7,
        is_backup_eligible: true,
        is_backed_up: false,
        credential: b"{}".to_vec(),
    }
}

fn link(n: u128, user: Option<u128>) -> LinkRow {
    LinkRow {
        id: InvitationId(Uuid::from_u128(n)),
        secret_hash: TokenHash::of(&n.to_be_bytes()),
        kind: LinkKind::Invitation,
        user: user.map(|user| UserId(Uuid::from_u128(user))),
        created_by: "carol@corp.example".into(),
        created_at: Timestamp::from_unix_secs(i64::try_from(n).unwrap_or(0)),
        expires_at: Timestamp::from_unix_secs(100_000),
        state: LinkState::Open,
        ended_at: None,
    }
}

async fn an_empty_store_is_at_version_zero(store: &dyn DirectoryStore) -> Outcome {
    same("rows", store.load().await.map_err(failed)?, Default::default())?;
    same("links", store.links().await.map_err(failed)?, Vec::new())
}

async fn every_column_reads_back_as_written(store: &dyn DirectoryStore) -> Outcome {
    let mut alice = user(1);
    alice.email = "Alice.O'Neil+x@corp.example".into();
    alice.state = UserState::Disabled;
    alice.is_external = true;
    alice.epoch = 41;
    alice.tags = BTreeMap::from([("team".to_owned(), BTreeSet::from(["a".to_owned(), "ü \"'".to_owned()]))]);
    alice.origin = Origin::Applied { declared_at: "people.yaml:3".into(), is_disabled: true };
    alice.handle = [0xff; USER_HANDLE_BYTES];
    let mut staff = group("staff");
    staff.parents = BTreeSet::from([GroupId::new("everyone")]);
    staff.origin = Origin::Applied { declared_at: "groups.yaml:1".into(), is_disabled: false };
    staff.membership = MembershipSource::Applied;
    let mut member = membership("staff", 1);
    member.source = MembershipSource::Applied;
    let mut key = passkey(&[0, 255, 1], 1, 5);
    key.counter = u32::MAX;
    key.last_used_at = Some(Timestamp(1_795_340_000_123_456_789));
    let mut used = link(9, None);
    used.kind = LinkKind::SetUp;
    used.state = LinkState::Used;
    used.ended_at = Some(Timestamp(-1));
    let codes = vec![TokenHash::of(b"a")];
    write(
        store,
        0,
        vec![
            DirectoryChange::PutGroup(group("everyone")),
            DirectoryChange::PutGroup(staff.clone()),
            DirectoryChange::PutUser(alice.clone()),
            DirectoryChange::PutMembership(member.clone()),
            DirectoryChange::AddPasskey(key.clone()),
            DirectoryChange::PutLink(used.clone()),
            DirectoryChange::SetRecoveryCodes { user: alice.id, codes: codes.clone() },
        ],
    )
    .await?;
    let rows = store.load().await.map_err(failed)?;
    same("users", rows.users, vec![alice.clone()])?;
    same("groups", rows.groups, vec![group("everyone"), staff])?;
    same("memberships", rows.memberships, vec![member])?;
    same("passkey", store.passkey(&[0, 255, 1]).await.map_err(failed)?, Some(key))?;
    same("link", store.link(used.secret_hash).await.map_err(failed)?, Some(used))?;
    same("codes", store.recovery_codes_of(alice.id).await.map_err(failed)?, codes)
}

async fn only_the_directory_moves_the_version(store: &dyn DirectoryStore) -> Outcome {
    let version = write(store, 0, vec![DirectoryChange::PutUser(user(1)), DirectoryChange::PutUser(user(2))]).await?;
    same("version after one batch", version, 1)?;
    let changes = vec![DirectoryChange::AddPasskey(passkey(b"k", 1, 5)), DirectoryChange::PutLink(link(1, Some(1)))];
    same("version after credentials", store.apply(None, changes).await, Ok(1))?;
    let unversioned = store.apply(None, vec![DirectoryChange::PutUser(user(3))]).await;
    same("a directory change without version is refused", unversioned.is_err(), true)?;
    same("version", store.load().await.map_err(failed)?.version, 1)
}

async fn a_batch_on_an_old_version_changes_nothing(store: &dyn DirectoryStore) -> Outcome {
    write(store, 0, vec![DirectoryChange::PutUser(user(1))]).await?;
    let late = store.apply(Some(0), vec![DirectoryChange::PutUser(user(2))]).await;
    same("late batch", late, Err(StoreError::VersionMoved { expected: 0, found: 1 }))?;
    same("users", store.load().await.map_err(failed)?.users, vec![user(1)])
}

async fn a_batch_that_fails_half_way_changes_nothing(store: &dyn DirectoryStore) -> Outcome {
    write(store, 0, vec![DirectoryChange::PutUser(user(1))]).await?;
    let before = store.load().await.map_err(failed)?;
    let batch = vec![
        DirectoryChange::PutUser(user(2)),
        DirectoryChange::UseLink { id: InvitationId(Uuid::from_u128(99)), at: Timestamp(0) },
    ];
    same("batch", store.apply(Some(1), batch).await, Err(StoreError::Moved))?;
    same("rows", store.load().await.map_err(failed)?, before)
}

async fn addresses_are_unique_without_regard_to_case(store: &dyn DirectoryStore) -> Outcome {
    write(store, 0, vec![DirectoryChange::PutUser(user(1))]).await?;
    let mut double = user(2);
    double.email = "USER1@corp.example".into();
    let taken = store.apply(Some(1), vec![DirectoryChange::PutUser(double)]).await;
    same("same address", taken, Err(StoreError::Taken(Unique::Email)))?;
    let mut double = user(2);
    double.handle = user(1).handle;
    let taken = store.apply(Some(1), vec![DirectoryChange::PutUser(double)]).await;
    same("same handle", taken, Err(StoreError::Taken(Unique::Handle)))?;
    let mut renamed = user(1);
    renamed.email = "new@corp.example".into();
    let mut follower = user(2);
    follower.email = "user1@corp.example".into();
    let batch = vec![DirectoryChange::PutUser(renamed), DirectoryChange::PutUser(follower)];
    same("a freed address may be taken", store.apply(Some(1), batch).await, Ok(2))
}

async fn a_deleted_group_leaves_no_membership(store: &dyn DirectoryStore) -> Outcome {
    let batch = vec![
        DirectoryChange::PutUser(user(1)),
        DirectoryChange::PutGroup(group("a")),
        DirectoryChange::PutGroup(group("b")),
        DirectoryChange::PutMembership(membership("a", 1)),
        DirectoryChange::PutMembership(membership("b", 1)),
    ];
    write(store, 0, batch).await?;
    let orphan = store.apply(Some(1), vec![DirectoryChange::PutMembership(membership("none", 1))]).await;
    same("a membership of nothing is refused", orphan.is_err(), true)?;
    let batch =
        vec![DirectoryChange::DeleteGroup(GroupId::new("a")), DirectoryChange::DeleteGroup(GroupId::new("never"))];
    write(store, 1, batch).await?;
    same("memberships", store.load().await.map_err(failed)?.memberships, vec![membership("b", 1)])?;
    let remove = DirectoryChange::DeleteMembership { group: GroupId::new("b"), user: UserId(Uuid::from_u128(1)) };
    write(store, 2, vec![remove.clone()]).await?;
    write(store, 3, vec![remove]).await?;
    same("memberships", store.load().await.map_err(failed)?.memberships, Vec::new())
}

async fn a_deleted_person_leaves_nothing_behind(store: &dyn DirectoryStore) -> Outcome {
    let id = UserId(Uuid::from_u128(1));
    let batch = vec![
        DirectoryChange::PutUser(user(1)),
        DirectoryChange::PutUser(user(2)),
        DirectoryChange::PutGroup(group("a")),
        DirectoryChange::PutMembership(membership("a", 1)),
        DirectoryChange::PutMembership(membership("a", 2)),
        DirectoryChange::AddPasskey(passkey(b"k1", 1, 5)),
        DirectoryChange::AddPasskey(passkey(b"k2", 2, 5)),
        DirectoryChange::PutLink(link(1, Some(1))),
        DirectoryChange::PutLink(link(2, Some(2))),
        DirectoryChange::SetRecoveryCodes { user: id, codes: vec![TokenHash::of(b"a")] },
    ];
    write(store, 0, batch).await?;
    write(store, 1, vec![DirectoryChange::DeleteUser(id)]).await?;
    let rows = store.load().await.map_err(failed)?;
    same("users", rows.users, vec![user(2)])?;
    same("memberships", rows.memberships, vec![membership("a", 2)])?;
    same("passkey", store.passkey(b"k1").await.map_err(failed)?, None)?;
    same("passkeys", store.passkeys_of(id).await.map_err(failed)?, Vec::new())?;
    same("other's passkey", store.passkey(b"k2").await.map_err(failed)?, Some(passkey(b"k2", 2, 5)))?;
    same("link", store.link(link(1, None).secret_hash).await.map_err(failed)?, None)?;
    same("other's link", store.link(link(2, None).secret_hash).await.map_err(failed)?, Some(link(2, Some(2))))?;
    same("codes", store.recovery_codes_of(id).await.map_err(failed)?, Vec::new())
}

async fn a_credential_id_belongs_to_one_person(store: &dyn DirectoryStore) -> Outcome {
    write(store, 0, vec![DirectoryChange::PutUser(user(1)), DirectoryChange::PutUser(user(2))]).await?;
    store.apply(None, vec![DirectoryChange::AddPasskey(passkey(b"k", 1, 5))]).await.map_err(failed)?;
    let again = store.apply(None, vec![DirectoryChange::AddPasskey(passkey(b"k", 2, 6))]).await;
    same("second owner", again, Err(StoreError::Taken(Unique::CredentialId)))?;
    let other = UserId(Uuid::from_u128(2));
    let steal = DirectoryChange::DeletePasskey { user: other, credential_id: b"k".to_vec() };
    same("removal by another", store.apply(None, vec![steal]).await, Err(StoreError::Moved))?;
    same("owner", store.passkey(b"k").await.map_err(failed)?, Some(passkey(b"k", 1, 5)))?;
    let own = DirectoryChange::DeletePasskey { user: UserId(Uuid::from_u128(1)), credential_id: b"k".to_vec() };
    same("removal by its owner", store.apply(None, vec![own]).await, Ok(1))?;
    same("passkeys", store.passkeys_of(UserId(Uuid::from_u128(1))).await.map_err(failed)?, Vec::new())
}

async fn passkeys_are_listed_oldest_first(store: &dyn DirectoryStore) -> Outcome {
    let batch = vec![
        DirectoryChange::PutUser(user(1)),
        DirectoryChange::AddPasskey(passkey(b"a", 1, 9)),
        DirectoryChange::AddPasskey(passkey(b"b", 1, 5)),
    ];
    write(store, 0, batch).await?;
    let rows = store.passkeys_of(UserId(Uuid::from_u128(1))).await.map_err(failed)?;
    same("order", rows, vec![passkey(b"b", 1, 5), passkey(b"a", 1, 9)])
}

async fn a_counter_that_moved_refuses_the_touch(store: &dyn DirectoryStore) -> Outcome {
    let batch = vec![DirectoryChange::PutUser(user(1)), DirectoryChange::AddPasskey(passkey(b"k", 1, 5))];
    write(store, 0, batch).await?;
    let touch = PasskeyTouch {
        credential_id: b"k".to_vec(),
        expected_counter: 7,
        counter: 8,
        is_backed_up: true,
        at: Timestamp::from_unix_secs(20),
    };
    same("touch", store.apply(None, vec![DirectoryChange::TouchPasskey(touch.clone())]).await, Ok(1))?;
    let again = store.apply(None, vec![DirectoryChange::TouchPasskey(touch)]).await;
    same("the same touch again", again, Err(StoreError::Moved))?;
    let mut wanted = passkey(b"k", 1, 5);
    wanted.counter = 8;
    wanted.is_backed_up = true;
    wanted.last_used_at = Some(Timestamp::from_unix_secs(20));
    same("row", store.passkey(b"k").await.map_err(failed)?, Some(wanted))
}

async fn a_link_is_used_once(store: &dyn DirectoryStore) -> Outcome {
    store.apply(None, vec![DirectoryChange::PutLink(link(1, None))]).await.map_err(failed)?;
    let again = store.apply(None, vec![DirectoryChange::PutLink(link(1, None))]).await;
    same("the same link again", again, Err(StoreError::Taken(Unique::Link)))?;
    let at = Timestamp::from_unix_secs(50);
    let take = vec![DirectoryChange::UseLink { id: link(1, None).id, at }];
    same("first use", store.apply(None, take.clone()).await, Ok(0))?;
    same("second use", store.apply(None, take).await, Err(StoreError::Moved))?;
    let mut wanted = link(1, None);
    wanted.state = LinkState::Used;
    wanted.ended_at = Some(at);
    same("row", store.link(wanted.secret_hash).await.map_err(failed)?, Some(wanted))
}

async fn links_are_voided_and_purged(store: &dyn DirectoryStore) -> Outcome {
    write(store, 0, vec![DirectoryChange::PutUser(user(1)), DirectoryChange::PutUser(user(2))]).await?;
    let mut old = link(3, Some(2));
    old.expires_at = Timestamp::from_unix_secs(10);
    let mut unbound = link(4, None);
    unbound.kind = LinkKind::SetUp;
    let rows = [link(1, Some(1)), link(2, Some(2)), old, unbound.clone()];
    let put = rows.into_iter().map(DirectoryChange::PutLink).collect();
    store.apply(None, put).await.map_err(failed)?;
    let at = Timestamp::from_unix_secs(50);
    let void = |kind, user| DirectoryChange::VoidLinks { kind, user, at };
    let alice = Some(UserId(Uuid::from_u128(1)));
    let batch = vec![
        void(LinkKind::Invitation, alice),
        void(LinkKind::SetUp, alice),
        void(LinkKind::Invitation, None),
        DirectoryChange::PurgeLinks { before: at },
    ];
    store.apply(None, batch).await.map_err(failed)?;
    let mut voided = link(1, Some(1));
    voided.state = LinkState::Voided;
    voided.ended_at = Some(at);
    same("links", store.links().await.map_err(failed)?, vec![unbound.clone(), link(2, Some(2)), voided.clone()])?;
    let dead = store.apply(None, vec![DirectoryChange::UseLink { id: voided.id, at }]).await;
    same("use of a voided link", dead, Err(StoreError::Moved))?;
    store.apply(None, vec![void(LinkKind::SetUp, None)]).await.map_err(failed)?;
    let state = store.link(unbound.secret_hash).await.map_err(failed)?.map(|row| row.state);
    same("unbound link", state, Some(LinkState::Voided))
}

async fn a_recovery_code_is_spent_once(store: &dyn DirectoryStore) -> Outcome {
    write(store, 0, vec![DirectoryChange::PutUser(user(1)), DirectoryChange::PutUser(user(2))]).await?;
    let (alice, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
    let hash = |text: &str| TokenHash::of(text.as_bytes());
    let set = DirectoryChange::SetRecoveryCodes { user: alice, codes: vec![hash("a"), hash("b")] };
    store.apply(None, vec![set]).await.map_err(failed)?;
    let take = |user, code| vec![DirectoryChange::TakeRecoveryCode { user, code: hash(code) }];
    same("by another", store.apply(None, take(bob, "a")).await, Err(StoreError::Moved))?;
    same("first", store.apply(None, take(alice, "a")).await, Ok(1))?;
    same("again", store.apply(None, take(alice, "a")).await, Err(StoreError::Moved))?;
    let add = DirectoryChange::AddRecoveryCode { user: alice, code: hash("c") };
    store.apply(None, vec![add]).await.map_err(failed)?;
    let mut left = store.recovery_codes_of(alice).await.map_err(failed)?;
    left.sort();
    let mut wanted = vec![hash("b"), hash("c")];
    wanted.sort();
    same("left", left, wanted)?;
    let clear = DirectoryChange::SetRecoveryCodes { user: alice, codes: Vec::new() };
    store.apply(None, vec![clear]).await.map_err(failed)?;
    same("cleared", store.recovery_codes_of(alice).await.map_err(failed)?, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    #[tokio::test]
    async fn the_memory_store_conforms() {
        for case in CASES {
            let store = MemoryStore::new();
            (case.run)(&store).await.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
    }

    #[test]
    fn every_method_has_a_case() {
        let source = include_str!("store.rs");
        let (_, body) = source.split_once("pub trait DirectoryStore").unwrap();
        let methods: Vec<&str> = body
            .lines()
            .filter_map(|line| line.strip_prefix("    fn "))
            .map(|line| line.split(['(', '<']).next().unwrap())
            .collect();
        for method in &methods {
            assert!(METHODS.contains(method), "`{method}` is not in METHODS");
            assert!(CASES.iter().any(|case| case.covers.contains(method)), "no case covers `{method}`");
        }
        assert_eq!(methods.len(), METHODS.len());
    }
}
