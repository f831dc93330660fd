//! Looking at the proxy before it is attacked: does it reach the echo, does its rule hold, which doors does it have.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::DrillError;
use crate::echo::{Arrived, Echo, MARKER};
use crate::frames::Frames;
use crate::target::Options;
use crate::wire::{Reply, WEBSOCKET_KEY, exchange};

/// What the proxy turned out to have.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Doors {
    /// It offers `h2` in TLS.
    pub speaks_http2: bool,
    /// It passes an upgrade to WebSocket.
    pub has_websocket: bool,
    /// Without the credential the app is not reached.
    pub asks_who_is_there: bool,
    /// Fields that reach the app although the client sent none of them, with their values.
    pub added_fields: Vec<(String, String)>,
}

/// Fields of the hop between proxy and app, which are not the proxy's word about the client.
const HOP_FIELDS: &[&str] =
    &["connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade", MARKER];

/// Looks.
///
/// # Errors
/// [`DrillError::Unusable`] if an ordinary request does not reach the echo, or the refused path does.
pub(crate) async fn look(options: &Options, echo: &Echo) -> Result<Doors, DrillError> {
    let first = reach(options, echo).await?;
    if let Some(denied) = &options.deny_path {
        let (reply, arrived) = ask(options, echo, "rule", denied, true, "").await?;
        if !arrived.is_empty() {
            let status = reply.status().unwrap_or(0);
            return Err(DrillError::Unusable(format!(
                "the proxy lets `{denied}` through (status {status}): give it a rule that refuses this path, or leave --deny-path out"
            )));
        }
    }
    let asks_who_is_there = match options.credentials.is_empty() {
        true => false,
        false => ask(options, echo, "stranger", &options.allow_path, false, "").await?.1.is_empty(),
    };
    let upgrade = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\nOrigin: {}\r\n",
        origin(options)
    );
    let (reply, _) = ask(options, echo, "websocket", &options.allow_path, true, &upgrade).await?;
    let added = first.fields.into_iter().filter(|(name, _)| !HOP_FIELDS.contains(&name.as_str()));
    Ok(Doors {
        speaks_http2: options.target.is_tls && Frames::connect(&options.target).await?.is_some(),
        has_websocket: reply.status() == Some(101),
        asks_who_is_there,
        added_fields: added.collect(),
    })
}

/// The origin of the app as a browser writes it.
pub(crate) fn origin(options: &Options) -> String {
    format!("{}://{}", if options.target.is_tls { "https" } else { "http" }, options.target.authority)
}

/// Waits until an ordinary request reaches the echo and its answer comes back.
async fn reach(options: &Options, echo: &Echo) -> Result<Arrived, DrillError> {
    let deadline = Instant::now() + options.start_limit;
    loop {
        let asked = ask(options, echo, "first", &options.allow_path, true, "").await;
        let why = match asked {
            Ok((reply, arrived)) => {
                let is_ours = reply.text().contains("drill first end");
                if let Some(first) = arrived.into_iter().find(|one| one.marker() == Some("first")).filter(|_| is_ours) {
                    return Ok(first);
                }
                let status = reply.status().map_or("no answer".to_owned(), |status| format!("status {status}"));
                format!(
                    "an ordinary request for `{}` of `{}` did not come through the proxy to the echo at {} ({status}); \
                     point the proxy's upstream there",
                    options.allow_path,
                    options.target.authority,
                    echo.address()
                )
            }
            Err(error) => match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        };
        if Instant::now() >= deadline {
            return Err(DrillError::Unusable(why));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// One ordinary request; what came back, and what arrived meanwhile.
pub(crate) async fn ask(
    options: &Options,
    echo: &Echo,
    marker: &str,
    path: &str,
    is_signed_in: bool,
    fields: &str,
) -> Result<(Reply, Vec<Arrived>), DrillError> {
    let head = head(options, marker, path, is_signed_in, fields);
    let reply = exchange(&options.target, head.as_bytes(), 1, options.case_limit).await?;
    Ok((reply, echo.take()))
}

/// The bytes of an ordinary request.
pub(crate) fn head(options: &Options, marker: &str, path: &str, is_signed_in: bool, fields: &str) -> String {
    let credentials: String = match is_signed_in {
        true => options.credentials.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect(),
        false => String::new(),
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\n{MARKER}: {marker}\r\n{credentials}{fields}\r\n",
        options.target.authority
    )
}
