//! The wire form of messages: fixed layouts, one per [`crate::PROTOCOL`]. Numbers are big endian, texts and lists have
//! their length in front, variants a byte.
//!
//! Invariants: reading never panics, never reserves more than it was sent, and takes exactly one message: bytes left over
//! are an error. What is read is equal to what was written.

mod messages;
mod nouns;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use model::time::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// More bytes than the message has.
    #[error("a message is followed by bytes that belong to nothing")]
    Left,
    /// Fewer bytes than the message has.
    #[error("a message ends too early")]
    Short,
    /// A text is not UTF-8.
    #[error("a text is not utf-8")]
    Text,
    /// A value that the noun cannot have.
    #[error("{0} has a value of no version this program knows")]
    Value(&'static str),
}

/// Bytes being read.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError::Short)
    }

    /// How many things follow. Each has at least a byte, so more than there are bytes cannot.
    fn count(&mut self) -> Result<usize, WireError> {
        let count = usize::try_from(u32::take(self)?).map_err(|_| WireError::Short)?;
        if count > self.rest.len() { Err(WireError::Short) } else { Ok(count) }
    }
}

/// Something with a wire form.
pub trait Wire: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it.
    ///
    /// # Errors
    /// [`WireError`].
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// Something that is sent by itself.
pub trait Message: Wire + Send + 'static {
    /// The lane it travels in.
    fn lane(&self) -> crate::frame::Lane;
}

/// The bytes of a message.
pub fn encode<T: Wire>(message: &T) -> Vec<u8> {
    let mut out = Vec::new();
    message.put(&mut out);
    out
}

/// The message of these bytes.
///
/// # Errors
/// [`WireError`]: give the connection up.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    let mut from = Reader { rest: bytes };
    let message = T::take(&mut from)?;
    if from.rest.is_empty() { Ok(message) } else { Err(WireError::Left) }
}

/// A struct whose fields follow each other.
macro_rules! fields {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::wire::Wire::put($field, out);)*
            }

            fn take(from: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                $(let $field = $crate::wire::Wire::take(from)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
}

/// An enum without contents, by the place of its variant in a list.
macro_rules! words {
    ($name:ty, $what:literal, [$($variant:path),* $(,)?]) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let all = [$($variant),*];
                let place = all.iter().position(|known| known == self).unwrap_or(usize::MAX);
                out.push(u8::try_from(place).unwrap_or(u8::MAX));
            }

            fn take(from: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                let all = [$($variant),*];
                let place = usize::from(u8::take(from)?);
                all.get(place).copied().ok_or($crate::wire::WireError::Value($what))
            }
        }
    };
}

pub(crate) use {fields, words};

macro_rules! numbers {
    ($($name:ty),*) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self::from_be_bytes(from.array()?))
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, i64);

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Value("a truth")),
        }
    }
}

impl Wire for usize {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(*self).unwrap_or(u64::MAX).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        usize::try_from(u64::take(from)?).map_err(|_| WireError::Value("a number"))
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.array()
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let bytes = from.count()?;
        str::from_utf8(from.take(bytes)?).map(str::to_owned).map_err(|_| WireError::Text)
    }
}

impl Wire for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        String::take(from).map(Arc::from)
    }
}

impl Wire for Zeroizing<String> {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        String::take(from).map(Zeroizing::new)
    }
}

impl Wire for Zeroizing<Vec<u8>> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), self.len(), out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Vec::take(from).map(Zeroizing::new)
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_count(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    // A message of this many things is far over the limit of every lane and is never sent.
    u32::try_from(count).unwrap_or(u32::MAX).put(out);
}

fn put_list<'a, T: Wire + 'a>(things: impl Iterator<Item = &'a T>, count: usize, out: &mut Vec<u8>) {
    put_count(count, out);
    things.for_each(|thing| thing.put(out));
}

fn take_list<T: Wire, C: FromIterator<T>>(from: &mut Reader<'_>) -> Result<C, WireError> {
    let count = from.count()?;
    (0..count).map(|_| T::take(from)).collect()
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), self.len(), out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        take_list(from)
    }
}

impl<T: Wire> Wire for Arc<[T]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), self.len(), out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Vec::take(from).map(Arc::from)
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.iter(), self.len(), out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        take_list(from)
    }
}

impl<K: Wire + Ord + Hash, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_count(self.len(), out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        take_list::<(K, V), _>(from)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(thing) = self {
            thing.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Wire> Wire for Arc<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        T::take(from).map(Arc::new)
    }
}

impl<T: Wire> Wire for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        T::take(from).map(Box::new)
    }
}

impl Wire for Uuid {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.array().map(Uuid::from_bytes)
    }
}

impl Wire for Timestamp {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        i64::take(from).map(Timestamp)
    }
}

impl Wire for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        u64::take(from).map(Duration::from_nanos)
    }
}
