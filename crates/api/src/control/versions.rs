//! Versions of the configuration: planned, made live, gone back to (PO-32, PO-33, PO-35, PO-36).
//!
//! Order of going live: everything is checked against everything; the text is kept and pending; people are reconciled;
//! the doors get it; it is confirmed together with what the record must say; streams are judged afresh; it is recorded.
//! What is refused on the way is given up and is not live at the next start either. A crash in between is finished at
//! the next start, because every later step is idempotent ([`ControlPlane::resume`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Problem, SourceFile};
use model::policy_test::PolicyTest;
use model::record::RecordType;
use model::seams::{Cause, Revocation, Scope};
use pip_identity::People;
use pip_identity::people::LastAdmin;
use store::{ConfigFile, ConfigState, ConfigSummary, NewConfig};

use super::approvals::Waiting;
use super::config_ops::{Checked, people_of};
use super::deeds::{Deed, note};
use super::people_ops::half_done;
use super::plan::{self, Plan};
use super::{ControlPlane, assemble, lockout};
use crate::actor::Actor;
use crate::control::Lockout;
use crate::failure::Failure;

/// How long a reason may be.
pub const MAX_REASON_BYTES: usize = 1_000;

/// How something goes live.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoLive<'a> {
    /// Why, in the words of who asks.
    pub reason: &'a str,
    /// Whether it may lock everybody out.
    pub lockout: Lockout,
}

impl GoLive<'_> {
    fn guard(self) -> LastAdmin {
        match self.lockout {
            Lockout::Allow => LastAdmin::MayGo,
            Lockout::Refuse => LastAdmin::Keep,
        }
    }
}

/// What an apply or a rollback did.
pub struct Applied {
    /// The version that is live now.
    pub version: u64,
    /// The version that was live before.
    pub before: u64,
    /// False when the files said what a kept version says.
    pub is_new: bool,
    /// What it changed.
    pub plan: Plan,
    /// Findings.
    pub warnings: Vec<Problem>,
    /// What was judged afresh or ended.
    pub revocations: Vec<Revocation>,
    /// From the order until every door had it and every stream was judged.
    pub took: Duration,
}

/// What came of a wish to go live.
pub enum Outcome {
    /// It is live.
    Live(Box<Applied>),
    /// It waits for the approval of others; with what it would change, and findings, when it was only proposed.
    Waits(Box<Waiting>, Option<Box<(Plan, Vec<Problem>)>>),
}

/// Checked and planned, and no lock-out that nobody asked for.
pub(super) struct Ready {
    pub(super) checked: Checked,
    pub(super) plan: Plan,
    /// When checking began.
    began: Instant,
}

/// Whose version it is, and what the record says of that.
pub(super) struct Origin<'a> {
    pub(super) author: &'a str,
    pub(super) told: String,
}

impl<'a> Origin<'a> {
    /// Of whoever asks.
    fn of(actor: &'a Actor) -> Self {
        Self { author: &actor.name, told: String::new() }
    }
}

/// A version on its way.
struct Going<'a> {
    number: u64,
    /// Kept as pending, so that it must be confirmed or given up.
    is_pending: bool,
    deeds: Vec<Deed>,
    checked: &'a Checked,
    guard: LastAdmin,
}

impl ControlPlane {
    /// What an apply of these files would do; changes nothing.
    ///
    /// # Errors
    /// [`Failure::Problems`] with everything that is wrong. A lock-out is not an error here but a line of the plan.
    pub async fn plan(&self, files: &[SourceFile]) -> Result<(Plan, Vec<Problem>), Failure> {
        let checked = self.check_for(files, LastAdmin::MayGo).await?;
        let plan = self.plan_of(&checked).await?;
        Ok((plan, checked.warnings))
    }

    /// Makes files the live configuration, or, where others have to approve it, keeps them as a proposal.
    ///
    /// # Errors
    /// [`Failure::Problems`], a lock-out or a clash; then nothing changed.
    pub async fn apply(&self, actor: &Actor, files: &[SourceFile], how: GoLive<'_>) -> Result<Outcome, Failure> {
        let _order = self.order.lock().await;
        let ready = self.ready(actor, files, how).await?;
        if self.needs_approval(&ready.plan, how) {
            return self.propose(actor, ready, how, None).await;
        }
        self.go_forward(actor, ready, how, Origin::of(actor)).await.map(|applied| Outcome::Live(Box::new(applied)))
    }

