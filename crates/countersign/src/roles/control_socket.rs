//! The Unix socket of the local command line: mode 0600, and the peer's uid must be ours or root's.

use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// How long nothing is accepted after the system refused.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        remove_stale(path).await?;
        let listener = bind_private(path).with_context(|| format!("cannot open the socket `{}`", path.display()))?;
        // From the kernel and not from the file, which somebody else may have put in its place by now.
        let owner = UnixStream::pair()?.0.peer_cred()?.uid();
        Ok(Self { listener, path: path.to_owned(), owner })
    }

    /// Serves `router` until `shutdown`.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else {
                // No descriptor left: trying again at once would only spin.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
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

/// Makes room for a socket; anything that is no socket stays where it is.
async fn remove_stale(path: &Path) -> Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        anyhow::bail!("`{}` is there and is no socket; choose another path for the control socket", path.display());
    }
    if UnixStream::connect(path).await.is_ok() {
        anyhow::bail!("another server answers on `{}`; stop it first", path.display());
    }
    std::fs::remove_file(path).with_context(|| format!("cannot remove the stale socket `{}`", path.display()))
}

/// Binds in a folder nobody else may enter, and moves the socket into place once it is private: there is no moment at
/// which others may connect, whatever the umask.
fn bind_private(path: &Path) -> std::io::Result<UnixListener> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default().join(format!(".o{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let made = folder.join("s");
    let bound = UnixListener::bind(&made).and_then(|listener| {
        std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    });
    std::fs::remove_file(&made).ok();
    std::fs::remove_dir(&folder).ok();
    bound
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let socket = ControlSocket::open(&path).await.unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (0o600, socket.owner));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(UnixStream::connect(&path).await.is_ok());
        assert!(ControlSocket::open(&path).await.is_err(), "a second server must not take over");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_any_other_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(ControlSocket::open(&path).await.is_ok());
        std::fs::write(&path, "precious").unwrap();
        assert!(ControlSocket::open(&path).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
