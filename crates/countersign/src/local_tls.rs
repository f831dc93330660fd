//! A certificate authority and one server certificate for names of this machine or of a test domain, as files in a folder
//! . For the demo and for `countersign init`; not for names that other people's browsers should trust.
//!
//! Invariants: the authority is good for the permitted names only; keys are readable by their owner alone and never
//! overwritten while they are good.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use model::Clock;
use pki::{LocalCa, private_file};

use crate::system::SystemClock;

const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
const CERTIFICATE_LIFE: Duration = Duration::from_secs(397 * 86_400);
/// A certificate older than this is made again.
const CERTIFICATE_RENEWAL: Duration = Duration::from_secs(300 * 86_400);

/// The authority's certificate.
pub const AUTHORITY_FILE: &str = "ca.pem";
/// The server's chain.
pub const CHAIN_FILE: &str = "certificate.pem";
/// The server's key.
pub const KEY_FILE: &str = "certificate.key";

/// What a browser needs to trust the server.
pub struct LocalTls {
    /// PEM of the authority.
    pub ca_pem: String,
    /// Base64 SHA-256 of the certificate's key, as Chromium takes it.
    pub spki: String,
}

/// Takes up the authority and certificate in `folder`, or makes them: an authority called `title` that is good for
/// `permitted` names only, and a certificate for `names`.
///
/// # Errors
/// The system refuses, or what lies there is no key or certificate.
pub fn open(folder: &Path, title: &str, permitted: &[&str], names: &[&str]) -> Result<LocalTls> {
    let authority = authority(folder, title, permitted)?;
    let spki = certificate(folder, &authority, names)?;
    Ok(LocalTls { ca_pem: authority.certificate_pem().to_owned(), spki })
}

fn authority(folder: &Path, title: &str, permitted: &[&str]) -> Result<LocalCa> {
    let (certificate, key) = (folder.join(AUTHORITY_FILE), folder.join("ca.key"));
    if let Some(kept) = private_file::read(&key)? {
        let key = pki::SecretText::new(String::from_utf8(kept.expose().to_vec()).context("`ca.key` is not PEM")?);
        let pem =
            fs::read_to_string(&certificate).with_context(|| format!("cannot read `{}`", certificate.display()))?;
        return Ok(LocalCa::load(&pem, &key)?);
    }
    let made = LocalCa::create(title, permitted, SystemClock::default().now(), AUTHORITY_LIFE)?;
    // The certificate first: a key without one would keep the next start from making both.
    fs::write(&certificate, made.certificate_pem())?;
    private_file::create(&key, made.key_pem().expose().as_bytes())?;
    Ok(made)
}

/// The server's certificate, kept over restarts so that a browser told to trust it stays told. Gives its key's hash.
fn certificate(folder: &Path, authority: &LocalCa, names: &[&str]) -> Result<String> {
    let [chain, key, hash] = [CHAIN_FILE, KEY_FILE, "certificate.spki"].map(|name| folder.join(name));
    let made = fs::metadata(&hash).and_then(|metadata| metadata.modified()).ok();
    let is_young =
        made.is_some_and(|made| SystemTime::now().duration_since(made).unwrap_or_default() < CERTIFICATE_RENEWAL);
    if is_young && chain.exists() && key.exists() {
        return Ok(fs::read_to_string(&hash)?.trim().to_owned());
    }
    for old in [&hash, &key] {
        if old.exists() {
            fs::remove_file(old)?;
        }
    }
    let issued = authority.issue_server(names, SystemClock::default().now(), CERTIFICATE_LIFE)?;
    fs::write(&chain, &issued.chain_pem)?;
    private_file::create(&key, issued.key_pem.expose().as_bytes())?;
    fs::write(&hash, format!("{}\n", issued.spki_sha256))?;
    Ok(issued.spki_sha256)
}
