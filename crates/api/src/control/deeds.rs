//! What was done and must be in the record. A deed is put down in the transaction of the change itself (the outbox of
//! the store) and turned into records from there, at once or, after a crash, at the next start: one path, so that both
//! say the same.
//!
//! Invariant: telling a deed twice leaves each record once. A record is known by the access it is part of, its kind, its
//! object and its text.

use std::sync::Arc;

use audit::{Column, Query, SealedAccess};
use model::record::{AuditRecord, RecordType};
use model::{AccessId, Principal, RevocationId, Timestamp, UserId};
use pip_identity::people::{Author, Change, Overseer};
use pip_identity::store::NoteRow;
use serde::{Deserialize, Serialize};
use store::Note;
use uuid::Uuid;

use super::people_ops::deeds_of;
use super::{ControlPlane, assemble, lockout};
use crate::actor::Actor;
use crate::failure::Failure;

/// One thing that was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Deed {
    kind: String,
    object: Object,
    id: String,
    subject: Option<String>,
    text: String,
    config: Option<u64>,
}

/// What a deed was done to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Object {
    Config,
    Group,
    Key,
    Service,
    ServiceToken,
    User,
}

impl Object {
    fn as_str(self) -> &'static str {
        match self {
            Object::Config => "config",
            Object::Group => "group",
            Object::Key => "key",
            Object::Service => "service_account",
            Object::ServiceToken => "service_token",
            Object::User => "user",
        }
    }
}

impl Deed {
    /// Something done to `object`.
    pub(super) fn new(kind: RecordType, object: Object, id: impl ToString, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind: kind.as_str().to_owned(), object, id: id.to_string(), subject: None, text, config: None }
    }

    /// Something done to a person.
    pub(super) fn to_user(kind: RecordType, user: &UserId, text: impl Into<String>) -> Self {
        Self { subject: Some(user.to_string()), ..Self::new(kind, Object::User, user, text) }
    }

    /// Something done with a version of the configuration.
    pub(super) fn with_config(kind: RecordType, number: u64, text: impl Into<String>) -> Self {
        Self { config: Some(number), ..Self::new(kind, Object::Config, number, text) }
    }

    /// Writes what was done into its record.
    pub(super) fn describe(&self, record: &mut AuditRecord) {
        record.change.object_kind = Some(self.object.as_str());
        record.change.object_id = Some(Arc::from(self.id.as_str()));
        record.change.object_subject = self.subject.as_deref().and_then(|id| id.parse().ok());
        record.change.change = Some(Arc::from(self.text.as_str()));
        record.pins.config_version = self.config;
    }
}

/// Everything one operation did, with who asked for it.
#[derive(Serialize, Deserialize)]
struct Told {
    who: String,
    access: Uuid,
    door: String,
    deeds: Vec<Deed>,
}

/// Doors as records name them; what is not among them is told as `system`.
const DOORS: &[&str] = &["http", "control", "system"];
const PERSON: &str = "user:";

impl Told {
    fn of(actor: &Actor, deeds: Vec<Deed>) -> Self {
        let who = match &actor.principal {
            Principal::User(id) => format!("{PERSON}{id}"),
            Principal::Workload(name) => name.to_string(),
            Principal::Anonymous => "anonymous".to_owned(),
        };
        Self { who, access: actor.access_id.0, door: actor.door.to_owned(), deeds }
    }

    fn actor(&self) -> Actor {
        let access = AccessId(self.access);
        let person = self.who.strip_prefix(PERSON).and_then(|id| id.parse::<UserId>().ok());
        let principal = match person {
            Some(id) => Principal::User(id),
            None => Principal::Workload(Arc::from(self.who.as_str())),
        };
        let door = DOORS.iter().copied().find(|door| *door == self.door).unwrap_or("system");
        Actor { principal, name: self.who.clone(), door, ..Actor::system(access) }
    }
}

/// The note of what `actor` did.
pub(super) fn note(actor: &Actor, id: Uuid, at: Timestamp, deeds: &[Deed]) -> Note {
    let told = Told::of(actor, deeds.to_vec());
    // Strings, numbers and lists always have a JSON form.
    Note { id, at, body: serde_json::to_string(&told).unwrap_or_default() }
}

