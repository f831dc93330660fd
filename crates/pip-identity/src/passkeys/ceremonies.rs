//! Ceremonies that wait for the browser's answer (ID-16): in memory, never sent out, found by the hash of
//! their challenge, taken out by the first answer that may use them.
//!
//! Invariants: at most [`CEREMONY_LIFETIME`] old; taken once; bounded, and strangers (sign-ins) cannot push out people
//! who are signed in or hold a link.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{SessionId, Timestamp, TokenHash, UserId};
use webauthn_rs_core::proto::{AuthenticationState, RegistrationState};

use super::refusal::PasskeyRefusal;
use crate::store::UserRow;

/// How long the browser may take.
pub const CEREMONY_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The most sign-ins that wait at once; the oldest give way.
pub const MAX_SIGN_INS: usize = 16_384;
/// The most other ceremonies that wait at once.
pub const MAX_BOUND: usize = 4_096;
/// The most ceremonies of one session, link or login that wait at once: tabs. The oldest give way.
pub const MAX_PER_BINDING: usize = 64;

/// What a ceremony belongs to. Its answer must come from there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Binding {
    /// The hash of a browser's login-binding cookie.
    Login(TokenHash),
    /// The hash of a link's secret.
    Link(TokenHash),
    /// One page of a session: a step-up is answered where it was asked (GW-17).
    Page(SessionId, TokenHash),
    /// A session.
    Session(SessionId),
}

impl Binding {
    /// Whose ceremonies are counted together: the pages of a session are one owner.
    fn owner(self) -> Self {
        match self {
            Binding::Page(session, _) => Binding::Session(session),
            other => other,
        }
    }
}

/// A question that waits for its answer.
pub(super) enum Question {
    /// Enrolment through a link; the row is the account as it will be.
    Enrol { state: Box<RegistrationState>, account: Box<UserRow> },
    /// Another passkey for somebody signed in.
    Register { state: Box<RegistrationState>, user: UserId },
    /// A security key for somebody signed in.
    RegisterKey { state: Box<RegistrationState>, user: UserId },
    /// A security key beside the password of this person, who may be nobody.
    SecondFactor { state: Box<AuthenticationState>, user: UserId },
    /// Anybody's sign-in.
    SignIn { state: Box<AuthenticationState> },
    /// A step-up of this person.
    StepUp { state: Box<AuthenticationState>, user: UserId },
}

impl Question {
    fn kind(&self) -> Kind {
        match self {
            Question::Enrol { .. } => Kind::Enrol,
            Question::Register { .. } => Kind::Register,
            Question::RegisterKey { .. } => Kind::RegisterKey,
            Question::SecondFactor { .. } => Kind::SecondFactor,
            Question::SignIn { .. } => Kind::SignIn,
            Question::StepUp { .. } => Kind::StepUp,
        }
    }
}

/// Which question an answer claims to be for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Enrol,
    Register,
    RegisterKey,
    SecondFactor,
    SignIn,
    StepUp,
}

/// Every ceremony that waits.
#[derive(Default)]
pub(super) struct Ceremonies {
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    sign_ins: Pool,
    bound: Pool,
}

#[derive(Default)]
struct Pool {
    by_challenge: HashMap<TokenHash, Waiting>,
    /// Oldest first. All live equally long, so this is also the order of expiry.
    order: VecDeque<(TokenHash, Binding)>,
}

struct Waiting {
    binding: Binding,
    expires: Timestamp,
    question: Question,
}

impl Ceremonies {
    /// Keeps a question until its answer comes.
    pub(super) fn put(&self, challenge: &[u8], binding: Binding, question: Question, now: Timestamp) {
        let mut pools = self.pools();
        let (pool, limit) = match binding {
            Binding::Login(_) => (&mut pools.sign_ins, MAX_SIGN_INS),
            Binding::Link(_) | Binding::Page(..) | Binding::Session(_) => (&mut pools.bound, MAX_BOUND),
        };
        pool.make_room(binding, limit, now);
        let key = TokenHash::of(challenge);
        pool.order.push_back((key, binding));
        pool.by_challenge.insert(key, Waiting { binding, expires: now + CEREMONY_LIFETIME, question });
    }

    /// Takes the question that `challenge` asked. An answer from elsewhere, or to another kind of question, is refused
    /// without using it up, so that knowing a challenge is not enough to spoil somebody's ceremony.
    pub(super) fn take(
        &self,
        challenge: &[u8],
        kind: Kind,
        binding: Binding,
        now: Timestamp,
    ) -> Result<Question, PasskeyRefusal> {
        let mut pools = self.pools();
        let pool = match binding {
            Binding::Login(_) => &mut pools.sign_ins,
            Binding::Link(_) | Binding::Page(..) | Binding::Session(_) => &mut pools.bound,
        };
        let key = TokenHash::of(challenge);
        let waiting = pool.by_challenge.get(&key).ok_or(PasskeyRefusal::CeremonyUnknown)?;
        if waiting.binding != binding {
            return Err(PasskeyRefusal::CeremonyOfAnother);
        }
        if waiting.question.kind() != kind {
            return Err(PasskeyRefusal::WrongType);
        }
        let is_expired = now >= waiting.expires;
        let waiting = pool.remove(&key).ok_or(PasskeyRefusal::CeremonyUnknown)?;
        if is_expired { Err(PasskeyRefusal::CeremonyExpired) } else { Ok(waiting.question) }
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn remove(&mut self, key: &TokenHash) -> Option<Waiting> {
        // Its entry in `order` stays until it reaches the front: cheaper than a search, and bounded all the same.
        self.by_challenge.remove(key)
    }

    fn make_room(&mut self, binding: Binding, limit: usize, now: Timestamp) {
        while let Some((oldest, _)) = self.order.front().copied() {
            let waits = self.by_challenge.get(&oldest).is_some_and(|waiting| now < waiting.expires);
            if waits && self.order.len() < limit {
                break;
            }
            self.order.pop_front();
            self.by_challenge.remove(&oldest);
        }
        let mine: Vec<TokenHash> = self
            .order
            .iter()
            .filter(|(key, owner)| owner.owner() == binding.owner() && self.by_challenge.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        if mine.len() >= MAX_PER_BINDING {
            let surplus = mine.len() + 1 - MAX_PER_BINDING;
            for key in mine.iter().take(surplus) {
                self.by_challenge.remove(key);
            }
        }
    }
}
