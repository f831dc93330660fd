//! Apps, configurations and what the process is doing.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::{Extension, Json as Answer};
use config::SourceFile;
use model::app::CONTROL_APP;
use model::remedy::Languages;
use model::{Action, App, RemedyList, Route};
use serde::Deserialize;
use serde_json::{Value, json};

use super::proposals::answer_to;
use super::versions::guard;
use crate::actor::Actor;
use crate::control::standing::{self, Standing};
use crate::control::{ControlPlane, GoLive};
use crate::failure::Failure;
use crate::http::body::Json;
use crate::http::problem::problem_lines;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilesBody {
    files: Vec<FileBody>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    allow_lockout: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBody {
    name: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainQuery {
    user: String,
    action: Option<String>,
    route: Option<String>,
}

impl FilesBody {
    pub(crate) fn sources(self) -> (Vec<SourceFile>, String) {
        let files = self.files.into_iter().map(|file| SourceFile { name: file.name, text: file.text }).collect();
        (files, self.reason)
    }
}

pub(crate) async fn check(
    State(control): State<Arc<ControlPlane>>,
    Json(body): Json<FilesBody>,
) -> Result<Answer<Value>, Failure> {
    let checked = control.check(&body.sources().0).await?;
    Ok(Answer(json!({
        "apps": checked.apps().iter().map(|app| app.name.to_string()).collect::<Vec<_>>(),
        "policies": checked.policy_count(),
        "warnings": problem_lines(&checked.warnings),
    })))
}

pub(crate) async fn apply(
    State(control): State<Arc<ControlPlane>>,
    Extension(actor): Extension<Actor>,
    Json(body): Json<FilesBody>,
) -> Result<Response, Failure> {
    let lockout = guard(body.allow_lockout);
    let (files, reason) = body.sources();
    Ok(answer_to(&control.apply(&actor, &files, GoLive { reason: &reason, lockout }).await?))
}

pub(crate) async fn apps(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    Answer(json!({ "apps": control.published().apps.iter().map(|app| view(app)).collect::<Vec<_>>() }))
}

pub(crate) async fn app(
    State(control): State<Arc<ControlPlane>>,
    Path(name): Path<String>,
) -> Result<Answer<Value>, Failure> {
    Ok(Answer(view(&*known(&control, &name)?)))
}

/// What would a person get now ([`standing::NOW`]), at the front page or at a route? Changes and records nothing but the question.
pub(crate) async fn explain(
    State(control): State<Arc<ControlPlane>>,
    Path(name): Path<String>,
    Query(query): Query<ExplainQuery>,
) -> Result<Answer<Value>, Failure> {
    let app = known(&control, &name)?;
    let user = control.user(&query.user)?;
    let action =
        query.action.as_deref().map(str::parse).transpose().map_err(|error| Failure::invalid("action", error))?;
    let route = query.route.as_deref().map(|name| route(&app, name)).transpose()?;
    let (published, now) = (control.published(), control.now());
    let question = Standing::new(&published, now).question(&user, &app, route, action);
    let mut view = view_explanation(&published.pdp.explain(&question, now), published.policies.remedies());
    if let Some(members) = view.as_object_mut() {
        members.insert("asked".to_owned(), json!(standing::NOW));
    }
    Ok(Answer(view))
}

pub(super) fn view_explanation(explanation: &model::Explanation, remedies: &RemedyList) -> Value {
    let decision = &explanation.decision;
    let policies: Vec<Value> = explanation
        .policies
        .iter()
        .map(|policy| {
            json!({
                "id": &*policy.id,
                "set": policy.set.as_str(),
                "declared_at": policy.declared_at,
                "title": policy.title,
                "determining": policy.is_determining,
                "failing_conditions": policy.failing_conditions,
                "version": policy.version,
                "facts": view_facts(&policy.facts),
                "error": policy.error,
            })
        })
        .collect();
    json!({
        "verdict": decision.effect.as_str(),
        "reason": decision.reason.audit_code(),
        "sentence": explanation.user_text,
        "failed_stages": explanation.failed_stages,
        "policies": policies,
        "unmet": view_facts(&explanation.unmet),
        "fix": decision.fix.iter().map(|fix| json!({
            "remedy": fix.remedy.as_str(), "kind": fix.remedy.kind().as_str(), "acr_values": fix.acr_values,
            "max_age": fix.max_age_secs, "facts": fix.facts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "text": remedies.text(fix.remedy, &Languages::default()), "who": remedies.who(fix.remedy).as_str(),
        })).collect::<Vec<_>>(),
        "would": decision.would.iter().map(|id| id.to_string()).collect::<Vec<_>>(),
        "hold_until": decision.hold_until,
        "read_set": decision.read_set.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "policy_hash": decision.pins.policy_hash,
        "facts_version": decision.pins.entities_version,
    })
}

fn view_facts(facts: &[model::decision::FactRead]) -> Vec<Value> {
    let view = |fact: &model::decision::FactRead| {
        json!({
            "path": fact.path, "value": fact.value, "source": fact.source, "age_secs": fact.age_secs,
            "level": fact.level,
        })
    };
    facts.iter().map(view).collect()
}

/// Who may do what, now and at best (`countersign doctor`).
pub(crate) async fn rights(State(control): State<Arc<ControlPlane>>) -> Result<Answer<Value>, Failure> {
    let rights = control.rights_at_leisure().await?;
    let apps: Vec<Value> = rights
        .apps
        .iter()
        .map(|app| {
            json!({
                "app": app.app, "readers": app.readers, "writers": app.writers, "named": app.named, "now": app.now,
            })
        })
        .collect();
    Ok(Answer(json!({
        "administrators": rights.administrators, "apps": apps, "people": rights.people, "left_out": rights.left_out,
        "facts": { "now": standing::NOW, "at_best": standing::AT_BEST },
    })))
}

pub(crate) async fn status(State(control): State<Arc<ControlPlane>>) -> Answer<Value> {
    let published = control.published();
    let now = control.now();
    Answer(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "auth_url": control.settings.auth_url,
        "config_version": published.config_version,
        "policy_hash": published.policies.policy_hash(),
        "directory_version": published.directory.version,
        // The operator's; the built-in one, with sign-in pages and console, is always there.
        "apps": published.apps.iter().filter(|app| app.name.as_str() != CONTROL_APP).count(),
        "users": published.directory.users.len(),
        "sessions": control.sessions.sessions().iter().filter(|session| !session.is_expired(now)).count(),
        "needs_set_up": control.people.needs_set_up(),
        "administrators": control.people.administrators().len(),
        "audit": super::audit::health(&control),
        "counters": control.counters(),
        "gateways": control.list_gateways().iter().map(super::gateways::view).collect::<Vec<_>>(),
    }))
}

