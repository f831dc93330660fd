//! Looking at sinks and trying one (AUD-38).

use std::sync::Arc;

use audit::{SinkStatus, Sinks};
use model::record::RecordType;

use super::ControlPlane;
use crate::actor::Actor;
use crate::failure::Failure;

impl ControlPlane {
    /// Gives the control plane the sinks of this process; only the first counts.
    pub fn set_sinks(&self, sinks: Arc<Sinks>) {
        self.sinks.set(sinks).ok();
    }

    /// How every sink is.
    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.sinks.get().map(|sinks| sinks.status()).unwrap_or_default()
    }

    /// Hands one marked line to a sink, at once; gives back its mark. Recorded whether it was taken or not.
    ///
    /// # Errors
    /// No such sink, or it did not take the line.
    pub async fn test_sink(&self, actor: &Actor, name: &str) -> Result<String, Failure> {
        let tried = match self.sinks.get() {
            Some(sinks) => sinks.test(name).await,
            None => None,
        };
        let Some(tried) = tried else {
            let names: Vec<String> = self.sinks().into_iter().map(|sink| sink.name).collect();
            let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
            return Err(Failure::NotFound { message: format!("there is no sink `{name}`; sinks: {known}") });
        };
        let mut record = self.actor_record(actor, RecordType::AuditSinkTested);
        record.change.object_kind = Some("sink");
        record.change.object_id = Some(Arc::from(name));
        record.change.change = Some(Arc::from(match &tried {
            Ok(mark) => format!("took the line {mark}"),
            Err(error) => format!("did not take a line: {error}"),
        }));
        self.record(record).await?;
        tried.map_err(|error| Failure::Unavailable {
            message: format!("the sink `{name}` did not take the line: {error}"),
        })
    }
}
