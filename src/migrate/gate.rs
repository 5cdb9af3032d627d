//! The gate: isolation is proven inside a migration's transaction, before COMMIT.

use sqlx::postgres::PgConnection;

/// How much of the proof the gate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// Catalogue checks and probes.
    #[default]
    Full,
    /// Catalogue checks only.
    Catalog,
    /// Nothing.
    Off,
}

/// Compares what verification finds before and after each migration.
pub struct Gate {}

impl Gate {
    /// None where the gate is off.
    pub fn new(_depth: Depth, _config: crate::verify::Config) -> Option<Self> {
        None
    }

    /// Looks at the database before the first migration.
    pub async fn before(&mut self, _conn: &mut PgConnection) -> anyhow::Result<()> {
        Ok(())
    }

    /// Looks at it after a migration, inside its transaction.
    pub async fn after(&mut self, _conn: &mut PgConnection, _name: &str) -> anyhow::Result<()> {
        Ok(())
    }
}
