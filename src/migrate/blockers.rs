//! Who is in the way: a second connection that looks while a statement waits.
//!
//! It connects only when a statement takes longer than statements do, so a run
//! that waits for nobody pays nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::db::{self, Target};

const BLOCKERS: &str = include_str!("sql/blockers.sql");

/// A statement that ends sooner is not looked at.
const PATIENCE: Duration = Duration::from_millis(25);
/// Between two looks; a third of the shortest wait that is of interest.
const LOOK: Duration = Duration::from_millis(30);

/// A session in the way.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Blocker {
    /// Backend process id.
    pub pid: i32,
    /// `application_name`.
    pub application: String,
    /// Its user.
    pub user: String,
    /// `active`, `idle in transaction`, ...
    pub state: String,
    /// Age of its transaction in seconds.
    pub seconds: i64,
    /// First word of its statement; never the statement itself, which may hold data.
    pub kind: String,
}

impl Blocker {
    /// From pid, application, user, state, seconds, kind.
    pub(super) fn of_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            pid: row.try_get(0)?,
            application: row.try_get(1)?,
            user: row.try_get(2)?,
            state: row.try_get(3)?,
            seconds: row.try_get(4)?,
            kind: row.try_get(5)?,
        })
    }
}

impl std::fmt::Display for Blocker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pid,
            application,
            user,
            state,
            seconds,
            kind,
        } = self;
        write!(
            f,
            "pid {pid} (`{application}`, user `{user}`, {state}, {kind}, for {seconds} s)"
        )
    }
}

/// Several blockers in one sentence.
pub fn names(blockers: &[Blocker]) -> String {
    let list: Vec<String> = blockers.iter().map(Blocker::to_string).collect();
    list.join(", ")
}

/// What the look is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watched {
    pid: i32,
    /// Cancel the statement once it has waited so long for others.
    patience: Option<Duration>,
}

/// Looks at the run's backend from the side.
pub struct Watcher {
    watched: watch::Sender<Option<Watched>>,
    seen: Arc<Mutex<Vec<Blocker>>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts without connecting.
    pub fn new(target: &Target) -> Self {
        let (watched, orders) = watch::channel(None);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(look(target.clone(), orders, Arc::clone(&seen)));
        Self {
            watched,
            seen,
            task,
        }
    }

    /// Looks at this backend until [`Self::rest`].
    pub fn look_at(&self, pid: i32) {
        self.watched.send_replace(Some(Watched {
            pid,
            patience: None,
        }));
    }

    /// The same, and cancels its statement once it has waited for others so long.
    pub fn look_and_cancel(&self, pid: i32, patience: Duration) {
        let patience = Some(patience);
        self.watched.send_replace(Some(Watched { pid, patience }));
    }

    /// Stops looking; gives whom it saw last.
    pub fn rest(&self) -> Vec<Blocker> {
        self.watched.send_replace(None);
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(
    target: Target,
    mut orders: watch::Receiver<Option<Watched>>,
    seen: Arc<Mutex<Vec<Blocker>>>,
) {
    let mut side: Option<PgConnection> = None;
    loop {
        let order = match orders.wait_for(Option::is_some).await {
            Ok(order) => *order,
            Err(_) => return,
        };
        let Some(watched) = order else { continue };
        let changed = |now: &Option<Watched>| *now != Some(watched);
        if tokio::time::timeout(PATIENCE, orders.wait_for(changed))
            .await
            .is_ok()
        {
            continue;
        }
        if side.is_none() {
            side = db::connect(&target, "watch").await.ok();
        }
        let mut waits_since: Option<Instant> = None;
        while *orders.borrow_and_update() == Some(watched) {
            let Some(conn) = &mut side else { break };
            match blockers_of(conn, watched.pid).await {
                Ok(now) if now.is_empty() => waits_since = None,
                Ok(now) => {
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
                    let since = *waits_since.get_or_insert_with(Instant::now);
                    if watched.patience.is_some_and(|most| since.elapsed() > most) {
                        let cancel = format!("select pg_cancel_backend({})", watched.pid);
                        let _ = conn.execute(sqlx::raw_sql(AssertSqlSafe(cancel))).await;
                    }
                }
                Err(_) => side = None,
            }
            let _ = tokio::time::timeout(LOOK, orders.wait_for(changed)).await;
        }
        // Without a side connection there is nothing to see in this round.
        let _ = orders.wait_for(changed).await;
    }
}

async fn blockers_of(conn: &mut PgConnection, pid: i32) -> Result<Vec<Blocker>, sqlx::Error> {
    let text = BLOCKERS.replace("$1", &pid.to_string());
    let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await?;
    rows.iter().map(Blocker::of_row).collect()
}
