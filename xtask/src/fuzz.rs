//! `cargo xtask fuzz TARGET --seconds N`: a target of `fuzz/` under libFuzzer, on the stable toolchain (docs/fuzzing.md).
//!
//! The compiler's coverage pass is what `cargo fuzz` uses without a sanitizer; our code holds no unsafe code that one would
//! watch. Overflow and debug assertions are on.

use anyhow::{Context, Result, bail};

use crate::run::{Repo, run as execute};

/// When nothing is said.
const SECONDS: u64 = 60;
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "--cfg",
    "fuzzing",
];

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let targets = targets(repo)?;
    let usage = format!("Usage: cargo xtask fuzz TARGET [--seconds N]\n\nTargets: {}", targets.join(", "));
    let (target, seconds) = match arguments {
        [target] => (target, SECONDS),
        [target, word, seconds] if word == "--seconds" => {
            (target, seconds.parse().context("`--seconds` takes a number")?)
        }
        _ => bail!("{usage}"),
    };
    if !targets.contains(target) {
        bail!("`{target}` is no target\n\n{usage}");
    }
    let triple = host()?;
    // Apart from other builds: every crate is compiled again with these flags.
    let folder = repo.target.join("fuzz");
    let mut build = repo.cargo();
    build.args(["build", "--release", "--locked", "--package", "fuzz", "--features", "libfuzzer", "--bin", "fuzz"]);
    build.args(["--target", &triple, "--target-dir"]).arg(&folder).env("RUSTFLAGS", FLAGS.join(" "));
    for check in ["DEBUG_ASSERTIONS", "OVERFLOW_CHECKS"] {
        build.env(format!("CARGO_PROFILE_RELEASE_{check}"), "true");
    }
    execute(&mut build)?;
    let work = folder.join("work").join(target);
    std::fs::create_dir_all(&work)?;
    let mut fuzz = std::process::Command::new(folder.join(triple).join("release").join("fuzz"));
    fuzz.env("COUNTERSIGN_FUZZ", target).arg(format!("-max_total_time={seconds}"));
    fuzz.args(["-max_len=4096", "-timeout=20", "-rss_limit_mb=1500", "-print_final_stats=1"]);
    fuzz.arg(format!("-artifact_prefix={}/", folder.display())).arg(&work);
    execute(fuzz.arg(repo.root.join("fuzz/corpus").join(target)))
}

/// Every target has a corpus.
fn targets(repo: &Repo) -> Result<Vec<String>> {
    let folder = std::fs::read_dir(repo.root.join("fuzz/corpus")).context("cannot read `fuzz/corpus`")?;
    let mut names: Vec<String> = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn host() -> Result<String> {
    let said = crate::run::output_of(std::process::Command::new("rustc").arg("-vV")).context("`rustc -vV` failed")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it builds for")?.to_owned())
}
