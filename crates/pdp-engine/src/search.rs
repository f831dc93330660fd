//! The smallest change that opens the door, found by trying (PO-5): which of the remedies, done together, turn a refusal
//! into ALLOW.
//!
//! Knows nothing of policies or facts: it asks a probe. Invariants: what it gives was itself evaluated, and so was every
//! set that lacks one member of it, so that nothing rests on remedies helping one another in some orderly way; at most
//! [`MAX_REMEDIES`] remedies and [`MAX_EVALUATIONS`] evaluations, beyond which there is no answer.

/// The most remedies a search starts from.
pub(crate) const MAX_REMEDIES: usize = 16;
/// The most evaluations of one search.
pub(crate) const MAX_EVALUATIONS: usize = 64;
/// The most remedies of which every combination is tried by [`ways`].
pub(crate) const MAX_COMBINED: usize = 9;

const _: () = assert!(model::Remedy::ALL.len() <= MAX_COMBINED, "every combination of the built-in remedies is tried");
const _: () = assert!(model::Remedy::ALL.len() + model::remedy::MAX_OWN_REMEDIES <= MAX_REMEDIES, "all fit");
const _: () = assert!(MAX_COMBINED <= MAX_REMEDIES && MAX_REMEDIES <= 16, "a set has sixteen bits");

/// A set of remedies: bit `n` is the `n`-th, in order of cost.
pub(crate) type Set = u16;

/// All of `count` remedies.
pub(crate) fn all(count: usize) -> Set {
    (0..count.min(MAX_REMEDIES)).fold(0, |set, at| set | bit(at))
}

/// The remedy at a position.
pub(crate) fn bit(at: usize) -> Set {
    1 << (at % MAX_REMEDIES)
}

/// Why a search ended without an answer.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Stop<E> {
    /// Too many remedies or evaluations.
    Exhausted,
    /// The probe failed.
    Failed(E),
}

/// The irreducible set among `count` remedies that `opens`, the dearest remedies dropped first; `None` if all of them
/// together do not open. The empty set is taken as refused and not probed; the last set for which `opens` said yes is the
/// one given.
///
/// # Errors
/// The limits, or the first error of `opens`.
pub(crate) fn irreducible<E>(
    count: usize,
    mut opens: impl FnMut(Set) -> Result<bool, E>,
) -> Result<Option<Set>, Stop<E>> {
    if count > MAX_REMEDIES {
        return Err(Stop::Exhausted);
    }
    let mut refused: Vec<Set> = vec![0];
    let mut evaluations = 0;
    let mut probe = |set: Set| {
        // Only refusals are asked for again: a set that opens becomes the kept one at once.
        if refused.contains(&set) {
            return Ok(false);
        }
        if evaluations == MAX_EVALUATIONS {
            return Err(Stop::Exhausted);
        }
        evaluations += 1;
        let is_open = opens(set).map_err(Stop::Failed)?;
        if !is_open {
            refused.push(set);
        }
        Ok(is_open)
    };
    let mut kept = all(count);
    if !probe(kept)? {
        return Ok(None);
    }
    loop {
        let before = kept;
        for member in (0..count).rev().map(bit) {
            if kept & member != 0 && probe(kept & !member)? {
                kept &= !member;
            }
        }
        if kept == before {
            return Ok(Some(kept));
        }
    }
}

/// Every irreducible set among `count` remedies, the empty one aside; none if there are more than [`MAX_COMBINED`].
pub(crate) fn ways(count: usize, opens: impl FnMut(Set) -> bool) -> Vec<Set> {
    if count > MAX_COMBINED {
        return Vec::new();
    }
    let open: Vec<bool> = (0..=all(count)).map(opens).collect();
    let is_open = |set: Set| open.get(usize::from(set)).copied().unwrap_or(false);
    let lacks_nothing =
        |set: &Set| (0..count).map(bit).filter(|member| set & member != 0).all(|member| !is_open(set & !member));
    (1..=all(count)).filter(|set| is_open(*set)).filter(lacks_nothing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(count: usize, opens: impl Fn(Set) -> bool) -> Result<Option<Set>, Stop<()>> {
        irreducible(count, |set| Ok(opens(set)))
    }

    #[test]
    fn the_dearest_are_dropped_first() {
        // Bit 0 is the cheapest: either of two opens, so the cheap one stays.
        assert_eq!(search(4, |set| set & 0b0001 != 0 || set & 0b1000 != 0), Ok(Some(0b0001)));
        assert_eq!(search(4, |set| set & 0b1010 == 0b1010), Ok(Some(0b1010)));
        assert_eq!(search(4, |_| false), Ok(None));
        assert_eq!(search(0, |_| true), Ok(None));
    }

    #[test]
    fn a_remedy_that_hinders_another_is_dropped_in_a_later_pass() {
        // Without the third the second is not needed any more, but it was looked at before the third could go.
        let opens = |set: Set| set == 0b111 || set == 0b101 || set == 0b001;
        assert_eq!(search(3, opens), Ok(Some(0b001)));
    }

    #[test]
    fn more_remedies_or_evaluations_than_allowed_give_no_answer() {
        assert_eq!(search(MAX_REMEDIES + 1, |_| true), Err(Stop::Exhausted));
        // Each pass drops exactly one: the first of the sixteen that is left.
        let mut evaluations = 0;
        let stubborn = irreducible::<()>(MAX_REMEDIES, |set| {
            evaluations += 1;
            Ok(set.count_ones() + set.trailing_zeros() == 16)
        });
        assert_eq!(stubborn, Err(Stop::Exhausted));
        assert_eq!(evaluations, MAX_EVALUATIONS);
    }

    #[test]
    fn an_error_of_the_probe_ends_the_search() {
        let mut asked = Vec::new();
        let stopped = irreducible(3, |set| {
            asked.push(set);
            if set == 0b011 { Err("overflow") } else { Ok(true) }
        });
        assert_eq!((stopped, asked), (Err(Stop::Failed("overflow")), vec![0b111, 0b011]));
    }

    proptest! {
        #[test]
        fn whatever_the_remedies_do_to_one_another_the_set_is_irreducible(
            count in 0_usize..6, open in prop::collection::vec(any::<bool>(), 64),
        ) {
            let opens = |set: Set| set != 0 && open[usize::from(set)];
            let mut last_open = None;
            let found = irreducible::<()>(count, |set| {
                if opens(set) { last_open = Some(set); }
                Ok(opens(set))
            });
            let found = found.unwrap();
            prop_assert_eq!(found, last_open.filter(|_| opens(all(count))));
            let Some(found) = found else { return Ok(()) };
            prop_assert!(opens(found));
            for member in (0..count).map(bit).filter(|member| found & member != 0) {
                prop_assert!(!opens(found & !member));
            }
            prop_assert!(ways(count, opens).contains(&found));
        }

        #[test]
        fn the_built_in_remedies_never_reach_the_limit(open in prop::collection::vec(any::<bool>(), 512)) {
            let found = irreducible::<()>(model::Remedy::ALL.len(), |set| Ok(open[usize::from(set)]));
            prop_assert!(found.is_ok());
        }
    }
}
