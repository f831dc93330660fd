//! The engine through its public API: answers, attacks, explanations, compilation and the rules between them.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod baseline;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod compiling;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod explanations;
#[cfg(test)]
mod hold;
#[cfg(test)]
mod lints;
#[cfg(test)]
mod metamorphic;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod remedies;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod step_up;
#[cfg(test)]
mod support;
