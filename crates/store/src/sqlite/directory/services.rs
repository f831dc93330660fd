//! Service accounts and their tokens.

use std::sync::Arc;

use model::{AppName, GroupId, ServiceSecret, ServiceToken, ServiceTokenId, Timestamp, TokenHash, UserId};
use pip_identity::store::{DirectoryChange, ServiceRow, StoreError as Condition};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::Failure;
use super::apply::bytes_of;
use crate::error::StoreError;
use crate::sqlite::rows::{Columns, to_json};

/// Applies what concerns them.
pub(super) async fn apply(connection: &mut SqliteConnection, change: DirectoryChange) -> Result<(), Failure> {
    match change {
        DirectoryChange::DeleteService(name) => {
            // Its tokens go with it.
            sqlx::query("DELETE FROM services WHERE name = ?").bind(name.to_string()).execute(connection).await?;
        }
        DirectoryChange::DeleteServiceToken(id) => {
            let sql = "DELETE FROM service_tokens WHERE id = ?";
            sqlx::query(sql).bind(id.as_bytes().to_vec()).execute(connection).await?;
        }
        DirectoryChange::PutService(row) => put_service(connection, row).await?,
        DirectoryChange::PutServiceToken(token) => put_token(connection, token).await?,
        other => return Err(Condition::Backend(format!("{other:?} is about no service account")).into()),
    }
    Ok(())
}

/// All of them, sorted.
pub(super) async fn rows(view: &mut SqliteConnection) -> Result<(Vec<ServiceRow>, Vec<ServiceToken>), StoreError> {
    let services = sqlx::query("SELECT * FROM services ORDER BY name").fetch_all(&mut *view).await?;
    let tokens = sqlx::query("SELECT * FROM service_tokens ORDER BY id").fetch_all(&mut *view).await?;
    let services = services.iter().map(service).collect::<Result<_, _>>()?;
    Ok((services, tokens.iter().map(token).collect::<Result<_, _>>()?))
}

async fn put_service(connection: &mut SqliteConnection, row: ServiceRow) -> Result<(), Failure> {
    let sql = "INSERT INTO services (name, title, owner, is_enabled, groups, created_at) VALUES (?, ?, ?, ?, ?, ?)
               ON CONFLICT (name) DO UPDATE SET title = excluded.title, owner = excluded.owner,
                   is_enabled = excluded.is_enabled, groups = excluded.groups, created_at = excluded.created_at";
    sqlx::query(sql)
        .bind(row.name.to_string())
        .bind(row.title)
        .bind(row.owner.map(bytes_of))
        .bind(row.is_enabled)
        .bind(to_json(row.groups.iter().map(GroupId::as_str)))
        .bind(row.created_at.0)
        .execute(connection)
        .await?;
    Ok(())
}

async fn put_token(connection: &mut SqliteConnection, token: ServiceToken) -> Result<(), Failure> {
    let sql = "INSERT INTO service_tokens (id, service, apps, created_at, secrets) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET service = excluded.service, apps = excluded.apps,
                   created_at = excluded.created_at, secrets = excluded.secrets";
    let secrets: Vec<(String, i64, i64)> = token.secrets.iter().map(secret_columns).collect();
    sqlx::query(sql)
        .bind(token.id.as_bytes().to_vec())
        .bind(token.service.to_string())
        .bind(to_json(token.apps.iter().map(AppName::as_str)))
        .bind(token.created_at.0)
        .bind(serde_json::json!(secrets).to_string())
        .execute(connection)
        .await?;
    Ok(())
}

fn service(row: &SqliteRow) -> Result<ServiceRow, StoreError> {
    let groups: Vec<String> = row.strings("groups")?;
    Ok(ServiceRow {
        name: Arc::from(row.text("name")?),
        title: row.text("title")?,
        owner: row.maybe_uuid("owner")?.map(UserId),
        is_enabled: row.flag("is_enabled")?,
        groups: groups.iter().map(|group| GroupId::new(group)).collect(),
        created_at: row.time("created_at")?,
    })
}

fn token(row: &SqliteRow) -> Result<ServiceToken, StoreError> {
    let apps: Vec<String> = row.strings("apps")?;
    let text = row.text("secrets")?;
    let malformed = || StoreError::malformed("secrets", "a list of another shape");
    let secrets: Vec<(String, i64, i64)> = serde_json::from_str(&text).map_err(|_| malformed())?;
    let secrets: Option<Vec<ServiceSecret>> = secrets.iter().map(secret).collect();
    Ok(ServiceToken {
        id: ServiceTokenId(row.uuid("id")?),
        service: Arc::from(row.text("service")?),
        apps: apps.iter().map(|app| AppName::new(app)).collect(),
        created_at: row.time("created_at")?,
        secrets: secrets.ok_or_else(malformed)?,
    })
}

fn secret_columns(secret: &ServiceSecret) -> (String, i64, i64) {
    (data_encoding::HEXLOWER.encode(&secret.hash.0), secret.created_at.0, secret.expires_at.0)
}

fn secret((hash, created_at, expires_at): &(String, i64, i64)) -> Option<ServiceSecret> {
    let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).ok()?.try_into().ok()?;
    Some(ServiceSecret {
        hash: TokenHash(hash),
        created_at: Timestamp(*created_at),
        expires_at: Timestamp(*expires_at),
    })
}