    /// Makes a kept version live again, or proposes it; without a number, the newest one below the live one. The whole
    /// version comes back: apps, policies, and the people and groups it declared.
    ///
    /// # Errors
    /// No such version, or it does not fit any more; then nothing changed.
    pub async fn roll_back(&self, actor: &Actor, to: Option<u64>, how: GoLive<'_>) -> Result<Outcome, Failure> {
        let _order = self.order.lock().await;
        let live = self.configs.config_state().await?.live;
        let number = self.rollback_target(live, to).await?;
        let files = self.kept_files(number).await?;
        let ready = self.ready(actor, &files, how).await?;
        if self.needs_approval(&ready.plan, how) {
            return self.propose(actor, ready, how, Some(number)).await;
        }
        let applied = self.go_back(actor, number, ready, how, Origin::of(actor)).await?;
        Ok(Outcome::Live(Box::new(applied)))
    }

    /// What is live already was approved, but not that it may lock everybody out.
    fn needs_approval(&self, plan: &Plan, how: GoLive<'_>) -> bool {
        self.approvals_needed() > 0 && !(plan.is_live_already() && how.lockout == Lockout::Refuse)
    }

    /// The way of an apply. The caller holds the order of changes.
    pub(super) async fn go_forward(
        &self,
        actor: &Actor,
        Ready { checked, plan, began }: Ready,
        how: GoLive<'_>,
        origin: Origin<'_>,
    ) -> Result<Applied, Failure> {
        let ConfigState { live, .. } = self.configs.config_state().await?;
        let number = match plan.known_as {
            Some(known) if known == live => live,
            Some(known) => {
                self.configs.begin_config(known, live).await?;
                known
            }
            None => {
                let new = new_config(origin.author, &checked, live, how.reason, self.now());
                self.configs.add_config(new).await?
            }
        };
        let told = origin.told;
        let text = format!("configuration {number} applied, {}{told}{}", checked.digest, reason_told(how.reason));
        let deeds = vec![
            Deed::with_config(RecordType::ConfigApplied, number, text),
            Deed::with_config(
                RecordType::PolicyPublished,
                number,
                format!("policies {} published", checked.policies.policy_hash()),
            ),
        ];
        let going = Going { number, is_pending: number != live, deeds, checked: &checked, guard: how.guard() };
        let revocations = self.go_live(actor, going).await?;
        let is_new = plan.known_as.is_none();
        let took = began.elapsed();
        Ok(Applied { version: number, before: live, is_new, plan, warnings: checked.warnings, revocations, took })
    }

    /// The way of a rollback. The caller holds the order of changes.
    pub(super) async fn go_back(
        &self,
        actor: &Actor,
        number: u64,
        Ready { checked, plan, began }: Ready,
        how: GoLive<'_>,
        origin: Origin<'_>,
    ) -> Result<Applied, Failure> {
        let ConfigState { live, .. } = self.configs.config_state().await?;
        self.configs.begin_config(number, live).await?;
        let (digest, told, reason) = (checked.digest, origin.told, reason_told(how.reason));
        let text = format!("rolled back from version {live} to {number}, {digest}{told}{reason}");
        let deeds = vec![Deed::with_config(RecordType::PolicyRolledBack, number, text)];
        let going = Going { number, is_pending: true, deeds, checked: &checked, guard: how.guard() };
        let revocations = self.go_live(actor, going).await?;
        let took = began.elapsed();
        let warnings = checked.warnings;
        Ok(Applied { version: number, before: live, is_new: false, plan, warnings, revocations, took })
    }

