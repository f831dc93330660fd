//! Configurations that wait for approval, in SQLite.

use model::ids::Digest32;
use model::{BoxFuture, Timestamp, UserId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::Store;
use super::config::{check_config_size, expect_live};
use super::outbox::put_note;
use super::rows::{Columns, to_integer};
use crate::config::ConfigFile;
use crate::error::StoreError;
use crate::outbox::Note;
use crate::proposals::{Approval, Kept, MAX_KEPT_APPROVALS, MAX_PROPOSALS, Proposal, ProposalStore};

impl ProposalStore for Store {
    fn propose(
        &self,
        proposal: Proposal,
        files: Vec<ConfigFile>,
        forgotten: Timestamp,
        note: Note,
    ) -> BoxFuture<'_, Result<Kept, StoreError>> {
        Box::pin(async move {
            let kept = self.put_proposal(&proposal, &files, forgotten, &note).await;
            kept.map_err(|error| error.at(self.path()))
        })
    }

    fn approve(&self, digest: Digest32, approval: Approval, note: Note) -> BoxFuture<'_, Result<Kept, StoreError>> {
        Box::pin(async move { self.put_approval(digest, approval, &note).await.map_err(|error| error.at(self.path())) })
    }

    fn withdraw(&self, digest: Digest32, note: Note) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.delete_proposal(digest, &note).await.map_err(|error| error.at(self.path())) })
    }

    fn proposals(&self) -> BoxFuture<'_, Result<Vec<Proposal>, StoreError>> {
        Box::pin(async move { self.read_proposals().await.map_err(|error| error.at(self.path())) })
    }

    fn proposed_files(&self, digest: Digest32) -> BoxFuture<'_, Result<Option<Vec<ConfigFile>>, StoreError>> {
        Box::pin(async move { self.read_proposed_files(digest).await.map_err(|error| error.at(self.path())) })
    }
}

impl Store {
    async fn put_proposal(
        &self,
        proposal: &Proposal,
        files: &[ConfigFile],
        forgotten: Timestamp,
        note: &Note,
    ) -> Result<Kept, StoreError> {
        check_config_size(files, proposal.author_name.len() + proposal.reason.len())?;
        let mut transaction = self.write().await?;
        expect_live(&mut transaction, proposal.base).await?;
        sqlx::query("DELETE FROM config_proposals WHERE proposed_at <= ?")
            .bind(forgotten.0)
            .execute(&mut *transaction)
            .await?;
        if is_waiting(&mut transaction, proposal.digest).await? {
            return Ok(Kept::Already);
        }
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM config_proposals").fetch_one(&mut *transaction).await?;
        if usize::try_from(waiting).is_ok_and(|waiting| waiting >= MAX_PROPOSALS) {
            return Ok(Kept::No);
        }
        insert(&mut transaction, proposal, files).await?;
        put_note(&mut transaction, note).await?;
        transaction.commit().await?;
        Ok(Kept::Yes)
    }

    async fn put_approval(&self, digest: Digest32, approval: Approval, note: &Note) -> Result<Kept, StoreError> {
        let mut transaction = self.write().await?;
        if !is_waiting(&mut transaction, digest).await? {
            return Ok(Kept::No);
        }
        let approvals = approvals_of(&mut transaction, digest).await?;
        if approvals.iter().any(|kept| kept.who == approval.who) {
            return Ok(Kept::Already);
        }
        if approvals.len() >= MAX_KEPT_APPROVALS {
            return Ok(Kept::No);
        }
        sqlx::query("INSERT INTO config_approvals (digest, who, at) VALUES (?, ?, ?)")
            .bind(digest.0.to_vec())
            .bind(approval.who.0.as_bytes().to_vec())
            .bind(approval.at.0)
            .execute(&mut *transaction)
            .await?;
        put_note(&mut transaction, note).await?;
        transaction.commit().await?;
        Ok(Kept::Yes)
    }

