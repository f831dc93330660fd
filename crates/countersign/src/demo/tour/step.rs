//! One step of the tour: what was promised, what was seen, and which records must tell the same.

use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde_json::Value;

use crate::client::Client;
use crate::demo::browser::Answer;
use crate::output;

/// What became of a step.
#[derive(Clone, Serialize)]
pub struct Outcome {
    /// From 1.
    pub step: usize,
    /// What is shown.
    pub title: &'static str,
    /// Whether everything was as promised.
    pub ok: bool,
    /// The effect in the record of its last decision: `ALLOW`, `DENY` or `STEP_UP`.
    pub effect: String,
    /// The reason code beside it.
    pub reason: String,
    /// The same for people; steps whose point lies beyond the gateway say it in their own words.
    pub verdict: String,
    /// How long the part took that matters.
    pub ms: f64,
    /// What was seen.
    pub seen: Vec<String>,
    /// What was not as promised.
    pub failures: Vec<String>,
    /// The decisions it caused; each is in the record.
    pub accesses: Vec<Decided>,
}

/// A decision that a step relied on.
#[derive(Clone, Serialize)]
pub struct Decided {
    /// `X-Request-Id`.
    pub access: String,
    /// The promised effect.
    pub effect: &'static str,
    /// The promised reason code.
    pub reason: &'static str,
}

/// A step being played.
#[derive(Default)]
pub struct Step {
    took: Option<Duration>,
    verdict: Option<&'static str>,
    seen: Vec<String>,
    failures: Vec<String>,
    decided: Vec<Decided>,
}

impl Step {
    /// Measures the part that matters.
    pub async fn timed<T>(&mut self, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let done = work.await;
        self.took = Some(started.elapsed());
        done
    }

    /// Sets the time of the part that matters.
    pub fn took(&mut self, time: Duration) {
        self.took = Some(time);
    }

    /// Says in other words than the last decision's what came of it.
    pub fn verdict(&mut self, words: &'static str) {
        self.verdict = Some(words);
    }

    /// Tells something that was seen.
    pub fn saw(&mut self, text: impl Into<String>) {
        self.seen.push(text.into());
    }

    /// Notes a failure.
    pub fn failed(&mut self, text: impl Into<String>) {
        self.failures.push(text.into());
    }

    /// Promises that two things are the same.
    pub fn same<T: PartialEq<U> + Debug, U: Debug>(&mut self, what: impl Display, got: T, expected: U) {
        if got != expected {
            self.failures.push(format!("{what}: expected {expected:?}, got {got:?}"));
        }
    }

    /// Promises that a text contains another.
    pub fn contains(&mut self, what: impl Display, text: &str, expected: &str) {
        if !text.contains(expected) {
            let got: String = text.chars().take(200).collect();
            self.failures.push(format!("{what}: expected `{expected}` in it, got `{got}`"));
        }
    }

    /// Promises an answer with this status, decided and recorded like this.
    pub fn decided(&mut self, answer: &Answer, status: u16, effect: &'static str, reason: &'static str) {
        self.same(format!("status of {}", answer.url.path()), answer.status.as_u16(), status);
        self.recorded(answer.access(), effect, reason);
    }

    /// Promises a record with this effect and reason.
    pub fn recorded(&mut self, access: String, effect: &'static str, reason: &'static str) {
        match access.is_empty() {
            true => self.failures.push("an answer came without X-Request-Id".to_owned()),
            false => self.decided.push(Decided { access, effect, reason }),
        }
    }

    /// Asks the record, which has the last word about what was decided.
    pub(super) async fn finish(
        mut self,
        step: usize,
        title: &'static str,
        total: Duration,
        client: &Client,
    ) -> Outcome {
        let (mut effect, mut reason) = (String::new(), String::new());
        for decided in self.decided.clone() {
            match decision(client, &decided.access).await {
                Ok(record) => {
                    (effect, reason) = (output::text(&record, "effect"), output::text(&record, "reason"));
                    self.same("effect in the record", effect.as_str(), decided.effect);
                    self.same("reason in the record", reason.as_str(), decided.reason);
                }
                Err(error) => self.failures.push(format!("{error:#}")),
            }
        }
        Outcome {
            step,
            title,
            ok: self.failures.is_empty(),
            verdict: self.verdict.map_or_else(|| format!("{effect} {reason}"), str::to_owned),
            effect,
            reason,
            ms: self.took.unwrap_or(total).as_secs_f64() * 1e3,
            seen: self.seen,
            failures: self.failures,
            accesses: self.decided,
        }
    }
}

/// The record of the decision about an access.
async fn decision(client: &Client, access: &str) -> Result<Value> {
    let query = [("access", access.to_owned()), ("type", "access.decision".to_owned())];
    let answer = client.get_with("/api/v1/audit/records", &query).await.context("the record does not answer")?;
    let records = answer.get("records").and_then(Value::as_array);
    records.and_then(|records| records.first()).cloned().ok_or_else(|| anyhow!("no record of the access {access}"))
}
