//! Why a door answered as it did: one enum with three projections, the audit code (AUD-9), the problem
//! code and a sentence for a person. Codes are never re-used.

/// The reason of a [`crate::Decision`] or of a refusal before one could be made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// A permit holds and no forbid does.
    Allow,
    /// An exact public path of the app (GW-6).
    AllowPublic,
    /// The record could not be written (AUD-18).
    AuditUnavailable,
    /// A session bound to a device came without its proof (GW-50).
    BindingMissing,
    /// The country failed.
    Country,
    /// Machine and cookie credentials together (GW-54).
    CredentialsAmbiguous,
    /// A machine credential that opens nothing here: unknown, ended, taken away or for another app (GW-52).
    CredentialInvalid,
    /// A device fact failed.
    DeviceNotCompliant,
    /// The device is not known.
    DeviceUnknown,
    /// A hard forbid holds.
    Forbidden,
    /// Facts are older than the app allows (GW-47).
    FactsStale,
    /// The gate refused the bytes; the gate's own code names the rule.
    Gate,
    /// The grant it leaned on is over.
    GrantExpired,
    /// A grant would open it.
    GrantRequired,
    /// The data class of the resource asks for more.
    Label,
    /// No session came with the request.
    LoginRequired,
    /// A network fact failed.
    Network,
    /// No permit can ever apply to this app (PO-1).
    NoRule,
    /// No permit holds (PO-1).
    NotPermitted,
    /// A foreign origin (GW-39, ID-60).
    OriginRefused,
    /// The remote decision point did not answer.
    PdpUnreachable,
    /// A policy of the slice raised an evaluation error (PO-3).
    PolicyError,
    /// The risk was too high.
    Risk,
    /// The session's time is over.
    SessionExpired,
    /// The session was withdrawn.
    SessionRevoked,
    /// The same step-up twice without success (PO-9).
    StepUpLoop,
    /// Only something about the device, mended by the person, would open it.
    StepUpDevice,
    /// A workload cannot step up (PO-10).
    StepUpImpossible,
    /// A stronger factor would open it: a second one, or a passkey.
    StepUpMfa,
    /// A fresher sign-in would open it.
    StepUpRequired,
    /// Too large.
    TooLarge,
    /// Too many.
    TooMany,
    /// The user is disabled.
    UserDisabled,
    /// A principal, action or resource type missing from the schema (PO-4).
    UnknownType,
    /// Host not configured.
    UnknownHost,
    /// No target of the upstream answers.
    UpstreamDown,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// An error of ours on the decision path.
    Internal,
}

