//! Nobody, set-up, enrolment, sign-in, and a no with a reason.

use anyhow::Result;
use http::Method;
use serde_json::Value;

use super::step::Step;
use super::{Cast, Player, first_link};
use crate::demo::browser::{Answer, Browser};
use crate::demo::running::{ALICE, BOB, FirstStep, Persona};
use crate::demo::stage::AUTH_HOST;
use crate::output;

/// How many recovery codes a person gets (ID-5).
const RECOVERY_CODES: usize = 10;

pub(super) async fn nobody_navigates(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let url = cast.wiki("/pages/welcome")?;
    let answer = step.timed(cast.stranger.open(&url)).await?;
    step.decided(&answer, 303, "DENY", "deny.no_session");
    let sign_in = cast.running.door.url(AUTH_HOST, "/login?app=wiki&rt=");
    step.contains("where it leads", answer.header("location"), &sign_in);
    step.same("cache-control", answer.header("cache-control"), "no-store");
    step.saw(format!("navigation to {url}: 303 to the sign-in page"));
    Ok(())
}

pub(super) async fn nobody_fetches(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let page = cast.wiki("/")?;
    let answer = step.timed(cast.stranger.fetch(&page, Method::GET, "/pages/welcome", None)).await?;
    step.decided(&answer, 401, "DENY", "deny.no_session");
    let problem = answer.json();
    step.same("code", output::text(&problem, "code"), "login_required");
    step.contains("login_url", &output::text(&problem, "login_url"), &cast.running.door.url(AUTH_HOST, "/login"));
    step.same("www-authenticate", answer.header("www-authenticate"), "Countersign");
    step.same("content-type", answer.header("content-type"), "application/problem+json");
    step.saw(format!("fetch: 401 {} with login_url", output::text(&problem, "code")));
    Ok(())
}

pub(super) async fn carol_sets_up(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let first = &cast.running.carol;
    let codes = step.timed(enrol(first, &mut cast.carol, Some(("Carol", "carol@example.org")))).await?;
    codes.check(step);
    let again = cast.stranger.open(&first_link(first)?).await?;
    step.same("the link a second time", again.status.as_u16(), 410);
    let answer = cast.carol.browser.fetch(&cast.auth("/")?, Method::GET, "/api/v1/status", None).await?;
    step.decided(&answer, 200, "ALLOW", "allow");
    step.saw("a passkey, ten recovery codes shown once, the link used up, the API open to her");
    Ok(())
}

pub(super) async fn alice_enrols(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let codes = step.timed(enrol(&cast.running.alice, &mut cast.alice, None)).await?;
    codes.check(step);
    let again = cast.stranger.open(&first_link(&cast.running.alice)?).await?;
    step.same("the link a second time", again.status.as_u16(), 410);
    step.saw(format!("a passkey for {}, ten recovery codes shown once, the link used up", ALICE.email));
    Ok(())
}

pub(super) async fn alice_signs_in(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    // Another browser on the same device: nothing but the passkey remembers her.
    cast.alice.browser = Browser::new("alice", cast.running.door.clone());
    let wiki = cast.wiki("/pages/welcome")?;
    let Player { browser, device } = &mut cast.alice;
    let page = step
        .timed(async {
            let sign_in = browser.page(&wiki).await?;
            let (_, next) = browser.ceremony(&sign_in, device, None).await?;
            browser.page(&next).await
        })
        .await?;
    step.decided(&page, 200, "ALLOW", "allow");
    step.same("the page she wanted", page.url.as_str(), wiki.as_str());
    greets(step, &page, &ALICE);
    step.saw("sign-in page, passkey, hand-off to the wiki's own host, the page she had asked for, with her name");
    Ok(())
}

pub(super) async fn bob_is_denied(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    enrol(&cast.running.bob, &mut cast.bob, None).await?.check(step);
    let wiki = cast.wiki("/pages/welcome")?;
    let visited = step.timed(cast.bob.browser.visit(&wiki)).await?;
    let Some(page) = visited.last() else { return Ok(()) };
    step.decided(page, 403, "DENY", "deny.policy");
    let sentence = model::Reason::Forbidden.sentence();
    step.contains("the page", &page.body, sentence);
    step.contains("who it says is signed in", &page.body, BOB.email);
    step.contains("the request id on the page", &page.body, &page.access());
    step.same("names the policy to a person who may not know", page.body.contains("wiki/contractors"), false);
    step.saw(format!("“{sentence}”"));
    Ok(())
}

/// The codes page, twice, and "I have saved them".
struct Codes {
    finished: Answer,
    first: Answer,
    second: Answer,
    saved: Answer,
}

impl Codes {
    fn check(&self, step: &mut Step) {
        step.decided(&self.finished, 200, "ALLOW", "allow");
        step.decided(&self.first, 200, "ALLOW", "allow");
        step.same("recovery codes", self.first.body.matches("<li><code>").count(), RECOVERY_CODES);
        step.same("recovery codes a second time", self.second.body.contains("<li><code>"), false);
        step.decided(&self.saved, 303, "ALLOW", "allow");
    }
}

/// Opens a link, makes a passkey, and looks at the recovery codes twice, and says they are saved.
async fn enrol(first: &FirstStep, player: &mut Player, person: Option<(&str, &str)>) -> Result<Codes> {
    let Player { browser, device } = player;
    let page = browser.page(&first_link(first)?).await?;
    let (finished, next) = browser.ceremony(&page, device, person).await?;
    let first = browser.page(&next).await?;
    let second = browser.page(&next).await?;
    let token = second.body.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let fields = [("token", token.unwrap_or_default()), ("saved", "yes")];
    let saved = browser.submit(&next, "/enrol/codes", &fields).await?;
    Ok(Codes { finished, first, second, saved })
}

/// The app knows who is there, from the assertion.
pub(super) fn greets(step: &mut Step, page: &Answer, persona: &Persona) {
    step.contains(
        "the app's greeting",
        &page.body,
        &format!("Signed in as <strong id=\"who\">{}</strong>", persona.name),
    );
}

/// A member of a problem document.
pub(super) fn fix_url(problem: &Value) -> Option<&str> {
    problem.get("fix")?.get(0)?.get("url")?.as_str()
}
