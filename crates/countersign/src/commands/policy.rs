//! `countersign policy`: tests and lints over files, without a server; what runs, and why it answers so, from a server.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use api::Failure;
use api::control::{Checked, Coverage, RowResult, TestReport, check_files};
use clap::{Args, Subcommand};
use config::{Known, SourceFile};
use serde_json::{Value, json};

use super::apply::read;
use super::{policy_approvals, policy_versions};
use crate::cli::Global;
use crate::client::Client;
use crate::output;
use crate::say;

/// What findings are about, for the help text.
const LINTS: &str =
    "Mistakes refuse the files: a policy without @id or with an unknown @class (L-1), extension functions (L-10), and
whatever does not fit the schema. Findings only tell:
  L-2   an app with routes named by `==`, which covers none of them
  L-3   a soft forbid that holds whatever remedies are done
  L-4   a permit that opens by an approval, whatever risk and device are
  L-5   a fix done where a device that needs it cannot go
  L-6   a permit under a forbid without condition
  L-7   arithmetic with facts, which may overflow
  L-8   a time compared with something else than a number
  L-9   a pattern on a path without whole segments
  L-11  a text that a fact never is
  L-12  a permit for everyone without condition
  L-13  many policies without resource scope
  L-14  a fact about a device, whatever its age
  L-15  a forbid that a remedy turns on
  L-16  a group, app or route that does not exist
and facts that nothing brings yet, apps nobody can enter or without sensitivity, permits on one route alone, unknown
annotations, and rules by path that an opened path form weakens.

Exit code: 0 with or without findings, 2 the files cannot be used.

Example:
  countersign policy lint config/";

/// The auth host of files that are looked at without a server.
const NO_AUTH_HOST: &str = "countersign.invalid";

/// Policies: test, lint, show, why they answer so, versions, rollback, approvals.
#[derive(Subcommand)]
pub enum Policy {
    /// Ask the rows of all PolicyTest tables; no server needed
    #[command(
        after_help = "Exit code: 0 all rows as wanted, 1 some are not, 2 the files cannot be used.\n\nExample:\n  countersign policy test config/ --min-coverage 80"
    )]
    Test(Test),
    /// What to look at in files: mistakes and findings; no server needed
    #[command(after_help = LINTS)]
    Lint(Files),
    /// Policies as they run, simple rules among them
    #[command(after_help = "Example:\n  countersign policy show --cedar app/payroll")]
    Show(Show),
    /// What somebody would get, or why a recorded decision went as it did
    #[command(
        after_help = "Facts not named are those of somebody signed in with a passkey on a device in order.\nA recorded decision is asked again with its own facts, of the policies of now.\n\nExample:\n  countersign policy explain --principal alice@example.org --action http.delete --resource payroll/records \\\n    --fact auth.mfa=false --ways-in\n  countersign policy explain --decision agrahlmpnzzhvmtibjhd646mgm"
    )]
    Explain(Explain),
    /// Make what waits for approval live without it, when nobody is there who could approve
    Approve(policy_approvals::Approve),
    /// What waits for approval
    Proposals(policy_approvals::Proposals),
    /// Make an earlier version of the configuration live again
    Rollback(policy_versions::Rollback),
    /// The kept versions of the configuration, and which one runs
    Versions,
    /// Take back, or refuse for good, what waits for approval
    Withdraw(policy_approvals::Withdraw),
}

/// Files that are looked at without a server.
#[derive(Args)]
pub struct Files {
    /// Folders or files with .yaml, .cedar, .cedarschema and .pem files, read as one
    #[arg(value_name = "PATH", conflicts_with = "named")]
    files: Vec<PathBuf>,
    /// The same, as `check -f` takes it; without either, the folder one is in
    #[arg(short = 'f', long = "files", value_name = "PATH")]
    named: Vec<PathBuf>,
}

/// Options of `policy test`.
#[derive(Args)]
pub struct Test {
    #[command(flatten)]
    files: Files,
    /// Also list policies that no row reaches
    #[arg(long)]
    coverage: bool,
    /// Fail below this share of policies that decide some row, in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
}

/// Options of `policy show`.
#[derive(Args)]
pub struct Show {
    /// `app/NAME` for the rules of an app, or the id of a policy; without it all
    id: Option<String>,
    /// The text that runs
    #[arg(long)]
    cedar: bool,
}

