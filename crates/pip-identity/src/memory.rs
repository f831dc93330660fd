//! A [`DirectoryStore`] that keeps nothing beyond the process: for tests and for the conformance suite's own proof.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::directory::GroupId;
use model::{
    BoxFuture, InvitationId, NoticeId, RecoveryId, ServiceToken, ServiceTokenId, Timestamp, TokenHash, UserId,
    UserState,
};

use crate::store::{
    DirectoryChange, DirectoryRows, DirectoryStore, Factors, GroupRow, LinkRow, LinkState, MAX_KNOWN_DEVICES,
    MembershipRow, NoteRow, NoticeRow, PasskeyRow, PasskeyTouch, PasswordRow, RecoveryRow, SecurityKeyRow, ServiceRow,
    StoreError, TotpRow, Unique, UserRow,
};

/// The store.
#[derive(Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Clone, Default)]
struct Tables {
    version: u64,
    users: BTreeMap<UserId, UserRow>,
    groups: BTreeMap<GroupId, GroupRow>,
    memberships: BTreeMap<(GroupId, UserId), MembershipRow>,
    passkeys: BTreeMap<Vec<u8>, PasskeyRow>,
    links: BTreeMap<InvitationId, LinkRow>,
    codes: BTreeMap<UserId, Vec<TokenHash>>,
    awaiting_codes: BTreeSet<UserId>,
    deletion_wishes: BTreeMap<UserId, Timestamp>,
    passwords: BTreeMap<UserId, PasswordRow>,
    totps: BTreeMap<UserId, TotpRow>,
    keys: BTreeMap<Vec<u8>, SecurityKeyRow>,
    devices: BTreeMap<UserId, Vec<(Timestamp, TokenHash)>>,
    recoveries: BTreeMap<RecoveryId, RecoveryRow>,
    notices: BTreeMap<NoticeId, NoticeRow>,
    notes: Vec<NoteRow>,
    services: BTreeMap<Arc<str>, ServiceRow>,
    service_tokens: BTreeMap<ServiceTokenId, ServiceToken>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every note that was put down.
    pub fn notes(&self) -> Vec<NoteRow> {
        self.tables().notes.clone()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A batch is applied to a copy, so a panic elsewhere cannot have left half of one behind.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply_now(&self, expected: Option<u64>, changes: Vec<DirectoryChange>) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let moves = changes.iter().any(DirectoryChange::moves_directory);
        match expected {
            Some(expected) if expected != tables.version => {
                return Err(StoreError::VersionMoved { expected, found: tables.version });
            }
            None if moves => {
                return Err(StoreError::Backend("a change of the directory needs the expected version".into()));
            }
            _ => {}
        }
        let mut next = tables.clone();
        for change in changes {
            next.change(change)?;
        }
        if moves {
            next.version += 1;
        }
        *tables = next;
        Ok(tables.version)
    }
}

