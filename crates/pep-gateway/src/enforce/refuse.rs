//! What follows anything but an ALLOW: the refusal and its record.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http_gate::{CanonicalRequest, GateRefusal};
use model::app::Explain;
use model::directory::ADMINS_GROUP;
use model::{AccessRequest, ActionClass, App, Decision, Effect, Explanation, Reason, UserEntry};

use super::case::{Case, Goal};
use super::standing::Standing;
use super::{Judged, Outcome};
use crate::record;
use crate::refusal::{self, Detail, Refusal};
use crate::routing::{self, Reserved};
use crate::sign_in::{self, Asked};

impl Case<'_> {
    /// DENY or STEP_UP, in the tongue of whoever asked.
    pub(super) fn explain(
        self,
        request: &CanonicalRequest,
        goal: &Goal,
        standing: &Standing,
        question: &AccessRequest,
        decision: &Decision,
    ) -> Judged {
        let asked = self.asked(&goal.app, request);
        let user = match standing {
            // The way in itself is never answered by sending people to the way in.
            Standing::Nobody(reason) if goal.action.class() != ActionClass::Portal => {
                let refusal = self.visit.login(*reason, &sign_in::to_login(self.gateway, &asked));
                return self.refused(Effect::Deny, *reason, refusal);
            }
            Standing::Nobody(_) => None,
            Standing::Person { user, .. } => Some(user),
        };
        let detail = user.map(|user| self.detail(&goal.app, user, question)).unwrap_or_default();
        let refusal = match decision.effect {
            Effect::StepUp => {
                let way = sign_in::to_step_up(self.gateway, &asked, goal.action);
                self.visit.step_up(decision.reason, &decision.fix, &detail, &way)
            }
            Effect::Allow | Effect::Deny => self.visit.denied(decision.reason, &detail),
        };
        self.refused(decision.effect, decision.reason, refusal)
    }

    /// What this person may read about the refusal (GW-16, R-12).
    fn detail(&self, app: &App, user: &UserEntry, question: &AccessRequest) -> Detail {
        if app.explain == Explain::None {
            return Detail::default();
        }
        let pdp = &self.snapshot.pdp;
        let explained = catch_unwind(AssertUnwindSafe(|| pdp.explain(question, self.now)));
        let Ok(Explanation { user_text, policies, .. }) = explained else {
            return Detail::default();
        };
        let is_admin = user.groups.iter().any(|group| group.as_str() == ADMINS_GROUP);
        let shows_policies = app.explain == Explain::Full && is_admin;
        Detail {
            sentence: Some(user_text).filter(|text| !text.is_empty()),
            policies: policies
                .iter()
                .filter(|policy| shows_policies && policy.is_determining)
                .map(|policy| policy.id.to_string())
                .collect(),
        }
    }

    fn asked<'b>(&'b self, app: &'b App, request: &'b CanonicalRequest) -> Asked<'b> {
        Asked { app, request, authority: &self.authority, caller: self.visit.caller, now: self.now }
    }

    /// Nothing is there. Who is not signed in learns only that they have to be.
    pub(super) fn not_found(self, standing: &Standing, request: &CanonicalRequest) -> Judged {
        if let (Standing::Nobody(reason), Some(app), Reserved::No) =
            (standing, &self.visit.app, routing::reserved(request.match_path()))
        {
            let way = sign_in::to_login(self.gateway, &self.asked(app, request));
            let refusal = self.visit.login(*reason, &way);
            return self.refused(Effect::Deny, *reason, refusal);
        }
        let refusal = self.visit.not_found();
        self.refused(Effect::Deny, Reason::NotPermitted, refusal)
    }

    /// An error of ours.
    pub(super) fn internal(self) -> Judged {
        let refusal = self.visit.denied(Reason::Internal, &Detail::default());
        self.refused(Effect::Deny, Reason::Internal, refusal)
    }

    pub(super) fn gate_refused(mut self, gate: &GateRefusal) -> Judged {
        record::add_gate_refusal(&mut self.record, gate);
        let refusal = refusal::gate(gate, self.visit.access, self.visit.decision);
        self.closed(Outcome::Refuse(refusal))
    }

    pub(super) fn refused(mut self, effect: Effect, reason: Reason, refusal: Refusal) -> Judged {
        record::refuse(&mut self.record, effect, reason, refusal.status().as_u16());
        self.closed(Outcome::Refuse(refusal))
    }

    /// The verdict with its record, as sure as the decision asks for.
    pub(super) fn closed(self, verdict: Outcome) -> Judged {
        Judged { record: self.record, durability: self.durability, visit: self.visit, verdict }
    }
}
