//! Building an index while the application goes on writing.
//!
//! `create index concurrently` waits for every older transaction and has no
//! timeout of its own; what breaks off leaves an invalid index, which costs writes
//! and which `if not exists` would take for a good one.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::db::error::is_lost;
use crate::db::ident::Literal;
use crate::fault::{Code, Fault, fail};
use crate::migrate::blockers::{Blocker, Watcher, names};
use crate::migrate::concurrent::CreateIndex;
use crate::migrate::outside::Outside;
use crate::migrate::retry::Backoff;
use crate::migrate::run::{Event, Runner};
use crate::migrate::session::Session;

/// How long clearing away after a failure may wait for other transactions.
const CLEARING: Duration = Duration::from_secs(5);

/// What has the index's name now.
struct Found {
    /// The index as SQL names it, with its schema.
    name: String,
    valid: bool,
    on_this_table: bool,
    /// Another session is building it, or 0.
    built_by: i32,
    definition: String,
}

impl Runner<'_> {
    /// Leaves the index valid, or none.
    pub(super) async fn build_index(
        &mut self,
        session: &Session,
        work: &Outside<'_>,
        place: usize,
        index: &CreateIndex,
    ) -> anyhow::Result<()> {
        if let Some(found) = look(session, index).await? {
            if found.built_by != 0 {
                return fail(
                    Code::BudgetSpent,
                    format!(
                        "index {} is being built by pid {}",
                        found.name, found.built_by
                    ),
                    "run again when that session has finished",
                );
            }
            refuse_another(session, index, &found).await?;
            if found.valid {
                return Ok(());
            }
            self.drop_index(session, &found.name)
                .await
                .map_err(|cause| {
                    work.failed(
                        place,
                        cause.into(),
                        "; the invalid index of an earlier run is still there",
                    )
                })?;
        }
        let mut backoff = Backoff::new(self.options.lock_budget);
        self.wait_for_old_transactions(session, work, &mut backoff)
            .await?;
        let backend = backend(session).await?;
        self.cancel.set_backend(backend);
        let watcher = Watcher::new(self.target);
        watcher.look_and_cancel(backend, backoff.left());
        let building = session.send(index.create());
        let outcome = watcher.while_it_lives(building).await;
        backoff.saw(watcher.rest());
        drop(watcher);
        let Err(cause) = outcome else { return Ok(()) };
        if is_lost(&cause) {
            return Err(cause.into());
        }
        // After a signal every further statement is cancelled too; the next run clears away.
        self.cancel.check()?;
        let left = self.clear_away(session, index).await;
        let out_of_time = backoff.left().is_zero() && !backoff.blockers().is_empty();
        if out_of_time {
            return Err(backoff.spent(&work.revision.name, cause.into()));
        }
        Err(work.failed(place, cause.into(), left))
    }

    /// Drops what a failed build left, and says so.
    async fn clear_away(&mut self, session: &Session, index: &CreateIndex) -> &'static str {
        match look(session, index).await {
            Ok(Some(found)) if !found.valid && found.on_this_table => {
                match self.drop_index(session, &found.name).await {
                    Ok(()) => "; the invalid index that it left was dropped",
                    Err(_) => "; it left an invalid index, which the next run drops",
                }
            }
            _ => "",
        }
    }

    async fn drop_index(&mut self, session: &Session, name: &str) -> Result<(), sqlx::Error> {
        let watcher = Watcher::new(self.target);
        if let Ok(backend) = backend(session).await {
            watcher.look_and_cancel(backend, CLEARING);
        }
        let dropping = session.send(format!("drop index concurrently {name}"));
        watcher.while_it_lives(dropping).await
    }

    /// Building while an old transaction is open would only wait, with an invalid
    /// index in place. So it is waited for before.
    async fn wait_for_old_transactions(
        &mut self,
        session: &Session,
        work: &Outside<'_>,
        backoff: &mut Backoff,
    ) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            let old = old_transactions(&mut *session.conn.lock().await).await?;
            if old.is_empty() {
                return Ok(());
            }
            backoff.saw(old);
            if !told {
                (self.tell)(Event::WaitingForOthers(backoff.blockers()));
                told = true;
            }
            if backoff.left().is_zero() {
                let who = names(backoff.blockers());
                let first = backoff.blockers().first().map_or(0, |blocker| blocker.pid);
                return fail(
                    Code::BudgetSpent,
                    format!(
                        "`{}` builds an index and waits for transactions that do not end: {who}",
                        work.revision.name
                    ),
                    format!(
                        "end it with `select pg_terminate_backend({first})`, or give more time with `--lock-budget 30m`"
                    ),
                );
            }
            self.cancel
                .pause(Duration::from_millis(200).min(backoff.left()))
                .await?;
        }
    }
}

