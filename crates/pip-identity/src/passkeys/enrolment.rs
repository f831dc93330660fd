//! Enrolling a passkey: the first one through a link, which makes the account active, or another one while signed in.

use std::collections::BTreeSet;

use model::{InvitationId, Session, UserId, UserState};
use serde_json::Value;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, COSEAlgorithm, Credential, RegisterPublicKeyCredential, RegistrationState,
    UserVerificationPolicy,
};

use super::answer::read_registration;
use super::ceremonies::{Binding, Kind, Question};
use super::client_data::ClientData;
use super::refusal::{PasskeyRefusal, Refusal};
use super::{MAX_PASSKEYS, PasskeyView, Passkeys, SignedIn, credential, handle_of, passkey_name};
use crate::directory::{parse_email, parse_name};
use crate::entrance::{Entrance, enter};
use crate::links::{LinkRefusal, hash_of};
use crate::notices::notice;
use crate::passwords::standing;
use crate::people::{Change, PeopleError};
use crate::recovery_codes::RecoveryCode;
use crate::sensitive::check_fresh;
use crate::store::{DirectoryChange, LinkKind, NoticeKind, Origin, UserRow};

/// The algorithms that are accepted: ES256 and RS256.
pub(super) const ALGORITHMS: [COSEAlgorithm; 2] = [COSEAlgorithm::ES256, COSEAlgorithm::RS256];

/// Who the first administrator is, where the set-up link is not bound to an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAdmin {
    /// Sign-in address.
    pub email: String,
    /// Display name.
    pub name: String,
}

/// The first passkey of a person was enrolled and the link is used up.
pub struct Enrolled {
    /// Through which link.
    pub link: InvitationId,
    /// For what it was made.
    pub kind: LinkKind,
    /// The enrolment is also a sign-in: the person held the link and was verified by the authenticator.
    pub signed_in: SignedIn,
    /// Recovery codes to be shown once, before anything else opens (ID-1): ten, or after a recovery with a code the one
    /// that takes its place.
    pub recovery_codes: Vec<RecoveryCode>,
    /// Handles of the passkeys that went with a recovery.
    pub removed: Vec<String>,
    /// What changed in the directory.
    pub change: Change,
}

/// Which older factors somebody who recovers their account keeps. By default none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    /// Handles of passkeys.
    pub passkeys: BTreeSet<String>,
    /// Password and one-time codes.
    pub pair: bool,
}

/// What they may choose from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OldFactors {
    /// Oldest first.
    pub passkeys: Vec<PasskeyView>,
    /// There are a password and one-time codes.
    pub has_pair: bool,
}

impl Passkeys {
    /// Options for `navigator.credentials.create()`, for whoever holds this link. Consumes nothing. `person` is needed
    /// by set-up links that are bound to no account, and ignored by all others.
    ///
    /// # Errors
    /// The link cannot be used; the person is missing or malformed.
    pub async fn start_enrolment(&self, secret: &str, person: Option<&NewAdmin>) -> Result<Value, Refusal> {
        let link = self.links.peek(secret).await?;
        let account = match (&link.user, person) {
            (Some(user), _) => self.row_of(user.id)?,
            (None, Some(person)) => self.new_admin(person)?,
            (None, None) => return Err(PasskeyRefusal::PersonMissing.into()),
        };
        let (options, state) = self.options(&account, Vec::new())?;
        let question = Question::Enrol { state: Box::new(state), account: Box::new(account) };
        self.ask(&options, Binding::Link(link.row.secret_hash), question)
    }

    /// Verifies the answer, and in one transaction uses up the link, makes the account active, stores the passkey and
    /// ten recovery codes; through a set-up link the person also joins `admins`.
    ///
    /// # Errors
    /// Any check of the ceremony; the link was used, voided or expired meanwhile.
    pub async fn finish_enrolment(&self, secret: &str, answer: &[u8], name: &str) -> Result<Enrolled, Refusal> {
        self.finish_link(secret, answer, name, &Keep::default()).await
    }

