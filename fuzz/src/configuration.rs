//! What operators write. They are no strangers, but a file may come out of anything.

use std::collections::BTreeSet;

use config::{Known, Problems, ServerConfig, SourceFile, read};

/// A server configuration.
pub(crate) fn server(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(problems) = ServerConfig::parse("server.toml", text) {
        check(&problems, text);
    }
}

/// One file of apps, groups, users and tests.
pub(crate) fn files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let files = [SourceFile { name: "app.yaml".to_owned(), text: text.to_owned() }];
    let groups = BTreeSet::from(["admins".to_owned()]);
    let known = Known {
        auth_host: "auth.localhost",
        is_covered: &|host| host.ends_with(".localhost"),
        is_certificate: &|_| false,
        groups: &groups,
    };
    if let Err(problems) = read(&files, &known) {
        check(&problems, text);
    }
}

/// Refusals say something, and a place that exists.
fn check(problems: &Problems, text: &str) {
    assert!(!problems.0.is_empty(), "refused without a word");
    // A carriage return alone ends a line in YAML.
    let lines = u64::try_from(text.split(['\n', '\r']).count()).unwrap_or(u64::MAX);
    for problem in &problems.0 {
        assert!(!problem.message.is_empty());
        assert!(problem.line <= lines.saturating_add(1), "line {} of {lines}: {}", problem.line, problem.message);
    }
}
