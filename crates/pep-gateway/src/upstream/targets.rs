//! Which target of an upstream takes a request (GW-70), and which gets none for a while (GW-71). Times are passed in.
//!
//! What is known of a target outlives a change of the configuration: it belongs to the address, not to the app.
//!
//! Invariants: nothing here waits for anybody; real failures take away at most half of an upstream's targets, a
//! health check may take all; with none left the answer is no at once.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use model::app::{Balance, HealthCheck, UpstreamTarget};

/// Failures in a row after which a target rests.
const FAILURES_TO_EJECT: u32 = 5;
/// The first rest; each one that follows without a success between is twice as long.
const FIRST_REST: Duration = Duration::from_secs(10);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// What is known of the targets that have been used or looked at.
pub(crate) struct Targets {
    began: Instant,
    known: ArcSwap<HashMap<UpstreamTarget, Arc<Target>>>,
    draws: AtomicU64,
}

/// What is known of one target.
#[derive(Default)]
pub(crate) struct Target {
    in_flight: AtomicUsize,
    failures: AtomicU32,
    /// Rests in a row.
    rests: AtomicU32,
    /// Milliseconds after `began`; none are before it.
    rests_until: AtomicU64,
    /// The health check says so.
    is_down: AtomicBool,
    /// Checks in a row that say otherwise.
    contrary: AtomicU32,
    /// When the next check is due, in milliseconds after `began`.
    check_due: AtomicU64,
}

/// A request on its way to a target, or being answered by it.
pub(crate) struct Use(Arc<Target>);

impl Use {
    fn of(target: &Arc<Target>) -> Self {
        target.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(target))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a request came out, as far as it tells about its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// No connection, or 502, 503 or 504 for an answer.
    Failed,
    /// An answer.
    Served,
}

impl Targets {
    /// Knows nothing yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, known: ArcSwap::default(), draws: AtomicU64::new(0) }
    }

    /// The target for a request, not `avoid` if there is another. `affinity` stands for what the upstream's balance
    /// keeps together; without it the least busy of two is taken. `None`: all are down.
    pub(crate) fn choose<'t>(
        &self,
        targets: &'t [UpstreamTarget],
        (balance, is_checked): (&Balance, bool),
        affinity: Option<u64>,
        avoid: Option<&UpstreamTarget>,
        now: Instant,
    ) -> Option<(&'t UpstreamTarget, Option<Use>)> {
        if let ([only], false) = (targets, is_checked) {
            // Nothing to choose from: most upstreams.
            return Some((only, None));
        }
        let now = self.millis(now);
        let known: Vec<(&UpstreamTarget, Arc<Target>)> =
            targets.iter().map(|target| (target, self.target(target))).collect();
        let up = |(_, state): &&(&UpstreamTarget, Arc<Target>)| !state.is_down.load(Ordering::Relaxed);
        let fit = |known: &&(&'t UpstreamTarget, Arc<Target>)| up(known) && !known.1.rests(now);
        let mut candidates: Vec<_> = known.iter().filter(fit).collect();
        if candidates.is_empty() {
            // Checks took what rests had left: a target that rests is better than none.
            candidates = known.iter().filter(up).collect();
        }
        if candidates.len() > 1 {
            candidates.retain(|(target, _)| avoid != Some(*target));
        }
        let (target, state) = match (balance, affinity) {
            (Balance::RoundRobin, _) => candidates.get(self.draw_in_turn(candidates.len())?)?,
            (Balance::Hash(_), Some(affinity)) => {
                candidates.iter().max_by_key(|(target, _)| weight(target, affinity))?
            }
            (Balance::Hash(_) | Balance::LeastRequest, _) => {
                let (one, other) = self.draw_two(candidates.len())?;
                let (one, other) = (candidates.get(one)?, candidates.get(other)?);
                let load = |state: &Target| state.in_flight.load(Ordering::Relaxed);
                if load(&other.1) < load(&one.1) { other } else { one }
            }
        };
        Some((target, Some(Use::of(state))))
    }

    /// Notes how a request came out; true when the target rests from now on.
    pub(crate) fn note(
        &self,
        targets: &[UpstreamTarget],
        target: &UpstreamTarget,
        outcome: Outcome,
        now: Instant,
    ) -> bool {
        if targets.len() < 2 {
            // It could not rest.
            return false;
        }
        let now = self.millis(now);
        let state = self.target(target);
        if outcome == Outcome::Served {
            state.failures.store(0, Ordering::Relaxed);
            state.rests.store(0, Ordering::Relaxed);
            return false;
        }
        let failures = state.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < FAILURES_TO_EJECT || state.rests(now) {
            return false;
        }
        let resting = targets.iter().filter(|other| self.target(other).rests(now)).count();
        if (resting + 1) * 2 > targets.len() {
            return false;
        }
        let rests = state.rests.fetch_add(1, Ordering::Relaxed);
        let rest = FIRST_REST.saturating_mul(1_u32.checked_shl(rests).unwrap_or(u32::MAX)).min(LONGEST_REST);
        state.failures.store(0, Ordering::Relaxed);
        state.rests_until.store(now.saturating_add(millis(rest)), Ordering::Relaxed);
        true
    }

    /// Whether a health check of `target` is due; who asks has to make it.
    pub(crate) fn take_check(&self, target: &UpstreamTarget, check: &HealthCheck, now: Instant) -> bool {
        let now = self.millis(now);
        let state = self.target(target);
        let due = state.check_due.load(Ordering::Relaxed);
        let next = now.saturating_add(millis(check.interval));
        due <= now && state.check_due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes a health check; what the target is from now on, if that changed.
    pub(crate) fn note_check(&self, target: &UpstreamTarget, check: &HealthCheck, is_well: bool) -> Option<bool> {
        let state = self.target(target);
        let is_down = state.is_down.load(Ordering::Relaxed);
        if is_down != is_well {
            state.contrary.store(0, Ordering::Relaxed);
            return None;
        }
        let needed = if is_down { check.up_after } else { check.down_after };
        if state.contrary.fetch_add(1, Ordering::Relaxed).saturating_add(1) < needed {
            return None;
        }
        state.contrary.store(0, Ordering::Relaxed);
        state.is_down.store(!is_well, Ordering::Relaxed);
        Some(is_well)
    }

    /// Forgets targets no app names any more, and that an app no longer has its targets checked.
    pub(crate) fn retain(&self, named: &BTreeSet<UpstreamTarget>, checked: &BTreeSet<UpstreamTarget>) {
        for (target, state) in self.known.load().iter() {
            if !checked.contains(target) {
                state.is_down.store(false, Ordering::Relaxed);
                state.check_due.store(0, Ordering::Relaxed);
            }
        }
        if self.known.load().keys().all(|target| named.contains(target)) {
            return;
        }
        self.known.rcu(|known| {
            let named = known.iter().filter(|(target, _)| named.contains(*target));
            named.map(|(target, state)| (target.clone(), Arc::clone(state))).collect::<HashMap<_, _>>()
        });
    }

    fn target(&self, target: &UpstreamTarget) -> Arc<Target> {
        if let Some(known) = self.known.load().get(target) {
            return Arc::clone(known);
        }
        let new = Arc::<Target>::default();
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.entry(target.clone()).or_insert_with(|| Arc::clone(&new));
            known
        });
        self.known.load().get(target).map_or(new, Arc::clone)
    }

    fn draw_in_turn(&self, of: usize) -> Option<usize> {
        let draw = self.draws.fetch_add(1, Ordering::Relaxed);
        usize::try_from(draw).unwrap_or(usize::MAX).checked_rem(of)
    }

    /// Two different ones where there are two. They only have to be spread, not to be unforeseeable.
    fn draw_two(&self, of: usize) -> Option<(usize, usize)> {
        let mut hasher = DefaultHasher::new();
        self.draws.fetch_add(1, Ordering::Relaxed).hash(&mut hasher);
        let draw = hasher.finish();
        let one = usize::try_from(draw & 0xffff_ffff).ok()?.checked_rem(of)?;
        let step = match of {
            1 => 0,
            _ => 1 + usize::try_from(draw >> 32).ok()?.checked_rem(of - 1)?,
        };
        Some((one, (one + step) % of))
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began))
    }
}

