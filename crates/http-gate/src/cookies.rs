//! The cookie cutter: our cookies leave the `Cookie` field before anything else sees it, the others keep order and
//! bytes (GW-35); and the credentials that a request brought for us.
//!
//! It does not know whether a credential is good. ATK-29, ATK-48.
//!
//! Invariants: what is cut never shows up in a [`crate::CanonicalRequest`]'s headers; a cookie that came twice or cut
//! short is [`Presented::Ambiguous`], which a door treats as absent and records (ID-55).

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderValue;

/// Every cookie whose name starts so is ours, in any case.
const OUR_PREFIX: &[u8] = b"__host-countersign";
/// The session cookie.
pub const SESSION_COOKIE: &str = "__Host-countersign";
/// The login-binding cookie.
pub const LOGIN_COOKIE: &str = "__Host-countersign-login";
/// The companion cookie of the console's forms.
pub const CONSOLE_COOKIE: &str = "__Host-countersign-console";
/// The longest value we ever set, with room; GW-35 keeps our cookies within 200 bytes in all.
const MAX_COOKIE_VALUE_BYTES: usize = 160;
/// 256 bits take 43 characters of base64url; anything shorter was cut (ID-55).
const MIN_COOKIE_VALUE_BYTES: usize = 43;

/// A credential as sent. Wiped from no memory, but never printed: it has neither `Debug` nor `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Bytes);

impl Secret {
    pub(crate) fn new(value: Bytes) -> Self {
        Self(value)
    }

    /// The bytes, for hashing or verification.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// How a credential came.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Presented {
    /// It did not.
    #[default]
    Absent,
    /// Twice, cut short or with foreign characters: to be treated as absent, and recorded.
    Ambiguous,
    /// Once and whole.
    Once(Secret),
}

impl Presented {
    /// The credential if it came once and whole.
    pub fn once(&self) -> Option<&Secret> {
        match self {
            Presented::Once(secret) => Some(secret),
            Presented::Absent | Presented::Ambiguous => None,
        }
    }

    /// True if there is something to record.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Presented::Ambiguous)
    }

    pub(crate) fn add(&mut self, value: Option<Bytes>) {
        *self = match (&*self, value) {
            (Presented::Absent, Some(value)) => Presented::Once(Secret::new(value)),
            _ => Presented::Ambiguous,
        };
    }
}

/// What a request brought for us; none of it is in the canonical headers.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// `__Host-countersign`.
    pub session: Presented,
    /// `__Host-countersign-login`.
    pub login: Presented,
    /// `__Host-countersign-console`: proves nothing but that a form was posted from our own site (UI-24).
    pub console: Presented,
    /// `Authorization: Countersign <jwt>` or `X-Countersign-Authorization: Bearer <jwt>` (GW-53), without the scheme.
    pub bearer: Presented,
    /// `X-Countersign-Client-Id` (GW-52).
    pub client_id: Presented,
    /// `X-Countersign-Client-Secret` (GW-52).
    pub client_secret: Presented,
}

