//! The committed corpus, replayed: inputs that reached different code, and everything that was ever found.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

use std::path::{Path, PathBuf};

use fuzz::TARGETS;

/// The fewest inputs a corpus holds; fewer say that it was not committed.
const LEAST_INPUTS: usize = 10;
/// The largest corpus: it is read by people who clone the repository.
const MOST_BYTES: usize = 1024 * 1024;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(folder) = std::fs::read_dir(corpus(target)) else { return Vec::new() };
    folder.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn every_input_of_the_corpus_keeps_its_property() {
    for target in TARGETS {
        let inputs = inputs(target.name);
        assert!(inputs.len() >= LEAST_INPUTS, "{} has a corpus of {}", target.name, inputs.len());
        let bytes: usize = inputs.iter().map(|(_, input)| input.len()).sum();
        assert!(bytes <= MOST_BYTES, "{}: {bytes} bytes", target.name);
        for (path, input) in &inputs {
            println!("{}", path.display());
            (target.run)(input);
        }
        println!("{}: {} inputs, {bytes} bytes", target.name, inputs.len());
    }
}

#[test]
fn no_input_is_too_short_for_a_target() {
    for target in TARGETS {
        for length in 0..8 {
            (target.run)(&vec![0; length]);
            (target.run)(&vec![b'/'; length]);
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    for entry in std::fs::read_dir(corpus("..").join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(fuzz::target(&name).is_some(), "`{name}` is the corpus of no target");
    }
}
