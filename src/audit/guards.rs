//! Whether what writes and guards the trail is in place now. The owner of a table
//! may switch its triggers off, a superuser may do anything; this is what notices.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;

use super::access::GRANT;
use super::refused;
use super::verify::{Kind, Problem};
use crate::fault::{Code, fail};

/// The migrations that make the functions of the trail, oldest first.
const SOURCES: &[&str] = &[
    include_str!("../../migration/src/m20260105_090400_note_versions.up.sql"),
    include_str!("../../migration/src/m20260105_090500_audit_events.up.sql"),
    include_str!("../../migration/src/m20260601_090000_audit_actors.up.sql"),
    include_str!("../../migration/src/m20260601_090100_audit_seals.up.sql"),
];

fn problem(range: String, detail: String) -> Problem {
    Problem {
        kind: Kind::Guard,
        tenant: None,
        seal: None,
        range,
        detail,
    }
}

/// Whether all tables and columns of the trail are there, so that the rest can be
/// read; what is missing of a trail that exists is a problem.
///
/// # Errors
/// `pending` where the database never had a trail; a lost connection.
pub async fn present(conn: &mut PgConnection, problems: &mut Vec<Problem>) -> anyhow::Result<bool> {
    let missing: Vec<(String, String)> = sqlx::query_as(include_str!("sql/present.sql"))
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "looking for the trail", GRANT))?;
    let seals: bool = sqlx::query_scalar(
        "select to_regprocedure('public.seal_audit_events(integer)') is not null",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(|cause| refused(cause, "looking for the trail", GRANT))?;
    if missing.is_empty() {
        return Ok(true);
    }
    if !seals {
        return fail(
            Code::Pending,
            "the database has no audit trail of this version",
            "kinedb upgrade",
        );
    }
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (table, column) in missing {
        tables.entry(table).or_default().push(column);
    }
    problems.extend(tables.into_iter().map(|(table, columns)| {
        problem(
            table,
            format!("columns are not there: {}", columns.join(", ")),
        )
    }));
    Ok(false)
}

/// Looks at the catalogue, inside a transaction begun with `begin_reading`.
///
/// # Errors
/// A lost connection; a database that has no audit trail.
pub async fn check(conn: &mut PgConnection, problems: &mut Vec<Problem>) -> anyhow::Result<()> {
    let (names, bodies): (Vec<String>, Vec<String>) = bodies().into_iter().unzip();
    let rows: Vec<(String, String)> = sqlx::query_as(include_str!("sql/guards.sql"))
        .bind(names)
        .bind(bodies)
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "looking at what guards the trail", GRANT))?;
    problems.extend(
        rows.into_iter()
            .map(|(range, detail)| problem(range, detail)),
    );
    Ok(())
}

/// Name and body of each function, as the newest migration that makes it has them.
fn bodies() -> BTreeMap<String, String> {
    let mut bodies = BTreeMap::new();
    for source in SOURCES {
        for (at, found) in source.match_indices("function public.") {
            let line = source[..at].rsplit('\n').next().unwrap_or_default();
            if line != "create " && line != "create or replace " {
                continue;
            }
            let rest = &source[at + found.len()..];
            let name = rest.split('(').next().unwrap_or_default();
            if let Some(body) = rest.split("$body$").nth(1) {
                bodies.insert(name.to_owned(), body.to_owned());
            }
        }
    }
    bodies
}

#[cfg(test)]
mod tests {
    #[test]
    fn bodies_are_those_of_the_newest_migration() {
        let bodies = super::bodies();
        assert!(bodies["refuse_change"].contains("is written once"));
        assert!(bodies["record_audit_event"].contains("patient data is written by a user"));
        assert!(bodies["create_audit_partition"].contains("stray"));
        assert!(bodies.len() >= 10, "{:?}", bodies.keys());
    }
}
