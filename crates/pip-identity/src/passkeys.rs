//! Passkeys: enrolment through a link or a session, discoverable sign-in, step-up (ID-10, ID-13, ID-16 to
//! ID-20, ID-24, ID-25; R-32). The cryptography and the parsing of authenticator data are
//! `webauthn-rs-core`'s; what it leaves to its caller is done here and in the modules below.
//!
//! Options go to the browser and answers come back as the JSON of WebAuthn L3 §5.1.8 and §5.1.9
//! (`parseCreationOptionsFromJSON`, `toJSON`).
//!
//! Invariants: user verification is required in every ceremony but those of security keys, which are never passkeys; an answer is accepted once, where its question was
//! asked; only what the authenticator attested is stored; whoever is not active gets no result.

mod answer;
mod ceremonies;
mod client_data;
mod credential;
mod enrolment;
mod refusal;
mod relying_party;
mod security_keys;
mod sign_in;

use std::collections::BTreeSet;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use model::session::Proof;
use model::{Session, Timestamp, TokenHash, UserId};
use webauthn_rs_core::WebauthnCore;

pub use self::answer::MAX_ANSWER_BYTES;
pub use self::ceremonies::{CEREMONY_LIFETIME, MAX_BOUND, MAX_PER_BINDING, MAX_SIGN_INS};
pub use self::client_data::MAX_CLIENT_DATA_BYTES;
pub use self::enrolment::{Enrolled, Keep, NewAdmin, OldFactors};
pub use self::refusal::{PasskeyRefusal, Refusal};
pub use self::relying_party::{MAX_ORIGINS, RelyingParty, RelyingPartyError};
pub use self::security_keys::MAX_KEYS;
use crate::directory::parse_name;
use crate::links::Links;
use crate::notices::notice;
use crate::passwords::standing;
use crate::people::{People, PeopleError};
use crate::sensitive::{Removal, check_fresh, check_removal};
use crate::store::{DirectoryChange, NoticeKind, PasskeyRow, PasskeyTouch, StoreError};
use crate::throttle::Throttle;

/// The most passkeys of one person.
pub const MAX_PASSKEYS: usize = 20;
/// The level a passkey with user verification proves (ID-13).
pub const ACR_PASSKEY: &str = "phr";
/// The methods a passkey with user verification proves (RFC 8176): more than one factor, a key, a present user.
pub const AMR_PASSKEY: [&str; 3] = ["mfa", "pop", "user"];

/// Somebody proved who they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// Their epoch when they proved it: a session opened with it dies if they were disabled meanwhile.
    pub epoch: u64,
    /// `phr`, or `urn:countersign:acr:mfa` for a password with a one-time code.
    pub acr: String,
    /// RFC 8176 methods.
    pub amr: BTreeSet<String>,
    /// The passkey may be synced between devices.
    pub is_synced: bool,
    /// Public handle of the passkey, for sessions and records; empty for a password.
    pub credential: String,
    /// What the record should say beside.
    pub notices: Vec<Notice>,
}

impl SignedIn {
    /// What the ceremony proved, for sessions and step-ups.
    pub fn proof(&self) -> Proof {
        Proof {
            acr: self.acr.clone(),
            amr: self.amr.clone(),
            is_mfa: true,
            is_phishing_resistant: self.acr == ACR_PASSKEY,
            is_passkey_synced: self.is_synced,
            credential: self.credential.clone(),
        }
    }

    fn with(row: &PasskeyRow, epoch: u64, notices: Vec<Notice>) -> Self {
        Self {
            user: row.user,
            epoch,
            acr: ACR_PASSKEY.into(),
            amr: AMR_PASSKEY.iter().map(|method| (*method).to_owned()).collect(),
            is_synced: row.is_backup_eligible,
            credential: handle_of(&row.credential_id),
            notices,
        }
    }
}

/// Something odd that does not refuse a sign-in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// BS changed (ID-20).
    BackupStateChanged {
        /// The new BS.
        is_backed_up: bool,
    },
    /// The counter of a synced passkey did not grow (ID-19).
    CounterRegressed {
        /// What was kept.
        stored: u32,
        /// What came.
        seen: u32,
    },
}

/// A passkey as its owner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PasskeyView {
    /// Public handle.
    pub handle: String,
    /// What the person calls it.
    pub name: String,
    /// When it was enrolled.
    pub created_at: Timestamp,
    /// When it last signed anything.
    pub last_used_at: Option<Timestamp>,
    /// It may be synced between devices.
    pub is_synced: bool,
}

impl From<&PasskeyRow> for PasskeyView {
    fn from(row: &PasskeyRow) -> Self {
        PasskeyView {
            handle: handle_of(&row.credential_id),
            name: row.name.clone(),
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            is_synced: row.is_backup_eligible,
        }
    }
}

/// The passkeys of a person that count, in the words of WebAuthn; ids in base64url.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The relying party.
    pub rp_id: String,
    /// The user handle: random, says nothing about the person.
    pub user_handle: String,
    /// Credential ids.
    pub credential_ids: Vec<String>,
}

