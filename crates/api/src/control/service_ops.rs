//! Service accounts and their tokens: edits, over the same path as those of people (ID-9, GW-52).

use std::collections::BTreeSet;
use std::time::Duration;

use model::seams::Cause;
use model::{AppName, GroupId, ServiceTokenId};
use pip_identity::people::{Change, PeopleError};
use pip_identity::services::{Issued, NewService};

use super::ControlPlane;
use super::people_ops::Carried;
use super::policy_ops::not_found;
use crate::actor::Actor;
use crate::failure::Failure;

impl ControlPlane {
    /// Makes a service account.
    ///
    /// # Errors
    /// See [`pip_identity::People::create_service`].
    pub async fn create_service(&self, actor: &Actor, new: NewService) -> Result<(), Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).create_service(new).await;
        self.see_through(actor, change, Cause::FactsChanged).await.map(drop)
    }

    /// Puts a service account into exactly these groups.
    ///
    /// # Errors
    /// See [`pip_identity::People::set_service_groups`].
    pub async fn set_service_groups(
        &self,
        actor: &Actor,
        name: &str,
        groups: BTreeSet<GroupId>,
    ) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).set_service_groups(name, groups).await;
        self.see_through(actor, change, Cause::FactsChanged).await
    }

    /// Disables a service account, takes its tokens away and cuts their streams.
    ///
    /// # Errors
    /// No such account.
    pub async fn disable_service(&self, actor: &Actor, name: &str) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).disable_service(name).await;
        self.see_through(actor, change, Cause::UserDisabled).await
    }

    /// Lets a service account have tokens again.
    ///
    /// # Errors
    /// No such account.
    pub async fn enable_service(&self, actor: &Actor, name: &str) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).enable_service(name).await;
        self.see_through(actor, change, Cause::FactsChanged).await
    }

    /// Removes a service account with its tokens and cuts their streams.
    ///
    /// # Errors
    /// No such account.
    pub async fn delete_service(&self, actor: &Actor, name: &str) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).delete_service(name).await;
        self.see_through(actor, change, Cause::UserDisabled).await
    }

    /// Makes a token for these apps. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// An app does not exist; see [`pip_identity::People::create_service_token`].
    pub async fn create_service_token(
        &self,
        actor: &Actor,
        service: &str,
        apps: BTreeSet<AppName>,
        life: Duration,
    ) -> Result<Issued, Failure> {
        let _order = self.order.lock().await;
        let published = self.published();
        let known = || published.apps.iter().map(|app| app.name.as_str());
        if let Some(app) = apps.iter().find(|app| !known().any(|name| name == app.as_str())) {
            return Err(not_found("app", app.as_str(), config::problem::nearest(app.as_str(), known())));
        }
        let issued = self.people.by(Self::author(actor)).create_service_token(service, apps, life).await?;
        self.carry_out(actor, issued.change.clone(), Cause::FactsChanged).await?;
        Ok(issued)
    }

    /// Gives a token a new secret; the old one stays good for a day.
    ///
    /// # Errors
    /// No such token.
    pub async fn rotate_service_token(
        &self,
        actor: &Actor,
        id: ServiceTokenId,
        life: Duration,
    ) -> Result<Issued, Failure> {
        let _order = self.order.lock().await;
        let issued = self.people.by(Self::author(actor)).rotate_service_token(id, life).await?;
        self.carry_out(actor, issued.change.clone(), Cause::FactsChanged).await?;
        Ok(issued)
    }

    /// Takes a token away and cuts its streams.
    ///
    /// # Errors
    /// No such token.
    pub async fn revoke_service_token(&self, actor: &Actor, id: ServiceTokenId) -> Result<Carried, Failure> {
        let _order = self.order.lock().await;
        let change = self.people.by(Self::author(actor)).revoke_service_token(id).await;
        self.see_through(actor, change, Cause::SessionRevoked).await
    }

    async fn see_through(
        &self,
        actor: &Actor,
        change: Result<Change, PeopleError>,
        cause: Cause,
    ) -> Result<Carried, Failure> {
        self.carry_out(actor, change?, cause).await
    }
}
