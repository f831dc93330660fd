//! The door of an all-in-one process: the same machine on the same messages as a gateway of its own, without wire.

use std::sync::Arc;

use feed::{Down, Effect, Known, Order, Replica};
use model::LiveStreams;
use pdp_administrator::SessionTable;
use pep_gateway::{Gateway, GatewaySnapshot};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::hub::News;

/// A door of this process.
pub struct LocalDoor {
    name: String,
    replica: Replica,
    table: Arc<SessionTable>,
    streams: Arc<dyn LiveStreams>,
    /// `None` in tests of the control loop alone.
    gateway: Option<Arc<Gateway>>,
    /// The next version, put together already: control plane and door share what was compiled.
    ready: Option<GatewaySnapshot>,
    news: mpsc::Sender<News>,
}

impl LocalDoor {
    /// A door that starts with `known`.
    pub fn new(
        name: &str,
        (lineage, known): (Uuid, Known),
        table: Arc<SessionTable>,
        streams: Arc<dyn LiveStreams>,
        gateway: Option<Arc<Gateway>>,
        news: mpsc::Sender<News>,
    ) -> Self {
        let replica = Replica::started(lineage, known);
        Self { name: name.to_owned(), replica, table, streams, gateway, ready: None, news }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the next version is, put together.
    pub fn make_ready(&mut self, snapshot: GatewaySnapshot) {
        self.ready = Some(snapshot);
    }

    /// Takes a message and does what follows from it.
    pub fn take(&mut self, message: Down) {
        match self.replica.apply(message) {
            Ok(effects) => self.carry_out(effects),
            // Nothing is lost within a process. Were it a bug of ours, the door would close by itself: it is not
            // confirmed to be current any more.
            Err(broken) => tracing::error!(%broken, door = self.name, "the door of this process does not follow"),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Change(change) => self.table.apply(&change),
                Effect::Confirm => self.streams.heartbeat(),
                Effect::Judge(order) => self.judge(order),
                Effect::Publish(known) => {
                    if let (Some(gateway), Some(snapshot)) = (&self.gateway, self.ready.take()) {
                        gateway.publish(snapshot);
                    }
                    let released = self.replica.published(known.version);
                    self.carry_out(released);
                }
                Effect::Keep(kept) => self.table.keep_only(&kept),
                // Its keys are the control plane's own, and it begins with everything.
                Effect::Acknowledge(_) | Effect::JudgeAll | Effect::Keys(_) => {}
            }
        }
    }

    /// What the door did comes back as news: nobody waits for it here.
    fn judge(&self, order: Order) {
        let (door, streams, news) = (self.name.clone(), Arc::clone(&self.streams), self.news.clone());
        tokio::spawn(async move {
            let Order { revocation, scope, cause, .. } = order;
            let report = streams.reevaluate(scope, cause).await;
            news.send(News::Report { revocation, door, report }).await.ok();
        });
    }
}
