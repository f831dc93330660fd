//! The attack table against the parser; the product's tests send the same rows over sockets.

use http_gate::GateRefusal;
use http_gate::attacks::{ATTACKED_HOST, ATTACKS, Attack, Judged};

use crate::support::{Seen, drive};

/// Everything that differs from what the row says.
fn check(attack: &Attack, seen: &Seen) -> Result<(), String> {
    let refused = seen.refused.map(|refusal| (refusal.code, refusal.offset));
    if refused != attack.refused {
        return Err(format!("refused {refused:?}, expected {:?}", attack.refused));
    }
    if seen.requests.len() != attack.judged.len() {
        return Err(format!("judged {:?}, expected {:?}", seen.requests, attack.judged));
    }
    for (request, judged) in seen.requests.iter().zip(attack.judged) {
        let fields: Vec<(&str, &str)> =
            request.fields().iter().map(|field| (field.name(), std::str::from_utf8(field.value()).unwrap())).collect();
        let target = request.target();
        let is_same = request.method() == judged.method && target == judged.target && fields == judged.fields;
        if !is_same || request.host().name() != ATTACKED_HOST {
            return Err(format!("judged {} {target} {fields:?}, expected {judged:?}", request.method()));
        }
    }
    Ok(())
}

#[test]
fn every_attack_is_refused_or_has_one_meaning() {
    let failures: Vec<String> = ATTACKS
        .iter()
        .filter_map(|attack| {
            let seen = drive([attack.sent.as_bytes()], attack.app);
            check(attack, &seen).err().map(|failure| format!("{}: {failure}", attack.name))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), ATTACKS.len(), failures.join("\n"));
}

#[test]
fn every_attack_means_the_same_byte_by_byte() {
    for attack in ATTACKS {
        let seen = drive(attack.sent.as_bytes().chunks(1), attack.app);
        if attack.name.starts_with("ATK-5 early bytes") {
            // Byte by byte the head is there before the early bytes are; the refusal is the same.
            assert_eq!(seen.refused.map(|refusal| (refusal.code, refusal.offset)), attack.refused);
        } else {
            assert_eq!(check(attack, &seen), Ok(()), "{}", attack.name);
        }
    }
}

#[test]
fn the_answer_to_an_attack_repeats_nothing_of_it() {
    for attack in ATTACKS.iter().filter(|attack| attack.refused.is_some()) {
        let output = String::from_utf8(drive([attack.sent.as_bytes()], attack.app).output).unwrap();
        let (code, offset) = attack.refused.unwrap();
        let body = GateRefusal::new(code, offset).problem_json();
        assert!(output.ends_with(&body), "{}: {output}", attack.name);
        assert!(output.contains("connection: close\r\n"), "{}", attack.name);
        assert!(!output.contains("localhost") && !output.contains("admin"), "{}: {output}", attack.name);
    }
}

#[test]
fn a_cookie_of_ours_survives_no_row() {
    let cookie = "Cookie: theme=dark; __Host-countersign=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
    for attack in ATTACKS.iter().filter(|attack| attack.refused.is_none()) {
        let with_cookie = attack.sent.replacen("\r\nHost:", &format!("\r\n{cookie}Host:"), 1);
        let seen = drive([with_cookie.as_bytes()], attack.app);
        let request = &seen.requests[0];
        assert!(request.credentials().session.once().is_some(), "{}", attack.name);
        assert_eq!(request.fields().single("cookie").map(|value| &value[..]), Some(b"theme=dark".as_slice()));
    }
}

#[test]
fn names_say_which_attack_and_are_unique() {
    let ids = [1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23].map(|id| format!("ATK-{id}"));
    let mut found: Vec<&str> = ATTACKS.iter().map(Attack::id).collect();
    found.dedup();
    assert_eq!(found, ids);
    let mut names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ATTACKS.len());
}

#[test]
fn a_row_can_be_sent_to_another_authority() {
    let attack = ATTACKS.iter().find(|attack| attack.name == "ATK-16 an empty query").unwrap();
    assert_eq!(attack.sent_to("wiki.localhost:8443"), "GET /admin? HTTP/1.1\r\nHost: wiki.localhost:8443\r\n\r\n");
    assert_eq!(attack.judged, [Judged { method: "GET", target: "/admin?", fields: &[] }]);
}
