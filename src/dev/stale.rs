//! What a dead server leaves behind, and how the next one gets past it.
//!
//! PostgreSQL refuses to start when `postmaster.pid` names a process that
//! exists, whatever that process is: another program that got the number, or a
//! zombie that nobody collects (a container without an init). The socket's lock
//! file has the same trap.

use std::path::Path;

use anyhow::{Context, Result};

use super::folder::remove_tree;
use super::{pidfile, process, socket};
use crate::fault::{Code, fail};

/// Clears the way. Call it under the lock and when nobody answers the socket.
///
/// # Errors
/// `dev-server-failed` where a server that holds this data folder is alive.
pub(super) fn clear(data: &Path, sockets: &Path) -> Result<()> {
    if let Some(file) = pidfile::PidFile::read(data) {
        if process::may_serve(file.pid, data) {
            return fail(
                Code::DevServerFailed,
                format!(
                    "process {} holds the data folder `{}` and does not answer on its socket",
                    file.pid,
                    data.display()
                ),
                format!("type `kinedb dev stop`, or `kill {}`", file.pid),
            );
        }
        // Not removed: its shared memory key is how PostgreSQL sees that
        // sessions of the dead server still write. A pid that is the new
        // server's parent is what PostgreSQL itself takes for stale.
        pidfile::rewrite_pid(data, std::process::id())
            .with_context(|| format!("mend `{}`", data.join(pidfile::NAME).display()))?;
    } else if data.join(pidfile::NAME).exists() {
        // Cut off while it was written: PostgreSQL calls an empty one bogus.
        remove_tree(&data.join(pidfile::NAME))?;
    }
    remove_tree(&socket::file(sockets))?;
    remove_tree(&socket::lock_file(sockets))
}
