//! `kinedb restore`: six defects that a restore must not survive, and what it leaves.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use std::path::{Path, PathBuf};

use clinics::{A, KEY, RECIPIENT, clinics, fill, has_pg_dump, manifest};
use common::{Run, TestDb, TestServer, kinedb};

fn backup(db: &TestDb, place: &Path) -> PathBuf {
    kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(db)
        .run()
        .ok();
    place.to_owned()
}

fn restore(db: &TestDb, backup: &Path, more: &[&str]) -> Run {
    let args = ["restore", backup.to_str().unwrap()];
    kinedb(args.iter().chain(more)).on(db).run()
}

/// Another dump under the first one's manifest, with a checksum that fits: what a
/// careful liar, or a broken dump program, would leave.
fn swap_dump(honest: &Path, other: &Path) {
    let mut text = manifest(honest);
    text["dump"] = manifest(other)["dump"].clone();
    std::fs::write(honest.join("manifest.json"), text.to_string()).unwrap();
    std::fs::copy(other.join("dump.pgdump"), honest.join("dump.pgdump")).unwrap();
}

fn databases(db: &TestDb) -> String {
    db.value("select coalesce(string_agg(datname, ' '), '') from pg_database where datname ~ '_restore_[0-9a-f]{12}$'")
}

#[test]
fn what_is_restored_is_compared_proven_and_dropped_again() {
    let db = clinics("what_is_restored");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let one = backup(&db, &folder.path().join("one"));
    let run = restore(&db, &one, &["--verify"]).ok();
    assert!(
        run.stdout.contains("isolated") && run.stdout.contains("recovery time"),
        "{}",
        run.stdout
    );
    assert_eq!(databases(&db), "");
    assert!(one.join("verified.json").exists());
    let json = restore(&db, &one, &["--verify", "--format", "json"])
        .ok()
        .json();
    assert_eq!(json["verdict"], "restored");
    assert_eq!(json["differences"], serde_json::json!([]));
}

#[test]
fn a_truncated_or_bent_dump_is_refused_before_data() {
    let db = clinics("truncated_or_bent");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let one = backup(&db, &folder.path().join("one"));
    let dump = one.join("dump.pgdump");
    let whole = std::fs::read(&dump).unwrap();
    std::fs::write(&dump, &whole[..whole.len() - 100]).unwrap();
    let cut = restore(&db, &one, &["--verify"]).exits(14);
    assert!(cut.stderr.contains("bytes of"), "{}", cut.stderr);
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    std::fs::write(&dump, &bent).unwrap();
    let bent = restore(&db, &one, &["--verify"]).exits(14);
    assert!(bent.stderr.contains("checksum"), "{}", bent.stderr);
    // Truncated before the manifest was made: the table of contents is whole, the data is not.
    std::fs::write(&dump, &whole[..whole.len() - 100]).unwrap();
    let mut text = manifest(&one);
    text["dump"]["bytes"] = (whole.len() - 100).into();
    text["dump"]["sha256"] = kinedb::archive::measure(&dump).unwrap().sha256.into();
    std::fs::write(one.join("manifest.json"), text.to_string()).unwrap();
    let lying = restore(&db, &one, &["--verify"]).exits(14);
    assert!(
        lying.stderr.contains("(restore-differs, exit 14)"),
        "{}",
        lying.stderr
    );
    assert_eq!(databases(&db), "");
    std::fs::remove_file(&dump).unwrap();
    restore(&db, &one, &["--verify"]).exits(14);
}

