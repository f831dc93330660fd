//! The tour: a visit played through real sockets, every step checked against what was promised and against the record.
//! Not a test double in sight: TLS to the listener, the pages' own endpoints, the operator's socket.

mod arrive;
mod leave;
pub mod step;
mod work;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use hyper::body::Incoming;
use url::Url;

use self::step::{Outcome, Step};
use super::browser::{Browser, Live};
use super::passkey::Device;
use super::running::{FirstStep, Running};
use super::stage::{AUTH_HOST, PAYROLL_HOST, WIKI_HOST};

/// How long one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// How long something may take that should come at once.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A person with a browser and a passkey.
struct Player {
    browser: Browser,
    device: Device,
}

/// Everybody, and what they have open.
struct Cast<'a> {
    running: &'a Running,
    stranger: Browser,
    alice: Player,
    bob: Player,
    carol: Player,
    alice_live: Option<Live>,
    alice_events: Option<Incoming>,
    carol_live: Option<Live>,
    /// Where alice was told to confirm.
    confirm_at: Option<Url>,
    outcomes: Vec<Outcome>,
}

/// Plays the tour on a fresh demo and tells each outcome as it comes.
///
/// # Errors
/// The demo is not fresh. What goes wrong in a step is in its outcome.
pub async fn play(running: &Running, mut tell: impl FnMut(&Outcome)) -> Result<Vec<Outcome>> {
    let mut cast = Cast::new(running)?;
    macro_rules! steps {
        ($($title:literal => $play:path;)*) => {
            $(
                let outcome = cast.step($title, $play).await;
                tell(&outcome);
                cast.outcomes.push(outcome);
            )*
        };
    }
    steps! {
        "nobody gets in without an identity" => arrive::nobody_navigates;
        "a script without an identity is told, not redirected" => arrive::nobody_fetches;
        "carol opens the set-up link and becomes administrator" => arrive::carol_sets_up;
        "alice enrols by invitation" => arrive::alice_enrols;
        "alice signs in to the wiki with her passkey" => arrive::alice_signs_in;
        "bob, a contractor, is denied the wiki with a reason" => arrive::bob_is_denied;
        "alice and carol follow the wiki live" => work::wiki_is_followed;
        "an edit arrives on both screens" => work::edit_arrives;
        "alice sees the payroll without signing in again" => work::payroll_opens;
        "deleting a salary takes a fresh passkey" => work::delete_asks;
        "after the passkey the same request is allowed" => work::delete_after_passkey;
        "that confirmation is good for nothing else" => work::change_asks_again;
        "a stolen assertion replayed with another path is refused by the app" => work::replay_is_refused;
        "alice leaves engineering: her live lines are cut, carol's is not" => leave::alice_leaves;
        "alice is denied from now on" => leave::alice_is_denied;
        "bob's sessions are revoked" => leave::bob_is_revoked;
        "every step is found again in the record" => leave::all_is_recorded;
    }
    Ok(cast.outcomes)
}

impl<'a> Cast<'a> {
    fn new(running: &'a Running) -> Result<Self> {
        if [&running.carol, &running.alice, &running.bob].into_iter().any(|first| matches!(first, FirstStep::SignIn)) {
            bail!(
                "the tour needs a demo that nobody has used yet; add `--fresh` or choose another folder with `--data`"
            );
        }
        let player = |name| {
            let device = Device::new(&running.door.url(AUTH_HOST, ""))?;
            anyhow::Ok(Player { browser: Browser::new(name, running.door.clone()), device })
        };
        Ok(Self {
            running,
            stranger: Browser::new("nobody", running.door.clone()),
            alice: player("alice")?,
            bob: player("bob")?,
            carol: player("carol")?,
            alice_live: None,
            alice_events: None,
            carol_live: None,
            confirm_at: None,
            outcomes: Vec::new(),
        })
    }

