//! One clinic's data for itself: read in its own context by roles that row security
//! binds, so that the file cannot hold a row of anyone else.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use super::dump::Staging;
use super::manifest;
use super::signature::{self, Key};
use super::unwritten;
use crate::archive::{Outlet, Recipients, write_whole};
use crate::db::ident::{Ident, Literal, Qualified};
use crate::fault::{Code, Fault, fail};

/// What to export.
pub struct Plan<'a> {
    /// The clinic.
    pub tenant: Uuid,
    /// On whose behalf, for the audit trail.
    pub user: Option<Uuid>,
    /// The folder that the export becomes.
    pub place: &'a Path,
    /// Who can read it.
    pub recipients: &'a Recipients,
    /// What the manifest is signed with, if it is.
    pub key: Option<&'a Key>,
    /// Statements that take the context, with `:tenant`.
    pub context: &'a [String],
    /// Names that a tenant's column may have.
    pub tenant_columns: &'a [String],
    /// Roles that row security binds, the product's own first.
    pub roles: &'a [String],
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Schema and name of the table.
    pub table: String,
    /// Its file.
    pub file: String,
    /// One row per line.
    pub rows: i64,
    /// The role that read it.
    pub role: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The clinic.
    pub tenant: Uuid,
    /// When, in UTC.
    pub taken_at: String,
    /// The database.
    pub database: String,
    /// The files.
    pub files: Vec<File>,
    /// Tables of clinics that none of the roles may read: kept back.
    pub kept_back: Vec<String>,
    /// Rows were counted past row security, too, and are as many.
    pub counted: bool,
}

/// Exports one clinic.
///
/// # Errors
/// `refused` for a clinic that does not exist, a place that does, or a table on which
/// row security does not bind; `backup-failed`. Nothing is left of one that failed.
pub async fn export(
    conn: &mut PgConnection,
    plan: &Plan<'_>,
    tell: &mut dyn FnMut(&str, i64),
) -> anyhow::Result<Export> {
    let tables = tables(conn, plan).await?;
    exists(conn, plan).await?;
    let staging = Staging::beside(plan.place)?;
    record(conn, plan, &tables).await?;
    begin(conn, plan).await?;
    let (database, taken_at): (String, String) = sqlx::query_as(
        "select current_database()::text, to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    )
    .fetch_one(&mut *conn)
    .await
    .context("cannot begin to export")?;
    let unbound: bool = sqlx::query_scalar(
        "select r.rolsuper or r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = session_user",
    )
    .fetch_one(&mut *conn)
    .await
    .context("cannot look at the user's rights")?;
    let mut export = Export {
        tenant: plan.tenant,
        taken_at,
        database,
        files: Vec::new(),
        kept_back: Vec::new(),
        counted: unbound,
    };
    for table in &tables {
        let Some(role) = &table.role else {
            export.kept_back.push(table.name.human());
            continue;
        };
        let file = one(conn, plan, table, role, &staging.0).await?;
        if unbound {
            same_count(conn, plan, table, file.rows).await?;
        }
        tell(&file.table, file.rows);
        export.files.push(file);
    }
    send(conn, "rollback").await?;
    let text = serde_json::to_string_pretty(&export)? + "\n";
    write_whole(&staging.0.join(manifest::FILE), text.as_bytes())
        .map_err(|cause| unwritten(plan.place, &cause))?;
    if let Some(key) = plan.key {
        let signed = key.sign(text.as_bytes())?;
        write_whole(&staging.0.join(signature::FILE), signed.as_bytes())
            .map_err(|cause| unwritten(plan.place, &cause))?;
    }
    staging.keep(plan.place)?;
    Ok(export)
}

struct Table {
    name: Qualified,
    column: String,
    role: Option<String>,
}

async fn send(conn: &mut PgConnection, text: &str) -> anyhow::Result<()> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(text.to_owned())))
        .await
        .map(drop)
        .context("cannot export the clinic")
}

/// The clinic's own context, in one snapshot, for reading.
async fn begin(conn: &mut PgConnection, plan: &Plan<'_>) -> anyhow::Result<()> {
    send(
        conn,
        "begin isolation level repeatable read read only; set local timezone = 'UTC'; \
                set local datestyle = 'ISO, YMD'; set local row_security = on",
    )
    .await?;
    enter(conn, plan).await
}

async fn enter(conn: &mut PgConnection, plan: &Plan<'_>) -> anyhow::Result<()> {
    let tenant = Literal::new(plan.tenant.to_string()).to_string();
    for statement in plan.context {
        send(conn, &statement.replace(":tenant", &tenant)).await?;
    }
    Ok(())
}

async fn tables(conn: &mut PgConnection, plan: &Plan<'_>) -> anyhow::Result<Vec<Table>> {
    let rows: Vec<(String, String, Option<String>, bool)> =
        sqlx::query_as(include_str!("sql/tables.sql"))
            .bind(plan.tenant_columns)
            .fetch_all(&mut *conn)
            .await
            .context("cannot list the tables")?;
    let mut tables = Vec::new();
    for (schema, name, column, _) in rows {
        let Some(column) = column else { continue };
        let name = Qualified::new(schema, name);
        let role: Option<String> = sqlx::query_scalar(include_str!("sql/bound_role.sql"))
            .bind(name.to_string())
            .bind(plan.roles)
            .fetch_optional(&mut *conn)
            .await
            .with_context(|| format!("cannot look at who reads `{}`", name.human()))?;
        tables.push(Table { name, column, role });
    }
    if tables.iter().all(|table| table.role.is_none()) {
        return fail(
            Code::Privilege,
            "this user may act as no role that reads a table of clinics and is bound by row security",
            "as an administrator: grant kine_app, kine_auditor to <user>",
        );
    }
    Ok(tables)
}

