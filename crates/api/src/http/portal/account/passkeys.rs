//! One's own passkeys: add, rename, remove.

use bytes::Bytes;
use http::{Response, StatusCode};
use model::Session;
use model::record::RecordType;
use pip_identity::passkeys::{PasskeyView, Refusal};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::confirm::address;
use super::{Change, Visit, back, done, moment, sentence};
use crate::http::portal::Portal;
use crate::http::portal::answers::{json, page, see_other, unavailable};
use crate::http::portal::login::{read, refused, start_over};
use crate::http::reserved::is_own_origin;

/// What the script sends to begin, and with the answer to finish.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Addition {
    /// The form token of the page.
    transaction: String,
    #[serde(default)]
    pub(super) name: String,
    pub(super) credential: Option<Box<RawValue>>,
}

const TO_ADD: &str = "to add a passkey";
const TO_REMOVE: &str = "to remove a passkey";

impl Portal {
    /// A person's passkeys as they see them, and what the browser is told about them.
    pub(super) async fn passkeys_of(
        &self,
        session: &Session,
    ) -> Result<(Vec<pages::PasskeyRow>, pages::Accepted), Refusal> {
        let rows = self.passkeys.list(session.user).await?;
        let row = |passkey: &PasskeyView| pages::PasskeyRow {
            handle: passkey.handle.clone(),
            name: passkey.name.clone(),
            added: moment(passkey.created_at),
            last_used: passkey.last_used_at.map(moment),
            is_synced: passkey.is_synced,
            is_current: passkey.handle == session.credential,
        };
        let accepted = self.passkeys.accepted(session.user).await?;
        let accepted = pages::Accepted {
            rp_id: accepted.rp_id,
            user_id: accepted.user_handle,
            credentials: accepted.credential_ids.join(" "),
        };
        Ok((rows.iter().map(row).collect(), accepted))
    }

    pub(super) async fn passkey_add_page(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let name = visit.value("name");
        let here = address("/me/passkeys/add", &[("name", &name)]);
        if let Some(confirm) = self.confirm_first(visit, TO_ADD, here).await {
            return confirm;
        }
        let add = pages::PasskeyAdd {
            identity: self.identity(visit.session),
            name,
            transaction: self.form_token(visit.session.id),
        };
        page(StatusCode::OK, add.render())
    }

    /// What a script of our page sends; anything else has no answer worth reading.
    pub(super) fn addition(&self, visit: &Visit<'_>) -> Option<Addition> {
        let body: Addition = read(visit.request)?;
        let is_ours =
            is_own_origin(visit.context, visit.request) && self.is_form_token(visit.session.id, &body.transaction);
        is_ours.then_some(body)
    }

    pub(super) async fn passkey_begin(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let Some(body) = self.addition(visit) else { return start_over() };
        if !self.is_fresh(visit).await {
            // The page asks for the proof and comes back with the name.
            let next = address("/me/passkeys/add", &[("name", &body.name)]);
            return json(StatusCode::OK, &serde_json::json!({ "next": next }));
        }
        match self.passkeys.start_registration(visit.session).await {
            Ok(options) => json(StatusCode::OK, &serde_json::json!({ "options": options })),
            Err(refusal) => refused(&refusal),
        }
    }

    pub(super) async fn passkey_finish(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let Some(body) = self.addition(visit) else { return start_over() };
        let Some(credential) = body.credential else { return start_over() };
        let answer = credential.get().as_bytes();
        let added = match self.passkeys.finish_registration(visit.session, answer, &body.name).await {
            Ok(added) => added,
            Err(refusal) => {
                self.record_failed(visit.context, &refusal, "enrolment").await;
                return refused(&refusal);
            }
        };
        let about = Change { kind: RecordType::AuthMfaEnrolled, object: ("passkey", added.handle) };
        match self.record_change(visit, about, "passkey added").await {
            Ok(()) => json(StatusCode::OK, &serde_json::json!({ "next": "/me" })),
            Err(failure) => unavailable(&failure),
        }
    }

    async fn own_passkey(&self, visit: &Visit<'_>) -> Result<Option<PasskeyView>, Refusal> {
        let handle = visit.value("passkey");
        Ok(self.passkeys.list(visit.session.user).await?.into_iter().find(|passkey| passkey.handle == handle))
    }

