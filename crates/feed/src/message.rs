//! The messages. Nouns only; what follows from them is in [`crate::replica`] and [`crate::source`].

use std::net::SocketAddr;
use std::sync::Arc;

use model::changes::{HostToken, SessionChange, Tombstone};
use model::directory::{Directory, GroupEntry, ServiceEntry, ServiceToken, UserEntry};
use model::ids::{Digest32, RevocationId, SessionId, TokenHash, UserId};
use model::seams::{Cause, CutReport, Scope};
use model::session::Session;
use model::time::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::frame::Lane;

/// How far a door has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Which history the numbers belong to; a control plane begins a new one at each start.
    pub lineage: Uuid,
    /// Version of configuration and directory.
    pub facts: u64,
    /// Number of the last event.
    pub events: u64,
}

/// A file of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceText {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// An applied configuration as it was written. A door compiles it itself, with the code that checked it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSource {
    /// Its version, 0 before the first.
    pub number: u64,
    /// The files.
    pub files: Vec<SourceText>,
    /// What operators set about decisions where the control plane runs.
    pub terms: Terms,
    /// What the policies must compile to; a door that comes to anything else refuses the version.
    pub policy_hash: Digest32,
}

/// Settings that policies are compiled with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The name of the time zone where the policies' clock hangs.
    pub time_zone: String,
    /// How old a step-up may be at most (PO-8), in seconds: sensitivity `low`, `medium`, `high`, `critical`.
    pub fresh_secs: Vec<u64>,
}

/// Configuration and directory at one version.
#[derive(Clone, Debug)]
pub struct Known {
    /// The version.
    pub version: u64,
    /// The configuration.
    pub config: Arc<ConfigSource>,
    /// People and groups.
    pub directory: Arc<Directory>,
}

/// What one version changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta {
    /// The version it leads to; the one before it is what it starts from.
    pub version: u64,
    /// The configuration, if it changed.
    pub config: Option<Arc<ConfigSource>>,
    /// The directory's own version.
    pub directory_version: u64,
    /// People who are new or changed.
    pub users: Vec<Arc<UserEntry>>,
    /// People who are gone.
    pub gone: Vec<UserId>,
    /// Every group, if one changed.
    pub groups: Option<Vec<Arc<GroupEntry>>>,
    /// Every service account with its tokens, if one changed.
    pub services: Option<Services>,
}

/// Service accounts and their tokens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Services {
    /// The accounts.
    pub accounts: Vec<Arc<ServiceEntry>>,
    /// Their tokens; of the secrets only hashes.
    pub tokens: Vec<Arc<ServiceToken>>,
}

impl Services {
    /// Those of a directory.
    pub fn of(directory: &Directory) -> Self {
        Self {
            accounts: directory.services.values().cloned().collect(),
            tokens: directory.service_tokens.values().cloned().collect(),
        }
    }

    /// Adds them to a directory.
    pub(crate) fn add_to(&self, directory: &mut Directory) {
        let accounts = self.accounts.iter().map(|account| (Arc::clone(&account.name), Arc::clone(account)));
        directory.services.extend(accounts);
        directory.service_tokens.extend(self.tokens.iter().map(|token| (token.id, Arc::clone(token))));
    }
}

/// A piece of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// The configuration; exactly one.
    Config(Arc<ConfigSource>),
    /// Ends of sessions that may not be forgotten yet.
    Dead(Vec<Tombstone>),
    /// The lowest epochs that live.
    Epochs {
        /// For everyone.
        global: u64,
        /// Per person.
        users: Vec<(UserId, u64)>,
    },
    /// Groups.
    Groups(Vec<Arc<GroupEntry>>),
    /// Service accounts and tokens.
    Services(Services),
    /// Live sessions with their cookies' hashes.
    Sessions(Vec<(Arc<Session>, Vec<HostToken>)>),
    /// People.
    Users(Vec<Arc<UserEntry>>),
}

/// Streams to judge afresh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// To be reported under this id.
    pub revocation: RevocationId,
    /// Whose streams.
    pub scope: Scope,
    /// Why.
    pub cause: Cause,
    /// The facts it is about: a door judges only once it has them. 0: at once, whatever else is under way.
    pub after: u64,
}

/// Something that happened to sessions or streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Of a session.
    Change(SessionChange),
    /// To judge.
    Order(Order),
}

/// What a gateway is told first.
#[derive(Clone, PartialEq, Eq)]
pub struct Welcome {
    /// `https://auth.corp.test`: where people sign in; also the issuer of assertions.
    pub auth_url: String,
    /// The canonical auth host.
    pub auth_host: String,
    /// The port browsers use.
    pub public_port: u16,
    /// This gateway's own key for return tickets; nobody else's tickets open under it but the auth host's reading of
    /// them.
    pub ticket_key: Zeroizing<Vec<u8>>,
}

