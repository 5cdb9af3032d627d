//! `kinedb check` and `kinedb revision --autogenerate` on this project: medians of
//! whole processes, on a server that runs already, and with the server's start.
//!
//! The time is that of the process, so the server's work is in it; both share
//! this machine.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Kinedb, TestServer, kinedb};

pub(crate) fn measure_all() {
    let rounds: usize =
        std::env::var("KINEDB_BENCH_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    println!("medians of {rounds} runs, whole processes");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let server = TestServer::own();
    let url = server.url("postgres");
    measure("check, this project, warm", rounds, Some(5000), || {
        kinedb(["check", "--scratch-url", &url]).within(root)
    });
    measure("check --lint-only", rounds, None, || {
        kinedb(["check", "--lint-only"]).within(root)
    });
    let here = TestServer::place();
    measure("check, with the start of the server", rounds, None, || {
        let folder = here.folder().to_str().unwrap().to_owned();
        kinedb(["check", "--dev-dir", &folder]).within(root)
    });
    let project = crate::migrations::project();
    let autogenerate = || {
        kinedb([
            "revision",
            "-m",
            "bench",
            "--autogenerate",
            "--scratch-url",
            &url,
        ])
        .within(project.path())
    };
    measure(
        "revision --autogenerate, nothing to write",
        rounds,
        None,
        autogenerate,
    );
    // The list of migrations is compiled in, so a written one ends the comparison: once.
    let users = project.path().join("policies/tenant_scoped/users.sql");
    let text = std::fs::read_to_string(&users).unwrap();
    std::fs::write(&users, text.replace("  status,\n", "")).unwrap();
    measure("revision --autogenerate, one view", 1, None, autogenerate);
    let _ = std::fs::remove_dir_all(here.folder());
}

/// The first run warms caches and is not counted, where there is more than one.
fn measure(title: &str, rounds: usize, goal: Option<u64>, command: impl Fn() -> Kinedb) {
    let mut times = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        if round == 0 && rounds == 1 {
            continue;
        }
        let since = Instant::now();
        let run = command().run();
        assert_eq!(run.status, 0, "{title}:\n{}{}", run.stdout, run.stderr);
        if round > 0 {
            times.push(since.elapsed());
        }
    }
    times.sort();
    let median = times.get(rounds / 2).copied().unwrap_or_default();
    let goal = goal.map(Duration::from_millis);
    let said = goal.map_or_else(String::new, |goal| {
        let verdict = if median <= goal { "ok" } else { "MISSED" };
        format!("  goal {:>6} ms  {verdict}", goal.as_millis())
    });
    println!("{title:<45} {:>6} ms{said}", median.as_millis());
}
