//! What a newcomer types, through the real binary: `init`, `serve`, the set-up link, `apply`, `group add`, `doctor`. And the
//! installation in `examples/small`, started and applied as its page says.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::TestCa;

use crate::harness::app::RecordingApp;
use crate::harness::browser::Browser;
use crate::harness::wire::Door;
use crate::harness::{NAVIGATION, WIKI, request};

const PATIENCE: Duration = Duration::from_secs(30);
const ME: &str = "carol@example.org";

/// A server that ends with the test.
struct Served(Child);

impl Served {
    /// Starts `serve` in `folder` and waits for its control socket. Gives the set-up link it printed.
    fn start(folder: &Path) -> (Self, String) {
        let mut child = binary(folder);
        child.args(["serve", "-c", "server.toml", "--log", "text"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        let printed = child.stdout.take().unwrap();
        let served = Self(child);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(printed).lines().map_while(Result::ok) {
                if let Some(link) = line.trim().strip_prefix("https://") {
                    let _nobody_waits = sender.send(format!("https://{link}"));
                }
            }
        });
        let link = receiver.recv_timeout(PATIENCE).expect("`serve` prints the set-up link");
        (served, link)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

pub(crate) fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.current_dir(folder).stdin(Stdio::null()).env_remove("COUNTERSIGN_SOCKET");
    command
}

pub(crate) async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = binary(folder);
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs a command that has to succeed, and gives what it printed.
pub(crate) async fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments).await;
    let [printed, told] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{arguments:?}: {printed}{told}");
    printed
}

/// A port that was free a moment ago, as a server on a machine without port 443 has one.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_ones_own_is_protected_by_what_init_writes() {
    let begun = Instant::now();
    let base = tempfile::tempdir().unwrap();
    let app = RecordingApp::start().await;
    let target = format!("wiki=http://{}", app.address);
    let told = done(base.path(), &["init", "corp", "--port", "443", "--app", &target]).await;
    for word in [
        "countersign serve -c server.toml",
        "countersign apply -f config",
        "group add staff",
        "https://wiki.localhost/",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    // The public port stays; the listener gets one that needs no right, as behind a port mapping.
    let folder = base.path().join("corp");
    let file = folder.join("server.toml");
    let address = free();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("127.0.0.1:443", &address.to_string())).unwrap();

    let (served, link) = Served::start(&folder);
    let door = Door::trusting(address, &std::fs::read_to_string(folder.join("tls/ca.pem")).unwrap());
    let mut carol = Browser::new(&door);
    carol.enrol(&link, json!({ "name": "Carol", "email": ME })).await;
    done(&folder, &["apply", "-f", "config", "--reason", "first apps"]).await;

    let mut wire = door.http1().await;
    wire.send(request("GET", WIKI, "/", "", NAVIGATION)).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 303, "nobody gets in without an identity: {answer:?}");
    assert!(carol.visit(WIKI, "/hello").await.2.status == 403, "not in the group yet");
    done(&folder, &["group", "add", "staff", ME]).await;
    carol.open(WIKI, "/hello").await;
    assert!(app.take().iter().any(|asked| asked.line().starts_with("GET /hello")), "the app was reached");

    let seen = run(&folder, &["doctor", "-c", "server.toml", "--json"]).await;
    let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(seen["state"], "warning", "one administrator is a warning, nothing is broken: {seen:#}");
    let told = done(&folder, &["status"]).await;
    assert!(told.contains("apps           1, and the built-in one"), "{told}");
    let own = begun.elapsed();
    one_more_app(&folder, served, &mut carol).await;
    println!("own app protected in {:.1} s of machine time", own.as_secs_f64());
}

/// `app add`, the restart it asks for, and `apply`.
async fn one_more_app(folder: &Path, served: Served, carol: &mut Browser) {
    let app = RecordingApp::start().await;
    let told = done(folder, &["app", "add", "notes", "--upstream", &format!("http://{}", app.address)]).await;
    assert!(told.contains("Stop `countersign serve`") && told.contains("apply -f config --reason"), "{told}");
    drop(served);
    let mut child = binary(folder);
    child.args(["serve", "-c", "server.toml"]).stdout(Stdio::null()).stderr(Stdio::null());
    let _served = Served(child.spawn().unwrap());
    let begun = Instant::now();
    while !run(folder, &["status"]).await.status.success() {
        assert!(begun.elapsed() < PATIENCE, "the server starts again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    done(folder, &["apply", "-f", "config", "--reason", "notes"]).await;
    carol.open("notes.localhost", "/more").await;
    assert!(app.take().iter().any(|asked| asked.line().starts_with("GET /more")), "the second app was reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_example_starts_and_applies_as_its_page_says() {
    let base = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/small");
    copy(&example, base.path());
    let names = ["auth.example.org", "wiki.example.org", "payroll.example.org"];
    let ca = TestCa::new();
    let issued = ca.issue(&names);
    std::fs::create_dir_all(base.path().join("tls")).unwrap();
    std::fs::write(base.path().join("tls/cert.pem"), &issued.chain_pem).unwrap();
    std::fs::write(base.path().join("tls/key.pem"), issued.key_pem.expose()).unwrap();
    let file = base.path().join("server.toml");
    let address = free();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("0.0.0.0:443", &address.to_string()) + "\n[admin]\nlisten = \"127.0.0.1:0\"\n")
        .unwrap();

    done(base.path(), &["check", "-f", "config", "-c", "server.toml"]).await;
    let (_served, link) = Served::start(base.path());
    assert!(link.starts_with("https://auth.example.org/setup"), "{link}");
    let applied = done(base.path(), &["apply", "-f", "config", "--reason", "first apps"]).await;
    assert!(applied.contains("is live"), "{applied}");
    let explained =
        done(base.path(), &["app", "explain", "wiki", "--user", "alice@example.org", "--action", "http.get"]).await;
    assert!(explained.contains("ALLOW"), "{explained}");
    let refused =
        done(base.path(), &["app", "explain", "wiki", "--user", "bob@contractor.example", "--action", "http.get"])
            .await;
    assert!(refused.contains("DENY"), "{refused}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}
