//! `countersign admin recover --offline`: the way back in when no server runs (ID-2). Whoever can read the data folder
//! has everything in it anyway, so having the host is the proof; that it was used is in the record, and every
//! administrator reads of it.
//!
//! It opens what the server's start opens, by the same code. Invariants: it makes no installation; it never runs beside
//! a server; it leaves no file that the server's user cannot read.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use api::control::Reopened;
use api::http::ShownLink;
use api::{Actor, Failure};
use config::ServerConfig;
use model::seams::Durability;
use model::{AccessId, Clock, Ids, Recorder};
use pip_identity::links::IssuedLink;
use pip_identity::password_hash::HashCost;
use pip_identity::passwords::SEAL_PURPOSE;
use pip_identity::throttle::Throttle;
use pip_identity::{Accounts, PasswordRules};
use serde_json::{Value, json};
use store::OutboxStore;

use crate::roles::ground::{Ground, InUse};
use crate::roles::serve::ServeOptions;
use crate::roles::startup;
use crate::system::{SystemClock, SystemIds};

/// Makes the link for `who`, records it and tells every administrator.
///
/// # Errors
/// A server runs, the folder is not ours, or `who` does not administer. Nothing was changed then.
pub(super) async fn recover(file: &Path, who: &str) -> Result<Value> {
    let config = read(file)?;
    check_folder(&config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let ids: Arc<dyn Ids> = Arc::new(SystemIds);
    let opened = Ground::open(&config, ServeOptions::STANDARD.log_reserves, &clock, &ids).await;
    let ground = opened.map_err(|error| if error.is::<InUse>() { running(who).context(error) } else { error })?;
    let made = reopen(&ground, who, clock.as_ref(), &ids).await;
    ground.close().await;
    let (email, link) = made?;
    let shown = ShownLink::to_recover(&config.auth_url.origin(), &link);
    Ok(json!({ "user": email, "url": shown.url(), "expires": shown.expires(), "mailed": false }))
}

async fn reopen(ground: &Ground, who: &str, clock: &dyn Clock, ids: &Arc<dyn Ids>) -> Result<(String, IssuedLink)> {
    let user = ground.people.user(who)?;
    let now = clock.now();
    let actor = Actor::local_operator(AccessId(ids.uuid_v7(now)));
    let reopened = Reopened::by(&actor, user.id, now, ids.as_ref());
    let link = accounts(ground)?.recovery.from_host(user.id, &actor.name, Some(reopened.note())).await?;
    // Should this fail, the note of it is in the store, and the next start records it.
    let record = reopened.record(&ground.people.directory());
    ground.log.append(record, Durability::Strict).await.map_err(Failure::DoneUnrecorded)?;
    ground.store.forget_note(reopened.id()).await?;
    Ok((user.email.clone(), link))
}

/// No password is looked at here.
fn accounts(ground: &Ground) -> Result<Accounts> {
    let rules = PasswordRules {
        is_enabled: false,
        min_chars: 0,
        admins_need_passkey: true,
        cost: HashCost::STANDARD,
        issuer: String::new(),
        names: Vec::new(),
    };
    let sealer = ground.kek.sealer(SEAL_PURPOSE)?;
    Ok(Accounts::new(&ground.people, &Arc::new(Throttle::new()), sealer, rules)?)
}

fn read(file: &Path) -> Result<ServerConfig> {
    let name = file.display().to_string();
    let text = startup::read(file)?;
    let mut config = ServerConfig::parse(&name, &text).map_err(|problems| anyhow!("{problems}"))?;
    startup::resolve_paths(&mut config, &file.parent().map(PathBuf::from).unwrap_or_default());
    Ok(config)
}

/// Files that another user makes here would keep the server from starting.
fn check_folder(config: &ServerConfig) -> Result<()> {
    let data = config.data_dir.display();
    let found = std::fs::metadata(config.data_dir.join("state.db"));
    let found = found.with_context(|| format!("there is no installation in `{data}`; name its file with -c"))?;
    // From the kernel, as for the peers of the control socket.
    let own = tokio::net::UnixStream::pair()?.0.peer_cred()?.uid();
    if found.uid() != own {
        bail!(
            "`{data}` belongs to user {}; run this as that user, for example with `sudo -u '#{}'`",
            found.uid(),
            found.uid()
        );
    }
    Ok(())
}

fn running(who: &str) -> anyhow::Error {
    anyhow!("run `countersign admin recover {who}` without --offline, or stop the server first")
}
