//! `cargo xtask package`: a Debian package with the binary, the systemd unit, manual pages, completions and the pages of
//! `docs/`. Needs `dpkg-deb`, which every Debian has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{Repo, output_of, run as execute};

/// The folder of the control files in a package's tree.
const CONTROL: &str = "DEBIAN";
const SHELLS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/countersign"),
    ("fish", "usr/share/fish/vendor_completions.d/countersign.fish"),
    ("zsh", "usr/share/zsh/vendor-completions/_countersign"),
];
/// Files that come as they are: source, place in the package, mode.
const FILES: &[(&str, &str, u32)] = &[
    ("CHANGELOG.md", "usr/share/doc/countersign/CHANGELOG.md", 0o644),
    ("LICENSE", "usr/share/doc/countersign/copyright", 0o644),
    ("README.md", "usr/share/doc/countersign/README.md", 0o644),
    ("docs/config-reference.md", "usr/share/doc/countersign/config-reference.md", 0o644),
    ("packaging/deb/postinst", "DEBIAN/postinst", 0o755),
    ("packaging/deb/prerm", "DEBIAN/prerm", 0o755),
    ("packaging/deb/server.toml", "etc/countersign/server.toml", 0o640),
    ("packaging/systemd/countersign.service", "usr/lib/systemd/system/countersign.service", 0o644),
];

/// Builds the package; with `--binary PATH` around a binary that is there already.
pub(crate) fn run(repo: &Repo, arguments: &[String]) -> Result<()> {
    let binary = match arguments {
        [] => build(repo)?,
        [flag, path] if flag == "--binary" => PathBuf::from(path),
        _ => bail!("`package` takes `--binary PATH` or nothing"),
    };
    println!("{}", assemble(repo, &binary)?.display());
    Ok(())
}

/// A release build without the demo.
fn build(repo: &Repo) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--locked", "--no-default-features", "--package", "countersign"];
    execute(repo.cargo().args(arguments))?;
    Ok(repo.target.join("release").join("countersign"))
}

/// Puts the tree together, has it packed, and looks at what came out.
pub(crate) fn assemble(repo: &Repo, binary: &Path) -> Result<PathBuf> {
    let Some(architecture) = output_of(Command::new("dpkg").arg("--print-architecture")) else {
        bail!("`dpkg` is not here; packages are made on Debian");
    };
    let version = output_of(Command::new(binary).arg("--version"))
        .and_then(|line| line.split_whitespace().next_back().map(str::to_owned))
        .with_context(|| format!("`{} --version` does not answer", binary.display()))?;
    let tree = repo.target.join("package");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    put(&tree.join("usr/bin/countersign"), &fs::read(binary)?, 0o755)?;
    strip(&tree.join("usr/bin/countersign"))?;
    for (source, place, mode) in FILES {
        put(&tree.join(place), &fs::read(repo.root.join(source)).with_context(|| format!("no `{source}`"))?, *mode)?;
    }
    fs::create_dir_all(tree.join("etc/countersign/tls"))?;
    execute(Command::new(binary).arg("man").arg(tree.join("usr/share/man/man1")))?;
    for (shell, place) in SHELLS {
        let text = output_of(Command::new(binary).args(["completions", shell]));
        put(&tree.join(place), text.with_context(|| format!("no completions for {shell}"))?.as_bytes(), 0o644)?;
    }
    put(&tree.join(CONTROL).join("conffiles"), b"/etc/countersign/server.toml\n", 0o644)?;
    put(&tree.join(CONTROL).join("control"), control(&version, &architecture, size_kib(&tree)?).as_bytes(), 0o644)?;
    let package = repo.target.join(format!("countersign_{version}_{architecture}.deb"));
    execute(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&package))?;
    look(&package, &tree)?;
    Ok(package)
}

fn control(version: &str, architecture: &str, kib: u64) -> String {
    format!(
        "Package: countersign\nVersion: {version}\nArchitecture: {architecture}\nSection: net\nPriority: optional\n\
         Maintainer: The Countersign developers <security@countersign.invalid>\nInstalled-Size: {kib}\n\
         Depends: libc6 (>= 2.36), passwd\nDescription: zero-trust access to apps, in one binary\n \
         Stands in front of apps, asks one policy engine about every request, records\n every answer, and cuts live \
         connections when an answer changes.\n"
    )
}

/// What a package must have, looked up in the package itself, and the unit as systemd reads it.
fn look(package: &Path, tree: &Path) -> Result<()> {
    let listed =
        output_of(Command::new("dpkg-deb").arg("--contents").arg(package)).context("the package is unreadable")?;
    let wanted = ["./usr/bin/countersign", "./usr/share/man/man1/countersign-audit-query.1", "./etc/countersign/tls/"];
    for place in FILES.iter().map(|(_, place, _)| format!("./{place}")).chain(wanted.map(str::to_owned)) {
        if !place.contains(CONTROL) && !listed.lines().any(|line| line.ends_with(&place)) {
            bail!("the package has no `{place}`");
        }
    }
    if output_of(Command::new("systemd-analyze").arg("--version")).is_none() {
        println!("skipped: systemd-analyze is not here, so the unit was not verified");
        return Ok(());
    }
    // With the packaged tree as root, so that ExecStart is found where it will be.
    execute(
        Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no", "--root"])
            .arg(tree)
            .arg("/usr/lib/systemd/system/countersign.service"),
    )
}

fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder)?;
    fs::write(path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Without symbols the binary is a fraction of its size. A machine without `strip` makes a larger package.
fn strip(binary: &Path) -> Result<()> {
    match output_of(Command::new("strip").arg("--version")) {
        Some(_) => execute(Command::new("strip").arg(binary)),
        None => Ok(()),
    }
}

fn size_kib(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size_kib(&entry.path())? << 10 } else { metadata.len() };
    }
    Ok(bytes.div_ceil(1 << 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_not_read_is_given_to_the_group_of_the_service() {
        let postinst = include_str!("../../packaging/deb/postinst");
        let closed: Vec<&str> =
            FILES.iter().filter(|(_, _, mode)| mode & 0o007 == 0).map(|(_, place, _)| *place).collect();
        assert!(!closed.is_empty());
        for place in closed {
            assert!(
                postinst.contains(&format!("chown root:countersign /{place}\n")),
                "the service cannot read `{place}`"
            );
        }
    }

    #[test]
    fn the_control_file_has_what_dpkg_asks_for() {
        let text = control("0.1.0", "amd64", 7);
        for field in ["Package", "Version", "Architecture", "Maintainer", "Description"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{field}: "))), "{field}");
        }
        assert!(text.ends_with('\n') && text.lines().all(|line| !line.is_empty()));
    }
}
