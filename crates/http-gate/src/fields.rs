//! Header fields as the gate carries them: ordered, names in lower case, values byte for byte as sent.
//!
//! Invariants: a name is a non-empty lower-case token; a value holds no CR, LF, NUL or other control but HTAB, and no
//! white space at either end. Values may be secrets, so `Debug` prints names only.

use std::fmt;

use bytes::Bytes;

/// One header field.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
    /// Where the line starts in the message; tells refusals where to point.
    pub(crate) offset: Offset,
}

/// A position that takes no part in comparisons: two requests are the same wherever their fields stood.
#[derive(Clone, Copy, Default)]
pub(crate) struct Offset(pub(crate) usize);

impl PartialEq for Offset {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Offset {}

impl Field {
    pub(crate) fn new(name: Bytes, value: Bytes, offset: usize) -> Self {
        Self { name, value, offset: Offset(offset) }
    }

    /// The name, a lower-case token.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// The value without white space at its ends.
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name == name.as_bytes()
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{} bytes]", self.name(), self.value.len())
    }
}

/// Fields in the order sent.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fields(pub(crate) Vec<Field>);

impl Fields {
    /// All fields.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// The values of `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> {
        self.0.iter().filter(move |field| field.is_named(name)).map(|field| &field.value)
    }

    /// The value of `name` (lower case) if it came exactly once.
    pub fn single(&self, name: &str) -> Option<&Bytes> {
        let mut named = self.0.iter().filter(|field| field.is_named(name));
        let first = named.next()?;
        named.next().is_none().then_some(&first.value)
    }

    /// True if `name` (lower case) came at all.
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.is_named(name))
    }

    /// How many fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// RFC 9110 §5.6.2 `tchar`.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    lower_token_byte(byte).is_some()
}

/// A `tchar` in lower case; `None` for any other byte.
pub(crate) fn lower_token_byte(byte: u8) -> Option<u8> {
    LOWER_TOKEN_BYTES.get(usize::from(byte)).copied().filter(|&lower| lower != 0)
}

/// Each `tchar` in lower case, 0 for what is none: one load per byte of a name.
const LOWER_TOKEN_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut byte = 0u8;
    while let Some((entry, others)) = rest.split_first_mut() {
        let is_mark = matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        if is_mark || byte.is_ascii_alphanumeric() {
            *entry = byte.to_ascii_lowercase();
        }
        byte = byte.wrapping_add(1);
        rest = others;
    }
    table
};

macro_rules! common_names {
    ($($name:literal),* $(,)?) => {
        /// The name as a constant if it is a common one, so that most names need no share of the message's bytes.
        pub(crate) fn common_name(name: &[u8]) -> Option<Bytes> {
            match name {
                $($name => Some(Bytes::from_static($name)),)*
                _ => None,
            }
        }
    };
}

common_names! {
    b"accept", b"accept-encoding", b"accept-language", b"authorization", b"cache-control", b"connection", b"content-length",
    b"content-type", b"cookie", b"dnt", b"host", b"if-modified-since", b"if-none-match", b"origin", b"pragma", b"priority",
    b"referer", b"sec-ch-ua", b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"sec-fetch-dest", b"sec-fetch-mode",
    b"sec-fetch-site", b"sec-fetch-user", b"te", b"transfer-encoding", b"upgrade", b"upgrade-insecure-requests",
    b"user-agent", b"x-requested-with",
}

/// RFC 9110 §5.5 `field-vchar`, SP and HTAB: no control characters.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    (byte == b'\t') | ((byte >= 0x20) & (byte != 0x7f))
}

/// The first byte of `value` that is no value byte. Looks at every byte before it decides, which the compiler turns into
/// a few vector instructions.
pub(crate) fn find_no_value_byte(value: &[u8]) -> Option<usize> {
    let is_clean = value.iter().fold(true, |is_clean, &byte| is_clean & is_value_byte(byte));
    if is_clean { None } else { value.iter().position(|&byte| !is_value_byte(byte)) }
}

/// Splits a comma-separated list; members are trimmed, empty members dropped (RFC 9110 §5.6.1).
pub(crate) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
