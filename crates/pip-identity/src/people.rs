//! People and groups: the rules of the directory (ID-9, ID-58; ). Every edit is a pure
//! function on a [`Draft`]; this service reads the rows, runs it, and commits the difference against the version it
//! read, trying again when somebody else was faster.
//!
//! It is not the kill path: a [`Change`] says whose sessions must end and whose facts moved, and the caller tells
//! `SessionControl`.
//!
//! Invariants: a person's epoch never falls; whoever stops being active has a higher epoch afterwards; the last
//! active administrator cannot be disabled, deleted or removed from `admins` unless the caller overrides.

mod change;
mod draft;
mod import;
mod overseer;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use model::directory::GroupId;
use model::{Clock, Directory, Ids, Timestamp, UserEntry, UserId, UserState};

pub use self::change::Change;
pub(crate) use self::draft::Draft;
pub use self::import::{Admission, Imported, Incoming};
pub use self::overseer::{Author, Overseer};
pub use self::reconcile::{Declared, DeclaredError, DeclaredGroup, DeclaredUser};
use crate::directory::{self, DirectoryError, parse_email, parse_group_id, parse_name};
use crate::password_hash::HashError;
use crate::store::{
    DirectoryChange, DirectoryRows, DirectoryStore, GroupRow, LinkKind, MembershipSource, Origin, StoreError,
    USER_HANDLE_BYTES, UserRow,
};

/// How often an edit is tried again because somebody else changed the directory meanwhile.
pub const MAX_EDIT_ATTEMPTS: usize = 8;

/// Whether an edit may leave nobody who can administer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LastAdmin {
    /// It may not.
    Keep,
    /// It may; somebody asked for it by name.
    MayGo,
}

/// Somebody to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUser {
    /// Sign-in address.
    pub email: String,
    /// Display name.
    pub name: String,
    /// From outside the organisation.
    pub is_external: bool,
    /// Directory attributes.
    pub tags: BTreeMap<String, BTreeSet<String>>,
    /// Groups to be in from the start.
    pub groups: BTreeSet<GroupId>,
}

/// Why nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeopleError {
    /// The directory changed again and again while we tried.
    #[error("the directory is changing too quickly; try again")]
    Busy,
    /// Declared objects do not fit together; all of them.
    #[error("the declared people and groups do not fit together: {}", join(.0))]
    Declared(Vec<DeclaredError>),
    /// A name or the shape of the groups.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The address belongs to somebody.
    #[error(
        "`{0}` is already the address of a user; on the server run `countersign invite {0}` and open that link, or choose another address"
    )]
    EmailTaken(String),
    /// The group exists.
    #[error("group `{0}` exists already")]
    GroupExists(GroupId),
    /// A password hash that was to be taken over.
    #[error(transparent)]
    Hash(HashError),
    /// Nobody could administer any more.
    #[error(
        "this would leave no active administrator; add another to `admins` first and let them enrol, or use `--force` where a command has it"
    )]
    LastAdmin,
    /// No such group.
    #[error("there is no group `{0}`; `countersign group list` shows all")]
    NoGroup(String),
    /// No such service account.
    #[error("there is no service account `{0}`; `countersign service-account list` shows all")]
    NoService(String),
    /// No such service token.
    #[error("there is no service token `{0}`; `countersign service-token list` shows all")]
    NoServiceToken(String),
    /// A service account or token that cannot be as asked; why, and what to do.
    #[error("{0}")]
    Service(String),
    /// No such person.
    #[error("there is no user `{0}`; `countersign user list` shows all")]
    NoUser(String),
    /// Somebody who does not administer.
    #[error("`{0}` is no active administrator; `countersign group show admins` shows who is")]
    NotAdmin(String),
    /// Files own it.
    #[error("{what} is declared in {declared_at}; change it there and run `countersign apply`")]
    OwnedByFile {
        /// What, with its kind: "group `payroll`".
        what: String,
        /// Where: `people.yaml:3`.
        declared_at: String,
    },
    /// The database.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for PeopleError {
    fn from(error: StoreError) -> Self {
        PeopleError::Store(error)
    }
}

