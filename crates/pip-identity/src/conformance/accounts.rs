//! Cases about passwords, one-time codes, known browsers, recoveries and notices.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    AppName, GroupId, InvitationId, NoticeId, RecoveryId, ServiceSecret, ServiceToken, ServiceTokenId, SessionId,
    Timestamp, TokenHash, UserId, UserState,
};
use uuid::Uuid;

use super::{Outcome, failed, same, user, write};
use crate::store::{
    Approver, DirectoryChange, DirectoryStore, Factors, KeyTouch, MAX_KNOWN_DEVICES, NoticeKind, NoticeRow,
    PasswordRow, RecoveryRow, RecoveryState, SecurityKeyRow, ServiceRow, SignIn, StoreError, TotpRow, Unique, UserRow,
};

const ALICE: UserId = UserId(Uuid::from_u128(1));
const BOB: UserId = UserId(Uuid::from_u128(2));

fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

fn hash(text: &str) -> TokenHash {
    TokenHash::of(text.as_bytes())
}

fn password(of: UserId, hash: &str) -> PasswordRow {
    PasswordRow { user: of, hash: hash.to_owned(), set_at: at(7) }
}

fn totp(of: UserId) -> TotpRow {
    TotpRow { user: of, sealed: vec![0, 255, 1], confirmed_at: at(8), last_step: 100, failures: 0 }
}

fn recovery(n: u128, of: UserId) -> RecoveryRow {
    RecoveryRow {
        id: RecoveryId(Uuid::from_u128(n)),
        user: of,
        revision: 0,
        ticket: Some(hash(&n.to_string())),
        has_code: true,
        has_authenticator: false,
        approvals: vec![
            Approver { name: "carol@corp.example".to_owned(), user: Some(BOB) },
            Approver { name: "local-operator \"'".to_owned(), user: None },
        ],
        state: RecoveryState::Open,
        link: Some(InvitationId(Uuid::from_u128(9))),
        epoch: 3,
        opened_at: at(i64::try_from(n).unwrap_or(0)),
        expires_at: at(1_000),
        ready_at: n.is_multiple_of(2).then(|| at(900)),
    }
}

fn notice(n: u128, of: UserId) -> NoticeRow {
    NoticeRow {
        id: NoticeId(Uuid::from_u128(n)),
        user: of,
        kind: NoticeKind::PasskeyAdded,
        detail: "Laptop ü".to_owned(),
        at: at(i64::try_from(n).unwrap_or(0)),
        seen_at: None,
        token: None,
    }
}

async fn two_people(store: &dyn DirectoryStore) -> Outcome {
    write(store, 0, vec![DirectoryChange::PutUser(user(1)), DirectoryChange::PutUser(user(2))]).await.map(drop)
}

async fn apply(store: &dyn DirectoryStore, change: DirectoryChange) -> Result<(), StoreError> {
    store.apply(None, vec![change]).await.map(drop)
}

pub(super) async fn a_password_gives_way_only_to_whoever_read_it(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    let put = |hash: &str, was: Option<&str>| DirectoryChange::PutPassword {
        row: password(ALICE, hash),
        was: was.map(str::to_owned),
    };
    same("replacing nothing", apply(store, put("b", Some("a"))).await, Err(StoreError::Moved))?;
    same("first", apply(store, put("a", None)).await, Ok(()))?;
    same("first again", apply(store, put("b", None)).await, Err(StoreError::Moved))?;
    same("second", apply(store, put("b", Some("a"))).await, Ok(()))?;
    same("late", apply(store, put("c", Some("a"))).await, Err(StoreError::Moved))?;
    let kept = store.factors_of(ALICE).await.map_err(failed)?;
    same("kept", kept.password, Some(password(ALICE, "b")))?;
    same("another's", store.factors_of(BOB).await.map_err(failed)?, Factors::default())?;
    let stranger = UserId(Uuid::from_u128(99));
    let orphan = DirectoryChange::PutPassword { row: password(stranger, "x"), was: None };
    same("of nobody", apply(store, orphan).await.is_err(), true)
}

