//! The sample payroll: a list of salaries; deleting or changing one is what the policies ask a fresh passkey for.
//!
//! Invariant: it serves nobody without a verified assertion ([`super::assertion`]), and knows nothing of step-up: the
//! gateway asks, the page's script follows the link in the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::assertion::Visitor;
use super::sample::{asset, escape, page};

/// The largest body.
const MAX_BODY_BYTES: usize = 4 * 1024;

/// Made-up people on the list, and what they get a month.
const SALARIES: [(u32, &str, u32); 3] = [(1, "Ada", 6_200), (2, "Grace", 6_900), (3, "Linus", 5_800)];

#[derive(Clone, Serialize)]
struct Salary {
    name: String,
    euros: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSalary {
    euros: u32,
}

/// The list.
pub struct Payroll {
    salaries: Mutex<BTreeMap<u32, Salary>>,
}

/// The payroll's routes.
pub fn router() -> Router {
    let salaries = SALARIES.iter().map(|(id, name, euros)| (*id, Salary { name: (*name).to_owned(), euros: *euros }));
    let payroll = Payroll { salaries: Mutex::new(salaries.collect()) };
    Router::new()
        .route("/", get(list))
        .route("/salaries", get(all))
        .route("/salaries/{id}", delete(remove).put(change))
        .route("/payroll.js", get(|| async { asset("text/javascript", include_str!("assets/payroll.js")) }))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(payroll))
}

impl Payroll {
    fn salaries(&self) -> MutexGuard<'_, BTreeMap<u32, Salary>> {
        self.salaries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn list(State(payroll): State<Arc<Payroll>>, Extension(visitor): Extension<Visitor>) -> Response {
    let rows: String = payroll
        .salaries()
        .iter()
        .map(|(id, salary)| {
            format!(
                "<tr><td>{name}</td><td>{euros} €</td><td><button type=\"button\" data-id=\"{id}\">Delete \
                 {name}</button></td></tr>\n",
                name = escape(&salary.name),
                euros = salary.euros,
            )
        })
        .collect();
    let main = format!(
        "<h1>Salaries</h1>\n<table><thead><tr><th>Name</th><th>A month</th><th></th></tr></thead>\n\
         <tbody>{rows}</tbody></table>\n<p id=\"message\" role=\"status\"></p>\n\
         <p class=\"quiet\">Deleting asks for your passkey. Come back and press the button again: the confirmation \
         counts for deleting in this app, for five minutes, and for nothing else.</p>"
    );
    page("Payroll", &visitor, Some("/payroll.js"), &main)
}

async fn all(State(payroll): State<Arc<Payroll>>) -> Json<BTreeMap<u32, Salary>> {
    Json(payroll.salaries().clone())
}

async fn remove(State(payroll): State<Arc<Payroll>>, Path(id): Path<u32>) -> Response {
    match payroll.salaries().remove(&id) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => not_found(id),
    }
}

async fn change(State(payroll): State<Arc<Payroll>>, Path(id): Path<u32>, Json(new): Json<NewSalary>) -> Response {
    match payroll.salaries().get_mut(&id) {
        Some(salary) => {
            salary.euros = new.euros;
            StatusCode::NO_CONTENT.into_response()
        }
        None => not_found(id),
    }
}

fn not_found(id: u32) -> Response {
    (StatusCode::NOT_FOUND, format!("nobody on the list has the number {id}\n")).into_response()
}
