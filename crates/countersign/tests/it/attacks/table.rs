//! The rows of the gate's attack table over real sockets, as a person who is signed in and may use the app: nothing but
//! the gate stands between a row and the app, so the app seeing nothing else is the gate's doing.
//!
//! Every row that is refused must also have left a record, found by the request id of its answer.

use std::collections::BTreeMap;

use http_gate::attacks::{ATTACKED_HOST, ATTACKS, Attack, AttackedApp};
use model::app::{PathOpening, PathProfile};

use crate::harness::app::Asked;
use crate::harness::wire::{Answer, Wire};
use crate::harness::{POLICIES, WIKI, World, request};

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

/// `name of the test => id in the table`
macro_rules! rows {
    ($($test:ident => $id:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            check_all($id).await;
        })*

        #[test]
        fn every_attack_of_the_table_has_a_test() {
            for attack in ATTACKS {
                assert!([$($id),*].contains(&attack.id()), "{}", attack.name);
            }
        }
    };
}

rows! {
    atk_1_content_length_and_transfer_encoding_together_are_refused => "ATK-1";
    atk_2_transfer_encoding_other_than_chunked_is_refused => "ATK-2";
    atk_3_odd_content_lengths_are_refused => "ATK-3";
    atk_4_a_request_behind_an_unknown_upgrade_is_judged_alone => "ATK-4";
    atk_5_an_upgrade_with_a_body_or_early_bytes_is_refused => "ATK-5";
    atk_6_bare_line_ends_folded_lines_and_nul_are_refused => "ATK-6";
    atk_7_odd_chunks_are_refused => "ATK-7";
    atk_8_two_hosts_or_another_authority_are_refused => "ATK-8";
    atk_13_judged_paths_are_forwarded_paths => "ATK-13";
    atk_14_a_leading_double_slash_is_no_authority => "ATK-14";
    atk_15_a_number_sign_shortens_nothing => "ATK-15";
    atk_16_a_query_satisfies_no_path => "ATK-16";
    atk_17_a_rewritten_path_is_judged => "ATK-17";
    atk_18_spellings_of_a_host_are_one_host => "ATK-18";
    atk_20_lower_case_and_overridden_methods_change_nothing => "ATK-20";
    atk_21_owned_headers_of_a_client_are_gone => "ATK-21";
    atk_22_other_spellings_of_owned_headers_are_gone => "ATK-22";
    atk_23_connection_options_remove_nothing => "ATK-23";
}

async fn check_all(id: &str) {
    let world = World::open().await;
    let mut alice = world.person("alice", "engineering").await;
    let mut by_app: BTreeMap<String, Vec<&Attack>> = BTreeMap::new();
    // The door always reckons with rules that depend on the path.
    for attack in ATTACKS.iter().filter(|attack| attack.id() == id && attack.app.has_path_rules()) {
        by_app.entry(format!("{:?}", attack.app)).or_default().push(attack);
    }
    let (mut rows, mut refused) = (0, 0);
    for attacks in by_app.into_values() {
        world.apply(&specification(attacks[0].app), POLICIES).await;
        // After an attack through, so that the cookie is good whatever the app's settings.
        alice.open(WIKI, "/welcome").await;
        world.wiki.take();
        let cookie = alice.cookies(WIKI);
        for attack in attacks {
            check(&world, attack, &cookie).await;
            rows += 1;
            refused += usize::from(attack.refused.is_some());
        }
    }
    assert!(rows > 0);
    println!("{id}: {rows} rows, {refused} refused and found in the record, {} judged alone", rows - refused);
}

/// The settings of the attacked app, as an operator writes them.
fn specification(app: AttackedApp) -> String {
    let path = app.path();
    let profile = match path.profile {
        PathProfile::Strict => "strict",
        PathProfile::Base => "base",
        PathProfile::MergeSlashes => "merge_slashes",
        PathProfile::DecodeAndMergeSlashes => "decode_and_merge_slashes",
    };
    let opened = path.allow.iter().map(|opening| match opening {
        PathOpening::EncodedSlash => "encoded_slash",
        PathOpening::Semicolon => "semicolon",
        PathOpening::EmptySegment => "empty_segment",
        PathOpening::EncodedPercent => "encoded_percent",
    });
    let opened: Vec<&str> = opened.collect();
    let mut text = format!("  path: {{ profile: {profile}, allow: [{}] }}\n", opened.join(", "));
    match app {
        AttackedApp::JudgesOverride => text.push_str("  method_override: judge\n"),
        AttackedApp::PassesOddNames => text.push_str("  header_names: pass\n"),
        AttackedApp::StripsApi => {
            text.push_str("  routes:\n    - { path: /, upstream: web }\n    - { path: /api, upstream: web, rewrite: { strip_prefix: /api } }\n");
        }
        _ => {}
    }
    text
}

