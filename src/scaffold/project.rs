//! The project on disk: where migrations, policies and fixtures stand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::fault::{Code, Fault, fail};

/// A folder with `migration/src/lib.rs` and `policies/`.
#[derive(Debug, Clone)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// The project that holds this folder.
    pub fn find(from: &Path) -> anyhow::Result<Self> {
        let root = from
            .ancestors()
            .find(|folder| folder.join("migration/src/lib.rs").is_file());
        match root {
            Some(root) => Ok(Self {
                root: root.to_owned(),
            }),
            None => fail(
                Code::BadFile,
                format!(
                    "`{}` is in no project: there is no `migration/src/lib.rs` above it",
                    from.display()
                ),
                "run the command in the folder of the project",
            ),
        }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The written list, relative to the root.
    pub fn list_file(&self) -> PathBuf {
        PathBuf::from("migration/src/lib.rs")
    }

    /// One file of a migration, relative to the root.
    pub fn migration_file(&self, name: &str, direction: &str) -> PathBuf {
        PathBuf::from(format!("migration/src/{name}.{direction}.sql"))
    }

    /// The folder of policies.
    pub fn policies(&self) -> PathBuf {
        self.root.join("policies")
    }

    /// The text of the list.
    pub fn read_list(&self) -> anyhow::Result<String> {
        let path = self.root.join(self.list_file());
        std::fs::read_to_string(&path).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("cannot read `{}`: {cause}", path.display()),
            )
            .hint("restore it with `git checkout migration/src/lib.rs`")
            .into()
        })
    }

    /// The names in the list, in order.
    ///
    /// # Errors
    /// `bad-file` where the list has not the expected form.
    pub fn listed(&self) -> anyhow::Result<Vec<String>> {
        super::list::names(&self.read_list()?)
    }

    /// The names of all migrations that have a file.
    pub fn migrations_on_disk(&self) -> anyhow::Result<BTreeSet<String>> {
        let folder = self.root.join("migration/src");
        let entries = std::fs::read_dir(&folder).map_err(|cause| {
            Fault::new(
                Code::BadFile,
                format!("cannot list `{}`: {cause}", folder.display()),
            )
            .hint("make it readable")
        })?;
        let mut names = BTreeSet::new();
        for entry in entries {
            let file = entry?.file_name();
            let Some(file) = file.to_str() else { continue };
            let stem = file
                .strip_suffix(".up.sql")
                .or_else(|| file.strip_suffix(".down.sql"))
                .or_else(|| file.strip_suffix(".rs"));
            if let Some(stem) = stem.filter(|stem| {
                stem.starts_with('m') && stem[1..].starts_with(|c: char| c.is_ascii_digit())
            }) {
                names.insert(stem.to_owned());
            }
        }
        Ok(names)
    }
}
