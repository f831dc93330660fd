//! Entries written and read back, and the exact bytes of one of them.

use std::sync::Arc;

use model::decision::EntitySlice;
use model::record::{EndCause, RecordType, SubjectKind};
use model::{AccessId, DecisionId, Effect, Reason, RevocationId, SessionId, UserId};
use proptest::prelude::*;

use super::*;
use crate::keyring::{DailyKeyStore, Day, SealKey, SubjectKeys};

struct Fixed;

impl SubjectKeys for Fixed {
    fn key_for(&self, user: &UserId) -> Option<SealKey> {
        (user.0.as_u128() == 1).then(|| SealKey::new([0x11; 32]))
    }
}

impl DailyKeyStore for Fixed {
    fn load(&self) -> Result<Vec<(Day, SealKey)>, KeyStoreError> {
        Ok(Vec::new())
    }

    fn save(&self, _: Day, _: &SealKey) -> Result<(), KeyStoreError> {
        Ok(())
    }

    fn destroy(&self, _: Day) -> Result<(), KeyStoreError> {
        Ok(())
    }
}

impl model::Ids for Fixed {
    fn uuid_v7(&self, _: Timestamp) -> Uuid {
        Uuid::nil()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(0x22);
    }
}

fn keys() -> Keyring {
    Keyring::open(Arc::new(Fixed), Arc::new(Fixed), Arc::new(Fixed)).unwrap()
}

fn payload(record: &AuditRecord, keys: &Keyring) -> Vec<u8> {
    let prepared = prepare(record, keys).unwrap();
    let mut entry = Vec::new();
    prepared.write_entry("log.example/node1/1", 42, &mut entry);
    let mut payload = (entry.len() as u32).to_le_bytes().to_vec();
    payload.extend_from_slice(&entry);
    prepared.write_beside(&mut payload);
    assert!(payload.len() <= prepared.len_bound());
    payload
}

/// What a reader with every right gets back for `record`.
fn expected(record: &AuditRecord) -> Vec<(Column, Value)> {
    let open = |(column, value): (Column, Value)| match (column.kind(), value) {
        (ColumnKind::Sealed, Value::Text(text)) => (column, Value::Sealed(Sealed::Open(text))),
        (_, value) => (column, value),
    };
    columns_of(record).into_iter().map(open).collect()
}

fn golden_record() -> AuditRecord {
    let id = |n: u128| Uuid::from_u128(n);
    let mut record = AuditRecord::new(RecordType::AccessDecision, AccessId(id(2)), Timestamp(-5), "http");
    record.who.subject_id = Some(UserId(id(1)));
    record.who.subject_kind = Some(SubjectKind::Person);
    record.who.subject_name = Some("Alice".into());
    record.what.app = Some("payroll".into());
    record.from.src_ip = Some("192.0.2.7".parse().unwrap());
    record.from.src_port = Some(50_000);
    record.decision.decision_id = Some(DecisionId(id(3)));
    record.decision.effect = Some(Effect::StepUp);
    record.decision.reason = Some(Reason::StepUpRequired);
    record.decision.policies = vec!["payroll/fresh".into(), "payroll/staff".into()];
    record.decision.cached = Some(false);
    record.pins.policy_set_hash = Some(Digest32([0xab; 32]));
    record.pins.context = Some(Arc::from(*b"\xa0"));
    record.completion.status = Some(401);
    record
}

#[test]
fn the_bytes_of_an_entry_never_change() {
    let payload = payload(&golden_record(), &keys());
    let (entry, beside) = split_payload(&payload).unwrap();
    let lines = |bytes: &[u8]| {
        let hex: Vec<String> = bytes.chunks(32).map(|chunk| data_encoding::HEXLOWER.encode(chunk)).collect();
        hex.join("\n")
    };
    insta::assert_snapshot!("entry", lines(entry));
    insta::assert_snapshot!("beside", lines(beside));
}

