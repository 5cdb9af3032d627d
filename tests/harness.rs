//! The test harness itself: what it starts ends, what fails is kept.

// Helpers are not test functions, where these are allowed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{TestDb, TestServer, kinedb, normal};
use kinedb::dev::State;

#[test]
fn a_database_is_the_tests_own_and_gone_after_it() {
    let db = TestDb::new("of one test");
    let other = TestDb::new("of one test");
    assert_eq!((db.name(), other.name()), ("of_one_test", "of_one_test_2"));
    db.sql("create table t (x int); insert into t values (1), (null)");
    assert_eq!(
        db.query_rows("select x from t"),
        [[Some("1".to_owned())], [None]]
    );
    assert_eq!(other.value("select to_regclass('t')"), "");
    drop(db);
    let left = "select count(*) from pg_database where datname = 'of_one_test'";
    assert_eq!(other.value(left), "0");
}

#[test]
fn a_failed_tests_database_is_kept() {
    let server = TestServer::own();
    let db = server.database("kept");
    std::thread::spawn(move || {
        let _held = db;
        // Not a message that reads like a failure of this test.
        std::panic::resume_unwind(Box::new("failed"));
    })
    .join()
    .unwrap_err();
    let look = server.database("look");
    let kept = "select count(*) from pg_database where datname = 'kept'";
    assert_eq!(look.value(kept), "1");
    assert!(server.dev().folder().join("kept").exists());
    std::fs::remove_file(server.dev().folder().join("kept")).unwrap();
}

#[tokio::test]
async fn a_migrated_database_has_all_migrations_and_works_in_async_tests() {
    use sqlx::Connection;
    let db = TestDb::migrated("migrated");
    let mut conn = db.connect().await;
    let applied: i64 = sqlx::query_scalar("select count(*) from seaql_migrations")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    assert!(applied > 0);
    let status = kinedb(["upgrade", "--check"]).on(&db).run();
    assert_eq!(status.status, 0, "{}", status.stderr);
}

/// Not a test: what the next one kills.
#[test]
#[ignore = "started by `a_killed_run_leaves_no_server`"]
fn waits_to_be_killed() {
    if std::env::var_os("KINEDB_TEST_WAITS").is_none() {
        return;
    }
    let server = TestServer::own();
    println!("\nfolder={}", server.dev().folder().display());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_run_leaves_no_server() {
    let mut run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "waits_to_be_killed", "--ignored", "--nocapture"])
        .env("KINEDB_TEST_WAITS", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let folder = BufReader::new(run.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("folder=").map(PathBuf::from))
        .expect("the other run names its folder");
    let pid = TestServer::at(&folder).status().unwrap().pid.unwrap();
    assert_eq!(
        TestServer::at(&folder).status().unwrap().state,
        State::Running
    );
    run.kill().unwrap();
    run.wait().unwrap();
    let since = Instant::now();
    while folder.exists() {
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "{folder:?} stays"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    while is_alive(pid) {
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "process {pid} survives"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process that has ended and waits to be collected has no command line.
fn is_alive(pid: u32) -> bool {
    std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline"))
        .is_ok_and(|line| !line.is_empty())
}

#[test]
fn what_differs_from_run_to_run_is_taken_out() {
    for (text, expected) in [
        (
            "done in 12 ms, 1.5 s, 3min",
            "done in [took], [took], [took]",
        ),
        ("10 migrations x 8", "10 migrations x 8"),
        (
            "at 2026-01-05 09:00:01.123+00 by 6f1b1f3e-2b1a-5c55-9d0a-0123456789ab",
            "at [time] by [uuid]",
        ),
        ("2026-01-05T09:00:01Z", "[time]"),
        (
            "to postgresql://postgres@%2Ftmp%2Fx:5432/db, process 4711 at 127.0.0.1:6432",
            "to [url] process [pid] at 127.0.0.1:[port]",
        ),
        (
            r#"{"duration_ms": 12, "pid":7}"#,
            r#"{"duration_ms": [took], "pid": [pid]}"#,
        ),
        (
            "/tmp/kinedb-test-0/dev-12-0/server.log",
            "[server]/server.log",
        ),
    ] {
        assert_eq!(normal(text), expected);
    }
}
