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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use axum::body::Body;
    use model::Timestamp;
    use pki::jose::assertion::{RequestClaim, SubjectKind, TYP};
    use pki::{KeyRing, LocalCa, SigningKey};

    use crate::system::SystemClock;

    const HOST: &str = "wiki.localhost:8443";

    /// What a gateway says about alice and one request.
    pub(crate) fn claims(method: &str, authority: &str, target: &str) -> AssertionClaims {
        let now = SystemClock::default().now().unix_secs();
        AssertionClaims {
            iss: "https://localhost:8443".into(),
            aud: "wiki".into(),
            sub: "usr_alice".into(),
            kind: SubjectKind::User,
            name: Some("Alice".into()),
            email: None,
            groups: None,
            groups_overage: false,
            acr: "phr".into(),
            amr: Vec::new(),
            auth_time: now,
            sid: "ses_1".into(),
            device: None,
            act: None,
            req: RequestClaim::new(method, authority, Some(target)),
            dec: "d".into(),
            pol: "p".into(),
            trace: "t".into(),
            iat: now,
            exp: now + 60,
            jti: "j".into(),
        }
    }

    struct World {
        verifier: Arc<Verifier>,
        ring: KeyRing,
        now: Timestamp,
    }

    impl World {
        fn new() -> Self {
            let now = SystemClock::default().now();
            let ca = LocalCa::create("test", &["localhost"], now, Duration::from_secs(60)).unwrap();
            let door = FrontDoor::new(8443, ca.certificate_pem()).unwrap();
            let ring = KeyRing::new(SigningKey::generate("test").unwrap(), now);
            let verifier = Verifier::new("wiki", "localhost", door, Arc::new(SystemClock::default()));
            verifier.keys.store(Arc::new(VerifyingKeys::from_jwks(&ring.jwks(now)).unwrap()));
            Self { verifier, ring, now }
        }

        fn sign(&self, claims: &AssertionClaims) -> String {
            self.ring.sign(TYP, claims, self.now).unwrap()
        }

        async fn refusal(&self, method: &str, target: &str, tokens: &[&str]) -> String {
            let mut request = http::Request::builder().method(method).uri(target).header(header::HOST, HOST);
            for token in tokens {
                request = request.header(HEADER, *token);
            }
            let verified = match Asked::of(&request.body(Body::empty()).unwrap()) {
                Ok(asked) => self.verifier.verify(asked).await,
                Err(why) => Err(why),
            };
            verified.err().unwrap_or_default()
        }
    }

    #[tokio::test]
    async fn an_assertion_opens_the_request_it_was_made_for_and_no_other() {
        let world = World::new();
        let token = world.sign(&claims("GET", HOST, "/pages/a?x=1"));
        assert_eq!(world.refusal("GET", "/pages/a?x=1", &[&token]).await, "");
        for (method, target) in
            [("POST", "/pages/a?x=1"), ("GET", "/pages/a"), ("GET", "/pages/a?x=2"), ("GET", "/pages/%61?x=1")]
        {
            assert!(world.refusal(method, target, &[&token]).await.contains("another request"), "{method} {target}");
        }
    }

    #[tokio::test]
    async fn no_assertion_or_two_of_them_are_refused() {
        let world = World::new();
        let token = world.sign(&claims("GET", HOST, "/"));
        assert!(world.refusal("GET", "/", &[]).await.contains("not exactly one"));
        assert!(world.refusal("GET", "/", &[&token, &token]).await.contains("not exactly one"));
    }

    #[tokio::test]
    async fn an_assertion_for_another_app_or_host_or_without_a_target_is_refused() {
        let world = World::new();
        let payroll = AssertionClaims { aud: "payroll".into(), ..claims("GET", HOST, "/") };
        assert!(world.refusal("GET", "/", &[&world.sign(&payroll)]).await.contains("meant for"));
        let other_host = claims("GET", "payroll.localhost:8443", "/");
        assert!(world.refusal("GET", "/", &[&world.sign(&other_host)]).await.contains("another request"));
        let unbound = AssertionClaims { req: RequestClaim::new("GET", HOST, None), ..claims("GET", HOST, "/") };
        assert!(world.refusal("GET", "/", &[&world.sign(&unbound)]).await.contains("another request"));
    }

    #[test]
    fn unknown_keys_make_the_key_set_be_fetched_once_in_a_while_only() {
        let world = World::new();
        assert!(world.verifier.may_fetch());
        assert!(!world.verifier.may_fetch());
    }
}