#[test]
fn an_entry_in_any_other_form_is_refused() {
    let payload = payload(&golden_record(), &keys());
    let (entry, _) = split_payload(&payload).unwrap();
    assert!(decode_entry(entry).is_ok());
    assert!(decode_entry(&entry[..entry.len() - 1]).is_err());
    let mut longer = entry.to_vec();
    longer.push(0);
    assert_eq!(decode_entry(&longer), Err(EntryError::NotCanonical));
    // `schema` written in two bytes instead of one.
    let (map, rest) = entry.split_first().unwrap();
    assert_eq!(rest[..2], [0x00, 0x01], "schema comes first");
    let wide = [&[*map, 0x00, 0x18, 0x01], &rest[2..]].concat();
    assert_eq!(decode_entry(&wide), Err(EntryError::NotCanonical));
    let mut newer = entry.to_vec();
    newer[2] = 2;
    assert_eq!(decode_entry(&newer), Err(EntryError::Schema(2)));
}

#[test]
fn equal_values_of_one_person_encrypt_equally_and_commit_differently() {
    let keys = keys();
    let first = prepare(&golden_record(), &keys).unwrap();
    let mut other = golden_record();
    other.access_id = AccessId(Uuid::from_u128(99));
    let second = prepare(&other, &keys).unwrap();
    assert_eq!(first.beside, second.beside);
    assert_ne!(first.rest, second.rest);
    let commitments = |prepared: &Prepared| {
        let mut bytes = Vec::new();
        prepared.write_entry("l", 0, &mut bytes);
        let entry = decode_entry(&bytes).unwrap();
        [Column::SubjectName, Column::SrcIp].map(|column| find(&entry.columns, column).cloned())
    };
    assert_ne!(commitments(&first), commitments(&second));
}

fn text() -> impl Strategy<Value = Option<Arc<str>>> {
    proptest::option::of("\\PC{1,40}".prop_map(|text| Arc::from(text.as_str())))
}

fn texts() -> impl Strategy<Value = Vec<Arc<str>>> {
    proptest::collection::vec("[a-z/]{1,20}".prop_map(|text| Arc::from(text.as_str())), 0..5)
}

fn id() -> impl Strategy<Value = Uuid> {
    // Often the one person there is a key for.
    prop_oneof![Just(Uuid::from_u128(1)), any::<u128>().prop_map(Uuid::from_u128)]
}

prop_compose! {
    fn any_record()(
        kind in proptest::sample::select(RecordType::ALL),
        ids in proptest::array::uniform6(proptest::option::of(id())),
        time in any::<i64>(),
        texts20 in proptest::collection::vec(text(), 20),
        lists in proptest::collection::vec(texts(), 3),
        numbers in proptest::collection::vec(proptest::option::of(any::<u64>()), 8),
        ip in proptest::option::of(any::<std::net::IpAddr>()),
        reason in proptest::option::of(proptest::sample::select(Reason::ALL)),
        cause in proptest::option::of(proptest::sample::select(EndCause::ALL)),
        blob in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        cached in any::<Option<bool>>(),
    ) -> AuditRecord {
        let mut texts = texts20.into_iter();
        let mut next = || texts.next().flatten();
        let [access, subject, session, decision, object, revocation] = ids;
        let mut record = AuditRecord::new(kind, AccessId(access.unwrap_or_default()), Timestamp(time), "http");
        record.listener = next();
        record.trace_id = next();
        record.who.subject_id = subject.map(UserId);
        record.who.subject = next();
        record.who.subject_name = next();
        record.who.subject_email = next();
        record.who.session_id = session.map(SessionId);
        record.credential.id = next();
        record.credential.amr = lists[0].clone();
        record.credential.auth_time = numbers[0].map(|n| Timestamp(n as i64));
        record.what.app = next();
        record.what.resource = next();
        record.what.url_path = next();
        record.what.url_query = next();
        record.from.src_ip = ip;
        record.from.src_port = numbers[1].map(|n| n as u16);
        record.from.src_net = next();
        record.from.user_agent = next();
        record.decision.decision_id = decision.map(DecisionId);
        record.decision.reason = reason;
        record.decision.reason_text = next();
        record.decision.policies = lists[1].clone();
        record.decision.would = lists[2].clone();
        record.decision.cached = cached;
        record.pins.entities_version = numbers[2];
        record.pins.context = blob.clone().map(Arc::from);
        record.pins.entity_slice = blob.map(|bytes| {
            Arc::new(EntitySlice { hash: Digest32::of(&bytes), bytes: bytes.into() })
        });
        record.pins.eval_ns = numbers[3];
        record.completion.status = numbers[4].map(|n| n as u16);
        record.completion.bytes_in = numbers[5];
        record.completion.duration_ns = numbers[6];
        record.completion.end_cause = cause;
        record.change.object_id = next();
        record.change.object_subject = object.map(UserId);
        record.change.change = next();
        record.change.revocation = revocation.map(RevocationId);
        record.change.receipt = next();
        record
    }
}

