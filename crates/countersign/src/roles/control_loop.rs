//! The loop around the policy administrator: one task owns the state machine; commands go in over a bounded channel;
//! changes are kept, then applied to the doors' table, then streams are judged and receipts signed, in that order.
//!
//! The loop decides nothing. It never waits for a door: doors are told over the hub, and what a door did comes back as
//! news.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use feed::{Event, Order};
use model::changes::SessionChange;
use model::record::{AuditRecord, RecordType, SubjectKind};
use model::seams::{Cause, ControlError, CutReport, Durability, Revocation, Scope};
use model::session::{Proof, StepUp};
use model::{
    AccessId, BoxFuture, Clock, Ids, Recorder, RevocationId, Session, SessionControl, SessionId, Timestamp, TokenHash,
    UserId,
};
use pdp_administrator::{Administrator, Input, Output, Refusal, SessionTable, changes};
use pki::KeyRing;
use pki::jose::receipt;
use store::SessionStore;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::hub::{Hub, News, Subscriber};

/// How many commands may wait; a caller beyond that waits with them.
const QUEUE: usize = 1_024;
/// How often time passes for the machine.
const TICK: Duration = Duration::from_secs(1);
/// How often the doors are told that the loop lives (GW-47). From the loop itself: one that hangs says nothing.
const HEARTBEAT: Duration = Duration::from_millis(250);

type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

enum Command {
    Do { input: Box<Input>, reply: Reply<()> },
    Open { session: Box<Session>, reply: Reply<()> },
    Stop(oneshot::Sender<()>),
    Withdraw { withdrawal: Withdrawal, reply: Reply<Revocation> },
}

enum Withdrawal {
    Facts(Scope, Cause),
    Session(SessionId, Cause),
    User(UserId, u64, Cause),
}

/// What the loop is put together from.
pub struct ControlLoopParts {
    /// The machine as restored.
    pub administrator: Administrator,
    /// What it said on being restored; handled first.
    pub restored: Vec<Output>,
    /// The doors' table, loaded.
    pub table: Arc<SessionTable>,
    /// Where changes are kept.
    pub store: Arc<dyn SessionStore>,
    /// The doors.
    pub hub: Arc<Hub>,
    /// What they say.
    pub news: mpsc::Receiver<News>,
    /// Where receipts are recorded.
    pub recorder: Arc<dyn Recorder>,
    /// Signs receipts and nothing else.
    pub receipt_keys: Arc<ArcSwap<KeyRing>>,
    /// Issuer of receipts.
    pub issuer: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn Ids>,
}

/// The handle other rooms hold.
pub struct Controller {
    commands: mpsc::Sender<Command>,
    hub: Arc<Hub>,
    table: Arc<SessionTable>,
    clock: Arc<dyn Clock>,
}

/// Starts the loop.
pub fn start(parts: ControlLoopParts) -> (Arc<Controller>, JoinHandle<()>) {
    let (commands, inbox) = mpsc::channel(QUEUE);
    let (table, clock) = (Arc::clone(&parts.table), Arc::clone(&parts.clock));
    let controller = Arc::new(Controller { commands, hub: Arc::clone(&parts.hub), table, clock });
    let task = tokio::spawn(ControlLoop { parts, waiting: HashMap::new(), unkept: Vec::new() }.run(inbox));
    (controller, task)
}

impl Controller {
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| ControlError::Stopping)?;
        answer.await.map_err(|_| ControlError::Stopping)?
    }

    /// Keeps what is pending and ends the loop.
    pub async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Stop(done)).await.is_ok() {
            ended.await.ok();
        }
    }

    async fn input(&self, input: Input) -> Result<(), ControlError> {
        self.ask(|reply| Command::Do { input: Box::new(input), reply }).await
    }

    async fn withdraw(&self, withdrawal: Withdrawal) -> Result<Revocation, ControlError> {
        self.ask(|reply| Command::Withdraw { withdrawal, reply }).await
    }
}

