//! The console over its HTTP surface: who may see and do what, forms that are not ours, text from strangers, pages and
//! filters, and acts that ask before they act.

mod acts;
mod attacks;
mod lists;
mod settings;

use std::sync::Arc;

use api::console::ROUTES;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use model::record::{AuditRecord, RecordType};
use model::seams::Durability;
use model::{AccessId, ReservedService, Session};
use serde_json::json;

use crate::world::{ALICE, APPS, AUTH, CAROL, World, action_of};

/// Somebody at the console, with what their browser keeps.
pub(crate) struct Reader<'a> {
    pub(crate) world: &'a World,
    pub(crate) session: Arc<Session>,
    companion: String,
    token: String,
}

/// An answer with its headers.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
    pub(crate) headers: http::HeaderMap,
}

impl Page {
    fn of(response: Response<Bytes>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The value of the hidden field `name`.
pub(crate) fn hidden(page: &Page, name: &str) -> String {
    let rest = page.body.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

impl<'a> Reader<'a> {
    /// Signed in, with one page opened.
    pub(crate) async fn at(world: &'a World, session: Arc<Session>) -> Self {
        let mut reader = Self { world, session, companion: String::new(), token: String::new() };
        let page = reader.get("/console/people").await;
        let cookie = page.header(header::SET_COOKIE).to_owned();
        reader.companion = cookie.split(';').next().unwrap_or_default().to_owned();
        reader.token = hidden(&page, "token");
        reader
    }

    pub(crate) async fn get(&self, target: &str) -> Page {
        self.send(Request::get(target), "").await
    }

    async fn send(&self, request: http::request::Builder, body: &str) -> Page {
        let mut request = request.body(Bytes::from(body.to_owned())).unwrap();
        if !self.companion.is_empty() && !request.headers().contains_key(header::COOKIE) {
            request.headers_mut().insert(header::COOKIE, self.companion.parse().unwrap());
        }
        let now = self.world.control.now();
        let session = model::SessionView::session(&*self.world.sessions, self.session.id, now);
        let session = session.unwrap_or_else(|| Arc::clone(&self.session));
        request.extensions_mut().insert(self.world.context(AUTH, Some(&session), Some(9)));
        Page::of(self.world.endpoints.call(request).await)
    }

    /// A form of our own page.
    pub(crate) async fn post(&self, target: &str, fields: &[(&str, &str)]) -> Page {
        let token = ("token", self.token.as_str());
        let form = form(&[&[token], fields].concat());
        self.send(own(target), &form).await
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn own(target: &str) -> http::request::Builder {
    let kind = "application/x-www-form-urlencoded";
    Request::post(target)
        .header("content-type", kind)
        .header("origin", "https://auth.test")
        .header("sec-fetch-site", "same-origin")
}

/// A record in the log itself, as a door leaves it.
pub(crate) fn put_record(world: &World, edit: impl FnOnce(&mut AuditRecord)) -> AccessId {
    use model::{Clock, Ids};
    let now = world.clock.now();
    let id = AccessId(world.ids.uuid_v7(now));
    let mut record = AuditRecord::new(RecordType::AccessDecision, id, now, "http");
    record.what.app = Some(Arc::from("wiki"));
    record.what.resource = Some(Arc::from("wiki/all"));
    record.what.action = Some("http.get");
    record.what.method = Some(Arc::from("GET"));
    record.what.url_path = Some(Arc::from("/page"));
    record.decision.effect = Some(model::Effect::Deny);
    record.decision.reason = Some(model::Reason::NotPermitted);
    record.who.subject_id = Some(ALICE);
    edit(&mut record);
    world.log.append_blocking(record, Durability::Standard).unwrap();
    id
}

/// A path for every address, with somebody real in the place of `{…}`.
fn sample(pattern: &str) -> String {
    let id = if pattern.starts_with("/console/people") { ALICE.to_string() } else { "wiki".to_owned() };
    pattern.replace("{id}", &id).replace("{name}", "wiki").replace("{list}", "people")
}

#[tokio::test]
async fn the_door_asks_the_engine_for_the_action_that_the_screen_declares() {
    let world = World::new().await;
    for route in ROUTES {
        let (action, _) = action_of(&world.control.published().apps, route.method, &sample(route.pattern));
        assert_eq!(action, route.action(), "{route:?}");
    }
}

#[tokio::test]
async fn a_person_without_rights_is_told_the_missing_right_on_every_screen_and_changes_nothing() {
    let world = World::new().await;
    let alice = Reader::at(&world, world.session(ALICE, 1)).await;
    for route in ROUTES {
        let path = sample(route.pattern);
        let page = match route.method {
            "GET" => alice.get(&path).await,
            _ => alice.post(&path, &[("user", "somebody")]).await,
        };
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{route:?}");
        assert!(page.body.contains(route.action().as_str()), "{route:?}: {}", page.body);
        assert!(!page.body.contains("carol"), "{route:?} shows somebody: {}", page.body);
    }
    assert_eq!(world.user_state(CAROL), model::UserState::Active);
}

#[tokio::test]
async fn an_administrator_sees_whole_pages_everywhere() {
    let world = World::asking(1).await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let id = put_record(&world, |_| {});
    let begin = json!({ "step": "open" });
    let begun = world.local("POST", &format!("/api/v1/users/{ALICE}/recover"), &begin).await;
    assert_eq!(begun.status, StatusCode::OK, "{}", begun.body);
    let files: Vec<_> = APPS.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    let waits = world.local("POST", "/api/v1/config/apply", &json!({ "files": files })).await.json();
    let digest = waits["proposal"]["digest"].as_str().unwrap();
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let path = match route.pattern {
            pattern if pattern.contains("{digest}") => pattern.replace("{digest}", digest),
            "/console/access/{id}" => format!("/console/access/{id}"),
            "/console/done/{id}" | "/console/access/live" => continue,
            "/console/sessions/end" => {
                world.session(ALICE, 77);
                "/console/sessions/end?user=alice@corp.test".to_owned()
            }
            pattern => sample(pattern),
        };
        let page = carol.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.body);
        assert_eq!(page.header("content-security-policy"), pages::CSP, "{path}");
        assert_eq!(page.header(header::CACHE_CONTROL), "no-store", "{path}");
        if !["/console/access/export", "/console/export/{list}"].contains(&route.pattern) {
            assert!(page.body.starts_with("<!doctype html>") && page.body.ends_with("</html>"), "{path}");
            assert_eq!(page.body.matches("<h1>").count(), 1, "{path}");
            assert!(page.body.contains("<dt>Command</dt>") && page.body.contains("<dt>API</dt>"), "{path}");
            assert!(!page.body.contains("assets/missing") && !page.body.contains("style="), "{path}");
        }
    }
}

#[tokio::test]
async fn buttons_a_person_may_not_use_are_not_there_and_their_steps_are_refused() {
    let world = World::new().await;
    let mut files: Vec<_> = APPS.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    let rule = "@id(\"look\")\npermit (principal in Group::\"staff\", action == Action::\"admin.read\", resource in App::\"countersign\");";
    files.push(json!({ "name": "viewers.cedar", "text": rule }));
    let applied = world.local("POST", "/api/v1/config/apply", &json!({ "files": files })).await;
    assert_eq!(applied.status, StatusCode::OK, "{}", applied.body);
    let carols = world.session(CAROL, 2);
    let viewer = Reader::at(&world, world.session(ALICE, 1)).await;
    for (path, absent) in [
        ("/console/people", "/console/people/invite"),
        ("/console/sessions", "/console/sessions/end"),
        (&*format!("/console/people/{CAROL}"), "disable"),
        ("/console", "/console/access"),
    ] {
        let page = viewer.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.body.contains(&format!("\"{absent}")), "{path} offers {absent}: {}", page.body);
    }
    for path in ["/console/access", "/console/access/export", "/console/sessions/end?user=carol@corp.test"] {
        assert_eq!(viewer.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let ended = viewer.post("/console/sessions/end", &[("session", &carols.id.to_string())]).await;
    assert_eq!(ended.status, StatusCode::FORBIDDEN);
    assert!(model::SessionView::session(&*world.sessions, carols.id, world.control.now()).is_some());
}

#[tokio::test]
async fn csrf_a_form_that_is_not_ours_changes_nothing_and_keeps_what_was_typed() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let other = Reader::at(&world, world.session(CAROL, 2)).await;
    let path = "/console/people/invite";
    let fields = |token: &str| form(&[("token", token), ("name", "Mallory"), ("email", "mallory@corp.test")]);
    let good = fields(&carol.token);
    let plain = || Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    let attacks = [
        ("no origin", plain(), good.clone()),
        ("origin null", plain().header("origin", "null"), good.clone()),
        ("sibling host", plain().header("origin", "https://wiki.test"), good.clone()),
        ("another port", plain().header("origin", "https://auth.test:444"), good.clone()),
        (
            "fetch site none",
            plain().header("origin", "https://auth.test").header("sec-fetch-site", "none"),
            good.clone(),
        ),
        (
            "cross site",
            plain().header("origin", "https://auth.test").header("sec-fetch-site", "cross-site"),
            good.clone(),
        ),
        ("no companion", own(path).header("cookie", "a=b"), good.clone()),
        ("companion of another session", own(path).header("cookie", other.companion.clone()), good.clone()),
        (
            "two companions",
            own(path).header("cookie", format!("{}; {}", carol.companion, other.companion)),
            good.clone(),
        ),
        ("no token", own(path), fields("")),
        ("token of another session", own(path), fields(&other.token)),
        ("the companion as token", own(path), fields(carol.companion.split_once('=').unwrap().1)),
    ];
    for (name, request, body) in attacks {
        let page = carol.send(request, &body).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}");
        assert!(page.body.contains("mallory@corp.test"), "{name}: what was typed is kept");
        assert!(world.control.published().directory.find("mallory@corp.test").is_none(), "{name}");
    }
    let made = carol.send(own(path), &good).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.body);
    assert!(world.control.published().directory.find("mallory@corp.test").is_some());
}

#[tokio::test]
async fn csrf_nothing_changes_on_get() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let session = world.session(ALICE, 2);
    let from = world.recorder.records().len();
    for path in [
        format!("/console/people/{ALICE}/disable?token={}&expected=active-1", carol.token),
        format!("/console/sessions/end?session={}&token={}&expected=1", session.id, carol.token),
        format!("/console/people/invite?token={}&name=M&email=m@corp.test", carol.token),
    ] {
        carol.get(&path).await;
    }
    assert_eq!(world.user_state(ALICE), model::UserState::Active);
    assert_eq!(world.kinds_since(from), Vec::<&str>::new());
    let companion = Reader::at(&world, world.session(CAROL, 3)).await;
    assert!(companion.companion.starts_with("__Host-countersign-console="));
}

