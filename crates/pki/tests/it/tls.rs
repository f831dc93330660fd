//! Handshakes between our configurations and rustls peers, in memory. Certificates are judged by the real clock.

use std::sync::Arc;
use std::time::Duration;

use pki::tls::{
    ALPN_H2, ALPN_HTTP11, MAX_CERTIFICATES, PostQuantum, TlsError, TlsSettings, TlsVersion, Verify, client_config,
    server_config,
};
use pki::{LocalCa, NamedCertificate, SecretText};
use rustls::crypto::aws_lc_rs as provider;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, ServerConnection,
};
use rustls_pki_types::ServerName;
use testkit::{SimClock, TestCa};

/// Both ends after a handshake.
type Pair = (ClientConnection, ServerConnection);

/// More rounds than any handshake needs.
const MAX_ROUNDS: usize = 20;

fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> Result<Pair, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    for _ in 0..MAX_ROUNDS {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = wire.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
        if !client.is_handshaking() && !server.is_handshaking() && !client.wants_write() {
            return Ok((client, server));
        }
    }
    Err(rustls::Error::General("the handshake does not end".to_owned()))
}

fn leaf(client: &ClientConnection) -> Vec<u8> {
    client.peer_certificates().unwrap()[0].to_vec()
}

fn der(certificate: &NamedCertificate) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::from_pem_slice(certificate.chain_pem.as_bytes()).unwrap().to_vec()
}

fn foreign_client(ca: &TestCa, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    use rustls_pki_types::pem::PemObject;
    let mut groups = provider::default_provider();
    groups.kx_groups = vec![provider::kx_group::X25519];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(ca.root_pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(groups)).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn both_our_ends_agree_on_the_hybrid_group_and_http2() {
    let ca = TestCa::new();
    let client = ca.client_config(&[ALPN_H2, ALPN_HTTP11]);
    let (client, server) = handshake(&client, &ca.server_config(&["wiki.localhost"]), "wiki.localhost").unwrap();
    assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(server.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!(client.alpn_protocol(), Some(ALPN_H2));
    assert_eq!(server.server_name(), Some("wiki.localhost"));
}

#[test]
fn an_older_client_gets_tls_1_2_with_forward_secrecy_unless_1_3_is_the_minimum() {
    let ca = TestCa::new();
    let client = foreign_client(&ca, &[&rustls::version::TLS12]);
    let certificates = [ca.named("corp", &["wiki.localhost"])];
    let settings = |min_version, pq| TlsSettings { min_version, pq };

    let server = server_config(&certificates, settings(TlsVersion::V1_2, PostQuantum::Prefer)).unwrap();
    let (_, server) = handshake(&client, &server, "wiki.localhost").unwrap();
    let suite = server.negotiated_cipher_suite().unwrap().suite();
    assert!(format!("{suite:?}").starts_with("TLS_ECDHE_ECDSA_WITH_"), "{suite:?}");

    let server = server_config(&certificates, settings(TlsVersion::V1_3, PostQuantum::Prefer)).unwrap();
    assert!(handshake(&client, &server, "wiki.localhost").is_err());
}

#[test]
fn a_classical_client_is_refused_where_post_quantum_is_required() {
    let ca = TestCa::new();
    let client = foreign_client(&ca, &[&rustls::version::TLS13]);
    let certificates = [ca.named("corp", &["wiki.localhost"])];
    let settings = |min_version, pq| TlsSettings { min_version, pq };

    let server = server_config(&certificates, settings(TlsVersion::V1_3, PostQuantum::Prefer)).unwrap();
    let (_, connected) = handshake(&client, &server, "wiki.localhost").unwrap();
    assert_eq!(connected.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519);

    let server = server_config(&certificates, settings(TlsVersion::V1_3, PostQuantum::Require)).unwrap();
    assert!(handshake(&client, &server, "wiki.localhost").is_err());
    assert!(handshake(&ca.client_config(&[]), &server, "wiki.localhost").is_ok());

    let refused = server_config(&certificates, settings(TlsVersion::V1_2, PostQuantum::Require));
    assert!(matches!(refused, Err(TlsError::PostQuantumNeedsTls13)));
}

#[test]
fn the_certificate_is_picked_by_server_name_exact_before_wildcard() {
    let ca = TestCa::new();
    let first = ca.named("first", &["auth.corp.test", "127.0.0.1", "::1"]);
    let wildcard = ca.named("wildcard", &["*.corp.test"]);
    let exact = ca.named("exact", &["wiki.corp.test"]);
    let config = server_config(&[first.clone(), wildcard.clone(), exact.clone()], TlsSettings::STANDARD).unwrap();
    let client = ca.client_config(&[]);
    let served = |name| leaf(&handshake(&client, &config, name).unwrap().0);
    assert_eq!(served("auth.corp.test"), der(&first));
    assert_eq!(served("AUTH.corp.test"), der(&first));
    assert_eq!(served("wiki.corp.test"), der(&exact));
    assert_eq!(served("other.corp.test"), der(&wildcard));
    // Addresses are never sent as server names.
    assert_eq!(served("127.0.0.1"), der(&first));
    assert_eq!(served("::1"), der(&first));
}

#[test]
fn a_server_name_no_certificate_covers_is_refused_in_the_handshake() {
    let ca = TestCa::new();
    let config = ca.server_config(&["*.corp.test"]);
    let client = client_config(None, &[], Verify::Off).unwrap();
    for name in ["corp.test", "a.b.corp.test", "wiki.corp.test.attacker.example", "localhost"] {
        assert!(handshake(&client, &config, name).is_err(), "{name}");
    }
    assert!(handshake(&client, &config, "wiki.corp.test").is_ok());
}

#[test]
fn a_ticket_is_not_resumed_under_another_server_name() {
    let ca = TestCa::new();
    let config = ca.server_config(&["*.corp.test"]);
    let client = ca.client_config(&[]);
    let kind = |name| handshake(&client, &config, name).unwrap().1.handshake_kind().unwrap();
    assert_eq!(kind("wiki.corp.test"), HandshakeKind::Full);
    assert_eq!(kind("wiki.corp.test"), HandshakeKind::Resumed);
    assert_eq!(kind("payroll.corp.test"), HandshakeKind::Full);
}

#[test]
fn early_data_is_off_on_both_sides() {
    let ca = TestCa::new();
    assert_eq!(ca.server_config(&["localhost"]).max_early_data_size, 0);
    assert!(!ca.client_config(&[]).enable_early_data);
}

#[test]
fn a_client_refuses_another_authority_another_name_and_an_expired_certificate() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let client = ca.client_config(&[]);
    let expired = ca.issue_expired(&["localhost"]);
    let expired = NamedCertificate { name: "old".to_owned(), chain_pem: expired.chain_pem, key_pem: expired.key_pem };
    let refusing = [other.server_config(&["localhost"]), server_config(&[expired], TlsSettings::STANDARD).unwrap()];
    for server in refusing {
        assert!(handshake(&client, &server, "localhost").is_err());
    }
    assert!(handshake(&client, &ca.server_config(&["localhost"]), "127.0.0.1").is_err());
    assert!(handshake(&client, &ca.server_config(&["localhost"]), "localhost").is_ok());
}

#[test]
fn verification_switched_off_takes_any_certificate() {
    let client = client_config(None, &[ALPN_HTTP11], Verify::Off).unwrap();
    let (client, _) = handshake(&client, &TestCa::new().server_config(&["localhost"]), "localhost").unwrap();
    assert_eq!(client.alpn_protocol(), Some(ALPN_HTTP11));
}

#[test]
fn roots_that_are_none_are_refused_with_a_hint() {
    for pem in ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let refused = client_config(Some(pem), &[], Verify::Normal);
        assert!(matches!(refused, Err(TlsError::Roots { hint }) if hint.contains("`ca`")), "{pem}");
    }
}

