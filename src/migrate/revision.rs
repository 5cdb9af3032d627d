//! The list of migrations: compiled in, or read from a folder of SQL pairs.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context as _;
use migration::{MigrationName, MigrationTrait, MigratorTrait as _, SchemaManager};
use sea_orm::{ConnectionTrait as _, DbErr};

use crate::fault::{Code, Fault, fail};
use crate::migrate::lex;
use crate::migrate::script::{self, Direction, Script};

/// One migration: its name, and its way up recorded.
pub struct Revision {
    /// `mYYYYMMDD_HHMMSS_name`.
    pub name: String,
    /// The way up.
    pub up: Script,
    /// Checksum of the way up.
    pub checksum: String,
    migration: Box<dyn MigrationTrait>,
}

impl Revision {
    /// Records one of its directions.
    pub async fn script(&self, direction: Direction) -> anyhow::Result<Script> {
        match direction {
            Direction::Up => Ok(self.up.clone()),
            Direction::Down => script::record(self.migration.as_ref(), Direction::Down).await,
        }
    }

    /// The migration itself, for a live run.
    pub fn migration(&self) -> &dyn MigrationTrait {
        self.migration.as_ref()
    }
}

/// The migrations compiled into this program, or those of a folder.
pub async fn load(folder: Option<&Path>) -> anyhow::Result<Vec<Revision>> {
    of(match folder {
        Some(folder) => read_folder(folder)?,
        None => migration::Migrator::migrations(),
    })
    .await
}

/// A list of migrations in Rust, oldest first, for a product that compiles its own in.
///
/// # Errors
/// A name is there twice; what a migration sends cannot be read.
pub async fn of(migrations: Vec<Box<dyn MigrationTrait>>) -> anyhow::Result<Vec<Revision>> {
    let mut seen = HashSet::new();
    let mut revisions = Vec::with_capacity(migrations.len());
    for migration in migrations {
        let name = migration.name().to_owned();
        if !seen.insert(name.clone()) {
            return fail(
                Code::BadFile,
                format!("migration `{name}` is listed twice"),
                "remove one of the two lines",
            );
        }
        let up = script::record(migration.as_ref(), Direction::Up).await?;
        revisions.push(Revision {
            checksum: up.checksum(),
            name,
            up,
            migration,
        });
    }
    Ok(revisions)
}

/// A migration whose pair of files was read at run time.
struct FolderMigration {
    name: String,
    up: String,
    down: Option<String>,
}

impl MigrationName for FolderMigration {
    fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for FolderMigration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared(&self.up)
            .await
            .map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let Some(down) = &self.down else {
            return Err(DbErr::Migration(format!(
                "`{}.down.sql` does not exist",
                self.name
            )));
        };
        manager
            .get_connection()
            .execute_unprepared(down)
            .await
            .map(drop)
    }

    // As the compiled ones: the way up speaks for both.
    fn use_transaction(&self) -> Option<bool> {
        lex::directive(&self.up, "no-transaction").map(|_| false)
    }
}

/// Every `NAME.up.sql` of the folder with its `NAME.down.sql`, by name.
fn read_folder(folder: &Path) -> anyhow::Result<Vec<Box<dyn MigrationTrait>>> {
    let entries = std::fs::read_dir(folder).map_err(|cause| {
        Fault::new(
            Code::BadFile,
            format!(
                "cannot read the folder of migrations `{}`: {cause}",
                folder.display()
            ),
        )
        .hint("name a folder of `NAME.up.sql` and `NAME.down.sql` with `--migrations`")
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let file = entry
            .context("cannot list the folder of migrations")?
            .file_name();
        if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".up.sql")) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    let mut migrations: Vec<Box<dyn MigrationTrait>> = Vec::with_capacity(names.len());
    for name in names {
        let up = read(&folder.join(format!("{name}.up.sql")))?;
        let down_file = folder.join(format!("{name}.down.sql"));
        let down = if down_file.exists() {
            Some(read(&down_file)?)
        } else {
            None
        };
        migrations.push(Box::new(FolderMigration { name, up, down }));
    }
    Ok(migrations)
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).map_err(|cause| {
        Fault::new(
            Code::BadFile,
            format!("cannot read `{}`: {cause}", file.display()),
        )
        .hint("migrations are UTF-8 text")
        .into()
    })
}
