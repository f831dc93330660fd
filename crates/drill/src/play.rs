//! One case after the other, each followed by an ordinary request of somebody else: it must be answered, and with its own
//! answer, whatever the case did.

use std::time::Duration;

use tokio::time::sleep;

use crate::DrillError;
use crate::card::{CaseResult, Outcome, ScoreCard, Verdict};
use crate::cases::{self, Case, Play};
use crate::echo::{Arrived, Echo, ORDER};
use crate::frames::{DATA, END_HEADERS, END_STREAM, End, Frames, HEADERS, block, frame};
use crate::judge::{Sent, judge};
use crate::misbehaviour::POISON;
use crate::setup::{self, Doors, head};
use crate::target::Options;
use crate::wire::{connect, exchange, exchange_on};
use crate::{floods, probes};

/// How often somebody else asks after a case before the proxy counts as gone.
const NEIGHBOUR_TRIES: usize = 3;
/// How long a neighbour waits for an answer.
const NEIGHBOUR_LIMIT: Duration = Duration::from_secs(5);
/// What a proxy still passes on after the client has gone arrives within this.
const SETTLE: Duration = Duration::from_millis(15);

/// Plays every case against the target, whose upstream is `echo`.
///
/// # Errors
/// [`DrillError::Unusable`] if nothing can be judged; a case that goes wrong is a verdict and no error.
pub async fn run(options: &Options, echo: &Echo, mut told: impl FnMut(&CaseResult)) -> Result<ScoreCard, DrillError> {
    let doors = setup::look(options, echo).await?;
    let mut drill = Drill { options, echo, doors: &doors, number: 0 };
    let mut results = Vec::new();
    for case in cases::all(options) {
        let verdict = drill.play(&case).await;
        let result = CaseResult { attack: case.attack, case: case.name, verdict };
        told(&result);
        results.push(result);
    }
    Ok(ScoreCard { doors, results })
}

/// Everything a case may use.
pub(crate) struct Drill<'a> {
    pub(crate) options: &'a Options,
    pub(crate) echo: &'a Echo,
    pub(crate) doors: &'a Doors,
    number: u32,
}

