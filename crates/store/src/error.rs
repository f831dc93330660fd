//! What can go wrong with the store, by what the caller or the operator is to do about it.

use std::path::{Path, PathBuf};

const SQLITE_CORRUPT: u32 = 11;
const SQLITE_NOTADB: u32 = 26;

/// Nothing was read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged.
    #[error("the store `{}` is damaged: {detail}; stop the server and restore the last good backup", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// SQLite refused: disk full, permission, lock.
    #[error("the store refused: {0}")]
    Database(#[source] sqlx::Error),
    /// The file cannot be opened or made.
    #[error("the store `{}` cannot be opened: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row holds what no version of this program wrote.
    #[error("the store holds a malformed {what}: `{value}`; restore the last good backup")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What it held, cut to 64 characters.
        value: String,
    },
    /// Another configuration was applied in between; read it and decide again.
    #[error("configuration {expected} is not the current one any more, {found} is; look at it and apply again")]
    ConfigMoved {
        /// What the caller built on; 0 for none.
        expected: u64,
        /// What is current; 0 for none.
        found: u64,
    },
    /// SQLite's locks do not work there.
    #[error("the store `{}` lies on the network file system `{kind}`, where SQLite loses data; move it to a local disk", path.display())]
    NetworkFileSystem {
        /// Which file.
        path: PathBuf,
        /// `nfs4`, `cifs` …
        kind: String,
    },
    /// Written by a newer program.
    #[error(
        "the store `{}` has schema {found}, this program knows up to {known}; run the newer version or restore a backup made by this one",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The file's.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A deleted secret is gone from the store, but its bytes may still be in the journal.
    #[error("the secret is deleted, but a reader kept its bytes from being wiped from the journal; delete it again")]
    NotWiped,
    /// Some other program's database.
    #[error("`{}` is a database of another program; choose another path", .0.display())]
    NotOurs(PathBuf),
    /// Larger than anything of its kind may be.
    #[error("{what} is too large: {size}, at most {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large, in bytes or pieces.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
}

impl StoreError {
    pub(crate) fn malformed(what: &'static str, value: impl std::fmt::Display) -> Self {
        Self::Malformed { what, value: value.to_string().chars().take(64).collect() }
    }

    /// Tells damage of the file at `path` from every other failure.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            Self::Database(error) if matches!(sqlite_code(&error), Some(SQLITE_CORRUPT | SQLITE_NOTADB)) => {
                Self::Corrupt { path: path.to_owned(), detail: error.to_string() }
            }
            other => other,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

pub(crate) fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// The primary result code of SQLite, if it was SQLite that failed.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
