//! Benchmarks by name. To add one: a line in [`BENCHES`]; one that is more than a `cargo bench` gets a file of its own
//! under `bench/` with a `run` of the same shape.

mod gateway;

use anyhow::{Result, bail};

use crate::run::{Repo, run as execute};

struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(&Repo, &[String]) -> Result<()>,
}

const BENCHES: &[Bench] = &[
    Bench { name: "audit", about: "appends per second to the record", run: |repo, rest| cargo(repo, "audit", rest) },
    Bench {
        name: "engine",
        about: "decisions at 10 to 10,000 policies",
        run: |repo, rest| cargo(repo, "pdp-engine", rest),
    },
    Bench { name: "gateway", about: "requests, handshakes and memory beside Envoy", run: gateway::run },
    Bench { name: "jose", about: "signing and checking tokens", run: |repo, rest| cargo(repo, "pki", rest) },
];

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", list());
        return Ok(());
    };
    match BENCHES.iter().find(|bench| bench.name == name) {
        Some(bench) => (bench.run)(repo, rest),
        None => bail!("`{name}` is not a benchmark\n\n{}", list()),
    }
}

fn list() -> String {
    let lines = BENCHES.iter().map(|bench| format!("  {:<8} {}\n", bench.name, bench.about));
    format!("Usage: cargo xtask bench <name>\n\nBenchmarks:\n{}", lines.collect::<String>())
}

fn cargo(repo: &Repo, package: &str, rest: &[String]) -> Result<()> {
    execute(repo.cargo().args(["bench", "--locked", "--package", package]).args(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_answered_with_the_list() {
        let repo = Repo { root: ".".into(), target: "target".into() };
        let error = run(&repo, &["gatewy".to_owned()]).unwrap_err().to_string();
        for bench in BENCHES {
            assert!(error.contains(bench.name), "{error}");
        }
    }
}
