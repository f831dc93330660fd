//! What follows a refusal by policies: which facts the person could change, and whether that makes it a STEP_UP, advice
//! beside a DENY, or nothing (PO-5, PO-9 to PO-12).
//!
//! Not an evaluator and not a search: it puts [`crate::search`] to work on [`crate::evaluate`]. Invariants: a hard forbid
//! that holds is DENY whatever could be done; a fix is given only after the facts it leads to were evaluated to ALLOW;
//! who reaches no permit by what is offered learns no fix, and how much of the
//! reason they read is the app's setting; an error in any probe is DENY.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::decision::{FixKind, StepUpContext, is_loop};
use model::{AccessRequest, Effect, Facts, Fix, Principal, Reason, Remedy};

use crate::analysis::{Flip, TimeUse};
use crate::compile::CompiledPolicy;
use crate::engine::{Engine, Judgement, Slot, first_reason};
use crate::evaluate::{Outcome, Verdict, evaluate};
use crate::schema::Offer;
use crate::search::{self, Set, Stop};

/// The most ways in that are listed.
const MAX_WAYS: usize = 64;
/// The most ages tried to find the greatest that is enough.
const MAX_AGES_TRIED: usize = 8;

impl Engine {
    /// The answer to a question that policies refused as `outcome` says.
    pub(crate) fn refuse(
        &self,
        request: &AccessRequest,
        facts: &Facts,
        slot: &Arc<Slot>,
        outcome: Outcome,
    ) -> Judgement {
        if request.principal == Principal::Anonymous {
            let reason = match outcome.verdict {
                Verdict::HardForbid => first_reason(&outcome.determining),
                _ => Reason::LoginRequired,
            };
            return Judgement::decided(Effect::Deny, reason, outcome);
        }
        let mut probe = Probe::new(self, request, facts, slot);
        let reason = self.plain_reason(request, &outcome);
        let found = match probe.search(request.step_up.only_fix.as_deref()) {
            Ok(found) => found,
            Err(Stop::Exhausted) => {
                let refused = Judgement::decided(Effect::Deny, reason, outcome);
                return Judgement { is_search_exhausted: true, ..refused };
            }
            Err(Stop::Failed(ProbeError::Policy(probed))) => {
                return Judgement::decided(Effect::Deny, Reason::PolicyError, *probed);
            }
            Err(Stop::Failed(ProbeError::Misfit)) => {
                return Judgement::decided(Effect::Deny, Reason::Internal, outcome);
            }
        };
        let Some((set, opened)) = found else { return Judgement::decided(Effect::Deny, reason, outcome) };
        let fix = probe.fix(set, &outcome, &opened);
        let unmet = fix.iter().flat_map(|fix| fix.facts.iter().cloned()).collect();
        let is_hard = outcome.verdict == Verdict::HardForbid;
        let (effect, reason) = match &request.principal {
            Principal::Workload(_) if is_hard => (Effect::Deny, reason),
            Principal::Workload(_) => (Effect::Deny, Reason::StepUpImpossible),
            _ if is_hard => (Effect::Deny, reason),
            _ => bounded(&request.step_up, &fix, facts, reason),
        };
        let fix = if matches!(request.principal, Principal::User(_)) { fix } else { Vec::new() };
        Judgement { fix, unmet, ..Judgement::decided(effect, reason, outcome) }
    }

    /// Why it is no when nothing can be done about it.
    fn plain_reason(&self, request: &AccessRequest, outcome: &Outcome) -> Reason {
        let first = first_reason(&outcome.determining);
        match outcome.verdict {
            Verdict::HardForbid | Verdict::SoftForbid => first,
            _ if self.is_unreachable(&request.resource.app) => Reason::NoRule,
            _ => Reason::NotPermitted,
        }
    }

    /// Every irreducible fix set, cheapest first, the same fix for everybody who administers: what a door can drive and
    /// what was tried before does not matter.
    pub(crate) fn all_ways(&self, request: &AccessRequest, facts: &Facts, slot: &Arc<Slot>) -> Vec<Vec<Fix>> {
        let mut probe = Probe::new(self, request, facts, slot);
        let Ok(now) = probe.evaluate(0) else { return Vec::new() };
        if matches!(now.verdict, Verdict::Allow | Verdict::Error) {
            return Vec::new();
        }
        let count = probe.offers.len();
        let opens = |set| probe.evaluate(set).is_ok_and(|outcome| outcome.verdict == Verdict::Allow);
        let mut ways = search::ways(count, opens);
        let cost = |set: &Set| probe.remedies(*set).map(|remedy| u32::from(remedy.cost())).sum::<u32>();
        ways.sort_by_key(|set| (cost(set), set.count_ones(), *set));
        ways.truncate(MAX_WAYS);
        let fixes = |set: Set| probe.evaluate(set).ok().map(|opened| probe.fix(set, &now, &opened));
        ways.into_iter().filter_map(fixes).collect()
    }
}

