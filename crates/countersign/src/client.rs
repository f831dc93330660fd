//! The command line's side of the control socket: plain HTTP/1.1 over a Unix socket to the API.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::cli::Global;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const ANSWER_BYTES: usize = 64 << 20;

/// Where sockets are looked for, in this order, when none is named.
const PLACES: &[&str] = &["/run/countersign/control.sock", "data/control.sock", "/var/lib/countersign/control.sock"];

/// A refusal by the server, in its words.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    problem: Value,
}

impl ApiError {
    /// 2 for input that was not understood, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        if self.status == StatusCode::UNPROCESSABLE_ENTITY || self.status == StatusCode::BAD_REQUEST { 2 } else { 1 }
    }

    /// The problems of files, one line each.
    fn problems(&self) -> Vec<String> {
        let lines = self.problem.get("problems").and_then(Value::as_array).cloned().unwrap_or_default();
        lines.iter().map(problem_line).collect()
    }
}

/// One problem of a file as compilers print it.
pub fn problem_line(problem: &Value) -> String {
    let member = |name: &str| crate::output::text(problem, name);
    let mut line = member("file");
    for place in ["line", "column"] {
        if !matches!(member(place).as_str(), "0" | "") {
            line.push_str(&format!(":{}", member(place)));
        }
    }
    line.push_str(&format!(": {}: {}", member("severity"), member("message")));
    let hint = member("hint");
    if !hint.is_empty() {
        line.push_str(&format!("\n  help: {hint}"));
    }
    line
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = crate::output::text(&self.problem, "detail");
        let problems = self.problems();
        if !problems.is_empty() {
            return write!(f, "{detail}\n{}", problems.join("\n"));
        }
        match (detail.is_empty(), crate::output::text(&self.problem, "field")) {
            (true, _) => write!(f, "the server answered {}", self.status),
            (false, field) if field.is_empty() || detail.contains(&field) => f.write_str(&detail),
            (false, field) => write!(f, "{field}: {detail}"),
        }
    }
}

impl std::error::Error for ApiError {}

/// A server to talk to.
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The server named on the command line, or the one found in the usual places.
    ///
    /// # Errors
    /// No socket is found.
    pub fn find(global: &Global) -> Result<Self> {
        if let Some(socket) = &global.socket {
            return Ok(Self { socket: socket.clone() });
        }
        let found = PLACES.iter().map(Path::new).find(|place| place.exists());
        let socket = found.ok_or_else(|| {
            anyhow!(
                "no running server was found at {}; start one with `countersign serve`, run this in the folder it was started in, \
                 or name its socket with `--socket PATH`",
                PLACES.join(", ")
            )
        })?;
        Ok(Self { socket: socket.to_owned() })
    }

    /// A server by its socket.
    #[cfg(feature = "demo")]
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// GET with a query.
    pub async fn get_with(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let encoded: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.get(&format!("{path}?{encoded}")).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT without a body.
    pub async fn put(&self, path: &str) -> Result<Value> {
        self.call(Method::PUT, path, None).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        tokio::time::timeout(CALL_LIMIT, self.exchange(method, path, body)).await.map_err(|_| {
            anyhow!("the server at `{}` did not answer within {} s", self.socket.display(), CALL_LIMIT.as_secs())
        })?
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let stream = UnixStream::connect(&self.socket).await.with_context(|| {
            format!("no server answers on `{}`; start one with `countersign serve`", self.socket.display())
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(bytes)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let answer = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| anyhow!("the answer could not be read: {error}"))?
            .to_bytes();
        let value: Value =
            if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).unwrap_or(Value::Null) };
        if status.is_success() { Ok(value) } else { Err(ApiError { status, problem: value }.into()) }
    }
}

/// A path segment with everything escaped that could end it.
pub fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
