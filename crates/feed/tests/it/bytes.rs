//! Hostile bytes: whatever comes, reading ends with a message or an error.

use std::sync::Arc;

use feed::frame::{Assembler, Cutter, HEAD_BYTES, Head, Lane};
use feed::wire::{self, WireError};
use feed::{
    Ack, Ask, Delta, Down, Event, Hello, Order, Part, Position, Purpose, Reply, Services, Up, Welcome, WireRequest,
    WireResponse,
};
use model::changes::SessionChange;
use model::ids::{TokenHash, UserId};
use model::seams::{Cause, Scope};
use model::time::Timestamp;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::samples::{config, directory, report, revocation, session, session_id, tombstone, upsert, user, uuid};

fn downs() -> Vec<Down> {
    let order = |scope| {
        let order = Order { revocation: revocation(1), scope, cause: Cause::UserDisabled, after: 3 };
        Down::Event { seq: 9, event: Arc::new(Event::Order(order)) }
    };
    let change = |change| Down::Event { seq: u64::MAX, event: Arc::new(Event::Change(change)) };
    let delta = Delta {
        version: 7,
        config: Some(config(3)),
        directory_version: 8,
        users: vec![user(1, "alice")],
        gone: vec![UserId(uuid(2))],
        groups: Some(directory(1, &[]).groups.values().cloned().collect()),
        services: Some(Services::of(&directory(1, &[]))),
    };
    let SessionChange::Upsert { session: live, tokens } = upsert(4, 5) else { unreachable!() };
    vec![
        Down::Beat { facts: 1, events: 2 },
        Down::Begin { position: Position { lineage: uuid(1), facts: 2, events: 3 }, directory_version: 4 },
        Down::Delta(Arc::new(delta)),
        Down::End,
        order(Scope::Everything),
        order(Scope::Apps(vec![model::app::AppName::new("wiki")])),
        order(Scope::User(UserId(uuid(3)))),
        change(upsert(1, 2)),
        change(SessionChange::Tombstone(tombstone(1))),
        change(SessionChange::Forget(session_id(1))),
        change(SessionChange::GlobalEpoch(4)),
        change(SessionChange::UserEpoch { user: UserId(uuid(1)), epoch: 5 }),
        Down::Keys(Arc::from("{\"keys\":[]}")),
        Down::Part(Part::Config(config(1))),
        Down::Part(Part::Dead(vec![tombstone(1), tombstone(2)])),
        Down::Part(Part::Epochs { global: 1, users: vec![(UserId(uuid(1)), 2)] }),
        Down::Part(Part::Groups(directory(1, &[]).groups.values().cloned().collect())),
        Down::Part(Part::Services(Services::of(&directory(2, &[])))),
        Down::Part(Part::Sessions(vec![(live, tokens), (session(6, 1), Vec::new())])),
        Down::Part(Part::Users(vec![user(1, "alice"), user(2, "bob")])),
        Down::Refused("no".into()),
        Down::Reply { ask: 1, reply: Reply::Session(Some(4)) },
        Down::Reply { ask: 1, reply: Reply::Certificate { chain_pem: "a".into(), ca_pem: "b".into() } },
        Down::Reply {
            ask: 2,
            reply: Reply::Response(WireResponse {
                status: 303,
                headers: vec![("location".into(), b"/".to_vec())],
                body: vec![0, 255],
            }),
        },
        Down::Welcome(Welcome {
            auth_url: "https://auth.test".into(),
            auth_host: "auth.test".into(),
            public_port: 443,
            ticket_key: Zeroizing::new(vec![1; 32]),
        }),
    ]
}