impl Tables {
    fn change(&mut self, change: DirectoryChange) -> Result<(), StoreError> {
        match change {
            DirectoryChange::AddPasskey(row) => return self.add_passkey(row),
            DirectoryChange::AskDeletion { user, at } => {
                self.exists("a wish for deletion", user)?;
                self.deletion_wishes.entry(user).or_insert(at);
            }
            DirectoryChange::AwaitCodes(user) => {
                self.awaiting_codes.insert(user);
            }
            DirectoryChange::CodesSaved(user) => {
                self.awaiting_codes.remove(&user);
            }
            DirectoryChange::DropDeletion(user) => {
                self.deletion_wishes.remove(&user);
            }
            DirectoryChange::DeleteGroup(id) => {
                self.groups.remove(&id);
                self.memberships.retain(|(group, _), _| *group != id);
            }
            DirectoryChange::DeleteMembership { group, user } => {
                self.memberships.remove(&(group, user));
            }
            DirectoryChange::DeletePasskey { user, credential_id } => {
                self.passkeys.get(&credential_id).filter(|row| row.user == user).ok_or(StoreError::Moved)?;
                self.passkeys.remove(&credential_id);
            }
            DirectoryChange::DeleteUser(id) => {
                self.users.remove(&id);
                self.memberships.retain(|(_, user), _| *user != id);
                self.passkeys.retain(|_, row| row.user != id);
                self.links.retain(|_, row| row.user != Some(id));
                self.codes.remove(&id);
                self.awaiting_codes.remove(&id);
                self.deletion_wishes.remove(&id);
                self.passwords.remove(&id);
                self.totps.remove(&id);
                self.keys.retain(|_, row| row.user != id);
                self.devices.remove(&id);
                self.recoveries.retain(|_, row| row.user != id);
                self.notices.retain(|_, row| row.user != id);
            }
            DirectoryChange::DeleteService(name) => {
                self.services.remove(&name);
                self.service_tokens.retain(|_, token| token.service != name);
            }
            DirectoryChange::DeleteServiceToken(id) => {
                self.service_tokens.remove(&id);
            }
            DirectoryChange::PutService(row) => {
                self.services.insert(Arc::clone(&row.name), row);
            }
            DirectoryChange::PutServiceToken(token) => {
                if !self.services.contains_key(&token.service) {
                    let why = format!("a token names the account `{}`, which does not exist", token.service);
                    return Err(StoreError::Backend(why));
                }
                self.service_tokens.insert(token.id, token);
            }
            DirectoryChange::PurgeLinks { before } => self.links.retain(|_, row| row.expires_at >= before),
            DirectoryChange::PutGroup(row) => {
                self.groups.insert(row.id.clone(), row);
            }
            DirectoryChange::PutLink(row) => {
                let is_taken = self.links.values().any(|it| it.id == row.id || it.secret_hash == row.secret_hash);
                if is_taken {
                    return Err(StoreError::Taken(Unique::Link));
                }
                self.links.insert(row.id, row);
            }
            DirectoryChange::PutMembership(row) => return self.put_membership(row),
            DirectoryChange::PutNote(row) => self.notes.push(row),
            DirectoryChange::PutUser(row) => return self.put_user(row),
            DirectoryChange::SetRecoveryCodes { user, codes } => {
                self.codes.insert(user, codes);
            }
            DirectoryChange::TouchPasskey(touch) => return self.touch_passkey(&touch),
            DirectoryChange::UseLink { id, at } => {
                let link = self.links.get_mut(&id).ok_or(StoreError::Moved)?;
                if link.state != LinkState::Open {
                    return Err(StoreError::Moved);
                }
                link.state = LinkState::Used;
                link.ended_at = Some(at);
            }
            DirectoryChange::VoidLinks { kind, user, at } => {
                let open = |row: &&mut LinkRow| row.kind == kind && row.user == user && row.state == LinkState::Open;
                for row in self.links.values_mut().filter(open) {
                    row.state = LinkState::Voided;
                    row.ended_at = Some(at);
                }
            }
            DirectoryChange::AddRecoveryCode { user, code } => self.codes.entry(user).or_default().push(code),
            DirectoryChange::TakeRecoveryCode { user, code } => {
                let codes = self.codes.get_mut(&user).ok_or(StoreError::Moved)?;
                let place = codes.iter().position(|kept| *kept == code).ok_or(StoreError::Moved)?;
                codes.remove(place);
            }
            DirectoryChange::PutRecovery { row, was } => return self.put_recovery(row, was),
            DirectoryChange::PurgeRecoveries { before } => self.recoveries.retain(|_, row| row.expires_at >= before),
            DirectoryChange::RequireSignIn(sign_in) => {
                let is_theirs = |row: &&UserRow| row.state == UserState::Active && row.epoch == sign_in.epoch;
                self.users.get(&sign_in.user).filter(is_theirs).ok_or(StoreError::SignInEnded)?;
            }
            other => return self.change_factors(other),
        }
        Ok(())
    }

