//! How somebody likes the console: which columns a list has, which notices they put aside, whether single letters are
//! keys. Kept per person in the store; nothing here decides anything.
//!
//! What is stored is read defensively: an unknown column or a damaged value is as if nothing was set.

use std::collections::BTreeSet;

use model::{TokenHash, UserId};

use crate::control::ControlPlane;
use crate::failure::Failure;

/// The most notices that stay put aside; the oldest come back.
const MAX_ASIDE: usize = 30;
/// The longest name of a notice.
const MAX_KEY_BYTES: usize = 64;
/// Preference: single letters are no keys.
const NO_LETTERS: &str = "letters.off";
/// Preference: notices put aside, as `name=state`, oldest first.
const ASIDE: &str = "notices.aside";

/// A list of the console whose columns can be chosen. The first column names the row and always stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum List {
    Access,
    Apps,
    People,
    Sessions,
}

impl List {
    pub(crate) const ALL: [List; 4] = [List::Access, List::Apps, List::People, List::Sessions];

    /// Its name in forms and in the store.
    pub(crate) fn name(self) -> &'static str {
        match self {
            List::Access => "access",
            List::Apps => "apps",
            List::People => "people",
            List::Sessions => "sessions",
        }
    }

    /// The columns to choose from: name and heading.
    pub(crate) fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            List::Access => &[
                ("answer", "Answer"),
                ("who", "Who"),
                ("action", "Action"),
                ("what", "What"),
                ("why", "Reason"),
                ("door", "Door"),
            ],
            List::Apps => &[
                ("hosts", "Hosts"),
                ("sensitivity", "Sensitivity"),
                ("label", "Label"),
                ("owner", "Owner"),
                ("reach", "Get in now"),
                ("declared", "Declared in"),
            ],
            List::People => {
                &[("address", "Address"), ("state", "State"), ("groups", "Groups"), ("sessions", "Sessions")]
            }
            List::Sessions => &[
                ("browser", "Browser"),
                ("network", "Network"),
                ("since", "Since"),
                ("used", "Last used"),
                ("ends", "Ends"),
                ("proof", "Proof"),
            ],
        }
    }

    /// The list of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.name() == name)
    }

    fn preference(self) -> String {
        format!("columns.{}", self.name())
    }
}

/// What one person has set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Preferences {
    set: Vec<(String, String)>,
}

impl Preferences {
    fn value(&self, name: &str) -> Option<&str> {
        self.set.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether single letters are keys (UI-50); they can be switched off (WCAG 2.1.4).
    pub(crate) fn has_letters(&self) -> bool {
        self.value(NO_LETTERS).is_none()
    }

    /// Whether a column is shown. Hidden ones are kept, so that a new column is seen.
    pub(crate) fn shows(&self, list: List, column: &str) -> bool {
        let hidden = self.value(&list.preference()).unwrap_or_default();
        !hidden.split(',').any(|name| name == column)
    }

    /// Whether a notice is put aside in the state it has now (UI-9).
    pub(crate) fn is_aside(&self, key: &str, state: &str) -> bool {
        self.aside().any(|pair| pair == (key, state))
    }

    /// How many are put aside.
    pub(crate) fn aside_count(&self) -> usize {
        self.aside().count()
    }

    fn aside(&self) -> impl Iterator<Item = (&str, &str)> {
        self.value(ASIDE).unwrap_or_default().split(' ').filter_map(|pair| pair.split_once('='))
    }
}

/// The state of a notice: when its text changes, so does this.
pub(crate) fn state_of(text: &str) -> String {
    TokenHash::of(text.as_bytes()).prefix()
}

impl ControlPlane {
    /// What somebody has set. Pages do without it while the store does not answer.
    pub(crate) async fn preferences(&self, user: UserId) -> Preferences {
        match self.preferences.preferences(user).await {
            Ok(set) => Preferences { set },
            Err(error) => {
                tracing::error!(%error, "preferences cannot be read");
                Preferences::default()
            }
        }
    }

    /// Shows only these columns of a list beside the first; all of them is as if nothing was set.
    pub(crate) async fn choose_columns(&self, user: UserId, list: List, shown: &BTreeSet<&str>) -> Result<(), Failure> {
        let hidden: Vec<&str> =
            list.columns().iter().map(|(name, _)| *name).filter(|name| !shown.contains(name)).collect();
        let value = hidden.join(",");
        self.keep(user, &list.preference(), Some(value.as_str()).filter(|value| !value.is_empty())).await
    }

    /// Puts a notice aside until its state changes.
    pub(crate) async fn put_aside(&self, user: UserId, key: &str, state: &str) -> Result<(), Failure> {
        let is_plain = |text: &str| {
            let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
            (1..=MAX_KEY_BYTES).contains(&text.len()) && text.bytes().all(is_known)
        };
        if !is_plain(key) || !is_plain(state) {
            return Err(Failure::invalid("notice", "there is no such notice; load the page again"));
        }
        let before = self.preferences(user).await;
        let others: Vec<_> = before.aside().filter(|(name, _)| *name != key).collect();
        let kept = others.iter().skip(others.len().saturating_sub(MAX_ASIDE - 1));
        let all: Vec<String> = kept.chain([&(key, state)]).map(|(key, state)| format!("{key}={state}")).collect();
        self.keep(user, ASIDE, Some(&all.join(" "))).await
    }

    /// Shows every notice again.
    pub(crate) async fn show_all_again(&self, user: UserId) -> Result<(), Failure> {
        self.keep(user, ASIDE, None).await
    }

    /// Makes single letters keys, or not.
    pub(crate) async fn set_letters(&self, user: UserId, are_keys: bool) -> Result<(), Failure> {
        self.keep(user, NO_LETTERS, (!are_keys).then_some("yes")).await
    }

    async fn keep(&self, user: UserId, name: &str, value: Option<&str>) -> Result<(), Failure> {
        self.preferences.set_preference(user, name, value, self.now()).await.map_err(Failure::unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Preferences {
        Preferences { set: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect() }
    }

    #[test]
    fn what_is_damaged_or_unknown_is_as_if_nothing_was_set() {
        for damaged in ["", ",,,", "nothing", "\u{202e}", "answer "] {
            let preferences = set(&[("columns.access", damaged), ("notices.aside", damaged)]);
            assert!(preferences.shows(List::Access, "answer"), "{damaged}");
            assert!(!preferences.is_aside("single-admin", "x"), "{damaged}");
        }
        let preferences = set(&[("columns.access", "door,who"), ("notices.aside", "a=1 b=2")]);
        assert!(!preferences.shows(List::Access, "door") && preferences.shows(List::People, "door"));
        assert!(preferences.is_aside("b", "2") && !preferences.is_aside("b", "3"), "a change brings it back");
    }

    #[test]
    fn everything_that_can_be_set_fits() {
        let pair = MAX_KEY_BYTES * 2 + 2;
        assert!(MAX_ASIDE * pair <= store::MAX_PREFERENCE_BYTES);
        for list in List::ALL {
            let all: usize = list.columns().iter().map(|(name, _)| name.len() + 1).sum();
            assert!(all <= store::MAX_PREFERENCE_BYTES && list.preference().len() <= store::MAX_PREFERENCE_NAME_BYTES);
            assert_eq!(List::named(list.name()), Some(list));
        }
    }
}
