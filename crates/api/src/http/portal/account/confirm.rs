//! The proof of the last five minutes that a sensitive change takes (ID-7), at the highest level the account has. What was
//! typed comes back afterwards: it waits in the address of the page, so only what is no secret is kept.

use bytes::Bytes;
use http::{Response, StatusCode};
use model::app::CONTROL_APP;
use model::decision::Fix;
use model::{Action, AppName, Remedy};
use pip_identity::passkeys::ACR_PASSKEY;
use pip_identity::sensitive::{FRESH_SIGN_IN, check_fresh};

use super::Visit;
use crate::http::portal::answers::{page, with_cookie};
use crate::http::portal::step_up::Confirmation;
use crate::http::portal::{Portal, Transaction, bind_browser};

impl Portal {
    /// `None` when the proof is fresh enough; otherwise the page that asks for one and leads to `then`, a page of ours.
    pub(super) async fn confirm_first(
        &self,
        visit: &Visit<'_>,
        purpose: &str,
        then: String,
    ) -> Option<Response<Bytes>> {
        if self.is_fresh(visit).await {
            return None;
        }
        let standing = self.accounts().passwords.standing(visit.session.user).await.unwrap_or_default();
        let by_passkey = standing.passkeys > 0;
        let fix = Fix {
            remedy: if by_passkey { Remedy::Passkey } else { Remedy::Mfa },
            acr_values: if by_passkey { ACR_PASSKEY.to_owned() } else { String::new() },
            max_age_secs: i64::try_from(FRESH_SIGN_IN.as_secs()).unwrap_or(i64::MAX),
            facts: Vec::new(),
        };
        let confirmation = Confirmation {
            session: visit.session.id,
            app: AppName::new(CONTROL_APP),
            action: Action::PortalRequest,
            fix: vec![fix],
            then: Some(then),
        };
        let (browser, cookie) = bind_browser(self, visit.context);
        let transaction = Transaction { ticket: None, step_up: Some(confirmation), browser };
        let transaction = self.begin_transaction(transaction, visit.context.now);
        let by_password = !by_passkey && standing.has_pair;
        let confirm = pages::Confirm {
            identity: self.identity(visit.session),
            purpose: purpose.to_owned(),
            by_passkey,
            password_url: by_password.then(|| address("/step-up/password", &[("transaction", &transaction)])),
            begin_url: "/step-up/begin".to_owned(),
            finish_url: "/step-up/finish".to_owned(),
            transaction,
            cancel_url: "/me".to_owned(),
        };
        let response = page(StatusCode::FORBIDDEN, confirm.render());
        Some(match cookie {
            Some(cookie) => with_cookie(response, &cookie),
            None => response,
        })
    }

    /// Whether the session's newest proof is good for a sensitive change.
    pub(super) async fn is_fresh(&self, visit: &Visit<'_>) -> bool {
        let standing = self.control().accounts.passwords.standing(visit.session.user).await;
        standing.is_ok_and(|standing| check_fresh(visit.session, standing, self.control().now()).is_ok())
    }
}

/// `path` with these values in its query.
pub(in crate::http::portal) fn address(path: &str, values: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(values);
    format!("{path}?{}", query.finish())
}
