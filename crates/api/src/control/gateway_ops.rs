//! Gateways in processes of their own: list, invite, remove (R-40, GW-29). How they are admitted and told is the binary's.

use std::sync::Arc;

use model::record::RecordType;
use model::{BoxFuture, Timestamp};
use pki::{Jwks, Sealer, SecretText};

use super::ControlPlane;
use crate::actor::Actor;
use crate::failure::Failure;

/// How a gateway stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GatewayState {
    /// Out of reach; it serves on what it knew until that is too old.
    Away,
    /// Connected and not at the newest version yet.
    Behind,
    /// Connected and at the newest version.
    Current,
    /// Has a token and did not join yet.
    Invited,
    /// Connected; it refuses the newest version and keeps the one before.
    Refuses,
}

impl GatewayState {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            GatewayState::Away => "away",
            GatewayState::Behind => "behind",
            GatewayState::Current => "current",
            GatewayState::Invited => "invited",
            GatewayState::Refuses => "refuses",
        }
    }
}

/// A gateway as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayLine {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: GatewayState,
    /// The version requests are judged by there, and the newest.
    pub facts: Option<(u64, u64)>,
    /// The last event it acted on, and the newest.
    pub events: Option<(u64, u64)>,
    /// When it was last heard of.
    pub heard: Option<Timestamp>,
    /// Why it refuses the newest version.
    pub why: Option<String>,
    /// The version of its program.
    pub software: String,
}

/// A one-time token. No `Debug`: who reads it can join.
pub struct GatewayToken {
    /// Shown once.
    pub token: SecretText,
    /// Where to join, as `https://host:port`, as far as this process can tell.
    pub control: String,
    /// When it stops working.
    pub expires: Timestamp,
}

/// The gateways of this control plane.
pub trait GatewayControl: Send + Sync {
    /// Every gateway that was invited or joined.
    fn list(&self) -> Vec<GatewayLine>;

    /// A token to join under a name. An earlier one for this name stops working; a gateway that has joined already goes
    /// on until another joins in its place.
    ///
    /// # Errors
    /// In words: no listener, no name, too many, or it cannot be kept.
    fn invite<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<GatewayToken, String>>;

    /// Removes a gateway: its certificate is refused, its connection ends, its keys are published no more. False: there
    /// is none.
    ///
    /// # Errors
    /// It cannot be kept; then it stays.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, String>>;

    /// Their public assertion keys.
    fn keys(&self) -> Jwks;

    /// What their return tickets are sealed with.
    fn ticket_sealers(&self) -> Vec<Arc<Sealer>>;
}

impl ControlPlane {
    /// Gives the control plane its gateways; only the first counts.
    pub fn set_gateways(&self, gateways: Arc<dyn GatewayControl>) {
        self.gateways.set(gateways).ok();
    }

    /// Every gateway in a process of its own.
    pub fn list_gateways(&self) -> Vec<GatewayLine> {
        self.gateways.get().map(|gateways| gateways.list()).unwrap_or_default()
    }

    /// Their public assertion keys.
    pub(crate) fn gateway_keys(&self) -> Jwks {
        self.gateways.get().map(|gateways| gateways.keys()).unwrap_or_default()
    }

    /// What their return tickets are sealed with.
    pub(crate) fn ticket_sealers(&self) -> Vec<Arc<Sealer>> {
        self.gateways.get().map(|gateways| gateways.ticket_sealers()).unwrap_or_default()
    }

    /// A token for a new gateway, recorded before anybody sees it.
    ///
    /// # Errors
    /// See [`GatewayControl::invite`].
    pub async fn invite_gateway(&self, actor: &Actor, name: &str) -> Result<GatewayToken, Failure> {
        let token = self.gateways()?.invite(name).await.map_err(|message| Failure::Conflict { message })?;
        let text = format!("a token to join as a gateway was made; good until {}", token.expires);
        self.record_gateway(actor, RecordType::GatewayInvited, name, text).await?;
        Ok(token)
    }

    /// Removes a gateway.
    ///
    /// # Errors
    /// There is none, or it cannot be kept.
    pub async fn remove_gateway(&self, actor: &Actor, name: &str) -> Result<(), Failure> {
        if !self.gateways()?.remove(name).await.map_err(|message| Failure::Conflict { message })? {
            let message = format!("there is no gateway `{name}`; `countersign gateway list` shows all");
            return Err(Failure::NotFound { message });
        }
        let text = "removed: its certificate is refused and its keys are published no more".to_owned();
        self.record_gateway(actor, RecordType::GatewayRemoved, name, text).await
    }

    /// Records what became of a gateway.
    ///
    /// # Errors
    /// The log does not take the record.
    pub async fn record_gateway(
        &self,
        actor: &Actor,
        kind: RecordType,
        name: &str,
        text: String,
    ) -> Result<(), Failure> {
        let mut record = self.actor_record(actor, kind);
        record.change.object_kind = Some("gateway");
        record.change.object_id = Some(Arc::from(name));
        record.change.change = Some(Arc::from(text));
        self.record(record).await
    }

    fn gateways(&self) -> Result<&Arc<dyn GatewayControl>, Failure> {
        let message = "this server takes no gateways; write `[gateways]` and below it `listen = \"0.0.0.0:8444\"` into \
                       its configuration and start it again";
        self.gateways.get().ok_or_else(|| Failure::Conflict { message: message.to_owned() })
    }
}
