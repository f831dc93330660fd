//! Password and one-time codes, always together (ID-11, ID-14, ID-15; R-15): setting them, signing in, stepping up.
//! There is no sign-in with one of them, and no setting of one of them. Off unless the operator turns it on.
//!
//! Invariants: an unknown person, one without password, a wrong password and a wrong code are refused alike and cost
//! the same hash and the same write; an attempt counts before it is looked at; a code is accepted once, the one that
//! confirmed the enrolment included; after [`MAX_CODE_FAILURES`] wrong codes only another factor helps.

mod refusal;
mod setting;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::directory::ADMINS_GROUP;
use model::{Session, SessionId, Timestamp, TokenHash, UserEntry, UserId, UserState};
use pki::Sealer;
use pki::seal::column_aad;

pub use self::refusal::{PairFailure, PairRefusal};
use crate::blocklist::{self, Context};
use crate::hash_pool::HashPool;
use crate::links::Links;
use crate::passkeys::{PasskeyRefusal, Passkeys, SignedIn};
use crate::password_hash::{self, HashCost, OUTPUT_BYTES, Password, SALT_BYTES};
use crate::people::People;
use crate::sensitive::Standing;
use crate::store::{DirectoryChange, Factors, PasswordRow, StoreError, TotpRow};
use crate::throttle::{AccountKey, Throttle};
use crate::totp::TotpSecret;

/// The level password and one-time code prove together (ID-13).
pub const ACR_PAIR: &str = "urn:countersign:acr:mfa";
/// The methods they are (RFC 8176).
pub const AMR_PAIR: [&str; 3] = ["mfa", "otp", "pwd"];
/// The methods password and security key are together.
pub const AMR_KEY: [&str; 3] = ["mfa", "pop", "pwd"];
/// The fewest an operator may ask for.
pub const LEAST_MIN_PASSWORD_CHARS: usize = 8;
/// Wrong codes in a row after which another factor is needed.
pub const MAX_CODE_FAILURES: u32 = 10;
/// How long a secret that was shown waits for its first code.
pub const OFFER_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The most secrets that wait at once; of more the oldest give way.
pub const MAX_OFFERS: usize = 4_096;
/// The longest address that is looked up.
const MAX_EMAIL_CHARS: usize = 254;
/// What the sealer of one-time-code secrets is made for.
pub const SEAL_PURPOSE: &str = "totp";

/// What the operator says about passwords.
#[derive(Clone, Debug)]
pub struct PasswordRules {
    /// Whether there are passwords at all.
    pub is_enabled: bool,
    /// The fewest code points, at least [`LEAST_MIN_PASSWORD_CHARS`].
    pub min_chars: usize,
    /// Administrators need a passkey (ID-11).
    pub admins_need_passkey: bool,
    /// How much work a hash is.
    pub cost: HashCost,
    /// What authenticator apps show; also a word no password may be made of.
    pub issuer: String,
    /// Other names of this place that no password may be made of.
    pub names: Vec<String>,
}

/// For whom a pair is set: who signed in, or who holds a link.
#[derive(Clone, Copy)]
pub enum Setter<'a> {
    /// The holder of the link with this secret.
    Link(&'a str),
    /// Whoever is signed in.
    Session(&'a Session),
}

/// The secret of one-time codes, shown once.
pub struct TotpOffer {
    /// For typing: base32.
    pub base32: zeroize::Zeroizing<String>,
    /// For apps: `otpauth://…`.
    pub uri: zeroize::Zeroizing<String>,
}

/// What is proven beside the password.
#[derive(Clone, Copy)]
pub enum Second<'a> {
    /// A one-time code.
    Code(&'a str),
    /// A security key's answer to [`Passkeys::start_second_factor`], asked in this browser.
    Key {
        /// Where it was asked.
        keys: &'a Passkeys,
        /// The hash of the browser's login-binding cookie.
        login: TokenHash,
        /// What the browser posted.
        answer: &'a [u8],
    },
}

/// What a person has, as they see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PairView {
    /// When the password was set.
    pub set_at: Timestamp,
    /// Too many wrong codes: another factor first.
    pub is_locked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Link(TokenHash),
    Session(SessionId),
}

