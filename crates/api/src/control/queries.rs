//! Questions to the record. Each leaves an `audit.query` record: who, filter, rows (AUD-5).

use std::sync::Arc;
use std::time::Duration;

use audit::{Answer, Query, SealedAccess, Story, Tail};
use model::record::RecordType;
use model::{AccessId, AccessRequest, Action, Effect, Facts, Principal, ResourceRef, UserId};

use super::ControlPlane;
use crate::actor::Actor;
use crate::failure::Failure;
use crate::pending::Pending;

/// How long a reader who follows the log may stay away before it counts as a new question.
const FOLLOWER_LIFE: Duration = Duration::from_secs(60);
/// The most readers who are remembered.
const MAX_FOLLOWERS: usize = 1_000;

/// Who was told to come back, with which filters, and for what.
pub(super) type Followers = Pending<(Principal, String, u64), ()>;

/// Nobody yet.
pub(super) fn no_followers() -> Followers {
    Pending::new(FOLLOWER_LIFE, MAX_FOLLOWERS)
}

impl ControlPlane {
    /// Reads a query in the words of the command line and the API (AUD-1).
    ///
    /// # Errors
    /// A filter that does not exist or a value that cannot be.
    pub fn parse_query(&self, filters: &[(String, String)]) -> Result<Query, Failure> {
        let directory = self.published().directory.clone();
        let resolve = |who: &str| directory.find(who).map(|user| user.id);
        let pairs = filters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Query::parse(pairs, self.now(), &resolve).map_err(|error| Failure::invalid("filter", error))
    }

    /// The question in words, for the record of it: people by id, because the record of a question is in the clear; an
    /// address of the network only as the network.
    pub fn query_words(&self, filters: &[(String, String)]) -> String {
        let directory = &self.published().directory;
        let word = |(name, value): &(String, String)| match name.as_str() {
            "who" => match directory.find(value) {
                Some(user) => format!("who={}", user.id),
                None if value.parse::<UserId>().is_ok() => format!("who={value}"),
                // Not known here, so it may be anything: a name, an address, a typing error in one.
                None => "who=***".to_owned(),
            },
            "ip" => "ip=***".to_owned(),
            _ => format!("{name}={value}"),
        };
        filters.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Rows that match, newest first.
    ///
    /// # Errors
    /// The log cannot be read, or the query itself could not be recorded.
    pub async fn query(self: &Arc<Self>, actor: &Actor, query: Query, words: &str) -> Result<Answer, Failure> {
        let access = self.sealed_access(actor);
        let this = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || this.log.query(&query, access))
            .await
            .map_err(Failure::unavailable)?
            .map_err(|error| Failure::invalid("filter", error))?;
        self.record_query(actor, &format!("query [{words}]: {} rows", answer.rows.len())).await?;
        Ok(answer)
    }

    /// Everything recorded of one access, with its decision explained (AUD-2).
    ///
    /// # Errors
    /// Nothing is recorded of it; says what was searched.
    pub async fn explain_access(self: &Arc<Self>, actor: &Actor, id: AccessId) -> Result<Story, Failure> {
        let access = self.sealed_access(actor);
        let this = Arc::clone(self);
        let story = tokio::task::spawn_blocking(move || this.log.explain(id, access))
            .await
            .map_err(Failure::unavailable)?
            .map_err(|error| Failure::NotFound { message: error.to_string() })?;
        self.record_query(actor, &format!("explain {id}")).await?;
        Ok(story)
    }

    /// Follows the log from `from_seq`, or from now on (AUD-3). Going on from where [`Self::will_go_on`] left off is
    /// part of the question that was recorded; starting anywhere else is a new one.
    ///
    /// # Errors
    /// A filter that does not exist, the reader may not ask this, or the log refuses.
    pub async fn follow(
        &self,
        actor: &Actor,
        filters: &[(String, String)],
        from_seq: Option<u64>,
    ) -> Result<Tail, Failure> {
        let query = self.parse_query(filters)?;
        let words = self.query_words(filters);
        let goes_on = from_seq.is_some_and(|seq| {
            self.followers.take(&(actor.principal.clone(), words.clone(), seq), self.now()).is_some()
        });
        if !goes_on {
            let start = from_seq.map(|seq| format!(" from {seq}")).unwrap_or_default();
            self.record_query(actor, &format!("tail [{words}]{start}")).await?;
        }
        let access = self.sealed_access(actor);
        self.log.tail(query, from_seq, access).map_err(|error| Failure::invalid("filter", error))
    }

    /// Remembers for a minute that a reader was told to come back for `next_seq`.
    pub fn will_go_on(&self, actor: &Actor, filters: &[(String, String)], next_seq: u64) {
        let follower = (actor.principal.clone(), self.query_words(filters), next_seq);
        self.followers.put(follower, (), self.now());
    }

    /// Names and addresses are opened only with the right `audit.read_sealed`.
    pub(super) fn sealed_access(&self, actor: &Actor) -> SealedAccess {
        if self.may(actor, Action::AuditReadSealed) { SealedAccess::Open } else { SealedAccess::Closed }
    }

    /// Whether the actor has a right beside the one the door asked for; asked of the engine like any other.
    pub(super) fn may(&self, actor: &Actor, right: Action) -> bool {
        let now = self.now();
        let mut facts = Facts::unknown();
        facts.auth.authenticated = true;
        facts.request.door = actor.door.to_owned();
        let app = model::AppName::new(model::app::CONTROL_APP);
        if let Some(session) = &actor.session {
            facts.auth = session.auth_facts(&app, right, now);
            facts.session = session.session_facts(now);
        }
        let question = AccessRequest {
            principal: actor.principal.clone(),
            action: right,
            resource: ResourceRef { app, route: None },
            facts,
            is_public_path: false,
            session_ends: None,
            step_up: model::decision::StepUpContext::default(),
        };
        self.published().pdp.decide(&question, now).effect == Effect::Allow
    }

    pub(super) async fn record_query(&self, actor: &Actor, text: &str) -> Result<(), Failure> {
        let mut record = self.actor_record(actor, RecordType::AuditQuery);
        record.change.object_kind = Some("audit");
        record.change.change = Some(Arc::from(text));
        self.record(record).await
    }
}
