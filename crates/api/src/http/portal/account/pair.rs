//! One's own password with one-time codes: set, change, remove; always together (ID-11, ID-15).

use bytes::Bytes;
use http::{Response, StatusCode};
use model::UserId;
use model::record::RecordType;
use pip_identity::passwords::{PairRefusal, Setter};

use super::{Change, Visit, back, done, sentence};
use crate::http::portal::Portal;
use crate::http::portal::answers::{page, parameter, see_other, unavailable};
use crate::http::portal::password::{busy, status_of};

/// What is wrong with a form, and where.
#[derive(Default)]
pub(super) struct Problem {
    whole: Option<String>,
    password: Option<String>,
    code: Option<String>,
    /// The secret that was shown is shown again.
    keeps_secret: bool,
}

impl Problem {
    pub(super) fn whole(text: &str) -> Self {
        Self { whole: Some(text.to_owned()), ..Self::default() }
    }

    fn of(why: &PairRefusal) -> Self {
        let text = Some(sentence(&why.to_string()));
        match why {
            PairRefusal::WrongCode => Self { code: text, ..Self::default() },
            PairRefusal::TooLong | PairRefusal::TooShort { .. } | PairRefusal::Weak(_) => {
                Self { password: text, ..Self::default() }
            }
            _ => Self { whole: text, ..Self::default() },
        }
    }
}

const TO_SET: &str = "to change how you sign in with a password";
/// The longest password of a form that is looked at; the service has its own, shorter limit.
const MAX_SECRET_BYTES: usize = 4 * 1024;

impl Portal {
    pub(super) async fn pair_of(&self, user: UserId) -> pages::Pair {
        let passwords = &self.accounts().passwords;
        match passwords.view(user).await {
            Ok(Some(_)) => pages::Pair::Present,
            Ok(None) if passwords.is_enabled() => pages::Pair::Absent,
            Ok(None) | Err(_) => pages::Pair::Unavailable,
        }
    }

    pub(super) async fn pair_page(&self, visit: &Visit<'_>, code: StatusCode, problem: Problem) -> Response<Bytes> {
        let passwords = &self.accounts().passwords;
        if !passwords.is_enabled() {
            return see_other("/me");
        }
        if let Some(confirm) = self.confirm_first(visit, TO_SET, "/me/password".to_owned()).await {
            return confirm;
        }
        let is_change = self.pair_of(visit.session.user).await == pages::Pair::Present;
        let least = format!(
            "At least {} characters. A few words that do not belong together are easy to keep.",
            passwords.min_chars()
        );
        let password = pages::Field::password("password", "New password", "new-password").hinted(&least);
        let mut form = pages::FormPage {
            problem: problem.whole,
            fields: vec![password.with_problem(problem.password)],
            hidden: vec![("token".to_owned(), self.form_token(visit.session.id))],
            action_url: "/me/password".to_owned(),
            cancel: back(),
            ..pages::FormPage::default()
        };
        if is_change {
            form.heading = "Change your password".to_owned();
            form.submit = "Change it".to_owned();
            form.consequences = vec!["The old password is void at once; the authenticator app stays.".to_owned()];
            return page(code, form.render());
        }
        let setter = Setter::Session(visit.session);
        let offer = match problem.keeps_secret {
            true => passwords.waiting(setter).await,
            false => passwords.start(setter).await,
        };
        let offer = match offer {
            Ok(offer) => offer,
            Err(why @ (PairRefusal::AdminsNeedPasskey | PairRefusal::Sensitive(_))) => {
                return not_for_you(visit, &why);
            }
            Err(why) => return busy(why),
        };
        form.heading = "Set up password and one-time codes".to_owned();
        form.paragraphs = vec![
            "Scan this with your authenticator app, or type the key below it (by time, six digits). Then give the code the app shows.".to_owned(),
        ];
        form.fields.push(pages::Field::one_time_code().with_problem(problem.code));
        form.scan = pages::ScanCode::of(&offer.uri, "QR code of the key that is written below");
        form.copy = Some(in_fours(&offer.base32));
        form.consequences = vec![
            "Password and code together sign you in where no passkey is at hand.".to_owned(),
            "The change is recorded, and you see a notice of it at your next sign-in.".to_owned(),
        ];
        form.submit = "Set both".to_owned();
        page(code, form.render())
    }