impl Drill<'_> {
    async fn play(&mut self, case: &Case) -> Verdict {
        if let Play::OwnTest(test) = case.play {
            return Verdict::OwnTest { test };
        }
        if let Some(lacking) = case.lacking(self.options, self.doors) {
            return lacking;
        }
        self.echo.take();
        let marker = self.marker();
        let verdict = match self.send(&case.play, &marker).await {
            Ok(verdict) => verdict,
            Err(error) => Verdict::of(Outcome::Other, error.to_string()),
        };
        // What the case broke shows in the answer somebody else gets, and outweighs what else was seen.
        match self.neighbour().await {
            Some(broken) => broken,
            None => verdict,
        }
    }

    async fn send(&mut self, play: &Play, marker: &str) -> Result<Verdict, DrillError> {
        let options = self.options;
        match play {
            Play::Http1 { sent, requests } => {
                let sent = fill(sent, marker);
                let reply = exchange(&options.target, &sent, *requests, options.case_limit).await?;
                sleep(SETTLE).await;
                let text = String::from_utf8_lossy(&sent);
                let line = text.split("\r\n").next().unwrap_or_default();
                let sent = Sent { requests: *requests, line, status: reply.status(), is_http2: false };
                Ok(judge(options, sent, &self.arrived(marker)))
            }
            Play::Http2 { fields, body } => self.send_list(fields, body.as_deref(), marker).await,
            Play::Flood(flood) => {
                let flooding = floods::play(*flood, options, marker);
                let (taken, neighbour) = tokio::join!(flooding, self.ask_as_neighbour("beside"));
                let Some(taken) = taken? else {
                    return Ok(Verdict::NotApplicable { why: "the proxy does not offer HTTP/2 over TLS".to_owned() });
                };
                sleep(SETTLE * 10).await;
                let count = self.arrived(marker).iter().filter(|one| one.marker() == Some(marker)).count();
                Ok(match neighbour {
                    true => floods::judge(*flood, taken, count),
                    false => Verdict::of(Outcome::Unbounded, "a neighbour was not answered meanwhile"),
                })
            }
            Play::App(order) => self.ask_a_bad_app(order, marker).await,
            Play::Probe(probe) => probes::play(*probe, self, marker).await,
            Play::OwnTest(test) => Ok(Verdict::OwnTest { test }),
        }
    }

    async fn send_list(
        &mut self,
        fields: &[(Vec<u8>, Vec<u8>)],
        body: Option<&[u8]>,
        marker: &str,
    ) -> Result<Verdict, DrillError> {
        let options = self.options;
        let Some(mut client) = Frames::connect(&options.target).await? else {
            return Ok(Verdict::NotApplicable { why: "the proxy does not offer HTTP/2 over TLS".to_owned() });
        };
        let mut fields = fields.to_vec();
        fields.push((b"x-drill".to_vec(), marker.as_bytes().to_vec()));
        let end = if body.is_some() { 0 } else { END_STREAM };
        let mut bytes = frame(HEADERS, END_HEADERS | end, 1, &block(&fields));
        if let Some(body) = body {
            bytes.extend_from_slice(&frame(DATA, END_STREAM, 1, body));
        }
        client.write(&bytes, options.case_limit).await;
        let status = match client.end_of(1, options.case_limit).await {
            End::Answered(status) => Some(status),
            End::Reset | End::ConnectionEnded | End::Silent => None,
        };
        sleep(SETTLE).await;
        Ok(judge(options, Sent { requests: 1, line: "", status, is_http2: true }, &self.arrived(marker)))
    }

    /// The client asks, the app misbehaves, and whoever asks next must not get the rest.
    async fn ask_a_bad_app(&mut self, order: &str, marker: &str) -> Result<Verdict, DrillError> {
        let options = self.options;
        let Some(mut stream) = connect(&options.target, pki::tls::ALPN_HTTP11).await? else {
            return Ok(Verdict::of(Outcome::Other, "no connection"));
        };
        let first = head(options, marker, &options.allow_path, true, &format!("{ORDER}: {order}\r\n"));
        let reply = exchange_on(&mut stream, first.as_bytes(), 1, options.case_limit).await;
        if reply.bytes.windows(12).any(|window| window.starts_with(b"\rSet-Cookie")) {
            return Ok(Verdict::of(Outcome::Leaked, "a bare carriage return of the app reached the client"));
        }
        let poison = |text: &str| text.contains(POISON);
        // On its own connection and on others, so that whichever upstream connection is reused is seen.
        for turn in 0..4 {
            let marker = self.marker();
            let next = head(options, &marker, &options.allow_path, true, "");
            let reply = match turn {
                0 if !reply.is_closed && reply.status() != Some(101) => {
                    exchange_on(&mut stream, next.as_bytes(), 1, options.case_limit).await
                }
                _ => exchange(&options.target, next.as_bytes(), 1, options.case_limit).await?,
            };
            if poison(&reply.text()) {
                return Ok(Verdict::of(Outcome::Smuggled, "the rest of the answer reached the next request"));
            }
        }
        let status = reply.status().map_or("no answer".to_owned(), |status| format!("status {status}"));
        Ok(Verdict::of(Outcome::Refused, format!("the rest went nowhere, {status}")))
    }

    pub(crate) fn marker(&mut self) -> String {
        self.number += 1;
        format!("m{:06}", self.number)
    }

    /// What arrived since the case began, without what belongs to others.
    pub(crate) fn arrived(&self, marker: &str) -> Vec<Arrived> {
        let mut arrived = self.echo.take();
        arrived.retain(|one| one.marker().is_none_or(|found| found == marker));
        arrived
    }

    /// Somebody else asks. `Some` is what is wrong with their answer.
    async fn neighbour(&mut self) -> Option<Verdict> {
        for _ in 0..NEIGHBOUR_TRIES {
            let marker = self.marker();
            let bytes = head(self.options, &marker, &self.options.allow_path, true, "");
            let Ok(reply) = exchange(&self.options.target, bytes.as_bytes(), 1, NEIGHBOUR_LIMIT).await else {
                continue;
            };
            let text = reply.text();
            if text.contains(&format!("drill {marker} end")) {
                return None;
            }
            if text.contains(POISON) || text.contains("drill m") {
                return Some(Verdict::of(Outcome::Smuggled, "somebody else got an answer that was not theirs"));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Some(Verdict::of(Outcome::Other, "afterwards the proxy no longer answered an ordinary request"))
    }

    async fn ask_as_neighbour(&self, marker: &str) -> bool {
        sleep(Duration::from_millis(50)).await;
        let bytes = head(self.options, marker, &self.options.allow_path, true, "");
        let reply = exchange(&self.options.target, bytes.as_bytes(), 1, NEIGHBOUR_LIMIT).await;
        reply.is_ok_and(|reply| reply.text().contains(&format!("drill {marker} end")))
    }
}

/// The marker, where the case left room for it.
fn fill(sent: &[u8], marker: &str) -> Vec<u8> {
    let line = format!("x-drill: {marker}\r\n");
    let mut filled = Vec::with_capacity(sent.len() + line.len());
    let mut rest = sent;
    while let Some(at) = rest.windows(6).position(|window| window == b"MARKER") {
        let (before, after) = rest.split_at(at);
        filled.extend_from_slice(before);
        filled.extend_from_slice(line.as_bytes());
        rest = after.get(6..).unwrap_or_default();
    }
    filled.extend_from_slice(rest);
    filled
}
