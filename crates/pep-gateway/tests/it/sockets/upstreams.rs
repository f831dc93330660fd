//! Upstreams that fail, lie, or go away (GW-69, GW-72 to GW-74, ATK-12).

use std::sync::Arc;
use std::time::Duration;

use model::app::{UpstreamName, UpstreamScheme};
use model::record::EndCause;
use rustls::pki_types::pem::PemObject;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::support::{
    NAMES, Running, Scripted, VISITOR, WIKI, next_request, nobody, ok, request, soon, target_at, upstream, wiki_apps,
    wiki_with,
};

#[tokio::test]
async fn an_upstream_that_is_down_is_named_as_such() {
    let door = Running::wiki_at(nobody().await).await;
    let answer = door.client().await.get("/", &door.cookie(VISITOR)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text().contains("upstream_down"), "{answer:?}");
    assert_eq!(door.completion().await.completion.end_cause, Some(EndCause::UpstreamError));
}

#[tokio::test]
async fn an_upstream_that_hangs_up_without_an_answer_is_named_as_such() {
    let mut wiki = Scripted::new(|_| None).await;
    let door = Running::wiki_at(wiki.address).await;
    let answer = door.client().await.get("/", &door.cookie(VISITOR)).await;
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    wiki.next().await;
    assert!(wiki.so_far().is_empty(), "a new connection that fails is not tried twice");
}

#[tokio::test]
async fn a_slow_upstream_is_answered_with_the_time_out_that_fired() {
    let address = upstream(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let apps = wiki_with(address, |app| {
        let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
        upstream.timeouts.response_head = Duration::from_millis(50);
    });
    let door = Running::start(apps, |_| ()).await;
    let answer = door.client().await.get("/", &door.cookie(VISITOR)).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(answer.text().contains("response head"), "{answer:?}");
}

#[tokio::test]
async fn a_get_on_a_pooled_connection_that_was_closed_is_sent_once_more() {
    let mut wiki = closing_after_first().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    assert_eq!(client.get("/1", &cookie).await.status, 200);
    assert_eq!(client.get("/2", &cookie).await.status, 200);
    let asked = [wiki.next().await, wiki.next().await, wiki.next().await];
    assert_eq!(asked.each_ref().map(|asked| asked.connection), [0, 0, 1]);
    let ids = asked.each_ref().map(|asked| asked.all("x-request-id").concat());
    assert_eq!(ids[1], ids[2], "it is the same request");
}

#[tokio::test]
async fn a_post_on_a_pooled_connection_that_was_closed_is_not_sent_again() {
    let mut wiki = closing_after_first().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    assert_eq!(client.get("/1", &cookie).await.status, 200);
    client.send(request("POST", "/2", &cookie, "Content-Length: 2\r\n") + "hi").await;
    assert!(matches!(client.answer().await.status, 502 | 503));
    let asked = [wiki.next().await, wiki.next().await];
    assert_eq!(asked.map(|asked| asked.connection), [0, 0]);
    assert!(wiki.so_far().is_empty());
}

/// Its first connection answers one request and hangs up on the second.
async fn closing_after_first() -> Scripted {
    Scripted::new(|asked| (asked.connection > 0 || asked.line().starts_with("GET /1 ")).then(|| ok(b"fine"))).await
}

#[tokio::test]
async fn another_target_is_tried_when_the_first_cannot_be_reached() {
    let wiki = Scripted::echo().await;
    let door = Running::start(wiki_apps(&[nobody().await, wiki.address]), |_| ()).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    for _ in 0..4 {
        assert_eq!(client.get("/", &cookie).await.status, 200);
    }
}

#[tokio::test]
async fn atk_12_bytes_behind_a_response_never_answer_the_next_request() {
    let smuggled = ok(b"smuggled");
    let responses: [(&str, Vec<u8>, u16); 5] = [
        ("leftover bytes", [ok(b"fine"), smuggled.clone()].concat(), 200),
        ("204 with body", [b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), smuggled.clone()].concat(), 204),
        (
            "content-length and chunked",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_vec(),
            503,
        ),
        ("interim flood", [b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50), ok(b"fine")].concat(), 503),
        ("two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello".to_vec(), 503),
    ];
    for (name, response, expected) in responses {
        let bytes = response.clone();
        let mut wiki =
            Scripted::new(move |asked| Some(if asked.connection == 0 { bytes.clone() } else { ok(b"fresh") })).await;
        let door = Running::wiki_at(wiki.address).await;
        let cookie = door.cookie(VISITOR);
        let mut client = door.client().await;
        let first = client.get("/1", &cookie).await;
        let is_refused = expected == 503 && matches!(first.status, 502 | 503);
        assert!(first.status == expected || is_refused, "{name}: {first:?}");
        let second = client.get("/2", &cookie).await;
        assert_eq!((second.status, second.text().as_str()), (200, "fresh"), "{name}");
        assert_eq!([wiki.next().await.connection, wiki.next().await.connection], [0, 1], "{name}");
    }
}

