//! `countersign user`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;

use crate::cli::Global;
use crate::client::{Client, problem_line, segment};
use crate::output;
use crate::say;

/// People.
#[derive(Subcommand)]
pub enum User {
    /// Everybody
    List,
    /// One person
    Show {
        /// E-mail address or id
        user: String,
    },
    /// Add a person; invite them with `countersign invite`
    Add {
        /// E-mail address
        email: String,
        /// Display name
        #[arg(long)]
        name: String,
        /// A group to be in; may be given several times
        #[arg(long = "group")]
        groups: Vec<String>,
        /// From outside the organisation
        #[arg(long)]
        external: bool,
    },
    /// Take people over from a file or from another system; all of them or nobody
    #[command(
        after_help = "A CSV file begins with a line that names its columns: email,name,groups,external,disabled,password_hash (groups with ;\nbetween; only email is needed). People are invited until they enrol: `countersign invite`. Passkeys are never moved.\n\nExample:\n  countersign user import people.csv --format csv --dry-run"
    )]
    Import {
        /// The file
        file: PathBuf,
        /// What it is
        #[arg(long, value_parser = ["authentik", "csv", "kanidm", "keycloak", "ldif", "rauthy", "scim"])]
        format: String,
        /// Take over the rows that fit, and tell of the others
        #[arg(long)]
        partial: bool,
        /// Only tell what would happen
        #[arg(long)]
        dry_run: bool,
        /// Leave hashes of passwords behind
        #[arg(long)]
        no_passwords: bool,
    },
    /// End a person's access everywhere, at once
    Disable {
        /// E-mail address or id
        user: String,
        /// Even if nobody is left who can administer
        #[arg(long)]
        force: bool,
    },
    /// Let a person sign in again; revives no session
    Enable {
        /// E-mail address or id
        user: String,
    },
    /// Help a person back in who lost what they sign in with
    #[command(
        after_help = "A person with a recovery code begins on the sign-in page and reads you the id of the recovery; --approve with that\nid vouches for them and their browser goes on. Without a code, one administrator runs this without options and another\none with --approve and the id it printed, who gets the link."
    )]
    Recover {
        /// E-mail address or id
        user: String,
        /// Vouch for a recovery that is open: you know that it is them, and they read you its id
        #[arg(long, value_name = "CASE")]
        approve: Option<String>,
        /// Stop a recovery that is open
        #[arg(long, conflicts_with = "approve")]
        stop: bool,
        /// Begin anew although one is under way, which ends it
        #[arg(long, conflicts_with_all = ["approve", "stop"])]
        restart: bool,
    },
    /// Who tries to get back in
    Recoveries,
    /// Who asked for their account to be deleted
    Deletions {
        /// Forget the wish of this person, whom you have answered otherwise
        #[arg(long, value_name = "USER")]
        dismiss: Option<String>,
    },
    /// Remove a person with everything that is theirs; without --yes it only tells what that would do
    Delete {
        /// E-mail address or id
        user: String,
        /// Do it
        #[arg(long)]
        yes: bool,
        /// Even if nobody is left who can administer
        #[arg(long)]
        force: bool,
    },
}

