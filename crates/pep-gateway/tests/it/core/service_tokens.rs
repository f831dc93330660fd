//! Service tokens at the door (GW-52, GW-54; ATK-29): what opens, and everything that does not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::directory::SERVICE_PREFIX;
use model::record::SubjectKind;
use model::seams::{Cause, Scope};
use model::{
    AppName, Clock, Directory, Effect, LiveStreams, Principal, Reason, ServiceEntry, ServiceSecret, ServiceToken,
    ServiceTokenId, Timestamp, TokenHash,
};
use pep_gateway::{Outcome, Refusal};
use pki::jose::assertion::SubjectKind as AssertedKind;
use testkit::FakePdp;
use uuid::Uuid;

use super::world::{ALICE, World, apps, directory, judge};

const SECRET: &str = "csk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAabcdef";
const OLD: &str = "csk_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBabcdef";
const ID: ServiceTokenId = ServiceTokenId(Uuid::from_u128(0x5e41));
const LIFE: Duration = Duration::from_secs(3600);
const OVERLAP: Duration = Duration::from_secs(60);

fn machines(now: Timestamp, change: impl FnOnce(&mut ServiceEntry, &mut ServiceToken)) -> Directory {
    let mut service = ServiceEntry {
        name: Arc::from("nightly"),
        title: "Nightly export".to_owned(),
        owner: None,
        is_enabled: true,
        direct_groups: BTreeSet::new(),
        groups: Arc::from([]),
        created_at: now,
    };
    let secret = |text: &str, life: Duration| ServiceSecret {
        hash: TokenHash::of(text.as_bytes()),
        created_at: now,
        expires_at: now + life,
    };
    let mut token = ServiceToken {
        id: ID,
        service: Arc::from("nightly"),
        apps: [AppName::new("wiki")].into(),
        created_at: now,
        secrets: vec![secret(SECRET, LIFE), secret(OLD, OVERLAP)],
    };
    change(&mut service, &mut token);
    let mut people = directory();
    people.services.insert(Arc::clone(&service.name), Arc::new(service));
    people.service_tokens.insert(ID, Arc::new(token));
    people
}

/// The company's rules, and the nightly export may do anything anywhere: only its token bounds it.
fn rules(directory: &Arc<Directory>) -> FakePdp {
    let people = Arc::clone(directory);
    FakePdp::new(move |question, now| match &question.principal {
        Principal::Workload(name) => {
            assert_eq!(&**name, format!("{SERVICE_PREFIX}nightly"));
            assert!(question.session_ends.is_some());
            let auth = &question.facts.auth;
            assert!(auth.authenticated && !auth.mfa && !auth.phishing_resistant && auth.amr.is_empty());
            testkit::decision(Effect::Allow, Reason::Allow, now)
        }
        _ => judge(&people, question, now),
    })
}

fn world() -> World {
    let world = World::with(apps(), rules);
    world.publish(machines(world.clock.now(), |_, _| {}), rules);
    world
}

fn with(id: &str, secret: &str) -> String {
    format!("X-Countersign-Client-Id: {id}\nX-Countersign-Client-Secret: {secret}")
}

async fn refused(world: &World, request: &str) -> Refusal {
    let refusal = world.refused(request).await;
    for name in ["location", "set-cookie"] {
        assert!(!refusal.headers().contains_key(name), "{name} for {request:?}");
    }
    let body = String::from_utf8_lossy(refusal.body()).into_owned();
    assert!(body.starts_with('{') && !body.contains("csk_") && !body.contains("login_url"), "{body}");
    assert!(!format!("{:?}", world.last_record()).contains("csk_"), "the record names the secret");
    refusal
}

async fn is_invalid(world: &World, request: &str) {
    let refusal = refused(world, request).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (401, Reason::CredentialInvalid), "{request:?}");
    assert_eq!(refusal.headers()["www-authenticate"], "Countersign");
}

const NAVIGATION: &str =
    "GET / wiki.localhost:8443\nAccept: text/html\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document";

