//! The engine through its public API: answers, attacks, explanations, compilation and the rules between them.

mod attacks;
mod compiling;
mod decisions;
mod explanations;
mod hold;
mod metamorphic;
mod oracle;
mod support;
