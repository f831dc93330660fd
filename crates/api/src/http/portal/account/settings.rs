//! How one likes the pages: keys, columns, notices put aside. Anybody sets their own, so no proof of the last minutes is
//! asked for; every change is recorded all the same.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use model::record::RecordType;

use super::{Change, Visit};
use crate::console;
use crate::failure::Failure;
use crate::http::portal::Portal;
use crate::http::portal::answers::{page, parameter, see_other, unavailable};
use crate::preferences::List;

/// The page itself.
const PATH: &str = "/me/settings";
/// The longest address to come back to.
const MAX_BACK_BYTES: usize = 4096;
/// The most columns of a form that are looked at.
const MAX_COLUMNS: usize = 64;

impl Portal {
    pub(super) async fn settings_page(&self, visit: &Visit<'_>) -> Response<Bytes> {
        self.settings(visit, StatusCode::OK, None).await
    }

    async fn settings(&self, visit: &Visit<'_>, code: StatusCode, problem: Option<String>) -> Response<Bytes> {
        let preferences = self.control().preferences(visit.session.user).await;
        let saved = match visit.request.method() {
            &Method::POST => None,
            // Only an id of ours is shown back; anything else in the address is left out.
            _ => visit.value("recorded").parse::<model::AccessId>().ok(),
        };
        let key = |(keys, text): (String, &str)| pages::Fact { name: keys, value: text.to_owned() };
        let settings = pages::Settings {
            identity: self.identity(visit.session),
            saved: saved.map(|id| format!("Saved. Recorded as {id}.")),
            problem,
            has_letters: preferences.has_letters(),
            keys: console::keys().into_iter().map(key).collect(),
            aside: preferences.aside_count(),
            token: self.form_token(visit.session.id),
        };
        page(code, settings.render())
    }

    /// What was sent from the page itself, or from a list or a notice of the console.
    pub(super) async fn settings_set(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let (control, user) = (self.control(), visit.session.user);
        let field = |name: &str| parameter(visit.request.body(), name).unwrap_or_default();
        let (done, text) = match field("what").as_str() {
            "columns" => {
                let Some(list) = List::named(&field("list")) else { return self.no_setting(visit).await };
                let form = form_urlencoded::parse(visit.request.body());
                let named = form.filter(|(name, _)| name == "column").take(MAX_COLUMNS);
                let chosen: Vec<String> = named.map(|(_, value)| value.into_owned()).collect();
                let chosen: BTreeSet<&str> = chosen.iter().map(String::as_str).collect();
                (control.choose_columns(user, list, &chosen).await, format!("columns of the list {}", list.name()))
            }
            "aside" => {
                let key = field("key");
                (control.put_aside(user, &key, &field("state")).await, format!("notice put aside: {key}"))
            }
            "notices" => (control.show_all_again(user).await, "every notice shown again".to_owned()),
            "pages" => {
                let are_keys = field("letters") == "yes";
                let text = if are_keys { "single letters are keys" } else { "single letters are no keys" };
                (control.set_letters(user, are_keys).await, text.to_owned())
            }
            _ => return self.no_setting(visit).await,
        };
        match done {
            Ok(()) => {}
            Err(Failure::Invalid { .. }) => return self.no_setting(visit).await,
            Err(failure) => return unavailable(&failure),
        }
        let about = Change { kind: RecordType::IdentityUserChanged, object: ("preferences", user.to_string()) };
        if let Err(failure) = self.record_change(visit, about, &text).await {
            return unavailable(&failure);
        }
        match field("back") {
            back if is_back(&back) => see_other(&back),
            _ => see_other(&format!("{PATH}?recorded={}", visit.context.access_id)),
        }
    }

    async fn no_setting(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let problem = "There is no such setting; nothing was changed. Load the page again and send it once more.";
        self.settings(visit, StatusCode::UNPROCESSABLE_ENTITY, Some(problem.to_owned())).await
    }
}

/// Whether an address is a page of the console: nothing else is gone back to (ATK-30).
fn is_back(back: &str) -> bool {
    let path = back.split('?').next().unwrap_or_default();
    back.len() <= MAX_BACK_BYTES && back.bytes().all(|byte| byte.is_ascii_graphic()) && console::is_page(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_redirect_only_a_page_of_the_console_is_gone_back_to() {
        for back in
            ["/console", "/console/access?effect=DENY&before=7", "/console/people/usr_abc", "/console/apps/a%20b"]
        {
            assert!(is_back(back), "{back}");
        }
        for back in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/console",
            "/console\r\nset-cookie: a=b",
            "/console\u{202e}",
            "/consolevil",
            "/console/",
            "/console/../logout",
            "/console/access/export",
            "/console/access/live",
            "/logout",
            "javascript:alert(1)",
        ] {
            assert!(!is_back(back), "{back:?}");
        }
        assert!(!is_back(&format!("/console?{}", "x".repeat(MAX_BACK_BYTES))));
    }
}
