//! The demo in a real browser: Chromium with its virtual authenticator walks set-up link, passkey, app, denial, step-up,
//! live cut, self-service, the way back in and sign-out (`tests/browser/walk.mjs`). axe looks at every page: light, dark, on
//! a phone.
//!
//! Needs Chromium, Node, playwright-core, axe-core, jsqr and otpauth, which `cargo xtask test` installs; without them it prints SKIPPED, or fails
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
    let Some(peers) = peers() else { return };
    let data = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(data.path());
    let remove = ["group", "remove", "engineering", "alice@example.org"];
    walk("walk.mjs", &peers, &demo, &json!({ "vouch": demo.command(&[]), "remove": demo.command(&remove) }));
}

/// Runs a script of `tests/browser` on a demo, with `more` beside what every script is told; it must end well.
pub(crate) fn walk(script: &str, peers: &Peers, demo: &Demo, more: &Value) {
    walk_told(script, peers, &demo.told, more);
}

/// The same on any server, of which `told` says what a demo says of itself.
pub(crate) fn walk_told(script: &str, peers: &Peers, told: &Value, more: &Value) {
    let shots = std::env::var_os("COUNTERSIGN_SCREENSHOTS").map(PathBuf::from);
    if let Some(shots) = &shots {
        std::fs::create_dir_all(shots).expect("a folder for screenshots");
    }
    let mut plan = json!({
        "playwright": peers.playwright.join("package.json"),
        "axe": peers.playwright.with_file_name("axe-core").join("axe.min.js"),
        "chromium": peers.chromium,
        "spki": told["spki_sha256"],
        "auth": told["auth_url"],
        "wiki": told["wiki_url"],
        "payroll": told["payroll_url"],
        "links": told["links"],
        "shots": shots,
    });
    let (all, more) = (plan.as_object_mut().expect("a plan"), more.as_object().expect("members"));
    all.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(script);
    let mut walk = Command::new("node").arg(path).arg(plan.to_string()).spawn().expect("node starts");
    assert!(ended_well(&mut walk), "`{script}`: the pages are not as promised; see above");
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

    /// Our own program, asking this demo.
    pub(crate) fn command(&self, words: &[&str]) -> Vec<String> {
        let socket = self.told["socket"].as_str().expect("a socket");
        let start = [env!("CARGO_BIN_EXE_countersign"), "--socket", socket];
        start.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn ended_well(child: &mut Child) -> bool {
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

/// What walks need and the product does not.
pub(crate) struct Peers {
    pub(crate) chromium: PathBuf,
    /// The folder of playwright-core; the other libraries lie beside it.
    playwright: PathBuf,
}

/// Libraries beside playwright-core.
const BESIDE: [&str; 3] = ["axe-core", "jsqr", "otpauth"];

/// What walks need; `None` where it is missing.
pub(crate) fn peers() -> Option<Peers> {
    let chromium =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser"].iter().map(PathBuf::from).find(|path| path.exists());
    let folder = std::env::var_os("COUNTERSIGN_PEERS").map(PathBuf::from);
    let playwright = folder.map(|folder| folder.join("node_modules/playwright-core"));
    let is_whole = |path: &PathBuf| path.exists() && BESIDE.iter().all(|name| path.with_file_name(name).exists());
    let playwright = playwright.filter(is_whole);
    let has_node =
        Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    match (chromium, playwright, has_node) {
        (Some(chromium), Some(playwright), true) => Some(Peers { chromium, playwright }),
        _ => {
            let missing = "Chromium, Node, playwright-core, axe-core, jsqr or otpauth is missing; `cargo xtask test` installs them";
            assert!(std::env::var_os("COUNTERSIGN_REQUIRE_PEERS").is_none(), "{missing}");
            // Written past the capture of the test harness, so that nobody takes a skip for a pass.
            writeln!(std::io::stderr(), "SKIPPED: the browser walk: {missing}").ok();
            None
        }
    }
}
