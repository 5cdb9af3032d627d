//! Everything at once: runs that race and are started again, while they, their sessions
//! and their server end in every way. In the end each migration was applied once.

use std::time::{Duration, Instant};

use rand::seq::IndexedRandom as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{TestDb, TestServer};
use crate::migrations::Migrations;
use crate::tools::{Running, wait_until};
use crate::upgrade;

/// What a run may end with here: done, to be run again, or ended by a signal (before it
/// listens for them, too).
const ENDS: &[i32] = &[0, 5, 6, 7, 9, 143, 137];

const COUNT: usize = 8;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
enum Disaster {
    Signal(Signal),
    Sleep,
    EndedSession,
    Crash,
    Restart,
}

const DISASTERS: &[Disaster] = &[
    Disaster::Signal(Signal::KILL),
    Disaster::Signal(Signal::TERM),
    Disaster::Sleep,
    Disaster::EndedSession,
    Disaster::Crash,
    Disaster::Restart,
];

/// Each writes its number, so that one that was applied twice is seen; two of them run
/// outside a transaction.
fn migrations() -> Migrations {
    let folder = Migrations::of(&[(
        "m0_first",
        "create table numbers (i int); insert into numbers values (0);\n",
        "",
    )]);
    for at in 1..COUNT {
        let up = if at % 3 == 0 {
            format!(
                "-- kinedb: no-transaction\ninsert into numbers values ({at});\n\
                 create index concurrently by_id_{at} on t{} (id);\n",
                at - 1
            )
        } else {
            format!(
                "create table t{at} (id int);\ninsert into t{at} select generate_series(1, 30000);\n\
                 insert into numbers values ({at});\nselect pg_sleep(0.1);\n"
            )
        };
        folder.write(&format!("m{at}_next"), &up, "");
    }
    folder
}

fn strike(what: Disaster, server: &TestServer, db: &TestDb, run: &Running) {
    match what {
        Disaster::Signal(signal) => run.signal(signal),
        Disaster::Sleep => {
            run.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(rand::random_range(0..1000)));
            run.signal(Signal::CONT);
        }
        Disaster::EndedSession => db.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where application_name like 'kinedb%' and datname = current_database() order by random() limit 1",
        ),
        Disaster::Crash => {
            let pid = server.dev().status().unwrap().pid.unwrap();
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            kill_process(pid, Signal::QUIT).unwrap();
            wait_until("the server to be gone", Duration::from_secs(10), || {
                server.dev().status().is_ok_and(|status| status.pid.is_none())
            });
            server.dev().start().unwrap();
        }
        Disaster::Restart => {
            server.dev().stop().unwrap();
            server.dev().start().unwrap();
        }
    }
}

/// Three runs, each started again until it ends well. What happened is in the message of
/// whatever is not as it should be.
fn race_through(server: &TestServer, name: &str) {
    let db = server.database(name);
    let folder = migrations();
    let start = || {
        Running::start(upgrade(
            &db,
            &folder,
            &["--lock-wait", "20s", "--wait", "10s"],
        ))
    };
    let mut runs: Vec<Running> = (0..3).map(|_| start()).collect();
    let mut told = Vec::new();
    let mut left = rand::random_range(3..9);
    let began = Instant::now();
    let mut next = Duration::ZERO;
    while !runs.is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "it does not end: {told:#?}"
        );
        std::thread::sleep(Duration::from_millis(10));
        let mut at = 0;
        while at < runs.len() {
            if runs[at].goes_on() {
                at += 1;
                continue;
            }
            let ended = runs.swap_remove(at).end();
            told.push(format!("exit {}: {}", ended.status, ended.stderr));
            assert!(ENDS.contains(&ended.status), "{told:#?}");
            if ended.status != 0 {
                runs.push(start());
            }
        }
        if left > 0 && began.elapsed() > next {
            let what = *DISASTERS.choose(&mut rand::rng()).unwrap();
            if let Some(run) = runs.choose(&mut rand::rng()) {
                told.push(format!("{what:?}"));
                strike(what, server, &db, run);
            }
            left -= 1;
            next = began.elapsed() + Duration::from_millis(rand::random_range(0..500));
        }
    }
    let each: Vec<String> = (0..COUNT).map(|at| at.to_string()).collect();
    for (what, sql) in [
        ("applied", "select i from numbers"),
        (
            "in history",
            "select substr(name, 2, 1)::int from kinedb_history where outcome = 'done'",
        ),
        (
            "in sea-orm's table",
            "select substr(version, 2, 1)::int from seaql_migrations",
        ),
    ] {
        let list = db.value(&format!(
            "select string_agg(i::text, ' ' order by i) from ({sql}) as s(i)"
        ));
        assert_eq!(list, each.join(" "), "{what}: {told:#?}");
    }
    let invalid = db.value("select count(*) from pg_index where not indisvalid");
    assert_eq!(invalid, "0", "{told:#?}");
}

#[test]
fn whatever_ends_racing_runs_each_migration_is_applied_once() {
    let server = TestServer::own();
    race_through(&server, "whatever_ends");
}

#[test]
#[ignore = "soak"]
fn soak_whatever_ends_racing_runs_fifty_times() {
    let server = TestServer::own();
    for round in 0..50 {
        race_through(&server, &format!("whatever_ends_{round}"));
    }
}
