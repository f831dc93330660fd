//! Getting back in, and "that was not me" (ID-2, ID-6, ID-7): each step recorded, sessions ended over the one kill path.

use std::net::IpAddr;
use std::sync::Arc;

use model::record::{AuditRecord, RecordType};
use model::seams::Cause;
use model::{Directory, Ids, Principal, RecoveryId, Timestamp, TokenHash, UserId};
use pip_identity::links::IssuedLink;
use pip_identity::notices::NoticeRefusal;
use pip_identity::recovery::{Approver, CaseRefusal, Opened, RecoveryRefusal, RecoveryView, Running};
use pip_identity::store::NoteRow;
use uuid::Uuid;

use super::ControlPlane;
use super::deeds::Deed;
use super::people_ops::Carried;
use crate::actor::Actor;
use crate::failure::Failure;

impl ControlPlane {
    /// Opens a recovery with an address and a recovery code. `device` is the hash of the browser's binding cookie.
    ///
    /// # Errors
    /// As [`pip_identity::Recovery::open`]; a refusal is recorded as a failed sign-in.
    pub async fn open_recovery(
        &self,
        actor: &Actor,
        email: &str,
        code: &str,
        from: IpAddr,
        device: Option<TokenHash>,
    ) -> Result<Opened, RecoveryFailure> {
        let opened = self.accounts.recovery.open(email, code, from, device).await;
        let opened = self.refused(actor, "recovery code", opened).await?;
        self.begun(actor, &opened.view, "begun with a recovery code").await?;
        Ok(opened)
    }

    /// The second proof of a recovery: a code of the authenticator app that is still bound.
    ///
    /// # Errors
    /// As [`pip_identity::Recovery::prove_authenticator`].
    pub async fn prove_recovery(
        &self,
        actor: &Actor,
        ticket: &str,
        code: &str,
        from: IpAddr,
    ) -> Result<RecoveryView, RecoveryFailure> {
        let view = self.accounts.recovery.prove_authenticator(ticket, code, from).await;
        let view = self.refused(actor, "authenticator code in a recovery", view).await?;
        self.note(actor, &view, &waiting("proven with the authenticator app", &view)).await?;
        Ok(view)
    }

    /// The link of a proven recovery, for the browser that began it.
    ///
    /// # Errors
    /// As [`pip_identity::Recovery::claim`].
    pub async fn claim_recovery(&self, actor: &Actor, ticket: &str) -> Result<IssuedLink, RecoveryFailure> {
        let view = self.accounts.recovery.status(ticket).await?;
        let link = self.waited(actor, &view, self.accounts.recovery.claim(ticket).await).await?;
        self.note(actor, &view, "link made").await?;
        Ok(link)
    }

    /// An administrator begins a recovery for somebody without a code; a second one must vouch.
    ///
    /// # Errors
    /// As [`pip_identity::Recovery::open_for`].
    pub async fn open_recovery_for(
        &self,
        actor: &Actor,
        user: UserId,
        running: Running,
    ) -> Result<RecoveryView, RecoveryFailure> {
        let view = self.accounts.recovery.open_for(user, &approver(actor), running).await?;
        self.begun(actor, &view, "begun by an administrator, who vouches").await?;
        Ok(view)
    }

    /// An administrator vouches for one recovery of a person, the one whose id the person read to them: whoever holds a
    /// stolen code may have begun another one since. When an administrator began it and this proves it, the link is given
    /// too, to be handed over.
    ///
    /// # Errors
    /// It is not open or not that person's, it is their own account, or they vouched already.
    pub async fn approve_recovery(
        &self,
        actor: &Actor,
        user: UserId,
        case: RecoveryId,
    ) -> Result<(RecoveryView, Option<IssuedLink>), RecoveryFailure> {
        let open = self.accounts.recovery.open_case_of(user).await?;
        if open.row.id != case {
            return Err(RecoveryRefusal::Unknown.into());
        }
        let approver = approver(actor);
        let is_last = open.row.approvals.last().is_some_and(|last| last.is_same(&approver));
        // Whoever vouched last comes again for the link once the wait is over.
        let view = if open.is_proven && open.row.ready_at.is_some() && open.row.ticket.is_none() && is_last {
            open
        } else {
            let view = self.accounts.recovery.approve(case, &approver).await?;
            self.note(actor, &view, &waiting("an administrator vouches", &view)).await?;
            if view.row.ticket.is_some() || !view.is_proven || view.waits_until.is_some() {
                return Ok((view, None));
            }
            view
        };
        let link = self.accounts.recovery.claim_for(view.row.id, &approver).await;
        let link = self.waited(actor, &view, link).await?;
        self.note(actor, &view, "link made").await?;
        Ok((view, Some(link)))
    }

