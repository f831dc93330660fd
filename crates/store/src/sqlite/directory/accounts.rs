//! Passwords, one-time codes, known browsers, recoveries and notices in SQLite: changes and reads.

use model::{InvitationId, NoticeId, RecoveryId, Timestamp, TokenHash, UserId, UserState};
use pip_identity::store::{
    Approver, DirectoryChange, Factors, MAX_KNOWN_DEVICES, NoticeKind, NoticeRow, PasswordRow, RecoveryRow,
    RecoveryState, SecurityKeyRow, SignIn, StoreError, TotpRow,
};
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Failure;
use super::apply::{bytes_of, exactly_one};
use crate::sqlite::Store;
use crate::sqlite::rows::{Columns, to_integer};

/// One change of what is not directory, link, passkey or set of recovery codes.
pub(super) async fn apply(connection: &mut SqliteConnection, change: DirectoryChange) -> Result<(), Failure> {
    match change {
        DirectoryChange::AddNotice(row) => add_notice(connection, row).await,
        DirectoryChange::AddRecoveryCode { user, code } => {
            let sql = "INSERT INTO recovery_codes (user, code) VALUES (?, ?)";
            run(sqlx::query(sql).bind(bytes_of(user)).bind(hash(code)), connection).await.map(drop)
        }
        DirectoryChange::ArmNotice { id, token } => {
            let sql = "UPDATE notices SET token = ? WHERE id = ?";
            let query = sqlx::query(sql).bind(hash(token)).bind(id.as_bytes().to_vec());
            exactly_one(run(query, connection).await?)
        }
        DirectoryChange::AskDeletion { user, at } => {
            let sql = "INSERT INTO deletion_wishes (user, asked_at) VALUES (?, ?) ON CONFLICT (user) DO NOTHING";
            run(sqlx::query(sql).bind(bytes_of(user)).bind(at.0), connection).await.map(drop)
        }
        DirectoryChange::AwaitCodes(user) => {
            let sql = "INSERT INTO awaiting_codes (user) VALUES (?) ON CONFLICT (user) DO NOTHING";
            run(sqlx::query(sql).bind(bytes_of(user)), connection).await.map(drop)
        }
        DirectoryChange::CodesSaved(user) => {
            let sql = "DELETE FROM awaiting_codes WHERE user = ?";
            run(sqlx::query(sql).bind(bytes_of(user)), connection).await.map(drop)
        }
        DirectoryChange::DropDeletion(user) => {
            let sql = "DELETE FROM deletion_wishes WHERE user = ?";
            run(sqlx::query(sql).bind(bytes_of(user)), connection).await.map(drop)
        }
        DirectoryChange::KnowDevice { user, device, at } => know_device(connection, user, device, at).await,
        DirectoryChange::PurgeNotices { before } => {
            run(sqlx::query("DELETE FROM notices WHERE at < ?").bind(before.0), connection).await.map(drop)
        }
        DirectoryChange::PurgeRecoveries { before } => {
            run(sqlx::query("DELETE FROM recoveries WHERE expires_at < ?").bind(before.0), connection).await.map(drop)
        }
        DirectoryChange::PutRecovery { row, was } => put_recovery(connection, row, was).await,
        DirectoryChange::RequireSignIn(sign_in) => require_sign_in(connection, sign_in).await,
        DirectoryChange::SeeNotices { user, until, at } => {
            let sql = "UPDATE notices SET seen_at = ? WHERE user = ? AND at <= ? AND seen_at IS NULL";
            let query = sqlx::query(sql).bind(at.0).bind(bytes_of(user)).bind(until.0);
            run(query, connection).await.map(drop)
        }
        DirectoryChange::TakeRecoveryCode { user, code } => {
            let sql = "DELETE FROM recovery_codes WHERE user = ? AND code = ?";
            exactly_one(run(sqlx::query(sql).bind(bytes_of(user)).bind(hash(code)), connection).await?)
        }
        DirectoryChange::UseNotice { token } => {
            let sql = "UPDATE notices SET token = NULL WHERE token = ?";
            exactly_one(run(sqlx::query(sql).bind(hash(token)), connection).await?)
        }
        other => apply_pair(connection, other).await,
    }
}

