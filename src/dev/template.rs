//! Databases made as copies of a prepared one.
//!
//! A template is marked as such and closed to connections, because PostgreSQL
//! refuses to copy a database that somebody is connected to.

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::db::ident::Ident;

/// Creates a database, from this template if one is given; false where a
/// database of that name is there already. Beside the copy it costs one
/// question: without fsync copying files is quickest, with it writing them to
/// the log is (PostgreSQL manual, CREATE DATABASE, STRATEGY).
///
/// # Errors
/// What the server answers: no such template, no right to create databases.
pub async fn create_database(
    conn: &mut PgConnection,
    name: &Ident,
    template: Option<&Ident>,
) -> Result<bool> {
    let durable: String = sqlx::query_scalar("select pg_catalog.current_setting('fsync')")
        .fetch_one(&mut *conn)
        .await
        .context("ask the server for its settings")?;
    let strategy = if durable == "off" {
        "file_copy"
    } else {
        "wal_log"
    };
    let from = template.map_or_else(String::new, |template| format!(" template {template}"));
    let made = run(
        conn,
        format!("create database {name}{from} strategy {strategy}"),
    )
    .await;
    match made {
        Ok(()) => Ok(true),
        Err(error) if is_taken(&error) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("create database `{}`", name.as_str())),
    }
}

/// Makes a database a template: from now on it can be copied by anybody who may
/// create databases, and entered by nobody.
///
/// # Errors
/// What the server answers.
pub async fn mark_template(conn: &mut PgConnection, name: &Ident) -> Result<()> {
    run(
        conn,
        format!("alter database {name} with is_template true allow_connections false"),
    )
    .await
    .with_context(|| format!("make database `{}` a template", name.as_str()))
}

/// Drops a database, a template too, and ends its sessions; one that is not
/// there is fine.
///
/// # Errors
/// What the server answers.
pub async fn drop_database(conn: &mut PgConnection, name: &Ident) -> Result<()> {
    let template: Option<bool> =
        sqlx::query_scalar("select datistemplate from pg_catalog.pg_database where datname = $1")
            .bind(name.as_str())
            .fetch_optional(&mut *conn)
            .await
            .with_context(|| format!("look for database `{}`", name.as_str()))?;
    if template == Some(true) {
        run(
            conn,
            format!("alter database {name} with is_template false"),
        )
        .await
        .with_context(|| format!("make `{}` an ordinary database", name.as_str()))?;
    }
    run(conn, format!("drop database if exists {name} with (force)"))
        .await
        .with_context(|| format!("drop database `{}`", name.as_str()))
}

/// Each of these must be a message of its own: they refuse to run in a
/// transaction. Names are quoted by [`Ident`].
async fn run(conn: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await?;
    Ok(())
}

/// 42P04, or 23505 where two create it in the same moment.
fn is_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "42P04" || code == "23505")
}