impl SessionControl for Controller {
    fn open(&self, session: Session) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(self.ask(|reply| Command::Open { session: Box::new(session), reply }))
    }

    fn bind_host(&self, session: SessionId, host: String, token: TokenHash) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(async move {
            self.input(Input::HandedOff { session, host, token }).await?;
            // The browser comes next, to whichever gateway it likes (GW-12).
            self.hub.settle().await;
            Ok(())
        })
    }

    fn step_up(
        &self,
        session: SessionId,
        step_up: StepUp,
        proof: Option<Proof>,
    ) -> BoxFuture<'_, Result<(), ControlError>> {
        Box::pin(self.input(Input::SteppedUp { session, step_up, proof }))
    }

    fn end(&self, session: SessionId, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        Box::pin(self.withdraw(Withdrawal::Session(session, cause)))
    }

    fn end_all(&self, user: UserId, epoch: u64, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        Box::pin(self.withdraw(Withdrawal::User(user, epoch, cause)))
    }

    fn reevaluate(&self, scope: Scope, cause: Cause) -> BoxFuture<'_, Result<Revocation, ControlError>> {
        Box::pin(self.withdraw(Withdrawal::Facts(scope, cause)))
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        let mut sessions = self.table.sessions(self.clock.now());
        sessions.sort_by(|a, b| b.created.cmp(&a.created).then(a.id.cmp(&b.id)));
        sessions
    }
}

/// A withdrawal whose doors have not all answered.
struct Waiting {
    revocation: Revocation,
    reply: Option<Reply<Revocation>>,
}

struct ControlLoop {
    parts: ControlLoopParts,
    waiting: HashMap<RevocationId, Waiting>,
    /// Ends of sessions that the doors know but the store could not keep yet; they go in front of every batch until it
    /// does, or a restart would revive them.
    unkept: Vec<SessionChange>,
}

