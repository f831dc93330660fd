//! What can be asked (AUD-1): a typed filter, its parser, and the answer with its coverage.
//!
//! Records are found newest first: the hot index while it reaches, then segments. Invariants: an answer never holds more
//! than its limit; what could not be read is named in the coverage, never left out in silence.

mod filter;
mod range;
mod scan;

use model::ids::ParseIdError;

use crate::entry::StoredRecord;
use crate::log::Hole;
pub use filter::{FILTERS, OWN_FILES, Query, Who};
pub use range::IpRange;
pub(crate) use scan::time_of;

/// How many rows an answer has unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 100;
/// How many rows an answer can have.
pub const MAX_LIMIT: usize = 10_000;
/// How many rows are a page; a longer answer is an export, which is a right of its own (AUD-5).
pub const PAGE_LIMIT: usize = 1_000;
/// How many records one query may look at; after that the answer is marked as stopped early.
pub const MAX_SCANNED: u64 = 20_000_000;

/// Why a query was not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// An id that is none.
    #[error("filter `{filter}`: {source}")]
    Id {
        /// The filter.
        filter: &'static str,
        /// What is wrong.
        #[source]
        source: ParseIdError,
    },
    /// The reader may not see addresses, and the range is narrower than what is in the clear.
    #[error(
        "`{0}` is narrower than the network kept in the clear; give at most /24 or /48, or ask for the right `audit.read_sealed`"
    )]
    NeedsSealed(String),
    /// The disk.
    #[error("the audit log cannot be read: {0}")]
    Read(String),
    /// since after until.
    #[error("`since` ({since}) is after `until` ({until}); swap them")]
    Reversed {
        /// As read.
        since: model::Timestamp,
        /// As read.
        until: model::Timestamp,
    },
    /// Twice the same filter.
    #[error("filter `{0}` is given twice; give it once")]
    Twice(&'static str),
    /// No such filter.
    #[error("there is no filter `{given}`; did you mean `{nearest}`? filters are {all}", all = FILTERS.join(", "))]
    UnknownFilter {
        /// As given.
        given: String,
        /// The nearest.
        nearest: &'static str,
    },
    /// A value the filter does not take.
    #[error("filter `{filter}`: `{given}` is not {expected}")]
    Value {
        /// The filter.
        filter: &'static str,
        /// As given, cut to 64 characters.
        given: String,
        /// What would be.
        expected: String,
    },
}

/// Whether an answer is all there is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// What could not be read in the range that was looked at.
    pub holes: Vec<Hole>,
    /// Looking stopped at [`MAX_SCANNED`]; older records may match.
    pub is_stopped: bool,
}

impl Coverage {
    /// Everything in range was read.
    pub fn is_complete(&self) -> bool {
        self.holes.is_empty() && !self.is_stopped
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_complete() {
            return f.write_str("complete");
        }
        let stopped = self.is_stopped.then(|| format!("stopped after {MAX_SCANNED} records; narrow the time"));
        let all: Vec<String> = self.holes.iter().map(Hole::to_string).chain(stopped).collect();
        write!(f, "{}", all.join("; "))
    }
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Newest first.
    pub rows: Vec<StoredRecord>,
    /// How many records were looked at.
    pub scanned: u64,
    /// How many records that match were left out as reads of [`OWN_FILES`].
    pub left_out: u64,
    /// True when the limit ended the search: older records may match.
    pub has_more: bool,
    /// What could not be looked at.
    pub coverage: Coverage,
}
