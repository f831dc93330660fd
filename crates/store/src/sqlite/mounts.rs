//! Network file systems are refused (AUD-54): SQLite's locks and shared memory do not hold there, and the journal
//! can be lost. Read from Linux' list of mounts; where there is none, nothing is refused.

use std::path::{Path, PathBuf};

use crate::error::StoreError;

const MOUNTS: &str = "/proc/self/mountinfo";

/// What happens to a store on a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Fine,
    Refused,
    Warned,
}

/// Refuses if `path` will lie on NFS or SMB; warns on FUSE, which may be anything.
pub(super) fn refuse_network(path: &Path) -> Result<(), StoreError> {
    let Ok(mounts) = std::fs::read_to_string(MOUNTS) else { return Ok(()) };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = directory.canonicalize().map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    let Some(kind) = file_system_of(&mounts, &directory) else { return Ok(()) };
    match judge(kind) {
        Verdict::Fine => Ok(()),
        Verdict::Refused => Err(StoreError::NetworkFileSystem { path: path.to_owned(), kind: kind.to_owned() }),
        Verdict::Warned => {
            tracing::warn!(path = %path.display(), kind, "the store lies on a fuse file system, whose locks may not hold");
            Ok(())
        }
    }
}

fn judge(kind: &str) -> Verdict {
    match kind {
        "cifs" | "nfs" | "nfs4" | "smb2" | "smb3" | "smbfs" => Verdict::Refused,
        _ if kind == "fuse" || kind.starts_with("fuse.") => Verdict::Warned,
        _ => Verdict::Fine,
    }
}

/// The type of the file system `directory` (canonical) lies on: that of the longest mount point above it, and among
/// equals the last, which covers the others. Format: proc(5), `36 35 98:0 /root /mount opts … - type source opts`.
fn file_system_of<'a>(mounts: &'a str, directory: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (Some(mount), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else { continue };
        let mount = PathBuf::from(unescape(mount));
        let depth = mount.components().count();
        if directory.starts_with(&mount) && best.is_none_or(|(known, _)| depth >= known) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// Mount points write blank, tab, newline and backslash in octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw - nfs4 files:/srv rw
31 30 8:2 / /srv/local rw - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/my\\040share rw master:2 - cifs //files/share rw
33 22 0:42 / /media rw - fuse.sshfs me@there rw
34 22 0:43 / /over rw - ext4 /dev/sdc1 rw
35 22 0:44 / /over rw - nfs files:/over rw
not a mount
";

    #[track_caller]
    fn check(directory: &str, kind: &str, verdict: Verdict) {
        let found = file_system_of(MOUNTS, Path::new(directory)).unwrap();
        assert_eq!((found, judge(found)), (kind, verdict), "{directory}");
    }

    #[test]
    fn the_nearest_mount_above_a_path_tells_its_file_system() {
        check("/var/lib/countersign", "ext4", Verdict::Fine);
        check("/srv", "nfs4", Verdict::Refused);
        check("/srv/data/deep", "nfs4", Verdict::Refused);
        check("/srv/local/x", "xfs", Verdict::Fine);
        check("/srvx", "ext4", Verdict::Fine);
        check("/mnt/my share/db", "cifs", Verdict::Refused);
        check("/media/x", "fuse.sshfs", Verdict::Warned);
        check("/over", "nfs", Verdict::Refused);
    }

    #[test]
    fn without_mounts_nothing_is_known() {
        assert_eq!(file_system_of("", Path::new("/")), None);
    }
}
