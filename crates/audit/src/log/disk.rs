//! The narrow view of a disk that the log needs, so that tests can make it fail (AUD-18, AUD-21).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the file system says of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// Device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Names it has; 0 when it was deleted and is only held open.
    pub links: u64,
    /// Bytes.
    pub len: u64,
}

impl FileFacts {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino(), links: meta.nlink(), len: meta.len() }
    }

    /// Whether both are one file, whatever its length.
    pub fn is_same_file(&self, other: &FileFacts) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Room on the file system, as an unprivileged writer sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Bytes that can be written.
    pub free: u64,
    /// Bytes there are.
    pub total: u64,
}

impl Space {
    /// Free, in whole percent.
    pub fn free_percent(&self) -> u8 {
        let percent = u128::from(self.free).saturating_mul(100).checked_div(u128::from(self.total)).unwrap_or(0);
        u8::try_from(percent.min(100)).unwrap_or(100)
    }
}

/// A directory of segment files.
pub trait Disk: Send + Sync {
    /// Names of the files in the log's directory, in any order.
    ///
    /// # Errors
    /// Whatever the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new empty file.
    ///
    /// # Errors
    /// Whatever the system says; also when it exists.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// Whatever the system says; also when it is missing.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, durably.
    ///
    /// # Errors
    /// Whatever the system says; the file then has one of the two names.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// What stands under a name.
    ///
    /// # Errors
    /// Whatever the system says; `NotFound` when nothing does.
    fn facts(&self, name: &str) -> io::Result<FileFacts>;

    /// Room for more.
    ///
    /// # Errors
    /// Whatever the system says.
    fn space(&self) -> io::Result<Space>;
}

/// An open file, written and read at offsets.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// When any byte may be missing.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads until `bytes` is full or the file ends; returns how much.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes everything written durable (`fdatasync`).
    ///
    /// # Errors
    /// When any byte may be lost.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn size(&self) -> io::Result<u64>;

    /// Grows with a hole, or cuts.
    ///
    /// # Errors
    /// Whatever the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// What the file system says of it now.
    ///
    /// # Errors
    /// Whatever the system says.
    fn facts(&self) -> io::Result<FileFacts>;
}

/// A directory of the operating system.
pub struct OsDisk {
    dir: PathBuf,
}

impl OsDisk {
    /// The directory must exist.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        // Its owner's alone, whatever the folder allows.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.dir.join(name))?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.dir.join(name))?;
        Ok(Box::new(OsFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))?;
        File::open(&self.dir)?.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }

    fn facts(&self, name: &str) -> io::Result<FileFacts> {
        // Not followed: a link put in place of a segment is not the segment.
        Ok(FileFacts::of(&std::fs::symlink_metadata(self.dir.join(name))?))
    }

    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::statvfs(&self.dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        // What only root may use is no room for us.
        let usable = found.f_blocks.saturating_sub(found.f_bfree.saturating_sub(found.f_bavail));
        Ok(Space { free: bytes(found.f_bavail), total: bytes(usable) })
    }
}

struct OsFile(File);

impl DiskFile for OsFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn facts(&self) -> io::Result<FileFacts> {
        Ok(FileFacts::of(&self.0.metadata()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_segment_is_its_owners_alone_also_in_an_open_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        OsDisk::new(folder.path()).create("segment").unwrap();
        let mode = std::fs::metadata(folder.path().join("segment")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_deleted_file_has_no_links_and_its_name_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(folder.path());
        let file = disk.create("segment").unwrap();
        assert!(disk.facts("segment").unwrap().is_same_file(&file.facts().unwrap()));
        disk.remove("segment").unwrap();
        assert_eq!(file.facts().unwrap().links, 0);
        assert_eq!(disk.facts("segment").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(disk.space().unwrap().total > 0);
    }

    #[test]
    fn free_space_is_said_in_percent_also_of_nothing() {
        assert_eq!(Space { free: 199, total: 1_000 }.free_percent(), 19);
        assert_eq!(Space { free: 0, total: 0 }.free_percent(), 0);
        assert_eq!(Space { free: u64::MAX, total: 1 }.free_percent(), 100);
    }
}
