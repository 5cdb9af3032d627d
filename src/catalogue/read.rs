//! Reading the catalogue: ten questions, one message, one snapshot.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use super::{Fingerprint, HIDDEN};

const PRELUDE: &str = include_str!("sql/_prelude.sql");
const PARTS: &[&str] = &[
    include_str!("sql/database.sql"),
    include_str!("sql/roles.sql"),
    include_str!("sql/relations.sql"),
    include_str!("sql/columns.sql"),
    include_str!("sql/constraints.sql"),
    include_str!("sql/behaviour.sql"),
    include_str!("sql/functions.sql"),
    include_str!("sql/types.sql"),
    include_str!("sql/grants.sql"),
    include_str!("sql/comments.sql"),
];

/// Reads the catalogue in a transaction of its own. Names are deparsed
/// qualified, whatever the search path.
///
/// # Errors
/// What the server answers. Any login may read what is asked here.
pub async fn read(conn: &mut PgConnection) -> anyhow::Result<Fingerprint> {
    ask(
        conn,
        "begin isolation level repeatable read read only",
        "rollback",
    )
    .await
}

/// The same inside an open transaction, with what it has changed so far.
///
/// # Errors
/// What the server answers.
pub async fn read_within(conn: &mut PgConnection) -> anyhow::Result<Fingerprint> {
    ask(
        conn,
        "savepoint kinedb_catalogue",
        "rollback to savepoint kinedb_catalogue; release savepoint kinedb_catalogue",
    )
    .await
}

async fn ask(conn: &mut PgConnection, open: &str, close: &str) -> anyhow::Result<Fingerprint> {
    // Compiling costs more than these small answers.
    let mut text = format!("{open}; set local search_path = pg_catalog; set local jit = off;\n");
    for part in PARTS {
        text.push_str(PRELUDE);
        text.push_str(part);
        text.push_str(";\n");
    }
    text.push_str(close);
    let rows = (&mut *conn)
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(text)))
        .await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(cause) => {
            // The transaction is open and failed; its end must not hide the cause.
            let _ = (&mut *conn)
                .execute(sqlx::raw_sql(AssertSqlSafe(close.to_owned())))
                .await;
            return Err(cause).context("cannot read the catalogue");
        }
    };
    let mut found = Fingerprint::default();
    for row in rows {
        let object: String = row.try_get(0)?;
        let parent: Option<String> = row.try_get(1)?;
        let attribute: String = row.try_get(2)?;
        let value: String = row.try_get(3)?;
        let object = found.objects.entry(object).or_default();
        object.parent = object.parent.take().or(parent);
        match attribute.strip_prefix(HIDDEN) {
            Some(hidden) => object.hidden.insert(hidden.to_owned(), value),
            None => object.attributes.insert(attribute, value),
        };
    }
    Ok(found)
}
