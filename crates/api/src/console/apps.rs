//! Screen 4, what is protected and who can reach it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use model::app::App;
use model::{Timestamp, UserState};
use pages::console::{AppDetail, AppRow, Apps, Pair, Reach, RouteRow};

use super::reach::{Reaching, by_address};
use super::take::{self, Table};
use super::text::{badge, count, segment, shown, url};
use super::visit::Visit;
use crate::control::Published;
use crate::control::standing::{NOW, Standing};
use crate::failure::Failure;
use crate::http::portal::page;
use crate::preferences::List;

/// How many people the list asks about for each app.
const MAX_ASKED: usize = 1_000;
/// How many people an app's screen asks about at a time.
const PEOPLE: usize = 50;

pub(super) fn list(visit: &Visit<'_>) -> Response<Bytes> {
    let published = visit.published();
    let reach = counted(published, visit.now());
    let apps = by_title(published);
    let row = |app: &&Arc<App>| AppRow {
        url: format!("/console/apps/{}", segment(app.name.as_str())),
        title: shown(&app.title),
        name: app.name.to_string(),
        hosts: hosts(app),
        sensitivity: sensitivity(app),
        label: shown(&app.label),
        owner: shown(app.labels.get("owner").map_or("", String::as_str)),
        reach: reach(app),
        declared_at: shown(&app.declared_at),
    };
    let screen = Apps {
        shell: visit.shell("Apps", "GET /api/v1/apps".to_owned(), "countersign app list".to_owned()),
        columns: visit.columns(List::Apps),
        rows: apps.iter().map(row).collect(),
        exports: take::ways(List::Apps, []),
        asked: NOW,
        unlabelled: apps.iter().filter(|app| app.sensitivity.is_none()).count(),
    };
    page(StatusCode::OK, screen.render())
}

/// The same as a file has it.
pub(super) fn table(visit: &Visit<'_>) -> Table {
    let published = visit.published();
    let reach = counted(published, visit.now());
    let row = |app: &Arc<App>| {
        let sensitivity = app.sensitivity.map_or("", |given| given.as_str());
        let hosts: Vec<String> = app.hosts.iter().map(ToString::to_string).collect();
        let owner = app.labels.get("owner").cloned().unwrap_or_default();
        let [name, title] = [app.name.to_string(), app.title.clone()];
        let rest = [sensitivity.to_owned(), app.label.clone(), owner, reach(app), app.declared_at.clone()];
        [name, title, hosts.join(" ")].into_iter().chain(rest).collect()
    };
    Table {
        head: &["name", "title", "hosts", "sensitivity", "label", "owner", "get_in_now", "declared_at"],
        rows: by_title(published).into_iter().map(row).collect(),
    }
}

fn by_title(published: &Published) -> Vec<&Arc<App>> {
    let mut apps: Vec<_> = published.apps.iter().filter(|app| !app.is_control_plane()).collect();
    apps.sort_by(|a, b| a.title.cmp(&b.title));
    apps
}

/// How many people get in now, and of how many where not everybody is asked about.
fn counted(published: &Published, now: Timestamp) -> impl Fn(&App) -> String {
    let standing = Standing::new(published, now);
    let mut people = by_address(&published.directory);
    people.retain(|user| user.state == UserState::Active);
    let of = if people.len() > MAX_ASKED { format!(" of the first {MAX_ASKED}") } else { String::new() };
    people.truncate(MAX_ASKED);
    move |app| format!("{}{of}", people.iter().filter(|user| standing.gets_in(user, app)).count())
}

pub(super) fn detail(visit: &Visit<'_>) -> Response<Bytes> {
    let published = visit.published();
    let Some(app) = published.apps.iter().find(|app| app.name.as_str() == visit.captured()) else {
        let message = format!("there is no app `{}`; the list of apps shows all", visit.captured());
        return visit.failed(&Failure::NotFound { message });
    };
    let reaching = Reaching::new(published, visit.now());
    let mut people = by_address(&published.directory);
    people.retain(|user| user.state == UserState::Active);
    let total = people.len();
    let after = visit.asked("after");
    people.retain(|user| user.email.as_str() > after);
    let next = (people.len() > PEOPLE).then(|| people.get(PEOPLE - 1).map(|user| user.email.clone())).flatten();
    people.truncate(PEOPLE);
    let name = app.name.as_str();
    let path = format!("/console/apps/{}", segment(name));
    let reach = people.iter().map(|user| {
        let (effect, over) = reaching.path(user, app);
        let id = user.id.to_string();
        Reach {
            url: format!("/console/people/{id}"),
            who: shown(&user.email),
            effect: badge(Some(effect)),
            path: over,
            why_url: url("/console/why", [("ask", "yes"), ("who", id.as_str()), ("app", name)]),
        }
    });
    let screen = AppDetail {
        shell: visit.shell(
            &shown(&app.title),
            format!("GET /api/v1/apps/{name}"),
            format!("countersign app show {name}"),
        ),
        facts: facts(app),
        routes: app.routes.iter().map(route).collect(),
        upstreams: app
            .upstreams
            .iter()
            .map(|(name, upstream)| {
                let targets: Vec<String> = upstream.targets.iter().map(ToString::to_string).collect();
                Pair::plain(name.as_str(), shown(&targets.join(", ")))
            })
            .collect(),
        reach: reach.collect(),
        asked: format!("At its front page, {NOW}. {} may sign in.", count(total, "person", "people")),
        next_url: next.map(|email| url(&path, [("after", email.as_str())])),
        records_url: url("/console/access", [("app", name)]),
    };
    page(StatusCode::OK, screen.render())
}

fn facts(app: &App) -> Vec<Pair> {
    let mut facts = vec![
        Pair::plain("Name", app.name.to_string()),
        Pair::plain("Hosts", hosts(app)),
        Pair::plain("Sensitivity", sensitivity(app)),
        Pair::plain("Data label", shown(&app.label)),
        Pair::plain("Declared in", shown(&app.declared_at)),
    ];
    if !app.public_paths.is_empty() {
        let paths: Vec<&str> = app.public_paths.iter().map(String::as_str).collect();
        facts.push(Pair::plain("Open to anyone", shown(&paths.join(", "))));
    }
    facts.extend(app.labels.iter().map(|(name, value)| Pair::plain(&shown(name), shown(value))));
    facts
}

fn hosts(app: &App) -> String {
    shown(&app.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn sensitivity(app: &App) -> String {
    app.sensitivity.map_or_else(|| "none given: counts as critical".to_owned(), |given| given.as_str().to_owned())
}

fn route(route: &model::Route) -> RouteRow {
    let methods = route.methods.as_ref().map(|methods| methods.iter().cloned().collect::<Vec<_>>().join(", "));
    RouteRow {
        name: route.name.to_string(),
        path: shown(&route.path_prefix),
        methods: methods.unwrap_or_else(|| "every method".to_owned()),
        upstream: route.upstream.to_string(),
    }
}
