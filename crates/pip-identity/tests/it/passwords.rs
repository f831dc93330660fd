//! Password and one-time codes (ID-11, ID-14, ID-15): always together, once per code, and never a word to strangers.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use model::{TokenHash, UserId};
use pip_identity::blocklist::Weakness;
use pip_identity::passwords::{ACR_PAIR, MAX_CODE_FAILURES, PairRefusal, Second, Setter};
use pip_identity::people::LastAdmin;
use pip_identity::store::{DirectoryChange, DirectoryStore, PasswordRow};
use pip_identity::throttle::Throttled;

use crate::world::{HOME, World};

pub const BOB: &str = "bob@corp.example";
pub const GOOD: &str = "ferry lantern quartz mild";

/// An authenticator app of its own: RFC 6238 written a second time.
pub struct App(Vec<u8>);

impl App {
    pub fn scan(base32: &str) -> Self {
        App(BASE32_NOPAD.decode(base32.as_bytes()).unwrap())
    }

    pub fn code(&self, world: &World) -> String {
        let step = u64::try_from(world.now().unix_secs()).unwrap() / 30;
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(&self.0).unwrap();
        mac.update(&step.to_be_bytes());
        let tag = mac.finalize().into_bytes();
        let at = usize::from(tag[19] & 15);
        let word = u32::from_be_bytes(tag[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", word % 1_000_000)
    }
}

/// bob with a passkey and a pair, half a minute later.
pub async fn with_pair() -> (World, UserId, App) {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add_enrolled(BOB).await;
    let session = world.session(bob);
    let passwords = &world.accounts.passwords;
    let offer = passwords.start(Setter::Session(&session)).await.unwrap();
    let app = App::scan(&offer.base32);
    passwords.finish(&session, GOOD, &app.code(&world)).await.unwrap();
    world.pass(30);
    (world, bob, app)
}

async fn sign_in(world: &World, email: &str, password: &str, code: &str) -> Result<UserId, PairRefusal> {
    let signed_in = world.accounts.passwords.sign_in(email, password, Second::Code(code), HOME, None).await;
    signed_in.map(|signed_in| signed_in.user).map_err(|failure| failure.why)
}

#[tokio::test]
async fn both_together_sign_in_at_their_own_level() {
    let (world, bob, app) = with_pair().await;
    let signed_in = world
        .accounts
        .passwords
        .sign_in(" BOB@corp.example", GOOD, Second::Code(&app.code(&world)), HOME, None)
        .await
        .unwrap();
    assert_eq!(signed_in.user, bob);
    let proof = signed_in.proof();
    assert_eq!(proof.acr, ACR_PAIR);
    assert_eq!(proof.amr.iter().map(String::as_str).collect::<Vec<_>>(), ["mfa", "otp", "pwd"]);
    assert!(proof.is_mfa && !proof.is_phishing_resistant && proof.credential.is_empty());
}

#[tokio::test]
async fn a_code_is_good_once_the_one_that_enrolled_it_included() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add_enrolled(BOB).await;
    let session = world.session(bob);
    let offer = world.accounts.passwords.start(Setter::Session(&session)).await.unwrap();
    let app = App::scan(&offer.base32);
    let first = app.code(&world);
    world.accounts.passwords.finish(&session, GOOD, &first).await.unwrap();
    assert_eq!(sign_in(&world, BOB, GOOD, &first).await, Err(PairRefusal::Wrong));
    world.pass(30);
    let second = app.code(&world);
    let passwords = &world.accounts.passwords;
    let (one, two) = tokio::join!(
        passwords.sign_in(BOB, GOOD, Second::Code(&second), HOME, None),
        passwords.sign_in(BOB, GOOD, Second::Code(&second), HOME, None)
    );
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1, "replayed at the same time");
    assert_eq!(sign_in(&world, BOB, GOOD, &second).await, Err(PairRefusal::Wrong), "replayed");
}

