//! Refusals for code: RFC 9457 problem JSON with our members, also before 101 for a WebSocket (GW-9, GW-18).
//!
//! Invariant: a bare problem has the same members and texts whatever the reason; only ids of the record differ.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use model::decision::FixKind;
use model::{Fix, Reason};
use serde::Serialize;

use crate::cross_origin;

use super::{Detail, FailedFact, Refusal, Visit, challenge, put};

/// JSON answers load nothing.
const JSON_CSP: &str = "default-src 'none'; frame-ancestors 'none'";
const PROBLEM_JSON: &str = "application/problem+json";

/// What goes beside status and reason.
#[derive(Clone, Copy, Default)]
pub(super) struct Extra<'a> {
    /// Replaces the reason's sentence as `detail`.
    pub(super) sentence: Option<&'a str>,
    /// Where to sign in.
    pub(super) login_url: Option<&'a str>,
    /// What would mend it.
    pub(super) detail: Option<&'a Detail>,
    /// Where the ceremonies of the set are; without it the set is advice.
    pub(super) fix_url: Option<&'a str>,
    /// No, and nothing more.
    pub(super) is_bare: bool,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<&'a str>,
    request: String,
    decision: String,
    trace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fix: Vec<FixMember<'a>>,
}

#[derive(Serialize)]
struct FixMember<'a> {
    kind: &'static str,
    remedy: &'a str,
    who: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr_values: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fact: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
}

impl Visit {
    pub(super) fn problem(&self, status: StatusCode, reason: Reason, extra: Extra<'_>) -> Refusal {
        let (code, sentence) = match extra.is_bare {
            true => ("denied", "You cannot do this."),
            false => (reason.problem_code(), reason.sentence()),
        };
        let fix: Vec<FixMember<'_>> = extra
            .detail
            .map(|detail| detail.fix.iter().map(|fix| member(fix, detail, extra.fix_url)).collect())
            .unwrap_or_default();
        let problem = Problem {
            r#type: format!("urn:countersign:problem:{code}"),
            title: sentence,
            status: status.as_u16(),
            code,
            detail: extra.sentence.unwrap_or(sentence),
            field: field(reason),
            hint: hint(reason, &extra),
            login_url: extra.login_url,
            request: self.access.to_string(),
            decision: self.decision.to_string(),
            trace: &self.trace_id,
            explain: self.explain_url(),
            fix,
        };
        // Strings and numbers always have a JSON form; without one the answer is only less helpful.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        put(&mut response, CONTENT_TYPE, PROBLEM_JSON);
        put(&mut response, http::header::CONTENT_SECURITY_POLICY, JSON_CSP);
        cross_origin::let_read_refusal(&self.cors, self.origin.as_deref(), response.headers_mut());
        self.finish(response, reason)
    }

    /// Where a person reads their own decision again, on the host that made it (GW-18).
    fn explain_url(&self) -> Option<String> {
        self.identity.as_ref()?;
        self.app.as_ref().filter(|app| !app.is_control_plane())?;
        Some(format!("{}/decision/{}", crate::routing::RESERVED_PREFIX, self.access))
    }
}

fn member<'a>(fix: &'a Fix, detail: &'a Detail, url: Option<&'a str>) -> FixMember<'a> {
    let kind = fix.remedy.kind();
    let is_ceremony = kind == FixKind::Auth;
    let is_of_fix = |failed: &&FailedFact| {
        fix.facts.iter().any(|path| {
            let path = path.strip_prefix("context.").unwrap_or(path);
            path.strip_prefix(failed.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let fact = detail.facts.iter().filter(|_| kind == FixKind::Device).find(is_of_fix);
    FixMember {
        kind: kind.as_str(),
        remedy: fix.remedy.as_str(),
        who: detail.remedies.who(fix.remedy).as_str(),
        text: detail.text(fix),
        acr_values: is_ceremony.then(|| challenge::levels(fix)),
        max_age: is_ceremony.then_some(fix.max_age_secs.max(0)),
        fact: fact.map(|fact| fact.name.to_ascii_lowercase()),
        source: fact.map(|fact| fact.source),
        age_s: fact.and_then(|fact| fact.age_secs),
        url: url.filter(|_| is_ceremony).or_else(|| detail.page(fix)),
    }
}

/// The part of the request that is at fault.
fn field(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::CredentialsAmbiguous => Some("authorization"),
        Reason::OriginRefused => Some("origin"),
        Reason::TooLarge => Some("body"),
        Reason::UnknownHost => Some("host"),
        _ => None,
    }
}

/// What the program that asked can do.
fn hint(reason: Reason, extra: &Extra<'_>) -> Option<&'static str> {
    if extra.login_url.is_some() {
        return Some("open `login_url` in a browser, then send the request again");
    }
    if extra.fix_url.is_some() {
        return Some("have the person do everything in `fix`, then send the request again");
    }
    match reason {
        Reason::CredentialsAmbiguous => Some("send one credential"),
        Reason::OriginRefused => Some("ask from a page of the app itself, or have its operator list the origin"),
        Reason::UnknownHost => Some("check the host and port of the address"),
        _ if extra.detail.is_some_and(|detail| !detail.fix.is_empty()) => {
            Some("what is in `fix` would help, all of it; nothing there can be done from here")
        }
        _ => None,
    }
}