impl Target {
    fn rests(&self, now_ms: u64) -> bool {
        now_ms < self.rests_until.load(Ordering::Relaxed)
    }
}

/// Rendezvous hashing: a target that comes or goes moves only its own share.
fn weight(target: &UpstreamTarget, affinity: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (target, affinity).hash(&mut hasher);
    hasher.finish()
}

/// What is kept together, as a number.
pub(crate) fn affinity(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use model::app::{HashBy, UpstreamScheme};

    use super::*;

    fn targets(count: u16) -> Vec<UpstreamTarget> {
        let target = |port| UpstreamTarget { scheme: UpstreamScheme::Http, host: "127.0.0.1".to_owned(), port };
        (1..=count).map(target).collect()
    }

    fn check() -> HealthCheck {
        HealthCheck { path: "/healthz".to_owned(), ..HealthCheck::STANDARD }
    }

    /// How often each target is chosen.
    fn counts(known: &Targets, all: &[UpstreamTarget], balance: &Balance, now: Instant) -> Vec<usize> {
        let mut counts = vec![0; all.len()];
        for n in 0..1_000_u64 {
            let (chosen, _) = known.choose(all, (balance, false), Some(affinity(n)), None, now).unwrap();
            counts[usize::from(chosen.port) - 1] += 1;
        }
        counts
    }

    fn fail(known: &Targets, all: &[UpstreamTarget], at: usize, times: u32, now: Instant) -> bool {
        (0..times).fold(false, |_, _| known.note(all, &all[at], Outcome::Failed, now))
    }

    #[test]
    fn requests_are_spread_whatever_the_balance() {
        let (now, all) = (Instant::now(), targets(4));
        for balance in [Balance::LeastRequest, Balance::RoundRobin, Balance::Hash(HashBy::Session)] {
            let counts = counts(&Targets::new(now), &all, &balance, now);
            assert!(counts.iter().all(|count| (150..=350).contains(count)), "{balance:?}: {counts:?}");
        }
    }

    #[test]
    fn the_less_busy_of_two_is_taken() {
        let (now, all) = (Instant::now(), targets(2));
        let known = Targets::new(now);
        let busy: Vec<_> = (0..10).map(|_| Use::of(&known.target(&all[0]))).collect();
        assert_eq!(counts(&known, &all, &Balance::LeastRequest, now), [0, 1_000]);
        drop(busy);
        assert_eq!(known.target(&all[0]).in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_kept_together_stays_when_another_target_goes() {
        let (now, all) = (Instant::now(), targets(4));
        let (known, balance) = (Targets::new(now), Balance::Hash(HashBy::ClientIp));
        let at = |targets: &[UpstreamTarget], n: u64| {
            known
                .choose(targets, (&balance, false), Some(affinity(n)), None, now)
                .map(|(target, _)| target.port)
                .unwrap()
        };
        for n in 0..200 {
            let before = at(&all, n);
            assert_eq!(at(&all, n), before);
            if before != 4 {
                assert_eq!(at(&all[..3], n), before);
            }
        }
    }

    #[test]
    fn five_failures_in_a_row_give_ten_seconds_of_rest_and_twice_as_long_each_time() {
        let (now, all) = (Instant::now(), targets(2));
        let known = Targets::new(now);
        assert!(!fail(&known, &all, 0, 4, now));
        known.note(&all, &all[0], Outcome::Served, now);
        assert!(!fail(&known, &all, 0, 4, now));
        assert!(fail(&known, &all, 0, 1, now));
        let mut since = now;
        for rest in [10, 20, 40, 80, 160, 300, 300] {
            let end = since + Duration::from_secs(rest);
            assert_eq!(counts(&known, &all, &Balance::RoundRobin, end - Duration::from_millis(1))[0], 0, "{rest}");
            assert_ne!(counts(&known, &all, &Balance::RoundRobin, end)[0], 0, "{rest}");
            assert!(fail(&known, &all, 0, 5, end));
            since = end;
        }
        let end = since + LONGEST_REST;
        known.note(&all, &all[0], Outcome::Served, end);
        assert!(fail(&known, &all, 0, 5, end));
        assert_ne!(counts(&known, &all, &Balance::RoundRobin, end + FIRST_REST)[0], 0);
    }

    #[test]
    fn at_most_half_of_the_targets_rest_and_a_lone_one_never() {
        let now = Instant::now();
        for (count, expected) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let (known, all) = (Targets::new(now), targets(count));
            let resting = (0..all.len()).filter(|at| fail(&known, &all, *at, 50, now)).count();
            assert!(all.iter().filter(|target| known.target(target).rests(1)).count() == expected, "{count} {resting}");
        }
    }

    #[test]
    fn a_health_check_takes_three_failures_to_close_and_two_successes_to_open() {
        let (now, all) = (Instant::now(), targets(1));
        let known = Targets::new(now);
        let is_served = || known.choose(&all, (&Balance::LeastRequest, true), None, None, now).is_some();
        let steps =
            [(false, true), (true, true), (false, true), (false, true), (false, false), (true, false), (true, true)];
        for (is_well, expected) in steps {
            known.note_check(&all[0], &check(), is_well);
            assert_eq!(is_served(), expected);
        }
    }

    #[test]
    fn a_check_is_due_once_in_an_interval() {
        let (now, all) = (Instant::now(), targets(1));
        let known = Targets::new(now);
        let due = |secs| known.take_check(&all[0], &check(), now + Duration::from_secs(secs));
        assert_eq!([due(0), due(0), due(9), due(10), due(10)], [true, false, false, true, false]);
    }

    #[test]
    fn when_all_are_down_the_answer_is_no_and_what_only_rests_is_better_than_nothing() {
        let (now, all) = (Instant::now(), targets(2));
        let known = Targets::new(now);
        assert!(fail(&known, &all, 0, 5, now));
        let down = |at: usize| (0..3).for_each(|_| _ = known.note_check(&all[at], &check(), false));
        down(1);
        let port =
            |known: &Targets| known.choose(&all, (&Balance::RoundRobin, true), None, None, now).map(|(t, _)| t.port);
        assert_eq!(port(&known), Some(1));
        down(0);
        assert_eq!(port(&known), None);
        // An app that no longer has its targets checked takes them as they are.
        known.retain(&all.iter().cloned().collect(), &BTreeSet::new());
        assert!(port(&known).is_some());
    }

    #[test]
    fn what_failed_is_avoided_where_there_is_another() {
        let (now, all) = (Instant::now(), targets(2));
        let known = Targets::new(now);
        for _ in 0..100 {
            let (target, _) = known.choose(&all, (&Balance::LeastRequest, false), None, Some(&all[0]), now).unwrap();
            assert_eq!(target, &all[1]);
        }
        assert!(known.choose(&all[..1], (&Balance::LeastRequest, true), None, Some(&all[0]), now).is_some());
    }
}
