//! The pages and ceremonies of the auth host, and the reserved endpoints of app hosts.
//!
//! Invariants: signing in, stepping up and signing out change state on POST only; a session cookie is only ever set for
//! a browser that holds the login-binding cookie the journey began with; where to go next is decided here from a
//! sealed ticket and never from a parameter in the clear (ATK-30).

mod account;
mod answers;
mod app_host;
mod arrivals;
mod enrol;
mod home;
mod linked;
mod login;
mod logout;
mod notices;
mod password;
mod recover;
mod sessions;
mod step_up;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use model::record::RecordType;
use model::seams::ReservedContext;
use model::{SessionId, Timestamp, TokenHash, UserId};
use pip_identity::links::Links;
use pip_identity::passkeys::Passkeys;
use pki::return_ticket::ReturnTicket;
use pki::{KeyRing, Sealer};
use serde::Serialize;

use self::answers::json;
pub(crate) use self::answers::{page, problem, retry_after, see_other, with_cookie};
pub(crate) use self::home::browser_name;
use crate::actor::Actor;
use crate::control::ControlPlane;
use crate::failure::Failure;
use crate::pending::Pending;

/// How long a login transaction lives (ID-28).
const TRANSACTION_LIFE: Duration = Duration::from_secs(600);
/// How long a hand-off code lives (GW-12).
const HANDOFF_LIFE: Duration = Duration::from_secs(30);
/// How long recovery codes wait to be shown.
const CODES_LIFE: Duration = Duration::from_secs(600);
/// The most login transactions that wait at once; strangers begin them, and each may hold a target of 2 KiB.
const MAX_TRANSACTIONS: usize = 20_000;
/// The most hand-off codes that wait at once.
const MAX_HANDOFFS: usize = 10_000;
/// The most long targets that wait at once; strangers send them, and each may have 8 KiB.
const MAX_PARKED: usize = 4_000;
/// In which time a session may look up [`MAX_OWN_LOOK_UPS`] of its decisions: each reads the log.
const LOOK_UP_WINDOW: Duration = Duration::from_secs(60);
/// How many decisions a session may look up in [`LOOK_UP_WINDOW`].
const MAX_OWN_LOOK_UPS: u64 = 30;
/// The most look-ups that are remembered, of all sessions.
const MAX_LOOK_UPS: usize = 10_000;
/// The most people who have not looked at their recovery codes yet.
const MAX_CODES: usize = 1_000;

/// What the pages are put together from.
pub struct PortalParts {
    /// The operations.
    pub control: Arc<ControlPlane>,
    /// Passkey ceremonies.
    pub passkeys: Arc<Passkeys>,
    /// Invitations and set-up links.
    pub links: Links,
    /// Opens return tickets; doors seal them with the same key.
    pub return_sealer: Arc<Sealer>,
    /// Makes session-bound form tokens (ID-60).
    pub form_sealer: Sealer,
    /// Public halves are published.
    pub assertion_keys: Arc<ArcSwap<KeyRing>>,
    /// Public halves are published, apart.
    pub receipt_keys: Arc<ArcSwap<KeyRing>>,
}

/// The pages.
pub struct Portal {
    control: Arc<ControlPlane>,
    passkeys: Arc<Passkeys>,
    links: Links,
    return_sealer: Arc<Sealer>,
    form_sealer: Sealer,
    assertion_keys: Arc<ArcSwap<KeyRing>>,
    receipt_keys: Arc<ArcSwap<KeyRing>>,
    transactions: Pending<String, Transaction>,
    handoffs: Pending<TokenHash, Handoff>,
    arrivals: Pending<arrivals::Place, arrivals::Arrival>,
    walks: Pending<String, linked::Walk>,
    parked: Pending<String, String>,
    codes: Pending<SessionId, Vec<String>>,
    look_ups: Pending<(SessionId, u64), ()>,
}