#[tokio::test]
async fn a_token_opens_its_app_without_cookie_or_redirect_and_is_named_to_it() {
    let world = world();
    for secret in [SECRET, OLD] {
        let permit = world.permitted(&format!("{NAVIGATION}\n{}", with(&ID.to_string(), secret))).await;
        let record = world.last_record();
        assert_eq!(record.who.subject_kind, Some(SubjectKind::Service));
        assert_eq!(record.who.subject.as_deref(), Some("service-account:nightly"));
        assert_eq!(record.credential.kind, Some("service_token"));
        assert_eq!(record.credential.id.as_deref(), Some(ID.to_string().as_str()));
        assert!(!format!("{record:?}").contains("csk_"));
        assert!(!permit.request().fields().iter().any(|field| field.name().starts_with("x-countersign-client")));
        assert!(permit.response_headers().iter().all(|(name, _)| name != "set-cookie"));
        let sent = permit.upstream_headers().iter().find(|(name, _)| name == "x-countersign-assertion");
        let token = sent.expect("an assertion").1.to_str().unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let claims: pki::jose::assertion::AssertionClaims =
            serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap()).unwrap();
        assert_eq!((claims.kind, claims.sub.as_str()), (AssertedKind::Service, "service-account:nightly"));
        assert_eq!((claims.sid, claims.email, claims.acr), (ID.to_string(), None, String::new()));
    }
}

