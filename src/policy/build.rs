//! Builds the declared state in a scratch database at head: takes away what the
//! files of `policies/` give, changes tables to what the entities declare, runs
//! the files.

use std::collections::BTreeSet;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::catalogue;
use crate::db::error::{is_lost, of_sqlx, position, sentence, sqlstate};
use crate::db::ident::Ident;
use crate::fault::{Code, Fault};
use crate::migrate::lex;
use crate::policy::declared::{Policies, SLOT};
use crate::policy::entities::{self, Table};
use crate::policy::entity_changes::{self, Change};

const STRIP: &str = include_str!("sql/strip.sql");
const RIGHTS_OF: &str = include_str!("sql/rights_of.sql");

/// One file to run: its path under `policies/`, its text with the slot filled.
struct File {
    path: String,
    sql: String,
}

/// Makes a scratch database at head what is declared. Gives back what the
/// entities change; what destroys data among it, and what the server refuses, was
/// not done.
///
/// # Errors
/// `bad-file` with file, line and message where declared SQL does not run, names
/// what is not there, or refers to itself in a circle.
pub async fn build(
    conn: &mut PgConnection,
    policies: &Policies,
    tables: Option<&[Table]>,
) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    if let Some(tables) = tables {
        run(conn, &entities::shadow(tables))
            .await
            .map_err(|cause| {
                anyhow::Error::from(cause).context(
                    Fault::new(
                        Code::BadFile,
                        "the tables that the entities declare cannot be built",
                    )
                    .hint("correct the entity that the server names below, then: kinedb check"),
                )
            })?;
        let seen = catalogue::read(conn).await?;
        run(conn, &format!("drop schema {} cascade", entities::SHADOW)).await?;
        changes = entity_changes::changes(&seen, tables);
    }
    strip(conn, policies).await?;
    for change in changes.iter_mut().filter(|change| !change.destroys) {
        match run(conn, &change.sql).await {
            Ok(()) => {}
            // What stands on the table may not let it go; that is for its author to order.
            Err(cause) if !is_lost(&cause) && of_sqlx(&cause).is_some() => {
                change.refused = of_sqlx(&cause).map(sentence);
                continue;
            }
            failed => failed.with_context(|| format!("{}: {}", change.object, change.what))?,
        }
        // New tables belong to whoever owns the schema's others.
        if change.sql.starts_with("create table ") {
            own_like_others(conn, &change.object).await?;
        }
    }
    apply(conn, policies).await?;
    Ok(changes)
}

/// Gives the database of this connection, a copy of `source`, the grants and the
/// settings that `source` has as a whole.
///
/// # Errors
/// What the server answers.
pub async fn copy_rights(conn: &mut PgConnection, source: &Ident) -> anyhow::Result<()> {
    let sql = format!(
        "begin; select set_config('kinedb.source', {}, true); {RIGHTS_OF}; commit",
        crate::db::ident::Literal::new(source.as_str()),
    );
    run(conn, &sql)
        .await
        .context("giving a copy the grants and settings of its database")
}

/// A table made for a new entity gets the owner that most tables of its schema have.
async fn own_like_others(conn: &mut PgConnection, object: &str) -> anyhow::Result<()> {
    let name = object.trim_start_matches("table ");
    let sql = format!(
        "do $own$ declare owner text; begin \
         select c.relowner::regrole::text into owner from pg_class c \
         where c.relkind in ('r', 'p') and c.relnamespace = (select relnamespace from pg_class where oid = {table}::regclass) \
           and not c.relispartition and c.relname !~ '^(kinedb|seaql)_' and c.oid <> {table}::regclass \
         group by 1 order by count(*) desc, 1 limit 1; \
         if owner is not null then execute format('alter table %s owner to %s', {table}::regclass, owner); end if; \
         end $own$",
        table = crate::db::ident::Literal::new(name),
    );
    run(conn, &sql).await?;
    Ok(())
}

async fn strip(conn: &mut PgConnection, policies: &Policies) -> anyhow::Result<()> {
    let declared: Vec<String> = policies
        .classes
        .values()
        .flat_map(|class| class.tables.keys())
        .map(|table| format!("public.{}", crate::db::ident::plain(table)))
        .collect();
    let named = views(policies);
    let sql = format!(
        "begin; select set_config('kinedb.declared', {}, true), set_config('kinedb.named', {}, true); {STRIP}; commit",
        crate::db::ident::Literal::new(declared.join("\n")),
        crate::db::ident::Literal::new(named.join("\n")),
    );
    run(conn, &sql)
        .await
        .context("taking away what `policies/` gives, in the scratch database")
}

/// The views that the files create.
fn views(policies: &Policies) -> Vec<String> {
    let mut names = BTreeSet::new();
    for file in files(policies) {
        let words = lex::tokens(&file.sql);
        let is = |at: usize, word: &str| {
            words
                .get(at)
                .is_some_and(|(text, _)| text.eq_ignore_ascii_case(word))
        };
        for at in 0..words.len() {
            if !(is(at, "view")
                && (is(at.wrapping_sub(1), "create") || is(at.wrapping_sub(1), "replace")))
            {
                continue;
            }
            let mut name = words
                .get(at + 1)
                .map_or(String::new(), |(text, _)| (*text).to_owned());
            if is(at + 2, ".")
                && let Some((text, _)) = words.get(at + 3)
            {
                name = format!("{name}.{text}");
            }
            names.insert(name);
        }
    }
    names.into_iter().collect()
}

