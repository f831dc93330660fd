//! `kill -9`, again and again, under load: visitors read, an operator takes access away and applies configurations, the
//! process is killed at any moment (now and then during its start) and started again. Afterwards every answered request
//! has its record, every ended session is dead, every session nobody ended lives, the configuration is the promised one
//! as a whole, and the log verifies.
//!
//! `COUNTERSIGN_KILLS=20` makes it shorter; `COUNTERSIGN_SEED` repeats the choices of a run (not its timing). Power loss is
//! another matter: it is tested on simulated disks in `audit` and by settings in `store`.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, as it should"
)]

mod app;
mod keys;
mod ledger;
mod operator;
mod product;
mod rng;
mod sides;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign::client::{Client, segment};
use http::StatusCode;
use model::Clock;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::app::{Line, PAGE, Reached, Visits};
use self::ledger::{Ledger, Promise};
use self::operator::Operator;
use self::product::Product;
use self::rng::Rng;
use self::sides::{PUBLIC, ROOMS, Side};
use crate::harness::browser::Browser;
use crate::harness::{WIKI, email};

/// Past the capture of the test harness: these figures are what the test is for.
macro_rules! tell {
    ($($text:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*))).ok()
    };
}

const KILLS: usize = 100;
const NAMES: [&str; 3] = ["alice", "bob", "dave"];
/// Live sessions of each person at the beginning of every run.
const SESSIONS_EACH: usize = 3;
const VISITORS: usize = 4;
/// The product is killed after fewer answered changes than this …
const CHANGES: usize = 4;
/// … and so many milliseconds more, or less.
const WORK_MS: usize = 150;
/// A change that takes longer will never be answered.
const CHANGE_LIMIT: Duration = Duration::from_secs(20);
/// One kill in so many hits a start.
const START_KILLS: usize = 8;
/// How far into a start it is hit.
const START_KILL_MS: usize = 120;
/// Ended sessions that are tried again after every start; all of them at the end and after every so many kills.
const RECENTLY_ENDED: usize = 12;
const TRY_ALL_EVERY: usize = 25;
/// The largest answer of the audit API.
const ROWS: &str = "10000";

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_answered_is_lost_and_nothing_ended_comes_back() {
    let kills = number("COUNTERSIGN_KILLS").map_or(KILLS, |kills| usize::try_from(kills).unwrap());
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).unwrap();
    let seed = number("COUNTERSIGN_SEED").unwrap_or(u64::from_ne_bytes(seed));
    tell!("kill -9: seed {seed}");
    let mut world = World::new(Rng::new(seed)).await;
    let idle = world.product.resident_kib();
    for kill in 1..=kills {
        world.run_and_kill().await;
        world.start(kill % TRY_ALL_EVERY == 0 || kill == kills).await;
        if !world.ledger.broken.is_empty() {
            break;
        }
    }
    let grown = world.product.resident_kib();
    world.product.kill();
    world.report(idle, grown);
    world.verify(kills);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}=`{text}` is no number")))
}

/// The product, its app, its people and its promises.
struct World {
    product: Product,
    client: Client,
    app_port: u16,
    reached: Reached,
    people: Vec<Browser>,
    known: BTreeSet<String>,
    ledger: Ledger,
    since: String,
    starts: Vec<Duration>,
    first_answers: Vec<Duration>,
    rng: Rng,
}

impl World {
    /// Serves, with people who have passkeys and sessions, under side A.
    async fn new(rng: Rng) -> Self {
        let mut product = Product::new();
        let (app_port, reached) = app::serve_app().await;
        let first = product.start();
        tell!("kill -9: the very first start took {} ms", first.as_millis());
        let client = product.client();
        let applied = client.post("/api/v1/config/apply", &Side::A.files(app_port)).await.unwrap();
        let ledger = Ledger::new((Side::A, applied["version"].as_u64().unwrap()));
        set_up(&product, &client).await;
        let mut people = Vec::new();
        for name in NAMES {
            people.push(enrol(&product, &client, name).await);
        }
        let mut world = Self {
            product,
            client,
            app_port,
            reached,
            people,
            known: BTreeSet::new(),
            ledger,
            since: now(),
            starts: Vec::new(),
            first_answers: Vec::new(),
            rng,
        };
        world.known = world.session_ids().await;
        world.fill_up().await;
        world
    }

