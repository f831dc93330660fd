//! The last good state of a gateway on disk: what it was told, message by message, sealed (GW-47, AUD-65).
//!
//! The file is `magic | file id (16)`, then records of `length (4, big endian) | sealed entry`. What an entry is sealed
//! for is its place: file and number. So none can be altered, left out, moved or taken from another file; only the end can
//! be cut off, and then the state is as old as the last confirmation that is left says.
//!
//! Invariants: a snapshot is written beside the file and takes its place when it is complete and on disk; ends of sessions
//! that come meanwhile are in both; what is reported as durable has been synced.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, bail};
use feed::Down;
use feed::wire::{self, Reader, Wire, WireError};
use model::changes::SessionChange;
use model::{Ids, Timestamp};
use pki::Sealer;
use tokio::sync::watch;

/// The purpose of the seal.
pub(super) const PURPOSE: &str = "gateway-state";
/// The largest file that is read.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;
/// From this size on a snapshot is asked for, which starts the file anew.
pub(super) const FULL_BYTES: u64 = 128 << 20;

const MAGIC: &[u8; 8] = b"CSGWST1\n";
const ID_BYTES: usize = 16;
const FILE: &str = "state";
const NEXT_FILE: &str = "state.new";
/// How many entries are written before they are synced together.
const BATCH: usize = 1_024;

/// One thing that happened to a gateway.
#[derive(Clone)]
pub(super) enum Entry {
    /// A change that came beside a snapshot on its way; its number belongs to that one.
    Applied(SessionChange),
    /// Everything was current.
    Confirmed(Timestamp),
    /// It was told.
    Told(Down),
}

impl Wire for Entry {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Entry::Applied(change) => {
                out.push(0);
                change.put(out);
            }
            Entry::Confirmed(at) => {
                out.push(1);
                at.put(out);
            }
            Entry::Told(message) => {
                out.push(2);
                message.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Wire::take(from).map(Entry::Applied),
            1 => Wire::take(from).map(Entry::Confirmed),
            2 => Wire::take(from).map(Entry::Told),
            _ => Err(WireError::Value("an entry")),
        }
    }
}

enum Work {
    Append(Box<Entry>),
    /// To the file of before, while a snapshot is written.
    AppendBefore(Box<Entry>),
    Begin,
    Commit,
}

/// The writing end. Nothing here waits: a thread of its own writes.
pub(super) struct Spool {
    work: Sender<Work>,
    given: u64,
    durable: watch::Receiver<u64>,
    size: watch::Receiver<u64>,
    is_building: bool,
}

impl Spool {
    /// Reads what is there and opens it for writing.
    ///
    /// # Errors
    /// The system refuses, or the state was altered: it is of no use, and the gateway has to be told everything again.
    pub(super) fn open(folder: &Path, sealer: Arc<Sealer>, ids: Arc<dyn Ids>) -> Result<(Self, Vec<Entry>)> {
        let (pen, entries) = Pen::open(folder.to_owned(), sealer, ids)?;
        let (work, todo) = channel();
        let (durable_in, durable) = watch::channel(0);
        let (size_in, size) = watch::channel(pen.bytes);
        std::thread::Builder::new()
            .name("gateway-state".to_owned())
            .spawn(move || pen.run(&todo, &durable_in, &size_in))
            .context("no thread for the state")?;
        Ok((Self { work, given: 0, durable, size, is_building: false }, entries))
    }

    /// Appends; [`Self::durable`] says when it is on disk.
    pub(super) fn append(&mut self, entry: Entry) {
        self.give(Work::Append(Box::new(entry)));
    }

    /// A change that matters to the state of before as well while a snapshot is on its way.
    pub(super) fn append_before(&mut self, change: SessionChange) {
        if self.is_building {
            self.give(Work::AppendBefore(Box::new(Entry::Applied(change))));
        }
    }

    /// A snapshot begins.
    pub(super) fn begin(&mut self) {
        self.is_building = true;
        self.give(Work::Begin);
    }

    /// The snapshot is complete.
    pub(super) fn commit(&mut self) {
        self.is_building = false;
        self.give(Work::Commit);
    }

    /// The snapshot will not be completed.
    pub(super) fn give_up(&mut self) {
        self.is_building = false;
    }

