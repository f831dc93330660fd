//! Directory rows out of SQLite.

use std::collections::{BTreeMap, BTreeSet};

use model::{GroupId, InvitationId, Timestamp, TokenHash, UserId, UserState};
use pip_identity::store::{
    DirectoryRows, GroupRow, LinkKind, LinkRow, LinkState, MembershipRow, MembershipSource, Origin, PasskeyRow, UserRow,
};
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;
use crate::sqlite::Store;
use crate::sqlite::rows::Columns;

const LINK_KINDS: &[LinkKind] = &[LinkKind::Invitation, LinkKind::Recovery, LinkKind::SetUp];
const LINK_STATES: &[LinkState] = &[LinkState::Open, LinkState::Used, LinkState::Voided];
const SOURCES: &[MembershipSource] = &[MembershipSource::Applied, MembershipSource::External];
const USER_STATES: &[UserState] = &[UserState::Active, UserState::Disabled, UserState::Invited];

impl Store {
    pub(super) async fn directory_rows(&self) -> Result<DirectoryRows, StoreError> {
        let mut view = self.read().await?;
        let version = sqlx::query("SELECT version FROM directory_version").fetch_one(&mut *view).await?;
        let users = sqlx::query("SELECT * FROM users ORDER BY id").fetch_all(&mut *view).await?;
        let groups = sqlx::query("SELECT * FROM groups ORDER BY id").fetch_all(&mut *view).await?;
        let memberships =
            sqlx::query("SELECT * FROM memberships ORDER BY group_id, user").fetch_all(&mut *view).await?;
        let awaiting = sqlx::query("SELECT user FROM awaiting_codes").fetch_all(&mut *view).await?;
        let wishes = sqlx::query("SELECT * FROM deletion_wishes").fetch_all(&mut *view).await?;
        let (services, service_tokens) = super::services::rows(&mut view).await?;
        Ok(DirectoryRows {
            services,
            service_tokens,
            version: version.count("version")?,
            users: users.iter().map(user).collect::<Result<_, _>>()?,
            groups: groups.iter().map(group).collect::<Result<_, _>>()?,
            memberships: memberships.iter().map(membership).collect::<Result<_, _>>()?,
            deletion_wishes: wishes.iter().map(wish).collect::<Result<_, _>>()?,
            awaiting_codes: awaiting.iter().map(|row| row.uuid("user").map(UserId)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) async fn passkey_row(&self, credential_id: &[u8]) -> Result<Option<PasskeyRow>, StoreError> {
        let mut view = self.read().await?;
        let row = sqlx::query("SELECT * FROM passkeys WHERE credential_id = ?")
            .bind(credential_id.to_vec())
            .fetch_optional(&mut *view)
            .await?;
        row.as_ref().map(passkey).transpose()
    }

    pub(super) async fn passkey_rows(&self, user: UserId) -> Result<Vec<PasskeyRow>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT * FROM passkeys WHERE user = ? ORDER BY created_at, credential_id")
            .bind(user.as_bytes().to_vec())
            .fetch_all(&mut *view)
            .await?;
        rows.iter().map(passkey).collect()
    }

    pub(super) async fn link_row(&self, secret_hash: TokenHash) -> Result<Option<LinkRow>, StoreError> {
        let mut view = self.read().await?;
        let row = sqlx::query("SELECT * FROM links WHERE secret_hash = ?")
            .bind(secret_hash.0.to_vec())
            .fetch_optional(&mut *view)
            .await?;
        row.as_ref().map(link).transpose()
    }

    pub(super) async fn link_rows(&self) -> Result<Vec<LinkRow>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT * FROM links ORDER BY created_at DESC, id").fetch_all(&mut *view).await?;
        rows.iter().map(link).collect()
    }

    pub(super) async fn recovery_codes(&self, user: UserId) -> Result<Vec<TokenHash>, StoreError> {
        let mut view = self.read().await?;
        let rows = sqlx::query("SELECT code FROM recovery_codes WHERE user = ?")
            .bind(user.as_bytes().to_vec())
            .fetch_all(&mut *view)
            .await?;
        rows.iter().map(|row| row.bytes("code").map(TokenHash)).collect()
    }
}

fn wish(row: &SqliteRow) -> Result<(UserId, Timestamp), StoreError> {
    Ok((UserId(row.uuid("user")?), row.time("asked_at")?))
}

fn user(row: &SqliteRow) -> Result<UserRow, StoreError> {
    let tags = row.text("tags")?;
    let tags: BTreeMap<String, BTreeSet<String>> =
        serde_json::from_str(&tags).map_err(|_| StoreError::malformed("tags", tags))?;
    Ok(UserRow {
        id: UserId(row.uuid("id")?),
        email: row.text("email")?,
        name: row.text("name")?,
        state: row.word("state", USER_STATES, UserState::as_str)?,
        is_external: row.flag("is_external")?,
        created_at: row.time("created_at")?,
        epoch: row.count("epoch")?,
        tags,
        origin: origin(row)?,
        handle: row.bytes("handle")?,
    })
}

fn group(row: &SqliteRow) -> Result<GroupRow, StoreError> {
    let parents: Vec<String> = row.strings("parents")?;
    Ok(GroupRow {
        id: GroupId::new(&row.text("id")?),
        title: row.text("title")?,
        parents: parents.iter().map(|parent| GroupId::new(parent)).collect(),
        origin: origin(row)?,
        membership: row.word("membership", SOURCES, MembershipSource::as_str)?,
    })
}

fn origin(row: &SqliteRow) -> Result<Origin, StoreError> {
    let is_disabled = row.flag("is_disabled_by_file")?;
    Ok(match row.maybe_text("declared_at")? {
        Some(declared_at) => Origin::Applied { declared_at, is_disabled },
        None => Origin::Local,
    })
}

fn membership(row: &SqliteRow) -> Result<MembershipRow, StoreError> {
    Ok(MembershipRow {
        group: GroupId::new(&row.text("group_id")?),
        user: UserId(row.uuid("user")?),
        source: row.word("source", SOURCES, MembershipSource::as_str)?,
    })
}

fn passkey(row: &SqliteRow) -> Result<PasskeyRow, StoreError> {
    let counter = row.integer("counter")?;
    Ok(PasskeyRow {
        credential_id: row.blob("credential_id")?,
        user: UserId(row.uuid("user")?),
        name: row.text("name")?,
        created_at: row.time("created_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        counter: u32::try_from(counter).map_err(|_| StoreError::malformed("counter", counter))?,
        is_backup_eligible: row.flag("is_backup_eligible")?,
        is_backed_up: row.flag("is_backed_up")?,
        credential: row.blob("credential")?,
    })
}

fn link(row: &SqliteRow) -> Result<LinkRow, StoreError> {
    Ok(LinkRow {
        id: InvitationId(row.uuid("id")?),
        secret_hash: TokenHash(row.bytes("secret_hash")?),
        kind: row.word("kind", LINK_KINDS, LinkKind::as_str)?,
        user: row.maybe_uuid("user")?.map(UserId),
        created_by: row.text("created_by")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        state: row.word("state", LINK_STATES, LinkState::as_str)?,
        ended_at: row.maybe_time("ended_at")?,
    })
}
