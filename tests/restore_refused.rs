//! `kinedb restore`: what was wrong before the backup, or is in the way now.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use std::path::Path;

use clinics::{A, clinics, has_pg_dump, manifest};
use common::{TestDb, kinedb};

fn backup(db: &TestDb, place: &Path) {
    let to = place.to_str().unwrap();
    kinedb(["backup", "--plain", "--to", to]).on(db).run().ok();
}

/// The database once more, with something done to it.
fn changed(db: &TestDb, sql: &str) -> TestDb {
    let copy = db.copied();
    copy.sql(sql);
    copy
}

#[test]
fn what_leaked_or_was_tampered_with_before_the_backup_is_not_restored() {
    let db = clinics("leaked_before");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, sql, shown) in [
        (
            "leak",
            "create policy open on patients using (true)".to_owned(),
            "isolation: ",
        ),
        (
            "tampered",
            format!(
                "do $$ declare p regclass; begin for p in select relid from pg_partition_tree('audit_events') loop \
                   execute format('alter table %s disable trigger user', p); end loop; end $$; \
                 update audit_events set action = 'read' where tenant_id = '{A}' and table_name = 'encounters'; \
                 do $$ declare t record; begin for t in select tgrelid::regclass as on_table, tgname from pg_trigger \
                   where tgname in ('worm_row', 'worm_statement') and tgrelid in (select relid from pg_partition_tree('audit_events')) loop \
                   execute format('alter table %s enable always trigger %I', t.on_table, t.tgname); end loop; end $$"
            ),
            "audit: ",
        ),
    ] {
        let place = folder.path().join(name);
        backup(&changed(&db, &sql), &place);
        let run = kinedb(["restore", place.to_str().unwrap(), "--verify"])
            .on(&db)
            .run()
            .exits(14);
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.starts_with(shown)),
            "{name}: {}",
            run.stdout
        );
    }
}

#[test]
fn a_dump_that_is_not_the_manifests_gets_no_name() {
    let db = clinics("gets_no_name");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let before = changed(&db, "create table extra (id int)");
    for (name, sql, shown) in [
        (
            "history",
            "delete from seaql_migrations where version = (select max(version) from seaql_migrations)",
            "history: applied migrations",
        ),
        (
            "sequence",
            "select setval(c.oid::regclass, 999) from pg_class c where c.relkind = 'S' and c.relnamespace = 'public'::regnamespace",
            "it stands at another value",
        ),
        (
            "table",
            "drop table extra",
            "catalogue: `extra`: the table is not there",
        ),
    ] {
        let (place, other) = (folder.path().join(name), folder.path().join("other"));
        backup(&before, &place);
        let after = changed(&before, sql);
        backup(&after, &other);
        drop(after);
        let mut text = manifest(&place);
        text["dump"] = manifest(&other)["dump"].clone();
        std::fs::write(place.join("manifest.json"), text.to_string()).unwrap();
        std::fs::rename(other.join("dump.pgdump"), place.join("dump.pgdump")).unwrap();
        std::fs::remove_dir_all(other).unwrap();
        // In earnest, not for a drill: it gets its name only if nothing differs.
        let url = db.server().url("recovered");
        let run = kinedb(["restore", place.to_str().unwrap(), "-u", &url])
            .run()
            .exits(14);
        assert!(run.stdout.contains(shown), "{name}: {}", run.stdout);
        assert_eq!(
            db.value("select count(*) from pg_database where datname ~ 'recover'"),
            "0",
            "{name}"
        );
        assert!(!place.join("verified.json").exists(), "{name}");
    }
}

#[test]
fn a_database_that_holds_anything_is_not_restored_over() {
    let db = clinics("not_restored_over");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    backup(&db, &place);
    let target = db.server().database("target");
    for (make, drop) in [
        ("create table t (i int)", "drop table t"),
        (
            "create function f() returns int language sql return 1",
            "drop function f",
        ),
        ("create schema s", "drop schema s"),
    ] {
        target.sql(make);
        let run = kinedb(["restore", place.to_str().unwrap()])
            .on(&target)
            .run()
            .exits(12);
        assert!(
            run.stderr.contains("is not empty"),
            "{make}: {}",
            run.stderr
        );
        target.sql(drop);
    }
    kinedb(["restore", place.to_str().unwrap()])
        .on(&target)
        .run()
        .ok();
    assert_eq!(target.value("select count(*) from tenants"), "2");
}
