//! Why a ceremony is refused: one variant per check, each with a code and a sentence that says what to do
//! (ID-25).

use model::UserId;
use webauthn_rs_core::error::WebauthnError;

use crate::links::LinkRefusal;
use crate::people::PeopleError;
use crate::sensitive::SensitiveRefusal;
use crate::store::StoreError;
use crate::throttle::Throttled;

/// A refused ceremony: why, and about whom where that is known. The latter is for the record, never for the page.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// Which check.
    #[source]
    pub why: PasskeyRefusal,
    /// Whose passkey was presented.
    pub user: Option<UserId>,
    /// Its public handle.
    pub credential: Option<String>,
}

impl<E: Into<PasskeyRefusal>> From<E> for Refusal {
    fn from(why: E) -> Self {
        Refusal { why: why.into(), user: None, credential: None }
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),* })? = $code:literal, $text:literal;)*) => {
        /// One check of a ceremony that failed. Alphabetical, then those of other modules.
        #[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
        pub enum PasskeyRefusal {
            $($(#[$doc])* #[error($text)] $variant $({ $($(#[$field_doc])* $field: $type),* })?,)*
            /// The link of the enrolment.
            #[error(transparent)]
            Link(LinkRefusal),
            /// The directory.
            #[error(transparent)]
            People(PeopleError),
            /// Too many failed attempts.
            #[error(transparent)]
            Throttled(#[from] Throttled),
        }

        impl PasskeyRefusal {
            /// The code in problems and records.
            pub fn code(&self) -> &'static str {
                match self {
                    $(PasskeyRefusal::$variant { .. } => $code,)*
                    PasskeyRefusal::Link(refusal) => refusal.code(),
                    PasskeyRefusal::People(_) => "directory",
                    PasskeyRefusal::Throttled(_) => "throttled",
                }
            }
        }
    };
}

refusals! {
    /// Disabled, or not enrolled.
    AccountDisabled = "account_disabled", "this account may not sign in; ask an administrator";
    /// Neither ES256 nor RS256.
    AlgorithmNotAllowed = "passkey_algorithm",
        "this authenticator signs with an algorithm that is not accepted here; use another one";
    /// The credential id exists.
    AlreadyEnrolled = "passkey_enrolled_already", "this passkey is enrolled already; sign in with it";
    /// An attestation statement that does not hold.
    AttestationInvalid = "passkey_attestation",
        "what the authenticator says about itself does not hold; use another one";
    /// BS without BE (ID-20).
    BackedUpWithoutEligibility = "passkey_backup_state",
        "this passkey says that it is backed up though it cannot be; use another one";
    /// BE is not what it was at enrolment (ID-20).
    BackupEligibilityChanged = "passkey_backup_eligibility",
        "this passkey is no longer what was enrolled: it can now be synced or no longer be; enrol it again";
    /// The signature does not verify.
    BadSignature = "passkey_signature", "the signature of this passkey does not fit; use another passkey";
    /// Five minutes passed.
    CeremonyExpired = "ceremony_expired", "more than five minutes passed; start again";
    /// Another browser, session or link began it.
    CeremonyOfAnother = "ceremony_of_another", "this was begun in another browser or session; start again here";
    /// No such challenge, or it was used.
    CeremonyUnknown = "ceremony_unknown", "this was used already or never begun; start again";
    /// The counter did not grow (ID-19).
    CounterRegressed = "passkey_counter",
        "this passkey may have been copied: its counter went back; use another one and tell an administrator";
    /// `crossOrigin` or `topOrigin`.
    CrossOrigin = "passkey_cross_origin", "another site embeds this page; open it in a tab of its own";
    /// Removing it would lock its owner out (ID-7).
    LastPasskey = "passkey_last",
        "this is the only way left into the account; add another passkey or recovery codes first";
    /// Not the JSON of a browser.
    Malformed {
        /// Which part.
        what: &'static str
    } = "passkey_malformed", "the browser's answer cannot be read ({what}); try again";
    /// A security key counts beside a password only (ID-22).
    NoPassword = "key_without_password",
        "a security key counts beside password and one-time codes only; set those up first";
    /// No such passkey on this account.
    NoSuchPasskey = "passkey_none", "this account has no such passkey; reload the page";
    /// The passkey belongs to somebody else.
    NotYours = "passkey_of_another", "this passkey belongs to another account; choose one of yours";
    /// The sign-in was withdrawn while the change was on its way.
    SignInEnded = "sign_in_ended", "this sign-in was ended meanwhile, and nothing was changed; sign in again";
    /// The sign-in is older than five minutes (ID-7).
    StaleSignIn = "sign_in_stale",
        "this needs a sign-in of the last five minutes; confirm that it is you and try again";
    /// A link that makes the account needs a name and an address.
    PersonMissing = "person_missing", "give the name and the e-mail address of the first administrator";
    /// The person has as many as may be.
    TooManyKeys = "key_too_many", "this account has 5 security keys; remove one first";
    /// The person has as many as may be.
    TooManyPasskeys = "passkey_too_many", "this account has 20 passkeys; remove one first";
    /// Deleted, or never enrolled here.
    UnknownPasskey = "passkey_unknown",
        "this passkey is not known here; remove it from your device, and ask an administrator if it was yours";
    /// No user handle: not discoverable.
    UserHandleMissing = "passkey_user_handle",
        "your device did not say whose passkey this is; choose a passkey that is saved on the device";
    /// UP absent.
    UserNotPresent = "passkey_user_presence",
        "your device did not ask you to confirm; try again and touch it when it asks";
    /// UV absent.
    UserNotVerified = "passkey_user_verification",
        "your device did not ask for PIN or fingerprint; set one up on it and try again";
    /// An origin that is not in the list.
    WrongOrigin {
        /// As the browser said, cut.
        origin: String
    } = "passkey_origin", "this passkey was used on `{origin}`, which is not this server; check the address bar";
    /// The RP ID hash is another one's.
    WrongRelyingParty = "passkey_rp_id", "this passkey belongs to another address; choose one that was made here";
    /// Registration for sign-in or the other way round.
    WrongType = "passkey_type", "the browser answered another question than was asked; start again";
}

impl From<SensitiveRefusal> for PasskeyRefusal {
    fn from(refusal: SensitiveRefusal) -> Self {
        match refusal {
            SensitiveRefusal::Ended => PasskeyRefusal::SignInEnded,
            SensitiveRefusal::LastWayIn => PasskeyRefusal::LastPasskey,
            SensitiveRefusal::Stale { .. } => PasskeyRefusal::StaleSignIn,
        }
    }
}

impl From<LinkRefusal> for PasskeyRefusal {
    fn from(refusal: LinkRefusal) -> Self {
        match refusal {
            LinkRefusal::People(PeopleError::Store(error @ StoreError::Taken(_))) => error.into(),
            refusal => PasskeyRefusal::Link(refusal),
        }
    }
}

impl From<PeopleError> for PasskeyRefusal {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Store(error) => error.into(),
            error => PasskeyRefusal::People(error),
        }
    }
}

