//! The part of a drill in which a sink hangs: nobody who appends may notice, somebody has to be told, and nothing may be lost.
//! A sink of the drill's own is hung, beside those of the server when the drill is live.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::BoxFuture;
use model::record::RecordType;
use model::seams::Durability;

use super::{DETECT_WITHIN, Found, RECOVER_WITHIN, Stage, wait};
use crate::alerts::AlertKind;
use crate::sinks::{Batch, Sink, SinkError, SinkSettings, Sinks};

/// Records appended before and while it hangs.
const APPENDS: usize = 200;
/// The sink of the drill is overdue after so long.
const OVERDUE: Duration = Duration::from_secs(1);
/// What a busy machine may add to the time of an append by itself.
const NOISE: Duration = Duration::from_millis(5);
/// Measured again so often when the machine was busy with something else.
const ROUNDS: usize = 3;

/// What appends took.
struct Latency {
    p50: Duration,
    p95: Duration,
}

impl Stage<'_> {
    pub(super) fn sink_hang(&self) -> Found {
        let folder = self.dir.join("drill-sink");
        let taken = Arc::new(Taken::default());
        let settings = SinkSettings {
            name: "drill".to_owned(),
            kind: "drill",
            target: "nowhere".to_owned(),
            types: vec![RecordType::AuditDrill],
            is_from_start: false,
            batch_records: 50,
            batch_bytes: 1 << 20,
            batch_age: Duration::from_millis(20),
            alert_after: OVERDUE,
        };
        let sink: Arc<dyn Sink> = taken.clone();
        let sinks = Sinks::new(self.log, folder.clone(), vec![(settings, sink)]);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = Arc::clone(&sinks);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = running.run() => {}
                    _ = stopped => {}
                }
            });
        });
        let all: Vec<&Sinks> = self.sinks.into_iter().chain([&*sinks]).collect();
        let found = self.hang_all(&all, &sinks, &taken);
        all.iter().for_each(|sinks| sinks.hang(false));
        drop(stop);
        // The thread ends with its runtime; a panic of it has been printed.
        let _ = thread.join();
        self.log.alerts().clear(AlertKind::SinkFailing);
        remove(&folder);
        found
    }

    fn hang_all(&self, all: &[&Sinks], own: &Sinks, taken: &Taken) -> Found {
        let is_ready = || own.status().iter().all(|status| status.next_seq.is_some());
        wait(RECOVER_WITHIN, Instant::now(), is_ready).ok_or("the sink of the drill did not begin")?;
        let mut marks = Vec::new();
        let mut told = None;
        for round in 1..=ROUNDS {
            let before = self.append_many(&mut marks)?;
            let is_there = || taken.has_all(&marks);
            wait(RECOVER_WITHIN, Instant::now(), is_there).ok_or("the sink did not get the records of before")?;
            let alerts = self.seen(AlertKind::SinkFailing);
            all.iter().for_each(|sinks| sinks.hang(true));
            let start = Instant::now();
            let hung = self.append_many(&mut marks)?;
            let took = wait(DETECT_WITHIN + RECOVER_WITHIN, start, || self.seen(AlertKind::SinkFailing) > alerts)
                .ok_or("no alert came")?;
            let behind: u64 = own.status().iter().map(|status| status.lag).sum();
            all.iter().for_each(|sinks| sinks.hang(false));
            let is_there = || taken.has_all(&marks);
            wait(RECOVER_WITHIN, Instant::now(), is_there).ok_or("the sink did not get everything when it went on")?;
            let words = format!(
                "appending took {} µs (p95 {}) before, {} µs (p95 {}) while sinks hung ({}), {behind} records behind",
                before.p50.as_micros(),
                before.p95.as_micros(),
                hung.p50.as_micros(),
                hung.p95.as_micros(),
                all.iter().map(|sinks| sinks.status().len()).sum::<usize>(),
            );
            if hung.p50 <= before.p50 * 2 + NOISE && hung.p95 <= before.p95 * 2 + NOISE {
                told = Some((took, format!("{words}; all {} records came in order", marks.len())));
                break;
            }
            if round == ROUNDS {
                return Err(format!("{words}: appending is slower while a sink hangs"));
            }
        }
        taken.check(&marks)?;
        told.ok_or_else(|| "nothing was measured".to_owned())
    }

    fn append_many(&self, marks: &mut Vec<u64>) -> Result<Latency, String> {
        let mut times = Vec::with_capacity(APPENDS);
        for _ in 0..APPENDS {
            let record = self.drill_record("beside a sink");
            let start = Instant::now();
            let kept = self.log.append_blocking(record, Durability::Standard).map_err(|error| error.to_string())?;
            times.push(start.elapsed());
            marks.push(kept.seq);
        }
        times.sort_unstable();
        let at = |percent: usize| times.get(APPENDS * percent / 100).copied().unwrap_or_default();
        Ok(Latency { p50: at(50), p95: at(95) })
    }
}

fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::error!(%error, folder = %folder.display(), "the folder of a drill cannot be removed");
    }
}

/// Remembers which records it was given.
#[derive(Default)]
struct Taken(Mutex<Vec<(u64, u64)>>);

impl Sink for Taken {
    fn deliver<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((batch.first_seq, batch.last_seq));
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Taken {
    fn has_all(&self, marks: &[u64]) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).last().map(|(_, last)| *last);
        marks.last().is_none_or(|mark| last >= Some(*mark))
    }

    /// In order, and every one within a batch.
    fn check(&self, marks: &[u64]) -> Result<(), String> {
        let batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !batches.windows(2).all(|pair| matches!(pair, [(_, before), (after, _)] if before < after)) {
            return Err("the sink got records out of order".to_owned());
        }
        let lost =
            marks.iter().filter(|mark| !batches.iter().any(|(first, last)| (first..=last).contains(mark))).count();
        if lost > 0 { Err(format!("the sink never got {lost} of {} records", marks.len())) } else { Ok(()) }
    }
}
