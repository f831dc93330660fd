//! `countersign admin recover` through the real binary (ID-2): with the server running and with the server stopped, and
//! what somebody with the host, a second shell or an old link tries with it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::ServerConfig;
use countersign::roles::startup;
use countersign::system::{SystemClock, SystemIds};
use model::{Clock, Ids};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::browser::Browser;
use crate::harness::wire::Door;
use crate::harness::{AUTH, NAVIGATION};
use crate::newcomer::{binary, done, free, run};

const PATIENCE: Duration = Duration::from_secs(30);
const CAROL: &str = "carol@example.org";
const DAVE: &str = "dave@example.org";
const TOLD: &str = "administrator account was reopened from the server itself";

/// An installation with a server that can be stopped.
struct Host {
    _base: TempDir,
    folder: PathBuf,
    door: Door,
    server: Option<Child>,
}

impl Host {
    async fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        done(base.path(), &["init", "corp", "--port", "443", "--app", "wiki=http://127.0.0.1:9"]).await;
        let folder = base.path().join("corp");
        let (file, address) = (folder.join("server.toml"), free());
        let text = std::fs::read_to_string(&file).unwrap().replace("127.0.0.1:443", &address.to_string());
        std::fs::write(&file, text).unwrap();
        let door = Door::trusting(address, &std::fs::read_to_string(folder.join("tls/ca.pem")).unwrap());
        Self { _base: base, folder, door, server: None }
    }

    async fn start(&mut self) {
        let mut command = binary(&self.folder);
        command.args(["serve", "-c", "server.toml", "--drain-delay", "0"]).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
        let (begun, socket) = (Instant::now(), self.folder.join("data/control.sock"));
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < PATIENCE, "`serve` does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// As `systemctl stop` does it.
    async fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        let pid = server.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let begun = Instant::now();
        while server.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "`serve` does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A person who opened the link that `arguments` print.
    async fn enrolled(&self, arguments: &[&str], who: Value) -> Browser {
        let mut browser = Browser::new(&self.door);
        browser.enrol(&link(&done(&self.folder, arguments).await), who).await;
        browser
    }

    async fn offline(&self, who: &str) -> Result<String, String> {
        let output = run(&self.folder, &["admin", "recover", who, "--offline", "-c", "server.toml", "--json"]).await;
        let [printed, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        if output.status.success() { Ok(link(&printed)) } else { Err(told) }
    }

    async fn recoveries_recorded(&self) -> Vec<Value> {
        let query = ["audit", "query", "--type", "auth.recovery", "--json"];
        let answer: Value = serde_json::from_str(&done(&self.folder, &query).await).unwrap();
        answer["records"].as_array().unwrap().clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ended = server.kill();
            let _status = server.wait();
        }
    }
}

fn link(printed: &str) -> String {
    let from = printed.find("https://").unwrap_or_else(|| panic!("no link: {printed}"));
    printed[from..].split(['"', '\n']).next().unwrap().trim().to_owned()
}

async fn is_signed_in(browser: &mut Browser) -> bool {
    browser.send("GET", AUTH, "/me", NAVIGATION, "").await.status == 200
}

