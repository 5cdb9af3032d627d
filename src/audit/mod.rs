//! The audit trail from outside the write path: sealing, verifying, partitions,
//! retention, reading. Writing events is the database's own work, by trigger.
//!
//! Verification trusts nothing that the database could have replaced: its SQL is
//! compiled in and calls built-in functions only.

pub mod access;
mod chain;
pub mod examine;
pub mod guard;
pub mod guards;
pub mod heads;
pub mod partitions;
pub mod retain;
pub mod rows;
pub mod seal;
pub mod show;
pub mod verify;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::db::error::{of_sqlx, sentence};
use crate::fault::{Code, Fault};

/// Runs statements without parameters, in one message.
pub(crate) async fn send(conn: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .map(drop)
}

/// What the server's refusal means: a missing right with the grant to run, else
/// the error with what was being done.
pub(crate) fn refused(cause: sqlx::Error, doing: &str, grant: &str) -> anyhow::Error {
    let Some(server) = of_sqlx(&cause) else {
        return anyhow::Error::from(cause).context(doing.to_owned());
    };
    let fault = match server.code() {
        "42501" => {
            Fault::new(Code::Privilege, format!("{doing}: {}", sentence(server))).hint(grant)
        }
        // The policy reads a setting that is not set: this user sees no clinic by itself.
        "42704" | "22P02" => Fault::new(
            Code::Privilege,
            format!("{doing}: row security binds this user, and no clinic was named"),
        )
        .hint(grant),
        "42P01" | "42883" => Fault::new(
            Code::Pending,
            format!("{doing}: the database has no audit trail of this version"),
        )
        .hint("kinedb upgrade"),
        "55P03" => Fault::new(
            Code::BudgetSpent,
            format!("{doing}: another session holds a lock for too long"),
        )
        .hint("run the command again when it has ended"),
        _ => return anyhow::Error::from(cause).context(doing.to_owned()),
    };
    anyhow::Error::from(cause).context(fault)
}

/// Ends the transaction of a reader.
///
/// # Errors
/// A lost connection.
pub async fn end(conn: &mut PgConnection) -> anyhow::Result<()> {
    rollback(conn).await
}

/// Ends a transaction without keeping anything of it.
pub(crate) async fn rollback(conn: &mut PgConnection) -> anyhow::Result<()> {
    send(conn, "rollback")
        .await
        .context("cannot end a transaction")
}
