//! The tour's browser: cookies per host, navigations and fetches that announce themselves as browsers do (Fetch Metadata),
//! redirects followed one by one, and the scripts of our pages done by hand. Every answer is one a real browser gets.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::request::Builder;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use url::Url;

use super::https::{FrontDoor, read};
use super::passkey::Device;
use super::websocket::{End, WebSocket, accept_value, new_key};

/// How often redirects are followed.
const MAX_REDIRECTS: usize = 8;
/// Cookies one host may set.
const MAX_COOKIES: usize = 16;

/// A live connection of a page.
pub type Live = WebSocket<TokioIo<Upgraded>>;

/// One browser of one person.
pub struct Browser {
    door: FrontDoor,
    name: &'static str,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// An answer, read whole.
pub struct Answer {
    /// Where it came from.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as text.
    pub body: String,
}

impl Answer {
    /// A header as text, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The id under which the record has this access (GW-34).
    pub fn access(&self) -> String {
        access_of(&self.headers)
    }

    /// The body as JSON, null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The value of an attribute of the page, e.g. `data-begin`.
    pub fn attribute(&self, name: &str) -> Result<String> {
        let value = self.body.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        let (value, _) = value.ok_or_else(|| anyhow!("the page at {} has no `{name}`", self.url.path()))?;
        Ok(value.replace("&amp;", "&"))
    }

    fn location(&self) -> Result<Option<Url>> {
        match self.status.is_redirection() {
            true => Ok(Some(self.url.join(self.header("location")).context("a redirect to nowhere")?)),
            false => Ok(None),
        }
    }
}

/// Who began a request, as Fetch Metadata tells it.
enum Begun<'a> {
    /// The address bar, a link, a redirect.
    Navigation,
    /// A script of this page.
    Script(&'a Url),
    /// A form of this page.
    Form(&'a Url),
}

impl Browser {
    /// A new one without cookies.
    pub fn new(name: &'static str, door: FrontDoor) -> Self {
        Self { door, name, cookies: BTreeMap::new() }
    }

    /// Opens an address, without following where it leads.
    pub async fn open(&mut self, url: &Url) -> Result<Answer> {
        self.request(Method::GET, url, Begun::Navigation, None).await
    }

    /// Opens an address and follows redirects; all answers, the last one last.
    pub async fn visit(&mut self, url: &Url) -> Result<Vec<Answer>> {
        let mut answers = vec![self.open(url).await?];
        for _ in 0..MAX_REDIRECTS {
            let Some(next) = answers.last().map(Answer::location).transpose()?.flatten() else { return Ok(answers) };
            answers.push(self.open(&next).await?);
        }
        bail!("more than {MAX_REDIRECTS} redirects from {url}")
    }

    /// The page an address ends at.
    pub async fn page(&mut self, url: &Url) -> Result<Answer> {
        self.visit(url).await?.pop().ok_or_else(|| anyhow!("no answer from {url}"))
    }

    /// `fetch()` from a script of `page`.
    pub async fn fetch(&mut self, page: &Url, method: Method, target: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(|body| ("application/json", body.to_string()));
        self.request(method, &page.join(target)?, Begun::Script(page), body).await
    }

    /// Sends a form of `page`, without following where it leads.
    pub async fn submit(&mut self, page: &Url, target: &str, fields: &[(&str, &str)]) -> Result<Answer> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let body = Some(("application/x-www-form-urlencoded", form));
        self.request(Method::POST, &page.join(target)?, Begun::Form(page), body).await
    }

    /// Does what the script of a passkey page does: options, authenticator, answer. Gives the last answer and where it
    /// leads.
    pub async fn ceremony(
        &mut self,
        page: &Answer,
        device: &mut Device,
        person: Option<(&str, &str)>,
    ) -> Result<(Answer, Url)> {
        let transaction = page.attribute("data-transaction")?;
        let mut begin = json!({ "transaction": transaction });
        if let (Some((name, email)), Some(begin)) = (person, begin.as_object_mut()) {
            begin.insert("name".to_owned(), json!(name));
            begin.insert("email".to_owned(), json!(email));
        }
        let begun = self.fetch(&page.url, Method::POST, &page.attribute("data-begin")?, Some(&begin)).await?;
        let options = begun.json().get("options").cloned().ok_or_else(|| refused("options", &begun))?;
        let credential = match page.attribute("data-ceremony")?.as_str() {
            "create" => device.create(&options).await?,
            _ => device.get(&options).await?,
        };
        let finish = json!({ "transaction": transaction, "credential": credential });
        let finished = self.fetch(&page.url, Method::POST, &page.attribute("data-finish")?, Some(&finish)).await?;
        let answer = finished.json();
        let next = answer.get("next").and_then(Value::as_str).ok_or_else(|| refused("a way on", &finished))?;
        let next = page.url.join(next)?;
        Ok((finished, next))
    }

    /// Opens a WebSocket from a script of `page`. Gives the access id with it.
    pub async fn websocket(&mut self, page: &Url, target: &str) -> Result<(String, Live)> {
        let (url, key) = (page.join(target)?, new_key());
        let request = self
            .begin(Method::GET, &url)?
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header(header::ORIGIN, page.origin().ascii_serialization())
            .header("sec-fetch-mode", "websocket")
            .header("sec-fetch-dest", "empty")
            .header("sec-fetch-site", "same-origin")
            .body(Full::default())?;
        let response = self.door.send(host(&url)?, request).await?;
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(|accept| accept.as_bytes().to_vec());
        if response.status() != StatusCode::SWITCHING_PROTOCOLS
            || accept != Some(accept_value(key.as_bytes()).into_bytes())
        {
            let answer = self.take(url, response).await?;
            return Err(refused("a WebSocket", &answer));
        }
        let access = access_of(response.headers());
        let upgraded = hyper::upgrade::on(response).await?;
        Ok((access, WebSocket::new(TokioIo::new(upgraded), End::Client)))
    }

    /// `new EventSource()` from a script of `page`. Gives the access id with the open body.
    pub async fn events(&mut self, page: &Url, target: &str) -> Result<(String, Incoming)> {
        let url = page.join(target)?;
        let request = self
            .begin(Method::GET, &url)?
            .header(header::ACCEPT, "text/event-stream")
            .header("sec-fetch-mode", "cors")
            .header("sec-fetch-dest", "empty")
            .header("sec-fetch-site", "same-origin")
            .body(Full::default())?;
        let response = self.door.send(host(&url)?, request).await?;
        if response.status() != StatusCode::OK {
            let answer = self.take(url, response).await?;
            return Err(refused("an event stream", &answer));
        }
        Ok((access_of(response.headers()), response.into_body()))
    }

    async fn request(
        &mut self,
        method: Method,
        url: &Url,
        begun: Begun<'_>,
        body: Option<(&str, String)>,
    ) -> Result<Answer> {
        let is_safe = matches!(method, Method::GET | Method::HEAD);
        let mut request = self.begin(method, url)?;
        let (mode, dest, from) = match begun {
            Begun::Navigation => ("navigate", "document", None),
            Begun::Script(page) => ("cors", "empty", Some(page)),
            Begun::Form(page) => ("navigate", "document", Some(page)),
        };
        let site = if from.is_some_and(|page| page.origin() == url.origin()) { "same-origin" } else { "none" };
        request = request
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-dest", dest)
            .header("sec-fetch-site", site)
            .header(header::ACCEPT, if mode == "navigate" { "text/html,*/*;q=0.8" } else { "*/*" });
        if let Some(page) = from {
            request = request.header(header::REFERER, page.as_str());
            if !is_safe {
                request = request.header(header::ORIGIN, page.origin().ascii_serialization());
            }
        }
        let body = match body {
            Some((kind, text)) => {
                request = request.header(header::CONTENT_TYPE, kind);
                Full::new(Bytes::from(text))
            }
            None => Full::default(),
        };
        let response = self.door.send(host(url)?, request.body(body)?).await?;
        self.take(url.clone(), response).await
    }

    fn begin(&self, method: Method, url: &Url) -> Result<Builder> {
        let host = host(url)?;
        let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, self.door.authority(host))
            .header(header::USER_AGENT, format!("countersign-tour ({})", self.name));
        let cookies: Vec<String> =
            self.cookies.get(host).into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        Ok(request)
    }