impl Reason {
    /// Every reason; the documentation and the tests walk this.
    pub const ALL: &'static [Reason] = &[
        Reason::Allow,
        Reason::AllowPublic,
        Reason::AuditUnavailable,
        Reason::BindingMissing,
        Reason::Country,
        Reason::CredentialsAmbiguous,
        Reason::CredentialInvalid,
        Reason::DeviceNotCompliant,
        Reason::DeviceUnknown,
        Reason::Forbidden,
        Reason::FactsStale,
        Reason::Gate,
        Reason::GrantExpired,
        Reason::GrantRequired,
        Reason::Label,
        Reason::LoginRequired,
        Reason::Network,
        Reason::NoRule,
        Reason::NotPermitted,
        Reason::OriginRefused,
        Reason::PdpUnreachable,
        Reason::PolicyError,
        Reason::Risk,
        Reason::SessionExpired,
        Reason::SessionRevoked,
        Reason::StepUpLoop,
        Reason::StepUpDevice,
        Reason::StepUpImpossible,
        Reason::StepUpMfa,
        Reason::StepUpRequired,
        Reason::TooLarge,
        Reason::TooMany,
        Reason::UserDisabled,
        Reason::UnknownType,
        Reason::UnknownHost,
        Reason::UpstreamDown,
        Reason::UpstreamTimeout,
        Reason::Internal,
    ];

    /// The code in the record, e.g. `deny.policy`.
    pub fn audit_code(self) -> &'static str {
        match self {
            Reason::Allow => "allow",
            Reason::AllowPublic => "allow.public",
            Reason::AuditUnavailable => "deny.audit_unavailable",
            Reason::BindingMissing => "deny.binding_missing",
            Reason::Country => "deny.country",
            Reason::CredentialsAmbiguous => "deny.credentials_ambiguous",
            Reason::CredentialInvalid => "deny.credential_invalid",
            Reason::DeviceNotCompliant => "deny.device_posture",
            Reason::DeviceUnknown => "deny.device_unknown",
            Reason::Forbidden => "deny.policy",
            Reason::FactsStale => "deny.stale_facts",
            Reason::Gate => "deny.gate",
            Reason::GrantExpired => "deny.grant_expired",
            Reason::GrantRequired => "step_up.approval",
            Reason::Label => "deny.label",
            Reason::LoginRequired => "deny.no_session",
            Reason::Network => "deny.network",
            Reason::NoRule => "deny.no_rule",
            Reason::NotPermitted => "deny.default",
            Reason::OriginRefused => "deny.origin",
            Reason::PdpUnreachable => "deny.pdp_unreachable",
            Reason::PolicyError => "deny.error",
            Reason::Risk => "deny.risk",
            Reason::SessionExpired => "deny.session_expired",
            Reason::SessionRevoked => "deny.session_revoked",
            Reason::StepUpLoop => "deny.step_up_loop",
            Reason::StepUpDevice => "step_up.device",
            Reason::StepUpImpossible => "deny.step_up_impossible",
            Reason::StepUpMfa => "step_up.mfa",
            Reason::StepUpRequired => "step_up.reauth",
            Reason::TooLarge => "deny.too_large",
            Reason::TooMany => "deny.too_many",
            Reason::UserDisabled => "deny.user_disabled",
            Reason::UnknownType => "deny.unknown_type",
            Reason::UnknownHost => "deny.unknown_host",
            Reason::UpstreamDown => "error.upstream_down",
            Reason::UpstreamTimeout => "error.upstream_timeout",
            Reason::Internal => "deny.internal",
        }
    }

    /// The `code` of problem JSON. Several reasons share one code on purpose: a caller learns what
    /// to do, not how the rules are built.
    pub fn problem_code(self) -> &'static str {
        match self {
            Reason::Allow | Reason::AllowPublic => "ok",
            Reason::AuditUnavailable => "audit_unavailable",
            Reason::BindingMissing => "binding_missing",
            Reason::Country => "country",
            Reason::CredentialsAmbiguous => "credentials_ambiguous",
            Reason::CredentialInvalid => "credential_invalid",
            Reason::DeviceNotCompliant | Reason::StepUpDevice => "device_not_compliant",
            Reason::DeviceUnknown => "device_unknown",
            Reason::Forbidden
            | Reason::Internal
            | Reason::Label
            | Reason::Network
            | Reason::NotPermitted
            | Reason::PdpUnreachable
            | Reason::PolicyError
            | Reason::StepUpImpossible
            | Reason::StepUpLoop
            | Reason::UnknownType
            | Reason::UserDisabled => "denied",
            Reason::FactsStale => "facts_stale",
            Reason::Gate => "gate",
            Reason::GrantExpired | Reason::GrantRequired => "grant_required",
            Reason::LoginRequired => "login_required",
            Reason::NoRule => "no_rule",
            Reason::OriginRefused => "origin_refused",
            Reason::Risk => "risk",
            Reason::SessionExpired => "session_expired",
            Reason::SessionRevoked => "session_revoked",
            Reason::StepUpMfa | Reason::StepUpRequired => "step_up_required",
            Reason::TooLarge => "too_large",
            Reason::TooMany => "too_many",
            Reason::UnknownHost => "unknown_host",
            Reason::UpstreamDown => "upstream_down",
            Reason::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// One sentence for the person at the door: what happened and what to do.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::Allow => "You may do this.",
            Reason::AllowPublic => "Anyone may see this.",
            Reason::AuditUnavailable => {
                "This cannot be recorded right now, so it is not allowed; try again in a minute."
            }
            Reason::BindingMissing => "This sign-in belongs to another device; please sign in here.",
            Reason::Country => "This is not allowed from the country you are in.",
            Reason::CredentialsAmbiguous => "Two credentials came with one request; send only one of them.",
            Reason::CredentialInvalid => {
                "This credential opens nothing here; ask whoever gave it to you for a new one."
            }
            Reason::DeviceNotCompliant => "This device does not meet a requirement; mend it and try again.",
            Reason::DeviceUnknown => "This device is not known here; enrol it and try again.",
            Reason::Forbidden => "A rule forbids this; if you need it, ask the owner of the app.",
            Reason::FactsStale => "What we know is too old to decide on; try again in a moment.",
            Reason::Gate => "The request was not well formed and went nowhere.",
            Reason::GrantExpired => "Your approved request for this has ended; ask for it again.",
            Reason::GrantRequired => "You need an approved request for this.",
            Reason::Label => "What this holds needs more protection than this access has.",
            Reason::LoginRequired => "Please sign in.",
            Reason::Network => "This is not allowed from the network you are on.",
            Reason::NoRule => "No rule lets anyone in yet; an administrator has to write one.",
            Reason::NotPermitted => "No rule lets you do this; if you need it, ask the owner of the app.",
            Reason::OriginRefused => "The request came from a page of another site and was refused.",
            Reason::PdpUnreachable => "The decision could not be made; try again in a moment.",
            Reason::PolicyError => "The rules could not be evaluated, so the answer is no; tell an administrator.",
            Reason::Risk => "Something about this sign-in looks unusual.",
            Reason::SessionExpired => "Your sign-in has ended; please sign in again.",
            Reason::SessionRevoked => "Your sign-in was withdrawn; please sign in again.",
            Reason::StepUpLoop => "Signing in again did not help twice; ask the owner of the app.",
            Reason::StepUpDevice => "Something about this device has to be mended first.",
            Reason::StepUpImpossible => "A service cannot confirm this in person, so the answer is no.",
            Reason::StepUpMfa => "Please confirm with a second factor.",
            Reason::StepUpRequired => "Please confirm that it is you.",
            Reason::TooLarge => "The request is too large.",
            Reason::TooMany => "Too many requests; wait a little.",
            Reason::UserDisabled => "This account is disabled; ask an administrator.",
            Reason::UnknownType => "The rules do not know this kind of thing, so the answer is no.",
            Reason::UnknownHost => "Nothing is served under this name.",
            Reason::UpstreamDown => "The app does not answer right now; try again in a moment.",
            Reason::UpstreamTimeout => "The app took too long to answer; try again.",
            Reason::Internal => {
                "Something went wrong on our side, so the answer is no; try again or tell an administrator."
            }
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.audit_code())
    }
}

