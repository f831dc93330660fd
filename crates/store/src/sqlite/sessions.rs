//! Sessions in SQLite.

use std::collections::HashMap;
use std::sync::Arc;

use model::app::AppName;
use model::changes::{HostToken, SessionChange, SessionSnapshot, Tombstone};
use model::ids::{SessionId, TokenHash, UserId};
use model::seams::Cause;
use model::session::{Epochs, Session, StepUp};
use model::{Action, BoxFuture};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::rows::{Columns, to_integer, to_json, to_nanos};
use crate::error::{StoreError, check_size};
use crate::sessions::{MAX_CHANGES, SessionStore};

// A later upsert of a session never moves its beginning, and activity never goes back.
const UPSERT: &str = "
INSERT INTO sessions (
    id, user, idp, acr, amr, is_mfa, is_phishing_resistant, is_passkey_synced, credential, auth_time, created,
    last_active, idle_limit_ns, absolute_limit_ns, epoch_global, epoch_user, epoch_session, epoch_device, src_net,
    user_agent
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    idp = excluded.idp, acr = excluded.acr, amr = excluded.amr, is_mfa = excluded.is_mfa,
    is_phishing_resistant = excluded.is_phishing_resistant, is_passkey_synced = excluded.is_passkey_synced,
    credential = excluded.credential, auth_time = excluded.auth_time,
    last_active = max(last_active, excluded.last_active), idle_limit_ns = excluded.idle_limit_ns,
    absolute_limit_ns = excluded.absolute_limit_ns, epoch_global = excluded.epoch_global,
    epoch_user = excluded.epoch_user, epoch_session = excluded.epoch_session, epoch_device = excluded.epoch_device,
    src_net = excluded.src_net, user_agent = excluded.user_agent
WHERE user = excluded.user";

const LIVE: &str = "SELECT * FROM sessions WHERE id NOT IN (SELECT session FROM session_tombstones)";

impl SessionStore for Store {
    fn keep_sessions(&self, changes: Vec<SessionChange>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.keep(&changes).await.map_err(|error| error.at(self.path())) })
    }

    fn sessions(&self) -> BoxFuture<'_, Result<SessionSnapshot, StoreError>> {
        Box::pin(async move { self.snapshot().await.map_err(|error| error.at(self.path())) })
    }
}

