//! The policy commands through the real binary: what a live server shows and explains, what files say without one, and
//! that tests the console writes are tests (PO-38, PO-39).

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::wire::Answer;
use crate::harness::{AUTH, POLICIES, WIKI, World, email};

/// Somebody in, somebody out, and a rule that a proof mends.
const TABLE: &str = r#"apiVersion: countersign/v1
kind: PolicyTest
metadata: { name: wiki }
spec:
  given: { principal: { user: dana@example.org, groups: [engineering] }, resource: { app: wiki } }
  table:
    - { name: engineers read, want: ALLOW, by: [rules/engineers] }
    - { name: contractors do not, principal: { user: eve@example.org, groups: [contractors] }, want: DENY, by: [] }
"#;

async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).env_remove("COUNTERSIGN_SOCKET");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Exit code, standard output, standard error.
fn parts(output: &Output) -> (i32, String, String) {
    let [printed, told] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code().unwrap_or(-1), printed, told)
}

/// A command against the server of `world`.
async fn ask(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let socket = world.server.socket.display().to_string();
    let mut all = vec!["--socket", &socket];
    all.extend(arguments);
    parts(&run(Path::new("."), &all).await)
}

fn request_id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap_or_else(|| panic!("no request id: {answer:?}")).to_owned()
}

