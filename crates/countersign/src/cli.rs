//! The command line: one enum, one file per command under `commands/`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::output::report;

/// Countersign: one policy engine in front of every app.
///
/// Never trust, always verify: every request is decided, recorded and revocable.
#[derive(Parser)]
#[command(name = "countersign", version, max_term_width = 110, propagate_version = true)]
#[command(
    after_help = "Start here:\n  countersign demo                    everything on this machine, with two sample apps\n  countersign demo --tour             the same, played through and checked\n  countersign init --app NAME=URL     a folder to serve your own app from\n  countersign serve -c server.toml    a server\n  countersign apply -f config/        apps, groups, users and policies from files\n\nExit codes: 0 done, 1 refused or failed, 2 not understood."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone)]
pub struct Global {
    /// Answer in JSON instead of tables and sentences
    #[arg(long, global = true)]
    pub json: bool,
    /// The control socket of the running server
    #[arg(long, global = true, value_name = "PATH", env = "COUNTERSIGN_SOCKET")]
    pub socket: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run control plane and gateway in this process
    Serve(commands::serve::Serve),
    /// Check configuration files; changes nothing
    Check(commands::apply::Check),
    /// Make configuration files live, all or nothing
    Apply(commands::apply::Apply),
    /// Show what an apply would do; changes nothing
    Plan(commands::plan::Plan),
    /// People: list, show, add, disable, enable, recover, delete
    #[command(subcommand)]
    User(commands::user::User),
    /// Groups and who is in them
    #[command(subcommand)]
    Group(commands::group::Group),
    /// Signing keys: list and rotate
    #[command(subcommand)]
    Keys(commands::keys::Keys),
    /// Gateways in processes of their own: admit, list, remove; join and run one
    #[command(subcommand)]
    Gateway(Box<commands::gateway::Gateway>),
    /// Make an invitation link for a person
    Invite(commands::invite::Invite),
    /// Service accounts: programs that ask in their own name
    #[command(subcommand)]
    ServiceAccount(commands::service_account::ServiceAccount),
    /// Service tokens: create, rotate, revoke, list
    #[command(subcommand)]
    ServiceToken(commands::service_token::ServiceToken),
    /// Sessions: list and revoke
    #[command(subcommand)]
    Session(commands::session::Session),
    /// Apps: add, list, show, and who would get what
    #[command(subcommand)]
    App(commands::app::App),
    /// Policies: test, lint, show, why they answer so, versions, rollback, approvals
    #[command(subcommand)]
    Policy(commands::policy::Policy),
    /// The record: query, explain, tail, verify, drill
    #[command(subcommand)]
    Audit(Box<commands::audit::Audit>),
    /// Administrators: the set-up link, and a way back in from this machine
    #[command(subcommand)]
    Admin(commands::admin::Admin),
    /// What the running server is doing
    Status,
    /// Look at certificates, listeners, disk, keys and who administers
    Doctor(commands::doctor::Doctor),
    /// Attack a gateway or any other proxy from outside, and print a score card
    #[command(subcommand)]
    Drill(commands::drill::Drill),
    /// Write a folder to serve from, for apps that run already
    Init(commands::init::Init),
    /// Print completions for a shell
    Completions(commands::shell::Completions),
    /// Write manual pages
    Man(commands::shell::Man),
    /// Everything on this machine, with two sample apps
    #[cfg(feature = "demo")]
    Demo(crate::demo::Demo),
}

