//! The console in a real browser (`tests/browser/console.mjs`): every screen with axe in light, dark and at 320 pixels, by
//! keyboard, with the live tail, and again without JavaScript. Any script error or policy violation fails.

use serde_json::json;

use crate::browser::{Demo, peers, walk};

#[test]
fn the_console_works_in_a_browser_with_and_without_javascript() {
    let Some(peers) = peers() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(data.path());
    walk("console.mjs", &peers, &demo, &json!({ "recover": demo.command(&["user", "recover", "bob@example.org"]) }));
}
