//! Security keys that do not ask who holds them: a second factor beside a password, and nothing else (ID-11, ID-22). They
//! are kept apart from passkeys, so that no sign-in by passkey ever finds one.
//!
//! Invariants: an answer counts only where a password was proven in the same request; questions for people without a key,
//! and for nobody, look like others; the level they lead to is never that of a passkey.

use model::{Session, TokenHash, UserId, UserState};
use serde_json::{Value, json};
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticationState, Credential, UserVerificationPolicy,
};

use super::answer::{read_assertion, read_registration};
use super::ceremonies::{Binding, Kind, Question};
use super::client_data::ClientData;
use super::enrolment::ALGORITHMS;
use super::refusal::{PasskeyRefusal, Refusal};
use super::{PasskeyView, Passkeys, credential, handle_of};
use crate::directory::parse_name;
use crate::notices::notice;
use crate::passwords::standing;
use crate::people::PeopleError;
use crate::sensitive::check_fresh;
use crate::store::{DirectoryChange, KeyTouch, NoticeKind, SecurityKeyRow, StoreError};

/// The most security keys of one person.
pub const MAX_KEYS: usize = 5;
/// What somebody without a key is asked for: as many bytes as the commonest keys use.
const STAND_IN_BYTES: usize = 64;

/// Asking for a verification would only cost a PIN that is not needed: the password is the other factor.
const NO_VERIFICATION: UserVerificationPolicy = UserVerificationPolicy::Discouraged_DO_NOT_USE;

impl Passkeys {
    /// The security keys of a person, oldest first.
    ///
    /// # Errors
    /// The store.
    pub async fn keys(&self, user: UserId) -> Result<Vec<PasskeyView>, Refusal> {
        Ok(self.key_rows(user).await?.iter().map(view).collect())
    }

    /// Options for a security key of the person who is signed in.
    ///
    /// # Errors
    /// The sign-in is not fresh (ID-7), they have no password with one-time codes, or as many keys as may be.
    pub async fn start_key(&self, session: &Session) -> Result<Value, Refusal> {
        let user = session.user;
        let rows = self.check_may_add(session).await?;
        let account = self.row_of(user)?;
        let passkeys = self.people.store().passkeys_of(user).await?;
        let exclude =
            rows.into_iter().map(|row| row.credential_id).chain(passkeys.into_iter().map(|row| row.credential_id));
        let builder = self
            .core
            .new_challenge_register_builder(&account.handle, &account.email, &account.name)
            .map_err(PasskeyRefusal::from)?
            .attestation(AttestationConveyancePreference::None)
            .user_verification_policy(NO_VERIFICATION)
            .require_resident_key(false)
            .credential_algorithms(ALGORITHMS.to_vec())
            .exclude_credentials(Some(exclude.collect()));
        let (options, state) = self.core.generate_challenge_register(builder).map_err(PasskeyRefusal::from)?;
        self.ask(&options, Binding::Session(session.id), Question::RegisterKey { state: Box::new(state), user })
    }

    /// Verifies the answer and stores the key.
    ///
    /// # Errors
    /// Any check of the ceremony; the account changed meanwhile.
    pub async fn finish_key(&self, session: &Session, answer: &[u8], name: &str) -> Result<PasskeyView, Refusal> {
        let now = self.people.now();
        let count = self.check_may_add(session).await?.len();
        let name = key_name(name, count)?;
        let answer = read_registration(answer)?;
        let client = ClientData::parse(&answer.response.client_data_json)?;
        let binding = Binding::Session(session.id);
        let question = self.ceremonies.take(&client.challenge()?, Kind::RegisterKey, binding, now)?;
        let Question::RegisterKey { state, user } = question else { return Err(PasskeyRefusal::WrongType.into()) };
        let is_active = self.people.directory().users.get(&user).is_some_and(|entry| entry.state == UserState::Active);
        if user != session.user || !is_active {
            return Err(PasskeyRefusal::AccountDisabled.into());
        }
        // A passkey is never lowered to a second factor.
        if self.people.store().passkey(&answer.raw_id).await?.is_some() {
            return Err(PasskeyRefusal::AlreadyEnrolled.into());
        }
        let credential = self.verify_registration(&client, &answer, &state)?;
        let kept = credential::to_row(&credential, user, name, now)?;
        let row = SecurityKeyRow {
            credential_id: kept.credential_id,
            user,
            name: kept.name,
            created_at: now,
            last_used_at: None,
            counter: kept.counter,
            credential: kept.credential,
        };
        let told = notice(&self.people, user, NoticeKind::KeyAdded, &row.name);
        let changes = vec![DirectoryChange::RequireSignIn(session.into()), DirectoryChange::AddKey(row.clone()), told];
        self.people.store().apply(None, changes).await?;
        Ok(view(&row))
    }

    /// Removes a security key of the person who is signed in. The one-time codes stay, so nobody locks themselves out.
    ///
    /// # Errors
    /// The sign-in is not fresh, or there is no such key.
    pub async fn remove_key(&self, session: &Session, handle: &str) -> Result<(), Refusal> {
        let user = session.user;
        check_fresh(session, standing(&self.people, user).await?, self.people.now())?;
        let rows = self.key_rows(user).await?;
        let row = rows.into_iter().find(|row| handle_of(&row.credential_id) == handle);
        let row = row.ok_or(PasskeyRefusal::NoSuchPasskey)?;
        let told = notice(&self.people, user, NoticeKind::KeyRemoved, &row.name);
        let changes = vec![
            DirectoryChange::RequireSignIn(session.into()),
            DirectoryChange::DeleteKey { user, credential_id: row.credential_id },
            told,
        ];
        self.people.store().apply(None, changes).await?;
        Ok(())
    }

