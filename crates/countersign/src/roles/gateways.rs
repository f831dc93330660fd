//! Who is a gateway: one-time tokens, certificates of the internal authority, public assertion keys, removal.
//!
//! Everything is kept sealed in the store. Invariants: a token is good for ten minutes and for the key that used it
//! first; only its hash is kept; a certificate counts only while its gateway is listed with that key; no gateway
//! publishes a key under another's id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use api::control::{GatewayControl, GatewayLine, GatewayState, GatewayToken};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use model::{BoxFuture, Clock, Ids, Timestamp, TokenHash};
use pki::svid::{IdentityCa, IdentityKey, ProvenKey, SVID_LIFE, SpiffeId, is_gateway_name};
use pki::tls::identity::{Identity, PeerVerifier, authority_pin};
use pki::{Jwks, Kek, Sealer, SecretText, random_token};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::hub::{DoorStanding, Hub, News};
use super::keys::Vault;

/// How long a token is good.
pub const TOKEN_LIFE: Duration = Duration::from_secs(600);
/// The most gateways of one control plane.
pub const MAX_GATEWAYS: usize = 64;
/// The most assertion keys one of them publishes.
const MAX_KEYS: usize = 8;
/// How many of its own keys a gateway may be between: the one of now and the next.
const MAX_IDENTITY_KEYS: usize = 2;

const CA_NAME: &str = "gateway-authority";
const PREFIX: &str = "gateway/";

