//! Copies a data folder whose server does not run.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::user::ServerUser;

/// Copies all of `from` to `to`, which must not exist, and gives it to `user`.
/// The server's own leftovers (pid file, options) stay behind.
pub(super) fn data_folder(from: &Path, to: &Path, user: Option<&ServerUser>) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            data_folder(&entry.path(), &target, user)?;
        } else if kind.is_file() {
            if entry.file_name() == "postmaster.pid" || entry.file_name() == "postmaster.opts" {
                continue;
            }
            // Shares blocks where the file system can; the mode comes along.
            std::fs::copy(entry.path(), &target)?;
            own(&target, user)?;
        } else {
            // A table space or a moved WAL: a copy would share it.
            return Err(io::Error::other(format!(
                "`{}` is neither a file nor a folder",
                entry.path().display()
            )));
        }
    }
    own(to, user)
}

fn own(path: &Path, user: Option<&ServerUser>) -> io::Result<()> {
    user.map_or(Ok(()), |user| user.own(path))
}