    /// Kept versions, newest first, and the number of the one that is live.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn config_history(&self) -> Result<(Vec<ConfigSummary>, u64), Failure> {
        Ok((self.configs.config_history().await?, self.configs.config_state().await?.live))
    }

    async fn rollback_target(&self, live: u64, to: Option<u64>) -> Result<u64, Failure> {
        let kept: Vec<u64> = self.configs.config_history().await?.iter().map(|version| version.number).collect();
        let found = match to {
            Some(number) if number == live => {
                return Err(Failure::Conflict { message: format!("version {number} is live already") });
            }
            Some(number) => kept.iter().find(|kept| **kept == number),
            None => kept.iter().find(|kept| **kept < live),
        };
        found.copied().ok_or_else(|| Failure::NotFound {
            message: match to {
                Some(number) => format!("version {number} is not kept; `countersign policy versions` shows all"),
                None => "there is no earlier version; `countersign policy versions` shows all".to_owned(),
            },
        })
    }

    async fn kept_files(&self, number: u64) -> Result<Vec<SourceFile>, Failure> {
        let version = self.configs.config(number).await?;
        let missing = || Failure::NotFound { message: format!("version {number} is not kept any more") };
        Ok(sources(version.ok_or_else(missing)?.files))
    }

    /// Checked and planned for `actor`; that it is refused is recorded.
    pub(super) async fn ready(&self, actor: &Actor, files: &[SourceFile], how: GoLive<'_>) -> Result<Ready, Failure> {
        match self.prepared(files, how).await {
            Ok(ready) => Ok(ready),
            Err(failure) => {
                self.record_refused(actor, &failure).await?;
                Err(failure)
            }
        }
    }

    /// Checked, planned, and not a lock-out.
    async fn prepared(&self, files: &[SourceFile], how: GoLive<'_>) -> Result<Ready, Failure> {
        let began = Instant::now();
        if how.reason.len() > MAX_REASON_BYTES {
            let message = format!("a reason has at most {MAX_REASON_BYTES} bytes; this one has {}", how.reason.len());
            return Err(Failure::invalid("reason", message));
        }
        let checked = self.check_for(files, how.guard()).await?;
        let plan = self.plan_of(&checked).await?;
        match &plan.lockout {
            Some(why) if how.lockout == Lockout::Refuse => Err(lockout::refusal(why)),
            _ => Ok(Ready { checked, plan, began }),
        }
    }

    async fn plan_of(&self, checked: &Checked) -> Result<Plan, Failure> {
        let change = self.people.plan(&people_of(&checked.declared), LastAdmin::MayGo).await?;
        let before = self.published();
        let (apps, policies) = checked.parts();
        let after = assemble(0, apps, policies, Arc::clone(&change.directory))?;
        let (people, groups) = plan::people(&before.directory, &change);
        let live = self.configs.config_state().await?.live;
        let history = self.configs.config_history().await?;
        let same = |version: &&ConfigSummary| version.digest == checked.digest;
        let known_as =
            history.iter().filter(same).map(|version| version.number).max_by_key(|number| (*number == live, *number));
        let now = self.now();
        let tests = plan::tests(&self.live_tests().await?, &checked.declared.tests);
        let remedies = plan::remedies(before.policies.remedies(), checked.policies.remedies());
        // Asking about everybody takes its time; requests do not wait for it, and one of it is enough at a time.
        let _turn = self.pondering.acquire().await.map_err(Failure::unavailable)?;
        let work = tokio::task::spawn_blocking(move || {
            let lockout = lockout::why(&before, &after, now)?;
            let (apps, policies) =
                (plan::apps(&before.apps, &after.apps), plan::policies(&before.policies, &after.policies));
            let (gained, lost, unexamined) = plan::reach(&before, &after, now);
            Ok::<_, Failure>((lockout, apps, policies, gained, lost, unexamined))
        });
        let (lockout, apps, policies, gained, lost, unexamined) = work.await.map_err(Failure::unavailable)??;
        let digest = checked.digest;
        Ok(Plan {
            digest,
            known_as,
            live,
            apps,
            groups,
            people,
            policies,
            tests,
            remedies,
            gained,
            lost,
            unexamined,
            lockout,
        })
    }

    /// The tests of what is live; none if it does not fit this process any more.
    async fn live_tests(&self) -> Result<Vec<PolicyTest>, Failure> {
        let Some(live) = self.configs.current_config().await? else { return Ok(Vec::new()) };
        Ok(self.check_here(&sources(live.files)).map(|checked| checked.declared.tests).unwrap_or_default())
    }

    /// Reconciles people, publishes, confirms, judges streams afresh and records.
    async fn go_live(&self, actor: &Actor, going: Going<'_>) -> Result<Vec<Revocation>, Failure> {
        let Going { number, is_pending, deeds, checked, guard } = going;
        let change = match self.people.by(Self::author(actor)).reconcile(&people_of(&checked.declared), guard).await {
            Ok(change) => change,
            Err(error) => {
                if is_pending {
                    self.configs.abandon_config(number).await?;
                }
                let failure = Failure::from(error);
                self.record_refused(actor, &failure).await?;
                return Err(failure);
            }
        };
        let ((apps, policies), files) = (checked.parts(), Arc::clone(&checked.files));
        let published = self.publish(number, files, apps, policies, self.people.directory());
        let done = note(actor, self.ids.uuid_v7(self.now()), self.now(), &deeds);
        let id = is_pending.then_some(done.id);
        let confirmed = match is_pending {
            true => self.configs.confirm_config(number, done).await.map_err(Failure::from),
            false => Ok(()),
        };
        // People are reconciled already: who lost something loses it, whatever became of the rest.
        let carried = self.carry_out(actor, change, Cause::ConfigApplied).await;
        let everything = self.sessions.reevaluate(Scope::Everything, Cause::ConfigApplied).await;
        published?;
        confirmed?;
        self.tell(actor, id, &deeds, None).await?;
        let mut revocations = carried?.revocations;
        let everything = everything.map_err(|error| half_done(&error))?;
        self.revocations.remember(everything.clone());
        revocations.push(everything);
        Ok(revocations)
    }

    /// Records what a crash kept from being recorded, and finishes what it may have left between keeping a
    /// configuration and confirming it. Called once at start, with the version the process started under.
    ///
    /// # Errors
    /// The directory or the log refuse.
    pub async fn resume(&self, actor: &Actor, checked: Option<&Checked>) -> Result<(), Failure> {
        let _order = self.order.lock().await;
        self.tell_what_is_untold(actor).await?;
        let Some(checked) = checked else { return Ok(()) };
        let number = self.published().config_version;
        let ConfigState { live, pending } = self.configs.config_state().await?;
        let is_pending = pending == Some(number);
        let change =
            self.people.by(Self::author(actor)).reconcile(&people_of(&checked.declared), LastAdmin::MayGo).await?;
        let digest = checked.digest;
        let deeds = match (is_pending, number < live) {
            (false, _) => Vec::new(),
            (true, true) => {
                let text = format!("rolled back from version {live} to {number}, {digest}, finished at a start");
                vec![Deed::with_config(RecordType::PolicyRolledBack, number, text)]
            }
            (true, false) => {
                let text = format!("configuration {number} applied, {digest}, finished at a start");
                let policies = format!("policies {} published", checked.policies.policy_hash());
                vec![
                    Deed::with_config(RecordType::ConfigApplied, number, text),
                    Deed::with_config(RecordType::PolicyPublished, number, policies),
                ]
            }
        };
        let done = note(actor, self.ids.uuid_v7(self.now()), self.now(), &deeds);
        let id = is_pending.then_some(done.id);
        if is_pending {
            self.configs.confirm_config(number, done).await?;
        }
        self.carry_out(actor, change, Cause::ConfigApplied).await?;
        let everything = self.sessions.reevaluate(Scope::Everything, Cause::ConfigApplied).await;
        self.revocations.remember(everything.map_err(|error| half_done(&error))?);
        self.tell(actor, id, &deeds, None).await
    }

    /// Records that a version which was on its way when the process died does not fit and was given up.
    ///
    /// # Errors
    /// The log does not take the record.
    pub async fn record_given_up(&self, actor: &Actor, number: u64) -> Result<(), Failure> {
        let text = format!("configuration {number} was on its way and does not fit; given up at a start");
        self.tell(actor, None, &[Deed::with_config(RecordType::ConfigRefused, number, text)], None).await
    }

    /// Compiles the kept versions, so that going back to one costs no compilation. Called once, behind the first
    /// answer; failures are left to the rollback that meets them.
    pub async fn warm_versions(self: Arc<Self>) {
        let Ok(history) = self.configs.config_history().await else { return };
        for summary in history {
            let Ok(files) = self.kept_files(summary.number).await else { continue };
            let control = Arc::clone(&self);
            let work = move || drop(control.check_here(&files));
            tokio::task::spawn_blocking(work).await.ok();
        }
    }
}

