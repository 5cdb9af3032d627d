//! `kinedb verify-rls` at scale: medians of whole processes and their peak memory.
//!
//! The time is that of the process, so the server's work is in it; both share
//! this machine.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::{TestDb, TestServer, kinedb};

/// Memory that no verification may go beyond.
const MEMORY: u64 = 64;

/// One line of the report.
struct Case<'a> {
    title: &'a str,
    args: &'a [&'a str],
    /// The exit code of a right answer.
    exit: i32,
    goal: Duration,
}

pub(crate) fn measure_all() {
    let rounds: usize =
        std::env::var("KINEDB_BENCH_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    println!("medians of {rounds} runs, whole processes; memory is the highest of all runs");
    let db = TestDb::new("own");
    let seeded = kinedb(["seed", "--dev", "--quiet"]).on(&db).run();
    assert_eq!(seeded.status, 0, "{}", seeded.stderr);
    measure(&db, rounds, &case("this schema, seeded", &[], 400));
    drop(db);

    let db = filled("million", include_str!("verify_sql/million.sql"));
    measure(
        &db,
        rounds,
        &case("8 tables, 1,000 tenants, 1M rows", &[], 1000),
    );
    let all = case("the same, all tenants", &["--exhaustive"], 3000);
    measure(&db, rounds, &all);
    drop(db);

    let db = filled("wide", include_str!("verify_sql/wide.sql"));
    measure(&db, rounds, &case("400 tables, 1,300 policies", &[], 5000));
    drop(db);

    let db = filled("usual", include_str!("verify_sql/usual.sql"));
    let title = "1,000 tables, 100 views, 100 functions";
    measure(&db, rounds.min(3), &case(title, &[], 12_500));
    drop(db);

    if std::env::var_os("KINEDB_BENCH_LARGE").is_none() {
        println!("10M rows without an index on the tenant: left out, set KINEDB_BENCH_LARGE=1");
        return;
    }
    let db = filled("unindexed", include_str!("verify_sql/unindexed.sql"));
    let title = "10M rows without an index on the tenant";
    measure(&db, rounds, &case(title, &[], 1000));
}

fn case<'a>(title: &'a str, args: &'a [&'a str], goal: u64) -> Case<'a> {
    Case {
        title,
        args,
        exit: 0,
        goal: Duration::from_millis(goal),
    }
}

/// A database filled by a script, its statistics fresh.
fn filled(name: &str, sql: &str) -> TestDb {
    let server = TestServer::own();
    let db = server.database(name);
    db.sql(sql);
    db.sql("vacuum (analyze)");
    db
}

fn measure(db: &TestDb, rounds: usize, case: &Case<'_>) {
    let mut times = Vec::new();
    let mut memory = 0;
    for _ in 0..rounds.max(1) {
        let (time, peak) = once(db, case);
        times.push(time);
        memory = memory.max(peak);
    }
    times.sort();
    let time = times[times.len() / 2];
    let said = |met: bool| if met { "met" } else { "MISSED" };
    println!(
        "{:<42} {:>8.0} ms (goal {} ms: {})  {memory:>3} MiB (goal {MEMORY} MiB: {})",
        case.title,
        time.as_secs_f64() * 1e3,
        case.goal.as_millis(),
        said(time <= case.goal),
        said(memory <= MEMORY)
    );
}

/// The time and the peak memory in MiB of one run.
fn once(db: &TestDb, case: &Case<'_>) -> (Duration, u64) {
    let args = ["verify-rls", "-q", "--format", "json"];
    let mut command = kinedb(args.iter().chain(case.args)).on(db).command();
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(resident(&child));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = began.elapsed();
    let mut told = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = std::io::Read::read_to_string(&mut stderr, &mut told);
    }
    assert_eq!(status.code(), Some(case.exit), "{}: {told}", case.title);
    (time, peak.div_ceil(1024))
}

/// The most that a process held so far, in KiB.
fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    status
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
