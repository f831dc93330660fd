//! The drill against ourselves: every case whose door we have, as somebody who is signed in and may use the app, so that
//! nothing but the gate, the rules and the door stand between the attacker and the app (LEAP-7).
//!
//! Where `COUNTERSIGN_DRILL_CARD` names a file, the score card goes there too; `cargo xtask drill-peers` puts it beside
//! those of other proxies.

use std::net::SocketAddr;
use std::time::Duration;

use drill::{Echo, Options, Target, Verdict};
use http_gate::cookies::SESSION_COOKIE;
use serde_json::json;

use crate::harness::{WIKI, World};

const CARD_VARIABLE: &str = "COUNTERSIGN_DRILL_CARD";
/// One path and one method refused to everybody, one path prefix taken off.
const RULES: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action in Action::"http", resource in App::"wiki");
@id("nobody-administers")
forbid (principal, action in Action::"http", resource in App::"wiki")
when { context.request.path like "/admin" || context.request.path like "/admin/*" };
@id("nobody-deletes")
forbid (principal, action in Action::"http", resource in App::"wiki")
when { context.request.method == "DELETE" };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_drill_gets_nothing_past_the_gateway() {
    let echo = Echo::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let world = World::open().await;
    let app = format!(
        "apiVersion: countersign/v1\nkind: App\nmetadata: {{ name: wiki }}\nspec:\n  hosts: [{WIKI}]\n  upstreams:\n    \
         web: {{ targets: [\"http://{}\"] }}\n  routes:\n    - {{ path: /, upstream: web }}\n    - {{ path: /api, upstream: \
         web, rewrite: {{ strip_prefix: /api }} }}\n---\napiVersion: countersign/v1\nkind: Group\nmetadata: {{ name: \
         engineering }}\nspec: {{ title: Engineering, membership: external }}\n",
        echo.address()
    );
    let mut alice = world.person("alice", "engineering").await;
    let files = json!([{ "name": "app.yaml", "text": app }, { "name": "rules.cedar", "text": RULES }]);
    let applied = world.operator.post("/api/v1/config/apply", &json!({ "files": files, "reason": "drill" })).await;
    applied.unwrap_or_else(|error| panic!("{error:#}"));
    alice.open(WIKI, "/").await;

    let url = format!("https://{}", world.server.addresses[0]);
    let mut options = Options::new(Target::resolve(&url, Some(WIKI)).await.unwrap());
    let session = alice.cookie(WIKI, SESSION_COOKIE).unwrap();
    options.credentials = vec![("Cookie".to_owned(), format!("{SESSION_COOKIE}={session}"))];
    options.deny_path = Some("/admin".to_owned());
    options.deny_method = Some("DELETE".to_owned());
    options.identity_headers = vec!["X-Countersign-Assertion".to_owned(), "X-Forwarded-User".to_owned()];
    options.stripped_prefix = Some("/api".to_owned());
    options.case_limit = Duration::from_secs(5);
    let card = drill::run(&options, &echo, |_| {}).await.unwrap();

    if let Some(file) = std::env::var_os(CARD_VARIABLE) {
        std::fs::write(file, card.to_json().to_string()).unwrap();
    }
    println!("{}", card.to_text());
    assert_eq!(card.failures().map(|result| format!("{result:?}")).collect::<Vec<_>>(), Vec::<String>::new());
    for result in &card.results {
        let Verdict::NotApplicable { why } = &result.verdict else { continue };
        panic!("{} {} was not played: {why}", result.attack, result.case);
    }
    assert!(card.tally(None).passed > 240, "{:?}", card.tally(None));
}