#[test]
fn an_authority_limited_to_names_cannot_vouch_for_others() {
    let (now, day) = (real_now(), Duration::from_secs(86_400));
    let long = format!("{0}.{0}.localhost", "a".repeat(60));
    let all =
        ["localhost", "wiki.localhost", &long, "127.0.0.1", "::1", "bank.example", "localhost.example", "127.0.0.2"];
    let served = |permitted: &[&str]| -> Vec<&str> {
        let ca = LocalCa::create("limited", permitted, now, day).unwrap();
        let client = client_config(Some(ca.certificate_pem()), &[], Verify::Normal).unwrap();
        let is_served = |name: &str| {
            let issued = ca.issue_server(&[name], now, day).unwrap();
            let (chain_pem, key_pem) = (issued.chain_pem, issued.key_pem);
            let named = NamedCertificate { name: "x".to_owned(), chain_pem, key_pem };
            let server = server_config(&[named], TlsSettings::STANDARD).unwrap();
            handshake(&client, &server, name).is_ok()
        };
        all.into_iter().filter(|name| is_served(name)).collect()
    };
    assert_eq!(served(&["localhost", "127.0.0.1"]), ["localhost", "wiki.localhost", &long, "127.0.0.1"]);
    // A kind of name that is not listed is not free.
    assert_eq!(served(&["localhost"]), ["localhost", "wiki.localhost", &long]);
    assert_eq!(served(&["::1"]), ["::1"]);
    assert_eq!(served(&[]), all);
}

