//! One's own security keys: a second factor beside the password, never a passkey (ID-22).

use bytes::Bytes;
use http::{Response, StatusCode};
use model::UserId;
use model::record::RecordType;
use pip_identity::passkeys::{PasskeyView, Refusal};

use super::confirm::address;
use super::{Change, Visit, back, done, moment, sentence};
use crate::http::portal::Portal;
use crate::http::portal::answers::{json, page, see_other, unavailable};
use crate::http::portal::login::{refused, start_over};

const TO_ADD: &str = "to add a security key";
const TO_REMOVE: &str = "to remove a security key";

impl Portal {
    /// A person's security keys as they see them.
    pub(super) async fn keys_of(&self, user: UserId) -> Result<Vec<pages::PasskeyRow>, Refusal> {
        let row = |key: PasskeyView| pages::PasskeyRow {
            handle: key.handle,
            name: key.name,
            added: moment(key.created_at),
            last_used: key.last_used_at.map(moment),
            is_synced: false,
            is_current: false,
        };
        Ok(self.passkeys.keys(user).await?.into_iter().map(row).collect())
    }

    pub(super) async fn key_add_page(&self, visit: &Visit<'_>) -> Response<Bytes> {
        if self.pair_of(visit.session.user).await != pages::Pair::Present {
            return see_other("/me");
        }
        let name = visit.value("name");
        if let Some(confirm) = self.confirm_first(visit, TO_ADD, address("/me/keys/add", &[("name", &name)])).await {
            return confirm;
        }
        let (identity, transaction) = (self.identity(visit.session), self.form_token(visit.session.id));
        page(StatusCode::OK, pages::KeyAdd { identity, name, transaction }.render())
    }

    pub(super) async fn key_begin(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let Some(body) = self.addition(visit) else { return start_over() };
        if !self.is_fresh(visit).await {
            let next = address("/me/keys/add", &[("name", &body.name)]);
            return json(StatusCode::OK, &serde_json::json!({ "next": next }));
        }
        match self.passkeys.start_key(visit.session).await {
            Ok(options) => json(StatusCode::OK, &serde_json::json!({ "options": options })),
            Err(refusal) => refused(&refusal),
        }
    }

    pub(super) async fn key_finish(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let Some(body) = self.addition(visit) else { return start_over() };
        let Some(credential) = body.credential else { return start_over() };
        let added = match self.passkeys.finish_key(visit.session, credential.get().as_bytes(), &body.name).await {
            Ok(added) => added,
            Err(refusal) => {
                self.record_failed(visit.context, &refusal, "enrolment").await;
                return refused(&refusal);
            }
        };
        let about = Change { kind: RecordType::AuthMfaEnrolled, object: ("security_key", added.handle) };
        match self.record_change(visit, about, "security key added").await {
            Ok(()) => json(StatusCode::OK, &serde_json::json!({ "next": "/me" })),
            Err(failure) => unavailable(&failure),
        }
    }

    async fn own_key(&self, visit: &Visit<'_>) -> Result<Option<PasskeyView>, Refusal> {
        let handle = visit.value("key");
        Ok(self.passkeys.keys(visit.session.user).await?.into_iter().find(|key| key.handle == handle))
    }

    pub(super) async fn key_remove_page(
        &self,
        visit: &Visit<'_>,
        code: StatusCode,
        problem: Option<&str>,
    ) -> Response<Bytes> {
        let key = match self.own_key(visit).await {
            Ok(Some(key)) => key,
            Ok(None) => return see_other("/me"),
            Err(refusal) => return refused(&refusal),
        };
        let here = address("/me/keys/remove", &[("key", &key.handle)]);
        if let Some(confirm) = self.confirm_first(visit, TO_REMOVE, here).await {
            return confirm;
        }
        let token = self.form_token(visit.session.id);
        let form = pages::FormPage {
            heading: "Remove this security key?".to_owned(),
            facts: vec![pages::Fact { name: "Key".to_owned(), value: key.name }],
            consequences: vec![
                "It confirms nothing any more, at once and for good.".to_owned(),
                "Password and one-time codes stay.".to_owned(),
            ],
            problem: problem.map(str::to_owned),
            hidden: vec![("token".to_owned(), token), ("key".to_owned(), key.handle)],
            action_url: "/me/keys/remove".to_owned(),
            submit: "Remove it".to_owned(),
            is_dangerous: true,
            cancel: back(),
            ..pages::FormPage::default()
        };
        page(code, form.render())
    }

    pub(super) async fn key_remove(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let handle = visit.value("key");
        let here = address("/me/keys/remove", &[("key", &handle)]);
        if let Some(confirm) = self.confirm_first(visit, TO_REMOVE, here).await {
            return confirm;
        }
        if let Err(refusal) = self.passkeys.remove_key(visit.session, &handle).await {
            let text = sentence(&refusal.why.to_string());
            return self.key_remove_page(visit, StatusCode::UNPROCESSABLE_ENTITY, Some(&text)).await;
        }
        let about = Change { kind: RecordType::AuthMfaRemoved, object: ("security_key", handle) };
        match self.record_change(visit, about, "security key removed").await {
            Ok(()) => done(visit, "The security key is removed", &["Beside your password, one-time codes remain."]),
            Err(failure) => unavailable(&failure),
        }
    }
}
