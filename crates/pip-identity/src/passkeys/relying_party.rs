//! Who we are to authenticators: RP ID, name and the exact list of origins (ID-17, ID-24). The RP ID is
//! fixed at install: every passkey is bound to it.

use url::{Host, Url};

/// The most origins a relying party may list.
pub const MAX_ORIGINS: usize = 16;

/// Why a relying party cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelyingPartyError {
    /// Not a domain.
    #[error("`{0}` cannot be an RP ID; use a domain in lower case without scheme, port or trailing dot")]
    Id(String),
    /// Not an origin.
    #[error("`{origin}` cannot sign in with passkeys: {why}")]
    Origin {
        /// The offending text.
        origin: String,
        /// Which rule.
        why: &'static str,
    },
    /// None or too many.
    #[error("a relying party needs 1 to 16 origins; {0} were given")]
    OriginCount(usize),
}

/// A checked relying party.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelyingParty {
    id: String,
    name: String,
    origins: Vec<Url>,
}

impl RelyingParty {
    /// Checks RP ID and origins (`https://auth.corp.example`, with port where it is not the default).
    ///
    /// # Errors
    /// An origin is no origin, is not secure, or does not lie at or below the RP ID.
    pub fn new(id: &str, name: &str, origins: &[String]) -> Result<Self, RelyingPartyError> {
        let is_domain = matches!(Host::parse(id), Ok(Host::Domain(domain)) if domain == id) && !id.ends_with('.');
        if !is_domain {
            return Err(RelyingPartyError::Id(id.to_owned()));
        }
        if origins.is_empty() || origins.len() > MAX_ORIGINS {
            return Err(RelyingPartyError::OriginCount(origins.len()));
        }
        let origins = origins.iter().map(|origin| check_origin(origin, id)).collect::<Result<_, _>>()?;
        Ok(Self { id: id.to_owned(), name: name.to_owned(), origins })
    }

    /// The RP ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name shown by authenticators.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The origins.
    pub fn origins(&self) -> &[Url] {
        &self.origins
    }

    /// Whether `origin`, as a browser serialises it, is in the list. Exactly: no subdomains, no other port.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.origin().ascii_serialization() == origin)
    }
}

fn check_origin(text: &str, rp_id: &str) -> Result<Url, RelyingPartyError> {
    let refuse = |why| Err(RelyingPartyError::Origin { origin: text.to_owned(), why });
    let Ok(url) = Url::parse(text) else {
        return refuse("it is not a URL");
    };
    let Some(host) = url.host_str() else {
        return refuse("it has no host");
    };
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !url.username().is_empty() || url.password().is_some() {
        return refuse("an origin is scheme, host and port only");
    }
    let is_local = host == "localhost" || host.ends_with(".localhost");
    if url.scheme() != "https" && !(url.scheme() == "http" && is_local) {
        return refuse("it must be https, or http on localhost");
    }
    let is_below = host.strip_suffix(rp_id).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    if !is_below {
        return refuse("its host must be the RP ID or lie below it");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, origin: &str) -> Result<RelyingParty, RelyingPartyError> {
        RelyingParty::new(id, "Countersign", &[origin.to_owned()])
    }

    #[test]
    fn origins_at_or_below_the_rp_id_pass() {
        for (id, origin) in [
            ("localhost", "https://localhost:8443"),
            ("localhost", "http://localhost"),
            ("corp.example", "https://corp.example"),
            ("corp.example", "https://auth.corp.example/"),
        ] {
            check(id, origin).unwrap();
        }
    }

    #[test]
    fn origins_elsewhere_or_in_the_clear_are_refused() {
        for (id, origin) in [
            ("corp.example", "https://evilcorp.example"),
            ("corp.example", "https://corp.example.evil.example"),
            ("corp.example", "http://corp.example"),
            ("corp.example", "https://corp.example/login"),
            ("corp.example", "https://user@corp.example"),
            ("corp.example", "corp.example"),
        ] {
            let error = check(id, origin).unwrap_err();
            assert!(matches!(error, RelyingPartyError::Origin { .. }), "{origin}: {error}");
        }
    }

    #[test]
    fn an_rp_id_is_a_plain_domain() {
        for id in ["", "https://corp.example", "corp.example:443", "Corp.example", "127.0.0.1", "corp.example."] {
            let error = check(id, "https://corp.example").unwrap_err();
            assert!(matches!(error, RelyingPartyError::Id(_)), "{id}: {error}");
        }
    }

    #[test]
    fn an_origin_matches_exactly_with_its_port() {
        let rp = check("localhost", "https://localhost:8443").unwrap();
        assert!(rp.allows("https://localhost:8443"));
        for other in [
            "https://localhost",
            "https://localhost:8444",
            "http://localhost:8443",
            "https://a.localhost:8443",
            "https://localhost:8443/",
        ] {
            assert!(!rp.allows(other), "{other}");
        }
    }

    #[test]
    fn too_many_origins_are_refused() {
        let origins: Vec<String> = (0..=MAX_ORIGINS).map(|i| format!("https://a{i}.corp.example")).collect();
        assert_eq!(
            RelyingParty::new("corp.example", "Countersign", &origins),
            Err(RelyingPartyError::OriginCount(MAX_ORIGINS + 1))
        );
    }
}
