//! `revision`: the files of a new migration, and its line in the list.
//!
//! It writes new files and one line; it never rewrites what it does not own.
//! Everything is checked before anything is written.

mod list;
mod project;

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDateTime, SubsecRound as _, TimeDelta, Utc};

use crate::db::ident::Ident;
use crate::fault::{Code, Fault, fail};
use crate::policy::declared::{Policies, SLOT};

pub use project::Project;

/// What the user asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What the migration does, in words.
    pub message: String,
    /// A new table, and its class.
    pub table: Option<(String, String)>,
    /// The texts of both ways, where they are known.
    pub sql: Option<(String, String)>,
}

/// What was written.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Written {
    /// The new revision's name.
    pub name: String,
    /// Its files, relative to the project.
    pub files: Vec<PathBuf>,
    /// The list it was entered in.
    pub list: PathBuf,
}

const UP: &str = include_str!("templates/up.sql");
const DOWN: &str = include_str!("templates/down.sql");
const TABLE_UP: &str = include_str!("templates/table.up.sql");
const TABLE_DOWN: &str = include_str!("templates/table.down.sql");
const TABLE_POLICY: &str = include_str!("templates/table.policy.sql");
const TABLE_FIXTURE: &str = include_str!("templates/table.fixture.toml");

/// Refuses what [`write`] would refuse, and writes nothing.
///
/// # Errors
/// As [`write`].
pub fn check(project: &Project, request: &Request, now: DateTime<Utc>) -> anyhow::Result<()> {
    prepare(project, request, now).map(drop)
}

/// Writes the files of a new migration.
///
/// # Errors
/// `usage` where the message or table is no name, `bad-file` where list and files
/// do not agree or cannot be written, `refused` where a file exists already.
pub fn write(project: &Project, request: &Request, now: DateTime<Utc>) -> anyhow::Result<Written> {
    let (name, files, entered) = prepare(project, request, now)?;
    save(project, &files, &entered)?;
    Ok(Written {
        name,
        files: files.into_iter().map(|(path, _)| path).collect(),
        list: project.list_file(),
    })
}

/// Files, relative to the project, with their texts.
type Files = Vec<(PathBuf, String)>;

/// The name, the files, the list with one more line.
fn prepare(
    project: &Project,
    request: &Request,
    now: DateTime<Utc>,
) -> anyhow::Result<(String, Files, String)> {
    let slug = slug(&request.message)?;
    let text = project.read_list()?;
    let listed = list::names(&text)?;
    list::compare(&listed, &project.migrations_on_disk()?)?;
    if let Some(same) = listed.iter().find(|one| without_time(one) == slug) {
        return fail(
            Code::Usage,
            format!("`{same}` has the same name already"),
            "say in other words what this one does",
        );
    }
    let name = format!("m{}_{slug}", newer_than(&listed, now)?.format(TIME));
    let files = match (&request.table, &request.sql) {
        (_, Some((up, down))) => vec![
            (project.migration_file(&name, "up"), up.clone()),
            (project.migration_file(&name, "down"), down.clone()),
        ],
        (None, None) => vec![
            (
                project.migration_file(&name, "up"),
                UP.replace("{message}", one_line(&request.message)),
            ),
            (
                project.migration_file(&name, "down"),
                DOWN.replace("{message}", one_line(&request.message)),
            ),
        ],
        (Some((table, class)), None) => table_files(project, &name, request, table, class)?,
    };
    for (path, _) in &files {
        if project.root().join(path).exists() {
            return fail(
                Code::Refused,
                format!("`{}` exists already", path.display()),
                "remove it, or choose another name",
            );
        }
    }
    let entered = list::enter(&text, &name)?;
    Ok((name, files, entered))
}

fn table_files(
    project: &Project,
    name: &str,
    request: &Request,
    table: &str,
    class: &str,
) -> anyhow::Result<Vec<(PathBuf, String)>> {
    check_table(table)?;
    let policies = Policies::read(&project.policies())?;
    if let Some(other) = policies.class_of(table) {
        return fail(
            Code::Usage,
            format!("table `{table}` is in class `{other}` already"),
            format!(
                "change `policies/{other}/{table}.sql`, and write the change as a migration without `--table`"
            ),
        );
    }
    let fill = |template: &str| {
        template
            .replace(SLOT, table)
            .replace("{message}", one_line(&request.message))
    };
    let class_sql = policies.render(class, table)?;
    let own = fill(TABLE_POLICY);
    let up = fill(TABLE_UP).replace(
        "{policies}",
        format!("{}\n{}", class_sql.trim(), own.trim()).trim(),
    );
    Ok(vec![
        (project.migration_file(name, "up"), up),
        (project.migration_file(name, "down"), fill(TABLE_DOWN)),
        (
            Path::new("policies")
                .join(class)
                .join(format!("{table}.sql")),
            own,
        ),
        (
            Path::new("fixtures/dev/tables").join(format!("{table}.toml")),
            fill(TABLE_FIXTURE),
        ),
    ])
}

