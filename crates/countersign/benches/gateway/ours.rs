//! Countersign as an operator would run it: the release binary with a configuration file, files applied over its socket,
//! a person enrolled and signed in with a passkey, a cookie session of her own on the app.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use countersign::client::Client;
use countersign::commands::apply;
use countersign::demo::browser::{Answer, Browser};
use countersign::demo::https::FrontDoor;
use countersign::demo::passkey::Device;
use serde_json::json;

use crate::target::{self, APP_HOST, AUTH_HOST, OTHER_APPS, Place, Process, Target, free_port};
use crate::upstream::Upstream;

const EMAIL: &str = "alice@example.org";
/// Groups there are, and how many the person is in.
const GROUPS: usize = 20;
const MEMBERSHIPS: usize = 12;
/// Policies by kind; together 100.
const PERMITS_PER_APP: usize = 7;
const STEP_UPS_PER_APP: usize = 2;
const GLOBAL_FORBIDS: usize = 10;

/// Starts the server, loads it, and signs a person in.
pub(crate) async fn start(place: &Place, upstream: u16) -> Result<Target> {
    let folder = place.folder.join("countersign");
    let port = free_port()?;
    std::fs::create_dir_all(folder.join("config"))?;
    let config = folder.join("server.toml");
    std::fs::write(&config, server_toml(place, port))?;
    write_files(&folder.join("config"), upstream)?;

    let program = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let arguments = ["serve", "--log", "text", "--config", &config.to_string_lossy()];
    let mut process = Process::on_proxy_core(program, &arguments, &folder.join("stderr.log"), Stdio::piped())?;
    let link = set_up_link(&mut process).context("countersign did not start; see countersign/stderr.log")?;

    let door = FrontDoor::new(port, &place.ca_pem)?;
    let mut browser = Browser::new("bench", door.clone());
    let mut device = Device::new(&door.url(AUTH_HOST, ""))?;
    let page = browser.page(&link.parse()?).await?;
    browser.ceremony(&page, &mut device, Some(("Alice", EMAIL))).await?;

    let client = Client::at(&folder.join("data/control.sock"));
    let files = apply::read(&folder.join("config"))?;
    client.post("/api/v1/config/apply", &json!({ "files": files, "reason": "bench" })).await?;
    for group in 0..MEMBERSHIPS {
        client.put(&format!("/api/v1/groups/group-{group}/members/{EMAIL}")).await?;
    }
    let cookie = sign_in(&mut browser, &door).await?;
    Ok(Target { name: "countersign", port, credential: ("cookie", cookie), door, process })
}

/// Shows that requests are decided, recorded and carry an assertion, before any of them is timed.
pub(crate) async fn prove(target: &Target, upstream: &Upstream) -> Result<()> {
    let before = upstream.seen();
    target::prove(target).await?;
    let (requests, asserted) = upstream.seen();
    ensure!(requests == before.0 + 1, "one of two requests should have passed, not {}", requests - before.0);
    ensure!(asserted == before.1 + 1, "the request came to the app without an assertion");
    Ok(())
}

async fn sign_in(browser: &mut Browser, door: &FrontDoor) -> Result<String> {
    let answers = browser.visit(&door.url(APP_HOST, "/").parse()?).await?;
    let session =
        answers.iter().rev().filter(|answer| answer.url.host_str() == Some(APP_HOST)).find_map(session_cookie);
    let last = answers.last().map(|answer| (answer.status, answer.url.path().to_owned()));
    session.with_context(|| format!("the sign-in ended at {last:?} without a session on the app"))
}

/// `name=value` of the session an answer sets.
fn session_cookie(answer: &Answer) -> Option<String> {
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
    let mut pairs = cookies.filter_map(|cookie| cookie.split(';').next());
    pairs.find(|pair| pair.starts_with("__Host-countersign=")).map(str::to_owned)
}

/// Reads what the server prints until the link comes; the rest is read and dropped, or the server would block.
fn set_up_link(process: &mut Process) -> Result<String> {
    let stdout = process.child().stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let link = lines.by_ref().map_while(|line| line.ok()).find(|line| line.trim().starts_with("https://"));
    std::thread::spawn(move || lines.for_each(drop));
    Ok(link.context("no set-up link was printed")?.trim().to_owned())
}

fn server_toml(place: &Place, port: u16) -> String {
    format!(
        "data_dir = \"data\"\nauth_url = \"https://{AUTH_HOST}:{port}\"\n\n\
         [[certificate]]\nname = \"bench\"\ncert = \"{}\"\nkey = \"{}\"\n\n\
         [[listener]]\naddress = \"127.0.0.1:{port}\"\ncertificates = [\"bench\"]\n\n\
         [identity]\ndomains = [\"example.org\"]\n\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        place.chain.display(),
        place.key.display()
    )
}

/// Ten apps, twenty groups, a hundred policies; every setting of an app as it is when nothing is said.
fn write_files(folder: &Path, upstream: u16) -> Result<()> {
    let (mut apps, mut groups, mut policies) = (String::new(), String::new(), String::new());
    for (app, host) in target::hosts().enumerate() {
        apps.push_str(&format!(
            "---\napiVersion: countersign/v1\nkind: App\nmetadata: {{ name: app-{app} }}\nspec:\n  hosts: [{host}]\n  \
             sensitivity: medium\n  upstreams:\n    main: {{ targets: [\"http://127.0.0.1:{upstream}\"] }}\n"
        ));
    }
    for group in 0..GROUPS {
        groups.push_str(&format!(
            "---\napiVersion: countersign/v1\nkind: Group\nmetadata: {{ name: group-{group} }}\nspec: {{ membership: external }}\n"
        ));
    }
    for app in 0..=OTHER_APPS {
        (0..PERMITS_PER_APP).for_each(|n| policies.push_str(&permit(app, n)));
        (0..STEP_UPS_PER_APP).for_each(|n| policies.push_str(&step_up(app, n)));
    }
    (0..GLOBAL_FORBIDS).for_each(|n| policies.push_str(&forbid(n)));
    std::fs::write(folder.join("apps.yaml"), apps)?;
    std::fs::write(folder.join("groups.yaml"), groups)?;
    std::fs::write(folder.join("policies.cedar"), policies)?;
    Ok(())
}

fn permit(app: usize, n: usize) -> String {
    let group = (app + n * 3) % GROUPS;
    format!(
        "@id(\"permit-{app}-{n}\") permit (principal is User in Group::\"group-{group}\", action in Action::\"http\", resource in \
         App::\"app-{app}\") when {{ context.auth.mfa && context.session.age_secs < 43200 && !principal.external }};\n"
    )
}

fn step_up(app: usize, n: usize) -> String {
    let (prefix, secs) = (["/admin", "/settings"].get(n).copied().unwrap_or("/"), 900 + n);
    format!(
        "@id(\"step-up-{app}-{n}\") @class(\"step_up\") forbid (principal is User, action in Action::\"write\", resource in \
         App::\"app-{app}\") when {{ context.request.path like \"{prefix}/*\" && context.auth.step_up_age_secs > {secs} }};\n"
    )
}

fn forbid(n: usize) -> String {
    format!(
        "@id(\"forbid-{n}\") forbid (principal is User, action in Action::\"http\", resource) when {{ principal.external && \
         context.request.path like \"/internal-{n}/*\" }};\n"
    )
}