impl User {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        let client = Client::find(global)?;
        let answer = match &self {
            User::List => client.get("/api/v1/users").await?,
            User::Show { user } => client.get(&path(user)).await?,
            User::Add { email, name, groups, external } => {
                let body = serde_json::json!({ "email": email, "name": name, "groups": groups, "external": external });
                client.post("/api/v1/users", &body).await?
            }
            User::Import { file, format, partial, dry_run, no_passwords } => {
                let name = file.display().to_string();
                let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}`"))?;
                let body = serde_json::json!({
                    "name": name, "format": format, "text": text,
                    "partial": partial, "dry_run": dry_run, "no_passwords": no_passwords,
                });
                client.post("/api/v1/users/import", &body).await?
            }
            User::Disable { user, force } => {
                client.post(&format!("{}/disable?force={force}", path(user)), &Value::Null).await?
            }
            User::Enable { user } => client.post(&format!("{}/enable", path(user)), &Value::Null).await?,
            User::Recover { user, approve, stop, restart } => {
                let step = match (approve, stop) {
                    (Some(case), _) => serde_json::json!({ "step": "approve", "case": case }),
                    (None, true) => serde_json::json!({ "step": "stop" }),
                    (None, false) => serde_json::json!({ "step": "open", "restart": restart }),
                };
                client.post(&format!("{}/recover", path(user)), &step).await?
            }
            User::Recoveries => client.get("/api/v1/recoveries").await?,
            User::Deletions { dismiss: None } => client.get("/api/v1/deletions").await?,
            User::Deletions { dismiss: Some(user) } => client.delete(&format!("{}/deletion", path(user))).await?,
            User::Delete { user, yes: false, .. } => client.get(&format!("{}/deletion", path(user))).await?,
            User::Delete { user, force, yes: true } => client.delete(&format!("{}?force={force}", path(user))).await?,
        };
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        match &self {
            User::List => {
                let columns = [
                    ("EMAIL", "email"),
                    ("NAME", "name"),
                    ("STATE", "state"),
                    ("GROUPS", "groups"),
                    ("SESSIONS", "sessions"),
                    ("ID", "id"),
                ];
                output::list(&answer, "users", &columns);
            }
            User::Show { .. } | User::Add { .. } => {
                for member in ["id", "email", "name", "state", "groups", "external", "created_at", "sessions"] {
                    say!("{member:<11} {}", output::text(&answer, member));
                }
                if matches!(self, User::Add { .. }) {
                    say!("\nInvite them: countersign invite {}", output::text(&answer, "email"));
                }
            }
            User::Import { dry_run, .. } => told_of_import(&answer, *dry_run),
            User::Disable { user, .. } => say!("{user} is disabled"),
            User::Enable { user } => say!("{user} may sign in again"),
            User::Recover { user, .. } => {
                say!("recovery of {user}: {}", output::text(&answer, "state"));
                if !output::text(&answer, "url").is_empty() {
                    say!("{}", output::text(&answer, "url"));
                    say!(
                        "Until {}, once. It was not mailed: hand it over yourself.",
                        output::text(&answer, "url_expires")
                    );
                } else if !output::text(&answer, "waits_until").is_empty() {
                    say!(
                        "It is proven and opens at {}: they administer. Until then `--stop` ends it.",
                        output::text(&answer, "waits_until")
                    );
                } else if output::text(&answer, "is_proven") == "true" {
                    say!("It is proven: their browser goes on by itself.");
                } else if output::text(&answer, "state") == "open" {
                    say!(
                        "One more proof is needed: another administrator runs `countersign user recover {user} --approve {}`",
                        output::text(&answer, "id")
                    );
                }
            }
            User::Recoveries => {
                let columns = [
                    ("ID", "id"),
                    ("USER", "user"),
                    ("STATE", "state"),
                    ("CODE", "has_code"),
                    ("VOUCHED", "approvals"),
                    ("PROVEN", "is_proven"),
                    ("WAITS UNTIL", "waits_until"),
                    ("BEGAN", "opened"),
                ];
                output::list(&answer, "recoveries", &columns);
            }
            User::Deletions { dismiss: None } => {
                output::list(&answer, "deletions", &[("EMAIL", "email"), ("ASKED", "asked_at"), ("ID", "id")]);
            }
            User::Deletions { dismiss: Some(user) } => say!("the wish of {user} is forgotten"),
            User::Delete { user, yes: false, .. } => {
                told_of_deletion(&answer, user);
                return Ok(ExitCode::FAILURE);
            }
            User::Delete { user, .. } => say!("{user} is deleted"),
        }
        output::revocations(&answer);
        Ok(ExitCode::SUCCESS)
    }
}

/// What `--yes` would do; the exit status says that nothing was done.
fn told_of_deletion(answer: &Value, user: &str) {
    let text = |member: &str| output::text(answer, member);
    if !text("asked_at").is_empty() {
        say!("They asked for it on {}.", text("asked_at"));
    }
    say!("Deleting {} would:", text("email"));
    say!("  end {} sessions, and cut what they have open", text("sessions"));
    say!("  erase name, address, {} passkeys, password, codes and notices", text("passkeys"));
    say!("  take them out of: {}", if text("groups").is_empty() { "no group".to_owned() } else { text("groups") });
    say!("The record keeps what they did, under their id {}. It cannot be undone.", text("id"));
    if answer["is_last_admin"] == true {
        say!("It is refused: nobody else administers. Add another administrator first.");
    }
    if !text("declared_at").is_empty() {
        say!(
            "It is refused: {} declares them. Take them out there and run `countersign apply` first.",
            text("declared_at")
        );
    }
    say!("\nDo it: countersign user delete {user} --yes");
}

fn told_of_import(answer: &Value, is_dry: bool) {
    let count = |member: &str| answer[member].as_array().map_or(0, Vec::len);
    for line in answer["refused"].as_array().into_iter().flatten() {
        say!("{}", problem_line(line));
    }
    let (done, hashes) = (if is_dry { "would be added" } else { "added" }, &answer["password_hashes"]);
    say!("{} {done}, {} refused, {hashes} with the hash of a password", count("added"), count("refused"));
    if answer["passkeys_left_behind"].as_u64().unwrap_or(0) > 0 {
        say!(
            "{} passkeys stay behind: they belong to the site they were made for; people make new ones here",
            answer["passkeys_left_behind"]
        );
    }
    if !is_dry && count("added") > 0 {
        say!("Invite them: countersign invite ADDRESS");
    }
}

fn path(user: &str) -> String {
    format!("/api/v1/users/{}", segment(user))
}