impl Store {
    async fn keep(&self, changes: &[SessionChange]) -> Result<(), StoreError> {
        check_size("a batch of session changes", changes.len(), MAX_CHANGES)?;
        let mut transaction = self.write().await?;
        for change in changes {
            keep_one(&mut transaction, change).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn snapshot(&self) -> Result<SessionSnapshot, StoreError> {
        let mut view = self.read().await?;
        let mut step_ups: HashMap<SessionId, Vec<StepUp>> = HashMap::new();
        for row in sqlx::query("SELECT * FROM session_step_ups ORDER BY at").fetch_all(&mut *view).await? {
            let action = row.word("action", Action::ALL, Action::as_str)?;
            let step_up = StepUp { app: AppName::new(&row.text("app")?), action, at: row.time("at")?, fix: Vec::new() };
            step_ups.entry(SessionId(row.uuid("session")?)).or_default().push(step_up);
        }
        let mut snapshot = SessionSnapshot::default();
        for row in sqlx::query(LIVE).fetch_all(&mut *view).await? {
            let mut session = session(&row)?;
            session.step_ups = step_ups.remove(&session.id).unwrap_or_default();
            snapshot.sessions.push(Arc::new(session));
        }
        for row in sqlx::query("SELECT * FROM session_tokens").fetch_all(&mut *view).await? {
            snapshot.tokens.push(token(&row)?);
        }
        for row in sqlx::query("SELECT * FROM session_tombstones").fetch_all(&mut *view).await? {
            snapshot.tombstones.push(tombstone(&row)?);
        }
        for row in sqlx::query("SELECT * FROM session_user_epochs").fetch_all(&mut *view).await? {
            snapshot.user_epochs.push((UserId(row.uuid("user")?), row.count("epoch")?));
        }
        let global = sqlx::query("SELECT epoch FROM session_global_epoch").fetch_one(&mut *view).await?;
        snapshot.global_epoch = global.count("epoch")?;
        Ok(snapshot)
    }
}

async fn keep_one(connection: &mut SqliteConnection, change: &SessionChange) -> Result<(), StoreError> {
    match change {
        SessionChange::Forget(session) => forget(connection, *session).await,
        SessionChange::GlobalEpoch(epoch) => {
            sqlx::query("UPDATE session_global_epoch SET epoch = max(epoch, ?)")
                .bind(to_integer("global epoch", *epoch)?)
                .execute(connection)
                .await?;
            Ok(())
        }
        SessionChange::Tombstone(tombstone) => bury(connection, tombstone).await,
        SessionChange::Upsert { session, tokens } => upsert(connection, session, tokens).await,
        SessionChange::UserEpoch { user, epoch } => {
            let sql = "INSERT INTO session_user_epochs (user, epoch) VALUES (?, ?)
                       ON CONFLICT (user) DO UPDATE SET epoch = max(epoch, excluded.epoch)";
            sqlx::query(sql)
                .bind(user.as_bytes().to_vec())
                .bind(to_integer("epoch of a person", *epoch)?)
                .execute(connection)
                .await?;
            Ok(())
        }
    }
}

async fn forget(connection: &mut SqliteConnection, session: SessionId) -> Result<(), StoreError> {
    let id = session.as_bytes().to_vec();
    sqlx::query("DELETE FROM session_tombstones WHERE session = ?").bind(id.clone()).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM sessions WHERE id = ?").bind(id).execute(connection).await?;
    Ok(())
}

async fn bury(connection: &mut SqliteConnection, tombstone: &Tombstone) -> Result<(), StoreError> {
    let sql = "INSERT INTO session_tombstones (session, user, cause, until) VALUES (?, ?, ?, ?)
               ON CONFLICT (session) DO NOTHING";
    sqlx::query(sql)
        .bind(tombstone.session.as_bytes().to_vec())
        .bind(tombstone.user.map(|user| user.as_bytes().to_vec()))
        .bind(tombstone.cause.as_str())
        .bind(tombstone.until.0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn upsert(connection: &mut SqliteConnection, session: &Session, tokens: &[HostToken]) -> Result<(), StoreError> {
    let id = session.id.as_bytes().to_vec();
    let is_dead = sqlx::query("SELECT 1 FROM session_tombstones WHERE session = ?")
        .bind(id.clone())
        .fetch_optional(&mut *connection)
        .await?
        .is_some();
    if is_dead {
        return Ok(());
    }
    put_session(connection, session).await?;
    // A session remembers a bounded number of step-ups; those it has let go of go here too.
    sqlx::query("DELETE FROM session_step_ups WHERE session = ?").bind(id.clone()).execute(&mut *connection).await?;
    for step_up in &session.step_ups {
        sqlx::query("INSERT INTO session_step_ups (session, app, action, at) VALUES (?, ?, ?, ?)")
            .bind(id.clone())
            .bind(step_up.app.as_str().to_owned())
            .bind(step_up.action.as_str())
            .bind(step_up.at.0)
            .execute(&mut *connection)
            .await?;
    }
    for token in tokens {
        // A cookie hash belongs to the session and host it was first bound to, for good.
        let sql = "INSERT INTO session_tokens (token, session, host, valid_until) VALUES (?, ?, ?, ?)
                   ON CONFLICT (token) DO UPDATE SET valid_until = excluded.valid_until
                   WHERE session = excluded.session AND host = excluded.host";
        sqlx::query(sql)
            .bind(token.token.0.to_vec())
            .bind(token.session.as_bytes().to_vec())
            .bind(token.host.clone())
            .bind(token.valid_until.map(|until| until.0))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn put_session(connection: &mut SqliteConnection, session: &Session) -> Result<(), StoreError> {
    sqlx::query(UPSERT)
        .bind(session.id.as_bytes().to_vec())
        .bind(session.user.as_bytes().to_vec())
        .bind(session.idp.clone())
        .bind(session.acr.clone())
        .bind(to_json(session.amr.iter().map(String::as_str)))
        .bind(session.is_mfa)
        .bind(session.is_phishing_resistant)
        .bind(session.is_passkey_synced)
        .bind(session.credential.clone())
        .bind(session.auth_time.0)
        .bind(session.created.0)
        .bind(session.last_active.0)
        .bind(to_nanos("idle limit", session.idle_limit)?)
        .bind(to_nanos("absolute limit", session.absolute_limit)?)
        .bind(to_integer("global epoch", session.epochs.global)?)
        .bind(to_integer("epoch of a person", session.epochs.user)?)
        .bind(to_integer("epoch of a session", session.epochs.session)?)
        .bind(to_integer("epoch of a device", session.epochs.device)?)
        .bind(session.src_net.clone())
        .bind(session.user_agent.clone())
        .execute(connection)
        .await?;
    Ok(())
}

/// Without its step-ups, which have a table of their own.
fn session(row: &SqliteRow) -> Result<Session, StoreError> {
    Ok(Session {
        id: SessionId(row.uuid("id")?),
        user: UserId(row.uuid("user")?),
        idp: row.text("idp")?,
        acr: row.text("acr")?,
        amr: row.strings("amr")?,
        is_mfa: row.flag("is_mfa")?,
        is_phishing_resistant: row.flag("is_phishing_resistant")?,
        is_passkey_synced: row.flag("is_passkey_synced")?,
        credential: row.text("credential")?,
        auth_time: row.time("auth_time")?,
        created: row.time("created")?,
        last_active: row.time("last_active")?,
        idle_limit: row.duration("idle_limit_ns")?,
        absolute_limit: row.duration("absolute_limit_ns")?,
        epochs: Epochs {
            global: row.count("epoch_global")?,
            user: row.count("epoch_user")?,
            session: row.count("epoch_session")?,
            device: row.count("epoch_device")?,
        },
        step_ups: Vec::new(),
        rounds: Vec::new(),
        src_net: row.text("src_net")?,
        user_agent: row.text("user_agent")?,
    })
}

fn token(row: &SqliteRow) -> Result<HostToken, StoreError> {
    Ok(HostToken {
        token: TokenHash(row.bytes("token")?),
        session: SessionId(row.uuid("session")?),
        host: row.text("host")?,
        valid_until: row.maybe_time("valid_until")?,
    })
}

fn tombstone(row: &SqliteRow) -> Result<Tombstone, StoreError> {
    Ok(Tombstone {
        session: SessionId(row.uuid("session")?),
        user: row.maybe_uuid("user")?.map(UserId),
        cause: row.word("cause", Cause::ALL, Cause::as_str)?,
        until: row.time("until")?,
    })
}
