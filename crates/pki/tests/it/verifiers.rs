//! The sample verifiers in `examples/verifiers`, under the libraries people use: jsonwebtoken, PyJWT and npm jose.
//!
//! Python and Node need their interpreters and, the first time, a package registry. Where these are missing the test
//! says SKIPPED; with `COUNTERSIGN_REQUIRE_PEERS=1` (as in CI) it fails instead. Installs are kept under `target/tmp`.

#[path = "../../../../examples/verifiers/rust/verify_assertion.rs"]
mod verify_assertion;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;
use pki::jose::{Jwks, assertion, receipt};
use pki::{AssertionClaims, SigningKey};
use serde_json::{Value, json};

use crate::forge::*;

/// How long an install may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(180);
/// How long one verifier may take for all cases.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// One request with its assertion, and whether the app must serve it.
struct Case {
    name: &'static str,
    assertion: String,
    request: [&'static str; 3],
    is_good: bool,
}

const REQUEST: [&str; 3] = [METHOD, AUTHORITY, TARGET];

fn refused(name: &'static str, assertion: String) -> Case {
    Case { name, assertion, request: REQUEST, is_good: false }
}

fn cases(key: &SigningKey, now: Timestamp) -> Vec<Case> {
    let good = key.sign(assertion::TYP, &claims(now)).unwrap();
    let moved = |name, request| Case { name, assertion: good.clone(), request, is_good: false };
    let with_header = |changes| signed(key, &header(key, changes), &altered(now, json!({})));
    let with_claims = |changes| signed(key, &header(key, json!({})), &altered(now, changes));
    let stranger = SigningKey::generate("gw1").unwrap();
    let none = unsigned(&header(key, json!({ "alg": "none" })), &altered(now, json!({})));
    let hs256 = hs256(&header(key, json!({ "alg": "HS256" })), &altered(now, json!({})), public_pem(key).as_bytes());
    let (head, rest) = good.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let bob = unsigned(&json!({}), &altered(now, json!({ "sub": "usr_bob" })));
    let swapped = format!("{head}.{}.{signature}", bob.split_once('.').unwrap().1);
    let unbound = AssertionClaims { req: assertion::RequestClaim::new(METHOD, AUTHORITY, None), ..claims(now) };
    let iat = now.unix_secs();
    vec![
        Case { name: "good", assertion: good.clone(), request: REQUEST, is_good: true },
        moved("another method", ["DELETE", AUTHORITY, TARGET]),
        moved("another authority", [METHOD, "wiki.localhost:8443", TARGET]),
        moved("another path", [METHOD, AUTHORITY, "/records/8?month=%C3%A4"]),
        moved("another query", [METHOD, AUTHORITY, "/records/7?month=a"]),
        moved("another spelling", [METHOD, AUTHORITY, "/records/7?month=%c3%a4"]),
        refused("another app", with_claims(json!({ "aud": "wiki" }))),
        refused("another issuer", with_claims(json!({ "iss": "https://attacker.example" }))),
        refused("no audience", with_claims(json!({ "aud": null }))),
        refused("a receipt", with_header(json!({ "typ": receipt::TYP }))),
        refused("an untyped token", with_header(json!({ "typ": "JWT" }))),
        refused("a critical extension", with_header(json!({ "crit": ["urn:x"], "urn:x": 1 }))),
        refused("alg none", format!("{none}.")),
        refused("hs256 with the public key", hs256),
        refused("another algorithm's name", with_header(json!({ "alg": "ES384" }))),
        refused("expired", with_claims(json!({ "iat": iat - 70, "exp": iat - 10 }))),
        refused("no end", with_claims(json!({ "exp": null }))),
        refused("no request", with_claims(json!({ "req": null }))),
        refused("no target", key.sign(assertion::TYP, &unbound).unwrap()),
        refused("a changed subject", swapped),
        refused("a foreign key id", stranger.sign(assertion::TYP, &claims(now)).unwrap()),
        refused("a foreign key", signed(&stranger, &header(key, json!({})), &altered(now, json!({})))),
        refused(
            "a key brought along",
            signed(&stranger, &header(&stranger, json!({ "jwk": stranger.public_jwk() })), &altered(now, json!({}))),
        ),
        refused("nothing", String::new()),
        refused("no token", "a.b.c".to_owned()),
        Case { name: "good again", assertion: good, request: REQUEST, is_good: true },
    ]
}

/// Compares what a verifier answered, `ok …` or `refused: …`, with what it had to.
fn check(verifier: &str, cases: &[Case], answers: &[String]) {
    assert_eq!(answers.len(), cases.len(), "{verifier} answered {answers:#?}");
    for (case, answer) in cases.iter().zip(answers) {
        let served = answer.starts_with("ok usr_alice");
        assert!(served || answer.starts_with("refused:"), "{verifier}: {answer}");
        assert_eq!(served, case.is_good, "{verifier}, {}: {answer}", case.name);
    }
}

fn real_now() -> Timestamp {
    Timestamp(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn the_rust_verifier_serves_the_good_request_and_refuses_every_forgery() {
    let key = SigningKey::generate("gw1").unwrap();
    let (jwks, fetches) = (Jwks::new([key.public_jwk()]).to_json(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&fetches);
    let fetch = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(jwks.clone())
    };
    let verifier = verify_assertion::Verifier::new(ISSUER, APP, Box::new(fetch));
    let cases = cases(&key, real_now());
    let answer = |case: &Case| {
        let [method, authority, target] = case.request;
        match verifier.verify(&case.assertion, method, authority, target) {
            Ok(claims) => format!("ok {}", claims["sub"].as_str().unwrap()),
            Err(why) => format!("refused: {why}"),
        }
    };
    check("rust", &cases, &cases.iter().map(answer).collect::<Vec<_>>());
    assert_eq!(fetches.load(Ordering::SeqCst), 1, "unknown key ids must not make the app fetch in a loop");
}

#[test]
fn the_python_verifier_serves_the_good_request_and_refuses_every_forgery() {
    let home = scratch("verifiers-python");
    let Some(python) = python_with_pyjwt(&home) else {
        return skipped("python", "python3 with venv, or PyJWT[crypto] from a package registry");
    };
    refuses_every_forgery("python", python_driver(&python));
}

#[test]
fn the_python_verifier_learns_of_a_new_key_once_the_pause_is_over() {
    let home = scratch("verifiers-python-refetch");
    let Some(python) = python_with_pyjwt(&home) else {
        return skipped("python", "python3 with venv, or PyJWT[crypto] from a package registry");
    };
    let (old, new) = (SigningKey::generate("gw1").unwrap(), SigningKey::generate("gw2").unwrap());
    let before = Jwks::new([old.public_jwk()]);
    let after = before.clone().union(Jwks::new([new.public_jwk()]));
    let case = |name, key: &SigningKey| {
        let assertion = key.sign(assertion::TYP, &claims(real_now())).unwrap();
        Case { name, assertion, request: REQUEST, is_good: true }
    };
    let cases = [case("the old key", &old), case("the new key", &new), case("the old key again", &old)];
    let server = JwksServer::start(vec![before.to_json(), after.to_json()]);
    let mut command = python_driver(&python);
    command.env("REFETCH_SECS", "0");
    check("python", &cases, &answers("python", command, &server, &cases));
    assert_eq!(server.fetches.load(Ordering::SeqCst), 2);
}

#[test]
fn the_node_verifier_serves_the_good_request_and_refuses_every_forgery() {
    let home = scratch("verifiers-node");
    if !install(&home, "npm", &["install", "--no-audit", "--no-fund", "--ignore-scripts", "jose@6"], "jose-6") {
        return skipped("node", "node, npm, or jose from a package registry");
    }
    // Node looks for packages beside the file that imports them.
    std::fs::copy(sample("node").join("verify_assertion.mjs"), home.join("verify_assertion.mjs")).unwrap();
    std::fs::copy(here("driver.mjs"), home.join("driver.mjs")).unwrap();
    let mut command = Command::new("node");
    command.arg(home.join("driver.mjs"));
    refuses_every_forgery("node", command);
}

/// Runs every case, and looks whether unknown key ids made the verifier fetch again.
fn refuses_every_forgery(name: &str, driver: Command) {
    let key = SigningKey::generate("gw1").unwrap();
    let server = JwksServer::start(vec![Jwks::new([key.public_jwk()]).to_json()]);
    let cases = cases(&key, real_now());
    check(name, &cases, &answers(name, driver, &server, &cases));
    let fetches = server.fetches.load(Ordering::SeqCst);
    assert_eq!(fetches, 1, "{name}: unknown key ids must not make the app fetch in a loop");
}

/// What a driver, given issuer, app and address of the key set, says to each case.
fn answers(name: &str, mut driver: Command, server: &JwksServer, cases: &[Case]) -> Vec<String> {
    let lines: String = cases.iter().map(|case| format!("{}\n", line_of(case))).collect();
    driver.args([ISSUER, APP, &server.url]).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    let mut child = driver.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // The answers fit into a pipe, so that reading after the end cannot block the child.
    assert!(ended_well(&mut child, RUN_LIMIT), "{name} did not end well");
    let mut answers = String::new();
    stdout.read_to_string(&mut answers).unwrap();
    answers.lines().map(str::to_owned).collect()
}

fn python_driver(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(here("driver.py")).arg(sample("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn line_of(case: &Case) -> Value {
    let [method, authority, target] = case.request;
    json!({ "assertion": case.assertion, "method": method, "authority": authority, "target": target })
}

/// Serves key sets over plain HTTP on loopback: the first fetch gets the first, later ones the next or the last. The
/// thread ends with the test process.
struct JwksServer {
    url: String,
    fetches: Arc<AtomicUsize>,
}

impl JwksServer {
    fn start(sets: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/.well-known/countersign/jwks.json", listener.local_addr().unwrap());
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetches);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let index = counted.fetch_add(1, Ordering::SeqCst).min(sets.len() - 1);
                // A client that goes away shows in its own test.
                let _ = answer(stream, &sets[index]);
            }
        });
        Self { url, fetches }
    }
}

fn answer(mut stream: TcpStream, jwks: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(RUN_LIMIT))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?.take(64 * 1024));
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{jwks}",
        jwks.len()
    )
}

