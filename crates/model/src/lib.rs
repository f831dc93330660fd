//! The nouns of Countersign and the seams between its rooms.
//!
//! This crate knows no other crate of the workspace and does no IO: no files, sockets, clock, randomness or
//! environment. Whatever two rooms say to each other is said in these types.
//!
//! Invariants: ids print in one form (lower-case base32 without padding); secrets have no type here; a
//! [`Decision`] is only ever produced by a [`PolicyDecisionPoint`].

#![forbid(unsafe_code)]

pub mod access;
pub mod action;
pub mod app;
pub mod changes;
pub mod decision;
pub mod directory;
pub mod facts;
pub mod ids;
pub mod policy_settings;
pub mod policy_test;
pub mod reason;
pub mod record;
pub mod remedy;
pub mod seams;
pub mod session;
pub mod time;
pub mod time_zone;

pub use action::{Action, ActionClass};
pub use app::{App, AppName, Route, RouteName, Sensitivity, Upstream};
pub use changes::{HostToken, SessionChange, SessionSnapshot, Tombstone};
pub use decision::{AccessRequest, Decision, Effect, Explanation, Fix, Principal, Remedy, ResourceRef};
pub use directory::{Directory, GroupEntry, GroupId, ServiceEntry, ServiceSecret, ServiceToken, UserEntry, UserState};
pub use facts::Facts;
pub use ids::{
    AccessId, DecisionId, InvitationId, NoticeId, RecoveryId, RevocationId, ServiceTokenId, SessionId, StreamId,
    TokenHash, UserId,
};
pub use policy_settings::{Freshness, PolicySettings};
pub use reason::Reason;
pub use remedy::RemedyList;
pub use seams::{
    BoxFuture, Clock, Ids, LiveStreams, PolicyDecisionPoint, Recorder, ReservedService, SessionControl, SessionView,
    SignalSink,
};
pub use session::{Session, SessionLookup};
pub use time::Timestamp;
pub use time_zone::TimeZone;
