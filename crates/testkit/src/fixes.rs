//! A count of fixes that a test dictates.

use std::sync::{Arc, Mutex};

use model::seams::FixBudget;
use model::{AppName, Principal, Remedy, Timestamp};

use crate::lock;

/// Never exhausted unless a set to repeat was put in; keeps what was reported.
#[derive(Default)]
pub struct FakeFixBudget {
    repeated: Mutex<Option<Arc<[Remedy]>>>,
    computed: Mutex<Vec<(Principal, AppName, Vec<Remedy>)>>,
}

impl FakeFixBudget {
    /// From now on everybody is told this set.
    pub fn exhaust(&self, repeated: &[Remedy]) {
        *lock(&self.repeated) = Some(Arc::from(repeated));
    }

    /// What was reported, oldest first.
    pub fn reported(&self) -> Vec<(Principal, AppName, Vec<Remedy>)> {
        lock(&self.computed).clone()
    }
}

impl FixBudget for FakeFixBudget {
    fn exhausted(&self, _: &Principal, _: &AppName, _: Timestamp) -> Option<Arc<[Remedy]>> {
        lock(&self.repeated).clone()
    }

    fn computed(&self, principal: &Principal, app: &AppName, fix: &[Remedy], _: Timestamp) {
        lock(&self.computed).push((principal.clone(), app.clone(), fix.to_vec()));
    }
}
