//! What makes a process a gateway: its key and certificate, sealed in its own data folder, and how it got them.
//!
//! Invariants: the control plane is known by the pin in the token before the token is shown to it, and by the internal
//! authority from then on; the next certificate is asked for at half life, with another key, by proof of the old one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use data_encoding::BASE64URL_NOPAD;
use feed::{Ask, Down, Hello, Purpose, Reply, Up};
use model::{Clock, Timestamp};
use pki::SecretText;
use pki::svid::{IdentityKey, validity_of, verified_leaf};
use pki::tls::identity::{Identity, Trust, control_name, gateway_config};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::uplink::Uplink;
use crate::roles::keys::Vault;
use crate::roles::line::{self, LineReader};

/// How long connecting and the first answer may take.
pub(super) const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// How long the control plane may take for a certificate.
const RENEW_LIMIT: Duration = Duration::from_secs(10);
/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 256;

const NAME: &str = "gateway-identity";

/// A gateway's identity.
pub(super) struct Joined {
    /// Its name.
    pub(super) name: String,
    /// Where the control plane is, `host:port`.
    pub(super) control: String,
    /// PEM of the internal authority.
    pub(super) ca_pem: String,
    /// PEM of the certificate.
    pub(super) chain_pem: String,
    /// PEM of its key.
    pub(super) key_pem: SecretText,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    control: String,
    ca: String,
    chain: String,
    key: String,
}

impl Joined {
    /// What is kept.
    ///
    /// # Errors
    /// The process has not joined.
    pub(super) async fn load(vault: &Vault) -> Result<Self> {
        let kept = vault.named(NAME).await?.context(
            "this is no gateway yet; make a token with `countersign gateway token NAME` where the control plane runs, and \
             use it here with `countersign gateway join`",
        )?;
        let Kept { name, control, ca, chain, key } = serde_json::from_slice(kept.expose())?;
        Ok(Self { name, control, ca_pem: ca, chain_pem: chain, key_pem: SecretText::new(key) })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The store.
    pub(super) async fn keep(&self, vault: &Vault) -> Result<()> {
        let kept = Kept {
            name: self.name.clone(),
            control: self.control.clone(),
            ca: self.ca_pem.clone(),
            chain: self.chain_pem.clone(),
            key: self.key_pem.expose().to_owned(),
        };
        vault.keep_named(NAME, &Zeroizing::new(serde_json::to_vec(&kept)?)).await
    }

    /// Connects and proves who it is.
    ///
    /// # Errors
    /// The control plane is out of reach, or not the one this gateway joined.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let identity = Identity { chain_pem: self.chain_pem.clone(), key_pem: self.key_pem.clone() };
        connect(&self.control, &identity, Trust::Authority(self.ca_pem.clone())).await
    }

    /// Whether half of the certificate's life is over.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        validity_of(&self.chain_pem).is_none_or(|(from, to)| now.since(from) * 2 >= to.since(from))
    }

    /// The same gateway with its next key and certificate.
    ///
    /// # Errors
    /// The control plane does not answer or refuses.
    pub(super) async fn renewed(&self, uplink: &Uplink, now: Timestamp) -> Result<Self> {
        let key = IdentityKey::generate()?;
        let (_, proof) = key.proof(now)?;
        match uplink.ask(Ask::Renew { proof }, RENEW_LIMIT).await {
            Some(Reply::Certificate { chain_pem, ca_pem }) => Ok(Self {
                name: self.name.clone(),
                control: self.control.clone(),
                ca_pem,
                chain_pem,
                key_pem: key.pem(),
            }),
            Some(Reply::Refused(why)) => bail!("the control plane gives no certificate: {why}"),
            _ => bail!("the control plane does not answer"),
        }
    }
}

/// Joins: a key, and for it a certificate. Gives the identity; the caller keeps it.
///
/// # Errors
/// In words for whoever types the command.
pub(super) async fn join(control: &str, token: &str, clock: &Arc<dyn Clock>) -> Result<Joined> {
    let address = address_of(control)?;
    let pin = pin_of(token).ok_or_else(|| anyhow!("this is no token of `countersign gateway token`; copy it whole"))?;
    let (key, now) = (IdentityKey::generate()?, clock.now());
    let identity = Identity { chain_pem: key.proof(now)?.0, key_pem: key.pem() };
    let stream = connect(&address, &identity, Trust::Pin(pin)).await?;
    let (reading, writing) = tokio::io::split(stream);
    let purpose = Purpose::Join { token: Zeroizing::new(token.to_owned()) };
    let hello = Hello { protocol: feed::PROTOCOL, software: env!("CARGO_PKG_VERSION").to_owned(), purpose };
    let ((urgent, urgent_out), (bulk, bulk_out)) = (tokio::sync::mpsc::channel(1), tokio::sync::mpsc::channel(1));
    let writer = tokio::spawn(line::write(writing, vec![Up::Hello(hello)], urgent_out, bulk_out));
    let answer = LineReader::new(reading).next::<Down>(GREETING_LIMIT).await;
    drop((urgent, bulk));
    writer.abort();
    match answer? {
        Down::Reply { reply: Reply::Certificate { chain_pem, ca_pem }, .. } => {
            let der = CertificateDer::from_pem_slice(chain_pem.as_bytes())?;
            let (id, _) = verified_leaf(&der)?;
            let name = id.as_str().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(Joined { name, control: address, ca_pem, chain_pem, key_pem: key.pem() })
        }
        Down::Refused(why) => bail!("the control plane refuses: {why}"),
        _ => bail!("the control plane answers something else than a certificate"),
    }
}

async fn connect(address: &str, identity: &Identity, trust: Trust) -> Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(gateway_config(identity, trust)?);
    let name = control_name().context("no name for the control plane")?;
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true).ok();
        connector.connect(name, stream).await
    };
    let connected = tokio::time::timeout(GREETING_LIMIT, connecting).await;
    let connected = connected.map_err(|_| anyhow!("`{address}` does not answer"))?;
    connected.with_context(|| format!("no connection to the control plane at `{address}`"))
}

fn address_of(control: &str) -> Result<String> {
    let address = control.strip_prefix("https://").unwrap_or(control).trim_end_matches('/');
    let is_whole = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !is_whole || address.contains('/') {
        bail!("`{control}` is not where a control plane takes gateways; write https://host:port");
    }
    Ok(address.to_owned())
}

fn pin_of(token: &str) -> Option<[u8; 32]> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (_, pin) = token.rsplit_once('.')?;
    BASE64URL_NOPAD.decode(pin.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_nothing_behind_it() {
        assert_eq!(address_of("https://control.test:8444/").unwrap(), "control.test:8444");
        assert_eq!(address_of("[::1]:8444").unwrap(), "[::1]:8444");
        for bad in ["https://control.test", "https://control.test:8444/x", ":8444", "https://h:99999"] {
            assert!(address_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_without_its_pin_is_none() {
        let pin = BASE64URL_NOPAD.encode(&[7; 32]);
        assert_eq!(pin_of(&format!("secret.{pin}")), Some([7; 32]));
        assert_eq!(pin_of("secret"), None);
        assert_eq!(pin_of(&format!("secret.{pin}AA")), None);
        assert_eq!(pin_of(&format!("{}.{pin}", "x".repeat(MAX_TOKEN_BYTES))), None);
    }
}