#[tokio::test]
async fn a_form_or_a_flood_beyond_the_limits_is_refused() {
    let world = World::new().await;
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let large = format!("token={}&name={}", carol.token, "x".repeat(1 << 20));
    assert_eq!(carol.send(own("/console/people/invite"), &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let many: String = (0..201).map(|n| format!("&group={n}")).collect();
    let many = format!("token={}{many}", carol.token);
    assert_eq!(carol.send(own("/console/people/invite"), &many).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let mut statuses = Vec::new();
    for _ in 0..100 {
        statuses.push(carol.get("/console/why").await.status);
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "the clock of this test stands still");
}

#[tokio::test]
async fn stored_script_and_hidden_characters_are_text_on_every_screen() {
    const ATTACK: &str = "</title><script>alert(1)</script>\"'\u{202e}]]>";
    let world = World::new().await;
    let id = put_record(&world, |record| {
        record.what.url_path = Some(Arc::from(ATTACK));
        record.from.user_agent = Some(Arc::from(ATTACK));
        record.what.resource = Some(Arc::from(ATTACK));
        record.decision.policies = vec![Arc::from(ATTACK)];
        record.decision.reason_text = Some(Arc::from(ATTACK));
    });
    let session = model::Session {
        user_agent: ATTACK.to_owned(),
        src_net: ATTACK.to_owned(),
        ..(*world.session(ALICE, 5)).clone()
    };
    world.sessions.open(session);
    let new = json!({ "email": "m@corp.test", "name": "<script>alert(1)</script>" });
    assert_eq!(world.local("POST", "/api/v1/users", &new).await.status, StatusCode::CREATED);
    let carol = Reader::at(&world, world.session(CAROL, 1)).await;
    let typed =
        form(&[("who", ATTACK), ("app", ATTACK), ("ask", "yes"), ("since", ATTACK), ("q", ATTACK), ("user", ATTACK)]);
    let mallory = world.control.published().directory.find("m@corp.test").unwrap().id;
    let targets = [
        "/console/access".to_owned(),
        format!("/console/access?{typed}"),
        format!("/console/access/{id}"),
        format!("/console/why?{typed}"),
        format!("/console/why?request={id}"),
        "/console/people".to_owned(),
        format!("/console/people?{typed}"),
        format!("/console/people/{mallory}"),
        format!("/console/people/{ALICE}"),
        format!("/console/people/{mallory}/disable"),
        "/console/sessions".to_owned(),
        format!("/console/sessions?{typed}"),
        format!("/console/apps/wiki?after={ATTACK}").replace(['<', '>', '"', '\u{202e}', ' '], "%3C"),
        format!(
            "/console/why?{}",
            form(&[("ask", "yes"), ("who", &mallory.to_string()), ("app", "wiki"), ("path", ATTACK)])
        ),
    ];
    for target in targets {
        let page = carol.get(&target).await;
        assert!(!page.body.contains("<script>alert"), "{target}: {}", page.body);
        // What the reader typed comes back as it was, but only in their own fields.
        let outside = page.body.split("value=\"").enumerate().map(|(at, part)| match at {
            0 => part,
            _ => part.split_once('"').map_or("", |(_, rest)| rest),
        });
        let outside: String = outside.collect();
        assert!(!outside.contains('\u{202e}'), "{target}: a character that turns the reading direction");
        assert!(page.body.contains("<!doctype html>"), "{target}");
    }
}
