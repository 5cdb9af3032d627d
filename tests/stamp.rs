//! `kinedb stamp`: adopt a database that was made by other means, after comparing.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{Run, TestDb, kinedb};
use insta::assert_snapshot;
use migrations::Migrations;

fn run(db: &TestDb, folder: &Migrations, args: &[&str]) -> Run {
    kinedb(args.iter().chain(&["--migrations", folder.arg()]))
        .on(db)
        .run()
}

fn applied(db: &TestDb) -> String {
    db.value("select coalesce(string_agg(version, ' ' order by version), '') from seaql_migrations")
}

/// Other tests of this server make scratch databases too: theirs go within seconds.
fn no_scratch_is_left(db: &TestDb) {
    let left = "select count(*) from pg_database where datname like 'kinedb\\_scratch\\_%'";
    let gone = (0..300).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        db.value(left) == "0"
    });
    assert!(gone, "a scratch database is left");
}

#[test]
fn a_database_made_by_hand_is_adopted_if_it_is_equal() {
    let (db, folder) = (TestDb::new("a_database_made_by_hand"), Migrations::three());
    db.sql(
        "create table rooms (id int primary key); create table beds (id int primary key, room int)",
    );
    let refused = run(&db, &folder, &["stamp", "beds"]);
    assert_snapshot!(refused.normal(), @r#"
    exit 12
    --- stderr
    database `a_database_made_by_hand` on `[server]/socket` as `postgres`
    error: nothing was stamped; the database differs from what the migrations make:
      constraint beds_room_fkey on table public.beds: removed `FOREIGN KEY (room) REFERENCES public.rooms(id)`
    Hint: bring the database in line, or accept the difference with `--force --reason TEXT`
    (refused, exit 12)
    "#);
    assert_eq!(db.value("select to_regclass('seaql_migrations')"), "");
    db.sql("alter table beds add foreign key (room) references rooms");
    assert_snapshot!(run(&db, &folder, &["stamp", "beds"]).normal(), @r#"
    exit 0
    --- stdout
    applied            m1_rooms
    applied            m2_beds
    --- stderr
    database `a_database_made_by_hand` on `[server]/socket` as `postgres`
    "#);
    assert_snapshot!(run(&db, &folder, &["stamp", "beds"]).normal(), @r#"
    exit 0
    --- stdout
    nothing to do: history says so already
    --- stderr
    database `a_database_made_by_hand` on `[server]/socket` as `postgres`
    "#);
    run(&db, &folder, &["upgrade"]).ok();
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
    no_scratch_is_left(&db);
}

#[test]
fn a_database_of_the_stock_tool_goes_on_without_a_stamp() {
    let (db, folder) = (TestDb::new("the_stock_tool_goes_on"), Migrations::three());
    db.sql("create table seaql_migrations (version varchar primary key, applied_at bigint not null); insert into seaql_migrations values ('m1_rooms', 0); create table rooms (id int primary key)");
    run(&db, &folder, &["upgrade"]).ok();
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
}

#[test]
fn a_difference_is_accepted_with_a_reason_only() {
    let (db, folder) = (TestDb::new("a_difference_is_accepted"), Migrations::three());
    run(&db, &folder, &["stamp", "head", "--force"]).exits(2);
    run(
        &db,
        &folder,
        &["stamp", "head", "--force", "--reason", "ticket 17"],
    )
    .ok();
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
    assert_eq!(
        db.value(
            "select string_agg(distinct direction || ' ' || reason, ', ') from kinedb_history"
        ),
        "stamp ticket 17"
    );
    // Back to an earlier one, and to nothing.
    assert_snapshot!(run(&db, &folder, &["stamp", "m1", "--force", "--reason", "ticket 18", "-q"]).normal(), @r#"
    exit 0
    --- stdout
    no longer applied  m2_beds
    no longer applied  m3_labels
    "#);
    assert_snapshot!(run(&db, &folder, &["stamp", "base", "-q"]).normal(), @r#"
    exit 0
    --- stdout
    no longer applied  m1_rooms
    "#);
    assert_eq!(applied(&db), "");
}

#[test]
fn a_user_who_may_not_make_databases_is_told() {
    let (db, folder) = (
        TestDb::new("a_user_who_may_not_make_databases"),
        Migrations::three(),
    );
    db.sql("create role small_hands login; grant create on schema public to small_hands");
    let refused = kinedb(["stamp", "head", "--migrations", folder.arg()])
        .on_as(&db, "small_hands")
        .run();
    assert_snapshot!(refused.normal(), @r#"
    exit 7
    --- stderr
    database `a_user_who_may_not_make_databases` on `[server]/socket` as `small_hands`
    error: cannot make a scratch database to compare with
    Hint: let this user make databases (`alter role <user> createdb`), or skip the comparison with `--force --reason TEXT`
    (privilege, exit 7)
    "#);
    db.sql("drop owned by small_hands; drop role small_hands");
}

#[test]
fn the_environment_is_said_once() {
    let (db, folder) = (
        TestDb::new("the_environment_is_said_once"),
        Migrations::three(),
    );
    assert_snapshot!(run(&db, &folder, &["stamp", "--environment", "development", "-q"]).normal(), @r#"
    exit 0
    --- stdout
    database the_environment_is_said_once is for development
    "#);
    assert_snapshot!(run(&db, &folder, &["stamp", "--environment", "production", "-q"]).normal(), @r#"
    exit 12
    --- stderr
    error: the database is marked as `development`, not as `production`
    Hint: see which database that is with `kinedb status`; a mark is never changed
    (not-development, exit 12)
    "#);
    assert_eq!(
        db.value("select environment from kinedb_environment"),
        "development"
    );
    assert_eq!(
        run(&db, &folder, &["stamp", "--environment", "laptop"]).status,
        2
    );
    assert_eq!(run(&db, &folder, &["stamp"]).status, 2);
    assert_eq!(run(&db, &folder, &["stamp", "+1"]).status, 2);
}

#[test]
fn no_role_of_the_server_is_dropped_by_comparing() {
    // Another deploy may just have made the role that a migration finds there.
    let (db, folder) = (TestDb::new("no_role_of_the_server"), Migrations::three());
    folder.write(
        "m4_role",
        "create role stamped_app;\ngrant select on rooms to stamped_app;\n",
        "drop owned by stamped_app;\ndrop role stamped_app;\n",
    );
    run(&db, &folder, &["stamp", "head"]).exits(12);
    assert_eq!(
        db.value("select count(*) from pg_roles where rolname = 'stamped_app'"),
        "1"
    );
    db.sql("drop role stamped_app");
}
