//! Service accounts and their tokens (ID-9, GW-52): programs that ask in their own name. A service account is no person:
//! it has no way to sign in, no session and nobody who could confirm anything.
//!
//! Not here: what a token opens (the door reads it from the directory) and what follows on live streams.
//!
//! Invariants: a secret is known to whoever asked for it and to nobody else, kept is its SHA-256; a token has at most
//! [`MAX_LIVE_SECRETS`] secrets; disabling an account takes its tokens away, so that enabling it revives nothing; no token
//! is good for our own pages and API.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::app::CONTROL_APP;
use model::directory::{GroupId, MAX_LIVE_SECRETS};
use model::{AppName, ServiceSecret, ServiceToken, ServiceTokenId, Timestamp, TokenHash, UserId};
use pki::secret::{SecretText, random_token};

use crate::directory::{parse_group_id, parse_name};
use crate::people::{Change, Draft, LastAdmin, People, PeopleError};
use crate::store::ServiceRow;

/// How long a secret is good unless somebody says otherwise.
pub const TOKEN_LIFE: Duration = Duration::from_secs(90 * DAY_SECS);
/// The longest life of a secret.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(365 * DAY_SECS);
/// How long the old secret stays good beside the new one.
pub const ROTATION_OVERLAP: Duration = Duration::from_secs(DAY_SECS);
/// How long before its end a token is warned of; the second time urgently.
pub const WARNINGS: [Duration; 2] = [Duration::from_secs(30 * DAY_SECS), Duration::from_secs(7 * DAY_SECS)];
/// The most service accounts.
pub const MAX_SERVICES: usize = 1_000;
/// The most tokens of one account.
pub const MAX_TOKENS: usize = 10;
/// The most apps of one token.
pub const MAX_TOKEN_APPS: usize = 64;
/// What every secret begins with, so that scanners for lost secrets find it.
pub const SECRET_PREFIX: &str = "csk_";
/// How many characters of the secret's SHA-256 follow it, so that a torn copy is told from a revoked secret.
pub const CHECKSUM_CHARS: usize = 6;

const DAY_SECS: u64 = 86_400;

/// A service account to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewService {
    /// Its id.
    pub name: String,
    /// For people; empty: the name.
    pub title: String,
    /// Who answers for it.
    pub owner: Option<UserId>,
    /// Groups to be in.
    pub groups: BTreeSet<GroupId>,
}

/// A token with its secret, which is shown once.
pub struct Issued {
    /// The client id.
    pub id: ServiceTokenId,
    /// The client secret.
    pub secret: SecretText,
    /// From when on it opens nothing.
    pub expires_at: Timestamp,
    /// What changed.
    pub change: Change,
}

/// A secret in its one form: `csk_`, 256 random bits, checksum.
fn secret_of(random: &SecretText) -> SecretText {
    let body = random.expose();
    SecretText::new(format!("{SECRET_PREFIX}{body}{}", checksum(body)))
}

fn checksum(body: &str) -> String {
    let hash = TokenHash::of(body.as_bytes());
    data_encoding::HEXLOWER.encode(&hash.0).chars().take(CHECKSUM_CHARS).collect()
}

/// Whether a text is whole: nothing cut off, nothing mistyped. It says nothing of whether it opens anything.
pub fn is_whole(secret: &str) -> bool {
    let Some(rest) = secret.strip_prefix(SECRET_PREFIX) else { return false };
    let split = rest.len().checked_sub(CHECKSUM_CHARS).and_then(|at| rest.split_at_checked(at));
    split.is_some_and(|(body, sum)| checksum(body) == sum)
}

impl People {
    /// Makes a service account without tokens.
    ///
    /// # Errors
    /// The name is no id or is taken, a group does not exist, or there are too many accounts.
    pub async fn create_service(&self, new: NewService) -> Result<Change, PeopleError> {
        let name = parse_group_id(&new.name).map_err(|_| {
            refuse(format!("`{}` is no name of a service account; use 1 to 63 of a-z, 0-9 and -", cut(&new.name)))
        })?;
        let row = ServiceRow {
            name: Arc::from(name.as_str()),
            title: if new.title.trim().is_empty() { new.name.clone() } else { parse_name(&new.title)? },
            owner: new.owner,
            is_enabled: true,
            groups: new.groups,
            created_at: self.now(),
        };
        self.edit(LastAdmin::Keep, |draft| {
            if draft.services.contains_key(&row.name) {
                return Err(refuse(format!("there is a service account `{}` already", row.name)));
            }
            if draft.services.len() >= MAX_SERVICES {
                return Err(refuse(format!("there are {MAX_SERVICES} service accounts; delete one first")));
            }
            check_groups(draft, &row.groups)?;
            draft.services.insert(Arc::clone(&row.name), row.clone());
            Ok(())
        })
        .await
    }

