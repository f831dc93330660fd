//! The machine: cores, tools, and what a process costs as the kernel counts it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The proxies' core.
pub(crate) const PROXY_CORE: &str = "0";
/// Everything else.
const LOAD_CORE: &str = "1";
/// Units of `utime` in /proc (`getconf CLK_TCK`); fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Debian packages and the programs they bring.
const TOOLS: [(&str, &str); 4] =
    [("util-linux", "taskset"), ("wrk", "wrk"), ("nghttp2-client", "h2load"), ("python3-venv", "python3")];

/// What this machine lacks, with how to get it.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Moves this process, with all that it starts from now on, to the load's core.
pub(crate) fn pin_self() -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    if cores < 2 {
        return Err(
            Missing("this bench needs two cores: one for the proxy, one for load and upstream".to_owned()).into()
        );
    }
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", LOAD_CORE, &pid]).stdout(Stdio::null()).status();
    match pinned {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Missing("`taskset` cannot pin processes to cores; install util-linux".to_owned()).into()),
    }
}

/// Installs what is missing when it may.
pub(crate) fn require_tools() -> Result<()> {
    let absent: Vec<&str> = TOOLS.iter().filter(|(_, tool)| !is_there(tool)).map(|(package, _)| *package).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install --no-install-recommends {}", absent.join(" "));
    println!("installing {}", absent.join(" "));
    let installed = Command::new("apt-get")
        .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
        .args(&absent)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status();
    match installed {
        Ok(status) if status.success() && TOOLS.iter().all(|(_, tool)| is_there(tool)) => Ok(()),
        _ => Err(Missing(format!("missing tools; as root run: {install}")).into()),
    }
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// The first lines of a report: what ran on what.
pub(crate) fn describe(envoy: &Path) -> Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let version = Command::new(envoy).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    Ok(format!(
        "processor: {}, {} cores; load average before: {}\nenvoy: {}\ncountersign: {}, release profile",
        model.trim_start_matches(['\t', ' ', ':']),
        cpus.lines().filter(|line| line.starts_with("processor")).count(),
        load.split(' ').next().unwrap_or_default(),
        version.rsplit("version: ").next().unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
    ))
}

/// Processor time a process has used, all threads, in user and kernel.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a proxy has ended")?;
    // The name in parentheses may hold spaces; fields 14 and 15 of the whole are 12 and 13 after it.
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat is not as expected")?;
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if ticks.len() != 2 {
        bail!("/proc/{pid}/stat is not as expected");
    }
    Ok(Duration::from_secs_f64(ticks.iter().sum::<f64>() / TICKS_PER_SECOND))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("a proxy has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
    Ok(kib * 1024)
}