impl ControlLoop {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let (local, remote) = self.parts.hub.names();
        for door in local.into_iter().chain(remote.iter().cloned()) {
            self.feed(Input::DoorJoined(door));
        }
        let fails_closed_at = self.parts.hub.fails_closed_after(self.parts.clock.now());
        for door in remote {
            self.feed(Input::DoorAway { door, fails_closed_at });
        }
        let restored = std::mem::take(&mut self.parts.restored);
        self.carry_out(restored).await.ok();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut beats = tokio::time::interval(HEARTBEAT);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = beats.tick() => self.parts.hub.beat(),
                Some(news) = self.parts.news.recv() => self.hear(news).await,
                command = inbox.recv() => match command {
                    Some(Command::Stop(done)) => {
                        self.pass_time().await;
                        done.send(()).ok();
                        return;
                    }
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                _ = ticks.tick() => self.pass_time().await,
            }
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Do { input, reply } => {
                reply.send(self.perform(*input).await).ok();
            }
            Command::Open { mut session, reply } => {
                session.epochs.global = self.parts.administrator.global_epoch();
                reply.send(self.perform(Input::SignedIn(*session)).await).ok();
            }
            Command::Withdraw { withdrawal, reply } => self.withdraw(withdrawal, reply).await,
            Command::Stop(done) => {
                done.send(()).ok();
            }
        }
    }

    async fn hear(&mut self, news: News) {
        let input = match news {
            News::Active(batch) => Input::Active(batch),
            News::Away { door, fails_closed_at } => {
                tracing::warn!(gateway = door, %fails_closed_at, "a gateway is out of reach");
                Input::DoorAway { door, fails_closed_at }
            }
            News::Left(door) => Input::DoorLeft(door),
            News::Report { revocation, door, report } => Input::Acked { revocation, door, report },
            News::Subscribe(subscriber) => return self.subscribe(subscriber),
        };
        let outputs = self.feed(input);
        self.carry_out(outputs).await.ok();
    }

    /// From here nothing happens between what the gateway is told first and what it is told from then on.
    fn subscribe(&mut self, subscriber: Subscriber) {
        let (name, administrator) = (subscriber.name.clone(), &self.parts.administrator);
        if self.parts.hub.subscribe(subscriber, || administrator.snapshot()) {
            tracing::info!(gateway = name, "a gateway is connected");
            self.feed(Input::DoorJoined(name));
        }
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.parts.administrator.handle(input, self.parts.clock.now())
    }

    async fn perform(&mut self, input: Input) -> Result<(), ControlError> {
        let outputs = self.feed(input);
        let refusal = outputs.iter().find_map(|output| match output {
            Output::Refused(refusal) => Some(*refusal),
            _ => None,
        });
        self.carry_out(outputs).await?;
        match refusal {
            None => Ok(()),
            Some(Refusal::NoSession(id) | Refusal::Withdrawn(id) | Refusal::Expired(id)) => {
                Err(ControlError::NoSession(id))
            }
            Some(other) => Err(ControlError::Refused(other.to_string())),
        }
    }

    async fn withdraw(&mut self, withdrawal: Withdrawal, reply: Reply<Revocation>) {
        let now = self.parts.clock.now();
        let revocation = RevocationId(self.parts.ids.uuid_v7(now));
        let (input, cause) = match withdrawal {
            Withdrawal::Facts(scope, cause) => (Input::FactsChanged { revocation, scope, cause }, cause),
            Withdrawal::User(user, epoch, cause) => (Input::UserEnded { revocation, user, epoch, cause }, cause),
            Withdrawal::Session(session, cause) => {
                if self.parts.administrator.session(session).is_none() {
                    reply.send(Err(ControlError::NoSession(session))).ok();
                    return;
                }
                (Input::SessionEnded { revocation, session, cause }, cause)
            }
        };
        let outputs = self.feed(input);
        let sessions = self.parts.administrator.withdrawal(revocation).map(|order| order.sessions.clone());
        self.waiting.insert(
            revocation,
            Waiting {
                revocation: Revocation {
                    id: revocation,
                    cause,
                    accepted: now,
                    sessions: sessions.unwrap_or_default(),
                    reports: Vec::new(),
                    unreachable: Vec::new(),
                    receipts: Vec::new(),
                },
                reply: Some(reply),
            },
        );
        if let Err(error) = self.carry_out(outputs).await {
            // The doors already act on it; only the store does not know yet.
            self.answer(revocation, Err(error));
        } else {
            // Doors that are away are listed already, and without any other there is nobody to wait for.
            self.finish_if_heard(revocation);
        }
    }

    async fn pass_time(&mut self) {
        let batch = self.parts.table.drain_activity(self.parts.clock.now());
        if !batch.is_empty() {
            let outputs = self.feed(Input::Active(batch));
            self.carry_out(outputs).await.ok();
        }
        let outputs = self.feed(Input::Tick);
        self.carry_out(outputs).await.ok();
    }

    /// Keeps, applies, orders and signs, in this order. On a store error access that ends still ends.
    async fn carry_out(&mut self, outputs: Vec<Output>) -> Result<(), ControlError> {
        let all = changes(&outputs);
        let kept = self.keep_changes(&all).await;
        for change in &all {
            if kept.is_ok() || !matches!(change, SessionChange::Upsert { .. }) {
                self.parts.hub.event(Event::Change(change.clone()));
            }
            if let SessionChange::Tombstone(tombstone) = change
                && tombstone.cause == Cause::Expired
            {
                self.record_expired(tombstone.session, tombstone.user);
            }
        }
        for output in outputs {
            match output {
                Output::Reevaluate { revocation, scope, cause } => self.order(revocation, scope, cause),
                Output::Receipt(receipt) => self.sign(receipt),
                Output::Stale(stale) => {
                    tracing::error!(
                        revocation = %stale.revocation,
                        door = %stale.door,
                        fails_closed_at = %stale.fails_closed_at,
                        "a door did not acknowledge a cut in time"
                    );
                    if let Some(waiting) = self.waiting.get_mut(&stale.revocation) {
                        waiting.revocation.unreachable.push((stale.door, stale.fails_closed_at));
                    }
                    self.finish_if_heard(stale.revocation);
                }
                Output::Refused(refusal) => tracing::debug!(%refusal, "the administrator refused an input"),
                Output::Change(_) => {}
            }
        }
        kept
    }

    /// Makes changes durable, together with ends that an earlier failure left behind.
    async fn keep_changes(&mut self, all: &[SessionChange]) -> Result<(), ControlError> {
        let batch: Vec<SessionChange> = self.unkept.iter().chain(all).cloned().collect();
        if batch.is_empty() {
            return Ok(());
        }
        match self.parts.store.keep_sessions(batch).await {
            Ok(()) => {
                self.unkept.clear();
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "session changes could not be kept; ends of sessions are tried again");
                let is_end = |change: &&SessionChange| !matches!(change, SessionChange::Upsert { .. });
                self.unkept.extend(all.iter().filter(is_end).cloned());
                Err(ControlError::Store(error.to_string()))
            }
        }
    }

    /// Tells every door; what it did comes back as news. Facts that changed reach a door by another lane and are waited
    /// for there; the end of a session waits for nothing.
    fn order(&self, revocation: RevocationId, scope: Scope, cause: Cause) {
        let after = match cause {
            Cause::ConfigApplied | Cause::FactsChanged => self.parts.hub.version(),
            Cause::Expired | Cause::SessionRevoked | Cause::SignedOut | Cause::UserDisabled => 0,
        };
        self.parts.hub.event(Event::Order(Order { revocation, scope, cause, after }));
    }

    /// Signs what a door did, sends it to the record, and answers who waits once all doors are heard.
    fn sign(&mut self, receipt: pdp_administrator::Receipt) {
        let now = self.parts.clock.now();
        let claims = receipt::ReceiptClaims::new(
            &self.parts.issuer,
            &receipt.door,
            receipt.revocation,
            receipt.cause,
            &receipt.report,
            now,
        );
        let signed = self.parts.receipt_keys.load().sign(receipt::TYP, &claims, now);
        let token = match signed {
            Ok(token) => token,
            Err(error) => {
                tracing::error!(%error, "a receipt could not be signed");
                String::new()
            }
        };
        self.record_receipt(&receipt, &token, now);
        if let Some(waiting) = self.waiting.get_mut(&receipt.revocation) {
            waiting.revocation.reports.push((receipt.door, receipt.report));
            waiting.revocation.receipts.push(token);
            self.finish_if_heard(receipt.revocation);
        }
    }

    /// Answers who waits once no door owes an acknowledgement any more; doors that are stale have no report.
    fn finish_if_heard(&mut self, id: RevocationId) {
        if self.parts.administrator.withdrawal(id).is_none_or(|order| order.awaiting.is_empty()) {
            self.finish(id);
        }
    }

    fn finish(&mut self, id: RevocationId) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let Waiting { revocation, reply } = waiting;
            if let Some(reply) = reply {
                reply.send(Ok(revocation)).ok();
            }
        }
    }

    fn answer(&mut self, id: RevocationId, answer: Result<Revocation, ControlError>) {
        if let Some(Waiting { reply: Some(reply), .. }) = self.waiting.remove(&id) {
            reply.send(answer).ok();
        }
    }

    fn record_receipt(&self, receipt: &pdp_administrator::Receipt, token: &str, now: Timestamp) {
        // A sweep that found nothing to cut and ended no session is no event.
        let CutReport { streams, unproven, examined, .. } = &receipt.report;
        if streams.is_empty() && unproven.is_empty() && receipt.sessions.is_empty() {
            return;
        }
        let mut record = self.system_record(RecordType::RevocationReceipt, now);
        record.change.object_kind = Some("revocation");
        record.change.object_id = Some(Arc::from(receipt.revocation.to_string()));
        record.change.revocation = Some(receipt.revocation);
        record.change.receipt = Some(Arc::from(token));
        record.change.change = Some(Arc::from(format!(
            "{}: {} sessions ended, {} of {examined} streams cut at {}, {} not confirmed dead",
            receipt.cause.as_str(),
            receipt.sessions.len(),
            streams.len(),
            receipt.door,
            unproven.len(),
        )));
        self.keep(record);
    }

    fn record_expired(&self, session: SessionId, user: Option<UserId>) {
        let mut record = self.system_record(RecordType::SessionExpired, self.parts.clock.now());
        record.change.object_kind = Some("session");
        record.change.object_id = Some(Arc::from(session.to_string()));
        record.change.object_subject = user;
        record.change.change = Some(Arc::from("idle or absolute time is over"));
        self.keep(record);
    }

    fn system_record(&self, kind: RecordType, now: Timestamp) -> AuditRecord {
        let mut record = AuditRecord::new(kind, AccessId(self.parts.ids.uuid_v7(now)), now, "system");
        record.who.subject_kind = Some(SubjectKind::Service);
        record.who.subject = Some(Arc::from("countersign"));
        record
    }

    /// The cut has happened whatever becomes of its record; a failure is an alarm, not a reason to wait.
    fn keep(&self, record: AuditRecord) {
        let appended = self.parts.recorder.append(record, Durability::Standard);
        tokio::spawn(async move {
            if let Err(error) = appended.await {
                tracing::error!(%error, "a record of the administrator could not be kept");
            }
        });
    }
}
