//! SIGINT and SIGTERM in every phase: rolled back, told, and never a later commit.

use std::process::{Command, Stdio};
use std::time::Duration;

use kinedb::migrate::cancel::ignores_hangup;
use rustix::process::Signal;

use crate::common::{Kinedb, TestDb, kinedb};
use crate::migrations::Migrations;
use crate::tools::{Running, Session, wait_for_no_session, wait_for_statement, wait_until};
use crate::{applied, downgrade, slow, upgrade};

fn ends(run: Running, signal: Signal) {
    run.signal(signal);
    let ended = run.end();
    let code = 128 + signal.as_raw();
    let ended = ended.exits(code);
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    assert!(
        ended
            .stderr
            .contains("interrupted; what was running is rolled back"),
        "{}",
        ended.stderr
    );
}

#[test]
fn while_a_statement_runs() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        if signal == Signal::HUP && ignores_hangup() {
            continue;
        }
        let (db, folder) = slow(&format!("while_a_statement_runs_{}", signal.as_raw()), "30");
        let run = Running::start(upgrade(&db, &folder, &[]));
        wait_for_statement(&db, "%pg_sleep%");
        ends(run, signal);
        assert!(wait_for_no_session(&db) < Duration::from_millis(500));
        assert_eq!(
            (
                applied(&db).as_str(),
                db.value("select to_regclass('half')").as_str()
            ),
            ("m1_rooms", "")
        );
    }
}

#[test]
fn while_the_server_does_not_answer() {
    let (db, folder) = slow("while_the_server_does_not_answer", "30");
    let run = Running::start(upgrade(&db, &folder, &[]));
    wait_for_statement(&db, "%pg_sleep%");
    let backend = db.value("select pid from pg_stat_activity where datname = current_database() and application_name = 'kinedb upgrade'");
    let backend = rustix::process::Pid::from_raw(backend.parse().unwrap()).unwrap();
    // It hears of no cancellation.
    rustix::process::kill_process(backend, Signal::STOP).unwrap();
    run.signal(Signal::TERM);
    let ended = run.end();
    rustix::process::kill_process(backend, Signal::CONT).unwrap();
    let ended = ended.exits(143);
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    wait_for_no_session(&db);
    assert_eq!(
        (
            applied(&db).as_str(),
            db.value("select to_regclass('half')").as_str()
        ),
        ("m1_rooms", "")
    );
}

#[test]
fn between_two_migrations_and_before_a_commit() {
    for place in ["after-commit", "before-commit"] {
        let (db, folder) = slow(&format!("between_{place}"), "0");
        folder.write(
            "m3_more",
            "create table more (id int);\n",
            "drop table more;\n",
        );
        let run = Running::start(
            upgrade(&db, &folder, &[]).env("KINEDB_FAILPOINT", format!("{place}=700")),
        );
        wait_until("the place", Duration::from_secs(10), || {
            match place {
            "after-commit" => applied(&db) == "m1_rooms m2_slow",
            _ => db.value("select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction' and query like '%kinedb_history%'") != "0",
        }
        });
        run.signal(Signal::TERM);
        run.end().exits(143);
        wait_for_no_session(&db);
        assert_eq!(
            applied(&db),
            if place == "after-commit" {
                "m1_rooms m2_slow"
            } else {
                "m1_rooms"
            }
        );
        assert_eq!(db.value("select to_regclass('more')"), "");
    }
}

#[test]
fn while_it_waits_for_the_lock_of_another_run() {
    for signal in [Signal::TERM, Signal::INT] {
        let (db, folder) = slow(&format!("while_it_waits_{}", signal.as_raw()), "0");
        let mut holder = Session::named(&db, "other-run");
        holder.sql("select pg_advisory_lock(118100567876706)");
        let run = Running::start(upgrade(&db, &folder, &[]));
        wait_until("the run to wait", Duration::from_secs(10), || {
            db.value("select count(*) from pg_stat_activity where datname = current_database() and application_name = 'kinedb upgrade' and query like '%advisory%'") != "0"
        });
        ends(run, signal);
        assert_eq!(applied(&db), "m1_rooms");
    }
}

#[test]
fn while_it_waits_for_a_table() {
    let (db, folder) = slow("while_it_waits_for_a_table", "0");
    folder.write("m2_slow", "alter table rooms add column label text;\n", "");
    let mut reader = Session::named(&db, "report");
    reader.sql("begin; select count(*) from rooms");
    let run = Running::start(upgrade(&db, &folder, &[]));
    std::thread::sleep(Duration::from_millis(700));
    ends(run, Signal::TERM);
    reader.sql("commit");
    assert_eq!(applied(&db), "m1_rooms");
}

#[test]
fn while_an_index_is_built() {
    let (db, folder) = slow("while_an_index_is_built", "0");
    folder.write(
        "m2_slow",
        "-- kinedb: no-transaction\ncreate index concurrently rooms_by_id on rooms (id);\n",
        "",
    );
    let mut writer = Session::named(&db, "web");
    writer.sql("begin; insert into rooms values (1)");
    let run = Running::start(upgrade(&db, &folder, &[]));
    wait_for_statement(&db, "create index%");
    ends(run, Signal::TERM);
    writer.sql("commit");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1_rooms m2_slow");
    assert_eq!(
        db.value("select count(*) from pg_index where not indisvalid"),
        "0"
    );
}

