//! `countersign completions` and `countersign man`: the command line in the words of shells and of `man`, generated from
//! the same definition that parses it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

use crate::say;

/// Print completions for a shell.
#[derive(Args)]
#[command(
    after_help = "bash:  countersign completions bash > /etc/bash_completion.d/countersign\nzsh:   countersign completions zsh > \"${fpath[1]}/_countersign\"\nfish:  countersign completions fish > ~/.config/fish/completions/countersign.fish"
)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Write manual pages, one per command.
#[derive(Args)]
#[command(after_help = "Example:\n  countersign man /usr/local/share/man/man1 && man countersign-audit-query")]
pub struct Man {
    /// The folder they go to; made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn run(&self, mut command: Command) -> Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "countersign", &mut text);
        say!("{}", String::from_utf8(text)?.trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    /// Writes them.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn run(&self, command: Command) -> Result<ExitCode> {
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot make `{}`", self.folder.display()))?;
        let mut command = command;
        // Fills in what subcommands inherit, the version and the full names among it.
        command.build();
        let count = write(&command, "countersign", &self.folder)?;
        say!("{count} pages in `{}`", self.folder.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// The page of `command` and those of its subcommands.
fn write(command: &Command, name: &str, folder: &Path) -> Result<usize> {
    let file = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut page)?;
    std::fs::write(&file, page).with_context(|| format!("cannot write `{}`", file.display()))?;
    let mut count = 1;
    for subcommand in command.get_subcommands().filter(|known| known.get_name() != "help" && !known.is_hide_set()) {
        count += write(subcommand, &format!("{name}-{}", subcommand.get_name()), folder)?;
    }
    Ok(count)
}
