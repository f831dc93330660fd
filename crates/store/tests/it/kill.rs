//! SIGKILL in the middle of writing: every acknowledged write is there afterwards, and never half of one.
//!
//! The writer is this very test binary, started again as a child with [`CHILD`] set; it says on its standard output
//! what the store has acknowledged. (Power loss is not tested here: `synchronous=FULL` is checked in `files`.)

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use model::changes::{HostToken, SessionChange, SessionSnapshot, Tombstone};
use model::ids::{Digest32, SessionId, TokenHash, UserId};
use model::seams::Cause;
use model::session::{ABSOLUTE_DEFAULT, Epochs, IDLE_DEFAULT, Session};
use store::{ConfigFile, ConfigStore, NewConfig, Note, SessionStore, Store};
use uuid::Uuid;

use crate::conformance::at;

const CHILD: &str = "STORE_KILL_TEST_CHILD";
const KILLS: u64 = 10;
/// How many acknowledgements a child gives before it is killed, at least.
const ACKNOWLEDGED: u64 = 5;
const TOKENS: u8 = 3;

#[tokio::test]
async fn a_killed_writer_loses_nothing_acknowledged_and_leaves_nothing_half() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&path)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = start(&path);
        let last = read_then_kill(&mut child, kill);
        assert!(last > acknowledged, "kill {kill}: no progress");
        acknowledged = last;
        check(&path, acknowledged).await;
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::a_killed_writer_loses_nothing_acknowledged_and_leaves_nothing_half", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child at a moment of its own, wherever it is by then, and gives the last number it acknowledged.
fn read_then_kill(child: &mut Child, kill: u64) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let number = |line: String| line.strip_prefix("kept ").and_then(|number| number.parse::<u64>().ok());
    let mut last = 0;
    for number in lines.by_ref().filter_map(number).take(usize::try_from(ACKNOWLEDGED).unwrap()) {
        last = number;
    }
    assert!(last > 0, "the child wrote nothing");
    // Not waiting for anything: the kill is to fall anywhere in a transaction.
    std::thread::sleep(Duration::from_micros(kill * 1_700));
    child.kill().unwrap();
    child.wait().unwrap();
    // What was acknowledged between the last line read and the kill is still in the pipe.
    lines.filter_map(number).last().unwrap_or(last)
}

/// Round `n` is one transaction: session `n` with its cookies, the end of session `n - 1`, and the person's epoch;
/// and another: configuration `n` with its files.
async fn write_until_killed(path: &Path) {
    let store = Store::open(path, at(0)).await.unwrap();
    let snapshot = store.sessions().await.unwrap();
    let mut round = snapshot.user_epochs.first().map_or(0, |(_, epoch)| *epoch);
    let mut base = store.current_config().await.unwrap().map_or(0, |config| config.summary.number);
    loop {
        round += 1;
        store.keep_sessions(changes(round)).await.unwrap();
        // A kill between the two transactions of a round leaves the second to be made up for.
        while base < round {
            base = store.add_config(config(base)).await.unwrap();
            let note = Note { id: Uuid::from_u128(u128::from(base)), at: at(0), body: String::new() };
            store.confirm_config(base, note).await.unwrap();
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "kept {round}").unwrap();
        out.flush().unwrap();
    }
}

/// The store holds rounds 1 to `n` for some `n` not below what was acknowledged, each whole.
async fn check(path: &Path, acknowledged: u64) {
    let store = Store::open(path, at(0)).await.unwrap();
    let SessionSnapshot { sessions, tokens, tombstones, user_epochs, .. } = store.sessions().await.unwrap();
    let rounds = user_epochs.first().map_or(0, |(_, epoch)| *epoch);
    assert!(rounds >= acknowledged, "round {acknowledged} was acknowledged, {rounds} is the last kept");
    let live: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
    assert_eq!(live, [id(rounds)], "exactly the last session lives");
    let dead: BTreeSet<SessionId> = tombstones.iter().map(|tombstone| tombstone.session).collect();
    assert_eq!(dead, (0..rounds).map(id).collect());
    assert_eq!(tokens.len() as u64, rounds * u64::from(TOKENS), "every session has all its cookies");
    let config = store.current_config().await.unwrap().unwrap();
    assert!(config.summary.number >= acknowledged);
    assert_eq!(config.files, self::config(config.summary.number - 1).files, "every file or none");
    store.close().await;
}

fn id(round: u64) -> SessionId {
    SessionId(Uuid::from_u128(u128::from(round)))
}

fn changes(round: u64) -> Vec<SessionChange> {
    let user = UserId(Uuid::from_u128(7));
    let session = Session {
        id: id(round),
        user,
        idp: "local".into(),
        acr: "phr".into(),
        amr: BTreeSet::new(),
        is_mfa: true,
        is_phishing_resistant: true,
        is_passkey_synced: false,
        credential: String::new(),
        auth_time: at(0),
        created: at(0),
        last_active: at(0),
        idle_limit: IDLE_DEFAULT,
        absolute_limit: ABSOLUTE_DEFAULT,
        epochs: Epochs { user: round, ..Epochs::default() },
        step_ups: Vec::new(),
        rounds: Vec::new(),
        src_net: String::new(),
        user_agent: String::new(),
    };
    let token = |number: u8| HostToken {
        token: TokenHash::of(format!("{round}/{number}").as_bytes()),
        session: id(round),
        host: "wiki.localhost".into(),
        valid_until: None,
    };
    let tombstone = Tombstone { session: id(round - 1), user: Some(user), cause: Cause::SignedOut, until: at(43_200) };
    vec![
        SessionChange::Upsert { session: Arc::new(session), tokens: (0..TOKENS).map(token).collect() },
        SessionChange::Tombstone(tombstone),
        SessionChange::UserEpoch { user, epoch: round },
    ]
}

fn config(base: u64) -> NewConfig {
    let file =
        |number: u64| ConfigFile { name: format!("{number}.yaml"), text: format!("version: {base}\n").repeat(50) };
    NewConfig {
        base,
        digest: Digest32::of(&base.to_be_bytes()),
        author: "carol".into(),
        reason: String::new(),
        applied_at: at(0),
        files: (0..20).map(file).collect(),
    }
}