    /// Stops the open recovery of a person.
    ///
    /// # Errors
    /// There is none.
    pub async fn stop_recovery(&self, actor: &Actor, id: RecoveryId) -> Result<RecoveryView, RecoveryFailure> {
        let view = self.accounts.recovery.stop(id).await?;
        self.note(actor, &view, "stopped").await?;
        Ok(view)
    }

    /// The link that opens an administrator's account again, for whoever has the host (ID-2).
    ///
    /// # Errors
    /// The caller is not the host, or the person does not administer.
    pub async fn recover_admin(&self, actor: &Actor, user: UserId) -> Result<IssuedLink, RecoveryFailure> {
        if actor.principal != Principal::Workload(Arc::from(model::decision::LOCAL_OPERATOR)) {
            let message =
                "only the server itself reopens an administrator's account; run `countersign admin recover` there";
            return Err(Failure::Forbidden { message: message.to_owned() }.into());
        }
        let reopened = Reopened::by(actor, user, self.now(), self.ids.as_ref());
        let link = self.accounts.recovery.from_host(user, &actor.name, Some(reopened.note())).await?;
        self.tell(actor, Some(reopened.id), &[reopened.deed()], None).await?;
        Ok(link)
    }

    /// "That was not me", said by `user`: every session of theirs ends, and every recovery that is under way.
    ///
    /// # Errors
    /// [`Failure::Conflict`]: the token was used, is too old, was never shown, or is of a notice to somebody else.
    pub async fn not_me(&self, actor: &Actor, user: UserId, token: &str) -> Result<Carried, Failure> {
        let notice = self.accounts.notices.not_me(user, token).await.map_err(|refusal| match refusal {
            NoticeRefusal::Unknown => Failure::Conflict { message: refusal.to_string() },
            NoticeRefusal::People(error) => error.into(),
        })?;
        let mut record = self.actor_record(actor, RecordType::AuthNotice);
        record.change.object_kind = Some("notice");
        record.change.object_id = Some(Arc::from(notice.id.to_string()));
        record.change.object_subject = Some(notice.user);
        record.change.change = Some(Arc::from(format!("{}: \"that was not me\"", notice.kind.as_str())));
        let carried = self.end_sessions(actor, notice.user, Cause::SessionRevoked).await;
        // Ending comes first: it must not wait for the log.
        self.record(record).await?;
        carried
    }

    /// The beginning of a recovery, which its person is told of as well; the end is told by the enrolment.
    async fn begun(&self, actor: &Actor, view: &RecoveryView, text: &str) -> Result<(), Failure> {
        self.note(actor, view, text).await?;
        self.record(self.about(actor, view, RecordType::AuthNotice, text)).await
    }

    /// Records the beginning of a wait that the last step itself began.
    async fn waited(
        &self,
        actor: &Actor,
        view: &RecoveryView,
        link: Result<IssuedLink, RecoveryRefusal>,
    ) -> Result<IssuedLink, RecoveryFailure> {
        if let (Err(RecoveryRefusal::Case(CaseRefusal::Cooling { ready_at })), None) = (&link, view.row.ready_at) {
            self.note(actor, view, &format!("waits until {ready_at}: the account administers")).await?;
        }
        Ok(link?)
    }

