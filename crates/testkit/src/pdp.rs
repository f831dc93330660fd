//! A policy decision point that a test dictates.

use std::sync::Arc;
use std::time::Duration;

use model::decision::{EntitySlice, Pins};
use model::ids::Digest32;
use model::{AccessRequest, Decision, Effect, Explanation, Fix, PolicyDecisionPoint, Reason, Timestamp};

/// How long the answers of [`decision`] hold.
const HOLDS: Duration = Duration::from_secs(3600);

type Judge = dyn Fn(&AccessRequest, Timestamp) -> Decision + Send + Sync;

/// Answers with what a closure says. Like a real one it is a fixed function of its arguments: to change the answers,
/// put another in its place.
pub struct FakePdp(Box<Judge>);

impl FakePdp {
    /// Answers with `judge`.
    pub fn new(judge: impl Fn(&AccessRequest, Timestamp) -> Decision + Send + Sync + 'static) -> Self {
        Self(Box::new(judge))
    }

    /// The same answer to every question, holding an hour.
    pub fn always(effect: Effect, reason: Reason) -> Self {
        Self::new(move |_, now| decision(effect, reason, now))
    }

    /// Yes to every question.
    pub fn allowing() -> Self {
        Self::always(Effect::Allow, Reason::Allow)
    }

    /// No to every question.
    pub fn refusing() -> Self {
        Self::always(Effect::Deny, Reason::NotPermitted)
    }
}

impl PolicyDecisionPoint for FakePdp {
    fn decide(&self, request: &AccessRequest, now: Timestamp) -> Decision {
        (self.0)(request, now)
    }

    fn explain(&self, request: &AccessRequest, now: Timestamp) -> Explanation {
        let decision = self.decide(request, now);
        let user_text = format!("{} by the fake decision point", decision.effect);
        Explanation { decision, failed_stages: Vec::new(), policies: Vec::new(), unmet: Vec::new(), user_text }
    }

    fn ways_in(&self, request: &AccessRequest, now: Timestamp) -> Vec<Vec<Fix>> {
        vec![self.decide(request, now).fix]
    }
}

/// An answer without policies or remedies that holds an hour from `now`. Change its fields as needed.
pub fn decision(effect: Effect, reason: Reason, now: Timestamp) -> Decision {
    let nothing: Arc<[u8]> = Arc::from([]);
    let hash = Digest32::of(b"fake");
    Decision {
        effect,
        reason,
        policies: Vec::new(),
        would: Vec::new(),
        fix: Vec::new(),
        hold_until: now + HOLDS,
        read_set: Arc::from([]),
        is_audit_strict: false,
        is_search_exhausted: false,
        pins: Pins {
            policy_hash: hash,
            schema_hash: hash,
            entities_version: 1,
            engine_version: "fake",
            context: Arc::clone(&nothing),
            entity_slice: Arc::new(EntitySlice { hash: Digest32::of(b""), bytes: nothing }),
        },
        eval_ns: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Action, AppName, Facts, Principal, ResourceRef};

    #[test]
    fn the_closure_decides_and_is_explained() {
        let pdp = FakePdp::new(|request, now| match request.action {
            Action::HttpGet => decision(Effect::Allow, Reason::Allow, now),
            _ => decision(Effect::Deny, Reason::NotPermitted, now),
        });
        let ask = |action| AccessRequest {
            principal: Principal::Anonymous,
            action,
            resource: ResourceRef { app: AppName::new("wiki"), route: None },
            facts: Facts::unknown(),
            is_public_path: false,
            session_ends: None,
            step_up: model::decision::StepUpContext::default(),
        };
        assert_eq!(pdp.decide(&ask(Action::HttpGet), Timestamp(0)).effect, Effect::Allow);
        assert_eq!(pdp.explain(&ask(Action::HttpPut), Timestamp(0)).decision.effect, Effect::Deny);
    }
}
