//! `kinedb downgrade`: back to a revision, and never by accident over data.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{Run, TestDb, kinedb};
use insta::assert_snapshot;
use migrations::Migrations;

/// A downgrade with the migrations of a folder.
fn downgrade(db: &TestDb, folder: &Migrations, more: &[&str]) -> Run {
    let args = ["downgrade", "--migrations", folder.arg()];
    kinedb(args.iter().chain(more)).on(db).run()
}

/// A database at the head of three small migrations.
fn at_head(test: &str) -> (TestDb, Migrations) {
    let (db, folder) = (TestDb::new(test), Migrations::three());
    kinedb(["upgrade", "--migrations", folder.arg()])
        .on(&db)
        .run()
        .ok();
    (db, folder)
}

fn applied(db: &TestDb) -> String {
    db.value("select coalesce(string_agg(version, ' ' order by version), '') from seaql_migrations")
}

#[test]
fn empty_tables_go_without_a_question() {
    let (db, folder) = at_head("empty_tables_go_without_a_question");
    assert_snapshot!(downgrade(&db, &folder, &["-1"]).normal(), @r#"
    exit 0
    --- stdout
    undid 1 migration; the database is at m2_beds
    --- stderr
    database `empty_tables_go_without_a_question` on `[server]/socket` as `postgres`
    undid m3_labels ([took]): neutral
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["rooms"]).normal(), @r#"
    exit 0
    --- stdout
    undid 1 migration; the database is at m1_rooms
    --- stderr
    database `empty_tables_go_without_a_question` on `[server]/socket` as `postgres`
    undid m2_beds ([took]): neutral
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["base"]).normal(), @r#"
    exit 0
    --- stdout
    undid 1 migration; the database is at base
    --- stderr
    database `empty_tables_go_without_a_question` on `[server]/socket` as `postgres`
    undid m1_rooms ([took]): neutral
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["base"]).normal(), @r#"
    exit 0
    --- stdout
    nothing to do: the database is at base
    --- stderr
    database `empty_tables_go_without_a_question` on `[server]/socket` as `postgres`
    "#);
    let ways = "select string_agg(direction || ' ' || name, ', ' order by id) from kinedb_history";
    assert_eq!(
        db.value(ways),
        "up m1_rooms, up m2_beds, up m3_labels, down m3_labels, down m2_beds, down m1_rooms"
    );
}

#[test]
fn data_goes_only_with_consent_for_this_database() {
    let (db, folder) = at_head("data_goes_only_with_consent");
    db.sql("insert into rooms values (1, 'north'), (2, 'south'); insert into beds values (1, 1)");
    assert_snapshot!(downgrade(&db, &folder, &["base"]).normal(), @r#"
    exit 12
    --- stderr
    database `data_goes_only_with_consent` on `[server]/socket` as `postgres`
    warning: this downgrade destroys data of database `data_goes_only_with_consent`:
    warning: `beds`: 1 row
    warning: `rooms`: 2 rows
    error: `beds`, `rooms` would lose data of database `data_goes_only_with_consent`
    Hint: back up first, then consent with `--accept-data-loss data_goes_only_with_consent`
    (data-loss, exit 12)
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["base", "--accept-data-loss", "another"]).normal(), @r#"
    exit 12
    --- stderr
    database `data_goes_only_with_consent` on `[server]/socket` as `postgres`
    warning: this downgrade destroys data of database `data_goes_only_with_consent`:
    warning: `beds`: 1 row
    warning: `rooms`: 2 rows
    error: consent was given for `another`, but the database is `data_goes_only_with_consent`; nothing was changed
    Hint: back up first, then consent with `--accept-data-loss data_goes_only_with_consent`
    (data-loss, exit 12)
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["-1", "--dry-run"]).normal(), @r#"
    exit 0
    --- stdout
    dry run: 1 migration ran and was rolled back; the database is at m3_labels
    --- stderr
    database `data_goes_only_with_consent` on `[server]/socket` as `postgres`
    would lose `rooms.label`: 2 rows
    tried m3_labels ([took]): neutral
    "#);
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
    assert_eq!(db.value("select count(*) from rooms"), "2");
    assert_snapshot!(downgrade(&db, &folder, &["base", "--accept-data-loss", db.name()]).normal(), @r#"
    exit 0
    --- stdout
    undid 3 migrations; the database is at base
    --- stderr
    database `data_goes_only_with_consent` on `[server]/socket` as `postgres`
    warning: this downgrade destroys data of database `data_goes_only_with_consent`:
    warning: `beds`: 1 row
    warning: `rooms`: 2 rows
    undid m3_labels ([took]): neutral
    undid m2_beds ([took]): neutral
    undid m1_rooms ([took]): neutral
    "#);
    assert_eq!(applied(&db), "");
}