/// Why a link does not work.
async fn refusal(host: &Host, link: &str) -> String {
    let page = Browser::new(&host.door).visit(AUTH, link.strip_prefix("https://localhost").unwrap()).await.2;
    assert_ne!(page.status, 200, "{}", page.text());
    page.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_lost_everything_gets_back_in_from_the_host_with_the_server_stopped() {
    let mut host = Host::new().await;
    host.start().await;
    let mut carol = host.enrolled(&["admin", "setup-link"], json!({ "name": "Carol", "email": CAROL })).await;
    done(&host.folder, &["user", "add", DAVE, "--name", "Dave", "--group", "admins"]).await;
    let mut dave = host.enrolled(&["invite", DAVE], json!({})).await;
    assert!(is_signed_in(&mut carol).await && is_signed_in(&mut dave).await);

    // Beside a running server nothing is opened, and the other way is named.
    let refused = host.offline(CAROL).await.unwrap_err();
    assert!(refused.contains("without --offline") && refused.contains("a server runs there"), "{refused}");
    let through_socket = link(&done(&host.folder, &["admin", "recover", CAROL]).await);
    assert_eq!(host.recoveries_recorded().await.len(), 1);

    host.stop().await;
    let refused = host.offline("nobody@example.org").await.unwrap_err();
    assert!(refused.contains("there is no user"), "{refused}");
    let link = host.offline(CAROL).await.unwrap();
    host.start().await;

    // Recorded, and told to every administrator.
    let records = host.recoveries_recorded().await;
    assert_eq!(records.len(), 2, "{records:#?}");
    let text = serde_json::to_string(&records).unwrap();
    assert!(text.contains("local-operator") && text.contains("reopened from the host"), "{text}");
    assert!(!text.contains("recorded at the next start"), "it was recorded at once: {text}");
    let page = dave.send("GET", AUTH, "/me", NAVIGATION, "").await.text();
    assert!(page.contains(TOLD) && page.contains(CAROL), "{page}");

    // The newer link took the place of the older one; it works once, and ends what was before.
    assert!(refusal(&host, &through_socket).await.contains("newer link"));
    assert!(is_signed_in(&mut carol).await, "nothing ends before the link is used");
    let mut again = Browser::new(&host.door);
    again.enrol(&link, json!({})).await;
    let page = again.send("GET", AUTH, "/me", NAVIGATION, "").await;
    assert!(page.status == 200 && page.text().contains(TOLD), "{}", page.text());
    assert!(!is_signed_in(&mut carol).await, "every session from before is dead");
    assert!(is_signed_in(&mut dave).await, "of nobody else");
    assert!(refusal(&host, &link).await.contains("used already"), "a replay opens nothing");
    host.stop().await;
    done(&host.folder, &["audit", "verify", "data/audit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_from_the_host_is_not_for_others_on_it_and_not_for_two_at_once() {
    let mut host = Host::new().await;
    let refused = host.offline(CAROL).await.unwrap_err();
    assert!(refused.contains("no installation"), "it makes none: {refused}");
    assert!(!host.folder.join("data/state.db").exists());
    host.start().await;
    host.enrolled(&["admin", "setup-link"], json!({ "name": "Carol", "email": CAROL })).await;
    done(&host.folder, &["user", "add", "bob@example.org", "--name", "Bob"]).await;
    host.stop().await;

    let refused = host.offline("bob@example.org").await.unwrap_err();
    assert!(refused.contains("no active administrator"), "{refused}");

    // A key that others could read is a key that others may have.
    let kek = host.folder.join("data/kek");
    set_mode(&kek, 0o644);
    let refused = host.offline(CAROL).await.unwrap_err();
    assert!(refused.contains("kek"), "{refused}");
    set_mode(&kek, 0o600);

    // Two at once: one after the other, or one is refused; of their links one works.
    let (one, other) = tokio::join!(host.offline(CAROL), host.offline(CAROL));
    let links: Vec<String> = [&one, &other].into_iter().filter_map(|made| made.clone().ok()).collect();
    assert!(!links.is_empty(), "{one:?} {other:?}");
    host.start().await;
    let made = host.recoveries_recorded().await.len();
    assert_eq!(made, links.len(), "every link that was made is recorded, and nothing that was refused");
    let mut open = 0;
    for link in &links {
        let page = Browser::new(&host.door).visit(AUTH, link.strip_prefix("https://localhost").unwrap()).await.2;
        open += usize::from(page.status == 200);
    }
    assert_eq!(open, 1);
    for file in ["data/lock", "data/state.db", "data/kek"] {
        let mode = std::fs::metadata(host.folder.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_relying_party_is_refused_with_what_it_costs_and_costs_it_only_when_told() {
    let mut host = Host::new().await;
    host.start().await;
    let mut carol = host.enrolled(&["admin", "setup-link"], json!({ "name": "Carol", "email": CAROL })).await;
    assert!(is_signed_in(&mut carol).await);
    host.stop().await;

    // On `localhost` the file can name no other relying party, so the change is made where it is read.
    let text = std::fs::read_to_string(host.folder.join("server.toml")).unwrap();
    let mut config = ServerConfig::parse("server.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    startup::resolve_paths(&mut config, &host.folder);
    config.identity.rp_id = "other.example".to_owned();
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock::default()), Arc::new(SystemIds));
    let refused = startup::store(&config.data_dir, &config.identity.rp_id, clock.as_ref()).await.err().unwrap();
    let refused = refused.to_string();
    assert!(refused.contains("1 passkeys of 1 people") && refused.contains("--lose-passkeys"), "{refused}");

    assert_eq!(startup::lose_passkeys(&config, &clock, &ids).await.unwrap(), 1);
    let again = startup::lose_passkeys(&config, &clock, &ids).await.err().unwrap().to_string();
    assert!(again.contains("did not change"), "{again}");

    // And back: nothing is left to lose, and both changes are in the record.
    config.identity.rp_id = AUTH.to_owned();
    assert_eq!(startup::lose_passkeys(&config, &clock, &ids).await.unwrap(), 0);
    host.start().await;
    let query = ["audit", "query", "--type", "auth.mfa_removed", "--json"];
    let answer: Value = serde_json::from_str(&done(&host.folder, &query).await).unwrap();
    assert_eq!(answer["records"].as_array().unwrap().len(), 2, "{answer:#}");
}
