//! What a running server says about itself.

use std::time::Duration;

use serde_json::Value;

use super::Finding;
use crate::cli::Global;
use crate::client::Client;
use crate::output::text;

/// How long an app's address is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// The most addresses that are tried.
const MAX_TARGETS: usize = 64;

/// Asks the server; with `is_expected` a server that does not run is worth a line.
pub(super) async fn look(global: &Global, is_expected: bool) -> Vec<Finding> {
    let status = match Client::find(global) {
        Ok(client) => client.get("/api/v1/status").await.map(|status| (client, status)),
        Err(error) => Err(error),
    };
    let (client, status) = match status {
        Ok(found) => found,
        Err(error) if is_expected => {
            let start = "start it: countersign serve -c …";
            return vec![Finding::warning("server", format!("does not answer: {error:#}"), start)];
        }
        Err(error) => {
            return vec![Finding::broken("server", format!("{error:#}"), "start it, or name its file with -c")];
        }
    };
    let mut findings = vec![Finding::fine(
        "server",
        format!("version {}, configuration {}", text(&status, "version"), text(&status, "config_version")),
    )];
    findings.extend(rights(&client, &status).await);
    findings.extend(apps(&client).await);
    findings.extend(members(&status, "alerts").iter().map(alert));
    findings
}

/// Who may do what, as the engine answers now and under the best facts a person could bring.
async fn rights(client: &Client, status: &Value) -> Vec<Finding> {
    let subject = "administrators";
    if status.get("needs_set_up").and_then(Value::as_bool) == Some(true) {
        return vec![Finding::broken(subject, "there is none yet", "countersign admin setup-link")];
    }
    let rights = match client.get("/api/v1/rights").await {
        Ok(rights) => rights,
        Err(error) => return vec![Finding::warning(subject, format!("not known: {error:#}"), "ask again")],
    };
    let names = members(&rights, "administrators").len();
    let seen = format!("{names}: {}", text(&rights, "administrators"));
    let mut findings = vec![match names {
        0 => Finding::broken(subject, "no enrolled person could administer", "countersign admin recover ADDRESS"),
        1 => Finding::warning(subject, seen, "add a second one: who loses the only passkey loses the product"),
        _ => Finding::fine(subject, seen),
    }];
    let people = text(&rights, "people");
    let facts = rights.get("facts").cloned().unwrap_or_default();
    let [now, at_best] = ["now", "at_best"].map(|member| text(&facts, member));
    findings.push(Finding::fine("access", format!("below, now is {now}; at best is {at_best}")));
    for app in members(&rights, "apps") {
        let subject = format!("app {}", text(&app, "app"));
        let [readers, writers, now_in] = ["readers", "writers", "now"].map(|member| text(&app, member));
        let named = text(&app, "named");
        let seen =
            format!("{now_in} of {people} people get in now; at best {readers} read and {writers} change: {named}");
        findings.push(match readers.as_str() {
            "0" => Finding::warning(
                subject,
                "nobody gets in, not even at best",
                "look with `countersign app explain`, then write a rule",
            ),
            _ => Finding::fine(subject, seen),
        });
    }
    findings
}

/// Whether the upstreams of each app answer.
async fn apps(client: &Client) -> Vec<Finding> {
    let listed = match client.get("/api/v1/apps").await {
        Ok(listed) => listed,
        Err(error) => return vec![Finding::warning("apps", format!("not known: {error:#}"), "look with `app list`")],
    };
    let mut findings = Vec::new();
    let mut left = MAX_TARGETS;
    for app in members(&listed, "apps") {
        let name = text(&app, "name");
        for target in targets(&app) {
            if left == 0 {
                break;
            }
            left -= 1;
            findings.push(answers(&name, &target).await);
        }
    }
    findings
}

fn targets(app: &Value) -> Vec<String> {
    let targets = members(app, "upstreams").into_iter().flat_map(|upstream| members(&upstream, "targets"));
    targets.filter_map(|target| target.as_str().map(str::to_owned)).collect()
}

async fn answers(app: &str, target: &str) -> Finding {
    let subject = format!("app {app}");
    let place = target.split_once("://").map_or(target, |(_, place)| place);
    let connect = tokio::time::timeout(CONNECT_LIMIT, tokio::net::TcpStream::connect(place));
    let remedy = "start the app, or mend `upstreams` of its file";
    match connect.await {
        Ok(Ok(_)) => Finding::fine(subject, format!("`{target}` accepts connections")),
        Ok(Err(error)) => Finding::broken(subject, format!("`{target}` does not: {error}"), remedy),
        Err(_) => Finding::broken(subject, format!("`{target}` does not answer within 2 s"), remedy),
    }
}

fn alert(alert: &Value) -> Finding {
    Finding::broken(text(alert, "kind"), text(alert, "text"), text(alert, "remedy"))
}

fn members(value: &Value, member: &str) -> Vec<Value> {
    value.get(member).and_then(Value::as_array).cloned().unwrap_or_default()
}