    pub(super) async fn pair_set(&self, visit: &Visit<'_>) -> Response<Bytes> {
        if let Some(confirm) = self.confirm_first(visit, TO_SET, "/me/password".to_owned()).await {
            return confirm;
        }
        let passwords = &self.accounts().passwords;
        let value = |name| parameter(visit.request.body(), name).filter(|value| value.len() <= MAX_SECRET_BYTES);
        let password = value("password").unwrap_or_default();
        let is_change = self.pair_of(visit.session.user).await == pages::Pair::Present;
        let (outcome, text) = match is_change {
            true => (passwords.change_password(visit.session, &password).await, "password changed"),
            false => {
                let code = value("code").unwrap_or_default();
                (passwords.finish(visit.session, &password, &code).await, "password and one-time codes set")
            }
        };
        if let Err(why) = outcome {
            // A secret nobody waits for any more is not shown again.
            let keeps_secret = !is_change && !matches!(why, PairRefusal::StartOver);
            return self.pair_page(visit, status_of(&why), Problem { keeps_secret, ..Problem::of(&why) }).await;
        }
        let about = Change { kind: RecordType::AuthMfaEnrolled, object: ("password", visit.session.user.to_string()) };
        match self.record_change(visit, about, text).await {
            Ok(()) if is_change => done(visit, "Your password is changed", &["The old one is void."]),
            Ok(()) => done(
                visit,
                "Password and codes are set",
                &["Keep the authenticator app: the password alone lets nobody in."],
            ),
            Err(failure) => unavailable(&failure),
        }
    }

    pub(super) async fn pair_remove_page(
        &self,
        visit: &Visit<'_>,
        code: StatusCode,
        problem: Option<&str>,
    ) -> Response<Bytes> {
        if self.pair_of(visit.session.user).await != pages::Pair::Present {
            return see_other("/me");
        }
        if let Some(confirm) = self.confirm_first(visit, TO_SET, "/me/password/remove".to_owned()).await {
            return confirm;
        }
        let form = pages::FormPage {
            heading: "Remove password and one-time codes?".to_owned(),
            consequences: vec![
                "You sign in with a passkey only.".to_owned(),
                "The key in your authenticator app is void; delete it there too.".to_owned(),
                "A recovery then takes a code and an administrator.".to_owned(),
            ],
            problem: problem.map(str::to_owned),
            hidden: vec![("token".to_owned(), self.form_token(visit.session.id))],
            action_url: "/me/password/remove".to_owned(),
            submit: "Remove both".to_owned(),
            is_dangerous: true,
            cancel: back(),
            ..pages::FormPage::default()
        };
        page(code, form.render())
    }

    pub(super) async fn pair_remove(&self, visit: &Visit<'_>) -> Response<Bytes> {
        if let Some(confirm) = self.confirm_first(visit, TO_SET, "/me/password/remove".to_owned()).await {
            return confirm;
        }
        if let Err(why) = self.accounts().passwords.remove(visit.session).await {
            let text = sentence(&why.to_string());
            return self.pair_remove_page(visit, status_of(&why), Some(&text)).await;
        }
        let about = Change { kind: RecordType::AuthMfaRemoved, object: ("password", visit.session.user.to_string()) };
        match self.record_change(visit, about, "password and one-time codes removed").await {
            Ok(()) => done(visit, "Password and codes are removed", &["From now on you sign in with a passkey."]),
            Err(failure) => unavailable(&failure),
        }
    }
}

/// A rule of the place or of the account says no.
fn not_for_you(visit: &Visit<'_>, why: &PairRefusal) -> Response<Bytes> {
    let notice = pages::Notice {
        heading: "No password for this account".to_owned(),
        paragraphs: vec![sentence(&why.to_string())],
        command: None,
        links: vec![pages::Link { text: "Back to your account".to_owned(), url: "/me".to_owned() }],
        request_id: Some(visit.context.access_id.to_string()),
    };
    page(StatusCode::FORBIDDEN, notice.render())
}

/// A key as people type it.
fn in_fours(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    let groups: Vec<String> = chars.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}
