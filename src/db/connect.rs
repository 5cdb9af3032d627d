//! Opening one connection, never a pool: a pool reconnects silently, and then
//! the session's lock is gone while work goes on.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::db::{Target, keepalive, refusal};

/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Connects once. `purpose` becomes part of `application_name`, by which other
/// runs name this one.
pub async fn connect(target: &Target, purpose: &str) -> anyhow::Result<PgConnection> {
    let mut options = target.options().clone();
    if options
        .get_application_name()
        .is_none_or(|name| !name.starts_with("kinedb"))
    {
        options = options.application_name(&format!("kinedb {purpose}"));
    }
    // A failed statement is reported by whoever ran it, with its own words.
    options = options.disable_statement_logging();
    let attempt = tokio::time::timeout(ATTEMPT, PgConnection::connect_with(&options)).await;
    let timed_out = || sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let conn = attempt
        .unwrap_or_else(|_| Err(timed_out()))
        .map_err(|cause| refusal::explained(&cause, target))?;
    if !target.is_local() {
        keepalive::ask(options.get_port());
    }
    Ok(conn)
}

/// Connects, trying again for as long as `wait` allows while nothing answers or
/// the server is still starting. Every other refusal ends it at once.
pub async fn connect_waiting(
    target: &Target,
    purpose: &str,
    wait: Duration,
) -> anyhow::Result<PgConnection> {
    let deadline = Instant::now() + wait;
    let mut pause = Duration::from_millis(20);
    loop {
        match connect(target, purpose).await {
            Err(cause) if is_retryable(&cause) && Instant::now() + pause < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
            outcome => return outcome,
        }
    }
}

fn is_retryable(error: &anyhow::Error) -> bool {
    crate::fault::Fault::of(error)
        .is_some_and(|fault| fault.code() == crate::fault::Code::Unreachable)
}
