//! The sinks of the process configuration (AUD-38), built; which of them there are and how they are served is in `audit`.

mod webhook;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use audit::sinks::file::FileSink;
use audit::{AuditLog, Sink, SinkSettings, Sinks};
use config::server::{AuditConfig, SinkConfig, SinkTarget};
use model::Clock;

use webhook::Webhook;

/// Folder of cursors and dead letters in the data folder.
const FOLDER: &str = "sinks";

/// Builds them. Nothing is delivered yet.
///
/// # Errors
/// A file that is named cannot be read, or holds what it must not.
pub(crate) fn build(audit: &AuditConfig, data: &Path, log: &AuditLog, clock: &Arc<dyn Clock>) -> Result<Arc<Sinks>> {
    let built: Result<Vec<_>> = audit.sinks.iter().map(|sink| one(sink, clock)).collect();
    Ok(Sinks::new(log, data.join(FOLDER), built?))
}

fn one(sink: &SinkConfig, clock: &Arc<dyn Clock>) -> Result<(SinkSettings, Arc<dyn Sink>)> {
    let (kind, target, built): (_, _, Arc<dyn Sink>) = match &sink.to {
        SinkTarget::File { path, rotate_bytes, keep } => {
            ("file", path.display().to_string(), Arc::new(FileSink::new(path.clone(), *rotate_bytes, *keep)))
        }
        SinkTarget::Webhook { url, ca, secret_file, token_file } => {
            let roots = ca.as_deref().map(|path| read(path, &sink.name)).transpose()?;
            let webhook =
                Webhook::new(url.clone(), roots.as_deref(), secret_file.clone(), token_file.clone(), Arc::clone(clock))
                    .with_context(|| format!("the sink `{}` cannot be built", sink.name))?;
            ("webhook", url.to_string(), Arc::new(webhook))
        }
    };
    let settings = SinkSettings {
        name: sink.name.clone(),
        kind,
        target,
        types: sink.types.clone(),
        is_from_start: sink.is_from_start,
        batch_records: sink.batch_records,
        batch_bytes: usize::try_from(sink.batch_bytes).unwrap_or(usize::MAX),
        batch_age: sink.batch_age,
        alert_after: sink.alert_after,
    };
    Ok((settings, built))
}

fn read(path: &Path, sink: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}` of the sink `{sink}`", path.display()))
}
