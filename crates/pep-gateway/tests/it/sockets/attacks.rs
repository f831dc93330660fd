//! The gate's attack table on a real socket: what a row lets through is what the upstream sees, and nothing else
//! (ATK-1 to ATK-9, ATK-13 to ATK-18, ATK-20 to ATK-23).

use std::collections::BTreeMap;

use http_gate::attacks::{ATTACKS, Attack, AttackedApp};
use model::record::RecordType;

use super::support::{Asked, Running, Scripted, WIKI, wiki_with};

/// Fields of one hop, or written by us; everything else comes from the client.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "te",
    "traceparent",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-countersign-assertion",
    "x-countersign-decision",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

#[tokio::test]
async fn no_row_of_the_attack_table_reaches_an_upstream_as_anything_but_what_was_judged() {
    let mut by_app: BTreeMap<String, Vec<&Attack>> = BTreeMap::new();
    // The door always reckons with rules that depend on the path.
    for attack in ATTACKS.iter().filter(|attack| attack.app.has_path_rules()) {
        by_app.entry(format!("{:?}", attack.app)).or_default().push(attack);
    }
    for rows in by_app.into_values() {
        check_rows(rows[0].app, &rows).await;
    }
}

async fn check_rows(attacked: AttackedApp, rows: &[&Attack]) {
    let mut wiki = Scripted::echo().await;
    let apps = wiki_with(wiki.address, |app| {
        app.path = attacked.path();
        app.judges_method_override = attacked == AttackedApp::JudgesOverride;
        app.passes_odd_header_names = attacked == AttackedApp::PassesOddNames;
        app.routes[0].rewrite = attacked.rewrite();
    });
    let door = Running::for_everybody(apps).await;
    for attack in rows {
        check(&door, &mut wiki, attack).await;
    }
    let refused = rows.iter().filter(|attack| attack.refused.is_some()).count();
    assert!(door.world.recorder.of_type(RecordType::GateRefused).len() >= refused.min(1), "{attacked:?}");
}

async fn check(door: &Running, wiki: &mut Scripted, attack: &Attack) {
    let name = attack.name;
    // Without a page's origin the door refuses these by another rule.
    let is_websocket =
        attack.judged.iter().any(|judged| judged.fields.iter().any(|(name, _)| *name == "sec-websocket-key"));
    let mut client = door.client().await;
    client.send(attack.sent).await;
    match attack.refused {
        Some((code, _)) => {
            let answers = String::from_utf8_lossy(&client.rest().await.0).into_owned();
            let is_head = attack.judged.iter().any(|judged| judged.method == "HEAD") || attack.sent.contains("HEAD ");
            assert!(is_head || answers.contains(code.as_str()), "{name}: {answers}");
        }
        None => {
            for judged in attack.judged {
                let head = if judged.method == "HEAD" { client.head().await } else { client.answer().await.head };
                assert!(is_websocket || head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
            }
        }
    }
    let asked = wiki.so_far();
    // The upstream never gets the whole of a request whose body is refused.
    let least = attack.judged.len() - usize::from(attack.refused.is_some() && !attack.judged.is_empty());
    assert!(asked.len() <= attack.judged.len() && (is_websocket || asked.len() >= least), "{name}: {asked:?}");
    for (asked, judged) in asked.iter().zip(attack.judged) {
        assert_eq!(asked.line(), format!("{} {} HTTP/1.1", judged.method, judged.target), "{name}");
        assert_eq!(asked.all("host"), [WIKI], "{name}");
        assert_eq!(fields(asked), judged.fields, "{name}");
    }
}

/// The client's fields as the upstream saw them. Ours come once each.
fn fields(asked: &Asked) -> Vec<(&str, &str)> {
    for ours in OURS {
        assert!(asked.all(ours).len() <= 1, "`{ours}` came twice: {asked:?}");
    }
    let lines = asked.head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| !OURS.contains(name)).collect()
}
