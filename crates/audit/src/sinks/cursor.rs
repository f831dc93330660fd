//! How far a sink has come, durable: written beside, synced, renamed. And what it never took, with the cause.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::MAX_DEAD_BYTES;
use crate::render::quoted;

const HEAD: &str = "countersign sink cursor 1: ";
const MAX_BYTES: u64 = 128;

#[derive(Clone)]
pub(super) struct Cursor {
    dir: PathBuf,
    name: String,
}

impl Cursor {
    /// Makes the folder when missing.
    pub(super) fn open(dir: &Path, name: &str) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned(), name: name.to_owned() })
    }

    /// The number of the record that comes next; `None` for a new sink.
    pub(super) fn load(&self) -> io::Result<Option<u64>> {
        let path = self.path("cursor");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text)?;
        let number =
            text.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix('\n')).and_then(|rest| rest.parse().ok());
        let unread = || {
            let why = format!("`{}` is no cursor; remove it, and the sink begins anew", path.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        number.map(Some).ok_or_else(unread)
    }

    pub(super) fn store(&self, next_seq: u64) -> io::Result<()> {
        let new = self.path("cursor.new");
        let mut file = private().write(true).create(true).truncate(true).open(&new)?;
        file.write_all(format!("{HEAD}{next_seq}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(new, self.path("cursor"))?;
        File::open(&self.dir)?.sync_all()
    }

    /// Keeps a record the sink refuses, durably.
    pub(super) fn dead_letter(&self, line: &str, cause: &str) -> io::Result<()> {
        let path = self.path("dead.jsonl");
        let mut file = private().append(true).create(true).open(&path)?;
        if file.metadata()?.len() >= MAX_DEAD_BYTES {
            return Err(io::Error::other(format!("`{}` is full; look at it and take it away", path.display())));
        }
        file.write_all(format!("{{\"cause\":{},\"record\":{line}}}\n", quoted(cause)).as_bytes())?;
        file.sync_data()
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.name))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_a_broken_one_is_never_taken_for_a_new_sink() {
        let dir = tempfile::tempdir().unwrap();
        let cursor = Cursor::open(&dir.path().join("sinks"), "soc").unwrap();
        assert_eq!(cursor.load().unwrap(), None);
        for seq in [0, 7, u64::MAX] {
            cursor.store(seq).unwrap();
            assert_eq!(cursor.load().unwrap(), Some(seq));
        }
        for broken in ["", "7\n", "countersign sink cursor 1: 7", "countersign sink cursor 1: -7\n"] {
            std::fs::write(cursor.path("cursor"), broken).unwrap();
            assert!(cursor.load().unwrap_err().to_string().contains("begins anew"), "{broken:?}");
        }
    }

    #[test]
    fn dead_letters_have_their_cause_and_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let cursor = Cursor::open(dir.path(), "soc").unwrap();
        cursor.dead_letter("{\"seq\":7}", "said \"no\"\n").unwrap();
        let path = dir.path().join("soc.dead.jsonl");
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((line["cause"].as_str(), line["record"]["seq"].as_u64()), (Some("said \"no\"\n"), Some(7)));
        File::options().write(true).open(&path).unwrap().set_len(MAX_DEAD_BYTES).unwrap();
        assert!(cursor.dead_letter("{}", "no").unwrap_err().to_string().contains("is full"));
    }
}
