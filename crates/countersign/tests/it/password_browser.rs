//! Passwords in a real browser (`tests/browser/passwords.mjs`): set, changed, removed, used to sign in and to confirm; and
//! the page that asks for more than a confirmation. axe looks at every page.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::browser::{Demo, ended_well, peers};

/// Rules beside the demo's: a change of the wiki takes two factors again, a deletion an encrypted disk too.
const RULES: &str = r#"
@id("two-factors")
@class("step_up")
@title("a change takes two factors used within the last five minutes")
forbid (principal, action in Action::"write", resource in App::"wiki")
unless { context.auth.mfa && context.auth.step_up_age_secs <= 300 };

@id("encrypted")
@class("step_up")
@title("a deletion takes an encrypted disk")
forbid (principal, action == Action::"http.delete", resource in App::"wiki")
unless { context.device.encrypted.ok };
"#;

#[test]
fn a_browser_signs_in_and_confirms_with_password_and_code() {
    let Some((chromium, playwright)) = peers() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let demo = Demo::start_with(data.path(), &["--passwords"]);
    let member = |name: &str| demo.told.get(name).cloned().unwrap_or(Value::Null);
    let config = Path::new(member("folder").as_str().expect("a folder")).join("config");
    std::fs::write(config.join("two-factors.cedar"), RULES).expect("a file");
    let applied = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["--socket", member("socket").as_str().expect("a socket"), "apply", "--files"])
        .arg(&config)
        .output()
        .expect("it runs");
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    let shots = std::env::var_os("COUNTERSIGN_SCREENSHOTS").map(PathBuf::from);
    if let Some(shots) = &shots {
        std::fs::create_dir_all(shots).expect("a folder for screenshots");
    }
    let plan = json!({
        "playwright": playwright.join("package.json"),
        "axe": playwright.with_file_name("axe-core").join("axe.min.js"),
        "chromium": chromium,
        "spki": member("spki_sha256"),
        "auth": member("auth_url"),
        "wiki": member("wiki_url"),
        "links": member("links"),
        "shots": shots,
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/passwords.mjs");
    let mut walk = Command::new("node").arg(script).arg(plan.to_string()).spawn().expect("node starts");
    assert!(ended_well(&mut walk), "passwords are not as promised; see above");
}
