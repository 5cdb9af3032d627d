//! Backup and recovery: a dump with a manifest of all that it must hold, a restore
//! that is compared with it line by line, one clinic's data for itself.
//!
//! pg_dump and pg_restore do the work. For point-in-time recovery there are
//! pgBackRest and WAL-G; here is only looked at whether archiving works.

pub mod check;
pub mod compare;
pub mod content;
pub mod dump;
pub mod export;
pub mod manifest;
pub mod programs;
mod prove;
mod ready;
pub mod received;
pub mod restore;
pub mod signature;

use std::path::Path;

use crate::fault::{Code, Fault};

/// The fault of a file that could not be written.
pub(crate) fn unwritten(place: &Path, cause: &std::io::Error) -> anyhow::Error {
    let hint = match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "make room or name another folder; nothing of this backup is left"
        }
        std::io::ErrorKind::FileTooLarge => {
            "raise the limit (ulimit -f unlimited) or name a folder on another file system; nothing of this backup is left"
        }
        _ => "name a folder that you may write to; nothing of this backup is left",
    };
    Fault::new(
        Code::BackupFailed,
        format!("cannot write `{}`: {cause}", place.display()),
    )
    .hint(hint)
    .into()
}
