//! Things to send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use feed::{ConfigSource, SourceText, Terms};
use model::action::Action;
use model::app::AppName;
use model::changes::{HostToken, SessionChange, Tombstone};
use model::decision::{Principal, Remedy};
use model::directory::{
    Directory, GroupEntry, GroupId, ServiceEntry, ServiceSecret, ServiceToken, UserEntry, UserState,
};
use model::ids::{AccessId, Digest32, RevocationId, ServiceTokenId, SessionId, StreamId, TokenHash, UserId};
use model::seams::{Cause, CutReport, CutStream};
use model::session::{ABSOLUTE_DEFAULT, Epochs, IDLE_DEFAULT, Session, StepUp};
use model::time::Timestamp;
use uuid::Uuid;

pub(crate) fn uuid(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

pub(crate) fn session_id(number: u64) -> SessionId {
    SessionId(uuid(number))
}

pub(crate) fn session(number: u64, last_active: i64) -> Arc<Session> {
    Arc::new(Session {
        id: session_id(number),
        user: UserId(uuid(number % 3)),
        idp: "local".into(),
        acr: "phr".into(),
        amr: BTreeSet::from(["hwk".to_owned(), "user".to_owned()]),
        is_mfa: true,
        is_phishing_resistant: true,
        is_passkey_synced: false,
        credential: "c0ffee".into(),
        auth_time: Timestamp(1),
        created: Timestamp(-2),
        last_active: Timestamp(last_active),
        idle_limit: IDLE_DEFAULT,
        absolute_limit: ABSOLUTE_DEFAULT,
        epochs: Epochs { global: 1, user: 2, session: 3, device: 4 },
        step_ups: vec![StepUp {
            app: AppName::new("payroll"),
            action: Action::HttpDelete,
            at: Timestamp(7),
            fix: vec![Remedy::Passkey, Remedy::Reauth],
        }],
        rounds: Vec::new(),
        src_net: "192.0.2.0/24".into(),
        user_agent: "ü".into(),
    })
}

pub(crate) fn upsert(number: u64, last_active: i64) -> SessionChange {
    let token = HostToken {
        token: TokenHash([u8::try_from(number % 251).unwrap(); 32]),
        session: session_id(number),
        host: "wiki.test".into(),
        valid_until: Some(Timestamp(9)),
    };
    SessionChange::Upsert { session: session(number, last_active), tokens: vec![token] }
}

pub(crate) fn tombstone(number: u64) -> Tombstone {
    Tombstone { session: session_id(number), user: None, cause: Cause::SessionRevoked, until: Timestamp(99) }
}

pub(crate) fn user(number: u64, name: &str) -> Arc<UserEntry> {
    Arc::new(UserEntry {
        id: UserId(uuid(number)),
        name: name.to_owned(),
        email: format!("{name}@example.org"),
        is_email_verified: true,
        state: UserState::Active,
        direct_groups: BTreeSet::from([GroupId::new("engineering")]),
        groups: Arc::from([GroupId::new("engineering")]),
        is_external: false,
        created_at: Timestamp(5),
        epoch: number,
        tags: BTreeMap::from([("team".to_owned(), BTreeSet::from(["red".to_owned()]))]),
    })
}

/// Every other version is another account, so that one goes as well as comes.
fn machine(version: u64) -> (ServiceEntry, ServiceToken) {
    let name: Arc<str> = Arc::from(format!("nightly-{}", version % 2));
    let service = ServiceEntry {
        name: Arc::clone(&name),
        title: format!("v{version}"),
        owner: Some(UserId(uuid(1))),
        is_enabled: version.is_multiple_of(3),
        direct_groups: BTreeSet::from([GroupId::new("engineering")]),
        groups: Arc::from([GroupId::new("engineering")]),
        created_at: Timestamp(3),
    };
    let secret = ServiceSecret { hash: TokenHash([7; 32]), created_at: Timestamp(3), expires_at: Timestamp(30) };
    let token = ServiceToken {
        id: ServiceTokenId(uuid(version)),
        service: name,
        apps: BTreeSet::from([AppName::new("wiki")]),
        created_at: Timestamp(3),
        secrets: vec![secret],
    };
    (service, token)
}

pub(crate) fn directory(version: u64, people: &[(u64, &str)]) -> Arc<Directory> {
    let group = GroupEntry { id: GroupId::new("engineering"), title: format!("v{version}"), parents: BTreeSet::new() };
    let (service, token) = machine(version);
    Arc::new(Directory {
        version,
        users: people.iter().map(|(number, name)| (UserId(uuid(*number)), user(*number, name))).collect(),
        groups: BTreeMap::from([(group.id.clone(), Arc::new(group))]),
        services: BTreeMap::from([(Arc::clone(&service.name), Arc::new(service))]),
        service_tokens: BTreeMap::from([(token.id, Arc::new(token))]),
    })
}

pub(crate) fn config(number: u64) -> Arc<ConfigSource> {
    let file = SourceText { name: "apps.yaml".into(), text: format!("# {number}\n") };
    let terms = Terms { time_zone: "Europe/Berlin".to_owned(), fresh_secs: vec![number, 2, 3, 4] };
    Arc::new(ConfigSource { number, files: vec![file], terms, policy_hash: Digest32::of(&number.to_be_bytes()) })
}

pub(crate) fn report() -> CutReport {
    let stream = CutStream {
        stream: StreamId(4),
        access: AccessId(uuid(5)),
        protocol: "websocket",
        app: AppName::new("wiki"),
        principal: Principal::User(UserId(uuid(6))),
        opened: Timestamp(1),
        cut: Timestamp(2),
        bytes_in: 3,
        bytes_out: u64::MAX,
    };
    CutReport {
        examined: 12,
        streams: vec![stream],
        unproven: vec![AccessId(uuid(8))],
        received: Timestamp(1),
        last_cut: Timestamp(2),
    }
}

pub(crate) fn revocation(number: u64) -> RevocationId {
    RevocationId(uuid(number))
}
