//! Reading the trail of one clinic, for people.

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::access::{Access, enter};
use super::refused;

/// One event, as people read it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// When, in UTC.
    pub occurred_at: String,
    /// The user's id, or the name of the system that acted, or the login.
    pub actor: String,
    /// insert, update, delete, read, export.
    pub action: String,
    /// Table and row.
    pub table_name: String,
    /// The row; none where the event is about the table.
    pub row_id: Option<Uuid>,
    /// Names of the columns that changed.
    pub changed_columns: Option<Vec<String>>,
    /// application_name of the session.
    pub application_name: String,
}

type Row = (
    String,
    String,
    String,
    String,
    Option<Uuid>,
    Option<Vec<String>>,
    String,
);

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// By this user only.
    pub actor: Option<Uuid>,
    /// From this time on.
    pub since: Option<chrono::DateTime<chrono::Utc>>,
    /// Of this table only.
    pub table: Option<String>,
    /// Of this row only.
    pub row: Option<Uuid>,
    /// At most so many, the newest.
    pub limit: i64,
}

/// What the reader of one clinic needs.
pub const GRANT: &str = "as an administrator: grant kine_auditor to <user>";

/// The newest events that fit, oldest first, inside a transaction begun with
/// `begin_reading`.
///
/// # Errors
/// `privilege`; a lost connection.
pub async fn show(
    conn: &mut PgConnection,
    access: &Access,
    tenant: Uuid,
    wanted: &Wanted,
) -> anyhow::Result<Vec<Event>> {
    if *access == Access::Bound {
        enter(conn, tenant).await?;
    }
    let rows: Vec<Row> = sqlx::query_as(include_str!("sql/show.sql"))
        .bind(tenant)
        .bind(wanted.actor)
        .bind(wanted.since)
        .bind(&wanted.table)
        .bind(wanted.row)
        .bind(wanted.limit)
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "reading the trail", GRANT))?;
    let event = |row: Row| Event {
        occurred_at: row.0,
        actor: row.1,
        action: row.2,
        table_name: row.3,
        row_id: row.4,
        changed_columns: row.5,
        application_name: row.6,
    };
    Ok(rows.into_iter().map(event).collect())
}
