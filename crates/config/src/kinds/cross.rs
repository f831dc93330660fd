//! Checks of documents against each other and against the process: names, hosts, certificates, groups.

use std::collections::{BTreeMap, BTreeSet};

use model::access::Selector;
use model::app::{App, HostPattern};
use model::decision::Remedy;
use model::directory::{ADMINS_GROUP, GroupId};
use model::policy_test::TestPrincipal;
use model::remedy::MAX_OWN_REMEDIES;

use super::{Known, Place, Reading};
use crate::problem::{Problem, choices};

pub(crate) fn check(reading: &mut Reading, known: &Known<'_>) {
    let mut problems = Vec::new();
    unique(&mut problems, "App", reading.apps.iter().map(|(place, app)| (place, app.name.as_str())));
    unique(&mut problems, "Group", reading.groups.iter().map(|(place, group)| (place, group.id.as_str())));
    unique(&mut problems, "User", reading.users.iter().map(|(place, user)| (place, user.email.as_str())));
    let remedies = reading.remedies.iter().map(|(place, entry)| (place, entry.remedy.as_str()));
    unique(&mut problems, "Remedy", remedies);
    let mut own = reading.remedies.iter().filter(|(_, entry)| matches!(entry.remedy, Remedy::Own(_)));
    if let Some((place, _)) = own.nth(MAX_OWN_REMEDIES) {
        let message = format!("there can be at most {MAX_OWN_REMEDIES} remedies beside the built-in ones");
        problems.push(Problem::error(&place.file, place.at, message));
    }
    unique(&mut problems, "PolicyTest", reading.tests.iter().map(|(place, test)| (place, test.name.as_str())));
    hosts(&mut problems, &reading.apps, known);
    tested(&mut problems, reading);
    client_certificates(&mut problems, &reading.apps, known);
    groups(&mut problems, reading, known);
    reading.problems.append(&mut problems);
}

fn unique<'a>(problems: &mut Vec<Problem>, kind: &str, named: impl Iterator<Item = (&'a Place, &'a str)>) {
    let mut seen: BTreeMap<String, &Place> = BTreeMap::new();
    for (place, name) in named {
        if let Some(first) = seen.get(&name.to_ascii_lowercase()) {
            let message = format!("{kind} `{name}` is declared twice, first at {}:{}", first.file, first.at.0);
            problems.push(Problem::error(&place.file, place.at, message));
        } else {
            seen.insert(name.to_ascii_lowercase(), place);
        }
    }
}

fn hosts(problems: &mut Vec<Problem>, apps: &[(Place, App)], known: &Known<'_>) {
    let mut claimed: BTreeMap<(&HostPattern, &str), &App> = BTreeMap::new();
    for (place, app) in apps {
        for host in &app.hosts {
            if matches!(host, HostPattern::Exact(exact) if exact == known.auth_host) {
                let message = format!("host `{host}` is the auth host; an app needs another");
                problems.push(Problem::error(&place.file, place.of_host(host), message));
            }
            if !(known.is_covered)(&host.to_string()) {
                let message = format!("no certificate of a listener covers the host `{host}`");
                let hint = "add the name to a certificate and name that certificate in `[[listener]]`";
                problems.push(Problem::error(&place.file, place.of_host(host), message).hint(hint));
            }
            for route in &app.routes {
                let claim = (host, route.path_prefix.as_str());
                match claimed.get(&claim) {
                    Some(other) if other.name != app.name => {
                        let message = format!(
                            "apps `{}` and `{}` both claim `{host}{}`",
                            other.name, app.name, route.path_prefix
                        );
                        problems.push(Problem::error(&place.file, place.of_host(host), message));
                    }
                    Some(_) => {}
                    None => {
                        claimed.insert(claim, app);
                    }
                }
            }
        }
    }
}

/// What this side proves itself with towards an app is a certificate the process has (GW-74).
fn client_certificates(problems: &mut Vec<Problem>, apps: &[(Place, App)], known: &Known<'_>) {
    for (place, app) in apps {
        for name in app.upstreams.values().filter_map(|upstream| upstream.tls.client.as_deref()) {
            if !(known.is_certificate)(name) {
                let message = format!("`client` of an upstream of app `{}` names no certificate: `{name}`", app.name);
                let hint = "declare it as `[[certificate]]` in the server's configuration and restart";
                problems.push(Problem::error(&place.file, place.at, message).hint(hint));
            }
        }
    }
}

