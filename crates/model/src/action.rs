//! What is done at a door. The strings are the ids of Cedar `Action` entities.

use std::fmt;
use std::str::FromStr;

/// Whether an action reads or changes; a write step-up also covers reads of the same app.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ActionClass {
    /// Outside `read` and `write`: the way in itself (`portal.*`).
    Portal,
    /// Safe.
    Read,
    /// Changing.
    Write,
}

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $class:ident;)*) => {
        /// An action of the built-in vocabulary.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }

        impl Action {
            /// Every action, in alphabetical order of variants.
            pub const ALL: &'static [Action] = &[$(Action::$variant,)*];

            /// The id, e.g. `http.get`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Action::$variant => $text,)*
                }
            }

            /// Read, write or portal.
            pub fn class(self) -> ActionClass {
                match self {
                    $(Action::$variant => ActionClass::$class,)*
                }
            }
        }
    };
}

actions! {
    /// See the control plane.
    AdminRead = "admin.read", Read;
    /// Change the control plane.
    AdminWrite = "admin.write", Write;
    /// Erase a person from the record.
    AuditErase = "audit.erase", Write;
    /// Export the record.
    AuditExport = "audit.export", Read;
    /// Query the record.
    AuditRead = "audit.read", Read;
    /// See sealed columns of the record.
    AuditReadSealed = "audit.read_sealed", Read;
    /// DELETE.
    HttpDelete = "http.delete", Write;
    /// GET.
    HttpGet = "http.get", Read;
    /// HEAD.
    HttpHead = "http.head", Read;
    /// OPTIONS.
    HttpOptions = "http.options", Read;
    /// Any other method.
    HttpOther = "http.other", Write;
    /// PATCH.
    HttpPatch = "http.patch", Write;
    /// POST.
    HttpPost = "http.post", Write;
    /// PUT.
    HttpPut = "http.put", Write;
    /// Publish a policy version.
    PolicyPublish = "policy.publish", Write;
    /// Enrol a credential.
    PortalEnrol = "portal.enrol", Portal;
    /// Recover an account.
    PortalRecover = "portal.recover", Portal;
    /// Ask for access; the launchpad.
    PortalRequest = "portal.request", Portal;
    /// Sign in, step up, sign out.
    PortalSignin = "portal.signin", Portal;
}

impl Action {
    /// The action of an HTTP method as sent (RFC 9110 §9: methods are case-sensitive).
    pub fn of_http_method(method: &str) -> Action {
        match method {
            "DELETE" => Action::HttpDelete,
            "GET" => Action::HttpGet,
            "HEAD" => Action::HttpHead,
            "OPTIONS" => Action::HttpOptions,
            "PATCH" => Action::HttpPatch,
            "POST" => Action::HttpPost,
            "PUT" => Action::HttpPut,
            _ => Action::HttpOther,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Action::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not an action"))
    }
}
