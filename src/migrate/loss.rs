//! What a downgrade would destroy: found by doing it and rolling it back.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::db::ident::{Ident, Qualified};
use crate::migrate::concurrent::{Kind, kind};
use crate::migrate::failure::{self, Failed};
use crate::migrate::lex;
use crate::migrate::plan::Plan;
use crate::migrate::revision::Revision;
use crate::migrate::script::Script;
use crate::migrate::transaction::send_counting;

const COLUMNS: &str = include_str!("sql/stored_columns.sql");

/// A table or a column that would be gone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Loss {
    /// `table` or `table.column`.
    pub object: String,
    /// How many rows hold a value there; nothing where RLS binds the user that asks.
    pub rows: Option<i64>,
    /// Bytes on disk of the table.
    pub bytes: i64,
}

impl Loss {
    /// There is something to lose. Where rows cannot be counted, occupied pages count.
    pub fn holds_data(&self) -> bool {
        self.rows.map_or(self.bytes > 0, |rows| rows > 0)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            Some(1) => write!(f, "`{}`: 1 row", self.object),
            Some(rows) => write!(f, "`{}`: {rows} rows", self.object),
            None => write!(
                f,
                "`{}`: {} bytes (row security hides how many rows)",
                self.object, self.bytes
            ),
        }
    }
}

/// One stored column of one table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stored {
    table: Qualified,
    oid: i64,
    column: Option<Ident>,
}

/// Runs the way down in a transaction that is rolled back, and compares what is
/// stored before and after. Rows are counted before, in the same transaction.
pub async fn of_plan(
    conn: &mut PgConnection,
    revisions: &[Revision],
    plan: &Plan,
    lock_timeout: Duration,
) -> anyhow::Result<Vec<Loss>> {
    let open = format!(
        "begin; set local lock_timeout = {}",
        lock_timeout.as_millis().max(1000)
    );
    (&mut *conn)
        .execute(sqlx::raw_sql(AssertSqlSafe(open)))
        .await?;
    let outcome = compare(conn, revisions, plan).await;
    (&mut *conn)
        .execute(sqlx::raw_sql("rollback"))
        .await
        .context("cannot roll back the trial run")?;
    outcome
}

async fn compare(
    conn: &mut PgConnection,
    revisions: &[Revision],
    plan: &Plan,
) -> anyhow::Result<Vec<Loss>> {
    let before = stored(conn).await?;
    (&mut *conn)
        .execute(sqlx::raw_sql("savepoint kinedb_trial"))
        .await?;
    for index in &plan.steps {
        let revision = &revisions[*index];
        let script = revision.script(plan.direction).await?;
        let mut changed = Vec::new();
        let done = send_counting(conn, trial(&script), &mut changed).await;
        done.map_err(|cause| {
            let failed = Failed {
                name: &revision.name,
                direction: plan.direction,
                sql: &script.sql,
                completed: Some(changed.len()),
                timed_out: false,
            };
            failure::of_migration(cause.into(), failed)
        })?;
        (&mut *conn).execute(sqlx::raw_sql("reset role")).await?;
    }
    let after = stored(conn).await?;
    (&mut *conn)
        .execute(sqlx::raw_sql("rollback to savepoint kinedb_trial"))
        .await?;
    let mut lost = Vec::new();
    for one in before.iter().filter(|one| !after.contains(one)) {
        let table_goes = one.column.is_some() && !after.iter().any(|left| left.oid == one.oid);
        if !table_goes {
            lost.push(weigh(conn, one).await?);
        }
    }
    Ok(lost)
}

/// What of a script a transaction can hold. The rest, indexes and partitions that
/// become tables of their own, loses nothing.
fn trial(script: &Script) -> String {
    if !script.no_transaction {
        return script.sql.clone();
    }
    let statements = lex::statements(&script.sql)
        .into_iter()
        .map(|range| &script.sql[range]);
    statements
        .filter(|statement| matches!(kind(statement), Kind::InTransaction | Kind::Setting))
        .map(|statement| format!("{statement};\n"))
        .collect()
}

async fn stored(conn: &mut PgConnection) -> anyhow::Result<Vec<Stored>> {
    let rows = (&mut *conn)
        .fetch_all(sqlx::query(COLUMNS))
        .await
        .context("cannot list what is stored")?;
    rows.iter()
        .map(|row| {
            let (schema, table): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let column: Option<String> = row.try_get(3)?;
            Ok(Stored {
                table: Qualified::new(schema, table),
                oid: row.try_get(2)?,
                column: column.map(Ident::new),
            })
        })
        .collect()
}

/// Counts under `row_security = off`, which fails instead of hiding rows.
async fn weigh(conn: &mut PgConnection, one: &Stored) -> anyhow::Result<Loss> {
    let Stored { table, column, .. } = one;
    let what = column
        .as_ref()
        .map_or_else(|| "*".to_owned(), Ident::to_string);
    let object = match column {
        Some(column) => format!(
            "{}.{}",
            table.human(),
            crate::db::ident::plain(column.as_str())
        ),
        None => table.human(),
    };
    // The rows' own pages only: an empty table has none, its indexes have some.
    let size = format!(
        "select coalesce((select sum(pg_catalog.pg_relation_size(relid)) from pg_catalog.pg_partition_tree({oid}::bigint::oid)), \
         pg_catalog.pg_relation_size({oid}::bigint::oid), 0)::bigint",
        oid = one.oid
    );
    let bytes: i64 = (&mut *conn)
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(size)))
        .await?
        .try_get(0)?;
    let rows = count(conn, &what, one).await?;
    Ok(Loss {
        object,
        rows,
        bytes,
    })
}

/// Counts as the user that asks, else as the table's owner with FORCE lifted, else
/// after joining the owner: pages that rolled-back probes left are no data. All of
/// it is undone at once, inside a transaction that is rolled back as a whole.
async fn count(conn: &mut PgConnection, what: &str, one: &Stored) -> anyhow::Result<Option<i64>> {
    let table = &one.table;
    let ask = format!("set local row_security = off; select count({what}) from {table}");
    let owner = format!(
        "select pg_catalog.pg_get_userbyid(relowner)::text from pg_catalog.pg_class where oid = {}::bigint::oid",
        one.oid
    );
    let owner: String = (&mut *conn)
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(owner)))
        .await?
        .try_get(0)?;
    let owner = Ident::new(owner);
    let as_owner =
        format!("set local role {owner}; alter table {table} no force row level security; {ask}");
    let joined = format!("grant {owner} to current_user; {as_owner}");
    for attempt in [&ask, &as_owner, &joined] {
        let text = format!("savepoint kinedb_count; {attempt}");
        let counted = (&mut *conn)
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(text)))
            .await;
        let rows = counted.and_then(|row| row.try_get(0)).ok();
        (&mut *conn)
            .execute(sqlx::raw_sql("rollback to savepoint kinedb_count"))
            .await?;
        if rows.is_some() {
            return Ok(rows);
        }
    }
    Ok(None)
}
