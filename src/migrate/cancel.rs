//! Ending a run from outside: by a signal, between statements or in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::time::Duration;

use sqlx::Executor as _;

use crate::db::{self, Target};
use crate::fault::{Code, Fault};

/// Shared by the run, which asks it before every COMMIT, and by whoever listens
/// for signals.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// 0 none, 2 SIGINT, 15 SIGTERM.
    signal: AtomicU8,
    /// The run's backend, 0 before it is known.
    backend: AtomicI32,
}

impl Cancel {
    /// Tells which backend runs the statements.
    pub fn set_backend(&self, pid: i32) {
        self.inner.backend.store(pid, Ordering::Relaxed);
    }

    /// The run was asked to end.
    pub fn requested(&self) -> bool {
        self.inner.signal.load(Ordering::Relaxed) != 0
    }

    /// The fault that a cancelled run ends with.
    pub fn fault(&self) -> Fault {
        let code = if self.inner.signal.load(Ordering::Relaxed) == 15 {
            Code::Terminated
        } else {
            Code::Interrupted
        };
        Fault::new(code, "interrupted; what was running is rolled back")
            .hint("run the command again: it resumes from history")
    }

    /// An error if the run was asked to end.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.requested() {
            Err(self.fault().into())
        } else {
            Ok(())
        }
    }

    /// Runs `work` until it ends. On SIGINT or SIGTERM the running statement is
    /// cancelled by a second connection and `work` is given four seconds to roll
    /// back; it is dropped then, and the server rolls back by itself.
    pub async fn guard<T>(
        &self,
        target: &Target,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            signal = signalled() => self.inner.signal.store(signal?, Ordering::Relaxed),
        }
        let deadline = tokio::time::sleep(Duration::from_secs(4));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                () = &mut deadline => return Err(self.fault().into()),
                () = self.cancel_statement(target) => {}
            }
        }
    }

    /// Asks the server to cancel what the run's backend is doing, then pauses so
    /// that the next request finds the next statement.
    async fn cancel_statement(&self, target: &Target) {
        let pid = self.inner.backend.load(Ordering::Relaxed);
        if pid != 0
            && let Ok(mut side) = db::connect(target, "cancel").await
        {
            let request = format!("select pg_cancel_backend({pid})");
            // Best effort: if it fails, dropping the connection ends the transaction.
            let _ = (&mut side)
                .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(request)))
                .await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn signalled() -> anyhow::Result<u8> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(2),
        _ = terminate.recv() => Ok(15),
    }
}
