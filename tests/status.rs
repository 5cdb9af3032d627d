//! `kinedb status`: always an answer, never a change.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{Run, TestDb, kinedb};
use insta::assert_snapshot;
use migrations::Migrations;

fn status(db: &TestDb, folder: &Migrations, more: &[&str]) -> Run {
    let args = ["status", "--migrations", folder.arg()];
    let mut run = kinedb(args.iter().chain(more)).on(db).run();
    // The server's version differs from machine to machine.
    let version = db.value("show server_version_num").parse::<u32>().unwrap();
    let human = format!("PostgreSQL {}.{}", version / 10_000, version % 10_000);
    run.stdout = run
        .stdout
        .replace(&human, "PostgreSQL [version]")
        .replace(&version.to_string(), "[version]");
    run
}

#[test]
fn from_empty_to_head() {
    let (db, folder) = (TestDb::new("from_empty_to_head"), Migrations::three());
    assert_snapshot!(status(&db, &folder, &[]).normal(), @r#"
    exit 0
    --- stdout
    database   from_empty_to_head (PostgreSQL [version])
    revision   base
    applied    0 of 3
    pending    m1_rooms
    pending    m2_beds
    pending    m3_labels
    --- stderr
    database `from_empty_to_head` on `[server]/socket` as `postgres`
    "#);
    kinedb(["upgrade", "+2", "--migrations", folder.arg()])
        .on(&db)
        .run()
        .ok();
    assert_snapshot!(status(&db, &folder, &["-q"]).normal(), @r#"
    exit 0
    --- stdout
    database   from_empty_to_head (PostgreSQL [version])
    revision   m2_beds
    applied    2 of 3
    pending    m3_labels
    "#);
    assert_snapshot!(status(&db, &folder, &["--format", "json", "-q"]).normal(), @r#"
    exit 0
    --- stdout
    {
      "database": "from_empty_to_head",
      "server_version": [version],
      "standby": false,
      "revision": "m2_beds",
      "applied": 2,
      "pending": [
        "m3_labels"
      ],
      "unfinished": [],
      "problems": []
    }
    "#);
}

#[test]
fn what_does_not_fit_is_shown_and_no_failure() {
    let (db, folder) = (
        TestDb::new("what_does_not_fit_is_shown"),
        Migrations::three(),
    );
    kinedb(["upgrade", "--migrations", folder.arg()])
        .on(&db)
        .run()
        .ok();
    folder.write("m1_rooms", "create table rooms (id bigint);\n", "");
    folder.write("m2_chairs", "create table chairs ();\n", "");
    folder.remove("m2_beds");
    assert_snapshot!(status(&db, &folder, &["-q"]).normal(), @r#"
    exit 0
    --- stdout
    database   what_does_not_fit_is_shown (PostgreSQL [version])
    revision   m3_labels
    applied    2 of 3
    pending    m2_chairs
    problem    the database has revision `m2_beds`, which this program does not know
    problem    `m1_rooms` was edited after it was applied: `m1_rooms.up.sql` has checksum 7631dcb57a9f, history has 3741acf7dc6f
    problem    `m2_chairs` is pending but older than `m3_labels`, which is applied
    "#);
}

#[test]
fn a_database_of_the_stock_tool_is_understood() {
    let (db, folder) = (
        TestDb::new("a_database_of_the_stock_tool"),
        Migrations::three(),
    );
    db.sql("create table seaql_migrations (version varchar primary key, applied_at bigint not null); insert into seaql_migrations values ('m1_rooms', 0)");
    assert_snapshot!(status(&db, &folder, &["-q"]).normal(), @r#"
    exit 0
    --- stdout
    database   a_database_of_the_stock_tool (PostgreSQL [version])
    revision   m1_rooms
    applied    1 of 3
    pending    m2_beds
    pending    m3_labels
    "#);
    assert_eq!(db.value("select to_regclass('kinedb_history')"), "");
}

#[test]
fn a_user_who_may_only_read_is_enough() {
    let (db, folder) = (TestDb::new("a_user_who_may_only_read"), Migrations::three());
    kinedb(["upgrade", "--migrations", folder.arg()])
        .on(&db)
        .run()
        .ok();
    db.sql("create role reader login; grant select on seaql_migrations, kinedb_history to reader");
    kinedb(["status", "--migrations", folder.arg()])
        .on_as(&db, "reader")
        .run()
        .ok();
    kinedb(["history", "--migrations", folder.arg()])
        .on_as(&db, "reader")
        .run()
        .ok();
    kinedb(["upgrade", "--migrations", folder.arg()])
        .on_as(&db, "reader")
        .run()
        .ok();
    db.sql("revoke select on kinedb_history from reader");
    let run = kinedb(["status", "--migrations", folder.arg()])
        .on_as(&db, "reader")
        .run();
    assert_snapshot!(run.normal(), @r#"
    exit 7
    --- stderr
    database `a_user_who_may_only_read` on `[server]/socket` as `reader`
    error: cannot read the migration history: permission denied for table kinedb_history (SQLSTATE 42501)
    Hint: grant select on seaql_migrations and kinedb_history to this user, or use the migrator's login
    (privilege, exit 7)
    "#);
    db.sql("drop owned by reader; drop role reader");
}
