//! The assertion a door hands to the app (GW-28, GW-29, GW-31): who asks, and for exactly which request.
//!
//! Invariants: an assertion is never made without an ALLOW; unsafe methods get a fresh one each; one that is used
//! again names the same session, sign-in, target and policies, and has at least [`REUSE_MIN_LEFT`] to live.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use data_encoding::BASE64URL_NOPAD;
use model::app::AssertionSettings;
use model::directory::UserEntry;
use model::{Decision, DecisionId, GroupId, Ids, ServiceEntry, ServiceTokenId, Session, Timestamp};
use pki::jose::KeyRing;
use pki::jose::assertion::{AssertionClaims, MAX_LIFE, RequestClaim, SubjectKind, TYP};
use sha2::{Digest, Sha256};

/// The header it travels in.
pub const HEADER: &str = "x-countersign-assertion";
/// How long an assertion that is used again must still live (GW-28).
pub const REUSE_MIN_LEFT: Duration = Duration::from_secs(30);
/// How many assertions are kept for re-use, twice over.
pub const REUSE_MAX: usize = 4096;

/// Makes assertions and keeps some for reads of the same thing.
pub(crate) struct Assertions {
    keys: Arc<ArcSwap<KeyRing>>,
    shelf: ArcSwap<Shelf>,
}

/// A signed assertion.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) token: Arc<str>,
    pub(crate) jti: Arc<str>,
    expires: Timestamp,
}

/// What an assertion is about.
pub(crate) struct Subject<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) app: &'a str,
    pub(crate) settings: &'a AssertionSettings,
    pub(crate) who: Who<'a>,
    pub(crate) decision: &'a Decision,
    pub(crate) decision_id: DecisionId,
    pub(crate) trace_id: &'a str,
    pub(crate) method: &'a str,
    /// As sent upstream.
    pub(crate) authority: &'a str,
    /// As sent upstream, `path?query`.
    pub(crate) target: &'a str,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    /// A person who signed in.
    Person { user: &'a UserEntry, session: &'a Session },
    /// A service account with its token.
    Service { service: &'a ServiceEntry, token: ServiceTokenId },
}

type Key = [u8; 32];

/// Two maps of bounded size: when the newer is full it becomes the older, and the older is forgotten.
#[derive(Default)]
struct Shelf {
    newer: Arc<papaya::HashMap<Key, Signed>>,
    older: Arc<papaya::HashMap<Key, Signed>>,
}

impl Assertions {
    pub(crate) fn new(keys: Arc<ArcSwap<KeyRing>>) -> Self {
        Self { keys, shelf: ArcSwap::from_pointee(Shelf::default()) }
    }

    /// The assertion for this request.
    ///
    /// # Errors
    /// [`pki::jose::KeyError`]: refuse the request.
    pub(crate) fn make(
        &self,
        subject: &Subject<'_>,
        ids: &dyn Ids,
        now: Timestamp,
    ) -> Result<Signed, pki::jose::KeyError> {
        if !matches!(subject.method, "GET" | "HEAD") {
            return self.sign(subject, ids, now);
        }
        let keys = self.keys.load();
        let key = reuse_key(subject, keys.current(now).kid());
        if let Some(signed) = self.shelf.load().find(&key)
            && now + REUSE_MIN_LEFT <= signed.expires
        {
            return Ok(signed);
        }
        let signed = self.sign(subject, ids, now)?;
        self.keep(key, signed.clone());
        Ok(signed)
    }

    fn sign(&self, subject: &Subject<'_>, ids: &dyn Ids, now: Timestamp) -> Result<Signed, pki::jose::KeyError> {
        let mut jti = [0; 16];
        ids.fill_random(&mut jti);
        let jti = BASE64URL_NOPAD.encode(&jti);
        let claims = claims(subject, jti.clone(), now);
        let token = self.keys.load().sign(TYP, &claims, now)?;
        Ok(Signed { token: Arc::from(token), jti: Arc::from(jti), expires: Timestamp::from_unix_secs(claims.exp) })
    }

    fn keep(&self, key: Key, signed: Signed) {
        let shelf = self.shelf.load();
        if shelf.newer.len() >= REUSE_MAX {
            // Two requests may both do this; then one map is forgotten early, which costs a signature.
            let next = Shelf { newer: Arc::default(), older: Arc::clone(&shelf.newer) };
            next.newer.pin().insert(key, signed);
            self.shelf.store(Arc::new(next));
            return;
        }
        shelf.newer.pin().insert(key, signed);
    }
}

