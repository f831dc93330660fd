//! Hand-offs that go round in circles (GW-14): the browser arrives, is signed in, and comes again as if it had not been.
//! After the third time for one address within a minute it is told what is the likely cause.
//!
//! An arrival counts only if its journey began after the one before had ended: twenty tabs that come at once have begun
//! before any of them could know of a cookie.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use model::seams::ReservedContext;
use model::{Timestamp, TokenHash};

use super::answers::page;
use super::{Handoff, Portal};

/// How long an arrival is remembered.
pub(super) const ARRIVAL_LIFE: Duration = Duration::from_secs(60);
/// The most arrivals that are remembered; beyond it the oldest are forgotten, which ends no circle and harms nobody.
pub(super) const MAX_ARRIVALS: usize = 10_000;
/// Which arrival in a row is one too many.
const CIRCLE: u32 = 3;

/// One address in one browser.
pub(super) type Place = (TokenHash, String, String);

/// How often a browser has arrived there in a row, and when last.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    count: u32,
    last: Timestamp,
}

impl Portal {
    /// The page for a browser that goes round in circles; `None` lets it arrive.
    pub(super) fn circle(&self, context: &ReservedContext, handoff: &Handoff) -> Option<Response<Bytes>> {
        let place = (handoff.browser, handoff.authority.clone(), handoff.target.clone());
        let before = self.arrivals.take(&place, context.now);
        if context.session.is_some() {
            // The cookie came: whatever went round before, it does no longer.
            return None;
        }
        let in_a_row = before.filter(|before| handoff.began >= before.last).map_or(0, |before| before.count);
        let count = in_a_row + 1;
        if count >= CIRCLE {
            return Some(going_round(context));
        }
        self.arrivals.put(place, Arrival { count, last: context.now }, context.now);
        None
    }
}

fn going_round(context: &ReservedContext) -> Response<Bytes> {
    let notice = pages::Notice {
        heading: "You are signed in, but your browser does not keep it".to_owned(),
        paragraphs: vec![
            format!(
                "You have been signed in to {} three times within a minute, and each time the browser came back without \
                 the cookie it had been given.",
                context.host
            ),
            "Most likely cookies are blocked for this address, by a setting, an extension or private browsing. Allow \
             them and open the app again."
                .to_owned(),
            "If they are allowed, check that the address is the one you always use, and that the clock of this device is \
             right."
                .to_owned(),
        ],
        command: None,
        links: vec![pages::Link { text: "Try again".to_owned(), url: "/".to_owned() }],
        request_id: Some(context.access_id.to_string()),
    };
    page(StatusCode::FORBIDDEN, notice.render())
}
