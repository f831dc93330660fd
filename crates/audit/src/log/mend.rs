//! Laying the current segment down again in a fresh file: when it was deleted, moved, replaced, cut or damaged (AUD-19), or
//! when the disk refuses to write where it is (AUD-18). What can be read of the old file, which stays open, and what is
//! still in memory is put together and proven against the tree. Whole: the log goes on as if nothing had been. Not whole:
//! what there is stays readable, the epoch ends, and the next begins with what is missing.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::disk::DiskFile;
use super::reader::Segment;
use super::recover::begin_epoch;
use super::reserve::ZERO_CHUNK_BYTES;
use super::segment::HEADER_BYTES;
use super::tree::leaf_hash;
use super::walk::{Hole, Visit, walk};
use super::writer::Writer;
use crate::entry::split_payload;

/// How many files that stood where ours belongs are kept for whoever looks into it.
pub(crate) const MAX_ASIDE: usize = 4;

/// What came of it.
pub(crate) struct Mended {
    /// The segment of a new epoch, when records are missing.
    pub(crate) begun: Option<Arc<Segment>>,
    pub(crate) holes: Vec<Hole>,
}

impl Writer {
    /// Puts a fresh file in the place of the current one. `keeps_old`: what stands there now is evidence.
    pub(crate) fn mend(&mut self, keeps_old: bool) -> io::Result<Mended> {
        let (name, file) = self.reserves.take()?;
        let file: Arc<dyn DiskFile> = Arc::from(file);
        let laid = self.lay_down(&*file).and_then(|()| {
            let holes = self.prove(&*file)?;
            file.sync()?;
            if keeps_old {
                self.set_aside();
            }
            self.disk.rename(&name, &self.end.segment.file_name())?;
            Ok(holes)
        });
        let holes = match laid {
            Ok(holes) => holes,
            Err(error) => {
                // Tried again with another file; this one must not pile up on a full disk.
                let _ = self.disk.remove(&name);
                return Err(error);
            }
        };
        self.end.file = file;
        (self.unsynced, self.needs_rewrite) = (0, false);
        self.show_tip(None);
        if holes.is_empty() {
            return Ok(Mended { begun: None, holes });
        }
        let Some(base) = self.end.origin.rsplit_once('/').map(|(base, _)| base.to_owned()) else {
            return Err(io::Error::other("the origin of the log has no epoch"));
        };
        let epoch = self.end.segment.epoch.saturating_add(1);
        self.end = begin_epoch(&*self.disk, &self.reserves, &base, epoch, self.end.next_seq)?;
        self.recent.clear();
        self.show_tip(None);
        Ok(Mended { begun: Some(self.end.segment.clone()), holes })
    }

    /// Header, what the old file still gives, and over it what is in memory.
    fn lay_down(&self, file: &dyn DiskFile) -> io::Result<()> {
        file.write_at(&self.end.header.to_bytes(), 0)?;
        let recent_at = self.end.offset.saturating_sub(self.recent.len() as u64);
        let mut chunk = vec![0; ZERO_CHUNK_BYTES];
        let mut at = HEADER_BYTES as u64;
        while at < recent_at {
            let length = (recent_at - at).min(ZERO_CHUNK_BYTES as u64);
            let chunk = chunk.get_mut(..length as usize).unwrap_or_default();
            // What cannot be read stays blank and becomes a hole.
            let read = self.end.file.read_at(chunk, at).unwrap_or(0);
            file.write_at(chunk.get(..read).unwrap_or_default(), at)?;
            at = at.saturating_add(length);
        }
        file.write_at(&self.recent, recent_at)
    }

    /// What of the segment is not there as it was written.
    fn prove(&self, file: &dyn DiskFile) -> io::Result<Vec<Hole>> {
        let segment = &self.end.segment;
        let mut tree = self.end.header.tree.clone();
        let walked = walk(file, segment, |visit| {
            if let Visit::Record { payload, .. } = visit
                && let Ok((entry, _)) = split_payload(payload)
            {
                tree.push(leaf_hash(entry));
            }
            ControlFlow::Continue(())
        })?;
        let mut holes = walked.holes;
        let missing = self.end.next_seq.saturating_sub(walked.next_seq);
        let hole =
            |first_seq, records, why: &str| Hole { file: segment.file_name(), first_seq, records, why: why.to_owned() };
        if missing > 0 {
            holes.push(hole(walked.next_seq, missing, "they were cut off the file while the log was open"));
        } else if holes.is_empty() && tree != self.end.tree {
            holes.push(hole(segment.first_seq, 0, "its records are not those that were written"));
        }
        Ok(holes)
    }

    /// Gives what stands under our name another one. Best effort: it must not keep the log from going on.
    fn set_aside(&self) {
        let name = self.end.segment.file_name();
        if self.disk.facts(&name).is_err() {
            return;
        }
        let taken = self.disk.list().unwrap_or_default();
        let free = (1..=MAX_ASIDE).map(|n| format!("aside-{n}-{name}")).find(|aside| !taken.contains(aside));
        if let Some(aside) = free
            && let Err(error) = self.disk.rename(&name, &aside)
        {
            tracing::error!(%error, file = %name, "what stands in place of a segment cannot be set aside");
        }
    }
}