impl Shelf {
    fn find(&self, key: &Key) -> Option<Signed> {
        if let Some(signed) = self.newer.pin().get(key) {
            return Some(signed.clone());
        }
        self.older.pin().get(key).cloned()
    }
}

fn claims(subject: &Subject<'_>, jti: String, now: Timestamp) -> AssertionClaims {
    let decision = subject.decision;
    let target = subject.settings.binding.binds_target.then_some(subject.target);
    let iat = now.unix_secs();
    let claims = AssertionClaims {
        iss: subject.issuer.to_owned(),
        aud: subject.app.to_owned(),
        sub: String::new(),
        kind: SubjectKind::User,
        name: None,
        email: None,
        groups: None,
        groups_overage: false,
        acr: String::new(),
        amr: Vec::new(),
        auth_time: iat,
        sid: String::new(),
        device: None,
        act: None,
        req: RequestClaim::new(subject.method, subject.authority, target),
        dec: subject.decision_id.to_string(),
        pol: decision.pins.policy_hash.to_string(),
        trace: subject.trace_id.to_owned(),
        iat,
        exp: iat.saturating_add(i64::try_from(MAX_LIFE.as_secs()).unwrap_or(0)),
        jti,
    };
    let wanted = &subject.settings.groups;
    match subject.who {
        Who::Person { user, session } => AssertionClaims {
            sub: user.id.to_string(),
            name: Some(user.name.clone()),
            email: Some(user.email.clone()),
            acr: session.acr.clone(),
            amr: session.amr.iter().cloned().collect(),
            auth_time: session.auth_time.unix_secs(),
            sid: session.id.to_string(),
            ..claims
        }
        .with_groups(named_groups(&user.groups, wanted)),
        // The token proves itself with every request, so that is when it was proven; there is no session.
        Who::Service { service, token } => AssertionClaims {
            sub: service.principal().to_string(),
            kind: SubjectKind::Service,
            name: Some(service.title.clone()),
            sid: token.to_string(),
            ..claims
        }
        .with_groups(named_groups(&service.groups, wanted)),
    }
}

/// The groups the app asks for: exact names, or a beginning followed by one `*`; no list means all.
pub(crate) fn named_groups(groups: &[GroupId], wanted: &[String]) -> Vec<String> {
    let is_wanted = |group: &str| {
        wanted.is_empty()
            || wanted.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => group.starts_with(start),
                None => group == pattern,
            })
    };
    groups.iter().map(|group| group.as_str()).filter(|group| is_wanted(group)).map(str::to_owned).collect()
}

/// Everything an assertion says beside time, ids and trace, with lengths so that no two requests share a key.
fn reuse_key(subject: &Subject<'_>, kid: &str) -> Key {
    let decision = subject.decision;
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    };
    match subject.who {
        Who::Person { session, .. } => {
            add(session.id.as_bytes());
            add(&session.auth_time.0.to_be_bytes());
            add(session.acr.as_bytes());
        }
        Who::Service { service, token } => {
            add(b"service");
            add(token.as_bytes());
            add(service.name.as_bytes());
        }
    }
    add(subject.app.as_bytes());
    add(subject.method.as_bytes());
    add(subject.authority.as_bytes());
    add(subject.target.as_bytes());
    add(&decision.pins.policy_hash.0);
    add(&decision.pins.entities_version.to_be_bytes());
    add(kid.as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::jose::SigningKey;

    #[test]
    fn what_is_kept_for_reuse_is_bounded() {
        let ring = KeyRing::new(SigningKey::generate("gw").unwrap(), Timestamp(0));
        let assertions = Assertions::new(Arc::new(ArcSwap::from_pointee(ring)));
        let signed = Signed { token: Arc::from("t"), jti: Arc::from("j"), expires: Timestamp(0) };
        let key = |number: usize| -> Key { Sha256::digest(number.to_be_bytes()).into() };
        for number in 0..3 * REUSE_MAX {
            assertions.keep(key(number), signed.clone());
        }
        let shelf = assertions.shelf.load();
        assert!(shelf.newer.len() + shelf.older.len() <= 2 * REUSE_MAX);
        assert!(shelf.find(&key(3 * REUSE_MAX - 1)).is_some(), "the newest is kept");
        assert!(shelf.find(&key(0)).is_none(), "the oldest is forgotten");
    }
}
