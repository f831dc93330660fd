//! The pages people meet at doors and on the auth host: templates, styles, scripts, and the headers that go with them.
//!
//! A leaf: structs in, HTML out. It knows no session, no decision and no socket. Text from outside reaches HTML only
//! through askama's escaping; nothing is marked safe. Every page works under [`CSP`]; only the passkey ceremonies
//! need a script, and say so without one (UI-1, UI-20, UI-26).

#![forbid(unsafe_code)]

mod account;
pub mod assets;
pub mod console;
#[allow(missing_docs, unreachable_pub, reason = "what the attribute of a filter makes")]
mod filters;
mod forms;
mod scan;
mod views;

pub use account::{Accepted, Confirm, KeyAdd, KeySignIn, Me, NoticeLine, Pair, PasskeyAdd, PasskeyRow, Settings};
pub use filters::mark;
pub use forms::{Field, FormPage};
pub use scan::{MAX_SCAN_BYTES, ScanCode};
pub use views::{
    Denied, Enrol, Fact, FixLink, Frame, Launchpad, Link, Moment, Notice, RecoveryCodes, Renewed, SessionRow, SignIn,
    SignOut, StepUp, Tile,
};

/// The content security policy of every page (UI-20).
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
    require-trusted-types-for 'script'; trusted-types countersign";

/// The same for a page whose form ends at `authority`, by a redirect (UI-20).
pub fn csp_towards(authority: &str) -> String {
    CSP.replace("form-action 'self'", &format!("form-action 'self' https://{authority}"))
}

/// Headers every page carries beside its content type (UI-20).
pub const PAGE_HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", PERMISSIONS_POLICY),
    ("cache-control", "no-store"),
];

/// Everything off but passkeys on our own origin.
const PERMISSIONS_POLICY: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
    magnetometer=(), microphone=(), midi=(), payment=(), usb=(), publickey-credentials-get=(self), \
    publickey-credentials-create=(self)";

/// The content type of every page.
pub const HTML: &str = "text/html; charset=utf-8";
