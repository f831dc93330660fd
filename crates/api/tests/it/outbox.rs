//! Notes that a crash left: what is in the record already is not told twice, what is missing is told.

use std::sync::Arc;

use api::Actor;
use model::AccessId;
use model::record::{AuditRecord, RecordType};
use model::seams::{Durability, Recorder};
use pip_identity::DirectoryStore;
use pip_identity::store::{DirectoryChange, NoteRow};
use serde_json::json;
use store::OutboxStore;
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
