//! Getting back in without the usual factor (ID-2, ID-5, ID-6; SP 800-63B-4 §4.2): never by one secret. A recovery code
//! opens a case; one more proof, the authenticator that is still bound or an administrator who vouches, proves it; a
//! proven case gives one link, bound to the account, through which a new passkey is enrolled. Without a code two
//! administrators must vouch.
//!
//! Who asks about administrators' rights, records and ends sessions is the caller. What counts as proven is
//! [`case::Case`], a state machine without clock or store.
//!
//! Invariants: the code is out of use from the moment the case opens, in the same transaction; nobody vouches for
//! themselves, and nobody twice; a case ends with whatever ends the sessions of its person; every step is a
//! compare-and-set on the case's revision, so of two that race one happens.

pub mod case;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{InvitationId, RecoveryId, Timestamp, TokenHash, UserEntry, UserId, UserState};

pub use self::case::{Case, CaseRefusal};
use crate::links::{IssuedLink, LinkRefusal, Links};
use crate::notices::notice;
use crate::passwords::{PairRefusal, Passwords};
use crate::people::{People, PeopleError};
use crate::recovery_codes::{CodeRefusal, RecoveryCodes};
use crate::secret::Secret;
pub use crate::store::Approver;
use crate::store::{DirectoryChange, NoteRow, NoticeKind, RecoveryRow, RecoveryState, StoreError};
use crate::throttle::{Throttle, Throttled};

/// How long a case waits for its second proof.
pub const CASE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long a proven recovery of an administrator waits where the operator wants it to (ID-6): time for the others, and for
/// the account's owner, to notice and stop it.
pub const COOL_DOWN: Duration = Duration::from_secs(24 * 3600);
/// How long a case is remembered after its end.
pub const CASE_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
/// Random bytes of the ticket of whoever opened a case.
pub const TICKET_BYTES: usize = 20;

const DOMAIN: &str = "countersign recovery";

/// A case was opened.
pub struct Opened {
    /// Where it stands.
    pub view: RecoveryView,
    /// What the browser that opened it keeps, to go on with it. Shown to nobody else.
    pub ticket: Secret,
}

/// Where a case stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryView {
    /// What is kept.
    pub row: RecoveryRow,
    /// Whose account; `None` if they were deleted.
    pub user: Option<Arc<UserEntry>>,
    /// It can still come to something.
    pub is_open: bool,
    /// Nothing more has to be proven.
    pub is_proven: bool,
    /// Proven, but it opens nothing before this time.
    pub waits_until: Option<Timestamp>,
    /// The code of an authenticator app would prove it.
    pub has_authenticator: bool,
}

/// What becomes of a case that is under way when an administrator begins another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Running {
    /// It ends.
    End,
    /// It stays, and the new one is refused.
    Keep,
}

/// Why a recovery does not go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoveryRefusal {
    /// The state machine.
    #[error(transparent)]
    Case(#[from] CaseRefusal),
    /// The code.
    #[error(transparent)]
    Code(CodeRefusal),
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkRefusal),
    /// The authenticator.
    #[error(transparent)]
    Pair(PairRefusal),
    /// The directory.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// One is under way, and nobody said that it may end.
    #[error(
        "a recovery of this person is under way: `{id}`, since {since}; vouch for it with --approve, stop it with --stop, \
         or begin anew with --restart, which ends it"
    )]
    Running {
        /// Which.
        id: RecoveryId,
        /// When it began.
        since: Timestamp,
    },
    /// Too many attempts.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// No such case or ticket.
    #[error("this recovery is not known, or over; begin again with a recovery code")]
    Unknown,
}

