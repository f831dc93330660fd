//! Recovery codes (ID-5; SP 800-63B-4 §4.2.1.1): ten codes of 80 bits, shown once, each good for one use.
//! A code alone never signs anybody in (ID-6, ID-11): this makes and verifies codes; what they open is decided in
//! [`crate::recovery`].
//!
//! Invariants: unknown people, disabled people and wrong codes are refused alike; every attempt passes the throttle;
//! a code belongs to one person and to no other account.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Ids, Session, TokenHash, UserId, UserState};
use subtle::ConstantTimeEq;

use crate::notices::notice;
use crate::passwords::standing;
use crate::people::{People, PeopleError};
use crate::secret::Secret;
use crate::sensitive::{SensitiveRefusal, check_fresh};
use crate::store::{DirectoryChange, NoticeKind, StoreError};
use crate::throttle::{AccountKey, Throttle, Throttled};

/// How many codes a person has.
pub const CODES: usize = 10;
/// Random bytes of a code: 80 bit, where 64 are asked for.
pub const CODE_BYTES: usize = 10;
/// Characters between two dashes of the printed form.
const GROUP_CHARS: usize = 4;
/// The longest address that is looked up.
const MAX_EMAIL_CHARS: usize = 254;

/// A recovery code. Shown once.
pub struct RecoveryCode(Secret);

impl RecoveryCode {
    /// As printed: `abcd-efgh-ijkl-mnop`. Case, dashes and spaces do not count when it is typed.
    pub fn expose(&self) -> String {
        let chars: Vec<char> = self.0.expose().chars().collect();
        let groups: Vec<String> = chars.chunks(GROUP_CHARS).map(|group| group.iter().collect()).collect();
        groups.join("-")
    }
}

/// A code that fits.
pub(crate) struct GoodCode {
    /// Whose.
    pub(crate) user: UserId,
    /// Its hash.
    pub(crate) spent: TokenHash,
    lane: AccountKey,
}

/// Why a code is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodeRefusal {
    /// The directory.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The proof is too old or too weak (ID-7), or the sign-in ended.
    #[error(transparent)]
    Sensitive(#[from] SensitiveRefusal),
    /// Too many attempts.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Wrong code, used code, unknown address or disabled account: all alike.
    #[error("address and recovery code do not belong together; check both, or ask an administrator")]
    Wrong,
}

impl From<StoreError> for CodeRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::SignInEnded => CodeRefusal::Sensitive(SensitiveRefusal::Ended),
            error => CodeRefusal::People(error.into()),
        }
    }
}

/// Makes and spends codes.
pub struct RecoveryCodes {
    people: Arc<People>,
    throttle: Arc<Throttle>,
}

impl RecoveryCodes {
    /// Over this directory, behind this throttle.
    pub fn new(people: Arc<People>, throttle: Arc<Throttle>) -> Self {
        Self { people, throttle }
    }

    /// Makes ten new codes for whoever is signed in; all earlier ones are void.
    ///
    /// # Errors
    /// The sign-in is not fresh (ID-7) or ended meanwhile, or the store.
    pub async fn regenerate(&self, session: &Session) -> Result<Vec<RecoveryCode>, CodeRefusal> {
        let user = session.user;
        check_fresh(session, standing(&self.people, user).await?, self.people.now())?;
        let (codes, change) = fresh_codes(user, self.people.ids());
        let told = notice(&self.people, user, NoticeKind::CodesRenewed, "");
        let still = DirectoryChange::RequireSignIn(session.into());
        self.people.store().apply(None, vec![still, change, told]).await?;
        Ok(codes)
    }

    /// How many codes a person has left.
    ///
    /// # Errors
    /// The store.
    pub async fn left(&self, user: UserId) -> Result<usize, CodeRefusal> {
        Ok(self.people.store().recovery_codes_of(user).await?.len())
    }

    /// Whether address and code belong together. Takes nothing away: the caller takes the code out of use in the
    /// transaction that relies on it. `device` is the hash of the browser's binding cookie.
    ///
    /// # Errors
    /// [`CodeRefusal::Wrong`] for everything a stranger could learn from; throttled.
    pub(crate) async fn verify(
        &self,
        email: &str,
        code: &str,
        from: IpAddr,
        device: Option<TokenHash>,
    ) -> Result<GoodCode, CodeRefusal> {
        let email: String = email.trim().chars().take(MAX_EMAIL_CHARS).collect();
        let entry = self.people.directory().find(&email).cloned();
        // An unknown person costs the same reads and the same comparisons as a known one.
        let user = entry.as_ref().map_or(UserId(uuid::Uuid::nil()), |entry| entry.id);
        let devices = self.people.store().factors_of(user).await?.devices;
        let lane = match (&entry, device.filter(|device| devices.contains(device))) {
            (Some(_), Some(device)) => AccountKey::CodeOnDevice(user, device),
            (Some(_), None) => AccountKey::Code(user),
            (None, _) => AccountKey::CodeOfNobody(TokenHash::of(email.to_ascii_lowercase().as_bytes())),
        };
        self.throttle.begin_guess(lane, from, self.people.now())?;
        let kept = self.people.store().recovery_codes_of(user).await?;
        let typed = Secret::typed(code).map(|code| code_hash(&code, user));
        let spent = typed.and_then(|typed| find_code(&kept, &typed));
        let is_active = entry.is_some_and(|entry| entry.state == UserState::Active);
        let spent = spent.filter(|_| is_active).ok_or(CodeRefusal::Wrong)?;
        Ok(GoodCode { user, spent, lane })
    }

    /// The code was taken out of use: its lanes start afresh.
    pub(crate) fn spent(&self, code: &GoodCode, from: IpAddr) {
        self.throttle.succeeded(code.lane, from);
    }
}

/// Ten codes and the change that stores their hashes.
pub(crate) fn fresh_codes(user: UserId, ids: &dyn Ids) -> (Vec<RecoveryCode>, DirectoryChange) {
    let codes: Vec<RecoveryCode> = (0..CODES).map(|_| RecoveryCode(Secret::random::<CODE_BYTES>(ids))).collect();
    let hashes = codes.iter().map(|code| code_hash(&code.0, user)).collect();
    (codes, DirectoryChange::SetRecoveryCodes { user, codes: hashes })
}

/// One code and its hash.
pub(crate) fn fresh_code(user: UserId, ids: &dyn Ids) -> (RecoveryCode, TokenHash) {
    let code = Secret::random::<CODE_BYTES>(ids);
    let hash = code_hash(&code, user);
    (RecoveryCode(code), hash)
}

/// Bound to the person, so that a code never opens another account.
fn code_hash(code: &Secret, user: UserId) -> TokenHash {
    code.hash(&format!("countersign recovery code {user}"))
}

fn find_code(kept: &[TokenHash], typed: &TokenHash) -> Option<TokenHash> {
    let mut found = None;
    for code in kept {
        if bool::from(code.0.ct_eq(&typed.0)) {
            found = Some(*code);
        }
    }
    found
}