fn join(errors: &[DeclaredError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The service. Cheap to share behind an `Arc`; reads never wait for writes.
pub struct People {
    store: Arc<dyn DirectoryStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    domains: Vec<String>,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    overseer: Arc<OnceLock<Weak<dyn Overseer>>>,
    author: Option<Author>,
}

/// The rows and what is made of them, at one version.
pub(crate) struct Snapshot {
    rows: DirectoryRows,
    directory: Arc<Directory>,
    /// Who administers, or will once their recovery codes are saved.
    admins: BTreeSet<UserId>,
    handles: HashMap<[u8; USER_HANDLE_BYTES], UserId>,
}

impl Snapshot {
    fn of(rows: DirectoryRows, domains: &[String]) -> Result<Self, DirectoryError> {
        let directory = Arc::new(directory::build(&rows, domains)?);
        let admins = draft::administrators(&rows)?;
        let handles = rows.users.iter().map(|user| (user.handle, user.id)).collect();
        Ok(Self { rows, directory, admins, handles })
    }
}

impl People {
    /// Reads the directory.
    ///
    /// # Errors
    /// The store cannot be read, or what it holds is no directory.
    pub async fn load(
        store: Arc<dyn DirectoryStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Result<Self, PeopleError> {
        Self::load_with_domains(store, clock, ids, Vec::new()).await
    }

    /// As [`People::load`], for an organisation whose own mail domains are `domains`: addresses there, exactly there,
    /// count as verified, because nobody else gives them out.
    ///
    /// # Errors
    /// As [`People::load`].
    pub async fn load_with_domains(
        store: Arc<dyn DirectoryStore>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        domains: Vec<String>,
    ) -> Result<Self, PeopleError> {
        let snapshot = Snapshot::of(store.load().await?, &domains)?;
        let snapshot = Arc::new(RwLock::new(Arc::new(snapshot)));
        Ok(Self { store, clock, ids, domains, snapshot, overseer: Arc::default(), author: None })
    }

    /// Lets `overseer` look at every edit from now on. Only the first one counts.
    pub fn watch(&self, overseer: Weak<dyn Overseer>) {
        self.overseer.set(overseer).ok();
    }

    /// The same people, edited in the name of `author`: what the overseer is told who asked.
    #[must_use]
    pub fn by(&self, author: Author) -> Self {
        Self {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            domains: self.domains.clone(),
            snapshot: Arc::clone(&self.snapshot),
            overseer: Arc::clone(&self.overseer),
            author: Some(author),
        }
    }

    /// Everyone, as of the last change or [`People::reload`].
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.snapshot().directory)
    }

    /// A person by address or printed id.
    ///
    /// # Errors
    /// [`PeopleError::NoUser`].
    pub fn user(&self, email_or_id: &str) -> Result<Arc<UserEntry>, PeopleError> {
        self.directory().find(email_or_id).cloned().ok_or_else(|| PeopleError::NoUser(cut(email_or_id)))
    }

    /// Who says what a person is, and so who may edit them.
    pub fn user_origin(&self, user: UserId) -> Option<Origin> {
        self.snapshot().rows.users.iter().find(|row| row.id == user).map(|row| row.origin.clone())
    }

    /// A group's row: title, parents, origin and who says who is in it.
    pub fn group(&self, id: &GroupId) -> Option<GroupRow> {
        self.snapshot().rows.groups.iter().find(|row| row.id == *id).cloned()
    }

    /// Members named directly, sorted, with who put them there.
    pub fn members(&self, group: &GroupId) -> Vec<(UserId, MembershipSource)> {
        let snapshot = self.snapshot();
        snapshot.rows.memberships.iter().filter(|row| row.group == *group).map(|row| (row.user, row.source)).collect()
    }

    /// The passkeys of a person, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn passkeys(&self, user: UserId) -> Result<Vec<crate::store::PasskeyRow>, PeopleError> {
        Ok(self.store.passkeys_of(user).await?)
    }

    /// True while nobody can administer: a set-up link is due (ID-1).
    pub fn needs_set_up(&self) -> bool {
        self.snapshot().admins.is_empty()
    }

    /// Active administrators, those included who have still to save their recovery codes.
    pub fn administrators(&self) -> BTreeSet<UserId> {
        self.snapshot().admins.clone()
    }

    /// True for somebody who administers nothing before they said that their recovery codes are saved (ID-1).
    pub fn awaits_codes(&self, user: UserId) -> bool {
        self.snapshot().rows.awaiting_codes.contains(&user)
    }

    /// The person says that their recovery codes are saved: from now on they have what their groups give (ID-1).
    ///
    /// # Errors
    /// No such person, or the store.
    pub async fn codes_saved(&self, user: UserId) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| {
            draft.user_mut(user)?;
            draft.awaiting_codes.remove(&user);
            Ok(())
        })
        .await
    }

    /// Reads the directory afresh, because another process changed it.
    ///
    /// # Errors
    /// As [`People::load`].
    pub async fn reload(&self) -> Result<Arc<Directory>, PeopleError> {
        let snapshot = Arc::new(Snapshot::of(self.store.load().await?, &self.domains)?);
        self.publish(Arc::clone(&snapshot));
        Ok(Arc::clone(&snapshot.directory))
    }

    /// Adds a person, who is invited until a passkey is enrolled.
    ///
    /// # Errors
    /// The address is taken or malformed; a group does not exist or belongs to a file.
    pub async fn create_user(&self, new: NewUser) -> Result<(UserId, Change), PeopleError> {
        let email = parse_email(&new.email)?;
        let name = parse_name(&new.name)?;
        let row =
            UserRow { email, name, is_external: new.is_external, tags: new.tags, ..self.blank_user(Origin::Local) };
        let id = row.id;
        let change = self
            .edit(LastAdmin::Keep, |draft| {
                draft.add_user(row.clone())?;
                new.groups.iter().try_for_each(|group| draft.add_member(group, id))
            })
            .await?;
        Ok((id, change))
    }

    /// Ends a person's access: no sign-in, every session dead, open invitations void. Also for people that files
    /// declare: taking access away must always work, and no file that is silent on it brings it back.
    ///
    /// # Errors
    /// No such person, or the last administrator.
    pub async fn disable_user(&self, user: UserId, last_admin: LastAdmin) -> Result<Change, PeopleError> {
        let now = self.clock.now();
        self.edit(last_admin, |draft| draft.disable(user, now)).await
    }

    /// Lets a person sign in again. Revives nothing that disabling ended.
    ///
    /// # Errors
    /// No such person, or a file says that they are disabled.
    pub async fn enable_user(&self, user: UserId) -> Result<Change, PeopleError> {
        let has_enrolled = self.has_enrolled(user).await?;
        self.edit(LastAdmin::Keep, |draft| draft.enable(user, has_enrolled)).await
    }

    /// Removes a person with everything that is theirs. The id is never used again.
    ///
    /// # Errors
    /// No such person, the last administrator, or a file declares them.
    pub async fn delete_user(&self, user: UserId, last_admin: LastAdmin) -> Result<Change, PeopleError> {
        self.edit(last_admin, |draft| draft.delete_user(user)).await
    }

    /// A person asks for their account to be deleted; nothing is deleted by that (ID-8). Asking again changes nothing.
    ///
    /// # Errors
    /// No such person, or the store.
    pub async fn ask_deletion(&self, user: UserId) -> Result<Change, PeopleError> {
        let now = self.clock.now();
        self.edit(LastAdmin::Keep, |draft| {
            draft.user_mut(user)?;
            draft.deletion_wishes.entry(user).or_insert(now);
            Ok(())
        })
        .await
    }

    /// The wish is taken back, or answered otherwise. Nothing happens without one.
    ///
    /// # Errors
    /// No such person, or the store.
    pub async fn drop_deletion(&self, user: UserId) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| {
            draft.user_mut(user)?;
            draft.deletion_wishes.remove(&user);
            Ok(())
        })
        .await
    }

    /// Who asked for their account to be deleted, and since when.
    pub fn deletion_wishes(&self) -> BTreeMap<UserId, Timestamp> {
        self.snapshot().rows.deletion_wishes.clone()
    }

    /// Moves a person's epoch, so that no session made until now lives on ("sign out everywhere"), nor any recovery that
    /// is under way.
    ///
    /// # Errors
    /// No such person.
    pub async fn end_sessions(&self, user: UserId) -> Result<Change, PeopleError> {
        let now = self.clock.now();
        self.edit(LastAdmin::Keep, |draft| {
            draft.user_mut(user)?.epoch += 1;
            draft.void_links(user, LinkKind::Recovery, now);
            Ok(())
        })
        .await
    }

    /// Adds a group whose members are managed here.
    ///
    /// # Errors
    /// It exists, its name is malformed, a parent does not exist, or groups would form a cycle.
    pub async fn create_group(&self, id: &str, title: &str, parents: BTreeSet<GroupId>) -> Result<Change, PeopleError> {
        let id = parse_group_id(id)?;
        let title = parse_name(title)?;
        let row = GroupRow { id, title, parents, origin: Origin::Local, membership: MembershipSource::External };
        self.edit(LastAdmin::Keep, |draft| draft.add_group(row.clone())).await
    }

    /// Removes a group and its memberships.
    ///
    /// # Errors
    /// No such group, a file declares it, another group names it as parent, or it carried the last administrator.
    pub async fn delete_group(&self, id: &GroupId, last_admin: LastAdmin) -> Result<Change, PeopleError> {
        self.edit(last_admin, |draft| draft.delete_group(id)).await
    }

    /// Puts a person into a group; nothing happens if they are in it.
    ///
    /// # Errors
    /// No such person or group, or files alone say who is in the group.
    pub async fn add_member(&self, group: &GroupId, user: UserId) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| draft.add_member(group, user)).await
    }

    /// Takes a person out of a group; nothing happens if they are not in it.
    ///
    /// # Errors
    /// No such person or group, a file put them there, or the last administrator.
    pub async fn remove_member(
        &self,
        group: &GroupId,
        user: UserId,
        last_admin: LastAdmin,
    ) -> Result<Change, PeopleError> {
        self.edit(last_admin, |draft| draft.remove_member(group, user)).await
    }

    /// Makes the directory say what applied files declare. Idempotent. People who vanish from the files are
    /// disabled, not deleted, and groups who vanish are deleted; what files never declared is left alone.
    ///
    /// # Errors
    /// [`PeopleError::Declared`] with all faults at once; the last administrator.
    pub async fn reconcile(&self, declared: &Declared, last_admin: LastAdmin) -> Result<Change, PeopleError> {
        let now = self.clock.now();
        let enrolled = self.enrolled_among(declared).await?;
        self.edit(last_admin, |draft| {
            reconcile::reconcile(draft, declared, &enrolled, now, || self.blank_user(Origin::Local))
        })
        .await
    }

    /// Whether [`People::reconcile`] would be refused and what it would change; changes nothing.
    ///
    /// # Errors
    /// As [`People::reconcile`].
    pub async fn plan(&self, declared: &Declared, last_admin: LastAdmin) -> Result<Change, PeopleError> {
        let now = self.clock.now();
        let enrolled = self.enrolled_among(declared).await?;
        let before = Snapshot::of(self.store.load().await?, &self.domains)?;
        let mut draft = Draft::of(&before.rows);
        reconcile::reconcile(&mut draft, declared, &enrolled, now, || self.blank_user(Origin::Local))?;
        let after = Snapshot::of(draft.rows(before.rows.version), &self.domains)?;
        change::check_last_admin(&before.admins, &after.admins, last_admin)?;
        Ok(Change::between(&before.directory, &after.directory))
    }

    /// Runs an edit against the newest rows and commits the difference. `edit` may run several times.
    pub(crate) async fn edit(
        &self,
        last_admin: LastAdmin,
        edit: impl Fn(&mut Draft) -> Result<(), PeopleError>,
    ) -> Result<Change, PeopleError> {
        let mut before = self.snapshot();
        for _ in 0..MAX_EDIT_ATTEMPTS {
            let mut draft = Draft::of(&before.rows);
            edit(&mut draft)?;
            let mut changes = draft.changes_since(&before.rows);
            let moves = changes.iter().any(DirectoryChange::moves_directory);
            let after = Snapshot::of(draft.rows(before.rows.version + u64::from(moves)), &self.domains)?;
            change::check_last_admin(&before.admins, &after.admins, last_admin)?;
            let mut change =
                Change::between(&before.directory, &after.directory).with_wishes(&before.rows, &after.rows);
            if changes.is_empty() {
                return Ok(change);
            }
            if let Some(overseer) = self.overseer.get().and_then(Weak::upgrade).filter(|_| moves) {
                if last_admin == LastAdmin::Keep && change.may_take_away() && overseer.locks_out(&change) {
                    return Err(PeopleError::LastAdmin);
                }
                let note = overseer.note(&change, self.author.as_ref());
                change.note = note.as_ref().map(|note| note.id);
                changes.extend(note.map(DirectoryChange::PutNote));
            }
            match self.store.apply(Some(before.rows.version), changes).await {
                Ok(_) => {
                    let after = Arc::new(after);
                    self.publish(Arc::clone(&after));
                    return Ok(change);
                }
                Err(StoreError::VersionMoved { .. }) => {
                    before = Arc::new(Snapshot::of(self.store.load().await?, &self.domains)?)
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(PeopleError::Busy)
    }

    /// The person behind a WebAuthn user handle.
    pub(crate) fn user_of_handle(&self, handle: &[u8]) -> Option<Arc<UserEntry>> {
        let handle: [u8; USER_HANDLE_BYTES] = handle.try_into().ok()?;
        let snapshot = self.snapshot();
        let id = snapshot.handles.get(&handle)?;
        snapshot.directory.users.get(id).cloned()
    }

    /// The random handle of the account made first: known to nobody but that person's browsers.
    pub(crate) fn oldest_handle(&self) -> [u8; USER_HANDLE_BYTES] {
        let snapshot = self.snapshot();
        let oldest = snapshot.rows.users.iter().min_by_key(|row| (row.created_at, row.id));
        oldest.map_or([0; USER_HANDLE_BYTES], |row| row.handle)
    }

    /// The row of a person.
    pub(crate) fn row(&self, user: UserId) -> Option<UserRow> {
        self.snapshot().rows.users.iter().find(|row| row.id == user).cloned()
    }

    /// A new invited person without name and address.
    pub(crate) fn blank_user(&self, origin: Origin) -> UserRow {
        let now = self.clock.now();
        let mut handle = [0; USER_HANDLE_BYTES];
        self.ids.fill_random(&mut handle);
        UserRow {
            id: UserId(self.ids.uuid_v7(now)),
            email: String::new(),
            name: String::new(),
            state: UserState::Invited,
            is_external: false,
            created_at: now,
            epoch: 0,
            tags: BTreeMap::new(),
            origin,
            handle,
        }
    }

    pub(crate) fn store(&self) -> &dyn DirectoryStore {
        &*self.store
    }

    pub(crate) fn ids(&self) -> &dyn Ids {
        &*self.ids
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether a person has a way to sign in.
    async fn has_enrolled(&self, user: UserId) -> Result<bool, StoreError> {
        let standing = crate::passwords::standing(self, user).await?;
        Ok(standing.passkeys > 0 || standing.has_pair)
    }

    /// People that files take out of `disabled` again: active if they can sign in.
    async fn enrolled_among(&self, declared: &Declared) -> Result<BTreeSet<UserId>, PeopleError> {
        let mut enrolled = BTreeSet::new();
        for user in &declared.users {
            let Some(entry) = self.directory().find(&user.email).cloned() else { continue };
            if entry.state == UserState::Disabled && self.has_enrolled(entry.id).await? {
                enrolled.insert(entry.id);
            }
        }
        Ok(enrolled)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Never puts an older version in the place of a newer one: two edits may finish in any order.
    fn publish(&self, next: Arc<Snapshot>) {
        let mut current = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        if next.rows.version >= current.rows.version {
            *current = next;
        }
    }
}

pub(crate) fn owned_by_file(what: String, origin: &Origin) -> Result<(), PeopleError> {
    match origin {
        Origin::Local => Ok(()),
        Origin::Applied { declared_at, .. } => Err(PeopleError::OwnedByFile { what, declared_at: declared_at.clone() }),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}
