//! Approval by others before a configuration goes live (PO-35). While `[policy] approvals` is above 0, an apply or a
//! rollback keeps a proposal; once as many persons as asked for have approved it, it goes live by the way of every apply
//! (`versions`), with its checks and the guard against a lock-out asked again at that moment.
//!
//! Invariants: an approval is for the digest of the files and for nothing else; whoever proposed does not approve; a
//! person counts once, and only while their account is open and could administer; nothing waits longer than
//! [`PROPOSAL_LIFE`] or beyond the version it was proposed for. The local operator is no person: they propose, and make
//! something live without approvals only by breaking the glass, which the record has before it happens.

use std::time::Duration;

use config::{Problem, SourceFile};
use model::ids::Digest32;
use model::record::RecordType;
use model::{Principal, Timestamp, UserId, UserState};
use store::{Approval, KeptProposal, Proposal};

use super::best_case::BestCase;
use super::deeds::{Deed, Object, note};
use super::plan::Plan;
use super::versions::{Applied, GoLive, MAX_REASON_BYTES, Origin, Outcome, Ready, files_of, reason_told, sources};
use super::{ControlPlane, Lockout};
use crate::actor::Actor;
use crate::failure::Failure;

/// How long a proposal waits.
pub const PROPOSAL_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// A configuration that waits for approval.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// What is kept of it.
    pub proposal: Proposal,
    /// Who approved, the earliest first.
    pub approvers: Vec<Approver>,
    /// How many approvals that count are asked for.
    pub needed: usize,
}

/// Somebody who approved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approver {
    /// Who.
    pub who: UserId,
    /// Their address, or their id once they are deleted.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// Whether it counts now: the account is open and could administer.
    pub counts: bool,
}

impl Waiting {
    /// How many approvals count.
    pub fn counted(&self) -> usize {
        self.approvers.iter().filter(|approver| approver.counts).count()
    }

    /// Whether nothing is missing any more.
    pub fn is_complete(&self) -> bool {
        self.counted() >= self.needed
    }

    /// When it is forgotten.
    pub fn expires_at(&self) -> Timestamp {
        self.proposal.proposed_at + PROPOSAL_LIFE
    }
}

impl ControlPlane {
    /// How many persons other than the author must approve what goes live.
    pub fn approvals_needed(&self) -> usize {
        usize::from(self.settings.approvals)
    }