async fn check(world: &World, attack: &Attack, cookie: &str) {
    let name = attack.name;
    let is_websocket =
        attack.judged.iter().any(|judged| judged.fields.iter().any(|(name, _)| *name == "sec-websocket-key"));
    let mut wire = world.wire().await;
    wire.send(signed_in(attack.sent, cookie)).await;
    for (at, judged) in attack.judged.iter().enumerate() {
        let is_last = at + 1 == attack.judged.len();
        if is_last && attack.refused.is_some() {
            // Its body is what is refused.
            break;
        }
        let answer = if judged.method == "HEAD" { wire.head().await } else { wire.answer().await };
        assert!(is_websocket || answer.status == 200, "{name}: {answer:?}");
    }
    if let Some((code, offset)) = attack.refused {
        let answer = refusal(&mut wire, attack).await;
        assert!((400..500).contains(&answer.status) || answer.status == 501, "{name}: {answer:?}");
        if !answer.body.is_empty() {
            let problem = answer.json();
            assert_eq!(problem["code"], code.as_str(), "{name}: {problem}");
            if attack.judged.is_empty() {
                assert_eq!(problem["offset"], shifted(attack.sent, offset, cookie), "{name}: {problem}");
            }
        }
        assert!(wire.rest().await.is_empty(), "{name}: nothing follows a refusal");
        let records = world.records_of(&answer).await;
        let is_told = records.iter().any(|record| record["type"] == "gate.refused" || record["effect"] == "DENY");
        assert!(is_told || !attack.judged.is_empty(), "{name}: {records:?}");
    }
    let asked = world.wiki.take();
    let least = attack.judged.len() - usize::from(attack.refused.is_some() && !attack.judged.is_empty());
    assert!(asked.len() <= attack.judged.len() && (is_websocket || asked.len() >= least), "{name}: {asked:?}");
    if attack.refused.is_some() {
        assert_eq!(asked.len(), least, "{name}: no request whose body is refused looks whole: {asked:?}");
    }
    for (asked, judged) in asked.iter().zip(attack.judged) {
        assert_eq!(asked.line(), format!("{} {} HTTP/1.1", judged.method, judged.target), "{name}");
        assert_eq!(asked.all("host"), [WIKI], "{name}");
        assert_eq!(fields(asked), judged.fields, "{name}");
    }
    // The neighbour is unharmed, on a connection of its own or a pooled one.
    let well = world.ask(request("GET", WIKI, "/well", cookie, "")).await;
    assert_eq!(well.status, 200, "after {name}: {well:?}");
    let asked = world.wiki.take();
    assert_eq!(asked.iter().map(Asked::line).collect::<Vec<_>>(), ["GET /well HTTP/1.1"], "after {name}");
}

/// The answer that refuses; a HEAD has no body to read.
async fn refusal(wire: &mut Wire, attack: &Attack) -> Answer {
    if attack.sent.contains("HEAD ") { wire.head().await } else { wire.answer().await }
}

/// The row as somebody sends it who is signed in: each of its requests carries the session.
fn signed_in(sent: &str, cookie: &str) -> String {
    let line = cookie_line(cookie);
    let with = sent.replace("HTTP/1.1\r\n", &format!("HTTP/1.1\r\n{line}"));
    with.replace("HTTP/1.0\r\n", &format!("HTTP/1.0\r\n{line}"))
}

/// Where `offset` of the row went by that.
fn shifted(sent: &str, offset: usize, cookie: &str) -> usize {
    let inserted = ["HTTP/1.1\r\n", "HTTP/1.0\r\n"].iter().filter_map(|version| {
        let at = sent.find(version)? + version.len();
        (offset >= at).then(|| cookie_line(cookie).len())
    });
    offset + inserted.sum::<usize>()
}

fn cookie_line(cookie: &str) -> String {
    format!("Cookie: {cookie}\r\n")
}

/// The client's fields as the app saw them. Ours come once each; of the cookies nothing is left.
fn fields(asked: &Asked) -> Vec<(&str, &str)> {
    for ours in OURS {
        assert!(asked.all(ours).len() <= 1, "`{ours}` came twice: {asked:?}");
    }
    assert_eq!(asked.all("x-countersign-assertion").len(), 1, "{asked:?}");
    let lines = asked.head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| !OURS.contains(name)).collect()
}

#[test]
fn rows_are_sent_to_the_wiki() {
    assert_eq!(ATTACKED_HOST, WIKI);
}
