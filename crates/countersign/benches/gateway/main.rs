//! Countersign and Envoy side by side on one machine: requests per second over HTTP/1.1 and HTTP/2,
//! latency at a fixed rate, new TLS 1.3 handshakes, memory of idle connections. `cargo xtask bench gateway`.
//!
//! Not a test: nothing here passes or fails by a figure. It fails when a proxy does not do the work it is measured for.
//! How it is set up and what was measured: bench/gateway/README.md.
//!
//! Invariants: both proxies run as processes of their own on core 0, one worker each; everything else runs on core 1;
//! rounds are interleaved; a figure is kept only if every answer in it was a 200; raw output is kept.

mod connections;
mod envoy;
mod load;
mod machine;
mod options;
mod ours;
mod report;
mod rounds;
mod target;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::machine::Missing;
use crate::options::Options;
use crate::rounds::Bench;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // A machine that cannot run it is not a bench that went wrong.
            if error.downcast_ref::<Missing>().is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run() -> Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    machine::pin_self()?;
    machine::require_tools()?;
    let target_dir = target_dir()?;
    let envoy = envoy::install(&target_dir.join("peers"))?;
    let folder = target_dir.join("bench/gateway");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty `{}`", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let upstream = Arc::new(upstream::Upstream::start()?);
    let place = target::Place::prepare(&folder)?;
    let countersign = runtime.block_on(ours::start(&place, upstream.port))?;
    let plain = envoy::start(&envoy, &place, upstream.port, envoy::JwtCache::Off)?;
    let cached = envoy::start(&envoy, &place, upstream.port, envoy::JwtCache::On)?;
    runtime.block_on(async {
        ours::prove(&countersign, &upstream).await?;
        target::prove(&plain).await?;
        target::prove(&cached).await
    })?;

    println!("{}", machine::describe(&envoy)?);
    let mut bench = Bench { options, folder, runtime, targets: [countersign, plain, cached] };
    let report = bench.run()?;
    println!("{report}");
    std::fs::write(bench.folder.join("report.txt"), report.to_string())?;
    println!("raw output: {}", bench.folder.display());
    Ok(())
}

/// Where cargo builds, found from where this program lies: `<target>/<profile>/deps/gateway-…`.
fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("this program does not lie where cargo puts benches")?;
    Ok(target.to_owned())
}
