//! Whom files are encrypted for, and what manifests are signed with, on the command line.

use std::path::{Path, PathBuf};

use crate::archive::Recipients;
use crate::backup::dump;
use crate::backup::signature::Key;
use crate::ui::Ui;

/// The keys that files are encrypted for.
#[derive(Debug, clap::Args)]
pub struct Encryption {
    /// Encrypt for this age public key (repeatable)
    #[arg(
        long,
        env = "KINEDB_RECIPIENTS",
        value_name = "AGE1...",
        value_delimiter = ','
    )]
    recipient: Vec<String>,
}

impl Encryption {
    /// The keys, read.
    ///
    /// # Errors
    /// What is no public key is a usage error.
    pub fn recipients(&self) -> anyhow::Result<Recipients> {
        Recipients::parse(&self.recipient)
    }
}

/// The secret that manifests are signed with.
#[derive(Debug, clap::Args)]
pub struct Signing {
    /// File with the secret that manifests are signed with, and checked
    #[arg(long, env = "KINEDB_MANIFEST_KEY", value_name = "FILE")]
    manifest_key: Option<PathBuf>,
}

impl Signing {
    /// The secret, read; none where no file was named.
    ///
    /// # Errors
    /// What cannot be read is a `bad-file`.
    pub fn key(&self) -> anyhow::Result<Option<Key>> {
        self.manifest_key.as_deref().map(Key::read).transpose()
    }
}

/// Warns of what earlier runs left in a folder when they were killed.
pub fn warn_of_partial(folder: &Path, ui: &Ui) {
    for path in dump::left_behind(folder) {
        let shown = path.display();
        ui.warn(format!(
            "`{shown}` is of a run that was killed; remove it with: rm -r '{shown}'"
        ));
    }
}

/// The folder that something is made in.
pub fn folder_of(place: &Path) -> &Path {
    match place.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