impl ControlPlane {
    /// Records what was done and forgets the note of it. What could not be recorded stays noted for the next start; the
    /// first failure is the answer.
    pub(super) async fn tell(
        &self,
        actor: &Actor,
        note: Option<Uuid>,
        deeds: &[Deed],
        revocation: Option<RevocationId>,
    ) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for deed in deeds {
            let mut record = self.deed_record(actor, deed);
            record.change.revocation = revocation;
            outcome = outcome.and(self.record(record).await);
        }
        if let (Ok(()), Some(id)) = (&outcome, note) {
            self.notes.forget_note(id).await?;
        }
        outcome
    }

    /// The name under which edits of the directory are made for `actor`.
    pub(super) fn author(actor: &Actor) -> pip_identity::people::Author {
        Arc::from(serde_json::to_string(&Told::of(actor, Vec::new())).unwrap_or_default())
    }

    /// Records what a crash kept from being recorded, and what `start` itself put down before there was a control
    /// plane. Called once, before anything else is done.
    ///
    /// # Errors
    /// The store or the log do not answer.
    pub(super) async fn tell_what_is_untold(&self, start: &Actor) -> Result<(), Failure> {
        for note in self.notes.notes().await? {
            let Ok(told) = serde_json::from_str::<Told>(&note.body) else {
                tracing::error!(note = %note.id, "a note for the record is not readable; it is left where it is");
                continue;
            };
            let actor = told.actor();
            for deed in &told.deeds {
                if !self.is_told(&actor, deed).await? {
                    let mut record = self.deed_record(&actor, deed);
                    if actor.access_id != start.access_id {
                        let kind = &deed.kind;
                        tracing::warn!(%kind, object = %deed.id, "recording what a crash kept from being recorded");
                        record.change.change = Some(Arc::from(format!("{}; recorded at the next start", deed.text)));
                    }
                    self.record(record).await?;
                }
            }
            self.notes.forget_note(note.id).await?;
        }
        Ok(())
    }

    fn deed_record(&self, actor: &Actor, deed: &Deed) -> AuditRecord {
        let kind = deed.kind.parse().unwrap_or(RecordType::IdentityUserChanged);
        let mut record = self.actor_record(actor, kind);
        deed.describe(&mut record);
        let published = self.published();
        if deed.config.is_some_and(|number| number == published.config_version) {
            record.pins.policy_set_hash = Some(published.policies.policy_hash());
            record.pins.schema_hash = Some(published.policies.schema_hash());
        }
        record
    }

    async fn is_told(&self, actor: &Actor, deed: &Deed) -> Result<bool, Failure> {
        let query = Query {
            kind: deed.kind.parse().ok(),
            what: Some(deed.id.clone()),
            access_id: Some(actor.access_id),
            limit: audit::query::MAX_LIMIT,
            ..Query::default()
        };
        let log = Arc::clone(&self.log);
        let answer = tokio::task::spawn_blocking(move || log.query(&query, SealedAccess::Closed)).await;
        let answer = answer.map_err(Failure::unavailable)?.map_err(Failure::unavailable)?;
        let says_so = |text: &str| text.starts_with(&deed.text);
        Ok(answer.rows.iter().any(|row| row.text(Column::Change).is_some_and(says_so)))
    }
}

impl Overseer for ControlPlane {
    fn locks_out(&self, change: &Change) -> bool {
        let before = self.published();
        let after = assemble(0, Arc::clone(&before.apps), Arc::clone(&before.policies), Arc::clone(&change.directory));
        // Nobody administers by a directory that the engine does not take.
        after.is_ok_and(|after| lockout::takes_the_last(&before, &after, self.now()))
    }

    fn note(&self, change: &Change, author: Option<&Author>) -> Option<NoteRow> {
        let actor = match author.and_then(|author| serde_json::from_str::<Told>(author).ok()) {
            Some(told) => told.actor(),
            None => Actor::system(AccessId(self.ids.uuid_v7(self.now()))),
        };
        let deeds = deeds_of(change);
        if deeds.is_empty() {
            return None;
        }
        let Note { id, at, body } = note(&actor, self.ids.uuid_v7(self.now()), self.now(), &deeds);
        Some(NoteRow { id, at, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_with_who_asked() {
        let id = UserId(Uuid::from_u128(7));
        let carol = Actor {
            principal: Principal::User(id),
            name: "carol@corp.test".to_owned(),
            door: "http",
            ..Actor::system(AccessId(Uuid::from_u128(1)))
        };
        let deeds = [Deed::to_user(RecordType::IdentityUserDisabled, &id, "disabled")];
        let note = note(&carol, Uuid::from_u128(2), Timestamp(3), &deeds);
        assert!(!note.body.contains('@'), "no address in the store beside the directory");
        let told: Told = serde_json::from_str(&note.body).unwrap();
        let actor = told.actor();
        assert_eq!((actor.principal, actor.door, actor.access_id), (carol.principal, "http", carol.access_id));
        assert_eq!(told.deeds, deeds);
    }
}
