//! Scripts of other origins: preflights and cross-site writes (GW-10, GW-48; ATK-20).

use std::sync::Arc;

use model::app::{App, CrossOrigin, Preflight};
use model::{Effect, Reason};
use pep_gateway::enforce::Outcome;
use pep_gateway::refusal::Refusal;

use super::world::{ALICE, World, app, apps, body, header, route, rules};

const EDITOR: &str = "https://editor.localhost:8443";

fn preflight(path: &str, origin: &str, method: &str) -> String {
    format!("OPTIONS {path} wiki.localhost:8443\nOrigin: {origin}\nAccess-Control-Request-Method: {method}")
}

fn with_wiki(change: impl FnOnce(&mut App)) -> World {
    let mut wiki = app("wiki", &["wiki.localhost"]);
    change(&mut wiki);
    let mut all = apps();
    all[0] = wiki;
    World::with(all, |directory| rules(Arc::clone(directory)))
}

async fn answered(world: &World, request: &str) -> Refusal {
    let Outcome::Preflight(answer) = world.ask(request).await else { panic!("not answered by the door: {request:?}") };
    answer
}

fn told(refusal: &Refusal) -> (u16, Option<&str>, Option<&str>) {
    let status = refusal.status().as_u16();
    (status, header(refusal, "access-control-allow-origin"), header(refusal, "access-control-allow-credentials"))
}

#[tokio::test]
async fn a_preflight_of_a_listed_origin_is_answered_by_the_door_and_recorded_as_public() {
    let world = World::new();
    let answer = answered(&world, &preflight("/pages/1", EDITOR, "PUT")).await;
    assert_eq!(told(&answer), (204, Some(EDITOR), Some("true")));
    assert_eq!(header(&answer, "access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(header(&answer, "access-control-allow-headers"), Some("x-draft"));
    assert_eq!(header(&answer, "access-control-max-age"), Some("600"));
    assert_eq!(header(&answer, "vary"), Some("Origin"));
    assert_eq!(header(&answer, "set-cookie"), None);
    let record = world.last_record();
    assert_eq!((record.decision.effect, record.decision.reason), (Some(Effect::Allow), Some(Reason::AllowPublic)));
    assert_eq!(record.what.app.as_deref(), Some("wiki"));
}

#[tokio::test]
async fn a_preflight_of_any_other_origin_is_refused_and_named_nowhere() {
    let world = World::new();
    for origin in ["https://evil.test", "null", "https://editor.localhost:8443.evil.test", "https://editor.localhost"] {
        let refusal = world.refused(&preflight("/pages/1", origin, "PUT")).await;
        assert_eq!(told(&refusal), (403, None, None), "{origin}");
        assert_eq!(refusal.reason(), Reason::OriginRefused, "{origin}");
        assert!(!body(&refusal).contains("evil"), "{origin}");
    }
}

#[tokio::test]
async fn without_a_setting_a_preflight_is_refused_with_the_name_of_the_setting() {
    let world = with_wiki(|_| ());
    let refusal = world.refused(&preflight("/", EDITOR, "PUT")).await;
    assert_eq!(told(&refusal), (403, None, None));
    assert!(body(&refusal).contains("`cors.origins`") && body(&refusal).contains("`cors.preflight: pass`"));
}

#[tokio::test]
async fn an_app_that_answers_preflights_itself_gets_them_without_anybody_s_name() {
    let world = with_wiki(|wiki| {
        wiki.cors = Arc::new(CrossOrigin { preflight: Preflight::App, ..CrossOrigin::default() });
    });
    let permit = world.permitted(&preflight("/pages/1", "https://anywhere.test", "PUT")).await;
    assert!(!permit.upstream_headers().iter().any(|(name, _)| name == "x-countersign-assertion"));
    assert_eq!(world.last_record().decision.reason, Some(Reason::AllowPublic));
}

#[tokio::test]
async fn atk_20_options_that_is_no_true_preflight_is_judged_like_every_request() {
    let world = with_wiki(|wiki| {
        wiki.cors = Arc::new(CrossOrigin { preflight: Preflight::App, ..CrossOrigin::default() });
    });
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let origin = format!("Origin: {EDITOR}");
    let asks = "Access-Control-Request-Method: PUT";
    for headers in [
        origin.clone(),
        asks.to_owned(),
        format!("{origin}\n{asks}\nContent-Length: 3"),
        format!("{origin}\n{asks}\nCookie: theme=dark"),
        format!("{origin}\n{asks}\nAuthorization: Basic eDp5"),
    ] {
        let refusal = world.refused(&format!("OPTIONS /pages/1 wiki.localhost:8443\n{headers}")).await;
        assert_eq!(refusal.reason(), Reason::LoginRequired, "{headers:?}");
    }
    // Somebody who is signed in is judged as themselves.
    let asked = format!("OPTIONS /pages/1 wiki.localhost:8443\n{origin}\n{asks}\nCookie: {cookie}");
    let Outcome::Forward(permit) = world.ask(&asked).await else { panic!("alice may use the wiki") };
    assert!(permit.upstream_headers().iter().any(|(name, _)| name == "x-countersign-assertion"));
}

#[tokio::test]
async fn a_preflight_is_answered_for_the_route_it_asks_for() {
    let world = with_wiki(|wiki| {
        let writes = Arc::new(CrossOrigin { origins: [EDITOR.to_owned()].into(), ..CrossOrigin::default() });
        let mut api = route("api", "/api");
        api.methods = Some(["PUT".to_owned()].into());
        api.cors = Some(writes);
        wiki.routes.insert(0, api);
    });
    assert_eq!(told(&answered(&world, &preflight("/api/1", EDITOR, "PUT")).await), (204, Some(EDITOR), Some("true")));
    // No route takes a DELETE there, and nobody is told so.
    assert_eq!(world.refused(&preflight("/api/1", EDITOR, "DELETE")).await.reason(), Reason::LoginRequired);
    assert_eq!(told(&world.refused(&preflight("/other", EDITOR, "PUT")).await), (403, None, None));
}

#[tokio::test]
async fn preflights_open_nothing_of_our_own() {
    let world = World::new();
    for path in ["/.countersign/session", "/.countersign/nothing"] {
        let outcome = world.ask(&preflight(path, EDITOR, "POST")).await;
        assert!(!matches!(outcome, Outcome::Preflight(_) | Outcome::Forward(_)), "{path}");
    }
    let asked = format!("OPTIONS /api/v1/users localhost:8443\nOrigin: {EDITOR}\nAccess-Control-Request-Method: POST");
    assert_eq!(world.refused(&asked).await.reason(), Reason::LoginRequired);
}

#[tokio::test]
async fn a_route_says_for_itself_whether_cross_site_writes_are_refused() {
    let world = with_wiki(|wiki| {
        let mut forms = route("forms", "/forms");
        forms.refuses_cross_site_writes = Some(true);
        wiki.routes.insert(0, forms);
    });
    let (_, cookie) = world.sign_in(ALICE, "wiki.localhost");
    let foreign = "Origin: https://evil.test\nSec-Fetch-Site: cross-site";
    let write = |path: &str| format!("POST {path} wiki.localhost:8443\nCookie: {cookie}\n{foreign}");
    assert_eq!(world.refused(&write("/forms/1")).await.reason(), Reason::OriginRefused);
    assert!(matches!(world.ask(&write("/other")).await, Outcome::Forward(_)));
}
