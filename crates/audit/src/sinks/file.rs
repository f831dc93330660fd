//! The sink `file`: lines appended to a file that is rotated by size. The file is opened for each batch, so that whoever else
//! moves it away finds the next batch in a new one. Every batch is synced before the cursor moves.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use model::BoxFuture;

use super::{Batch, Sink, SinkError};

/// How far back the end of the last whole line is looked for; longer than any line.
const MAX_TAIL_BYTES: u64 = 4 * 1024 * 1024;

/// Appends to a file.
pub struct FileSink {
    target: Arc<Target>,
}

struct Target {
    path: PathBuf,
    rotate_bytes: u64,
    keep: u32,
    /// One batch at a time.
    turn: Mutex<()>,
}

impl FileSink {
    /// `path` is renamed to `path.1` when a batch would make it longer than `rotate_bytes`, `path.1` to `path.2` …; what would
    /// become the one after `keep` is removed.
    pub fn new(path: PathBuf, rotate_bytes: u64, keep: u32) -> Self {
        Self { target: Arc::new(Target { path, rotate_bytes, keep: keep.max(1), turn: Mutex::default() }) }
    }
}

impl Sink for FileSink {
    fn deliver<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), SinkError>> {
        let (target, lines) = (Arc::clone(&self.target), batch.lines.clone());
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(move || target.append(&lines)).await;
            written.map_err(io::Error::other).and_then(|written| written).map_err(|error| SinkError::Later {
                cause: format!("`{}`: {error}", self.target.path.display()),
                after: None,
            })
        })
    }
}

impl Target {
    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = self.open()?;
        let mut length = cut_torn_line(&file)?;
        if length > 0 && length.saturating_add(lines.len() as u64) > self.rotate_bytes {
            self.rotate()?;
            file = self.open()?;
            length = 0;
        }
        let written = file.write_all(lines).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a batch must not stay in front of the whole one; what stays nevertheless is cut the next time.
            file.set_len(length).ok();
        }
        written
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)
    }

    fn rotate(&self) -> io::Result<()> {
        for n in (1..self.keep).rev() {
            match std::fs::rename(self.numbered(n), self.numbered(n.saturating_add(1))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        std::fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    }
}

/// Takes away the line a killed process did not finish; gives back the length.
fn cut_torn_line(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut last = [0];
    if length == 0 || (file.read_at(&mut last, length.saturating_sub(1))? == 1 && last == [b'\n']) {
        return Ok(length);
    }
    let start = length.saturating_sub(MAX_TAIL_BYTES);
    let mut tail = vec![0; usize::try_from(length.saturating_sub(start)).map_err(io::Error::other)?];
    file.read_exact_at(&mut tail, start)?;
    let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => start.saturating_add(at as u64).saturating_add(1),
        None if start == 0 => 0,
        None => return Err(io::Error::other("its end is no line of ours; move it away")),
    };
    file.set_len(whole)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(dir: &tempfile::TempDir) -> Target {
        Target { path: dir.path().join("out.jsonl"), rotate_bytes: 10, keep: 2, turn: Mutex::default() }
    }

    fn text(target: &Target, n: u32) -> String {
        let path = if n == 0 { target.path.clone() } else { target.numbered(n) };
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_full_file_is_rotated_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(&dir);
        for line in ["aaaa\n", "bbbb\n", "cccc\n", "dddddddddddd\n", "eeee\n"] {
            target.append(line.as_bytes()).unwrap();
        }
        let kept: Vec<String> = (0..4).map(|n| text(&target, n)).collect();
        assert_eq!(kept, ["eeee\n", "dddddddddddd\n", "cccc\n", ""]);
    }

    #[test]
    fn a_line_a_kill_left_unfinished_is_cut_and_a_file_moved_away_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let target = target(&dir);
        std::fs::write(&target.path, "a\nbro").unwrap();
        target.append(b"b\n").unwrap();
        assert_eq!(text(&target, 0), "a\nb\n");
        std::fs::rename(&target.path, dir.path().join("elsewhere")).unwrap();
        target.append(b"c\n").unwrap();
        assert_eq!(text(&target, 0), "c\n");
        std::fs::write(&target.path, "no line at all").unwrap();
        target.append(b"d\n").unwrap();
        assert_eq!(text(&target, 0), "d\n");
    }
}
