//! As much of a browser as signing in takes: cookies per host, redirects, and a passkey.

use std::collections::BTreeMap;

use countersign::demo::passkey::Device;
use serde_json::{Value, json};

use super::wire::{Answer, Door};
use super::{AUTH, ISSUER, NAVIGATION, request};

/// More redirects than any journey has.
const MAX_REDIRECTS: usize = 8;
pub(crate) const SESSION: &str = "__Host-countersign";
pub(crate) const LOGIN: &str = "__Host-countersign-login";

/// Somebody's browser.
#[derive(Clone)]
pub(crate) struct Browser {
    door: Door,
    /// Hosts that are somewhere else.
    elsewhere: BTreeMap<String, Door>,
    jars: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) device: Device,
}

impl Browser {
    pub(crate) fn new(door: &Door) -> Self {
        Self {
            door: door.clone(),
            elsewhere: BTreeMap::new(),
            jars: BTreeMap::new(),
            device: Device::new(ISSUER).unwrap(),
        }
    }

    /// From now on `host` is at another door.
    pub(crate) fn lead(&mut self, host: &str, door: &Door) {
        self.elsewhere.insert(host.to_owned(), door.clone());
    }

    /// The `Cookie` header for `host`.
    pub(crate) fn cookies(&self, host: &str) -> String {
        let jar = self.jars.get(host).into_iter().flatten();
        jar.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, host: &str, name: &str) -> Option<String> {
        self.jars.get(host).and_then(|jar| jar.get(name)).cloned()
    }

    /// Plants a cookie, as a sibling host or a thief could.
    pub(crate) fn plant(&mut self, host: &str, name: &str, value: &str) {
        self.jars.entry(host.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
    }

    /// Every cookie value it ever holds now.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.jars.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// One request, cookies sent and kept; no redirect is followed.
    pub(crate) async fn send(&mut self, method: &str, host: &str, target: &str, more: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = request(method, host, target, &self.cookies(host), &format!("{more}{length}"));
        let mut wire = self.elsewhere.get(host).unwrap_or(&self.door).http1().await;
        wire.send(head + body).await;
        let answer = wire.answer().await;
        self.keep(host, &answer);
        answer
    }

    pub(crate) async fn fetch(&mut self, host: &str, target: &str) -> Answer {
        self.send("GET", host, target, "", "").await
    }

    /// A form of the host's own page.
    pub(crate) async fn post_form(&mut self, host: &str, target: &str, form: &str) -> Answer {
        let more = format!("{NAVIGATION}Origin: https://{host}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        self.send("POST", host, target, &more, form).await
    }

    /// A script of the auth host's own page.
    pub(crate) async fn post_json(&mut self, target: &str, body: &Value) -> Answer {
        let more = format!("Origin: https://{AUTH}\r\nContent-Type: application/json\r\n");
        self.send("POST", AUTH, target, &more, &body.to_string()).await
    }

    /// A navigation with every redirect followed. Gives the last host and target too.
    pub(crate) async fn visit(&mut self, host: &str, target: &str) -> (String, String, Answer) {
        let (mut host, mut target) = (host.to_owned(), target.to_owned());
        for _ in 0..MAX_REDIRECTS {
            let answer = self.send("GET", &host, &target, NAVIGATION, "").await;
            let Some(location) = answer.header("location").map(str::to_owned) else { return (host, target, answer) };
            (host, target) = resolve(&host, &location);
        }
        panic!("round and round, last to {host}{target}");
    }

    /// Opens a set-up link or an invitation and makes a passkey.
    pub(crate) async fn enrol(&mut self, url: &str, person: Value) {
        let (host, target) = resolve(AUTH, url);
        let page = self.send("GET", &host, &target, NAVIGATION, "").await;
        assert_eq!(page.status, 200, "{}", page.text());
        let code = url.split("code=").nth(1).unwrap();
        let mut begin = json!({ "transaction": code });
        begin.as_object_mut().unwrap().extend(person.as_object().unwrap().clone());
        let options = self.post_json("/enrol/begin", &begin).await.json();
        let credential = self.device.create(&options["options"]).await.unwrap();
        let finish = json!({ "transaction": code, "credential": credential });
        let done = self.post_json("/enrol/finish", &finish).await;
        assert_eq!(done.status, 200, "{}", done.text());
        let codes = self.send("GET", AUTH, "/enrol/codes", NAVIGATION, "").await.text();
        let token = codes.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let token: String = form_urlencoded::byte_serialize(token.unwrap().as_bytes()).collect();
        let saved = self.post_form(AUTH, "/enrol/codes", &format!("token={token}&saved=yes")).await;
        assert_eq!(saved.status, 303, "{}", saved.text());
    }

    /// Opens an app, signing in on the way if need be, and lands on `target`.
    pub(crate) async fn open(&mut self, host: &str, target: &str) {
        let (mut at, mut there, mut page) = self.visit(host, target).await;
        if at == AUTH {
            let next = self.ceremony("/login", &page).await;
            let (next_host, next_target) = resolve(AUTH, &next);
            (at, there, page) = self.visit(&next_host, &next_target).await;
        }
        assert_eq!((at.as_str(), there.as_str(), page.status), (host, target, 200), "{}", page.text());
    }

    /// Uses the passkey on a sign-in or step-up page; gives the address it leads to.
    pub(crate) async fn ceremony(&mut self, prefix: &str, page: &Answer) -> String {
        let transaction = attribute(&page.text(), "data-transaction").unwrap_or_else(|| panic!("{}", page.text()));
        let options = self.post_json(&format!("{prefix}/begin"), &json!({ "transaction": transaction })).await;
        assert_eq!(options.status, 200, "{}", options.text());
        let credential = self.device.get(&options.json()["options"]).await.unwrap();
        let finish = json!({ "transaction": transaction, "credential": credential });
        let done = self.post_json(&format!("{prefix}/finish"), &finish).await;
        assert_eq!(done.status, 200, "{}", done.text());
        done.json()["next"].as_str().unwrap().to_owned()
    }

    fn keep(&mut self, host: &str, answer: &Answer) {
        let jar = self.jars.entry(host.to_owned()).or_default();
        for set in answer.all("set-cookie") {
            let (pair, attributes) = set.split_once(';').unwrap_or((set, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if name.starts_with("__Host-") {
                let flags: Vec<_> = attributes.split(';').map(str::trim).collect();
                assert!(flags.contains(&"Secure") && flags.contains(&"Path=/"), "{set}");
                assert!(flags.contains(&"HttpOnly") && !attributes.contains("Domain"), "{set}");
            }
            match attributes.contains("Max-Age=0") {
                true => jar.remove(name),
                false => jar.insert(name.to_owned(), value.to_owned()),
            };
        }
    }
}

/// Host and target a `Location` leads to from `host`.
pub(crate) fn resolve(host: &str, location: &str) -> (String, String) {
    let base: url::Url = format!("https://{host}/").parse().unwrap();
    let url = base.join(location).unwrap();
    assert_eq!(url.scheme(), "https", "{location}");
    assert_eq!(url.port_or_known_default(), Some(443), "{location}");
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    (url.host_str().unwrap().to_owned(), format!("{}{query}", url.path()))
}

/// The value of the first `name="…"` of a page.
pub(crate) fn attribute(page: &str, name: &str) -> Option<String> {
    let rest = page.split(&format!("{name}=\"")).nth(1)?;
    rest.split('"').next().map(str::to_owned)
}
