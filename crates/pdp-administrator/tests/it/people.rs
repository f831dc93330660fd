//! Sessions and times for tests.

use std::collections::BTreeSet;

use model::ids::{SessionId, TokenHash, UserId};
use model::session::{ABSOLUTE_DEFAULT, Epochs, IDLE_DEFAULT, Session};
use model::time::Timestamp;
use uuid::Uuid;

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(1_800_000_000 + secs)
}

pub(crate) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(0xa000 + number))
}

pub(crate) fn session_id(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(0x5000 + number))
}

pub(crate) fn token(number: u8) -> TokenHash {
    TokenHash([number; 32])
}

/// A session of `user(owner)` that began at `created` under user epoch `epoch`.
pub(crate) fn session(number: u128, owner: u128, epoch: u64, created: Timestamp) -> Session {
    Session {
        id: session_id(number),
        user: user(owner),
        idp: "local".into(),
        acr: "phr".into(),
        amr: BTreeSet::new(),
        is_mfa: true,
        is_phishing_resistant: true,
        is_passkey_synced: false,
        credential: String::new(),
        auth_time: created,
        created,
        last_active: created,
        idle_limit: IDLE_DEFAULT,
        absolute_limit: ABSOLUTE_DEFAULT,
        epochs: Epochs { user: epoch, ..Epochs::default() },
        step_ups: Vec::new(),
        rounds: Vec::new(),
        src_net: "192.0.2.0/24".into(),
        user_agent: String::new(),
    }
}