impl RecoveryRefusal {
    /// The code in problems and records.
    pub fn code(&self) -> &'static str {
        match self {
            RecoveryRefusal::Case(refusal) => refusal.code(),
            RecoveryRefusal::Code(CodeRefusal::Wrong) => "recovery_code_wrong",
            RecoveryRefusal::Code(CodeRefusal::Throttled(_)) | RecoveryRefusal::Throttled(_) => "throttled",
            RecoveryRefusal::Code(CodeRefusal::Sensitive(_)) => "sign_in_stale",
            RecoveryRefusal::Code(CodeRefusal::People(_)) | RecoveryRefusal::People(_) => "directory",
            RecoveryRefusal::Link(refusal) => refusal.code(),
            RecoveryRefusal::Pair(refusal) => refusal.code(),
            RecoveryRefusal::Running { .. } => "recovery_running",
            RecoveryRefusal::Unknown => "recovery_unknown",
        }
    }
}

impl RecoveryRefusal {
    /// The throttle's word, where it is the throttle that refuses.
    pub fn throttled(&self) -> Option<&Throttled> {
        match self {
            RecoveryRefusal::Throttled(throttled)
            | RecoveryRefusal::Code(CodeRefusal::Throttled(throttled))
            | RecoveryRefusal::Pair(PairRefusal::Throttled(throttled)) => Some(throttled),
            _ => None,
        }
    }
}

impl From<StoreError> for RecoveryRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            // Somebody else took the same step first.
            StoreError::Moved => RecoveryRefusal::Unknown,
            error => RecoveryRefusal::People(error.into()),
        }
    }
}

impl From<CodeRefusal> for RecoveryRefusal {
    fn from(refusal: CodeRefusal) -> Self {
        match refusal {
            CodeRefusal::People(error) => error.into(),
            CodeRefusal::Throttled(throttled) => throttled.into(),
            other @ (CodeRefusal::Sensitive(_) | CodeRefusal::Wrong) => RecoveryRefusal::Code(other),
        }
    }
}

impl From<PairRefusal> for RecoveryRefusal {
    fn from(refusal: PairRefusal) -> Self {
        match refusal {
            PairRefusal::People(error) => error.into(),
            PairRefusal::Throttled(throttled) => throttled.into(),
            other => RecoveryRefusal::Pair(other),
        }
    }
}

/// The service.
pub struct Recovery {
    people: Arc<People>,
    links: Links,
    codes: RecoveryCodes,
    passwords: Arc<Passwords>,
    pub(crate) admins_wait: bool,
}

impl Recovery {
    /// Over this directory, behind this throttle.
    pub fn new(people: Arc<People>, throttle: Arc<Throttle>, passwords: Arc<Passwords>) -> Self {
        let (links, codes) = (Links::new(Arc::clone(&people)), RecoveryCodes::new(Arc::clone(&people), throttle));
        Self { people, links, codes, passwords, admins_wait: false }
    }

    /// Opens a case with an address and a recovery code; the code is out of use and every earlier case of the person
    /// is over. `device` is the hash of the browser's binding cookie.
    ///
    /// # Errors
    /// One and the same for unknown address, disabled account and wrong code; throttled.
    pub async fn open(
        &self,
        email: &str,
        code: &str,
        from: IpAddr,
        device: Option<TokenHash>,
    ) -> Result<Opened, RecoveryRefusal> {
        let good = self.codes.verify(email, code, from, device).await?;
        let ticket = Secret::random::<TICKET_BYTES>(self.people.ids());
        let mut row = self.fresh(good.user)?;
        row.has_code = true;
        row.ticket = Some(ticket.hash(DOMAIN));
        let mut changes = self.stopping(good.user).await?;
        changes.push(DirectoryChange::TakeRecoveryCode { user: good.user, code: good.spent });
        // An abandoned case has used its code up all the same.
        let left = self.people.store().recovery_codes_of(good.user).await?.len().saturating_sub(1);
        let detail = match left {
            0 => "with your last recovery code; make new ones under “Your account”".to_owned(),
            left => format!("with a recovery code, which is used up; {left} left"),
        };
        changes.push(notice(&self.people, good.user, NoticeKind::RecoveryBegun, &detail));
        changes.push(DirectoryChange::PutRecovery { row: row.clone(), was: None });
        match self.people.store().apply(None, changes).await {
            Ok(_) => {}
            // The same code in another browser at the same time.
            Err(StoreError::Moved) => return Err(CodeRefusal::Wrong.into()),
            Err(error) => return Err(error.into()),
        }
        self.codes.spent(&good, from);
        Ok(Opened { view: self.view(row).await?, ticket })
    }

