//! Counting recent decisions, for a picture of the last hours. From the hot index alone: no file is read and no personal
//! column is looked at, so it costs the same however large the log is. It is no substitute for a query: what the index does
//! not reach is told as a gap, and refusals counted in floods stay in their own records.

use std::collections::BTreeMap;
use std::time::Duration;

use model::record::RecordType;
use model::{Effect, Reason, Timestamp};

use crate::log::AuditLog;

/// The most rows of the index that are looked at.
pub const MAX_COUNTED: usize = 200_000;
/// The most spans of time.
pub const MAX_SPANS: usize = 500;

/// Decisions of one span of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Let through.
    pub allowed: u64,
    /// Refused.
    pub denied: u64,
    /// Asked for more proof.
    pub step_up: u64,
}

impl Counts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.allowed + self.denied + self.step_up
    }

    fn add(&mut self, effect: Effect) {
        let counter = match effect {
            Effect::Allow => &mut self.allowed,
            Effect::Deny => &mut self.denied,
            Effect::StepUp => &mut self.step_up,
        };
        *counter += 1;
    }
}

/// Recent decisions, counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally {
    /// When the first span begins.
    pub since: Timestamp,
    /// How long each span is.
    pub span: Duration,
    /// The spans, oldest first; `None` where the index does not reach, which is not nought.
    pub spans: Vec<Option<Counts>>,
    /// All decisions that were counted.
    pub all: Counts,
    /// Of those, let through because the path is open to anyone.
    pub public: u64,
    /// Refusals and step-ups by reason, most first.
    pub reasons: Vec<(Reason, u64)>,
    /// Records of floods: each stands for refusals that are counted in it and not here.
    pub floods: u64,
}

impl AuditLog {
    /// Counts the decisions of the last `spans` spans up to `until`.
    pub fn tally(&self, until: Timestamp, span: Duration, spans: usize) -> Tally {
        let spans = spans.clamp(1, MAX_SPANS);
        let width = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX).max(1);
        let length = width.saturating_mul(i64::try_from(spans).unwrap_or(i64::MAX));
        let since = Timestamp(until.0.saturating_sub(length));
        let snapshot = self.shared.index.snapshot();
        let mut counted = vec![Counts::default(); spans];
        let (mut all, mut public, mut floods) = (Counts::default(), 0, 0);
        let mut reasons: BTreeMap<&'static str, (Reason, u64)> = BTreeMap::new();
        // Nothing is known of the time before the oldest row, whether the log is older or not.
        let mut known_from = until;
        for (looked, row) in snapshot.newest_first().enumerate() {
            if looked >= MAX_COUNTED {
                break;
            }
            // The clock may have jumped: a row that is too old says nothing of those before it.
            known_from = known_from.min(row.keys.time);
            if row.keys.time < since || row.keys.time >= until {
                continue;
            }
            floods += u64::from(row.keys.kind == Some(RecordType::AccessFlood));
            let Some(effect) = row.keys.effect.filter(|_| row.keys.kind == Some(RecordType::AccessDecision)) else {
                continue;
            };
            let at = usize::try_from((row.keys.time.0 - since.0) / width).unwrap_or(usize::MAX);
            if let Some(span) = counted.get_mut(at) {
                span.add(effect);
            }
            all.add(effect);
            public += u64::from(row.keys.reason == Some(Reason::AllowPublic));
            if let Some(reason) = row.keys.reason.filter(|_| effect != Effect::Allow) {
                reasons.entry(reason.audit_code()).or_insert((reason, 0)).1 += 1;
            }
        }
        let mut reasons: Vec<(Reason, u64)> = reasons.into_values().collect();
        reasons.sort_by_key(|(reason, times)| (std::cmp::Reverse(*times), reason.audit_code()));
        let ends = (1..=spans).map(|n| since.0.saturating_add(width.saturating_mul(i64::try_from(n).unwrap_or(0))));
        let spans = counted.into_iter().zip(ends).map(|(counts, end)| (end > known_from.0).then_some(counts)).collect();
        Tally { since, span, spans, all, public, reasons, floods }
    }
}
