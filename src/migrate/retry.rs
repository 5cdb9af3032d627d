//! Trying again: short lock timeouts, pauses with jitter, blockers by name.
//!
//! A statement that waits for a lock makes every later statement on that table
//! wait too. So one attempt waits for a tenth of a second at most, and the whole
//! transaction is tried again after a pause in which the application gets on.

use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::fault::{Code, Fault};
use crate::migrate::blockers::{Blocker, names};

/// Lost a race for a lock (55P03) or a deadlock (40P01).
pub fn is_retryable(sqlstate: &str) -> bool {
    matches!(sqlstate, "55P03" | "40P01")
}

/// How long to go on, and how long to pause.
pub struct Backoff {
    deadline: Instant,
    budget: Duration,
    attempts: u32,
    /// Whoever was seen in the way last; an attempt may be too short to see anyone.
    seen: Vec<Blocker>,
}

impl Backoff {
    /// Starts the clock.
    pub fn new(budget: Duration) -> Self {
        Self {
            deadline: Instant::now() + budget,
            budget,
            attempts: 0,
            seen: Vec::new(),
        }
    }

    /// So many attempts have failed.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What is left of the budget.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Keeps who was in the way of an attempt.
    pub fn saw(&mut self, blockers: Vec<Blocker>) {
        if !blockers.is_empty() {
            self.seen = blockers;
        }
    }

    /// Whoever was seen last.
    pub fn blockers(&self) -> &[Blocker] {
        &self.seen
    }

    /// The next pause: 50 ms doubling to 2 s, with half of it left to chance.
    /// Nothing when the budget is spent.
    pub fn pause(&mut self) -> Option<Duration> {
        self.attempts += 1;
        // A blocker that ends is not waited for longer than a second.
        let ceiling = Duration::from_millis(50 << self.attempts.min(5)).min(Duration::from_secs(1));
        let pause = ceiling.mul_f64(rand::rng().random_range(0.5..1.0));
        (Instant::now() + pause < self.deadline).then_some(pause)
    }

    /// The fault of a spent budget.
    pub fn spent(&self, name: &str, cause: anyhow::Error) -> anyhow::Error {
        let who = match self.seen.as_slice() {
            [] => "a session that has ended since".to_owned(),
            some => names(some),
        };
        let hint = match self.seen.first() {
            Some(first) => format!(
                "end it with `select pg_terminate_backend({})`, or give more time with `--lock-budget 30m`",
                first.pid
            ),
            None => "run again, or give more time with `--lock-budget 30m`".to_owned(),
        };
        let spent = self.budget.as_secs();
        let attempts = match self.attempts {
            0 | 1 => "1 attempt".to_owned(),
            several => format!("{several} attempts"),
        };
        cause.context(
            Fault::new(
                Code::BudgetSpent,
                format!("`{name}` did not get its locks in {attempts} within {spent} s; in the way: {who}"),
            )
            .hint(hint),
        )
    }
}
