//! What the door counts (PO-3, R-6): decisions, errors, cuts, failures, and how much is under way.
//!
//! Atomics without order between them: a reader may see a cut before its decision. Labels are words of our enums, never a
//! host, a path, an app or a person. Nothing here decides, and nothing is kept over a restart.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::record::EndCause;
use model::{Effect, Reason, Timestamp};

/// How far apart two alarms about policies that cannot be evaluated are, in seconds.
const ALARM_INTERVAL_SECS: i64 = 1;

const EFFECTS: usize = 3;

/// How an upstream failed before it answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UpstreamFailure {
    ConnectionLost,
    Misbehaved,
    NoConnection,
    NoTarget,
    Timeout,
}

impl UpstreamFailure {
    const ALL: [UpstreamFailure; 5] = [
        UpstreamFailure::ConnectionLost,
        UpstreamFailure::Misbehaved,
        UpstreamFailure::NoConnection,
        UpstreamFailure::NoTarget,
        UpstreamFailure::Timeout,
    ];

    fn as_str(self) -> &'static str {
        match self {
            UpstreamFailure::ConnectionLost => "connection_lost",
            UpstreamFailure::Misbehaved => "misbehaved",
            UpstreamFailure::NoConnection => "no_connection",
            UpstreamFailure::NoTarget => "no_target",
            UpstreamFailure::Timeout => "timeout",
        }
    }
}

/// Whether a number only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// Since the process started.
    Counter,
    /// Now.
    Gauge,
}

/// A name under which numbers are told.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// `countersign_decisions_total`.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: MetricKind,
    /// One sentence.
    pub help: &'static str,
}

const fn family(name: &'static str, kind: MetricKind, help: &'static str) -> Family {
    Family { name, kind, help }
}

const ACCESS_ENDS: &str = "countersign_access_ends_total";
const CUTS: &str = "countersign_stream_cuts_total";
const DECISIONS: &str = "countersign_decisions_total";
const FIXES_EXHAUSTED: &str = "countersign_fixes_exhausted_total";
const FIXES_REPEATED: &str = "countersign_fixes_repeated_total";
const GATE_REFUSALS: &str = "countersign_gate_refusals_total";
const POLICY_ERRORS: &str = "countersign_policy_errors_total";
const STREAMS: &str = "countersign_live_streams";
const TARGETS_RESTED: &str = "countersign_upstream_targets_rested_total";
const UPSTREAM_FAILURES: &str = "countersign_upstream_failures_total";

/// Every family, in the order of [`crate::Gateway::samples`].
pub const FAMILIES: &[Family] = &[
    family(ACCESS_ENDS, MetricKind::Counter, "Accesses that ended, by cause."),
    family(DECISIONS, MetricKind::Counter, "Requests answered, by effect and reason."),
    family(FIXES_EXHAUSTED, MetricKind::Counter, "Refusals whose search for a fix ran into its limits."),
    family(FIXES_REPEATED, MetricKind::Counter, "Refusals that repeated the last fix set: the person asked too often."),
    family(GATE_REFUSALS, MetricKind::Counter, "Requests whose bytes were refused."),
    family(STREAMS, MetricKind::Gauge, "Requests and streams under way behind a permit."),
    family(POLICY_ERRORS, MetricKind::Counter, "Answers that met a policy which cannot be evaluated."),
    family(CUTS, MetricKind::Counter, "Streams cut because their answer was withdrawn."),
    family(UPSTREAM_FAILURES, MetricKind::Counter, "Upstreams that failed before they answered, by kind."),
    family(
        TARGETS_RESTED,
        MetricKind::Counter,
        "Upstream targets that got no requests for a while after five failures in a row.",
    ),
];

/// A number under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// A name of [`FAMILIES`].
    pub name: &'static str,
    /// Names and values of its labels; words, never input.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The number.
    pub value: u64,
}

/// The counters of one gateway.
pub(crate) struct Metrics {
    decisions: [[AtomicU64; Reason::ALL.len()]; EFFECTS],
    ends: [AtomicU64; EndCause::ALL.len()],
    upstream_failures: [AtomicU64; UpstreamFailure::ALL.len()],
    cuts: AtomicU64,
    fixes_exhausted: AtomicU64,
    fixes_repeated: AtomicU64,
    gate_refusals: AtomicU64,
    policy_errors: AtomicU64,
    targets_rested: AtomicU64,
    last_alarm_secs: AtomicI64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            decisions: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            ends: std::array::from_fn(|_| AtomicU64::new(0)),
            upstream_failures: std::array::from_fn(|_| AtomicU64::new(0)),
            cuts: AtomicU64::new(0),
            fixes_exhausted: AtomicU64::new(0),
            fixes_repeated: AtomicU64::new(0),
            gate_refusals: AtomicU64::new(0),
            policy_errors: AtomicU64::new(0),
            targets_rested: AtomicU64::new(0),
            last_alarm_secs: AtomicI64::new(i64::MIN),
        }
    }
}

