//! Locks: of the run, of tables, of indexes; who waits for whom and for how long.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::common::{Kinedb, Run, TestDb, TestServer, kinedb};
use crate::migrations::Migrations;
use crate::tools::{Running, Session, wait_for_no_session, wait_for_statement, wait_until};
use crate::{applied, slow, upgrade};

/// Runs that start at the same moment.
fn race(runs: Vec<Kinedb>) -> Vec<Run> {
    let barrier = Barrier::new(runs.len());
    std::thread::scope(|scope| {
        let start = |run: Kinedb| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                run.run()
            })
        };
        let threads: Vec<_> = runs.into_iter().map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn eight_runners(rounds: usize) {
    for round in 0..rounds {
        let db = TestDb::new(&format!("eight_runners_{round}"));
        let folder = Migrations::three();
        let runs = race((0..8).map(|_| upgrade(&db, &folder, &[])).collect());
        let mut applied = 0;
        for run in runs {
            let run = run.ok();
            assert!(!run.stderr.contains("error"), "{}", run.stderr);
            applied += usize::from(run.stdout.starts_with("applied 3"));
        }
        assert_eq!(applied, 1);
        assert_eq!(
            db.value("select count(*) || ' ' || count(distinct name) from kinedb_history"),
            "3 3"
        );
    }
}

#[test]
fn eight_runners_at_once_apply_once() {
    eight_runners(3);
}

#[test]
#[ignore = "soak"]
fn soak_eight_runners_twenty_times() {
    eight_runners(20);
}

#[test]
fn first_runs_in_two_databases_of_one_cluster_race_for_the_roles() {
    let server = TestServer::own();
    let (one, two) = (server.database("race_one"), server.database("race_two"));
    let run = |db: &TestDb| kinedb(["upgrade", "--gate", "off"]).on(db);
    let runs = race(
        (0..8)
            .map(|at| run(if at % 2 == 0 { &one } else { &two }))
            .collect(),
    );
    for run in runs {
        let run = run.ok();
        assert!(!run.stderr.contains("error"), "{}", run.stderr);
    }
    for db in [one, two] {
        assert_eq!(
            db.value("select count(*) from kinedb_history"),
            db.value("select count(*) from seaql_migrations")
        );
    }
}

/// Another database of the cluster makes it, and commits while this one waits for it.
#[test]
fn a_role_that_another_database_makes_meanwhile_is_taken_as_it_is() {
    let server = TestServer::own();
    let db = server.database("a_role_made_meanwhile");
    let mut other = Session::named(&db, "other-database");
    other.sql("begin; create role kine_owner nologin");
    let run = kinedb(["upgrade", "+1", "--gate", "off", "--lock-timeout", "20s"]).on(&db);
    let run = Running::start(run);
    let waits = "select count(*) from pg_stat_activity where application_name = 'kinedb upgrade' and wait_event_type = 'Lock'";
    wait_until("the run to make it too", Duration::from_secs(10), || {
        db.value(waits) != "0"
    });
    other.sql("commit");
    let ended = run.end().exits(0);
    assert!(!ended.stderr.contains("retry"), "{}", ended.stderr);
    assert_eq!(db.value("select count(*) from seaql_migrations"), "1");
}

#[test]
fn a_holder_that_hangs_is_named() {
    let (db, folder) = slow("a_holder_that_hangs_is_named", "0");
    let mut holder = Session::named(&db, "deploy-job-7");
    holder.sql("select pg_advisory_lock(118100567876706)");
    let pid = holder.pid();
    let began = Instant::now();
    let run = upgrade(&db, &folder, &["--lock-wait", "500ms"])
        .run()
        .exits(5);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(
        run.stderr.contains(&format!(
            "waiting for the migration lock, held by pid {pid} (`deploy-job-7`"
        )),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("(locked, exit 5)"), "{}", run.stderr);
    holder.sql("select pg_advisory_unlock_all()");
    upgrade(&db, &folder, &["--lock-wait", "500ms"]).run().ok();
}

