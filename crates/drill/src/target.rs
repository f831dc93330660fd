//! What is attacked, and what the person who asks says about it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::DrillError;

/// How long one case may wait for the proxy when nothing else is said.
pub const CASE_LIMIT: Duration = Duration::from_millis(1500);

/// Where the proxy listens.
#[derive(Clone, Debug)]
pub struct Target {
    /// True for `https`.
    pub is_tls: bool,
    /// Asked for in SNI, `Host` and `:authority`; without port.
    pub host: String,
    /// As the client writes it: the host, with a port that is not the scheme's.
    pub authority: String,
    /// Where to connect to.
    pub address: SocketAddr,
}

impl Target {
    /// Reads `http[s]://host[:port]` and looks the host up. `asked_as` is `host[:port]` as the client
    /// writes it, where the proxy is known by another name or port.
    ///
    /// # Errors
    /// [`DrillError::Target`] for anything else, or a name that leads nowhere.
    pub async fn resolve(url: &str, asked_as: Option<&str>) -> Result<Self, DrillError> {
        let wrong = |why: &str| DrillError::Target { target: url.to_owned(), why: why.to_owned() };
        let (is_tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(wrong("write `http://host:port` or `https://host:port`")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let parsed = http_gate::CanonicalHost::parse(authority.as_bytes())
            .ok_or_else(|| wrong("write a host with an optional port, and no path"))?;
        let port = parsed.port_or(if is_tls { 443 } else { 80 });
        // `*.localhost` is loopback for browsers (RFC 6761), though not for every resolver.
        let looked_up = match parsed.name() == "localhost" || parsed.name().ends_with(".localhost") {
            true => format!("127.0.0.1:{port}"),
            false => format!("{}:{port}", parsed.name()),
        };
        let found = tokio::net::lookup_host(looked_up).await.map_err(|error| wrong(&error.to_string()))?;
        let address = found.into_iter().next().ok_or_else(|| wrong("the name has no address"))?;
        let default = if is_tls { 443 } else { 80 };
        let (host, authority) = match asked_as {
            None => (parsed.name().to_owned(), parsed.authority(default)),
            Some(asked_as) => {
                let asked = http_gate::CanonicalHost::parse(asked_as.as_bytes())
                    .ok_or_else(|| wrong(&format!("`{asked_as}` is no host to ask for")))?;
                (asked.name().to_owned(), asked.authority(default))
            }
        };
        Ok(Self { is_tls, host, authority, address })
    }

    /// True if only this machine or a private network is reached.
    pub fn is_private(&self) -> bool {
        match self.address.ip().to_canonical() {
            IpAddr::V4(address) => address.is_loopback() || address.is_private(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
        }
    }
}

/// Everything about one drill.
#[derive(Clone, Debug)]
pub struct Options {
    /// The proxy.
    pub target: Target,
    /// Header fields that sign a request in; empty where the proxy asks nobody.
    pub credentials: Vec<(String, String)>,
    /// A path that the proxy lets through.
    pub allow_path: String,
    /// A path that the proxy refuses, with everything below it.
    pub deny_path: Option<String>,
    /// A method that the proxy refuses.
    pub deny_method: Option<String>,
    /// Headers that only the proxy may set.
    pub identity_headers: Vec<String>,
    /// A prefix that the proxy takes off before it judges and forwards.
    pub stripped_prefix: Option<String>,
    /// Ids of attacks, `ATK-13`; all when empty.
    pub only: Vec<String>,
    /// How long one case may wait.
    pub case_limit: Duration,
    /// How long to wait until the proxy reaches the echo.
    pub start_limit: Duration,
}

impl Options {
    /// Of a proxy that forwards everything.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            credentials: Vec::new(),
            allow_path: "/".to_owned(),
            deny_path: None,
            deny_method: None,
            identity_headers: Vec::new(),
            stripped_prefix: None,
            only: Vec::new(),
            case_limit: CASE_LIMIT,
            start_limit: Duration::from_secs(10),
        }
    }

    /// Whether a path is under the refused one, by whole segments.
    pub(crate) fn is_denied(&self, path: &str) -> bool {
        self.deny_path.as_deref().is_some_and(|denied| http_gate::path::path_matches(denied, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_and_private_networks_are_private() {
        for (url, is_private) in [
            ("http://127.0.0.1:8080", true),
            ("https://wiki.localhost:8443/", true),
            ("http://10.1.2.3", true),
            ("http://192.168.0.1", true),
            ("http://[::1]:80", true),
            ("http://[fd00::1]", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://192.0.2.1", false),
            // Where clouds keep their metadata.
            ("http://169.254.169.254", false),
            ("https://[2001:db8::1]", false),
        ] {
            let target = Target::resolve(url, None).await.unwrap();
            assert_eq!(target.is_private(), is_private, "{url}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_of_a_proxy_is_refused() {
        for url in
            ["127.0.0.1:80", "ftp://127.0.0.1", "http://127.0.0.1/x", "http://", "http://a b", "http://u@127.0.0.1"]
        {
            assert!(Target::resolve(url, None).await.is_err(), "{url}");
        }
        let target = Target::resolve("https://127.0.0.1:8443", Some("Wiki.Localhost:8443")).await.unwrap();
        assert_eq!((target.host.as_str(), target.authority.as_str()), ("wiki.localhost", "wiki.localhost:8443"));
        let target = Target::resolve("https://127.0.0.1:8443", Some("wiki.localhost")).await.unwrap();
        assert_eq!(target.authority, "wiki.localhost", "behind a port mapping");
    }
}
