//! A request before and after canonicalisation.
//!
//! [`RawRequest`] is well formed and unambiguous as HTTP, but the path still stands as sent, because how it is read
//! depends on the app and the app on the host. [`RawRequest::canonicalise`] makes the one [`CanonicalRequest`].
//!
//! Invariants: private fields and no public constructor; equal requests are equal wherever their bytes stood in a
//! message; `Debug` prints no value of a header and no query.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use model::App;
use model::app::{PathSettings, Rewrite};

use crate::cookies::Credentials;
use crate::fields::{Fields, Offset};
use crate::headers;
use crate::host::CanonicalHost;
use crate::path;
use crate::refusal::{GateCode, GateRefusal};

/// How the client spoke.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HttpVersion {
    /// HTTP/1.0; every response closes the connection.
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl HttpVersion {
    /// As the record writes it: `1.0`, `1.1`, `2`.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpVersion::Http10 => "1.0",
            HttpVersion::Http11 => "1.1",
            HttpVersion::Http2 => "2",
        }
    }
}

/// How the body of a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Framing {
    /// No body.
    None,
    /// Exactly so many bytes.
    ContentLength(u64),
    /// Unknown length: chunked in HTTP/1.1, until END_STREAM in HTTP/2.
    Chunked,
}

impl Framing {
    /// True if body bytes may follow.
    pub fn has_body(self) -> bool {
        !matches!(self, Framing::None | Framing::ContentLength(0))
    }
}

/// What an app says about reading requests.
#[derive(Clone, Copy, Debug)]
pub struct GateSettings<'a> {
    /// Path form.
    pub path: &'a PathSettings,
    /// True if a route, public path or policy of the app depends on the path.
    pub has_path_rules: bool,
    /// True lets header names with characters other than letters, digits and `-` through.
    pub passes_odd_header_names: bool,
    /// True makes the method-override header of a POST the judged and forwarded method.
    pub judges_method_override: bool,
    /// More names that only we may set, lower case (GW-32).
    pub owned_names: &'a [String],
}

impl<'a> GateSettings<'a> {
    /// The settings of `app`. `policies_use_paths`: some policy may read `context.http.path` for it; the app's own
    /// routes and public paths are looked at here.
    pub fn of(app: &'a App, policies_use_paths: bool) -> Self {
        let has_scoped_route = app.routes.len() > 1 || app.routes.iter().any(|route| route.path_prefix != "/");
        Self {
            path: &app.path,
            has_path_rules: policies_use_paths || has_scoped_route || !app.public_paths.is_empty(),
            passes_odd_header_names: app.passes_odd_header_names,
            judges_method_override: app.judges_method_override,
            owned_names: &[],
        }
    }
}

/// Where in the message the parts stood, for refusals only.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Offsets {
    pub(crate) path: Offset,
    pub(crate) query: Offset,
}

/// A well-formed request whose path is not canonical yet.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRequest {
    pub(crate) version: HttpVersion,
    pub(crate) method: Bytes,
    pub(crate) host: CanonicalHost,
    pub(crate) path: Bytes,
    pub(crate) query: Option<Bytes>,
    pub(crate) fields: Fields,
    pub(crate) framing: Framing,
    pub(crate) expects_continue: bool,
    pub(crate) is_websocket: bool,
    pub(crate) accepts_trailers: bool,
    pub(crate) declared_trailers: Vec<Bytes>,
    pub(crate) wants_close: bool,
    pub(crate) offsets: Offsets,
}

impl RawRequest {
    /// The method as sent: a token, never `CONNECT` or `TRACE`, known methods in upper case.
    pub fn method(&self) -> &str {
        as_text(&self.method)
    }

    /// The host; `Host`, an absolute target and `:authority` agree on it.
    pub fn host(&self) -> &CanonicalHost {
        &self.host
    }

    /// The path as sent, without query. Not to be routed or judged on.
    pub fn raw_path(&self) -> &[u8] {
        &self.path
    }

    /// The query as sent, without `?`.
    pub fn raw_query(&self) -> Option<&[u8]> {
        self.query.as_deref()
    }

    /// Every field as sent, owned names included. Not to be judged on, but for `X-Forwarded-For` of a trusted peer.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How the body ends.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How the client spoke.
    pub fn version(&self) -> HttpVersion {
        self.version
    }

    /// True if the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// True for a well-formed upgrade to WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    /// The one form under `settings`.
    ///
    /// # Errors
    /// The first rule broken by path, query or headers: answer with the refusal and close.
    pub fn canonicalise(self, settings: &GateSettings<'_>) -> Result<CanonicalRequest, GateRefusal> {
        let normal = path::normalise(&self.path, settings.path, settings.has_path_rules)
            .map_err(|refusal| refusal.shifted(self.offsets.path.0))?;
        let normal = match normal {
            Cow::Borrowed(_) => self.path.clone(),
            Cow::Owned(normal) => Bytes::from(normal),
        };
        if let Some(query) = &self.query {
            check_query(query).map_err(|refusal| refusal.shifted(self.offsets.query.0))?;
        }
        // A server that adds trailers to the fields would take one for the other.
        if self.declared_trailers.iter().any(|name| headers::is_owned_here(name, settings)) {
            return Err(GateRefusal::new(GateCode::TrailerForbidden, 0));
        }
        let cleaned = headers::clean(self.fields, &self.method, settings)?;
        Ok(CanonicalRequest {
            version: self.version,
            method: cleaned.method_override.unwrap_or(self.method),
            host: self.host,
            match_path: fold_case(&normal, settings.path),
            original_path: normal.clone(),
            path: normal,
            query: self.query,
            fields: cleaned.fields,
            credentials: cleaned.credentials,
            framing: self.framing,
            expects_continue: self.expects_continue,
            is_websocket: self.is_websocket,
            accepts_trailers: self.accepts_trailers,
            declared_trailers: self.declared_trailers,
        })
    }
}

impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest")
            .field("method", &self.method())
            .field("host", &self.host)
            .field("path", &self.path)
            .field("fields", &self.fields)
            .field("framing", &self.framing)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The one form of a request: what is routed, judged, recorded, hashed and sent upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct CanonicalRequest {
    version: HttpVersion,
    method: Bytes,
    host: CanonicalHost,
    path: Bytes,
    original_path: Bytes,
    match_path: Option<String>,
    query: Option<Bytes>,
    fields: Fields,
    credentials: Credentials,
    framing: Framing,
    expects_continue: bool,
    is_websocket: bool,
    accepts_trailers: bool,
    declared_trailers: Vec<Bytes>,
}

impl CanonicalRequest {
    /// The method that is judged and forwarded.
    pub fn method(&self) -> &str {
        as_text(&self.method)
    }

    /// The host the client asked for.
    pub fn host(&self) -> &CanonicalHost {
        &self.host
    }

    /// The path in normal form, after any rewrite: what is judged, recorded and sent upstream.
    pub fn path(&self) -> &str {
        as_text(&self.path)
    }

    /// The path in normal form before any rewrite.
    pub fn original_path(&self) -> &str {
        as_text(&self.original_path)
    }

    /// The path that routes and rules match on: [`Self::path`], lower-cased where the upstream folds case.
    pub fn match_path(&self) -> &str {
        self.match_path.as_deref().unwrap_or_else(|| self.path())
    }

    /// The query as sent, without `?`; `Some("")` for a bare `?`. No path matcher may ever see it (ATK-16).
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref().map(as_text)
    }

    /// `path[?query]` as written upstream; what the assertion is bound to (GW-28).
    pub fn target(&self) -> String {
        let mut target =
            String::with_capacity(self.path.len() + self.query.as_ref().map_or(0, |query| query.len() + 1));
        target.push_str(self.path());
        if let Some(query) = self.query() {
            target.push('?');
            target.push_str(query);
        }
        target
    }

    /// The fields that go upstream, in order. `Host`, framing and connection fields are not among them, nor anything
    /// that only we may set.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// What the request brought for us.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// How the body ends.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How the client spoke.
    pub fn version(&self) -> HttpVersion {
        self.version
    }

    /// True if the client waits for `100 Continue`; answer it after the decision only.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// True for a well-formed upgrade to WebSocket.
    pub fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    /// True if the client takes trailers (`TE: trailers`).
    pub fn accepts_trailers(&self) -> bool {
        self.accepts_trailers
    }

    /// Names of the trailers that may follow the body, lower case.
    pub fn declared_trailers(&self) -> impl Iterator<Item = &str> {
        self.declared_trailers.iter().map(|name| as_text(name))
    }

    /// True for a real CORS preflight (Fetch §4.8): `OPTIONS` with one `Origin` and one
    /// `Access-Control-Request-Method`, and neither body nor credentials. Anything else is judged (ATK-20).
    pub fn is_preflight(&self) -> bool {
        self.method() == "OPTIONS"
            && self.framing == Framing::None
            && self.credentials == Credentials::default()
            && !self.fields.contains("cookie")
            && !self.fields.contains("authorization")
            && self.fields.single("origin").is_some_and(|origin| !origin.is_empty())
            && self.fields.single("access-control-request-method").is_some_and(|method| !method.is_empty())
    }

    /// The request after `rewrite`; to be called before the decision (GW-5). Unchanged if its prefix does not match.
    ///
    /// # Errors
    /// [`GateCode::PathRewrite`] if the new path leaves the normal form: answer 400.
    pub fn rewritten(mut self, rewrite: &Rewrite, settings: &GateSettings<'_>) -> Result<Self, GateRefusal> {
        if let Some(path) = path::rewrite(self.path(), rewrite, settings.path, settings.has_path_rules)? {
            self.path = Bytes::from(path);
            self.match_path = fold_case(&self.path, settings.path);
        }
        Ok(self)
    }

    pub(crate) fn method_bytes(&self) -> &[u8] {
        &self.method
    }

    pub(crate) fn trailer_names(&self) -> &[Bytes] {
        &self.declared_trailers
    }
}

impl fmt::Debug for CanonicalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CanonicalRequest")
            .field("method", &self.method())
            .field("host", &self.host)
            .field("path", &self.path())
            .field("fields", &self.fields)
            .field("framing", &self.framing)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The query is forwarded as sent, so it need only be what every parser reads the same.
fn check_query(query: &[u8]) -> Result<(), GateRefusal> {
    for (at, &byte) in query.iter().enumerate() {
        let code = match byte {
            b'#' => GateCode::PathFragment,
            0..=0x20 | 0x7f.. | b'"' | b'<' | b'>' => GateCode::QueryCharacter,
            _ => continue,
        };
        return Err(GateRefusal::new(code, at));
    }
    Ok(())
}

fn fold_case(path: &[u8], settings: &PathSettings) -> Option<String> {
    settings.is_case_insensitive.then(|| as_text(path).to_ascii_lowercase())
}

/// Tokens, normal paths and checked queries are ASCII by construction.
fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
