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
    let mut others = Vec::new();
    for entry in entries {
        let entry = entry.context("cannot list the folder of migrations")?;
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        match file.strip_suffix(".up.sql") {
            Some(name) => names.push(name.to_owned()),
            None => others.extend(unread(&entry.path(), file)),
        }
    }
    names.sort();
    others.sort();
    refuse_unread(folder, &names, &others)?;
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

/// SQL that is of no pair: a file, or one in a folder of its own.
fn unread(path: &Path, name: &str) -> Option<String> {
    if !path.is_dir() {
        return name.ends_with(".sql").then(|| name.to_owned());
    }
    let mut inside = std::fs::read_dir(path).ok()?.flatten();
    inside.find_map(|entry| {
        let file = entry.file_name().into_string().ok()?;
        file.ends_with(".sql").then(|| format!("{name}/{file}"))
    })
}

/// A way down without its way up, and a folder whose files all have other names, would
/// else be nothing to do.
fn refuse_unread(folder: &Path, names: &[String], others: &[String]) -> anyhow::Result<()> {
    let folder = folder.display();
    let orphan = |file: &&String| {
        let name = file.strip_suffix(".down.sql");
        name.is_some_and(|name| !names.iter().any(|one| one == name))
    };
    if let Some(file) = others.iter().find(orphan) {
        let up = file.replace(".down.sql", ".up.sql");
        return fail(
            Code::BadFile,
            format!("`{file}` in `{folder}` is a way down without its way up"),
            format!("write `{up}`, or remove it"),
        );
    }
    if let (true, Some(file)) = (names.is_empty(), others.first()) {
        let name = file.trim_end_matches(".sql").replace('/', "_");
        return fail(
            Code::BadFile,
            format!("`{folder}` holds no `NAME.up.sql`, so its `{file}` would never run"),
            format!(
                "kinedb reads pairs of `NAME.up.sql` and `NAME.down.sql` in the order of their names: `mv {file} {name}.up.sql`"
            ),
        );
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).map_err(|cause| {
        let hint = match cause.kind() {
            std::io::ErrorKind::InvalidData => "save it as UTF-8 text",
            std::io::ErrorKind::IsADirectory => "a migration is a file: rename the folder",
            _ => "let the user that runs kinedb read it",
        };
        Fault::new(
            Code::BadFile,
            format!("cannot read `{}`: {cause}", file.display()),
        )
        .hint(hint)
        .into()
    })
}
