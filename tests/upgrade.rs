//! `kinedb upgrade`: from any state to head, or one clear sentence why not.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use std::process::Stdio;
use std::sync::Barrier;

use common::{Run, TestDb, TestServer, block_on, kinedb};
use insta::assert_snapshot;
use kinedb::catalogue::{self, Fingerprint};
use migrations::Migrations;

const CANARY: &str = "c4n4ry-p4ssw0rd";

/// An upgrade with the migrations of a folder.
fn upgrade(db: &TestDb, folder: &Migrations, more: &[&str]) -> Run {
    let args = ["upgrade", "--migrations", folder.arg()];
    kinedb(args.iter().chain(more)).on(db).run()
}

fn applied(db: &TestDb) -> String {
    db.value("select coalesce(string_agg(version, ' ' order by version), '') from seaql_migrations")
}

fn fingerprint(db: &TestDb) -> Fingerprint {
    block_on(async { catalogue::read(&mut db.connect().await).await.unwrap() })
}

#[test]
fn the_first_run_applies_all_and_the_next_finds_nothing() {
    // Roles belong to the whole server: what is new is so on one of its own.
    let server = TestServer::own();
    let db = server.database("the_first_run_applies_all_and_the_next_finds_nothing");
    let told = kinedb(["upgrade"]).on(&db).run().normal();
    // Partitions are named after the months ahead of today.
    let told: Vec<&str> = told
        .lines()
        .filter(|line| !line.contains("public.audit_events_20"))
        .collect();
    assert_snapshot!(told.join("\n"), @r#"
    exit 0
    --- stdout
    applied 8 migrations; the database is at m20260601_090100_audit_seals
    --- stderr
    database `the_first_run_applies_all_and_the_next_finds_nothing` on `[server]/socket` as `postgres`
    applied m20260105_090000_roles ([took]): widens
      widens: extension btree_gist: new: its functions are as open as it makes them
      widens: role kine_backup: is now bypassrls
      narrows: default privileges for functions of kine_owner: public may no longer execute
      narrows: the database: public may no longer temporary
    applied m20260105_090100_tenants_users ([took]): neutral
    applied m20260105_090200_patients_appointments ([took]): neutral
    applied m20260105_090300_encounters_notes ([took]): neutral
    applied m20260105_090400_note_versions ([took]): widens
      widens: trigger record_first_version on public.notes: new, and runs as the owner of its function
      widens: trigger record_next_version on public.notes: new, and runs as the owner of its function
      narrows: default privileges for functions of kine_audit: public may no longer execute
    applied m20260105_090500_audit_events ([took]): widens
      widens: function public.create_audit_partition(date): new, runs as kine_audit, and kine_owner may call it
      widens: function public.record_read(text, uuid[]): new, runs as kine_audit, and kine_app may call it
      widens: trigger record_audit_event on public.appointments: new, and runs as the owner of its function
      widens: trigger record_audit_event on public.encounters: new, and runs as the owner of its function
      widens: trigger record_audit_event on public.note_versions: new, and runs as the owner of its function
      widens: trigger record_audit_event on public.notes: new, and runs as the owner of its function
      widens: trigger record_audit_event on public.patients: new, and runs as the owner of its function
      widens: trigger record_audit_event on public.tenants: new, and runs as the owner of its function
      widens: trigger record_audit_event on public.users: new, and runs as the owner of its function
    applied m20260601_090000_audit_actors ([took]): widens
      widens: function public.record_audit_event(): it changed, and runs as its owner
      widens: function public.record_export(text[]): new, runs as kine_audit, and kine_app, kine_auditor may call it
      widens: trigger record_audit_event on public.appointments: changed
      widens: trigger record_audit_event on public.encounters: changed
      widens: trigger record_audit_event on public.note_versions: changed
      widens: trigger record_audit_event on public.notes: changed
      widens: trigger record_audit_event on public.patients: changed
      widens: trigger record_audit_event on public.tenants: changed
      widens: trigger record_audit_event on public.users: changed
      narrows: trigger record_first_version on public.notes: always fires now
      narrows: trigger record_next_version on public.notes: always fires now
    applied m20260601_090100_audit_seals ([took]): widens
      widens: column tenant_id of public.tenants: kine_retention may now select
      widens: column tenant_id of public.tenants: kine_sealer may now select
      widens: function public.create_audit_partition(date): kine_sealer may now execute
      widens: function public.create_audit_partition(date): it changed, and runs as its owner
      widens: function public.retire_audit_month(date, bigint, bytea): new, runs as kine_audit, and kine_retention may call it
      widens: function public.seal_audit_events(integer): new, runs as kine_audit, and kine_sealer may call it
      widens: policy audit_retention on public.audit_events: new: using (occurred_at < ( SELECT (now() - public.audit_retention_floor())))
      widens: policy audit_retention on public.audit_events_default: new: using (occurred_at < ( SELECT (now() - public.audit_retention_floor())))
      widens: policy tenant_directory on public.tenants: new: using true
      widens: table public.audit_events: kine_retention may now select
    "#);
    assert_snapshot!(kinedb(["upgrade"]).on(&db).run().normal(), @r#"
    exit 0
    --- stdout
    nothing to do: the database is at m20260601_090100_audit_seals
    --- stderr
    database `the_first_run_applies_all_and_the_next_finds_nothing` on `[server]/socket` as `postgres`
    "#);
    let rows = "select count(*), count(distinct name), count(distinct run_id), count(distinct checksum), min(outcome) from kinedb_history";
    let rows: Vec<String> = db.query_rows(rows)[0].iter().flatten().cloned().collect();
    assert_eq!(rows, ["8", "8", "1", "8", "done"]);
}

#[test]
fn targets_are_steps_and_parts_of_names() {
    let db = TestDb::new("targets_are_steps_and_parts_of_names");
    let folder = Migrations::three();
    assert_snapshot!(upgrade(&db, &folder, &["+1"]).normal(), @r#"
    exit 0
    --- stdout
    applied 1 migration; the database is at m1_rooms
    --- stderr
    database `targets_are_steps_and_parts_of_names` on `[server]/socket` as `postgres`
    applied m1_rooms ([took]): neutral
    "#);
    assert_snapshot!(upgrade(&db, &folder, &["beds"]).normal(), @r#"
    exit 0
    --- stdout
    applied 1 migration; the database is at m2_beds
    --- stderr
    database `targets_are_steps_and_parts_of_names` on `[server]/socket` as `postgres`
    applied m2_beds ([took]): neutral
    "#);
    upgrade(&db, &folder, &["m3_labels"]).ok();
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
}

#[test]
fn targets_that_do_not_exist_change_nothing() {
    let db = TestDb::new("targets_that_do_not_exist_change_nothing");
    let folder = Migrations::three();
    assert_snapshot!(upgrade(&db, &folder, &["nowhere"]).normal(), @r#"
    exit 2
    --- stderr
    database `targets_that_do_not_exist_change_nothing` on `[server]/socket` as `postgres`
    error: no revision is named `nowhere`
    Hint: list them with `kinedb history`
    (unknown-revision, exit 2)
    "#);
    assert_snapshot!(upgrade(&db, &folder, &["m"]).normal(), @r#"
    exit 2
    --- stderr
    database `targets_that_do_not_exist_change_nothing` on `[server]/socket` as `postgres`
    error: `m` fits 3 revisions: `m1_rooms`, `m2_beds`, `m3_labels`
    Hint: write more of the name
    (ambiguous-revision, exit 2)
    "#);
    assert_snapshot!(upgrade(&db, &folder, &["+4"]).normal(), @r#"
    exit 2
    --- stderr
    database `targets_that_do_not_exist_change_nothing` on `[server]/socket` as `postgres`
    error: `+4` goes past head: 3 pending
    Hint: use `kinedb upgrade head`
    (unknown-revision, exit 2)
    "#);
    assert_snapshot!(upgrade(&db, &folder, &["base"]).normal(), @r#"
    exit 2
    --- stderr
    database `targets_that_do_not_exist_change_nothing` on `[server]/socket` as `postgres`
    error: an upgrade does not go down
    Hint: use `kinedb downgrade`
    (usage, exit 2)
    "#);
    assert_eq!(
        db.value("select count(*) from pg_class where relnamespace = 'public'::regnamespace"),
        "0"
    );
}

#[test]
fn a_check_tells_by_its_exit_what_is_pending() {
    let db = TestDb::new("a_check_tells_by_its_exit_what_is_pending");
    let folder = Migrations::three();
    assert_snapshot!(upgrade(&db, &folder, &["--check"]).normal(), @r#"
    exit 3
    --- stdout
    m1_rooms
    m2_beds
    m3_labels
    --- stderr
    database `a_check_tells_by_its_exit_what_is_pending` on `[server]/socket` as `postgres`
    error: 3 migrations are pending
    Hint: apply with `kinedb upgrade`
    (pending, exit 3)
    "#);
    assert_snapshot!(upgrade(&db, &folder, &["--check", "--format", "json", "+1"]).normal(), @r#"
    exit 3
    --- stdout
    {
      "pending": [
        "m1_rooms"
      ]
    }
    --- stderr
    database `a_check_tells_by_its_exit_what_is_pending` on `[server]/socket` as `postgres`
    error: 1 migration is pending
    Hint: apply with `kinedb upgrade`
    (pending, exit 3)
    "#);
    upgrade(&db, &folder, &[]).ok();
    assert_snapshot!(upgrade(&db, &folder, &["--check"]).normal(), @r#"
    exit 0
    --- stdout
    nothing is pending
    --- stderr
    database `a_check_tells_by_its_exit_what_is_pending` on `[server]/socket` as `postgres`
    "#);
}

#[test]
fn a_dry_run_runs_it_all_and_leaves_nothing() {
    let db = TestDb::new("a_dry_run_runs_it_all_and_leaves_nothing");
    let folder = Migrations::three();
    let before = fingerprint(&db);
    assert_snapshot!(upgrade(&db, &folder, &["--dry-run"]).normal(), @r#"
    exit 0
    --- stdout
    dry run: 3 migrations ran and were rolled back; the database is at base
    --- stderr
    database `a_dry_run_runs_it_all_and_leaves_nothing` on `[server]/socket` as `postgres`
    tried m1_rooms ([took]): neutral
    tried m2_beds ([took]): neutral
    tried m3_labels ([took]): neutral
    "#);
    assert_eq!(fingerprint(&db).differences(&before), []);
    assert_eq!(db.value("select to_regclass('kinedb_history')"), "");
    folder.write("m3_labels", "alter table room add column label text;\n", "");
    upgrade(&db, &folder, &["--dry-run"]).exits(13);
}

#[test]
fn the_printed_script_does_what_the_run_does() {
    let (run, script) = (
        TestDb::new("what_the_run_does"),
        TestDb::new("what_the_script_does"),
    );
    kinedb(["upgrade"]).on(&run).run().ok();
    let printed = kinedb(["upgrade", "--sql"]).on(&script).run().ok();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &printed.stdout).unwrap();
    let path = file.path().to_str().unwrap();
    let psql = script.server().dev().psql(
        script.name(),
        ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", path],
    );
    let done = psql.unwrap().output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert_eq!(fingerprint(&run).differences(&fingerprint(&script)), []);
    let history = "select name, direction, checksum, outcome from kinedb_history order by id";
    assert_eq!(run.query_rows(history), script.query_rows(history));
    assert_eq!(applied(&run), applied(&script));
    assert_snapshot!(kinedb(["upgrade"]).on(&script).run().normal(), @r#"
    exit 0
    --- stdout
    nothing to do: the database is at m20260601_090100_audit_seals
    --- stderr
    database `what_the_script_does` on `[server]/socket` as `postgres`
    "#);
}

#[test]
fn a_small_script_reads_like_this() {
    let db = TestDb::new("a_small_script_reads_like_this");
    let folder = Migrations::three();
    upgrade(&db, &folder, &["+1"]).ok();
    assert_snapshot!(upgrade(&db, &folder, &["--sql", "+1"]).normal(), @r#"
    exit 0
    --- stdout
    -- Made by kinedb. Run it with: psql -X -f FILE
    -- It does not run the gate: prove isolation afterwards with `kinedb verify-rls`.
    \set ON_ERROR_STOP on

    -- m2_beds up
    -- isolation: not known without a rehearsal (`--sql --dry-run`)
    begin;
    create table beds (id int primary key, room int references rooms);
    reset role;
    insert into public.seaql_migrations (version, applied_at) values ('m2_beds', extract(epoch from now())::bigint);
    insert into public.kinedb_history (run_id, name, direction, checksum, started_at, outcome, kinedb_version, reason)
    values (gen_random_uuid(), 'm2_beds', 'up', '[sha256]', now(), 'done', '0.1.0', 'offline script');
    commit;
    --- stderr
    database `a_small_script_reads_like_this` on `[server]/socket` as `postgres`
    "#);
}

#[test]
fn a_rehearsed_script_says_what_it_does_to_isolation() {
    let db = TestDb::new("a_rehearsed_script");
    let folder = Migrations::three();
    folder.write(
        "m3_labels",
        "create role rehearsed_web;\ngrant select on rooms to rehearsed_web;\n",
        "",
    );
    let run = upgrade(&db, &folder, &["--sql", "--dry-run", "--gate", "off"]).ok();
    let told: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| {
            line.starts_with("-- m") || line.starts_with("-- iso") || line.starts_with("--  ")
        })
        .collect();
    assert_snapshot!(told.join("\n"), @r"
    -- m1_rooms up
    -- isolation: neutral
    --   neutral: table public.rooms: new, and open to nobody but its owner
    -- m2_beds up
    -- isolation: neutral
    --   neutral: table public.beds: new, and open to nobody but its owner
    -- m3_labels up
    -- isolation: widens
    --   widens: table public.rooms: rehearsed_web may now select
    ");
    assert_eq!(db.value("select to_regclass('rooms')"), "");
    assert_eq!(db.value("select to_regclass('kinedb_history')"), "");
}

#[test]
fn a_script_that_psql_broke_off_is_resumed() {
    let db = TestDb::new("a_script_that_psql_broke_off");
    let folder = Migrations::three();
    upgrade(&db, &folder, &[]).ok();
    let up = "-- kinedb: no-transaction\nset search_path = public;\nalter table beds add column x int;\ncreate index concurrently by_x on beds (x);\nselect 1 / (select count(*) from beds);\nalter table beds add column y int;\n";
    folder.write("m4_steps", up, "");
    let printed = upgrade(&db, &folder, &["--sql"]).ok();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &printed.stdout).unwrap();
    let path = file.path().to_str().unwrap();
    let psql = db.server().dev().psql(db.name(), ["-X", "-q", "-f", path]);
    let done = psql.unwrap().output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(stderr.contains("division by zero"), "{stderr}");
    let steps = "select string_agg(outcome || coalesce(' ' || step, ''), ', ' order by id) from kinedb_history where name = 'm4_steps'";
    assert_eq!(db.value(steps), "started 0, started 2, started 3");
    // No script can look at how far the first one came; kinedb does.
    let again = upgrade(&db, &folder, &["--sql"]).exits(9);
    assert!(again.stderr.contains("finish it with"), "{}", again.stderr);
    db.sql("insert into rooms values (1, ''); insert into beds values (1, 1)");
    upgrade(&db, &folder, &[]).ok();
    assert_eq!(
        db.value(steps),
        "started 0, started 2, started 3, started 4, started 5, done"
    );
    // Run to its end by psql, nothing is left to do.
    let whole = TestDb::new("a_script_run_whole");
    upgrade(&whole, &folder, &["m3_labels"]).ok();
    whole.sql("insert into rooms values (1, ''); insert into beds values (1, 1)");
    let psql = whole
        .server()
        .dev()
        .psql(whole.name(), ["-X", "-q", "-f", path]);
    let done = psql.unwrap().output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let run = upgrade(&whole, &folder, &[]).ok();
    assert!(run.stdout.starts_with("nothing to do"), "{}", run.stdout);
    let rows = "select direction, outcome, step, checksum from kinedb_history where name = 'm4_steps' order by id";
    assert_eq!(whole.query_rows(rows), db.query_rows(rows));
}

#[test]
fn a_migration_that_fails_leaves_those_before_it() {
    let db = TestDb::new("a_migration_that_fails_leaves_those_before_it");
    let folder = Migrations::three();
    let bad = "-- rooms get a colour\nalter table rooms add column colour text;\nalter table\n  roms add column x int;\n";
    folder.write("m3_labels", bad, "");
    assert_snapshot!(upgrade(&db, &folder, &[]).normal(), @r#"
    exit 13
    --- stderr
    database `a_migration_that_fails_leaves_those_before_it` on `[server]/socket` as `postgres`
    applied m1_rooms ([took]): neutral
    applied m2_beds ([took]): neutral
    error: m3_labels.up.sql:3:1: relation "roms" does not exist (SQLSTATE 42P01)
      in: alter table roms add column x int
      rolled back; nothing of `m3_labels` is applied
    Hint: correct the file, then run `kinedb upgrade` again
    (migration-failed, exit 13)
    "#);
    assert_eq!(applied(&db), "m1_rooms m2_beds");
    assert_eq!(
        db.value("select count(*) from pg_attribute where attname = 'colour'"),
        "0"
    );
    folder.write("m3_labels", &bad.replace("roms", "rooms"), "");
    upgrade(&db, &folder, &[]).ok();
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
}

#[test]
fn a_single_transaction_is_all_or_nothing() {
    let db = TestDb::new("a_single_transaction_is_all_or_nothing");
    let folder = Migrations::three();
    folder.write(
        "m3_labels",
        "select 1;\ninsert into beds values (1, 7);\n",
        "",
    );
    assert_snapshot!(upgrade(&db, &folder, &["--single-transaction"]).normal(), @r#"
    exit 13
    --- stderr
    database `a_single_transaction_is_all_or_nothing` on `[server]/socket` as `postgres`
    error: m3_labels.up.sql:2:1: insert or update on table "beds" violates foreign key constraint "beds_room_fkey" (SQLSTATE 23503)
      in: insert into beds values (1, 7)
      rolled back; nothing of `m3_labels` is applied
    Hint: correct the file, then run `kinedb upgrade` again
    (migration-failed, exit 13)
    "#);
    assert_eq!(db.value("select to_regclass('rooms')"), "");
    folder.write(
        "m3_labels",
        "insert into rooms values (7); insert into beds values (1, 7);\n",
        "",
    );
    assert_snapshot!(upgrade(&db, &folder, &["--single-transaction"]).normal(), @r#"
    exit 0
    --- stdout
    applied 3 migrations; the database is at m3_labels
    --- stderr
    database `a_single_transaction_is_all_or_nothing` on `[server]/socket` as `postgres`
    applied m1_rooms ([took]): neutral
    applied m2_beds ([took]): neutral
    applied m3_labels ([took]): neutral
    "#);
}

#[test]
fn a_history_that_does_not_fit_is_refused() {
    let db = TestDb::new("a_history_that_does_not_fit_is_refused");
    let folder = Migrations::three();
    upgrade(&db, &folder, &[]).ok();
    // Comments and line endings are no edit.
    folder.write(
        "m1_rooms",
        "-- rooms\r\ncreate table rooms (\r\n  id int primary key);\r\n",
        "",
    );
    upgrade(&db, &folder, &[]).ok();
    folder.write(
        "m1_rooms",
        "create table rooms (id bigint primary key);\n",
        "",
    );
    assert_snapshot!(upgrade(&db, &folder, &[]).normal(), @r#"
    exit 8
    --- stderr
    database `a_history_that_does_not_fit_is_refused` on `[server]/socket` as `postgres`
    error: `m1_rooms` was edited after it was applied: `m1_rooms.up.sql` has checksum 86d88f790e31, history has 3741acf7dc6f
    Hint: restore the file and write the change as a new migration, or accept a harmless edit with `kinedb repair --reason TEXT`
    (edited, exit 8)
    "#);
    folder.write("m1_rooms", "create table rooms (id int primary key);\n", "");
    folder.write(
        "m2_chairs",
        "create table chairs (id int);\n",
        "drop table chairs;\n",
    );
    assert_snapshot!(upgrade(&db, &folder, &[]).normal(), @r#"
    exit 8
    --- stderr
    database `a_history_that_does_not_fit_is_refused` on `[server]/socket` as `postgres`
    error: `m2_chairs` is pending but older than `m3_labels`, which is applied
    Hint: give it a newer name, or run `kinedb upgrade --allow-out-of-order`
    (out-of-order, exit 8)
    "#);
    folder.remove("m3_labels");
    assert_snapshot!(upgrade(&db, &folder, &[]).normal(), @r#"
    exit 8
    --- stderr
    database `a_history_that_does_not_fit_is_refused` on `[server]/socket` as `postgres`
    error: the database has revision `m3_labels`, which this program does not know
    Hint: use the version of the program that has it; `kinedb status` shows both lists
    (unknown-applied, exit 8)
    "#);
    assert_snapshot!(upgrade(&db, &folder, &["--check"]).normal(), @r#"
    exit 8
    --- stderr
    database `a_history_that_does_not_fit_is_refused` on `[server]/socket` as `postgres`
    error: the database has revision `m3_labels`, which this program does not know
    Hint: use the version of the program that has it; `kinedb status` shows both lists
    (unknown-applied, exit 8)
    "#);
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
}

#[test]
fn an_older_pending_migration_needs_leave() {
    let db = TestDb::new("an_older_pending_migration_needs_leave");
    let folder = Migrations::three();
    upgrade(&db, &folder, &[]).ok();
    folder.write(
        "m2_chairs",
        "create table chairs (id int);\n",
        "drop table chairs;\n",
    );
    assert_snapshot!(upgrade(&db, &folder, &["--allow-out-of-order"]).normal(), @r#"
    exit 0
    --- stdout
    applied 1 migration; the database is at m3_labels
    --- stderr
    database `an_older_pending_migration_needs_leave` on `[server]/socket` as `postgres`
    applied m2_chairs ([took]): neutral
    "#);
}

#[test]
fn files_that_cannot_be_right_are_refused_before_connecting() {
    let db = TestDb::new("files_that_cannot_be_right_are_refused_before_connecting");
    let folder = Migrations::of(&[("m1", "create table a (id int);\ncommit;\n", "")]);
    assert_snapshot!(upgrade(&db, &folder, &[]).normal(), @r#"
    exit 2
    --- stderr
    error: m1.up.sql:2:1: a migration may not begin or end a transaction
    Hint: remove it; what cannot run inside a transaction goes into a migration whose first line is `-- kinedb: no-transaction`
    (bad-file, exit 2)
    "#);
    folder.write("m1", "select 'open;\n", "");
    assert_snapshot!(upgrade(&db, &folder, &[]).normal(), @r#"
    exit 2
    --- stderr
    error: m1.up.sql:1:8: a quote or comment is not closed
    Hint: close it; what follows would be read as part of it
    (bad-file, exit 2)
    "#);
    assert_snapshot!(kinedb(["upgrade", "--migrations", "/nowhere"]).on(&db).run().normal(), @r#"
    exit 2
    --- stderr
    error: cannot read the folder of migrations `/nowhere`: No such file or directory (os error 2)
    Hint: name a folder of `NAME.up.sql` and `NAME.down.sql` with `--migrations`
    (bad-file, exit 2)
    "#);
}

#[test]
fn runs_at_once_apply_each_migration_once() {
    for count in [2, 8] {
        let db = TestDb::new(&format!("runs_at_once_{count}"));
        let folder = Migrations::three();
        let barrier = Barrier::new(count);
        let runs: Vec<Run> = std::thread::scope(|scope| {
            let one = || {
                barrier.wait();
                upgrade(&db, &folder, &[])
            };
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut ends: Vec<String> = runs.into_iter().map(|run| run.ok().stdout).collect();
        ends.sort();
        ends.dedup();
        assert_eq!(
            ends,
            [
                "applied 3 migrations; the database is at m3_labels\n",
                "nothing to do: the database is at m3_labels\n"
            ]
        );
        assert_eq!(
            db.value("select string_agg(name, ' ' order by id) from kinedb_history"),
            "m1_rooms m2_beds m3_labels"
        );
    }
}

#[test]
fn a_result_for_programs() {
    let db = TestDb::new("a_result_for_programs");
    let folder = Migrations::three();
    assert_snapshot!(upgrade(&db, &folder, &["--format", "json", "+1"]).normal(), @r#"
    exit 0
    --- stdout
    {
      "run_id": "[uuid]",
      "done": [
        {
          "name": "m1_rooms",
          "direction": "up",
          "duration_ms": [took],
          "effect": "neutral",
          "changes": [
            {
              "effect": "neutral",
              "object": "table public.rooms",
              "what": "new, and open to nobody but its owner"
            }
          ]
        }
      ],
      "head": "m1_rooms"
    }
    --- stderr
    database `a_result_for_programs` on `[server]/socket` as `postgres`
    applied m1_rooms ([took]): neutral
    "#);
    assert_snapshot!(upgrade(&db, &folder, &["--format", "json", "-q", "+0"]).normal(), @r#"
    exit 0
    --- stdout
    {
      "run_id": "[uuid]",
      "done": [],
      "head": "m1_rooms"
    }
    "#);
}

#[test]
fn a_database_that_cannot_be_reached_is_told_apart() {
    let db = TestDb::new("a_database_that_cannot_be_reached_is_told_apart");
    let reach = |url: &str| {
        kinedb(
            ["status", "--database-url-file", "-u", url]
                .iter()
                .filter(|arg| **arg != "--database-url-file"),
        )
        .run()
    };
    // Nothing listens on port 1.
    assert_snapshot!(reach("postgres://kine@127.0.0.1:1/clinic").normal(), @r#"
    exit 7
    --- stderr
    database `clinic` on `127.0.0.1:[port]` as `kine`
    error: nothing listens at `127.0.0.1:[port]`
    Hint: correct host and port, or wait for a server that starts with `--wait [took]`; `pg_isready -h 127.0.0.1 -p 1` tells whether a server answers there
    (unreachable, exit 7)
    "#);
    assert_snapshot!(reach("postgres://kine@no-such-host.invalid/clinic").exits(7).normal(), @r#"
    exit 7
    --- stderr
    database `clinic` on `no-such-host.invalid:5432` as `kine`
    error: host `no-such-host.invalid` cannot be found: failed to lookup address information: Name or service not known
    Hint: correct the name; `getent hosts no-such-host.invalid` asks for it as kinedb does
    (unreachable, exit 7)
    "#);
    let missing = db.server().url("no_such_database");
    assert_snapshot!(kinedb(["upgrade"]).env("DATABASE_URL", &missing).run().normal().replace(&db.server().dev().socket_folder().display().to_string(), "[socket]"), @r#"
    exit 7
    --- stderr
    database `no_such_database` on `[server]/socket` as `postgres`
    error: database `no_such_database` does not exist on `[server]/socket`
    Hint: create it with `createdb no_such_database`, or correct the name
    (no-database, exit 7)
    "#);
    assert_snapshot!(kinedb(["upgrade"]).run().normal(), @r#"
    exit 2
    --- stderr
    error: no database was named, and kinedb never guesses one
    Hint: name it in one of three ways:
      kinedb --database-url [url] ...   (or DATABASE_URL, or --database-url-file FILE)
      PGHOST=... PGDATABASE=... kinedb ...                      (libpq's variables)
      kinedb --dev ...                                          (the local development server)
    (no-target, exit 2)
    "#);
}

#[test]
fn a_wrong_password_is_never_repeated() {
    let server = TestServer::own();
    let db = server.database("a_wrong_password_is_never_repeated");
    db.sql("create role kine_deploy login password 'the right one'");
    let hba = db.value("show hba_file");
    let rules = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(
        &hba,
        format!("local all kine_deploy scram-sha-256\n{rules}"),
    )
    .unwrap();
    db.sql("select pg_reload_conf()");
    let mut url = url::Url::parse(&db.url_as("kine_deploy")).unwrap();
    url.set_password(Some(CANARY)).unwrap();
    // A reload takes a moment to reach the postmaster.
    let refused = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let run = kinedb(["status"]).env("DATABASE_URL", url.as_str()).run();
        (run.status != 0).then_some(run)
    });
    let run = refused.expect("the server to ask for a password");
    assert_snapshot!(run.normal(), @r#"
    exit 7
    --- stderr
    database `a_wrong_password_is_never_repeated` on `[server]/socket` as `kine_deploy`
    error: the server refused user `kine_deploy` with this password: password authentication failed for user "kine_deploy"
    Hint: correct the password (it stands in the URL); a role that does not exist, or that has no password, is told the same way: `alter role kine_deploy password '..'` gives it one
    (authentication, exit 7)
    "#);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), url.as_str()).unwrap();
    let by_file = kinedb([
        "upgrade",
        "--database-url-file",
        file.path().to_str().unwrap(),
    ])
    .run()
    .exits(7);
    let by_flag = kinedb(["upgrade", "-u", url.as_str(), "--format", "json"])
        .run()
        .exits(7);
    let by_variable = kinedb(["upgrade"])
        .env("DATABASE_URL", db.url_as("kine_deploy"))
        .env("PGPASSWORD", CANARY)
        .run()
        .exits(7);
    for run in [run, by_file, by_flag, by_variable] {
        assert!(
            !format!("{}{}", run.stdout, run.stderr).contains(CANARY),
            "{run:?}"
        );
    }
}

#[test]
fn a_url_that_does_not_parse_is_never_repeated() {
    for bad in [
        format!("postgres://kine:{CANARY}@host:port/db"),
        format!("postgres://kine:{CANARY}@ho st/db"),
        format!("postgres://kine:x?{CANARY}@host/db"),
        format!("postgres://kine:x@host/db?{CANARY}=1"),
        format!("kine:{CANARY}@host/db"),
        format!("host=x password={CANARY}"),
    ] {
        for command in [
            &["upgrade"][..],
            &["status"],
            &["history"],
            &["downgrade", "base"],
            &["upgrade", "--format", "json"],
        ] {
            let by_variable = kinedb(command).env("DATABASE_URL", &bad).run();
            let by_flag = kinedb(command.iter().copied().chain(["-u", &bad])).run();
            for run in [by_variable, by_flag] {
                assert!(
                    !format!("{}{}", run.stdout, run.stderr).contains(CANARY),
                    "{bad}: {run:?}"
                );
                assert_eq!(run.status, 2, "{run:?}");
            }
        }
    }
    assert_snapshot!(kinedb(["upgrade"]).env("DATABASE_URL", format!("postgres://kine:{CANARY}@host:port/db")).run().normal(), @r#"
    exit 2
    --- stderr
    error: the database URL cannot be parsed: invalid port number
    Hint: write it as [url] with special characters percent-encoded
    (bad-url, exit 2)
    "#);
}

#[test]
fn a_closed_stdout_and_a_pipe_disturb_nothing() {
    let db = TestDb::new("a_closed_stdout_and_a_pipe_disturb_nothing");
    for (args, code) in [
        (&["upgrade", "--sql"][..], 0),
        (&["upgrade"], 0),
        (&["upgrade", "--check"], 0),
        (&["history"], 0),
    ] {
        let mut child = kinedb(args)
            .on(&db)
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(
            !stderr.contains("panic") && !stderr.contains('\u{1b}') && !stderr.contains('\r'),
            "{stderr}"
        );
    }
}