    pub(super) async fn passkey_rename_page(
        &self,
        visit: &Visit<'_>,
        code: StatusCode,
        problem: Option<&str>,
    ) -> Response<Bytes> {
        let passkey = match self.own_passkey(visit).await {
            Ok(Some(passkey)) => passkey,
            Ok(None) => return see_other("/me"),
            Err(refusal) => return refused(&refusal),
        };
        let typed = Some(visit.value("name")).filter(|_| visit.request.method() == http::Method::POST);
        let is_wrong_name = code == StatusCode::UNPROCESSABLE_ENTITY;
        let (for_field, for_form) = if is_wrong_name { (problem, None) } else { (None, problem) };
        let name = pages::Field::text("name", "New name", &typed.unwrap_or_else(|| passkey.name.clone()));
        let form = pages::FormPage {
            heading: "Rename a passkey".to_owned(),
            facts: vec![pages::Fact { name: "Now called".to_owned(), value: passkey.name }],
            problem: for_form.map(str::to_owned),
            fields: vec![name.with_problem(for_field.map(str::to_owned))],
            hidden: self.hidden(visit, &passkey.handle),
            action_url: "/me/passkeys/rename".to_owned(),
            submit: "Rename".to_owned(),
            cancel: back(),
            ..pages::FormPage::default()
        };
        page(code, form.render())
    }

    pub(super) async fn passkey_rename(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let handle = visit.value("passkey");
        match self.passkeys.rename(visit.session, &handle, &visit.value("name")).await {
            Ok(()) => {}
            Err(refusal) => {
                let text = sentence(&refusal.why.to_string());
                return self.passkey_rename_page(visit, StatusCode::UNPROCESSABLE_ENTITY, Some(&text)).await;
            }
        }
        let about = Change { kind: RecordType::IdentityUserChanged, object: ("passkey", handle) };
        match self.record_change(visit, about, "passkey renamed").await {
            Ok(()) => see_other("/me"),
            Err(failure) => unavailable(&failure),
        }
    }

    pub(super) async fn passkey_remove_page(
        &self,
        visit: &Visit<'_>,
        code: StatusCode,
        problem: Option<&str>,
    ) -> Response<Bytes> {
        let passkey = match self.own_passkey(visit).await {
            Ok(Some(passkey)) => passkey,
            Ok(None) => return see_other("/me"),
            Err(refusal) => return refused(&refusal),
        };
        let here = address("/me/passkeys/remove", &[("passkey", &passkey.handle)]);
        if let Some(confirm) = self.confirm_first(visit, TO_REMOVE, here).await {
            return confirm;
        }
        let others = self.passkeys.list(visit.session.user).await.map_or(0, |all| all.len().saturating_sub(1));
        let left = match others {
            0 => "You have no other passkey: getting back in takes a recovery code and a second proof.".to_owned(),
            1 => "One other passkey of yours stays.".to_owned(),
            others => format!("{others} other passkeys of yours stay."),
        };
        let mut facts = vec![
            pages::Fact { name: "Passkey".to_owned(), value: passkey.name.clone() },
            pages::Fact { name: "Added".to_owned(), value: passkey.created_at.readable() },
        ];
        facts.extend(passkey.last_used_at.map(|at| pages::Fact { name: "Last used".to_owned(), value: at.readable() }));
        let form = pages::FormPage {
            heading: "Remove this passkey?".to_owned(),
            facts,
            consequences: vec![
                "It signs nobody in any more, at once and for good.".to_owned(),
                left,
                "Sessions that began with it go on until they end or you end them.".to_owned(),
            ],
            problem: problem.map(str::to_owned),
            hidden: self.hidden(visit, &passkey.handle),
            action_url: "/me/passkeys/remove".to_owned(),
            submit: "Remove it".to_owned(),
            is_dangerous: true,
            cancel: back(),
            ..pages::FormPage::default()
        };
        page(code, form.render())
    }

    pub(super) async fn passkey_remove(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let passkey = match self.own_passkey(visit).await {
            Ok(Some(passkey)) => passkey,
            Ok(None) => return see_other("/me"),
            Err(refusal) => return refused(&refusal),
        };
        let here = address("/me/passkeys/remove", &[("passkey", &passkey.handle)]);
        if let Some(confirm) = self.confirm_first(visit, TO_REMOVE, here).await {
            return confirm;
        }
        if let Err(refusal) = self.passkeys.remove(visit.session, &passkey.handle).await {
            let text = sentence(&refusal.why.to_string());
            return self.passkey_remove_page(visit, StatusCode::UNPROCESSABLE_ENTITY, Some(&text)).await;
        }
        let about = Change { kind: RecordType::AuthMfaRemoved, object: ("passkey", passkey.handle) };
        match self.record_change(visit, about, "passkey removed").await {
            Ok(()) => done(
                visit,
                "The passkey is removed",
                &["Your device may still list it. Remove it there too, so that it is not offered any more."],
            ),
            Err(failure) => unavailable(&failure),
        }
    }

    fn hidden(&self, visit: &Visit<'_>, handle: &str) -> Vec<(String, String)> {
        vec![("token".to_owned(), self.form_token(visit.session.id)), ("passkey".to_owned(), handle.to_owned())]
    }
}
