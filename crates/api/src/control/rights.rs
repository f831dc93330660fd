//! Who may do what, worked out by the engine under the best facts a person could bring, and who gets in now: for an
//! operator who wonders whether the rules mean what they were meant to. Nothing here decides anything.

use std::sync::Arc;

use model::directory::UserEntry;
use model::{Action, AppName, Principal, UserState};

use super::ControlPlane;
use super::best_case::BestCase;
use super::standing::Standing;
use crate::failure::Failure;

/// The most pairs of person and app that are worked out in one go.
const MAX_PAIRS: usize = 2_000;
/// The most people named in one list.
const MAX_NAMED: usize = 20;

/// Who may do what, as of now.
#[derive(Clone, Debug)]
pub struct Rights {
    /// People who could change the control plane, by address, at most [`MAX_NAMED`].
    pub administrators: Vec<String>,
    /// Every app but the built-in one.
    pub apps: Vec<AppRights>,
    /// Enrolled people that were asked about.
    pub people: usize,
    /// Pairs of person and app that were left out, because there are too many.
    pub left_out: usize,
}

/// Who could use an app.
#[derive(Clone, Debug)]
pub struct AppRights {
    /// Which.
    pub app: AppName,
    /// How many get to its front page now ([`super::standing::NOW`]); the console counts the same.
    pub now: usize,
    /// How many could read something of it at best.
    pub readers: usize,
    /// How many could change something in it at best.
    pub writers: usize,
    /// Some of those who could read, by address, at most [`MAX_NAMED`].
    pub named: Vec<String>,
}

impl ControlPlane {
    /// Works it out beside the requests, one at a time with plans: it asks the engine thousands of questions.
    ///
    /// # Errors
    /// The process is stopping.
    pub async fn rights_at_leisure(self: &Arc<Self>) -> Result<Rights, Failure> {
        let _turn = self.pondering.acquire().await.map_err(Failure::unavailable)?;
        let control = Arc::clone(self);
        tokio::task::spawn_blocking(move || control.rights()).await.map_err(Failure::unavailable)
    }

    /// Works it out.
    pub fn rights(&self) -> Rights {
        let published = self.published();
        let best = BestCase::of(&published.policies, self.now());
        let standing = Standing::new(&published, self.now());
        let pdp = published.pdp.as_ref();
        let mut people: Vec<&Arc<UserEntry>> =
            published.directory.users.values().filter(|user| user.state == UserState::Active).collect();
        people.sort_by(|a, b| a.email.cmp(&b.email));
        let apps: Vec<_> = published.apps.iter().filter(|app| !app.is_control_plane()).collect();
        let asked = people.len().min(MAX_PAIRS / (apps.len() + 1));
        let (asked, skipped) = people.split_at(asked);
        let named = |found: &[&Arc<UserEntry>]| -> Vec<String> {
            found.iter().take(MAX_NAMED).map(|user| user.email.clone()).collect()
        };
        let of = |user: &Arc<UserEntry>| Principal::User(user.id);
        let who = |may: &dyn Fn(&Principal) -> bool| -> Vec<&Arc<UserEntry>> {
            asked.iter().copied().filter(|user| may(&of(user))).collect()
        };
        let administrators = named(&who(&|person| best.administers(pdp, person)));
        let app_rights = |app: &&Arc<model::App>| {
            let could = |action: Action| who(&|person| best.could_in(pdp, person, action, app));
            let (readers, writers) = (could(Action::HttpGet), could(Action::HttpPost));
            AppRights {
                app: app.name.clone(),
                now: asked.iter().filter(|user| standing.gets_in(user, app)).count(),
                readers: readers.len(),
                writers: writers.len(),
                named: named(&readers),
            }
        };
        Rights {
            administrators,
            apps: apps.iter().map(app_rights).collect(),
            people: asked.len(),
            left_out: skipped.len() * (apps.len() + 1),
        }
    }
}
