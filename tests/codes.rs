//! Every error code is produced by a test, with its name on stderr and its exit code.
//! Most stand in the tests of what they belong to; the others here.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::{Run, TestDb, kinedb};
use kinedb::fault::Code;
use migrations::Migrations;

/// It ended with this code, by name and by number.
fn ends(run: Run, code: Code) {
    let told = format!("({}, exit {})", code.name(), code.exit().code());
    let run = run.exits(code.exit().code().into());
    assert!(run.stderr.contains(&told), "no {told} in:\n{}", run.stderr);
    assert!(
        run.stderr.contains("Hint: "),
        "what to type is not told:\n{}",
        run.stderr
    );
}

#[test]
fn each_code_is_produced_by_a_test() {
    let mut sources = String::new();
    collect(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")),
        &mut sources,
    );
    for code in Code::ALL {
        // A bug has no test that produces it; the other names are asserted on, or the variant is.
        if *code != Code::Internal {
            assert!(
                sources.contains(&format!("({}, exit ", code.name()))
                    || sources.contains(&format!("Code::{code:?}")),
                "no test produces `{}`",
                code.name()
            );
        }
    }
}

fn collect(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            sources.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn usage_and_targets() {
    ends(kinedb(["status"]).run(), Code::NoTarget);
    ends(kinedb(["status", "-u", "mysql://x"]).run(), Code::BadUrl);
    ends(
        kinedb(["verify-rls", "--explain", "nope"]).run(),
        Code::Usage,
    );
}

/// A file that is gone from under the server is no bug of kinedb.
#[test]
fn a_server_that_fails() {
    let server = common::TestServer::own();
    let db = server.database("a_server_that_fails");
    let folder = Migrations::three();
    let args = ["upgrade", "--gate", "off", "--migrations", folder.arg()];
    kinedb(args).on(&db).run().ok();
    let file = db.value("select pg_relation_filepath('kinedb_history')");
    std::fs::remove_file(server.dev().folder().join("data").join(file)).unwrap();
    let run = kinedb(["history", "--migrations", folder.arg()])
        .on(&db)
        .run();
    assert!(!run.stderr.contains("at line"), "{}", run.stderr);
    ends(run, Code::ServerFailed);
}

#[test]
fn a_configuration_with_an_unknown_key() {
    let db = TestDb::new("a_configuration_with_an_unknown_key");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("kinedb.toml"),
        "[isolation]\ntenant_colums = [\"tenant_id\"]\n",
    )
    .unwrap();
    let run = kinedb(["verify-rls"]).on(&db).within(folder.path()).run();
    ends(run, Code::BadConfig);
}

#[test]
fn revisions_that_are_unknown_or_not_one() {
    let db = TestDb::new("revisions_that_are_unknown_or_not_one");
    let folder = Migrations::three();
    let upgrade = |to| {
        kinedb(["upgrade", to, "--migrations", folder.arg()])
            .on(&db)
            .run()
    };
    ends(upgrade("nothing"), Code::UnknownRevision);
    ends(upgrade("m"), Code::AmbiguousRevision);
}

