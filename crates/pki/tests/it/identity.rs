//! TLS between our own processes, in memory.

use std::sync::Arc;

use model::Timestamp;
use pki::svid::{IdentityCa, IdentityKey, ProvenKey, SVID_LIFE, SpiffeId};
use pki::tls::identity::{
    Identity, Peer, PeerVerifier, Trust, authority_pin, control_config, control_name, gateway_config,
};
use rustls::{ClientConnection, ServerConnection};

const DOMAIN: &str = "auth.test";

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_nanos()).unwrap())
}

struct Control {
    ca: IdentityCa,
    verifier: Arc<PeerVerifier>,
    config: Arc<rustls::ServerConfig>,
}

fn control() -> Control {
    let ca = IdentityCa::create(DOMAIN, now()).unwrap();
    let key = IdentityKey::generate().unwrap();
    let proven = ProvenKey::of(&key.proof(now()).unwrap().1).unwrap();
    let leaf = ca.issue_control(&SpiffeId::control(DOMAIN).unwrap(), &proven, now()).unwrap();
    let identity = Identity { chain_pem: format!("{leaf}{}", ca.certificate_pem()), key_pem: key.pem() };
    let verifier = PeerVerifier::new(ca.certificate_pem()).unwrap();
    let config = control_config(&identity, Arc::clone(&verifier)).unwrap();
    Control { ca, verifier, config }
}

fn gateway(ca: &IdentityCa, id: &str, at: Timestamp) -> Identity {
    let key = IdentityKey::generate().unwrap();
    let proven = ProvenKey::of(&key.proof(now()).unwrap().1).unwrap();
    let id: SpiffeId = id.parse().unwrap();
    Identity { chain_pem: ca.issue(&id, &proven, at, SVID_LIFE).unwrap(), key_pem: key.pem() }
}

fn stranger() -> Identity {
    let key = IdentityKey::generate().unwrap();
    Identity { chain_pem: key.proof(now()).unwrap().0, key_pem: key.pem() }
}

/// Both ends until nothing more is to be said; who the server takes the client for.
fn handshake(control: &Control, identity: &Identity, trust: Trust) -> Result<Peer, String> {
    let config = gateway_config(identity, trust).map_err(|error| error.to_string())?;
    let mut client = ClientConnection::new(config, control_name().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::clone(&control.config)).unwrap();
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut from = bytes.as_slice();
        while !from.is_empty() {
            server.read_tls(&mut from).unwrap();
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut from = bytes.as_slice();
        while !from.is_empty() {
            client.read_tls(&mut from).unwrap();
            client.process_new_packets().map_err(|error| format!("client: {error}"))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let since = std::time::Duration::from_nanos(u64::try_from(now().0).unwrap());
    control.verifier.peer(server.peer_certificates().unwrap(), since).map_err(|error| format!("peer: {error}"))
}

fn authority(control: &Control) -> Trust {
    Trust::Authority(control.ca.certificate_pem().to_owned())
}

#[test]
fn a_gateway_is_known_by_its_spiffe_id() {
    let control = control();
    let west = gateway(&control.ca, "spiffe://auth.test/countersign/gateway/west", now());
    let Ok(Peer::Known(id, _)) = handshake(&control, &west, authority(&control)) else { panic!("not known") };
    assert_eq!(id.gateway_name(DOMAIN), Some("west"));
}

#[test]
fn a_stranger_proves_a_key_and_nothing_else() {
    let control = control();
    let pin = authority_pin(control.ca.certificate_pem()).unwrap();
    assert!(matches!(handshake(&control, &stranger(), Trust::Pin(pin)), Ok(Peer::Stranger(_))));
}

#[test]
fn attack_a_control_plane_of_another_authority_is_refused() {
    let (real, other) = (control(), control());
    let pin = authority_pin(real.ca.certificate_pem()).unwrap();
    assert!(handshake(&other, &stranger(), Trust::Pin(pin)).unwrap_err().starts_with("client"));
    let west = gateway(&real.ca, "spiffe://auth.test/countersign/gateway/west", now());
    assert!(handshake(&other, &west, authority(&real)).unwrap_err().starts_with("client"));
}

#[test]
fn attack_a_gateway_cannot_stand_in_for_the_control_plane() {
    let mut control = control();
    let west = gateway(&control.ca, "spiffe://auth.test/countersign/gateway/west", now());
    let chain_pem = format!("{}{}", west.chain_pem, control.ca.certificate_pem());
    let posing = Identity { chain_pem, key_pem: west.key_pem };
    control.config = control_config(&posing, Arc::clone(&control.verifier)).unwrap();
    let pin = authority_pin(control.ca.certificate_pem()).unwrap();
    for trust in [Trust::Pin(pin), authority(&control)] {
        assert!(handshake(&control, &stranger(), trust).unwrap_err().starts_with("client"));
    }
}

#[test]
fn attack_a_certificate_of_another_authority_or_past_its_time_is_at_most_refused() {
    let (control_plane, other) = (control(), control());
    let id = "spiffe://auth.test/countersign/gateway/west";
    let foreign = gateway(&other.ca, id, now());
    assert!(handshake(&control_plane, &foreign, authority(&control_plane)).is_err());
    let old = gateway(&control_plane.ca, id, now() - SVID_LIFE - SVID_LIFE);
    assert!(handshake(&control_plane, &old, authority(&control_plane)).is_err());
}
