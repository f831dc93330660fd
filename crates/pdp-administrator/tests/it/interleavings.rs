//! GW-44: a hundred thousand interleavings of lost, doubled, late and reordered messages. After every message the
//! machine and the doors' table must agree with the reference model, and every order must end in acknowledgements or
//! in stale doors. A failure names its seed; `one(seed)` plays it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Action;
use model::app::AppName;
use model::changes::SessionChange;
use model::ids::{RevocationId, SessionId, TokenHash, UserId};
use model::seams::{Cause, CutReport, Scope, SessionView};
use model::session::{SessionLookup, StepUp};
use model::time::Timestamp;
use pdp_administrator::{ACK_TIMEOUT, Administrator, Input, Output, SessionTable};
use uuid::Uuid;

use crate::people::{at, session, session_id, token, user};
use crate::reference::Reference;

const INTERLEAVINGS: u64 = 100_000;
const THREADS: u64 = 2;
const SESSIONS: u128 = 3;
const TOKENS: u8 = 9;
const HOSTS: [&str; 2] = ["wiki.localhost", "payroll.localhost"];
const DOORS: [&str; 2] = ["north", "south"];

#[test]
fn no_interleaving_revives_a_session_or_loses_a_cut() {
    let workers: Vec<_> = (0..THREADS)
        .map(|first| {
            std::thread::spawn(move || {
                let mut seen = Seen::default();
                for seed in (first..INTERLEAVINGS).step_by(THREADS as usize) {
                    one(seed, &mut seen);
                }
                seen
            })
        })
        .collect();
    for worker in workers {
        let seen = worker.join().unwrap();
        // The test would prove little if the interesting things never came up.
        let counts =
            [seen.live, seen.dead, seen.revoked_before_created, seen.acknowledged_late, seen.stale, seen.expired];
        assert!(counts.iter().all(|count| *count > INTERLEAVINGS / 200), "too rare: {counts:?}");
    }
}

/// Xorshift64*: enough to shuffle with, the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// How often what mattered came up.
#[derive(Default)]
struct Seen {
    live: u64,
    dead: u64,
    revoked_before_created: u64,
    acknowledged_late: u64,
    stale: u64,
    expired: u64,
}

/// What really happened, in the order in which it happened.
fn history(random: &mut Random) -> Vec<Input> {
    let mut epochs = [0_u64; 2];
    let mut global = 0;
    let mut now = at(0);
    let mut tokens = 0;
    let mut happened = Vec::new();
    for number in 0..SESSIONS {
        now = now + Duration::from_secs(random.below(600));
        let owner = number % 2;
        let mut begun = session(number, owner, epochs[owner as usize], now);
        begun.epochs.global = global;
        begun.idle_limit = Duration::from_secs(1800);
        happened.push(Input::SignedIn(begun));
        for _ in 0..2 + random.below(2) {
            tokens += 1;
            happened.push(hand_off(random, session_id(number), token(tokens)));
        }
        let revocation = RevocationId(Uuid::from_u128(0xe000 + number));
        happened.push(match random.below(7) {
            0 => {
                epochs[owner as usize] += 1;
                let epoch = epochs[owner as usize];
                Input::UserEnded { revocation, user: user(owner), epoch, cause: Cause::UserDisabled }
            }
            1 if random.one_in(4) => {
                global += 1;
                Input::EveryoneEnded { revocation, epoch: global, cause: Cause::SessionRevoked }
            }
            1 | 2 => Input::SessionEnded { revocation, session: session_id(number), cause: Cause::SignedOut },
            3 => Input::SteppedUp { session: session_id(number), step_up: step_up(now), proof: None },
            4 => Input::Active(vec![(session_id(number), now + Duration::from_secs(900))]),
            5 => Input::FactsChanged { revocation, scope: Scope::User(user(owner)), cause: Cause::FactsChanged },
            // A cookie of another session, planted.
            _ => hand_off(random, session_id((number + 1) % SESSIONS), token(tokens)),
        });
    }
    happened
}

fn hand_off(random: &mut Random, session: SessionId, token: TokenHash) -> Input {
    let host = HOSTS[random.below(2) as usize].to_owned();
    match token.0[0].checked_sub(1) {
        Some(before) if random.one_in(3) => Input::Rotated { session, host, from: TokenHash([before; 32]), to: token },
        _ => Input::HandedOff { session, host, token },
    }
}

