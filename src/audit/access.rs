//! How this session may look at the trail: past row security, or clinic by clinic.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{refused, rollback, send};
use crate::db::ident::{Ident, Literal};
use crate::fault::Code;
use crate::fault::fail;

/// A session's way to the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Row security does not bind the session itself.
    Unbound,
    /// It may act as a role that row security does not bind.
    As(String),
    /// It is bound: one clinic at a time, each in its own context.
    Bound,
}

/// Finds out, without changing anything.
///
/// # Errors
/// A lost connection.
pub async fn find(conn: &mut PgConnection) -> anyhow::Result<Access> {
    let (own, other): (bool, Option<String>) = sqlx::query_as(include_str!("sql/access.sql"))
        .fetch_one(&mut *conn)
        .await
        .context("cannot look at the user's rights")?;
    Ok(match (own, other) {
        (true, _) => Access::Unbound,
        (false, Some(role)) => Access::As(role),
        (false, None) => Access::Bound,
    })
}

/// Opens a transaction that sees one state of the database, writes nothing, and
/// shows values as the seals were computed from them.
///
/// # Errors
/// A lost connection.
pub async fn begin_reading(conn: &mut PgConnection, access: &Access) -> anyhow::Result<()> {
    send(conn, &opening(access, ""))
        .await
        .context("cannot begin to read the audit trail")
}

/// Opens the same on two connections that see one state. False where the second
/// cannot join: another server behind a name, a pooler.
///
/// # Errors
/// A lost connection of the first.
pub async fn begin_reading_together(
    first: &mut PgConnection,
    second: &mut PgConnection,
    access: &Access,
) -> anyhow::Result<bool> {
    begin_reading(first, access).await?;
    let exported: Result<String, _> = sqlx::query_scalar("select pg_catalog.pg_export_snapshot()")
        .fetch_one(&mut *first)
        .await;
    let Ok(snapshot) = exported else {
        rollback(first).await?;
        begin_reading(first, access).await?;
        return Ok(false);
    };
    let joining = format!("set transaction snapshot {};", Literal::new(&*snapshot));
    Ok(send(second, &opening(access, &joining)).await.is_ok())
}

fn opening(access: &Access, joining: &str) -> String {
    let mut text = format!(
        "begin isolation level repeatable read read only; {joining} \
         set local search_path = pg_catalog, pg_temp; set local timezone = 'UTC'; \
         set local datestyle = 'ISO, YMD'; set local bytea_output = 'hex'; set local client_encoding = 'UTF8'; set local jit = off"
    );
    if let Access::As(role) = access {
        text.push_str(&format!("; set local role {}", Ident::new(role)));
    }
    text
}

/// Takes the context of a clinic for the rest of the transaction.
///
/// # Errors
/// A lost connection.
pub async fn enter(conn: &mut PgConnection, tenant: Uuid) -> anyhow::Result<()> {
    sqlx::query("select pg_catalog.set_config('app.tenant_id', $1, true)")
        .bind(tenant.to_string())
        .execute(&mut *conn)
        .await
        .map(drop)
        .context("cannot enter the clinic")
}

/// The clinics there are, inside a transaction begun with [`begin_reading`]: those
/// with a row and those that only the trail still knows.
///
/// # Errors
/// `usage` where the session sees no list of clinics.
pub async fn tenants(conn: &mut PgConnection, access: &Access) -> anyhow::Result<Vec<Uuid>> {
    if *access == Access::Bound {
        return fail(
            Code::Usage,
            "row security binds this user, so it does not see which clinics there are",
            "name the clinics with `--tenant`, or use a login that is a member of kine_backup",
        );
    }
    sqlx::query_scalar(include_str!("sql/tenants.sql"))
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "listing the clinics", GRANT))
}

/// What a reader of the whole trail needs.
pub const GRANT: &str = "as an administrator: grant kine_backup to <user>; for one clinic at a time: grant kine_auditor, kine_sealer to <user>, and name it with `--tenant`";