/// Password, one-time codes and security keys.
async fn apply_pair(connection: &mut SqliteConnection, change: DirectoryChange) -> Result<(), Failure> {
    match change {
        DirectoryChange::AcceptTotp { user, was, step } => {
            let sql = "UPDATE totps SET last_step = ?1, failures = 0
                       WHERE user = ?2 AND last_step = ?3 AND last_step < ?1";
            let query = sqlx::query(sql)
                .bind(to_integer("time step", step)?)
                .bind(bytes_of(user))
                .bind(to_integer("time step", was)?);
            exactly_one(run(query, connection).await?)
        }
        DirectoryChange::AddKey(row) => add_key(connection, row).await,
        DirectoryChange::DeleteKey { user, credential_id } => {
            let sql = "DELETE FROM security_keys WHERE credential_id = ? AND user = ?";
            exactly_one(run(sqlx::query(sql).bind(credential_id).bind(bytes_of(user)), connection).await?)
        }
        DirectoryChange::TouchKey(touch) => {
            let sql = "UPDATE security_keys SET counter = ?, last_used_at = ? WHERE credential_id = ? AND counter = ?";
            let query = sqlx::query(sql)
                .bind(touch.counter)
                .bind(touch.at.0)
                .bind(touch.credential_id)
                .bind(touch.expected_counter);
            exactly_one(run(query, connection).await?)
        }
        DirectoryChange::ClearTotpFailures(user) => {
            let sql = "UPDATE totps SET failures = 0 WHERE user = ?";
            run(sqlx::query(sql).bind(bytes_of(user)), connection).await.map(drop)
        }
        DirectoryChange::DeletePair(user) => {
            run(sqlx::query("DELETE FROM passwords WHERE user = ?").bind(bytes_of(user)), connection).await?;
            run(sqlx::query("DELETE FROM security_keys WHERE user = ?").bind(bytes_of(user)), connection).await?;
            run(sqlx::query("DELETE FROM totps WHERE user = ?").bind(bytes_of(user)), connection).await.map(drop)
        }
        DirectoryChange::PutPassword { row, was } => put_password(connection, row, was).await,
        DirectoryChange::PutTotp(row) => put_totp(connection, row).await,
        DirectoryChange::TryTotp { user, most } => {
            let sql = "UPDATE totps SET failures = failures + 1 WHERE user = ? AND failures < ?";
            exactly_one(run(sqlx::query(sql).bind(bytes_of(user)).bind(most), connection).await?)
        }
        other => Err(StoreError::Backend(format!("this store does not know {other:?}")).into()),
    }
}

async fn add_key(connection: &mut SqliteConnection, row: SecurityKeyRow) -> Result<(), Failure> {
    let sql = "INSERT INTO security_keys (credential_id, user, name, created_at, last_used_at, counter, credential)
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(row.credential_id)
        .bind(bytes_of(row.user))
        .bind(row.name)
        .bind(row.created_at.0)
        .bind(row.last_used_at.map(|at| at.0))
        .bind(row.counter)
        .bind(row.credential);
    run(query, connection).await.map(drop)
}

async fn add_notice(connection: &mut SqliteConnection, row: NoticeRow) -> Result<(), Failure> {
    let sql = "INSERT INTO notices (id, user, kind, detail, at, seen_at, token) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let query = sqlx::query(sql)
        .bind(row.id.as_bytes().to_vec())
        .bind(bytes_of(row.user))
        .bind(row.kind.as_str())
        .bind(row.detail)
        .bind(row.at.0)
        .bind(row.seen_at.map(|at| at.0))
        .bind(row.token.map(hash));
    run(query, connection).await.map(drop)
}

async fn know_device(
    connection: &mut SqliteConnection,
    user: UserId,
    device: TokenHash,
    at: Timestamp,
) -> Result<(), Failure> {
    let sql = "INSERT INTO known_devices (user, device, used_at) VALUES (?, ?, ?)
               ON CONFLICT (user, device) DO UPDATE SET used_at = excluded.used_at";
    run(sqlx::query(sql).bind(bytes_of(user)).bind(hash(device)).bind(at.0), &mut *connection).await?;
    let sql = "DELETE FROM known_devices WHERE user = ?1 AND device NOT IN
               (SELECT device FROM known_devices WHERE user = ?1 ORDER BY used_at DESC, device LIMIT ?2)";
    let most = to_integer("known browsers", MAX_KNOWN_DEVICES as u64)?;
    run(sqlx::query(sql).bind(bytes_of(user)).bind(most), connection).await.map(drop)
}

async fn put_password(connection: &mut SqliteConnection, row: PasswordRow, was: Option<String>) -> Result<(), Failure> {
    let query = match was {
        None => {
            let sql = "INSERT INTO passwords (user, hash, set_at) VALUES (?, ?, ?) ON CONFLICT (user) DO NOTHING";
            sqlx::query(sql).bind(bytes_of(row.user)).bind(row.hash).bind(row.set_at.0)
        }
        Some(was) => {
            let sql = "UPDATE passwords SET hash = ?, set_at = ? WHERE user = ? AND hash = ?";
            sqlx::query(sql).bind(row.hash).bind(row.set_at.0).bind(bytes_of(row.user)).bind(was)
        }
    };
    exactly_one(run(query, connection).await?)
}

