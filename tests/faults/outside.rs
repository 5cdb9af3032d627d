//! Migrations outside a transaction: killed, failed, blocked, edited, resumed.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::{TestDb, kinedb, normal};
use crate::migrations::Migrations;
use crate::tools::{Running, Session, wait_for_no_session, wait_for_statement, wait_until};
use crate::{applied, downgrade, upgrade};

const INDEX: &str =
    "-- kinedb: no-transaction\ncreate index concurrently beds_by_room on beds (room);\n";

/// `beds` with rows; `m2_index` is pending.
fn with_beds(test: &str, up: &str) -> (TestDb, Migrations) {
    let db = TestDb::new(test);
    let folder = Migrations::of(&[(
        "m1_beds",
        "create table beds (id int, room int);\n",
        "drop table beds;\n",
    )]);
    upgrade(&db, &folder, &[]).run().ok();
    db.sql("insert into beds select i, i % 7 from generate_series(1, 1000) i");
    folder.write(
        "m2_index",
        up,
        "-- kinedb: no-transaction\ndrop index concurrently beds_by_room;\n",
    );
    (db, folder)
}

fn index(db: &TestDb) -> String {
    db.value("select coalesce(string_agg(c.relname || case when x.indisvalid then ' valid' else ' invalid' end, ', ' order by c.relname), 'none') from pg_index x join pg_class c on c.oid = x.indexrelid where x.indrelid = 'beds'::regclass")
}

fn steps(db: &TestDb) -> String {
    db.value("select string_agg(name || ' ' || outcome || coalesce(' ' || step, ''), ', ' order by id) from kinedb_history where name = 'm2_index'")
}

#[test]
fn an_index_is_built_and_taken_back_without_a_transaction() {
    let (db, folder) = with_beds("an_index_is_built", INDEX);
    let run = upgrade(&db, &folder, &[]).run().ok();
    assert!(
        run.stderr.contains("m2_index: statement 1 of 1"),
        "{}",
        run.stderr
    );
    assert_eq!(index(&db), "beds_by_room valid");
    assert_eq!(
        steps(&db),
        "m2_index started 0, m2_index started 1, m2_index done"
    );
    downgrade(&db, &folder, "-1");
    assert_eq!(index(&db), "none");
    assert_eq!(applied(&db), "m1_beds");
}

