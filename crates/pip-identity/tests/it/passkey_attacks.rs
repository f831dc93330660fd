//! One test per check of a ceremony, named for the attack it stops (ID-16 to ID-20).

use model::UserState;
use pip_identity::links::LinkRefusal;
use pip_identity::passkeys::{MAX_ANSWER_BYTES, MAX_PER_BINDING, NewAdmin, PasskeyRefusal};
use pip_identity::people::LastAdmin;
use pip_identity::sensitive::FRESH_SIGN_IN;
use pip_identity::store::{DirectoryChange, DirectoryStore, PasskeyRow};
use pip_identity::throttle::{FREE_ADDRESS_FAILURES, Throttled};
use serde_json::{Value, json};

use crate::device::{Answer, BE, BS, Device, UP, UV, set_counter, set_flags, set_rp_id};
use crate::world::{HOME, World, login, page};

async fn refused(change: impl Fn(&mut Answer)) -> PasskeyRefusal {
    let (world, mut device, _) = World::with_admin().await;
    world.sign_in_with(&mut device, change).await.unwrap_err()
}

fn client_data(key: &'static str, value: Value) -> impl Fn(&mut Answer) {
    move |answer| answer.change_client_data(|data| data[key] = value.clone())
}

#[tokio::test]
async fn a_sign_in_phished_on_another_origin_is_refused() {
    for origin in [
        "https://localhost.evil.example:8443",
        "https://localhost",
        "http://localhost:8443",
        "https://app.localhost:8443",
    ] {
        let why = refused(client_data("origin", json!(origin))).await;
        assert_eq!(why, PasskeyRefusal::WrongOrigin { origin: origin.into() });
    }
}

#[tokio::test]
async fn a_framed_sign_in_is_refused() {
    assert_eq!(refused(client_data("crossOrigin", json!(true))).await, PasskeyRefusal::CrossOrigin);
    let top = client_data("topOrigin", json!("https://evil.example"));
    assert_eq!(refused(top).await, PasskeyRefusal::CrossOrigin);
}

#[tokio::test]
async fn an_enrolment_presented_as_a_sign_in_is_refused() {
    assert_eq!(refused(client_data("type", json!("webauthn.create"))).await, PasskeyRefusal::WrongType);
}

#[tokio::test]
async fn a_passkey_of_another_relying_party_is_refused() {
    let why = refused(|answer| answer.change_authenticator_data(set_rp_id("evil.example"))).await;
    assert_eq!(why, PasskeyRefusal::WrongRelyingParty);
}

#[tokio::test]
async fn a_sign_in_without_user_verification_is_refused() {
    let why = refused(|answer| answer.change_authenticator_data(set_flags(UP | BE | BS))).await;
    assert_eq!(why, PasskeyRefusal::UserNotVerified);
}

#[tokio::test]
async fn a_sign_in_without_user_presence_is_refused() {
    let why = refused(|answer| answer.change_authenticator_data(set_flags(UV | BE | BS))).await;
    assert_eq!(why, PasskeyRefusal::UserNotPresent);
}

#[tokio::test]
async fn a_passkey_that_became_device_bound_is_refused() {
    let why = refused(|answer| answer.change_authenticator_data(set_flags(UP | UV))).await;
    assert_eq!(why, PasskeyRefusal::BackupEligibilityChanged);
}

#[tokio::test]
async fn a_forged_signature_is_refused() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let mut answer = device.get(&options).await;
    answer.change_authenticator_data(set_counter(77));
    let refusal = world.finish(&answer).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::BadSignature);
    assert_eq!(refusal.user, Some(enrolled.signed_in.user));
    assert_eq!(refusal.credential, Some(enrolled.signed_in.credential));
    assert_eq!(world.passkey_of(enrolled.signed_in.user).await.counter, 0);
}

#[tokio::test]
async fn a_signature_by_the_key_of_another_person_is_refused() {
    let (world, mut carols, _) = World::with_admin().await;
    let (_, bobs) = world.add_enrolled("bob@corp.example").await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let mut answer = carols.get(&options).await;
    bobs.sign(&mut answer);
    assert_eq!(world.finish(&answer).await.unwrap_err().why, PasskeyRefusal::BadSignature);
}