async fn put_totp(connection: &mut SqliteConnection, row: TotpRow) -> Result<(), Failure> {
    let sql = "INSERT INTO totps (user, sealed, confirmed_at, last_step, failures) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (user) DO UPDATE SET sealed = excluded.sealed, confirmed_at = excluded.confirmed_at,
                   last_step = excluded.last_step, failures = excluded.failures";
    let query = sqlx::query(sql)
        .bind(bytes_of(row.user))
        .bind(row.sealed)
        .bind(row.confirmed_at.0)
        .bind(to_integer("time step", row.last_step)?)
        .bind(row.failures);
    run(query, connection).await.map(drop)
}

async fn put_recovery(connection: &mut SqliteConnection, row: RecoveryRow, was: Option<u32>) -> Result<(), Failure> {
    let columns = "user = ?2, revision = ?3, ticket = ?4, has_code = ?5, has_authenticator = ?6, approvals = ?7,
                   state = ?8, link = ?9, epoch = ?10, opened_at = ?11, expires_at = ?12, ready_at = ?13";
    let sql = match was {
        None => "INSERT INTO recoveries (id, user, revision, ticket, has_code, has_authenticator, approvals, state,
                     link, epoch, opened_at, expires_at, ready_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT (id) DO NOTHING"
            .to_owned(),
        Some(_) => format!("UPDATE recoveries SET {columns} WHERE id = ?1 AND revision = ?14"),
    };
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(row.id.as_bytes().to_vec())
        .bind(bytes_of(row.user))
        .bind(row.revision)
        .bind(row.ticket.map(hash))
        .bind(row.has_code)
        .bind(row.has_authenticator)
        .bind(approvals_json(&row.approvals))
        .bind(row.state.as_str())
        .bind(row.link.map(|link| link.as_bytes().to_vec()))
        .bind(to_integer("epoch of a person", row.epoch)?)
        .bind(row.opened_at.0)
        .bind(row.expires_at.0)
        .bind(row.ready_at.map(|at| at.0));
    let query = match was {
        None => query,
        Some(was) => query.bind(was),
    };
    exactly_one(run(query, connection).await?)
}

/// Sessions are kept in the same database: one that has ended at the doors and is durable is over here too.
async fn require_sign_in(connection: &mut SqliteConnection, sign_in: SignIn) -> Result<(), Failure> {
    let sql = "SELECT 1 FROM users WHERE id = ?1 AND state = ?2 AND epoch = ?3
                   AND NOT EXISTS (SELECT 1 FROM session_tombstones WHERE session = ?4)
                   AND NOT EXISTS (SELECT 1 FROM session_global_epoch WHERE epoch > ?5)";
    let found = sqlx::query(sql)
        .bind(bytes_of(sign_in.user))
        .bind(UserState::Active.as_str())
        .bind(to_integer("epoch of a person", sign_in.epoch)?)
        .bind(sign_in.session.as_bytes().to_vec())
        .bind(to_integer("global epoch", sign_in.global_epoch)?)
        .fetch_optional(connection)
        .await?;
    if found.is_some() { Ok(()) } else { Err(StoreError::SignInEnded.into()) }
}

async fn run(
    query: sqlx::query::Query<'_, sqlx::Sqlite, <sqlx::Sqlite as sqlx::Database>::Arguments>,
    connection: &mut SqliteConnection,
) -> Result<u64, Failure> {
    Ok(query.execute(connection).await?.rows_affected())
}

fn hash(token: TokenHash) -> Vec<u8> {
    token.0.to_vec()
}

