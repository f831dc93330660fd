//! The console in a real browser (`tests/browser/console.mjs`): every screen with axe in light, dark and at 320 pixels, by
//! keyboard, with the live tail, and again without JavaScript. Any script error or policy violation fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::browser::{Demo, ended_well, peers};

#[test]
fn the_console_works_in_a_browser_with_and_without_javascript() {
    let Some((chromium, playwright)) = peers() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(data.path());
    let shots = std::env::var_os("COUNTERSIGN_SCREENSHOTS").map(PathBuf::from);
    if let Some(shots) = &shots {
        std::fs::create_dir_all(shots).expect("a folder for screenshots");
    }
    let member = |name: &str| demo.told.get(name).cloned().unwrap_or(Value::Null);
    let plan = json!({
        "playwright": playwright.join("package.json"),
        "axe": playwright.with_file_name("axe-core").join("axe.min.js"),
        "chromium": chromium,
        "spki": member("spki_sha256"),
        "auth": member("auth_url"),
        "wiki": member("wiki_url"),
        "payroll": member("payroll_url"),
        "links": member("links"),
        "shots": shots,
        "recover": [
            env!("CARGO_BIN_EXE_countersign"),
            "--socket", member("socket"),
            "user", "recover", "bob@example.org",
        ],
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/console.mjs");
    let mut walk = Command::new("node").arg(script).arg(plan.to_string()).spawn().expect("node starts");
    assert!(ended_well(&mut walk), "the console is not as promised; see above");
}
