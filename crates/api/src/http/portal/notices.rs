//! What happened to an account, shown at the next sign-in, with a way to say "that was not me" (ID-7).

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use model::record::RecordType;
use model::{Timestamp, UserId};

use super::Portal;
use super::account::{Visit, moment, sentence};
use super::answers::{page, see_other, unavailable};
use crate::failure::Failure;

impl Portal {
    /// What the person has not seen yet. That it cannot be read is no reason to show them nothing else.
    pub(super) async fn notice_lines(&self, user: UserId) -> Vec<pages::NoticeLine> {
        match self.accounts().notices.show(user).await {
            Ok(shown) => shown
                .into_iter()
                .map(|shown| pages::NoticeLine {
                    at: moment(shown.row.at),
                    stamp: shown.row.at.0.to_string(),
                    text: match shown.row.detail.as_str() {
                        "" => sentence(shown.row.kind.sentence()),
                        detail => format!("{} ({detail})", sentence(shown.row.kind.sentence())),
                    },
                    token: Some(shown.not_me.expose().to_owned()),
                })
                .collect(),
            Err(error) => {
                tracing::error!(%error, "notices cannot be read");
                Vec::new()
            }
        }
    }

    /// "I know about all of these".
    pub(super) async fn notices_seen(&self, visit: &Visit<'_>) -> Response<Bytes> {
        // Up to the newest that was on the page, and not what happened since.
        let Ok(until) = visit.value("until").parse().map(Timestamp) else { return see_other("/me") };
        match self.accounts().notices.seen(visit.session.user, until.min(visit.context.now)).await {
            Ok(()) => see_other("/me"),
            Err(error) => unavailable(&Failure::unavailable(error)),
        }
    }

    /// "This was not me": every sign-in of the account ends, this one too, and every recovery that is under way.
    pub(super) async fn not_me(&self, visit: &Visit<'_>) -> Response<Bytes> {
        match self.control().not_me(&self.actor(visit.context), visit.session.user, &visit.value("notice")).await {
            Ok(_) => {}
            // Shown again elsewhere since, or used: the page has the newest.
            Err(Failure::Conflict { .. }) => return see_other("/me"),
            Err(failure) => return unavailable(&failure),
        }
        let stopped = pages::Notice {
            heading: "Every sign-in of your account is ended".to_owned(),
            paragraphs: vec![
                "Whoever else was signed in is not any more, and no recovery of your account goes on.".to_owned(),
                "Now sign in with a passkey you hold, and remove whatever on your account page is not yours. Tell an administrator, and give them the id below.".to_owned(),
            ],
            command: None,
            links: vec![pages::Link { text: "Sign in".to_owned(), url: "/login".to_owned() }],
            request_id: Some(visit.context.access_id.to_string()),
        };
        let response = page(StatusCode::OK, stopped.render());
        super::answers::with_cookie(response, &crate::http::cookies::clear_session())
    }

    /// A record about a person who is not signed in (yet).
    pub(super) async fn record_about(
        &self,
        context: &model::seams::ReservedContext,
        (kind, object): (RecordType, (&'static str, String)),
        user: Option<UserId>,
        text: &str,
    ) -> Result<(), Failure> {
        let mut record = self.control().actor_record(&self.actor(context), kind);
        record.change.object_kind = Some(object.0);
        record.change.object_id = Some(object.1).filter(|id| !id.is_empty()).map(Arc::from);
        record.change.object_subject = user;
        record.change.change = Some(Arc::from(text));
        self.control().record(record).await
    }
}
