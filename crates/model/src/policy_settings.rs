//! What an operator sets about decisions as a whole, beside apps and policies. Part of every policy hash.

use std::time::Duration;

use crate::app::Sensitivity;
use crate::time_zone::TimeZone;

/// `[policy]` of the process configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PolicySettings {
    /// What hours and weekdays mean where a rule names no zone (GW-21).
    pub time_zone: TimeZone,
    /// How fresh a step-up must be (PO-8).
    pub freshness: Freshness,
}

/// How fresh a step-up must be, by the sensitivity of what it is for (PO-8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Freshness {
    /// Of `low`.
    pub low: Duration,
    /// Of `medium`.
    pub medium: Duration,
    /// Of `high`.
    pub high: Duration,
    /// Of `critical`, and of what declares none.
    pub critical: Duration,
}

impl Freshness {
    /// 12 h, 1 h, 15 min, 5 min.
    pub const STANDARD: Freshness = Freshness {
        low: Duration::from_secs(12 * 3600),
        medium: Duration::from_secs(3600),
        high: Duration::from_secs(15 * 60),
        critical: Duration::from_secs(5 * 60),
    };

    /// That of a sensitivity.
    pub fn of(&self, sensitivity: Sensitivity) -> Duration {
        match sensitivity {
            Sensitivity::Low => self.low,
            Sensitivity::Medium => self.medium,
            Sensitivity::High => self.high,
            Sensitivity::Critical => self.critical,
        }
    }
}

impl Default for Freshness {
    fn default() -> Self {
        Self::STANDARD
    }
}
