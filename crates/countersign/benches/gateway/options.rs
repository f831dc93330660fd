//! What may be said on the command line.

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Shown by `--help`.
pub(crate) const HELP: &str = "\
Usage: cargo bench -p countersign --bench gateway -- [OPTIONS]

  --rounds N    interleaved rounds, of which medians are taken (default 5)
  --seconds N   length of one measurement (default 5)
  --only LIST   some of: memory,h1,h2,latency,handshakes (default all)
";

const MAX_ROUNDS: usize = 100;
const MAX_SECONDS: u64 = 600;

/// A kind of measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Memory,
    Http1,
    Http2,
    Latency,
    Handshakes,
}

const PARTS: [(&str, Part); 5] = [
    ("memory", Part::Memory),
    ("h1", Part::Http1),
    ("h2", Part::Http2),
    ("latency", Part::Latency),
    ("handshakes", Part::Handshakes),
];

/// The run that was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    parts: Vec<Part>,
}

impl Options {
    /// `None` when help was asked for.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self { rounds: 5, length: Duration::from_secs(5), parts: PARTS.map(|(_, part)| part).into() };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("`{argument}` needs a value"));
            match argument.as_str() {
                // Said by `cargo bench` to every bench.
                "--bench" => {}
                "--help" | "-h" => return Ok(None),
                "--rounds" => options.rounds = number(&value()?, MAX_ROUNDS)?,
                "--seconds" => options.length = Duration::from_secs(number(&value()?, MAX_SECONDS)?),
                "--only" => options.parts = value()?.split(',').map(part).collect::<Result<_>>()?,
                other => bail!("`{other}` is not an option\n\n{HELP}"),
            }
        }
        Ok(Some(options))
    }

    pub(crate) fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn number<T: std::str::FromStr + PartialOrd + From<u8> + std::fmt::Display>(text: &str, max: T) -> Result<T> {
    match text.parse::<T>() {
        Ok(number) if number >= T::from(1) && number <= max => Ok(number),
        _ => bail!("`{text}` is not a number from 1 to {max}"),
    }
}

fn part(name: &str) -> Result<Part> {
    let known = PARTS.iter().find(|(known, _)| *known == name);
    known.map(|(_, part)| *part).with_context(|| format!("`{name}` is not a part of the bench\n\n{HELP}"))
}