#[test]
fn a_leak_in_the_database_and_one_in_a_migration() {
    let db = TestDb::migrated("a_leak_in_the_database_and_one_in_a_migration");
    let folder = Migrations::of(&[]);
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migration/src"))
        .unwrap()
        .flatten()
    {
        if file.path().extension().is_some_and(|ext| ext == "sql") {
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    folder.write(
        "m29990101_000000_open",
        "create policy everybody on public.patients using (true);\n",
        "",
    );
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/isolation.toml");
    let run = kinedb([
        "upgrade",
        "--config",
        policies,
        "--migrations",
        folder.arg(),
    ])
    .on(&db)
    .run();
    ends(run, Code::GateRefused);
    db.sql("create policy everybody on public.patients using (true)");
    let run = kinedb(["verify-rls"]).on(&db).run().exits(4);
    assert!(run.stdout.contains("everybody"), "{}", run.stdout);
    let seeded = TestDb::new("a_leak_that_a_seed_meets");
    kinedb(["seed", "--dev"]).on(&seeded).run().ok();
    seeded.sql("create policy everybody on public.patients using (true)");
    let run = kinedb(["seed", "--dev", "--scale", "1"]).on(&seeded).run();
    ends(run, Code::NotIsolated);
}

#[test]
fn a_table_that_stays_locked() {
    let db = TestDb::new("a_table_that_stays_locked");
    let folder = Migrations::three();
    let upgrade = |more: &[&str]| {
        let args = ["upgrade", "--gate", "off", "--migrations", folder.arg()];
        kinedb(args.iter().chain(more)).on(&db).run()
    };
    upgrade(&["+1"]).ok();
    let url = db.url();
    let holder = common::block_on(async {
        let mut holder = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
            .await
            .unwrap();
        sqlx::raw_sql("begin; select * from rooms for update; lock rooms in share mode")
            .execute(&mut holder)
            .await
            .unwrap();
        holder
    });
    ends(upgrade(&["--lock-budget", "300ms"]), Code::BudgetSpent);
    drop(holder);
}

/// Passes everything on, and makes the server's version an older one of the same length.
fn says_it_is_old(db: &TestDb) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = db.server().dev().socket_folder().join(".s.PGSQL.5432");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = UnixStream::connect(&socket).unwrap();
            let (mut asks, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut asks, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || age(server, client));
        }
    });
    format!("postgres://postgres@127.0.0.1:{port}/{}", db.name())
}

fn age(mut server: UnixStream, mut client: TcpStream) {
    // A value of six bytes that begins like the number of a version: 15 to 19.
    let is_number =
        |part: &[u8]| part[..5] == *b"\0\0\0\x061" && part[5..].iter().all(u8::is_ascii_digit);
    let mut buffer = [0; 65_536];
    while let Ok(size @ 1..) = server.read(&mut buffer) {
        let part = &mut buffer[..size];
        if let Some(at) = part.windows(10).position(is_number) {
            part[at + 4..at + 6].copy_from_slice(b"14");
        }
        if client.write_all(part).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn a_server_that_is_too_old() {
    let db = TestDb::new("a_server_that_is_too_old");
    let folder = Migrations::three();
    let run = kinedb(["upgrade", "--gate", "off", "--migrations", folder.arg()])
        .env("KINEDB_DATABASE_URL", says_it_is_old(&db))
        .run();
    ends(run, Code::ServerTooOld);
    assert_eq!(db.value("select to_regclass('rooms')"), "");
}

#[test]
fn a_run_that_is_told_to_end() {
    for (signal, code) in [
        (rustix::process::Signal::TERM, Code::Terminated),
        (rustix::process::Signal::INT, Code::Interrupted),
        (rustix::process::Signal::HUP, Code::HungUp),
    ] {
        if signal == rustix::process::Signal::HUP && kinedb::migrate::cancel::ignores_hangup() {
            continue;
        }
        let db = TestDb::new(&format!("a_run_that_is_told_to_end_{}", code.name()));
        let folder = Migrations::of(&[("m1_slow", "select pg_sleep(30);\n", "")]);
        let mut command = kinedb(["upgrade", "--gate", "off", "--migrations", folder.arg()])
            .on(&db)
            .command();
        let child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let sleeping = "select count(*) from pg_stat_activity where datname = current_database() and query like '%pg_sleep(30)%' and pid <> pg_backend_pid()";
        let begun = std::time::Instant::now();
        while db.value(sleeping) == "0" {
            assert!(begun.elapsed().as_secs() < 30, "it never began");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code.exit().code().into()));
        let told = format!("({}, exit {})", code.name(), code.exit().code());
        assert!(stderr.contains(&told), "{stderr}");
    }
}