#[test]
fn targets_that_do_not_exist_change_nothing() {
    let (db, folder) = at_head("down_targets_that_do_not_exist");
    assert_snapshot!(downgrade(&db, &folder, &["-4"]).normal(), @r#"
    exit 2
    --- stderr
    database `down_targets_that_do_not_exist` on `[server]/socket` as `postgres`
    error: `-4` goes past base: 3 applied
    Hint: use `kinedb downgrade base`
    (unknown-revision, exit 2)
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["nowhere"]).normal(), @r#"
    exit 2
    --- stderr
    database `down_targets_that_do_not_exist` on `[server]/socket` as `postgres`
    error: no revision is named `nowhere`
    Hint: list them with `kinedb history`
    (unknown-revision, exit 2)
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["head"]).normal(), @r#"
    exit 2
    --- stderr
    database `down_targets_that_do_not_exist` on `[server]/socket` as `postgres`
    error: a downgrade does not go up
    Hint: use `kinedb upgrade`
    (usage, exit 2)
    "#);
    downgrade(&db, &folder, &["m1"]).ok();
    assert_snapshot!(downgrade(&db, &folder, &["beds"]).normal(), @r#"
    exit 2
    --- stderr
    database `down_targets_that_do_not_exist` on `[server]/socket` as `postgres`
    error: `m2_beds` is not applied, so nothing can go down to it
    Hint: list what is applied with `kinedb history`
    (unknown-revision, exit 2)
    "#);
    assert_eq!(applied(&db), "m1_rooms");
}