/// Parses, runs, and turns the outcome into an exit code: 0 done, 1 refused or failed, 2 not understood.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&error.into()),
    };
    let outcome = runtime.block_on(dispatch(cli));
    // Blocking threads of the log have ended by now; nothing else is worth waiting for.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let global = &cli.global;
    match cli.command {
        Command::Serve(serve) => serve.run().await,
        Command::Check(check) => check.run(global).await,
        Command::Apply(apply) => apply.run(global).await,
        Command::Plan(plan) => plan.run(global).await,
        Command::User(user) => user.run(global).await,
        Command::Group(group) => group.run(global).await,
        Command::Gateway(gateway) => gateway.run(global).await,
        Command::Invite(invite) => invite.run(global).await,
        Command::Keys(keys) => keys.run(global).await,
        Command::ServiceAccount(account) => account.run(global).await,
        Command::ServiceToken(token) => token.run(global).await,
        Command::Session(session) => session.run(global).await,
        Command::App(app) => app.run(global).await,
        Command::Policy(policy) => policy.run(global).await,
        Command::Audit(audit) => audit.run(global).await,
        Command::Admin(admin) => admin.run(global).await,
        Command::Status => commands::status::run(global).await,
        Command::Doctor(doctor) => doctor.run(global).await,
        Command::Drill(drill) => drill.run(global).await,
        Command::Init(init) => init.run(global),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo.run(global).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What each command calls that may change something; the tests of `api` hold that every such route leaves a record
    /// (AUD-7). Those without a route change nothing, or are the server itself.
    const CALLS: &[(&str, &[&str])] = &[
        ("admin recover", &["POST /api/v1/admin-recovery"]),
        ("admin setup-link", &["POST /api/v1/setup-link"]),
        ("app add", &[]),
        ("app explain", &[]),
        ("app list", &[]),
        ("app show", &[]),
        ("apply", &["POST /api/v1/config/apply"]),
        ("audit drill", &["POST /api/v1/audit/drill"]),
        ("audit explain", &[]),
        ("audit query", &[]),
        ("audit sink list", &[]),
        ("audit sink test", &["POST /api/v1/audit/sinks/{name}/test"]),
        ("audit tail", &[]),
        ("audit verify", &[]),
        ("check", &["POST /api/v1/config/check"]),
        ("completions", &[]),
        ("demo", &[]),
        ("doctor", &[]),
        ("drill gateway", &[]),
        ("gateway join", &[]),
        ("gateway list", &[]),
        ("gateway remove", &["DELETE /api/v1/gateways/{name}"]),
        ("gateway run", &[]),
        ("gateway token", &["POST /api/v1/gateways/{name}/token"]),
        ("group add", &["PUT /api/v1/groups/{id}/members/{who}"]),
        ("group create", &["POST /api/v1/groups"]),
        ("group delete", &["DELETE /api/v1/groups/{id}"]),
        ("group list", &[]),
        ("group remove", &["DELETE /api/v1/groups/{id}/members/{who}"]),
        ("group show", &[]),
        ("init", &[]),
        ("invite", &["POST /api/v1/invites"]),
        ("keys list", &[]),
        ("keys rotate", &["POST /api/v1/keys/{purpose}/rotate"]),
        ("man", &[]),
        ("plan", &["POST /api/v1/config/plan"]),
        ("policy approve", &["POST /api/v1/config/proposals/{digest}/approve"]),
        ("policy explain", &[]),
        ("policy lint", &[]),
        ("policy proposals", &[]),
        ("policy rollback", &["POST /api/v1/config/rollback"]),
        ("policy show", &[]),
        ("policy test", &[]),
        ("policy versions", &[]),
        ("policy withdraw", &["DELETE /api/v1/config/proposals/{digest}"]),
        ("serve", &[]),
        ("service-account create", &["POST /api/v1/service-accounts"]),
        ("service-account delete", &["DELETE /api/v1/service-accounts/{name}"]),
        ("service-account disable", &["POST /api/v1/service-accounts/{name}/disable"]),
        ("service-account enable", &["POST /api/v1/service-accounts/{name}/enable"]),
        ("service-account groups", &["POST /api/v1/service-accounts/{name}/groups"]),
        ("service-account list", &[]),
        ("service-account show", &[]),
        ("service-token create", &["POST /api/v1/service-tokens"]),
        ("service-token list", &[]),
        ("service-token revoke", &["DELETE /api/v1/service-tokens/{id}"]),
        ("service-token rotate", &["POST /api/v1/service-tokens/{id}/rotate"]),
        ("session list", &[]),
        ("session revoke", &["POST /api/v1/sessions/revoke"]),
        ("status", &[]),
        ("user add", &["POST /api/v1/users"]),
        ("user delete", &["DELETE /api/v1/users/{who}"]),
        ("user deletions", &["DELETE /api/v1/users/{who}/deletion"]),
        ("user disable", &["POST /api/v1/users/{who}/disable"]),
        ("user enable", &["POST /api/v1/users/{who}/enable"]),
        ("user import", &["POST /api/v1/users/import"]),
        ("user list", &[]),
        ("user recover", &["POST /api/v1/users/{who}/recover"]),
        ("user recoveries", &[]),
        ("user show", &[]),
    ];

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let subcommands: Vec<&clap::Command> = command.get_subcommands().filter(|c| c.get_name() != "help").collect();
        if subcommands.is_empty() {
            found.push(path.to_owned());
        }
        for subcommand in subcommands {
            leaves(subcommand, format!("{path} {}", subcommand.get_name()).trim(), found);
        }
    }

    #[test]
    fn no_command_changes_anything_but_through_a_route_that_is_held_to_leave_a_record() {
        let mut commands = Vec::new();
        leaves(&Cli::command(), "", &mut commands);
        commands.sort();
        let told: Vec<&str> =
            CALLS.iter().map(|(command, _)| *command).filter(|c| cfg!(feature = "demo") || *c != "demo").collect();
        assert_eq!(commands, told, "every command says here what it calls");
        let router = include_str!("../../api/src/http/v1.rs");
        let sources = [
            include_str!("commands/admin.rs"),
            include_str!("commands/app.rs"),
            include_str!("commands/apply.rs"),
            include_str!("commands/audit.rs"),
            include_str!("commands/gateway.rs"),
            include_str!("commands/group.rs"),
            include_str!("commands/invite.rs"),
            include_str!("commands/keys.rs"),
            include_str!("commands/plan.rs"),
            include_str!("commands/policy.rs"),
            include_str!("commands/policy_approvals.rs"),
            include_str!("commands/policy_versions.rs"),
            include_str!("commands/service_account.rs"),
            include_str!("commands/service_token.rs"),
            include_str!("commands/session.rs"),
            include_str!("commands/status.rs"),
            include_str!("commands/user.rs"),
        ];
        for (command, routes) in CALLS {
            for route in *routes {
                let (_, path) = route.split_once(' ').unwrap();
                assert!(router.contains(&format!("\"{path}\"")), "{command} calls {route}, which does not exist");
            }
        }
        // A call in the code that no line above accounts for shows as a different number.
        let calls =
            |method: &str| sources.iter().map(|source| source.matches(&format!(".{method}(")).count()).sum::<usize>();
        let routes = |method: &str| {
            CALLS.iter().flat_map(|(_, routes)| *routes).filter(|route| route.starts_with(method)).count()
        };
        for (name, method) in [("post", "POST "), ("put", "PUT "), ("delete", "DELETE ")] {
            assert_eq!(calls(name), routes(method), "{method}");
        }
    }
}