#[tokio::test]
async fn a_replayed_answer_is_refused() {
    let (world, mut device, _) = World::with_admin().await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let answer = device.get(&options).await;
    world.finish(&answer).await.unwrap();
    assert_eq!(world.finish(&answer).await.unwrap_err().why, PasskeyRefusal::CeremonyUnknown);
}

#[tokio::test]
async fn a_failed_answer_uses_up_its_challenge() {
    let (world, mut device, _) = World::with_admin().await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let good = device.get(&options).await;
    let mut bad = good.clone();
    bad.change_authenticator_data(set_counter(77));
    assert_eq!(world.finish(&bad).await.unwrap_err().why, PasskeyRefusal::BadSignature);
    assert_eq!(world.finish(&good).await.unwrap_err().why, PasskeyRefusal::CeremonyUnknown);
}

#[tokio::test]
async fn an_answer_to_a_challenge_of_the_attackers_choice_is_refused() {
    let why = refused(client_data("challenge", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))).await;
    assert_eq!(why, PasskeyRefusal::CeremonyUnknown);
}

#[tokio::test]
async fn an_answer_after_five_minutes_is_refused() {
    let (world, mut device, _) = World::with_admin().await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let answer = device.get(&options).await;
    world.pass(300);
    assert_eq!(world.finish(&answer).await.unwrap_err().why, PasskeyRefusal::CeremonyExpired);
}

#[tokio::test]
async fn login_csrf_with_an_answer_begun_in_another_browser_is_refused_and_spoils_nothing() {
    let (world, mut device, _) = World::with_admin().await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let answer = device.get(&options).await;
    let refusal = world.passkeys.finish_sign_in(login(2), &answer.json(), HOME).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::CeremonyOfAnother);
    world.finish(&answer).await.unwrap();
}

#[tokio::test]
async fn a_counter_regression_of_a_device_bound_passkey_is_refused_as_a_clone() {
    let (world, _, _) = World::with_admin().await;
    let (user, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(user, "carol@corp.example", None).await.unwrap();
    let mut device = Device::default();
    let options = world.passkeys.start_enrolment(link.secret.expose(), None).await.unwrap();
    let mut answer = device.create(&options).await;
    answer.change_attested_data("localhost", set_flags(UP | UV));
    world.passkeys.finish_enrolment(link.secret.expose(), &answer.json(), "Key").await.unwrap();
    assert!(!world.passkey_of(user).await.is_backup_eligible);

    let count = |counter| {
        move |answer: &mut Answer| {
            answer.change_authenticator_data(set_flags(UP | UV));
            answer.change_authenticator_data(set_counter(counter));
        }
    };
    world.sign_in_with(&mut device, count(9)).await.unwrap();
    for counter in [9, 4] {
        let why = world.sign_in_with(&mut device, count(counter)).await.unwrap_err();
        assert_eq!(why, PasskeyRefusal::CounterRegressed);
    }
    assert_eq!(world.passkey_of(user).await.counter, 9);
    assert!(!world.sign_in_with(&mut device, count(10)).await.unwrap().is_synced);
}

#[tokio::test]
async fn a_device_bound_passkey_that_became_synced_is_refused() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let row = world.passkey_of(enrolled.signed_in.user).await;
    replace(&world, PasskeyRow { is_backup_eligible: false, is_backed_up: false, ..row }).await;
    assert_eq!(world.sign_in(&mut device).await.unwrap_err(), PasskeyRefusal::BackupEligibilityChanged);
}

#[tokio::test]
async fn a_passkey_backed_up_though_it_cannot_be_is_refused() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let row = world.passkey_of(enrolled.signed_in.user).await;
    replace(&world, PasskeyRow { is_backup_eligible: false, is_backed_up: false, ..row }).await;
    let why = world
        .sign_in_with(&mut device, |answer| answer.change_authenticator_data(set_flags(UP | UV | BS)))
        .await
        .unwrap_err();
    assert_eq!(why, PasskeyRefusal::BackedUpWithoutEligibility);
}

