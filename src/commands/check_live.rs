//! A live database against what its recorded revision gives.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{Executor as _, Row as _};

use crate::catalogue::Fingerprint;
use crate::commands::scratch::Scratch;
use crate::policy::drift::{self, Drift};
use crate::policy::reprint;

/// Who may have installed a database: its owner, superusers, and whoever ran a
/// migration there.
pub async fn installers(conn: &mut PgConnection) -> anyhow::Result<BTreeSet<String>> {
    let history = conn
        .fetch_one(sqlx::raw_sql(
            "select pg_catalog.to_regclass('public.kinedb_history') is not null",
        ))
        .await?
        .try_get::<bool, _>(0)?;
    let mut sql = "select r.rolname::text from pg_catalog.pg_roles r where r.rolsuper \
         or r.oid = (select datdba from pg_catalog.pg_database where datname = pg_catalog.current_database())"
        .to_owned();
    if history {
        sql.push_str(" union select distinct h.database_user::text from public.kinedb_history h");
    }
    let rows = conn
        .fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(sql)))
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The live description against what the scratch database is at: how many attributes
/// were compared, and what differs. `here` is the major version of the live server.
pub async fn drifted(
    scratch: &Scratch,
    mut expected: Fingerprint,
    mut live: Fingerprint,
    here: i32,
    installers: &BTreeSet<String>,
) -> anyhow::Result<(usize, Drift)> {
    let compared = drift::count(&live);
    let mut conn = scratch.connect().await?;
    let there = major(&mut conn).await?;
    let installer = whoami(&mut conn).await?;
    if here == there {
        let found = drift::compare(expected, live, &installer, installers);
        return Ok((compared, found));
    }
    let notes = reprint::leave_versions(&mut expected, &mut live, (here, there));
    let mut found = drift::compare(expected.clone(), live.clone(), &installer, installers);
    let same = reprint::printed_otherwise(&mut conn, &expected, &live, &found.differences).await?;
    found.differences.retain(|one| !same.contains(one));
    found.notes.extend(notes);
    found.notes.push(format!(
        "server: it is PostgreSQL {here} and the scratch server {there}; {} texts that they print differently mean the same",
        same.len()
    ));
    Ok((compared, found))
}

/// The server's major version.
pub async fn major(conn: &mut PgConnection) -> anyhow::Result<i32> {
    let row = conn
        .fetch_one(sqlx::raw_sql(
            "select pg_catalog.current_setting('server_version_num')",
        ))
        .await?;
    let number: String = row.try_get(0)?;
    Ok(number.parse::<i32>()? / 10_000)
}

/// The login of a connection.
async fn whoami(conn: &mut PgConnection) -> anyhow::Result<String> {
    let row = conn
        .fetch_one(sqlx::raw_sql("select session_user::text"))
        .await?;
    Ok(row.try_get(0)?)
}
