//! What browsers are told about passkeys (ID-23), caught in the page (`tests/browser/upkeep.mjs`), and that browsers which
//! refuse it or lack it work as well.

use serde_json::json;

use crate::browser::{Demo, peers, walk};

#[test]
fn a_browser_is_told_which_passkeys_count_and_works_where_it_cannot_be_told() {
    let Some(peers) = peers() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let demo = Demo::start_with(data.path(), &["--passwords"]);
    walk("upkeep.mjs", &peers, &demo, &json!({}));
}