    /// Load and changes until the kill, then everything that came of it.
    async fn run_and_kill(&mut self) {
        let is_over = Arc::new(AtomicBool::new(false));
        let live = self.ledger.places(|held| held.promise == Promise::Lives);
        let cookies: Arc<[(usize, String)]> =
            live.iter().map(|place| (*place, self.ledger.sessions[*place].cookie.clone())).collect();
        let visitors: Vec<_> = (0..VISITORS)
            .map(|_| Visits {
                address: self.product.address,
                tls: Arc::clone(&self.product.tls),
                cookies: Arc::clone(&cookies),
                targets: &[PUBLIC[0], PUBLIC[1], PAGE],
                is_over: Arc::clone(&is_over),
                rng: self.rng.fork(),
            })
            .map(|visits| tokio::spawn(visits.run()))
            .collect();
        let (progress, mut changes) = watch::channel(0);
        let operator = Operator {
            client: self.product.client(),
            emails: NAMES.iter().map(|name| email(name)).collect(),
            ids: self.ledger.sessions.iter().map(|held| held.id.clone()).collect(),
            live,
            next: self.ledger.config.live.0.other(),
            app_port: self.app_port,
            progress,
            rng: self.rng.fork(),
        };
        let operator = tokio::spawn(operator.run());
        let enough = self.rng.below(CHANGES);
        let reached = tokio::time::timeout(CHANGE_LIMIT, changes.wait_for(|changes| *changes >= enough));
        // What comes back locks the channel, so it must not live on.
        let is_reached = matches!(reached.await, Ok(Ok(_)));
        assert!(is_reached, "no change was answered in time");
        tokio::time::sleep(Duration::from_millis(self.rng.below(WORK_MS) as u64)).await;
        self.product.kill();
        is_over.store(true, Ordering::Relaxed);
        self.ledger.tally.kills += 1;
        // Changes first: an answer can only be judged by what was asked for.
        self.ledger.asked(&operator.await.unwrap());
        for visitor in visitors {
            visitor.await.unwrap().iter().for_each(|answered| self.ledger.answered(answered));
        }
        self.ledger.reached(self.reached.take());
        if self.rng.below(START_KILLS) == 0 {
            self.product.spawn();
            tokio::time::sleep(Duration::from_millis(self.rng.below(START_KILL_MS) as u64)).await;
            self.product.kill();
            self.ledger.tally.kills += 1;
        }
    }

    /// Starts, holds what is there against what was promised, and gives everybody sessions for the next run.
    async fn start(&mut self, tries_all: bool) {
        let began = Instant::now();
        self.starts.push(self.product.start());
        let mut line = Line::open(self.product.address, &self.product.tls).await.unwrap();
        for (tried, place) in self.to_try(tries_all).into_iter().enumerate() {
            let cookie = self.ledger.sessions[place].cookie.clone();
            let answered = line.get(PAGE, Some((place, &cookie))).await.unwrap();
            if tried == 0 && answered.status == StatusCode::OK {
                self.first_answers.push(began.elapsed());
            }
            self.ledger.answered(&answered);
            self.ledger.settle_session(place);
        }
        for name in NAMES {
            self.client.post(&format!("/api/v1/users/{}/enable", segment(&email(name))), &json!({})).await.unwrap();
        }
        self.fill_up().await;
        self.look_at_config(&mut line).await;
        self.ledger.reached(self.reached.take());
        let recorded = self.decisions().await;
        self.ledger.prove(&recorded);
        self.since = now();
    }

    /// Living sessions first, then those that must be dead.
    fn to_try(&self, tries_all: bool) -> Vec<usize> {
        let mut places = self.ledger.places(|held| held.promise == Promise::Lives);
        places.extend(self.ledger.places(|held| held.promise == Promise::Either));
        let ended = self.ledger.places(|held| held.promise == Promise::Ended);
        let skipped = if tries_all { 0 } else { ended.len().saturating_sub(RECENTLY_ENDED) };
        places.extend(ended.into_iter().skip(skipped));
        places
    }

    /// Signs people in until each has enough sessions.
    async fn fill_up(&mut self) {
        for person in 0..NAMES.len() {
            let lives = |held: &ledger::Held| held.person == person && held.promise == Promise::Lives;
            for _ in self.ledger.places(lives).len()..SESSIONS_EACH {
                let mut browser = Browser::new(&self.product.door);
                browser.device = self.people[person].device.clone();
                browser.open(WIKI, PAGE).await;
                self.people[person].device = browser.device.clone();
                let all = self.session_ids().await;
                let new: Vec<String> = all.difference(&self.known).cloned().collect();
                assert_eq!(new.len(), 1, "one sign-in, one session");
                self.known.extend(new.iter().cloned());
                self.ledger.signed_in(person, new[0].clone(), browser.cookies(WIKI));
            }
        }
    }

    async fn session_ids(&self) -> BTreeSet<String> {
        let listed = self.client.get("/api/v1/sessions").await.unwrap();
        listed["sessions"].as_array().unwrap().iter().map(|session| text(&session["id"])).collect()
    }

