//! The receipt: what a door did about a withdrawal of access, signed (GW-58). Evidence, so it never ends.
//!
//! Invariant: receipts are signed with a key ring of their own; their `typ` differs from the assertion's.

use std::time::Duration;

use model::Timestamp;
use model::ids::RevocationId;
use model::seams::{Cause, CutReport, CutStream};
use serde::{Deserialize, Serialize};

use super::{Expected, JoseError, Lifetime, VerifyingKeys, verify};

/// The header `typ`.
pub const TYP: &str = "countersign-receipt+jwt";
/// The longest receipt that is looked at: room for 10,000 streams and more.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(5);

/// One stream that was cut.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiptStream {
    /// Its access id, as in the record.
    pub id: String,
    /// `websocket`, `sse`, `http1`, `h2`.
    pub protocol: String,
    /// Its app.
    pub app: String,
    /// When it opened.
    pub opened: Timestamp,
    /// After its last byte.
    pub cut: Timestamp,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
}

/// The claims.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiptClaims {
    /// `https://<auth host>`.
    pub iss: String,
    /// `rev_…`
    pub revocation: String,
    /// Why, as [`Cause::as_str`].
    pub cause: String,
    /// Which gateway.
    pub gateway: String,
    /// How many streams were judged afresh.
    pub examined: u64,
    /// Those cut.
    pub streams: Vec<ReceiptStream>,
    /// Access ids of streams ordered to be cut that have not confirmed their last byte: this receipt proves nothing of
    /// them.
    #[serde(default)]
    pub unproven: Vec<String>,
    /// When the order reached the gateway.
    pub received: Timestamp,
    /// When the last stream was dead.
    pub last_cut: Timestamp,
    /// From `received` to `last_cut` in milliseconds, rounded up.
    pub ms: u64,
    /// Issued, seconds since 1970.
    pub iat: i64,
}

impl ReceiptClaims {
    /// The receipt of `gateway` for what it reports.
    pub fn new(
        issuer: &str,
        gateway: &str,
        revocation: RevocationId,
        cause: Cause,
        report: &CutReport,
        now: Timestamp,
    ) -> Self {
        let took = report.last_cut.since(report.received);
        Self {
            iss: issuer.to_owned(),
            revocation: revocation.to_string(),
            cause: cause.as_str().to_owned(),
            gateway: gateway.to_owned(),
            examined: u64::try_from(report.examined).unwrap_or(u64::MAX),
            streams: report.streams.iter().map(ReceiptStream::from).collect(),
            unproven: report.unproven.iter().map(ToString::to_string).collect(),
            received: report.received,
            last_cut: report.last_cut,
            ms: u64::try_from(took.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
            iat: now.unix_secs(),
        }
    }

    /// Checks a receipt: signature, type, issuer.
    ///
    /// # Errors
    /// [`JoseError`]: it proves nothing.
    pub fn verify(token: &str, keys: &VerifyingKeys, issuer: &str, now: Timestamp) -> Result<Self, JoseError> {
        let expected = Expected {
            typ: TYP,
            issuer,
            audience: None,
            leeway: LEEWAY,
            lifetime: Lifetime::Unbounded,
            max_bytes: MAX_BYTES,
        };
        verify(token, keys, &expected, now)
    }
}

impl From<&CutStream> for ReceiptStream {
    fn from(stream: &CutStream) -> Self {
        Self {
            id: stream.access.to_string(),
            protocol: stream.protocol.to_owned(),
            app: stream.app.to_string(),
            opened: stream.opened,
            cut: stream.cut,
            bytes_in: stream.bytes_in,
            bytes_out: stream.bytes_out,
        }
    }
}
