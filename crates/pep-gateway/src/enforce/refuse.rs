//! What follows anything but an ALLOW: the refusal and its record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http_gate::{CanonicalRequest, GateRefusal};
use model::app::Explain;
use model::decision::PolicyPart;
use model::directory::ADMINS_GROUP;
use model::remedy::Languages;
use model::{AccessRequest, Action, ActionClass, App, Decision, Effect, Fix, Reason, Remedy, ResourceRef, UserEntry};

use super::case::{Case, Goal};
use super::standing::Standing;
use super::{Judged, Outcome};
use crate::record;
use crate::refusal::{self, Caller, Detail, Refusal, failed_facts};
use crate::routing::{self, Reserved};
use crate::sign_in::{self, Asked};
use crate::visit::text;

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
            Standing::Nobody(_) | Standing::Service { .. } => None,
            Standing::Person { user, .. } => Some(user),
        };
        let detail = user.map(|user| self.detail((&goal.app, user), request, question, decision)).unwrap_or_default();
        let refusal = match (decision.effect, standing) {
            (Effect::StepUp, Standing::Person { session, .. }) => {
                let way = sign_in::to_step_up(self.gateway, &asked, session.id, goal.action, &detail.fix);
                self.visit.step_up(decision.reason, &detail, &way)
            }
            (Effect::Allow | Effect::Deny | Effect::StepUp, _) => self.visit.denied(decision.reason, &detail),
        };
        self.refused(decision.effect, decision.reason, refusal)
    }

    /// What this person may read about the refusal (GW-16, PO-11, R-12). Whether it may be read at all is for
    /// [`crate::refusal`] to say.
    fn detail(
        &self,
        (app, user): (&App, &UserEntry),
        request: &CanonicalRequest,
        question: &AccessRequest,
        decision: &Decision,
    ) -> Detail {
        let mut fix = decision.fix.clone();
        if fix.is_empty() && decision.reason == Reason::StepUpLoop {
            fix = last_round(question);
        }
        Detail {
            sentence: None,
            policies: self.policies_for(app, user, question),
            facts: failed_facts(&question.facts, &fix),
            fix,
            remedies: Arc::clone(&self.snapshot.remedies),
            languages: text(request.fields(), "accept-language").map(Languages::accepted).unwrap_or_default(),
        }
    }

    /// The policies that decided, for administrators, on a page, of an app that explains in full.
    fn policies_for(&self, app: &App, user: &UserEntry, question: &AccessRequest) -> Vec<String> {
        let is_admin = user.groups.iter().any(|group| group.as_str() == ADMINS_GROUP);
        let is_page = matches!(self.visit.caller, Caller::Form | Caller::Frame | Caller::Navigation);
        if app.explain != Explain::Full || !is_admin || !is_page {
            return Vec::new();
        }
        let pdp = &self.snapshot.pdp;
        let explained = catch_unwind(AssertUnwindSafe(|| pdp.explain(question, self.now)));
        let policies = explained.map(|explanation| explanation.policies).unwrap_or_default();
        let name = |policy: PolicyPart| match policy.title {
            Some(title) => format!("{} ({title})", policy.id),
            None => policy.id.to_string(),
        };
        policies.into_iter().filter(|policy| policy.is_determining).map(name).collect()
    }

    fn asked<'b>(&'b self, app: &'b App, request: &'b CanonicalRequest) -> Asked<'b> {
        Asked { app, request, authority: &self.authority, caller: self.visit.caller, now: self.now }
    }

    /// Nothing is there. Who is not signed in learns only that they have to be; who may not enter the app is refused as
    /// if something was there (GW-16, PO-11).
    pub(super) fn not_found(mut self, standing: &Standing, request: &CanonicalRequest) -> Judged {
        let is_ours = routing::reserved(request.match_path()) != Reserved::No;
        let Some(app) = self.visit.app.clone().filter(|_| !is_ours) else {
            return self.nothing_here();
        };
        if let Standing::Nobody(reason) = standing {
            let way = sign_in::to_login(self.gateway, &self.asked(&app, request));
            let refusal = self.visit.login(*reason, &way);
            return self.refused(Effect::Deny, *reason, refusal);
        }
        let goal = Goal {
            resource: ResourceRef { app: app.name.clone(), route: None },
            action: Action::of_http_method(request.method()),
            is_public: false,
            routed_path: request.match_path().to_owned(),
            app,
        };
        record::add_resource(&mut self.record, &goal.app, &goal.resource, goal.action);
        let question = self.question(request, &goal, standing);
        match self.decide(&question, goal.action) {
            Some(decision) if decision.effect == Effect::Allow => self.nothing_here(),
            Some(decision) => self.explain(request, &goal, standing, &question, &decision),
            None => self.internal(),
        }
    }

    /// A page of another origin.
    pub(super) fn origin_refused(self, sentence: Option<&str>) -> Judged {
        let detail = Detail { sentence: sentence.map(str::to_owned), ..Detail::default() };
        let refusal = self.visit.denied(Reason::OriginRefused, &detail);
        self.refused(Effect::Deny, Reason::OriginRefused, refusal)
    }

    /// A preflight of a listed origin. It is told which requests it may make, and each of those is judged.
    pub(super) fn preflight_answered(mut self, goal: &Goal) -> Judged {
        record::add_resource(&mut self.record, &goal.app, &goal.resource, goal.action);
        let answer = self.visit.preflight();
        record::refuse(&mut self.record, Effect::Allow, Reason::AllowPublic, answer.status().as_u16());
        self.closed(Outcome::Preflight(answer))
    }

    fn nothing_here(self) -> Judged {
        let refusal = self.visit.not_found();
        self.refused(Effect::Deny, Reason::NotPermitted, refusal)
    }

    /// The app wants something of the person in a header that no header can say in one way (ATK-24).
    pub(super) fn unsayable(self) -> Judged {
        let sentence = "Your account has a name or groups that this app cannot be told in a header. Ask your administrator \
                        to shorten or mend them.";
        let detail = Detail { sentence: Some(sentence.to_owned()), ..Detail::default() };
        let refusal = self.visit.denied(Reason::NotPermitted, &detail);
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

/// What the last round was for: still missing, when it did not help.
fn last_round(question: &AccessRequest) -> Vec<Fix> {
    let fix = |remedy: &Remedy| Fix { remedy: *remedy, acr_values: String::new(), max_age_secs: 0, facts: Vec::new() };
    question.step_up.completed_rounds.last().map(|round| round.iter().map(fix).collect()).unwrap_or_default()
}