fn groups(problems: &mut Vec<Problem>, reading: &Reading, known: &Known<'_>) {
    let declared: BTreeSet<&str> = reading
        .groups
        .iter()
        .map(|(_, group)| group.id.as_str())
        .chain(known.groups.iter().map(String::as_str))
        .chain([ADMINS_GROUP])
        .collect();
    let valid: Vec<&str> = declared.iter().copied().collect();
    let mut check = |place: &Place, owner: String, group: &GroupId| {
        if !declared.contains(group.as_str()) {
            let message = format!("{owner} names the group `{group}`, which does not exist");
            problems.push(Problem::error(&place.file, place.at, message).hint(choices(group.as_str(), &valid)));
        }
    };
    for (place, user) in &reading.users {
        for group in &user.groups {
            check(place, format!("user `{}`", user.email), group);
        }
    }
    for (place, group) in &reading.groups {
        for parent in &group.parents {
            check(place, format!("group `{}`", group.id), parent);
        }
    }
    for (place, app) in &reading.apps {
        let rules = app.access.iter().chain(app.routes.iter().filter_map(|route| route.access.as_ref()));
        for rule in rules.flat_map(|rules| rules.entries()) {
            let Selector::Group(groups) = &rule.selector else { continue };
            let place = Place { at: line(&rule.declared_at, place), ..place.clone() };
            for group in groups {
                check(&place, format!("a rule of app `{}`", app.name), group);
            }
        }
    }
    for (place, row) in reading.tests.iter().flat_map(|(place, test)| test.rows.iter().map(move |row| (place, row))) {
        let TestPrincipal::User { groups, .. } = &row.question.principal else { continue };
        let place = Place { at: line(&row.declared_at, place), ..place.clone() };
        for group in groups {
            check(&place, format!("the row `{}`", row.name), group);
        }
    }
    cycles(problems, reading);
    external_members(problems, reading);
}

/// What tests ask about is declared.
fn tested(problems: &mut Vec<Problem>, reading: &Reading) {
    for (place, row) in reading.tests.iter().flat_map(|(place, test)| test.rows.iter().map(move |row| (place, row))) {
        let resource = &row.question.resource;
        if resource.app.as_str() == model::app::CONTROL_APP {
            continue;
        }
        let app = reading.apps.iter().map(|(_, app)| app).find(|app| app.name == resource.app);
        let (what, word, valid): (&str, &str, Vec<&str>) = match (app, &resource.route) {
            (None, _) => {
                ("app", resource.app.as_str(), reading.apps.iter().map(|(_, app)| app.name.as_str()).collect())
            }
            (Some(app), Some(route)) if !app.routes.iter().any(|known| known.name == *route) => {
                ("route", route.as_str(), app.routes.iter().map(|route| route.name.as_str()).collect())
            }
            (Some(_), _) => continue,
        };
        let message = format!("the row `{}` asks about the {what} `{word}`, which does not exist", row.name);
        problems.push(Problem::error(&place.file, line(&row.declared_at, place), message).hint(choices(word, &valid)));
    }
}

/// The line of something declared within a document.
fn line(declared_at: &str, place: &Place) -> (u64, u64) {
    declared_at.rsplit_once(':').and_then(|(_, line)| line.parse().ok()).map_or(place.at, |line| (line, 0))
}

/// A group must not reach itself over its parents.
fn cycles(problems: &mut Vec<Problem>, reading: &Reading) {
    let parents: BTreeMap<&GroupId, &BTreeSet<GroupId>> =
        reading.groups.iter().map(|(_, group)| (&group.id, &group.parents)).collect();
    for (place, group) in &reading.groups {
        let mut open: Vec<&GroupId> = group.parents.iter().collect();
        let mut seen: BTreeSet<&GroupId> = BTreeSet::new();
        while let Some(next) = open.pop() {
            if *next == group.id {
                let message = format!("group `{}` is its own ancestor", group.id);
                problems.push(Problem::error(&place.file, place.at, message));
                break;
            }
            if seen.insert(next) {
                open.extend(parents.get(next).into_iter().flat_map(|parents| parents.iter()));
            }
        }
    }
}