/// The decision on this request, told as JSON.
async fn explained(world: &World, id: &str) -> Value {
    let (code, printed, told) = ask(world, &["policy", "explain", "--decision", id, "--json"]).await;
    assert_eq!(code, 0, "{printed}{told}");
    serde_json::from_str(&printed).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_decision_is_asked_again_with_the_facts_it_was_made_from() {
    let world = World::open().await;
    let mut dana = world.person("dana", "engineering").await;
    dana.open(WIKI, "/notes").await;
    let allowed = request_id(&dana.fetch(WIKI, "/notes").await);
    let mut eve = world.person("eve", "contractors").await;
    let denied = request_id(&eve.visit(WIKI, "/notes").await.2);

    let told = explained(&world, &allowed).await;
    assert_eq!((&told["verdict"], &told["recorded"]["verdict"]), (&json!("ALLOW"), &json!("ALLOW")), "{told:#}");
    let same = json!({ "policies_changed": false, "entities_changed": false, "answer_changed": false });
    assert_eq!(told["since"], same, "{told:#}");
    assert_eq!(told["policies"][0]["id"], "rules/engineers", "{told:#}");
    let decision = told["recorded"]["decision_id"].as_str().unwrap();
    assert_ne!(decision, allowed, "a decision has an id of its own");
    assert_eq!(explained(&world, decision).await["recorded"], told["recorded"], "and is found by it");
    let told = explained(&world, &denied).await;
    assert_eq!((&told["verdict"], &told["since"]), (&json!("DENY"), &same), "{told:#}");

    // Other policies, another answer: the facts are still those of the request.
    let later = "@id(\"late\") permit (principal in Group::\"contractors\", action, resource in App::\"wiki\") when { context.request.path == \"/notes\" && context.auth.phishing_resistant };";
    world.apply("", &format!("{POLICIES}{later}")).await;
    let (code, text, _) = ask(&world, &["policy", "explain", "--decision", &denied]).await;
    assert_eq!(code, 0, "{text}");
    for line in ["DENY (", "policies since: changed", "the answer is another", "ALLOW (", "decided: rules/late"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains("context.request.path = \"/notes\""), "{text}");
    let since = &explained(&world, &denied).await["since"];
    assert_eq!(since["entities_changed"], false, "{since}");
    let member = format!("/api/v1/groups/engineering/members/{}", email("eve"));
    world.operator.put(&member).await.unwrap();
    let since = &explained(&world, &denied).await["since"];
    assert_eq!(since["entities_changed"], true, "she is in another group now: {since}");
    let (code, text, _) = ask(&world, &["policy", "explain", "--decision", &denied, "--as-user", "--ways-in"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("rules/late ("), "a person reads one sentence: {text}");

    // Another id of the same form: its last character holds three bits only.
    let (start, end) = told["recorded"]["access_id"].as_str().unwrap().split_at(25);
    let nobody = &format!("{}{end}", start.replace(['a', 'b', 'c'], "d"));
    let (code, _, told) = ask(&world, &["policy", "explain", "--decision", nobody]).await;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("searched") && told.contains("coverage complete"), "{told}");
    let (code, _, told) = ask(&world, &["policy", "explain", "--decision", "nonsense"]).await;
    assert_eq!(code, 2, "{told}");
    let both = ["policy", "explain", "--decision", nobody, "--principal", "anonymous", "--resource", "wiki"];
    assert_eq!(ask(&world, &both).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_path_that_the_record_masks_is_not_told_by_asking_again() {
    let world = World::open().await;
    let rule = "@id(\"reset\") permit (principal, action, resource in App::\"wiki\") when { context.request.path like \"/reset/*\" || context.request.original_path like \"/reset/*\" || context.request.segments.contains(\"reset\") };";
    world.apply("", &format!("{POLICIES}{rule}")).await;
    let mut eve = world.person("eve", "contractors").await;
    eve.open(WIKI, "/reset/hunter2").await;
    let asked = request_id(&eve.fetch(WIKI, "/reset/hunter2").await);
    let told = explained(&world, &asked).await;
    assert_eq!((&told["verdict"], &told["policies"][0]["id"]), (&json!("ALLOW"), &json!("rules/reset")), "{told:#}");
    assert!(!told.to_string().contains("hunter2"), "{told:#}");
    let mut carol = world.carol().await;
    let page = carol.fetch(AUTH, &format!("/console/why?request={asked}")).await.text();
    assert!(page.contains("ALLOW") && page.contains("masked"), "{page}");
    assert!(!page.contains("hunter2"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_read_policies_but_not_the_record_cannot_ask_by_a_decision() {
    let world = World::open().await;
    let rule = "@id(\"readers\") permit (principal in Group::\"engineering\", action == Action::\"admin.read\", resource in App::\"countersign\");";
    world.apply("", &format!("{POLICIES}{rule}")).await;
    let mut dana = world.person("dana", "engineering").await;
    dana.open(WIKI, "/notes").await;
    let recorded = request_id(&dana.fetch(WIKI, "/notes").await);
    let what_if = "/api/v1/policies/explain?principal=anonymous&resource=wiki";
    assert_eq!(dana.fetch(AUTH, what_if).await.status, 200);
    let refused = dana.fetch(AUTH, &format!("/api/v1/policies/explain?decision={recorded}")).await;
    assert!(refused.status == 403 && refused.text().contains("audit.read"), "{refused:?}");
    let page = dana.fetch(AUTH, &format!("/console/why?request={recorded}")).await.text();
    assert!(page.contains("audit.read") && !page.contains("As it was recorded"), "{page}");
    let mut carol = world.carol().await;
    assert_eq!(carol.fetch(AUTH, &format!("/api/v1/policies/explain?decision={recorded}")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_shown_and_questions_answered_by_a_live_server() {
    let world = World::open().await;
    world.person("dana", "engineering").await;
    let (code, text, _) = ask(&world, &["policy", "show"]).await;
    assert!(code == 0 && text.contains("rules/fresh-passkey"), "{text}");
    let (code, text, _) = ask(&world, &["policy", "show", "--cedar", "rules/engineers"]).await;
    assert!(code == 0 && text.contains("permit") && !text.contains("fresh-passkey"), "{text}");
    let (code, _, told) = ask(&world, &["policy", "show", "rules/nothing"]).await;
    assert!(code == 1 && told.contains("rules/nothing"), "{told}");

    let dana = email("dana");
    let question = ["policy", "explain", "--principal", &dana, "--resource", "payroll", "--action", "http.delete"];
    let stale = [&question[..], &["--fact", "auth.step_up_age_secs=900", "--ways-in"]].concat();
    let (code, text, _) = ask(&world, &stale).await;
    assert!(code == 0 && text.contains("STEP_UP (") && text.contains("way in: passkey"), "{text}");
    let fresh = [&question[..], &["--fact", "auth.step_up_age_secs=9"]].concat();
    assert!(ask(&world, &fresh).await.1.contains("ALLOW ("));
    let unknown = [&question[..], &["--fact", "auth.mfaa=true"]].concat();
    let (code, _, told) = ask(&world, &unknown).await;
    assert!(code == 2 && told.contains("`auth.mfa`"), "{told}");
}

/// A folder with the usual files and a table.
fn files(table: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let app = |name: &str| {
        format!(
            "apiVersion: countersign/v1\nkind: App\nmetadata: {{ name: {name} }}\nspec:\n  hosts: [{name}.localhost]\n  upstreams:\n    web: {{ targets: [\"http://127.0.0.1:1\"] }}\n"
        )
    };
    let group = |name: &str| {
        format!(
            "apiVersion: countersign/v1\nkind: Group\nmetadata: {{ name: {name} }}\nspec: {{ membership: external }}\n"
        )
    };
    let documents = [app("wiki"), app("payroll"), group("engineering"), group("contractors")];
    std::fs::write(folder.path().join("apps.yaml"), documents.join("---\n")).unwrap();
    std::fs::write(folder.path().join("rules.cedar"), POLICIES).unwrap();
    std::fs::write(folder.path().join("tests.yaml"), table).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_tested_and_linted_without_a_server() {
    let folder = files(TABLE);
    let (code, text, told) = parts(&run(folder.path(), &["policy", "test", ".", "--coverage"]).await);
    assert!(code == 0 && text.contains("2 rows, 0 failed"), "{text}{told}");
    assert!(text.contains("never decides: rules/fresh-passkey"), "{text}");
    assert_eq!(parts(&run(folder.path(), &["policy", "test", ".", "--min-coverage", "99"]).await).0, 1);
    let (code, text, _) = parts(&run(folder.path(), &["policy", "lint", "."]).await);
    assert!(code == 0 && text.contains("findings"), "{text}");

    let failing = files(&TABLE.replace("want: DENY", "want: ALLOW"));
    let (code, text, _) = parts(&run(failing.path(), &["policy", "test", "."]).await);
    assert!(code == 1 && text.contains("contractors do not") && text.contains("1 failed"), "{text}");
    assert!(text.contains("nearest row that gets it: engineers read"), "{text}");
    let broken = files("kind: PolicyTest\n");
    for command in ["test", "lint"] {
        assert_eq!(parts(&run(broken.path(), &["policy", command, "."]).await).0, 2, "{command}");
    }
}

/// The text between two marks of a page, as a browser shows it.
fn shown(page: &str, from: &str, to: &str) -> String {
    let text = page.split(from).nth(1).and_then(|rest| rest.split(to).next()).unwrap_or_else(|| panic!("{page}"));
    let named = [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&#60;", "<")];
    named
        .iter()
        .fold(text.to_owned(), |text, (name, sign)| text.replace(name, sign))
        .replace("&amp;", "&")
        .replace("&#38;", "&")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_console_saves_as_a_policy_test_is_one_and_passes() {
    let world = World::open().await;
    let mut dana = world.person("dana", "engineering").await;
    dana.open(WIKI, "/notes").await;
    let recorded = request_id(&dana.fetch(WIKI, "/notes").await);
    let mut carol = world.carol().await;
    let ask = |who: &str, more: &str| format!("/console/why?ask=yes&who={who}&{more}");
    let dana = email("dana");
    let questions = [
        format!("/console/why?request={recorded}"),
        ask(&dana, "app=wiki&action=http.get&path=/"),
        ask(&dana, "app=payroll&action=http.delete&path=/a%22b&auth=passkey&step_up_age=900&managed=no&ip=192.0.2.7"),
        ask(&dana, "app=payroll&action=http.post&path=/&auth=mfa&country=DE&risk=40"),
        ask("anonymous", "app=wiki&action=http.get&path=/&auth=none"),
        ask("local-operator", "app=wiki&action=http.get&path=/"),
    ];
    for (at, question) in questions.iter().enumerate() {
        let page = carol.fetch(AUTH, question).await.text();
        let table = shown(&page, "<pre tabindex=\"0\"><code>", "</code>");
        let folder = files(&table);
        let (code, printed, told) = parts(&run(folder.path(), &["policy", "test", "."]).await);
        assert!(code == 0 && printed.contains("1 rows, 0 failed"), "{at}: {question}\n{table}\n{printed}{told}");
    }
    // The other way round: with another wish the same table fails.
    let page = carol.fetch(AUTH, &questions[1]).await.text();
    let table = shown(&page, "<pre tabindex=\"0\"><code>", "</code>").replace("want: ALLOW", "want: DENY");
    assert_eq!(parts(&run(files(&table).path(), &["policy", "test", "."]).await).0, 1, "{table}");
}