/// Options of `policy explain`.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("question").required(true).args(["decision", "principal"]))]
pub struct Explain {
    /// A recorded decision: its id, or that of the request
    #[arg(long, value_name = "ID", conflicts_with_all = ["principal", "action", "resource", "facts"])]
    decision: Option<String>,
    /// E-mail address or id of a person, a SPIFFE ID, or `anonymous`
    #[arg(long, requires = "resource")]
    principal: Option<String>,
    /// e.g. http.delete; without it http.get
    #[arg(long)]
    action: Option<String>,
    /// `APP` or `APP/ROUTE`
    #[arg(long)]
    resource: Option<String>,
    /// A fact by name, e.g. auth.mfa=false; may be repeated
    #[arg(long = "fact", value_name = "NAME=VALUE")]
    facts: Vec<String>,
    /// What the person would read
    #[arg(long)]
    as_user: bool,
    /// Every set of remedies that would open it
    #[arg(long)]
    ways_in: bool,
}

impl Policy {
    /// Runs it.
    pub async fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            Policy::Test(test) => test.run(global),
            Policy::Lint(files) => files.lint(global),
            Policy::Show(show) => show.run(global).await,
            Policy::Explain(explain) => explain.run(global).await,
            Policy::Approve(approve) => approve.run(global).await,
            Policy::Proposals(proposals) => proposals.run(global).await,
            Policy::Withdraw(withdraw) => withdraw.run(global).await,
            Policy::Rollback(rollback) => rollback.run(global).await,
            Policy::Versions => policy_versions::versions(global).await,
        }
    }
}

impl Files {
    /// The files, checked against each other; `None` after telling what is wrong.
    fn check(&self) -> Result<Option<Checked>> {
        let mut sources = Vec::new();
        let here = [PathBuf::from(".")];
        let said = if self.named.is_empty() { &self.files } else { &self.named };
        for path in if said.is_empty() { here.as_slice() } else { said } {
            let member = |file: &Value, name: &str| output::text(file, name);
            let found = read(path)?;
            sources
                .extend(found.iter().map(|file| SourceFile { name: member(file, "name"), text: member(file, "text") }));
        }
        let known = Known {
            auth_host: NO_AUTH_HOST,
            is_covered: &|_| true,
            is_certificate: &|_| true,
            groups: &BTreeSet::new(),
        };
        match check_files(&sources, &known, &model::PolicySettings::default()) {
            Ok(checked) => Ok(Some(checked)),
            Err(Failure::Problems(problems)) => {
                eprintln!("{problems}");
                Ok(None)
            }
            Err(other) => Err(other.into()),
        }
    }