fn step_up(at: Timestamp) -> StepUp {
    StepUp { app: AppName::new("payroll"), action: Action::HttpDelete, at, fix: Vec::new() }
}

/// What of it arrives, in which order.
fn delivery(random: &mut Random, happened: Vec<Input>) -> Vec<Input> {
    let mut arriving: Vec<(u64, Input)> = Vec::new();
    for (position, input) in (0_u64..).zip(happened) {
        if random.one_in(10) {
            continue;
        }
        let reach = if random.one_in(3) { 60 } else { 4 };
        if random.one_in(4) {
            arriving.push((position * 4 + random.below(reach), input.clone()));
        }
        arriving.push((position * 4 + random.below(reach), input));
    }
    arriving.sort_by_key(|(position, _)| *position);
    arriving.into_iter().map(|(_, input)| input).collect()
}

struct World {
    machine: Administrator,
    table: SessionTable,
    reference: Reference,
    now: Timestamp,
    tombstones: BTreeSet<SessionId>,
    epochs: BTreeMap<Option<UserId>, u64>,
    /// Orders the doors have not answered yet.
    owed: BTreeSet<(RevocationId, &'static str)>,
    /// Acknowledgements under way.
    acks: Vec<(RevocationId, &'static str)>,
    stale: BTreeSet<(RevocationId, String)>,
    steps: u8,
}

fn one(seed: u64, seen: &mut Seen) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let happened = history(&mut random);
    let late = happened.clone();
    let arriving = delivery(&mut random, happened);
    let mut world = World {
        machine: Administrator::new(),
        table: SessionTable::new(),
        reference: Reference::default(),
        now: at(2000),
        tombstones: BTreeSet::new(),
        epochs: BTreeMap::new(),
        owed: BTreeSet::new(),
        acks: Vec::new(),
        stale: BTreeSet::new(),
        steps: 0,
    };
    for door in DOORS {
        world.take(seed, Input::DoorJoined(door.to_owned()), seen);
    }
    for input in arriving {
        let step = if random.one_in(12) { 1200 } else { random.below(9) };
        world.now = world.now + Duration::from_secs(step);
        world.take(seed, input, seen);
        if random.one_in(2) {
            world.acknowledge(seed, &mut random, seen);
        }
        if random.one_in(3) {
            world.take(seed, Input::Tick, seen);
        }
    }
    world.settle(seed, seen);
    // A day later everything is forgotten, and the same messages come once more.
    world.now = world.now + Duration::from_secs(30 * 3600);
    world.take(seed, Input::Tick, seen);
    for input in late {
        let outputs = world.machine.handle(input, world.now);
        let is_revived = outputs.iter().any(|output| matches!(output, Output::Change(SessionChange::Upsert { .. })));
        assert!(!is_revived, "seed {seed}: revived after a day");
    }
    assert_eq!(world.machine.sessions().count(), 0, "seed {seed}: alive after a day");
}

impl World {
    fn take(&mut self, seed: u64, input: Input, seen: &mut Seen) {
        if let Input::SessionEnded { session, .. } = &input
            && self.machine.session(*session).is_none()
            && !self.tombstones.contains(session)
        {
            seen.revoked_before_created += 1;
        }
        let is_tick = input == Input::Tick;
        self.reference.take(&input, self.now);
        // The caller's clock may be set back between two inputs; it must not matter.
        self.machine.handle(Input::Active(Vec::new()), self.now);
        let told = self.now - Duration::from_secs(3600 * (seed % 3));
        for output in self.machine.handle(input, told) {
            self.obey(seed, &output, seen);
        }
        // One cookie each time, all of them at ticks: this is what keeps the test short.
        self.steps = (self.steps + 1) % TOKENS;
        self.check_look_ups(seed, self.steps, seen);
        if is_tick {
            (0..TOKENS).for_each(|number| self.check_look_ups(seed, number, seen));
            self.check_live(seed);
        }
    }

