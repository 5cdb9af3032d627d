//! Whether rows and their trail agree. What was done while a trigger was switched
//! off left a row without an event, a change without one, or an event without a row.

use anyhow::Context as _;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::access::GRANT;
use super::refused;
use super::verify::{Kind, Problem};
use crate::db::ident::{Ident, Literal};

/// Versions of notes: each hash, each link, the note's own text, and the digest
/// that the trail holds of each. Skipped where this session may not read them.
///
/// # Errors
/// A lost connection.
pub async fn versions(
    conn: &mut PgConnection,
    tenant: Uuid,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<bool> {
    let (readable, keys): (bool, bool) = sqlx::query_as(include_str!("sql/versions_app.sql"))
        .fetch_one(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "looking at rights on the versions", GRANT))?;
    if !readable || !keys {
        return Ok(false);
    }
    let rows: Vec<(String, Option<i64>, String)> = sqlx::query_as(include_str!("sql/versions.sql"))
        .bind(tenant)
        .bind(keys)
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "reading the versions of notes", GRANT))?;
    problems.extend(rows.into_iter().map(|(note, version, detail)| Problem {
        kind: Kind::NoteVersion,
        tenant: Some(tenant),
        seal: None,
        range: match version {
            Some(version) => format!("note {note} version {version}"),
            None => format!("note {note}"),
        },
        detail,
    }));
    Ok(true)
}

/// Rows of every audited table against their events, for one clinic.
///
/// # Errors
/// `privilege` where a table cannot be read; a lost connection.
pub async fn reconcile(
    conn: &mut PgConnection,
    tenant: Uuid,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<()> {
    let tables: Vec<(String, String, bool, bool)> = sqlx::query_as(include_str!("sql/audited.sql"))
        .fetch_all(&mut *conn)
        .await
        .context("cannot list the audited tables")?;
    for (table, id, created, updated) in tables {
        let text = include_str!("sql/rows.sql")
            .replace("{table}", &format!("public.{}", Ident::new(&*table)))
            .replace("{name}", &Literal::new(&*table).to_string())
            .replace("{id}", &Ident::new(&*id).to_string())
            .replace("{created}", if created { "t.created_at" } else { "now()" })
            .replace(
                "{updated}",
                if updated {
                    "t.updated_at"
                } else {
                    "null::timestamptz"
                },
            );
        let (silent, changed, gone): (i64, i64, i64) = sqlx::query_as(AssertSqlSafe(text))
            .bind(tenant)
            .fetch_one(&mut *conn)
            .await
            .map_err(|cause| refused(cause, &format!("reading `{table}`"), GRANT))?;
        for (count, detail) in [
            (silent, "rows whose coming no event tells of"),
            (changed, "rows that changed after their last event"),
            (gone, "rows that are gone, and no event tells of it"),
        ] {
            if count > 0 {
                problems.push(Problem {
                    kind: Kind::Row,
                    tenant: Some(tenant),
                    seal: None,
                    range: format!("table {table}"),
                    detail: format!("{count} {detail}"),
                });
            }
        }
    }
    Ok(())
}