    async fn take(&mut self, url: Url, response: Response<Incoming>) -> Result<Answer> {
        let (status, headers) = (response.status(), response.headers().clone());
        let jar = self.cookies.entry(host(&url)?.to_owned()).or_default();
        for cookie in headers.get_all(header::SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok()) {
            keep(jar, cookie)?;
        }
        let body = String::from_utf8_lossy(&read(response).await?).into_owned();
        Ok(Answer { url, status, headers, body })
    }
}

/// Keeps a cookie as a browser does that knows the `__Host-` prefix (RFC 6265bis §4.1.3.2); anything else is refused.
fn keep(jar: &mut BTreeMap<String, String>, cookie: &str) -> Result<()> {
    let mut parts = cookie.split(';').map(str::trim);
    let (name, value) =
        parts.next().and_then(|pair| pair.split_once('=')).ok_or_else(|| anyhow!("`{cookie}` is no cookie"))?;
    let attributes: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
    let has = |wanted: &str| attributes.iter().any(|attribute| attribute == wanted);
    let is_host_bound = has("secure") && has("path=/") && !attributes.iter().any(|a| a.starts_with("domain"));
    if name.starts_with("__Host-") && !is_host_bound {
        bail!("a browser refuses the cookie `{name}`: `__Host-` needs Secure and Path=/, and no Domain");
    }
    if has("max-age=0") {
        jar.remove(name);
    } else if jar.len() < MAX_COOKIES || jar.contains_key(name) {
        jar.insert(name.to_owned(), value.to_owned());
    }
    Ok(())
}

fn access_of(headers: &HeaderMap) -> String {
    headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
}

fn host(url: &Url) -> Result<&str> {
    url.host_str().ok_or_else(|| anyhow!("`{url}` has no host"))
}

/// What came instead of what was asked for.
fn refused(wanted: &str, answer: &Answer) -> anyhow::Error {
    let problem = answer.json();
    let detail = problem.get("detail").and_then(Value::as_str).unwrap_or(&answer.body);
    let detail: String = detail.chars().take(200).collect();
    anyhow!("{} gave no {wanted} but {}: {detail}", answer.url.path(), answer.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_cookie_with_a_domain_is_refused_as_browsers_do() {
        let mut jar = BTreeMap::new();
        assert!(keep(&mut jar, "__Host-x=1; Path=/; Secure; Domain=localhost").is_err());
        assert!(keep(&mut jar, "__Host-x=1; Path=/").is_err());
        keep(&mut jar, "__Host-x=1; Path=/; Secure").unwrap();
        assert_eq!(jar.get("__Host-x").map(String::as_str), Some("1"));
        keep(&mut jar, "__Host-x=; Path=/; Secure; Max-Age=0").unwrap();
        assert!(jar.is_empty());
    }
}
