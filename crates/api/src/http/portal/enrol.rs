//! The set-up link, invitations, and recovery codes shown once (ID-1, ID-4, ID-5). GET consumes nothing: mail scanners
//! follow links.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use model::Principal;
use model::record::RecordType;
use model::seams::ReservedContext;
use pip_identity::links::LinkRefusal;
use pip_identity::passkeys::{Enrolled, Keep, NewAdmin, PasskeyView, Refusal};
use pip_identity::people::PeopleError;
use pip_identity::store::LinkKind;

use super::Portal;
use super::answers::{json, page, parameter, unavailable, with_cookie};
use super::login::{Begin, Finish, read, refused, start_over};
use crate::actor::Actor;
use crate::failure::Failure;

impl Portal {
    pub(super) async fn enrol_page(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let code = parameter(query.as_bytes(), "code").unwrap_or_default();
        let link = match self.links.peek(&code).await {
            Ok(link) => link,
            Err(refusal) => return refused_link(&refusal),
        };
        let old = match self.old_factors(&link.row.kind, &code).await {
            Ok(old) => old,
            Err(refusal) => return refused(&refusal),
        };
        let is_set_up = link.row.kind == LinkKind::SetUp;
        let (name, email) = link.user.as_ref().map_or_else(Default::default, |u| (u.name.clone(), u.email.clone()));
        let (heading, lead) = match (is_set_up, name.is_empty()) {
            _ if link.row.kind == LinkKind::Recovery => (
                "Get back in".to_owned(),
                "You have proven that this account is yours. Create a new passkey to sign in with from now on."
                    .to_owned(),
            ),
            (true, _) => (
                "Set up Countersign".to_owned(),
                "You become the first administrator. Say who you are, then create a passkey.".to_owned(),
            ),
            (false, true) => ("Welcome".to_owned(), "Create a passkey to sign in with from now on.".to_owned()),
            (false, false) => (format!("Welcome, {name}"), "Create a passkey to sign in with from now on.".to_owned()),
        };
        let enrol = pages::Enrol {
            heading,
            lead,
            asks_identity: link.user.is_none(),
            is_recovery: link.row.kind == LinkKind::Recovery,
            old,
            name,
            email,
            begin_url: "/enrol/begin".to_owned(),
            finish_url: "/enrol/finish".to_owned(),
            transaction: code,
            expires: (link.row.expires_at.to_string(), link.row.expires_at.readable()),
        };
        page(StatusCode::OK, enrol.render())
    }

    /// What somebody who gets back in may keep; nothing for other links.
    async fn old_factors(&self, kind: &LinkKind, code: &str) -> Result<Vec<(String, String)>, Refusal> {
        if *kind != LinkKind::Recovery {
            return Ok(Vec::new());
        }
        let old = self.passkeys.to_be_kept(code).await?;
        let label = |key: &PasskeyView| {
            let used = key.last_used_at.unwrap_or(key.created_at).readable();
            (key.handle.clone(), format!("The passkey “{}”, last used {used}", key.name))
        };
        let mut factors: Vec<(String, String)> = old.passkeys.iter().map(label).collect();
        if old.has_pair {
            factors.push((PAIR.to_owned(), "Password and one-time codes".to_owned()));
        }
        Ok(factors)
    }

    pub(super) async fn enrol_begin(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(body) = read::<Begin>(request) else { return start_over() };
        let person = match (body.email, body.name) {
            (Some(email), Some(name)) => Some(NewAdmin { email, name }),
            _ => None,
        };
        match self.passkeys.start_enrolment(&body.transaction, person.as_ref()).await {
            Ok(options) => json(StatusCode::OK, &serde_json::json!({ "options": options })),
            Err(refusal) => {
                self.record_failed(context, &refusal, "enrolment").await;
                refused(&refusal)
            }
        }
    }

    pub(super) async fn enrol_finish(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(body) = read::<Finish>(request) else { return start_over() };
        let answer = body.credential.get().as_bytes();
        // Only the link of a recovery looks at it.
        let keep = keep_of(&body.keep);
        let enrolled = match self.passkeys.finish_recovery(&body.transaction, answer, "", &keep).await {
            Ok(enrolled) => enrolled,
            Err(refusal) => {
                self.record_failed(context, &refusal, "enrolment").await;
                return refused(&refusal);
            }
        };
        match self.welcome(context, request, enrolled).await {
            Ok(cookie) => with_cookie(json(StatusCode::OK, &serde_json::json!({ "next": "/enrol/codes" })), &cookie),
            Err(failure) => unavailable(&failure),
        }
    }

    /// The account is active now: publish it, record it, open the session, keep the codes for one look.
    async fn welcome(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
        enrolled: Enrolled,
    ) -> Result<String, Failure> {
        let user = enrolled.signed_in.user;
        let actor = Actor { principal: Principal::User(user), ..self.actor(context) };
        self.control().adopt(&actor, enrolled.change).await?;
        let with_link = match enrolled.kind {
            LinkKind::Recovery => {
                (RecordType::AuthRecovery, "link", enrolled.link.to_string(), "recovered through a link")
            }
            LinkKind::Invitation | LinkKind::SetUp => {
                (RecordType::IdentityInvitation, "link", enrolled.link.to_string(), "link used")
            }
        };
        let enrolment =
            (RecordType::AuthMfaEnrolled, "passkey", enrolled.signed_in.credential.clone(), "passkey enrolled");
        let removed = enrolled.removed.iter().map(|handle| {
            (RecordType::AuthMfaRemoved, "passkey", handle.clone(), "not kept in the recovery of the account")
        });
        for (kind, object, id, text) in [with_link, enrolment].into_iter().chain(removed) {
            let mut record = self.control().actor_record(&actor, kind);
            record.change.object_kind = Some(object);
            record.change.object_id = Some(Arc::from(id));
            record.change.object_subject = Some(user);
            record.change.change = Some(Arc::from(text));
            self.control().record(record).await?;
        }
        let opened = self.open_session(context, request, &enrolled.signed_in).await?;
        let codes = enrolled.recovery_codes.iter().map(|code| code.expose()).collect();
        self.codes.put(opened.session, codes, context.now);
        Ok(opened.cookie)
    }
}

/// How a page calls password and one-time codes in what is to be kept.
const PAIR: &str = "pair";

fn keep_of(chosen: &[String]) -> Keep {
    Keep {
        passkeys: chosen.iter().filter(|name| *name != PAIR).cloned().collect(),
        pair: chosen.iter().any(|name| name == PAIR),
    }
}

/// A link that cannot be used: what it was, and what to do (ID-1, ID-4).
fn refused_link(refusal: &LinkRefusal) -> Response<Bytes> {
    if let LinkRefusal::People(error @ (PeopleError::Busy | PeopleError::Store(_))) = refusal {
        return unavailable(&Failure::unavailable(error));
    }
    let text = refusal.to_string();
    let command = text.contains("countersign admin setup-link").then(|| "countersign admin setup-link".to_owned());
    let mut sentence = text;
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let notice = pages::Notice {
        heading: "This link cannot be used".to_owned(),
        paragraphs: vec![format!("{sentence}.")],
        command,
        links: vec![pages::Link { text: "Sign in".to_owned(), url: "/login".to_owned() }],
        request_id: None,
    };
    page(StatusCode::GONE, notice.render())
}

/// The same for the API.
pub(super) fn link_failure(refusal: LinkRefusal) -> Failure {
    let message = refusal.to_string();
    match refusal.code() {
        "directory" => Failure::Unavailable { message },
        _ => Failure::Conflict { message },
    }
}