#[test]
fn a_killed_run_leaves_nothing_and_no_lock() {
    let (db, folder) = slow("a_killed_run_leaves_nothing_and_no_lock", "20");
    let run = Running::start(upgrade(&db, &folder, &[]));
    wait_for_statement(&db, "%pg_sleep%");
    run.signal(rustix::process::Signal::KILL);
    let free = wait_for_no_session(&db);
    assert!(free < Duration::from_millis(1500), "{free:?}");
    run.end().exits(137);
    assert_eq!(db.value("select to_regclass('half')"), "");
    folder.write("m2_slow", "create table half (id int);\n", "");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1_rooms m2_slow");
}

/// `m2_label` wants a lock that a reader holds.
fn wanting(test: &str) -> (TestDb, Migrations) {
    let (db, folder) = slow(test, "0");
    folder.remove("m2_slow");
    folder.write(
        "m2_label",
        "alter table rooms add column label text;\n",
        "alter table rooms drop column label;\n",
    );
    (db, folder)
}

#[test]
fn a_long_reader_is_named_and_does_not_stall_the_others() {
    let (db, folder) = wanting("a_long_reader_is_named");
    let mut reader = Session::named(&db, "report");
    reader.sql("begin; select count(*) from rooms");
    let pid = reader.pid();
    let run = Running::start(upgrade(&db, &folder, &[]));
    wait_until("the run to wait", Duration::from_secs(10), || {
        db.value("select count(*) from pg_stat_activity where application_name = 'kinedb upgrade' and datname = current_database()") != "0"
    });
    let mut other = Session::named(&db, "web");
    // Who would wait for ever, behind the run behind the reader, fails instead.
    other.sql("set statement_timeout = '3s'");
    let mut worst = Duration::ZERO;
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let began = Instant::now();
        other.sql("select count(*) from rooms");
        worst = worst.max(began.elapsed());
    }
    reader.sql("commit");
    let ended = run.end().exits(0);
    // The timeout of one attempt and what a busy machine adds.
    assert!(
        worst < Duration::from_millis(250),
        "a reader was stalled for {worst:?}"
    );
    assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
    let first = ended
        .stderr
        .lines()
        .find(|line| line.contains("could not get a lock in time"))
        .expect("a wait");
    assert!(
        first.contains(&format!(
            "in the way: pid {pid} (`report`, user `postgres`, idle in transaction, select"
        )),
        "{first}"
    );
}

#[test]
fn a_lock_that_never_comes_free_ends_with_the_budget() {
    let (db, folder) = wanting("a_lock_that_never_comes_free");
    let mut reader = Session::named(&db, "report");
    reader.sql("begin; select count(*) from rooms");
    let pid = reader.pid();
    let began = Instant::now();
    let run = upgrade(&db, &folder, &["--lock-budget", "1s"])
        .run()
        .exits(6);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert!(
        run.stderr
            .contains(&format!("in the way: pid {pid} (`report`")),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains(&format!("select pg_terminate_backend({pid})")),
        "{}",
        run.stderr
    );
    assert_eq!(applied(&db), "m1_rooms");
}

