//! Places where tests break a run. A release build has none of them.

/// Does what `KINEDB_FAILPOINT` says for this place: `NAME=kill`, `NAME=panic`,
/// or `NAME=MILLISECONDS`, a pause in which something can be done to the run.
#[cfg(debug_assertions)]
#[allow(clippy::panic)]
pub async fn hit(name: &str) {
    let order = std::env::var("KINEDB_FAILPOINT").unwrap_or_default();
    match order
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('='))
    {
        Some("kill") => {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
        Some("panic") => panic!(
            "failpoint with a secret: {}",
            std::env::var("KINEDB_DATABASE_URL").unwrap_or_default()
        ),
        Some(pause) => {
            let pause = pause.parse().unwrap_or_default();
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
        }
        None => {}
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub async fn hit(_: &str) {}
