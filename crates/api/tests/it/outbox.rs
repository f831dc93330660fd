//! Notes that a crash left: what is in the record already is not told twice, what is missing is told.

use std::sync::Arc;

use api::control::{KeyLine, KeyState, first_key_note};
use api::{Actor, Failure};
use model::AccessId;
use model::record::{AuditRecord, RecordType};
use model::seams::{Durability, Recorder};
use pip_identity::DirectoryStore;
use pip_identity::store::{DirectoryChange, NoteRow};
use serde_json::json;
use store::{KeyStore, OutboxStore, SealedSecret, SecretKind};
use uuid::Uuid;

use crate::world::{ALICE, CAROL, World};

const TEXT: &str = "disabled";

/// The note of a person disabled by `carol` in the access `access`.
fn note(world: &World, id: u128, access: Uuid) -> DirectoryChange {
    let deed = json!({
        "kind": RecordType::IdentityUserChanged.as_str(), "object": "user", "id": ALICE.to_string(),
        "subject": ALICE.to_string(), "text": TEXT, "config": null,
    });
    let body = json!({ "who": format!("user:{CAROL}"), "access": access, "door": "http", "deeds": [deed] });
    DirectoryChange::PutNote(NoteRow { id: Uuid::from_u128(id), at: world.control.now(), body: body.to_string() })
}

#[tokio::test]
async fn a_deed_whose_record_is_there_is_not_recorded_twice_and_one_without_is_recorded_once() {
    let world = World::new().await;
    let (kept, lost) = (Uuid::from_u128(0xcafe), Uuid::from_u128(0xdead));
    world.people_store.apply(None, vec![note(&world, 1, kept), note(&world, 2, lost)]).await.unwrap();
    // The crash came between the record and forgetting the note.
    let now = world.control.now();
    let mut record = AuditRecord::new(RecordType::IdentityUserChanged, AccessId(kept), now, "http");
    record.change.object_kind = Some("user");
    record.change.object_id = Some(Arc::from(ALICE.to_string()));
    record.change.change = Some(Arc::from(TEXT));
    world.log.append(record, Durability::Strict).await.unwrap();

    let told = || world.recorder.of_type(RecordType::IdentityUserChanged);
    let before = told().len();
    let actor = Actor::system(AccessId(Uuid::from_u128(3)));
    world.control.resume(&actor, None).await.unwrap();
    let new = &told()[before..];
    assert_eq!(new.iter().map(|record| record.access_id).collect::<Vec<_>>(), [AccessId(lost)]);
    assert_eq!(new[0].change.change.as_deref(), Some("disabled; recorded at the next start"));
    assert!(world.store.notes().await.unwrap().is_empty(), "both are done with");

    world.control.resume(&actor, None).await.unwrap();
    assert_eq!(told().len(), before + 1, "and the next start has nothing to tell");
}

#[tokio::test]
async fn a_key_rotated_while_the_log_is_gone_is_recorded_by_the_next_start() {
    let world = World::new().await;
    let actor = Actor::local_operator(AccessId(Uuid::from_u128(5)));
    world.recorder.fail(true);
    let answer = world.control.rotate_keys(&actor, "receipt").await;
    assert!(matches!(answer, Err(Failure::DoneUnrecorded(_))), "{answer:?}");
    assert!(world.store.secret(SecretKind::SigningKeyRing, "receipt").await.unwrap().is_some(), "the ring is kept");
    assert_eq!(world.store.notes().await.unwrap().len(), 1, "and so is what must be said of it");
    world.recorder.fail(false);

    let start = Actor::system(AccessId(Uuid::from_u128(6)));
    for _ in 0..2 {
        world.control.resume(&start, None).await.unwrap();
        let told = world.recorder.of_type(RecordType::KeyRotated);
        assert_eq!(told.len(), 1, "once");
        assert_eq!((told[0].access_id, told[0].change.object_id.as_deref()), (actor.access_id, Some("receipt-1")));
        assert!(told[0].change.change.as_deref().unwrap().ends_with("; recorded at the next start"));
    }
    assert!(world.store.notes().await.unwrap().is_empty());

    world.control.rotate_keys(&actor, "receipt").await.unwrap();
    assert!(world.store.notes().await.unwrap().is_empty(), "recorded at once, nothing is left to tell");
}

#[tokio::test]
async fn a_key_a_start_makes_is_recorded_by_that_start_or_by_the_next() {
    let (this, crashed) = (Actor::system(AccessId(Uuid::from_u128(7))), Actor::system(AccessId(Uuid::from_u128(8))));
    let world = World::new().await;
    for (actor, purpose) in [(&this, "assertion"), (&crashed, "receipt")] {
        let now = world.control.now();
        let line = KeyLine { purpose, kid: format!("{purpose}-1"), signs_from: now, state: KeyState::Signing };
        let ring =
            SealedSecret { kind: SecretKind::SigningKeyRing, name: purpose.to_owned(), sealed: vec![1], put_at: now };
        let note = first_key_note(actor, Uuid::from_u128(now.0 as u128 + purpose.len() as u128), now, &line);
        world.store.add_secret(ring, Some(note)).await.unwrap();
    }
    world.control.resume(&this, None).await.unwrap();
    let told = world.recorder.of_type(RecordType::KeyIssued);
    let texts: Vec<_> = told.iter().filter_map(|record| record.change.change.as_deref()).collect();
    assert!(texts.contains(&"the first key for assertion was made"), "{texts:?}");
    assert!(texts.contains(&"the first key for receipt was made; recorded at the next start"), "{texts:?}");
    assert_eq!(texts.len(), 2);
}
