//! What every app behind the gateway should do: check `X-Countersign-Assertion` on each request and serve nothing without
//! (GW-28 to GW-30). The samples in `examples/verifiers` do the same in three languages; here the product's own module does.
//!
//! Invariant: a request is served only if an assertion was made for this app, this method, this authority and this
//! target, byte for byte. Whoever reaches the app past the gateway, or replays an assertion elsewhere, is refused.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use model::Clock;
use pep_gateway::assertion::HEADER;
use pki::AssertionClaims;
use pki::jose::{JoseError, VerifyingKeys};

use super::https::FrontDoor;

/// How often an unknown key makes the key set be fetched again (GW-30).
const REFETCH: Duration = Duration::from_secs(30);
/// Where the key set is (GW-29).
const KEYS_PATH: &str = "/.well-known/countersign/jwks.json";

/// Checks assertions for one app.
pub struct Verifier {
    app: &'static str,
    issuer: String,
    auth_host: &'static str,
    door: FrontDoor,
    keys: ArcSwap<VerifyingKeys>,
    fetched: Mutex<Option<Instant>>,
    clock: Arc<dyn Clock>,
    newest: Mutex<Option<String>>,
}

/// Who is asking: the claims of a verified assertion.
#[derive(Clone)]
pub struct Visitor(pub Arc<AssertionClaims>);

impl Visitor {
    /// A name for people.
    pub fn name(&self) -> &str {
        self.0.name.as_deref().or(self.0.email.as_deref()).unwrap_or(&self.0.sub)
    }
}

impl Verifier {
    /// For the app called `app`; keys come from `auth_host` through `door`, when first needed.
    pub fn new(app: &'static str, auth_host: &'static str, door: FrontDoor, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            app,
            issuer: door.url(auth_host, ""),
            auth_host,
            door,
            keys: ArcSwap::default(),
            fetched: Mutex::new(None),
            clock,
            newest: Mutex::new(None),
        })
    }

    /// The newest assertion that was accepted: what a thief inside the app could steal. Only the tour asks for it.
    pub fn newest(&self) -> Option<String> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn verify(&self, asked: Asked) -> Result<AssertionClaims, String> {
        let claims = match self.check(&asked.token) {
            Err(JoseError::UnknownKey { .. }) if self.may_fetch() => {
                self.fetch().await.map_err(|error| format!("the key set cannot be fetched: {error:#}"))?;
                self.check(&asked.token)
            }
            checked => checked,
        }
        .map_err(|error| error.to_string())?;
        if !claims.req.is_bound_to_target() || !claims.req.fits(&asked.method, &asked.authority, &asked.target) {
            return Err("the assertion was made for another request".to_owned());
        }
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked.token);
        Ok(claims)
    }

    fn check(&self, token: &str) -> Result<AssertionClaims, JoseError> {
        AssertionClaims::verify(token, &self.keys.load(), &self.issuer, self.app, self.clock.now())
    }

    fn may_fetch(&self) -> bool {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let may = fetched.is_none_or(|fetched| fetched.elapsed() >= REFETCH);
        if may {
            *fetched = Some(Instant::now());
        }
        may
    }

    async fn fetch(&self) -> Result<()> {
        let json = self.door.text(self.auth_host, KEYS_PATH).await?;
        self.keys.store(Arc::new(VerifyingKeys::parse(&json)?));
        Ok(())
    }
}

/// What of a request an assertion must fit, as received.
struct Asked {
    token: String,
    method: String,
    authority: String,
    target: String,
}

impl Asked {
    fn of(request: &Request) -> Result<Self, String> {
        let mut sent = request.headers().get_all(HEADER).iter();
        let (Some(token), None) = (sent.next(), sent.next()) else {
            return Err("not exactly one assertion came with the request; it did not pass the gateway".to_owned());
        };
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        Ok(Self {
            token: token.to_str().map_err(|_| "the assertion is not text".to_owned())?.to_owned(),
            method: request.method().to_string(),
            authority: host.unwrap_or_default().to_owned(),
            target: request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }
}

/// Lets a request in with its [`Visitor`], or answers 403.
pub async fn require(State(verifier): State<Arc<Verifier>>, mut request: Request, next: Next) -> Response {
    let checked = match Asked::of(&request) {
        Ok(asked) => verifier.verify(asked).await,
        Err(why) => Err(why),
    };
    match checked {
        Ok(claims) => {
            request.extensions_mut().insert(Visitor(Arc::new(claims)));
            next.run(request).await
        }
        Err(why) => {
            let text = format!("{} serves nobody without a valid assertion: {why}\n", verifier.app);
            (StatusCode::FORBIDDEN, text).into_response()
        }
    }
}
