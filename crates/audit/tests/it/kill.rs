//! A process that appends under load is killed, again and again (AUD-17): no answered record is ever missing.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use audit::{AuditLog, Query, SealedAccess};
use model::seams::Durability;

use crate::common::{World, small_config};

const KILLS: u64 = 24;
const THREADS: usize = 4;
const DIR: &str = "AUDIT_KILL_DIR";
const RUN: &str = "AUDIT_KILL_RUN";

/// The one that is killed: appends for ever and prints each number it was given.
#[test]
#[ignore = "run by `an_answered_record_survives_kill_9`"]
fn child() {
    let dir = std::env::var(DIR).unwrap();
    let run: u64 = std::env::var(RUN).unwrap().parse().unwrap();
    let world = World::new();
    world.ids.0.store(run << 32, Ordering::SeqCst);
    let config = audit::LogConfig { reserves: 1, ..small_config(dir.as_ref()) };
    let (log, _) = AuditLog::open(&config, world.seams()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, world) = (&log, &world);
            scope.spawn(move || {
                for (n, record) in (0..).flat_map(|_| world.visit()).enumerate() {
                    let durability = if (n + thread) % 16 == 0 { Durability::Strict } else { Durability::Standard };
                    let seq = log.append_blocking(record, durability).unwrap().seq;
                    // Padded, so that the pipe holds about a thousand answers at most.
                    std::io::stdout().lock().write_all(format!("ack {seq:>58}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn an_answered_record_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new();
    let config = small_config(dir.path());
    let mut answered = 0;
    let mut torn = 0;
    let mut next_seq = 0;
    for run in 1..=KILLS {
        let acks = run_and_kill(dir.path(), run, 150 + 37 * run as usize);
        assert!(acks.first().is_some_and(|first| *first >= next_seq), "a number was given twice");
        let (log, report) = AuditLog::open(&config, world.seams()).unwrap();
        assert_eq!(report.gaps, vec![], "run {run}");
        torn += u64::from(report.cut_bytes > 0);
        next_seq = report.next_seq;
        let answer = log.query(&Query { limit: 10_000, ..Query::default() }, SealedAccess::Closed).unwrap();
        let found: BTreeSet<u64> = answer.rows.iter().map(|row| row.seq).collect();
        let missing: Vec<_> = acks.difference(&found).collect();
        assert!(missing.is_empty(), "run {run}: answered but missing: {missing:?}");
        answered += acks.len();
    }
    let found = audit::verify::verify(dir.path()).unwrap();
    assert_eq!(found.problems, vec![]);
    assert_eq!(found.records, next_seq);
    println!("{KILLS} kills, {answered} answered records, 0 missing, {torn} torn tails, {} segments", found.segments);
}

/// Starts the child, kills it after `enough` answers, and gives back every answer it got out.
fn run_and_kill(dir: &std::path::Path, run: u64, enough: usize) -> BTreeSet<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(RUN, run.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acks = BTreeSet::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let read = |line: std::io::Result<String>| line.ok()?.strip_prefix("ack ")?.trim().parse::<u64>().ok();
    while acks.len() < enough {
        let line = lines.next().expect("the child ended by itself");
        acks.extend(read(line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    acks.extend(lines.filter_map(read));
    acks
}