/// A journey that began at a door or on the auth host itself.
#[derive(Clone)]
struct Transaction {
    /// Where to go afterwards; `None`: the launchpad.
    ticket: Option<ReturnTicket>,
    /// What is being confirmed, and in which session; `None`: a sign-in.
    step_up: Option<step_up::Confirmation>,
    /// The browser it began in, by its binding cookie on the auth host.
    browser: TokenHash,
}

/// A session on its way to an app host.
struct Handoff {
    session: SessionId,
    authority: String,
    browser: TokenHash,
    target: String,
    /// When the door sent the browser on its way.
    began: Timestamp,
}

/// A link as it is shown once. No `Debug`: the URL holds the secret.
pub struct ShownLink {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) expires: String,
}

impl ShownLink {
    /// The link of a recovery, for a server at `auth_url`.
    pub fn to_recover(auth_url: &str, link: &pip_identity::links::IssuedLink) -> Self {
        Self::new(auth_url, &format!("/invite/{}", link.row.id), link)
    }

    fn new(auth_url: &str, path: &str, link: &pip_identity::links::IssuedLink) -> Self {
        Self {
            id: link.row.id.to_string(),
            url: format!("{auth_url}{path}?code={}", link.secret.expose()),
            expires: link.row.expires_at.to_string(),
        }
    }

    /// When it stops working.
    pub fn expires(&self) -> &str {
        &self.expires
    }

    /// What the person opens. Whoever reads it can use it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A link as it is listed.
#[derive(Serialize)]
pub(crate) struct ListedLink {
    id: String,
    kind: &'static str,
    user: Option<String>,
    created_by: String,
    expires: Timestamp,
    is_open: bool,
}

impl Portal {
    /// The pages over `parts`.
    pub fn new(parts: PortalParts) -> Self {
        Self {
            control: parts.control,
            passkeys: parts.passkeys,
            links: parts.links,
            return_sealer: parts.return_sealer,
            form_sealer: parts.form_sealer,
            assertion_keys: parts.assertion_keys,
            receipt_keys: parts.receipt_keys,
            transactions: Pending::new(TRANSACTION_LIFE, MAX_TRANSACTIONS),
            handoffs: Pending::new(HANDOFF_LIFE, MAX_HANDOFFS),
            arrivals: Pending::new(arrivals::ARRIVAL_LIFE, arrivals::MAX_ARRIVALS),
            walks: Pending::new(HANDOFF_LIFE, MAX_HANDOFFS),
            parked: Pending::new(TRANSACTION_LIFE, MAX_PARKED),
            codes: Pending::new(CODES_LIFE, MAX_CODES),
            look_ups: Pending::new(LOOK_UP_WINDOW, MAX_LOOK_UPS),
        }
    }

    pub(crate) fn control(&self) -> &ControlPlane {
        &self.control
    }

    pub(crate) fn accounts(&self) -> &pip_identity::Accounts {
        &self.control.accounts
    }

    pub(crate) fn control_arc(&self) -> &Arc<ControlPlane> {
        &self.control
    }

    /// Keeps a return target too long for a link (GW-12).
    pub(crate) fn park_target(&self, target: &str, now: Timestamp) -> Option<String> {
        let key = pki::random_token(self.control.ids.as_ref()).expose().to_owned();
        self.parked.put(key.clone(), target.to_owned(), now);
        Some(key)
    }

    pub(crate) async fn on_auth_host(&self, context: &ReservedContext, request: &Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path();
        match *request.method() {
            Method::GET | Method::HEAD => self.page_on_auth_host(context, request, path).await,
            Method::POST => self.step_on_auth_host(context, request, path).await,
            _ => self.nothing_here(context),
        }
    }