pub(super) async fn a_one_time_code_is_accepted_once_and_counted_before(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    apply(store, DirectoryChange::PutTotp(totp(ALICE))).await.map_err(failed)?;
    let attempt = |user| DirectoryChange::TryTotp { user, most: 2 };
    same("of nobody", apply(store, attempt(BOB)).await, Err(StoreError::Moved))?;
    for wanted in [Ok(()), Ok(()), Err(StoreError::Moved)] {
        same("attempt", apply(store, attempt(ALICE)).await, wanted)?;
    }
    let accept = |was, step| DirectoryChange::AcceptTotp { user: ALICE, was, step };
    same("the step of the last code", apply(store, accept(100, 100)).await, Err(StoreError::Moved))?;
    same("an earlier step", apply(store, accept(100, 99)).await, Err(StoreError::Moved))?;
    same("a later step", apply(store, accept(100, 101)).await, Ok(()))?;
    same("the same again", apply(store, accept(100, 101)).await, Err(StoreError::Moved))?;
    let kept = store.factors_of(ALICE).await.map_err(failed)?.totp;
    same("kept", kept, Some(TotpRow { last_step: 101, failures: 0, ..totp(ALICE) }))?;
    apply(store, attempt(ALICE)).await.map_err(failed)?;
    apply(store, DirectoryChange::ClearTotpFailures(BOB)).await.map_err(failed)?;
    apply(store, DirectoryChange::ClearTotpFailures(ALICE)).await.map_err(failed)?;
    let kept = store.factors_of(ALICE).await.map_err(failed)?.totp;
    same("forgiven", kept.map(|row| row.failures), Some(0))?;
    let put = DirectoryChange::PutPassword { row: password(ALICE, "a"), was: None };
    apply(store, put).await.map_err(failed)?;
    apply(store, DirectoryChange::DeletePair(ALICE)).await.map_err(failed)?;
    same("removed", store.factors_of(ALICE).await.map_err(failed)?, Factors::default())
}

pub(super) async fn a_withdrawn_sign_in_changes_nothing(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    let codes = |epoch, words: &[&str]| {
        let session = SessionId(Uuid::from_u128(1));
        let codes = words.iter().map(|word| hash(word)).collect();
        vec![
            DirectoryChange::RequireSignIn(SignIn { user: ALICE, session, epoch, global_epoch: 0 }),
            DirectoryChange::SetRecoveryCodes { user: ALICE, codes },
        ]
    };
    let epoch = user(1).epoch;
    same("signed in", store.apply(None, codes(epoch, &["one"])).await, Ok(1))?;
    same("before its time", store.apply(None, codes(epoch + 1, &["two"])).await, Err(StoreError::SignInEnded))?;
    let people = [
        ("a later epoch", UserRow { epoch: epoch + 1, ..user(1) }),
        ("disabled", UserRow { state: UserState::Disabled, ..user(1) }),
        ("invited", UserRow { state: UserState::Invited, ..user(1) }),
    ];
    for (version, (what, row)) in (1..).zip(people) {
        write(store, version, vec![DirectoryChange::PutUser(row)]).await?;
        same(what, store.apply(None, codes(epoch, &["two"])).await, Err(StoreError::SignInEnded))?;
    }
    same("what was there", store.recovery_codes_of(ALICE).await.map_err(failed)?, vec![hash("one")])?;
    write(store, 4, vec![DirectoryChange::DeleteUser(ALICE)]).await?;
    same("deleted", store.apply(None, codes(epoch, &[])).await, Err(StoreError::SignInEnded))
}

