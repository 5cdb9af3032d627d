//! Who is in the way: a second connection that looks while a statement waits.
//!
//! It connects only when a statement takes longer than statements do, so a run
//! that waits for nobody pays nothing.

use std::sync::atomic::{AtomicU64, Ordering};
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
/// Before one tries again to look, where no connection could be had for it.
const NO_LOOK: Duration = Duration::from_secs(5);
/// How long the end of a backend may take to arrive here. Whoever has not heard of
/// it then never will: what stands between has lost the connection and not said so.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// How often the backend is looked for in that time.
const MISSED: u32 = 4;

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
    /// Which attempt it is: the end of one says nothing of the next.
    round: u64,
    /// Cancel the statement once it has waited so long for others.
    patience: Option<Duration>,
}

/// Looks at the run's backend from the side.
pub struct Watcher {
    watched: watch::Sender<Option<Watched>>,
    /// The round whose backend has ended.
    gone: watch::Receiver<Option<u64>>,
    round: AtomicU64,
    seen: Arc<Mutex<Vec<Blocker>>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts without connecting.
    pub fn new(target: &Target) -> Self {
        let (watched, orders) = watch::channel(None);
        let (ended, gone) = watch::channel(None);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(look(target.clone(), orders, ended, Arc::clone(&seen)));
        Self {
            watched,
            gone,
            round: AtomicU64::new(0),
            seen,
            task,
        }
    }

    /// Waits for what the watched backend answers, but not beyond the backend's end:
    /// then the connection is lost, whatever it looks like from here.
    pub async fn while_it_lives<T, E: From<sqlx::Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let round = self.round.load(Ordering::Relaxed);
        let mut gone = self.gone.clone();
        let ended = async {
            if gone.wait_for(|gone| *gone == Some(round)).await.is_err() {
                // Nobody looks any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            outcome = work => outcome,
            () = ended => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
        }
    }

    /// Looks at this backend until [`Self::rest`].
    pub fn look_at(&self, pid: i32) {
        self.look(pid, None);
    }

    /// The same, and cancels its statement once it has waited for others so long.
    pub fn look_and_cancel(&self, pid: i32, patience: Duration) {
        self.look(pid, Some(patience));
    }

    fn look(&self, pid: i32, patience: Option<Duration>) {
        let round = self.round.load(Ordering::Relaxed);
        self.watched.send_replace(Some(Watched {
            pid,
            round,
            patience,
        }));
    }

    /// Stops looking; gives whom it saw last.
    pub fn rest(&self) -> Vec<Blocker> {
        self.watched.send_replace(None);
        self.round.fetch_add(1, Ordering::Relaxed);
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
    ended: watch::Sender<Option<u64>>,
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
        let mut waits_since: Option<Instant> = None;
        let mut asked = Instant::now();
        let mut missed = 0;
        while *orders.borrow_and_update() == Some(watched) {
            if side.is_none() {
                side = db::connect(&target, "watch").await.ok();
            }
            let Some(conn) = &mut side else {
                let _ = tokio::time::timeout(NO_LOOK, orders.wait_for(changed)).await;
                continue;
            };
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
            if let Some(conn) = &mut side
                && asked.elapsed() > ON_ITS_WAY / MISSED
            {
                asked = Instant::now();
                missed = match lives(conn, watched.pid).await {
                    Some(false) => missed + 1,
                    _ => 0,
                };
                if missed > MISSED {
                    ended.send_replace(Some(watched.round));
                }
            }
            let _ = tokio::time::timeout(LOOK, orders.wait_for(changed)).await;
        }
        let _ = orders.wait_for(changed).await;
    }
}

/// Whether there is such a backend; nothing where that cannot be asked.
async fn lives(conn: &mut PgConnection, pid: i32) -> Option<bool> {
    let text = format!("select exists (select from pg_catalog.pg_stat_get_activity({pid}))");
    let row = conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(text))).await;
    row.ok()?.try_get(0).ok()
}

async fn blockers_of(conn: &mut PgConnection, pid: i32) -> Result<Vec<Blocker>, sqlx::Error> {
    let text = BLOCKERS.replace("$1", &pid.to_string());
    let rows = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(text))).await?;
    rows.iter().map(Blocker::of_row).collect()
}
