//! `kinedb repair`: an edit is accepted if it is harmless, and recorded.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{Run, TestDb, kinedb, normal};
use insta::assert_snapshot;
use migrations::Migrations;

fn run(db: &TestDb, folder: &Migrations, args: &[&str]) -> Run {
    kinedb(args.iter().chain(&["--migrations", folder.arg()]))
        .on(db)
        .run()
}

#[test]
fn a_harmless_edit_is_accepted_and_recorded() {
    let (db, folder) = (TestDb::new("a_harmless_edit"), Migrations::three());
    run(&db, &folder, &["upgrade"]).ok();
    assert_snapshot!(run(&db, &folder, &["repair", "--reason", "none"]).normal(), @r#"
    exit 0
    --- stdout
    nothing to do: no applied migration was edited
    --- stderr
    database `a_harmless_edit` on `[server]/socket` as `postgres`
    "#);
    folder.write(
        "m1_rooms",
        "create table public.rooms (id integer, primary key (id));\n",
        "",
    );
    run(&db, &folder, &["upgrade"]).exits(8);
    run(&db, &folder, &["repair"]).exits(2);
    assert_snapshot!(run(&db, &folder, &["repair", "rooms", "--reason", "spelled out"]).normal(), @r#"
    exit 0
    --- stdout
    accepted m1_rooms
    --- stderr
    database `a_harmless_edit` on `[server]/socket` as `postgres`
    "#);
    run(&db, &folder, &["upgrade"]).ok();
    let history = run(&db, &folder, &["history", "-v"]).ok();
    let repair = history
        .stdout
        .lines()
        .find(|line| line.contains("repair"))
        .unwrap();
    assert!(repair.ends_with("spelled out"), "{}", normal(repair));
    // The record stays, and the next edit is seen again.
    folder.write(
        "m1_rooms",
        "create table rooms (id int primary key, size int);\n",
        "",
    );
    run(&db, &folder, &["upgrade"]).exits(8);
}

#[test]
fn an_edit_that_makes_something_else_is_refused() {
    let (db, folder) = (
        TestDb::new("an_edit_that_makes_something_else"),
        Migrations::three(),
    );
    run(&db, &folder, &["upgrade"]).ok();
    folder.write(
        "m2_beds",
        "create table beds (id int primary key, room int not null references rooms);\n",
        "",
    );
    assert_snapshot!(run(&db, &folder, &["repair", "--reason", "looks fine"]).normal(), @r#"
    exit 12
    --- stderr
    database `an_edit_that_makes_something_else` on `[server]/socket` as `postgres`
    error: the edit is not harmless; the database differs from what the migrations make:
      column public.beds.room: not null: removed `yes`
    Hint: bring the database in line, or accept the difference with `--force --reason TEXT`
    (refused, exit 12)
    "#);
    run(&db, &folder, &["upgrade"]).exits(8);
    run(
        &db,
        &folder,
        &[
            "repair",
            "--force",
            "--reason",
            "the column was altered by hand",
        ],
    )
    .ok();
    run(&db, &folder, &["upgrade"]).ok();
}
