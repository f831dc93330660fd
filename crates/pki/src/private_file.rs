//! Files that only their owner may read: key-encryption keys, CA keys.
//!
//! Invariants: a file is created with mode 0600, whole or not at all, and never replaces another; one that others may
//! read or write is refused, not repaired, because its content must be taken as known.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::secret::SecretBytes;

/// The largest private file that is read.
pub const MAX_BYTES: u64 = 64 * 1024;
/// How many drafts that crashes left behind are passed over.
const MAX_DRAFTS: u32 = 100;
/// The mode of a private file.
const MODE: u32 = 0o600;

/// Why a private file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Somebody made it first.
    #[error("`{}` exists already; it is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("`{}` has mode {mode:04o}, so that others may read or change it; if nobody did, run `chmod 600 {}`", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A directory, socket or device.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Too large for a key.
    #[error("`{}` has {bytes} bytes; a key file has at most {MAX_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// Reads a private file whole; `None` when there is none.
///
/// # Errors
/// [`PrivateFileError`]: do not start; the message says what to mend.
pub fn read(path: &Path) -> Result<Option<SecretBytes>, PrivateFileError> {
    let io = |action| move |source| PrivateFileError::Io { action, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open")(error)),
    };
    // Asked of the open file, so that it cannot be swapped between the check and the read.
    let metadata = file.metadata().map_err(io("inspect"))?;
    if !metadata.is_file() {
        return Err(PrivateFileError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PrivateFileError::Mode { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_BYTES {
        return Err(PrivateFileError::TooLarge { path: path.to_owned(), bytes: metadata.len() });
    }
    // Room for all of it at once: a growing vector would leave copies of the secret behind.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1));
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(io("read"))?;
    Ok(Some(SecretBytes::new(bytes)))
}

/// Creates a private file with this content, durably; a crash leaves all of it or nothing.
///
/// # Errors
/// [`PrivateFileError::Exists`] when there is one already: read that instead.
pub fn create(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let io = |action| move |source| PrivateFileError::Io { action, path: path.to_owned(), source };
    let (draft, mut file) = open_draft(path).map_err(io("create a draft of"))?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).map_err(io("write"));
    // A hard link, unlike a rename, does not replace what is there.
    let linked = written.and_then(|()| {
        fs::hard_link(&draft, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => PrivateFileError::Exists { path: path.to_owned() },
            _ => io("create")(error),
        })
    });
    let removed = fs::remove_file(&draft).map_err(io("remove the draft of"));
    linked?;
    removed?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io("sync the directory of"))
}

/// A new file beside `path`. A draft that a crash left behind is passed over, never written to.
fn open_draft(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut attempt = 0;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".draft{attempt}"));
        match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < MAX_DRAFTS => attempt += 1,
            opened => return opened.map(|file| (PathBuf::from(name), file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_created_file_is_private_and_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert!(read(&path).unwrap().is_none());
        create(&path, b"content").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().expose(), b"content");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path, b"first").unwrap();
        assert!(matches!(create(&path, b"second"), Err(PrivateFileError::Exists { .. })));
        assert_eq!(read(&path).unwrap().unwrap().expose(), b"first");
    }

    #[test]
    fn a_draft_left_by_a_crash_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(directory.path().join("key.draft0"), "half").unwrap();
        create(&path, b"whole").unwrap();
        assert_eq!(read(&path).unwrap().unwrap().expose(), b"whole");
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path, b"content").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o660, 0o777] {
            set_mode(&path, mode);
            let message = read(&path).err().unwrap().to_string();
            assert!(message.contains(&format!("{mode:04o}")) && message.contains("chmod 600"), "{message}");
        }
        set_mode(&path, 0o400);
        assert!(read(&path).is_ok());
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o700);
        assert!(matches!(read(directory.path()), Err(PrivateFileError::NotAFile { .. })));
        let path = directory.path().join("key");
        create(&path, &vec![0; usize::try_from(MAX_BYTES).unwrap()]).unwrap();
        assert!(read(&path).is_ok());
        let path = directory.path().join("large");
        create(&path, &vec![0; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
        assert!(matches!(read(&path), Err(PrivateFileError::TooLarge { .. })));
    }
}