/// In its own context a clinic sees its own row.
async fn exists(conn: &mut PgConnection, plan: &Plan<'_>) -> anyhow::Result<()> {
    let there: bool = sqlx::query_scalar("select to_regclass('public.tenants') is not null")
        .fetch_one(&mut *conn)
        .await
        .context("cannot look for the clinic")?;
    if !there {
        return Ok(());
    }
    begin(conn, plan).await?;
    let role = plan.roles.first().map(|role| Ident::new(&**role));
    if let Some(role) = role {
        let _ = send(conn, &format!("savepoint before; set local role {role}")).await;
    }
    let found: Result<bool, _> =
        sqlx::query_scalar("select exists (select from public.tenants t where t.tenant_id = $1)")
            .bind(plan.tenant)
            .fetch_one(&mut *conn)
            .await;
    send(conn, "rollback").await?;
    if found.context("cannot look for the clinic")? {
        return Ok(());
    }
    fail(
        Code::Refused,
        format!("there is no clinic {}", plan.tenant),
        "name the tenant_id of a clinic; `kinedb dev psql` on a laptop, or an administrator, lists them",
    )
}

/// An export leaves its trace before it leaves the building.
async fn record(conn: &mut PgConnection, plan: &Plan<'_>, tables: &[Table]) -> anyhow::Result<()> {
    let there: bool =
        sqlx::query_scalar("select to_regprocedure('public.record_export(text[])') is not null")
            .fetch_one(&mut *conn)
            .await
            .context("cannot look for the audit trail")?;
    if !there {
        return Ok(());
    }
    let names: Vec<String> = tables
        .iter()
        .filter(|table| table.role.is_some())
        .map(|table| table.name.human())
        .collect();
    send(conn, "begin").await?;
    enter(conn, plan).await?;
    let user = plan.user.map(|user| user.to_string()).unwrap_or_default();
    sqlx::query("select set_config('app.user_id', $1, true), set_config('app.system_actor', 'export', true)")
        .bind(user)
        .execute(&mut *conn)
        .await
        .context("cannot record the export")?;
    let recorded = sqlx::query("select public.record_export($1)")
        .bind(names)
        .execute(&mut *conn)
        .await;
    if let Err(cause) = recorded {
        send(conn, "rollback").await?;
        let why = crate::db::error::of_sqlx(&cause)
            .map_or_else(|| cause.to_string(), |server| server.message().to_owned());
        return fail(
            Code::Privilege,
            format!("an export is recorded in the audit trail, and that failed: {why}"),
            "name the user it is for with `--user ID`, and use a login that is a member of kine_app",
        );
    }
    send(conn, "commit").await
}

/// One table into one file.
async fn one(
    conn: &mut PgConnection,
    plan: &Plan<'_>,
    table: &Table,
    role: &str,
    folder: &Path,
) -> anyhow::Result<File> {
    send(conn, &format!("set local role {}", Ident::new(role))).await?;
    let bound: bool = sqlx::query_scalar("select row_security_active($1::regclass)")
        .bind(table.name.to_string())
        .fetch_one(&mut *conn)
        .await
        .with_context(|| format!("cannot look at `{}`", table.name.human()))?;
    if !bound {
        return fail(
            Code::Refused,
            format!(
                "row security does not bind `{role}` on `{}`: the export would hold other clinics' rows",
                table.name.human()
            ),
            "kinedb verify-rls",
        );
    }
    let plainly = format!("{}.ndjson", table.name.human().replace('/', "_"));
    let file = if plan.recipients.is_empty() {
        plainly
    } else {
        format!("{plainly}.age")
    };
    let mut outlet = Outlet::create(&folder.join(&file), plan.recipients)
        .map_err(|cause| unwritten(plan.place, &cause))?;
    // No quoting and no escaping: JSON has no raw control characters.
    let text = format!(
        "copy (select pg_catalog.row_to_json(t) from {} t) to stdout (format csv, quote e'\\x01', delimiter e'\\x02')",
        table.name
    );
    let mut rows = 0;
    {
        let mut stream = conn
            .copy_out_raw(&text)
            .await
            .with_context(|| format!("cannot read `{}`", table.name.human()))?;
        while let Some(chunk) = stream
            .try_next()
            .await
            .with_context(|| format!("cannot read `{}`", table.name.human()))?
        {
            rows += i64::try_from(chunk.iter().filter(|byte| **byte == b'\n').count())?;
            outlet
                .write_all(&chunk)
                .map_err(|cause| unwritten(plan.place, &cause))?;
        }
    }
    let written = outlet
        .finish()
        .map_err(|cause| unwritten(plan.place, &cause))?;
    send(conn, "reset role").await?;
    Ok(File {
        table: table.name.human(),
        file,
        rows,
        role: role.to_owned(),
        sha256: written.sha256,
    })
}

/// Exactly: neither more nor fewer than there are for one who sees all.
async fn same_count(
    conn: &mut PgConnection,
    plan: &Plan<'_>,
    table: &Table,
    exported: i64,
) -> anyhow::Result<()> {
    let text = format!(
        "select count(*) from {} t where t.{}::text = $1",
        table.name,
        Ident::new(&*table.column)
    );
    let all: i64 = sqlx::query_scalar(AssertSqlSafe(text))
        .bind(plan.tenant.to_string())
        .fetch_one(&mut *conn)
        .await
        .with_context(|| format!("cannot count `{}`", table.name.human()))?;
    if all == exported {
        return Ok(());
    }
    Err(Fault::new(
        Code::BackupFailed,
        format!(
            "`{}` holds {all} rows of the clinic, and {exported} were exported",
            table.name.human()
        ),
    )
    .hint("kinedb verify-rls")
    .into())
}