    async fn delete_proposal(&self, digest: Digest32, note: &Note) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        if !is_waiting(&mut transaction, digest).await? {
            return Ok(false);
        }
        sqlx::query("DELETE FROM config_proposals WHERE digest = ?")
            .bind(digest.0.to_vec())
            .execute(&mut *transaction)
            .await?;
        put_note(&mut transaction, note).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn read_proposals(&self) -> Result<Vec<Proposal>, StoreError> {
        let mut view = self.read().await?;
        let rows =
            sqlx::query("SELECT * FROM config_proposals ORDER BY proposed_at, digest").fetch_all(&mut *view).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let approvals = approvals_of(&mut view, Digest32(row.bytes("digest")?)).await?;
            found.push(proposal(row, approvals)?);
        }
        Ok(found)
    }

    async fn read_proposed_files(&self, digest: Digest32) -> Result<Option<Vec<ConfigFile>>, StoreError> {
        let mut view = self.read().await?;
        if !is_waiting(&mut view, digest).await? {
            return Ok(None);
        }
        let rows = sqlx::query("SELECT name, text FROM config_proposal_files WHERE digest = ? ORDER BY position")
            .bind(digest.0.to_vec())
            .fetch_all(&mut *view)
            .await?;
        let file = |row: &SqliteRow| Ok(ConfigFile { name: row.text("name")?, text: row.text("text")? });
        rows.iter().map(file).collect::<Result<_, StoreError>>().map(Some)
    }
}

/// Forgets whatever waits, within the transaction that makes another version live.
pub(super) async fn forget_proposals(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM config_proposals").execute(connection).await?;
    Ok(())
}

async fn is_waiting(connection: &mut SqliteConnection, digest: Digest32) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT base FROM config_proposals WHERE digest = ?").bind(digest.0.to_vec());
    Ok(row.fetch_optional(connection).await?.is_some())
}

async fn approvals_of(connection: &mut SqliteConnection, digest: Digest32) -> Result<Vec<Approval>, StoreError> {
    let rows = sqlx::query("SELECT who, at FROM config_approvals WHERE digest = ? ORDER BY at, who")
        .bind(digest.0.to_vec())
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(Approval { who: UserId(row.uuid("who")?), at: row.time("at")? })).collect()
}

async fn insert(
    connection: &mut SqliteConnection,
    proposal: &Proposal,
    files: &[ConfigFile],
) -> Result<(), StoreError> {
    let goes_back_to = proposal.goes_back_to.map(|number| to_integer("configuration number", number)).transpose()?;
    sqlx::query(
        "INSERT INTO config_proposals (digest, base, author_id, author, reason, allows_lockout, goes_back_to, \
         proposed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(proposal.digest.0.to_vec())
    .bind(to_integer("configuration number", proposal.base)?)
    .bind(proposal.author.map(|id| id.0.as_bytes().to_vec()))
    .bind(proposal.author_name.clone())
    .bind(proposal.reason.clone())
    .bind(proposal.allows_lockout)
    .bind(goes_back_to)
    .bind(proposal.proposed_at.0)
    .execute(&mut *connection)
    .await?;
    for (position, file) in (0_i64..).zip(files) {
        sqlx::query("INSERT INTO config_proposal_files (digest, position, name, text) VALUES (?, ?, ?, ?)")
            .bind(proposal.digest.0.to_vec())
            .bind(position)
            .bind(file.name.clone())
            .bind(file.text.clone())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn proposal(row: &SqliteRow, approvals: Vec<Approval>) -> Result<Proposal, StoreError> {
    let is_rollback = row.try_get::<Option<i64>, _>("goes_back_to")?.is_some();
    Ok(Proposal {
        digest: Digest32(row.bytes("digest")?),
        base: row.count("base")?,
        author: row.maybe_uuid("author_id")?.map(UserId),
        author_name: row.text("author")?,
        reason: row.text("reason")?,
        allows_lockout: row.flag("allows_lockout")?,
        goes_back_to: if is_rollback { Some(row.count("goes_back_to")?) } else { None },
        proposed_at: row.time("proposed_at")?,
        approvals,
    })
}