    /// Resolves when everything appended so far is on disk. False: it never will be.
    pub(super) fn durable(&self) -> impl Future<Output = bool> + use<> {
        let (mut durable, goal) = (self.durable.clone(), self.given);
        async move { durable.wait_for(|done| *done >= goal).await.is_ok() }
    }

    /// Whether the file should be started anew.
    pub(super) fn is_full(&self) -> bool {
        *self.size.borrow() >= FULL_BYTES
    }

    fn give(&mut self, work: Work) {
        self.given += 1;
        // Without a writer nothing becomes durable any more, and nothing is reported as done.
        self.work.send(work).ok();
    }
}

/// A file being written.
struct Page {
    file: File,
    id: [u8; ID_BYTES],
    number: u64,
    bytes: u64,
}

struct Pen {
    folder: PathBuf,
    sealer: Arc<Sealer>,
    ids: Arc<dyn Ids>,
    page: Option<Page>,
    next: Option<Page>,
    bytes: u64,
}

impl Pen {
    fn open(folder: PathBuf, sealer: Arc<Sealer>, ids: Arc<dyn Ids>) -> Result<(Self, Vec<Entry>)> {
        let path = folder.join(FILE);
        fs::remove_file(folder.join(NEXT_FILE)).ok();
        let mut pen = Self { folder, sealer, ids, page: None, next: None, bytes: 0 };
        if !path.exists() {
            return Ok((pen, Vec::new()));
        }
        let mut file = File::options().read(true).write(true).open(&path)?;
        if file.metadata()?.len() > MAX_FILE_BYTES {
            bail!("`{}` is larger than any state", path.display());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Some((head, rest)) = bytes.split_at_checked(MAGIC.len() + ID_BYTES) else {
            bail!("`{}` is no state", path.display());
        };
        let id: [u8; ID_BYTES] = match head.strip_prefix(MAGIC.as_slice()).map(<[u8; ID_BYTES]>::try_from) {
            Some(Ok(id)) => id,
            _ => bail!("`{}` is no state of this version", path.display()),
        };
        let (entries, used) = read(rest, &id, &pen.sealer).with_context(|| format!("`{}`", path.display()))?;
        let length = (head.len() + used) as u64;
        // A torn tail was never reported as durable.
        file.set_len(length)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
        pen.bytes = length;
        pen.page = Some(Page { file, id, number: entries.len() as u64, bytes: length });
        Ok((pen, entries))
    }

    fn run(mut self, todo: &Receiver<Work>, durable: &watch::Sender<u64>, size: &watch::Sender<u64>) {
        let mut done = 0;
        while let Ok(first) = todo.recv() {
            let batch: Vec<Work> = std::iter::once(first).chain(todo.try_iter().take(BATCH)).collect();
            let count = batch.len() as u64;
            if let Err(error) = self.write(batch) {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the state of this gateway cannot be written; it goes on, and after a restart it asks for everything"
                );
                fs::remove_file(self.folder.join(FILE)).ok();
                return;
            }
            done += count;
            durable.send_replace(done);
            size.send_replace(self.page.as_ref().map_or(0, |page| page.bytes));
        }
    }

    fn write(&mut self, batch: Vec<Work>) -> Result<()> {
        for work in batch {
            match work {
                Work::Append(entry) => {
                    // Unless nothing was begun: there is no state to add to.
                    if let Some(page) = self.next.as_mut().or(self.page.as_mut()) {
                        page.append(&entry, &self.sealer, self.ids.as_ref())?;
                    }
                }
                Work::AppendBefore(entry) => {
                    if let Some(page) = &mut self.page {
                        page.append(&entry, &self.sealer, self.ids.as_ref())?;
                    }
                }
                Work::Begin => self.next = Some(self.blank()?),
                Work::Commit => {
                    let Some(next) = self.next.take() else { continue };
                    next.file.sync_all()?;
                    fs::rename(self.folder.join(NEXT_FILE), self.folder.join(FILE))?;
                    File::open(&self.folder)?.sync_all()?;
                    self.page = Some(next);
                }
            }
        }
        for page in self.page.iter().chain(&self.next) {
            page.file.sync_data()?;
        }
        Ok(())
    }

    fn blank(&self) -> Result<Page> {
        let path = self.folder.join(NEXT_FILE);
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut id = [0; ID_BYTES];
        self.ids.fill_random(&mut id);
        file.write_all(&[MAGIC.as_slice(), &id].concat())?;
        Ok(Page { file, id, number: 0, bytes: (MAGIC.len() + ID_BYTES) as u64 })
    }
}

