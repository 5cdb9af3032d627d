//! One run at a time: a session advisory lock, polled.
//!
//! Never waited for inside `pg_advisory_lock`: a waiter holds a snapshot, and
//! `create index concurrently` in the other run would wait for it for ever.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::fault::{Code, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::failpoint;

/// "kinedb" in ASCII. Advisory locks are per database, so one key serves all.
pub const KEY: i64 = 0x6b69_6e65_6462;

/// Takes the lock if it is free. It is taken twice, so that [`STILL_OURS`] can give
/// one of the two back and take it again without ever letting go.
const TAKE: &str =
    "select pg_try_advisory_lock(118100567876706) and pg_try_advisory_lock(118100567876706)";

/// A peer that is gone without a word is noticed after 5 s of silence and three
/// questions 2 s apart, not after the two hours of most systems: so long would it
/// hold the lock. What was sent and never acknowledged ends it after 15 s. Where
/// something stands between that answers for a peer it has lost, nobody but the
/// session itself can tell: one that is silent for as long as [`silence`] is ended.
pub const KEEPALIVE: &str = "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; \
                             set tcp_keepalives_count = 3; set tcp_user_timeout = 15000;";

/// How long the server waits for a run's next word, in a transaction and outside.
/// A run computes for milliseconds between two of them; one that does not come back,
/// because it is stopped or its network is, may not keep its locks.
pub fn silence() -> Duration {
    failpoint::instead("silence", Duration::from_secs(60))
}

/// True where this session holds the lock: only its holder can give it back. A look
/// at pg_locks would tell the same at ten times the price.
pub const STILL_OURS: &str =
    "pg_advisory_unlock(118100567876706) and pg_try_advisory_lock(118100567876706)";

const HOLDER: &str = include_str!("sql/holder.sql");

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Holder {
    /// Backend process id.
    pub pid: i32,
    /// `application_name`.
    pub application: String,
    /// Where it connects from.
    pub host: String,
    /// Its user.
    pub user: String,
    /// For how long it has been connected, in seconds.
    pub seconds: i64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pid,
            application,
            host,
            user,
            seconds,
        } = self;
        write!(
            f,
            "pid {pid} (`{application}`, user `{user}`, from {host}, connected for {seconds} s)"
        )
    }
}

/// Takes the lock within `wait`, or says who holds it. `waiting` is told at the
/// first refusal and then about once a second.
pub async fn acquire(
    conn: &mut PgConnection,
    wait: Duration,
    over_tcp: bool,
    cancel: &Cancel,
    mut waiting: impl FnMut(Option<&Holder>),
) -> anyhow::Result<()> {
    let deadline = Instant::now() + wait;
    let mut told: Option<Instant> = None;
    let take = format!(
        "{} set idle_session_timeout = {}; {TAKE}",
        if over_tcp { KEEPALIVE } else { "" },
        silence().as_millis()
    );
    loop {
        let row = (&mut *conn)
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(take.clone())))
            .await?;
        if row.try_get::<bool, _>(0)? {
            return Ok(());
        }
        cancel.check()?;
        let due = told.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
        let over = Instant::now() >= deadline;
        if due || over {
            let holder = holder(conn).await?;
            if over {
                let who = name(holder.as_ref());
                return held(&who, wait);
            }
            waiting(holder.as_ref());
            told = Some(Instant::now());
        }
        let pause = Duration::from_millis(rand::rng().random_range(20..80));
        cancel
            .pause(pause.min(deadline.saturating_duration_since(Instant::now())))
            .await?;
    }
}

/// The holder for a sentence.
pub fn name(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another run".to_owned(), Holder::to_string)
}

/// The fault of a lock that did not come free in time.
pub fn held<T>(who: &str, wait: Duration) -> anyhow::Result<T> {
    fail(
        Code::Locked,
        format!(
            "the migration lock is held by {who}; waited {} s",
            wait.as_secs()
        ),
        "run again when that run has ended, or give more time with `--lock-wait 10m`",
    )
}

/// Who holds the lock now, if anyone does.
pub async fn holder(conn: &mut PgConnection) -> anyhow::Result<Option<Holder>> {
    let text = HOLDER.replace("$1", &KEY.to_string());
    let row = (&mut *conn)
        .fetch_optional(sqlx::raw_sql(AssertSqlSafe(text)))
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Holder {
        pid: row.try_get(0)?,
        application: row.try_get(1)?,
        host: row.try_get(2)?,
        user: row.try_get(3)?,
        seconds: row.try_get(4)?,
    }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_key_in_the_query_is_the_key() {
        assert_eq!(super::KEY, 118_100_567_876_706);
        for text in [super::TAKE, super::STILL_OURS] {
            assert_eq!(text.matches("(118100567876706)").count(), 2);
        }
    }
}
