//! A machine, or what stands before it, that is gone without a word: no packet says so.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::TestServer;
use crate::migrations::Migrations;
use crate::tools::{Cut, Proxy, Running, wait_for_statement, wait_until};
use crate::{applied, downgrade, slow, upgrade};

/// Another machine, as far as the kernel can make one: a network namespace.
struct Machine(String);

const HERE: &str = "10.231.7.1";

impl Machine {
    /// None where this user may not make one.
    fn new() -> Option<Self> {
        let name = format!("kdb{}", std::process::id());
        if !ip(&format!("netns add {name}")) {
            eprintln!("SKIPPED: no network namespaces here (root and `ip` are needed)");
            return None;
        }
        let machine = Self(name.clone());
        let (near, far) = (format!("{name}a"), format!("{name}b"));
        let made = [
            format!("link add {near} type veth peer name {far}"),
            format!("link set {far} netns {name}"),
            format!("addr add {HERE}/30 dev {near}"),
            format!("link set {near} up"),
            format!("-n {name} addr add 10.231.7.2/30 dev {far}"),
            format!("-n {name} link set {far} up"),
        ]
        .iter()
        .all(|command| ip(command));
        if !made {
            eprintln!("SKIPPED: no pair of network devices here");
        }
        made.then_some(machine)
    }

    /// A command that runs over there.
    fn runs(&self, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.0]);
        there.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        there
    }

    /// Its cable is cut: nothing comes, not even the end.
    fn cut(&self) {
        assert!(ip(&format!("-n {0} link set {0}b down", self.0)));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&format!("link del {}a", self.0));
        ip(&format!("netns del {}", self.0));
    }
}

fn ip(command: &str) -> bool {
    Command::new("ip")
        .args(command.split(' '))
        .output()
        .is_ok_and(|done| done.status.success())
}

#[test]
fn a_machine_that_is_gone_frees_the_lock() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let server = TestServer::own();
    let db = server.database("a_machine_that_is_gone");
    let access = server.dev().folder().join("data/pg_hba.conf");
    let mut access = std::fs::OpenOptions::new()
        .append(true)
        .open(access)
        .unwrap();
    writeln!(access, "host all all 10.231.7.0/30 trust").unwrap();
    db.sql(&format!("alter system set listen_addresses = '{HERE}'"));
    server.dev().stop().unwrap();
    server.dev().start().unwrap();
    let folder = Migrations::of(&[(
        "m1_slow",
        "create table half (id int);\nselect pg_sleep(300);\n",
        "",
    )]);
    let url = format!(
        "postgres://postgres@{HERE}:5432/{}?sslmode=disable",
        db.name()
    );
    let run = upgrade(&db, &folder, &["--lock-budget", "5s"])
        .env("KINEDB_DATABASE_URL", &url)
        .command();
    let run = Running::spawn(&mut machine.runs(&run));
    wait_for_statement(&db, "%pg_sleep%");
    let held = "select count(*) from pg_locks where locktype = 'advisory'";
    assert_ne!(db.value(held), "0");
    machine.cut();
    let began = Instant::now();
    wait_until("a free lock", Duration::from_secs(25), || {
        db.value(held) == "0"
    });
    assert!(began.elapsed() > Duration::from_secs(2), "nothing was cut");
    // The other end notices as well, looks for the server for as long as it may, and says so.
    let ended = run.end();
    assert_eq!(ended.status, 7, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the connection was lost"),
        "{}",
        ended.stderr
    );
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(db.value("select to_regclass('half')"), "");
    folder.write("m1_slow", "create table half (id int);\n", "");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1_slow");
}

/// The system below answers for it, so no keepalive notices.
#[test]
fn what_stands_between_and_falls_silent_is_noticed() {
    for (cut, test) in [
        (Cut::SilentAnswer, "a_silent_answer"),
        (Cut::SilentRequest, "a_silent_request"),
    ] {
        let (db, folder) = slow(test, "0");
        folder.write(
            "m3_more",
            "create table more (id int);\n",
            "drop table more;\n",
        );
        let proxy = Proxy::with(&db, Duration::ZERO, Some((cut, b"commit\0")));
        let run = upgrade(&db, &folder, &[])
            .env("KINEDB_DATABASE_URL", proxy.url(&db))
            // A minute, else.
            .env("KINEDB_FAILPOINT", "silence=1000")
            .run()
            .ok();
        assert!(
            run.stderr
                .contains("the connection was lost; connecting again"),
            "{}",
            run.stderr
        );
        assert_eq!(
            db.value("select string_agg(name, ' ' order by id) from kinedb_history"),
            "m1_rooms m2_slow m3_more"
        );
    }
}

#[test]
fn outside_of_a_transaction_too() {
    let (db, folder) = slow("outside_of_a_transaction_too", "0");
    folder.write(
        "m2_slow",
        "-- kinedb: no-transaction\nvacuum rooms;\ncreate index concurrently by_id on rooms (id);\n",
        "drop index concurrently by_id;\n",
    );
    for text in [&b"vacuum rooms\0"[..], b"by_id on rooms (id)\0"] {
        let proxy = Proxy::with(&db, Duration::ZERO, Some((Cut::SilentAnswer, text)));
        let run = upgrade(&db, &folder, &[])
            .env("KINEDB_DATABASE_URL", proxy.url(&db))
            .env("KINEDB_FAILPOINT", "silence=1000")
            .run()
            .ok();
        assert!(
            run.stderr
                .contains("the connection was lost; connecting again"),
            "{}",
            run.stderr
        );
        downgrade(&db, &folder, "-1");
    }
}

/// Somebody pressed Ctrl-Z, or its machine was put to sleep.
#[test]
fn a_run_that_is_stopped_does_not_keep_its_locks() {
    let (db, folder) = slow("a_run_that_is_stopped", "0.5");
    let run = Running::start(upgrade(&db, &folder, &[]).env("KINEDB_FAILPOINT", "silence=1000"));
    wait_for_statement(&db, "%pg_sleep%");
    run.signal(rustix::process::Signal::STOP);
    let began = Instant::now();
    let held = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
    assert_ne!(db.value(held), "0");
    wait_until("its locks to be free", Duration::from_secs(10), || {
        db.value(held) == "0"
    });
    assert!(began.elapsed() > Duration::from_secs(1));
    // It goes on where it was, with a new session.
    run.signal(rustix::process::Signal::CONT);
    let ended = run.end().exits(0);
    assert!(
        ended
            .stderr
            .contains("the connection was lost; connecting again"),
        "{}",
        ended.stderr
    );
    assert_eq!(applied(&db), "m1_rooms m2_slow");
}
