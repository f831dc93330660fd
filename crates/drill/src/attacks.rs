//! The attacks a drill knows: what each proves and where it was published. The cases are in `cases`.

/// One attack.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Attack {
    /// `ATK-13`.
    pub id: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// What a proxy proves that withstands it.
    pub proves: &'static str,
    /// Where it was found before.
    pub published: &'static [&'static str],
}

macro_rules! attacks {
    ($($id:literal $title:literal, $proves:literal, [$($published:literal),*];)*) => {
        /// Every attack, in order.
        pub const ATTACKS: &[Attack] = &[$(Attack { id: $id, title: $title, proves: $proves, published: &[$($published),*] }),*];
    };
}

attacks! {
    "ATK-1" "Content-Length and Transfer-Encoding together",
        "proxy and app agree where a request ends", ["CVE-2026-2835 (pingora)", "CVE-2026-58055 (nghttpx)"];
    "ATK-2" "Transfer-Encoding that is not exactly one chunked",
        "no coding is read by one side only", ["CVE-2026-2835 (pingora)"];
    "ATK-3" "odd Content-Length",
        "a length has one reading", ["CVE-2026-58055 (nghttpx)"];
    "ATK-4" "a request hidden behind an upgrade",
        "what follows an upgrade that the app does not take is judged like any request", ["CVE-2026-2833 (pingora)"];
    "ATK-5" "an upgrade with a body or early bytes, and CONNECT",
        "no byte reaches the app before it agreed to switch", ["CVE-2025-64763 (Envoy)"];
    "ATK-6" "bare line ends, folded lines, NUL",
        "lines and fields have one reading", [];
    "ATK-7" "chunks that break the framing",
        "a chunked body ends where both sides think", [];
    "ATK-8" "two hosts, no host, another authority",
        "the app serves the host that was judged", [];
    "ATK-9" "HTTP/2 fields that HTTP/1 reads differently",
        "translation to HTTP/1.1 adds no line and no request", ["CVE-2026-33186 (gRPC)"];
    "ATK-10" "floods of resets and control frames",
        "one connection costs a bounded amount and harms no neighbour", ["CVE-2023-44487", "CVE-2025-8671"];
    "ATK-11" "a huge body before sign-in",
        "strangers cannot make the proxy read without end", ["GHSA-q8g9-jc4c-jp6q (OpenZiti)"];
    "ATK-12" "an app whose bytes could answer somebody else",
        "every answer belongs to the request it came for", [];
    "ATK-13" "paths with two readings",
        "the path that was judged is the path the app reads", ["CVE-2021-31920 (Istio)", "CVE-2026-42274 (heimdall)", "VULN-141859 (cloudflared)"];
    "ATK-14" "a leading // read as an authority",
        "a path is never taken for a host", ["CVE-2026-26205 (opa-envoy)"];
    "ATK-15" "# and %23 that shorten what the rule sees",
        "rule and app see the whole path", ["GHSA-pxq7-h93f-9jrg (oauth2-proxy)"];
    "ATK-16" "query text that satisfies a path rule",
        "a rule on paths looks at the path alone", ["GHSA-7rh7-c77v-6434 (oauth2-proxy)"];
    "ATK-17" "a rewrite after the decision",
        "the decision holds for the path the app gets", ["GHSA-xf64-8mw2-4gr2 (Traefik)"];
    "ATK-18" "spellings of one host",
        "another spelling leads to the same rule", ["CVE-2026-48794 (Authelia)"];
    "ATK-19" "exemptions for probes and certificates",
        "a User-Agent or a well-known path opens nothing else", ["GHSA-5hvv-m4w4-gf6v (oauth2-proxy)"];
    "ATK-20" "lower-case and overridden methods",
        "the method that was judged is the method the app takes", [];
    "ATK-21" "headers of the proxy's own, sent by the client",
        "what only the proxy may say comes from the proxy", ["CVE-2026-40575 (oauth2-proxy)", "CVE-2026-35051 (Traefik)", "CVE-2023-27487 (Envoy)", "GHSA-7r4p-vjf4-gxv4 (Caddy)"];
    "ATK-22" "the same headers in other spellings",
        "no spelling that an app folds together gets through", ["CVE-2025-64484 (oauth2-proxy)", "CVE-2026-39858 (Traefik)", "CVE-2026-54763 (Traefik)", "GHSA-f59h-q822-g45g (Caddy)", "CVE-2026-26308 (Envoy)"];
    "ATK-23" "Connection that names a header to have it removed",
        "a client cannot take away what the proxy says", ["CVE-2025-48865 (Fabio)"];
    "ATK-24" "claims with commas, line ends and other tongues",
        "one claim is one header", [];
    "ATK-25" "a forward-auth endpoint called directly",
        "only the front that proves itself is answered", [];
    "ATK-26" "forward-auth while something is broken",
        "no failure is an answer that lets through", ["CVE-2026-25748 (authentik)", "CVE-2024-23324 (Envoy)"];
    "ATK-27" "a forged header straight to the app",
        "an app can tell a forged identity", [];
    "ATK-28" "a spoofed scheme, host or address",
        "what the app hears about the client's connection comes from the proxy", [];
    "ATK-29" "credentials that reach the app",
        "an app cannot use what a person signed in with", [];
    "ATK-30" "return targets that lead elsewhere",
        "sign-in ends where it began", ["GHSA-qqxw-m5fj-f7gv (oauth2-proxy)", "GHSA-j7px-6hwj-hpjg (oauth2-proxy)", "GHSA-5m6c-jp6f-2vcv (oauth2-proxy)"];
    "ATK-31" "altered parameters of sign-in", "nothing of a journey can be changed", ["CVE-2021-29652 (pomerium)"];
    "ATK-32" "codes replayed or used in another browser", "a code works once, where it belongs", [];
    "ATK-33" "a session planted before sign-in", "signing in makes a new session", ["CVE-2026-34454 (oauth2-proxy)"];
    "ATK-34" "look-alike addresses", "a rule on a domain means that domain", ["GHSA-c5c4-8r6x-56w3 (oauth2-proxy)"];
    "ATK-35" "attacker text on refusals, redirects for scripts",
        "a refusal runs nothing, and a script is told 401", [];
    "ATK-36" "algorithm tricks in tokens", "only our keys sign", [];
    "ATK-37" "good tokens of the wrong kind", "a token works for what it was made for", ["CVE-2024-47616 (pomerium)", "GHSA-4h58-w989-xgg4 (OpenZiti)", "GHSA-g5h5-m4hm-xjrr (ZITADEL)"];
    "ATK-41" "somebody else's certificate in the chain", "identity comes from the leaf that signed", ["GHSA-mrpr-756c-xm47 (OpenZiti)", "CVE-2025-66220 (Envoy)"];
    "ATK-43" "a TLS ticket or connection under another name", "a stricter host asks again", [];
    "ATK-44" "a WebSocket opened by a page of another site",
        "a cookie is not enough to open a WebSocket", [];
    "ATK-45" "streams of a revoked person", "revocation reaches what is open", ["pomerium #1279", "pomerium #1327"];
    "ATK-46" "streams that outlive what allowed them", "a change reaches what is open", [];
    "ATK-48" "credentials doubled, cut short, or missing",
        "only the whole credential, once, counts", [];
    "ATK-50" "a step-up used elsewhere", "a step-up counts for one action of one session", [];
    "ATK-51" "what belongs to somebody else", "a caller sees only their own", ["GHSA-6v5r-p2wr-q492 (OpenZiti)"];
    "ATK-53" "metrics, profiling or admin routes in public",
        "the public listener serves the app and nothing about the proxy", ["CVE-2022-24797 (pomerium)", "CVE-2025-10678 (NetBird)"];
}

/// The attack of this id.
pub fn attack(id: &str) -> Option<&'static Attack> {
    ATTACKS.iter().find(|attack| attack.id == id)
}
