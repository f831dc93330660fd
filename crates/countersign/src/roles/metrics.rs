//! Numbers for machines: the Prometheus text form (version 0.0.4) of what the doors counted.
//!
//! Invariants: names and labels are words of the code, never input; `docs/metrics.md` names every one of them (tested).

use std::collections::BTreeMap;
use std::fmt::Write;

use pep_gateway::Gateway;
use pep_gateway::metrics::{FAMILIES, MetricKind, Sample};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const BUILD_INFO: &str = "countersign_build_info";

/// Everything, as a scraper reads it.
pub fn text(gateway: &Gateway) -> String {
    let samples = gateway.samples();
    let mut text = format!("# HELP {BUILD_INFO} The version that runs.\n# TYPE {BUILD_INFO} gauge\n");
    line(&mut text, BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for family in FAMILIES {
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let name = family.name;
        // Writing into a string cannot fail.
        let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
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
