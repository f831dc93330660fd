//! The Unix socket of the local command line (rulings R-20): mode 0600, and the peer's uid must be ours or root's.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// An open socket; the file goes when it is dropped.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl ControlSocket {
    /// Opens the socket at `path`, replacing a stale one that nobody answers.
    ///
    /// # Errors
    /// A running server answers on it, or the system refuses.
    pub async fn open(path: &Path) -> Result<Self> {
        if path.exists() {
            if UnixStream::connect(path).await.is_ok() {
                anyhow::bail!("another server answers on `{}`; stop it first", path.display());
            }
            std::fs::remove_file(path)
                .with_context(|| format!("cannot remove the stale socket `{}`", path.display()))?;
        }
        // Whoever may reach the folder may connect before the mode is set; the peer check below does not rely on it.
        let listener =
            UnixListener::bind(path).with_context(|| format!("cannot open the socket `{}`", path.display()))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let owner = std::fs::metadata(path)?.uid();
        Ok(Self { listener, path: path.to_owned(), owner })
    }

    /// Serves `router` until `shutdown`.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            let is_allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == self.owner || peer.uid() == 0);
            if !is_allowed {
                tracing::warn!("a process of another user tried the control socket");
                continue;
            }
            let service = TowerToHyperService::new(router.clone());
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    _ = connection => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}