    fn lint(&self, global: &Global) -> Result<ExitCode> {
        let Some(checked) = self.check()? else { return Ok(ExitCode::from(2)) };
        if global.json {
            output::json(&json!({ "findings": api::http::problem_lines(&checked.warnings) }));
        } else {
            for finding in &checked.warnings {
                say!("{finding}");
            }
            say!("{} policies, {} findings", checked.policy_count(), checked.warnings.len());
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Test {
    fn run(&self, global: &Global) -> Result<ExitCode> {
        let Some(checked) = self.files.check()? else { return Ok(ExitCode::from(2)) };
        let report = checked.run_tests()?;
        if global.json {
            output::json(&report_json(&report));
        } else {
            self.print(&report);
        }
        for (declared_at, message) in &report.unusable {
            eprintln!("{declared_at}: error: {message}");
        }
        if !report.unusable.is_empty() || report.rows.is_empty() {
            if report.rows.is_empty() && report.unusable.is_empty() {
                eprintln!("no PolicyTest is among the files");
            }
            return Ok(ExitCode::from(2));
        }
        let percent = report.coverage.percent();
        let is_covered = self.min_coverage.is_none_or(|least| percent >= usize::from(least));
        if !is_covered {
            eprintln!("{percent} % of the policies decide some row, which is less than asked for");
        }
        let is_passed = is_covered && report.failed().next().is_none();
        Ok(if is_passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn print(&self, report: &TestReport) {
        for row in report.failed() {
            print_failed(row);
        }
        if self.coverage {
            print_coverage(&report.coverage);
        }
        say!("{} rows, {} failed", report.rows.len(), report.failed().count());
    }
}

fn print_failed(row: &RowResult) {
    say!("{}: {} / {}", row.declared_at, row.test, row.row);
    for wrong in &row.wrong {
        say!("  {wrong}");
    }
    let decided: Vec<&str> = row.policies.iter().map(|id| &**id).collect();
    say!("  decided by: {}", if decided.is_empty() { "no policy".to_owned() } else { decided.join(", ") });
    for fact in &row.facts {
        say!("  {} = {}", fact.path, fact.value);
    }
    if let Some((name, differing)) = &row.nearest {
        say!("  nearest row that gets it: {name}, which differs in {}", differing.join(", "));
    }
    say!("");
}

fn print_coverage(coverage: &Coverage) {
    let reached = coverage.policies - coverage.never_determining.len().min(coverage.policies);
    say!("{reached} of {} policies decide some row ({} %)", coverage.policies, coverage.percent());
    let lists = [
        ("never decides", &coverage.never_determining),
        ("condition never true", &coverage.never_true),
        ("condition never false", &coverage.never_false),
    ];
    for (what, ids) in lists {
        for id in ids {
            say!("  {what}: {id}");
        }
    }
}

fn report_json(report: &TestReport) -> Value {
    let texts = |ids: &[std::sync::Arc<str>]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let rows: Vec<Value> = report
        .rows
        .iter()
        .map(|row| {
            json!({
                "test": row.test,
                "row": row.row,
                "declared_at": &*row.declared_at,
                "passed": row.wrong.is_empty(),
                "wrong": row.wrong,
                "got": row.got.as_str(),
                "policies": texts(&row.policies),
                "facts": row.facts.iter().map(|fact| json!({ "path": fact.path, "value": fact.value })).collect::<Vec<_>>(),
                "nearest": row.nearest.as_ref().map(|(row, differing)| json!({ "row": row, "differing": differing })),
            })
        })
        .collect();
    let coverage = &report.coverage;
    json!({
        "rows": rows,
        "failed": report.failed().count(),
        "unusable": report.unusable.iter().map(|(at, message)| json!({ "declared_at": &**at, "message": message })).collect::<Vec<_>>(),
        "coverage": {
            "policies": coverage.policies,
            "percent": coverage.percent(),
            "never_determining": texts(&coverage.never_determining),
            "never_true": texts(&coverage.never_true),
            "never_false": texts(&coverage.never_false),
        },
    })
}

impl Show {
    async fn run(&self, global: &Global) -> Result<ExitCode> {
        let answer = Client::find(global)?.get("/api/v1/policies").await?;
        let all = answer.get("policies").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_asked = |policy: &Value| {
            let id = output::text(policy, "id");
            self.id.as_ref().is_none_or(|asked| id == *asked || id.starts_with(&format!("{asked}/")))
        };
        let shown: Vec<Value> = all.into_iter().filter(is_asked).collect();
        if let (true, Some(id)) = (shown.is_empty(), &self.id) {
            bail!(
                "no policy is called `{id}` and no app of that name has simple rules; `countersign policy show` lists all"
            );
        }
        if global.json {
            output::json(&json!({ "policies": shown }));
        } else if self.cedar {
            for policy in &shown {
                say!("// {} ({})", output::text(policy, "id"), output::text(policy, "declared_at"));
                say!("{}\n", output::text(policy, "cedar"));
            }
        } else {
            let columns =
                [("POLICY", "id"), ("SET", "set"), ("MODE", "mode"), ("DECLARED", "declared_at"), ("TITLE", "title")];
            output::list(&json!({ "policies": shown }), "policies", &columns);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Explain {
    async fn run(&self, global: &Global) -> Result<ExitCode> {
        let named = [
            ("decision", &self.decision),
            ("principal", &self.principal),
            ("action", &self.action),
            ("resource", &self.resource),
        ];
        let mut query: Vec<(&str, String)> =
            named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        query.extend(self.facts.iter().map(|fact| ("fact", fact.clone())));
        let answer = Client::find(global)?.get_with("/api/v1/policies/explain", &query).await?;
        if global.json {
            output::json(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(recorded) = answer.get("recorded") {
            past(recorded, answer.get("since").unwrap_or(&Value::Null));
        }
        if self.as_user {
            say!("{}", output::text(&answer, "sentence"));
        } else {
            super::app::explain(&answer);
        }
        if self.ways_in {
            ways_in(&answer);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What was recorded, and what is different now.
fn past(recorded: &Value, since: &Value) {
    let word = |name: &str| audit::render::escape(&output::text(recorded, name));
    say!(
        "{} {} on {} at {}: {} ({})",
        word("principal"),
        word("action"),
        word("resource"),
        word("time"),
        word("verdict"),
        word("reason"),
    );
    let policies = word("policies");
    say!("decided by {policies}, policies {}", word("policy_hash"));
    let is = |name: &str| since.get(name).and_then(Value::as_bool);
    say!("policies since: {}", if is("policies_changed") == Some(true) { "changed" } else { "the same" });
    let entities = match is("entities_changed") {
        Some(true) => "changed",
        Some(false) => "the same",
        None => "not known, the record does not say what they were",
    };
    say!("person, groups and app since: {entities}");
    let is_other = is("answer_changed") == Some(true);
    say!("asked again now, the answer {}\n", if is_other { "is another:" } else { "is the same:" });
}

fn ways_in(answer: &Value) {
    let ways = answer.get("ways_in").and_then(Value::as_array).cloned().unwrap_or_default();
    if ways.is_empty() {
        say!("\nno remedy opens it");
    }
    for way in &ways {
        let steps: Vec<String> =
            way.as_array().into_iter().flatten().map(|step| output::text(step, "remedy")).collect();
        say!("\nway in: {}", steps.join(" and "));
    }
}
