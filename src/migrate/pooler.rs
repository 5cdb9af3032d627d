//! Is this session ours alone? Behind a pooler of transactions it is not: a
//! session lock stays with a server connection that the next client gets too.

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, Row as _};

use crate::db::ident::Ident;
use crate::db::{self, Target};
use crate::fault::{Code, Fault, fail};
use crate::migrate::history::{State, Surroundings};
use crate::migrate::session::Hold;

/// Where the lock can be kept on this connection. A pooler of transactions is
/// refused unless `allowed`.
pub(crate) async fn hold(
    conn: &mut PgConnection,
    target: &Target,
    state: &State,
    around: &Surroundings,
    allowed: bool,
) -> anyhow::Result<Hold> {
    if is_direct(target, around) {
        return Ok(Hold::Session);
    }
    // Who allows a pooler is taken at his word: beside other clients it may go unseen.
    if allowed {
        return Ok(Hold::Transaction);
    }
    if !shares_sessions(conn, target, state.backend).await? {
        return Ok(Hold::Session);
    }
    fail(
        Code::Pooler,
        format!(
            "`{}` is a pooler that gives one server session to several clients; locks and settings of a session leak there",
            target.address()
        ),
        "connect to the server itself or to a session pool, or accept locks of transactions with `--allow-pooler`",
    )
}

/// The server itself answers at the address that was named. Anything in between,
/// a tunnel or a pooler, makes the two differ, and then a second connection looks.
fn is_direct(target: &Target, state: &Surroundings) -> bool {
    let options = target.options();
    if let Some(port) = state.server_port {
        let here = state
            .server_address
            .as_ref()
            .and_then(|address| address.parse::<std::net::IpAddr>().ok())
            .is_some_and(|address| address.is_loopback());
        return here && target.is_local() && port == i32::from(options.get_port());
    }
    let folders = state.socket_folders.as_deref().unwrap_or_default();
    let folder = target.address();
    state.configured_port == i32::from(options.get_port())
        // The list quotes what it has to.
        && folders
            .split(',')
            .any(|one| one.trim().trim_matches('"') == folder)
}

/// Two clients that are open at the same time see one backend, or one client sees two.
async fn shares_sessions(
    conn: &mut PgConnection,
    target: &Target,
    mine: i32,
) -> anyhow::Result<bool> {
    let mut other = db::connect(target, "probe").await.map_err(|cause| {
        let Some(code) = Fault::of(&cause).map(Fault::code) else {
            return cause;
        };
        let what = "a second connection, which would show whether a pooler of transactions is in between, was refused";
        let hint = format!(
            "allow two connections at a time (`alter role {} connection limit 2`), or say `--allow-pooler`",
            Ident::new(target.options().get_username())
        );
        let fault = Fault::new(code, format!("{what}: {cause}")).hint(hint);
        cause.context(fault)
    })?;
    // An open transaction pins a server session, most likely the one that just came free.
    let row = (&mut other)
        .fetch_one(sqlx::raw_sql("begin; select pg_backend_pid()"))
        .await?;
    if row.try_get::<i32, _>(0)? == mine {
        return Ok(true);
    }
    let row = (&mut *conn)
        .fetch_one(sqlx::raw_sql("select pg_backend_pid()"))
        .await?;
    let moved = row.try_get::<i32, _>(0)? != mine;
    // Closing it rolls back; a failure to say goodbye changes nothing.
    let _ = other.close().await;
    Ok(moved)
}
