//! Drilling the record (AUD-21): on a shadow log in a temporary folder, or on the real one. One drill at a time; each leaves
//! an `audit.drill` record with what came of every part.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use audit::drill::{DrillReport, DrillRung, REPORT, live, shadow};
use audit::{Column, Query, SealedAccess};
use model::decision::LOCAL_OPERATOR;
use model::record::RecordType;
use model::{AccessId, Principal};

use super::ControlPlane;
use crate::actor::Actor;
use crate::failure::Failure;

/// How old the last drill may be.
const DRILL_AGE: Duration = Duration::from_secs(30 * 24 * 3_600);

impl ControlPlane {
    /// An id for something the product begins by itself.
    pub fn new_access_id(&self) -> AccessId {
        AccessId(self.ids.uuid_v7(self.now()))
    }

    /// Drills, and records what came of it. Only the host drills the real log: that deletes its file and stops it for a
    /// while, which the right to administer is no right to.
    ///
    /// # Errors
    /// The real log and not the host, another drill runs, there is no folder for a shadow log, or the result could not be recorded.
    pub async fn drill(
        self: &Arc<Self>,
        actor: &Actor,
        rungs: Vec<DrillRung>,
        is_live: bool,
    ) -> Result<DrillReport, Failure> {
        if is_live && actor.principal != Principal::Workload(Arc::from(LOCAL_OPERATOR)) {
            let message = "only the server itself drills the real log; run `countersign audit drill --live` there";
            return Err(Failure::Forbidden { message: message.to_owned() });
        }
        let Ok(_alone) = self.drilling.try_lock() else {
            return Err(Failure::Conflict { message: "a drill is running; wait until it has ended".to_owned() });
        };
        let this = Arc::clone(self);
        let drilled = tokio::task::spawn_blocking(move || {
            if is_live {
                let dir = this.log.dir().to_path_buf();
                let sinks = this.sinks.get().map(Arc::as_ref);
                return Ok(live(&this.log, &dir, this.clock.as_ref(), this.ids.as_ref(), sinks, &rungs));
            }
            let name = format!("countersign-drill-{}", this.ids.uuid_v7(this.clock.now()));
            let folder = Temporary::make(std::env::temp_dir().join(name)).map_err(Failure::unavailable)?;
            shadow(&folder.0, Arc::clone(&this.clock), Arc::clone(&this.ids), &rungs).map_err(Failure::unavailable)
        });
        let report = drilled.await.map_err(Failure::unavailable)??;
        let mut record = self.actor_record(actor, RecordType::AuditDrill);
        record.change.object_kind = Some("log");
        record.change.object_id = Some(Arc::from(REPORT));
        record.change.change = Some(Arc::from(report.summary()));
        self.record(record).await?;
        Ok(report)
    }

    /// Drills a shadow log when the record knows of no drill in the last thirty days.
    ///
    /// # Errors
    /// As [`Self::drill`], and when the record cannot be read.
    pub async fn drill_if_due(self: &Arc<Self>, actor: &Actor) -> Result<Option<DrillReport>, Failure> {
        let since = Some(self.now() - DRILL_AGE);
        let query = Query { kind: Some(RecordType::AuditDrill), since, limit: 1_000, ..Query::default() };
        let this = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || this.log.query(&query, SealedAccess::Closed))
            .await
            .map_err(Failure::unavailable)?
            .map_err(Failure::unavailable)?;
        if answer.rows.iter().any(|row| row.text(Column::ObjectId) == Some(REPORT)) {
            return Ok(None);
        }
        self.drill(actor, DrillRung::ALL.to_vec(), false).await.map(Some)
    }
}

/// A folder that goes when it is let go of.
struct Temporary(PathBuf);

impl Temporary {
    fn make(path: PathBuf) -> std::io::Result<Self> {
        // Not `create_dir_all`: what somebody else made under this name is not ours.
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::error!(%error, folder = %self.0.display(), "the folder of a drill cannot be removed");
        }
    }
}