#[tokio::test]
async fn what_an_upstream_says_in_our_name_is_dropped() {
    let response = "HTTP/1.1 200 OK\r\nSet-Cookie: __Host-countersign=stolen\r\nSet-Cookie: theme=dark\r\n\
                    X-Countersign-Decision: forged\r\nAlt-Svc: h3=\":443\"\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                    Keep-Alive: timeout=5\r\nX-Own: kept\r\ncontent-length: 2\r\n\r\nhi";
    let wiki = Scripted::new(|_| Some(response.as_bytes().to_vec())).await;
    let door = Running::wiki_at(wiki.address).await;
    let answer = door.client().await.get("/", &door.cookie(VISITOR)).await;
    assert_eq!((answer.header("set-cookie"), answer.header("x-own")), (Some("theme=dark"), Some("kept")));
    for name in ["alt-svc", "x-hop", "keep-alive"] {
        assert_eq!(answer.header(name), None, "{name}: {answer:?}");
    }
    assert!(!answer.head.contains("stolen") && !answer.head.contains("forged"), "{answer:?}");
    assert!(answer.header("x-countersign-decision").is_some() && answer.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_response_cut_short_upstream_never_looks_whole() {
    for head in ["content-length: 10", "transfer-encoding: chunked"] {
        let address = upstream(move |connection, mut stream| async move {
            next_request(connection, &mut stream, &mut Vec::new()).await;
            let bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n");
            stream.write_all(bytes.as_bytes()).await.unwrap();
        })
        .await;
        let door = Running::wiki_at(address).await;
        let mut client = door.client().await;
        client.send(request("GET", "/", &door.cookie(VISITOR), "")).await;
        let (bytes, is_clean) = client.rest().await;
        assert!(!is_clean, "{head}: {}", String::from_utf8_lossy(&bytes));
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "{head}");
    }
}

#[tokio::test]
async fn an_https_upstream_is_verified_unless_a_reason_is_written_down() {
    for (is_ours, reason, expected) in [(true, None, 200), (false, None, 503), (false, Some("lab"), 200)] {
        let foreign = testkit::TestCa::new();
        let door = Running::start(wiki_apps(&[]), |_| ()).await;
        let ca = if is_ours { door.ca() } else { &foreign };
        let address = https_upstream(ca.server_config(NAMES)).await;
        let apps = wiki_with(address, |app| {
            let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
            upstream.targets = vec![target_at(address, UpstreamScheme::Https)];
            upstream.tls.ca_pem = Some(Arc::from(door.ca().root_pem()));
            upstream.tls.sni = Some(WIKI.to_owned());
            upstream.tls.unverified_because = reason.map(str::to_owned);
        });
        let door = Running::start(apps, |_| ()).await;
        let answer = door.client().await.get("/", &door.cookie(VISITOR)).await;
        assert_eq!(answer.status, expected, "{is_ours} {reason:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_upstream_may_carry_another_name_if_the_app_says_which() {
    for (san, expected) in [(None, 503), (Some("inner.corp.test"), 200), (Some("other.corp.test"), 503)] {
        let ca = testkit::TestCa::new();
        // Shows its one certificate whatever name it is asked for.
        let inner = ca.named("inner", &["inner.corp.test"]);
        let chain = vec![PemObject::from_pem_slice(inner.chain_pem.as_bytes()).unwrap()];
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(inner.key_pem.expose().as_bytes()).unwrap();
        let provider = Arc::clone(ca.server_config(NAMES).crypto_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let address = https_upstream(Arc::new(config)).await;
        let apps = wiki_with(address, |app| {
            let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
            upstream.targets = vec![target_at(address, UpstreamScheme::Https)];
            upstream.tls.ca_pem = Some(Arc::from(ca.root_pem()));
            upstream.tls.sni = Some(WIKI.to_owned());
            upstream.tls.san = san.map(str::to_owned);
        });
        let door = Running::start(apps, |_| ()).await;
        let answer = door.client().await.get("/", &door.cookie(VISITOR)).await;
        assert_eq!(answer.status, expected, "{san:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_wants_a_certificate_is_shown_the_one_the_app_names_and_no_other() {
    let ca = testkit::TestCa::new();
    let ours = ca.named("to-apps", &["gateway.corp.test"]);
    let chain = ours.chain_pem.as_bytes();
    let leaf: rustls::pki_types::CertificateDer<'static> = PemObject::from_pem_slice(chain).unwrap();
    for (client, expected) in [(Some("to-apps"), 200), (None, 503), (Some("gone"), 503)] {
        let served = ca.server_config(NAMES);
        let verifier =
            Only { leaf: leaf.clone(), provider: rustls::crypto::CryptoProvider::clone(served.crypto_provider()) };
        let config = rustls::ServerConfig::builder_with_provider(served.crypto_provider().clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(served.cert_resolver.clone());
        let address = https_upstream(Arc::new(config)).await;
        let apps = wiki_with(address, |app| {
            let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
            upstream.targets = vec![target_at(address, UpstreamScheme::Https)];
            upstream.tls.ca_pem = Some(Arc::from(ca.root_pem()));
            upstream.tls.sni = Some(WIKI.to_owned());
            upstream.tls.client = client.map(Arc::from);
        });
        let named = ours.clone();
        let door = Running::start(apps, |settings| settings.upstream_identities = Arc::from([named])).await;
        let answer = door.client().await.get("/", &door.cookie(VISITOR)).await;
        assert!(answer.status == expected || (expected == 503 && answer.status == 502), "{client:?}: {answer:?}");
    }
}

/// Lets in who shows exactly this certificate and holds its key.
#[derive(Debug)]
struct Only {
    leaf: rustls::pki_types::CertificateDer<'static>,
    provider: rustls::crypto::CryptoProvider,
}

impl rustls::server::danger::ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        match leaf.as_ref() == self.leaf.as_ref() {
            true => Ok(rustls::server::danger::ClientCertVerified::assertion()),
            false => Err(rustls::Error::General("not this one".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &rustls::pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Speaks HTTP/1.1 only, and says so in its ALPN.
async fn https_upstream(config: Arc<rustls::ServerConfig>) -> std::net::SocketAddr {
    let mut config = (*config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut read = Vec::new();
            while super::support::find(&read, b"\r\n\r\n").is_none() {
                if tokio::io::AsyncReadExt::read_buf(&mut stream, &mut read).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _ = stream.write_all(&ok(b"secure")).await;
            let _ = stream.flush().await;
        }
    });
    address
}

#[tokio::test]
async fn an_h2c_upstream_is_shared_by_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(tcp).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let text = format!("{} {}", request.method(), request.uri());
                    let mut send = respond.send_response(http::Response::new(()), false).unwrap();
                    send.send_data(text.into(), true).unwrap();
                }
            });
        }
    });
    let apps = wiki_with(address, |app| {
        let upstream = app.upstreams.get_mut(&UpstreamName::new("web")).unwrap();
        upstream.targets = vec![target_at(address, UpstreamScheme::H2c)];
    });
    let door = Running::start(apps, |_| ()).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    for target in ["/1", "/2?x=1"] {
        let answer = soon(client.get(target, &cookie)).await;
        assert_eq!((answer.status, answer.text()), (200, format!("GET http://{WIKI}:8443{target}")));
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// Bytes of an upstream that a lenient reader could take for another header, another response, or none.
#[tokio::test]
async fn response_splitting_by_an_upstream_reaches_nobody() {
    for hostile in [
        "HTTP/1.1 200 OK\r\nx: a\rset-cookie: stolen=1\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nset-cookie : stolen=1\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: a\r\n set-cookie: stolen=1\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
        "<html>no HTTP at all</html>\r\n\r\n",
    ] {
        let app = Scripted::new(move |_| Some(hostile.as_bytes().to_vec())).await;
        let door = Running::wiki_at(app.address).await;
        let cookie = door.cookie(VISITOR);
        let answer = door.client().await.get("/", &cookie).await;
        assert_eq!(answer.status, 503, "{hostile:?} {}", answer.head);
        assert!(!answer.head.contains("stolen") && answer.text() != "ok", "{hostile:?}");
        assert_eq!(door.completion().await.completion.end_cause, Some(EndCause::UpstreamError), "{hostile:?}");
    }
}

/// What comes behind a body is no better than what comes before it.
#[tokio::test]
async fn trailers_of_an_upstream_set_nothing_of_ours() {
    let app = Scripted::new(|_| {
        let trailers = "set-cookie: __Host-countersign=x; Path=/; Secure\r\nx-countersign-decision: forged\r\n\
                        content-length: 9\r\nx-checksum: 1\r\n";
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
        Some(format!("{head}{trailers}\r\n").into_bytes())
    })
    .await;
    let door = Running::wiki_at(app.address).await;
    let cookie = door.cookie(VISITOR);
    let mut client = door.client().await;
    client.send(request("GET", "/", &cookie, "TE: trailers\r\nConnection: TE, close\r\n")).await;
    let (bytes, is_clean) = client.rest().await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(is_clean && text.contains("\r\n0\r\n"), "{text}");
    let trailers = text.rsplit("\r\n0\r\n").next().unwrap();
    for forged in ["__Host-countersign", "forged", "content-length"] {
        assert!(!trailers.contains(forged), "{text}");
    }
}

/// Knows its connections as people: the first request of each is challenged, and NTLM makes it known.
async fn knowing_connections() -> Scripted {
    let known = std::sync::Mutex::new(std::collections::HashSet::new());
    Scripted::new(move |asked| {
        let mut known = known.lock().unwrap();
        if asked.all("authorization").concat().starts_with("NTLM") {
            known.insert(asked.connection);
        }
        match known.contains(&asked.connection) {
            true => Some(ok(b"known")),
            false => Some(b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: NTLM\r\ncontent-length: 0\r\n\r\n".to_vec()),
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_known_as_a_person_is_never_given_to_another_client() {
    let mut wiki = knowing_connections().await;
    let door = Running::wiki_at(wiki.address).await;
    let cookie = door.cookie(VISITOR);
    let (mut first, mut second) = (door.client().await, door.client().await);
    assert_eq!(first.get("/1", &cookie).await.status, 401);
    first.send(request("GET", "/2", &cookie, "Authorization: NTLM TlRM\r\n")).await;
    assert_eq!(first.answer().await.text(), "known");
    assert_eq!(first.get("/3", &cookie).await.text(), "known", "the pair stays together");
    assert_eq!(second.get("/4", &cookie).await.status, 401, "another connection of the same person");
    assert_eq!(first.get("/5", &cookie).await.text(), "known");
    let asked = [wiki.next().await, wiki.next().await, wiki.next().await, wiki.next().await, wiki.next().await];
    assert_eq!(asked.map(|asked| asked.connection), [0, 0, 0, 1, 0]);
}

#[tokio::test]
async fn a_pinned_connection_is_not_used_under_another_session_of_the_same_client() {
    let mut wiki = knowing_connections().await;
    let door = Running::wiki_at(wiki.address).await;
    let mut client = door.client().await;
    client.send(request("GET", "/1", &door.cookie(VISITOR), "Authorization: NTLM TlRM\r\n")).await;
    assert_eq!(client.answer().await.text(), "known");
    assert_eq!(
        client.get("/2", &door.cookie(crate::core::world::CAROL)).await.status,
        401,
        "somebody else on the same wire"
    );
    assert_eq!(client.get("/3", &door.cookie(VISITOR)).await.status, 401, "and the pair is not found again");
    let asked = [wiki.next().await, wiki.next().await, wiki.next().await];
    assert_ne!(asked[0].connection, asked[1].connection);
}