#[tokio::test]
async fn whatever_is_wrong_is_refused_alike() {
    let (world, bob, app) = with_pair().await;
    world.add_enrolled("alice@corp.example").await;
    let code = app.code(&world);
    for (email, password, code) in [
        (BOB, "another password entirely", code.as_str()),
        (BOB, GOOD, "000000"),
        (BOB, GOOD, ""),
        (BOB, "", code.as_str()),
        ("alice@corp.example", GOOD, code.as_str()),
        ("nobody@corp.example", GOOD, code.as_str()),
    ] {
        world.pass(1);
        assert_eq!(sign_in(&world, email, password, code).await, Err(PairRefusal::Wrong), "{email}");
        world.pass(3_600);
    }
    world.people.disable_user(bob, LastAdmin::Keep).await.unwrap();
    assert_eq!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Err(PairRefusal::Wrong));
}

#[tokio::test]
async fn ten_wrong_codes_ask_for_another_factor_and_a_stranger_without_the_password_causes_none() {
    let (world, bob, app) = with_pair().await;
    for _ in 0..MAX_CODE_FAILURES * 2 {
        sign_in(&world, BOB, "another password entirely", "000000").await.unwrap_err();
        world.pass(900);
    }
    let view = world.accounts.passwords.view(bob).await.unwrap().unwrap();
    assert!(!view.is_locked);
    for _ in 0..MAX_CODE_FAILURES {
        assert_eq!(sign_in(&world, BOB, GOOD, "000000").await, Err(PairRefusal::Wrong));
        world.pass(900);
    }
    assert!(world.accounts.passwords.view(bob).await.unwrap().unwrap().is_locked);
    assert_eq!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Err(PairRefusal::Wrong), "the good one too");
    world.store.apply(None, vec![DirectoryChange::ClearTotpFailures(bob)]).await.unwrap();
    world.pass(900);
    assert_eq!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Ok(bob));
}

#[tokio::test]
async fn a_sign_in_with_the_passkey_opens_one_time_codes_that_were_closed() {
    let (world, _, _) = World::with_admin().await;
    let (bob, mut device) = world.add_enrolled(BOB).await;
    let session = world.session(bob);
    let passwords = &world.accounts.passwords;
    let offer = passwords.start(Setter::Session(&session)).await.unwrap();
    let app = App::scan(&offer.base32);
    passwords.finish(&session, GOOD, &app.code(&world)).await.unwrap();
    for _ in 0..MAX_CODE_FAILURES {
        world.pass(900);
        assert_eq!(sign_in(&world, BOB, GOOD, "000000").await, Err(PairRefusal::Wrong));
    }
    world.pass(900);
    assert_eq!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Err(PairRefusal::Wrong));
    assert!(passwords.view(bob).await.unwrap().unwrap().is_locked);
    world.sign_in(&mut device).await.unwrap();
    assert!(!passwords.view(bob).await.unwrap().unwrap().is_locked);
    world.pass(900);
    assert_eq!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Ok(bob));
}

#[tokio::test]
async fn a_known_browser_signs_in_while_strangers_guess() {
    let (world, bob, app) = with_pair().await;
    let browser = Some(TokenHash::of(b"browser"));
    let passwords = &world.accounts.passwords;
    passwords.sign_in(BOB, GOOD, Second::Code(&app.code(&world)), HOME, browser).await.unwrap();
    world.pass(30);
    while !matches!(sign_in(&world, BOB, "guess", "000000").await, Err(PairRefusal::Throttled(Throttled::Wait { .. })))
    {
    }
    assert!(matches!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Err(PairRefusal::Throttled(_))));
    let signed_in = passwords.sign_in(BOB, GOOD, Second::Code(&app.code(&world)), HOME, browser).await.unwrap();
    assert_eq!(signed_in.user, bob);
}