    async fn step<F>(&mut self, title: &'static str, play: F) -> Outcome
    where
        F: AsyncFnOnce(&mut Cast<'a>, &mut Step) -> Result<()>,
    {
        let (mut step, started) = (Step::default(), Instant::now());
        match tokio::time::timeout(STEP_LIMIT, play(self, &mut step)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => step.failed(format!("{error:#}")),
            Err(_) => step.failed(format!("not done within {} s", STEP_LIMIT.as_secs())),
        }
        step.finish(self.outcomes.len() + 1, title, started.elapsed(), &self.running.client).await
    }

    fn auth(&self, target: &str) -> Result<Url> {
        Ok(self.running.door.url(AUTH_HOST, target).parse()?)
    }

    fn wiki(&self, target: &str) -> Result<Url> {
        Ok(self.running.door.url(WIKI_HOST, target).parse()?)
    }

    fn payroll(&self, target: &str) -> Result<Url> {
        Ok(self.running.door.url(PAYROLL_HOST, target).parse()?)
    }
}

fn first_link(first: &FirstStep) -> Result<Url> {
    match first {
        FirstStep::Link(url) => Ok(url.parse()?),
        FirstStep::SignIn => Err(anyhow!("there is no link")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::stage::Stage;

    async fn tour(change: impl AsyncFnOnce(&Running)) -> Vec<Outcome> {
        let base = tempfile::tempdir().unwrap();
        let running = Running::start(&base.path().join("demo"), 0).await.unwrap();
        change(&running).await;
        let outcomes = play(&running, |_| {}).await.unwrap();
        running.stop().await;
        outcomes
    }

    fn failed(outcomes: &[Outcome]) -> Vec<(usize, &[String])> {
        outcomes.iter().filter(|outcome| !outcome.ok).map(|outcome| (outcome.step, &*outcome.failures)).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_step_of_the_tour_is_as_promised() {
        let outcomes = tour(async |_| {}).await;
        assert_eq!(failed(&outcomes), []);
        assert_eq!(outcomes.len(), 17);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_policy_that_lets_too_many_in_makes_the_tour_fail_where_it_shows() {
        let lax = r#"@id("all") permit (principal, action in Action::"http", resource);"#;
        let outcomes = tour(async |running| {
            let folder = running.stage.write_config(running.ports).unwrap();
            std::fs::write(folder.join("wiki.cedar"), lax).unwrap();
            std::fs::write(folder.join("payroll.cedar"), "").unwrap();
            let files = crate::commands::apply::read(&folder).unwrap();
            running.client.post("/api/v1/config/apply", &serde_json::json!({ "files": files })).await.unwrap();
        })
        .await;
        let failed: Vec<usize> = failed(&outcomes).into_iter().map(|(step, _)| step).collect();
        for step in [6, 7, 10, 12, 14, 15] {
            assert!(failed.contains(&step), "step {step} did not notice; failed: {failed:?}");
        }
        for step in [1, 2, 3, 4, 5, 13] {
            assert!(!failed.contains(&step), "step {step} has nothing to do with it; failed: {failed:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_demo_that_was_used_is_not_toured_and_starts_again_with_its_people() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("demo");
        let running = Running::start(&folder, 0).await.unwrap();
        assert!(play(&running, |_| {}).await.unwrap().iter().all(|outcome| outcome.ok));
        running.stop().await;
        let again = Running::start(&folder, 0).await.unwrap();
        let refusal = play(&again, |_| {}).await.err().unwrap().to_string();
        assert!(refusal.contains("--fresh"), "{refusal}");
        let alice = again.client.get("/api/v1/users/alice@example.org").await.unwrap();
        assert_eq!((&alice["state"], &alice["groups"][0]), (&"active".into(), &"engineering".into()));
        assert!(Stage::remove(&folder).unwrap_err().to_string().contains("running"));
        again.stop().await;
        Stage::remove(&folder).unwrap();
    }
}
