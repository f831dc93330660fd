//! W3C Trace Context (GW-34): one trace id per access, in every record and on every hop.
//!
//! Invariant: only a trusted peer's trace is continued; an untrusted client's id is kept for the record and nothing
//! else.

use std::sync::Arc;

use model::Ids;

/// Where an access stands in a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// 32 hex digits, not all zero.
    pub trace_id: Arc<str>,
    /// Our span: 16 hex digits, not all zero.
    pub span_id: Arc<str>,
    /// The id an untrusted client sent.
    pub client_trace_id: Option<Arc<str>>,
    /// The `sampled` flag handed on.
    pub is_sampled: bool,
}

/// A valid `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent<'a> {
    /// 32 hex digits.
    pub trace_id: &'a str,
    /// 16 hex digits: the caller's span.
    pub parent_id: &'a str,
    /// Flags.
    pub flags: u8,
}

impl<'a> TraceParent<'a> {
    /// Reads version 00, and later versions by their first four fields (Trace Context §3.2.2). Upper case, all-zero
    /// ids and version ff are no traceparent.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.split('-');
        let (version, trace_id, parent_id, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let version = hex_byte(version)?;
        if version == 0xff || (version == 0 && fields.next().is_some()) {
            return None;
        }
        if !is_id(trace_id, 32) || !is_id(parent_id, 16) {
            return None;
        }
        Some(Self { trace_id, parent_id, flags: hex_byte(flags)? })
    }
}

impl Trace {
    /// The trace of a request that came with this `traceparent`, if any.
    pub fn begin(sent: Option<&str>, is_peer_trusted: bool, ids: &dyn Ids) -> Self {
        let sent = sent.and_then(TraceParent::parse);
        let span_id = random_hex::<8>(ids);
        match sent {
            Some(parent) if is_peer_trusted => Self {
                trace_id: Arc::from(parent.trace_id),
                span_id,
                client_trace_id: None,
                is_sampled: parent.flags & 1 == 1,
            },
            parent => Self {
                trace_id: random_hex::<16>(ids),
                span_id,
                client_trace_id: parent.map(|parent| Arc::from(parent.trace_id)),
                is_sampled: true,
            },
        }
    }

    /// The `traceparent` for the upstream: our span is the parent.
    pub fn to_header(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

/// Random lower-case hex, never all zero.
fn random_hex<const N: usize>(ids: &dyn Ids) -> Arc<str> {
    let mut bytes = [0u8; N];
    ids.fill_random(&mut bytes);
    if bytes.iter().all(|byte| *byte == 0)
        && let Some(last) = bytes.last_mut()
    {
        *last = 1;
    }
    Arc::from(data_encoding::HEXLOWER.encode(&bytes))
}

fn is_id(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte != b'0')
}

fn hex_byte(text: &str) -> Option<u8> {
    let is_lower_hex = text.len() == 2 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_lower_hex.then(|| u8::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_traceparents_are_read() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::parse(good).map(|parent| parent.flags), Some(1));
        for (name, text) in [
            ("upper case", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
            ("zero trace", "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
            ("zero span", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
            ("version ff", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("fifth field in version 00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"),
            ("short", "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01"),
            ("signed flags", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1"),
            ("empty", ""),
        ] {
            assert_eq!(TraceParent::parse(text), None, "{name}");
        }
        assert!(TraceParent::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later").is_some());
    }
}
