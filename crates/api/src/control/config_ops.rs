//! Check: files become apps, policies and people that fit together, or a list of everything that is wrong (GW-1, PO-32).
//! How a checked configuration goes live is in `versions`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use config::{Declared, Known, Membership, Problem, Problems, SourceFile};
use model::ids::Digest32;
use model::record::RecordType;
use model::{App, PolicySettings};
use pdp_engine::{CompiledPolicies, PolicyInput, PolicyProblem, PolicySource};
use pip_identity::people::{self, LastAdmin};
use pip_identity::store::MembershipSource;

use super::{ControlPlane, compiled, lockout};
use crate::actor::Actor;
use crate::control_app::control_app;
use crate::failure::Failure;

/// A configuration that passed every check; nothing has changed yet.
pub struct Checked {
    pub(super) declared: Declared,
    pub(super) policies: Arc<CompiledPolicies>,
    pub(super) apps: Arc<[Arc<App>]>,
    /// What was checked.
    pub files: Arc<[SourceFile]>,
    /// Digest over what the files say, not over how they say it.
    pub digest: Digest32,
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

impl ControlPlane {
    /// Checks files against each other, the process, the engine and the directory.
    ///
    /// # Errors
    /// [`Failure::Problems`] with everything that is wrong.
    pub async fn check(&self, files: &[SourceFile]) -> Result<Checked, Failure> {
        self.check_for(files, LastAdmin::Keep).await
    }

    pub(super) async fn check_for(&self, files: &[SourceFile], guard: LastAdmin) -> Result<Checked, Failure> {
        let checked = self.check_here(files)?;
        checked.refuse_failing_tests()?;
        self.people.plan(&people_of(&checked.declared), guard).await?;
        Ok(checked)
    }

    /// The files against each other, this process and its engine.
    pub(super) fn check_here(&self, files: &[SourceFile]) -> Result<Checked, Failure> {
        let known = Known {
            auth_host: &self.settings.auth_host,
            is_covered: &|host: &str| self.doors.is_covered(host),
            is_certificate: &|name: &str| self.doors.has_certificate(name),
            groups: &self.undeclared_groups(),
        };
        check_files(files, &known, &self.settings.policy)
    }

    pub(super) async fn record_refused(&self, actor: &Actor, failure: &Failure) -> Result<(), Failure> {
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
pub fn check_files(files: &[SourceFile], known: &Known<'_>, settings: &PolicySettings) -> Result<Checked, Failure> {
    let read = config::read(files, known);
    let compiled = compile_of(files, read.as_ref().ok(), settings);
    let (declared, policies) = match (read, compiled) {
        (Ok(declared), Ok(policies)) => (declared, policies),
        (read, compiled) => {
            let mut problems = read.err().map(|problems| problems.0).unwrap_or_default();
            problems.extend(compiled.err().unwrap_or_default().iter().map(policy_problem));
            problems.sort();
            return Err(Failure::Problems(Problems(problems)));
        }
    };
    let mut apps: Vec<Arc<App>> = vec![Arc::new(control_app(known.auth_host))];
    apps.extend(declared.apps.iter().cloned().map(Arc::new));
    let apps: Arc<[Arc<App>]> = apps.into();
    let digest = digest(files, &policies);
    let mut warnings = declared.warnings.clone();
    let directory = directory_with(&declared, known.groups);
    warnings.extend(findings(&policies, &apps, &directory)?);
    if let Some(why) = lockout::foreseen(&apps, &policies, &directory)? {
        let message = format!("this would lock everybody out: {why}");
        let hint = "`plan` says it for the people there are; `apply` refuses it without `--allow-lockout`";
        warnings.push(Problem::warning("(all files)", (0, 0), message).hint(hint));
    }
    warnings.sort();
    Ok(Checked { declared, policies, apps, files: Arc::from(files), digest, warnings })
}

/// The policies of a configuration, compiled now or before. Of files that were refused only the problems are told: what
/// they compile to lacks the simple rules of their apps, and must not be remembered for when they are accepted.
fn compile_of(
    files: &[SourceFile],
    declared: Option<&Declared>,
    settings: &PolicySettings,
) -> Result<Arc<CompiledPolicies>, Vec<PolicyProblem>> {
    let named = |ending: &str| -> Vec<PolicySource> {
        let files = files.iter().filter(|file| file.name.ends_with(ending));
        files.map(|file| PolicySource { file: file.name.clone(), text: file.text.clone() }).collect()
    };
    let (policies, schemas) = (named(".cedar"), named(".cedarschema"));
    match declared {
        Some(Declared { apps, remedies, .. }) => compiled::compile((files, apps, settings), || {
            CompiledPolicies::compile_all(&PolicyInput {
                policies: &policies,
                schemas: &schemas,
                apps,
                remedies,
                settings,
            })
        }),
        // Without the declared remedies a schema that names them would be blamed for it.
        None => CompiledPolicies::compile_for::<App>(&policies, &[]).map(Arc::new),
    }
}

/// Groups as they will be, so that policies naming one that does not exist are found (L-16).
fn directory_with(declared: &Declared, groups: &BTreeSet<String>) -> Arc<model::Directory> {
    let known = groups.iter().map(|id| (model::GroupId::new(id), BTreeSet::new()));
    let admins = (model::GroupId::new(model::directory::ADMINS_GROUP), BTreeSet::new());
    let declared = declared.groups.iter().map(|group| (group.id.clone(), group.parents.clone()));
    let all = known.chain([admins]).chain(declared);
    let entry = |(id, parents): (model::GroupId, BTreeSet<model::GroupId>)| {
        let group = model::GroupEntry { id: id.clone(), title: String::new(), parents };
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
pub(super) fn people_of(declared: &Declared) -> people::Declared {
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

/// One digest over policies and everything else that is declared (PO-32).
fn digest(files: &[SourceFile], policies: &CompiledPolicies) -> Digest32 {
    let mut text = format!("countersign-config/1\n{}\n", policies.policy_hash());
    for entry in config::canonical(files) {
        text.push_str(&format!("{}:{entry}\n", entry.len()));
    }
    Digest32::of(text.as_bytes())
}

impl Checked {
    /// The parts a first version is assembled from.
    pub fn parts(&self) -> (Arc<[Arc<App>]>, Arc<CompiledPolicies>) {
        (Arc::clone(&self.apps), Arc::clone(&self.policies))
    }
}
