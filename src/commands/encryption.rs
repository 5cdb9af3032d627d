//! Whom files are encrypted for, on the command line.

use crate::archive::Recipients;

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
