//! `cargo xtask test`: installs what the tests need, runs them all, and says at the end what was not tested.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::differential;
use crate::peers::{self, FOLDER_VARIABLE, Peers};
use crate::run::{Repo, spelled};

/// Makes a test that lacks its peer fail.
const REQUIRE_VARIABLE: &str = "COUNTERSIGN_REQUIRE_PEERS";
/// Printed by a test that could not run for want of a peer.
const SKIPPED: &str = "SKIPPED";

/// What the result lines of `cargo test` add up to.
#[derive(Default, PartialEq, Eq, Debug)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    skipped: Vec<String>,
}

pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    test(repo, &peers::install(repo), arguments, false)
}

/// As [`run`], but where every peer could be installed no test may do without one.
pub(crate) fn run_strictly(repo: &Repo) -> Result<()> {
    let peers = peers::install(repo);
    let is_complete = peers.missing.is_empty();
    test(repo, &peers, &[], is_complete)
}

fn test(repo: &Repo, peers: &Peers, arguments: &[String], needs_peers: bool) -> Result<()> {
    for missing in &peers.missing {
        println!("missing: {missing}\n         tests that need it will print {SKIPPED}");
    }
    let mut cargo = repo.cargo();
    cargo.args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(arguments);
    cargo.env(FOLDER_VARIABLE, &peers.folder);
    // They run until the tests are over. One that does not start is told; the test then fails or says so itself.
    let servers = differential::servers(repo);
    match &servers {
        Ok(servers) if servers.missing.is_empty() => {
            cargo.env(differential::VARIABLE, &servers.told);
        }
        Ok(servers) => println!("missing: {} to compare the gate with", servers.missing.join(", ")),
        Err(error) => println!("note: the gate is not compared with other servers: {error:#}"),
    }
    if needs_peers {
        cargo.env(REQUIRE_VARIABLE, "1");
    }
    let (succeeded, tally) = watched(&mut cargo)?;

    println!();
    for line in &tally.skipped {
        println!("{line}");
    }
    println!("{}", tally.line());
    if tally.passed + tally.failed == 0 {
        bail!("no test ran");
    }
    if succeeded && tally.failed == 0 { Ok(()) } else { bail!("the tests failed") }
}

/// Runs cargo with its output passed on and counted; says whether it succeeded.
fn watched(cargo: &mut Command) -> Result<(bool, Tally)> {
    let spelled = spelled(cargo);
    println!("$ {spelled}");
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{spelled}`"))?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let errors = child.stderr.take().context("no standard error")?;
    let counted = Arc::clone(&tally);
    let other = std::thread::spawn(move || follow(errors, &counted, |line| eprintln!("{line}")));
    follow(child.stdout.take().context("no standard output")?, &tally, |line| println!("{line}"));
    let status = child.wait()?;
    if other.join().is_err() {
        bail!("reading what `{spelled}` said failed");
    }
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((status.success(), tally))
}

fn follow(from: impl Read, tally: &Mutex<Tally>, pass_on: impl Fn(&str)) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        pass_on(&line);
        tally.lock().unwrap_or_else(PoisonError::into_inner).count(&line);
    }
}

impl Tally {
    fn count(&mut self, line: &str) {
        if let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) {
            for part in counts.split(';') {
                match part.trim().split_once(' ') {
                    Some((number, "passed")) => self.passed += number.parse::<usize>().unwrap_or(0),
                    Some((number, "failed")) => self.failed += number.parse::<usize>().unwrap_or(0),
                    Some((number, "ignored")) => self.ignored += number.parse::<usize>().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some((_, what)) = line.split_once(&format!("{SKIPPED}:")) {
            self.skipped.push(format!("{SKIPPED}:{what}"));
        }
    }

    /// A test that says it was skipped has passed for cargo; here it has not.
    fn line(&self) -> String {
        let passed = self.passed.saturating_sub(self.skipped.len());
        format!("{passed} passed, {} failed, {} skipped", self.failed, self.skipped.len() + self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up_and_a_skipped_test_has_not_passed() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test a_name ... SKIPPED: the Node verifier was not tested; missing: node",
        ] {
            tally.count(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.ignored), (7, 2, 1));
        assert_eq!(tally.skipped, ["SKIPPED: the Node verifier was not tested; missing: node"]);
        assert_eq!(tally.line(), "6 passed, 2 failed, 2 skipped");
    }

    #[test]
    fn what_a_program_says_on_both_outputs_is_counted() {
        let script = "echo 'test result: ok. 5 passed; 0 failed; 0 ignored'; echo 'SKIPPED: x' >&2; exit 1";
        let (succeeded, tally) = watched(Command::new("sh").args(["-c", script])).unwrap();
        assert!(!succeeded);
        assert_eq!(tally.line(), "4 passed, 0 failed, 1 skipped");
    }
}