/// What is kept of a gateway.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept {
    token: Option<KeptToken>,
    /// Fingerprints of the keys its certificates may be for, oldest first; empty: it has not joined.
    keys: Vec<String>,
    joined: i64,
    jwks: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct KeptToken {
    hash: String,
    expires: i64,
    /// The key of its first use.
    bound: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptCa {
    certificate: String,
    key: String,
}

/// A gateway as requests need it.
struct Known {
    kept: Kept,
    jwks: Jwks,
    sealer: Option<Arc<Sealer>>,
}

/// The gateways.
pub struct Gateways {
    ca: IdentityCa,
    pin: [u8; 32],
    trust_domain: String,
    control: String,
    kek: Arc<Kek>,
    vault: Arc<Vault>,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    known: Mutex<BTreeMap<String, Known>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Somebody's public keys changed.
    pub keys_changed: Notify,
}

/// What gateways are put together from.
pub struct GatewaysParts {
    /// Of SPIFFE IDs.
    pub trust_domain: String,
    /// Where gateways connect, as `https://host:port`, as far as it is known.
    pub control: String,
    /// Keys of gateways are made from it.
    pub kek: Arc<Kek>,
    /// Where everything is kept.
    pub vault: Arc<Vault>,
    /// Tells them.
    pub hub: Arc<Hub>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn Ids>,
}

impl Gateways {
    /// Those that are kept, and the internal authority, made at the first start.
    ///
    /// # Errors
    /// The store, or something sealed under another KEK.
    pub async fn load(parts: GatewaysParts) -> Result<Self> {
        let GatewaysParts { trust_domain, control, kek, vault, hub, clock, ids } = parts;
        let ca = authority(&vault, &trust_domain, clock.now()).await.context("the authority of gateways")?;
        let pin = authority_pin(ca.certificate_pem())?;
        let mut known = BTreeMap::new();
        for (name, value) in vault.all_named(PREFIX).await? {
            let name = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
            let kept: Kept = serde_json::from_slice(value.expose())
                .with_context(|| format!("what is kept of the gateway `{name}` is not readable"))?;
            if !kept.keys.is_empty() {
                hub.add_remote(&name);
            }
            known.insert(name.clone(), known_of(&kek, &name, kept));
        }
        let (known, changing) = (Mutex::new(known), tokio::sync::Mutex::new(()));
        let keys_changed = Notify::new();
        Ok(Self { ca, pin, trust_domain, control, kek, vault, hub, clock, ids, known, changing, keys_changed })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate the control plane shows, for a key made now, and what verifies its clients.
    ///
    /// # Errors
    /// The crypto library.
    pub fn own_identity(&self) -> Result<(Identity, Arc<PeerVerifier>)> {
        let (now, key) = (self.clock.now(), IdentityKey::generate()?);
        let proven = ProvenKey::of(&key.proof(now)?.1)?;
        let leaf = self.ca.issue_control(&SpiffeId::control(&self.trust_domain)?, &proven, now)?;
        let chain_pem = format!("{leaf}{}", self.ca.certificate_pem());
        Ok((Identity { chain_pem, key_pem: key.pem() }, PeerVerifier::new(self.ca.certificate_pem())?))
    }

    /// PEM of the internal authority.
    pub fn ca_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    /// Makes the holder of `key` the gateway its token was made for; a repetition with the same key gets the same. The
    /// name and the certificate (PEM).
    ///
    /// # Errors
    /// In words that say nothing of why a token is no good.
    pub async fn join(&self, token: &str, key: &ProvenKey) -> Result<(String, String), String> {
        let _one = self.changing.lock().await;
        let (now, hash) = (self.clock.now(), HEXLOWER.encode(&TokenHash::of(token.as_bytes()).0));
        let fingerprint = HEXLOWER.encode(&key.fingerprint());
        let found = self.known().iter().find_map(|(name, known)| {
            let token = known.kept.token.as_ref()?;
            let is_ours = token.bound.as_ref().is_none_or(|bound| *bound == fingerprint);
            (token.hash == hash && now.0 < token.expires && is_ours).then(|| (name.clone(), known.kept.clone()))
        });
        let refused = "the token is unknown, used or older than ten minutes; make one with `countersign gateway token`";
        let (name, mut kept) = found.ok_or_else(|| refused.to_owned())?;
        let is_repeated = kept.keys == [fingerprint.clone()];
        if let Some(token) = &mut kept.token {
            token.bound = Some(fingerprint.clone());
        }
        if !is_repeated {
            kept = Kept { keys: vec![fingerprint], joined: now.0, jwks: String::new(), ..kept };
        }
        let chain = self.certificate(&name, key, now)?;
        self.keep(&name, kept).await?;
        if !is_repeated {
            // Whoever had the name before is it no more.
            self.hub.remove_remote(&name);
        }
        self.hub.add_remote(&name);
        Ok((name, chain))
    }

    /// The name of the gateway that shows this identity.
    ///
    /// # Errors
    /// In words: it is none of ours, or no more.
    pub fn admit(&self, id: &SpiffeId, key: &ProvenKey) -> Result<String, String> {
        let name =
            id.gateway_name(&self.trust_domain).ok_or_else(|| format!("`{id}` is not a gateway of this server"))?;
        let fingerprint = HEXLOWER.encode(&key.fingerprint());
        let known = self.known();
        let kept = known.get(name).map(|known| &known.kept);
        match kept.is_some_and(|kept| kept.keys.contains(&fingerprint)) {
            true => Ok(name.to_owned()),
            false => Err(format!("the gateway `{name}` was removed, or another one joined in its place")),
        }
    }

    /// A certificate for the next key of a gateway; the one it is known by now stays good until the next one is used.
    ///
    /// # Errors
    /// In words.
    pub async fn renew(&self, name: &str, current: &ProvenKey, proof: &[u8]) -> Result<String, String> {
        let next = ProvenKey::of(proof).map_err(|error| error.to_string())?;
        let _one = self.changing.lock().await;
        let gone = || format!("the gateway `{name}` was removed");
        let mut kept = self.known().get(name).map(|known| known.kept.clone()).ok_or_else(gone)?;
        let (current, next_print) = (HEXLOWER.encode(&current.fingerprint()), HEXLOWER.encode(&next.fingerprint()));
        if !kept.keys.contains(&current) {
            return Err(gone());
        }
        kept.keys = vec![current, next_print];
        kept.keys.dedup();
        let chain = self.certificate(name, &next, self.clock.now())?;
        self.keep(name, kept).await?;
        Ok(chain)
    }

    /// A gateway connected with `key`: keys before it are good no more. Its public assertion keys are `jwks`.
    ///
    /// # Errors
    /// In words.
    pub async fn arrived(&self, name: &str, key: Option<&ProvenKey>, jwks: &str) -> Result<(), String> {
        let read = Jwks::parse_of(name, jwks).map_err(|error| error.to_string())?;
        if read.kids().count() > MAX_KEYS {
            return Err(format!("a gateway publishes at most {MAX_KEYS} keys"));
        }
        let _one = self.changing.lock().await;
        let gone = || format!("the gateway `{name}` was removed");
        let mut kept = self.known().get(name).map(|known| known.kept.clone()).ok_or_else(gone)?;
        let print = key.map(|key| HEXLOWER.encode(&key.fingerprint()));
        let is_older = |place: Option<usize>| place.is_some_and(|place| place > 0);
        let place = print.as_ref().and_then(|print| kept.keys.iter().position(|known| known == print));
        if !is_older(place) && kept.jwks == jwks {
            return Ok(());
        }
        kept.keys.drain(..place.unwrap_or(0));
        kept.keys.truncate(MAX_IDENTITY_KEYS);
        jwks.clone_into(&mut kept.jwks);
        self.keep(name, kept).await?;
        self.keys_changed.notify_one();
        Ok(())
    }

    /// The key a gateway seals return tickets with.
    ///
    /// # Errors
    /// In words.
    pub fn ticket_key(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let joined = self.known().get(name).map(|known| known.kept.joined);
        let joined = joined.ok_or_else(|| format!("the gateway `{name}` was removed"))?;
        let key = self.kek.subordinate(&subordinate(name, joined)).map_err(|error| error.to_string())?;
        Ok(Zeroizing::new(key.to_vec()))
    }

    fn certificate(&self, name: &str, key: &ProvenKey, now: Timestamp) -> Result<String, String> {
        let id = SpiffeId::gateway(&self.trust_domain, name).map_err(|error| error.to_string())?;
        self.ca.issue(&id, key, now, SVID_LIFE).map_err(|error| error.to_string())
    }

    async fn keep(&self, name: &str, kept: Kept) -> Result<(), String> {
        let json = serde_json::to_vec(&kept).map_err(|error| error.to_string())?;
        self.vault.keep_named(&format!("{PREFIX}{name}"), &json).await.map_err(|error| format!("{error:#}"))?;
        self.known().insert(name.to_owned(), known_of(&self.kek, name, kept));
        Ok(())
    }

    async fn make_token(&self, name: &str) -> Result<GatewayToken, String> {
        if !is_gateway_name(name) || name == super::serve::GATEWAY {
            return Err(format!(
                "`{name}` is not a name for a gateway; use 1 to 63 of a-z, 0-9 and `-`, and not `{}`",
                super::serve::GATEWAY
            ));
        }
        let _one = self.changing.lock().await;
        let mut kept = {
            let known = self.known();
            if known.len() >= MAX_GATEWAYS && !known.contains_key(name) {
                return Err(format!("there are {MAX_GATEWAYS} gateways already; remove one first"));
            }
            known.get(name).map(|known| known.kept.clone()).unwrap_or_default()
        };
        let secret = random_token(self.ids.as_ref());
        let expires = self.clock.now() + TOKEN_LIFE;
        // The pin lets the gateway know this control plane before it has anything to verify it with.
        let token = SecretText::new(format!("{}.{}", secret.expose(), BASE64URL_NOPAD.encode(&self.pin)));
        let hash = HEXLOWER.encode(&TokenHash::of(token.expose().as_bytes()).0);
        kept.token = Some(KeptToken { hash, expires: expires.0, bound: None });
        self.keep(name, kept).await?;
        Ok(GatewayToken { token, control: self.control.clone(), expires })
    }

    async fn take_away(&self, name: &str) -> Result<bool, String> {
        let _one = self.changing.lock().await;
        if !self.known().contains_key(name) {
            return Ok(false);
        }
        self.vault.drop_named(&format!("{PREFIX}{name}")).await.map_err(|error| format!("{error:#}"))?;
        self.known().remove(name);
        self.hub.remove_remote(name);
        self.hub.news().send(News::Left(name.to_owned())).await.ok();
        self.keys_changed.notify_one();
        Ok(true)
    }
}

impl GatewayControl for Gateways {
    fn list(&self) -> Vec<GatewayLine> {
        let (newest, standings) = self.hub.standings();
        let line = |name: &String| {
            let standing = standings.iter().find(|standing| standing.name == *name);
            let ack = standing.and_then(|standing| standing.ack);
            GatewayLine {
                name: name.clone(),
                state: standing.map_or(GatewayState::Invited, |standing| state(standing, &newest)),
                facts: ack.map(|ack| (ack.facts, newest.facts)),
                events: ack.map(|ack| (ack.events, newest.events)),
                heard: standing.and_then(|standing| standing.heard),
                why: standing.and_then(|standing| standing.refused.as_ref().map(|(_, why)| why.clone())),
                software: standing.map(|standing| standing.software.clone()).unwrap_or_default(),
            }
        };
        self.known().keys().map(line).collect()
    }

    fn invite<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<GatewayToken, String>> {
        Box::pin(self.make_token(name))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(self.take_away(name))
    }

    fn keys(&self) -> Jwks {
        self.known().values().fold(Jwks::default(), |all, known| all.union(known.jwks.clone()))
    }

    fn ticket_sealers(&self) -> Vec<Arc<Sealer>> {
        self.known().values().filter_map(|known| known.sealer.clone()).collect()
    }
}

fn state(standing: &DoorStanding, newest: &feed::Position) -> GatewayState {
    match (standing.is_connected, &standing.refused, standing.ack) {
        (false, ..) => GatewayState::Away,
        (true, Some(_), _) => GatewayState::Refuses,
        (true, None, Some(ack)) if ack.facts == newest.facts => GatewayState::Current,
        (true, None, _) => GatewayState::Behind,
    }
}

/// Another one after each joining, so that who had the name before cannot seal for who has it now.
fn subordinate(name: &str, joined: i64) -> String {
    format!("gateway/{name}/{joined}")
}

fn known_of(kek: &Kek, name: &str, kept: Kept) -> Known {
    let sealer = || {
        let key = kek.subordinate(&subordinate(name, kept.joined)).ok()?;
        Kek::from_bytes(&key).ok()?.sealer(pki::return_ticket::PURPOSE).ok().map(Arc::new)
    };
    let sealer = if kept.keys.is_empty() { None } else { sealer() };
    let jwks = Jwks::parse_of(name, &kept.jwks).unwrap_or_default();
    Known { kept, jwks, sealer }
}

async fn authority(vault: &Vault, trust_domain: &str, now: Timestamp) -> Result<IdentityCa> {
    if let Some(stored) = vault.named(CA_NAME).await? {
        let kept: KeptCa = serde_json::from_slice(stored.expose())?;
        return Ok(IdentityCa::load(&kept.certificate, &SecretText::new(kept.key))?);
    }
    let ca = IdentityCa::create(trust_domain, now)?;
    let kept = KeptCa { certificate: ca.certificate_pem().to_owned(), key: ca.key_pem().expose().to_owned() };
    vault.keep_named(CA_NAME, &Zeroizing::new(serde_json::to_vec(&kept)?)).await?;
    Ok(ca)
}