#[test]
fn an_authority_read_back_issues_as_before() {
    let now = real_now();
    let day = Duration::from_secs(86_400);
    let made = LocalCa::create("Countersign local CA", &[], now, day).unwrap();
    let ca = LocalCa::load(made.certificate_pem(), &made.key_pem()).unwrap();
    let client = client_config(Some(made.certificate_pem()), &[], Verify::Normal).unwrap();
    let issued = ca.issue_server(&["localhost", "*.corp.localhost", "127.0.0.1"], now, day).unwrap();
    let named = NamedCertificate { name: "x".to_owned(), chain_pem: issued.chain_pem, key_pem: issued.key_pem };
    let server = server_config(std::slice::from_ref(&named), TlsSettings::STANDARD).unwrap();
    assert!(handshake(&client, &server, "wiki.corp.localhost").is_ok());

    let certificate = named.parse().unwrap();
    assert_eq!(certificate.names().collect::<Vec<_>>(), ["localhost", "*.corp.localhost", "127.0.0.1"]);
    assert_eq!(certificate.not_after().unix_secs(), (now + day).unix_secs());
    assert!(LocalCa::load("nothing", &made.key_pem()).is_err());
    assert!(LocalCa::load(made.certificate_pem(), &SecretText::new("nothing".to_owned())).is_err());
}

#[test]
fn the_fingerprint_for_chromium_is_that_of_the_served_key() {
    use aws_lc_rs::digest::{SHA256, digest};
    use rustls::sign::SigningKey;
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject;
    let issued = TestCa::new().issue(&["localhost"]);
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.expose().as_bytes()).unwrap();
    let key: Arc<dyn SigningKey> = provider::sign::any_supported_type(&key).unwrap();
    let expected = data_encoding::BASE64.encode(digest(&SHA256, &key.public_key().unwrap()).as_ref());
    assert_eq!(issued.spki_sha256, expected);
}

#[test]
fn a_wildcard_covers_one_label_and_addresses_only_themselves() {
    let covers = |names: &[&str], host: &str| TestCa::new().named("c", names).parse().unwrap().covers(host);
    let names = ["corp.test", "*.corp.test", "127.0.0.1", "::1"];
    for host in ["corp.test", "CORP.test", "wiki.corp.test", "*.corp.test", "127.0.0.1", "::1", "0:0::1"] {
        assert!(covers(&names, host), "{host}");
    }
    for host in ["a.b.corp.test", "*.a.corp.test", ".corp.test", "corp.test.", "test", "", "127.0.0.2", "xcorp.test"] {
        assert!(!covers(&names, host), "{host}");
    }
    assert!(!covers(&["wiki.corp.test"], "*.corp.test"));
}

#[test]
fn a_certificate_that_cannot_be_served_is_named_with_what_is_wrong() {
    let ca = TestCa::new();
    let (good, other) = (ca.named("corp", &["localhost"]), ca.named("other", &["localhost"]));
    let with = |chain_pem: &str, key_pem: &str| {
        let key_pem = SecretText::new(key_pem.to_owned());
        let named = NamedCertificate { name: "corp".to_owned(), chain_pem: chain_pem.to_owned(), key_pem };
        server_config(&[named], TlsSettings::STANDARD).map(|_| ()).unwrap_err()
    };
    let key = good.key_pem.expose();
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let wrong_key = other.key_pem.expose();
    let errors = [
        (with("", key), "chain of certificate `corp`"),
        (with(key, key), "chain of certificate `corp`"),
        (with(no_certificate, key), "chain of `corp`"),
        (with(&good.chain_pem, ""), "key of certificate `corp`"),
        (with(&good.chain_pem, &good.chain_pem), "key of certificate `corp`"),
        (with(&good.chain_pem, wrong_key), "belongs to another certificate"),
        (with(ca.root_pem(), key), "no DNS name or address"),
    ];
    for (error, expected) in errors {
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains("`corp`"), "{message}");
        assert!(!message.contains("PRIVATE"), "{message}");
    }
    assert!(matches!(server_config(&[], TlsSettings::STANDARD), Err(TlsError::NoCertificate)));
    let many = vec![good; MAX_CERTIFICATES + 1];
    assert!(matches!(server_config(&many, TlsSettings::STANDARD), Err(TlsError::TooMany { .. })));
}

#[test]
fn names_that_no_certificate_may_carry_are_refused() {
    let ca = LocalCa::create("x", &[], SimClock::START, Duration::from_secs(60)).unwrap();
    let issue = |names: &[&str]| ca.issue_server(names, SimClock::START, Duration::from_secs(60));
    for bad in [
        "",
        "*",
        "*.",
        "a b",
        "a..b",
        "-a.test",
        "a-.test",
        "https://a.test",
        "a.test:443",
        "a.*.test",
        "*.test",
        "*.localhost",
        "ä.test",
    ] {
        assert!(issue(&[bad]).is_err(), "{bad}");
    }
    assert!(issue(&[&"a".repeat(64)]).is_err());
    assert!(issue(&[]).is_err());
    assert!(issue(&vec!["a.test"; pki::ca::MAX_NAMES]).is_ok());
    assert!(issue(&vec!["a.test"; pki::ca::MAX_NAMES + 1]).is_err());
    assert!(issue(&["xn--bcher-kva.test", "a_b.test", "*.a.test", "10.0.0.1", "::1"]).is_ok());
}

fn real_now() -> model::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    model::Timestamp(0) + since
}
