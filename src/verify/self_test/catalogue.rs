//! The kinds of fault: one SQL file each, a query over the prelude of the checks
//! that tells where a schema has a place for it and how it is planted there.

use anyhow::Context as _;
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};

use crate::verify::explain;
use crate::verify::finding::Severity;
use crate::verify::model::Scope;

static FAULTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/verify/self_test/faults");

/// A kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// The stem of its file.
    pub id: &'static str,
    /// One line: what is wrong then.
    pub title: &'static str,
    /// The least that a finding of it must weigh.
    pub weight: Severity,
    #[serde(skip)]
    body: &'static str,
}

/// A fault that can be planted.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) object: String,
    pub(crate) sql: String,
    /// What else a finding may name.
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Row {
    object: String,
    sql: String,
    names: Option<Vec<String>>,
}

/// Every kind, by id.
pub fn kinds() -> Vec<Kind> {
    let mut list: Vec<Kind> = FAULTS
        .files()
        .filter_map(|file| {
            let id = file.path().file_stem()?.to_str()?;
            let body = file.contents_utf8()?;
            let head = |name: &str| body.lines().find_map(|line| line.strip_prefix(name));
            Some(Kind {
                id,
                title: head("-- title: ")?,
                weight: match head("-- weight: ") {
                    Some("warning") => Severity::Warning,
                    _ => Severity::Error,
                },
                body,
            })
        })
        .collect();
    list.sort_by_key(|kind| kind.id);
    list
}

/// The faults that a schema has a place for. Must be called inside a transaction.
///
/// # Errors
/// Where a query fails; the message names the kind.
pub(crate) async fn faults(conn: &mut PgConnection, scope: &Scope) -> anyhow::Result<Vec<Fault>> {
    let scope = Json(serde_json::to_value(scope).context("writing the scope for the faults")?);
    let kinds = kinds();
    let mut sql = format!(
        "with {}\nselect kind, fault from (",
        explain::shared("_prelude.sql")
    );
    for (at, kind) in kinds.iter().enumerate() {
        let union = if at == 0 { "" } else { "union all\n" };
        sql += &format!(
            "\n{union}select {at} as kind, pg_catalog.to_jsonb(q) as fault from (\n{}\n) q",
            kind.body.trim_end()
        );
    }
    sql += "\n) as faults order by 1, fault->>'object', fault->>'sql'";
    conn.execute("savepoint kinedb_faults; set local search_path = ''; set local jit = off; set local enable_nestloop = off")
        .await?;
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(&scope)
        .persistent(false)
        .fetch_all(&mut *conn)
        .await
        .context("looking for places of faults")?;
    conn.execute("rollback to savepoint kinedb_faults; release savepoint kinedb_faults")
        .await?;
    let mut list = Vec::with_capacity(rows.len());
    for row in rows {
        let at: i32 = row.try_get(0)?;
        let Json(fault): Json<Row> = row.try_get(1)?;
        if let Some(kind) = usize::try_from(at).ok().and_then(|at| kinds.get(at)) {
            list.push(Fault {
                kind: kind.clone(),
                object: fault.object,
                sql: fault.sql,
                names: fault.names.unwrap_or_default(),
            });
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_title() {
        let files = FAULTS.files().count();
        assert!(files > 25, "{files}");
        assert_eq!(kinds().len(), files);
    }
}
