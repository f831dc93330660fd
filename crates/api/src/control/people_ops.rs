//! People and groups: edits, and what follows from each on live sessions and streams (ID-58, GW-55).

use std::collections::BTreeSet;
use std::sync::Arc;

use model::directory::GroupId;
use model::record::RecordType;
use model::seams::{Cause, ControlError, Revocation, Scope};
use model::{UserEntry, UserId};
use pip_identity::people::{Admission, Change, Imported, Incoming, LastAdmin, NewUser};

use super::ControlPlane;
use super::deeds::{Deed, Object};
use crate::actor::Actor;
use crate::failure::Failure;

/// Above this many people whose facts moved, all streams are judged afresh at once.
const MANY_PEOPLE: usize = 32;

/// What an edit did to live sessions.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Carried {
    /// One for each scope that was judged afresh or ended.
    pub revocations: Vec<Revocation>,
}

impl ControlPlane {
    /// A person by address or id.
    ///
    /// # Errors
    /// No such person.
    pub fn user(&self, who: &str) -> Result<Arc<UserEntry>, Failure> {
        Ok(self.people.user(who)?)
    }

    /// Adds a person, who is invited until a passkey is enrolled.
    ///
    /// # Errors
    /// See [`pip_identity::People::create_user`].
    pub async fn create_user(&self, actor: &Actor, new: NewUser) -> Result<UserId, Failure> {
        let _order = self.order.lock().await;
        let (id, change) = self.people.by(Self::author(actor)).create_user(new).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await?;
        Ok(id)
    }

    /// Takes people over from another system; see [`pip_identity::People::import`].
    ///
    /// # Errors
    /// The store, or the directory moved meanwhile so that a row no longer fits. Nothing was written then.
    pub async fn import_people(
        &self,
        actor: &Actor,
        rows: &[Incoming],
        admission: Admission,
    ) -> Result<(Imported, Carried), Failure> {
        let _order = self.order.lock().await;
        let imported = self.people.by(Self::author(actor)).import(rows, admission).await?;
        let Some(change) = imported.change.clone() else { return Ok((imported, Carried::default())) };
        let carried = self.carry_out(actor, change, Cause::FactsChanged).await?;
        Ok((imported, carried))
    }

    /// Ends a person's access everywhere.
    ///
    /// # Errors
    /// See [`pip_identity::People::disable_user`].
    pub async fn disable_user(&self, actor: &Actor, user: UserId, guard: LastAdmin) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).disable_user(user, guard).await?;
        self.carry_out(actor, change, Cause::UserDisabled).await
    }

    /// Lets a person sign in again; revives nothing.
    ///
    /// # Errors
    /// See [`pip_identity::People::enable_user`].
    pub async fn enable_user(&self, actor: &Actor, user: UserId) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).enable_user(user).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// Removes a person with everything that is theirs.
    ///
    /// # Errors
    /// See [`pip_identity::People::delete_user`].
    pub async fn delete_user(&self, actor: &Actor, user: UserId, guard: LastAdmin) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).delete_user(user, guard).await?;
        self.carry_out(actor, change, Cause::UserDisabled).await
    }

    /// Keeps the wish of a person to be deleted, which deletes nothing by itself (ID-8).
    ///
    /// # Errors
    /// No such person.
    pub async fn ask_deletion(&self, actor: &Actor, user: UserId) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).ask_deletion(user).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// Forgets that wish: the person took it back, or an administrator answered it otherwise.
    ///
    /// # Errors
    /// No such person.
    pub async fn drop_deletion(&self, actor: &Actor, user: UserId) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).drop_deletion(user).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// Ends every session of a person; they may sign in again.
    ///
    /// # Errors
    /// No such person.
    pub async fn end_sessions(&self, actor: &Actor, user: UserId, cause: Cause) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).end_sessions(user).await?;
        self.carry_out(actor, change, cause).await
    }

    /// Adds a group whose members are managed here.
    ///
    /// # Errors
    /// See [`pip_identity::People::create_group`].
    pub async fn create_group(&self, actor: &Actor, id: &str, title: &str) -> Result<(), Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).create_group(id, title, BTreeSet::new()).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await.map(drop)
    }

    /// Removes a group.
    ///
    /// # Errors
    /// See [`pip_identity::People::delete_group`].
    pub async fn delete_group(&self, actor: &Actor, id: &GroupId, guard: LastAdmin) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).delete_group(id, guard).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// Puts a person into a group.
    ///
    /// # Errors
    /// See [`pip_identity::People::add_member`].
    pub async fn add_member(&self, actor: &Actor, group: &GroupId, user: UserId) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).add_member(group, user).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// Takes a person out of a group; streams they no longer may hold are cut before this answers.
    ///
    /// # Errors
    /// See [`pip_identity::People::remove_member`].
    pub async fn remove_member(
        &self,
        actor: &Actor,
        group: &GroupId,
        user: UserId,
        guard: LastAdmin,
    ) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).remove_member(group, user, guard).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// The person says that their recovery codes are saved; the first administrator administers from then on (ID-1).
    ///
    /// # Errors
    /// No such person.
    pub async fn acknowledge_codes(&self, actor: &Actor, user: UserId) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.codes_saved(user).await?;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// Takes in a change that another room made to the directory (an enrolment made an invited person active).
    ///
    /// # Errors
    /// The engine or the log refuse.
    pub async fn adopt(&self, actor: &Actor, change: Change) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        self.carry_out(actor, change, Cause::FactsChanged).await
    }

    /// Publishes an edit, ends and cuts what it takes away, and records it. The caller holds `order`.
    ///
    /// The edit is durable already, so one step that fails keeps none of the others from being taken; the first
    /// failure is the answer.
    pub(super) async fn carry_out(&self, actor: &Actor, change: Change, cause: Cause) -> Result<Carried, Failure> {
        if change.is_empty() {
            return Ok(Carried::default());
        }
        let deeds = deeds_of(&change);
        let mut outcome = self.publish_directory(self.people.directory());
        let mut revocations = Vec::new();
        for withdrawn in self.withdraw(&change, cause).await {
            match withdrawn {
                Ok(revocation) => {
                    self.revocations.remember(revocation.clone());
                    revocations.push(revocation);
                }
                Err(error) => outcome = outcome.and(Err(half_done(&error))),
            }
        }
        let told = self.tell(actor, change.note, &deeds, None).await;
        outcome = outcome.and(told);
        outcome.map(|()| Carried { revocations })
    }

    /// Every way to take access away comes through here, and from here to the one kill path.
    async fn withdraw(&self, change: &Change, cause: Cause) -> Vec<Result<Revocation, ControlError>> {
        let mut revocations = Vec::new();
        for (user, epoch) in &change.ended {
            let is_gone = change.disabled.contains(user) || change.deleted.contains(user);
            let cause = if is_gone { Cause::UserDisabled } else { cause };
            revocations.push(self.sessions.end_all(*user, *epoch, cause).await);
        }
        let moved: Vec<UserId> =
            change.facts_moved.iter().filter(|user| !change.ended.contains_key(*user)).copied().collect();
        if moved.len() > MANY_PEOPLE {
            revocations.push(self.sessions.reevaluate(Scope::Everything, cause).await);
        } else {
            for user in moved {
                revocations.push(self.sessions.reevaluate(Scope::User(user), cause).await);
            }
        }
        if !change.service_apps.is_empty() {
            let apps = change.service_apps.iter().cloned().collect();
            revocations.push(self.sessions.reevaluate(Scope::Apps(apps), cause).await);
        }
        revocations
    }
}

