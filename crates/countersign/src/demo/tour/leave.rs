//! Access that ends: a group left, sessions revoked; and the record of it all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};

use super::step::{Decided, Step};
use super::work::{edit, piece, streams_cut};
use super::{AT_ONCE, Cast};
use crate::client::segment;
use crate::demo::running::{ALICE, BOB};
use crate::demo::websocket::Frame;
use crate::output;

/// How soon a line that lost its right must be dead (GW-56).
const CUT_WITHIN: Duration = Duration::from_secs(1);
/// More than the tour writes.
const RECORDS: &str = "1000";

pub(super) async fn alice_leaves(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let console = cast.auth("/")?;
    let target = format!("/api/v1/groups/{}/members/{}", ALICE.group, segment(ALICE.email));
    let mut alice_live = cast.alice_live.take().context("alice has no live line")?;
    let mut alice_events = cast.alice_events.take().context("alice has no event stream")?;
    let started = Instant::now();
    let answer = cast.carol.browser.fetch(&console, Method::DELETE, &target, None).await?;
    step.decided(&answer, 200, "ALLOW", "allow");
    step.same("streams cut, as the API tells", streams_cut(&answer.json()), 2);
    match tokio::time::timeout(AT_ONCE, alice_live.next()).await.ok().flatten() {
        Some(arrived) => {
            let after = arrived.at.duration_since(started);
            step.same("how alice's line ends", arrived.frame, Frame::Close(1008));
            step.same("cut within a second", after <= CUT_WITHIN, true);
            step.took(after);
            step.verdict("CUT facts_changed");
            step.saw(format!(
                "alice: close 1008 after {:.1} ms, her event stream broken off",
                after.as_secs_f64() * 1e3
            ));
        }
        None => step.failed("alice's line did not end with a close"),
    }
    // Broken off rather than finished: a proper end would look like all there was (GW-57).
    let end = piece(&mut alice_events).await.err().map(|error| error.is::<hyper::Error>());
    step.same("is the event stream broken off", end, Some(true));

    let page = cast.wiki("/pages/welcome")?;
    let saved = cast.carol.browser.submit(&page, "/pages/welcome", &[("text", "second light")]).await?;
    step.same("carol's edit", saved.status.as_u16(), 303);
    let (_, text) = edit(&mut cast.carol_live, "carol").await?;
    step.contains("what carol sees", &text, "second light");
    step.same("a byte for alice afterwards", alice_live.next().await.is_some(), false);
    step.saw("carol: still live, and the next edit arrived");
    Ok(())
}

pub(super) async fn alice_is_denied(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let wiki = cast.wiki("/pages/welcome")?;
    let answer = step.timed(cast.alice.browser.open(&wiki)).await?;
    step.decided(&answer, 403, "DENY", "deny.default");
    step.contains("the page", &answer.body, model::Reason::NotPermitted.sentence());
    let page = cast.payroll("/")?;
    let answer = cast.alice.browser.fetch(&page, Method::DELETE, "/salaries/2", None).await?;
    step.decided(&answer, 403, "DENY", "deny.default");
    step.saw(format!(
        "“{}”; her confirmation in payroll is worth nothing any more",
        model::Reason::NotPermitted.sentence()
    ));
    Ok(())
}

pub(super) async fn bob_is_revoked(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let before = cast.bob.browser.open(&cast.auth("/")?).await?;
    step.decided(&before, 200, "ALLOW", "allow");
    let body = json!({ "user": BOB.email });
    let answer = step.timed(cast.running.client.post("/api/v1/sessions/revoke", &body)).await?;
    let sessions = answer.pointer("/revocations/0/sessions").and_then(Value::as_array).map_or(0, Vec::len);
    step.same("sessions ended", sessions, 1);
    let page = cast.wiki("/")?;
    let after = cast.bob.browser.fetch(&page, Method::GET, "/", None).await?;
    step.decided(&after, 401, "DENY", "deny.session_revoked");
    step.same("code", output::text(&after.json(), "code"), "session_revoked");
    step.saw("his cookies are still there and open nothing");
    Ok(())
}

pub(super) async fn all_is_recorded(cast: &mut Cast<'_>, step: &mut Step) -> Result<()> {
    let client = &cast.running.client;
    let query = [("type", "access.decision".to_owned()), ("limit", RECORDS.to_owned())];
    let answer = step.timed(client.get_with("/api/v1/audit/records", &query)).await?;
    step.same("has the whole log been looked at", answer.get("complete").and_then(Value::as_bool), Some(true));
    let records = answer.get("records").and_then(Value::as_array).cloned().unwrap_or_default();
    let decided: Vec<Decided> = cast.outcomes.iter().flat_map(|outcome| outcome.accesses.clone()).collect();
    for Decided { access, effect, reason } in &decided {
        let mut of_access = records.iter().filter(|record| output::text(record, "access_id") == *access);
        match of_access.next() {
            Some(record) => {
                step.same("effect", output::text(record, "effect"), *effect);
                step.same("reason", output::text(record, "reason"), *reason);
            }
            None => step.failed(format!("the access {access} is not in `audit query`")),
        }
        step.same(format!("records of {access} beside the first"), of_access.count(), 0);
        let story = client.get(&format!("/api/v1/audit/records/{}", segment(access))).await?;
        step.contains("`audit explain`", &output::text(&story, "text"), reason);
    }
    step.verdict("FOUND");
    step.saw(format!("{} decisions found by `audit query` and told by `audit explain`", decided.len()));
    let receipts = client.get_with("/api/v1/audit/records", &[("type", "revocation.receipt".to_owned())]).await?;
    let receipts = receipts.get("records").and_then(Value::as_array).map_or(0, Vec::len);
    step.same("are there receipts of the cuts", receipts >= 2, true);
    step.saw(format!("{receipts} signed receipts of withdrawals"));
    Ok(())
}
