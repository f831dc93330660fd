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
    let (auth_host, groups) = (&server.auth_url.host, &BTreeSet::new());
    let known = config::Known { auth_host, is_covered: &is_covered, is_certificate: &|_| false, groups };
    check_files(files, &known, &server.policy).map_err(|failure| match failure {
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
    let report = checked.run_tests().unwrap();
    let failed: Vec<_> = report.failed().collect();
    assert!(
        failed.is_empty() && report.unusable.is_empty() && report.rows.len() == 9,
        "{failed:#?} {:?}",
        report.unusable
    );
    let warnings: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new());
}

/// The example of docs/access-rules.md, as somebody copies it.
#[test]
fn the_guide_to_simple_rules_shows_a_file_that_works() {
    let guide = std::fs::read_to_string(folder().join("../../docs/access-rules.md")).unwrap();
    let yaml = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let checked = check(&[SourceFile { name: "wiki.yaml".into(), text: yaml.to_owned() }]).unwrap();
    let ids: Vec<String> = checked.policies().iter().map(|policy| policy.id.to_string()).collect();
    for id in [
        "app/wiki/include-1",
        "app/wiki/include-2",
        "app/wiki/require-1",
        "app/wiki/exclude-1",
        "app/wiki/admin/include",
        "app/wiki/admin/require-1",
    ] {
        assert!(ids.iter().any(|known| known == id), "{id} is not among {ids:?}");
    }
    assert_eq!(checked.warnings, []);
}

#[test]
fn a_configuration_whose_own_tests_fail_is_refused_at_the_row() {
    let mut files = declared();
    let rules = files.iter_mut().find(|file| file.name == "wiki.yaml").unwrap();
    rules.text = rules.text.replace("group: staff", "group: payroll");
    let checked = check(&files).unwrap();
    let Err(Failure::Problems(problems)) = checked.refuse_failing_tests() else { panic!("accepted") };
    let problems = problems.to_string();
    assert!(
        problems.contains("tests.yaml:8: error: policy test `wiki`, row `an employee reads` wants ALLOW, got DENY"),
        "{problems}"
    );
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
