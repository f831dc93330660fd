//! Segments laid in ahead of need: files written full of zeroes in the background, because writing into them is a third
//! to a half faster than growing a file (AUD-15).

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::{Disk, DiskFile};
use super::segment::HEADER_BYTES;

/// Bytes of zeroes written at once.
pub(super) const ZERO_CHUNK_BYTES: usize = 1024 * 1024;
/// How long to wait after the disk refused a reserve, and between looks at the daily keys.
const RETRY: Duration = Duration::from_secs(5);

pub(crate) struct Reserves {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    wanted: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: Vec<String>,
    next_number: u64,
    is_closed: bool,
}

impl Reserves {
    /// Finds reserves of an earlier run; removes what is half done, or of another size, or already has a header.
    pub(crate) fn open(disk: Arc<dyn Disk>, segment_bytes: u64, wanted: usize) -> io::Result<Self> {
        let mut state = State::default();
        for name in disk.list()? {
            if !name.starts_with("reserve-") {
                continue;
            }
            if name.ends_with(".zero") && is_blank(&*disk.open(&name)?, segment_bytes)? {
                state.ready.push(name);
            } else {
                disk.remove(&name)?;
            }
        }
        Ok(Self { disk, segment_bytes, wanted, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// A blank file and its present name. Without a reserve it is a file with a hole: slower to write, just as safe.
    pub(crate) fn take(&self) -> io::Result<(String, Box<dyn DiskFile>)> {
        let ready = self.lock().ready.pop();
        self.changed.notify_all();
        if let Some(name) = ready {
            let file = self.disk.open(&name)?;
            return Ok((name, file));
        }
        let name = self.fresh_name("part");
        let file = self.disk.create(&name)?;
        file.set_len(self.segment_bytes)?;
        Ok((name, file))
    }

    /// Whether a blank file lies ready.
    pub(crate) fn has_ready(&self) -> bool {
        !self.lock().ready.is_empty()
    }

    /// How many lie ready, of how many.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.lock().ready.len(), self.wanted)
    }

    /// Keeps the wanted number ready until closed; calls `tend` now and then and `told` with what came of laying one in.
    /// Runs on a thread of its own.
    pub(crate) fn run(&self, tend: impl Fn(), told: impl Fn(&io::Result<()>)) {
        loop {
            tend();
            let is_short = {
                let state = self.lock();
                if state.is_closed {
                    return;
                }
                state.ready.len() < self.wanted
            };
            if is_short {
                let laid_in = self.lay_in();
                told(&laid_in);
                if laid_in.is_ok() {
                    continue;
                }
            }
            let state = self.lock();
            if !state.is_closed {
                drop(self.changed.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lay_in(&self) -> io::Result<()> {
        let part = self.fresh_name("part");
        let file = self.disk.create(&part)?;
        let zeroes = vec![0; ZERO_CHUNK_BYTES];
        let mut offset = 0;
        while offset < self.segment_bytes {
            if self.lock().is_closed {
                return self.disk.remove(&part);
            }
            let length = (self.segment_bytes - offset).min(ZERO_CHUNK_BYTES as u64);
            let written = file.write_at(zeroes.get(..length as usize).unwrap_or_default(), offset);
            if let Err(error) = written {
                // A full disk must not be made fuller by what is of no use.
                let _ = self.disk.remove(&part);
                return Err(error);
            }
            offset += length;
        }
        file.sync()?;
        let name = self.fresh_name("zero");
        self.disk.rename(&part, &name)?;
        self.lock().ready.push(name);
        Ok(())
    }

    fn fresh_name(&self, suffix: &str) -> String {
        let taken = self.disk.list().unwrap_or_default();
        let mut state = self.lock();
        loop {
            state.next_number += 1;
            let name = format!("reserve-{}.{suffix}", state.next_number);
            if !taken.contains(&name) {
                return name;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_blank(file: &dyn DiskFile, segment_bytes: u64) -> io::Result<bool> {
    let mut head = vec![1; HEADER_BYTES];
    let read = file.read_at(&mut head, 0)?;
    Ok(file.size()? == segment_bytes && read == HEADER_BYTES && head.iter().all(|byte| *byte == 0))
}
