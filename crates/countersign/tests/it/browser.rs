//! The demo in a real browser: Chromium with its virtual authenticator walks set-up link, passkey, app, denial, step-up,
//! live cut, self-service, the way back in and sign-out (`tests/browser/walk.mjs`). axe looks at every page: light, dark, on
//! a phone.
//!
//! Needs Chromium, Node, playwright-core and axe-core, which `cargo xtask test` installs; without them it prints SKIPPED, or fails
//! when `COUNTERSIGN_REQUIRE_PEERS` is set. `COUNTERSIGN_SCREENSHOTS=DIR` keeps pictures of the pages.

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Deserializer, Value, json};

/// How long the walk may take.
const WALK_LIMIT: Duration = Duration::from_secs(400);

#[test]
fn a_browser_walks_from_the_set_up_link_to_the_sign_out() {
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
        "vouch": [
            env!("CARGO_BIN_EXE_countersign"),
            "--socket", member("socket"),
        ],
        "remove": [
            env!("CARGO_BIN_EXE_countersign"),
            "--socket", member("socket"),
            "group", "remove", "engineering", "alice@example.org",
        ],
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/walk.mjs");
    let mut walk = Command::new("node").arg(script).arg(plan.to_string()).spawn().expect("node starts");
    assert!(ended_well(&mut walk), "the walk is not as promised; see above");
}

/// The demo as a person starts it.
pub(crate) struct Demo {
    process: Child,
    pub(crate) told: Value,
}

impl Demo {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same with more options.
    pub(crate) fn start_with(data: &Path, more: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["demo", "--json", "--port", "0", "--data"])
            .arg(data.join("demo"))
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let output: Box<dyn Read> = Box::new(process.stdout.take().expect("its output"));
        let mut values = Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
        let told = values.next().expect("the demo says where it is").expect("JSON");
        Self { process, told }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub(crate) fn ended_well(child: &mut Child) -> bool {
    let began = Instant::now();
    while began.elapsed() < WALK_LIMIT {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => return false,
        }
    }
    child.kill().ok();
    child.wait().ok();
    false
}

/// Chromium and the folder of playwright-core; axe-core lies beside it.
pub(crate) fn peers() -> Option<(PathBuf, PathBuf)> {
    let chromium =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser"].iter().map(PathBuf::from).find(|path| path.exists());
    let folder = std::env::var_os("COUNTERSIGN_PEERS").map(PathBuf::from);
    let playwright = folder.map(|folder| folder.join("node_modules/playwright-core"));
    let playwright = playwright.filter(|path| path.exists() && path.with_file_name("axe-core").exists());
    let has_node =
        Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    match (chromium, playwright, has_node) {
        (Some(chromium), Some(playwright), true) => Some((chromium, playwright)),
        _ => {
            let missing = "Chromium, Node, playwright-core or axe-core is missing; `cargo xtask test` installs them";
            assert!(std::env::var_os("COUNTERSIGN_REQUIRE_PEERS").is_none(), "{missing}");
            // Written past the capture of the test harness, so that nobody takes a skip for a pass.
            writeln!(std::io::stderr(), "SKIPPED: the browser walk: {missing}").ok();
            None
        }
    }
}