impl std::str::FromStr for Reason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Reason::ALL
            .iter()
            .copied()
            .find(|reason| reason.audit_code() == text)
            .ok_or_else(|| format!("`{text}` is not a reason code"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_codes_are_unique_and_read_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.audit_code().parse(), Ok(*reason));
        }
    }

    /// `## deny.policy`, then its problem code and sentence, then when and what to do, each in words.
    #[test]
    fn every_reason_is_documented_as_it_is_and_nothing_else_is() {
        let page = include_str!("../../../docs/reasons.md");
        let sections: Vec<(&str, &str)> =
            page.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
        let mut codes: Vec<&str> = Reason::ALL.iter().map(|reason| reason.audit_code()).collect();
        codes.sort_unstable();
        assert_eq!(sections.iter().map(|(code, _)| *code).collect::<Vec<_>>(), codes);
        for (code, text) in sections {
            let reason: Reason = code.parse().unwrap();
            let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            let told = format!("Problem code `{}`. The person reads: \"{}\"", reason.problem_code(), reason.sentence());
            assert_eq!(lines[0], told, "{code}");
            for (line, mark) in lines[1..].iter().zip(["- **When:** ", "- **What to do:** "]) {
                assert!(line.strip_prefix(mark).is_some_and(|words| words.len() > 8), "{code}: {line}");
            }
            assert_eq!(lines.len(), 3, "{code}");
        }
    }
}
