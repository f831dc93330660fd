//! `cargo xtask`: what the repository does with itself. Continuous integration runs `ci`, and nothing else.
//!
//! Not part of the product; depends on none of its crates, so that it works while they do not compile.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod differential;
mod docs;
mod drill_peers;
mod fuzz;
mod layers;
mod package;
mod peers;
mod run;
mod suite;

use std::process::ExitCode;

use anyhow::{Result, bail};
use run::Repo;

struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&Repo, &[String]) -> Result<()>,
}

const TASKS: &[Task] = &[
    Task { name: "ci", about: "everything continuous integration runs, each stage with its time", run: ci::run },
    Task { name: "test", about: "install what the tests need and run them all", run: suite::run },
    Task { name: "layers", about: "check who may depend on whom; print every edge", run: layers::run },
    Task { name: "docs", about: "check the pages against code and tests; `--fix` mends what it can", run: docs::run },
    Task { name: "bench", about: "run a benchmark; `cargo xtask bench` lists them", run: bench::run },
    Task {
        name: "package",
        about: "make a Debian package; `--binary PATH` packs one that is built",
        run: package::run,
    },
    Task {
        name: "differential",
        about: "what the gate accepts, through other servers: `--cases N --seed S`",
        run: differential::run,
    },
    Task { name: "fuzz", about: "run a fuzz target: `TARGET --seconds N`", run: fuzz::run },
    Task {
        name: "drill-peers",
        about: "drill other proxies and write the table of docs/drill.md",
        run: drill_peers::run,
    },
    Task { name: "peers", about: "install the third-party peers tests compare with, and list them", run: peers::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let (name, rest) = match arguments.split_first() {
        None => ("help", &[][..]),
        Some((name, rest)) => (name.as_str(), rest),
    };
    if matches!(name, "help" | "-h" | "--help") {
        print!("{}", help());
        return Ok(());
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        bail!("`{name}` is not a task\n\n{}", help());
    };
    if rest.iter().any(|argument| argument == "-h" || argument == "--help") {
        println!("cargo xtask {}: {}", task.name, task.about);
        return Ok(());
    }
    (task.run)(&Repo::find()?, rest)
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask <task>\n\nTasks:\n");
    for task in TASKS {
        text.push_str(&format!("  {:<12} {}\n", task.name, task.about));
    }
    text.push_str(
        "\nStart with `cargo xtask test`. Before a change goes in: `cargo xtask ci`.\n\
         COUNTERSIGN_REQUIRE_PEERS=1 makes a test fail where it would be skipped for want of a peer.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_task_and_a_slip_is_answered_with_help() {
        for task in TASKS {
            assert!(help().contains(task.about));
        }
        let error = dispatch(&["layer".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`layer` is not a task") && error.contains("layers"), "{error}");
    }
}
