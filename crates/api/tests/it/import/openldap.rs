//! People out of a real OpenLDAP: its own tools make the hashes, keep the entries and export them. Without them it prints
//! SKIPPED, or fails where `COUNTERSIGN_REQUIRE_PEERS` is set.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{OLD_PASSWORD, import, is_there, person, takes_the_old_password};
use crate::world::World;

const SLAPD: &str = "/usr/sbin/slapd";
const MODULES: &str = "/usr/lib/ldap";
/// Longer than slapd ever needs to listen.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn people_are_taken_over_from_a_real_openldap() {
    if !is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let exports = [slapcat(folder.path()), ldapsearch(folder.path())];
    for (export, name) in exports.iter().zip(["slapcat", "ldapsearch"]) {
        let world = World::new().await;
        let refused = import(&world, "ldif", export, json!({})).await;
        let told = &refused.json()["problems"];
        let bob = export.lines().position(|line| line.starts_with("dn: uid=bob")).unwrap() + 1;
        assert_eq!((told.as_array().unwrap().len(), &told[0]["line"]), (1, &json!(bob)), "{name}: {}", refused.body);
        assert!(refused.body.contains("{SSHA}") && refused.body.contains("--no-passwords"), "{}", refused.body);
        assert!(!is_there(&world, "alice"), "nothing is written");

        let answer = import(&world, "ldif", export, json!({ "partial": true })).await.json();
        assert_eq!(answer["added"], json!(["alice@example.org"]), "{name}");
        let alice = person(&world, "alice");
        assert_eq!(alice.name, "Alice of the very long department name that makes the line fold; \u{c9}lise");
        assert!(alice.groups.iter().any(|group| group.as_str() == "staff"), "{name}");
        assert!(takes_the_old_password(&world, "alice").await, "{name}: a hash OpenLDAP made");

        let without = World::new().await;
        let answer = import(&without, "ldif", export, json!({ "no_passwords": true })).await.json();
        assert_eq!(answer["added"], json!(["alice@example.org", "bob@example.org"]), "{name}");
    }
}

fn is_installed() -> bool {
    let is_there = |program: &&str| Command::new(program).arg("-VV").output().is_ok();
    let missing: Vec<&str> =
        [SLAPD, "/usr/sbin/slapadd", "ldapsearch"].into_iter().filter(|program| !is_there(program)).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("COUNTERSIGN_REQUIRE_PEERS").is_none(), "missing: {missing:?}; see `cargo xtask peers`");
    // Past the test harness, which would swallow it.
    writeln!(std::io::stderr(), "SKIPPED: the import from OpenLDAP; missing: {missing:?}").ok();
    false
}

/// A database with two people and a group, loaded by `slapadd`.
fn fill(folder: &Path) {
    std::fs::create_dir(folder.join("db")).unwrap();
    let at = folder.display();
    let configuration = format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\nmodulepath {MODULES}\nmoduleload back_mdb\npidfile {at}/pid\n\
         database mdb\nmaxsize 16777216\nsuffix dc=example,dc=org\nrootdn cn=root,dc=example,dc=org\nrootpw reading\n\
         directory {at}/db\n"
    );
    std::fs::write(folder.join("slapd.conf"), configuration).unwrap();
    let (argon2, ssha) = (hashed("{ARGON2}"), hashed("{SSHA}"));
    let name = data_encoding::BASE64
        .encode("Alice of the very long department name that makes the line fold; \u{c9}lise".as_bytes());
    let entries = format!(
        "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\ncn: Alice\nsn: A\n\
         displayName:: {name}\nmail: alice@example.org\nuserPassword: {argon2}\n\n\
         dn: uid=bob,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: bob\ncn: Bob\nsn: B\nmail: bob@example.org\n\
         userPassword: {ssha}\n\n\
         dn: cn=staff,dc=example,dc=org\nobjectClass: groupOfNames\ncn: staff\nmember: uid=alice, dc=Example,dc=org\n"
    );
    std::fs::write(folder.join("entries.ldif"), entries).unwrap();
    let mut load = Command::new("/usr/sbin/slapadd");
    load.arg("-f").arg(folder.join("slapd.conf")).arg("-l").arg(folder.join("entries.ldif"));
    output(&mut load);
}

fn hashed(scheme: &str) -> String {
    let mut make = Command::new("/usr/sbin/slappasswd");
    make.args(["-h", scheme, "-s", OLD_PASSWORD, "-o", &format!("module-path={MODULES}"), "-o", "module-load=argon2"]);
    output(&mut make).trim().to_owned()
}

fn slapcat(folder: &Path) -> String {
    output(Command::new("/usr/sbin/slapcat").arg("-f").arg(folder.join("slapd.conf")))
}

/// What a running server gives out, comments and the closing lines included.
fn ldapsearch(folder: &Path) -> String {
    let socket = format!("ldapi://{}", folder.join("s").display().to_string().replace('/', "%2F"));
    let mut serve = Command::new(SLAPD);
    serve.args(["-d", "0", "-h", &socket, "-f"]).arg(folder.join("slapd.conf"));
    let _server = Running(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let since = Instant::now();
    loop {
        let mut ask = Command::new("ldapsearch");
        ask.args(["-x", "-H", &socket, "-D", "cn=root,dc=example,dc=org", "-w", "reading", "-b", "dc=example,dc=org"]);
        let answer = ask.output().unwrap();
        if answer.status.success() {
            return String::from_utf8(answer.stdout).unwrap();
        }
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(since.elapsed() < PATIENCE, "slapd never listened: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn output(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
