//! What a database holds: rows of each table by tenant, counted and digested. The
//! values are read in one form whatever the session's settings.

use anyhow::Context as _;
use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::manifest::{Database, Part, Role, Table};
use crate::audit::heads::Head;
use crate::catalogue::{self, Fingerprint};
use crate::db::ident::{Ident, Qualified};
use crate::fault::{Code, fail};

/// Settings under which rows become text: for both sides of a comparison.
pub const SETTINGS: &str = "set local search_path = pg_catalog; set local timezone = 'UTC'; \
     set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local bytea_output = 'hex'; \
     set local extra_float_digits = 1; set local xmlbinary = 'base64'; set local row_security = off; \
     set local jit = off; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0";

/// What the catalogue tells of the database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct About {
    /// The database.
    pub database: Database,
    /// The roles it needs.
    pub roles: Vec<Role>,
    /// Its sequences.
    pub sequences: Vec<(String, Option<i64>)>,
}

/// Reads it, inside a transaction.
///
/// # Errors
/// A lost connection.
pub async fn about(conn: &mut PgConnection) -> anyhow::Result<About> {
    let text: String = sqlx::query_scalar(include_str!("sql/database.sql"))
        .fetch_one(&mut *conn)
        .await
        .context("cannot read what the database is")?;
    serde_json::from_str(&text).context("cannot read what the database is")
}

/// Schema and security, inside the caller's transaction, but for what a dump does
/// not carry and the target decides: who owns the database itself and its
/// extensions, how many may connect, what its comment is.
///
/// # Errors
/// A lost connection.
pub async fn fingerprint(conn: &mut PgConnection) -> anyhow::Result<Fingerprint> {
    let mut read = catalogue::read_within(conn)
        .await
        .context("cannot read the catalogue")?;
    read.leave_place();
    for (object, described) in &mut read.objects {
        if object.starts_with("extension ") {
            described.attributes.remove("owner");
        }
    }
    Ok(read)
}

/// Rows of every table by tenant, inside a transaction with [`SETTINGS`].
///
/// # Errors
/// `privilege` for a table that may not be read.
pub async fn tables(
    conn: &mut PgConnection,
    tenant_columns: &[String],
    tell: &mut dyn FnMut(&str, i64),
) -> anyhow::Result<Vec<Table>> {
    let list: Vec<(String, String, Option<String>, bool)> =
        sqlx::query_as(include_str!("sql/tables.sql"))
            .bind(tenant_columns)
            .fetch_all(&mut *conn)
            .await
            .context("cannot list the tables")?;
    let closed: Vec<String> = list
        .iter()
        .filter(|(.., readable)| !readable)
        .map(|(schema, name, ..)| Qualified::new(&**schema, &**name).human())
        .collect();
    if !closed.is_empty() {
        return fail(
            Code::Privilege,
            format!("this user may not read `{}`", closed.join("`, `")),
            "grant it pg_read_all_data, or use a superuser",
        );
    }
    let mut tables = Vec::new();
    for (schema, name, tenant, _) in list {
        let qualified = Qualified::new(&*schema, &*name);
        let tenant = tenant.map_or_else(
            || "null::text".to_owned(),
            |column| format!("t.{}::text", Ident::new(column)),
        );
        let text = include_str!("sql/part.sql")
            .replace("{tenant}", &tenant)
            .replace("{only}", "")
            .replace("{table}", &qualified.to_string());
        let parts: Vec<(Option<String>, i64, String)> = sqlx::query_as(AssertSqlSafe(text))
            .fetch_all(&mut *conn)
            .await
            .with_context(|| format!("cannot count the rows of `{}`", qualified.human()))?;
        let parts: Vec<Part> = parts
            .into_iter()
            .map(|(tenant, rows, digest)| Part {
                tenant,
                rows,
                digest,
            })
            .collect();
        tell(&qualified.human(), parts.iter().map(|part| part.rows).sum());
        tables.push(Table {
            name: qualified.human(),
            parts,
        });
    }
    Ok(tables)
}

/// Heads of the audit chains; none where there is no audit trail.
///
/// # Errors
/// A lost connection.
pub async fn heads(conn: &mut PgConnection) -> anyhow::Result<Vec<Head>> {
    let there: bool = sqlx::query_scalar("select to_regclass('public.audit_seals') is not null")
        .fetch_one(&mut *conn)
        .await
        .context("cannot look for the audit chains")?;
    if !there {
        return Ok(Vec::new());
    }
    let rows: Vec<(uuid::Uuid, i64, String)> = sqlx::query_as(
        "select distinct on (s.tenant_id) s.tenant_id, s.number, encode(s.hash, 'hex') \
         from public.audit_seals s order by s.tenant_id, s.number desc",
    )
    .fetch_all(&mut *conn)
    .await
    .context("cannot read the heads of the audit chains")?;
    Ok(rows
        .into_iter()
        .map(|(tenant, number, hash)| Head {
            tenant,
            number,
            hash,
        })
        .collect())
}
