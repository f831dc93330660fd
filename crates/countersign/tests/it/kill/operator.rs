//! The operator who changes things while the product is killed: ends sessions, disables and enables people, applies one
//! configuration and then the other. Notes of every change whether it was answered.

use std::time::Instant;

use countersign::client::{ApiError, Client, segment};
use serde_json::{Value, json};

use tokio::sync::watch;

use super::rng::Rng;
use super::sides::Side;

/// So many sessions and people are taken away in one run at most; then there are only configurations.
const MOST_ENDS: usize = 2;

/// A change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Apply(Side),
    Disable(usize),
    Enable(usize),
    /// Every session of a person.
    EndAll(usize),
    /// One session.
    EndOne(usize),
}

/// A change that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) change: Change,
    /// When the answer came, and what it was; `None` when the product was killed before.
    pub(super) answered: Option<(Instant, Value)>,
}

/// What the operator works with.
pub(super) struct Operator {
    pub(super) client: Client,
    pub(super) emails: Vec<String>,
    /// Ids of sessions by their places.
    pub(super) ids: Vec<String>,
    /// The places of those that live.
    pub(super) live: Vec<usize>,
    /// What to apply next.
    pub(super) next: Side,
    pub(super) app_port: u16,
    /// Told how many changes were answered.
    pub(super) progress: watch::Sender<usize>,
    pub(super) rng: Rng,
}

impl Operator {
    /// Changes one thing after another until the product does not answer any more.
    pub(super) async fn run(mut self) -> Vec<Asked> {
        let mut asked: Vec<Asked> = Vec::new();
        let mut ends = 0;
        loop {
            let change = match asked.last() {
                Some(Asked { change: Change::Disable(person), .. }) => Change::Enable(*person),
                _ => self.choose(ends < MOST_ENDS),
            };
            ends += usize::from(matches!(change, Change::Disable(_) | Change::EndAll(_) | Change::EndOne(_)));
            let answered = self.ask(change).await.map(|answer| (Instant::now(), answer));
            let is_over = answered.is_none();
            asked.push(Asked { change, answered });
            if is_over {
                return asked;
            }
            self.progress.send_replace(asked.len());
        }
    }

    fn choose(&mut self, may_end: bool) -> Change {
        let person = self.rng.below(self.emails.len());
        match self.rng.below(8) {
            0..3 if may_end && !self.live.is_empty() => {
                let at = self.rng.below(self.live.len());
                Change::EndOne(self.live.swap_remove(at))
            }
            3 if may_end => Change::EndAll(person),
            4 if may_end => Change::Disable(person),
            _ => {
                let side = self.next;
                self.next = side.other();
                Change::Apply(side)
            }
        }
    }

    /// `None` when no answer came. A refusal is a defect, but for a session that an earlier change ended.
    async fn ask(&self, change: Change) -> Option<Value> {
        match self.call(change).await {
            Ok(answer) => Some(answer),
            Err(error) if error.downcast_ref::<ApiError>().is_none() => None,
            Err(error) if matches!(change, Change::EndOne(_)) && error.to_string().contains("live") => {
                Some(Value::Null)
            }
            Err(error) => panic!("{change:?} was refused: {error:#}"),
        }
    }

    async fn call(&self, change: Change) -> anyhow::Result<Value> {
        let nothing = json!({});
        let user = |person: usize| segment(&self.emails[person]);
        match change {
            Change::Apply(side) => self.client.post("/api/v1/config/apply", &side.files(self.app_port)).await,
            Change::Disable(person) => {
                self.client.post(&format!("/api/v1/users/{}/disable", user(person)), &nothing).await
            }
            Change::Enable(person) => {
                self.client.post(&format!("/api/v1/users/{}/enable", user(person)), &nothing).await
            }
            Change::EndAll(person) => {
                self.client.post("/api/v1/sessions/revoke", &json!({ "user": self.emails[person] })).await
            }
            Change::EndOne(session) => {
                self.client.post("/api/v1/sessions/revoke", &json!({ "session": self.ids[session] })).await
            }
        }
    }
}