fn known(control: &ControlPlane, name: &str) -> Result<Arc<App>, Failure> {
    let published = control.published();
    let found = published.apps.iter().find(|app| app.name.as_str() == name).cloned();
    found.ok_or_else(|| Failure::NotFound {
        message: format!("there is no app `{name}`; `countersign app list` shows all"),
    })
}

fn route<'a>(app: &'a App, name: &str) -> Result<&'a Route, Failure> {
    let found = app.routes.iter().find(|route| route.name.as_str() == name);
    found.ok_or_else(|| Failure::invalid("route", format!("the app `{}` has no route `{name}`", app.name)))
}

fn view(app: &App) -> Value {
    json!({
        "name": app.name,
        "title": app.title,
        "hosts": app.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "routes": app.routes.iter().map(|route| json!({
            "name": route.name,
            "path": route.path_prefix,
            "methods": route.methods,
            "upstream": route.upstream,
            "action": route.action.map(Action::as_str),
        })).collect::<Vec<_>>(),
        "public_paths": app.public_paths,
        "upstreams": app.upstreams.iter().map(|(name, upstream)| json!({
            "name": name,
            "targets": upstream.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "sensitivity": app.effective_sensitivity().as_str(),
        "label": app.label,
        "declared_at": app.declared_at,
    })
}