proptest! {
    #[test]
    fn a_record_reads_back_as_it_was_written(record in any_record()) {
        let keys = keys();
        let payload = payload(&record, &keys);
        let stored = decode_payload(&payload, &keys, SealedAccess::Open).unwrap();
        prop_assert_eq!(&stored.columns, &expected(&record));
        prop_assert_eq!(stored.kind(), Some(record.kind));
        prop_assert_eq!((&*stored.log, stored.seq), ("log.example/node1/1", 42));
        let context = decode_context(&payload, &keys).unwrap();
        prop_assert_eq!(context.as_deref(), record.pins.context.as_deref());
        // A reader without the right gets the same columns, and of the sealed ones nothing.
        let closed = decode_payload(&payload, &keys, SealedAccess::Closed).unwrap();
        for ((column, value), (_, open)) in closed.columns.iter().zip(&stored.columns) {
            if column.kind() == ColumnKind::Sealed {
                prop_assert_eq!(value, &Value::Sealed(Sealed::Closed));
            } else {
                prop_assert_eq!(value, open);
            }
        }
    }

    #[test]
    fn an_entry_never_exceeds_its_limit(
        record in any_record(),
        path in 0usize..200_000,
        policies in 0usize..3_000,
        wide in 0usize..2_000,
    ) {
        let mut record = record;
        record.what.url_path = Some("/p".repeat(path / 2).into());
        record.what.host = Some("h".repeat(wide * 40).into());
        record.change.receipt = Some("r".repeat(path).into());
        record.decision.policies = vec!["p".repeat(wide).into(); policies];
        record.from.user_agent = Some("u".repeat(path).into());
        let prepared = prepare(&record, &keys()).unwrap();
        let mut entry = Vec::new();
        prepared.write_entry(&"o".repeat(MAX_ORIGIN_BYTES), u64::MAX, &mut entry);
        prop_assert!(entry.len() <= MAX_ENTRY_BYTES, "{}", entry.len());
        prop_assert!(decode_entry(&entry).is_ok());
        prop_assert!(prepared.len_bound() <= crate::log::segment::MAX_PAYLOAD_BYTES);
    }

    #[test]
    fn bytes_that_are_no_entry_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(entry) = decode_entry(&bytes) {
            prop_assert_eq!(entry.to_bytes(), bytes);
        }
    }

    #[test]
    fn a_bent_payload_never_opens_as_something_else(record in any_record(), at in any::<usize>(), bit in 0u8..8) {
        let keys = keys();
        let mut payload = payload(&record, &keys);
        let at = at % payload.len();
        payload[at] ^= 1 << bit;
        let Ok(stored) = decode_payload(&payload, &keys, SealedAccess::Open) else { return Ok(()) };
        let before = expected(&record);
        for (column, value) in &stored.columns {
            if let Value::Sealed(Sealed::Open(_)) = value {
                prop_assert!(before.contains(&(*column, value.clone())));
            }
        }
    }
}