#[tokio::test]
async fn a_token_that_is_wrong_in_any_way_gets_one_and_the_same_answer() {
    let world = world();
    let id = ID.to_string();
    let other = ServiceTokenId(Uuid::from_u128(7)).to_string();
    let nil = ServiceTokenId(Uuid::nil()).to_string();
    let torn = &SECRET[..SECRET.len() - 1];
    let requests = [
        with(&other, SECRET),
        with(&nil, SECRET),
        with(&id, torn),
        with(&id, &format!("{SECRET}A")),
        with(&id, "csk_"),
        with("nightly", SECRET),
        with("\u{e9}", SECRET),
        format!("X-Countersign-Client-Id: {id}"),
        format!("X-Countersign-Client-Secret: {SECRET}"),
        // What is kept of a secret opens nothing.
        with(&id, &data_encoding::HEXLOWER.encode(&TokenHash::of(SECRET.as_bytes()).0)),
    ];
    let mut answers = BTreeSet::new();
    for request in &requests {
        is_invalid(&world, &format!("{NAVIGATION}\n{request}")).await;
        let refusal = refused(&world, &format!("GET / wiki.localhost:8443\n{request}")).await;
        let body: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
        answers.insert(format!("{} {} {}", body["code"], body["title"], body["detail"]));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_token_of_another_app_opens_neither_this_one_nor_our_own_endpoints() {
    let world = world();
    let token = with(&ID.to_string(), SECRET);
    is_invalid(&world, &format!("GET / payroll.localhost:8443\n{token}")).await;
    is_invalid(&world, &format!("GET /api/v1/users localhost:8443\n{token}")).await;
    is_invalid(&world, &format!("GET /.countersign/me wiki.localhost:8443\n{token}")).await;
    is_invalid(&world, &format!("POST /.countersign/logout wiki.localhost:8443\n{token}")).await;
}

#[tokio::test]
async fn two_credentials_in_one_request_are_refused_whichever_is_good() {
    let world = world();
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let (id, other) = (ID.to_string(), ServiceTokenId(Uuid::from_u128(7)).to_string());
    let good = with(&id, SECRET);
    for request in [
        format!("Cookie: {cookie}\n{good}"),
        format!("Cookie: {cookie}\n{}", with(&other, SECRET)),
        format!("Cookie: {cookie}; {cookie}\n{good}"),
        format!("Cookie: __Host-countersign=\n{good}"),
        format!("{good}\nX-Countersign-Client-Secret: {SECRET}"),
        format!("{good}\nX-Countersign-Client-Id: {id}"),
        format!("X-Countersign-Client-Id: {id}\nX-Countersign-Client-Secret:"),
        format!("{good}\nAuthorization: Countersign eyJ"),
        format!("{good}\nX-Countersign-Authorization: Bearer eyJ"),
    ] {
        let refusal = refused(&world, &format!("{NAVIGATION}\n{request}")).await;
        let told = (refusal.status().as_u16(), refusal.reason());
        assert_eq!(told, (400, Reason::CredentialsAmbiguous), "{request:?}");
    }
    // Somebody else's bearer token is the app's own business.
    world.permitted(&format!("GET / wiki.localhost:8443\nAuthorization: Bearer app\n{good}")).await;
}

#[tokio::test]
async fn a_revoked_ended_or_disabled_token_is_refused_at_once() {
    let world = world();
    let now = world.clock.now();
    let request = format!("GET / wiki.localhost:8443\n{}", with(&ID.to_string(), SECRET));
    let rotated = format!("GET / wiki.localhost:8443\n{}", with(&ID.to_string(), OLD));
    world.permitted(&request).await;
    world.publish(machines(now, |service, _| service.is_enabled = false), rules);
    is_invalid(&world, &request).await;
    world.publish(machines(now, |_, token| token.apps = [AppName::new("payroll")].into()), rules);
    is_invalid(&world, &request).await;
    world.publish(directory(), rules);
    is_invalid(&world, &request).await;
    world.publish(machines(now, |_, _| {}), rules);
    world.permitted(&request).await;
    world.clock.advance(OVERLAP);
    is_invalid(&world, &rotated).await;
    world.permitted(&request).await;
    world.clock.advance(LIFE);
    is_invalid(&world, &request).await;
}

#[tokio::test]
async fn the_streams_of_a_revoked_token_are_cut_and_no_others() {
    let world = world();
    let now = world.clock.now();
    let request = format!("GET /live wiki.localhost:8443\n{}", with(&ID.to_string(), SECRET));
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let relay = |permit: Box<pep_gateway::Permit>| {
        tokio::spawn(async move {
            permit.stream().cut().await;
            drop(permit);
        })
    };
    let machine = relay(world.permitted(&request).await);
    let person = relay(world.permitted(&format!("GET /live wiki.localhost:8443\nCookie: {cookie}")).await);
    let apps = || Scope::Apps(vec![AppName::new("wiki")]);
    // The newer secret stays good when the older one goes.
    world.publish(machines(now, |_, token| token.secrets.truncate(1)), rules);
    let report = world.gateway.streams().reevaluate(apps(), Cause::FactsChanged).await;
    assert!(report.streams.is_empty() && report.examined == 2);
    world.publish(machines(now, |_, token| _ = token.secrets.remove(0)), rules);
    let report = world.gateway.streams().reevaluate(apps(), Cause::SessionRevoked).await;
    let cut: Vec<String> = report.streams.iter().map(|stream| stream.principal.to_string()).collect();
    assert_eq!(cut, ["service-account:nightly"]);
    machine.await.unwrap();
    assert!(!person.is_finished());
    person.abort();
}

#[tokio::test]
async fn a_step_up_is_never_asked_of_a_machine_and_a_refusal_is_never_a_page() {
    let world = world();
    let deny =
        |_: &Arc<Directory>| FakePdp::new(|_, now| testkit::decision(Effect::Deny, Reason::StepUpImpossible, now));
    world.publish(machines(world.clock.now(), |_, _| {}), deny);
    let token = with(&ID.to_string(), SECRET);
    let refusal = refused(&world, &format!("{NAVIGATION}\n{token}")).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (403, Reason::StepUpImpossible));
}

#[tokio::test]
async fn guessing_is_stopped_for_the_rest_of_the_minute() {
    let world = world();
    let wrong = format!("GET / wiki.localhost:8443\n{}", with(&ID.to_string(), "csk_x"));
    let right = format!("GET / wiki.localhost:8443\n{}", with(&ID.to_string(), SECRET));
    for _ in 0..pep_gateway::WRONG_PER_MINUTE {
        is_invalid(&world, &wrong).await;
    }
    let refusal = refused(&world, &right).await;
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (429, Reason::TooMany));
    world.clock.advance(Duration::from_secs(60));
    assert!(matches!(world.ask(&right).await, Outcome::Forward(_)));
}