    fn obey(&mut self, seed: u64, output: &Output, seen: &mut Seen) {
        match output {
            Output::Change(change) => {
                self.check_change(seed, change, seen);
                self.table.apply(change);
                if seed.is_multiple_of(2) {
                    self.table.apply(change);
                }
            }
            Output::Reevaluate { revocation, .. } => {
                self.owed.extend(DOORS.map(|door| (*revocation, door)));
                self.acks.extend(DOORS.map(|door| (*revocation, door)));
                self.stale.retain(|(id, _)| id != revocation);
            }
            Output::Receipt(receipt) => {
                let door = DOORS.into_iter().find(|door| *door == receipt.door).unwrap();
                assert!(self.owed.remove(&(receipt.revocation, door)), "seed {seed}: receipt for nothing");
                if self.stale.remove(&(receipt.revocation, receipt.door.clone())) {
                    seen.acknowledged_late += 1;
                }
            }
            Output::Stale(stale) => {
                seen.stale += 1;
                self.stale.insert((stale.revocation, stale.door.clone()));
            }
            Output::Refused(_) => {}
        }
    }

    fn check_change(&mut self, seed: u64, change: &SessionChange, seen: &mut Seen) {
        match change {
            SessionChange::Upsert { session, .. } => {
                assert!(!self.tombstones.contains(&session.id), "seed {seed}: active after its tombstone");
            }
            SessionChange::Tombstone(tombstone) => {
                if tombstone.cause == Cause::Expired {
                    seen.expired += 1;
                }
                self.tombstones.insert(tombstone.session);
            }
            SessionChange::UserEpoch { user, epoch } => self.check_epoch(seed, Some(*user), *epoch),
            SessionChange::GlobalEpoch(epoch) => self.check_epoch(seed, None, *epoch),
            SessionChange::Forget(session) => {
                assert!(self.tombstones.contains(session), "seed {seed}: forgotten without a tombstone");
            }
        }
    }

    fn check_epoch(&mut self, seed: u64, whose: Option<UserId>, epoch: u64) {
        let before = self.epochs.insert(whose, epoch).unwrap_or(0);
        assert!(before < epoch, "seed {seed}: an epoch fell");
    }

    fn check_look_ups(&self, seed: u64, number: u8, seen: &mut Seen) {
        let token = token(number + 1);
        for host in HOSTS {
            let expected = self.reference.look_up(&token, host);
            match (self.table.look_up(&token, host, self.now), expected) {
                (SessionLookup::Live(found), Some(expected)) => {
                    assert_eq!(*found, *expected, "seed {seed}");
                    seen.live += 1;
                }
                (SessionLookup::Live(found), None) => panic!("seed {seed}: `{}` should be dead", found.id),
                (other, Some(expected)) => panic!("seed {seed}: `{}` should live, is {other:?}", expected.id),
                (_, None) => seen.dead += 1,
            }
        }
    }

    /// After a tick the machine itself holds no session whose time is over.
    fn check_live(&self, seed: u64) {
        let live: BTreeSet<SessionId> = self.machine.sessions().map(|session| session.id).collect();
        assert_eq!(live, self.reference.live(), "seed {seed}");
    }

    /// Acknowledgements are lost, doubled and reordered too.
    fn acknowledge(&mut self, seed: u64, random: &mut Random, seen: &mut Seen) {
        if self.acks.is_empty() {
            return;
        }
        let index = random.below(self.acks.len() as u64) as usize;
        let (revocation, door) = self.acks[index];
        let is_lost = random.one_in(6);
        if is_lost || !random.one_in(5) {
            self.acks.swap_remove(index);
        }
        if !is_lost {
            let (received, last_cut) = (self.now, self.now);
            let report = CutReport { examined: 1, streams: Vec::new(), unproven: Vec::new(), received, last_cut };
            self.take(seed, Input::Acked { revocation, door: door.to_owned(), report }, seen);
        }
    }

    /// Whoever has not answered by now is listed as stale, and nobody else.
    fn settle(&mut self, seed: u64, seen: &mut Seen) {
        // In an hour every session has run out, which gives the last orders; then these get their time.
        for step in [Duration::from_secs(3600), ACK_TIMEOUT] {
            self.now = self.now + step;
            self.take(seed, Input::Tick, seen);
        }
        let owed: BTreeSet<_> = self.owed.iter().map(|(id, door)| (*id, (*door).to_owned())).collect();
        assert_eq!(owed, self.stale, "seed {seed}: neither acknowledged nor stale");
    }
}
