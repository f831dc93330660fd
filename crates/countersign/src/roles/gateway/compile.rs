//! What a gateway process is told becomes what its doors decide by: with the code that checked it at the control plane.
//!
//! Invariant: a configuration whose policies come to another hash here than there is not used.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use api::control::{assemble, check_files};
use config::SourceFile;
use feed::{ConfigSource, Known};
use model::App;
use pdp_engine::CompiledPolicies;
use pep_gateway::GatewaySnapshot;

use crate::roles::doors;

/// What a configuration compiles to.
type Parts = (Arc<[Arc<App>]>, Arc<CompiledPolicies>);
/// The last configuration that was compiled.
type Last = (Arc<ConfigSource>, Parts);

/// Compiles, and remembers the last configuration: the directory changes more often.
#[derive(Default)]
pub(super) struct Compiler {
    last: Mutex<Option<Last>>,
}

impl Compiler {
    /// A snapshot of these facts. Takes its time.
    ///
    /// # Errors
    /// In words: the configuration does not compile here, or to something else.
    pub(super) fn compile(&self, known: &Known, auth_host: &str) -> Result<GatewaySnapshot, String> {
        let (apps, policies) = self.parts(known, auth_host)?;
        let directory = Arc::clone(&known.directory);
        let number = known.config.number;
        let version = assemble(number, Arc::clone(&apps), policies, Arc::clone(&directory));
        let version = version.map_err(|failure| failure.to_string())?;
        // The built-in app is known to the engine, because ways in are decided on it, and served by nobody here.
        let served: Arc<[Arc<App>]> = apps.iter().filter(|app| !app.is_control_plane()).cloned().collect();
        let (zone, remedies) = (version.time_zone().clone(), Arc::clone(version.policies.remedies()));
        Ok(GatewaySnapshot::new(number, served, version.pdp, directory).with_terms(zone, remedies))
    }

    fn parts(&self, known: &Known, auth_host: &str) -> Result<Parts, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((config, parts)) = &*last
            && *config == known.config
        {
            return Ok(parts.clone());
        }
        let source = &known.config;
        let file = |file: &feed::SourceText| SourceFile { name: file.name.clone(), text: file.text.clone() };
        let files: Vec<SourceFile> = source.files.iter().map(file).collect();
        let groups: BTreeSet<String> = known.directory.groups.keys().map(|id| id.as_str().to_owned()).collect();
        // Whether certificates fit was asked where the configuration was applied; a gateway may serve some apps only.
        let fits = config::Known { auth_host, is_covered: &|_| true, is_certificate: &|_| true, groups: &groups };
        let checked = check_files(&files, &fits, &doors::settings(&source.terms)?);
        let (apps, policies) = checked.map_err(|failure| failure.to_string())?.parts();
        if policies.policy_hash() != source.policy_hash {
            return Err(format!(
                "the policies of configuration {} come to {} here and to {} at the control plane; run the same release",
                source.number,
                policies.policy_hash(),
                source.policy_hash
            ));
        }
        *last = Some((Arc::clone(source), (Arc::clone(&apps), Arc::clone(&policies))));
        Ok((apps, policies))
    }
}
