//! The run: memory first, while heaps are fresh; then rounds in which every proxy takes its turn.

use std::path::PathBuf;

use anyhow::Result;
use tokio::runtime::Runtime;

use crate::connections::{self, Handshakes, KeyExchange};
use crate::load::{self, Shape, Throughput};
use crate::options::{Options, Part};
use crate::report::Report;
use crate::target::Target;

/// Part of Envoy's own best rate at which latency is compared.
const PACE: f64 = 0.7;
/// Ours, Envoy as the figures of want it, and Envoy with its token cache.
pub(crate) const TARGETS: usize = 3;

/// Everything that a run needs.
pub(crate) struct Bench {
    pub(crate) options: Options,
    /// Where raw output goes.
    pub(crate) folder: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) targets: [Target; TARGETS],
}

/// One measurement of each proxy, taken within one round.
pub(crate) type Round<T> = [T; TARGETS];

impl Bench {
    /// Measures what was asked for.
    pub(crate) fn run(&mut self) -> Result<Report> {
        let mut report = Report { names: self.targets.each_ref().map(|target| target.name), ..Report::default() };
        if self.options.wants(Part::Memory) {
            report.idle_http1 = Some(self.each(|target| self.idle(target, Shape::Http1))?);
            report.idle_http2 = Some(self.each(|target| self.idle(target, Shape::Http2))?);
        }
        for round in 1..=self.options.rounds {
            if self.options.wants(Part::Http1) {
                report.http1.push(self.each(|target| self.flood(target, Shape::Http1, round))?);
            }
            if self.options.wants(Part::Http2) {
                report.http2.push(self.each(|target| self.flood(target, Shape::Http2, round))?);
            }
            if self.options.wants(Part::Handshakes) {
                report.x25519.push(self.each(|target| self.handshakes(target, KeyExchange::X25519))?);
                report.hybrid.push(self.each(|target| self.handshakes(target, KeyExchange::X25519MlKem768))?);
            }
        }
        if self.options.wants(Part::Latency) {
            report.pace_http1 = envoys_peak(&report.http1).map(|peak| peak * PACE);
            report.pace_http2 = envoys_peak(&report.http2).map(|peak| peak * PACE);
            for round in 1..=self.options.rounds {
                for (shape, pace) in [(Shape::Http1, report.pace_http1), (Shape::Http2, report.pace_http2)] {
                    let Some(pace) = pace else { continue };
                    let latencies = self.each(|target| self.paced(target, shape, pace, round))?;
                    match shape {
                        Shape::Http1 => report.latency_http1.push(latencies),
                        Shape::Http2 => report.latency_http2.push(latencies),
                    }
                }
            }
        }
        Ok(report)
    }

    /// Every proxy in turn.
    fn each<T>(&self, measure: impl Fn(&Target) -> Result<T>) -> Result<Round<T>> {
        let [ours, plain, cached] = &self.targets;
        Ok([measure(ours)?, measure(plain)?, measure(cached)?])
    }

    fn raw(&self, target: &Target, what: &str, round: usize) -> PathBuf {
        let name = target.name.replace([',', ' '], "");
        self.folder.join(format!("{what}-{round}-{name}.txt"))
    }

    fn idle(&self, target: &Target, shape: Shape) -> Result<f64> {
        self.runtime.block_on(connections::idle_bytes(target, shape))
    }

    fn flood(&self, target: &Target, shape: Shape, round: usize) -> Result<Throughput> {
        let raw = self.raw(target, if shape == Shape::Http1 { "h1" } else { "h2" }, round);
        let measured = load::flood(target, shape, self.options.length, &raw)?;
        let (rate, cpu, core) = (measured.per_second, measured.cpu_us, measured.core * 100.0);
        let shape = if shape == Shape::Http1 { "h1" } else { "h2" };
        println!(
            "round {round} {shape:<4} {:<17} {rate:>8.0} requests/s {cpu:>6.1} µs cpu each, core {core:>3.0} %",
            target.name
        );
        Ok(measured)
    }

    fn handshakes(&self, target: &Target, kind: KeyExchange) -> Result<Handshakes> {
        self.runtime.block_on(connections::handshakes(target, kind, self.options.length))
    }

    fn paced(&self, target: &Target, shape: Shape, pace: f64, round: usize) -> Result<f64> {
        let raw = self.raw(target, if shape == Shape::Http1 { "h1-paced" } else { "h2-paced" }, round);
        load::paced(target, shape, pace, self.options.length, &raw)
    }
}

/// The median rate of the Envoy that the figures name.
fn envoys_peak(rounds: &[Round<Throughput>]) -> Option<f64> {
    crate::report::median(rounds.iter().map(|[_, plain, _]| plain.per_second))
}
