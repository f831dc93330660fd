//! Live updates, step-up, and what a stolen assertion is worth.

use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pep_gateway::assertion::HEADER;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::arrive::{fix_url, greets};
use super::step::Step;
use super::{AT_ONCE, Cast, Player};
use crate::demo::browser::Live;
use crate::demo::https::read;
use crate::demo::running::ALICE;
use crate::demo::stage::WIKI_HOST;
use crate::demo::websocket::{Arrived, Frame};
use crate::output;

pub(super) async fn wiki_is_followed(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let page = cast.wiki("/pages/welcome")?;
    // Carol is signed in on the auth host; the wiki costs her no second prompt.
    let opened = cast.carol.browser.page(&page).await?;
    step.decided(&opened, 200, "ALLOW", "allow");
    let (access, live) = step.timed(cast.alice.browser.websocket(&page, "/live")).await?;
    step.recorded(access, "ALLOW", "allow");
    cast.alice_live = Some(live);
    let (access, mut events) = cast.alice.browser.events(&page, "/events").await?;
    step.recorded(access, "ALLOW", "allow");
    step.contains("the event stream", &piece(&mut events).await?, ": live");
    cast.alice_events = Some(events);
    let (access, live) = cast.carol.browser.websocket(&page, "/live").await?;
    step.recorded(access, "ALLOW", "allow");
    cast.carol_live = Some(live);
    let refused = cast.bob.browser.websocket(&page, "/live").await.err();
    step.contains("bob's attempt", &refused.map(|refusal| refusal.to_string()).unwrap_or_default(), "403");
    step.saw("two WebSockets and an event stream open; bob's WebSocket is refused before 101");
    Ok(())
}

/// The next piece of an event stream.
pub(super) async fn piece(events: &mut Incoming) -> Result<String> {
    let frame = tokio::time::timeout(AT_ONCE, events.frame()).await.context("nothing came on the event stream")?;
    let data = frame.context("the event stream ended")??.into_data().unwrap_or_default();
    Ok(String::from_utf8_lossy(&data).into_owned())
}

pub(super) async fn edit_arrives(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let page = cast.wiki("/pages/welcome")?;
    let started = Instant::now();
    let saved = cast.alice.browser.submit(&page, "/pages/welcome", &[("text", "first light")]).await?;
    step.decided(&saved, 303, "ALLOW", "allow");
    let mut slowest = started;
    for (who, live) in [("alice", &mut cast.alice_live), ("carol", &mut cast.carol_live)] {
        let arrived = edit(live, who).await?;
        step.contains(format!("what {who} sees"), &arrived.1, "first light");
        slowest = slowest.max(arrived.0);
    }
    if let Some(events) = &mut cast.alice_events {
        step.contains("what her event stream brings", &piece(events).await?, "first light");
    }
    step.took(slowest.duration_since(started));
    step.saw("saved by alice, on both screens");
    Ok(())
}

/// The next edit on a live line, and when it came.
pub(super) async fn edit(live: &mut Option<Live>, who: &str) -> Result<(Instant, String)> {
    let live = live.as_mut().with_context(|| format!("{who} has no live line"))?;
    match tokio::time::timeout(AT_ONCE, live.next()).await {
        Ok(Some(Arrived { at, frame: Frame::Text(text) })) => Ok((at, text)),
        Ok(Some(Arrived { frame, .. })) => Err(anyhow!("{who} got {frame:?} instead of an edit")),
        Ok(None) => Err(anyhow!("{who}'s line ended")),
        Err(_) => Err(anyhow!("nothing came on {who}'s line within {} s", AT_ONCE.as_secs())),
    }
}

pub(super) async fn payroll_opens(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let payroll = cast.payroll("/")?;
    let page = step.timed(cast.alice.browser.page(&payroll)).await?;
    step.decided(&page, 200, "ALLOW", "allow");
    step.contains("the page", &page.body, "<h1>Salaries</h1>");
    greets(step, &page, &ALICE);
    step.saw("door, auth host, hand-off, page: no prompt");
    Ok(())
}

pub(super) async fn delete_asks(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let page = cast.payroll("/")?;
    let answer = step.timed(cast.alice.browser.fetch(&page, Method::DELETE, "/salaries/1", None)).await?;
    step.decided(&answer, 401, "STEP_UP", "step_up.reauth");
    let (challenge, problem) = (answer.header("www-authenticate"), answer.json());
    step.contains("the challenge", challenge, "error=\"insufficient_user_authentication\"");
    step.same("code", output::text(&problem, "code"), "step_up_required");
    let fix = fix_url(&problem).context("the problem names no way to confirm")?;
    cast.confirm_at = Some(fix.parse()?);
    step.same("salaries left", salaries(cast).await?, 3);
    step.saw(format!("401 {challenge}"));
    Ok(())
}