    /// Pages and documents. Only GET takes the recovery codes: HEAD would use them up unseen.
    async fn page_on_auth_host(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
        path: &str,
    ) -> Response<Bytes> {
        match path {
            "/" => self.launchpad(context, request.headers()).await,
            "/login" => self.login_page(context, request),
            "/step-up" => self.step_up_page(context, request).await,
            "/setup" => self.enrol_page(request).await,
            path if path.starts_with("/invite/") => self.enrol_page(request).await,
            "/enrol/codes" if request.method() == Method::GET => self.codes_shown(context, request),
            path if is_account(path) => self.account(context, request).await,
            "/login/password" => self.password_page(context, request),
            "/login/key" => self.key_page(context, request),
            "/step-up/password" => self.password_step_page(context, request).await,
            "/recover" => self.recover_page(context),
            "/recover/case" => self.case_page(context, request, None).await,
            "/recover/link" => self.enrol_page(request).await,
            "/logout" => self.logout_page(context, "/logout"),
            "/.well-known/countersign" => self.metadata(),
            "/.well-known/webauthn" if !self.control.settings.related_origins.is_empty() => self.related_origins(),
            "/.well-known/countersign/jwks.json" => self.assertion_jwks(context.now),
            "/.well-known/countersign/receipts/jwks.json" => jwks(&self.receipt_keys.load().jwks(context.now)),
            _ => self.nothing_here(context),
        }
    }

    /// Steps of journeys; everything here may change something.
    async fn step_on_auth_host(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
        path: &str,
    ) -> Response<Bytes> {
        match path {
            "/login/begin" => self.login_begin(context, request),
            "/login/password" => self.password_sign_in(context, request).await,
            "/login/key/begin" => self.key_asked(context, request).await,
            "/login/key/finish" => self.key_sign_in(context, request).await,
            "/login/finish" => self.login_finish(context, request).await,
            "/step-up/begin" => self.step_up_begin(context, request).await,
            "/step-up/password" => self.password_step(context, request).await,
            "/step-up/finish" => self.step_up_finish(context, request).await,
            "/enrol/begin" => self.enrol_begin(context, request).await,
            "/enrol/finish" => self.enrol_finish(context, request).await,
            "/recover" => self.recover(context, request).await,
            "/recover/case" => self.case_step(context, request).await,
            "/enrol/codes" => self.codes_saved(context, request).await,
            "/logout" => self.logout(context, request).await,
            path if is_account(path) => self.account(context, request).await,
            _ => self.nothing_here(context),
        }
    }

    /// Which other origins may use passkeys of this relying party (WebAuthn L3 §5.11).
    fn related_origins(&self) -> Response<Bytes> {
        json(StatusCode::OK, &serde_json::json!({ "origins": self.control.settings.related_origins }))
    }

    /// `{issuer, jwks_uri, header, alg, typ, max_ttl}`.
    fn metadata(&self) -> Response<Bytes> {
        let auth_url = &self.control.settings.auth_url;
        let body = serde_json::json!({
            "issuer": auth_url,
            "jwks_uri": format!("{auth_url}/.well-known/countersign/jwks.json"),
            "receipts_jwks_uri": format!("{auth_url}/.well-known/countersign/receipts/jwks.json"),
            "header": "X-Countersign-Assertion",
            "alg": "ES256",
            "typ": pki::jose::assertion::TYP,
            "max_ttl": pki::jose::assertion::MAX_LIFE.as_secs(),
        });
        cacheable(json(StatusCode::OK, &body))
    }

    /// The keys every door signs with: the union (GW-29).
    fn assertion_jwks(&self, now: Timestamp) -> Response<Bytes> {
        jwks(&self.assertion_keys.load().jwks(now).union(self.control.gateway_keys()))
    }

    /// Opens something a door sealed: the one of this process or any other.
    fn open_sealed<T>(&self, open: impl Fn(&Sealer) -> Option<T>) -> Option<T> {
        open(&self.return_sealer).or_else(|| self.control.ticket_sealers().iter().find_map(|sealer| open(sealer)))
    }

    /// Keeps a return target under the key that the door of another process chose.
    pub fn park_target_as(&self, key: &str, target: &str) {
        self.parked.put(key.to_owned(), target.to_owned(), self.control.now());
    }

    fn nothing_here(&self, context: &ReservedContext) -> Response<Bytes> {
        let notice = pages::Notice {
            heading: "Nothing is here".to_owned(),
            paragraphs: vec!["The address is not one of ours.".to_owned()],
            command: None,
            links: vec![pages::Link { text: "Go to your apps".to_owned(), url: "/".to_owned() }],
            request_id: Some(context.access_id.to_string()),
        };
        page(StatusCode::NOT_FOUND, notice.render())
    }

