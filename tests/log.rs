//! What a pipeline reads: JSON lines, a log file; and no password on any path.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{TestDb, kinedb};
use migrations::Migrations;
use serde_json::Value;

const CANARY: &str = "c4n4ry-p4ssw0rd";

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn every_line_is_an_object() {
    let (db, folder) = (TestDb::new("every_line_is_an_object"), Migrations::three());
    folder.write("m3_labels", "alter table roms add column x int;\n", "");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let run = kinedb([
        "upgrade",
        "--gate",
        "off",
        "--log-format",
        "json",
        "--log-file",
        path,
        "--migrations",
        folder.arg(),
    ])
    .on(&db)
    .run()
    .exits(13);
    let told = lines(&run.stderr);
    let events: Vec<&str> = told
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["message", "migration", "migration", "error"]);
    let (done, error) = (&told[1], &told[3]);
    assert_eq!(
        (&done["migration"], &done["level"]),
        (&"m1_rooms".into(), &"info".into())
    );
    assert_eq!(
        done["run_id"],
        db.value("select run_id from kinedb_history limit 1")
    );
    assert!(
        done["duration_ms"].is_u64() && done["ts"].as_str().unwrap().ends_with('Z'),
        "{done}"
    );
    assert_eq!(
        (&error["code"], &error["exit_code"]),
        (&"migration-failed".into(), &13.into())
    );
    assert_eq!(lines(&std::fs::read_to_string(path).unwrap()), told);
}

#[test]
fn a_log_file_gets_all_when_stderr_gets_nothing() {
    let (db, folder) = (TestDb::new("a_log_file_gets_all"), Migrations::three());
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let run = kinedb([
        "upgrade",
        "-q",
        "--gate",
        "off",
        "--log-file",
        path,
        "--migrations",
        folder.arg(),
    ])
    .on(&db)
    .run()
    .ok();
    assert_eq!(run.stderr, "");
    assert_eq!(lines(&std::fs::read_to_string(path).unwrap()).len(), 4);
    kinedb(["status", "--log-file", "/nowhere/log"])
        .on(&db)
        .run()
        .exits(2);
}

#[test]
fn no_password_on_any_path() {
    let db = TestDb::new("no_password_on_any_path");
    let folder = Migrations::three();
    let with_password = db
        .url()
        .replace("postgres@", &format!("postgres:{CANARY}@"));
    let broken = [
        format!("postgres://kine:{CANARY}@127.0.0.1:1/clinic"),
        format!("postgres://kine:{CANARY}@no-such-host.invalid/clinic"),
        format!("postgres://kine:{CANARY}@host:port/db"),
        format!("postgres://kine:{CANARY}@host/db?unknown={CANARY}"),
        format!(
            "postgres://kine:{CANARY}@host/db?sslrootcert=/nowhere/{}",
            "ca.pem"
        ),
        with_password.replace(db.name(), "no_such_database"),
        with_password.clone(),
    ];
    let log = tempfile::NamedTempFile::new().unwrap();
    let log_file = log.path().to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["upgrade", "--check"],
        &["upgrade", "--sql"],
        &["upgrade"],
        &["downgrade", "base"],
        &["status"],
        &["history", "-v"],
        &["stamp", "head"],
        &["repair", "--reason", "none"],
        &["seed"],
        &["verify-rls"],
        &["show", "rooms"],
    ];
    for url in &broken {
        for command in commands {
            for format in ["table", "json"] {
                let args = [
                    "--format",
                    format,
                    "--log-file",
                    log_file,
                    "--migrations",
                    folder.arg(),
                ];
                let run = kinedb(command.iter().chain(&args))
                    .env("DATABASE_URL", url)
                    .env("RUST_BACKTRACE", "1")
                    .env("RUST_LOG", "trace")
                    .run();
                let told = format!("{}{}", run.stdout, run.stderr);
                assert!(!told.contains(CANARY), "{command:?} {told}");
            }
        }
    }
    assert!(!std::fs::read_to_string(log_file).unwrap().contains(CANARY));
}
