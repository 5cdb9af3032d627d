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

/// What a test says in the place of a duration: `NAME=MILLISECONDS`.
#[cfg(debug_assertions)]
pub fn instead(name: &str, usual: std::time::Duration) -> std::time::Duration {
    let order = std::env::var("KINEDB_FAILPOINT").unwrap_or_default();
    let said = order
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('=')?.parse().ok());
    said.map_or(usual, std::time::Duration::from_millis)
}

/// The usual one.
#[cfg(not(debug_assertions))]
pub fn instead(_: &str, usual: std::time::Duration) -> std::time::Duration {
    usual
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub async fn hit(_: &str) {}