fn files(policies: &Policies) -> Vec<File> {
    let mut all = Vec::new();
    for (name, class) in &policies.classes {
        for (table, own) in &class.tables {
            all.push(File {
                path: format!("policies/{name}/_class.sql"),
                sql: class.template.replace(SLOT, table),
            });
            all.push(File {
                path: format!("policies/{name}/{table}.sql"),
                sql: own.clone(),
            });
        }
    }
    all
}

/// Runs every file. One that needs what another makes runs after it, whatever
/// their names.
async fn apply(conn: &mut PgConnection, policies: &Policies) -> anyhow::Result<()> {
    let roles = File {
        path: "policies/_roles.sql".to_owned(),
        sql: policies.roles.clone(),
    };
    if let Err(cause) = one(conn, &roles).await? {
        return Err(refused(conn, &roles, cause).await);
    }
    let mut waiting = files(policies);
    loop {
        let mut failed = Vec::new();
        let before = waiting.len();
        for file in waiting {
            if let Err(cause) = one(conn, &file).await? {
                failed.push((file, cause));
            }
        }
        let missing = |cause: &sqlx::Error| {
            // No such relation, function, or object.
            matches!(sqlstate(cause), Some("42P01" | "42883" | "42704"))
        };
        if let Some(at) = failed.iter().position(|(_, cause)| !missing(cause)) {
            let (file, cause) = failed.swap_remove(at);
            return Err(refused(conn, &file, cause).await);
        }
        if failed.is_empty() {
            return Ok(());
        }
        if failed.len() == before {
            return Err(stuck(conn, failed).await);
        }
        waiting = failed.into_iter().map(|(file, _)| file).collect();
    }
}

/// One file in a transaction of its own. The outer error is the connection's.
async fn one(conn: &mut PgConnection, file: &File) -> anyhow::Result<Result<(), sqlx::Error>> {
    run(conn, "begin").await?;
    let outcome = run(conn, &file.sql).await;
    if let Err(cause) = &outcome
        && of_sqlx(cause).is_none()
    {
        return Err(anyhow::anyhow!("the scratch server went away"));
    }
    run(
        conn,
        if outcome.is_ok() {
            "commit"
        } else {
            "rollback"
        },
    )
    .await?;
    run(conn, "reset role").await?;
    Ok(outcome)
}

/// Several files wait for each other, or for what nobody makes.
async fn stuck(conn: &mut PgConnection, mut failed: Vec<(File, sqlx::Error)>) -> anyhow::Error {
    let views: Vec<&str> = failed.iter().map(|(file, _)| file.path.as_str()).collect();
    let circle = failed.len() > 1
        && failed.iter().all(|(file, cause)| {
            let message = of_sqlx(cause).map_or("", |error| error.message());
            failed.iter().any(|(other, _)| {
                other.path != file.path
                    && missing_name(message).is_some_and(|name| {
                        let bare = name.rsplit('.').next().unwrap_or(name);
                        other.sql.contains(&format!("view {name}"))
                            || other.sql.contains(&format!(".{bare}"))
                                && other.sql.contains("create view")
                    })
            })
        });
    if circle {
        let list = views.join("`, `");
        return Fault::new(
            Code::BadFile,
            format!("`{list}` depend on each other in a circle"),
        )
        .hint("let one of them read the table itself instead of the other's view")
        .into();
    }
    let (file, cause) = failed.remove(0);
    refused(conn, &file, cause).await
}

/// The line of the statement that fails, where the server names no place: each is run
/// by itself. None where the connection is lost, or all run.
async fn failing_line(conn: &mut PgConnection, sql: &str) -> Option<usize> {
    run(conn, "begin").await.ok()?;
    let mut failing = None;
    for range in lex::statements(sql) {
        if run(conn, sql.get(range.clone())?).await.is_err() {
            failing = Some(lex::line_column_at(sql, range.start).0);
            break;
        }
    }
    run(conn, "rollback").await.ok()?;
    run(conn, "reset role").await.ok()?;
    failing
}

/// The name in `relation "x" does not exist`.
fn missing_name(message: &str) -> Option<&str> {
    message.split('"').nth(1)
}

async fn refused(conn: &mut PgConnection, file: &File, cause: sqlx::Error) -> anyhow::Error {
    let Some(error) = of_sqlx(&cause) else {
        return cause.into();
    };
    let line = match position(error) {
        Some(position) => Some(lex::line_column(&file.sql, position).0),
        None => failing_line(conn, &file.sql).await,
    };
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    Fault::new(
        Code::BadFile,
        format!("`{}{line}` does not run: {}", file.path, sentence(error)),
    )
    .hint("correct the file; a table that it names must be made by a migration or declared by an entity")
    .into()
}

async fn run(conn: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .map(drop)
}
