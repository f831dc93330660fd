//! A demo that runs: the server, the two sample apps, and the people, each made the way an operator would.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use model::{Clock, Ids};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::assertion::Verifier;
use super::https::FrontDoor;
use super::sample;
use super::stage::{AUTH_HOST, Ports, Stage};
use super::{payroll, wiki};
use crate::client::{Client, segment};
use crate::commands::apply;
use crate::output;
use crate::roles::serve::{ServeOptions, Server};
use crate::system::{SystemClock, SystemIds};

/// How the demo's server differs from a real one: it stops soon and keeps one spare segment.
const OPTIONS: ServeOptions =
    ServeOptions { drain_delay: Duration::ZERO, drain: Duration::from_secs(1), log_reserves: 1 };

/// Where a free port is looked for, and how often.
const FREE_PORTS: Range<u16> = 20_000..32_000;
const PORT_ATTEMPTS: usize = 50;

/// Somebody whom the demo invites.
pub struct Persona {
    /// What they are called.
    pub name: &'static str,
    /// Their address.
    pub email: &'static str,
    /// Their group.
    pub group: &'static str,
    /// From outside the organisation.
    pub is_external: bool,
}

/// An engineer.
pub const ALICE: Persona =
    Persona { name: "Alice", email: "alice@example.org", group: "engineering", is_external: false };
/// A contractor.
pub const BOB: Persona = Persona { name: "Bob", email: "bob@example.org", group: "contractors", is_external: true };

/// What a person opens first. No `Debug`: a link is a secret.
pub enum FirstStep {
    /// A link that works once.
    Link(String),
    /// They have a passkey from an earlier run.
    SignIn,
}

/// A demo that runs.
pub struct Running {
    /// Its folder.
    pub stage: Stage,
    /// Its front door.
    pub door: FrontDoor,
    /// Its ports.
    pub ports: Ports,
    /// The operator's way in.
    pub client: Client,
    /// What checks the wiki's assertions.
    pub wiki: Arc<Verifier>,
    /// The first administrator.
    pub carol: FirstStep,
    /// The engineer.
    pub alice: FirstStep,
    /// The contractor.
    pub bob: FirstStep,
    server: Server,
    apps: CancellationToken,
}

impl Running {
    /// Starts everything in `folder`. `port` 0 chooses a free one.
    ///
    /// # Errors
    /// Whatever keeps it from serving, with what to mend.
    pub async fn start(folder: &Path, port: u16) -> Result<Self> {
        Self::start_with(folder, port, false).await
    }

    /// The same, with or without passwords (ID-11).
    ///
    /// # Errors
    /// Whatever keeps it from serving, with what to mend.
    pub async fn start_with(folder: &Path, port: u16, has_passwords: bool) -> Result<Self> {
        let stage = Stage::open(folder)?;
        let (wiki_listener, wiki_address) = sample::listen().await?;
        let (payroll_listener, payroll_address) = sample::listen().await?;
        let public = if port == 0 { free_port().await? } else { port };
        let ports = Ports { public, wiki: wiki_address.port(), payroll: payroll_address.port() };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let server =
            Server::start(stage.server_config(ports, has_passwords)?, OPTIONS, Arc::clone(&clock), Arc::new(SystemIds))
                .await?;

        let door = FrontDoor::new(public, &stage.ca_pem)?;
        let apps = CancellationToken::new();
        let wiki = Verifier::new("wiki", AUTH_HOST, door.clone(), Arc::clone(&clock));
        let payroll = Verifier::new("payroll", AUTH_HOST, door.clone(), clock);
        sample::serve(wiki_listener, wiki::router(), Arc::clone(&wiki), apps.clone());
        sample::serve(payroll_listener, payroll::router(), payroll, apps.clone());

        let client = Client::at(&server.socket);
        let files = apply::read(&stage.write_config(ports)?)?;
        client
            .post("/api/v1/config/apply", &json!({ "files": files, "reason": "demo" }))
            .await
            .context("the demo's files")?;
        let carol = match server.control.people().needs_set_up() {
            true => FirstStep::Link(server.portal.set_up_link("countersign demo").await?.url().to_owned()),
            false => FirstStep::SignIn,
        };
        let alice = invite(&client, &ALICE).await?;
        let bob = invite(&client, &BOB).await?;
        Ok(Self { stage, door, ports, client, wiki, carol, alice, bob, server, apps })
    }

    /// Where `countersign` commands find this server.
    pub fn socket(&self) -> &Path {
        &self.server.socket
    }

    /// Ends requests, then the server, then the apps.
    pub async fn stop(self) {
        self.server.stop().await;
        self.apps.cancel();
    }
}

/// Adds a person and invites them, through the API; an earlier run may have done either already.
async fn invite(client: &Client, persona: &Persona) -> Result<FirstStep> {
    let known = client.get("/api/v1/users").await?;
    let mut users = known.get("users").and_then(Value::as_array).into_iter().flatten();
    let state = match users.find(|user| output::text(user, "email") == persona.email) {
        Some(user) => output::text(user, "state"),
        None => {
            let new = json!({
                "email": persona.email,
                "name": persona.name,
                "groups": [persona.group],
                "external": persona.is_external,
            });
            output::text(&client.post("/api/v1/users", &new).await?, "state")
        }
    };
    // The tour takes people out of their groups; the next visit starts with them in.
    client.put(&format!("/api/v1/groups/{}/members/{}", persona.group, segment(persona.email))).await?;
    if state != "invited" {
        return Ok(FirstStep::SignIn);
    }
    let link = client.post("/api/v1/invites", &json!({ "user": persona.email })).await?;
    Ok(FirstStep::Link(output::text(&link, "url")))
}

/// A port nobody listens on at this moment, outside the range from which systems number outgoing connections: the server
/// binds it a moment later.
async fn free_port() -> Result<u16> {
    for _ in 0..PORT_ATTEMPTS {
        let mut random = [0; 2];
        SystemIds.fill_random(&mut random);
        let port = FREE_PORTS.start + u16::from_be_bytes(random) % (FREE_PORTS.end - FREE_PORTS.start);
        if tokio::net::TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port was found between {} and {}; name one with `--port`", FREE_PORTS.start, FREE_PORTS.end)
}