    /// Options for whoever has this address. `login` is the hash of the browser's login-binding cookie. Whoever has no key
    /// gets a stand-in: the same one each time, so that asking twice tells nothing (WebAuthn L3 §14.6.2).
    ///
    /// # Errors
    /// The store.
    pub async fn start_second_factor(&self, email: &str, login: TokenHash) -> Result<Value, Refusal> {
        let entry = self.people.directory().find(email.trim()).cloned();
        let rows = match &entry {
            Some(entry) if entry.state == UserState::Active => self.key_rows(entry.id).await?,
            _ => Vec::new(),
        };
        let user = entry.map_or(UserId(uuid::Uuid::nil()), |entry| entry.id);
        let allowed: Vec<Credential> = rows.iter().map(from_key).collect::<Result<_, _>>()?;
        let builder = self.core.new_challenge_authenticate_builder(allowed, Some(NO_VERIFICATION));
        let builder = builder.map_err(PasskeyRefusal::from)?;
        let (options, state) = self.core.generate_challenge_authenticate(builder).map_err(PasskeyRefusal::from)?;
        let question = Question::SecondFactor { state: Box::new(state), user };
        let mut asked = self.put(&options, Binding::Login(login), question)?;
        if rows.is_empty()
            && let Some(list) = asked.pointer_mut("/publicKey/allowCredentials")
        {
            *list = json!([{ "type": "public-key", "id": self.stand_in(email) }]);
        }
        Ok(asked)
    }

    /// Whether the answer is by a key of `user`, asked in this browser. The caller has proven their password.
    ///
    /// # Errors
    /// Any check of the ceremony.
    pub(crate) async fn prove_second_factor(
        &self,
        user: UserId,
        login: TokenHash,
        answer: &[u8],
    ) -> Result<String, PasskeyRefusal> {
        let now = self.people.now();
        let answer = read_assertion(answer)?;
        let client = ClientData::parse(&answer.response.client_data_json)?;
        let question = self.ceremonies.take(&client.challenge()?, Kind::SecondFactor, Binding::Login(login), now)?;
        let Question::SecondFactor { state, user: asked } = question else { return Err(PasskeyRefusal::WrongType) };
        client.check("webauthn.get", &self.rp)?;
        if asked != user {
            return Err(PasskeyRefusal::CeremonyOfAnother);
        }
        let rows = self.key_rows(user).await?;
        let row = rows.into_iter().find(|row| row.credential_id == answer.raw_id);
        let row = row.ok_or(PasskeyRefusal::UnknownPasskey)?;
        let state: AuthenticationState = *state;
        let result = self.core.authenticate_single_credential(&answer, &state, &from_key(&row)?)?;
        let (stored, seen) = (row.counter, result.counter());
        // These keys are never synced: a counter that does not grow is a copy (ID-19).
        if (stored != 0 || seen != 0) && seen <= stored {
            return Err(PasskeyRefusal::CounterRegressed);
        }
        let handle = handle_of(&row.credential_id);
        let touch = KeyTouch { credential_id: row.credential_id, expected_counter: stored, counter: seen, at: now };
        // Wrong codes are forgiven by another factor (ID-14).
        let changes = vec![DirectoryChange::TouchKey(touch), DirectoryChange::ClearTotpFailures(user)];
        match self.people.store().apply(None, changes).await {
            Ok(_) => Ok(handle),
            Err(StoreError::Moved) => Err(PasskeyRefusal::CounterRegressed),
            Err(error) => Err(error.into()),
        }
    }

    async fn key_rows(&self, user: UserId) -> Result<Vec<SecurityKeyRow>, PasskeyRefusal> {
        Ok(self.people.store().factors_of(user).await?.keys)
    }

    async fn check_may_add(&self, session: &Session) -> Result<Vec<SecurityKeyRow>, Refusal> {
        let standing = standing(&self.people, session.user).await?;
        check_fresh(session, standing, self.people.now())?;
        if !standing.has_pair {
            return Err(PasskeyRefusal::NoPassword.into());
        }
        let rows = self.key_rows(session.user).await?;
        if rows.len() >= MAX_KEYS { Err(PasskeyRefusal::TooManyKeys.into()) } else { Ok(rows) }
    }

    /// An id that nobody has: the same for an address across restarts, and to be told from a real one by nobody who does
    /// not know the random handle it is made of.
    fn stand_in(&self, email: &str) -> String {
        let email = email.trim().to_ascii_lowercase();
        let seed = self.people.oldest_handle();
        let part = |n: u8| TokenHash::of(&[seed.as_slice(), &[n], email.as_bytes()].concat()).0;
        let bytes: Vec<u8> = [part(0), part(1)].concat().into_iter().take(STAND_IN_BYTES).collect();
        data_encoding::BASE64URL_NOPAD.encode(&bytes)
    }
}

fn view(row: &SecurityKeyRow) -> PasskeyView {
    PasskeyView {
        handle: handle_of(&row.credential_id),
        name: row.name.clone(),
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        is_synced: false,
    }
}

/// As [`credential::from_row`]: the counter is compared here.
fn from_key(row: &SecurityKeyRow) -> Result<Credential, PasskeyRefusal> {
    let unreadable = |error: serde_json::Error| {
        PeopleError::Store(StoreError::Backend(format!("a security key's row is unreadable: {error}")))
    };
    let mut credential: Credential =
        serde_json::from_slice(&row.credential).map_err(|error| PasskeyRefusal::People(unreadable(error)))?;
    credential.counter = 0;
    Ok(credential)
}

fn key_name(name: &str, count: usize) -> Result<String, PasskeyRefusal> {
    if name.trim().is_empty() {
        return Ok(format!("Security key {}", count + 1));
    }
    parse_name(name).map_err(|error| PasskeyRefusal::People(error.into()))
}
