//! The differential property against the servers that `cargo xtask` started in front of our echo.

use std::net::SocketAddr;

use drill::Echo;
use drill::differential::{Generator, Views, look};

/// `echo=PORT nginx=PORT …`, as `cargo xtask` sets it.
const VARIABLE: &str = "COUNTERSIGN_DIFFERENTIAL";
const CASES_VARIABLE: &str = "COUNTERSIGN_DIFFERENTIAL_CASES";
const SEED_VARIABLE: &str = "COUNTERSIGN_DIFFERENTIAL_SEED";
/// In every run of the tests.
const CASES: u64 = 150;
/// Differences shown of each server.
const MOST_SHOWN: usize = 10;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_servers_hand_on_what_the_gate_accepted_as_the_gate_read_it() {
    let Ok(servers) = std::env::var(VARIABLE) else {
        let required = std::env::var_os("COUNTERSIGN_REQUIRE_PEERS").is_some();
        assert!(!required, "no server to compare with: run `cargo xtask test` or `cargo xtask differential`");
        println!(
            "SKIPPED: the gate was not compared with other servers; missing: those that `cargo xtask peers` installs"
        );
        return;
    };
    let local = |port: &str| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    let mut servers: Vec<(&str, SocketAddr)> =
        servers.split(' ').filter_map(|pair| pair.split_once('=')).map(|(name, port)| (name, local(port))).collect();
    let (_, address) = servers.remove(0);
    let echo = Echo::start(address).await.unwrap();
    let (cases, seed) = (number(CASES_VARIABLE, CASES), number(SEED_VARIABLE, 1));
    let mut generator = Generator::new(seed);
    let mut views: Vec<Views> = servers.iter().map(|_| Views::default()).collect();
    for _ in 0..cases {
        let accepted = generator.accepted();
        for ((_, address), views) in servers.iter().zip(&mut views) {
            look(*address, &echo, &accepted, views).await.unwrap();
        }
    }
    let mut different = 0;
    for ((name, _), views) in servers.iter().zip(&views) {
        println!(
            "{name}: {} the same, {} in another encoding, {} without empty segments, {:?} refused, {} different; seed {seed}",
            views.same,
            views.respelled,
            views.merged,
            views.refused,
            views.different.len()
        );
        for difference in views.different.iter().take(MOST_SHOWN) {
            println!("  {difference}");
        }
        assert!(views.same > 0, "{name} handed on nothing");
        different += views.different.len();
    }
    assert_eq!(different, 0);
}