#[tokio::test]
async fn a_passkey_under_the_user_handle_of_another_person_is_refused() {
    let (world, mut carols, _) = World::with_admin().await;
    let (bob, mut bobs) = world.add_enrolled("bob@corp.example").await;
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let handle_of_carol = carols.get(&options).await.bytes("userHandle");
    let mut answer = bobs.get(&options).await;
    answer.set("userHandle", &handle_of_carol);
    let refusal = world.finish(&answer).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::NotYours);
    assert_ne!(refusal.user, Some(bob));
}

#[tokio::test]
async fn a_passkey_without_user_handle_is_refused() {
    let why = refused(|answer| answer.0["response"]["userHandle"] = Value::Null).await;
    assert_eq!(why, PasskeyRefusal::UserHandleMissing);
}

#[tokio::test]
async fn a_passkey_of_a_deleted_person_is_unknown() {
    let (world, _, _) = World::with_admin().await;
    let (bob, mut device) = world.add_enrolled("bob@corp.example").await;
    world.people.delete_user(bob, LastAdmin::Keep).await.unwrap();
    assert_eq!(world.sign_in(&mut device).await.unwrap_err(), PasskeyRefusal::UnknownPasskey);
}

#[tokio::test]
async fn a_removed_passkey_is_unknown() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    world.passkeys.remove(&session, &enrolled.signed_in.credential).await.unwrap();
    assert_eq!(world.sign_in(&mut device).await.unwrap_err(), PasskeyRefusal::UnknownPasskey);
}

#[tokio::test]
async fn a_disabled_person_does_not_sign_in_and_a_session_of_the_old_epoch_cannot_be_made() {
    let (world, _, _) = World::with_admin().await;
    let (bob, mut device) = world.add_enrolled("bob@corp.example").await;
    let before = world.sign_in(&mut device).await.unwrap();
    world.people.disable_user(bob, LastAdmin::Keep).await.unwrap();
    assert_eq!(world.sign_in(&mut device).await.unwrap_err(), PasskeyRefusal::AccountDisabled);
    world.people.enable_user(bob).await.unwrap();
    assert_eq!(world.entry(bob).state, UserState::Active);
    assert!(world.sign_in(&mut device).await.unwrap().epoch > before.epoch);
}

#[tokio::test]
async fn a_step_up_with_the_passkey_of_somebody_else_is_refused() {
    let (world, mut carols, enrolled) = World::with_admin().await;
    let (_, mut bobs) = world.add_enrolled("bob@corp.example").await;
    let session = world.session(enrolled.signed_in.user);
    let mut options = world.passkeys.start_step_up(&session, page()).await.unwrap();
    options["publicKey"]["allowCredentials"] = json!([]);
    let mut answer = bobs.get(&options).await;
    let refusal = world.passkeys.finish_step_up(&session, page(), &answer.json(), HOME).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::NotYours);

    // The same with the handle left out or borrowed: the credential itself is somebody else's.
    for handle in [None, Some(carols.get(&options).await.bytes("userHandle"))] {
        let mut options = world.passkeys.start_step_up(&session, page()).await.unwrap();
        options["publicKey"]["allowCredentials"] = json!([]);
        answer = bobs.get(&options).await;
        match handle {
            None => answer.0["response"]["userHandle"] = Value::Null,
            Some(handle) => answer.set("userHandle", &handle),
        }
        let refusal = world.passkeys.finish_step_up(&session, page(), &answer.json(), HOME).await.unwrap_err();
        assert_eq!(refusal.why, PasskeyRefusal::NotYours);
    }
}

#[tokio::test]
async fn the_answer_of_a_sign_in_is_no_step_up() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let options = world.passkeys.start_sign_in(login(1)).unwrap();
    let answer = device.get(&options).await;
    let refusal = world.passkeys.finish_step_up(&session, page(), &answer.json(), HOME).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::CeremonyUnknown);
}

#[tokio::test]
async fn a_step_up_begun_in_another_session_is_refused() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let mut other = session.clone();
    other.id = model::SessionId(uuid::Uuid::from_u128(2));
    let options = world.passkeys.start_step_up(&session, page()).await.unwrap();
    let answer = device.get(&options).await;
    let refusal = world.passkeys.finish_step_up(&other, page(), &answer.json(), HOME).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::CeremonyOfAnother);
}

