//! What a server does for its record beside writing it: watches the clock (AUD-13) and drills a shadow log once a month
//! (AUD-21). It decides nothing: what is an event is in `audit`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Actor, ControlPlane};
use audit::AuditLog;
use audit::clock::{COMPARE_INTERVAL, ClockEvent, ClockWatch, SAMPLE_INTERVAL};
use audit::floods::FloodGate;
use model::seams::Durability;
use model::{AccessId, Clock, Ids, Recorder};
use tokio_util::sync::CancellationToken;

/// How often counted refusals are looked through.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How often it looks whether a drill is due; the first look is so long after the start.
const DRILL_LOOK: Duration = Duration::from_secs(3_600);

/// Compares the clocks every second and asks the kernel every minute, until told to stop.
pub(crate) async fn clock(log: Arc<AuditLog>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, shutdown: CancellationToken) {
    let start = Instant::now();
    let mut watch = ClockWatch::default();
    let mut sample_at = start;
    loop {
        // One after the other, with nothing between them that could take long.
        let event = watch.compare(clock.wall(), start.elapsed());
        tell(&log, clock.as_ref(), ids.as_ref(), event).await;
        if Instant::now() >= sample_at {
            sample_at = Instant::now() + SAMPLE_INTERVAL;
            if let Ok(kernel) = sys::kernel_clock() {
                log.trust_time(kernel.is_synchronised);
                let event = watch.sample(kernel.is_synchronised, kernel.max_error);
                tell(&log, clock.as_ref(), ids.as_ref(), event).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(COMPARE_INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn tell(log: &AuditLog, clock: &dyn Clock, ids: &dyn Ids, event: Option<ClockEvent>) {
    let Some(event) = event else { return };
    let now = clock.now();
    let record = event.tell(log.alerts(), AccessId(ids.uuid_v7(now)), now);
    if let Err(error) = log.append(record, Durability::Standard).await {
        // The alert stays, and the log counts the record as one it could not keep.
        tracing::error!(%error, "what happened to the clock could not be recorded");
    }
}

/// Records what floods of refusals were counted, every second until told to stop.
pub(crate) async fn floods(floods: Arc<FloodGate>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(FLUSH_INTERVAL) => floods.flush(false).await,
            () = shutdown.cancelled() => return,
        }
    }
}

/// Drills a shadow log when the record knows of no drill in the last thirty days.
pub(crate) async fn monthly_drill(control: Arc<ControlPlane>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(DRILL_LOOK) => {}
            () = shutdown.cancelled() => return,
        }
        let actor = Actor::system(control.new_access_id());
        match control.drill_if_due(&actor).await {
            Ok(Some(report)) if report.has_passed() => tracing::info!(drill = %report.summary(), "monthly drill"),
            Ok(Some(report)) => tracing::error!(drill = %report.summary(), "the monthly drill of the record failed"),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the monthly drill of the record could not be run"),
        }
    }
}