/// A kept version, read back for a start.
pub struct Kept {
    /// Its number.
    pub number: u64,
    /// Its files.
    pub files: Vec<SourceFile>,
}

/// What a start has to choose from.
#[derive(Default)]
pub struct AtStart {
    /// On its way when the process ended; goes live if it fits, or is given up.
    pub pending: Option<Kept>,
    /// Live when the process ended.
    pub live: Option<Kept>,
}

/// The versions a start has to choose from.
///
/// # Errors
/// The store does not answer.
pub async fn at_start(configs: &dyn store::ConfigStore) -> Result<AtStart, Failure> {
    let state = configs.config_state().await?;
    let mut found = AtStart::default();
    for (number, place) in [(state.pending, &mut found.pending), (Some(state.live), &mut found.live)] {
        if let Some(number) = number {
            let version = configs.config(number).await?;
            *place = version.map(|version| Kept { number, files: sources(version.files) });
        }
    }
    Ok(found)
}

/// Whether what a configuration declares of people fits the directory; asked before a pending version is finished.
///
/// # Errors
/// It does not.
pub async fn fits(people: &People, checked: &Checked) -> Result<(), Failure> {
    people.plan(&people_of(&checked.declared), LastAdmin::Keep).await?;
    Ok(())
}

pub(super) fn sources(files: Vec<ConfigFile>) -> Vec<SourceFile> {
    files.into_iter().map(|file| SourceFile { name: file.name, text: file.text }).collect()
}

pub(super) fn files_of(files: &[SourceFile]) -> Vec<ConfigFile> {
    files.iter().map(|file| ConfigFile { name: file.name.clone(), text: file.text.clone() }).collect()
}

fn new_config(author: &str, checked: &Checked, base: u64, reason: &str, now: model::Timestamp) -> NewConfig {
    NewConfig {
        base,
        digest: checked.digest,
        author: author.to_owned(),
        reason: reason.to_owned(),
        applied_at: now,
        files: files_of(&checked.files),
    }
}

/// The reason as the record may hold it: no address in the clear (AUD-40). The version keeps it whole.
pub(super) fn reason_told(reason: &str) -> String {
    match reason {
        "" => String::new(),
        reason if reason.contains('@') => "; the reason names an address, see the version".to_owned(),
        reason => format!("; reason: {reason}"),
    }
}