#[tokio::test]
async fn a_step_up_answered_on_another_page_of_the_same_session_is_refused() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let options = world.passkeys.start_step_up(&session, page()).await.unwrap();
    let answer = device.get(&options).await;
    let elsewhere = model::TokenHash::of(b"another page");
    let refusal = world.passkeys.finish_step_up(&session, elsewhere, &answer.json(), HOME).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::CeremonyOfAnother);
    world.passkeys.finish_step_up(&session, page(), &answer.json(), HOME).await.unwrap();
}

#[tokio::test]
async fn an_enrolment_under_an_old_sign_in_is_refused() {
    let (world, _, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let options = world.passkeys.start_registration(&session).await.unwrap();
    let answer = Device::default().create(&options).await;
    world.pass(FRESH_SIGN_IN.as_secs() + 1);
    let stale = PasskeyRefusal::StaleSignIn;
    assert_eq!(world.passkeys.start_registration(&session).await.unwrap_err().why, stale);
    assert_eq!(world.passkeys.finish_registration(&session, &answer.json(), "x").await.unwrap_err().why, stale);
    assert_eq!(world.passkeys.remove(&session, &enrolled.signed_in.credential).await.unwrap_err().why, stale);
}

#[tokio::test]
async fn an_enrolment_begun_in_another_session_is_refused() {
    let (world, _, enrolled) = World::with_admin().await;
    let (bob, _) = world.add_enrolled("bob@corp.example").await;
    let carols = world.session(enrolled.signed_in.user);
    let mut bobs = world.session(bob);
    bobs.id = model::SessionId(uuid::Uuid::from_u128(2));
    let options = world.passkeys.start_registration(&carols).await.unwrap();
    let answer = Device::default().create(&options).await;
    let refusal = world.passkeys.finish_registration(&bobs, &answer.json(), "x").await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::CeremonyOfAnother);
}

async fn enrolment_refused(change: impl Fn(&mut Answer)) -> PasskeyRefusal {
    let world = World::new().await;
    let link = world.links.set_up(None, "local-operator").await.unwrap();
    let carol = NewAdmin { email: "carol@corp.example".into(), name: "Carol".into() };
    let options = world.passkeys.start_enrolment(link.secret.expose(), Some(&carol)).await.unwrap();
    let mut answer = Device::default().create(&options).await;
    change(&mut answer);
    let refused = world.passkeys.finish_enrolment(link.secret.expose(), &answer.json(), "x").await;
    assert!(world.people.directory().users.is_empty(), "a refused enrolment left somebody behind");
    assert!(world.links.peek(link.secret.expose()).await.is_ok(), "a refused enrolment used up the link");
    refused.err().unwrap().why
}

#[tokio::test]
async fn an_enrolment_on_another_origin_is_refused() {
    let why = enrolment_refused(client_data("origin", json!("https://evil.example"))).await;
    assert_eq!(why, PasskeyRefusal::WrongOrigin { origin: "https://evil.example".into() });
}

#[tokio::test]
async fn a_framed_enrolment_is_refused() {
    assert_eq!(enrolment_refused(client_data("crossOrigin", json!(true))).await, PasskeyRefusal::CrossOrigin);
    let top = client_data("topOrigin", json!("https://localhost:8443"));
    assert_eq!(enrolment_refused(top).await, PasskeyRefusal::CrossOrigin);
}

#[tokio::test]
async fn a_sign_in_presented_as_an_enrolment_is_refused() {
    assert_eq!(enrolment_refused(client_data("type", json!("webauthn.get"))).await, PasskeyRefusal::WrongType);
}

#[tokio::test]
async fn an_enrolment_without_user_verification_is_refused() {
    let why = enrolment_refused(|answer| answer.change_attested_data("localhost", set_flags(UP | BE | BS))).await;
    assert_eq!(why, PasskeyRefusal::UserNotVerified);
}

#[tokio::test]
async fn an_enrolment_without_user_presence_is_refused() {
    let why = enrolment_refused(|answer| answer.change_attested_data("localhost", set_flags(UV | BE | BS))).await;
    assert_eq!(why, PasskeyRefusal::UserNotPresent);
}

#[tokio::test]
async fn an_enrolment_for_another_relying_party_is_refused() {
    let why = enrolment_refused(|answer| answer.change_attested_data("localhost", set_rp_id("evil.example"))).await;
    assert_eq!(why, PasskeyRefusal::WrongRelyingParty);
}

