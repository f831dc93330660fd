//! Check and apply: files become apps, policies and people, all or nothing (GW-1, PO-32).
//!
//! Order of an apply: everything is checked against everything; the text is kept; people are reconciled; the new
//! version is published; streams are judged afresh. A crash in between is finished at the next start, because the
//! text is kept first and every later step is idempotent ([`ControlPlane::resume`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use audit::{Query, SealedAccess};
use config::{Declared, Known, Membership, Problem, Problems, SourceFile};
use model::App;
use model::ids::Digest32;
use model::record::RecordType;
use model::seams::{Cause, Revocation, Scope};
use pdp_engine::{CompiledPolicies, PolicySource};
use pip_identity::people::{self, LastAdmin};
use pip_identity::store::MembershipSource;
use store::{ConfigFile, ConfigSummary, NewConfig};

use super::ControlPlane;
use super::people_ops::half_done;
use crate::actor::Actor;
use crate::control_app::control_app;
use crate::failure::Failure;

/// The text of a configuration.
pub type ConfigText = Vec<SourceFile>;

/// A configuration that passed every check; nothing has changed yet.
pub struct Checked {
    pub(super) declared: Declared,
    pub(super) policies: Arc<CompiledPolicies>,
    pub(super) apps: Arc<[Arc<App>]>,
    /// Findings that do not stop an apply, sorted.
    pub warnings: Vec<Problem>,
}

impl Checked {
    /// The declared apps, without the built-in one.
    pub fn apps(&self) -> &[App] {
        &self.declared.apps
    }

    /// How many policies there are, the built-in ones included.
    pub fn policy_count(&self) -> usize {
        self.policies.policies().len()
    }
}

/// What an apply did.
pub struct Applied {
    /// The version that is live now.
    pub version: u64,
    /// False when the files were live already.
    pub is_new: bool,
    /// Findings.
    pub warnings: Vec<Problem>,
    /// What was judged afresh or ended.
    pub revocations: Vec<Revocation>,
}

impl ControlPlane {
    /// Checks files against each other, the process, the engine and the directory.
    ///
    /// # Errors
    /// [`Failure::Problems`] with everything that is wrong.
    pub async fn check(&self, files: &[SourceFile]) -> Result<Checked, Failure> {
        let groups = self.undeclared_groups();
        let (covers, has) = (|host: &str| self.doors.is_covered(host), |name: &str| self.doors.has_certificate(name));
        let checked = check_files(files, &self.settings.auth_host, &covers, &has, &groups)?;
        checked.refuse_failing_tests()?;
        self.people.plan(&people_of(&checked.declared), LastAdmin::Keep).await?;
        Ok(checked)
    }

    /// Makes files the live configuration.
    ///
    /// # Errors
    /// [`Failure::Problems`] or a clash; then nothing changed.
    pub async fn apply(&self, actor: &Actor, files: &[SourceFile], reason: &str) -> Result<Applied, Failure> {
        let _order = self.order.lock().await;
        let checked = match self.check(files).await {
            Ok(checked) => checked,
            Err(failure) => {
                self.record_refused(actor, &failure).await?;
                return Err(failure);
            }
        };
        let digest = digest(files);
        let current = self.current_config().await?;
        if let Some(current) = current.as_ref().filter(|current| current.digest == digest) {
            // The directory may have moved since; declared people are declared again.
            let revocations = self.install(actor, current.number, &checked).await?;
            self.record_applied(actor, current.number, digest, &checked, "").await?;
            return Ok(Applied { version: current.number, is_new: false, warnings: checked.warnings, revocations });
        }
        let version = self
            .configs
            .add_config(NewConfig {
                base: current.map_or(0, |current| current.number),
                digest,
                author: actor.name.clone(),
                reason: reason.to_owned(),
                applied_at: self.now(),
                files: files.iter().map(|f| ConfigFile { name: f.name.clone(), text: f.text.clone() }).collect(),
            })
            .await?;
        let revocations = self.install(actor, version, &checked).await?;
        self.record_applied(actor, version, digest, &checked, "").await?;
        Ok(Applied { version, is_new: true, warnings: checked.warnings, revocations })
    }