/// The service.
pub struct Passwords {
    people: Arc<People>,
    links: Links,
    throttle: Arc<Throttle>,
    sealer: Sealer,
    rules: PasswordRules,
    pool: HashPool,
    /// What the password of somebody who has none is compared with.
    decoy: String,
    offers: Mutex<HashMap<Owner, (Timestamp, TotpSecret)>>,
}

impl Passwords {
    /// Over this directory, behind this throttle. `sealer` is made for [`SEAL_PURPOSE`].
    ///
    /// # Errors
    /// The cost of a hash is none that argon2 knows.
    pub fn new(
        people: Arc<People>,
        throttle: Arc<Throttle>,
        sealer: Sealer,
        rules: PasswordRules,
    ) -> Result<Self, password_hash::HashError> {
        let (mut salt, mut output) = ([0; SALT_BYTES], [0; OUTPUT_BYTES]);
        people.ids().fill_random(&mut salt);
        people.ids().fill_random(&mut output);
        let decoy = password_hash::decoy(&salt, &output, rules.cost)?;
        let links = Links::new(Arc::clone(&people));
        let (pool, offers) = (HashPool::default(), Mutex::default());
        Ok(Self { people, links, throttle, sealer, rules, pool, decoy, offers })
    }

    /// Whether there are passwords at all.
    pub fn is_enabled(&self) -> bool {
        self.rules.is_enabled
    }

    /// The fewest code points of a password.
    pub fn min_chars(&self) -> usize {
        self.rules.min_chars.max(LEAST_MIN_PASSWORD_CHARS)
    }

    /// What a person has; `None` without a whole pair.
    ///
    /// # Errors
    /// The store.
    pub async fn view(&self, user: UserId) -> Result<Option<PairView>, PairRefusal> {
        let factors = self.people.store().factors_of(user).await?;
        let (Some(password), Some(totp)) = (factors.password, factors.totp) else { return Ok(None) };
        Ok(Some(PairView { set_at: password.set_at, is_locked: totp.failures >= MAX_CODE_FAILURES }))
    }

