//! The heads of the chains, to be kept where nobody who can write to the database
//! can write: a chain cannot see its own tail cut off.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::archive::write_whole;
use crate::fault::{Code, Fault};

/// The newest seal of one clinic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The clinic.
    pub tenant: Uuid,
    /// Number of the seal.
    pub number: i64,
    /// Its hash, in hexadecimal.
    pub hash: String,
}

/// A file of heads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    /// The database they were taken from.
    pub database: String,
    /// When, in UTC.
    pub taken_at: String,
    /// One per clinic that has a seal.
    pub heads: Vec<Head>,
}

impl Heads {
    /// The head of a clinic, if it had one.
    pub fn of(&self, tenant: Uuid) -> Option<&Head> {
        self.heads.iter().find(|head| head.tenant == tenant)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `bad-file` if it cannot be read or is not of this form.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let hint = "name a file that `kinedb audit seal --heads FILE` wrote";
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("cannot read the heads `{shown}`: {cause}"),
            )
            .hint(hint)
        })?;
        serde_json::from_str(&text).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("`{shown}` is no file of heads: {cause}"),
            )
            .hint(hint)
            .into()
        })
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// `bad-file` if it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_whole(path, text.as_bytes()).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("cannot write the heads `{}`: {cause}", path.display()),
            )
            .hint("name a file in a folder that you may write to")
            .into()
        })
    }
}
