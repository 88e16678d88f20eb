//! The socket as a file: made for its owner alone, in the place of one that a dead server left.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::wire::SOCKET_NAME;

/// Where the socket is made before it gets its name.
const WORKSHOP: &str = "admin.new";

/// A socket that is listened on. Its file is removed with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket in a state directory that this process has to itself.
    ///
    /// The process's umask is that of our clients, so the socket is made in a directory that nobody
    /// else may enter, and gets its name when it has its mode. What an earlier server left under
    /// that name is replaced: none is alive beside us.
    pub fn bind(state_dir: &Path) -> io::Result<Self> {
        let workshop = state_dir.join(WORKSHOP);
        remove(&workshop)?;
        DirBuilder::new().mode(0o700).create(&workshop)?;
        let made = workshop.join(SOCKET_NAME);
        let inside = File::open(&workshop)?;
        let listener = UnixListener::bind(short(&inside))?;
        fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        let path = state_dir.join(SOCKET_NAME);
        fs::rename(&made, &path)?;
        remove(&workshop)?;
        Ok(Self { listener, path })
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Connects to the server that has this state directory.
pub fn connect(state_dir: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(short(&File::open(state_dir)?))
}

/// The socket's path in an open directory: a socket's address has room for 107 bytes (unix(7)), and
/// state directories may have longer names.
fn short(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()))
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_replaces_what_a_dead_server_left() {
        crate::vfs::local::prepare_process();
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket's address.
        let state_dir = dir.path().join("long".repeat(40));
        fs::create_dir(&state_dir).unwrap();
        fs::create_dir(state_dir.join(WORKSHOP)).unwrap();
        let first = Socket::bind(&state_dir).unwrap();
        let mode = fs::metadata(state_dir.join(SOCKET_NAME)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600);
        // Dies without a word.
        let Socket { listener, path } = &first;
        assert!(path.exists() && listener.local_addr().is_ok());
        std::mem::forget(first);
        let second = Socket::bind(&state_dir).unwrap();
        let connected = connect(&state_dir).unwrap();
        let (accepted, _) = second.listener().accept().await.unwrap();
        assert_eq!(accepted.peer_cred().unwrap().uid(), rustix::process::geteuid().as_raw());
        drop((connected, second));
        assert_eq!(fs::read_dir(&state_dir).unwrap().count(), 0);
        assert_eq!(connect(&state_dir).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