    /// Puts a service account into exactly these groups.
    ///
    /// # Errors
    /// No such account or group.
    pub async fn set_service_groups(&self, name: &str, groups: BTreeSet<GroupId>) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| {
            check_groups(draft, &groups)?;
            service_mut(draft, name)?.groups.clone_from(&groups);
            Ok(())
        })
        .await
    }

    /// Disables a service account: its tokens are gone for good.
    ///
    /// # Errors
    /// No such account.
    pub async fn disable_service(&self, name: &str) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| {
            service_mut(draft, name)?.is_enabled = false;
            draft.service_tokens.retain(|_, token| *token.service != *name);
            Ok(())
        })
        .await
    }

    /// Lets a service account have tokens again. It has none until somebody makes one.
    ///
    /// # Errors
    /// No such account.
    pub async fn enable_service(&self, name: &str) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| {
            service_mut(draft, name)?.is_enabled = true;
            Ok(())
        })
        .await
    }

    /// Removes a service account with its tokens.
    ///
    /// # Errors
    /// No such account.
    pub async fn delete_service(&self, name: &str) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| {
            service_mut(draft, name)?;
            draft.services.remove(name);
            Ok(())
        })
        .await
    }

    /// Makes a token of a service account for these apps.
    ///
    /// # Errors
    /// No such account, it is disabled, it has too many tokens, or life or apps are not as they may be.
    pub async fn create_service_token(
        &self,
        service: &str,
        apps: BTreeSet<AppName>,
        life: Duration,
    ) -> Result<Issued, PeopleError> {
        check_life(life)?;
        check_apps(&apps)?;
        let now = self.now();
        let id = ServiceTokenId(self.ids().uuid_v7(now));
        let (secret, kept) = self.new_secret(now, life);
        let expires_at = kept.expires_at;
        let change = self
            .edit(LastAdmin::Keep, |draft| {
                let row = service_mut(draft, service)?;
                if !row.is_enabled {
                    return Err(refuse(format!("service account `{service}` is disabled; enable it first")));
                }
                let name = Arc::clone(&row.name);
                if draft.service_tokens.values().filter(|token| token.service == name).count() >= MAX_TOKENS {
                    return Err(refuse(format!("`{service}` has {MAX_TOKENS} tokens; revoke one first")));
                }
                let secrets = vec![kept.clone()];
                let token = ServiceToken { id, service: name, apps: apps.clone(), created_at: now, secrets };
                draft.service_tokens.insert(id, token);
                Ok(())
            })
            .await?;
        Ok(Issued { id, secret, expires_at, change })
    }

    /// Gives a token a new secret. The newest of the old ones stays good for [`ROTATION_OVERLAP`], the others end now.
    ///
    /// # Errors
    /// No such token, or no such life.
    pub async fn rotate_service_token(&self, id: ServiceTokenId, life: Duration) -> Result<Issued, PeopleError> {
        check_life(life)?;
        let now = self.now();
        let (secret, kept) = self.new_secret(now, life);
        let expires_at = kept.expires_at;
        let change = self
            .edit(LastAdmin::Keep, |draft| {
                let token = draft.service_tokens.get_mut(&id);
                let token = token.ok_or_else(|| PeopleError::NoServiceToken(id.to_string()))?;
                token.secrets.truncate(MAX_LIVE_SECRETS - 1);
                for old in &mut token.secrets {
                    old.expires_at = old.expires_at.min(now + ROTATION_OVERLAP);
                }
                token.secrets.insert(0, kept.clone());
                Ok(())
            })
            .await?;
        Ok(Issued { id, secret, expires_at, change })
    }

    /// Takes a token away, both secrets at once.
    ///
    /// # Errors
    /// No such token.
    pub async fn revoke_service_token(&self, id: ServiceTokenId) -> Result<Change, PeopleError> {
        self.edit(LastAdmin::Keep, |draft| match draft.service_tokens.remove(&id) {
            Some(_) => Ok(()),
            None => Err(PeopleError::NoServiceToken(id.to_string())),
        })
        .await
    }

    fn new_secret(&self, now: Timestamp, life: Duration) -> (SecretText, ServiceSecret) {
        let secret = secret_of(&random_token(self.ids()));
        let hash = TokenHash::of(secret.expose().as_bytes());
        (secret, ServiceSecret { hash, created_at: now, expires_at: now + life })
    }
}

fn service_mut<'d>(draft: &'d mut Draft, name: &str) -> Result<&'d mut ServiceRow, PeopleError> {
    draft.services.get_mut(name).ok_or_else(|| PeopleError::NoService(cut(name)))
}

fn check_groups(draft: &Draft, groups: &BTreeSet<GroupId>) -> Result<(), PeopleError> {
    match groups.iter().find(|group| !draft.groups.contains_key(*group)) {
        Some(missing) => Err(PeopleError::NoGroup(missing.to_string())),
        None => Ok(()),
    }
}

fn check_life(life: Duration) -> Result<(), PeopleError> {
    if life.is_zero() || life > MAX_TOKEN_LIFE {
        return Err(refuse("a token lives for 1 to 365 days".to_owned()));
    }
    Ok(())
}

fn check_apps(apps: &BTreeSet<AppName>) -> Result<(), PeopleError> {
    if apps.is_empty() || apps.len() > MAX_TOKEN_APPS {
        return Err(refuse(format!("a token is for 1 to {MAX_TOKEN_APPS} apps; name them")));
    }
    if apps.iter().any(|app| app.as_str() == CONTROL_APP) {
        return Err(refuse(format!("no service token is good for `{CONTROL_APP}` itself; people administer")));
    }
    Ok(())
}

fn refuse(why: String) -> PeopleError {
    PeopleError::Service(why)
}

fn cut(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_secret_is_told_from_a_whole_one() {
        let secret = secret_of(&SecretText::new("A".repeat(43)));
        let secret = secret.expose();
        assert!(secret.starts_with("csk_") && is_whole(secret));
        for end in 0..secret.len() {
            assert!(!is_whole(secret.get(..end).unwrap()), "{end}");
        }
        assert!(!is_whole(&secret.replacen('A', "B", 1)) && !is_whole("csk_é"));
    }
}
