//! A scratch database on the target's own server, made from the migrations, to
//! compare a catalogue with.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::db::ident::Ident;
use crate::db::{Target, connect};
use crate::fault::{Code, Fault};
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::migrate::revision::Revision;
use crate::migrate::run::{Options, Runner};
use crate::migrate::script::Direction;
use crate::migrate::target::Target as Goal;
use crate::policy::fingerprint::{self, Difference};

/// How the target's catalogue differs from what the first `count` revisions make.
/// Roles belong to the whole server: those that the migrations make are left there.
pub async fn differences(
    conn: &mut PgConnection,
    target: &Target,
    revisions: &[Revision],
    count: usize,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Difference>> {
    let name = Ident::new(format!("kinedb_scratch_{}", uuid::Uuid::new_v4().simple()));
    let create = format!("create database {name} template template0");
    conn.execute(sqlx::raw_sql(AssertSqlSafe(create))).await.map_err(|cause| {
        let message = "cannot make a scratch database to compare with";
        let fault = Fault::new(Code::Privilege, message).hint(
            "let this user make databases (`alter role <user> createdb`), or skip the comparison with `--force --reason TEXT`",
        );
        anyhow::Error::from(cause).context(fault)
    })?;
    let compared = compare(
        conn,
        &target.with_database(name.as_str()),
        revisions,
        count,
        cancel,
    )
    .await;
    let drop = format!("drop database if exists {name} with (force)");
    conn.execute(sqlx::raw_sql(AssertSqlSafe(drop))).await?;
    compared
}

async fn compare(
    conn: &mut PgConnection,
    scratch: &Target,
    revisions: &[Revision],
    count: usize,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Difference>> {
    let mut other = connect(scratch, "scratch").await?;
    let state = history::read(&mut other).await?;
    let options = Options::default();
    let mut quiet = |_: crate::migrate::run::Event<'_>| {};
    let runner = Runner::new(
        scratch,
        revisions,
        &options,
        cancel.clone(),
        None,
        &mut quiet,
    );
    runner
        .run(other, state, Direction::Up, &Goal::Up(count))
        .await
        .map_err(|cause| cause.context("building the scratch database"))?;
    let mut other = connect(scratch, "scratch").await?;
    let made = fingerprint::read(&mut other).await?;
    let _ = other.close().await;
    Ok(made.differences(&fingerprint::read(conn).await?))
}

/// The fault of a catalogue that is another one. `what` begins the sentence.
pub fn refusal(what: &str, differences: &[Difference]) -> Fault {
    const SHOWN: usize = 20;
    let mut list: String = differences
        .iter()
        .take(SHOWN)
        .map(|one| format!("\n  {one}"))
        .collect();
    if differences.len() > SHOWN {
        list.push_str(&format!("\n  and {} more", differences.len() - SHOWN));
    }
    Fault::new(
        Code::Refused,
        format!("{what}; the database differs from what the migrations make:{list}"),
    )
    .hint("bring the database in line, or accept the difference with `--force --reason TEXT`")
}
