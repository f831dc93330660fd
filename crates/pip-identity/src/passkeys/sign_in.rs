//! Signing in with a passkey that the person's device chooses (discoverable, ID-18), and stepping up in a session.

use std::net::IpAddr;

use model::{Session, Timestamp, TokenHash, UserEntry, UserId, UserState};
use serde_json::Value;
use webauthn_rs_core::proto::{
    AuthenticationResult, AuthenticationState, Credential, PublicKeyCredential, RequestChallengeResponse,
    UserVerificationPolicy,
};

use super::answer::read_assertion;
use super::ceremonies::{Binding, Kind, Question};
use super::client_data::ClientData;
use super::refusal::{PasskeyRefusal, Refusal};
use super::{Notice, Passkeys, SignedIn, credential, handle_of};
use crate::store::{DirectoryChange, PasskeyRow, PasskeyTouch, StoreError};
use crate::throttle::AccountKey;

/// How often the counter is compared again because another use of the same passkey was faster.
const MAX_TOUCH_ATTEMPTS: usize = 3;

impl Passkeys {
    /// Options for `navigator.credentials.get()`: any passkey of this relying party. `login` is the hash of the
    /// browser's login-binding cookie; the answer must come with the same.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn start_sign_in(&self, login: TokenHash) -> Result<Value, Refusal> {
        let (options, state) = self.challenge(Vec::new())?;
        self.put(&options, Binding::Login(login), Question::SignIn { state: Box::new(state) })
    }

    /// Verifies the answer and says who signed in. The caller opens the session.
    ///
    /// # Errors
    /// Any check of the ceremony; too many failed attempts; the account is not active.
    pub async fn finish_sign_in(&self, login: TokenHash, answer: &[u8], from: IpAddr) -> Result<SignedIn, Refusal> {
        let now = self.people.now();
        self.throttle.begin_address(from, now)?;
        let answer = read_assertion(answer)?;
        let client = ClientData::parse(&answer.response.client_data_json)?;
        let question = self.ceremonies.take(&client.challenge()?, Kind::SignIn, Binding::Login(login), now)?;
        let Question::SignIn { state } = question else { return Err(PasskeyRefusal::WrongType.into()) };
        client.check("webauthn.get", &self.rp)?;
        let handle = answer.get_user_unique_id().ok_or(PasskeyRefusal::UserHandleMissing)?;
        let user = self.people.user_of_handle(handle).ok_or(PasskeyRefusal::UnknownPasskey)?.id;
        self.finish(user, &answer, &state, from, now).await
    }

    /// Options for a step-up: only passkeys of the person who is signed in. `page` is the hash of the transaction of the
    /// page that asks; the answer must come from the same page of the same session (GW-17).
    ///
    /// # Errors
    /// They have no passkey.
    pub async fn start_step_up(&self, session: &Session, page: TokenHash) -> Result<Value, Refusal> {
        let rows = self.people.store().passkeys_of(session.user).await?;
        if rows.is_empty() {
            return Err(PasskeyRefusal::NoSuchPasskey.into());
        }
        let allowed = rows.iter().map(credential::from_row).collect::<Result<Vec<_>, _>>()?;
        let (options, state) = self.challenge(allowed)?;
        let question = Question::StepUp { state: Box::new(state), user: session.user };
        self.put(&options, Binding::Page(session.id, page), question)
    }

    /// Verifies the answer. It must come from the session and page that asked, with a passkey of its person.
    ///
    /// # Errors
    /// Any check of the ceremony; too many failed attempts; the account is not active.
    pub async fn finish_step_up(
        &self,
        session: &Session,
        page: TokenHash,
        answer: &[u8],
        from: IpAddr,
    ) -> Result<SignedIn, Refusal> {
        let now = self.people.now();
        self.throttle.begin_address(from, now)?;
        let answer = read_assertion(answer)?;
        let client = ClientData::parse(&answer.response.client_data_json)?;
        let binding = Binding::Page(session.id, page);
        let question = self.ceremonies.take(&client.challenge()?, Kind::StepUp, binding, now)?;
        let Question::StepUp { state, user } = question else { return Err(PasskeyRefusal::WrongType.into()) };
        client.check("webauthn.get", &self.rp)?;
        if user != session.user {
            return Err(PasskeyRefusal::CeremonyOfAnother.into());
        }
        // With a list of allowed credentials the device may leave the handle out (WebAuthn L3 §7.2 step 6).
        if let Some(handle) = answer.get_user_unique_id()
            && self.people.user_of_handle(handle).is_none_or(|owner| owner.id != user)
        {
            return Err(PasskeyRefusal::NotYours.into());
        }
        self.finish(user, &answer, &state, from, now).await
    }

    fn challenge(
        &self,
        allowed: Vec<Credential>,
    ) -> Result<(RequestChallengeResponse, AuthenticationState), PasskeyRefusal> {
        let builder = self.core.new_challenge_authenticate_builder(allowed, Some(UserVerificationPolicy::Required))?;
        Ok(self.core.generate_challenge_authenticate(builder)?)
    }

    pub(super) fn put(
        &self,
        options: &RequestChallengeResponse,
        binding: Binding,
        question: Question,
    ) -> Result<Value, Refusal> {
        self.ceremonies.put(&options.public_key.challenge, binding, question, self.people.now());
        Ok(serde_json::to_value(options).map_err(|_| PasskeyRefusal::Malformed { what: "options" })?)
    }

    /// From here on it is known whose passkey it claims to be; refusals say so to the record.
    async fn finish(
        &self,
        user: UserId,
        answer: &PublicKeyCredential,
        state: &AuthenticationState,
        from: IpAddr,
        now: Timestamp,
    ) -> Result<SignedIn, Refusal> {
        let about =
            |why: PasskeyRefusal| Refusal { why, user: Some(user), credential: Some(handle_of(&answer.raw_id)) };
        let account = AccountKey::Passkey(user);
        self.throttle.begin_account(account, now).map_err(|error| about(error.into()))?;
        let (row, result) = self.verify(user, answer, state).await.map_err(about)?;
        let entry = self.active(user).map_err(about)?;
        let notices = self.touch(row.clone(), &result, now).await.map_err(about)?;
        self.throttle.succeeded(account, from);
        Ok(SignedIn::with(&row, entry.epoch, notices))
    }

    async fn verify(
        &self,
        user: UserId,
        answer: &PublicKeyCredential,
        state: &AuthenticationState,
    ) -> Result<(PasskeyRow, AuthenticationResult), PasskeyRefusal> {
        let row = self.people.store().passkey(&answer.raw_id).await?.ok_or(PasskeyRefusal::UnknownPasskey)?;
        if row.user != user {
            return Err(PasskeyRefusal::NotYours);
        }
        let credential = credential::from_row(&row)?;
        let result = self.core.authenticate_single_credential(answer, state, &credential)?;
        Ok((row, result))
    }

    /// Asked only after the signature held: a stranger does not learn who is disabled.
    fn active(&self, user: UserId) -> Result<std::sync::Arc<UserEntry>, PasskeyRefusal> {
        let directory = self.people.directory();
        let entry = directory.users.get(&user).filter(|entry| entry.state == UserState::Active);
        entry.cloned().ok_or(PasskeyRefusal::AccountDisabled)
    }

    /// Notes the use, and applies the rules for counter and backup state (ID-19, ID-20). The core crate has refused a
    /// change of BE and BS without BE.
    async fn touch(
        &self,
        mut row: PasskeyRow,
        result: &AuthenticationResult,
        now: Timestamp,
    ) -> Result<Vec<Notice>, PasskeyRefusal> {
        for _ in 0..MAX_TOUCH_ATTEMPTS {
            let mut notices = Vec::new();
            let (stored, seen) = (row.counter, result.counter());
            if stored != 0 && seen != 0 && seen <= stored {
                if !row.is_backup_eligible {
                    return Err(PasskeyRefusal::CounterRegressed);
                }
                notices.push(Notice::CounterRegressed { stored, seen });
            }
            if result.backup_state() != row.is_backed_up {
                notices.push(Notice::BackupStateChanged { is_backed_up: result.backup_state() });
            }
            let touch = PasskeyTouch {
                credential_id: row.credential_id.clone(),
                expected_counter: stored,
                counter: seen.max(stored),
                is_backed_up: result.backup_state(),
                at: now,
            };
            // Wrong codes are forgiven by another factor (ID-14).
            let changes = vec![DirectoryChange::TouchPasskey(touch), DirectoryChange::ClearTotpFailures(row.user)];
            match self.people.store().apply(None, changes).await {
                Ok(_) => return Ok(notices),
                Err(StoreError::Moved) => {
                    let newest = self.people.store().passkey(&row.credential_id).await?;
                    row = newest.ok_or(PasskeyRefusal::UnknownPasskey)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(PasskeyRefusal::CounterRegressed)
    }
}