    /// Verifies address, password and code, and says who signed in. The caller opens the session. `device` is the hash
    /// of the browser's binding cookie.
    ///
    /// # Errors
    /// [`PairRefusal::Wrong`] for everything a stranger could learn from; throttled; the pool is full;
    /// [`PairRefusal::AdminsNeedPasskey`] after a good proof.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &str,
        second: Second<'_>,
        from: IpAddr,
        device: Option<TokenHash>,
    ) -> Result<SignedIn, PairFailure> {
        self.check_enabled()?;
        let email: String = email.trim().chars().take(MAX_EMAIL_CHARS).collect();
        let entry = self.people.directory().find(&email).cloned();
        let about = |why: PairRefusal| PairFailure { why, user: entry.as_ref().map(|entry| entry.id) };
        let user = entry.as_ref().map_or(UserId(uuid::Uuid::nil()), |entry| entry.id);
        let factors = self.people.store().factors_of(user).await.map_err(|error| about(error.into()))?;
        let nobody = AccountKey::PairOfNobody(TokenHash::of(email.to_ascii_lowercase().as_bytes()));
        let lane = match (&entry, device.filter(|device| factors.devices.contains(device))) {
            (Some(_), Some(device)) => AccountKey::PairOnDevice(user, device),
            (Some(_), None) => AccountKey::Pair(user),
            (None, _) => nobody,
        };
        self.throttle.begin_guess(lane, from, self.people.now()).map_err(|error| about(error.into()))?;
        let key = self.verify(user, entry.as_deref(), &factors, password, second).await.map_err(about)?;
        let Some(entry) = &entry else { return Err(PairRefusal::Wrong.into()) };
        if self.rules.admins_need_passkey && self.is_admin(entry) {
            return Err(about(PairRefusal::AdminsNeedPasskey));
        }
        self.throttle.succeeded(lane, from);
        if let Some(device) = device {
            let known = DirectoryChange::KnowDevice { user, device, at: self.people.now() };
            self.people.store().apply(None, vec![known]).await.map_err(|error| about(error.into()))?;
        }
        Ok(match key {
            Some(credential) => with_key(entry, credential),
            None => signed_in(entry),
        })
    }

    /// The same for the person of a session. Whoever notes the step-up must not call it a passkey's.
    ///
    /// # Errors
    /// As [`Passwords::sign_in`].
    pub async fn step_up(
        &self,
        session: &Session,
        password: &str,
        code: &str,
        from: IpAddr,
        device: Option<TokenHash>,
    ) -> Result<SignedIn, PairFailure> {
        let entry = self.people.directory().users.get(&session.user).cloned();
        let entry = entry.ok_or(PairRefusal::Wrong)?;
        self.sign_in(&entry.email, password, Second::Code(code), from, device).await
    }

    /// Verifies the code of the authenticator alone, for a recovery (ID-6): it proves nothing by itself.
    ///
    /// # Errors
    /// [`PairRefusal::Wrong`]; throttled.
    pub(crate) async fn verify_code(&self, user: UserId, code: &str, from: IpAddr) -> Result<(), PairRefusal> {
        let lane = AccountKey::Pair(user);
        self.throttle.begin_guess(lane, from, self.people.now())?;
        let factors = self.people.store().factors_of(user).await?;
        let Some(totp) = factors.totp else { return Err(PairRefusal::Wrong) };
        self.spend_code(&totp, code).await?;
        self.throttle.succeeded(lane, from);
        Ok(())
    }

    /// What a person can prove with now.
    ///
    /// # Errors
    /// The store.
    pub async fn standing(&self, user: UserId) -> Result<Standing, StoreError> {
        standing(&self.people, user).await
    }

    /// Equal work and equal refusal, whatever is wrong. Gives the handle of the security key, where one was used.
    async fn verify(
        &self,
        user: UserId,
        entry: Option<&UserEntry>,
        factors: &Factors,
        typed: &str,
        second: Second<'_>,
    ) -> Result<Option<String>, PairRefusal> {
        let stored = factors.password.as_ref().map_or(&self.decoy, |row| &row.hash).clone();
        let password = Password::new(typed);
        let is_readable = password.is_some();
        let password = match password {
            Some(password) => password,
            None => Password::new("").ok_or(PairRefusal::Wrong)?,
        };
        let work = password.clone();
        let is_good = self.pool.run(move || password_hash::verify(&stored, &work)).await?;
        let may = is_good.unwrap_or(false) && is_readable && entry.is_some_and(|e| e.state == UserState::Active);
        let (Some(row), Some(totp), true) = (&factors.password, &factors.totp, may) else {
            // A good password costs a write before its code is looked at; so does a bad one.
            self.people
                .store()
                .apply(None, vec![DirectoryChange::ClearTotpFailures(UserId(uuid::Uuid::nil()))])
                .await?;
            return Err(PairRefusal::Wrong);
        };
        let key = match second {
            Second::Code(code) => self.spend_code(totp, code).await.map(|()| None)?,
            Second::Key { keys, login, answer } => {
                let proven = keys.prove_second_factor(user, login, answer).await;
                Some(proven.map_err(|why| match why {
                    PasskeyRefusal::People(error) => PairRefusal::People(error),
                    _ => PairRefusal::Wrong,
                })?)
            }
        };
        if !password_hash::is_current(&row.hash, self.rules.cost) {
            self.rehash(user, row, password).await;
        }
        Ok(key)
    }

    /// Counts, compares, and takes the code out of use.
    async fn spend_code(&self, totp: &TotpRow, code: &str) -> Result<(), PairRefusal> {
        let user = totp.user;
        let attempt = DirectoryChange::TryTotp { user, most: MAX_CODE_FAILURES };
        self.people.store().apply(None, vec![attempt]).await.map_err(wrong_if_moved)?;
        let secret = self.unseal(totp)?;
        let step = secret.accepted_step(code, self.people.now()).filter(|step| *step > totp.last_step);
        let step = step.ok_or(PairRefusal::Wrong)?;
        let accept = DirectoryChange::AcceptTotp { user, was: totp.last_step, step };
        self.people.store().apply(None, vec![accept]).await.map_err(wrong_if_moved)?;
        Ok(())
    }

    /// A hash that was taken over, or made at another cost, gives way to one of ours. Somebody faster is fine.
    async fn rehash(&self, user: UserId, row: &PasswordRow, password: Password) {
        let Ok(hash) = self.hash(password).await else { return };
        let new = PasswordRow { user, hash, set_at: row.set_at };
        let change = DirectoryChange::PutPassword { row: new, was: Some(row.hash.clone()) };
        // Not done now is done at the next sign-in.
        self.people.store().apply(None, vec![change]).await.ok();
    }

    async fn hash(&self, password: Password) -> Result<String, PairRefusal> {
        let mut salt = [0; SALT_BYTES];
        self.people.ids().fill_random(&mut salt);
        let cost = self.rules.cost;
        let hash = self.pool.run(move || password_hash::hash(&password, &salt, cost)).await?;
        hash.map_err(|_| PairRefusal::Unreadable)
    }

    /// A password that may be set for this person.
    fn new_password(&self, typed: &str, email: &str, name: &str) -> Result<Password, PairRefusal> {
        let password = Password::new(typed).ok_or(PairRefusal::TooLong)?;
        if password.chars() < self.min_chars() {
            return Err(PairRefusal::TooShort { min: self.min_chars() });
        }
        let names = [self.rules.issuer.as_str(), email, name];
        let context = Context::of(names.into_iter().chain(self.rules.names.iter().map(String::as_str)));
        blocklist::check(password.expose(), &context)?;
        Ok(password)
    }

    fn seal(&self, user: UserId, secret: &TotpSecret) -> Result<Vec<u8>, PairRefusal> {
        let sealed = self.sealer.seal(&aad(user), secret.expose(), self.people.ids());
        sealed.map_err(|_| PairRefusal::Unreadable)
    }

    fn unseal(&self, row: &TotpRow) -> Result<TotpSecret, PairRefusal> {
        let opened = self.sealer.open(&aad(row.user), &row.sealed).map_err(|_| PairRefusal::Unreadable)?;
        TotpSecret::from_bytes(opened.expose()).ok_or(PairRefusal::Unreadable)
    }

    /// Those included who will administer once they have enrolled, or saved their recovery codes.
    fn is_admin(&self, entry: &UserEntry) -> bool {
        let is_in = entry.groups.iter().any(|group| group.as_str() == ADMINS_GROUP);
        is_in || self.people.administrators().contains(&entry.id)
    }

    fn check_enabled(&self) -> Result<(), PairRefusal> {
        if self.rules.is_enabled { Ok(()) } else { Err(PairRefusal::Off) }
    }

    fn offers(&self) -> MutexGuard<'_, HashMap<Owner, (Timestamp, TotpSecret)>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The level is that of the pair: a key that asks nobody anything does not tell its owner from a thief.