    /// Opens a case for somebody who has no code left. The administrator vouches with it; a second one must.
    ///
    /// # Errors
    /// No such person, not active, it is their own account, or a case is under way that is to be kept.
    pub async fn open_for(
        &self,
        user: UserId,
        approver: &Approver,
        running: Running,
    ) -> Result<RecoveryView, RecoveryRefusal> {
        let mut case = Case::new(self.fresh(user)?);
        case.approve(approver, self.people.now())?;
        if running == Running::Keep {
            self.check_none_runs(user).await?;
        }
        let row = case.into_row();
        let mut changes = self.stopping(user).await?;
        changes.push(notice(&self.people, user, NoticeKind::RecoveryBegun, &format!("by {}", approver.name)));
        changes.push(DirectoryChange::PutRecovery { row: row.clone(), was: None });
        self.people.store().apply(None, changes).await?;
        self.view(row).await
    }

    /// Where the case of a ticket stands.
    ///
    /// # Errors
    /// No such ticket.
    pub async fn status(&self, ticket: &str) -> Result<RecoveryView, RecoveryRefusal> {
        let row = self.by_ticket(ticket).await?;
        self.view(row).await
    }

    /// Every case that is remembered, newest first.
    ///
    /// # Errors
    /// The store.
    pub async fn list(&self) -> Result<Vec<RecoveryView>, RecoveryRefusal> {
        let mut views = Vec::new();
        for row in self.people.store().recoveries().await? {
            views.push(self.view(row).await?);
        }
        Ok(views)
    }

    /// The open case of a person.
    ///
    /// # Errors
    /// There is none.
    pub async fn open_case_of(&self, user: UserId) -> Result<RecoveryView, RecoveryRefusal> {
        let rows = self.people.store().recoveries().await?;
        let row = rows.into_iter().find(|row| row.user == user && row.state == RecoveryState::Open);
        self.view(row.ok_or(RecoveryRefusal::Unknown)?).await
    }

    /// The second proof: a code of the authenticator app that is still bound.
    ///
    /// # Errors
    /// The case is over, or the code is wrong; throttled.
    pub async fn prove_authenticator(
        &self,
        ticket: &str,
        code: &str,
        from: IpAddr,
    ) -> Result<RecoveryView, RecoveryRefusal> {
        let row = self.by_ticket(ticket).await?;
        let mut case = self.live(row)?;
        self.passwords.verify_code(case.row().user, code, from).await?;
        case.authenticator(self.people.now())?;
        self.proven(case).await
    }

    /// The second proof: an administrator vouches. The caller has checked that they administer.
    ///
    /// # Errors
    /// The case is over, it is their own account, or they vouched already.
    pub async fn approve(&self, id: RecoveryId, approver: &Approver) -> Result<RecoveryView, RecoveryRefusal> {
        let row = self.by_id(id).await?;
        let mut case = self.live(row)?;
        case.approve(approver, self.people.now())?;
        self.proven(case).await
    }

    /// Stops a case.
    ///
    /// # Errors
    /// No such case, or it is over.
    pub async fn stop(&self, id: RecoveryId) -> Result<RecoveryView, RecoveryRefusal> {
        let mut case = Case::new(self.by_id(id).await?);
        case.stop()?;
        let (user, at) = (case.row().user, self.people.now());
        let void = DirectoryChange::VoidLinks { kind: crate::store::LinkKind::Recovery, user: Some(user), at };
        self.keep_with(case, vec![void]).await
    }

    /// The link of a proven case, for the browser that opened it. Given once.
    ///
    /// # Errors
    /// Not proven, over, or given already.
    pub async fn claim(&self, ticket: &str) -> Result<IssuedLink, RecoveryRefusal> {
        let row = self.by_ticket(ticket).await?;
        self.link(row).await
    }