#[test]
fn rows_that_are_missing_or_other_ones_are_found_with_their_tenant() {
    let db = clinics("rows_that_are_missing");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let honest = |name: &str| backup(&db, &folder.path().join(name));
    let (one, two, three) = (honest("one"), honest("two"), honest("three"));
    let unseen = "alter table patients disable trigger all";
    db.sql(&format!(
        "{unseen}; delete from patients where tenant_id = '{A}' and mrn = '2'"
    ));
    swap_dump(&one, &honest("less"));
    let less = restore(&db, &one, &["--verify"]).exits(14);
    assert!(
        less.stdout.contains(&format!(
            "rows: `patients` of tenant {A}: 2 were backed up, 1 are there"
        )),
        "{}",
        less.stdout
    );

    db.sql(&format!("insert into patients (tenant_id, mrn, given_name, family_name, birth_date) values ('{A}', '2', 'X', 'Y', '1990-01-01')"));
    swap_dump(&two, &honest("other"));
    let other = restore(&db, &two, &["--verify"]).exits(14);
    assert!(
        other
            .stdout
            .contains(&format!("contents: `patients` of tenant {A}")),
        "{}",
        other.stdout
    );

    // As a dump by a role that row security binds would be: every table, and no row.
    db.sql("create table empty_one as select 1"); // keeps the database from being the same twice
    db.sql("drop table empty_one");
    db.sql("do $$ declare t regclass; begin \
              for t in select c.oid::regclass from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') \
                and not c.relispartition and c.relname not in ('seaql_migrations', 'kinedb_history') loop \
                execute format('alter table %s disable trigger all', t); end loop; \
              truncate tenants, users, patients, appointments, encounters, notes cascade; end $$");
    swap_dump(&three, &honest("none"));
    let none = restore(&db, &three, &["--verify"]).exits(14);
    assert!(
        none.stdout.contains("rows: `patients`") && none.stdout.contains("0 are there"),
        "{}",
        none.stdout
    );
    assert_eq!(databases(&db), "");
}

#[test]
fn security_that_got_weaker_is_found() {
    let db = clinics("security_that_got_weaker");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, sql, shown) in [
        (
            "demoted",
            "alter table note_versions enable trigger worm_row",
            "note_versions",
        ),
        (
            "unforced",
            "alter table patients no force row level security",
            "force row security: `forced` became `not forced`",
        ),
        (
            "dropped",
            "drop policy tenant_isolation on users",
            "public.users",
        ),
        (
            "granted",
            "grant select on patients to public",
            "public.patients",
        ),
    ] {
        let honest = backup(&db, &folder.path().join(format!("{name}-honest")));
        let weak = db.copied();
        weak.sql(sql);
        let weaker = folder.path().join(name);
        backup(&weak, &weaker);
        swap_dump(&honest, &weaker);
        let found = restore(&db, &honest, &["--verify"]).exits(14);
        assert!(
            found.stdout.contains("catalogue: ") && found.stdout.contains(shown),
            "{name}: {}",
            found.stdout
        );
    }
    assert_eq!(databases(&db), "");
}

#[test]
fn a_server_without_the_roles_gets_no_data() {
    let from = clinics("without_the_roles");
    if !has_pg_dump(&from) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let one = backup(&from, &folder.path().join("one"));
    let server = TestServer::own();
    let fresh = server.database("fresh");
    let refused = restore(&fresh, &one, &["--verify"]).exits(14);
    assert!(
        refused.stderr.contains("roles are missing")
            && refused.stderr.contains("create role \"kine_app\" nologin"),
        "{}",
        refused.stderr
    );
    assert_eq!(databases(&fresh), "");

    // Elsewhere, for good: into a database that is there and empty.
    restore(&fresh, &one, &["--create-roles"]).ok();
    assert_eq!(fresh.value("select count(*) from patients"), "4");
    let bypasses = "select rolbypassrls::text from pg_roles where rolname = 'kine_backup'";
    assert_eq!(fresh.value(bypasses), "true");
    // The chain goes on in another cluster.
    kinedb(["audit", "seal"]).on(&fresh).run().ok();
    kinedb(["audit", "verify", "--rows"]).on(&fresh).run().ok();
    kinedb(["upgrade", "--check"]).on(&fresh).run().ok();

    let full = restore(&fresh, &one, &[]).exits(12);
    assert!(full.stderr.contains("is not empty"), "{}", full.stderr);
    assert_eq!(fresh.value("select count(*) from patients"), "4");
}

