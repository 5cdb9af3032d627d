//! Reading the catalogue: ten questions, one message, one snapshot.

use std::sync::LazyLock;

use anyhow::Context as _;
use sqlx::postgres::{PgConnection, PgRow};
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

/// Each part with what it selects from.
static QUESTIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    PARTS
        .iter()
        .map(|part| format!("{PRELUDE}{part}"))
        .collect()
});

/// Names are deparsed qualified, and compiling costs more than these small answers.
const SETTINGS: &str = "set local search_path = pg_catalog; set local jit = off;\n";

/// What an open transaction has done so far stays, whatever is asked.
const SAVE: &str = "savepoint kinedb_catalogue";
const RESTORE: &str = "rollback to savepoint kinedb_catalogue; release savepoint kinedb_catalogue";

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
    ask(conn, SAVE, RESTORE).await
}

/// The same as [`read`] in a session that is asked again and again, and belongs to
/// the caller alone: the questions are planned once, which is more than half of
/// what a small catalogue costs. More round trips, so not for a far server.
///
/// # Errors
/// As [`read`].
pub async fn read_again(conn: &mut PgConnection) -> anyhow::Result<Fingerprint> {
    ask_again(
        conn,
        "begin isolation level repeatable read read only",
        "rollback",
    )
    .await
}

/// The same as [`read_within`], in such a session.
///
/// # Errors
/// As [`read`].
pub async fn read_within_again(conn: &mut PgConnection) -> anyhow::Result<Fingerprint> {
    ask_again(conn, SAVE, RESTORE).await
}

async fn ask_again(
    conn: &mut PgConnection,
    open: &str,
    close: &str,
) -> anyhow::Result<Fingerprint> {
    let open = format!("{open}; {SETTINGS}");
    conn.execute(sqlx::raw_sql(AssertSqlSafe(open))).await?;
    let mut found = Fingerprint::default();
    let mut asked = Ok(());
    for question in QUESTIONS.iter() {
        asked = match sqlx::query(question.as_str()).fetch_all(&mut *conn).await {
            Ok(rows) => take(&mut found, &rows),
            Err(cause) => Err(cause).context("cannot read the catalogue"),
        };
        if asked.is_err() {
            break;
        }
    }
    let closed = conn
        .execute(sqlx::raw_sql(AssertSqlSafe(close.to_owned())))
        .await;
    asked?;
    closed.context("closing the snapshot")?;
    Ok(found)
}

async fn ask(conn: &mut PgConnection, open: &str, close: &str) -> anyhow::Result<Fingerprint> {
    let mut text = format!("{open}; {SETTINGS}");
    for question in QUESTIONS.iter() {
        text.push_str(question);
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
    take(&mut found, &rows)?;
    Ok(found)
}

fn take(found: &mut Fingerprint, rows: &[PgRow]) -> anyhow::Result<()> {
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
    Ok(())
}
