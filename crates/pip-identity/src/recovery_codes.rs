//! Recovery codes (ID-5; SP 800-63B-4 §4.2.1.1): ten codes of 80 bits, shown once, each good for one use.
//! A code alone never signs anybody in (ID-6, ID-11): this verifies and spends codes; what they open is decided
//! elsewhere.
//!
//! Invariants: unknown people, disabled people and wrong codes are refused alike; every attempt passes the throttle;
//! spending a code and storing its replacement is one transaction.

use std::net::IpAddr;
use std::sync::Arc;

use model::{Ids, TokenHash, UserId, UserState};
use subtle::ConstantTimeEq;

use crate::people::{People, PeopleError};
use crate::secret::Secret;
use crate::store::{DirectoryChange, StoreError};
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

/// A code was good.
pub struct SpentCode {
    /// Whose.
    pub user: UserId,
    /// The code that takes its place. Shown once.
    pub replacement: RecoveryCode,
}

/// Why a code is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodeRefusal {
    /// The directory.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// Too many attempts.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// Wrong code, used code, unknown address or disabled account: all alike.
    #[error("address and recovery code do not belong together; check both, or ask an administrator")]
    Wrong,
}

impl From<StoreError> for CodeRefusal {
    fn from(error: StoreError) -> Self {
        CodeRefusal::People(error.into())
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

    /// Makes ten new codes; all earlier ones are void. The caller has checked that the sign-in is fresh (ID-7).
    ///
    /// # Errors
    /// No such person, or the store.
    pub async fn regenerate(&self, user: UserId) -> Result<Vec<RecoveryCode>, CodeRefusal> {
        if !self.people.directory().users.contains_key(&user) {
            return Err(PeopleError::NoUser(user.to_string()).into());
        }
        let (codes, change) = fresh_codes(user, self.people.ids());
        self.people.store().apply(None, vec![change]).await?;
        Ok(codes)
    }

    /// How many codes a person has left.
    ///
    /// # Errors
    /// The store.
    pub async fn left(&self, user: UserId) -> Result<usize, CodeRefusal> {
        Ok(self.people.store().recovery_codes_of(user).await?.len())
    }

    /// Spends a code and issues its replacement.
    ///
    /// # Errors
    /// [`CodeRefusal::Wrong`] for everything a stranger could learn from; throttled.
    pub async fn spend(&self, email: &str, code: &str, from: IpAddr) -> Result<SpentCode, CodeRefusal> {
        let now = self.people.now();
        self.throttle.begin_address(from, now)?;
        let email: String = email.trim().chars().take(MAX_EMAIL_CHARS).collect();
        let entry = self.people.directory().find(&email).cloned();
        let account = match &entry {
            Some(entry) => AccountKey::Code(entry.id),
            None => AccountKey::CodeOfNobody(TokenHash::of(email.to_ascii_lowercase().as_bytes())),
        };
        self.throttle.begin_account(account, now)?;
        // An unknown person costs the same read and the same comparisons as a known one.
        let user = entry.as_ref().map_or(UserId(uuid::Uuid::nil()), |entry| entry.id);
        let kept = self.people.store().recovery_codes_of(user).await?;
        let typed = Secret::typed(code).map(|code| code_hash(&code, user));
        let spent = typed.and_then(|typed| find_code(&kept, &typed));
        let is_active = entry.is_some_and(|entry| entry.state == UserState::Active);
        let Some(spent) = spent.filter(|_| is_active) else { return Err(CodeRefusal::Wrong) };
        let replacement = Secret::random::<CODE_BYTES>(self.people.ids());
        let change = DirectoryChange::SpendRecoveryCode { user, spent, replacement: code_hash(&replacement, user) };
        match self.people.store().apply(None, vec![change]).await {
            Ok(_) => {}
            Err(StoreError::Moved) => return Err(CodeRefusal::Wrong),
            Err(error) => return Err(error.into()),
        }
        self.throttle.succeeded(account, from);
        Ok(SpentCode { user, replacement: RecoveryCode(replacement) })
    }
}

/// Ten codes and the change that stores their hashes.
pub(crate) fn fresh_codes(user: UserId, ids: &dyn Ids) -> (Vec<RecoveryCode>, DirectoryChange) {
    let codes: Vec<RecoveryCode> = (0..CODES).map(|_| RecoveryCode(Secret::random::<CODE_BYTES>(ids))).collect();
    let hashes = codes.iter().map(|code| code_hash(&code.0, user)).collect();
    (codes, DirectoryChange::SetRecoveryCodes { user, codes: hashes })
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