#[test]
fn a_run_that_is_to_outlive_its_terminal_does() {
    let (db, folder) = slow("a_run_that_is_to_outlive", "0.5");
    let run = upgrade(&db, &folder, &[]).command();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    shell.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let run = Running::spawn(&mut shell);
    wait_for_statement(&db, "%pg_sleep%");
    run.signal(Signal::HUP);
    run.end().exits(0);
    assert_eq!(applied(&db), "m1_rooms m2_slow");
}

#[test]
fn when_its_terminal_is_closed() {
    let (db, folder) = slow("when_its_terminal_is_closed", "30");
    let log = folder.path().join("log");
    let more = ["--log-file", log.to_str().unwrap()];
    let Some(mut command) = on_a_terminal(upgrade(&db, &folder, &more)) else {
        return;
    };
    let terminal = Running::spawn(&mut command);
    wait_for_statement(&db, "%pg_sleep%");
    terminal.signal(Signal::KILL);
    terminal.end().exits(137);
    assert!(wait_for_no_session(&db) < Duration::from_secs(2));
    wait_until("the last line", Duration::from_secs(5), || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("\"exit_code\":129"))
    });
    assert_eq!(
        (
            applied(&db).as_str(),
            db.value("select to_regclass('half')").as_str()
        ),
        ("m1_rooms", "")
    );
}

/// `kinedb` with a terminal, as `script` gives one.
fn on_a_terminal(command: Kinedb) -> Option<Command> {
    let command = command.command();
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no `script` of util-linux here");
        return None;
    }
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line = format!("{line} '{}'", arg.to_string_lossy());
    }
    let mut script = Command::new("script");
    // The terminal's settings afterwards are part of what is printed.
    script.args([
        "-qec",
        &format!("{line}; code=$?; stty -a | tr ';' '\\n' | grep -E 'icanon|echo '; exit $code"),
        "/dev/null",
    ]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script.stdin(Stdio::piped());
    Some(script)
}

#[test]
fn at_a_prompt_with_the_terminal_as_it_was() {
    let (db, folder) = (TestDb::new("at_a_prompt"), Migrations::three());
    upgrade(&db, &folder, &[]).run().ok();
    db.sql("insert into rooms values (1)");
    let downgrade = || {
        kinedb([
            "downgrade",
            "base",
            "--gate",
            "off",
            "--migrations",
            folder.arg(),
        ])
        .on(&db)
    };
    let Some(mut command) = on_a_terminal(downgrade()) else {
        return;
    };
    let run = Running::spawn(&mut command);
    let prompting = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'kinedb downgrade' and query = 'rollback' and state = 'idle'";
    wait_until("the prompt", Duration::from_secs(10), || {
        db.value(prompting) != "0"
    });
    std::thread::sleep(Duration::from_millis(100));
    let pid = child_named_kinedb(folder.arg());
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM)
        .unwrap();
    let ended = run.end();
    assert_eq!(ended.status, 143, "{ended:#?}");
    assert!(
        ended.stdout.contains("Type the name of the database"),
        "{ended:#?}"
    );
    assert!(
        !ended.stdout.contains("-icanon") && !ended.stdout.contains("-echo "),
        "{}",
        ended.stdout
    );
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
}

/// The process whose command line names this folder and is no shell.
fn child_named_kinedb(folder: &str) -> i32 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(folder)
            && line
                .split('\0')
                .next()
                .is_some_and(|program| program.ends_with("/kinedb"))
    })
    .expect("kinedb at its prompt")
}

fn many_signals(rounds: u32) {
    let (db, folder) = slow("many_signals", "0");
    folder.remove("m2_slow");
    for number in 0..6 {
        folder.write(
            &format!("m2_{number}"),
            &format!("create table t{number} (id int); select pg_sleep(0.02);\n"),
            &format!("drop table t{number};\n"),
        );
    }
    let mut interrupted = 0;
    for round in 0..rounds {
        let run = Running::start(upgrade(&db, &folder, &[]));
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 240)));
        run.signal(Signal::TERM);
        let ended = run.end();
        assert!(ended.status == 143 || ended.status == 0, "{ended:#?}");
        interrupted += u32::from(ended.status == 143);
        let at_exit = applied(&db);
        let tables = "select count(*) from pg_class where relname ~ '^t[0-9]$'";
        let made = db.value(tables);
        assert_eq!(
            made.parse::<usize>().unwrap(),
            at_exit.split(' ').count() - 1,
            "round {round}"
        );
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(
            (applied(&db), db.value(tables)),
            (at_exit, made),
            "a late commit in round {round}"
        );
        wait_for_no_session(&db);
        downgrade(&db, &folder, "m1_rooms");
    }
    assert!(
        interrupted > rounds / 4,
        "only {interrupted} of {rounds} runs were interrupted"
    );
}

#[test]
fn no_commit_comes_after_the_exit() {
    many_signals(10);
}

#[test]
#[ignore = "soak"]
fn soak_a_hundred_signals_no_late_commit() {
    many_signals(100);
}
