//! `countersign audit` (AUD-1 to AUD-5).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::Global;
use crate::client::{Client, segment};
use crate::output;
use crate::say;

/// The record: query, explain, tail, verify, drill.
#[derive(Subcommand)]
pub enum Audit {
    /// What accessed what, newest first
    #[command(
        after_help = "Examples:\n  countersign audit query --who alice@example.org --since 7d --effect deny\n  countersign audit query --what payroll --csv > payroll.csv"
    )]
    Query {
        #[expect(missing_docs, reason = "flattened: a doc comment would become help text")]
        #[command(flatten)]
        filters: Filters,
        /// Answer as CSV
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
    /// One access: the decision in a sentence, who, why, how it ended
    Explain {
        /// The id of a request or of a decision, from a page, a response or a query
        id: String,
    },
    /// Do to the record what disks and intruders do, and see that it notices and loses nothing
    #[command(
        after_help = "Without parts: all of them, on a shadow log in a temporary folder. --live drills the real log: while it\nis full, requests are refused for a moment.\n\nExit 0: something was drilled and nothing failed; 1: not.\n\nExamples:\n  countersign audit drill\n  countersign audit drill --delete-file --live --yes"
    )]
    Drill {
        #[expect(missing_docs, reason = "flattened: a doc comment would become help text")]
        #[command(flatten)]
        parts: DrillParts,
        /// On the real log
        #[arg(long)]
        live: bool,
        /// Do not ask before touching the real log
        #[arg(long)]
        yes: bool,
    },
    /// Where the record goes beside the log
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Recompute checksums, numbers and tree of the whole log from its files; needs no server
    #[command(
        after_help = "Exit 0: everything is there and fits; 1: not, and where.\n\nExample:\n  countersign audit verify /var/lib/countersign/audit"
    )]
    Verify {
        /// The folder `audit` in the data folder
        folder: PathBuf,
    },
    /// Follow the record
    Tail {
        #[expect(missing_docs, reason = "flattened: a doc comment would become help text")]
        #[command(flatten)]
        filters: Filters,
    },
}

/// Sinks are written into the process configuration, as `[[audit.sink]]`.
#[derive(Subcommand)]
pub enum SinkCommand {
    /// Every sink: where to, how far behind, what went wrong last
    List,
    /// Send one marked line now, beside what waits
    Test {
        /// Its name
        name: String,
    },
}

/// What is drilled.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line are that")]
pub struct DrillParts {
    /// No room on the disk
    #[arg(long)]
    disk_full: bool,
    /// Sinks hang
    #[arg(long)]
    sink_hang: bool,
    /// The current file is deleted
    #[arg(long)]
    delete_file: bool,
    /// The newest record is overwritten
    #[arg(long)]
    corrupt: bool,
    /// The wall clock is set by an hour
    #[arg(long)]
    clock_jump: bool,
}

impl DrillParts {
    fn names(&self) -> Vec<&'static str> {
        [
            ("disk_full", self.disk_full),
            ("sink_hang", self.sink_hang),
            ("delete_file", self.delete_file),
            ("corrupt", self.corrupt),
            ("clock_jump", self.clock_jump),
        ]
        .into_iter()
        .filter_map(|(name, is_asked)| is_asked.then_some(name))
        .collect()
    }
}

/// Filters; the same names as in the API.
#[derive(Args)]
pub struct Filters {
    /// E-mail address, id, `local-operator` or `anonymous`
    #[arg(long)]
    who: Option<String>,
    /// App or resource
    #[arg(long)]
    what: Option<String>,
    /// Also reads of the product's own files: styles, scripts, published keys; CSV and exports always have them
    #[arg(long)]
    all: bool,
    /// e.g. http.get
    #[arg(long)]
    action: Option<String>,
    /// allow, deny or step_up
    #[arg(long)]
    effect: Option<String>,
    /// Reason code, e.g. deny.default
    #[arg(long)]
    reason: Option<String>,
    /// App name
    #[arg(long)]
    app: Option<String>,
    /// Only records below this sequence number: the next page
    #[arg(long)]
    before: Option<String>,
    /// http, control, system or audit
    #[arg(long)]
    door: Option<String>,
    /// Address or block, e.g. 192.0.2.0/24
    #[arg(long)]
    ip: Option<String>,
    /// Country of the client; no record has one yet
    #[arg(long)]
    country: Option<String>,
    /// Grant that allowed it; no record has one yet
    #[arg(long)]
    grant: Option<String>,
    /// Data label, e.g. confidential
    #[arg(long)]
    label: Option<String>,
    /// Session id
    #[arg(long)]
    session: Option<String>,
    /// Public handle of a credential
    #[arg(long)]
    credential: Option<String>,
    /// Policy id
    #[arg(long)]
    policy: Option<String>,
    /// Request id
    #[arg(long)]
    access: Option<String>,
    /// Trace id
    #[arg(long)]
    trace: Option<String>,
    /// Record type, e.g. access.decision
    #[arg(long = "type")]
    kind: Option<String>,
    /// A time (RFC 3339) or an age: 90m, 7d (default: 24h ago)
    #[arg(long)]
    since: Option<String>,
    /// A time (RFC 3339) or an age
    #[arg(long)]
    until: Option<String>,
    /// Most rows (default 100); more than 1000 take the right audit.export
    #[arg(long)]
    limit: Option<String>,
}

