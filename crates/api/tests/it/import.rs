//! People from other systems (ID-9): every format through the API, what is refused, and that nothing is written then.

mod openldap;

use http::StatusCode;
use model::record::RecordType;
use model::{UserEntry, UserState};
use pip_identity::links::Links;
use pip_identity::passwords::Setter;
use serde_json::{Value, json};

use crate::world::{Answer, World};

/// What the hashes in the examples were made of; too short for a new one.
const OLD_PASSWORD: &str = "old horse";
const DOCS: &str = include_str!("../../../../docs/people.md");

async fn import(world: &World, format: &str, text: &str, more: Value) -> Answer {
    let mut body = json!({ "name": format!("people.{format}"), "format": format, "text": text });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.local("POST", "/api/v1/users/import", &body).await
}

async fn accepted(world: &World, format: &str, text: &str) -> Value {
    let answer = import(world, format, text, json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.json()
}

fn person(world: &World, name: &str) -> UserEntry {
    (*world.control.user(&format!("{name}@example.org")).unwrap()).clone()
}

fn is_there(world: &World, name: &str) -> bool {
    world.control.user(&format!("{name}@example.org")).is_ok()
}

/// alice is invited and in `staff`, bob is disabled; nobody else came.
fn check_both(world: &World, answer: &Value, expected_bob: bool) {
    assert_eq!(answer["added"], json!(["alice@example.org", "bob@example.org"]), "{answer}");
    let (alice, bob) = (person(world, "alice"), person(world, "bob"));
    assert_eq!((alice.state, bob.state), (UserState::Invited, UserState::Disabled));
    assert!(alice.groups.iter().any(|group| group.as_str() == "staff") && bob.groups.is_empty());
    assert_eq!(bob.is_external, expected_bob);
    let created = world.recorder.of_type(RecordType::IdentityUserCreated);
    assert_eq!(created.len(), 2, "each has a record");
}

/// Whether the old password sets the pair, once, and is hashed anew by that.
async fn takes_the_old_password(world: &World, name: &str) -> bool {
    let (user, links) = (person(world, name).id, Links::new(world.control.people().clone()));
    let link = links.invite(user, "carol@corp.test", None).await.unwrap();
    let passwords = &world.accounts.passwords;
    let offer = passwords.start(Setter::Link(link.secret.expose())).await.unwrap();
    let code = world.one_time_code(&data_encoding::BASE32_NOPAD.decode(offer.base32.as_bytes()).unwrap());
    let wrong = passwords.finish_enrolment(link.secret.expose(), "new horse", &code).await;
    passwords.finish_enrolment(link.secret.expose(), OLD_PASSWORD, &code).await.is_ok() && wrong.is_err()
}

#[tokio::test]
async fn a_csv_file_is_taken_over() {
    let world = World::new().await;
    let answer = accepted(&world, "csv", include_str!("../import/people.csv")).await;
    check_both(&world, &answer, true);
    assert_eq!(
        (person(&world, "alice").name.as_str(), &answer["password_hashes"]),
        ("Alice, first of them", &json!(1))
    );
}

#[tokio::test]
async fn the_example_of_the_documentation_is_taken_over() {
    let world = World::new().await;
    let example = DOCS.split("```csv\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let answer = accepted(&world, "csv", example).await;
    assert!(answer["added"].as_array().unwrap().len() >= 2 && answer["refused"] == json!([]), "{answer}");
}

#[tokio::test]
async fn a_keycloak_realm_is_taken_over_with_passwords_and_without_passkeys_and_accounts_of_apps() {
    let world = World::new().await;
    let answer = accepted(&world, "keycloak", include_str!("../import/keycloak.json")).await;
    check_both(&world, &answer, false);
    assert_eq!((&answer["password_hashes"], &answer["passkeys_left_behind"]), (&json!(2), &json!(1)));
    assert!(takes_the_old_password(&world, "alice").await);
}

#[tokio::test]
async fn authentik_users_are_taken_over_with_the_hashes_of_its_database() {
    let world = World::new().await;
    let answer = accepted(&world, "authentik", include_str!("../import/authentik.json")).await;
    check_both(&world, &answer, true);
    assert!(takes_the_old_password(&world, "alice").await);
    let ids = json!({ "results": [{ "email": "carol@example.org", "name": "Carol", "groups": ["id"] }] }).to_string();
    let refused = import(&world, "authentik", &ids, json!({})).await;
    assert!(refused.body.contains("include_groups=true"), "groups without names are not dropped: {}", refused.body);
}

#[tokio::test]
async fn kanidm_people_are_taken_over_without_its_own_groups() {
    let world = World::new().await;
    let answer = accepted(&world, "kanidm", include_str!("../import/kanidm.json")).await;
    check_both(&world, &answer, false);
    assert_eq!(answer["passkeys_left_behind"], 2);
}

#[tokio::test]
async fn rauthy_users_are_taken_over() {
    let world = World::new().await;
    let answer = accepted(&world, "rauthy", include_str!("../import/rauthy.json")).await;
    check_both(&world, &answer, false);
    assert_eq!((&answer["password_hashes"], &answer["passkeys_left_behind"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn pages_of_scim_are_taken_over_with_their_groups() {
    let world = World::new().await;
    let answer = accepted(&world, "scim", include_str!("../import/scim.json")).await;
    check_both(&world, &answer, false);
}

/// One good row, and one of every kind that is refused.
const BAD: &str = "email,name,groups,password_hash
bob@example.org,Bob,staff,
bob@example.org,Bob again,,
alice@corp.test,Alice,,
nobody,No address,,
eve@example.org,Eve,stafff,
mal@example.org,Mal,,md5:abc
two,columns
rich@example.org,Rich,,$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$icirSFZR+8olqcdvYH4R61j6nI9WW+fL7VapKbyNCT4
";

#[tokio::test]
async fn one_bad_row_keeps_everybody_out_and_every_bad_row_is_told_by_its_line() {
    let world = World::new().await;
    for more in [json!({}), json!({ "dry_run": true }), json!({ "dry_run": true, "partial": true })] {
        let is_dry = more["dry_run"] == true;
        let answer = import(&world, "csv", BAD, more).await;
        let problems = if is_dry { answer.json()["refused"].clone() } else { answer.json()["problems"].clone() };
        assert_eq!(answer.status.is_success(), is_dry, "{}", answer.body);
        let lines: Vec<u64> = problems.as_array().unwrap().iter().map(|p| p["line"].as_u64().unwrap()).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9], "{}", answer.body);
        assert!(problems.to_string().contains("did you mean `staff`"), "{problems}");
        assert!(!is_there(&world, "bob"), "nothing is written");
    }
    assert!(world.recorder.of_type(RecordType::IdentityUserCreated).is_empty());
    let answer = import(&world, "csv", BAD, json!({ "partial": true })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(
        (&answer.json()["added"], answer.json()["refused"].as_array().unwrap().len()),
        (&json!(["bob@example.org"]), 7)
    );
    assert!(is_there(&world, "bob") && !is_there(&world, "eve"), "no half of a row");
    let again = import(&world, "csv", "email\nbob@example.org\n", json!({})).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "who is here is not touched: {}", again.body);
}

#[tokio::test]
async fn an_import_that_is_too_large_or_no_such_file_is_refused_as_a_whole() {
    let world = World::new().await;
    let many: String = (0..=api::import::MAX_ROWS).map(|n| format!("p{n}@example.org\n")).collect();
    let wide = format!("email,name\nbob@example.org,\"{}\"\n", "x".repeat(api::import::MAX_BYTES));
    let deep = "[".repeat(100_000);
    let groups: Vec<String> = (0..=api::import::MAX_GROUPS).map(|n| format!("g{n}")).collect();
    let groups = format!("email,groups\nbob@example.org,{}\n", groups.join(";"));
    let many = format!("email\n{many}");
    for (format, text) in [
        ("csv", many.as_str()),
        ("csv", &wide),
        ("csv", &groups),
        ("csv", "email\n"),
        ("keycloak", &deep),
        ("keycloak", "{\"users\": 1}"),
        ("rauthy", "[]"),
        ("ldif", "nobody"),
        ("ldif", " folded"),
        ("scim", "{\"totalResults\": 2, \"Resources\": []}"),
        ("xml", "<a/>"),
    ] {
        let answer = import(&world, format, text, json!({})).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{format}: {}", answer.body);
        assert!(!is_there(&world, "bob"));
    }
}

#[tokio::test]
async fn an_ldif_that_points_to_a_file_of_the_server_reads_none() {
    let world = World::new().await;
    let text = "dn: uid=bob\nobjectClass: person\nmail: bob@example.org\ncn:< file:///etc/hostname\n";
    let answer = import(&world, "ldif", text, json!({ "partial": true })).await;
    let told = answer.json()["refused"].clone();
    assert!(told[0]["message"].to_string().contains("never followed") && told[0]["line"] == 1, "{}", answer.body);
    assert!(!is_there(&world, "bob"));
}

#[tokio::test]
async fn hashes_stay_behind_where_that_is_asked_for() {
    let world = World::new().await;
    let text = include_str!("../import/keycloak.json");
    let answer = import(&world, "keycloak", text, json!({ "no_passwords": true })).await;
    assert_eq!(answer.json()["password_hashes"], 0);
    assert!(!takes_the_old_password(&world, "alice").await, "it is too short to be a new one");
}
