//! What operators are shown as examples, read as the server reads it: a mistake in `examples/` fails here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use api::control::{Checked, check_files};
use api::{Failure, control_app};
use config::{ServerConfig, SourceFile};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/small")
}

fn declared() -> Vec<SourceFile> {
    let entries = std::fs::read_dir(folder().join("config")).unwrap();
    let mut files: Vec<SourceFile> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            SourceFile { name, text: std::fs::read_to_string(entry.path()).unwrap() }
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn check(files: &[SourceFile]) -> Result<Checked, String> {
    let text = std::fs::read_to_string(folder().join("server.toml")).unwrap();
    let server = ServerConfig::parse("server.toml", &text).unwrap();
    let suffix = format!(".{}", server.identity.rp_id);
    let is_covered = |host: &str| host.ends_with(&suffix);
    check_files(files, &server.auth_url.host, &is_covered, &BTreeSet::new()).map_err(|failure| match failure {
        Failure::Problems(problems) => problems.to_string(),
        other => other.to_string(),
    })
}

#[test]
fn the_small_example_is_valid_and_warns_of_nothing() {
    let checked = check(&declared()).unwrap();
    let names: Vec<&str> = checked.apps().iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, ["payroll", "wiki"]);
    let built_in = check(&[]).unwrap().policy_count();
    assert_eq!(checked.policy_count(), built_in + 5);
    let warnings: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn a_slip_in_the_small_example_is_told_with_its_place() {
    let mut files = declared();
    let policy = files.iter_mut().find(|file| file.name == "payroll.cedar").unwrap();
    policy.text = policy.text.replace("phishing_resistant", "phising_resistant");
    let problems = check(&files).err().unwrap();
    assert!(problems.contains("payroll.cedar:12") && problems.contains("phishing_resistant"), "{problems}");
}

#[test]
fn the_built_in_app_is_there_without_any_file() {
    let (apps, _) = check(&[]).unwrap().parts();
    assert_eq!(apps.len(), 1);
    assert_eq!(*apps[0], control_app::control_app("auth.example.org"));
}