fn ups() -> Vec<Up> {
    let request = WireRequest {
        method: "GET".into(),
        target: "/.countersign/handoff?code=x".into(),
        host: "wiki.test".into(),
        authority: "wiki.test:8443".into(),
        headers: vec![("cookie".into(), b"a=b".to_vec())],
        body: Vec::new(),
        access: uuid(1),
        decision: uuid(2),
        trace_id: "0".repeat(32),
        session: Some(session_id(3)),
        login_binding: Some(TokenHash([1; 32])),
        client: "192.0.2.1:1".parse().unwrap(),
    };
    let hello = |purpose| Up::Hello(Hello { protocol: feed::PROTOCOL, software: "1".into(), purpose });
    let have = Some(Position { lineage: uuid(1), facts: 2, events: 3 });
    vec![
        Up::Ack(Ack { facts: 1, events: 2 }),
        Up::Active(vec![(session_id(1), Timestamp(-1))]),
        Up::Ask { ask: 1, question: Ask::Call(Box::new(request)) },
        Up::Ask { ask: 2, question: Ask::LookUp { token: TokenHash([2; 32]), host: "wiki.test".into() } },
        Up::Ask { ask: 3, question: Ask::Park { key: "k".into(), target: "/t".into() } },
        Up::Ask { ask: 4, question: Ask::Renew { proof: vec![48, 0] } },
        hello(Purpose::Join { token: Zeroizing::new("secret".into()) }),
        hello(Purpose::Subscribe { have, keys: "{}".into() }),
        Up::Keys("{}".into()),
        Up::Nack { facts: 1, reason: "no".into() },
        Up::Report { revocation: revocation(1), report: report() },
    ]
}

#[test]
fn every_message_survives_its_wire_form() {
    for message in downs() {
        let bytes = wire::encode(&message);
        assert!(wire::decode::<Down>(&bytes) == Ok(message), "{bytes:02x?}");
    }
    for message in ups() {
        let bytes = wire::encode(&message);
        assert!(wire::decode::<Up>(&bytes) == Ok(message), "{bytes:02x?}");
    }
}

#[test]
fn attack_a_truncated_message_is_refused_at_every_length() {
    for bytes in downs().iter().map(wire::encode) {
        for length in 0..bytes.len() {
            assert!(wire::decode::<Down>(&bytes[..length]).is_err(), "{length} of {bytes:02x?}");
        }
    }
    for bytes in ups().iter().map(wire::encode) {
        for length in 0..bytes.len() {
            assert!(wire::decode::<Up>(&bytes[..length]).is_err(), "{length} of {bytes:02x?}");
        }
    }
}

#[test]
fn attack_bytes_after_a_message_are_refused() {
    for message in downs() {
        let bytes = [wire::encode(&message), vec![0]].concat();
        assert!(wire::decode::<Down>(&bytes).is_err());
    }
}

#[test]
fn attack_a_list_that_claims_to_be_huge_reserves_nothing() {
    // `Active` with four thousand million sessions and no bytes.
    assert!(wire::decode::<Up>(&[1, 0xff, 0xff, 0xff, 0xff]) == Err(WireError::Short));
    assert!(wire::decode::<Down>(&[5, 0x7f, 0xff, 0xff, 0xff, b'x']) == Err(WireError::Short));
}

/// What a reader at the end of a connection does.
fn read_all(mut bytes: &[u8]) -> Result<usize, String> {
    let (mut assembler, mut messages) = (Assembler::default(), 0);
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() {
        let head = Head::read(*head).map_err(|error| error.to_string())?;
        let Some((piece, rest)) = rest.split_at_checked(head.bytes) else { return Ok(messages) };
        if let Some(message) = assembler.add(head, piece).map_err(|error| error.to_string())? {
            wire::decode::<Down>(&message).map_err(|error| error.to_string())?;
            messages += 1;
        }
        bytes = rest;
    }
    Ok(messages)
}

fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in downs() {
        let mut cutter = Cutter::new(message.lane(), wire::encode(&message)).unwrap();
        while let Some((head, piece)) = cutter.next_frame() {
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(piece);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attack_random_bytes_never_crash_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = wire::decode::<Down>(&bytes).is_ok();
        let _ = wire::decode::<Up>(&bytes).is_ok();
        let _ = read_all(&bytes);
    }

    #[test]
    fn attack_a_stream_with_altered_bytes_never_crashes_a_reader(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = stream();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = read_all(&bytes);
        let _ = read_all(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn whatever_reads_writes_the_same_bytes(
        index in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let all = downs();
        let mut bytes = wire::encode(&all[index.index(all.len())]);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(message) = wire::decode::<Down>(&bytes) {
            let again = wire::encode(&message);
            prop_assert!(wire::decode::<Down>(&again) == Ok(message));
        }
    }
}

#[test]
fn an_honest_stream_is_read_to_its_end() {
    assert_eq!(read_all(&stream()), Ok(downs().len()));
    assert_eq!(downs().iter().filter(|message| message.lane() == Lane::Urgent).count(), 10);
}