impl Store {
    pub(super) async fn factors(&self, user: UserId) -> Result<Factors, crate::StoreError> {
        let mut view = self.read().await?;
        let id = bytes_of(user);
        let password = sqlx::query("SELECT * FROM passwords WHERE user = ?").bind(id.clone());
        let password = password.fetch_optional(&mut *view).await?;
        let totp =
            sqlx::query("SELECT * FROM totps WHERE user = ?").bind(id.clone()).fetch_optional(&mut *view).await?;
        let devices = sqlx::query("SELECT device FROM known_devices WHERE user = ? ORDER BY used_at DESC, device")
            .bind(id)
            .fetch_all(&mut *view)
            .await?;
        let keys = sqlx::query("SELECT * FROM security_keys WHERE user = ? ORDER BY created_at, credential_id")
            .bind(bytes_of(user))
            .fetch_all(&mut *view)
            .await?;
        Ok(Factors {
            keys: keys.iter().map(key_row).collect::<Result<_, _>>()?,
            password: password.as_ref().map(password_row).transpose()?,
            totp: totp.as_ref().map(totp_row).transpose()?,
            devices: devices.iter().map(|row| row.bytes("device").map(TokenHash)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) async fn recovery_rows(&self) -> Result<Vec<RecoveryRow>, crate::StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT * FROM recoveries ORDER BY opened_at DESC, id").fetch_all(&mut *view).await?;
        rows.iter().map(recovery_row).collect()
    }

    pub(super) async fn notice_rows(&self, user: UserId) -> Result<Vec<NoticeRow>, crate::StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT * FROM notices WHERE user = ? ORDER BY at DESC, id")
            .bind(bytes_of(user))
            .fetch_all(&mut *view)
            .await?;
        rows.iter().map(notice_row).collect()
    }

    pub(super) async fn notice_of(&self, token: TokenHash) -> Result<Option<NoticeRow>, crate::StoreError> {
        let mut view = self.read().await?;
        let row =
            sqlx::query("SELECT * FROM notices WHERE token = ?").bind(hash(token)).fetch_optional(&mut *view).await?;
        row.as_ref().map(notice_row).transpose()
    }
}

fn password_row(row: &SqliteRow) -> Result<PasswordRow, crate::StoreError> {
    Ok(PasswordRow { user: UserId(row.uuid("user")?), hash: row.text("hash")?, set_at: row.time("set_at")? })
}

fn key_row(row: &SqliteRow) -> Result<SecurityKeyRow, crate::StoreError> {
    Ok(SecurityKeyRow {
        credential_id: row.blob("credential_id")?,
        user: UserId(row.uuid("user")?),
        name: row.text("name")?,
        created_at: row.time("created_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        counter: small(row, "counter")?,
        credential: row.blob("credential")?,
    })
}

fn totp_row(row: &SqliteRow) -> Result<TotpRow, crate::StoreError> {
    Ok(TotpRow {
        user: UserId(row.uuid("user")?),
        sealed: row.blob("sealed")?,
        confirmed_at: row.time("confirmed_at")?,
        last_step: row.count("last_step")?,
        failures: small(row, "failures")?,
    })
}

fn recovery_row(row: &SqliteRow) -> Result<RecoveryRow, crate::StoreError> {
    Ok(RecoveryRow {
        id: RecoveryId(row.uuid("id")?),
        user: UserId(row.uuid("user")?),
        revision: small(row, "revision")?,
        ticket: row.maybe_hash("ticket")?,
        has_code: row.flag("has_code")?,
        has_authenticator: row.flag("has_authenticator")?,
        approvals: approvals(row)?,
        state: row.word("state", RecoveryState::ALL, RecoveryState::as_str)?,
        link: row.maybe_uuid("link")?.map(InvitationId),
        epoch: row.count("epoch")?,
        opened_at: row.time("opened_at")?,
        expires_at: row.time("expires_at")?,
        ready_at: row.maybe_time("ready_at")?,
    })
}

/// Who vouched: `{"name": …, "user": …}`, or a name alone.
fn approvals_json(approvals: &[Approver]) -> String {
    let one = |approver: &Approver| match approver.user {
        Some(user) => json!({ "name": approver.name, "user": user.to_string() }),
        None => Value::from(approver.name.as_str()),
    };
    Value::Array(approvals.iter().map(one).collect()).to_string()
}

fn approvals(row: &SqliteRow) -> Result<Vec<Approver>, crate::StoreError> {
    let text = row.text("approvals")?;
    let one = |value: &Value| match value {
        Value::String(name) => Some(Approver { name: name.clone(), user: None }),
        Value::Object(members) => Some(Approver {
            name: members.get("name")?.as_str()?.to_owned(),
            user: Some(members.get("user")?.as_str()?.parse().ok()?),
        }),
        _ => None,
    };
    let values = serde_json::from_str::<Vec<Value>>(&text).ok();
    let approvals = values.and_then(|values| values.iter().map(one).collect());
    approvals.ok_or_else(|| crate::StoreError::malformed("approvals", text))
}

fn notice_row(row: &SqliteRow) -> Result<NoticeRow, crate::StoreError> {
    Ok(NoticeRow {
        id: NoticeId(row.uuid("id")?),
        user: UserId(row.uuid("user")?),
        kind: row.word("kind", NoticeKind::ALL, NoticeKind::as_str)?,
        detail: row.text("detail")?,
        at: row.time("at")?,
        seen_at: row.maybe_time("seen_at")?,
        token: row.maybe_hash("token")?,
    })
}

fn small(row: &SqliteRow, column: &'static str) -> Result<u32, crate::StoreError> {
    let value = row.integer(column)?;
    u32::try_from(value).map_err(|_| crate::StoreError::malformed(column, value))
}
