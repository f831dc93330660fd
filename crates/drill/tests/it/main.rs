//! The drill against proxies written here: one that is bad in known ways must fail the cases that show them, and one that
//! does nothing wrong with them must not. A drill that cannot fail proves nothing.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

mod differential;
mod proxies;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use drill::{CaseResult, DrillError, Echo, Options, Outcome, ScoreCard, Target, Verdict, run};

use proxies::Proxy;

/// Names of what must and must not fail.
fn failures(card: &ScoreCard) -> BTreeSet<String> {
    card.failures().map(|result| format!("{} {}", result.attack, result.case)).collect()
}

async fn echo() -> Echo {
    Echo::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

async fn options(proxy: &Proxy) -> Options {
    let target = Target::resolve(&format!("http://{}", proxy.address), Some("app.localhost")).await.unwrap();
    let mut options = Options::new(target);
    options.deny_path = Some("/admin".to_owned());
    options.identity_headers = vec!["X-Forwarded-User".to_owned()];
    options.case_limit = Duration::from_millis(400);
    options.start_limit = Duration::from_secs(5);
    options
}

fn outcome<'a>(card: &'a ScoreCard, attack: &str, case: &str) -> (&'a CaseResult, Outcome) {
    let result = card.results.iter().find(|result| result.attack == attack && result.case == case);
    let result = result.unwrap_or_else(|| panic!("{attack} {case} was not played"));
    match &result.verdict {
        Verdict::Passed { outcome, .. } | Verdict::Failed { outcome, .. } => (result, *outcome),
        other => panic!("{attack} {case}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_looks_at_the_first_line_only_fails_what_it_lets_through() {
    let echo = echo().await;
    let proxy = Proxy::relay(echo.address()).await;
    let card = run(&options(&proxy).await, &echo, |_| {}).await.unwrap();
    for (attack, case, expected) in [
        ("ATK-1", "content-length before transfer-encoding", Outcome::Unchanged),
        ("ATK-2", "identity, chunked", Outcome::Unchanged),
        ("ATK-3", "a plus sign", Outcome::Unchanged),
        ("ATK-4", "a request behind an unknown upgrade is judged alone", Outcome::Bypassed),
        ("ATK-6", "a bare line feed in a value", Outcome::Unchanged),
        ("ATK-7", "a negative size", Outcome::Unchanged),
        ("ATK-8", "two hosts", Outcome::Unchanged),
        ("ATK-12", "more bytes than the length says", Outcome::Refused),
        ("ATK-13", "the refused path itself", Outcome::Refused),
        ("ATK-13", "a dot-dot segment", Outcome::Bypassed),
        ("ATK-13", "two slashes", Outcome::Bypassed),
        ("ATK-16", "a public path in the query", Outcome::Refused),
        ("ATK-21", "as it is", Outcome::Leaked),
        ("ATK-22", "underscores", Outcome::Leaked),
    ] {
        let (result, seen) = outcome(&card, attack, case);
        assert_eq!(seen, expected, "{result:?}");
    }
    let tally = card.tally(None);
    assert!(tally.failed > 80, "{tally:?}");
    let text = card.to_text();
    assert!(
        text.contains("ATK-13  FAIL") && text.contains("not applicable: the proxy does not offer HTTP/2"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_reads_with_the_gate_and_shares_no_connection_fails_nothing() {
    let echo = echo().await;
    let proxy = Proxy::gate(echo.address()).await;
    let card = run(&options(&proxy).await, &echo, |_| {}).await.unwrap();
    assert_eq!(failures(&card), BTreeSet::new(), "{}", card.to_text());
    assert!(card.tally(None).passed > 150, "{}", card.to_text());
    let (_, seen) = outcome(&card, "ATK-4", "the body of a get is not a second request");
    assert_eq!(seen, Outcome::Forwarded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_shares_upstream_connections_without_looking_hands_out_the_answers_of_others() {
    let echo = echo().await;
    let proxy = Proxy::sharing(echo.address()).await;
    let mut options = options(&proxy).await;
    options.only = vec!["ATK-12".to_owned()];
    let card = run(&options, &echo, |_| {}).await.unwrap();
    let (result, seen) = outcome(&card, "ATK-12", "more bytes than the length says");
    assert_eq!(seen, Outcome::Smuggled, "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_as_said_cannot_be_judged() {
    let echo = echo().await;
    let proxy = Proxy::gate(echo.address()).await;
    let mut options = options(&proxy).await;
    options.start_limit = Duration::from_millis(300);
    options.deny_path = Some("/no-rule-for-this".to_owned());
    let error = run(&options, &echo, |_| {}).await.unwrap_err();
    assert!(matches!(&error, DrillError::Unusable(why) if why.contains("`/no-rule-for-this`")), "{error}");

    options.allow_path = "/admin".to_owned();
    let error = run(&options, &echo, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("did not come through"), "{error}");

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    options.target = Target::resolve(&format!("http://{}", silent.local_addr().unwrap()), None).await.unwrap();
    let error = run(&options, &echo, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_was_not_named_is_not_judged() {
    let echo = echo().await;
    let proxy = Proxy::gate(echo.address()).await;
    let mut options = options(&proxy).await;
    options.deny_path = None;
    options.identity_headers.clear();
    options.only = vec!["ATK-13".to_owned(), "atk-21".to_owned(), "ATK-48".to_owned(), "ATK-45".to_owned()];
    let card = run(&options, &echo, |_| {}).await.unwrap();
    let tally = card.tally(None);
    assert_eq!((tally.passed, tally.failed), (0, 0), "{}", card.to_text());
    assert!(tally.not_applicable > 20 && tally.own_tests == 1, "{tally:?}");
    assert!(card.to_text().contains("played by countersign/tests/it/attacks/live.rs"));
}
