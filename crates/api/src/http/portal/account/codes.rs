//! Recovery codes: a new set, shown once and acknowledged (ID-1, ID-5).

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use model::record::RecordType;
use model::seams::ReservedContext;
use pip_identity::recovery_codes::CodeRefusal;

use super::{Change, Visit, back, foreign_form, sentence};
use crate::failure::Failure;
use crate::http::portal::Portal;
use crate::http::portal::answers::{page, parameter, see_other, unavailable};

impl Portal {
    pub(super) async fn codes_page(
        &self,
        visit: &Visit<'_>,
        code: StatusCode,
        problem: Option<&str>,
    ) -> Response<Bytes> {
        if let Some(confirm) = self.confirm_first(visit, "to make new recovery codes", "/me/codes".to_owned()).await {
            return confirm;
        }
        let left = match self.accounts().codes.left(visit.session.user).await {
            Ok(left) => left,
            Err(refusal) => return unavailable(&Failure::unavailable(refusal)),
        };
        let void = match left {
            0 => "You have no other codes.".to_owned(),
            1 => "The code you have left is void at once.".to_owned(),
            left => format!("The {left} codes you have now are void at once."),
        };
        let form = pages::FormPage {
            heading: "Make new recovery codes?".to_owned(),
            consequences: vec![void, "Ten new ones are shown once, on the next page.".to_owned()],
            problem: problem.map(str::to_owned),
            hidden: vec![("token".to_owned(), self.form_token(visit.session.id))],
            action_url: "/me/codes".to_owned(),
            submit: "Make new codes".to_owned(),
            cancel: back(),
            ..pages::FormPage::default()
        };
        page(code, form.render())
    }

    pub(super) async fn codes_renew(&self, visit: &Visit<'_>) -> Response<Bytes> {
        if let Some(confirm) = self.confirm_first(visit, "to make new recovery codes", "/me/codes".to_owned()).await {
            return confirm;
        }
        let codes = match self.accounts().codes.regenerate(visit.session).await {
            Ok(codes) => codes,
            Err(why @ CodeRefusal::Sensitive(_)) => {
                return self.codes_page(visit, StatusCode::FORBIDDEN, Some(&sentence(&why.to_string()))).await;
            }
            Err(refusal) => return unavailable(&Failure::unavailable(refusal)),
        };
        let about =
            Change { kind: RecordType::AuthMfaEnrolled, object: ("recovery_codes", visit.session.user.to_string()) };
        if let Err(failure) =
            self.record_change(visit, about, "recovery codes made anew; all earlier ones are void").await
        {
            return unavailable(&failure);
        }
        let codes = codes.iter().map(|code| code.expose()).collect();
        self.codes.put(visit.session.id, codes, visit.context.now);
        see_other("/enrol/codes")
    }

    /// Shown once. A page of another site that sends people here must not use the one look up.
    pub(in crate::http::portal) fn codes_shown(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let from = request.headers().get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if matches!(from, Some("cross-site" | "same-site")) {
            return see_other("/");
        }
        let Some(session) = &context.session else { return see_other("/login") };
        let codes = self.codes.take(&session.id, context.now).unwrap_or_default();
        let shown = pages::RecoveryCodes { codes, token: self.form_token(session.id) };
        page(StatusCode::OK, shown.render())
    }

    /// "I have saved them".
    pub(in crate::http::portal) async fn codes_saved(
        &self,
        context: &ReservedContext,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let Some(session) = &context.session else { return see_other("/login") };
        if !self.is_own_post(context, request) {
            return foreign_form(context);
        }
        if parameter(request.body(), "saved").as_deref() != Some("yes") {
            let shown = pages::RecoveryCodes { codes: Vec::new(), token: self.form_token(session.id) };
            return page(StatusCode::UNPROCESSABLE_ENTITY, shown.render());
        }
        let visit = Visit { context, request, session };
        let about = Change { kind: RecordType::AuthMfaEnrolled, object: ("recovery_codes", session.user.to_string()) };
        if let Err(failure) = self.record_change(&visit, about, "says that the recovery codes are saved").await {
            return unavailable(&failure);
        }
        // The first administrator administers from here on (ID-1).
        match self.control().acknowledge_codes(&self.actor(context), session.user).await {
            Ok(_) => see_other("/"),
            Err(failure) => unavailable(&failure),
        }
    }
}