pub(super) async fn delete_after_passkey(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let page = cast.payroll("/")?;
    let confirm_at = cast.confirm_at.take().context("she was not told where to confirm")?;
    let Player { browser, device } = &mut cast.alice;
    let deleted = step
        .timed(async {
            let confirm = browser.page(&confirm_at).await?;
            let (_, next) = browser.ceremony(&confirm, device, None).await?;
            let back = browser.page(&next).await?;
            let deleted = browser.fetch(&page, Method::DELETE, "/salaries/1", None).await?;
            anyhow::Ok((back, deleted))
        })
        .await?;
    step.same("back where she was", deleted.0.url.as_str(), page.as_str());
    step.decided(&deleted.1, 204, "ALLOW", "allow");
    step.same("salaries left", salaries(cast).await?, 2);
    step.saw("confirmed with the passkey, back on the page, deleted");
    Ok(())
}

pub(super) async fn change_asks_again(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let page = cast.payroll("/")?;
    let raise = json!({ "euros": 99_000 });
    let answer = step.timed(cast.alice.browser.fetch(&page, Method::PUT, "/salaries/2", Some(&raise))).await?;
    step.decided(&answer, 401, "STEP_UP", "step_up.reauth");
    step.same("code", output::text(&answer.json(), "code"), "step_up_required");
    step.saw("PUT right after the confirmed DELETE: 401, confirm for this");
    Ok(())
}

/// How many salaries the app has, as alice sees them.
async fn salaries(cast: &mut Cast<'_>) -> Result<usize> {
    let page = cast.payroll("/")?;
    let list = cast.alice.browser.fetch(&page, Method::GET, "/salaries", None).await?;
    Ok(list.json().as_object().map_or(0, serde_json::Map::len))
}

pub(super) async fn replay_is_refused(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let page = cast.wiki("/pages/welcome")?;
    let answer = cast.alice.browser.fetch(&page, Method::GET, "/pages/welcome", None).await?;
    step.decided(&answer, 200, "ALLOW", "allow");
    let stolen = cast.running.wiki.newest().context("the wiki saw no assertion")?;
    // The thief is on the machine and talks to the app itself, past the gateway.
    let same = past_the_gateway(cast, Method::GET, "/pages/welcome", Some(&stolen)).await?;
    step.same("the very same request again", same.0, StatusCode::OK);
    let (status, text) = step.timed(past_the_gateway(cast, Method::GET, "/pages/plans", Some(&stolen))).await?;
    step.same("another path", status, StatusCode::FORBIDDEN);
    step.contains("what the app says", &text, "the assertion was made for another request");
    for (what, method, target, token) in [
        ("another method", Method::POST, "/pages/welcome", Some(stolen.as_str())),
        ("another query", Method::GET, "/pages/welcome?x", Some(stolen.as_str())),
        ("no assertion", Method::GET, "/pages/welcome", None),
    ] {
        let (status, _) = past_the_gateway(cast, method, target, token).await?;
        step.same(what, status, StatusCode::FORBIDDEN);
    }
    step.verdict("REFUSED by the app");
    step.saw(format!("the very same request: 200; another path, method or query: 403 “{}”", text.trim()));
    Ok(())
}

/// A request straight to the wiki's loopback port.
async fn past_the_gateway(
    cast: &Cast<'_>,
    method: Method,
    target: &str,
    token: Option<&str>,
) -> Result<(StatusCode, String)> {
    let stream = TcpStream::connect(("127.0.0.1", cast.running.ports.wiki)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request =
        Request::builder().method(method).uri(target).header(header::HOST, cast.running.door.authority(WIKI_HOST));
    if let Some(token) = token {
        request = request.header(HEADER, token);
    }
    let response = sender.send_request(request.body(Full::<Bytes>::default())?).await?;
    let status = response.status();
    Ok((status, String::from_utf8_lossy(&read(response).await?).into_owned()))
}

/// Whether a revocation in an API answer cut streams, and how many.
pub(super) fn streams_cut(answer: &Value) -> u64 {
    let revocations = answer.get("revocations").and_then(Value::as_array).into_iter().flatten();
    let gateways = revocations.filter_map(|revocation| revocation.get("gateways").and_then(Value::as_array)).flatten();
    gateways.filter_map(|gateway| gateway.get("streams").and_then(Value::as_u64)).sum()
}
