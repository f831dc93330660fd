//! Questions to the record. Each leaves an `audit.query` record: who, filter, rows (AUD-5).

use std::sync::Arc;

use audit::{Answer, Query, SealedAccess, Story, Tail};
use model::record::RecordType;
use model::{AccessId, AccessRequest, Action, Effect, Facts, ResourceRef};

use super::ControlPlane;
use crate::actor::Actor;
use crate::failure::Failure;

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
                None if value.contains('@') => "who=***".to_owned(),
                None => format!("who={value}"),
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

    /// Follows the log from `from_seq`, or from now on (AUD-3).
    ///
    /// # Errors
    /// The reader may not ask this.
    pub fn follow(&self, actor: &Actor, query: Query, from_seq: Option<u64>) -> Result<Tail, Failure> {
        let access = self.sealed_access(actor);
        self.log.tail(query, from_seq, access).map_err(|error| Failure::invalid("filter", error))
    }

    /// Names and addresses are opened only with the right `audit.read_sealed`, asked of the engine like any other.
    fn sealed_access(&self, actor: &Actor) -> SealedAccess {
        let now = self.now();
        let mut facts = Facts::unknown();
        facts.auth.authenticated = true;
        facts.request.door = actor.door.to_owned();
        let app = model::AppName::new(model::app::CONTROL_APP);
        if let Some(session) = &actor.session {
            facts.auth = session.auth_facts(&app, Action::AuditReadSealed, now);
            facts.session = session.session_facts(now);
        }
        let question = AccessRequest {
            principal: actor.principal.clone(),
            action: Action::AuditReadSealed,
            resource: ResourceRef { app, route: None },
            facts,
            is_public_path: false,
            session_ends: None,
        };
        match self.published().pdp.decide(&question, now).effect {
            Effect::Allow => SealedAccess::Open,
            Effect::Deny | Effect::StepUp => SealedAccess::Closed,
        }
    }

    /// Records that somebody follows the log.
    ///
    /// # Errors
    /// The log refuses.
    pub async fn record_query(&self, actor: &Actor, text: &str) -> Result<(), Failure> {
        let mut record = self.actor_record(actor, RecordType::AuditQuery);
        record.change.object_kind = Some("audit");
        record.change.change = Some(Arc::from(text));
        self.record(record).await
    }
}
