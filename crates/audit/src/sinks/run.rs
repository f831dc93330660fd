//! Serving sinks: one task each, and one that looks whether somebody has to be told. Dropping the future of [`Sinks::run`] ends
//! them at once; what was on its way is delivered again after the next start.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};

use super::cursor::Cursor;
use super::feed::{Feed, Stretch, Wanted};
use super::{ATTEMPT_TIMEOUT, Batch, Entry, Line, MAX_DEAD_IN_ROW, MAX_PAUSE, MIN_PAUSE, SinkError, Sinks};

/// How often it is looked whether a sink fails.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The first pause after a failure is up to so long; each one after it up to twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

impl Sinks {
    /// Serves every sink, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        for entry in &self.entries {
            tasks.spawn(Arc::clone(&self).serve(Arc::clone(entry)));
        }
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if !self.entries.is_empty() {
                self.look();
            }
        }
    }

    async fn serve(self: Arc<Self>, entry: Arc<Entry>) {
        let (cursor, next_seq) = self.open_cursor(&entry).await;
        entry.lock().next_seq = Some(next_seq);
        let mut feed = Feed::new(Arc::clone(&self.shared), next_seq);
        let (mut tries, mut dead_in_row) = (0, 0);
        while self.wait_for_more(&entry, feed.next_seq()).await {
            let end = *self.shared.synced.borrow();
            let settings = &entry.settings;
            let wanted = Wanted {
                types: settings.types.clone(),
                records: settings.batch_records.max(1),
                bytes: settings.batch_bytes.max(1),
            };
            let Ok((back, read)) = spawn_blocking(move || {
                let read = feed.read(end, &wanted);
                (feed, read)
            })
            .await
            else {
                return; // The runtime is shutting down.
            };
            feed = back;
            match read {
                Ok(stretch) => {
                    self.hand_over(&entry, &cursor, stretch, feed.next_seq(), &mut dead_in_row).await;
                    tries = 0;
                }
                Err(error) => {
                    entry.failed(&error.to_string(), false);
                    self.pause(&mut tries, None).await;
                }
            }
        }
    }

    async fn open_cursor(&self, entry: &Entry) -> (Cursor, u64) {
        let mut tries = 0;
        loop {
            let (dir, name) = (self.dir.clone(), entry.settings.name.clone());
            let opened = spawn_blocking(move || {
                let cursor = Cursor::open(&dir, &name)?;
                let next_seq = cursor.load()?;
                std::io::Result::Ok((cursor, next_seq))
            });
            match opened.await.map_err(std::io::Error::other).and_then(|opened| opened) {
                Ok((cursor, Some(next_seq))) => return (cursor, self.known(entry, next_seq)),
                Ok((cursor, None)) if entry.settings.is_from_start => return (cursor, 0),
                Ok((cursor, None)) => {
                    let next_seq = self.shared.growth.borrow().next_seq;
                    // From here on a restart goes on here; but never behind a number that could be given again.
                    if self.shared.synced.subscribe().wait_for(|end| *end >= next_seq).await.is_ok() {
                        self.keep(entry, &cursor, next_seq).await;
                    }
                    entry.went_well();
                    return (cursor, next_seq);
                }
                Err(error) => {
                    entry.failed(&format!("its cursor cannot be read: {error}"), true);
                    self.pause(&mut tries, None).await;
                }
            }
        }
    }

    /// Where a sink that was here before goes on.
    fn known(&self, entry: &Entry, next_seq: u64) -> u64 {
        let end = *self.shared.synced.borrow();
        if next_seq <= end {
            return next_seq;
        }
        let sink = &entry.settings.name;
        tracing::error!(sink, next_seq, end, "a sink has seen records this log does not have: it gets all again");
        0
    }

    /// Waits until a batch is full or old enough; false when the log is gone.
    async fn wait_for_more(&self, entry: &Entry, next_seq: u64) -> bool {
        let mut synced = self.shared.synced.subscribe();
        if synced.wait_for(|end| *end > next_seq).await.is_err() {
            return false;
        }
        let enough = next_seq.saturating_add(entry.settings.batch_records as u64);
        let filled = synced.wait_for(|end| *end >= enough);
        !matches!(tokio::time::timeout(entry.settings.batch_age, filled).await, Ok(Err(_)))
    }

    /// Delivers, and moves the cursor behind it. `dead_in_row` goes on from one stretch to the next: a receiver that refuses
    /// everything is met in stretches of any size.
    async fn hand_over(&self, entry: &Entry, cursor: &Cursor, stretch: Stretch, next_seq: u64, dead_in_row: &mut u32) {
        let mut parts = VecDeque::new();
        parts.push_back(0..stretch.lines.len());
        while let Some(part) = parts.pop_front().filter(|part| !part.is_empty()) {
            self.hand_over_part(entry, cursor, &stretch.lines, part, &mut parts, dead_in_row).await;
        }
        self.keep(entry, cursor, next_seq).await;
        entry.went_well();
        let mut state = entry.lock();
        state.next_seq = Some(next_seq);
        state.unreadable = state.unreadable.saturating_add(stretch.unreadable);
    }

    async fn keep(&self, entry: &Entry, cursor: &Cursor, next_seq: u64) {
        let mut tries = 0;
        loop {
            let cursor = cursor.clone();
            let stored = spawn_blocking(move || cursor.store(next_seq)).await;
            match stored.map_err(std::io::Error::other).and_then(|stored| stored) {
                Ok(()) => break,
                Err(error) => {
                    entry.failed(&format!("its cursor cannot be kept: {error}"), false);
                    self.pause(&mut tries, None).await;
                }
            }
        }
    }

    /// Delivers some of the lines; what is too much or rejected goes back in halves.
    async fn hand_over_part(
        &self,
        entry: &Entry,
        cursor: &Cursor,
        lines: &[Line],
        part: Range<usize>,
        parts: &mut VecDeque<Range<usize>>,
        dead_in_row: &mut u32,
    ) {
        let chosen = lines.get(part.clone()).unwrap_or_default();
        let batch = Batch::of(&entry.settings.name, chosen);
        let mut tries = 0;
        loop {
            entry.lock().waiting_since.get_or_insert_with(Instant::now);
            let (cause, is_stopped, after) = match self.attempt(entry, &batch).await {
                Ok(()) => {
                    *dead_in_row = 0;
                    entry.went_well();
                    let mut state = entry.lock();
                    state.delivered = state.delivered.saturating_add(batch.records as u64);
                    state.last_delivered = Some(self.clock.now());
                    return;
                }
                Err(SinkError::Rejected { .. } | SinkError::TooLarge { .. }) if chosen.len() > 1 => {
                    let middle = part.start.saturating_add(chosen.len() / 2);
                    parts.push_front(middle..part.end);
                    parts.push_front(part.start..middle);
                    return;
                }
                Err(SinkError::Rejected { cause } | SinkError::TooLarge { cause }) => {
                    if *dead_in_row < MAX_DEAD_IN_ROW {
                        match self.bury(entry, cursor, chosen, &cause).await {
                            Ok(()) => {
                                *dead_in_row = dead_in_row.saturating_add(1);
                                return;
                            }
                            Err(error) => (format!("{cause}; {error}"), true, None),
                        }
                    } else {
                        (format!("{cause}: {MAX_DEAD_IN_ROW} records one after the other"), true, Some(MAX_PAUSE))
                    }
                }
                Err(SinkError::Stopped { cause }) => (cause, true, None),
                Err(SinkError::Later { cause, after }) => (cause, false, after),
            };
            entry.failed(&cause, is_stopped);
            self.pause(&mut tries, after).await;
        }
    }

    async fn bury(&self, entry: &Entry, cursor: &Cursor, lines: &[Line], cause: &str) -> std::io::Result<()> {
        for line in lines {
            let (cursor, text, cause) = (cursor.clone(), line.text.clone(), cause.to_owned());
            let kept = spawn_blocking(move || cursor.dead_letter(&text, &cause)).await;
            kept.map_err(std::io::Error::other).and_then(|kept| kept)?;
            tracing::warn!(
                sink = entry.settings.name,
                seq = line.seq,
                "a sink refuses a record: it is in its dead letters"
            );
        }
        let mut state = entry.lock();
        state.dead_letters = state.dead_letters.saturating_add(lines.len() as u64);
        Ok(())
    }

    pub(super) async fn attempt(&self, entry: &Entry, batch: &Batch) -> Result<(), SinkError> {
        let mut is_hung = self.is_hung.subscribe();
        let deliver = async {
            // The sender is ours, so this only ever waits.
            let _ = is_hung.wait_for(|is_hung| !is_hung).await;
            entry.sink.deliver(batch).await
        };
        tokio::time::timeout(ATTEMPT_TIMEOUT, deliver).await.unwrap_or_else(|_| {
            let cause = format!("it did not answer within {} s", ATTEMPT_TIMEOUT.as_secs());
            Err(SinkError::Later { cause, after: None })
        })
    }

    /// Waits with full jitter: anything up to a bound that doubles; at least as long as was asked for.
    async fn pause(&self, tries: &mut u32, after: Option<Duration>) {
        let mut random = [0; 4];
        self.ids.fill_random(&mut random);
        tokio::time::sleep(pause_of(*tries, after, u32::from_le_bytes(random))).await;
        *tries = tries.saturating_add(1);
    }
}

/// `random` of 0 is the shortest, of `u32::MAX` the longest.
fn pause_of(tries: u32, after: Option<Duration>, random: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(tries.min(16)).unwrap_or(u32::MAX)).min(MAX_PAUSE);
    let jittered = bound.mul_f64(f64::from(random) / f64::from(u32::MAX));
    jittered.max(after.unwrap_or_default()).clamp(MIN_PAUSE, MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes_and_no_receiver_can_ask_for_more() {
        assert_eq!(pause_of(0, None, 0), MIN_PAUSE);
        assert_eq!(pause_of(0, None, u32::MAX), FIRST_PAUSE);
        assert_eq!(pause_of(3, None, u32::MAX), FIRST_PAUSE * 8);
        for tries in [9, 16, 31, 32, u32::MAX] {
            assert_eq!(pause_of(tries, None, u32::MAX), MAX_PAUSE);
        }
        assert_eq!(pause_of(0, Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
        let ten_years = Duration::from_secs(10 * 365 * 86_400);
        assert_eq!(pause_of(0, Some(ten_years), 0), MAX_PAUSE);
    }
}
