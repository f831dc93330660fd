//! The table: medians of rounds, and ratios taken within each round, so that a slow minute of the machine hits both sides.

use std::fmt;

use crate::connections::{Handshakes, IDLE_CONNECTIONS};
use crate::load::Throughput;
use crate::rounds::{Round, TARGETS};

/// What was measured; empty where it was not asked for.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) names: [&'static str; TARGETS],
    pub(crate) http1: Vec<Round<Throughput>>,
    pub(crate) http2: Vec<Round<Throughput>>,
    pub(crate) pace_http1: Option<f64>,
    pub(crate) pace_http2: Option<f64>,
    pub(crate) latency_http1: Vec<Round<f64>>,
    pub(crate) latency_http2: Vec<Round<f64>>,
    pub(crate) x25519: Vec<Round<Handshakes>>,
    pub(crate) hybrid: Vec<Round<Handshakes>>,
    pub(crate) idle_http1: Option<Round<f64>>,
    pub(crate) idle_http2: Option<Round<f64>>,
}

/// The middle value; of an even number the lower of the two, which is one that was measured.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// Which way a figure is good; decides nothing, only said in the table.
#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, plain, cached] = self.names;
        writeln!(f, "\nmedians of rounds; ratios are countersign / that envoy within one round: median (min–max)\n")?;
        writeln!(f, "{:<38} {ours:>12} {plain:>12} {:>19} {cached:>18} {:>19}", "", "ratio", "ratio")?;
        for (name, rounds) in [("h1, 64 connections", &self.http1), ("h2, 10 × 10 streams", &self.http2)] {
            row(f, &format!("{name}: requests/s"), Better::Higher, &picked(rounds, |t| t.per_second))?;
            row(f, "  proxy CPU per request, µs", Better::Lower, &picked(rounds, |t| t.cpu_us))?;
            row(f, "  share of the core used, %", Better::Higher, &picked(rounds, |t| t.core * 100.0))?;
        }
        for (name, pace, rounds) in
            [("h1", self.pace_http1, &self.latency_http1), ("h2", self.pace_http2, &self.latency_http2)]
        {
            let pace = pace.unwrap_or_default();
            row(f, &format!("{name}: p99 at {pace:.0} requests/s, µs"), Better::Lower, rounds)?;
        }
        for (name, rounds) in [("X25519", &self.x25519), ("X25519MLKEM768", &self.hybrid)] {
            row(f, &format!("{name}: handshakes/s"), Better::Higher, &picked(rounds, |h| h.per_second))?;
            row(f, "  proxy CPU per handshake, µs", Better::Lower, &picked(rounds, |h| h.cpu_us))?;
            row(f, "  share of the core used, %", Better::Higher, &picked(rounds, |h| h.core * 100.0))?;
        }
        for (name, idle) in [("h1", self.idle_http1), ("h2", self.idle_http2)] {
            let rounds: Vec<Round<f64>> = idle.iter().map(|round| round.map(|bytes| bytes / 1024.0)).collect();
            row(f, &format!("{name}: KiB per idle connection of {IDLE_CONNECTIONS}"), Better::Lower, &rounds)?;
        }
        Ok(())
    }
}

fn picked<T: Copy>(rounds: &[Round<T>], pick: impl Fn(T) -> f64) -> Vec<Round<f64>> {
    rounds.iter().map(|round| round.map(&pick)).collect()
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, better: Better, rounds: &[Round<f64>]) -> fmt::Result {
    if rounds.is_empty() {
        return Ok(());
    }
    let middle = |values: &mut dyn Iterator<Item = f64>| median(values).unwrap_or_default();
    let ours = middle(&mut rounds.iter().map(|[ours, ..]| *ours));
    let plain = middle(&mut rounds.iter().map(|[_, plain, _]| *plain));
    let cached = middle(&mut rounds.iter().map(|[.., cached]| *cached));
    let to_plain = ratio(rounds.iter().map(|[ours, plain, _]| ours / plain));
    let to_cached = ratio(rounds.iter().map(|[ours, _, cached]| ours / cached));
    let arrow = match better {
        Better::Higher => "",
        Better::Lower => " (less is better)",
    };
    writeln!(f, "{name:<38} {ours:>12.1} {plain:>12.1} {to_plain:>19} {cached:>18.1} {to_cached:>19}{arrow}")
}

fn ratio(ratios: impl Iterator<Item = f64> + Clone) -> String {
    let lowest = ratios.clone().fold(f64::INFINITY, f64::min);
    let highest = ratios.clone().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({lowest:.2}–{highest:.2})", median(ratios).unwrap_or_default())
}