    /// The link of a case that an administrator opened, for the one who vouched last, to hand over. A case that was
    /// opened with a code gives its link to the browser that opened it and to nobody else.
    ///
    /// # Errors
    /// As [`Recovery::claim`].
    pub async fn claim_for(&self, id: RecoveryId, approver: &Approver) -> Result<IssuedLink, RecoveryRefusal> {
        let row = self.by_id(id).await?;
        if row.ticket.is_some() || !row.approvals.last().is_some_and(|last| last.is_same(approver)) {
            return Err(RecoveryRefusal::Unknown);
        }
        self.link(row).await
    }

    /// The link for an administrator's account, for whoever has the host (ID-2). Every administrator is told. `note` is
    /// put down with it, for a record that a crash may keep from being written.
    ///
    /// # Errors
    /// The person does not administer, is not active, or the store refuses.
    pub async fn from_host(
        &self,
        user: UserId,
        by: &str,
        note: Option<NoteRow>,
    ) -> Result<IssuedLink, RecoveryRefusal> {
        let admins = self.people.administrators();
        let name = self.people.directory().users.get(&user).map_or_else(String::new, |entry| entry.email.clone());
        if !admins.contains(&user) {
            return Err(PeopleError::NotAdmin(name).into());
        }
        let told = format!("{name}, by {by}");
        let along = |_: InvitationId| {
            let notices = admins.iter().map(|admin| notice(&self.people, *admin, NoticeKind::AdminRecovered, &told));
            notices.chain(note.clone().map(DirectoryChange::PutNote)).collect()
        };
        Ok(self.links.recovery(user, by, along).await?)
    }

    async fn link(&self, row: RecoveryRow) -> Result<IssuedLink, RecoveryRefusal> {
        let mut case = self.live(row)?;
        // Somebody who became an administrator after their proof waits too.
        if self.waits(case.row()) && case.cool_down(self.people.now()) {
            case.moved();
            let ready_at = case.row().ready_at.unwrap_or(self.people.now());
            self.keep(case).await?;
            return Err(CaseRefusal::Cooling { ready_at }.into());
        }
        case.check_proven(self.people.now())?;
        let by = case.row().approvals.last().map_or_else(|| "recovery".to_owned(), |last| last.name.clone());
        let was = Some(case.row().revision);
        let user = case.row().user;
        case.linked();
        let row = case.into_row();
        // Link and case change together, and only if the case is still as it was read.
        let put = |link: InvitationId| {
            vec![DirectoryChange::PutRecovery { row: RecoveryRow { link: Some(link), ..row.clone() }, was }]
        };
        match self.links.recovery(user, &by, put).await {
            Err(LinkRefusal::People(PeopleError::Store(StoreError::Moved))) => Err(RecoveryRefusal::Unknown),
            other => Ok(other?),
        }
    }

    fn fresh(&self, user: UserId) -> Result<RecoveryRow, RecoveryRefusal> {
        let directory = self.people.directory();
        let entry = directory.users.get(&user).ok_or_else(|| PeopleError::NoUser(user.to_string()))?;
        match entry.state {
            UserState::Active => {}
            UserState::Invited => return Err(LinkRefusal::NotEnrolled(entry.email.clone()).into()),
            UserState::Disabled => return Err(LinkRefusal::Disabled.into()),
        }
        let now = self.people.now();
        Ok(RecoveryRow {
            id: RecoveryId(self.people.ids().uuid_v7(now)),
            user,
            revision: 0,
            ticket: None,
            has_code: false,
            has_authenticator: false,
            approvals: Vec::new(),
            state: RecoveryState::Open,
            link: None,
            epoch: entry.epoch,
            opened_at: now,
            expires_at: now + CASE_LIFETIME,
            ready_at: None,
        })
    }