#[test]
fn a_dump_in_the_way_is_named() {
    let (db, folder) = wanting("a_dump_in_the_way_is_named");
    db.sql("create table big as select repeat('x', 1000) as x from generate_series(1, 20000)");
    // Nobody reads what it writes, so it stops when the pipe is full.
    let program = crate::servers::programs().join("pg_dump");
    // pg_dump refuses a server newer than itself, and the tests' newer server comes without one.
    let version = std::process::Command::new(&program)
        .arg("--version")
        .output();
    let version = version.map_or_else(
        |_| String::new(),
        |told| String::from_utf8_lossy(&told.stdout).into_owned(),
    );
    let major = version
        .rsplit(' ')
        .find_map(|word| word.split('.').next()?.parse::<u32>().ok());
    let server = db.value("show server_version_num").parse::<u32>().unwrap() / 10_000;
    if major.is_none_or(|major| major < server) {
        eprintln!("SKIPPED a_dump_in_the_way_is_named: no pg_dump for PostgreSQL {server}");
        return;
    }
    let mut dump = std::process::Command::new(program);
    dump.arg(db.url());
    let mut dump = Running::spawn(&mut dump);
    wait_until(
        "the dump to hold its locks",
        Duration::from_secs(10),
        || {
            db.value("select count(*) from pg_locks l join pg_stat_activity a using (pid) where a.application_name = 'pg_dump' and l.relation = 'rooms'::regclass") != "0"
        },
    );
    assert!(dump.goes_on());
    let run = upgrade(&db, &folder, &["--lock-budget", "1s"])
        .run()
        .exits(6);
    assert!(
        run.stderr.contains("(`pg_dump`, user `postgres`"),
        "{}",
        run.stderr
    );
    drop(dump);
    upgrade(&db, &folder, &[]).run().ok();
}

#[test]
fn a_deadlock_with_the_application_is_tried_again() {
    let (db, folder) = slow("a_deadlock_with_the_application", "0");
    folder.remove("m2_slow");
    db.sql("create table beds (id int)");
    folder.write("m2_both", "alter table beds add column label text;\nselect pg_sleep(0.5);\nalter table rooms add column label text;\n", "");
    let mut application = Session::named(&db, "web");
    // The run notices the deadlock, not the application.
    application
        .sql("set deadlock_timeout = '20s'; begin; lock table rooms in access exclusive mode");
    let run = Running::start(upgrade(&db, &folder, &["--lock-timeout", "10s"]));
    wait_for_statement(&db, "%pg_sleep%");
    application.sql("lock table beds in access share mode; commit");
    let ended = run.end().exits(0);
    assert!(ended.stderr.contains("lost a deadlock"), "{}", ended.stderr);
    assert_eq!(applied(&db), "m1_rooms m2_both");
}

#[test]
fn a_statement_that_takes_too_long_is_no_cancelled_one() {
    let (db, folder) = slow("a_statement_that_takes_too_long", "20");
    let run = upgrade(&db, &folder, &["--statement-timeout", "200ms"])
        .run()
        .exits(6);
    assert!(
        run.stderr
            .contains("m2_slow.up.sql:2:1: canceling statement due to statement timeout"),
        "{}",
        run.stderr
    );
    let run = Running::start(upgrade(&db, &folder, &[]));
    wait_for_statement(&db, "%pg_sleep%");
    db.sql("select pg_cancel_backend(pid) from pg_stat_activity where application_name = 'kinedb upgrade' and datname = current_database()");
    let ended = run.end().exits(13);
    assert!(
        ended.stderr.contains("somebody cancelled the statement"),
        "{}",
        ended.stderr
    );
    assert_eq!(db.value("select to_regclass('half')"), "");
}

#[test]
fn a_short_idle_limit_of_the_role_is_not_hit() {
    let server = TestServer::own();
    let db = server.database("a_short_idle_limit_of_the_role");
    db.sql("alter role postgres set idle_in_transaction_session_timeout = '300ms'; alter role postgres set statement_timeout = '200ms'; alter role postgres set lock_timeout = '1ms'");
    let folder = Migrations::of(&[(
        "m1",
        "create table a (id int); select pg_sleep(0.4);\n",
        "drop table a;\n",
    )]);
    upgrade(&db, &folder, &[])
        .env("KINEDB_FAILPOINT", "in-transaction=800")
        .run()
        .ok();
}

#[test]
fn prepared_statements_of_the_application_survive_a_new_column() {
    let (db, folder) = wanting("prepared_statements_survive");
    db.sql("insert into rooms values (1); create view api_rooms as select id from rooms");
    let mut application = Session::named(&db, "web");
    assert_eq!(application.prepared("select * from api_rooms").unwrap(), 1);
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(application.prepared("select * from api_rooms").unwrap(), 1);
}