#[tokio::test]
async fn neither_is_set_without_the_other_nor_without_a_first_code() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add_enrolled(BOB).await;
    let session = world.session(bob);
    let passwords = &world.accounts.passwords;
    assert_eq!(passwords.finish(&session, GOOD, "123456").await, Err(PairRefusal::StartOver));
    let offer = passwords.start(Setter::Session(&session)).await.unwrap();
    let app = App::scan(&offer.base32);
    let code = app.code(&world);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(passwords.finish(&session, GOOD, wrong).await, Err(PairRefusal::WrongCode));
    for (password, refusal) in [
        ("short", PairRefusal::TooShort { min: 15 }),
        ("passwordpassword", PairRefusal::Weak(Weakness::Repeated)),
        ("bob-corp-example-bob", PairRefusal::Weak(Weakness::Names)),
    ] {
        assert_eq!(passwords.finish(&session, password, &code).await, Err(refusal), "{password}");
    }
    assert_eq!(passwords.finish(&session, &"x y".repeat(100), &code).await, Err(PairRefusal::TooLong));
    assert_eq!(passwords.view(bob).await.unwrap(), None);
    passwords.finish(&session, GOOD, &code).await.unwrap();
    assert!(passwords.view(bob).await.unwrap().is_some());
    let kept = world.store.factors_of(bob).await.unwrap().totp.unwrap().sealed;
    assert!(!kept.windows(app.0.len()).any(|part| part == app.0), "the secret lies open");
}

#[tokio::test]
async fn administrators_need_a_passkey() {
    let (world, _, carol) = World::with_admin().await;
    let session = world.session(carol.signed_in.user);
    let refusal = world.accounts.passwords.start(Setter::Session(&session)).await.err();
    assert_eq!(refusal, Some(PairRefusal::AdminsNeedPasskey), "codes not saved yet");
    world.people.codes_saved(carol.signed_in.user).await.unwrap();
    let refusal = world.accounts.passwords.start(Setter::Session(&session)).await.err();
    assert_eq!(refusal, Some(PairRefusal::AdminsNeedPasskey));
    // Somebody who had a pair before they became one.
    let (world, bob, app) = with_pair().await;
    world.people.add_member(&model::GroupId::new("admins"), bob).await.unwrap();
    assert_eq!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Err(PairRefusal::AdminsNeedPasskey));
}

#[tokio::test]
async fn a_password_of_another_system_is_taken_over_and_hashed_anew() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add_enrolled(BOB).await;
    let theirs = bcrypt::hash("old short", 4).unwrap();
    let row = PasswordRow { user: bob, hash: theirs.clone(), set_at: world.now() };
    world.store.apply(None, vec![DirectoryChange::PutPassword { row, was: None }]).await.unwrap();
    assert_eq!(sign_in(&world, BOB, "old short", "000000").await, Err(PairRefusal::Wrong), "no password alone");
    let session = world.session(bob);
    let offer = world.accounts.passwords.start(Setter::Session(&session)).await.unwrap();
    let app = App::scan(&offer.base32);
    world.accounts.passwords.finish(&session, "old short", &app.code(&world)).await.unwrap();
    let kept = world.store.factors_of(bob).await.unwrap().password.unwrap().hash;
    assert!(kept.starts_with("$argon2id$"), "{kept}");
    world.pass(30);
    assert_eq!(sign_in(&world, BOB, "old short", &app.code(&world)).await, Ok(bob));
}

#[tokio::test]
async fn an_invitation_is_enough_for_somebody_without_a_passkey() {
    let (world, _, _) = World::with_admin().await;
    let (bob, _) = world.add(BOB).await;
    let link = world.links.invite(bob, "carol@corp.example", None).await.unwrap();
    let secret = link.secret.expose();
    let offer = world.accounts.passwords.start(Setter::Link(secret)).await.unwrap();
    let app = App::scan(&offer.base32);
    let enrolled = world.accounts.passwords.finish_enrolment(secret, GOOD, &app.code(&world)).await.unwrap();
    assert_eq!((enrolled.signed_in.user, enrolled.recovery_codes.len()), (bob, 10));
    world.pass(30);
    assert_eq!(sign_in(&world, BOB, GOOD, &app.code(&world)).await, Ok(bob));
    assert!(world.accounts.passwords.start(Setter::Link(secret)).await.is_err(), "used");
}