    /// Passwords, one-time codes, browsers and notices.
    fn change_factors(&mut self, change: DirectoryChange) -> Result<(), StoreError> {
        match change {
            DirectoryChange::AcceptTotp { user, was, step } => {
                let row = self.totps.get_mut(&user).filter(|row| row.last_step == was && step > was);
                let row = row.ok_or(StoreError::Moved)?;
                row.last_step = step;
                row.failures = 0;
            }
            DirectoryChange::AddKey(row) => {
                self.exists("a security key", row.user)?;
                if self.keys.contains_key(&row.credential_id) {
                    return Err(StoreError::Taken(Unique::CredentialId));
                }
                self.keys.insert(row.credential_id.clone(), row);
            }
            DirectoryChange::DeleteKey { user, credential_id } => {
                self.keys.get(&credential_id).filter(|row| row.user == user).ok_or(StoreError::Moved)?;
                self.keys.remove(&credential_id);
            }
            DirectoryChange::TouchKey(touch) => {
                let row = self.keys.get_mut(&touch.credential_id).filter(|row| row.counter == touch.expected_counter);
                let row = row.ok_or(StoreError::Moved)?;
                (row.counter, row.last_used_at) = (touch.counter, Some(touch.at));
            }
            DirectoryChange::AddNotice(row) => {
                self.exists("a notice", row.user)?;
                self.notices.insert(row.id, row);
            }
            DirectoryChange::ArmNotice { id, token } => {
                if self.notices.values().any(|row| row.token == Some(token)) {
                    return Err(StoreError::Taken(Unique::Notice));
                }
                self.notices.get_mut(&id).ok_or(StoreError::Moved)?.token = Some(token);
            }
            DirectoryChange::ClearTotpFailures(user) => {
                if let Some(row) = self.totps.get_mut(&user) {
                    row.failures = 0;
                }
            }
            DirectoryChange::DeletePair(user) => {
                self.passwords.remove(&user);
                self.totps.remove(&user);
                self.keys.retain(|_, row| row.user != user);
            }
            DirectoryChange::KnowDevice { user, device, at } => {
                self.exists("a browser", user)?;
                let devices = self.devices.entry(user).or_default();
                devices.retain(|(_, known)| *known != device);
                devices.push((at, device));
                devices.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
                devices.truncate(MAX_KNOWN_DEVICES);
            }
            DirectoryChange::PurgeNotices { before } => self.notices.retain(|_, row| row.at >= before),
            DirectoryChange::PutPassword { row, was } => {
                self.exists("a password", row.user)?;
                if self.passwords.get(&row.user).map(|kept| &kept.hash) != was.as_ref() {
                    return Err(StoreError::Moved);
                }
                self.passwords.insert(row.user, row);
            }
            DirectoryChange::PutTotp(row) => {
                self.exists("a secret", row.user)?;
                self.totps.insert(row.user, row);
            }
            DirectoryChange::SeeNotices { user, until, at } => {
                let unseen = |row: &&mut NoticeRow| row.user == user && row.at <= until && row.seen_at.is_none();
                self.notices.values_mut().filter(unseen).for_each(|row| row.seen_at = Some(at));
            }
            DirectoryChange::TryTotp { user, most } => {
                let row = self.totps.get_mut(&user).filter(|row| row.failures < most).ok_or(StoreError::Moved)?;
                row.failures += 1;
            }
            DirectoryChange::UseNotice { token } => {
                let row = self.notices.values_mut().find(|row| row.token == Some(token));
                row.ok_or(StoreError::Moved)?.token = None;
            }
            other => return Err(StoreError::Backend(format!("this store does not know {other:?}"))),
        }
        Ok(())
    }

    fn put_recovery(&mut self, row: RecoveryRow, was: Option<u32>) -> Result<(), StoreError> {
        self.exists("a recovery", row.user)?;
        if self.recoveries.get(&row.id).map(|kept| kept.revision) != was {
            return Err(StoreError::Moved);
        }
        let is_taken = |kept: &RecoveryRow| kept.id != row.id && kept.ticket.is_some() && kept.ticket == row.ticket;
        if self.recoveries.values().any(is_taken) {
            return Err(StoreError::Taken(Unique::Recovery));
        }
        self.recoveries.insert(row.id, row);
        Ok(())
    }

    fn exists(&self, what: &str, user: UserId) -> Result<(), StoreError> {
        match self.users.contains_key(&user) {
            true => Ok(()),
            false => Err(StoreError::Backend(format!("{what} names `{user}`, who does not exist"))),
        }
    }

    fn add_passkey(&mut self, row: PasskeyRow) -> Result<(), StoreError> {
        if self.passkeys.contains_key(&row.credential_id) {
            return Err(StoreError::Taken(Unique::CredentialId));
        }
        if !self.users.contains_key(&row.user) {
            return Err(StoreError::Backend(format!("a passkey names `{}`, who does not exist", row.user)));
        }
        self.passkeys.insert(row.credential_id.clone(), row);
        Ok(())
    }

    fn put_membership(&mut self, row: MembershipRow) -> Result<(), StoreError> {
        if !self.users.contains_key(&row.user) || !self.groups.contains_key(&row.group) {
            return Err(StoreError::Backend(format!(
                "a membership names `{}` in `{}`, one of which does not exist",
                row.user, row.group
            )));
        }
        self.memberships.insert((row.group.clone(), row.user), row);
        Ok(())
    }

    fn put_user(&mut self, row: UserRow) -> Result<(), StoreError> {
        let key = row.email_key();
        for other in self.users.values().filter(|other| other.id != row.id) {
            if other.email_key() == key {
                return Err(StoreError::Taken(Unique::Email));
            }
            if other.handle == row.handle {
                return Err(StoreError::Taken(Unique::Handle));
            }
        }
        self.users.insert(row.id, row);
        Ok(())
    }