    /// The same through the link of a recovery: in one transaction the new passkey is kept, every older factor that is
    /// not named goes, every sign-in ends, and the recovery is over.
    ///
    /// # Errors
    /// As [`Passkeys::finish_enrolment`].
    pub async fn finish_recovery(
        &self,
        secret: &str,
        answer: &[u8],
        name: &str,
        keep: &Keep,
    ) -> Result<Enrolled, Refusal> {
        self.finish_link(secret, answer, name, keep).await
    }

    async fn finish_link(&self, secret: &str, answer: &[u8], name: &str, keep: &Keep) -> Result<Enrolled, Refusal> {
        let now = self.people.now();
        let name = passkey_name(name)?;
        let hash = hash_of(secret).ok_or(LinkRefusal::Unknown)?;
        let answer = read_registration(answer)?;
        let client = ClientData::parse(&answer.response.client_data_json)?;
        let question = self.ceremonies.take(&client.challenge()?, Kind::Enrol, Binding::Link(hash), now)?;
        let Question::Enrol { state, account } = question else { return Err(PasskeyRefusal::WrongType.into()) };
        let link = self.people.store().link(hash).await?.ok_or(LinkRefusal::Unknown)?;
        self.links.check_usable(&link, now)?;
        let credential = self.verify_registration(&client, &answer, &state)?;
        let row = credential::to_row(&credential, account.id, name, now)?;
        let mut along = vec![DirectoryChange::AddPasskey(row.clone())];
        let removed = match link.kind {
            LinkKind::Recovery => self.not_kept(account.id, keep, &mut along).await?,
            LinkKind::Invitation | LinkKind::SetUp => Vec::new(),
        };
        let entered = enter(&self.people, Entrance { link: &link, account: &account, along }).await?;
        let epoch = entered.change.directory.users.get(&account.id).map_or(account.epoch, |user| user.epoch);
        let signed_in = SignedIn::with(&row, epoch, Vec::new());
        Ok(Enrolled {
            link: link.id,
            kind: link.kind,
            signed_in,
            recovery_codes: entered.recovery_codes,
            removed,
            change: entered.change,
        })
    }

    /// What an account that is recovered had until now: kept only where the person says so (ID-6).
    ///
    /// # Errors
    /// The link cannot be used, or is for no recovery.
    pub async fn to_be_kept(&self, secret: &str) -> Result<OldFactors, Refusal> {
        let link = self.links.peek(secret).await?;
        let (LinkKind::Recovery, Some(user)) = (link.row.kind, &link.user) else {
            return Err(LinkRefusal::Unknown.into());
        };
        let has_pair = standing(&self.people, user.id).await?.has_pair;
        Ok(OldFactors { passkeys: self.list(user.id).await?, has_pair })
    }

    /// Removes every factor that is not to be kept.
    async fn not_kept(
        &self,
        user: UserId,
        keep: &Keep,
        along: &mut Vec<DirectoryChange>,
    ) -> Result<Vec<String>, Refusal> {
        let mut removed = Vec::new();
        for row in self.people.store().passkeys_of(user).await? {
            let handle = handle_of(&row.credential_id);
            if !keep.passkeys.contains(&handle) {
                along.push(DirectoryChange::DeletePasskey { user, credential_id: row.credential_id });
                removed.push(handle);
            }
        }
        if !keep.pair {
            along.push(DirectoryChange::DeletePair(user));
        }
        Ok(removed)
    }

    /// Options for another passkey of the person who is signed in.
    ///
    /// # Errors
    /// The sign-in is not fresh (ID-7), or they have as many as may be.
    pub async fn start_registration(&self, session: &Session) -> Result<Value, Refusal> {
        check_fresh(session, standing(&self.people, session.user).await?, self.people.now())?;
        let account = self.row_of(session.user)?;
        let rows = self.people.store().passkeys_of(session.user).await?;
        if rows.len() >= MAX_PASSKEYS {
            return Err(PasskeyRefusal::TooManyPasskeys.into());
        }
        let (options, state) = self.options(&account, rows.into_iter().map(|row| row.credential_id).collect())?;
        let question = Question::Register { state: Box::new(state), user: session.user };
        self.ask(&options, Binding::Session(session.id), question)
    }

