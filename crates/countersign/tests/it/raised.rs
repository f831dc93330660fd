//! A ceremony that raises what a session proves, through a restart: a sign-in with password and code, then a confirmation
//! with the passkey, which opens what the pair alone does not.

use std::time::Duration;

use hmac::{KeyInit as _, Mac as _};
use serde_json::{Value, json};

use crate::harness::browser::{Browser, attribute, resolve};
use crate::harness::wire::Answer;
use crate::harness::{AUTH, NAVIGATION, PAYROLL, WIKI, World, email};

const PASSWORD: &str = "correct-Horse 71 battery, staple";
/// How long a one-time code lasts.
const STEP: Duration = Duration::from_secs(30);
/// Longer than the policy takes a confirmation for.
const LATER: Duration = Duration::from_secs(301);

/// The next code of the person's authenticator app (RFC 6238); each is good once.
fn code(world: &World, key: &[u8]) -> String {
    world.clock.jump(STEP);
    let step = pip_identity::totp::step_of(model::Clock::now(world.clock.as_ref()));
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(key).unwrap();
    mac.update(&step.to_be_bytes());
    let tag = mac.finalize().into_bytes();
    let at = usize::from(tag[19] & 15);
    let word = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", word % 1_000_000)
}

/// The value of the hidden field `name` of a page.
fn hidden(page: &Answer, name: &str) -> String {
    let text = page.text();
    let rest = text.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("{text}"));
    rest.split('"').next().unwrap().to_owned()
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Sets the pair on the account page; gives the key of the codes.
async fn set_pair(world: &World, person: &mut Browser) -> Vec<u8> {
    let page = person.send("GET", AUTH, "/me/password", NAVIGATION, "").await;
    let text = page.text();
    let shown = text.split("<code class=\"block\">").nth(1).and_then(|rest| rest.split('<').next());
    let key = data_encoding::BASE32_NOPAD.decode(shown.unwrap().replace(' ', "").as_bytes()).unwrap();
    let (token, digits) = (hidden(&page, "token"), code(world, &key));
    let body = form(&[("token", &token), ("password", PASSWORD), ("code", &digits)]);
    let set = person.post_form(AUTH, "/me/password", &body).await;
    assert!(set.text().contains("Password and codes are set"), "{}", set.text());
    key
}

/// Signs in with password and code, in a browser of its own that holds the passkey too.
async fn by_password(world: &World, person: &Browser, name: &str, key: &[u8]) -> Browser {
    let mut desk = Browser::new(&world.door);
    desk.device = person.device.clone();
    let page = desk.send("GET", AUTH, "/login/password", NAVIGATION, "").await;
    let (transaction, digits) = (hidden(&page, "transaction"), code(world, key));
    let (email, password) = (email(name), PASSWORD);
    let body = form(&[("transaction", &transaction), ("email", &email), ("password", password), ("code", &digits)]);
    let signed_in = desk.post_form(AUTH, "/login/password", &body).await;
    assert_eq!(signed_in.status, 303, "{}", signed_in.text());
    desk
}

/// A write to the payroll: what the app said, or the address of the confirmation it takes.
async fn write(desk: &mut Browser) -> Result<(), Value> {
    let more = format!("Origin: https://{PAYROLL}\r\n");
    let answer = desk.send("POST", PAYROLL, "/raise", &more, "x=1").await;
    match answer.status {
        200 => Ok(()),
        401 => Err(answer.json()),
        _ => panic!("{answer:?}"),
    }
}

async fn confirm(desk: &mut Browser, problem: &Value) {
    assert_eq!(problem["code"], "step_up_required", "{problem}");
    let (host, target) = resolve(AUTH, problem["fix"][0]["url"].as_str().unwrap());
    let page = desk.send("GET", &host, &target, NAVIGATION, "").await;
    assert!(page.text().contains("Confirm that it is you"), "{}", page.text());
    assert!(attribute(&page.text(), "data-transaction").is_some());
    let (host, target) = resolve(AUTH, &desk.ceremony("/step-up", &page).await);
    desk.visit(&host, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_raised_by_a_passkey_is_the_same_after_a_restart_and_its_proof_ages_on() {
    let world = World::with_passwords().await;
    let mut alice = world.person("alice", "engineering").await;
    let key = set_pair(&world, &mut alice).await;
    let mut raised = by_password(&world, &alice, "alice", &key).await;
    let mut plain = by_password(&world, &alice, "alice", &key).await;
    for desk in [&mut raised, &mut plain] {
        desk.open(PAYROLL, "/").await;
        write(desk).await.expect_err("the pair alone writes nothing");
    }
    let problem = write(&mut raised).await.unwrap_err();
    confirm(&mut raised, &problem).await;
    write(&mut raised).await.expect("confirmed");
    write(&mut plain).await.expect_err("another session of hers is raised by nothing");
    let hers = || async { world.operator.get("/api/v1/sessions").await.unwrap() };
    let before = hers().await;

    let mut world = world.restarted().await;
    for _ in 0..2 {
        write(&mut raised).await.expect("what was proven lasts through a restart");
        write(&mut plain).await.expect_err("and what was not is not there after one");
        for desk in [&mut raised, &mut plain] {
            desk.open(PAYROLL, "/").await;
            desk.open(WIKI, "/").await;
        }
        world = world.restarted().await;
    }
    let after = world.operator.get("/api/v1/sessions").await.unwrap();
    let count = |sessions: &Value| sessions["sessions"].as_array().unwrap().len();
    assert_eq!(count(&before), count(&after), "{before} {after}");

    // The proof ages through restarts as through anything else, and ends with its session.
    world.clock.jump(LATER);
    let problem = write(&mut raised).await.expect_err("five minutes are over");
    let world = world.restarted().await;
    write(&mut raised).await.expect_err("a restart makes nothing young");
    confirm(&mut raised, &problem).await;
    write(&mut raised).await.expect("confirmed afresh");
    world.operator.post("/api/v1/sessions/revoke", &json!({ "user": email("alice") })).await.unwrap();
    let world = world.restarted().await;
    let refused = raised.send("GET", PAYROLL, "/", "", "").await;
    assert_eq!(refused.status, 401, "{refused:?}");
    drop(world);
    println!("restart: a session raised by a passkey kept its level through 4 restarts, aged, and stayed ended");
}