    /// A new invitation (ID-4), recorded before anybody sees it.
    pub(crate) async fn invite(&self, actor: &Actor, user: UserId) -> Result<ShownLink, Failure> {
        let link = self.links.invite(user, &actor.name, None).await.map_err(enrol::link_failure)?;
        self.record_link(actor, &link, "invitation made").await?;
        Ok(self.shown(&format!("/invite/{}", link.row.id), &link))
    }

    /// A new set-up link (ID-1) that the process itself shows at its start; `by` is the command that does.
    ///
    /// # Errors
    /// Somebody administers already, or the store or the log refuse.
    pub async fn set_up_link(&self, by: &str) -> Result<ShownLink, Failure> {
        let access = model::AccessId(self.control.ids.uuid_v7(self.control.now()));
        self.set_up_link_for(&Actor { name: by.to_owned(), ..Actor::system(access) }).await
    }

    /// A new set-up link for somebody who asked, recorded before anybody sees it.
    pub(crate) async fn set_up_link_for(&self, actor: &Actor) -> Result<ShownLink, Failure> {
        let link = self.links.set_up(None, &actor.name).await.map_err(enrol::link_failure)?;
        self.record_link(actor, &link, "set-up link made").await?;
        Ok(self.shown("/setup", &link))
    }

    async fn record_link(
        &self,
        actor: &Actor,
        link: &pip_identity::links::IssuedLink,
        text: &str,
    ) -> Result<(), Failure> {
        let mut record = self.control.actor_record(actor, RecordType::IdentityInvitation);
        record.change.object_kind = Some("link");
        record.change.object_id = Some(Arc::from(link.row.id.to_string()));
        record.change.object_subject = link.row.user;
        record.change.change = Some(Arc::from(text));
        self.control.record(record).await
    }

    pub(crate) async fn links(&self) -> Result<Vec<ListedLink>, Failure> {
        let links = self.links.list().await.map_err(enrol::link_failure)?;
        let listed = |link: pip_identity::links::LinkView| ListedLink {
            id: link.row.id.to_string(),
            kind: link.row.kind.as_str(),
            user: link.user.map(|user| user.email.clone()),
            created_by: link.row.created_by.clone(),
            expires: link.row.expires_at,
            is_open: link.is_open,
        };
        Ok(links.into_iter().map(listed).collect())
    }

    /// The link of a recovery, as it is shown once.
    pub(crate) fn recovery_link(&self, link: &pip_identity::links::IssuedLink) -> ShownLink {
        ShownLink::to_recover(&self.control.settings.auth_url, link)
    }

    /// The secret travels in the query: its value is never recorded (AUD-10).
    fn shown(&self, path: &str, link: &pip_identity::links::IssuedLink) -> ShownLink {
        ShownLink::new(&self.control.settings.auth_url, path, link)
    }
}

/// Whether a path is one of the self-service pages.
fn is_account(path: &str) -> bool {
    path == "/me" || path.starts_with("/me/")
}

fn jwks(keys: &pki::Jwks) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(keys.to_json()));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/jwk-set+json"));
    cacheable(response)
}

/// Key sets and metadata may be cached for five minutes (GW-29).
fn cacheable(mut response: Response<Bytes>) -> Response<Bytes> {
    let value = http::HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(http::header::CACHE_CONTROL, value);
    response
}

/// The browser a journey begins in: by its binding cookie on this host, made when missing.
fn bind_browser(portal: &Portal, context: &ReservedContext) -> (TokenHash, Option<String>) {
    match context.login_binding {
        Some(browser) => (browser, None),
        None => {
            let (token, browser) = super::cookies::new_token(portal.control.ids.as_ref());
            (browser, Some(super::cookies::set_login(&token)))
        }
    }
}

/// Back to the launchpad's sign-in when a journey cannot go on: silently, never an error (GW-11).
fn restart() -> Response<Bytes> {
    see_other("/login")
}