#[tokio::test]
async fn an_enrolment_backed_up_though_it_cannot_be_is_refused() {
    let why = enrolment_refused(|answer| answer.change_attested_data("localhost", set_flags(UP | UV | BS))).await;
    assert_eq!(why, PasskeyRefusal::BackedUpWithoutEligibility);
}

#[tokio::test]
async fn a_credential_id_beside_the_attested_one_is_refused() {
    let why = enrolment_refused(|answer| answer.0["rawId"] = json!("AAAA")).await;
    assert_eq!(why, PasskeyRefusal::Malformed { what: "credential id" });
}

#[tokio::test]
async fn a_credential_id_of_somebody_else_is_refused_and_stays_theirs() {
    let (world, _, enrolled) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(bob, "carol@corp.example", None).await.unwrap();
    let options = world.passkeys.start_enrolment(link.secret.expose(), None).await.unwrap();
    let answer = Device::default().create(&options).await;
    let mut row = world.passkey_of(enrolled.signed_in.user).await;
    row.credential_id = data_encoding::BASE64URL_NOPAD.decode(answer.0["rawId"].as_str().unwrap().as_bytes()).unwrap();
    world.store.apply(None, vec![DirectoryChange::AddPasskey(row.clone())]).await.unwrap();
    let refusal = world.passkeys.finish_enrolment(link.secret.expose(), &answer.json(), "x").await.err().unwrap();
    assert_eq!(refusal.why, PasskeyRefusal::AlreadyEnrolled);
    assert_eq!(world.store.passkey(&row.credential_id).await.unwrap().unwrap().user, enrolled.signed_in.user);
    assert_eq!(world.entry(bob).state, UserState::Invited);
}

#[tokio::test]
async fn a_passkey_is_not_enrolled_a_second_time_by_its_owner() {
    let (world, _, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let options = world.passkeys.start_registration(&session).await.unwrap();
    let answer = Device::default().create(&options).await;
    world.passkeys.finish_registration(&session, &answer.json(), "x").await.unwrap();
    let again = world.passkeys.start_registration(&session).await.unwrap();
    let mut replayed = answer.clone();
    replayed.change_client_data(|data| data["challenge"] = again["publicKey"]["challenge"].clone());
    let refusal = world.passkeys.finish_registration(&session, &replayed.json(), "x").await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::AlreadyEnrolled);
}

#[tokio::test]
async fn two_set_up_links_used_at_the_same_time_make_one_administrator() {
    let world = World::new().await;
    let (carol, _) = world.add("carol@corp.example").await;
    let (mallory, _) = world.add("mallory@corp.example").await;
    let beside = world.beside().await;
    let first = world.links.set_up(Some(carol), "local-operator").await.unwrap();
    let second = beside.links.set_up(Some(mallory), "local-operator").await.unwrap();
    // The second voided the first. As if both had been made in the same instant, the first is open again.
    let mut row = first.row.clone();
    row.id = model::InvitationId(uuid::Uuid::from_u128(9));
    let purge = DirectoryChange::PurgeLinks { before: row.expires_at + std::time::Duration::from_secs(1) };
    let both = vec![purge, DirectoryChange::PutLink(row), DirectoryChange::PutLink(second.row.clone())];
    world.store.apply(None, both).await.unwrap();

    let options = beside.passkeys.start_enrolment(second.secret.expose(), None).await.unwrap();
    let late = Device::default().create(&options).await;
    let options = world.passkeys.start_enrolment(first.secret.expose(), None).await.unwrap();
    let answer = Device::default().create(&options).await;
    world.passkeys.finish_enrolment(first.secret.expose(), &answer.json(), "x").await.unwrap();
    assert!(beside.people.needs_set_up(), "the other process has not heard of it");
    let refusal = beside.passkeys.finish_enrolment(second.secret.expose(), &late.json(), "x").await.err().unwrap();
    assert!(matches!(refusal.why, PasskeyRefusal::Link(LinkRefusal::Used { .. })), "{refusal}");
    let directory = beside.people.reload().await.unwrap();
    assert_eq!(directory.users[&mallory].state, UserState::Invited);
}

