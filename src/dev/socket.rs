//! The folder of the server's socket, and the shortest question to a server.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::user::{ServerUser, is_root};
use crate::fault::{Code, fail};

/// Names the socket file; nothing listens on a port.
pub(super) const PORT: u16 = 5432;

/// What a socket's path may hold in bytes: 108 with the final zero on Linux
/// (`unix(7)`), 104 on the BSDs and macOS.
const PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// An answer takes well under a millisecond; one that takes this long is none.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What came back from the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A server speaks there; its pid, where the system tells.
    Speaks(Option<u32>),
    /// Somebody accepts connections and says nothing.
    Mute,
    /// Nobody listens.
    Nobody,
}

/// The socket's file.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}

/// The lock that the server lays beside it.
pub(super) fn lock_file(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}.lock"))
}

/// Where the socket goes: beside the data, or, where that path is too long for
/// a socket, into a short folder that follows from the long one and the user,
/// so that every later call finds the same.
pub(super) fn folder_for(dev: &Path, hash: &str, user: &ServerUser) -> PathBuf {
    let near = dev.join("socket");
    if file(&near).as_os_str().as_bytes().len() <= PATH_LIMIT {
        near
    } else {
        PathBuf::from(format!("/tmp/kinedb-{}-{hash}", user.uid))
    }
}

/// Makes the folder, or accepts an existing one only if it is a real folder,
/// the server's user's own, and closed to all others: the name below `/tmp` can
/// be guessed, and there is no password on this socket.
pub(super) fn ensure_folder(folder: &Path, user: &ServerUser) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
                .and_then(|()| user.own(folder))
                .with_context(|| format!("prepare `{}`", folder.display()))?;
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("create `{}`", folder.display()));
        }
    }
    let meta = std::fs::symlink_metadata(folder)
        .with_context(|| format!("look at `{}`", folder.display()))?;
    let closed = meta.is_dir() && meta.mode() & 0o077 == 0;
    if closed && meta.uid() == user.uid {
        return Ok(());
    }
    // Root made it and was killed before it gave it away.
    if closed && meta.uid() == 0 && is_root() {
        return user
            .own(folder)
            .with_context(|| format!("prepare `{}`", folder.display()));
    }
    fail(
        Code::BadDevFolder,
        format!(
            "`{}` should be a folder that only user `{}` can enter, and is not",
            folder.display(),
            user.name
        ),
        "remove it, or name a shorter folder with `--dev-dir`",
    )
}

/// Asks the server for TLS, which it refuses on a socket with one byte: enough
/// to know that a server accepts connections, without a login, a database or a
/// line in its log.
pub(super) fn ask(folder: &Path) -> Answer {
    let Ok(mut stream) = UnixStream::connect(file(folder)) else {
        return Answer::Nobody;
    };
    let peer = peer_pid(&stream);
    let mut byte = [0_u8];
    let spoken = stream
        .set_read_timeout(Some(ANSWER_WITHIN))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER_WITHIN)))
        .and_then(|()| stream.write_all(&SSL_REQUEST))
        .and_then(|()| stream.read_exact(&mut byte));
    match spoken {
        Ok(()) => Answer::Speaks(peer),
        // Closed at once: a server on its way down.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Answer::Nobody,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Answer::Nobody,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Answer::Nobody,
        Err(_) => Answer::Mute,
    }
}

/// PostgreSQL manual, "Message Formats", SSLRequest: length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

#[cfg(target_os = "linux")]
fn peer_pid(stream: &UnixStream) -> Option<u32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

#[cfg(not(target_os = "linux"))]
fn peer_pid(_: &UnixStream) -> Option<u32> {
    None
}