/// The answer to a person whom `fix` would let in: bounded by what was tried before and by what the door can drive.
fn bounded(context: &StepUpContext, fix: &[Fix], facts: &Facts, plain: Reason) -> (Effect, Reason) {
    if is_loop(&context.completed_rounds, fix, facts.auth.step_up_age_secs) {
        return (Effect::Deny, Reason::StepUpLoop);
    }
    let remedies: Vec<Remedy> = fix.iter().map(|fix| fix.remedy).collect();
    if !remedies.iter().all(|remedy| context.drives.drives(remedy.kind())) {
        return (Effect::Deny, plain);
    }
    (Effect::StepUp, step_up_reason(&remedies))
}

/// Proving more comes first, because the door drives it itself; then the device; a grant alone comes last.
fn step_up_reason(remedies: &[Remedy]) -> Reason {
    let has = |kind: FixKind| remedies.iter().any(|remedy| remedy.kind() == kind);
    match () {
        () if remedies.iter().any(|remedy| matches!(remedy, Remedy::Mfa | Remedy::Passkey)) => Reason::StepUpMfa,
        () if has(FixKind::Auth) => Reason::StepUpRequired,
        () if has(FixKind::Device) => Reason::StepUpDevice,
        () => Reason::GrantRequired,
    }
}

/// Why remedied facts could not be judged.
enum ProbeError {
    /// A policy raised an error.
    Policy(Box<Outcome>),
    /// The facts do not fit the schema, which their types rule out.
    Misfit,
}

/// One question with other facts.
struct Probe<'a> {
    engine: &'a Engine,
    request: &'a AccessRequest,
    slot: &'a Slot,
    base: &'a Facts,
    /// Equal to `base` between evaluations.
    facts: Facts,
    /// What can make a difference, cheapest first: the members of a [`Set`].
    offers: Vec<&'a Offer>,
}

impl<'a> Probe<'a> {
    fn new(engine: &'a Engine, request: &'a AccessRequest, base: &'a Facts, slot: &'a Slot) -> Self {
        let is_requestable = engine.app(&request.resource.app).is_some_and(|app| app.is_requestable);
        let is_offered = |offer: &&Offer| offer.remedy.kind() != FixKind::Grant || is_requestable;
        let offers = engine.policies().schema.remedies.iter();
        let offers = offers.filter(|offer| slot.slice.may_answer_to(offer)).filter(is_offered).collect();
        Self { engine, request, slot, base, facts: base.clone(), offers }
    }

    /// The irreducible set that opens, with the answer it leads to; with `only`, that set or none.
    fn search(&mut self, only: Option<&[Remedy]>) -> Result<Option<(Set, Outcome)>, Stop<ProbeError>> {
        let (count, only) = (self.offers.len(), only.map(|only| self.set_of(only)));
        let mut opened = None;
        let mut opens = |set: Set| {
            let outcome = self.evaluate(set)?;
            let is_open = outcome.verdict == Verdict::Allow;
            if is_open {
                opened = Some(outcome);
            }
            Ok(is_open)
        };
        let found = match only {
            None => search::irreducible(count, opens)?,
            Some(0) => None,
            Some(set) => opens(set).map_err(Stop::Failed)?.then_some(set),
        };
        Ok(found.zip(opened))
    }

    fn set_of(&self, remedies: &[Remedy]) -> Set {
        let members = self.offers.iter().enumerate().filter(|(_, offer)| remedies.contains(&offer.remedy));
        members.fold(0, |set, (at, _)| set | search::bit(at))
    }

