//! Network round trips, counted: exact on any machine.

use std::time::Duration;

use crate::common::TestDb;
use crate::migrations::Migrations;
use crate::tools::Proxy;
use crate::upgrade;

/// Asking for TLS, starting the session.
const CONNECT: usize = 2;

#[test]
fn nothing_to_do_is_one_question() {
    let (db, folder) = (
        TestDb::new("nothing_to_do_is_one_question"),
        Migrations::three(),
    );
    upgrade(&db, &folder, &[]).run().ok();
    let proxy = Proxy::new(&db);
    upgrade(&db, &folder, &[])
        .env("KINEDB_DATABASE_URL", proxy.url(&db))
        .run()
        .ok();
    assert_eq!(proxy.trips(), CONNECT + 1);
}

#[test]
fn a_migration_is_two_messages() {
    let trips = |count: usize| {
        let (db, folder) = (TestDb::new(&format!("trips_{count}")), Migrations::three());
        upgrade(&db, &folder, &["+1"]).run().ok();
        for number in 0..count {
            let up = format!(
                "create table t{number} (id int);\nalter table t{number} add column x int;\n"
            );
            folder.write(&format!("m4_{number:02}"), &up, "");
        }
        let proxy = Proxy::new(&db);
        upgrade(&db, &folder, &[])
            .env("KINEDB_DATABASE_URL", proxy.url(&db))
            .run()
            .ok();
        proxy.trips()
    };
    let (few, many) = (trips(1), trips(11));
    assert_eq!(many - few, 10 * 2);
    // State, surroundings, is it a pooler, lock, state again; open the first; two
    // migrations of the folder and one more, each with the COMMIT that opens the next.
    assert_eq!(few, CONNECT + 5 + 1 + 3 * 2);
}

#[test]
fn a_slow_network_costs_its_round_trips_and_no_more() {
    let (db, folder) = (TestDb::new("a_slow_network"), Migrations::three());
    upgrade(&db, &folder, &[]).run().ok();
    let proxy = Proxy::with(&db, Duration::from_millis(50), None);
    let began = std::time::Instant::now();
    upgrade(&db, &folder, &[])
        .env("KINEDB_DATABASE_URL", proxy.url(&db))
        .run()
        .ok();
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_commit_that_is_refused_opens_nothing() {
    let db = TestDb::new("a_commit_that_is_refused");
    let folder = Migrations::of(&[
        ("m1_rooms", "create table rooms (id int primary key);\n", ""),
        (
            "m2_orphan",
            "create table beds (room int references rooms deferrable initially deferred);\n\
             insert into beds values (7);\n",
            "",
        ),
        ("m3_more", "create table more (id int);\n", ""),
    ]);
    let run = upgrade(&db, &folder, &[]).run().exits(13);
    assert!(run.stderr.contains("m2_orphan"), "{}", run.stderr);
    assert_eq!(
        db.value("select string_agg(version, ' ') from seaql_migrations"),
        "m1_rooms"
    );
    assert_eq!(db.value("select to_regclass('beds')"), "");
    assert_eq!(db.value("select to_regclass('more')"), "");
}

#[test]
fn a_commit_that_is_tried_again_prepared_nothing() {
    let db = TestDb::new("a_commit_that_is_tried_again");
    let folder = Migrations::of(&[("m1_rooms", "create table rooms (id int);\n", "")]);
    upgrade(&db, &folder, &[]).run().ok();
    // The first COMMIT does not get a lock; a sequence outlives the rollback.
    db.sql(
        "create sequence attempts; \
         create function fail_once() returns trigger language plpgsql as $$ begin \
         if nextval('attempts') = 1 then raise exception 'once' using errcode = '55P03'; end if; \
         return null; end $$; \
         create constraint trigger fail_once after insert on rooms deferrable initially deferred \
         for each row execute function fail_once()",
    );
    folder.write("m2_row", "insert into rooms values (1);\n", "");
    folder.write("m3_more", "create table more (id int);\n", "");
    folder.write("m4_most", "create table most (id int);\n", "");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(db.value("select last_value from attempts"), "2");
    assert_eq!(db.value("select count(*) from seaql_migrations"), "4");
    assert_eq!(
        db.value("select string_agg(name, ' ' order by id) from kinedb_history"),
        "m1_rooms m2_row m3_more m4_most"
    );
}

#[test]
fn a_migration_may_forget_what_the_session_prepared() {
    let db = TestDb::new("a_migration_may_forget");
    let folder = Migrations::of(&[
        ("m1_rooms", "create table rooms (id int);\n", ""),
        ("m2_beds", "create table beds (id int);\n", ""),
        (
            "m3_forgets",
            "deallocate all;\ncreate table more (id int);\n",
            "",
        ),
        (
            "m4_elsewhere",
            "create schema elsewhere;\nset search_path = elsewhere;\n\
             create table public.last (id int);\n",
            "",
        ),
        ("m5_end", "create table ends (id int);\n", ""),
    ]);
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(db.value("select count(*) from seaql_migrations"), "5");
    assert_eq!(
        db.value("select count(distinct name) from kinedb_history where outcome = 'done'"),
        "5"
    );
    assert_eq!(db.value("select to_regclass('public.ends')"), "ends");
}
