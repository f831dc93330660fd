//! Refusals for people: pages that work without JavaScript, under the strict policy of `pages` (GW-16, GW-17).
//!
//! Invariant: nothing of the request but who is signed in and the ids of the record is on a page.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use model::decision::FixKind;
use model::{Fix, Reason};
use pages::{Denied, Fact, FixLink};

use super::failed_facts::ago;
use super::{Detail, FailedFact, Refusal, Visit, WayBack, put};

/// What a bare page says, whatever the reason.
pub(super) const BARE_HEADING: &str = "You cannot open this";
const BARE_SENTENCE: &str = "You cannot open this.";

impl Visit {
    pub(super) fn login_page(&self, reason: Reason, way: &WayBack) -> Refusal {
        let fix = FixLink { text: "Sign in".to_owned(), url: way.url.clone() };
        let page = Denied { fixes: vec![fix], ..self.blank("Please sign in", reason.sentence()) };
        self.page(StatusCode::UNAUTHORIZED, reason, page.render())
    }

    /// A page made to be framed; it holds one link and nothing that can be clicked by mistake.
    pub(super) fn framed_login(&self, reason: Reason, way: &WayBack) -> Refusal {
        let page = pages::Frame { login_url: way.url.clone(), request_id: self.access.to_string() };
        let mut refusal = self.page(StatusCode::UNAUTHORIZED, reason, page.render());
        let csp = pages::CSP.replace("frame-ancestors 'none'; ", "");
        put(&mut refusal.response, http::header::CONTENT_SECURITY_POLICY, &csp);
        refusal
    }

    pub(super) fn denied_page(&self, status: StatusCode, reason: Reason, detail: &Detail) -> Refusal {
        let heading = match (status.is_server_error(), reason) {
            (true, _) => "Not available right now",
            (false, Reason::StepUpLoop) => "That did not help",
            (false, _) => BARE_HEADING,
        };
        let sentence = detail.sentence.as_deref().unwrap_or(reason.sentence());
        let page = Denied {
            app_title: self.app_title(),
            facts: facts(detail),
            steps_lead: if reason == Reason::StepUpLoop { "Still missing:" } else { "This would help:" },
            steps: detail.fix.iter().map(|fix| detail.text(fix).to_owned()).collect(),
            fixes: pages_of(detail),
            ..self.blank(heading, sentence)
        };
        self.page(status, reason, page.render())
    }

    /// The whole set, with one button for what the sign-in pages drive; the rest is said.
    pub(super) fn step_up_page(&self, reason: Reason, detail: &Detail, url: &str) -> Refusal {
        let is_ceremony = |fix: &&Fix| fix.remedy.kind() == FixKind::Auth;
        let dearest = detail.fix.iter().filter(is_ceremony).max_by_key(|fix| fix.remedy.cost());
        let link = |fix: &Fix| FixLink { text: detail.text(fix).to_owned(), url: url.to_owned() };
        // A button that says all there is to do needs no list beside it.
        let is_said = detail.fix.len() == 1 && dearest.is_some();
        let steps = detail.fix.iter().filter(|_| !is_said).map(|fix| detail.text(fix).to_owned()).collect();
        let page = Denied {
            app_title: self.app_title(),
            facts: facts(detail),
            steps_lead: "What is needed, all of it:",
            steps,
            fixes: dearest.map(link).into_iter().chain(pages_of(detail)).collect(),
            ..self.blank("One more step", detail.sentence.as_deref().unwrap_or(reason.sentence()))
        };
        self.page(StatusCode::FORBIDDEN, reason, page.render())
    }

    pub(super) fn bare_page(&self) -> Refusal {
        let page = self.blank(BARE_HEADING, BARE_SENTENCE);
        self.page(StatusCode::FORBIDDEN, Reason::NotPermitted, page.render())
    }

    pub(super) fn not_found_page(&self, status: StatusCode, sentence: &str) -> Refusal {
        let page = pages::Notice {
            heading: "Nothing here".to_owned(),
            paragraphs: vec![sentence.to_owned()],
            command: None,
            links: Vec::new(),
            request_id: Some(self.access.to_string()),
        };
        self.page(status, Reason::NotPermitted, page.render())
    }

    /// A page that says one sentence and who is signed in.
    fn blank(&self, heading: &str, sentence: &str) -> Denied {
        Denied {
            heading: heading.to_owned(),
            app_title: None,
            sentence: sentence.to_owned(),
            facts: Vec::new(),
            steps_lead: "",
            steps: Vec::new(),
            fixes: Vec::new(),
            identity: self.identity.as_deref().map(str::to_owned),
            sign_out_url: format!("{}/logout", crate::routing::RESERVED_PREFIX),
            request_id: self.access.to_string(),
            decision_id: self.decision.to_string(),
        }
    }

    fn app_title(&self) -> Option<String> {
        self.app.as_ref().map(|app| app.title.clone())
    }

    fn page(&self, status: StatusCode, reason: Reason, html: String) -> Refusal {
        let mut response = Response::new(Bytes::from(html));
        *response.status_mut() = status;
        put(&mut response, CONTENT_TYPE, pages::HTML);
        for (name, value) in pages::PAGE_HEADERS {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        self.finish(response, reason)
    }
}

/// The pages operators named for what no ceremony of ours does.
fn pages_of(detail: &Detail) -> Vec<FixLink> {
    let link = |fix: &Fix| Some(FixLink { text: detail.text(fix).to_owned(), url: detail.page(fix)?.to_owned() });
    detail.fix.iter().filter_map(link).collect()
}

fn facts(detail: &Detail) -> Vec<Fact> {
    let policies =
        (!detail.policies.is_empty()).then(|| Fact { name: "Policies".to_owned(), value: detail.policies.join(", ") });
    detail.facts.iter().map(fact).chain(policies).collect()
}

fn fact(fact: &FailedFact) -> Fact {
    let age = fact.age_secs.map(|secs| format!(", {}", ago(secs))).unwrap_or_default();
    Fact { name: fact.name.to_owned(), value: format!("{} (says {}{age})", fact.value, fact.source) }
}