    fn members(&self, set: Set) -> impl Iterator<Item = &'a Offer> {
        self.offers.iter().enumerate().filter(move |(at, _)| set & search::bit(*at) != 0).map(|(_, offer)| *offer)
    }

    fn remedies(&self, set: Set) -> impl Iterator<Item = Remedy> {
        self.members(set).map(|offer| offer.remedy)
    }

    /// The answer once all of `set` is done.
    fn evaluate(&mut self, set: Set) -> Result<Outcome, ProbeError> {
        self.evaluate_aged(set, None)
    }

    /// As [`Self::evaluate`]; what `aged` renews is that old.
    fn evaluate_aged(&mut self, set: Set, aged: Option<(Remedy, i64)>) -> Result<Outcome, ProbeError> {
        let members: Vec<&Offer> = self.members(set).collect();
        let changes = || members.iter().flat_map(|offer| &offer.changes);
        changes().for_each(|change| change.apply(&mut self.facts));
        if let Some((remedy, age)) = aged {
            let offer = members.iter().filter(|offer| offer.remedy == remedy);
            offer.flat_map(|offer| &offer.changes).for_each(|change| change.apply_aged(&mut self.facts, age));
        }
        let question = self.engine.question(self.request.action, self.slot, &self.facts);
        changes().for_each(|change| change.undo(self.base, &mut self.facts));
        let outcome = evaluate(&self.slot.slice, &question.ok_or(ProbeError::Misfit)?, &self.slot.store.entities);
        match outcome.verdict {
            Verdict::Error => Err(ProbeError::Policy(Box::new(outcome))),
            _ => Ok(outcome),
        }
    }

    /// What the door must ask for, sorted by remedy.
    fn fix(&mut self, set: Set, now: &Outcome, opened: &Outcome) -> Vec<Fix> {
        let concerned: Vec<&Arc<CompiledPolicy>> =
            now.determining.iter().chain(&now.pending).chain(&opened.determining).collect();
        let members: Vec<&Offer> = self.members(set).collect();
        let mut fix: Vec<Fix> = members
            .into_iter()
            .map(|offer| Fix {
                remedy: offer.remedy,
                acr_values: self.acr_values(offer),
                max_age_secs: self.max_age_secs(set, offer, &concerned),
                facts: self.facts_to_change(offer),
            })
            .collect();
        fix.sort_by_key(|fix| fix.remedy);
        fix
    }

    /// The level to reach. Of an own remedy, the least that gives what it promises.
    fn acr_values(&self, offer: &Offer) -> String {
        let gives = |fact: &str| offer.changes.iter().any(|change| change.fact == fact);
        match offer.remedy {
            Remedy::Passkey => "phr".to_owned(),
            Remedy::Mfa => "urn:countersign:acr:mfa".to_owned(),
            remedy if remedy.kind() != FixKind::Auth => String::new(),
            _ if gives("auth.phishing_resistant") => "phr".to_owned(),
            _ if gives("auth.mfa") => "urn:countersign:acr:mfa".to_owned(),
            _ => self.base.auth.acr.clone(),
        }
    }

    /// The greatest age that is still enough, among those the policies concerned compare with; without any, what the
    /// resource's sensitivity asks for (PO-8).
    fn max_age_secs(&mut self, set: Set, offer: &Offer, concerned: &[&Arc<CompiledPolicy>]) -> i64 {
        let times = concerned.iter().flat_map(|policy| &policy.reads.time);
        let literals: BTreeSet<(i64, Flip)> = times
            .filter_map(|time| match time {
                TimeUse::Literal { fact, literal, flip } if offer.renews(fact) => Some((*literal, *flip)),
                TimeUse::Literal { .. } | TimeUse::Opaque => None,
            })
            .collect();
        let Some((least, _)) = literals.first() else { return self.freshness_secs() };
        if literals.len() > 1 {
            for (literal, flip) in literals.iter().rev().take(MAX_AGES_TRIED) {
                let oldest = literal.saturating_sub(i64::from(*flip == Flip::At));
                let outcome = self.evaluate_aged(set, Some((offer.remedy, oldest)));
                if outcome.is_ok_and(|outcome| outcome.verdict == Verdict::Allow) {
                    return (*literal).max(0);
                }
            }
        }
        (*least).max(0)
    }

    fn freshness_secs(&self) -> i64 {
        let app = self.engine.app(&self.request.resource.app);
        let sensitivity = app.map_or(model::Sensitivity::Critical, |app| app.effective_sensitivity());
        let freshness = self.engine.policies().settings().freshness;
        i64::try_from(freshness.of(sensitivity).as_secs()).unwrap_or(0)
    }

    /// Those of its facts that are not yet so and that some policy reads.
    fn facts_to_change(&self, offer: &Offer) -> Vec<Arc<str>> {
        let changes = offer.changes.iter().filter(|change| change.matters(self.base));
        let paths = changes.map(|change| format!("context.{}", change.fact));
        paths.filter(|path| self.slot.slice.reads(path)).map(Arc::from).collect()
    }
}