impl Credentials {
    /// Our cookies as one `Cookie` value, for our own endpoints in process; `None` without any.
    pub fn to_cookie_header(&self) -> Option<HeaderValue> {
        let mut value = BytesMut::new();
        for (name, presented) in
            [(SESSION_COOKIE, &self.session), (LOGIN_COOKIE, &self.login), (CONSOLE_COOKIE, &self.console)]
        {
            let Some(secret) = presented.once() else { continue };
            if !value.is_empty() {
                value.put_slice(b"; ");
            }
            value.put_slice(name.as_bytes());
            value.put_u8(b'=');
            value.put_slice(secret.expose());
        }
        if value.is_empty() {
            return None;
        }
        let mut value = HeaderValue::from_maybe_shared(value.freeze()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Cuts our cookies out of all `Cookie` values of a request and puts them into `credentials`. What is left comes back
/// as one value (RFC 9113 §8.2.3 lets HTTP/2 split it), or `None` if nothing is left. A value without our cookies
/// comes back as it is.
pub fn cut(values: &[Bytes], credentials: &mut Credentials) -> Option<Bytes> {
    if let [only] = values
        && !only.split(|&byte| byte == b';').any(|pair| is_ours(name_of(pair)))
    {
        return (!only.is_empty()).then(|| only.clone());
    }
    let mut left = BytesMut::with_capacity(values.iter().map(|value| value.len() + 2).sum());
    for value in values.iter().filter(|value| !value.is_empty()) {
        for (index, pair) in value.split(|&byte| byte == b';').enumerate() {
            if is_ours(name_of(pair)) {
                take(value, pair, credentials);
            } else if left.is_empty() {
                left.put_slice(pair.trim_ascii_start());
            } else {
                left.put_slice(if index == 0 { b"; " } else { b";" });
                left.put_slice(pair);
            }
        }
    }
    // White space at the end of a value is none of its bytes (RFC 9110 §5.5).
    left.truncate(left.trim_ascii_end().len());
    (!left.is_empty()).then(|| left.freeze())
}

/// True if a `Set-Cookie` value would make a browser send a cookie of ours. `=__Host-countersign=x` is a cookie without
/// name that browsers send back as `__Host-countersign=x`.
pub(crate) fn sets_ours(value: &[u8]) -> bool {
    let start = value.iter().position(|&byte| byte != b'=' && !byte.is_ascii_whitespace()).unwrap_or(value.len());
    is_ours(value.get(start..).unwrap_or_default())
}

/// The name as the laxest server reads it: without white space around it.
fn name_of(pair: &[u8]) -> &[u8] {
    pair.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii()
}

fn is_ours(name: &[u8]) -> bool {
    name.get(..OUR_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(OUR_PREFIX))
}

/// Only the exact spelling is a credential; look-alikes (`__host-…`, `__Host-countersign2`) are cut and forgotten.
fn take(whole: &Bytes, pair: &[u8], credentials: &mut Credentials) {
    let pair = pair.trim_ascii();
    let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
        Some(equals) => (pair.get(..equals).unwrap_or_default(), pair.get(equals + 1..)),
        None => (pair, None),
    };
    let presented = match name {
        name if name == SESSION_COOKIE.as_bytes() => &mut credentials.session,
        name if name == LOGIN_COOKIE.as_bytes() => &mut credentials.login,
        name if name == CONSOLE_COOKIE.as_bytes() => &mut credentials.console,
        _ => return,
    };
    presented.add(value.filter(|value| is_whole(value)).map(|value| whole.slice_ref(value)));
}

fn is_whole(value: &[u8]) -> bool {
    (MIN_COOKIE_VALUE_BYTES..=MAX_COOKIE_VALUE_BYTES).contains(&value.len())
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const OTHER: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    /// `§` stands for our session cookie, `¤` for our login cookie, `W` and `O` for whole values.
    fn check(values: &[&str], left: Option<&str>, session: &str) {
        let spell = |text: &str| {
            text.replace('W', WHOLE).replace('O', OTHER).replace('§', SESSION_COOKIE).replace('¤', LOGIN_COOKIE)
        };
        let values: Vec<Bytes> = values.iter().map(|value| Bytes::from(spell(value))).collect();
        let mut credentials = Credentials::default();
        let cut = cut(&values, &mut credentials).map(|cut| String::from_utf8(cut.to_vec()).unwrap());
        assert_eq!(cut.as_deref(), left, "{values:?}");
        let found = match &credentials.session {
            Presented::Absent => "absent".to_owned(),
            Presented::Ambiguous => "ambiguous".to_owned(),
            Presented::Once(secret) => String::from_utf8(secret.expose().to_vec()).unwrap(),
        };
        assert_eq!(found, spell(session), "{values:?}");
    }

    #[test]
    fn the_companion_cookie_of_the_console_reaches_our_endpoints_and_no_app() {
        let values = [Bytes::from(format!("a=1; {CONSOLE_COOKIE}={WHOLE}"))];
        let mut credentials = Credentials::default();
        assert_eq!(cut(&values, &mut credentials).as_deref(), Some(&b"a=1"[..]));
        let passed = credentials.to_cookie_header().map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(passed, Some(format!("{CONSOLE_COOKIE}={WHOLE}")));
    }

    #[test]
    fn our_cookie_is_cut_and_the_others_keep_order_and_bytes() {
        check(&["a=1; §=W; b=2"], Some("a=1; b=2"), "W");
        check(&["§=W; a=1"], Some("a=1"), "W");
        check(&["a=1; §=W"], Some("a=1"), "W");
        check(&["a=1 ; §=W"], Some("a=1"), "W");
        check(&["§=W"], None, "W");
        check(&["a=1;b=\"x y\";  c= 3 ;;§=W;d"], Some("a=1;b=\"x y\";  c= 3 ;;d"), "W");
        check(&["¤=O; §=W"], None, "W");
        check(&["a=1; b=2"], Some("a=1; b=2"), "absent");
        check(&["a=1;;  b"], Some("a=1;;  b"), "absent");
        check(&[""], None, "absent");
    }

    #[test]
    fn http2_crumbs_become_one_value() {
        check(&["a=1", "§=W", "b=2; c=3"], Some("a=1; b=2; c=3"), "W");
        check(&["a=1", "b=2"], Some("a=1; b=2"), "absent");
        check(&["a=1", ""], Some("a=1"), "absent");
        check(&["", "a=1"], Some("a=1"), "absent");
    }

    #[test]
    fn a_doubled_session_cookie_is_ambiguous() {
        check(&["§=W; §=O"], None, "ambiguous");
        check(&["§=W; §=W"], None, "ambiguous");
        check(&["§=W", "§=O"], None, "ambiguous");
        check(&["§=W; §=O; §=W"], None, "ambiguous");
    }

    #[test]
    fn a_truncated_or_foreign_session_cookie_is_ambiguous() {
        check(&["§=AAAA"], None, "ambiguous");
        check(&["§="], None, "ambiguous");
        check(&["§"], None, "ambiguous");
        check(&["§=\"W\""], None, "ambiguous");
        check(&["§=W%00"], None, "ambiguous");
        check(&["§=W W"], None, "ambiguous");
        check(&["§=WOWO"], None, "ambiguous");
    }

    #[test]
    fn look_alikes_of_our_cookies_are_cut_and_count_for_nothing() {
        check(&["__host-Countersign=W; a=1"], Some("a=1"), "absent");
        check(&["§-other=W; a=1"], Some("a=1"), "absent");
        check(&["§2=W; a=1"], Some("a=1"), "absent");
        check(&["a=1;\t§ =W"], Some("a=1"), "absent");
        check(&["x__Host-countersign=1"], Some("x__Host-countersign=1"), "absent");
    }

    #[test]
    fn a_cookie_sandwich_does_not_keep_ours() {
        check(&["a=\"1; §=W; b=2\""], Some("a=\"1; b=2\""), "W");
    }

    #[test]
    fn our_cookies_can_be_handed_to_our_own_endpoints() {
        let value = Bytes::from(format!("a=1; {LOGIN_COOKIE}={OTHER}; {SESSION_COOKIE}={WHOLE}"));
        let mut credentials = Credentials::default();
        cut(&[value], &mut credentials);
        let header = credentials.to_cookie_header().unwrap();
        assert_eq!(header.to_str().unwrap(), format!("{SESSION_COOKIE}={WHOLE}; {LOGIN_COOKIE}={OTHER}"));
        assert!(header.is_sensitive());
        assert_eq!(Credentials::default().to_cookie_header(), None);
    }

    #[test]
    fn an_upstream_cannot_set_a_cookie_of_ours() {
        for value in [
            "__Host-countersign=1",
            "__HOST-Countersign-login=1; Path=/",
            " __Host-countersign=1",
            "=__Host-countersign=1",
        ] {
            assert!(sets_ours(value.as_bytes()), "`{value}`");
        }
        for value in ["a=__Host-countersign", "x__Host-countersign=1", "", "="] {
            assert!(!sets_ours(value.as_bytes()), "`{value}`");
        }
    }
}