    /// What waits for approval, the oldest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn proposals(&self) -> Result<Vec<Waiting>, Failure> {
        let live = self.configs.config_state().await?.live;
        let now = self.now();
        let kept = self.proposals.proposals().await?;
        let waits = |proposal: &Proposal| proposal.base == live && proposal.proposed_at + PROPOSAL_LIFE > now;
        Ok(kept.into_iter().filter(waits).map(|proposal| self.waiting(proposal)).collect())
    }

    /// One of them: its files, and what it would do now. A lock-out is a line of the plan.
    ///
    /// # Errors
    /// Nothing waits under this digest, or it does not fit any more.
    pub async fn proposal(&self, digest: Digest32) -> Result<(Waiting, Vec<SourceFile>, Plan, Vec<Problem>), Failure> {
        let waiting = self.find_waiting(digest).await?;
        let files = self.files_waiting(digest).await?;
        let (plan, warnings) = self.plan(&files).await?;
        Ok((waiting, files, plan, warnings))
    }

    /// Keeps a proposal. The caller holds the order of changes, and checked what it says.
    pub(super) async fn propose(
        &self,
        actor: &Actor,
        ready: Ready,
        how: GoLive<'_>,
        goes_back_to: Option<u64>,
    ) -> Result<Outcome, Failure> {
        let Ready { checked, plan, .. } = ready;
        let now = self.now();
        let author = match actor.principal {
            Principal::User(id) => Some(id),
            Principal::Anonymous | Principal::Workload(_) => None,
        };
        let proposal = Proposal {
            digest: checked.digest,
            base: plan.live,
            author,
            author_name: actor.name.clone(),
            reason: how.reason.to_owned(),
            allows_lockout: how.lockout == Lockout::Allow,
            goes_back_to,
            proposed_at: now,
            approvals: Vec::new(),
        };
        let (digest, live, needed) = (checked.digest, plan.live, self.approvals_needed());
        let what = match goes_back_to {
            Some(number) => format!("going back from version {live} to {number}"),
            None => format!("a configuration in place of version {live}"),
        };
        let lockout = if proposal.allows_lockout { ", which may lock everybody out," } else { "" };
        let text = format!("{what}{lockout} proposed, {needed} approvals asked for{}", reason_told(how.reason));
        let deeds = [Deed::new(RecordType::ConfigProposed, Object::Config, digest, text)];
        let done = note(actor, self.ids.uuid_v7(now), now, &deeds);
        let id = done.id;
        let forgotten = now - PROPOSAL_LIFE;
        match self.proposals.propose(proposal.clone(), files_of(&checked.files), forgotten, done).await? {
            KeptProposal::Yes => {}
            KeptProposal::Already => {
                let message = format!(
                    "`{digest}` waits for approval already; `countersign policy proposals` shows whose it is, \
                     `policy withdraw` takes it back"
                );
                return Err(Failure::Conflict { message });
            }
            KeptProposal::No => {
                let message = format!(
                    "{} configurations wait for approval, which is the most there can be; withdraw one",
                    store::MAX_PROPOSALS
                );
                return Err(Failure::Conflict { message });
            }
        }
        self.tell(actor, Some(id), &deeds, None).await?;
        Ok(Outcome::Waits(Box::new(self.waiting(proposal)), Some(Box::new((plan, checked.warnings)))))
    }

    /// Adds the approval of the person who asks. With the last one that was missing, the configuration goes live; when
    /// that is refused the approval stays, and approving again tries again.
    ///
    /// # Errors
    /// Nobody but another person than the author approves, and each once; nothing waits under this digest; or it was
    /// complete and does not go live.
    pub async fn approve(&self, actor: &Actor, digest: Digest32) -> Result<Outcome, Failure> {
        let Principal::User(who) = actor.principal else {
            let message = "only persons approve, each signed in as themselves: on the console, or over the API of the \
                           auth host; whoever runs the machine can break the glass instead \
                           (`policy approve DIGEST --break-glass REASON`)";
            return Err(Failure::Forbidden { message: message.to_owned() });
        };
        let _order = self.order.lock().await;
        let waiting = self.find_waiting(digest).await?;
        if waiting.proposal.author == Some(who) {
            let message = "who proposes a configuration does not approve it; somebody else has to";
            return Err(Failure::Forbidden { message: message.to_owned() });
        }
        if !self.could_administer(who) {
            let message = "only who may administer approves";
            return Err(Failure::Forbidden { message: message.to_owned() });
        }
        if !waiting.approvers.iter().any(|approver| approver.who == who) {
            self.keep_approval(actor, digest, who).await?;
        } else if !waiting.is_complete() {
            let message = format!("you approved `{digest}` already, and a person counts once");
            return Err(Failure::Conflict { message });
        }
        let waiting = self.find_waiting(digest).await?;
        if !waiting.is_complete() {
            return Ok(Outcome::Waits(Box::new(waiting), None));
        }
        let counted = waiting.approvers.iter().filter(|approver| approver.counts);
        let approvers: Vec<String> = counted.map(|approver| approver.who.to_string()).collect();
        let by = format!("approved by {}", approvers.join(", "));
        self.proposal_live(actor, &waiting.proposal, &by).await.map(|applied| Outcome::Live(Box::new(applied)))
    }

    /// Makes a proposal live without the approvals that are missing: for whoever runs the machine, when nobody is there
    /// who could approve. The record has it before anything happens.
    ///
    /// # Errors
    /// Somebody else asks, without a reason, or it does not go live.
    pub async fn break_glass(&self, actor: &Actor, digest: Digest32, reason: &str) -> Result<Outcome, Failure> {
        if actor.principal != Actor::local_operator(actor.access_id).principal {
            let message = "only the local operator breaks the glass, over the control socket";
            return Err(Failure::Forbidden { message: message.to_owned() });
        }
        if reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES {
            let message = format!("say why there is no time for approvals, in at most {MAX_REASON_BYTES} bytes");
            return Err(Failure::invalid("break_glass", message));
        }
        let _order = self.order.lock().await;
        let waiting = self.find_waiting(digest).await?;
        let (counted, needed) = (waiting.counted(), waiting.needed);
        let by = format!("without approval, {counted} of {needed}, by breaking the glass");
        let text = format!("to go live {by}{}", reason_told(reason));
        let deed = Deed::new(RecordType::ConfigBreakGlass, Object::Config, digest, text);
        self.tell(actor, None, &[deed], None).await.map_err(|failure| match failure {
            Failure::DoneUnrecorded(error) => Failure::unavailable(error),
            other => other,
        })?;
        self.proposal_live(actor, &waiting.proposal, &by).await.map(|applied| Outcome::Live(Box::new(applied)))
    }

    /// Takes a proposal back, or refuses it for good: whoever may propose may.
    ///
    /// # Errors
    /// Nothing waits under this digest.
    pub async fn withdraw_proposal(&self, actor: &Actor, digest: Digest32) -> Result<(), Failure> {
        let _order = self.order.lock().await;
        self.find_waiting(digest).await?;
        let now = self.now();
        let deeds = [Deed::new(RecordType::ConfigWithdrawn, Object::Config, digest, "proposal withdrawn")];
        let done = note(actor, self.ids.uuid_v7(now), now, &deeds);
        let id = done.id;
        if !self.proposals.withdraw(digest, done).await? {
            return Err(nothing_waits(digest));
        }
        self.tell(actor, Some(id), &deeds, None).await
    }

    async fn keep_approval(&self, actor: &Actor, digest: Digest32, who: UserId) -> Result<(), Failure> {
        let now = self.now();
        let deeds = [Deed::new(RecordType::ConfigApproved, Object::Config, digest, "proposal approved")];
        let done = note(actor, self.ids.uuid_v7(now), now, &deeds);
        let id = done.id;
        match self.proposals.approve(digest, Approval { who, at: now }, done).await? {
            KeptProposal::Yes => self.tell(actor, Some(id), &deeds, None).await,
            KeptProposal::Already => Err(Failure::Conflict { message: format!("you approved `{digest}` already") }),
            KeptProposal::No => Err(nothing_waits(digest)),
        }
    }

    /// By the way of every apply; the caller holds the order of changes.
    async fn proposal_live(&self, actor: &Actor, proposal: &Proposal, by: &str) -> Result<Applied, Failure> {
        let Proposal { digest, reason, allows_lockout, goes_back_to, .. } = proposal;
        let files = self.files_waiting(*digest).await?;
        let lockout = if *allows_lockout { Lockout::Allow } else { Lockout::Refuse };
        let how = GoLive { reason, lockout };
        let ready = self.ready(actor, &files, how).await?;
        if ready.checked.digest != *digest {
            let message = format!(
                "the files of `{digest}` are read otherwise by this version of the program; withdraw it and propose \
                 it again"
            );
            return Err(Failure::Conflict { message });
        }
        let author = proposal.author.map_or_else(|| proposal.author_name.clone(), |id| id.to_string());
        let origin = Origin { author: &proposal.author_name, told: format!("; proposed by {author}, {by}") };
        match goes_back_to {
            Some(number) => self.go_back(actor, *number, ready, how, origin).await,
            None => self.go_forward(actor, ready, how, origin).await,
        }
    }

    async fn find_waiting(&self, digest: Digest32) -> Result<Waiting, Failure> {
        let found = self.proposals().await?.into_iter().find(|waiting| waiting.proposal.digest == digest);
        found.ok_or_else(|| nothing_waits(digest))
    }

    async fn files_waiting(&self, digest: Digest32) -> Result<Vec<SourceFile>, Failure> {
        Ok(sources(self.proposals.proposed_files(digest).await?.ok_or_else(|| nothing_waits(digest))?))
    }

    /// Whether the account is open and could administer, with the policies of now and the best facts it could bring.
    fn could_administer(&self, who: UserId) -> bool {
        let published = self.published();
        let is_open = published.directory.users.get(&who).is_some_and(|user| user.state == UserState::Active);
        let best = || BestCase::of(&published.policies, self.now());
        is_open && best().administers(published.pdp.as_ref(), &Principal::User(who))
    }

    /// With what is known of those who approved as of now.
    fn waiting(&self, proposal: Proposal) -> Waiting {
        let published = self.published();
        let approver = |approval: &Approval| {
            let user = published.directory.users.get(&approval.who);
            Approver {
                who: approval.who,
                name: user.map_or_else(|| approval.who.to_string(), |user| user.email.clone()),
                at: approval.at,
                counts: proposal.author != Some(approval.who) && self.could_administer(approval.who),
            }
        };
        let approvers = proposal.approvals.iter().map(approver).collect();
        Waiting { approvers, needed: self.approvals_needed(), proposal }
    }
}

fn nothing_waits(digest: Digest32) -> Failure {
    Failure::NotFound {
        message: format!(
            "nothing waits for approval as `{digest}`; proposals end after a week, and with the version they were \
             made for; `countersign policy proposals` shows all"
        ),
    }
}
