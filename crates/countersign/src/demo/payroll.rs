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

/// The positions on the list, and what they get a month.
const SALARIES: [(u32, &str, u32); 3] =
    [(1, "Platform engineer", 6_200), (2, "Head of security", 6_900), (3, "Night operator", 5_800)];

#[derive(Clone, Serialize)]
struct Salary {
    position: String,
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
    let salaries = SALARIES.iter().map(|(id, position, euros)| {
        let salary = Salary { position: (*position).to_owned(), euros: *euros };
        (*id, salary)
    });
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
                "<tr><td>{position}</td><td>{euros} €</td><td><button type=\"button\" data-id=\"{id}\" \
                 aria-label=\"Delete {position}\">Delete</button></td></tr>\n",
                position = escape(&salary.position),
                euros = salary.euros,
            )
        })
        .collect();
    let main = format!(
        "<h1>Salaries</h1>\n<table><thead><tr><th>Position</th><th>A month</th><td></td></tr></thead>\n\
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
    (StatusCode::NOT_FOUND, format!("nothing on the list has the number {id}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::sample::tests::ask;

    #[tokio::test]
    async fn a_salary_is_changed_and_deleted_once() {
        let router = router();
        assert_eq!(ask(&router, "PUT", "/salaries/2", "application/json", r#"{"euros":7000}"#).await.0, 204);
        assert!(ask(&router, "GET", "/salaries", "", "").await.1.contains("7000"));
        assert_eq!(ask(&router, "DELETE", "/salaries/2", "", "").await.0, 204);
        assert_eq!(ask(&router, "DELETE", "/salaries/2", "", "").await.0, 404);
    }

    #[tokio::test]
    async fn a_change_larger_than_the_limit_is_refused() {
        let body = format!(r#"{{"euros":7000{}}}"#, " ".repeat(MAX_BODY_BYTES));
        assert_eq!(ask(&router(), "PUT", "/salaries/2", "application/json", &body).await.0, 413);
    }
}
