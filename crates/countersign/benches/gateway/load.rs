//! Load from Debian's tools: `wrk` for HTTP/1.1, `h2load` for HTTP/2 and for fixed rates. Both on the load's core.
//!
//! Invariant: an answer that is not a 200, or a connection that failed, spoils the whole measurement.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::machine::cpu_time;
use crate::target::{APP_HOST, Target};

/// Connections over HTTP/1.1.
pub(crate) const HTTP1_CONNECTIONS: usize = 64;
/// Connections over HTTP/2, and streams on each.
pub(crate) const HTTP2_CONNECTIONS: usize = 10;
const HTTP2_STREAMS: usize = 10;

/// Which protocol, in the shape of
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Http1,
    Http2,
}

/// What a proxy did under load.
#[derive(Clone, Copy)]
pub(crate) struct Throughput {
    pub(crate) per_second: f64,
    /// Processor time of the proxy per request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Part of its core that the proxy used; well below 1 means that the load was the limit, not the proxy.
    pub(crate) core: f64,
}

/// As many requests as the proxy answers.
pub(crate) fn flood(target: &Target, shape: Shape, length: Duration, raw: &Path) -> Result<Throughput> {
    let seconds = length.as_secs().to_string();
    let mut command = match shape {
        Shape::Http1 => wrk(target, &seconds),
        Shape::Http2 => h2load(target, shape, &seconds),
    };
    let begun = (std::time::Instant::now(), cpu_time(target.process.pid())?);
    let text = run(&mut command, raw)?;
    let used = cpu_time(target.process.pid())?.saturating_sub(begun.1).as_secs_f64();
    let wall = begun.0.elapsed().as_secs_f64();
    let (requests, per_second) = match shape {
        Shape::Http1 => read_wrk(&text),
        Shape::Http2 => read_h2load(&text),
    }
    .with_context(|| format!("{} under load; see {}", target.name, raw.display()))?;
    Ok(Throughput { per_second, cpu_us: used / requests * 1e6, core: used / wall })
}

/// The 99th percentile in microseconds at a rate, by `h2load`'s log of every request.
pub(crate) fn paced(target: &Target, shape: Shape, per_second: f64, length: Duration, raw: &Path) -> Result<f64> {
    let clients = match shape {
        Shape::Http1 => HTTP1_CONNECTIONS,
        Shape::Http2 => HTTP2_CONNECTIONS,
    };
    let log = raw.with_extension("requests.tsv");
    let each = (per_second / clients as f64).max(1.0).round();
    let mut command = h2load(target, shape, &length.as_secs().to_string());
    command.args(["--rps", &each.to_string()]).arg(format!("--log-file={}", log.display()));
    let text = run(&mut command, raw)?;
    read_h2load(&text).with_context(|| format!("{} at a fixed rate; see {}", target.name, raw.display()))?;
    percentile_99(&std::fs::read_to_string(&log)?)
}

fn wrk(target: &Target, seconds: &str) -> Command {
    let mut command = Command::new("wrk");
    command.args(["--threads", "1", "--connections", &HTTP1_CONNECTIONS.to_string()]);
    command.args(["--duration", &format!("{seconds}s"), "--latency"]);
    // Not every libc resolves names below `localhost`, and wrk cannot be told where to connect.
    command.args(["--header", &format!("Host: {}", target.authority())]);
    let (name, value) = &target.credential;
    command.args(["--header", &format!("{name}: {value}")]);
    command.arg(format!("https://127.0.0.1:{}/", target.port));
    command
}

fn h2load(target: &Target, shape: Shape, seconds: &str) -> Command {
    let mut command = Command::new("h2load");
    match shape {
        Shape::Http1 => {
            command.args(["--h1", "--clients", &HTTP1_CONNECTIONS.to_string(), "--max-concurrent-streams", "1"])
        }
        Shape::Http2 => command
            .args(["--clients", &HTTP2_CONNECTIONS.to_string()])
            .args(["--max-concurrent-streams", &HTTP2_STREAMS.to_string()]),
    };
    command.args(["--duration", seconds, &format!("--connect-to=127.0.0.1:{}", target.port)]);
    let (name, value) = &target.credential;
    command.args(["--header", &format!("{name}: {value}")]);
    command.arg(format!("https://{APP_HOST}:{}/", target.port));
    command
}

fn run(command: &mut Command, raw: &Path) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    std::fs::write(raw, format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    if !output.status.success() {
        bail!("{:?} failed ({}); see {}", command.get_program(), output.status, raw.display());
    }
    Ok(text)
}

/// Requests and requests per second.
fn read_wrk(text: &str) -> Result<(f64, f64)> {
    for spoiled in ["Non-2xx", "Socket errors"] {
        if let Some(line) = text.lines().find(|line| line.contains(spoiled)) {
            bail!("wrk says: {}", line.trim());
        }
    }
    let requests =
        text.lines().find_map(|line| line.trim().split_once(" requests in ")).context("wrk counted nothing")?;
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("wrk gave no rate")?;
    Ok((requests.0.parse()?, rate.trim().parse()?))
}

/// Requests and requests per second.
fn read_h2load(text: &str) -> Result<(f64, f64)> {
    let line = |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin)).context("h2load gave no result");
    let counts = line("requests: ")?;
    let count = |what: &str| {
        let found = counts.split(", ").find_map(|part| part.strip_suffix(what));
        found.and_then(|number| number.trim().parse::<f64>().ok()).with_context(|| format!("no count of{what}"))
    };
    let succeeded = count(" succeeded")?;
    ensure!(count(" failed")? + count(" errored")? == 0.0, "h2load says: {counts}");
    let statuses = line("status codes: ")?;
    ensure!(statuses.contains(" 0 3xx, 0 4xx, 0 5xx"), "h2load says: {statuses}");
    let rate = line("finished in ")?.split(", ").nth(1).and_then(|rate| rate.strip_suffix(" req/s"));
    Ok((succeeded, rate.context("h2load gave no rate")?.parse()?))
}

/// Of lines `start µs, status, duration µs`.
fn percentile_99(log: &str) -> Result<f64> {
    let mut took: Vec<u64> = Vec::new();
    for line in log.lines() {
        let mut columns = line.split('\t').skip(1);
        ensure!(columns.next() == Some("200"), "an answer was not 200: {line}");
        took.push(columns.next().context("a line without a duration")?.parse()?);
    }
    took.sort_unstable();
    let at = took.len().saturating_sub(1) * 99 / 100;
    Ok(took.get(at).copied().context("no request was logged")? as f64)
}