pub(super) async fn the_browsers_used_last_are_known(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    let name = |n: usize| hash(&format!("browser {n}"));
    let know = |n: usize, secs: usize| DirectoryChange::KnowDevice {
        user: ALICE,
        device: name(n),
        at: at(i64::try_from(secs).unwrap_or(0)),
    };
    for n in 0..MAX_KNOWN_DEVICES {
        apply(store, know(n, n)).await.map_err(failed)?;
    }
    apply(store, know(0, 100)).await.map_err(failed)?;
    apply(store, know(MAX_KNOWN_DEVICES, 101)).await.map_err(failed)?;
    let known = store.factors_of(ALICE).await.map_err(failed)?.devices;
    same("how many", known.len(), MAX_KNOWN_DEVICES)?;
    same("the newest first", known.first(), Some(&name(MAX_KNOWN_DEVICES)))?;
    same("used again", known.get(1), Some(&name(0)))?;
    same("the one not used longest is forgotten", known.contains(&name(1)), false)?;
    same("of another", store.factors_of(BOB).await.map_err(failed)?.devices, Vec::new())
}

pub(super) async fn a_recovery_moves_only_from_the_revision_that_was_read(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    let put = |row: RecoveryRow, was| DirectoryChange::PutRecovery { row, was };
    same("added", apply(store, put(recovery(1, ALICE), None)).await, Ok(()))?;
    same("added again", apply(store, put(recovery(1, ALICE), None)).await, Err(StoreError::Moved))?;
    let stolen = RecoveryRow { ticket: recovery(1, ALICE).ticket, ..recovery(2, BOB) };
    same("the same ticket", apply(store, put(stolen, None)).await, Err(StoreError::Taken(Unique::Recovery)))?;
    let next = RecoveryRow {
        revision: 1,
        has_authenticator: true,
        state: RecoveryState::Linked,
        link: None,
        ..recovery(1, ALICE)
    };
    same("moved", apply(store, put(next.clone(), Some(0))).await, Ok(()))?;
    same("moved again", apply(store, put(next.clone(), Some(0))).await, Err(StoreError::Moved))?;
    let helped = RecoveryRow { ticket: None, expires_at: at(10), ..recovery(3, BOB) };
    let second = RecoveryRow { ticket: None, ..recovery(4, BOB) };
    for row in [&helped, &second] {
        apply(store, put(row.clone(), None)).await.map_err(failed)?;
    }
    let rows = store.recoveries().await.map_err(failed)?;
    same("newest first", rows, vec![second.clone(), helped, next.clone()])?;
    apply(store, DirectoryChange::PurgeRecoveries { before: at(11) }).await.map_err(failed)?;
    same("purged", store.recoveries().await.map_err(failed)?, vec![second, next])
}

pub(super) async fn a_notice_is_armed_used_once_and_seen(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    for row in [notice(1, ALICE), notice(2, ALICE), notice(3, BOB)] {
        apply(store, DirectoryChange::AddNotice(row)).await.map_err(failed)?;
    }
    let arm =
        |n: u128, token: &str| DirectoryChange::ArmNotice { id: NoticeId(Uuid::from_u128(n)), token: hash(token) };
    apply(store, arm(1, "one")).await.map_err(failed)?;
    same("the same token", apply(store, arm(2, "one")).await, Err(StoreError::Taken(Unique::Notice)))?;
    same("no such notice", apply(store, arm(9, "nine")).await, Err(StoreError::Moved))?;
    apply(store, arm(1, "two")).await.map_err(failed)?;
    same("the earlier token", store.notice(hash("one")).await.map_err(failed)?, None)?;
    let armed = NoticeRow { token: Some(hash("two")), ..notice(1, ALICE) };
    same("by token", store.notice(hash("two")).await.map_err(failed)?, Some(armed))?;
    let take = DirectoryChange::UseNotice { token: hash("two") };
    same("used", apply(store, take.clone()).await, Ok(()))?;
    same("used again", apply(store, take).await, Err(StoreError::Moved))?;
    let see = DirectoryChange::SeeNotices { user: ALICE, until: at(1), at: at(50) };
    apply(store, see).await.map_err(failed)?;
    let seen = NoticeRow { seen_at: Some(at(50)), ..notice(1, ALICE) };
    same("newest first", store.notices_of(ALICE).await.map_err(failed)?, vec![notice(2, ALICE), seen])?;
    apply(store, DirectoryChange::PurgeNotices { before: at(2) }).await.map_err(failed)?;
    same("purged", store.notices_of(ALICE).await.map_err(failed)?, vec![notice(2, ALICE)])?;
    same("another's", store.notices_of(BOB).await.map_err(failed)?, vec![notice(3, BOB)])
}