    /// Applied versions, newest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn config_history(&self) -> Result<Vec<ConfigSummary>, Failure> {
        Ok(self.configs.config_history().await?)
    }

    async fn current_config(&self) -> Result<Option<ConfigSummary>, Failure> {
        Ok(self.configs.config_history().await?.into_iter().next())
    }

    /// Reconciles people, publishes, and judges streams afresh.
    async fn install(&self, actor: &Actor, version: u64, checked: &Checked) -> Result<Vec<Revocation>, Failure> {
        let change = self.people.reconcile(&people_of(&checked.declared), LastAdmin::Keep).await?;
        let published =
            self.publish(version, Arc::clone(&checked.apps), Arc::clone(&checked.policies), self.people.directory());
        // People are reconciled already: who lost something loses it, whatever became of the rest.
        let carried = self.carry_out(actor, change, Cause::ConfigApplied).await;
        let everything = self.sessions.reevaluate(Scope::Everything, Cause::ConfigApplied).await;
        published?;
        let mut revocations = carried?.revocations;
        let everything = everything.map_err(|error| half_done(&error))?;
        self.revocations.remember(everything.clone());
        revocations.push(everything);
        Ok(revocations)
    }

    async fn record_applied(
        &self,
        actor: &Actor,
        version: u64,
        digest: Digest32,
        checked: &Checked,
        note: &str,
    ) -> Result<(), Failure> {
        for kind in [RecordType::ConfigApplied, RecordType::PolicyPublished] {
            let mut record = self.actor_record(actor, kind);
            record.change.object_kind = Some("config");
            record.change.object_id = Some(Arc::from(version.to_string()));
            record.pins.config_version = Some(version);
            record.pins.policy_set_hash = Some(checked.policies.policy_hash());
            record.pins.schema_hash = Some(checked.policies.schema_hash());
            let text = match kind {
                RecordType::ConfigApplied => format!("configuration {version} applied, {digest}{note}"),
                _ => format!("policies {} published", checked.policies.policy_hash()),
            };
            record.change.change = Some(Arc::from(text));
            self.record(record).await?;
        }
        Ok(())
    }

    async fn record_refused(&self, actor: &Actor, failure: &Failure) -> Result<(), Failure> {
        let mut record = self.actor_record(actor, RecordType::ConfigRefused);
        record.change.object_kind = Some("config");
        // How many problems and not which: their words may name addresses (AUD-40). The caller reads them all.
        record.change.change = Some(Arc::from(match failure {
            Failure::Problems(problems) => format!("refused: {} problems", problems.0.len()),
            _ => "refused: the declared people and groups do not fit the directory".to_owned(),
        }));
        self.record(record).await
    }
}

/// Checks files against each other, the process and the engine.
///
/// # Errors
/// [`Failure::Problems`] with everything that is wrong.
pub fn check_files(
    files: &[SourceFile],
    auth_host: &str,
    is_covered: &dyn Fn(&str) -> bool,
    is_certificate: &dyn Fn(&str) -> bool,
    groups: &BTreeSet<String>,
) -> Result<Checked, Failure> {
    let sources: Vec<PolicySource> = files
        .iter()
        .filter(|file| file.name.ends_with(".cedar"))
        .map(|file| PolicySource { file: file.name.clone(), text: file.text.clone() })
        .collect();
    let read = config::read(files, &Known { auth_host, is_covered, is_certificate, groups });
    let ruled = read.as_ref().map(|declared| declared.apps.as_slice()).unwrap_or_default();
    let compiled = CompiledPolicies::compile_for(&sources, ruled);
    let (declared, policies) = match (read, compiled) {
        (Ok(declared), Ok(policies)) => (declared, policies),
        (read, compiled) => {
            let mut problems = read.err().map(|problems| problems.0).unwrap_or_default();
            problems.extend(compiled.err().unwrap_or_default().iter().map(policy_problem));
            problems.sort();
            return Err(Failure::Problems(Problems(problems)));
        }
    };
    let mut apps: Vec<Arc<App>> = vec![Arc::new(control_app(auth_host))];
    apps.extend(declared.apps.iter().cloned().map(Arc::new));
    let apps: Arc<[Arc<App>]> = apps.into();
    let policies = Arc::new(policies);
    let mut warnings = declared.warnings.clone();
    warnings.extend(findings(&policies, &apps, &directory_with(&declared, groups))?);
    warnings.sort();
    Ok(Checked { declared, policies, apps, warnings })
}

/// Groups as they will be, so that policies naming one that does not exist are found (L-16).
fn directory_with(declared: &Declared, groups: &BTreeSet<String>) -> Arc<model::Directory> {
    let ids = declared.groups.iter().map(|group| group.id.clone());
    let known = groups.iter().map(|id| model::GroupId::new(id));
    let all = ids.chain(known).chain([model::GroupId::new(model::directory::ADMINS_GROUP)]);
    let entry = |id: model::GroupId| {
        let group = model::GroupEntry { id: id.clone(), title: String::new(), parents: BTreeSet::new() };
        (id, Arc::new(group))
    };
    Arc::new(model::Directory { groups: all.map(entry).collect(), ..model::Directory::default() })
}

