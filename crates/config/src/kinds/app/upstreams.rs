//! Balance and health checks of upstreams (GW-70, GW-71).

use std::ops::RangeInclusive;
use std::time::Duration;

use model::app::{Balance, HashBy, HealthCheck};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Document, header_name};
use crate::text;

/// More often is load, less often is late.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// Results in a row that may be asked for.
const IN_A_ROW: RangeInclusive<u32> = 1..=20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthSpec {
    /// What is asked for, with `GET` and nobody's name; 2xx and 3xx are well.
    ///
    /// Type: path; default: required.
    path: Spanned<String>,
    /// From check to check; `1s` to `5m`.
    ///
    /// Type: duration; default: `10s`.
    interval: Option<Spanned<String>>,
    /// For the whole of one check; at most the interval.
    ///
    /// Type: duration; default: `2s`.
    timeout: Option<Spanned<String>>,
    /// Failures in a row that close a target; 1 to 20.
    ///
    /// Type: number; default: `3`.
    down_after: Option<Spanned<u32>>,
    /// Successes in a row that open it again; 1 to 20.
    ///
    /// Type: number; default: `2`.
    up_after: Option<Spanned<u32>>,
}

/// The words of `balance`.
pub(super) fn balance(text: &str) -> Result<Balance, String> {
    match text {
        "least_request" => Ok(Balance::LeastRequest),
        "round_robin" => Ok(Balance::RoundRobin),
        "session" => Ok(Balance::Hash(HashBy::Session)),
        "client_ip" => Ok(Balance::Hash(HashBy::ClientIp)),
        other => match other.strip_prefix("header:") {
            Some(name) => header_name(name).map(|name| Balance::Hash(HashBy::Header(name))),
            None => Err(format!(
                "`{other}` is no balance; write `least_request`, `round_robin`, `session`, `client_ip` or `header:NAME`"
            )),
        },
    }
}

/// Builds the check; problems are noted.
pub(super) fn health(document: &mut Document<'_>, spec: &HealthSpec) -> Option<HealthCheck> {
    let mut check = HealthCheck::STANDARD;
    for (value, field) in [(&spec.interval, &mut check.interval), (&spec.timeout, &mut check.timeout)] {
        if let Some(duration) = value.as_ref().and_then(|value| document.parsed(value, text::duration)) {
            *field = duration;
        }
    }
    for (value, field) in [(&spec.down_after, &mut check.down_after), (&spec.up_after, &mut check.up_after)] {
        let Some(value) = value else { continue };
        if IN_A_ROW.contains(&value.value) {
            *field = value.value;
        } else {
            document.refuse(value, format!("`{}` is outside 1 to 20", value.value));
        }
    }
    if let Some(value) = spec.interval.as_ref().filter(|_| !INTERVAL.contains(&check.interval)) {
        document.refuse(value, format!("`{}` is outside 1s to 5m", value.value));
    }
    if check.timeout.is_zero() || check.timeout > check.interval {
        let at = spec.timeout.as_ref().unwrap_or(&spec.path);
        document
            .refuse(at, "a check takes longer than nothing and at most its interval: set `timeout` below `interval`");
    }
    let path = document.parsed(&spec.path, |path| text::plain_path(path).map(str::to_owned))?;
    Some(HealthCheck { path, ..check })
}
