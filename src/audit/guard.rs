//! The event triggers that keep the owner of a clinic's tables from switching off
//! what fills the trail. Making them needs a superuser, so no migration does:
//! whoever administers the server decides.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;

use super::verify::{Kind, Problem};
use super::{guards, refused, rollback, send};
use crate::fault::{Code, fail};

/// The statements that make the guard, for an administrator to read or to run.
pub const UP: &str = include_str!("sql/guard_up.sql");
/// The statements that take it away.
pub const DOWN: &str = include_str!("sql/guard_down.sql");

const GRANT: &str = "event triggers are a superuser's: run `kinedb audit guard` with such a login, or hand `kinedb audit guard --sql` to who has one";

/// Whether the guard is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is not, or not as it was made.
    #[default]
    None,
    /// It is, whole.
    InPlace,
}

/// Looks whether the guard is there. One that is there in part, switched off or
/// changed is a problem; that there is none is a choice.
///
/// # Errors
/// A lost connection.
pub async fn state(conn: &mut PgConnection, problems: &mut Vec<Problem>) -> anyhow::Result<State> {
    let body = UP.split("$guard$").nth(1).unwrap_or_default();
    let rows: Vec<(String, Option<String>, bool)> =
        sqlx::query_as(include_str!("sql/guard_state.sql"))
            .bind(body)
            .fetch_all(&mut *conn)
            .await
            .context("cannot look at the event triggers")?;
    if !rows.iter().any(|(_, _, there)| *there) {
        return Ok(State::None);
    }
    let before = problems.len();
    problems.extend(rows.into_iter().filter_map(|(name, wrong, _)| {
        Some(Problem {
            kind: Kind::Guard,
            tenant: None,
            seal: None,
            range: format!("event trigger {name}"),
            detail: wrong?,
        })
    }));
    Ok(if problems.len() == before {
        State::InPlace
    } else {
        State::None
    })
}

/// Makes the guard, or makes it anew. What it guards must be in order first.
///
/// # Errors
/// `audit-broken` where something is switched off already, `privilege`, `pending`.
pub async fn install(conn: &mut PgConnection) -> anyhow::Result<()> {
    send(conn, "begin").await.context("cannot begin")?;
    let mut problems = Vec::new();
    if guards::present(conn, &mut problems).await? {
        guards::check(conn, &mut problems).await?;
    }
    if let Some(first) = problems.first() {
        rollback(conn).await?;
        return fail(
            Code::AuditBroken,
            format!("what the event triggers would guard is not in order: {first}"),
            "kinedb audit verify",
        );
    }
    change(conn, UP, "making the event triggers").await
}

/// Takes the guard away.
///
/// # Errors
/// `privilege`, a lost connection.
pub async fn remove(conn: &mut PgConnection) -> anyhow::Result<()> {
    send(conn, "begin").await.context("cannot begin")?;
    change(conn, DOWN, "dropping the event triggers").await
}

async fn change(conn: &mut PgConnection, sql: &str, doing: &str) -> anyhow::Result<()> {
    let quiet = format!("set local client_min_messages = warning; {sql}");
    if let Err(cause) = send(conn, &quiet).await {
        rollback(conn).await?;
        return Err(refused(cause, doing, GRANT));
    }
    send(conn, "commit").await.context("cannot commit")
}