pub(super) async fn waiting_for_saved_codes_is_part_of_the_directory(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    let unversioned = store.apply(None, vec![DirectoryChange::AwaitCodes(ALICE)]).await;
    same("without version", unversioned.is_err(), true)?;
    let version = write(store, 1, vec![DirectoryChange::AwaitCodes(ALICE), DirectoryChange::AwaitCodes(ALICE)]).await?;
    same("version", version, 2)?;
    let rows = store.load().await.map_err(failed)?;
    same("waiting", rows.awaiting_codes.into_iter().collect::<Vec<_>>(), vec![ALICE])?;
    write(store, 2, vec![DirectoryChange::CodesSaved(ALICE), DirectoryChange::CodesSaved(BOB)]).await?;
    same("saved", store.load().await.map_err(failed)?.awaiting_codes.len(), 0)
}

fn key(id: u8, of: UserId) -> SecurityKeyRow {
    SecurityKeyRow {
        credential_id: vec![id, 0, 255],
        user: of,
        name: "Blue key".to_owned(),
        created_at: at(i64::from(id)),
        last_used_at: None,
        counter: 7,
        credential: b"{}".to_vec(),
    }
}

pub(super) async fn a_security_key_is_no_passkey_and_goes_with_the_password(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    for row in [key(2, ALICE), key(1, ALICE), key(3, BOB)] {
        apply(store, DirectoryChange::AddKey(row)).await.map_err(failed)?;
    }
    let taken = apply(store, DirectoryChange::AddKey(key(1, BOB))).await;
    same("an id twice", taken, Err(StoreError::Taken(Unique::CredentialId)))?;
    same("no passkey", store.passkey(&key(1, ALICE).credential_id).await.map_err(failed)?, None)?;
    let touch = |expected_counter| {
        DirectoryChange::TouchKey(KeyTouch {
            credential_id: key(1, ALICE).credential_id,
            expected_counter,
            counter: 8,
            at: at(9),
        })
    };
    same("another counter", apply(store, touch(6)).await, Err(StoreError::Moved))?;
    same("its counter", apply(store, touch(7)).await, Ok(()))?;
    let used = SecurityKeyRow { counter: 8, last_used_at: Some(at(9)), ..key(1, ALICE) };
    same("oldest first", store.factors_of(ALICE).await.map_err(failed)?.keys, vec![used, key(2, ALICE)])?;
    let delete = |user| DirectoryChange::DeleteKey { user, credential_id: key(1, ALICE).credential_id };
    same("of another", apply(store, delete(BOB)).await, Err(StoreError::Moved))?;
    same("one's own", apply(store, delete(ALICE)).await, Ok(()))?;
    apply(store, DirectoryChange::DeletePair(ALICE)).await.map_err(failed)?;
    same("with the password", store.factors_of(ALICE).await.map_err(failed)?.keys.len(), 0)?;
    write(store, 1, vec![DirectoryChange::DeleteUser(BOB)]).await?;
    same("with the person", store.factors_of(BOB).await.map_err(failed)?.keys.len(), 0)
}

pub(super) async fn a_wish_for_deletion_keeps_its_time_and_goes_with_its_person(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    let ask = |user, secs| DirectoryChange::AskDeletion { user, at: at(secs) };
    same("without version", store.apply(None, vec![ask(ALICE, 5)]).await.is_err(), true)?;
    write(store, 1, vec![ask(ALICE, 5), ask(ALICE, 9), ask(BOB, 6)]).await?;
    let wishes = store.load().await.map_err(failed)?.deletion_wishes;
    same("wishes", wishes.into_iter().collect::<Vec<_>>(), vec![(ALICE, at(5)), (BOB, at(6))])?;
    write(store, 2, vec![DirectoryChange::DropDeletion(BOB), DirectoryChange::DeleteUser(ALICE)]).await?;
    same("left", store.load().await.map_err(failed)?.deletion_wishes.len(), 0)
}