    /// The changes that end what is under way for a person, and forget what is long over.
    async fn stopping(&self, user: UserId) -> Result<Vec<DirectoryChange>, RecoveryRefusal> {
        let now = self.people.now();
        let mut changes = vec![
            DirectoryChange::PurgeRecoveries { before: now - CASE_MEMORY },
            DirectoryChange::VoidLinks { kind: crate::store::LinkKind::Recovery, user: Some(user), at: now },
        ];
        for row in self.people.store().recoveries().await?.into_iter().filter(|row| row.user == user) {
            let was = Some(row.revision);
            let mut case = Case::new(row);
            if case.row().expires_at + CASE_MEMORY > now && case.stop().is_ok() {
                changes.push(DirectoryChange::PutRecovery { row: case.into_row(), was });
            }
        }
        Ok(changes)
    }

    /// Refuses beside a case that still leads somewhere, one with a link out included.
    async fn check_none_runs(&self, user: UserId) -> Result<(), RecoveryRefusal> {
        let now = self.people.now();
        let rows = self.people.store().recoveries().await?;
        let runs = |row: &RecoveryRow| {
            matches!(row.state, RecoveryState::Open | RecoveryState::Linked)
                && now < row.expires_at
                && self.live(row.clone()).is_ok()
        };
        match rows.into_iter().find(|row| row.user == user && runs(row)) {
            Some(row) => Err(RecoveryRefusal::Running { id: row.id, since: row.opened_at }),
            None => Ok(()),
        }
    }

    /// One proof more; the last one begins the wait where there is one.
    async fn proven(&self, mut case: Case) -> Result<RecoveryView, RecoveryRefusal> {
        if self.waits(case.row()) {
            case.cool_down(self.people.now());
        }
        self.keep(case).await
    }

    fn waits(&self, row: &RecoveryRow) -> bool {
        self.admins_wait && self.people.administrators().contains(&row.user)
    }

    async fn keep(&self, case: Case) -> Result<RecoveryView, RecoveryRefusal> {
        self.keep_with(case, Vec::new()).await
    }

    async fn keep_with(&self, case: Case, mut changes: Vec<DirectoryChange>) -> Result<RecoveryView, RecoveryRefusal> {
        let row = case.into_row();
        changes.push(DirectoryChange::PutRecovery { row: row.clone(), was: row.revision.checked_sub(1) });
        self.people.store().apply(None, changes).await?;
        self.view(row).await
    }

    /// A case whose person is still who they were when it began.
    fn live(&self, row: RecoveryRow) -> Result<Case, RecoveryRefusal> {
        let directory = self.people.directory();
        let is_same = |entry: &&Arc<UserEntry>| entry.state == UserState::Active && entry.epoch == row.epoch;
        if directory.users.get(&row.user).filter(is_same).is_none() {
            return Err(CaseRefusal::Over.into());
        }
        Ok(Case::new(row))
    }

    async fn by_ticket(&self, ticket: &str) -> Result<RecoveryRow, RecoveryRefusal> {
        let hash = Secret::typed(ticket).ok_or(RecoveryRefusal::Unknown)?.hash(DOMAIN);
        let rows = self.people.store().recoveries().await?;
        rows.into_iter().find(|row| row.ticket == Some(hash)).ok_or(RecoveryRefusal::Unknown)
    }

    async fn by_id(&self, id: RecoveryId) -> Result<RecoveryRow, RecoveryRefusal> {
        let rows = self.people.store().recoveries().await?;
        rows.into_iter().find(|row| row.id == id).ok_or(RecoveryRefusal::Unknown)
    }

    async fn view(&self, row: RecoveryRow) -> Result<RecoveryView, RecoveryRefusal> {
        let user = self.people.directory().users.get(&row.user).cloned();
        let is_open = self.live(row.clone()).is_ok_and(|case| case.check_open(self.people.now()).is_ok());
        let is_proven = is_open && Case::new(row.clone()).is_proven();
        let waits_until = row.ready_at.filter(|ready_at| is_proven && self.people.now() < *ready_at);
        let has_authenticator = self.people.store().factors_of(row.user).await?.totp.is_some();
        Ok(RecoveryView { row, user, is_open, is_proven, waits_until, has_authenticator })
    }
}