    /// Looks at everything in which the two configurations differ.
    async fn look_at_config(&mut self, line: &mut Line) {
        let version = self.client.get("/api/v1/status").await.unwrap()["config_version"].as_u64().unwrap();
        let app = self.client.get("/api/v1/apps/wiki").await.unwrap();
        let group = self.client.get("/api/v1/groups/engineering").await.unwrap();
        let place = self.ledger.places(|held| held.promise == Promise::Lives)[0];
        let cookie = self.ledger.sessions[place].cookie.clone();
        let (mut public, mut rooms) = (Vec::new(), Vec::new());
        for (target, room) in PUBLIC.into_iter().zip(ROOMS) {
            for (target, cookie, open) in [(target, None, &mut public), (room, Some((place, &*cookie)), &mut rooms)] {
                let answered = line.get(target, cookie).await.unwrap();
                self.ledger.answered(&answered);
                open.push(answered.status == StatusCode::OK);
            }
        }
        let seen = BTreeMap::from([
            ("app title", by_title(&app["title"])),
            ("group title", by_title(&group["title"])),
            ("policies", by_open(&rooms)),
            ("public paths", by_open(&public)),
        ]);
        self.ledger.settle_config(version, &seen);
        let filters = [("type", "config.applied".to_owned()), ("what", version.to_string())];
        let applied = self.client.get_with("/api/v1/audit/records", &filters).await.unwrap();
        if applied["records"].as_array().unwrap().is_empty() {
            self.ledger.broken.push(format!("version {version} is live and the record does not know it"));
        }
    }

    /// Effects of every decision since the last look, by access.
    async fn decisions(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut until = now();
        loop {
            let filters = [
                ("type", "access.decision".to_owned()),
                ("since", self.since.clone()),
                ("until", until),
                ("limit", ROWS.to_owned()),
            ];
            let answer = self.client.get_with("/api/v1/audit/export", &filters).await.unwrap();
            assert_eq!(answer["coverage"], "complete", "the record has holes");
            let rows = answer["records"].as_array().unwrap();
            let before = found.len();
            found.extend(rows.iter().map(|row| (text(&row["access_id"]), text(&row["effect"]))));
            if answer["has_more"] == false {
                return found;
            }
            assert!(found.len() > before, "more rows of one moment than an answer holds");
            until = text(&rows.last().unwrap()["time"]);
        }
    }

    fn report(&mut self, idle: Option<u64>, grown: Option<u64>) {
        let tally = self.ledger.tally;
        let mib = |kib: Option<u64>| kib.map_or_else(|| "?".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0));
        tell!(
            "kill -9: {} kills, {} answered requests, {} without record, {} revocations acknowledged, {} resurrected, \
             {} applies, {} half-applied, start p50 {} ms",
            tally.kills,
            tally.answered,
            tally.without_record,
            tally.withdrawals,
            tally.resurrected,
            tally.applies,
            tally.half_applied,
            median(&mut self.starts).as_millis(),
        );
        tell!(
            "kill -9: start to first protected answer p50 {} ms, slowest start {} ms, {} sessions; resident {} MiB idle \
             after setting up, {} MiB after the last start",
            median(&mut self.first_answers).as_millis(),
            self.starts.last().map_or(0, Duration::as_millis),
            self.ledger.sessions.len(),
            mib(idle),
            mib(grown),
        );
    }

    /// The record as a whole, without the product; then every promise.
    fn verify(&self, kills: usize) {
        let found = audit::verify::verify(&self.product.audit_folder()).unwrap();
        tell!("kill -9: {} records in {} segments verify", found.records, found.segments);
        let said = self.product.log_of(&self.ledger.suspects);
        assert!(self.ledger.broken.is_empty(), "{:#?}\n{said}", self.ledger.broken);
        assert!(found.problems.is_empty(), "{:#?}", found.problems);
        assert_eq!(found.epochs.len(), 1, "a kill is no damage: {:?}", found.epochs);
        assert!(kills < KILLS || found.segments > 1, "segments are to roll under this load");
        for opening in self.product.log_openings() {
            assert_eq!(opening["gaps"], 0, "{opening}");
        }
        let alarms = self.product.alarms();
        assert!(alarms.is_empty(), "{alarms:#?}");
        let tally = self.ledger.tally;
        assert!(tally.answered > 10 * kills && tally.withdrawals > 0 && tally.applies > 0, "no load: {tally:?}");
    }
}

/// Without an administrator the server would ask for one at every start.
async fn set_up(product: &Product, client: &Client) {
    let link = client.post("/api/v1/setup-link", &json!({})).await.unwrap();
    let person = json!({ "name": "Carol", "email": email("carol") });
    Browser::new(&product.door).enrol(link["url"].as_str().unwrap(), person).await;
}

async fn enrol(product: &Product, client: &Client, name: &str) -> Browser {
    let new = json!({ "email": email(name), "name": name, "groups": ["engineering"] });
    client.post("/api/v1/users", &new).await.unwrap();
    let link = client.post("/api/v1/invites", &json!({ "user": email(name) })).await.unwrap();
    let mut browser = Browser::new(&product.door);
    browser.enrol(link["url"].as_str().unwrap(), json!({})).await;
    browser
}

/// The time as the audit API takes it, to its millisecond.
fn now() -> String {
    countersign::system::SystemClock::default().now().to_string()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("`{value}` is no text")).to_owned()
}

fn by_title(title: &Value) -> Option<Side> {
    [Side::A, Side::B].into_iter().find(|side| title == &json!(side.title()))
}

/// Exactly one of the two is open.
fn by_open(open: &[bool]) -> Option<Side> {
    match open {
        [true, false] => Some(Side::A),
        [false, true] => Some(Side::B),
        _ => None,
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
