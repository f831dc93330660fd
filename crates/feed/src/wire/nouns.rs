//! The wire forms of the model's nouns.

use model::action::Action;
use model::app::AppName;
use model::changes::{HostToken, SessionChange, Tombstone};
use model::decision::{Principal, Remedy};
use model::directory::{GroupEntry, GroupId, ServiceEntry, ServiceSecret, ServiceToken, UserEntry, UserState};
use model::ids::{AccessId, Digest32, RevocationId, ServiceTokenId, SessionId, StreamId, TokenHash, UserId};
use model::seams::{Cause, CutReport, CutStream, Scope};
use model::session::{Epochs, Session, StepUp};

use super::{Reader, Wire, WireError, fields, words};

/// The longest name of an app.
const MAX_NAME_BYTES: usize = 63;
/// How the doors call the protocols of streams.
const PROTOCOLS: [&str; 5] = ["http1", "h2", "sse", "websocket", "tcp"];

macro_rules! wrapped {
    ($($name:ident),*) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
                Wire::take(from).map(Self)
            }
        }
    )*};
}

wrapped!(AccessId, Digest32, RevocationId, ServiceTokenId, SessionId, StreamId, TokenHash, UserId);

words!(
    Cause,
    "a cause",
    [
        Cause::ConfigApplied,
        Cause::Expired,
        Cause::FactsChanged,
        Cause::SessionRevoked,
        Cause::SignedOut,
        Cause::UserDisabled,
    ]
);
words!(UserState, "a person's state", [UserState::Active, UserState::Disabled, UserState::Invited]);

fields!(Epochs { global, user, session, device });
fields!(StepUp { app, action, at, fix });
fields!(HostToken { token, session, host, valid_until });
fields!(Tombstone { session, user, cause, until });
fields!(GroupEntry { id, title, parents });
fields!(ServiceEntry { name, title, owner, is_enabled, direct_groups, groups, created_at });
fields!(ServiceSecret { hash, created_at, expires_at });
fields!(ServiceToken { id, service, apps, created_at, secrets });
fields!(UserEntry {
    id,
    name,
    email,
    is_email_verified,
    state,
    direct_groups,
    groups,
    is_external,
    created_at,
    epoch,
    tags,
});
fields!(Session {
    id,
    user,
    idp,
    acr,
    amr,
    is_mfa,
    is_phishing_resistant,
    is_passkey_synced,
    credential,
    auth_time,
    created,
    last_active,
    idle_limit,
    absolute_limit,
    epochs,
    step_ups,
    rounds,
    src_net,
    user_agent,
});
fields!(CutReport { examined, streams, unproven, received, last_cut });

impl Wire for AppName {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().to_owned().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let name = String::take(from)?;
        let is_name = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if is_name { Ok(AppName::new(&name)) } else { Err(WireError::Value("the name of an app")) }
    }
}

impl Wire for GroupId {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().to_owned().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        String::take(from).map(|id| GroupId::new(&id))
    }
}

impl Wire for Action {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_str().to_owned().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        String::take(from)?.parse().map_err(|_| WireError::Value("an action"))
    }
}

impl Wire for Remedy {
    fn put(&self, out: &mut Vec<u8>) {
        self.token().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        String::take(from)?.parse().map_err(|_| WireError::Value("a remedy"))
    }
}

impl Wire for Principal {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Principal::Anonymous => out.push(0),
            Principal::User(id) => {
                out.push(1);
                id.put(out);
            }
            Principal::Workload(name) => {
                out.push(2);
                name.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Ok(Principal::Anonymous),
            1 => Wire::take(from).map(Principal::User),
            2 => Wire::take(from).map(Principal::Workload),
            _ => Err(WireError::Value("a principal")),
        }
    }
}

impl Wire for Scope {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Scope::Apps(apps) => {
                out.push(0);
                apps.put(out);
            }
            Scope::Everything => out.push(1),
            Scope::Group(group) => {
                out.push(2);
                group.put(out);
            }
            Scope::Session(session) => {
                out.push(3);
                session.put(out);
            }
            Scope::User(user) => {
                out.push(4);
                user.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Wire::take(from).map(Scope::Apps),
            1 => Ok(Scope::Everything),
            2 => Wire::take(from).map(Scope::Group),
            3 => Wire::take(from).map(Scope::Session),
            4 => Wire::take(from).map(Scope::User),
            _ => Err(WireError::Value("a scope")),
        }
    }
}

impl Wire for SessionChange {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            SessionChange::Forget(session) => {
                out.push(0);
                session.put(out);
            }
            SessionChange::GlobalEpoch(epoch) => {
                out.push(1);
                epoch.put(out);
            }
            SessionChange::Tombstone(tombstone) => {
                out.push(2);
                tombstone.put(out);
            }
            SessionChange::Upsert { session, tokens } => {
                out.push(3);
                session.put(out);
                tokens.put(out);
            }
            SessionChange::UserEpoch { user, epoch } => {
                out.push(4);
                user.put(out);
                epoch.put(out);
            }
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match u8::take(from)? {
            0 => Wire::take(from).map(SessionChange::Forget),
            1 => Wire::take(from).map(SessionChange::GlobalEpoch),
            2 => Wire::take(from).map(SessionChange::Tombstone),
            3 => Ok(SessionChange::Upsert { session: Wire::take(from)?, tokens: Wire::take(from)? }),
            4 => Ok(SessionChange::UserEpoch { user: Wire::take(from)?, epoch: Wire::take(from)? }),
            _ => Err(WireError::Value("a change of a session")),
        }
    }
}

impl Wire for CutStream {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { stream, access, protocol, app, principal, opened, cut, bytes_in, bytes_out } = self;
        stream.put(out);
        access.put(out);
        (*protocol).to_owned().put(out);
        app.put(out);
        principal.put(out);
        opened.put(out);
        cut.put(out);
        bytes_in.put(out);
        bytes_out.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (stream, access) = (Wire::take(from)?, Wire::take(from)?);
        let protocol = String::take(from)?;
        let protocol = PROTOCOLS.into_iter().find(|known| *known == protocol);
        Ok(Self {
            stream,
            access,
            protocol: protocol.ok_or(WireError::Value("a protocol"))?,
            app: Wire::take(from)?,
            principal: Wire::take(from)?,
            opened: Wire::take(from)?,
            cut: Wire::take(from)?,
            bytes_in: Wire::take(from)?,
            bytes_out: Wire::take(from)?,
        })
    }
}
