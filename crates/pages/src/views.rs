//! One struct per page. `render` never fails for these templates; if it ever did, the person gets a plain sentence.

use askama::Template;

use crate::account::NoticeLine;
use crate::filters;

/// What is shown when a template fails: nothing of the request.
pub(crate) const FALLBACK: &str = "<!doctype html><title>Countersign</title><p>The page could not be drawn.";

macro_rules! page {
    ($($name:ident)*) => {
        $(impl $name {
            /// The whole page.
            pub fn render(&self) -> String {
                Template::render(self).unwrap_or_else(|_| FALLBACK.to_owned())
            }
        })*
    };
}

page!(Denied Enrol Frame Launchpad Notice RecoveryCodes Renewed SignIn SignOut StepUp);

/// A time for machines (RFC 3339) and for people (UI-8).
pub type Moment = (String, String);

/// The sign-in page (ID-10).
#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignIn {
    /// The app the person was on the way to.
    pub app_title: Option<String>,
    /// Why they see this page again, if they do.
    pub notice: Option<String>,
    /// The second way in, where there is one.
    pub password_url: Option<String>,
    /// Where the script fetches options.
    pub begin_url: String,
    /// Where the script posts the credential.
    pub finish_url: String,
    /// The login transaction.
    pub transaction: String,
}

/// The set-up and invitation page (ID-1, ID-4).
#[derive(Debug, Template)]
#[template(path = "enrol.html")]
pub struct Enrol {
    /// "Welcome, Alice".
    pub heading: String,
    /// What this is.
    pub lead: String,
    /// The first administrator says who they are; an invited person is known.
    pub asks_identity: bool,
    /// Somebody gets back in: the page says what becomes of what they had.
    pub is_recovery: bool,
    /// What they may keep: name and description.
    pub old: Vec<(String, String)>,
    /// Known name.
    pub name: String,
    /// Known address.
    pub email: String,
    /// Where the script fetches options.
    pub begin_url: String,
    /// Where the script posts the credential.
    pub finish_url: String,
    /// The secret of the link; the page was reached with it.
    pub transaction: String,
    /// When the link ends.
    pub expires: Moment,
}

/// Recovery codes, shown once (ID-5).
#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub struct RecoveryCodes {
    /// The codes; empty when they were shown already.
    pub codes: Vec<String>,
    /// Session-bound form token (ID-60).
    pub token: String,
}

/// The confirmation page on the auth host.
#[derive(Debug, Template)]
#[template(path = "step_up.html")]
pub struct StepUp {
    /// The app that asks.
    pub app_title: String,
    /// "delete".
    pub action_text: String,
    /// "5 minutes".
    pub window_text: String,
    /// Who is signed in.
    pub identity: String,
    /// A ceremony is part of it.
    pub asks_person: bool,
    /// Where to confirm with password and code; `None` when they do not count here.
    pub password_url: Option<String>,
    /// What else has to be done, that this page cannot do.
    pub advice: Vec<String>,
    /// Where the script fetches options.
    pub begin_url: String,
    /// Where the script posts the credential.
    pub finish_url: String,
    /// The transaction.
    pub transaction: String,
    /// Back to the app.
    pub cancel_url: String,
}

/// A fact shown on a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What.
    pub name: String,
    /// Its value, source and age in words.
    pub value: String,
}

/// A button that mends a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixLink {
    /// What it does.
    pub text: String,
    /// Where.
    pub url: String,
}

/// A refusal for a person (GW-16); also the step-up page of a door, which then carries a fix.
#[derive(Debug, Template)]
#[template(path = "denied.html")]
pub struct Denied {
    /// "You cannot open this".
    pub heading: String,
    /// The app, unless its `explain` is `none`.
    pub app_title: Option<String>,
    /// One sentence.
    pub sentence: String,
    /// The facts that failed.
    pub facts: Vec<Fact>,
    /// What stands in front of [`Self::steps`].
    pub steps_lead: &'static str,
    /// What has to be done; all of it.
    pub steps: Vec<String>,
    /// Where it can be done, or begun.
    pub fixes: Vec<FixLink>,
    /// Who is signed in.
    pub identity: Option<String>,
    /// Where to sign out, also to come back as somebody else.
    pub sign_out_url: String,
    /// The access id that finds the record (AUD-4).
    pub request_id: String,
    /// The decision id, which apps and other records name.
    pub decision_id: String,
}

/// The small page inside an iframe that lost its session (GW-8).
#[derive(Debug, Template)]
#[template(path = "frame.html")]
pub struct Frame {
    /// Opened on top.
    pub login_url: String,
    /// The access id.
    pub request_id: String,
}

/// A link on a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it says.
    pub text: String,
    /// Where it leads.
    pub url: String,
}

