//! What must hold before anything is served: files, keys, store, log, configuration. Each error says what to mend.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use api::Actor;
use config::ServerConfig;
use config::server::{AuditConfig, CertificateFiles, GatewayConfig, SinkTarget};
use model::record::RecordType;
use model::seams::Durability;
use model::{AccessId, Clock, Ids, Recorder};
use pki::tls::{Certificate, PostQuantum, TlsSettings, TlsVersion};
use pki::{Kek, NamedCertificate, SecretText};
use store::{MetaStore, Store};

use super::ground::{DataLock, Ground};

/// The folder everything lives in, made private to its owner; one that others may enter is closed to them.
///
/// # Errors
/// The system refuses, or the folder belongs to somebody else.
pub fn data_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if let Ok(found) = std::fs::metadata(path) {
        if found.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).with_context(|| {
                format!("the data folder `{}` is open to others and cannot be made private", path.display())
            })?;
            tracing::warn!(path = %path.display(), "the data folder was open to others; it is private now");
        }
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the data folder `{}`", path.display()))
}

/// The key-encryption key, made at the first start.
///
/// # Errors
/// The file is readable by others or no key, or it is gone while what it sealed is there.
pub fn kek(data: &Path, ids: &dyn Ids) -> Result<Kek> {
    let file = data.join("kek");
    if !file.exists() && data.join("state.db").exists() {
        bail!(
            "`{}` is missing, but `state.db` is there and sealed under it; restore the key file from your backup",
            file.display()
        );
    }
    Ok(Kek::load_or_create(&file, ids)?)
}

/// The store, with the relying party id fixed at install (ID-24).
///
/// # Errors
/// The file is newer, damaged or on a network; or `rp_id` was changed.
pub async fn store(data: &Path, rp_id: &str, clock: &dyn Clock) -> Result<Arc<Store>> {
    let store = Store::open(&data.join("state.db"), clock.now()).await.context("the store does not open")?;
    let fixed = store.fix_fact(store::RP_ID, rp_id, clock.now()).await?;
    if fixed != rp_id {
        let (passkeys, people) = store.passkeys_at_stake().await?;
        bail!(
            "`[identity] rp_id` is `{rp_id}`, but the passkeys of this installation belong to `{fixed}`: {passkeys} passkeys of \
             {people} people would stop working; set it back to `{fixed}`, or start once with --lose-passkeys and have \
             everybody enrol again"
        );
    }
    Ok(Arc::new(store))
}

/// Makes the configured `rp_id` the relying party at the price of every passkey (ID-24), and records it. Gives how many
/// went.
///
/// # Errors
/// A server runs, the relying party did not change, or store or record fail.
pub async fn lose_passkeys(config: &ServerConfig, clock: &Arc<dyn Clock>, ids: &Arc<dyn Ids>) -> Result<u64> {
    let rp_id = &config.identity.rp_id;
    let lock = DataLock::take(&config.data_dir)?;
    let store = Store::open(&config.data_dir.join("state.db"), clock.now()).await.context("the store does not open")?;
    match store.fact(store::RP_ID).await? {
        Some(fixed) if fixed != *rp_id => {}
        _ => bail!("`[identity] rp_id` did not change, so no passkey has to go; start without --lose-passkeys"),
    }
    let gone = store.move_relying_party(rp_id, clock.now()).await?;
    store.close().await;
    drop(lock);
    let ground = Ground::open(config, 0, clock, ids).await?;
    let now = clock.now();
    let actor = Actor::local_operator(AccessId(ids.uuid_v7(now)));
    let mut record = actor.record(RecordType::AuthMfaRemoved, now, &ground.people.directory());
    record.change.object_kind = Some("relying_party");
    record.change.object_id = Some(Arc::from(rp_id.as_str()));
    record.change.change = Some(Arc::from(format!("{gone} passkeys given up for a new relying party")));
    let recorded = ground.log.append(record, Durability::Strict).await;
    ground.close().await;
    recorded?;
    Ok(gone)
}

/// The certificates of a configuration, read and parsed.
///
/// # Errors
/// A file is missing, or the pair does not fit.
pub fn certificates(declared: &[CertificateFiles]) -> Result<Vec<(NamedCertificate, Certificate)>> {
    declared.iter().map(certificate).collect()
}

/// One certificate, read and parsed.
///
/// # Errors
/// As [`certificates`].
pub fn certificate(files: &CertificateFiles) -> Result<(NamedCertificate, Certificate)> {
    let read = |path: &PathBuf, what: &str| {
        std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the {what} of certificate `{}` at `{}`", files.name, path.display()))
    };
    let named = NamedCertificate {
        name: files.name.clone(),
        chain_pem: read(&files.cert, "chain")?,
        key_pem: SecretText::new(read(&files.key, "key")?),
    };
    let parsed = named.parse()?;
    Ok((named, parsed))
}

/// The TLS settings of a listener.
pub fn tls_settings(listener: &config::server::ListenerConfig) -> TlsSettings {
    TlsSettings {
        min_version: if listener.requires_tls13 { TlsVersion::V1_3 } else { TlsVersion::V1_2 },
        pq: if listener.requires_pq { PostQuantum::Require } else { PostQuantum::Prefer },
    }
}

/// The text of the process configuration.
///
/// # Errors
/// It cannot be read.
pub fn read(config: &Path) -> Result<String> {
    std::fs::read_to_string(config).with_context(|| {
        format!(
            "cannot read the configuration `{}`; name the file with -c, or make a folder with `countersign init`",
            config.display()
        )
    })
}

/// Relative paths of the file are relative to its folder.
pub fn resolve_paths(config: &mut ServerConfig, base: &Path) {
    if let Some(path) = &mut config.control_socket {
        resolve(path, base);
    }
    resolve_common(base, &mut config.data_dir, &mut config.upstream_roots, &mut config.audit, &mut config.certificates);
}

/// The same for a gateway's file.
pub fn resolve_gateway_paths(config: &mut GatewayConfig, base: &Path) {
    resolve_common(base, &mut config.data_dir, &mut config.upstream_roots, &mut config.audit, &mut config.certificates);
}

fn resolve_common(
    base: &Path,
    data_dir: &mut PathBuf,
    upstream_roots: &mut Option<PathBuf>,
    audit: &mut AuditConfig,
    certificates: &mut [CertificateFiles],
) {
    resolve(data_dir, base);
    if let Some(path) = upstream_roots {
        resolve(path, base);
    }
    for sink in &mut audit.sinks {
        match &mut sink.to {
            SinkTarget::File { path, .. } => resolve(path, base),
            SinkTarget::Webhook { ca, secret_file, token_file, .. } => {
                [ca, secret_file, token_file].into_iter().flatten().for_each(|path| resolve(path, base));
            }
        }
    }
    for certificate in certificates {
        resolve(&mut certificate.cert, base);
        resolve(&mut certificate.key, base);
    }
}

fn resolve(path: &mut PathBuf, base: &Path) {
    if path.is_relative() {
        *path = base.join(&*path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_data_folder_that_others_may_read_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let fresh = folder.path().join("fresh/data");
        data_dir(&fresh).unwrap();
        assert_eq!(mode(&fresh), 0o700);
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        data_dir(&open).unwrap();
        assert_eq!(mode(&open), 0o700);
    }
}
