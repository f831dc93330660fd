//! The gateway beside Envoy: `crates/countersign/benches/gateway`. Options go to the bench itself: `cargo xtask bench
//! gateway --rounds 3 --seconds 10`.

use anyhow::Result;

use crate::run::{Repo, run as execute};

pub(crate) fn run(repo: &Repo, rest: &[String]) -> Result<()> {
    let bench = ["bench", "--locked", "--package", "countersign", "--bench", "gateway", "--"];
    execute(repo.cargo().args(bench).args(rest.iter().filter(|argument| *argument != "--")))
}
