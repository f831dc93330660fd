//! A disk that can be told to fail: full, broken, short, slow, hung or forgetful. The drill (AUD-21) and the tests use it;
//! the log of a running server is on it too, so that a live drill can be run. With nothing wished for it only passes on.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::disk::{Disk, DiskFile, FileFacts, Space};

/// What goes wrong with every write and sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// There is no room: half of each write arrives (ENOSPC).
    Full,
    /// The device fails: half of each write arrives (EIO).
    Broken,
    /// Syncs fail and what was written since the last good one is gone, as after a lost page cache.
    ForgetsOnSync,
    /// Nothing returns until this is over.
    Hung,
}

impl Fault {
    const ALL: [Fault; 5] = [Fault::None, Fault::Full, Fault::Broken, Fault::ForgetsOnSync, Fault::Hung];
}

/// A byte of a file that reads back as another; what is on the disk stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlippedByte {
    /// Which file.
    pub file: FileFacts,
    /// Where in it.
    pub offset: u64,
}

/// "As the disk says".
const REAL_SPACE: u64 = u64::MAX;

/// What is wished for.
pub struct Faults {
    wished: AtomicU8,
    free_percent: AtomicU64,
    spares: AtomicUsize,
    is_flipped: AtomicBool,
    flipped: Mutex<Option<FlippedByte>>,
    hung: Mutex<()>,
    let_go: Condvar,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            wished: AtomicU8::new(0),
            free_percent: AtomicU64::new(REAL_SPACE),
            spares: AtomicUsize::new(0),
            is_flipped: AtomicBool::new(false),
            flipped: Mutex::default(),
            hung: Mutex::default(),
            let_go: Condvar::new(),
        }
    }
}

impl Faults {
    /// From now on.
    pub fn set(&self, fault: Fault) {
        let number = Fault::ALL.iter().position(|known| *known == fault).unwrap_or(0);
        let guard = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
        self.spares.store(usize::MAX, Ordering::SeqCst);
        self.wished.store(u8::try_from(number).unwrap_or(0), Ordering::SeqCst);
        drop(guard);
        self.let_go.notify_all();
    }

    /// From now on for files that are open; files opened or made later are well.
    pub fn set_for_open_files(&self, fault: Fault, disk: &FaultyDisk) {
        self.set(fault);
        self.spares.store(disk.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// The disk claims to have so much room; `None` for the truth.
    pub fn claim_free(&self, percent: Option<u8>) {
        self.free_percent.store(percent.map_or(REAL_SPACE, u64::from), Ordering::SeqCst);
    }

    /// From now on this byte reads back wrong, whoever opens its file; `None` ends it.
    pub fn flip(&self, flipped: Option<FlippedByte>) {
        *self.flipped.lock().unwrap_or_else(PoisonError::into_inner) = flipped;
        self.is_flipped.store(flipped.is_some(), Ordering::SeqCst);
    }

    fn damage(&self, file: &dyn DiskFile, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let flipped = *self.flipped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flipped) = flipped
            && let Some(at) = flipped.offset.checked_sub(offset).and_then(|at| usize::try_from(at).ok())
            && let Some(byte) = bytes.get_mut(at)
            && file.facts()?.is_same_file(&flipped.file)
        {
            *byte ^= 0xff;
        }
        Ok(())
    }

    /// What is wrong for the file with this number; waits while it hangs.
    fn met(&self, number: usize) -> Fault {
        let now = || match Fault::ALL.get(usize::from(self.wished.load(Ordering::Relaxed))) {
            Some(fault) if number < self.spares.load(Ordering::Relaxed) => *fault,
            _ => Fault::None,
        };
        if now() == Fault::Hung {
            let guard = self.hung.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.let_go.wait_while(guard, |()| now() == Fault::Hung).unwrap_or_else(PoisonError::into_inner));
        }
        now()
    }
}

/// A disk with [`Faults`].
pub struct FaultyDisk {
    disk: Box<dyn Disk>,
    faults: Arc<Faults>,
    opened: AtomicUsize,
}

impl FaultyDisk {
    /// On top of `disk`.
    pub fn new(disk: impl Disk + 'static, faults: Arc<Faults>) -> Self {
        Self { disk: Box::new(disk), faults, opened: AtomicUsize::new(0) }
    }

    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let number = self.opened.fetch_add(1, Ordering::SeqCst);
        Box::new(FaultyFile { file, faults: Arc::clone(&self.faults), number, unsynced: Mutex::default() })
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(self.disk.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(self.disk.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn facts(&self, name: &str) -> io::Result<FileFacts> {
        self.disk.facts(name)
    }

    fn space(&self) -> io::Result<Space> {
        match self.faults.free_percent.load(Ordering::Relaxed) {
            REAL_SPACE => self.disk.space(),
            percent => Ok(Space { free: percent, total: 100 }),
        }
    }
}

struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Arc<Faults>,
    number: usize,
    /// Kept only while the fault forgets.
    unsynced: Mutex<Vec<(u64, usize)>>,
}

impl FaultyFile {
    fn cut_short(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes.get(..bytes.len() / 2).unwrap_or_default(), offset)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.faults.met(self.number) {
            Fault::Full => {
                self.cut_short(bytes, offset)?;
                Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
            }
            Fault::Broken => {
                self.cut_short(bytes, offset)?;
                Err(io::Error::other("input/output error"))
            }
            Fault::ForgetsOnSync => {
                let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
                unsynced.push((offset, bytes.len()));
                self.file.write_at(bytes, offset)
            }
            Fault::None | Fault::Hung => self.file.write_at(bytes, offset),
        }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(bytes, offset)?;
        if self.faults.is_flipped.load(Ordering::Relaxed) {
            self.faults.damage(&*self.file, bytes.get_mut(..read).unwrap_or_default(), offset)?;
        }
        Ok(read)
    }

    fn sync(&self) -> io::Result<()> {
        match self.faults.met(self.number) {
            Fault::ForgetsOnSync => {
                let unsynced = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
                for (offset, length) in unsynced {
                    self.file.write_at(&vec![0; length], offset)?;
                }
                Err(io::Error::other("input/output error"))
            }
            Fault::Broken => Err(io::Error::other("input/output error")),
            Fault::None | Fault::Full | Fault::Hung => self.file.sync(),
        }
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn facts(&self) -> io::Result<FileFacts> {
        self.file.facts()
    }
}
