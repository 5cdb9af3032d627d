//! What a backup must hold, written beside the dump and from the same snapshot.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::signature::{self, Key, Signature};
use crate::audit::heads::Head;
use crate::catalogue::Fingerprint;
use crate::fault::{Code, Fault, fail};

/// The version of this form.
pub const FORMAT: u32 = 1;

/// Name of the manifest in a backup's folder.
pub const FILE: &str = "manifest.json";

/// A backup without its rows. Counts, names and hashes; no contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of kinedb that wrote it.
    pub kinedb: String,
    /// When the snapshot was taken, in UTC: the recovery point.
    pub taken_at: String,
    /// Milliseconds until the dump was on disk.
    pub duration_ms: u64,
    /// The database.
    pub database: Database,
    /// Applied migrations with their checksums, oldest first.
    pub applied: Vec<(String, Option<String>)>,
    /// Roles that own, are granted or are named by policies: without them PostgreSQL
    /// would drop policies and keep the data.
    pub roles: Vec<Role>,
    /// Schema and security.
    pub fingerprint: Fingerprint,
    /// Every table.
    pub tables: Vec<Table>,
    /// Last values of sequences.
    pub sequences: Vec<(String, Option<i64>)>,
    /// Heads of the audit chains.
    pub heads: Vec<Head>,
    /// The dump's file.
    pub dump: Dump,
}

/// The database and its server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// `server_version_num`.
    pub server_version: i32,
    /// Its owner.
    pub owner: String,
    /// Encoding.
    pub encoding: String,
    /// LC_COLLATE.
    pub collate: String,
    /// LC_CTYPE.
    pub ctype: String,
    /// Bytes on disk.
    pub bytes: i64,
    /// Grants: role (none: public), privilege, with grant option.
    pub grants: Vec<(Option<String>, String, bool)>,
    /// Settings: role (none: every role), name, value.
    pub settings: Vec<(Option<String>, String, String)>,
}

/// A role that the database needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// It may log in.
    pub login: bool,
    /// Row security does not bind it.
    pub bypassrls: bool,
    /// It is a superuser.
    pub superuser: bool,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Schema and name, quoted where SQL needs it.
    pub name: String,
    /// Rows and digest by tenant; one entry without a tenant where there is none.
    pub parts: Vec<Part>,
}

/// The rows of one tenant in one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The tenant's id as text.
    pub tenant: Option<String>,
    /// How many rows.
    pub rows: i64,
    /// The sum of the first eight bytes of each row's SHA-256: whatever the order.
    pub digest: String,
}

/// The dump's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// Its name in the backup's folder.
    pub file: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: String,
    /// It is encrypted with age.
    pub encrypted: bool,
    /// Major version of the pg_dump that wrote it.
    pub pg_dump: i32,
}

impl Manifest {
    /// Reads the manifest of a backup's folder, and what its signature says.
    ///
    /// # Errors
    /// `bad-file` where there is none or it is not of this form; `restore-differs` where
    /// a key is given and did not sign it.
    pub fn read(backup: &Path, key: Option<&Key>) -> anyhow::Result<(Self, Signature)> {
        let path = backup.join(FILE);
        let shown = backup.display();
        let bytes = std::fs::read(&path).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("`{shown}` is no backup: cannot read its {FILE}: {cause}"),
            )
            .hint("name a folder that `kinedb backup` made; `kinedb backup check --in FOLDER` lists them")
        })?;
        // Before anything of it is believed.
        let signature = signature::check(backup, &bytes, key)?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("the manifest of `{shown}` is not whole: {cause}"),
            )
            .hint("take another backup; `kinedb backup check --in FOLDER` lists them")
        })?;
        if manifest.format > FORMAT {
            return fail(
                Code::Refused,
                format!(
                    "`{shown}` was written by kinedb {}, which is newer than this one",
                    manifest.kinedb
                ),
                "use the version of kinedb that wrote it",
            );
        }
        Ok((manifest, signature))
    }

    /// The dump's path.
    pub fn dump_path(&self, backup: &Path) -> PathBuf {
        // Only the name counts: a manifest cannot lead elsewhere.
        let name = Path::new(&self.dump.file).file_name().unwrap_or_default();
        backup.join(name)
    }

    /// All rows.
    pub fn rows(&self) -> i64 {
        let parts = self.tables.iter().flat_map(|table| &table.parts);
        parts.map(|part| part.rows).sum()
    }
}
