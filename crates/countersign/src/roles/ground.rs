//! What lies under every role on this machine: the data folder with its lock, the key-encryption key, the store, the
//! people and the record. Opened in one place, so that a command on the host meets what the server's start meets.
//!
//! It serves nothing. Invariant: two processes never have the same data folder; the lock is taken before anything in it
//! is opened and let go after everything is closed.

use std::fmt;
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use audit::mask::PathMask;
use audit::{AuditLog, LogConfig, LogSeams, OnFailure, SpaceMarks};
use config::ServerConfig;
use config::server::AuditConfig;
use model::{Clock, Ids};
use pip_identity::People;
use pki::Kek;
use store::Store;

use super::keys::{DayKeys, SubjectRing, Vault};
use super::serve::GATEWAY;
use super::stages::Stages;
use super::startup;

/// The file whose lock says that a process has the data folder.
const LOCK_FILE: &str = "lock";

/// The data folder is another process's.
#[derive(Debug)]
pub struct InUse(PathBuf);

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another process has the data folder `{}`; a server runs there", self.0.display())
    }
}

impl std::error::Error for InUse {}

/// Holds the data folder; the system lets it go when the process ends, however it ends.
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock of a data folder that exists.
    ///
    /// # Errors
    /// [`InUse`], or the system refuses.
    pub fn take(data: &Path) -> Result<Self> {
        let path = data.join(LOCK_FILE);
        let opened = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.with_context(|| format!("cannot open the lock `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(InUse(data.to_owned()).into()),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock `{}`", path.display())),
        }
    }
}

/// Everything that is opened before rooms are put together.
pub struct Ground {
    /// Keeps others out.
    pub lock: DataLock,
    /// Seals what is kept.
    pub kek: Kek,
    /// The store.
    pub store: Arc<Store>,
    /// Its secrets.
    pub vault: Arc<Vault>,
    /// Who there is.
    pub people: Arc<People>,
    /// Their keys for the record.
    pub subject_keys: Arc<SubjectRing>,
    /// The record.
    pub log: Arc<AuditLog>,
}

impl Ground {
    /// Opens the data folder of `config`, and makes it at the first start.
    ///
    /// # Errors
    /// Another process has it, or something in it does not open; each says what to mend.
    pub async fn open(
        config: &ServerConfig,
        log_reserves: usize,
        clock: &Arc<dyn Clock>,
        ids: &Arc<dyn Ids>,
    ) -> Result<Self> {
        let mut stages = Stages::begin();
        startup::data_dir(&config.data_dir)?;
        let lock = DataLock::take(&config.data_dir)?;
        let kek = startup::kek(&config.data_dir, ids.as_ref())?;
        let store = startup::store(&config.data_dir, &config.identity.rp_id, clock.as_ref()).await?;
        stages.done("store");
        let keys: Arc<dyn store::KeyStore> = store.clone();
        let vault = Arc::new(Vault::new(keys, kek.sealer("secrets")?, Arc::clone(clock), Arc::clone(ids)));
        let domains = config.identity.domains.clone();
        let people = People::load_with_domains(store.clone(), Arc::clone(clock), Arc::clone(ids), domains).await?;
        let people = Arc::new(people);
        let users: Vec<_> = people.directory().users.keys().copied().collect();
        let subject_keys = Arc::new(SubjectRing::load(Arc::clone(&vault), &users).await?);
        stages.done("people");
        let (audit, data) = (&config.audit, &config.data_dir);
        let log = open_log(audit, data, GATEWAY, log_reserves, &vault, &subject_keys, clock, ids).await?;
        stages.done("record");
        Ok(Self { lock, kek, store, vault, people, subject_keys, log })
    }

    /// Closes record and store, and lets others in.
    pub async fn close(self) {
        let log = self.log;
        tokio::task::spawn_blocking(move || log.close()).await.ok();
        self.store.close().await;
        drop(self.lock);
    }
}

/// Opens the record in the data folder `data` for the doors called `name`.
///
/// # Errors
/// It does not open; says what to mend.
#[expect(clippy::too_many_arguments, reason = "a log is put together once at start")]
pub async fn open_log(
    audit: &AuditConfig,
    data: &Path,
    name: &str,
    log_reserves: usize,
    vault: &Arc<Vault>,
    subject_keys: &Arc<SubjectRing>,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn Ids>,
) -> Result<Arc<AuditLog>> {
    let log_config = LogConfig {
        masks: masks(&audit.mask)?,
        segment_bytes: audit.segment_bytes,
        reserves: log_reserves,
        on_failure: if audit.allows_marked { OnFailure::AllowMarked } else { OnFailure::Deny },
        space_marks: SpaceMarks { low: audit.low_space, critical: audit.critical_space },
        ..LogConfig::new(data.join("audit"), format!("{}/{name}", audit.origin))
    };
    let seams = LogSeams {
        clock: Arc::clone(clock),
        ids: Arc::clone(ids),
        subject_keys: subject_keys.clone(),
        daily_keys: Arc::new(DayKeys::new(Arc::clone(vault), tokio::runtime::Handle::current())),
    };
    let (log, report) = tokio::task::spawn_blocking(move || AuditLog::open(&log_config, seams)).await??;
    tracing::info!(
        origin = %report.origin,
        next_seq = report.next_seq,
        cut_bytes = report.cut_bytes,
        gaps = report.gaps.len(),
        closed_accesses = report.closed_accesses,
        "the audit log is open"
    );
    Ok(Arc::new(log))
}

/// Paths of our own API that name people; the record of the change names them by id (AUD-40).
const OWN_MASKS: &[&str] = &["/api/v1/users/{who}", "/api/v1/users/{who}/**", "/api/v1/groups/*/members/{who}"];

/// What the operator wants masked, after what we mask ourselves.
fn masks(declared: &[String]) -> Result<Arc<[PathMask]>> {
    let all = OWN_MASKS.iter().copied().chain(declared.iter().map(String::as_str));
    all.map(|pattern| PathMask::parse(pattern).context("in `[audit] mask`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_data_folder_has_one_process_and_its_lock_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataLock::take(folder.path()).unwrap();
        let second = DataLock::take(folder.path());
        assert!(second.is_err_and(|error| error.is::<InUse>()), "a second process is told that it is in use");
        let mode = std::fs::metadata(folder.path().join(LOCK_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(held);
        assert!(DataLock::take(folder.path()).is_ok(), "it is free when its holder is gone");
    }
}