/// New files first, the list last: an interruption leaves files that the next
/// run names as not listed, never a list that does not compile.
fn save(project: &Project, files: &[(PathBuf, String)], entered: &str) -> anyhow::Result<()> {
    let mut made: Vec<PathBuf> = Vec::new();
    let outcome = (|| {
        for (path, text) in files {
            let path = project.root().join(path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            made.push(path.clone());
            std::fs::write(&path, text)?;
        }
        let list = project.root().join(project.list_file());
        let fresh = list.with_extension("rs.new");
        std::fs::write(&fresh, entered)?;
        std::fs::rename(&fresh, &list)
    })();
    outcome.map_err(|cause: std::io::Error| {
        for path in &made {
            let _ = std::fs::remove_file(path);
        }
        Fault::new(
            Code::BadFile,
            format!("cannot write the migration: {cause}; nothing was left behind"),
        )
        .hint("make the folder writable, or free space, then run the command again")
        .into()
    })
}

/// The message as part of a file name: `add Visits table!` becomes `add_visits_table`.
fn slug(message: &str) -> anyhow::Result<String> {
    let mut slug = String::new();
    for c in message.trim().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if matches!(
            c,
            ' ' | '_' | '-' | '.' | ',' | ':' | '/' | '\'' | '(' | ')'
        ) {
            if !slug.ends_with('_') && !slug.is_empty() {
                slug.push('_');
            }
        } else {
            return fail(
                Code::Usage,
                format!(
                    "`{}` cannot be part of a migration's name",
                    c.escape_default()
                ),
                "use ASCII letters, digits and spaces, as in `kinedb revision -m \"add visits\"`",
            );
        }
    }
    let slug = slug.trim_end_matches('_').to_owned();
    if slug.is_empty() || slug.len() > 60 {
        return fail(
            Code::Usage,
            "a migration's message needs 1 to 60 letters and digits",
            "say in a few words what it does, as in `kinedb revision -m \"add visits\"`",
        );
    }
    Ok(slug)
}

fn one_line(message: &str) -> &str {
    message.trim().lines().next().unwrap_or_default()
}

/// How a name writes its time.
const TIME: &str = "%Y%m%d_%H%M%S";

/// Now, or the second after the newest migration if that one was made in this
/// very moment. A name far in the future means a wrong clock, here or there.
fn newer_than(listed: &[String], now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
    let time = |name: &String| NaiveDateTime::parse_from_str(name.get(1..16)?, TIME).ok();
    let Some((newest, name)) = listed
        .iter()
        .filter_map(|name| Some((time(name)?.and_utc(), name)))
        .max()
    else {
        return Ok(now);
    };
    if newest < now.trunc_subsecs(0) {
        Ok(now)
    } else if newest - now < TimeDelta::minutes(1) {
        Ok(newest + TimeDelta::seconds(1))
    } else {
        fail(
            Code::Usage,
            format!("`{name}` in the list is newer than this machine's clock"),
            "correct the clock, or that name; a migration must be newer than all before it",
        )
    }
}

/// The name behind `mYYYYMMDD_HHMMSS_`.
fn without_time(name: &str) -> &str {
    name.splitn(3, '_').nth(2).unwrap_or(name)
}

/// A new table's name is written without quotes in many places, so it must need none.
fn check_table(table: &str) -> anyhow::Result<()> {
    let plain = crate::db::ident::plain(table) == table;
    // The longest name made of it is that of the view, `api_<table>`.
    if plain && !table.contains('$') && table.len() <= 40 {
        return Ok(());
    }
    fail(
        Code::Usage,
        format!("{} is not a name for a new table", Ident::new(table)),
        "use lower-case letters, digits and underscores, 40 at most",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_names() {
        assert_eq!(slug("Add visits, again").unwrap(), "add_visits_again");
        assert!(slug("").is_err() && slug("../../etc").is_ok_and(|slug| slug == "etc"));
        assert!(slug("é").is_err() && slug(&"a".repeat(61)).is_err() && slug("x; drop").is_err());
    }

    #[test]
    fn table_names_need_no_quotes() {
        assert!(check_table("visit_rooms").is_ok());
        for bad in ["Visits", "a b", "1a", "a\"b", "", &"a".repeat(41)] {
            assert!(check_table(bad).is_err(), "{bad}");
        }
    }
}