#[tokio::test]
async fn an_enrolment_with_the_challenge_of_another_link_is_refused() {
    let (world, _, _) = World::with_admin().await;
    let (alice, _) = world.add("alice@corp.example").await;
    let (bob, _) = world.add("bob@corp.example").await;
    let alices = world.links.invite(alice, "carol@corp.example", None).await.unwrap();
    let bobs = world.links.invite(bob, "carol@corp.example", None).await.unwrap();
    let options = world.passkeys.start_enrolment(alices.secret.expose(), None).await.unwrap();
    let answer = Device::default().create(&options).await;
    let refusal = world.passkeys.finish_enrolment(bobs.secret.expose(), &answer.json(), "x").await.err().unwrap();
    assert_eq!(refusal.why, PasskeyRefusal::CeremonyOfAnother);
}

#[tokio::test]
async fn two_enrolments_through_one_link_make_one_passkey() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add("bob@corp.example").await;
    let link = world.links.invite(bob, "carol@corp.example", None).await.unwrap();
    let secret = link.secret.expose();
    let first = Device::default().create(&world.passkeys.start_enrolment(secret, None).await.unwrap()).await;
    let second = Device::default().create(&world.passkeys.start_enrolment(secret, None).await.unwrap()).await;
    world.passkeys.finish_enrolment(secret, &first.json(), "x").await.unwrap();
    let refusal = world.passkeys.finish_enrolment(secret, &second.json(), "x").await.err().unwrap();
    assert!(matches!(refusal.why, PasskeyRefusal::Link(LinkRefusal::Used { .. })), "{refusal}");
    assert_eq!(world.passkeys.list(bob).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_no_answer_is_refused() {
    let (world, _, _) = World::with_admin().await;
    let long = vec![b' '; MAX_ANSWER_BYTES + 1];
    for (answer, what) in [
        (long.as_slice(), "more than 64 KiB"),
        (b"", "not a public key credential"),
        (b"{}", "not a public key credential"),
        (b"[[[[", "not a public key credential"),
    ] {
        let refusal = world.passkeys.finish_sign_in(login(1), answer, HOME).await.unwrap_err();
        assert_eq!(refusal.why, PasskeyRefusal::Malformed { what });
    }
}

#[tokio::test]
async fn a_flood_of_bad_answers_from_one_address_is_slowed_down_and_one_from_elsewhere_is_not() {
    let (world, mut device, _) = World::with_admin().await;
    let mut waits = 0;
    for _ in 0..=FREE_ADDRESS_FAILURES + 1 {
        let refusal = world.passkeys.finish_sign_in(login(1), b"{}", HOME).await.unwrap_err();
        waits += usize::from(matches!(refusal.why, PasskeyRefusal::Throttled(Throttled::Wait { .. })));
    }
    assert_eq!(waits, 1);
    let options = world.passkeys.start_sign_in(login(3)).unwrap();
    let answer = device.get(&options).await;
    let elsewhere = "198.51.100.7".parse().unwrap();
    world.passkeys.finish_sign_in(login(3), &answer.json(), elsewhere).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_begun_ceremonies_pushes_out_its_own_and_nobody_elses() {
    let (world, mut device, enrolled) = World::with_admin().await;
    let session = world.session(enrolled.signed_in.user);
    let step_up = world.passkeys.start_step_up(&session, page()).await.unwrap();
    let mine = world.passkeys.start_sign_in(login(1)).unwrap();
    let first = world.passkeys.start_sign_in(login(2)).unwrap();
    for _ in 0..MAX_PER_BINDING {
        world.passkeys.start_sign_in(login(2)).unwrap();
    }
    let answer = device.get(&first).await;
    let refusal = world.passkeys.finish_sign_in(login(2), &answer.json(), HOME).await.unwrap_err();
    assert_eq!(refusal.why, PasskeyRefusal::CeremonyUnknown);
    world.finish(&device.get(&mine).await).await.unwrap();
    let answer = device.get(&step_up).await;
    world.passkeys.finish_step_up(&session, page(), &answer.json(), HOME).await.unwrap();
}

async fn replace(world: &World, row: PasskeyRow) {
    let delete = DirectoryChange::DeletePasskey { user: row.user, credential_id: row.credential_id.clone() };
    world.store.apply(None, vec![delete, DirectoryChange::AddPasskey(row)]).await.unwrap();
}