    fn touch_passkey(&mut self, touch: &PasskeyTouch) -> Result<(), StoreError> {
        let row = self.passkeys.get_mut(&touch.credential_id).ok_or(StoreError::Moved)?;
        if row.counter != touch.expected_counter {
            return Err(StoreError::Moved);
        }
        row.counter = touch.counter;
        row.is_backed_up = touch.is_backed_up;
        row.last_used_at = Some(touch.at);
        Ok(())
    }

    fn rows(&self) -> DirectoryRows {
        DirectoryRows {
            version: self.version,
            users: self.users.values().cloned().collect(),
            groups: self.groups.values().cloned().collect(),
            memberships: self.memberships.values().cloned().collect(),
            awaiting_codes: self.awaiting_codes.clone(),
            deletion_wishes: self.deletion_wishes.clone(),
            services: self.services.values().cloned().collect(),
            service_tokens: self.service_tokens.values().cloned().collect(),
        }
    }
}

/// Oldest first.
fn keys_of(keys: &BTreeMap<Vec<u8>, SecurityKeyRow>, user: UserId) -> Vec<SecurityKeyRow> {
    let mut own: Vec<_> = keys.values().filter(|row| row.user == user).cloned().collect();
    own.sort_by_key(|row| row.created_at);
    own
}

impl DirectoryStore for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<DirectoryRows, StoreError>> {
        Box::pin(async { Ok(self.tables().rows()) })
    }

    fn apply(&self, expected: Option<u64>, changes: Vec<DirectoryChange>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.apply_now(expected, changes) })
    }

    fn passkey<'a>(&'a self, credential_id: &'a [u8]) -> BoxFuture<'a, Result<Option<PasskeyRow>, StoreError>> {
        Box::pin(async move { Ok(self.tables().passkeys.get(credential_id).cloned()) })
    }

    fn passkeys_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<PasskeyRow>, StoreError>> {
        Box::pin(async move {
            let mut rows: Vec<PasskeyRow> =
                self.tables().passkeys.values().filter(|row| row.user == user).cloned().collect();
            rows.sort_by_key(|row| row.created_at);
            Ok(rows)
        })
    }

    fn link(&self, secret_hash: TokenHash) -> BoxFuture<'_, Result<Option<LinkRow>, StoreError>> {
        Box::pin(async move { Ok(self.tables().links.values().find(|row| row.secret_hash == secret_hash).cloned()) })
    }

    fn links(&self) -> BoxFuture<'_, Result<Vec<LinkRow>, StoreError>> {
        Box::pin(async {
            let mut rows: Vec<LinkRow> = self.tables().links.values().cloned().collect();
            rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
            Ok(rows)
        })
    }

    fn recovery_codes_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<TokenHash>, StoreError>> {
        Box::pin(async move { Ok(self.tables().codes.get(&user).cloned().unwrap_or_default()) })
    }

    fn factors_of(&self, user: UserId) -> BoxFuture<'_, Result<Factors, StoreError>> {
        Box::pin(async move {
            let tables = self.tables();
            let devices = tables.devices.get(&user).into_iter().flatten();
            Ok(Factors {
                password: tables.passwords.get(&user).cloned(),
                totp: tables.totps.get(&user).cloned(),
                keys: keys_of(&tables.keys, user),
                devices: devices.map(|(_, device)| *device).collect(),
            })
        })
    }

    fn recoveries(&self) -> BoxFuture<'_, Result<Vec<RecoveryRow>, StoreError>> {
        Box::pin(async {
            let mut rows: Vec<RecoveryRow> = self.tables().recoveries.values().cloned().collect();
            rows.sort_by_key(|row| (std::cmp::Reverse(row.opened_at), row.id));
            Ok(rows)
        })
    }

    fn notices_of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<NoticeRow>, StoreError>> {
        Box::pin(async move {
            let mut rows: Vec<NoticeRow> =
                self.tables().notices.values().filter(|row| row.user == user).cloned().collect();
            rows.sort_by_key(|row| (std::cmp::Reverse(row.at), row.id));
            Ok(rows)
        })
    }

    fn notice(&self, token: TokenHash) -> BoxFuture<'_, Result<Option<NoticeRow>, StoreError>> {
        Box::pin(async move { Ok(self.tables().notices.values().find(|row| row.token == Some(token)).cloned()) })
    }
}
