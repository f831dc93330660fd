//! `cors` of an app or a route (GW-9, GW-10).

use std::collections::BTreeSet;

use model::app::{CrossOrigin, Preflight};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Document, http_method};
use crate::text;

/// The most origins, methods and headers of one table: all of them go into answers.
const MAX_MEMBERS: usize = 32;
/// What a preflight is answered with where the table names none.
const METHODS: &[&str] = &["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
/// Beside what needs no preflight at all (Fetch §2.2.2).
const HEADERS: &[&str] = &["content-type", "x-requested-with"];

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct CorsSpec {
    /// `https://other.example.org`, exactly; their scripts may read answers and refusals, with the person's cookies.
    ///
    /// Type: list of origins; default: none.
    #[serde(default)]
    origins: Vec<Spanned<String>>,
    /// What a preflight is answered with.
    ///
    /// Type: list of methods; default: `[DELETE, GET, HEAD, PATCH, POST, PUT]`.
    methods: Option<Vec<Spanned<String>>>,
    /// What a preflight is answered with.
    ///
    /// Type: list of header names; default: `[content-type, x-requested-with]`.
    headers: Option<Vec<Spanned<String>>>,
    /// Who answers a preflight: the gateway, or (`pass`) the app, which gets it without cookies and credentials and
    /// then answers for CORS alone.
    ///
    /// Type: `answer` or `pass`; default: `answer`, and without `origins` a refusal.
    preflight: Option<Spanned<String>>,
}

/// Builds the settings; problems are noted.
pub(super) fn build(document: &mut Document<'_>, spec: &CorsSpec) -> CrossOrigin {
    let origins = members(document, &spec.origins, text::origin);
    let preflight = spec
        .preflight
        .as_ref()
        .and_then(|word| document.word(word, &[("answer", Preflight::Door), ("pass", Preflight::App)]))
        .unwrap_or_default();
    if let (Some(word), true, Preflight::Door) = (&spec.preflight, origins.is_empty(), preflight) {
        document.refuse(word, "`preflight: answer` needs `origins`: list whose scripts may call");
    }
    CrossOrigin {
        origins,
        methods: match &spec.methods {
            Some(methods) => members(document, methods, http_method),
            None => METHODS.iter().map(|method| (*method).to_owned()).collect(),
        },
        headers: match &spec.headers {
            Some(headers) => members(document, headers, request_header),
            None => HEADERS.iter().map(|header| (*header).to_owned()).collect(),
        },
        preflight,
    }
}

fn members(
    document: &mut Document<'_>,
    list: &[Spanned<String>],
    parse: fn(&str) -> Result<String, String>,
) -> BTreeSet<String> {
    if let Some(extra) = list.get(MAX_MEMBERS) {
        document.refuse(extra, format!("at most {MAX_MEMBERS} may be listed"));
    }
    list.iter().filter_map(|member| document.parsed(member, parse)).collect()
}

fn request_header(name: &str) -> Result<String, String> {
    let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match name.to_ascii_lowercase() {
        lower if is_token && lower != "cookie" => Ok(lower),
        lower if lower == "cookie" => Err("browsers send `cookie` by themselves; leave it out".to_owned()),
        _ => Err(format!("`{name}` is not a header name")),
    }
}
