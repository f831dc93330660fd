//! What is counted and not recorded yet, in a file beside the segments: one line a source. It is renamed into place whole and
//! not synced: it is for a process that is killed, not for a machine that loses power. A line that cannot be read is left out.

use std::fmt::Write;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use model::Timestamp;

use super::{Counted, MAX_SOURCES, Source};

const FILE: &str = "floods.pending";
const NEW_FILE: &str = "floods.pending.new";
/// The longest line: an id, three numbers, a reason and a network.
const MAX_LINE_BYTES: usize = 256;
/// The longest file.
const MAX_BYTES: u64 = (MAX_SOURCES * MAX_LINE_BYTES) as u64;

/// Makes the file say this; takes it away when there is nothing to say.
pub(super) fn write(dir: &Path, counted: &[(Source, Counted)]) -> io::Result<()> {
    if counted.is_empty() {
        return match std::fs::remove_file(dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
    }
    let mut text = String::with_capacity(counted.len().saturating_mul(128));
    for ((network, reason), Counted { id, count, first, last }) in counted {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{id} {count} {} {} {} {network}", first.0, last.0, reason.audit_code());
    }
    let new = dir.join(NEW_FILE);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    std::fs::rename(new, dir.join(FILE))
}

/// What the file says; nothing when there is none.
pub(super) fn read(dir: &Path) -> io::Result<Vec<(Source, Counted)>> {
    let file = match std::fs::File::open(dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(line).take(MAX_SOURCES).collect())
}

fn line(line: &str) -> Option<(Source, Counted)> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (id, count) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let (first, last) = (Timestamp(next()?.parse().ok()?), Timestamp(next()?.parse().ok()?));
    let (reason, network) = (next()?.parse().ok()?, Arc::from(next()?));
    words.next().is_none().then_some(((network, reason), Counted { id, count, first, last }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{AccessId, Reason};
    use uuid::Uuid;

    fn counted(n: u128) -> (Source, Counted) {
        let network = format!("2001:db8:{n:x}::/48");
        let (first, last) = (Timestamp(1_795_341_600_000_000_000), Timestamp(1_795_341_601_000_000_000));
        let id = AccessId(Uuid::from_u128(n));
        ((Arc::from(network), Reason::Gate), Counted { id, count: u64::MAX, first, last })
    }

    #[test]
    fn what_was_written_reads_back_and_nothing_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        let all: Vec<_> = (1..=MAX_SOURCES as u128).map(counted).collect();
        write(dir.path(), &all).unwrap();
        assert_eq!(read(dir.path()).unwrap(), all, "the longest file there is fits");
        write(dir.path(), &[]).unwrap();
        write(dir.path(), &[]).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn lines_that_cannot_be_read_are_left_out_and_the_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[counted(1)]).unwrap();
        let good = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let torn = good.get(..good.len() / 2).unwrap();
        std::fs::write(dir.path().join(FILE), format!("\n{torn}\n{good}x {good}{}\u{ff}", "y".repeat(9_000))).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [counted(1)]);
    }
}