/// The public handle of a credential: sixteen hex digits of the SHA-256 of its id.
pub fn handle_of(credential_id: &[u8]) -> String {
    let TokenHash(hash) = TokenHash::of(credential_id);
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The service.
pub struct Passkeys {
    people: Arc<People>,
    links: Links,
    throttle: Arc<Throttle>,
    rp: RelyingParty,
    core: WebauthnCore,
    ceremonies: ceremonies::Ceremonies,
}

impl Passkeys {
    /// For this relying party, over this directory, behind this throttle.
    pub fn new(people: Arc<People>, throttle: Arc<Throttle>, rp: RelyingParty) -> Self {
        let core = WebauthnCore::new_unsafe_experts_only(
            rp.name(),
            rp.id(),
            rp.origins().to_vec(),
            CEREMONY_LIFETIME,
            Some(false),
            Some(false),
        );
        let links = Links::new(Arc::clone(&people));
        Self { people, links, throttle, rp, core, ceremonies: ceremonies::Ceremonies::default() }
    }

    /// The passkeys of a person, oldest first.
    ///
    /// # Errors
    /// The store.
    pub async fn list(&self, user: UserId) -> Result<Vec<PasskeyView>, Refusal> {
        let rows = self.people.store().passkeys_of(user).await?;
        Ok(rows.iter().map(PasskeyView::from).collect())
    }

    /// How many passkeys there are: what a change of the RP ID would cost (ID-24).
    ///
    /// # Errors
    /// The store.
    pub async fn count(&self) -> Result<usize, Refusal> {
        let mut count = 0;
        for user in self.people.directory().users.keys() {
            count += self.people.store().passkeys_of(*user).await?.len();
        }
        Ok(count)
    }

    /// Gives a passkey another name.
    ///
    /// # Errors
    /// There is no such passkey, the name is not one, the sign-in ended meanwhile, or the store.
    pub async fn rename(&self, session: &Session, handle: &str, name: &str) -> Result<(), Refusal> {
        let user = session.user;
        let name = parse_name(name).map_err(|error| PasskeyRefusal::People(error.into()))?;
        let store = self.people.store();
        let rows = store.passkeys_of(user).await?;
        let row = rows.into_iter().find(|row| handle_of(&row.credential_id) == handle);
        let row = row.ok_or(PasskeyRefusal::NoSuchPasskey)?;
        // Fails if the passkey was used since it was read: its new counter must not be lost.
        let unused = PasskeyTouch {
            credential_id: row.credential_id.clone(),
            expected_counter: row.counter,
            counter: row.counter,
            is_backed_up: row.is_backed_up,
            at: row.last_used_at.unwrap_or(row.created_at),
        };
        let batch = vec![
            DirectoryChange::RequireSignIn(session.into()),
            DirectoryChange::TouchPasskey(unused),
            DirectoryChange::DeletePasskey { user, credential_id: row.credential_id.clone() },
            DirectoryChange::AddPasskey(PasskeyRow { name, ..row }),
        ];
        store.apply(None, batch).await?;
        Ok(())
    }

    /// What a browser may be told about the credentials of a person that count (WebAuthn L3 §5.1.10): passkeys, and the
    /// security keys beside a password, because an authenticator forgets whatever of the person is not in the list.
    ///
    /// # Errors
    /// The store; no such person.
    pub async fn accepted(&self, user: UserId) -> Result<Accepted, Refusal> {
        let row = self.people.row(user).ok_or_else(|| PasskeyRefusal::People(PeopleError::NoUser(user.to_string())))?;
        let passkeys = self.people.store().passkeys_of(user).await?;
        let keys = self.people.store().factors_of(user).await?.keys;
        let ids = passkeys.iter().map(|row| &row.credential_id).chain(keys.iter().map(|row| &row.credential_id));
        Ok(Accepted {
            rp_id: self.rp.id().to_owned(),
            user_handle: BASE64URL_NOPAD.encode(&row.handle),
            credential_ids: ids.map(|id| BASE64URL_NOPAD.encode(id)).collect(),
        })
    }

    /// Removes a passkey of the person who is signed in.
    ///
    /// # Errors
    /// The sign-in is not fresh, there is no such passkey, or it is the last way in and there are no recovery codes.
    pub async fn remove(&self, session: &Session, handle: &str) -> Result<(), Refusal> {
        let store = self.people.store();
        let standing = standing(&self.people, session.user).await?;
        check_fresh(session, standing, self.people.now())?;
        let rows = store.passkeys_of(session.user).await?;
        let row = rows.iter().find(|row| handle_of(&row.credential_id) == handle);
        let row = row.ok_or(PasskeyRefusal::NoSuchPasskey)?;
        check_removal(standing, Removal::Passkey)?;
        let credential_id = row.credential_id.clone();
        let changes = vec![
            DirectoryChange::RequireSignIn(session.into()),
            DirectoryChange::DeletePasskey { user: session.user, credential_id },
            notice(&self.people, session.user, NoticeKind::PasskeyRemoved, &row.name),
        ];
        match store.apply(None, changes).await {
            Ok(_) => Ok(()),
            Err(StoreError::Moved) => Err(PasskeyRefusal::NoSuchPasskey.into()),
            Err(error) => Err(error.into()),
        }
    }
}

fn passkey_name(name: &str) -> Result<String, PasskeyRefusal> {
    if name.trim().is_empty() {
        return Ok("Passkey".into());
    }
    parse_name(name).map_err(|error| PasskeyRefusal::People(error.into()))
}