#[test]
fn a_migration_without_a_way_back_stops_before_anything_is_undone() {
    let (db, folder) = at_head("a_migration_without_a_way_back");
    folder.write(
        "m4_purge",
        "delete from rooms;\n",
        "-- kinedb: irreversible: the rooms are gone\n",
    );
    folder.write(
        "m5_paint",
        "alter table rooms add column paint text;\n",
        "alter table rooms drop column paint;\n",
    );
    kinedb(["upgrade", "--migrations", folder.arg()])
        .on(&db)
        .run()
        .ok();
    assert_snapshot!(downgrade(&db, &folder, &["rooms"]).normal(), @r#"
    exit 13
    --- stderr
    database `a_migration_without_a_way_back` on `[server]/socket` as `postgres`
    error: `m4_purge` has no way down: the rooms are gone
    Hint: write the way back as a new migration
    (irreversible, exit 13)
    "#);
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels m4_purge m5_paint");
}

#[test]
fn a_way_back_that_fails_is_rolled_back() {
    let (db, folder) = at_head("a_way_back_that_fails");
    folder.write(
        "m2_beds",
        "create table beds (id int primary key, room int references rooms);\n",
        "drop table beds;\ndrop table bedz;\n",
    );
    assert_snapshot!(downgrade(&db, &folder, &["base"]).normal(), @r#"
    exit 13
    --- stderr
    database `a_way_back_that_fails` on `[server]/socket` as `postgres`
    error: m2_beds.down.sql:2:1: table "bedz" does not exist (SQLSTATE 42P01)
      in: drop table bedz
      rolled back; `m2_beds` stays applied
    Hint: correct the file, then run `kinedb downgrade` again
    (migration-failed, exit 13)
    "#);
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
}

#[test]
fn a_script_and_a_result_for_programs() {
    let (db, folder) = at_head("a_script_and_a_result_for_programs");
    assert_snapshot!(downgrade(&db, &folder, &["-1", "--sql"]).normal(), @r#"
    exit 0
    --- stdout
    -- Made by kinedb. Run it with: psql -X -f FILE
    -- It does not run the gate: prove isolation afterwards with `kinedb verify-rls`.
    \set ON_ERROR_STOP on

    -- m3_labels down
    -- isolation: not known without a rehearsal (`--sql --dry-run`)
    begin;
    alter table rooms drop column label;
    reset role;
    delete from public.seaql_migrations where version = 'm3_labels';
    insert into public.kinedb_history (run_id, name, direction, checksum, started_at, outcome, kinedb_version, reason)
    values (gen_random_uuid(), 'm3_labels', 'down', '[sha256]', now(), 'done', '0.1.0', 'offline script');
    commit;
    --- stderr
    database `a_script_and_a_result_for_programs` on `[server]/socket` as `postgres`
    "#);
    assert_snapshot!(downgrade(&db, &folder, &["-1", "--format", "json"]).normal(), @r#"
    exit 0
    --- stdout
    {
      "run_id": "[uuid]",
      "done": [
        {
          "name": "m3_labels",
          "direction": "down",
          "duration_ms": [took],
          "effect": "neutral",
          "changes": []
        }
      ],
      "head": "m2_beds"
    }
    --- stderr
    database `a_script_and_a_result_for_programs` on `[server]/socket` as `postgres`
    undid m3_labels ([took]): neutral
    "#);
}

#[test]
fn an_unknown_newer_revision_stops_it() {
    let (db, folder) = at_head("an_unknown_newer_revision_stops_it");
    folder.remove("m3_labels");
    assert_snapshot!(downgrade(&db, &folder, &["-1"]).normal(), @r#"
    exit 8
    --- stderr
    database `an_unknown_newer_revision_stops_it` on `[server]/socket` as `postgres`
    error: the database has revision `m3_labels`, which this program does not know
    Hint: use the version of the program that has it; `kinedb status` shows both lists
    (unknown-applied, exit 8)
    "#);
}

#[test]
fn audit_data_takes_a_consent_of_its_own() {
    let db = TestDb::migrated("audit_data_takes_a_consent");
    let tenant = "5e000000-0000-0000-0000-000000000001";
    db.sql(&format!(
        "begin; set local app.tenant_id = '{tenant}'; insert into tenants (tenant_id, slug, name) values ('{tenant}', 'one', 'One'); \
         insert into users (tenant_id, email, full_name, role) values ('{tenant}', 'a@example.org', 'A', 'admin'); commit"
    ));
    let down = |more: &[&str]| {
        kinedb(
            ["downgrade", "tenants_users", "--gate", "off"]
                .iter()
                .chain(more),
        )
        .on(&db)
        .run()
    };
    let consent = ["--accept-data-loss", db.name()];
    assert!(db.value("select count(*) from audit_events") != "0");
    assert_snapshot!(down(&consent).normal(), @r#"
    exit 12
    --- stderr
    database `audit_data_takes_a_consent` on `[server]/socket` as `postgres`
    error: append-only data of database `audit_data_takes_a_consent` would be lost: `audit_events`: 2 rows; the law may require it to be kept
    Hint: export it first, then consent with `--accept-audit-loss audit_data_takes_a_consent --accept-data-loss audit_data_takes_a_consent`
    (data-loss, exit 12)
    "#);
    assert!(db.value("select count(*) from audit_events") != "0");
    let both = [
        "--accept-data-loss",
        db.name(),
        "--accept-audit-loss",
        db.name(),
    ];
    down(&both).ok();
}
