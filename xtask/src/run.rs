//! Where the repository is, and how a task runs a program: said aloud first, and an error if it fails.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The checkout and where it builds.
pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    /// `CARGO_TARGET_DIR` or `target`.
    pub(crate) target: PathBuf,
}

impl Repo {
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let manifest = manifest.context("start this with `cargo xtask`, which says where the repository is")?;
        let root = manifest.parent().context("xtask is not inside a repository")?.to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(Self { target: if target.is_absolute() { target } else { root.join(target) }, root })
    }

    /// The toolchain's cargo, in the repository.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        // Of the xtask's own build; they would make cargo rebuild what reads them.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(name);
        }
        command
    }
}

/// The command as one would type it.
pub(crate) fn spelled(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let spelled = spelled(command);
    println!("$ {spelled}");
    let status = command.status().with_context(|| format!("cannot start `{spelled}`"))?;
    if status.success() { Ok(()) } else { bail!("`{spelled}` failed ({status})") }
}

/// Runs to the end, but not longer than `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let spelled = spelled(command);
    println!("$ {spelled}");
    let mut child = command.spawn().with_context(|| format!("cannot start `{spelled}`"))?;
    let begun = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`{spelled}` failed ({status})"),
            None if begun.elapsed() > limit => {
                child.kill()?;
                child.wait()?;
                bail!("`{spelled}` was still running after {} s and was ended", limit.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What a program prints, if it is there and succeeds.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_an_error_that_names_it() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c exit 3` failed") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let begun = Instant::now();
        let error = run_within(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err().to_string();
        assert!(error.contains("was ended"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
