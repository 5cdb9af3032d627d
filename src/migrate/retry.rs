//! Trying again: short lock timeouts, pauses with jitter, blockers by name.
//!
//! A statement that waits for a lock makes every later statement on that table
//! wait too. So one attempt waits for a tenth of a second at most, and the whole
//! transaction is tried again after a pause in which the application gets on.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use sqlx::{Executor as _, Row as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::db::{self, Target};
use crate::fault::{Code, Fault};
use crate::migrate::live::Shared;

const BLOCKERS: &str = include_str!("sql/blockers.sql");

/// Lost a race for a lock (55P03) or a deadlock (40P01).
pub fn is_retryable(sqlstate: &str) -> bool {
    matches!(sqlstate, "55P03" | "40P01")
}

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

/// How long to go on, and how long to pause.
pub struct Backoff {
    deadline: Instant,
    budget: Duration,
    attempts: u32,
}

impl Backoff {
    /// Starts the clock.
    pub fn new(budget: Duration) -> Self {
        Self {
            deadline: Instant::now() + budget,
            budget,
            attempts: 0,
        }
    }

    /// The next pause: 50 ms doubling to 2 s, with half of it left to chance.
    /// Nothing when the budget is spent.
    pub fn pause(&mut self) -> Option<Duration> {
        self.attempts += 1;
        let ceiling = Duration::from_millis(50 << self.attempts.min(6)).min(Duration::from_secs(2));
        let pause = ceiling.mul_f64(rand::rng().random_range(0.5..1.0));
        (Instant::now() + pause < self.deadline).then_some(pause)
    }

    /// The fault of a spent budget.
    pub fn spent(&self, name: &str, blockers: &[Blocker], cause: anyhow::Error) -> anyhow::Error {
        let who = match blockers {
            [] => "a session that has ended since".to_owned(),
            some => some
                .iter()
                .map(Blocker::to_string)
                .collect::<Vec<_>>()
                .join(", "),
        };
        let hint = match blockers.first() {
            Some(first) => format!(
                "end it with `select pg_terminate_backend({})`, or give more time with `--lock-budget 30m`",
                first.pid
            ),
            None => "run again, or give more time with `--lock-budget 30m`".to_owned(),
        };
        let spent = self.budget.as_secs();
        cause.context(
            Fault::new(
                Code::BudgetSpent,
                format!("`{name}` did not get its locks in {} attempts within {spent} s; in the way: {who}", self.attempts),
            )
            .hint(hint),
        )
    }

    /// From the second attempt on, a second connection looks who is in the way.
    /// The first attempt, which nearly always succeeds, pays nothing.
    pub async fn watch(&self, target: &Target, conn: &Shared) -> Watch {
        if self.attempts == 0 {
            return Watch { task: None };
        }
        let pid = async {
            let row = (&mut *conn.lock().await)
                .fetch_one(sqlx::raw_sql("select pg_backend_pid()"))
                .await
                .ok()?;
            row.try_get::<i32, _>(0).ok()
        };
        let Some(pid) = pid.await else {
            return Watch { task: None };
        };
        let (stop, stopped) = oneshot::channel();
        Watch {
            task: Some((stop, tokio::spawn(look(target.clone(), pid, stopped)))),
        }
    }
}

/// A look at who blocks, under way.
pub struct Watch {
    task: Option<(oneshot::Sender<()>, JoinHandle<Vec<Blocker>>)>,
}

impl Watch {
    /// Ends the look and gives what was seen.
    pub async fn finish(self) -> Vec<Blocker> {
        let Some((stop, task)) = self.task else {
            return Vec::new();
        };
        let _ = stop.send(());
        task.await.unwrap_or_default()
    }
}

async fn look(target: Target, pid: i32, mut stopped: oneshot::Receiver<()>) -> Vec<Blocker> {
    let mut seen = Vec::new();
    let Ok(mut side) = db::connect(&target, "watch").await else {
        return seen;
    };
    while stopped.try_recv().is_err() {
        if let Ok(rows) = (&mut side).fetch_all(sqlx::query(BLOCKERS).bind(pid)).await {
            let now: Vec<Blocker> = rows.iter().filter_map(|row| blocker(row).ok()).collect();
            if !now.is_empty() {
                seen = now;
            }
        }
        tokio::select! {
            _ = &mut stopped => break,
            () = tokio::time::sleep(Duration::from_millis(15)) => {}
        }
    }
    seen
}

fn blocker(row: &sqlx::postgres::PgRow) -> Result<Blocker, sqlx::Error> {
    Ok(Blocker {
        pid: row.try_get(0)?,
        application: row.try_get(1)?,
        user: row.try_get(2)?,
        state: row.try_get(3)?,
        seconds: row.try_get(4)?,
        kind: row.try_get(5)?,
    })
}