    /// Verifies the answer and stores the passkey.
    ///
    /// # Errors
    /// Any check of the ceremony; the account is not active any more.
    pub async fn finish_registration(
        &self,
        session: &Session,
        answer: &[u8],
        name: &str,
    ) -> Result<PasskeyView, Refusal> {
        let now = self.people.now();
        check_fresh(session, standing(&self.people, session.user).await?, now)?;
        let name = passkey_name(name)?;
        let answer = read_registration(answer)?;
        let client = ClientData::parse(&answer.response.client_data_json)?;
        let question = self.ceremonies.take(&client.challenge()?, Kind::Register, Binding::Session(session.id), now)?;
        let Question::Register { state, user } = question else { return Err(PasskeyRefusal::WrongType.into()) };
        let is_active = self.people.directory().users.get(&user).is_some_and(|entry| entry.state == UserState::Active);
        if user != session.user || !is_active {
            return Err(PasskeyRefusal::AccountDisabled.into());
        }
        let store = self.people.store();
        // The core refuses what is in the exclude list under another name.
        if store.passkey(&answer.raw_id).await?.is_some() {
            return Err(PasskeyRefusal::AlreadyEnrolled.into());
        }
        let credential = self.verify_registration(&client, &answer, &state)?;
        if store.passkeys_of(user).await?.len() >= MAX_PASSKEYS {
            return Err(PasskeyRefusal::TooManyPasskeys.into());
        }
        let row = credential::to_row(&credential, user, name, now)?;
        let told = notice(&self.people, user, NoticeKind::PasskeyAdded, &row.name);
        let still = DirectoryChange::RequireSignIn(session.into());
        store.apply(None, vec![still, DirectoryChange::AddPasskey(row.clone()), told]).await?;
        Ok(PasskeyView::from(&row))
    }

    fn options(
        &self,
        account: &UserRow,
        exclude: Vec<Vec<u8>>,
    ) -> Result<(webauthn_rs_core::proto::CreationChallengeResponse, RegistrationState), PasskeyRefusal> {
        let builder = self
            .core
            .new_challenge_register_builder(&account.handle, &account.email, &account.name)?
            .attestation(AttestationConveyancePreference::None)
            .user_verification_policy(UserVerificationPolicy::Required)
            .require_resident_key(true)
            .credential_algorithms(ALGORITHMS.to_vec())
            .exclude_credentials(Some(exclude));
        Ok(self.core.generate_challenge_register(builder)?)
    }

    pub(super) fn ask(
        &self,
        options: &webauthn_rs_core::proto::CreationChallengeResponse,
        binding: Binding,
        question: Question,
    ) -> Result<Value, Refusal> {
        self.ceremonies.put(&options.public_key.challenge, binding, question, self.people.now());
        Ok(serde_json::to_value(options).map_err(|_| PasskeyRefusal::Malformed { what: "options" })?)
    }

    pub(super) fn verify_registration(
        &self,
        client: &ClientData,
        answer: &RegisterPublicKeyCredential,
        state: &RegistrationState,
    ) -> Result<Credential, PasskeyRefusal> {
        client.check("webauthn.create", &self.rp)?;
        let credential = self.core.register_credential(answer, state, None)?;
        // The core stores what was attested; an answer that names another id beside it is not from a browser.
        if credential.cred_id != answer.raw_id {
            return Err(PasskeyRefusal::Malformed { what: "credential id" });
        }
        Ok(credential)
    }

    pub(super) fn row_of(&self, user: UserId) -> Result<UserRow, PasskeyRefusal> {
        self.people.row(user).ok_or_else(|| PasskeyRefusal::People(PeopleError::NoUser(user.to_string())))
    }

    fn new_admin(&self, person: &NewAdmin) -> Result<UserRow, PasskeyRefusal> {
        let email = parse_email(&person.email).map_err(PeopleError::from)?;
        let name = parse_name(&person.name).map_err(PeopleError::from)?;
        if self.people.directory().find(&email).is_some() {
            return Err(PeopleError::EmailTaken(email).into());
        }
        Ok(UserRow { email, name, ..self.people.blank_user(Origin::Local) })
    }
}