pub(super) async fn a_deleted_person_leaves_no_way_in_behind(store: &dyn DirectoryStore) -> Outcome {
    two_people(store).await?;
    let batch = vec![
        DirectoryChange::AwaitCodes(ALICE),
        DirectoryChange::PutPassword { row: password(ALICE, "a"), was: None },
        DirectoryChange::PutTotp(totp(ALICE)),
        DirectoryChange::KnowDevice { user: ALICE, device: hash("browser"), at: at(1) },
        DirectoryChange::PutRecovery { row: recovery(1, ALICE), was: None },
        DirectoryChange::PutRecovery { row: recovery(2, BOB), was: None },
        DirectoryChange::AddNotice(notice(1, ALICE)),
        DirectoryChange::AddRecoveryCode { user: ALICE, code: hash("code") },
    ];
    write(store, 1, batch).await?;
    same("code", store.recovery_codes_of(ALICE).await.map_err(failed)?, vec![hash("code")])?;
    write(store, 2, vec![DirectoryChange::DeleteUser(ALICE)]).await?;
    same("waiting", store.load().await.map_err(failed)?.awaiting_codes.len(), 0)?;
    same("factors", store.factors_of(ALICE).await.map_err(failed)?, Factors::default())?;
    same("recoveries", store.recoveries().await.map_err(failed)?, vec![recovery(2, BOB)])?;
    same("notices", store.notices_of(ALICE).await.map_err(failed)?, Vec::new())?;
    same("codes", store.recovery_codes_of(ALICE).await.map_err(failed)?, Vec::new())
}

pub(super) async fn a_service_account_goes_with_its_tokens(store: &dyn DirectoryStore) -> Outcome {
    let service = |name: &str, is_enabled| ServiceRow {
        name: Arc::from(name),
        title: "Nightly export".into(),
        owner: Some(UserId(Uuid::from_u128(9))),
        is_enabled,
        groups: BTreeSet::from([GroupId::new("robots")]),
        created_at: Timestamp(5),
    };
    let token = |number: u128, service: &str, hash: u8| ServiceToken {
        id: ServiceTokenId(Uuid::from_u128(number)),
        service: Arc::from(service),
        apps: BTreeSet::from([AppName::new("payroll"), AppName::new("wiki")]),
        created_at: Timestamp(6),
        secrets: vec![ServiceSecret {
            hash: TokenHash([hash; 32]),
            created_at: Timestamp(6),
            expires_at: Timestamp(60),
        }],
    };
    let first = vec![
        DirectoryChange::PutService(service("nightly", true)),
        DirectoryChange::PutService(service("backup", true)),
        DirectoryChange::PutServiceToken(token(1, "nightly", 1)),
        DirectoryChange::PutServiceToken(token(2, "nightly", 2)),
        DirectoryChange::PutServiceToken(token(3, "backup", 3)),
    ];
    same("version", store.apply(Some(0), first).await, Ok(1))?;
    let orphan = vec![DirectoryChange::PutServiceToken(token(4, "nobody", 4))];
    if store.apply(Some(1), orphan).await.is_ok() {
        return Err("a token of an account that does not exist was kept".into());
    }
    let second = vec![
        DirectoryChange::PutService(service("nightly", false)),
        DirectoryChange::PutServiceToken(token(1, "nightly", 7)),
        DirectoryChange::DeleteServiceToken(ServiceTokenId(Uuid::from_u128(2))),
    ];
    same("version", store.apply(Some(1), second).await, Ok(2))?;
    let rows = store.load().await.map_err(|error| error.to_string())?;
    same("accounts", rows.services, vec![service("backup", true), service("nightly", false)])?;
    same("tokens", rows.service_tokens, vec![token(1, "nightly", 7), token(3, "backup", 3)])?;
    same("version", store.apply(Some(2), vec![DirectoryChange::DeleteService(Arc::from("nightly"))]).await, Ok(3))?;
    let rows = store.load().await.map_err(|error| error.to_string())?;
    same("accounts", rows.services, vec![service("backup", true)])?;
    same("tokens", rows.service_tokens, vec![token(3, "backup", 3)])
}
