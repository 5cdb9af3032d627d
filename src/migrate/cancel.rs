//! Ending a run from outside: by a signal, between statements or in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use sqlx::Executor as _;
use tokio::sync::watch;

use crate::db::{self, Target};
use crate::fault::{Code, Fault};

/// How long the work has, after a signal, to roll back by itself.
const GRACE: Duration = Duration::from_secs(4);

/// Shared by the run, which asks it before every COMMIT, and by whoever listens
/// for signals.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// 0 none, 1 SIGHUP, 2 SIGINT, 15 SIGTERM.
    signal: Arc<watch::Sender<u8>>,
    /// The backend that runs statements, 0 before it is known.
    backend: Arc<AtomicI32>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self {
            signal: Arc::new(watch::Sender::new(0)),
            backend: Arc::default(),
        }
    }
}

impl Cancel {
    /// Tells which backend runs the statements.
    pub fn set_backend(&self, pid: i32) {
        self.backend.store(pid, Ordering::Relaxed);
    }

    /// The run was asked to end.
    pub fn requested(&self) -> bool {
        *self.signal.borrow() != 0
    }

    /// The fault that a cancelled run ends with.
    pub fn fault(&self) -> Fault {
        let code = match *self.signal.borrow() {
            1 => Code::HungUp,
            15 => Code::Terminated,
            _ => Code::Interrupted,
        };
        Fault::new(code, "interrupted; what was running is rolled back")
            .hint("run the command again: what is finished stays, the rest is done then")
    }

    /// An error if the run was asked to end.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.requested() {
            Err(self.fault().into())
        } else {
            Ok(())
        }
    }

    /// A pause that a signal ends with an error.
    pub async fn pause(&self, pause: Duration) -> anyhow::Result<()> {
        let mut signal = self.signal.subscribe();
        let asked = signal.wait_for(|signal| *signal != 0);
        let _ = tokio::time::timeout(pause, asked).await;
        self.check()
    }

    /// Runs `work` until it ends. On SIGINT, SIGTERM or SIGHUP the running statement is
    /// cancelled by a second connection and `work` is given four seconds to roll
    /// back; it is dropped then, and the server rolls back by itself.
    pub async fn guard<T>(
        &self,
        target: &Target,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let signalled = signalled()?;
        tokio::pin!(work, signalled);
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            signal = &mut signalled => { self.signal.send_replace(signal); }
        }
        // What was told to the user after a signal is the signal, whatever it broke.
        let ended = |outcome: anyhow::Result<T>| match outcome {
            Err(cause)
                if Fault::of(&cause).is_none_or(|fault| fault.code() != self.fault().code()) =>
            {
                Err(cause.context(self.fault()))
            }
            other => other,
        };
        let deadline = tokio::time::sleep(GRACE);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return ended(outcome),
                () = &mut deadline => return Err(self.fault().into()),
                () = self.cancel_statement(target) => {}
            }
        }
    }

    /// Asks the server to cancel what the run's backend is doing, then pauses so
    /// that the next request finds the next statement.
    async fn cancel_statement(&self, target: &Target) {
        let pid = self.backend.load(Ordering::Relaxed);
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

/// The first signal to come. From the call on, none of them ends the process
/// by itself.
fn signalled() -> anyhow::Result<impl Future<Output = u8>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = match ignores_hangup() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hung_up => 1,
        }
    })
}

/// Whoever started this wants it to outlive its terminal: `nohup`, `setsid` of some
/// kinds, a service manager. To listen would undo that.
///
/// Elsewhere than on Linux nothing safe tells it, and a hangup stays what the system
/// makes of it: it ends the process, and the server rolls back by itself.
pub fn ignores_hangup() -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask & 1 != 0)
}
