//! The schema of Kine, as sea-orm migrations.
//!
//! Each migration is a pair of SQL files beside this one. The list below is
//! written out on purpose: order is meaning, and two branches that both add a
//! migration should meet in a merge conflict here.

mod tenants;

pub use sea_orm_migration::prelude::*;

pub use tenants::{PerTenant, Progress};

/// A migration whose two directions are SQL text.
pub struct SqlMigration {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

impl SqlMigration {
    /// Names a migration and gives both directions.
    pub const fn new(name: &'static str, up: &'static str, down: &'static str) -> Self {
        Self { name, up, down }
    }
}

impl MigrationName for SqlMigration {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for SqlMigration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared(self.up)
            .await
            .map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared(self.down)
            .await
            .map(drop)
    }

    /// None leaves it to the tool, which takes a transaction on PostgreSQL.
    fn use_transaction(&self) -> Option<bool> {
        asks_for_no_transaction(self.up).then_some(false)
    }
}

/// A line `-- kinedb: no-transaction` before the first statement. sea-orm asks
/// for both directions at once, so the way up speaks for both.
fn asks_for_no_transaction(sql: &str) -> bool {
    sql.lines()
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with("--"))
        .filter_map(|line| line.trim_start_matches('-').trim().strip_prefix("kinedb:"))
        .any(|directive| directive.trim() == "no-transaction")
}

/// A migration from the pair of SQL files of that name.
macro_rules! sql {
    ($name:literal) => {
        Box::new(SqlMigration::new(
            $name,
            include_str!(concat!($name, ".up.sql")),
            include_str!(concat!($name, ".down.sql")),
        ))
    };
}

/// The migrations of Kine, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            sql!("m20260105_090000_roles"),
            sql!("m20260105_090100_tenants_users"),
            sql!("m20260105_090200_patients_appointments"),
            sql!("m20260105_090300_encounters_notes"),
            sql!("m20260105_090400_note_versions"),
            sql!("m20260105_090500_audit_events"),
            sql!("m20260601_090000_audit_actors"),
            sql!("m20260601_090100_audit_seals"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_reaches_tools_that_know_nothing_of_it() {
        let one = |up| SqlMigration::new("m", up, "").use_transaction();
        assert_eq!(
            one("-- why\n-- kinedb: no-transaction\nvacuum;"),
            Some(false)
        );
        assert_eq!(one("create table a ();\n-- kinedb: no-transaction\n"), None);
        assert_eq!(one("create table a ();"), None);
    }
}