impl Filters {
    fn pairs(self) -> Vec<(&'static str, String)> {
        [
            ("all", (!self.all).then(|| "no".to_owned())),
            ("who", self.who),
            ("what", self.what),
            ("action", self.action),
            ("effect", self.effect),
            ("reason", self.reason),
            ("app", self.app),
            ("door", self.door),
            ("ip", self.ip),
            ("country", self.country),
            ("grant", self.grant),
            ("label", self.label),
            ("session", self.session),
            ("before", self.before),
            ("credential", self.credential),
            ("policy", self.policy),
            ("access", self.access),
            ("trace", self.trace),
            ("type", self.kind),
            ("since", self.since),
            ("until", self.until),
            ("limit", self.limit),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
    }
}

/// The columns of the table: heading, and the members tried in order.
const COLUMNS: &[(&str, &[&str])] = &[
    ("TIME", &["time"]),
    ("TYPE", &["type"]),
    ("WHO", &["subject_email", "subject", "subject_id", "subject_kind"]),
    ("ACTION", &["action"]),
    ("WHAT", &["resource", "object_id"]),
    ("EFFECT", &["effect"]),
    ("REASON", &["reason", "change"]),
    ("STATUS", &["status"]),
    ("REQUEST", &["access_id"]),
];

impl Audit {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            Audit::Verify { folder } => return verify(&folder, global.json),
            Audit::Drill { parts, live, yes } => return drill(global, &parts, live, yes).await,
            Audit::Query { filters, csv } => query(&Client::find(global)?, global, filters, csv).await?,
            Audit::Explain { id } => {
                let story = Client::find(global)?.get(&format!("/api/v1/audit/records/{}", segment(&id))).await?;
                if global.json {
                    output::json(&story);
                } else {
                    say!("{}", output::text(&story, "text"));
                }
            }
            Audit::Sink(SinkCommand::List) => {
                let answer = Client::find(global)?.get("/api/v1/audit/sinks").await?;
                if global.json {
                    output::json(&answer);
                } else {
                    sinks(&answer);
                }
            }
            Audit::Sink(SinkCommand::Test { name }) => {
                let path = format!("/api/v1/audit/sinks/{}/test", segment(&name));
                let answer = Client::find(global)?.post(&path, &serde_json::json!({})).await?;
                if global.json {
                    output::json(&answer);
                } else {
                    let text = |member| output::text(&answer, member);
                    say!("taken: a line with `uid` `{}` is now at {}", text("uid"), text("target"));
                }
            }
            Audit::Tail { filters } => tail(&Client::find(global)?, global, filters).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn drill(global: &Global, parts: &DrillParts, live: bool, yes: bool) -> Result<ExitCode> {
    let client = Client::find(global)?;
    if live && !yes {
        anyhow::bail!("this touches the real log, and requests are refused for a moment; say so with `--yes`");
    }
    let report =
        client.post("/api/v1/audit/drill", &serde_json::json!({ "rungs": parts.names(), "live": live })).await?;
    let has_passed = report.get("passed").and_then(Value::as_bool) == Some(true);
    if global.json {
        output::json(&report);
    } else {
        let cells = |found: &Value| {
            let took = output::text(found, "detected_in_ms");
            let took = if took.is_empty() { "-".to_owned() } else { format!("{took} ms") };
            vec![output::text(found, "rung"), output::text(found, "outcome"), took, output::text(found, "detail")]
        };
        let rungs = report.get("rungs").and_then(Value::as_array);
        output::table(
            &["PART", "OUTCOME", "SEEN IN", "WHAT HAPPENED"],
            &rungs.into_iter().flatten().map(cells).collect::<Vec<_>>(),
        );
        say!(
            "\n{}",
            if has_passed {
                "the drill has passed and is recorded"
            } else {
                "the drill has NOT passed; it is recorded"
            }
        );
    }
    Ok(if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line a sink; what is wrong with it below.
fn sinks(answer: &Value) {
    let all: Vec<&Value> = answer.get("sinks").and_then(Value::as_array).into_iter().flatten().collect();
    if all.is_empty() {
        say!("there is no sink; write `[[audit.sink]]` into the process configuration (docs/record.md)");
        return;
    }
    let members = ["name", "type", "target", "state", "behind", "delivered", "dead_letters", "last_delivered"];
    let row = |sink: &&Value| members.iter().map(|member| output::text(sink, member)).collect();
    output::table(
        &["SINK", "TYPE", "WHERE TO", "STATE", "BEHIND", "DELIVERED", "DEAD LETTERS", "LAST"],
        &all.iter().map(row).collect::<Vec<Vec<String>>>(),
    );
    for sink in all {
        let error = output::text(sink, "last_error");
        if !error.is_empty() {
            say!("\n{}: {}", output::text(sink, "name"), audit::render::escape(&error));
        }
    }
}

fn verify(folder: &Path, is_json: bool) -> Result<ExitCode> {
    let found =
        audit::verify::verify(folder).with_context(|| format!("cannot read the log in `{}`", folder.display()))?;
    let problems: Vec<String> = found.problems.iter().map(ToString::to_string).collect();
    if is_json {
        output::json(&serde_json::json!({
            "segments": found.segments,
            "records": found.records,
            "epochs": found.epochs.len(),
            "unfinished_write": found.is_torn,
            "drills": found.drills,
            "problems": problems,
        }));
    } else {
        say!("{} records in {} segments, {} epochs", found.records, found.segments, found.epochs.len());
        found.drills.iter().for_each(|drill| say!("drilled: {}", audit::render::escape(drill)));
        problems.iter().for_each(|problem| say!("wrong: {problem}"));
        if problems.is_empty() {
            say!("everything is there and fits");
        }
    }
    // A log without a single segment proves nothing.
    let proves = problems.is_empty() && found.segments > 0;
    Ok(if proves { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn query(client: &Client, global: &Global, mut filters: Filters, csv: bool) -> Result<()> {
    // What is taken along is the record as it is.
    filters.all |= csv;
    let is_export = filters.limit.as_deref().and_then(|limit| limit.parse().ok()) > Some(audit::query::PAGE_LIMIT);
    let path = if is_export { "/api/v1/audit/export" } else { "/api/v1/audit/records" };
    let answer = client.get_with(path, &filters.pairs()).await?;
    let records = answer.get("records").and_then(Value::as_array).cloned().unwrap_or_default();
    if global.json {
        output::json(&answer);
    } else if csv {
        print_csv(&records);
    } else {
        let head: Vec<&str> = COLUMNS.iter().map(|(head, _)| *head).collect();
        let rows: Vec<Vec<String>> = records.iter().map(row).collect();
        output::table(&head, &rows);
        let counted: u64 = records.iter().filter_map(|record| record.get("count")?.as_u64()).sum();
        if counted > 0 {
            say!("\n{counted} refusals are only counted, in the rows of type access.flood");
        }
        let left_out = match answer.get("left_out").and_then(Value::as_u64) {
            None | Some(0) => String::new(),
            Some(left_out) => format!(", {left_out} reads of our own files left out (`--all` shows them)"),
        };
        let more = if answer.get("has_more").and_then(Value::as_bool) == Some(true) {
            ", more match: raise --limit"
        } else {
            ""
        };
        say!(
            "\n{} shown, {} looked at, {}{left_out}{more}",
            records.len(),
            output::text(&answer, "scanned"),
            output::text(&answer, "coverage")
        );
    }
    Ok(())
}

async fn tail(client: &Client, global: &Global, filters: Filters) -> Result<()> {
    let pairs = filters.pairs();
    let mut from: Option<String> = None;
    loop {
        let mut query = pairs.clone();
        query.extend(from.iter().map(|from| ("from", from.clone())));
        let answer = tokio::select! {
            answer = client.get_with("/api/v1/audit/tail", &query) => answer?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        from = Some(output::text(&answer, "next"));
        for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
            match (item.get("record"), item.get("skipped")) {
                (Some(record), _) if global.json => say!("{record}"),
                (Some(record), _) => say!(
                    "{}",
                    row(record).iter().map(|cell| audit::render::escape(cell)).collect::<Vec<_>>().join("  ")
                ),
                (None, Some(skipped)) => say!("skipped {skipped} records, use `countersign audit query`"),
                (None, None) => say!("{item}"),
            }
        }
    }
}

fn row(record: &Value) -> Vec<String> {
    let first = |members: &[&str]| {
        members.iter().map(|member| output::text(record, member)).find(|text| !text.is_empty()).unwrap_or_default()
    };
    COLUMNS.iter().map(|(_, members)| first(members)).collect()
}

/// All members of all records, formula-safe (AUD-14).
fn print_csv(records: &[Value]) {
    let mut names: Vec<String> = Vec::new();
    for name in records.iter().filter_map(Value::as_object).flat_map(|record| record.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    say!("{}", names.join(","));
    for record in records {
        let cells: Vec<String> =
            names.iter().map(|name| audit::render::csv_cell(&output::text(record, name))).collect();
        say!("{}", cells.join(","));
    }
}