impl Page {
    fn append(&mut self, entry: &Entry, sealer: &Sealer, ids: &dyn Ids) -> Result<()> {
        let sealed = sealer.seal(&place(&self.id, self.number), &wire::encode(entry), ids)?;
        let length = u32::try_from(sealed.len()).context("an entry is too large")?;
        self.file.write_all(&[length.to_be_bytes().as_slice(), &sealed].concat())?;
        self.number += 1;
        self.bytes += 4 + u64::from(length);
        Ok(())
    }
}

fn place(id: &[u8; ID_BYTES], number: u64) -> Vec<u8> {
    pki::seal::column_aad(PURPOSE, &[id.as_slice(), &number.to_be_bytes()].concat(), "entry", 1)
}

/// The entries, and how many bytes they take; what follows them is a record that was not finished.
fn read(mut rest: &[u8], id: &[u8; ID_BYTES], sealer: &Sealer) -> Result<(Vec<Entry>, usize)> {
    let (mut entries, whole) = (Vec::new(), rest.len());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length))?;
        let Some((sealed, after)) = after.split_at_checked(length) else { break };
        let opened = sealer.open(&place(id, entries.len() as u64), sealed).context("the state was altered")?;
        entries.push(wire::decode(opened.expose()).context("the state is of another version")?);
        rest = after;
    }
    Ok((entries, whole - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemIds;
    use pki::Kek;

    fn sealer(byte: u8) -> Arc<Sealer> {
        Arc::new(Kek::from_bytes(&[byte; 32]).unwrap().sealer(PURPOSE).unwrap())
    }

    fn open(folder: &Path) -> Result<(Spool, Vec<Entry>)> {
        Spool::open(folder, sealer(1), Arc::new(SystemIds))
    }

    fn stamps(entries: &[Entry]) -> Vec<i64> {
        let stamp = |entry: &Entry| match entry {
            Entry::Confirmed(at) => Some(at.0),
            _ => None,
        };
        entries.iter().filter_map(stamp).collect()
    }

    fn written(folder: &Path, stamps: std::ops::Range<i64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut spool, _) = open(folder).unwrap();
        spool.begin();
        stamps.for_each(|at| spool.append(Entry::Confirmed(Timestamp(at))));
        spool.commit();
        assert!(runtime.block_on(spool.durable()));
    }

    #[test]
    fn what_was_reported_durable_is_there_after_a_restart_and_a_snapshot_on_its_way_is_not() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 0..3);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut spool, entries) = open(folder.path()).unwrap();
        assert_eq!(stamps(&entries), [0, 1, 2]);
        spool.append(Entry::Confirmed(Timestamp(3)));
        spool.begin();
        spool.append(Entry::Confirmed(Timestamp(99)));
        spool.append_before(SessionChange::GlobalEpoch(7));
        assert!(runtime.block_on(spool.durable()));
        drop(spool);
        let (_, entries) = open(folder.path()).unwrap();
        assert_eq!(stamps(&entries), [0, 1, 2, 3]);
        assert!(matches!(entries.last(), Some(Entry::Applied(SessionChange::GlobalEpoch(7)))), "an end is in both");
    }

    #[test]
    fn attack_an_altered_moved_or_foreign_state_is_refused_and_a_torn_tail_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 0..5);
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let record = (whole.len() - MAGIC.len() - ID_BYTES) / 5;
        let start = MAGIC.len() + ID_BYTES;
        for place in [9, start + 4, start + 20, whole.len() - 1] {
            let mut altered = whole.clone();
            altered[place] ^= 1;
            fs::write(&path, &altered).unwrap();
            assert!(open(folder.path()).is_err(), "{place}");
        }
        // The second record left out: everything behind it has another number.
        fs::write(&path, [&whole[..start + record], &whole[start + 2 * record..]].concat()).unwrap();
        assert!(open(folder.path()).is_err());
        fs::write(&path, &whole).unwrap();
        assert!(Spool::open(folder.path(), sealer(2), Arc::new(SystemIds)).is_err(), "another key");
        for cut in 1..=record {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(stamps(&open(folder.path()).unwrap().1), [0, 1, 2, 3], "{cut} bytes are missing");
        }
    }
}
