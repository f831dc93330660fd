//! The policy tools: tables of tests, listings and what-if questions (PO-38, PO-39).
//!
//! None of them changes anything. A what-if is judged by the engine doors ask, over facts the asker names.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::Problem;
use model::decision::StepUpContext;
use model::directory::GroupEntry;
use model::policy_test::FactInput;
use model::{AccessRequest, Action, AppName, Explanation, Fix, GroupId, Principal, ResourceRef, RouteName};
use pdp_engine::{PolicyListing, TestReport, clean_facts, run_tests, set_fact};

use super::ControlPlane;
use super::config_ops::Checked;
use crate::failure::Failure;

/// The most problems of failing tests that are told.
const MAX_TOLD: usize = 50;

impl Checked {
    /// Asks every row of the declared policy tests.
    ///
    /// # Errors
    /// The engine cannot be made of these apps.
    pub fn run_tests(&self) -> Result<TestReport, Failure> {
        let groups: BTreeMap<GroupId, Arc<GroupEntry>> = self
            .declared
            .groups
            .iter()
            .map(|group| {
                let entry =
                    GroupEntry { id: group.id.clone(), title: group.title.clone(), parents: group.parents.clone() };
                (group.id.clone(), Arc::new(entry))
            })
            .collect();
        run_tests(&self.policies, &self.apps, &groups, &self.declared.tests).map_err(Failure::unavailable)
    }

    /// Every policy, built-in ones included.
    pub fn policies(&self) -> Vec<PolicyListing> {
        self.policies.policies()
    }

    /// Refuses a configuration whose own tests fail. Not part of [`super::check_files`]: a start under a configuration
    /// that was applied must not fail over them.
    ///
    /// # Errors
    /// [`Failure::Problems`] with each failing row at its line.
    pub fn refuse_failing_tests(&self) -> Result<(), Failure> {
        let report = self.run_tests()?;
        let at = |declared_at: &str| match declared_at.rsplit_once(':') {
            Some((file, line)) => (file.to_owned(), line.parse().unwrap_or(0)),
            None => (declared_at.to_owned(), 0),
        };
        let problem = |declared_at: &str, message: String| {
            let (file, line) = at(declared_at);
            Problem::error(&file, (line, 0), message)
        };
        let unusable = report.unusable.iter().map(|(declared_at, message)| problem(declared_at, message.clone()));
        let failed = report.failed().map(|row| {
            let message = format!("policy test `{}`, row `{}` {}", row.test, row.row, row.wrong.join("; "));
            problem(&row.declared_at, message).hint("run `countersign policy test` for the facts and the nearest row")
        });
        let problems: Vec<Problem> = unusable.chain(failed).take(MAX_TOLD).collect();
        if problems.is_empty() { Ok(()) } else { Err(Failure::Problems(config::Problems(problems))) }
    }
}

/// A what-if question in the words of the command line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WhatIf {
    /// E-mail address or id of a person, a SPIFFE ID, or `anonymous`.
    pub principal: String,
    /// `http.get`
    pub action: Option<String>,
    /// `crm` or `crm/admin`
    pub resource: String,
    /// `auth.mfa` and `false`, over the facts of somebody signed in with a passkey from a device in order.
    pub facts: Vec<(String, String)>,
}

impl ControlPlane {
    /// Judges a what-if question by what is live; with every way in.
    ///
    /// # Errors
    /// A word that does not exist: principal, action, app, route or fact, with the nearest.
    pub fn what_if(&self, asked: &WhatIf) -> Result<(Explanation, Vec<Vec<Fix>>), Failure> {
        let action: Action = match &asked.action {
            Some(action) => action.parse().map_err(|error| Failure::invalid("action", error))?,
            None => Action::HttpGet,
        };
        let now = self.now();
        let mut facts = clean_facts(action, now);
        for (name, value) in &asked.facts {
            let mut value = FactInput::of_text(value);
            if set_fact(&mut facts, name, &value).is_err() {
                // A text may look like a number: `request.tls_version=1`.
                value = FactInput::Text(value.to_string());
                set_fact(&mut facts, name, &value).map_err(|error| Failure::invalid("fact", error))?;
            }
        }
        let resource = self.resource(&asked.resource)?;
        if let Some(route) = &resource.route {
            route.as_str().clone_into(&mut facts.request.route);
        }
        let request = AccessRequest {
            principal: self.principal(&asked.principal)?,
            action,
            resource,
            facts,
            is_public_path: false,
            session_ends: None,
            step_up: StepUpContext::browser(),
        };
        let pdp = &self.published().pdp;
        Ok((pdp.explain(&request, now), pdp.ways_in(&request, now)))
    }

    fn principal(&self, who: &str) -> Result<Principal, Failure> {
        match who {
            "anonymous" => Ok(Principal::Anonymous),
            id if id.starts_with("spiffe://") || id.starts_with("service-account:") => {
                Ok(Principal::Workload(Arc::from(id)))
            }
            person => self.user(person).map(|user| Principal::User(user.id)),
        }
    }

    fn resource(&self, text: &str) -> Result<ResourceRef, Failure> {
        let (app, route) = match text.split_once('/') {
            Some((app, route)) => (app, Some(route)),
            None => (text, None),
        };
        let published = self.published();
        let apps = &published.apps;
        let found = apps.iter().find(|known| known.name.as_str() == app);
        let Some(found) = found else {
            let hint = config::problem::nearest(app, apps.iter().map(|known| known.name.as_str()));
            return Err(not_found("app", app, hint));
        };
        if let Some(route) = route.filter(|route| !found.routes.iter().any(|known| known.name.as_str() == *route)) {
            let hint = config::problem::nearest(route, found.routes.iter().map(|known| known.name.as_str()));
            return Err(not_found("route", route, hint));
        }
        Ok(ResourceRef { app: AppName::new(app), route: route.map(RouteName::new) })
    }
}

pub(super) fn not_found(kind: &str, word: &str, nearest: Option<&str>) -> Failure {
    let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    Failure::NotFound { message: format!("there is no {kind} `{word}`{hint}") }
}
