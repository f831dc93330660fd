//! What an assertion costs: `cargo bench -p pki`. Signing is on the path of each request, verifying on the app's.

use std::hint::black_box;
use std::time::{Duration, Instant};

use model::Timestamp;
use pki::jose::assertion::{self, RequestClaim, SubjectKind};
use pki::jose::{Jwks, VerifyingKeys};
use pki::{AssertionClaims, SigningKey};

const ROUNDS: usize = 5_000;
const NOW: Timestamp = Timestamp(1_793_534_400_000_000_000);

fn main() {
    let Ok(key) = SigningKey::generate("bench") else {
        return eprintln!("no key can be made on this machine");
    };
    let (Ok(token), Ok(keys)) =
        (key.sign(assertion::TYP, &claims()), VerifyingKeys::from_jwks(&Jwks::new([key.public_jwk()])))
    else {
        return eprintln!("the key cannot be used");
    };
    report("make claims and sign", || drop(black_box(key.sign(assertion::TYP, &claims()))));
    report("verify", || drop(black_box(AssertionClaims::verify(&token, &keys, "https://auth.test", "payroll", NOW))));
}

fn report(what: &str, mut work: impl FnMut()) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    times.sort();
    let at = |permille: usize| times.get(ROUNDS * permille / 1000).copied().unwrap_or_default();
    println!("{what}: p50 {:?}, p99 {:?}", at(500), at(990));
}

fn claims() -> AssertionClaims {
    let iat = NOW.unix_secs();
    AssertionClaims {
        iss: "https://auth.test".to_owned(),
        aud: "payroll".to_owned(),
        sub: "usr_aaaaaaaaaaaaaaaaaaaaaaaaae".to_owned(),
        kind: SubjectKind::User,
        name: Some("Alice".to_owned()),
        email: Some("alice@corp.test".to_owned()),
        groups: None,
        groups_overage: false,
        acr: "phr".to_owned(),
        amr: vec!["hwk".to_owned(), "user".to_owned()],
        auth_time: iat - 60,
        sid: "ses_aaaaaaaaaaaaaaaaaaaaaaaaae".to_owned(),
        device: None,
        act: None,
        req: RequestClaim::new("POST", "payroll.corp.test", Some("/records/7?month=11")),
        dec: "aaaaaaaaaaaaaaaaaaaaaaaaae".to_owned(),
        pol: format!("sha256:{}", "0".repeat(64)),
        trace: "0".repeat(32),
        iat,
        exp: iat + 60,
        jti: "aaaaaaaaaaaaaaaaaaaaaaaaae".to_owned(),
    }
    .with_groups((0..10).map(|index| format!("group-{index}")).collect())
}
