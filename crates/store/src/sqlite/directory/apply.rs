//! A batch of directory changes as one transaction.

use model::{TokenHash, UserId};
use pip_identity::store::{
    DirectoryChange, GroupRow, LinkKind, LinkRow, LinkState, MembershipRow, NoteRow, Origin, PasskeyRow, PasskeyTouch,
    StoreError, UserRow,
};
use serde_json::Value;
use sqlx::SqliteConnection;

use super::Failure;
use crate::outbox::Note;
use crate::sqlite::Store;
use crate::sqlite::outbox::put_note;
use crate::sqlite::rows::{Columns, to_integer, to_json};

impl Store {
    pub(super) async fn apply_batch(
        &self,
        expected: Option<u64>,
        changes: Vec<DirectoryChange>,
    ) -> Result<u64, Failure> {
        let moves = changes.iter().any(DirectoryChange::moves_directory);
        let mut transaction = self.write().await?;
        let row = sqlx::query("SELECT version FROM directory_version").fetch_one(&mut *transaction).await?;
        let found = row.count("version")?;
        match expected {
            Some(expected) if expected != found => return Err(StoreError::VersionMoved { expected, found }.into()),
            None if moves => {
                let why = "a change of the directory needs the expected version";
                return Err(StoreError::Backend(why.into()).into());
            }
            _ => {}
        }
        for change in changes {
            apply_one(&mut transaction, change).await?;
        }
        let version = if moves { found + 1 } else { found };
        sqlx::query("UPDATE directory_version SET version = ?")
            .bind(to_integer("directory version", version)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(version)
    }
}

async fn apply_one(connection: &mut SqliteConnection, change: DirectoryChange) -> Result<(), Failure> {
    match change {
        DirectoryChange::AddPasskey(row) => add_passkey(connection, row).await,
        DirectoryChange::DeleteGroup(id) => {
            sqlx::query("DELETE FROM groups WHERE id = ?").bind(id.as_str().to_owned()).execute(connection).await?;
            Ok(())
        }
        DirectoryChange::DeleteMembership { group, user } => {
            sqlx::query("DELETE FROM memberships WHERE group_id = ? AND user = ?")
                .bind(group.as_str().to_owned())
                .bind(bytes_of(user))
                .execute(connection)
                .await?;
            Ok(())
        }
        DirectoryChange::DeletePasskey { user, credential_id } => {
            let done = sqlx::query("DELETE FROM passkeys WHERE credential_id = ? AND user = ?")
                .bind(credential_id)
                .bind(bytes_of(user))
                .execute(connection)
                .await?;
            exactly_one(done.rows_affected())
        }
        DirectoryChange::DeleteUser(id) => {
            // Memberships, passkeys, links and codes refer to it and go with it.
            sqlx::query("DELETE FROM users WHERE id = ?").bind(bytes_of(id)).execute(connection).await?;
            Ok(())
        }
        DirectoryChange::PurgeLinks { before } => {
            sqlx::query("DELETE FROM links WHERE expires_at < ?").bind(before.0).execute(connection).await?;
            Ok(())
        }
        DirectoryChange::PutGroup(row) => put_group(connection, row).await,
        DirectoryChange::PutLink(row) => put_link(connection, row).await,
        DirectoryChange::PutMembership(row) => put_membership(connection, row).await,
        DirectoryChange::PutNote(NoteRow { id, at, body }) => Ok(put_note(connection, &Note { id, at, body }).await?),
        DirectoryChange::PutUser(row) => put_user(connection, row).await,
        DirectoryChange::SetRecoveryCodes { user, codes } => set_codes(connection, user, codes).await,
        DirectoryChange::TouchPasskey(touch) => touch_passkey(connection, touch).await,
        DirectoryChange::UseLink { id, at } => {
            let done = sqlx::query("UPDATE links SET state = ?, ended_at = ? WHERE id = ? AND state = ?")
                .bind(LinkState::Used.as_str())
                .bind(at.0)
                .bind(id.as_bytes().to_vec())
                .bind(LinkState::Open.as_str())
                .execute(connection)
                .await?;
            exactly_one(done.rows_affected())
        }
        DirectoryChange::VoidLinks { kind, user, at } => void_links(connection, kind, user, at.0).await,
        DirectoryChange::DeleteService(_)
        | DirectoryChange::DeleteServiceToken(_)
        | DirectoryChange::PutService(_)
        | DirectoryChange::PutServiceToken(_) => super::services::apply(connection, change).await,
        other => super::accounts::apply(connection, other).await,
    }
}

async fn add_passkey(connection: &mut SqliteConnection, row: PasskeyRow) -> Result<(), Failure> {
    let sql = "INSERT INTO passkeys (
                   credential_id, user, name, created_at, last_used_at, counter, is_backup_eligible, is_backed_up,
                   credential
               ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(row.credential_id)
        .bind(bytes_of(row.user))
        .bind(row.name)
        .bind(row.created_at.0)
        .bind(row.last_used_at.map(|at| at.0))
        .bind(row.counter)
        .bind(row.is_backup_eligible)
        .bind(row.is_backed_up)
        .bind(row.credential)
        .execute(connection)
        .await?;
    Ok(())
}

async fn touch_passkey(connection: &mut SqliteConnection, touch: PasskeyTouch) -> Result<(), Failure> {
    let sql = "UPDATE passkeys SET counter = ?, is_backed_up = ?, last_used_at = ?
               WHERE credential_id = ? AND counter = ?";
    let done = sqlx::query(sql)
        .bind(touch.counter)
        .bind(touch.is_backed_up)
        .bind(touch.at.0)
        .bind(touch.credential_id)
        .bind(touch.expected_counter)
        .execute(connection)
        .await?;
    exactly_one(done.rows_affected())
}

async fn put_group(connection: &mut SqliteConnection, row: GroupRow) -> Result<(), Failure> {
    let (declared_at, is_disabled) = origin_columns(row.origin);
    let sql = "INSERT INTO groups (id, title, parents, declared_at, is_disabled_by_file, membership)
               VALUES (?, ?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET title = excluded.title, parents = excluded.parents,
                   declared_at = excluded.declared_at, is_disabled_by_file = excluded.is_disabled_by_file,
                   membership = excluded.membership";
    sqlx::query(sql)
        .bind(row.id.as_str().to_owned())
        .bind(row.title)
        .bind(to_json(row.parents.iter().map(model::GroupId::as_str)))
        .bind(declared_at)
        .bind(is_disabled)
        .bind(row.membership.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_membership(connection: &mut SqliteConnection, row: MembershipRow) -> Result<(), Failure> {
    let sql = "INSERT INTO memberships (group_id, user, source) VALUES (?, ?, ?)
               ON CONFLICT (group_id, user) DO UPDATE SET source = excluded.source";
    sqlx::query(sql)
        .bind(row.group.as_str().to_owned())
        .bind(bytes_of(row.user))
        .bind(row.source.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_user(connection: &mut SqliteConnection, row: UserRow) -> Result<(), Failure> {
    let email_key = row.email_key();
    let tags =
        Value::Object(row.tags.iter().map(|(key, values)| (key.clone(), values.iter().cloned().collect())).collect());
    let (declared_at, is_disabled) = origin_columns(row.origin);
    // An epoch never falls, whatever the caller read.
    let sql = "INSERT INTO users (
                   id, email, email_key, name, state, is_external, created_at, epoch, tags, declared_at,
                   is_disabled_by_file, handle
               ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET email = excluded.email, email_key = excluded.email_key,
                   name = excluded.name, state = excluded.state, is_external = excluded.is_external,
                   created_at = excluded.created_at, epoch = max(epoch, excluded.epoch), tags = excluded.tags,
                   declared_at = excluded.declared_at, is_disabled_by_file = excluded.is_disabled_by_file,
                   handle = excluded.handle";
    sqlx::query(sql)
        .bind(bytes_of(row.id))
        .bind(row.email)
        .bind(email_key)
        .bind(row.name)
        .bind(row.state.as_str())
        .bind(row.is_external)
        .bind(row.created_at.0)
        .bind(to_integer("epoch of a person", row.epoch)?)
        .bind(tags.to_string())
        .bind(declared_at)
        .bind(is_disabled)
        .bind(row.handle.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_link(connection: &mut SqliteConnection, row: LinkRow) -> Result<(), Failure> {
    let sql = "INSERT INTO links (id, secret_hash, kind, user, created_by, created_at, expires_at, state, ended_at)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(sql)
        .bind(row.id.as_bytes().to_vec())
        .bind(row.secret_hash.0.to_vec())
        .bind(row.kind.as_str())
        .bind(row.user.map(bytes_of))
        .bind(row.created_by)
        .bind(row.created_at.0)
        .bind(row.expires_at.0)
        .bind(row.state.as_str())
        .bind(row.ended_at.map(|at| at.0))
        .execute(connection)
        .await?;
    Ok(())
}

async fn void_links(
    connection: &mut SqliteConnection,
    kind: LinkKind,
    user: Option<UserId>,
    at: i64,
) -> Result<(), Failure> {
    sqlx::query("UPDATE links SET state = ?, ended_at = ? WHERE kind = ? AND user IS ? AND state = ?")
        .bind(LinkState::Voided.as_str())
        .bind(at)
        .bind(kind.as_str())
        .bind(user.map(bytes_of))
        .bind(LinkState::Open.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

async fn set_codes(connection: &mut SqliteConnection, user: UserId, codes: Vec<TokenHash>) -> Result<(), Failure> {
    sqlx::query("DELETE FROM recovery_codes WHERE user = ?").bind(bytes_of(user)).execute(&mut *connection).await?;
    for code in codes {
        sqlx::query("INSERT INTO recovery_codes (user, code) VALUES (?, ?)")
            .bind(bytes_of(user))
            .bind(code.0.to_vec())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) fn exactly_one(rows: u64) -> Result<(), Failure> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Moved.into()) }
}

pub(super) fn bytes_of(user: UserId) -> Vec<u8> {
    user.as_bytes().to_vec()
}

fn origin_columns(origin: Origin) -> (Option<String>, bool) {
    match origin {
        Origin::Applied { declared_at, is_disabled } => (Some(declared_at), is_disabled),
        Origin::Local => (None, false),
    }
}