impl From<StoreError> for PasskeyRefusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(crate::store::Unique::CredentialId) => PasskeyRefusal::AlreadyEnrolled,
            StoreError::SignInEnded => PasskeyRefusal::SignInEnded,
            error => PasskeyRefusal::People(PeopleError::Store(error)),
        }
    }
}

impl From<WebauthnError> for PasskeyRefusal {
    fn from(error: WebauthnError) -> Self {
        use WebauthnError as E;
        match error {
            E::InvalidClientDataType => PasskeyRefusal::WrongType,
            E::MismatchedChallenge | E::ChallengeNotFound => PasskeyRefusal::CeremonyUnknown,
            E::InvalidRPOrigin => PasskeyRefusal::WrongOrigin { origin: String::new() },
            E::CredentialCrossOrigin => PasskeyRefusal::CrossOrigin,
            E::InvalidRPIDHash => PasskeyRefusal::WrongRelyingParty,
            E::UserNotPresent => PasskeyRefusal::UserNotPresent,
            E::UserNotVerified => PasskeyRefusal::UserNotVerified,
            E::CredentialBackupEligibilityInconsistent => PasskeyRefusal::BackupEligibilityChanged,
            E::CredentialMayNotBeHardwareBound => PasskeyRefusal::BackedUpWithoutEligibility,
            E::CredentialPossibleCompromise => PasskeyRefusal::CounterRegressed,
            E::CredentialNotFound => PasskeyRefusal::UnknownPasskey,
            E::AuthenticationFailure | E::SignatureInvalid => PasskeyRefusal::BadSignature,
            E::CredentialAlteredAlgFromRequest
            | E::COSEKeyInvalidAlgorithm
            | E::COSEKeyInvalidType
            | E::COSEKeyEDUnsupported
            | E::COSEKeyECDSAInvalidCurve => PasskeyRefusal::AlgorithmNotAllowed,
            E::ParseBase64Failure(_)
            | E::ParseCBORFailure(_)
            | E::ParseJSONFailure(_)
            | E::ParseNOMFailure
            | E::ParseInsufficientBytesAvailable
            | E::MissingAttestationCredentialData
            | E::AuthenticatorDataMissingExtension
            | E::InvalidExtensions => PasskeyRefusal::Malformed { what: "authenticator data" },
            E::COSEKeyInvalidCBORValue
            | E::COSEKeyECDSAXYInvalid
            | E::COSEKeyRSANEInvalid
            | E::EcdsaPointInvalid
            | E::RsaParametersInvalid => PasskeyRefusal::Malformed { what: "public key" },
            _ => PasskeyRefusal::AttestationInvalid,
        }
    }
}
