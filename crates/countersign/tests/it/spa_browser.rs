//! An app whose page calls the app's other host with scripts, in a real browser (`tests/browser/spa.mjs`): signed in to both
//! at once, renewed from inside the page, and twenty tabs at once (GW-10, GW-11, GW-13).
//!
//! Names have a common parent here, as an organisation's have: to browsers `localhost` and `app.localhost` are two sites.

use std::sync::Arc;

use config::ServerConfig;
use countersign::cli::Global;
use countersign::client::Client;
use countersign::local_tls;
use countersign::roles::serve::Server;
use countersign::system::{SystemClock, SystemIds};
use serde_json::json;

use crate::browser::{peers, walk_told};
use crate::harness::OPTIONS;

const NAMES: [&str; 3] = ["auth.corp.test", "app.corp.test", "api.app.corp.test"];

#[tokio::test(flavor = "multi_thread")]
async fn a_single_page_app_goes_on_in_a_browser_when_its_sign_in_has_ended() {
    let Some(peers) = peers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let tls = local_tls::open(folder.path(), "A test", &["corp.test"], &NAMES).unwrap();
    let at = folder.path().display();
    let text = format!(
        r#"data_dir = "{at}/data"
auth_url = "https://auth.corp.test"

[[certificate]]
name = "test"
cert = "{at}/certificate.pem"
key = "{at}/certificate.key"

[[listener]]
address = "127.0.0.1:0"
certificates = ["test"]

[identity]
rp_id = "corp.test"
rp_name = "Countersign"
domains = ["example.org"]

[audit]
origin = "countersign.test"
segment = "4MiB"
low_space = 0
critical_space = 0

[admin]
listen = "127.0.0.1:0"
"#
    );
    let config = ServerConfig::parse("server.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let server = Server::start(config, OPTIONS, Arc::new(SystemClock::default()), Arc::new(SystemIds)).await.unwrap();
    let operator = Client::find(&Global { json: false, socket: Some(server.socket.clone()) }).unwrap();
    let link = operator.post("/api/v1/setup-link", &json!({})).await.unwrap();
    let told = json!({
        "spki_sha256": tls.spki,
        "auth_url": "https://auth.corp.test/",
        "links": { "carol": link["url"] },
    });
    let more = json!({
        "resolver": format!("MAP *.corp.test {}", server.addresses[0]),
        "folder": folder.path().join("config"),
        "command": [env!("CARGO_BIN_EXE_countersign"), "--socket", server.socket],
    });
    // The walk waits for node; the server goes on meanwhile.
    tokio::task::spawn_blocking(move || walk_told("spa.mjs", &peers, &told, &more)).await.unwrap();
    server.stop().await;
}