    async fn note(&self, actor: &Actor, view: &RecoveryView, text: &str) -> Result<(), Failure> {
        self.record(self.about(actor, view, RecordType::AuthRecovery, text)).await
    }

    fn about(&self, actor: &Actor, view: &RecoveryView, kind: RecordType, text: &str) -> AuditRecord {
        let mut record = self.actor_record(actor, kind);
        record.change.object_kind = Some("recovery");
        record.change.object_id = Some(Arc::from(view.row.id.to_string()));
        record.change.object_subject = Some(view.row.user);
        record.change.change = Some(Arc::from(text));
        record
    }

    async fn refused<T>(
        &self,
        actor: &Actor,
        what: &str,
        outcome: Result<T, RecoveryRefusal>,
    ) -> Result<T, RecoveryFailure> {
        let Err(refusal) = &outcome else { return outcome.map_err(RecoveryFailure::from) };
        let mut record = self.actor_record(actor, RecordType::AuthFailed);
        record.credential.kind = Some("recovery_code");
        record.decision.reason_text = Some(Arc::from(refusal.code()));
        record.change.change = Some(Arc::from(format!("{what} refused: {}", refusal.code())));
        self.record(record).await?;
        outcome.map_err(RecoveryFailure::from)
    }
}

/// An administrator's account that is reopened from the host, with the server running or without: what is kept in the
/// transaction that makes the link, and recorded after it. A crash between the two is made good at the next start.
pub struct Reopened {
    actor: Actor,
    user: UserId,
    at: Timestamp,
    id: Uuid,
}

impl Reopened {
    /// `actor` reopens the account of `user`.
    pub fn by(actor: &Actor, user: UserId, at: Timestamp, ids: &dyn Ids) -> Self {
        Self { actor: actor.clone(), user, at, id: ids.uuid_v7(at) }
    }

    /// Under what the note is kept.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What is kept with the link.
    pub fn note(&self) -> NoteRow {
        let store::Note { id, at, body } = super::deeds::note(&self.actor, self.id, self.at, &[self.deed()]);
        NoteRow { id, at, body }
    }

    /// What is recorded once the link is made.
    pub fn record(&self, directory: &Directory) -> AuditRecord {
        let mut record = self.actor.record(RecordType::AuthRecovery, self.at, directory);
        self.deed().describe(&mut record);
        record
    }

    fn deed(&self) -> Deed {
        let text = "administrator reopened from the host; every administrator is told";
        Deed::to_user(RecordType::AuthRecovery, &self.user, text)
    }
}

/// A recovery that did not go on, or whose record could not be kept.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum RecoveryFailure {
    /// The operation.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The recovery.
    #[error(transparent)]
    Refused(#[from] RecoveryRefusal),
}

impl From<RecoveryFailure> for Failure {
    fn from(failure: RecoveryFailure) -> Self {
        let refusal = match failure {
            RecoveryFailure::Failure(failure) => return failure,
            RecoveryFailure::Refused(refusal) => refusal,
        };
        let message = refusal.to_string();
        match refusal {
            RecoveryRefusal::People(error) => error.into(),
            RecoveryRefusal::Unknown => Failure::NotFound { message },
            RecoveryRefusal::Throttled(throttled) => Failure::too_many(&throttled),
            RecoveryRefusal::Case(_)
            | RecoveryRefusal::Code(_)
            | RecoveryRefusal::Link(_)
            | RecoveryRefusal::Pair(_)
            | RecoveryRefusal::Running { .. } => Failure::Conflict { message },
        }
    }
}

/// What the record says of a step, with the wait it began.
fn waiting(text: &str, view: &RecoveryView) -> String {
    match view.waits_until {
        Some(until) => format!("{text}; waits until {until}: the account administers"),
        None => text.to_owned(),
    }
}

fn approver(actor: &Actor) -> Approver {
    let user = match &actor.principal {
        Principal::User(user) => Some(*user),
        Principal::Anonymous | Principal::Workload(_) => None,
    };
    Approver { name: actor.name.clone(), user }
}
