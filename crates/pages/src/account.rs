//! The self-service pages (ID-8): one's own account, and the confirmation before a sensitive change (ID-7).

use askama::Template;

use crate::filters;
use crate::views::{FALLBACK, Fact, Moment, SessionRow};

/// A passkey as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasskeyRow {
    /// Public handle.
    pub handle: String,
    /// What they call it.
    pub name: String,
    /// When it was added.
    pub added: Moment,
    /// When it last signed anything.
    pub last_used: Option<Moment>,
    /// It may be synced between devices.
    pub is_synced: bool,
    /// This session was begun with it.
    pub is_current: bool,
}

/// Something that happened to the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeLine {
    /// When.
    pub at: Moment,
    /// When, as the form sends it back.
    pub stamp: String,
    /// What, as a sentence.
    pub text: String,
    /// What "this was not me" posts; `None` once it was read.
    pub token: Option<String>,
}

/// Password and one-time codes of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// The installation has no passwords.
    Unavailable,
    /// Could be set.
    Absent,
    /// Set.
    Present,
}

impl Pair {
    fn is_available(&self) -> bool {
        *self != Pair::Unavailable
    }

    fn is_present(&self) -> bool {
        *self == Pair::Present
    }
}

/// What the script tells the browser about passkeys that still count (ID-23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The relying party.
    pub rp_id: String,
    /// The user handle, base64url.
    pub user_id: String,
    /// Credential ids, base64url, separated by spaces.
    pub credentials: String,
}

/// One's own account.
#[derive(Debug, Template)]
#[template(path = "me.html")]
pub struct Me {
    /// Who is signed in: the address.
    pub identity: String,
    /// Name, groups, since when.
    pub facts: Vec<Fact>,
    /// What happened since, newest first.
    pub notices: Vec<NoticeLine>,
    /// Their passkeys, oldest first.
    pub passkeys: Vec<PasskeyRow>,
    /// Told to the browser.
    pub accepted: Option<Accepted>,
    /// Recovery codes left.
    pub codes_left: usize,
    /// Password with one-time codes.
    pub pair: Pair,
    /// Security keys beside the password, oldest first.
    pub keys: Vec<PasskeyRow>,
    /// Their live sessions.
    pub sessions: Vec<SessionRow>,
    /// Session-bound form token (ID-60).
    pub token: String,
    /// May see the console.
    pub is_admin: bool,
}

/// How somebody likes their pages.
#[derive(Debug, Template)]
#[template(path = "settings.html")]
pub struct Settings {
    /// Who is signed in.
    pub identity: String,
    /// What was changed just now: a sentence, and the id of its record.
    pub saved: Option<String>,
    /// What is wrong with what was sent.
    pub problem: Option<String>,
    /// Single letters are keys on the console.
    pub has_letters: bool,
    /// The keys: what is typed, and where it leads.
    pub keys: Vec<Fact>,
    /// How many notices of the console are put aside.
    pub aside: usize,
    /// Session-bound form token (ID-60).
    pub token: String,
}

/// A new passkey: a name and a ceremony.
#[derive(Debug, Template)]
#[template(path = "passkey_add.html")]
pub struct PasskeyAdd {
    /// Who is signed in.
    pub identity: String,
    /// What was typed before.
    pub name: String,
    /// What the script sends as proof of the page.
    pub transaction: String,
}

/// A security key beside the password: a name and a ceremony.
#[derive(Debug, Template)]
#[template(path = "key_add.html")]
pub struct KeyAdd {
    /// Who is signed in.
    pub identity: String,
    /// What was typed before.
    pub name: String,
    /// What the script sends as proof of the page.
    pub transaction: String,
}

/// Signing in with password and security key.
#[derive(Debug, Template)]
#[template(path = "key_sign_in.html")]
pub struct KeySignIn {
    /// The transaction of the sign-in.
    pub transaction: String,
}

/// "Confirm that it is you" before a sensitive change; what was typed is kept meanwhile (ID-7, UI-7).
#[derive(Debug, Template)]
#[template(path = "confirm.html")]
pub struct Confirm {
    /// Who is signed in.
    pub identity: String,
    /// "to remove a passkey".
    pub purpose: String,
    /// A passkey is asked for.
    pub by_passkey: bool,
    /// Where to confirm with password and code; `None` when they do not count here.
    pub password_url: Option<String>,
    /// Where the script fetches options.
    pub begin_url: String,
    /// Where the script posts the credential.
    pub finish_url: String,
    /// The transaction.
    pub transaction: String,
    /// Back without a change.
    pub cancel_url: String,
}

macro_rules! page {
    ($($name:ident)*) => {
        $(impl $name {
            /// The whole page.
            pub fn render(&self) -> String {
                Template::render(self).unwrap_or_else(|_| FALLBACK.to_owned())
            }
        })*
    };
}

page!(Confirm KeyAdd KeySignIn Me PasskeyAdd Settings);
