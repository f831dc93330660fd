//! Passwords in a real browser (`tests/browser/passwords.mjs`): set, changed, removed, used to sign in and to confirm; and
//! the page that asks for more than a confirmation. axe looks at every page.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::browser::{Demo, peers, walk};

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
    let Some(peers) = peers() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let demo = Demo::start_with(data.path(), &["--passwords"]);
    let config = Path::new(demo.told["folder"].as_str().expect("a folder")).join("config");
    std::fs::write(config.join("two-factors.cedar"), RULES).expect("a file");
    let words = demo.command(&["apply", "--files", config.to_str().expect("a path")]);
    let applied = Command::new(&words[0]).args(&words[1..]).output().expect("it runs");
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    walk("passwords.mjs", &peers, &demo, &json!({}));
}
