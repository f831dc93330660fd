//! Numbers for machines: the Prometheus text form (version 0.0.4) of what the doors counted.
//!
//! Invariants: names and labels are words of the code, or names of sinks from the process configuration, never input of
//! strangers; `docs/metrics.md` names every one of them (tested).

use std::collections::BTreeMap;
use std::fmt::Write;

use audit::SinkStatus;
use pep_gateway::Gateway;
use pep_gateway::metrics::{FAMILIES, MetricKind, Sample};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const BUILD_INFO: &str = "countersign_build_info";

/// What is told of sinks: name, help, whether it only grows, value.
type SinkFamily = (&'static str, &'static str, MetricKind, fn(&SinkStatus) -> u64);
const SINK_FAMILIES: [SinkFamily; 3] = [
    ("countersign_audit_sink_behind_records", "Durable records a sink has not taken.", MetricKind::Gauge, |sink| {
        sink.lag
    }),
    ("countersign_audit_sink_dead_letters_total", "Records a sink refused for good.", MetricKind::Counter, |sink| {
        sink.dead_letters
    }),
    ("countersign_audit_sink_delivered_total", "Records a sink has taken.", MetricKind::Counter, |sink| sink.delivered),
];

/// Everything, as a scraper reads it.
pub fn text(gateway: &Gateway, sinks: &[SinkStatus]) -> String {
    let samples = gateway.samples();
    let mut text = format!("# HELP {BUILD_INFO} The version that runs.\n# TYPE {BUILD_INFO} gauge\n");
    line(&mut text, BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for (name, help, kind, value) in SINK_FAMILIES {
        head(&mut text, name, help, kind);
        for sink in sinks {
            line(&mut text, name, &[("sink", &sink.name)], value(sink));
        }
    }
    for family in FAMILIES {
        let name = family.name;
        head(&mut text, name, family.help, family.kind);
        for sample in samples.iter().filter(|sample| sample.name == name) {
            line(&mut text, name, &sample.labels, sample.value);
        }
    }
    text
}

/// The same numbers for `countersign status`, by the name a scraper would show.
pub fn counters(gateway: &Gateway) -> BTreeMap<String, u64> {
    let named = |sample: Sample| {
        let mut name = String::new();
        write_name(&mut name, sample.name, &sample.labels);
        (name, sample.value)
    };
    gateway.samples().into_iter().map(named).collect()
}

fn head(text: &mut String, name: &str, help: &str, kind: MetricKind) {
    let kind = match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
    };
    // Writing into a string cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    write_name(text, name, labels);
    let _ = writeln!(text, " {value}");
}

fn write_name(text: &mut String, name: &str, labels: &[(&str, &str)]) {
    text.push_str(name);
    for (index, (label, value)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let _ = write!(text, "{before}{label}=\"{value}\"");
    }
    if !labels.is_empty() {
        text.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../../../../docs/metrics.md");

    #[test]
    fn every_metric_is_documented_and_every_documented_metric_is_told() {
        let mut told: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        told.push(BUILD_INFO);
        told.extend(SINK_FAMILIES.iter().map(|(name, ..)| *name));
        told.sort_unstable();
        let rows = DOCUMENTED.lines().filter_map(|line| line.strip_prefix("| `countersign_"));
        let mut documented: Vec<String> =
            rows.filter_map(|row| row.split('`').next()).map(|name| format!("countersign_{name}")).collect();
        documented.sort_unstable();
        assert_eq!(told, documented);
    }

    #[test]
    fn a_line_has_its_labels_in_braces() {
        let mut text = String::new();
        line(&mut text, "a_total", &[("effect", "ALLOW"), ("reason", "allow")], 3);
        line(&mut text, "b", &[], 0);
        assert_eq!(text, "a_total{effect=\"ALLOW\",reason=\"allow\"} 3\nb 0\n");
    }
}