fn python_with_pyjwt(home: &Path) -> Option<PathBuf> {
    let python = home.join("venv/bin/python");
    let has_venv = install(home, "python3", &["-m", "venv", "venv"], "venv");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "PyJWT[crypto]>=2.10,<3"];
    (has_venv && install(home, python.to_str()?, &pip, "pyjwt-2")).then_some(python)
}

/// Runs an installer once; the mark `done-<what>` in `home` says that it has succeeded before.
fn install(home: &Path, program: &str, arguments: &[&str], what: &str) -> bool {
    let mark = home.join(format!("done-{what}"));
    if mark.exists() {
        return true;
    }
    let child = Command::new(program).args(arguments).current_dir(home).stdin(Stdio::null()).spawn();
    let is_done = child.is_ok_and(|mut child| ended_well(&mut child, INSTALL_LIMIT));
    is_done && std::fs::write(mark, "").is_ok()
}

/// Waits for the end of a child, and ends it itself when the time is over.
fn ended_well(child: &mut Child, limit: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::park_timeout(Duration::from_millis(5)),
            Err(_) => return false,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn sample(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/verifiers").join(language)
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/verifiers").join(file)
}

#[expect(clippy::explicit_write, reason = "the test harness hides what `eprintln!` says in a test that passes")]
fn skipped(verifier: &str, missing: &str) {
    assert!(std::env::var_os("COUNTERSIGN_REQUIRE_PEERS").is_none(), "the {verifier} verifier needs {missing}");
    writeln!(std::io::stderr(), "SKIPPED: the {verifier} verifier was not tested; missing: {missing}").unwrap();
}
