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
use pki::tls::Certificate;
use pki::{LocalCa, NamedCertificate, SecretText, private_file};

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
const AUTHORITY_KEY_FILE: &str = "ca.key";
const HASH_FILE: &str = "certificate.spki";

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

/// Whether `chain` is the certificate that [`open`] made in its folder, so that it can be made again with another name.
pub fn is_ours(chain: &Path) -> bool {
    let folder = chain.parent().unwrap_or(Path::new(""));
    let is_there = |name: &str| folder.join(name).is_file();
    chain.file_name().is_some_and(|name| name == CHAIN_FILE)
        && [AUTHORITY_FILE, AUTHORITY_KEY_FILE, KEY_FILE, HASH_FILE].into_iter().all(is_there)
}

/// Makes the certificate in `folder` again, for `name` too. Its key stays, so that a browser that was told to trust it
/// goes on. Gives the new chain; [`keep`] writes it.
///
/// # Errors
/// What lies there is not what [`open`] made, or the authority is not good for the name.
pub fn with_name(folder: &Path, name: &str) -> Result<String> {
    let authority = authority(folder, "", &[])?;
    let named = NamedCertificate {
        name: CHAIN_FILE.to_owned(),
        chain_pem: fs::read_to_string(folder.join(CHAIN_FILE))?,
        key_pem: SecretText::new(fs::read_to_string(folder.join(KEY_FILE))?),
    };
    let parsed: Certificate = named.parse()?;
    let mut names: Vec<String> = parsed.names().collect();
    names.push(name.to_owned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let now = SystemClock::default().now();
    Ok(authority.reissue_server(&named.key_pem, &names, now, CERTIFICATE_LIFE)?.chain_pem)
}

/// Puts a chain made by [`with_name`] in the place of the old one, whole or not at all.
///
/// # Errors
/// The system refuses; then the old one is there.
pub fn keep(folder: &Path, chain_pem: &str) -> Result<()> {
    let (next, chain) = (folder.join("certificate.pem.new"), folder.join(CHAIN_FILE));
    fs::write(&next, chain_pem).with_context(|| format!("cannot write `{}`", next.display()))?;
    fs::rename(&next, &chain).with_context(|| format!("cannot replace `{}`", chain.display()))
}

fn authority(folder: &Path, title: &str, permitted: &[&str]) -> Result<LocalCa> {
    let (certificate, key) = (folder.join(AUTHORITY_FILE), folder.join(AUTHORITY_KEY_FILE));
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
    let [chain, key, hash] = [CHAIN_FILE, KEY_FILE, HASH_FILE].map(|name| folder.join(name));
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
