//! One target under libFuzzer: the variable `COUNTERSIGN_FUZZ` names it. `cargo xtask fuzz` sets it.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

static TARGET: LazyLock<&'static fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("COUNTERSIGN_FUZZ").unwrap_or_default();
    let Some(target) = fuzz::target(&name) else {
        eprintln!("COUNTERSIGN_FUZZ names no target: `{name}`");
        std::process::exit(2);
    };
    target
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
