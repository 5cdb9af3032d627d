//! The schema of Kine, as sea-orm migrations.
//!
//! Each migration is a pair of SQL files beside this one. The list below is
//! written out on purpose: order is meaning, and two branches that both add a
//! migration should meet in a merge conflict here.

pub use sea_orm_migration::prelude::*;

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
        ]
    }
}