/// Members of a group kept elsewhere cannot be declared here (R-21).
fn external_members(problems: &mut Vec<Problem>, reading: &Reading) {
    for (place, user) in &reading.users {
        for (_, group) in &reading.groups {
            if group.membership == super::Membership::External && user.groups.contains(&group.id) {
                let message = format!(
                    "group `{}` has `membership: external`, so user `{}` cannot be put into it here",
                    group.id, user.email
                );
                let hint = format!("run `countersign group add {} {}`", group.id, user.email);
                problems.push(Problem::error(&place.file, place.at, message).hint(hint));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SourceFile, read};
    use super::*;

    const UNIT: &str = r#"# the wiki
apiVersion: countersign/v1
kind: App
metadata: { name: wiki }
spec:
  title: Wiki
  hosts: [wiki.corp.test]
  routes:
    - { path: /, upstream: web }
    - { path: /api/v1, upstream: web, rewrite: { strip_prefix: /api } }
  upstreams:
    web: { targets: ["http://127.0.0.1:9000"] }
  public_paths: [/favicon.ico]
  sensitivity: low
---
apiVersion: countersign/v1
kind: Group
metadata: { name: engineering }
spec: { title: Engineering }
---
apiVersion: countersign/v1
kind: User
metadata: { name: alice@corp.test }
spec: { name: Alice, groups: [engineering] }
"#;

    fn try_read(text: &str) -> Result<super::super::Declared, String> {
        let files = [
            SourceFile { name: "wiki.yaml".into(), text: text.to_owned() },
            SourceFile { name: "wiki.cedar".into(), text: "permit (principal, action, resource);".into() },
        ];
        let groups = BTreeSet::new();
        let known = Known {
            auth_host: "auth.corp.test",
            is_covered: &|host| host.ends_with("corp.test"),
            is_certificate: &|name| name == "to-apps",
            groups: &groups,
        };
        read(&files, &known).map_err(|problems| problems.to_string())
    }

    fn check(from: &str, to: &str, expected: &str) {
        assert!(UNIT.contains(from), "`{from}` is not in the unit");
        let error = try_read(&UNIT.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "expected `{expected}` in:\n{error}");
    }

    #[test]
    fn a_good_unit_reads() {
        let declared = try_read(UNIT).unwrap();
        assert_eq!(declared.apps[0].routes[0].name.as_str(), "api-v1");
        assert_eq!(declared.apps[0].declared_at, "wiki.yaml:4");
        assert_eq!(declared.users[0].email, "alice@corp.test");
        assert_eq!(declared.policies.len(), 1);
        assert!(declared.warnings.is_empty(), "{:?}", declared.warnings);
    }

    #[test]
    fn cors_reads_exact_origins_for_an_app_and_for_a_route() {
        let with = |line: &str| try_read(&UNIT.replace("  title: Wiki\n", &format!("  title: Wiki\n{line}")));
        let read = with("  cors: { origins: [\"https://Spa.corp.test:443\"], headers: [X-Draft] }\n").unwrap();
        let cors = &read.apps[0].cors;
        assert_eq!(cors.origins, ["https://spa.corp.test".to_owned()].into());
        assert_eq!((cors.headers.len(), cors.headers.contains("x-draft")), (1, true));
        assert!(cors.methods.contains("PUT") && !cors.methods.contains("TRACE"));
        let route =
            UNIT.replace("strip_prefix: /api }", "strip_prefix: /api }, csrf: refuse, cors: { preflight: pass }");
        let read = try_read(&route).unwrap();
        let api = &read.apps[0].routes[0];
        assert_eq!(api.cors.as_ref().unwrap().preflight, model::app::Preflight::App);
        assert_eq!(api.refuses_cross_site_writes, Some(true));
        for (line, expected) in [
            ("  cors: { origins: [\"*\"] }\n", "`*` is not an origin"),
            ("  cors: { origins: [\"https://*.corp.test\"] }\n", "is not an origin"),
            ("  cors: { origins: [\"https://a.test\"], methods: [get] }\n", "methods are upper case"),
            ("  cors: { origins: [\"https://a.test\"], headers: [\"a b\"] }\n", "is not a header name"),
            ("  cors: { preflight: answer }\n", "needs `origins`"),
            ("  cors: { preflight: maybe }\n", "`maybe`"),
        ] {
            let error = with(line).unwrap_err();
            assert!(error.contains(expected), "expected `{expected}` in:\n{error}");
        }
    }

    #[test]
    fn plain_headers_read_and_names_with_a_meaning_are_refused() {
        let with =
            |line: &str| try_read(&UNIT.replace("  title: Wiki\n", &format!("  title: Wiki\n  headers: {line}\n")));
        let read = with("{ Remote-User: user.id, X-Auth-Request-Groups: user.groups }").unwrap();
        let names: Vec<&String> = read.apps[0].unsigned_headers.keys().collect();
        assert_eq!(names, ["remote-user", "x-auth-request-groups"]);
        assert!(read.warnings.iter().any(|warning| warning.to_string().contains("prove nothing")));
        for (line, expected) in [
            ("{ Remote-User: user.password }", "`user.password`"),
            ("{ X-Countersign-Assertion: user.id }", "has a meaning of its own"),
            ("{ Content-Length: user.id }", "has a meaning of its own"),
            ("{ Cookie: user.id }", "carries credentials"),
            ("{ \"a b\": user.id }", "is not a header name"),
            ("{ Remote-User: user.id, REMOTE-USER: user.name }", "is there twice"),
        ] {
            let error = with(line).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "expected `{expected}` in:\n{error}");
        }
    }

    #[test]
    fn balance_and_health_of_an_upstream_read() {
        let with = |more: &str| {
            let upstream = format!("[\"http://127.0.0.1:9000\"], {more} }}");
            try_read(&UNIT.replace("[\"http://127.0.0.1:9000\"] }", &upstream))
        };
        let web = |read: super::super::Declared| read.apps[0].upstreams.values().next().unwrap().clone();
        use model::app::{Balance, HashBy};
        for (word, expected) in [
            ("round_robin", Balance::RoundRobin),
            ("session", Balance::Hash(HashBy::Session)),
            ("\"header:X-Tenant\"", Balance::Hash(HashBy::Header("x-tenant".to_owned()))),
        ] {
            assert_eq!(web(with(&format!("balance: {word}")).unwrap()).balance, expected);
        }
        let health = web(with("health: { path: /healthz, interval: 5s, down_after: 2 }").unwrap()).health.unwrap();
        assert_eq!((health.path.as_str(), health.interval.as_secs(), health.down_after), ("/healthz", 5, 2));
        for (more, expected) in [
            ("balance: random", "`random` is no balance"),
            ("balance: \"header:Cookie\"", "carries credentials"),
            ("health: {}", "path"),
            ("health: { path: healthz }", "`healthz`"),
            ("health: { path: /h, interval: 500ms }", "outside 1s to 5m"),
            ("health: { path: /h, timeout: 20s }", "at most its interval"),
            ("health: { path: /h, down_after: 0 }", "outside 1 to 20"),
        ] {
            let error = with(more).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "expected `{expected}` in:\n{error}");
        }
    }

    #[test]
    fn forwarded_is_sent_only_where_an_app_asks_for_it() {
        let sends = |line: &str| {
            let unit = UNIT.replace("  title: Wiki\n", &format!("  title: Wiki\n{line}"));
            try_read(&unit).map(|declared| declared.apps[0].sends_forwarded)
        };
        assert_eq!(sends(""), Ok(false));
        assert_eq!(sends("  forwarded: x_forwarded\n"), Ok(false));
        assert_eq!(sends("  forwarded: rfc7239\n"), Ok(true));
        for slip in ["rfc7329", "true", "\"\""] {
            let error = sends(&format!("  forwarded: {slip}\n")).unwrap_err();
            assert!(error.contains("rfc7239") && error.contains("wiki.yaml:7"), "{error}");
        }
    }

    #[test]
    fn every_slip_names_its_line_and_the_valid_choice() {
        check("upstream: web }\n    - {", "upsteam: web }\n    - {", "wiki.yaml:9:18: error: unknown key `upsteam`");
        check("upstream: web }\n    - {", "upstream: wbe }\n    - {", "did you mean `web`?");
        check("kind: Group", "kind: Gruop", "wiki.yaml:17:7: error: `Gruop` is not a kind we know");
        check("kind: Group", "kind: Gruop", "did you mean `Group`?");
        check("groups: [engineering]", "groups: [enginering]", "did you mean `engineering`?");
        check("sensitivity: low", "sensitivity: lwo", "did you mean `low`?");
        check(
            "hosts: [wiki.corp.test]",
            "hosts: [wiki.other.test]",
            "wiki.yaml:7:11: error: no certificate of a listener covers",
        );
        check("hosts: [wiki.corp.test]", "hosts: [auth.corp.test]", "is the auth host");
        check("hosts: [wiki.corp.test]", "hosts: ['wiki.corp.test:8443']", "the port is the listener's");
        check("/favicon.ico", "/static/*", "public paths are exact");
        check("strip_prefix: /api", "strip_prefix: /other", "is not a prefix of the route's path");
        check("alice@corp.test", "alice", "is not an e-mail address");
        check("spec: { title: Engineering }", "spec: { parents: [engineering] }", "is its own ancestor");
        check("spec: { title: Engineering }", "spec: { membership: external }", "countersign group add engineering");
        check("countersign/v1\nkind: App", "v1\nkind: App", "apiVersion `v1` is not known");
        check("name: wiki", "name: countersign", "belongs to the built-in app");
        check("path: /api/v1", "path: /.countersign/x", "never reach an app");
    }

    #[test]
    fn what_an_app_is_shown_is_a_certificate_the_process_has() {
        let with = |tls: &str, scheme: &str| {
            let upstream = format!("{{ targets: [{scheme}://10.0.0.1:8443], tls: {{ {tls} }} }}");
            let app = format!(
                "apiVersion: countersign/v1\nkind: App\nmetadata: {{ name: crm }}\nspec:\n  hosts: [crm.corp.test]\n  \
                 sensitivity: low\n  upstreams:\n    web: {upstream}\n"
            );
            try_read(&format!("{UNIT}---\n{app}"))
        };
        let declared = with("client: to-apps, san: inner.corp.test", "https").unwrap();
        let upstream = declared.apps.iter().find(|app| app.name.as_str() == "crm").unwrap().upstreams.values().next();
        let tls = &upstream.unwrap().tls;
        assert_eq!((tls.client.as_deref(), tls.san.as_deref()), (Some("to-apps"), Some("inner.corp.test")));
        for (tls, scheme, expected) in [
            ("client: to-app", "https", "names no certificate: `to-app`"),
            ("client: to-apps", "http", "`client` is set but no target is `https://`"),
            ("san: inner.corp.test", "http", "`san` is set but no target is `https://`"),
            ("san: x.corp.test, verify: false, reason: lab", "https", "the certificate is not verified"),
        ] {
            let error = with(tls, scheme).unwrap_err();
            assert!(error.contains(expected), "{tls}: {error}");
        }
    }

    #[test]
    fn two_apps_claiming_the_same_host_and_path_are_refused() {
        let twin = UNIT.split("---").next().unwrap().replace("name: wiki", "name: wiki2");
        let error = try_read(&format!("{UNIT}---\n{twin}")).unwrap_err();
        assert!(error.contains("apps `wiki` and `wiki2` both claim `wiki.corp.test/`"), "{error}");
    }

    #[test]
    fn a_duplicate_name_is_refused_with_both_places() {
        let error = try_read(&format!("{UNIT}---\napiVersion: countersign/v1\nkind: User\nmetadata: {{ name: Alice@corp.test }}\nspec: {{ name: A }}\n")).unwrap_err();
        assert!(error.contains("declared twice, first at wiki.yaml:22"), "{error}");
    }

    #[test]
    fn an_unverified_upstream_needs_a_reason() {
        let with = |tls: &str| {
            UNIT.replace(
                "targets: [\"http://127.0.0.1:9000\"]",
                &format!("targets: [\"https://127.0.0.1:9000\"], tls: {tls}"),
            )
        };
        assert!(try_read(&with("{ verify: false }")).unwrap_err().contains("needs a `reason`"));
        let declared = try_read(&with("{ verify: false, reason: lab }")).unwrap();
        assert!(declared.warnings[0].message.contains("not verified"));
    }

    #[test]
    fn a_missing_sensitivity_is_a_finding() {
        let declared = try_read(&UNIT.replace("  sensitivity: low\n", "")).unwrap();
        assert!(declared.warnings[0].message.contains("counts as critical"), "{:?}", declared.warnings);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_the_reader(text in "\\PC{0,300}") {
            let _ = try_read(&text);
        }
    }
}
