//! Which operating-system user the server runs as, and what that user can reach.
//!
//! PostgreSQL refuses to run as root. Then the owner of an existing data folder
//! is taken, else `postgres`, else `nobody`: initdb wants a user with a passwd
//! entry, so an arbitrary number would not do.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::fault::{Code, fail};

/// The user whose processes and files the server's are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerUser {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// kinedb runs as root and has to become this user first.
    dropped: bool,
}

/// Whether this process runs as root.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl ServerUser {
    /// The user for the server whose data folder is (or will be) `data`.
    pub(super) fn for_data(data: &Path) -> Result<Self> {
        let owner = std::fs::symlink_metadata(data).ok();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        if is_root() {
            return match owner {
                Some(owner) if owner.uid() != 0 => Ok(Self {
                    name: name_of(&passwd, owner.uid()),
                    uid: owner.uid(),
                    gid: owner.gid(),
                    dropped: true,
                }),
                _ => unprivileged(&passwd),
            };
        }
        let uid = rustix::process::geteuid().as_raw();
        if let Some(owner) = owner.filter(|owner| owner.uid() != uid) {
            return fail(
                Code::BadDevFolder,
                format!(
                    "`{}` belongs to user `{}`, not to `{}`",
                    data.display(),
                    name_of(&passwd, owner.uid()),
                    name_of(&passwd, uid)
                ),
                "name a folder of your own with `--dev-dir` or `KINEDB_DEV_DIR`",
            );
        }
        Ok(Self {
            name: name_of(&passwd, uid),
            uid,
            gid: rustix::process::getegid().as_raw(),
            dropped: false,
        })
    }

    /// Makes the command run as this user. Supplementary groups are given up:
    /// the standard library clears them when root sets a uid.
    pub(super) fn applied_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if self.dropped {
            command.gid(self.gid).uid(self.uid);
        }
        command
    }

    /// Gives one file or folder to this user, where that is not so by itself.
    pub(super) fn own(&self, path: &Path) -> io::Result<()> {
        if self.dropped {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))?;
        }
        Ok(())
    }

    /// A data folder must be this user's own, or PostgreSQL refuses it; one made
    /// by a copy as root is not.
    pub(super) fn must_own(&self, data: &Path) -> Result<()> {
        match std::fs::symlink_metadata(data) {
            Ok(meta) if meta.uid() != self.uid => fail(
                Code::BadDevFolder,
                format!(
                    "`{}` belongs to root, and PostgreSQL refuses to run as root",
                    data.display()
                ),
                format!(
                    "type `chown -R {} {}`, or `kinedb dev reset` to delete it",
                    self.name,
                    data.display()
                ),
            ),
            _ => Ok(()),
        }
    }

    /// The topmost folder of `path` (itself included) that this user cannot
    /// enter. Only root's server has that problem; access lists are not read.
    pub(super) fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        if !self.dropped {
            return None;
        }
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        folders
            .into_iter()
            .find(|folder| {
                std::fs::metadata(folder).is_ok_and(|meta| meta.is_dir() && !self.may_enter(&meta))
            })
            .map(Path::to_path_buf)
    }

    fn may_enter(&self, meta: &Metadata) -> bool {
        let bit = if meta.uid() == self.uid {
            0o100
        } else if meta.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        meta.mode() & bit != 0
    }
}

fn unprivileged(passwd: &str) -> Result<ServerUser> {
    for name in ["postgres", "_postgres", "nobody"] {
        if let Some((uid, gid)) = entry(passwd, name).filter(|(uid, _)| *uid != 0) {
            return Ok(ServerUser {
                name: name.to_owned(),
                uid,
                gid,
                dropped: true,
            });
        }
    }
    fail(
        Code::BadDevFolder,
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as",
        "type `useradd --system --user-group postgres`",
    )
}

/// uid and gid of a name in the text of `/etc/passwd`; macOS writes -2 there.
fn entry(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 3 && fields[0] == name)?;
    Some((number(fields[2])?, number(fields[3])?))
}

fn number(text: &str) -> Option<u32> {
    let value: i64 = text.parse().ok()?;
    u32::try_from(value)
        .ok()
        .or_else(|| i32::try_from(value).ok().map(i32::cast_unsigned))
}

fn name_of(passwd: &str, uid: u32) -> String {
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 3 && number(fields[2]) == Some(uid))
        .map_or_else(|| uid.to_string(), |fields| fields[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::{entry, name_of};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n\
        postgres:x:101:104::/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn passwd_lines_are_read_by_name_and_by_number() {
        assert_eq!(entry(PASSWD, "postgres"), Some((101, 104)));
        assert_eq!(entry(PASSWD, "nobody"), Some((u32::MAX - 1, u32::MAX - 1)));
        assert_eq!(entry(PASSWD, "post"), None);
        assert_eq!(name_of(PASSWD, 101), "postgres");
        assert_eq!(name_of(PASSWD, 4711), "4711");
    }
}
