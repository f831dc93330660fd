//! The key-encryption key: 32 random bytes in a file of mode 0600, made at the first start. It seals
//! nothing itself; every purpose gets a key of its own through HKDF (RFC 5869).
//!
//! The file holds one line, `countersign-kek-v1:<base64url>`, so that it is recognised by people and by scanners.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use zeroize::Zeroizing;

use super::Sealer;
use crate::private_file::{self, PrivateFileError};

/// The length of a KEK.
pub const KEK_BYTES: usize = 32;
/// What the file begins with.
const PREFIX: &str = "countersign-kek-v1:";
/// HKDF info of the key id; no purpose may be called like it.
const KEY_ID_INFO: &[u8] = b"countersign/kek/id";
/// HKDF info of another process's key begins so.
const SUBORDINATE_INFO: &[u8] = b"countersign/kek/subordinate/";
/// HKDF info of a purpose begins so.
const PURPOSE_INFO: &[u8] = b"countersign/kek/purpose/";

/// Names a KEK without giving anything of it away; prints as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; KeyId::BYTES]);

impl KeyId {
    /// Its length.
    pub const BYTES: usize = 8;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why there is no KEK.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The crypto library refused to derive.
    #[error("the crypto library cannot derive a key")]
    Derive,
    /// The file.
    #[error("the key file cannot be used")]
    File(#[from] PrivateFileError),
    /// Not a key.
    #[error("`{}` is not a key file (one line, `{PREFIX}` and 43 characters); restore it from a backup", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
}

/// The key-encryption key.
pub struct Kek {
    key_id: KeyId,
    prk: Prk,
}

impl Kek {
    /// A KEK of these bytes, which must be uniformly random.
    ///
    /// # Errors
    /// [`KekError::Derive`].
    pub fn from_bytes(bytes: &[u8; KEK_BYTES]) -> Result<Self, KekError> {
        let prk = Prk::new_less_safe(HKDF_SHA256, bytes);
        let mut key_id = [0; KeyId::BYTES];
        derive(&prk, &[KEY_ID_INFO], &mut key_id)?;
        Ok(Self { key_id: KeyId(key_id), prk })
    }

    /// Reads the KEK of an existing file.
    ///
    /// # Errors
    /// [`KekError`]: do not start and write nothing.
    pub fn load(path: &Path) -> Result<Option<Self>, KekError> {
        let Some(content) = private_file::read(path)? else {
            return Ok(None);
        };
        let bytes = decode(content.expose()).ok_or_else(|| KekError::Format { path: path.to_owned() })?;
        Self::from_bytes(&bytes).map(Some)
    }

    /// Reads the KEK of `path`, or makes one there when there is no such file. A caller that holds sealed values
    /// should use [`Self::load`]: a fresh key opens none of them.
    ///
    /// # Errors
    /// [`KekError`]: do not start and write nothing.
    pub fn load_or_create(path: &Path, ids: &dyn model::Ids) -> Result<Self, KekError> {
        if let Some(kek) = Self::load(path)? {
            return Ok(kek);
        }
        let mut bytes = Zeroizing::new([0; KEK_BYTES]);
        ids.fill_random(bytes.as_mut_slice());
        let line = Zeroizing::new(format!("{PREFIX}{}\n", BASE64URL_NOPAD.encode(bytes.as_slice())));
        match private_file::create(path, line.as_bytes()) {
            // Another process was faster: both must use the one key.
            Err(PrivateFileError::Exists { .. }) => {
                Self::load(path)?.ok_or_else(|| KekError::Format { path: path.to_owned() })
            }
            Err(error) => Err(error.into()),
            Ok(()) => Self::from_bytes(&bytes),
        }
    }

    /// Its id.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// A key of its own for another process, which makes a [`Kek`] of it with [`Self::from_bytes`]. Equal names, equal
    /// keys; nothing this KEK seals opens under one.
    ///
    /// # Errors
    /// [`KekError::Derive`].
    pub fn subordinate(&self, name: &str) -> Result<Zeroizing<[u8; KEK_BYTES]>, KekError> {
        let mut key = Zeroizing::new([0; KEK_BYTES]);
        derive(&self.prk, &[SUBORDINATE_INFO, name.as_bytes()], key.as_mut_slice())?;
        Ok(key)
    }

    /// The sealer of one purpose, e.g. `store.signing_keys`. What one purpose sealed no other opens.
    ///
    /// # Errors
    /// [`KekError::Derive`].
    pub fn sealer(&self, purpose: &str) -> Result<Sealer, KekError> {
        let mut key = Zeroizing::new([0; KEK_BYTES]);
        derive(&self.prk, &[PURPOSE_INFO, purpose.as_bytes()], key.as_mut_slice())?;
        Ok(Sealer::new(self.key_id, &key))
    }
}

struct OutputLength(usize);

impl KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive(prk: &Prk, info: &[&[u8]], out: &mut [u8]) -> Result<(), KekError> {
    prk.expand(info, OutputLength(out.len())).and_then(|okm| okm.fill(out)).map_err(|_| KekError::Derive)
}

fn decode(content: &[u8]) -> Option<Zeroizing<[u8; KEK_BYTES]>> {
    let text = str::from_utf8(content).ok()?;
    let encoded = text.strip_suffix('\n').unwrap_or(text).strip_prefix(PREFIX)?;
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use testkit::SeqIds;

    #[test]
    fn the_first_start_makes_a_key_and_the_second_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        assert!(Kek::load(&path).unwrap().is_none());
        let made = Kek::load_or_create(&path, &SeqIds::seeded(1)).unwrap().key_id();
        assert_eq!(Kek::load_or_create(&path, &SeqIds::seeded(2)).unwrap().key_id(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let other = directory.path().join("other");
        assert_ne!(Kek::load_or_create(&other, &SeqIds::seeded(2)).unwrap().key_id(), made);
    }

    #[test]
    fn two_first_starts_at_once_end_with_one_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let start = |seed| {
            let path = &path;
            move || Kek::load_or_create(path, &SeqIds::seeded(seed)).unwrap().key_id()
        };
        let ids: Vec<KeyId> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|seed| scope.spawn(start(seed))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        Kek::load_or_create(&path, &SeqIds::default()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Kek::load_or_create(&path, &SeqIds::default());
        assert!(matches!(refused, Err(KekError::File(PrivateFileError::Mode { mode: 0o644, .. }))));
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let good = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&[7; KEK_BYTES]));
        let short = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&[7; KEK_BYTES - 1]));
        for bad in [
            "",
            "\n",
            PREFIX,
            good.trim_start_matches('c'),
            &short,
            &format!("{good}\n\n"),
            &format!("{good}A"),
            good.trim_start_matches(PREFIX),
        ] {
            private_file::create(&path, bad.as_bytes()).unwrap();
            assert!(matches!(Kek::load_or_create(&path, &SeqIds::default()), Err(KekError::Format { .. })), "{bad:?}");
            assert_eq!(std::fs::read(&path).unwrap(), bad.as_bytes());
            std::fs::remove_file(&path).unwrap();
        }
        private_file::create(&path, good.as_bytes()).unwrap();
        assert_eq!(Kek::load(&path).unwrap().unwrap().key_id(), Kek::from_bytes(&[7; KEK_BYTES]).unwrap().key_id());
    }
}