#[test]
fn a_missing_or_a_wrong_key_is_told_before_data() {
    let db = clinics("a_missing_key");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    kinedb([
        "backup",
        "--to",
        place.to_str().unwrap(),
        "--recipient",
        RECIPIENT,
    ])
    .on(&db)
    .run()
    .ok();
    let none = restore(&db, &place, &["--verify"]).exits(12);
    assert!(
        none.stderr.contains("no key was given") && none.stderr.contains("--identity"),
        "{}",
        none.stderr
    );
    let file = folder.path().join("key.txt");
    std::fs::write(
        &file,
        "AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SPDYMVT\n",
    )
    .unwrap();
    let wrong = restore(
        &db,
        &place,
        &["--verify", "--identity", file.to_str().unwrap()],
    );
    assert!([2, 12].contains(&wrong.status), "{}", wrong.stderr);
    std::fs::write(&file, format!("# a comment\n{KEY}\n")).unwrap();
    restore(
        &db,
        &place,
        &["--verify", "--identity", file.to_str().unwrap()],
    )
    .ok();
    restore(&db, &place, &["--verify", "--identity", "/nowhere"]).exits(2);
    assert_eq!(databases(&db), "");
}

#[test]
fn what_is_no_backup_or_of_a_newer_server_is_refused() {
    let db = clinics("what_is_no_backup");
    let folder = tempfile::tempdir().unwrap();
    let nothing = restore(&db, folder.path(), &["--verify"]).exits(2);
    assert!(
        nothing.stderr.contains("is no backup"),
        "{}",
        nothing.stderr
    );
    std::fs::write(folder.path().join("manifest.json"), "{}").unwrap();
    restore(&db, folder.path(), &["--verify"]).exits(2);
    if !has_pg_dump(&db) {
        return;
    }
    let one = backup(&db, &folder.path().join("one"));
    let mut text = manifest(&one);
    text["database"]["server_version"] = 990_000.into();
    std::fs::write(one.join("manifest.json"), text.to_string()).unwrap();
    let newer = restore(&db, &one, &["--verify"]).exits(12);
    assert!(
        newer.stderr.contains("the backup is of PostgreSQL 99"),
        "{}",
        newer.stderr
    );
    text["format"] = 99.into();
    std::fs::write(one.join("manifest.json"), text.to_string()).unwrap();
    restore(&db, &one, &["--verify"]).exits(12);
}

/// A restore that was begun, at work on its database.
fn begun(db: &TestDb, folder: &Path, target: &str) -> std::process::Child {
    db.sql("create table big (x text); insert into big select repeat(md5(i::text), 20) from generate_series(1, 200000) i");
    let one = backup(db, &folder.join("one"));
    let mut run = kinedb(["restore", one.to_str().unwrap(), "-u", target]).command();
    let run = run.stderr(std::process::Stdio::null()).spawn().unwrap();
    for _ in 0..1000 {
        if !databases(db).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    run
}

#[test]
fn an_interrupted_restore_leaves_no_database() {
    let server = TestServer::own();
    let db = server.migrated_database("interrupted");
    fill(&db);
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut run = begun(&db, folder.path(), &server.url("wanted"));
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(143));
    assert_eq!(databases(&db), "");
    assert_eq!(
        db.value("select count(*) from pg_database where datname = 'wanted'"),
        "0"
    );
}

#[test]
fn a_killed_restore_leaves_a_closed_database_that_the_next_one_names() {
    let server = TestServer::own();
    let db = server.migrated_database("killed_restore");
    fill(&db);
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut run = begun(&db, folder.path(), &server.url("wanted"));
    run.kill().unwrap();
    run.wait().unwrap();
    let left = databases(&db);
    assert!(left.starts_with("wanted_restore_"), "{left}");
    db.sql("create role anybody login");
    assert_eq!(
        db.value(&format!(
            "select has_database_privilege('anybody', '{left}', 'connect')"
        )),
        "f"
    );
    // Its sessions end by themselves once nobody reads them.
    for _ in 0..500 {
        if db.value(&format!(
            "select count(*) from pg_stat_activity where datname = '{left}'"
        )) == "0"
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    db.sql("drop table big");
    let one = backup(&db, &folder.path().join("two"));
    let run = kinedb([
        "restore",
        one.to_str().unwrap(),
        "-u",
        &server.url("wanted"),
    ])
    .run()
    .ok();
    assert!(
        run.stderr
            .contains(&format!("remove it with: dropdb {left}")),
        "{}",
        run.stderr
    );
    assert_eq!(databases(&db), left);
}