fn with_key(entry: &UserEntry, credential: String) -> SignedIn {
    let amr = AMR_KEY.iter().map(|method| (*method).to_owned()).collect();
    SignedIn { amr, credential, ..signed_in(entry) }
}

/// What a person can prove with now.
pub(crate) async fn standing(people: &People, user: UserId) -> Result<Standing, StoreError> {
    let store = people.store();
    let factors = store.factors_of(user).await?;
    Ok(Standing {
        passkeys: store.passkeys_of(user).await?.len(),
        has_pair: factors.password.is_some() && factors.totp.is_some(),
        codes: store.recovery_codes_of(user).await?.len(),
    })
}

fn signed_in(entry: &UserEntry) -> SignedIn {
    SignedIn {
        user: entry.id,
        epoch: entry.epoch,
        acr: ACR_PAIR.to_owned(),
        amr: AMR_PAIR.iter().map(|method| (*method).to_owned()).collect(),
        is_synced: false,
        credential: String::new(),
        notices: Vec::new(),
    }
}

fn aad(user: UserId) -> Vec<u8> {
    column_aad("totps", user.as_bytes(), "sealed", 1)
}

fn wrong_if_moved(error: StoreError) -> PairRefusal {
    match error {
        StoreError::Moved => PairRefusal::Wrong,
        error => error.into(),
    }
}