/// Down: from the control plane to a door.
#[derive(Clone, PartialEq, Eq)]
pub enum Down {
    /// Proof that the control plane lives; a door that has all of this is current.
    Beat {
        /// The newest version.
        facts: u64,
        /// The newest event.
        events: u64,
    },
    /// A snapshot begins: what follows replaces what the door has.
    Begin {
        /// What it is a snapshot of.
        position: Position,
        /// The directory's own version.
        directory_version: u64,
    },
    /// The next version.
    Delta(Arc<Delta>),
    /// The snapshot is complete.
    End,
    /// The next event.
    Event {
        /// One more than the one before.
        seq: u64,
        /// What happened.
        event: Arc<Event>,
    },
    /// The public keys of every gateway (a JSON Web Key Set).
    Keys(Arc<str>),
    /// A piece of the snapshot.
    Part(Part),
    /// The connection is given up; in words.
    Refused(String),
    /// The answer to an [`Up::Ask`].
    Reply {
        /// Which.
        ask: u64,
        /// The answer.
        reply: Reply,
    },
    /// The first message of a subscription.
    Welcome(Welcome),
}

/// The answer to a question of a gateway.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// A certificate (PEM, leaf first) and what it is verified under.
    Certificate {
        /// The leaf.
        chain_pem: String,
        /// The authority.
        ca_pem: String,
    },
    /// What one of our own endpoints answers.
    Response(WireResponse),
    /// The cookie stands for a session that is told by this event at the latest; `None`: for nothing.
    Session(Option<u64>),
    /// Not answered; in words.
    Refused(String),
}

/// A response as it travels.
#[derive(Clone, PartialEq, Eq)]
pub struct WireResponse {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A request for one of our own endpoints on an app host, with what the gateway knows of it. Who it is from is not in
/// it: the control plane finds that out from the session.
#[derive(Clone, PartialEq, Eq)]
pub struct WireRequest {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Canonical host without port.
    pub host: String,
    /// As browsers write it.
    pub authority: String,
    /// Its header fields.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
    /// The access it is part of.
    pub access: Uuid,
    /// The decision that let it through.
    pub decision: Uuid,
    /// Trace id, 32 hex digits.
    pub trace_id: String,
    /// The session its cookie stood for.
    pub session: Option<SessionId>,
    /// Hash of the login-binding cookie.
    pub login_binding: Option<TokenHash>,
    /// The client's address.
    pub client: SocketAddr,
}

/// A question of a gateway.
#[derive(Clone, PartialEq, Eq)]
pub enum Ask {
    /// One of our own endpoints.
    Call(Box<WireRequest>),
    /// What a cookie that is not known here stands for (GW-12).
    LookUp {
        /// Its hash.
        token: TokenHash,
        /// The host it came to.
        host: String,
    },
    /// A return target too long for a link (GW-12).
    Park {
        /// The key it is found by.
        key: String,
        /// The target.
        target: String,
    },
    /// A certificate for the key of this self-signed one, which proves that the gateway holds it.
    Renew {
        /// DER.
        proof: Vec<u8>,
    },
}

/// Why a connection is made.
#[derive(Clone, PartialEq, Eq)]
pub enum Purpose {
    /// To become a gateway, with a one-time token, for the key of the certificate shown.
    Join {
        /// The token.
        token: Zeroizing<String>,
    },
    /// To be told.
    Subscribe {
        /// What the gateway has already.
        have: Option<Position>,
        /// Its public assertion keys (a JSON Web Key Set).
        keys: String,
    },
}

/// The first message of a connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// [`crate::PROTOCOL`].
    pub protocol: u16,
    /// The version of the program, for people.
    pub software: String,
    /// Why.
    pub purpose: Purpose,
}

/// How far a door has come, said in answer to what it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The version requests are judged by.
    pub facts: u64,
    /// The last event it acted on.
    pub events: u64,
}

/// Up: from a door to the control plane.
#[derive(Clone, PartialEq, Eq)]
pub enum Up {
    /// How far it has come; in answer to every beat.
    Ack(Ack),
    /// Sessions that were used.
    Active(Vec<(SessionId, Timestamp)>),
    /// A question.
    Ask {
        /// To be answered under this number.
        ask: u64,
        /// The question.
        question: Ask,
    },
    /// First.
    Hello(Hello),
    /// Its public assertion keys, after they changed.
    Keys(String),
    /// It keeps the version before this one, because of this.
    Nack {
        /// The version.
        facts: u64,
        /// In words.
        reason: String,
    },
    /// What became of an order.
    Report {
        /// Which.
        revocation: RevocationId,
        /// What it did.
        report: CutReport,
    },
}

impl Down {
    /// The lane it travels in.
    pub fn lane(&self) -> Lane {
        match self {
            // A beginning is small and says from which event on the following ones count: none may overtake it.
            Down::Beat { .. } | Down::Begin { .. } | Down::Event { .. } => Lane::Urgent,
            Down::Reply { .. } | Down::Welcome(_) | Down::Refused(_) => Lane::Talk,
            Down::Delta(_) | Down::End | Down::Keys(_) | Down::Part(_) => Lane::Bulk,
        }
    }
}

impl Up {
    /// The lane it travels in.
    pub fn lane(&self) -> Lane {
        match self {
            Up::Ack(_) | Up::Nack { .. } => Lane::Urgent,
            Up::Ask { .. } | Up::Hello(_) | Up::Keys(_) => Lane::Talk,
            // A report names every stream it cut.
            Up::Active(_) | Up::Report { .. } => Lane::Bulk,
        }
    }
}
