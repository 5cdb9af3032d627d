//! What people decide about history: `stamp` and `repair`. Nothing is run; each
//! decision is a row of history with its reason.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use crate::db::ident::Literal;
use crate::migrate::cancel::Cancel;
use crate::migrate::history::{self, State};
use crate::migrate::lock;
use crate::migrate::plan::Listed;
use crate::migrate::record::host;

/// A change of history without a run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase", tag = "change", content = "name")]
pub enum Change {
    /// The revision counts as applied from now on.
    Stamp(String),
    /// The revision no longer counts as applied.
    Unstamp(String),
    /// The revision's new text is accepted.
    Repair(String),
}

impl Change {
    /// The revision.
    pub fn name(&self) -> &str {
        match self {
            Self::Stamp(name) | Self::Unstamp(name) | Self::Repair(name) => name,
        }
    }
}

/// What has to change for exactly the first `count` revisions to be applied.
pub fn to_stamp(listed: &[Listed], state: &State, count: usize) -> Vec<Change> {
    let wanted = &listed[..count];
    let gone = state
        .applied
        .iter()
        .filter(|one| !wanted.iter().any(|listed| listed.name == one.name))
        .map(|one| Change::Unstamp(one.name.clone()));
    let new = wanted
        .iter()
        .filter(|one| !state.has(one.name))
        .map(|one| Change::Stamp(one.name.to_owned()));
    gone.chain(new).collect()
}

/// Applied revisions whose text is not what history has.
pub fn edited(listed: &[Listed], state: &State) -> Vec<Change> {
    let differs = |one: &&Listed| {
        let then = state
            .applied
            .iter()
            .find(|applied| applied.name == one.name);
        then.and_then(|applied| applied.checksum.as_deref())
            .is_some_and(|checksum| checksum != one.checksum)
    };
    listed
        .iter()
        .filter(differs)
        .map(|one| Change::Repair(one.name.to_owned()))
        .collect()
}

/// Writes the changes, all or none, under the lock of a run.
pub async fn write(
    conn: &mut PgConnection,
    listed: &[Listed<'_>],
    state: &State,
    changes: &[Change],
    reason: &str,
    cancel: &Cancel,
    wait: std::time::Duration,
) -> anyhow::Result<()> {
    let over_tcp = history::Surroundings::read(conn).await?.over_tcp();
    lock::acquire(conn, wait, over_tcp, cancel, |_| {}).await?;
    (&mut *conn).execute(sqlx::raw_sql("begin")).await?;
    if state.no_history {
        history::create_tables(conn).await?;
    }
    let run = Uuid::now_v7();
    let mut text = String::new();
    for change in changes {
        let name = Literal::new(change.name());
        let checksum = listed
            .iter()
            .find(|one| one.name == change.name())
            .map_or("", |one| one.checksum);
        let direction = match change {
            Change::Stamp(_) => {
                text.push_str(&format!(
                    "insert into public.seaql_migrations (version, applied_at) values ({name}, extract(epoch from now())::bigint);"
                ));
                "stamp"
            }
            Change::Unstamp(_) => {
                text.push_str(&format!(
                    "delete from public.seaql_migrations where version = {name};"
                ));
                "down"
            }
            Change::Repair(_) => "repair",
        };
        text.push_str(&format!(
            "insert into public.kinedb_history (run_id, name, direction, checksum, started_at, outcome, host, kinedb_version, reason) \
             values ('{run}', {name}, '{direction}', '{checksum}', now(), 'done', {host}, '{version}', {reason});",
            host = Literal::new(host()),
            version = env!("CARGO_PKG_VERSION"),
            reason = Literal::new(reason),
        ));
    }
    (&mut *conn)
        .execute(sqlx::raw_sql(AssertSqlSafe(text)))
        .await?;
    cancel.check()?;
    (&mut *conn).execute(sqlx::raw_sql("commit")).await?;
    Ok(())
}