impl Metrics {
    pub(crate) fn decided(&self, effect: Effect, reason: Reason) {
        add(self.decisions.get(effect as usize).and_then(|reasons| reasons.get(reason as usize)));
    }

    pub(crate) fn ended(&self, cause: EndCause) {
        add(self.ends.get(cause as usize));
    }

    pub(crate) fn upstream_failed(&self, how: UpstreamFailure) {
        add(self.upstream_failures.get(how as usize));
    }

    pub(crate) fn target_rests(&self) {
        add(Some(&self.targets_rested));
    }

    pub(crate) fn cut(&self) {
        add(Some(&self.cuts));
    }

    pub(crate) fn fix_search_exhausted(&self) {
        add(Some(&self.fixes_exhausted));
    }

    pub(crate) fn fix_repeated(&self) {
        add(Some(&self.fixes_repeated));
    }

    pub(crate) fn gate_refused(&self) {
        add(Some(&self.gate_refusals));
    }

    /// Counts; true when the last alarm is long enough ago for another.
    pub(crate) fn policy_error(&self, now: Timestamp) -> bool {
        add(Some(&self.policy_errors));
        let secs = now.unix_secs();
        let due = |last: i64| (secs.saturating_sub(last).abs() >= ALARM_INTERVAL_SECS).then_some(secs);
        self.last_alarm_secs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }

    /// Every number. Decisions and ends that never happened are left out.
    pub(crate) fn samples(&self, live_streams: usize) -> Vec<Sample> {
        let one = |name, value: &AtomicU64| sample(name, Vec::new(), value);
        let mut samples: Vec<Sample> = Vec::new();
        let ends = EndCause::ALL.iter().zip(&self.ends);
        samples.extend(ends.map(|(cause, count)| sample(ACCESS_ENDS, vec![("cause", cause.as_str())], count)));
        for (effect, reasons) in [Effect::Allow, Effect::Deny, Effect::StepUp].iter().zip(&self.decisions) {
            let labels = |reason: &Reason| vec![("effect", effect.as_str()), ("reason", reason.audit_code())];
            let counts = Reason::ALL.iter().zip(reasons);
            samples.extend(counts.map(|(reason, count)| sample(DECISIONS, labels(reason), count)));
        }
        samples.retain(|sample| sample.value > 0);
        samples.push(one(FIXES_EXHAUSTED, &self.fixes_exhausted));
        samples.push(one(FIXES_REPEATED, &self.fixes_repeated));
        samples.push(one(GATE_REFUSALS, &self.gate_refusals));
        let live_streams = u64::try_from(live_streams).unwrap_or(u64::MAX);
        samples.push(Sample { name: STREAMS, labels: Vec::new(), value: live_streams });
        samples.push(one(POLICY_ERRORS, &self.policy_errors));
        samples.push(one(CUTS, &self.cuts));
        let failures = UpstreamFailure::ALL.iter().zip(&self.upstream_failures);
        samples.extend(failures.map(|(how, count)| sample(UPSTREAM_FAILURES, vec![("kind", how.as_str())], count)));
        samples.push(one(TARGETS_RESTED, &self.targets_rested));
        samples
    }
}

fn add(counter: Option<&AtomicU64>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn sample(name: &'static str, labels: Vec<(&'static str, &'static str)>, value: &AtomicU64) -> Sample {
    Sample { name, labels, value: value.load(Ordering::Relaxed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_counted_under_its_own_name() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{reason}: `Reason::ALL` follows the declaration");
        }
        for (index, cause) in EndCause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, index);
        }
        for (index, how) in UpstreamFailure::ALL.iter().enumerate() {
            assert_eq!(*how as usize, index);
        }
        for effect in [Effect::Allow, Effect::Deny, Effect::StepUp] {
            let metrics = Metrics::default();
            for reason in Reason::ALL {
                metrics.decided(effect, *reason);
            }
            let samples = metrics.samples(0);
            for reason in Reason::ALL {
                let labels = vec![("effect", effect.as_str()), ("reason", reason.audit_code())];
                assert!(samples.contains(&Sample { name: DECISIONS, labels, value: 1 }), "{effect} {reason}");
            }
        }
    }

    #[test]
    fn every_sample_has_a_family_and_every_family_a_sample() {
        let metrics = Metrics::default();
        metrics.ended(EndCause::Closed);
        metrics.decided(Effect::Deny, Reason::Risk);
        let mut told: Vec<&str> = metrics.samples(3).iter().map(|sample| sample.name).collect();
        told.dedup();
        let named: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(told, named);
    }

    #[test]
    fn a_broken_policy_rings_once_a_second_and_is_counted_each_time() {
        let metrics = Metrics::default();
        let at = Timestamp::from_unix_secs;
        assert!(metrics.policy_error(at(100)));
        assert!(!metrics.policy_error(at(100)));
        assert!(metrics.policy_error(at(101)));
        assert!(metrics.policy_error(at(50)), "the clock was set back");
        assert_eq!(metrics.samples(0).iter().find(|sample| sample.name == POLICY_ERRORS).unwrap().value, 4);
    }
}