/// What the engine refuses, as a problem of the files.
fn policy_problem(problem: &pdp_engine::PolicyProblem) -> Problem {
    let at = (problem.line as u64, problem.column as u64);
    let told = Problem::error(&problem.file, at, problem.message.clone());
    match &problem.nearest {
        Some(word) => told.hint(format!("did you mean `{word}`?")),
        None => told,
    }
}

/// What the engine would have an operator look at; among it the apps nobody can enter yet (GW-2).
fn findings(
    policies: &Arc<CompiledPolicies>,
    apps: &Arc<[Arc<App>]>,
    directory: &Arc<model::Directory>,
) -> Result<Vec<Problem>, Failure> {
    let engine =
        pdp_engine::Engine::new(Arc::clone(policies), apps, Arc::clone(directory), 0).map_err(Failure::unavailable)?;
    let told = |finding: pdp_engine::Finding| {
        let (file, line) = finding.declared_at.rsplit_once(':').unwrap_or((&finding.declared_at, "0"));
        Problem::warning(file, (line.parse().unwrap_or(0), 0), finding.message.clone())
    };
    // `config` tells of a missing sensitivity itself, with the column.
    let is_news = |finding: &pdp_engine::Finding| finding.kind != pdp_engine::FindingKind::NoSensitivity;
    Ok(engine.findings().into_iter().filter(is_news).map(told).collect())
}

/// Declared people in the directory's own words.
fn people_of(declared: &Declared) -> people::Declared {
    people::Declared {
        users: declared
            .users
            .iter()
            .map(|user| people::DeclaredUser {
                email: user.email.clone(),
                name: user.name.clone(),
                is_external: user.is_external,
                is_disabled: user.is_disabled,
                tags: BTreeMap::new(),
                groups: user.groups.iter().map(|group| group.as_str().to_owned()).collect(),
                declared_at: user.declared_at.clone(),
            })
            .collect(),
        groups: declared
            .groups
            .iter()
            .map(|group| people::DeclaredGroup {
                id: group.id.as_str().to_owned(),
                title: group.title.clone(),
                parents: group.parents.iter().map(|parent| parent.as_str().to_owned()).collect(),
                members: BTreeSet::new(),
                membership: match group.membership {
                    Membership::Applied => MembershipSource::Applied,
                    Membership::External => MembershipSource::External,
                },
                declared_at: group.declared_at.clone(),
            })
            .collect(),
    }
}

/// One digest over names and texts, each with its length in front.
fn digest(files: &[SourceFile]) -> Digest32 {
    let mut bytes = Vec::new();
    for file in files {
        for part in [&file.name, &file.text] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    Digest32::of(&bytes)
}

/// The text of the newest applied configuration, for a start.
///
/// # Errors
/// The store does not answer.
pub async fn newest(configs: &dyn store::ConfigStore) -> Result<Option<(u64, ConfigText)>, Failure> {
    let Some(summary) = configs.config_history().await?.into_iter().next() else { return Ok(None) };
    let version = configs.config(summary.number).await?;
    Ok(version.map(|version| {
        let files = version.files.into_iter().map(|file| SourceFile { name: file.name, text: file.text }).collect();
        (version.summary.number, files)
    }))
}

impl ControlPlane {
    /// Finishes what a crash may have left between keeping a configuration and reconciling people; called once at
    /// start, with the configuration the process started under.
    ///
    /// # Errors
    /// The directory or the log refuse.
    pub async fn resume(&self, actor: &Actor, checked: &Checked) -> Result<(), Failure> {
        let _order = self.order.lock().await;
        self.install(actor, self.published().config_version, checked).await?;
        let Some(current) = self.current_config().await? else { return Ok(()) };
        if self.is_recorded(&current).await? {
            return Ok(());
        }
        let note = format!(", asked for by {} and finished at a start", current.author);
        self.record_applied(actor, current.number, current.digest, checked, &note).await
    }

    /// Whether the last record of an apply is there; a crash may have come before it.
    async fn is_recorded(&self, current: &ConfigSummary) -> Result<bool, Failure> {
        let query = Query {
            kind: Some(RecordType::PolicyPublished),
            what: Some(current.number.to_string()),
            since: Some(current.applied_at),
            limit: 1,
            ..Query::default()
        };
        let log = Arc::clone(&self.log);
        let answer = tokio::task::spawn_blocking(move || log.query(&query, SealedAccess::Closed)).await;
        let answer = answer.map_err(Failure::unavailable)?.map_err(Failure::unavailable)?;
        Ok(!answer.rows.is_empty())
    }
}

impl Checked {
    /// The parts a first version is assembled from.
    pub fn parts(&self) -> (Arc<[Arc<App>]>, Arc<CompiledPolicies>) {
        (Arc::clone(&self.apps), Arc::clone(&self.policies))
    }
}