/// What the record must say of a change.
pub(super) fn deeds_of(change: &Change) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let mut user = |kind: RecordType, id: &UserId, text: String| deeds.push(Deed::to_user(kind, id, text));
    for id in &change.created {
        user(RecordType::IdentityUserCreated, id, "created".to_owned());
    }
    for id in &change.disabled {
        user(RecordType::IdentityUserDisabled, id, "disabled".to_owned());
    }
    for id in &change.enabled {
        user(RecordType::IdentityUserChanged, id, "enabled again".to_owned());
    }
    for id in &change.deleted {
        user(RecordType::IdentityUserDeleted, id, "deleted".to_owned());
    }
    for id in &change.wished {
        user(RecordType::IdentityUserChanged, id, "asked for the deletion of the account".to_owned());
    }
    for id in &change.unwished {
        user(RecordType::IdentityUserChanged, id, "the wish for deletion was taken back or answered".to_owned());
    }
    for id in change.ended.keys().filter(|id| !change.disabled.contains(*id) && !change.deleted.contains(*id)) {
        user(RecordType::SessionRevoked, id, "every session ended".to_owned());
    }
    for (group, id) in &change.joined {
        user(RecordType::IdentityMembershipChanged, id, format!("added to group {group}"));
    }
    for (group, id) in &change.left {
        user(RecordType::IdentityMembershipChanged, id, format!("removed from group {group}"));
    }
    let is_told: BTreeSet<&UserId> = change
        .joined
        .iter()
        .chain(&change.left)
        .map(|(_, user)| user)
        .chain(change.ended.keys())
        .chain(&change.enabled)
        .collect();
    for id in change.facts_moved.iter().filter(|id| !is_told.contains(id)) {
        user(RecordType::IdentityUserChanged, id, "changed".to_owned());
    }
    for group in &change.groups {
        let word = if change.directory.groups.contains_key(group) { "created or changed" } else { "deleted" };
        deeds.push(Deed::new(RecordType::IdentityGroupChanged, Object::Group, group.as_str(), word));
    }
    for name in &change.services {
        let word = match change.directory.services.get(name) {
            Some(service) if service.is_enabled => "created or changed",
            Some(_) => "disabled",
            None => "deleted",
        };
        deeds.push(Deed::new(RecordType::IdentityServiceChanged, Object::Service, name, word));
    }
    for (id, service) in &change.service_tokens {
        let word = match change.directory.service_tokens.get(id) {
            Some(token) if token.secrets.len() > 1 => "rotated",
            Some(_) => "created",
            None => "revoked",
        };
        let text = format!("{word}; of service account {service}");
        deeds.push(Deed::new(RecordType::IdentityServiceTokenChanged, Object::ServiceToken, id, text));
    }
    deeds
}

/// The edit stands; what should have followed did not wholly.
pub(super) fn half_done(error: &ControlError) -> Failure {
    Failure::unavailable(format!("the change was made, but what it withdraws is not confirmed everywhere: {error}"))
}
