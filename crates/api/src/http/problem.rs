//! Failures as problem JSON (RFC 9457; with `field` and `hint`, R-13).

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;

use crate::failure::Failure;

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    file: String,
    line: u64,
    column: u64,
    severity: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What a failure looks like from outside.
fn shape(failure: &Failure) -> (StatusCode, &'static str, &'static str) {
    match failure {
        Failure::Conflict { .. } => (StatusCode::CONFLICT, "conflict", "It clashes with what is there"),
        Failure::DoneUnrecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, "done_unrecorded", "Done, but not recorded"),
        Failure::Forbidden { .. } => (StatusCode::FORBIDDEN, "denied", "Not allowed"),
        Failure::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "A value is not valid"),
        Failure::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found", "No such thing"),
        Failure::Problems(_) => (StatusCode::UNPROCESSABLE_ENTITY, "problems", "The files have errors"),
        Failure::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many", "Too many attempts"),
        Failure::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Try again"),
    }
}

/// Warnings and errors of files as JSON lines.
pub fn problem_lines(problems: &[config::Problem]) -> serde_json::Value {
    let lines: Vec<Line> = problems.iter().map(Line::of).collect();
    serde_json::to_value(lines).unwrap_or_default()
}

impl Line {
    fn of(problem: &config::Problem) -> Self {
        Self {
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            severity: match problem.severity {
                config::Severity::Error => "error",
                config::Severity::Warning => "warning",
            },
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, title) = shape(&self);
        let body = Body {
            r#type: format!("urn:countersign:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: self.to_string(),
            field: match &self {
                Failure::Invalid { field, .. } => field,
                _ => "",
            },
            problems: match &self {
                Failure::Problems(problems) => problems.0.iter().map(Line::of).collect(),
                _ => Vec::new(),
            },
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], json).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
        if let Failure::TooMany { retry_after_secs } = self {
            response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from(retry_after_secs));
        }
        response
    }
}