/// The backend of the session.
pub(super) async fn backend(session: &Session) -> Result<i32, sqlx::Error> {
    let mut conn = session.conn.lock().await;
    let row = (&mut *conn)
        .fetch_one(sqlx::raw_sql("select pg_backend_pid()"))
        .await?;
    row.try_get(0)
}

async fn old_transactions(conn: &mut PgConnection) -> anyhow::Result<Vec<Blocker>> {
    let rows = conn
        .fetch_all(sqlx::raw_sql(include_str!("sql/old_transactions.sql")))
        .await?;
    Ok(rows.iter().map(Blocker::of_row).collect::<Result<_, _>>()?)
}

async fn look(session: &Session, index: &CreateIndex) -> anyhow::Result<Option<Found>> {
    let text = include_str!("sql/index.sql")
        .replace(":table", &Literal::new(&index.table).to_string())
        .replace(":index", &Literal::new(&index.index).to_string());
    let mut conn = session.conn.lock().await;
    let row = (&mut *conn)
        .fetch_optional(sqlx::raw_sql(AssertSqlSafe(text)))
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Found {
        name: row.try_get(0)?,
        valid: row.try_get(1)?,
        on_this_table: row.try_get(2)?,
        built_by: row.try_get(3)?,
        definition: row.try_get(4)?,
    }))
}

/// Refuses an index of that name which is not the one that the migration makes.
async fn refuse_another(
    session: &Session,
    index: &CreateIndex,
    found: &Found,
) -> anyhow::Result<()> {
    let hint = format!(
        "if it is not needed, drop it with `drop index concurrently {}`; else give the migration's index another name",
        found.name
    );
    if !found.on_this_table {
        let message = format!("{} exists and is no index of {}", found.name, index.table);
        return Err(Fault::new(Code::Unfinished, message).hint(hint).into());
    }
    let wanted = wanted(session, index).await.map_err(|cause| {
        let message = format!(
            "index {} exists, and its definition could not be compared",
            found.name
        );
        cause.context(Fault::new(Code::Unfinished, message).hint(hint.clone()))
    })?;
    if shape(&wanted) == shape(&found.definition) {
        return Ok(());
    }
    let message = format!(
        "index {} exists with another definition: it is `{}`, the migration makes `{}`",
        found.name,
        shape(&found.definition),
        shape(&wanted)
    );
    Err(Fault::new(Code::Unfinished, message).hint(hint).into())
}

/// The definition that the statement would give, by making the index on an empty
/// copy of the table: PostgreSQL writes both in the same words then.
async fn wanted(session: &Session, index: &CreateIndex) -> anyhow::Result<String> {
    let text = format!(
        "begin; create temporary table kinedb_copy (like {}) on commit drop; {}; \
         select pg_catalog.pg_get_indexdef('pg_temp.kinedb_copy_index'::regclass)",
        index.table,
        index.on("pg_temp.kinedb_copy", "kinedb_copy_index"),
    );
    let made = {
        let mut conn = session.conn.lock().await;
        (&mut *conn)
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(text)))
            .await
    };
    session.send("rollback").await?;
    Ok(made?.try_get(0)?)
}

/// A definition without the names of index and table.
fn shape(definition: &str) -> String {
    let unique = if definition.starts_with("CREATE UNIQUE") {
        "unique "
    } else {
        ""
    };
    let body = definition
        .split_once(" USING ")
        .map_or(definition, |(_, body)| body);
    format!("{unique}{body}")
}
