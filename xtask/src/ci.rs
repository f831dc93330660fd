//! `cargo xtask ci`: every stage in order, each with its time. The first that fails ends the run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{Repo, output_of, run as execute, run_within};
use crate::{docs, layers, package, suite};

/// The tour plays a visit of seconds; what hangs has failed.
const TOUR_LIMIT: Duration = Duration::from_secs(180);

/// What a stage that did not fail has to say.
enum Outcome {
    Done,
    Skipped(&'static str),
}

type Stage = fn(&Repo) -> Result<Outcome>;

const STAGES: &[(&str, Stage)] = &[
    ("format", |repo| done(execute(repo.cargo().args(["fmt", "--all", "--check"])))),
    ("layers", |repo| done(layers::run(repo, &[]))),
    ("docs", |repo| done(docs::run(repo, &[]))),
    ("lints", |repo| done(execute(repo.cargo().args(LINTS)))),
    ("fuzz", fuzz_targets),
    ("licences", licences),
    ("tests", |repo| done(suite::run_strictly(repo))),
    ("rules", rules),
    ("tour", tour),
    ("package", packed),
];

const LINTS: &[&str] = &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"];

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let known: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
    if let Some(stranger) = arguments.iter().find(|argument| !known.contains(&argument.as_str())) {
        bail!("`{stranger}` is not a stage; there are {}", known.join(", "));
    }
    let mut summary = Vec::new();
    for (name, stage) in STAGES {
        if !arguments.is_empty() && !arguments.iter().any(|argument| argument == name) {
            continue;
        }
        println!("\n== {name}");
        let begun = Instant::now();
        let outcome = stage(repo).with_context(|| format!("stage `{name}`"));
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Done) => summary.push(format!("{name:<9} ok       {seconds:7.1} s")),
            Ok(Outcome::Skipped(why)) => summary.push(format!("{name:<9} skipped: {why}")),
            Err(error) => {
                summary.push(format!("{name:<9} FAILED   {seconds:7.1} s"));
                println!("\n{}", summary.join("\n"));
                return Err(error);
            }
        }
    }
    println!("\n{}", summary.join("\n"));
    Ok(())
}

fn done(outcome: Result<()>) -> Result<Outcome> {
    outcome.map(|()| Outcome::Done)
}

/// The one binary that no other stage compiles. Its corpus is replayed by the tests.
fn fuzz_targets(repo: &Repo) -> Result<Outcome> {
    if output_of(std::process::Command::new("c++").arg("--version")).is_none() {
        return Ok(Outcome::Skipped("there is no C++ compiler for libFuzzer"));
    }
    let lint = ["clippy", "--locked", "--package", "fuzz", "--features", "libfuzzer", "--bin", "fuzz", "--"];
    done(execute(repo.cargo().args(lint).args(["--deny", "warnings"])))
}

fn licences(repo: &Repo) -> Result<Outcome> {
    if output_of(repo.cargo().args(["deny", "--version"])).is_none() {
        return Ok(Outcome::Skipped("cargo-deny is not installed"));
    }
    execute(repo.cargo().args(["deny", "--locked", "check", "bans", "licenses", "sources"]))?;
    // The database of advisories is fetched from the network; without it nothing can be said about them.
    let advisories = repo.cargo().args(["deny", "--locked", "check", "advisories"]).output()?;
    let told = String::from_utf8_lossy(&advisories.stderr);
    match advisories.status.success() {
        true => Ok(Outcome::Done),
        false if told.contains("failed to fetch advisory database") => {
            println!("skipped: the database of advisories cannot be fetched");
            Ok(Outcome::Done)
        }
        false => bail!("`cargo deny check advisories` found something\n{told}"),
    }
}

/// The properties of the engine over many more cases than a build without optimisation has time for: a hundred thousand
/// simple rules against a direct reading of them, and sets of policies against changes that must change nothing.
fn rules(repo: &Repo) -> Result<Outcome> {
    let test =
        ["test", "--release", "--locked", "--package", "pdp-engine", "--test", "it", "--", "rules::", "metamorphic::"];
    done(execute(repo.cargo().args(test)))
}

/// A package around the binary of the tour: that it can be made and what is in it, not that it is fast.
fn packed(repo: &Repo) -> Result<Outcome> {
    if output_of(std::process::Command::new("dpkg-deb").arg("--version")).is_none() {
        return Ok(Outcome::Skipped("dpkg-deb is not here"));
    }
    done(package::assemble(repo, &repo.target.join("debug").join("countersign")).map(drop))
}

/// The README's first command, built without optimisation to save time.
fn tour(repo: &Repo) -> Result<Outcome> {
    execute(repo.cargo().args(["build", "--locked", "--package", "countersign"]))?;
    let binary = repo.target.join("debug").join("countersign");
    done(run_within(std::process::Command::new(binary).args(["demo", "--tour"]), TOUR_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_stage_is_refused_before_any_runs() {
        let repo = Repo { root: ".".into(), target: "target".into() };
        let error = run(&repo, &["format".to_owned(), "test".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`test` is not a stage") && error.contains("tests"), "{error}");
    }
}