/// A page that says one thing: signed out, link used, unknown address.
#[derive(Debug, Template)]
#[template(path = "notice.html")]
pub struct Notice {
    /// What happened.
    pub heading: String,
    /// In sentences.
    pub paragraphs: Vec<String>,
    /// A command that helps.
    pub command: Option<String>,
    /// Where to go.
    pub links: Vec<Link>,
    /// The access id, where there is a record.
    pub request_id: Option<String>,
}

/// The end of a sign-in that a script of an app waits for (GW-13).
#[derive(Debug, Template)]
#[template(path = "renewed.html")]
pub struct Renewed;

/// The sign-out question (GW-19).
#[derive(Debug, Template)]
#[template(path = "sign_out.html")]
pub struct SignOut {
    /// Who is signed in.
    pub identity: String,
    /// Where the form goes.
    pub action_url: String,
    /// Session-bound form token (ID-60).
    pub token: String,
}

/// An app on the launchpad (UI-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Its title.
    pub title: String,
    /// Its host.
    pub host: String,
    /// Its address.
    pub url: String,
    /// "Will ask for your passkey".
    pub hint: Option<String>,
}

/// A sign-in on the launchpad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Session id.
    pub id: String,
    /// What the browser called itself.
    pub user_agent: String,
    /// Where it began.
    pub network: String,
    /// When it began.
    pub since: Moment,
    /// When it was last used, to the minute.
    pub last_used: Moment,
    /// The one this page was asked with.
    pub is_current: bool,
}

/// What a person sees first: their apps and sessions (UI-3).
#[derive(Debug, Template)]
#[template(path = "launchpad.html")]
pub struct Launchpad {
    /// Who is signed in.
    pub identity: String,
    /// May see the console.
    pub is_admin: bool,
    /// What happened to the account and was not read yet.
    pub notices: Vec<NoticeLine>,
    /// The browser may make a passkey by itself: this sign-in was by password (ID-10).
    pub offers_passkey: bool,
    /// Apps the engine lets them open.
    pub tiles: Vec<Tile>,
    /// Their live sessions.
    pub sessions: Vec<SessionRow>,
    /// Session-bound form token (ID-60).
    pub token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACK: &str = "</title><script>alert(1)</script>\"'&";

    fn check(page: &str) {
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(page.contains("&#60;script&#62;"), "{page}");
        assert!(!page.contains("assets/missing"), "{page}");
        assert!(!page.contains("style="), "inline style breaks the CSP: {page}");
    }

    #[test]
    fn atk_35_deny_page_escapes_attacker_text() {
        let text = || ATTACK.to_owned();
        check(
            &Denied {
                heading: text(),
                app_title: Some(text()),
                sentence: text(),
                facts: vec![Fact { name: text(), value: text() }],
                steps_lead: "To do",
                steps: vec![text()],
                fixes: vec![FixLink { text: text(), url: text() }],
                identity: Some(text()),
                sign_out_url: text(),
                request_id: text(),
                decision_id: text(),
            }
            .render(),
        );
        check(&Frame { login_url: text(), request_id: text() }.render());
        check(
            &Notice {
                heading: text(),
                paragraphs: vec![text()],
                command: Some(text()),
                links: vec![Link { text: text(), url: text() }],
                request_id: Some(text()),
            }
            .render(),
        );
    }

    #[test]
    fn stored_script_in_names_is_escaped_on_every_signed_in_page() {
        let text = || ATTACK.to_owned();
        check(
            &Launchpad {
                identity: text(),
                is_admin: true,
                offers_passkey: true,
                notices: vec![NoticeLine { at: (text(), text()), stamp: text(), text: text(), token: Some(text()) }],
                tiles: vec![Tile { title: text(), host: text(), url: text(), hint: Some(text()) }],
                sessions: vec![SessionRow {
                    id: text(),
                    user_agent: text(),
                    network: text(),
                    since: (text(), text()),
                    last_used: (text(), text()),
                    is_current: true,
                }],
                token: text(),
            }
            .render(),
        );
        check(&SignOut { identity: text(), action_url: text(), token: text() }.render());
        check(
            &StepUp {
                app_title: text(),
                action_text: text(),
                window_text: text(),
                identity: text(),
                asks_person: true,
                password_url: Some(text()),
                advice: vec![text()],
                begin_url: text(),
                finish_url: text(),
                transaction: text(),
                cancel_url: text(),
            }
            .render(),
        );
        check(
            &SignIn {
                app_title: Some(text()),
                notice: Some(text()),
                password_url: Some(text()),
                begin_url: text(),
                finish_url: text(),
                transaction: text(),
            }
            .render(),
        );
        check(
            &Enrol {
                heading: text(),
                lead: text(),
                asks_identity: false,
                is_recovery: true,
                old: vec![(text(), text())],
                name: text(),
                email: text(),
                begin_url: text(),
                finish_url: text(),
                transaction: text(),
                expires: (text(), text()),
            }
            .render(),
        );
    }
}
