//! Recomputing a log from its bytes (AUD-15, AUD-31): every checksum, every sequence number, every entry's
//! canonical form, every root against the next header. Needs no key and changes nothing.
//!
//! It proves that the segments belong together, not that nobody cut the newest: that takes checkpoints (AUD-33).

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use model::ids::Digest32;
use model::record::RecordType;

use crate::drill::REPORT;
use crate::entry::{Column, Entry, Value, decode_entry, split_payload};
use crate::log::disk::{Disk, OsDisk};
use crate::log::reader::{list_segments, read_header};
use crate::log::segment::Header;
use crate::log::tree::{RunningRoot, leaf_hash};
use crate::log::walk::{Hole, Visit, walk};

/// How many drills are told of.
pub const MAX_DRILLS: usize = 3;

/// One epoch of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// Origin, epoch included.
    pub origin: String,
    /// The first sequence number.
    pub first_seq: u64,
    /// Leaves of its tree.
    pub size: u64,
    /// Root over them.
    pub root: Digest32,
}

/// What a verification found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Oldest first.
    pub epochs: Vec<Epoch>,
    /// Files read.
    pub segments: usize,
    /// Records read.
    pub records: u64,
    /// Entity slices read.
    pub slices: u64,
    /// Everything that is wrong; empty means the log proves.
    pub problems: Vec<Hole>,
    /// What drills of the log left: the newest [`MAX_DRILLS`], oldest first.
    pub drills: Vec<String>,
    /// The last segment ends in an unfinished write, which opening the log cuts.
    pub is_torn: bool,
}

/// Verifies the log in a directory. The log may be open; what is written meanwhile counts as torn.
///
/// # Errors
/// When a file cannot be read at all.
pub fn verify(dir: &Path) -> io::Result<Verified> {
    verify_on(&OsDisk::new(dir))
}

/// As [`verify`], on a disk of the caller's.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(disk: &dyn Disk) -> io::Result<Verified> {
    let mut state = State { found: Verified::default(), open: None };
    let segments = list_segments(disk)?;
    for (at, segment) in segments.iter().enumerate() {
        let file = disk.open(&segment.file_name())?;
        state.found.segments += 1;
        let header = match read_header(&*file, segment)? {
            Ok(header) => header,
            Err(why) => {
                state.problem(&segment.file_name(), segment.first_seq, why);
                state.close();
                continue;
            }
        };
        state.begin(&segment.file_name(), header);
        let walked = walk(&*file, segment, |visit| {
            state.visit(&segment.file_name(), visit);
            ControlFlow::Continue(())
        })?;
        state.found.problems.extend(walked.holes);
        if walked.is_torn && at + 1 == segments.len() {
            state.found.is_torn = true;
        } else if walked.is_torn {
            state.problem(&segment.file_name(), walked.next_seq, "an unfinished write inside the log");
        }
        if let Some(open) = &mut state.open {
            open.next_seq = walked.next_seq;
        }
    }
    state.close();
    Ok(state.found)
}

struct State {
    found: Verified,
    open: Option<Open>,
}

struct Open {
    origin: String,
    epoch: u32,
    first_seq: u64,
    next_seq: u64,
    tree: RunningRoot,
}

impl State {
    fn begin(&mut self, file: &str, header: Header) {
        let is_same = self.open.as_ref().is_some_and(|open| open.epoch == header.epoch);
        if !is_same {
            self.close();
            if header.tree.size() > 0 {
                self.problem(file, header.first_seq, "the start of its epoch is missing");
            }
        }
        if let Some(open) = &mut self.open {
            let next_seq = open.next_seq;
            if open.tree != header.tree || open.origin != header.origin {
                self.problem(file, header.first_seq, "its root is not that of the segments before it");
            } else if next_seq != header.first_seq {
                self.problem(file, header.first_seq, &format!("record {next_seq} should come first here"));
            }
        }
        let first_seq = self.open.take().map_or(header.first_seq, |open| open.first_seq);
        self.open = Some(Open {
            origin: header.origin,
            epoch: header.epoch,
            first_seq,
            next_seq: header.first_seq,
            tree: header.tree,
        });
    }

    fn visit(&mut self, file: &str, visit: Visit<'_>) {
        let Some(open) = &mut self.open else { return };
        let (seq, payload) = match visit {
            Visit::Slice { .. } => {
                self.found.slices += 1;
                return;
            }
            Visit::Record { seq, payload, .. } => (seq, payload),
        };
        self.found.records += 1;
        let problem = match split_payload(payload).and_then(|(bytes, _)| {
            open.tree.push(leaf_hash(bytes));
            decode_entry(bytes)
        }) {
            Err(error) => error.to_string(),
            Ok(entry) if entry.seq != seq || *entry.log != *open.origin => "the entry belongs elsewhere".into(),
            Ok(entry) if !entry.columns.iter().any(|(c, v)| *c == Column::Type && matches!(v, Value::Uint(_))) => {
                "the entry has no type".into()
            }
            Ok(entry) => {
                self.note_drill(&entry);
                return;
            }
        };
        self.problem(file, seq, &problem);
    }

    fn note_drill(&mut self, entry: &Entry) {
        let get = |column| entry.columns.iter().find(|(found, _)| *found == column).map(|(_, value)| value);
        let is_drill = get(Column::Type) == Some(&Value::Uint(u64::from(RecordType::AuditDrill.code())));
        let is_report = matches!(get(Column::ObjectId), Some(Value::Text(id)) if **id == *REPORT);
        if let (true, true, Some(Value::Text(said)), Some(Value::Time(time))) =
            (is_drill, is_report, get(Column::Change), get(Column::Time))
        {
            if self.found.drills.len() >= MAX_DRILLS {
                self.found.drills.remove(0);
            }
            self.found.drills.push(format!("{time}: {said} (record {})", entry.seq));
        }
    }

    fn close(&mut self) {
        self.found.epochs.extend(self.open.take().map(|open| Epoch {
            origin: open.origin,
            first_seq: open.first_seq,
            size: open.tree.size(),
            root: Digest32(open.tree.root()),
        }));
    }

    fn problem(&mut self, file: &str, seq: u64, why: &str) {
        self.found.problems.push(Hole { file: file.into(), first_seq: seq, records: 0, why: why.into() });
    }
}
