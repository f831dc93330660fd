//! Policies compiled before, so that going back to a kept version costs no compilation (PO-35). Compiling is a pure
//! function of the texts; this remembers its newest results.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use config::SourceFile;
use model::ids::Digest32;
use model::{App, PolicySettings};
use pdp_engine::{CompiledPolicies, PolicyProblem};

/// How many results are remembered: the kept versions, the live one, and room for a check.
const REMEMBERED: usize = store::KEPT_VERSIONS as usize + 2;

type Remembered = VecDeque<(Digest32, Arc<CompiledPolicies>)>;

static COMPILED: Mutex<Remembered> = Mutex::new(VecDeque::new());

/// What `work` makes of these files, of the rules of their apps and of the settings, or made of them the last time.
pub(super) fn compile(
    (files, apps, settings): (&[SourceFile], &[App], &PolicySettings),
    work: impl FnOnce() -> Result<CompiledPolicies, Vec<PolicyProblem>>,
) -> Result<Arc<CompiledPolicies>, Vec<PolicyProblem>> {
    let key = key(files, apps, settings);
    if let Some(found) = find(key) {
        return Ok(found);
    }
    let fresh = Arc::new(work()?);
    let mut remembered = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    remembered.retain(|(other, _)| *other != key);
    remembered.push_front((key, Arc::clone(&fresh)));
    remembered.truncate(REMEMBERED);
    Ok(fresh)
}

fn find(key: Digest32) -> Option<Arc<CompiledPolicies>> {
    let mut remembered = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let at = remembered.iter().position(|(other, _)| *other == key)?;
    let found = remembered.remove(at)?;
    let policies = Arc::clone(&found.1);
    remembered.push_front(found);
    Some(policies)
}

/// Over all files, over the rules of the apps as they were read (those become policies too, and how a file is read
/// depends on more than its text), and over the settings.
fn key(files: &[SourceFile], apps: &[App], settings: &PolicySettings) -> Digest32 {
    let mut bytes = Vec::new();
    let rules = |app: &App| {
        let routes: Vec<_> = app.routes.iter().map(|route| (&route.name, &route.access)).collect();
        format!("{:?}", (&app.name, &app.access, routes))
    };
    let rules: String = apps.iter().map(rules).collect::<String>() + &format!("{settings:?}");
    for part in files.iter().flat_map(|file| [&file.name, &file.text]).chain([&rules]) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Digest32::of(&bytes)
}