#[test]
fn it_is_part_of_no_single_transaction() {
    let (db, folder) = with_beds("it_is_part_of_no_single_transaction", INDEX);
    for flag in ["--dry-run", "--single-transaction"] {
        let run = upgrade(&db, &folder, &[flag]).run().exits(2);
        assert!(
            run.stderr.contains("runs outside a transaction"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_kill_between_a_step_and_its_record_is_resumed() {
    for place in ["before-step-record", "before-done-record"] {
        let (db, folder) = with_beds(&format!("a_kill_{place}"), INDEX);
        upgrade(&db, &folder, &[])
            .env("KINEDB_FAILPOINT", format!("{place}=kill"))
            .run()
            .exits(137);
        assert_eq!(
            (index(&db).as_str(), applied(&db).as_str()),
            ("beds_by_room valid", "m1_beds")
        );
        let status = kinedb(["status", "-q", "--migrations", folder.arg()])
            .on(&db)
            .run()
            .ok();
        assert!(
            status.stdout.contains("unfinished m2_index up"),
            "{}",
            status.stdout
        );
        let before = db.value("select 'beds_by_room'::regclass::oid");
        upgrade(&db, &folder, &[]).run().ok();
        assert_eq!(applied(&db), "m1_beds m2_index");
        assert_eq!(
            before,
            db.value("select 'beds_by_room'::regclass::oid"),
            "it was built twice"
        );
    }
}

#[test]
fn nothing_else_is_done_before_it_is_finished() {
    let (db, folder) = with_beds("nothing_else_is_done", INDEX);
    upgrade(&db, &folder, &[])
        .env("KINEDB_FAILPOINT", "before-step-record=kill")
        .run()
        .exits(137);
    let run = kinedb([
        "downgrade",
        "base",
        "--migrations",
        folder.arg(),
        "--accept-data-loss",
        db.name(),
    ])
    .on(&db)
    .run()
    .exits(9);
    insta::assert_snapshot!(run.normal(), @r#"
    exit 9
    --- stderr
    database `nothing_else_is_done` on `[server]/socket` as `postgres`
    error: `m2_index` (up) was begun outside a transaction and is not finished
    Hint: finish it first with `kinedb upgrade`: it looks at the real state and resumes
    (unfinished, exit 9)
    "#);
}

#[test]
fn a_build_that_fails_leaves_no_invalid_index_and_is_resumed() {
    let up = "-- kinedb: no-transaction\nalter table beds add column label text;\ncreate unique index concurrently beds_by_room on beds (room);\n";
    let (db, folder) = with_beds("a_build_that_fails", up);
    let run = upgrade(&db, &folder, &[]).run().exits(9);
    insta::assert_snapshot!(run.normal(), @r#"
    exit 9
    --- stderr
    database `a_build_that_fails` on `[server]/socket` as `postgres`
    m2_index: statement 1 of 2
    m2_index: statement 2 of 2
    error: m2_index.up.sql:3:1: could not create unique index "beds_by_room" (SQLSTATE 23505)
      in: create unique index concurrently beds_by_room on beds (room)
      statement 1 of 2 is done; the invalid index that it left was dropped
    Hint: correct the cause, or this statement, then run `kinedb upgrade` again: it resumes there
    (unfinished, exit 9)
    "#);
    assert_eq!(index(&db), "none");
    assert_eq!(steps(&db), "m2_index started 0, m2_index started 1");
    // What is not done may be corrected; what is done may not.
    folder.write(
        "m2_index",
        &up.replace("(room)", "(id)").replace("label", "name"),
        "",
    );
    let run = upgrade(&db, &folder, &[]).run().exits(9);
    assert!(run.stderr.contains("were edited since"), "{}", run.stderr);
    folder.write("m2_index", &up.replace("(room)", "(id)"), "");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(index(&db), "beds_by_room valid");
    assert_eq!(applied(&db), "m1_beds m2_index");
}

#[test]
fn an_invalid_index_of_a_killed_run_is_rebuilt_and_if_not_exists_is_not_trusted() {
    let up = INDEX.replace("concurrently", "concurrently if not exists");
    let (db, folder) = with_beds("an_invalid_index_of_a_killed_run", &up);
    let mut writer = Session::named(&db, "web");
    writer.sql("begin; insert into beds values (0, 0)");
    let run = Running::start(upgrade(&db, &folder, &[]));
    // Young transactions are not waited for before, so the build begins and waits.
    wait_until("an invalid index", Duration::from_secs(20), || {
        index(&db).contains("invalid")
    });
    run.signal(Signal::KILL);
    run.end().exits(137);
    wait_for_no_session(&db);
    writer.sql("commit");
    assert_eq!(index(&db), "beds_by_room invalid");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(index(&db), "beds_by_room valid");
}

#[test]
fn an_index_with_another_definition_is_refused() {
    let (db, folder) = with_beds("an_index_with_another_definition", INDEX);
    db.sql("create index beds_by_room on beds (room desc) where id > 5");
    let run = upgrade(&db, &folder, &[]).run().exits(9);
    insta::assert_snapshot!(run.normal(), @r#"
    exit 9
    --- stderr
    database `an_index_with_another_definition` on `[server]/socket` as `postgres`
    m2_index: statement 1 of 1
    error: index public.beds_by_room exists with another definition: it is `btree (room DESC) WHERE (id > 5)`, the migration makes `btree (room)`
    Hint: if it is not needed, drop it with `drop index concurrently public.beds_by_room`; else give the migration's index another name
    (unfinished, exit 9)
    "#);
    assert_eq!(index(&db), "beds_by_room valid");
    db.sql("drop index beds_by_room; create index beds_by_room on beds using btree (room)");
    // Built by hand before, but the same: that is what was wanted.
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1_beds m2_index");
}

#[test]
fn an_old_transaction_is_named_and_no_invalid_index_is_left() {
    let (db, folder) = with_beds("an_old_transaction_is_named", INDEX);
    let mut writer = Session::named(&db, "batch");
    writer.sql("begin; insert into beds values (0, 0)");
    let pid = writer.pid();
    std::thread::sleep(Duration::from_millis(1200));
    let run = upgrade(&db, &folder, &["--lock-budget", "1s"])
        .run()
        .exits(6);
    assert!(
        run.stderr.contains(&format!(
            "waiting for transactions to end: pid {pid} (`batch`"
        )),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains(&format!("select pg_terminate_backend({pid})")),
        "{}",
        run.stderr
    );
    assert_eq!(index(&db), "none");
    writer.sql("commit");
    upgrade(&db, &folder, &[]).run().ok();
}

#[test]
fn a_transaction_that_comes_in_the_way_later_ends_with_the_budget_too() {
    let (db, folder) = with_beds("a_transaction_that_comes_later", INDEX);
    let mut writer = Session::named(&db, "batch");
    writer.sql("begin; insert into beds values (0, 0)");
    let run = upgrade(&db, &folder, &["--lock-budget", "2s"])
        .run()
        .exits(6);
    assert!(run.stderr.contains("(`batch`"), "{}", run.stderr);
    assert!(
        index(&db) == "none" || index(&db) == "beds_by_room invalid",
        "{}",
        index(&db)
    );
    writer.sql("commit");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(index(&db), "beds_by_room valid");
}

#[test]
fn a_second_runner_waits_and_neither_hangs() {
    let (db, folder) = with_beds("a_second_runner_waits", INDEX);
    let mut writer = Session::named(&db, "web");
    writer.sql("begin; insert into beds values (0, 0)");
    let first = Running::start(upgrade(&db, &folder, &[]));
    wait_for_statement(&db, "create index%");
    let second = Running::start(upgrade(&db, &folder, &[]));
    std::thread::sleep(Duration::from_millis(500));
    writer.sql("commit");
    let (first, second) = (first.end().exits(0), second.end().exits(0));
    assert!(
        first.stdout.starts_with("applied 1"),
        "{}",
        normal(&first.stdout)
    );
    assert!(
        second.stdout.starts_with("nothing to do"),
        "{}",
        normal(&second.stdout)
    );
    assert_eq!(index(&db), "beds_by_room valid");
}

#[test]
fn the_other_kinds_go_and_are_resumed() {
    let db = TestDb::new("the_other_kinds");
    let folder = Migrations::of(&[(
        "m1_parts",
        "create table parts (id int, day date) partition by range (day); create table parts_1 partition of parts for values from ('2026-01-01') to ('2026-02-01'); create type kind as enum ('a'); create table plain (id int); alter table plain add constraint positive check (id > 0) not valid; create index plain_by_id on plain (id);\n",
        "",
    )]);
    upgrade(&db, &folder, &[]).run().ok();
    let up = "-- kinedb: no-transaction\nset role postgres;\nalter type kind add value 'b';\nalter table plain validate constraint positive;\ndrop index concurrently plain_by_id;\nalter table parts detach partition parts_1 concurrently;\nvacuum plain;\nreset role;\n";
    folder.write("m2_index", up, "");
    // Killed before each record in turn, it goes on where it was. The others run in a
    // transaction together with theirs.
    for place in [4, 5, 6] {
        upgrade(&db, &folder, &[])
            .env("KINEDB_FAILPOINT", format!("before-record-of-{place}=kill"))
            .run()
            .exits(137);
        assert_eq!(
            db.value("select max(step) from kinedb_history where name = 'm2_index'"),
            (place - 1).to_string()
        );
    }
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1_parts m2_index");
    assert_eq!(
        db.value("select string_agg(enumlabel, ',') from pg_enum"),
        "a,b"
    );
    assert_eq!(
        db.value("select convalidated from pg_constraint where conname = 'positive'"),
        "t"
    );
    assert_eq!(db.value("select to_regclass('plain_by_id')"), "");
    assert_eq!(db.value("select count(*) from pg_inherits"), "0");
}

#[test]
fn a_partition_that_is_half_detached_is_let_go_by_the_next_run() {
    let db = TestDb::new("a_partition_half_detached");
    let folder = Migrations::of(&[(
        "m1_parts",
        "create table parts (id int, day date) partition by range (day); create table parts_1 partition of parts for values from ('2026-01-01') to ('2026-02-01');\n",
        "",
    )]);
    upgrade(&db, &folder, &[]).run().ok();
    folder.write(
        "m2_index",
        "-- kinedb: no-transaction\nalter table parts detach partition parts_1 concurrently;\n",
        "",
    );
    let mut reader = Session::named(&db, "report");
    reader.sql("begin isolation level repeatable read; select count(*) from parts");
    let run = Running::start(upgrade(&db, &folder, &[]));
    let half = "select count(*) from pg_inherits where inhdetachpending";
    wait_until("a half detached partition", Duration::from_secs(20), || {
        db.value(half) == "1"
    });
    run.signal(Signal::KILL);
    run.end().exits(137);
    wait_for_no_session(&db);
    reader.sql("commit");
    assert_eq!(db.value(half), "1");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(db.value("select count(*) from pg_inherits"), "0");
    assert_eq!(applied(&db), "m1_parts m2_index");
}

#[test]
fn nothing_is_built_once_the_lock_was_given_away() {
    let up = format!(
        "-- kinedb: no-transaction\nselect pg_advisory_unlock_all();\n{}",
        INDEX.lines().last().unwrap()
    );
    let (db, folder) = with_beds("nothing_is_built_once", &up);
    let run = upgrade(&db, &folder, &[]).run().exits(5);
    assert!(
        run.stderr.contains("this run has lost the migration lock"),
        "{}",
        run.stderr
    );
    assert_eq!(index(&db), "none");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(index(&db), "beds_by_room valid");
}

#[test]
fn a_statement_that_needs_no_care_is_not_repeated() {
    let up = "-- kinedb: no-transaction\nalter table beds add column a int;\nselect 1 / (select count(*) from beds where id < 0);\nalter table beds add column b int;\n";
    let (db, folder) = with_beds("a_statement_is_not_repeated", up);
    upgrade(&db, &folder, &[]).run().exits(9);
    db.sql("insert into beds values (-1, 0)");
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(
        steps(&db),
        "m2_index started 0, m2_index started 1, m2_index started 2, m2_index started 3, m2_index done"
    );
}

#[test]
fn a_resumed_one_is_blamed_for_what_is_new_only() {
    let db = TestDb::migrated("a_resumed_one_is_blamed");
    let folder = Migrations::of(&[]);
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migration/src");
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let upgrade = || {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/isolation.toml");
        let args = ["upgrade", "--gate", "catalog", "--config", config];
        kinedb(args.iter().chain(&["--migrations", folder.arg()])).on(&db)
    };
    // It is broken before, and nobody is to blame for that later.
    db.sql("create policy open on appointments using (true)");
    folder.write(
        "m20400101_000000_index",
        "-- kinedb: no-transaction\nset role kine_owner;\ncreate index concurrently by_family on public.patients (tenant_id, family_name);\n",
        "",
    );
    upgrade()
        .env("KINEDB_FAILPOINT", "before-step-record=kill")
        .run()
        .exits(137);
    upgrade().run().ok();
    folder.write(
        "m20400101_000001_leak",
        "-- kinedb: no-transaction\nset role kine_owner;\ncreate index concurrently by_given on public.patients (tenant_id, given_name);\ncreate policy open on public.patients using (true);\n",
        "",
    );
    upgrade()
        .env("KINEDB_FAILPOINT", "before-step-record=kill")
        .run()
        .exits(137);
    let run = upgrade().run().exits(4);
    assert!(
        run.stderr.contains("  patients [policy-open]")
            && run.stderr.contains("it breaks the isolation of tenants")
            && !run.stderr.contains("rolled back")
            && !run.stderr.contains("appointments"),
        "{}",
        run.stderr
    );
    assert_eq!(
        db.value("select count(*) from seaql_migrations where version like '%leak'"),
        "0"
    );
}
