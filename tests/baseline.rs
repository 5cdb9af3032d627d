//! `kinedb verify-rls --write-baseline`: an old schema with known faults is taken
//! over, and from then on only what is new fails.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::{Run, TestDb, TestServer, kinedb};
use kinedb::fault::Code;

/// Two tenants, and two faults: notes that everybody reads, and rooms without policies.
const OLD: &str = "
create role app login;
create table tenants (id uuid primary key);
insert into tenants values ('aaaaaaaa-0000-4000-8000-00000000000a'), ('bbbbbbbb-0000-4000-8000-00000000000b');
create table visits (tenant_id uuid not null references tenants, id uuid default gen_random_uuid(), body text, primary key (tenant_id, id));
create table notes (like visits including all, foreign key (tenant_id) references tenants);
create table rooms (like visits including all, foreign key (tenant_id) references tenants);
alter table visits enable row level security;
alter table notes enable row level security;
create policy own on visits using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
create policy own on notes using (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
create policy \"open \"\"to\"\" all\" on notes for select using (true);
grant select, insert, update, delete on visits, notes, rooms to app;
";

fn old(name: &str) -> TestDb {
    let db = TestServer::own().database(name);
    db.sql(OLD);
    db
}

/// A folder that goes with the test.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn verify_rls(db: &TestDb, args: &[&str]) -> Run {
    kinedb(["verify-rls", "--format", "json"].iter().chain(args))
        .on(db)
        .run()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn write(db: &TestDb, folder: &Path) -> PathBuf {
    let file = folder.join("baseline.toml");
    verify_rls(db, &["--write-baseline", text(&file)]).ok();
    file
}

fn entries(file: &Path) -> Vec<toml::Table> {
    let table: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    table["known"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry.as_table().unwrap().clone())
        .collect()
}

#[test]
fn what_is_there_is_accepted_and_what_is_new_is_not() {
    let (db, folder) = (old("what_is_there_is_accepted"), folder());
    let errors = verify_rls(&db, &[]).exits(4).json()["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .count();
    assert!(errors > 1);

    let file = write(&db, folder.path());
    let known = entries(&file);
    let counted: i64 = known
        .iter()
        .map(|entry| entry["count"].as_integer().unwrap())
        .sum();
    assert_eq!(usize::try_from(counted).unwrap(), errors);
    for entry in &known {
        let reason = entry["reason"].as_str().unwrap();
        assert!(
            reason.contains("when this baseline was written on 20"),
            "{reason}"
        );
    }
    assert!(
        known
            .iter()
            .any(|entry| entry["id"].as_str() == Some("foreign-rows-visible")
                && entry["object"].as_str() == Some("notes")
                && entry["role"].as_str() == Some("app")
                && entry["action"].as_str() == Some("select"))
    );

    let green = verify_rls(&db, &["--baseline", text(&file)]).ok();
    let report = green.json();
    assert_eq!(report["verdict"], "isolated");
    assert_eq!(report["known"], errors);
    assert!(
        green
            .stderr
            .contains(&format!("{errors} errors are known to")),
        "{}",
        green.stderr
    );
    let people = kinedb(["verify-rls", "--baseline", text(&file)])
        .on(&db)
        .run()
        .ok();
    assert!(
        people
            .stdout
            .contains(&format!("isolated but for {errors} known: ")),
        "{}",
        people.stdout
    );

    // A fault of another kind, and a second one of a kind that is known.
    db.sql("create policy opened on visits for select using (true)");
    let run = verify_rls(&db, &["--baseline", text(&file)]).exits(4);
    assert!(
        run.json()["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| { finding["severity"] == "error" && finding["object"] == "visits" }),
        "{}",
        run.stdout
    );
    db.sql("drop policy opened on visits; create policy opened on notes for select using (true)");
    let run = verify_rls(&db, &["--baseline", text(&file)]).exits(4);
    assert!(
        run.stderr
            .contains("and there are 2: none of them is accepted"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_renewed_baseline_keeps_reasons_and_forgets_what_was_mended() {
    let (db, folder) = (old("a_renewed_baseline"), folder());
    let file = write(&db, folder.path());
    let first = std::fs::read_to_string(&file).unwrap();
    let reviewed = first.replace("there when", "ticket 12, there when");
    assert_ne!(first, reviewed);
    std::fs::write(&file, &reviewed).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();

    let update = ["--baseline", text(&file), "--update-baseline"];
    verify_rls(&db, &update).ok();
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        reviewed,
        "the same state gives the same file"
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    db.sql("drop table rooms; grant truncate on visits to app");
    let idle = verify_rls(&db, &["--baseline", text(&file)]).exits(4);
    assert!(
        idle.stderr
            .contains("of `rooms`, which is not there any more"),
        "{}",
        idle.stderr
    );
    let run = verify_rls(&db, &update).ok();
    assert!(run.stderr.contains("1 entries added"), "{}", run.stderr);
    let known = entries(&file);
    assert!(
        known
            .iter()
            .all(|entry| entry["object"].as_str() != Some("rooms"))
    );
    for entry in &known {
        let reason = entry["reason"].as_str().unwrap();
        let new = entry["object"].as_str() == Some("visits");
        assert_eq!(reason.starts_with("ticket 12, "), !new, "{entry}");
    }
}

#[test]
fn a_run_that_saw_nothing_cannot_be_accepted() {
    let db = TestServer::own().database("a_run_that_saw_nothing");
    db.sql("create role app login; create table things (id int primary key); grant select on things to app");
    let folder = folder();
    let file = folder.path().join("baseline.toml");
    let run = verify_rls(&db, &["--write-baseline", text(&file)]).exits(4);
    assert!(
        run.stderr
            .contains("the proof could not be held as a whole"),
        "{}",
        run.stderr
    );
    verify_rls(&db, &["--baseline", text(&file)]).exits(4);
}

#[test]
fn a_file_that_cannot_be_written_or_used_is_told_before_the_proof() {
    let (db, folder) = (old("a_file_that_cannot_be_written"), folder());
    let there = folder.path().join("there.toml");
    std::fs::write(&there, "[[known]]\nid = \"x\"\n").unwrap();
    let nowhere = folder.path().join("no/such/file.toml");
    let below = there.join("file.toml");
    for (args, code, words) in [
        (
            ["--write-baseline", text(&there)],
            Code::Refused,
            "--update-baseline",
        ),
        (
            ["--write-baseline", text(folder.path())],
            Code::BadFile,
            "is a folder",
        ),
        (
            ["--write-baseline", text(&nowhere)],
            Code::BadFile,
            "there is no folder",
        ),
        (
            ["--write-baseline", text(&below)],
            Code::BadFile,
            "there is no folder",
        ),
        (
            ["--baseline", text(&nowhere)],
            Code::BadFile,
            "--write-baseline FILE",
        ),
        (
            ["--baseline", text(&there)],
            Code::BadConfig,
            "missing field `object`",
        ),
    ] {
        let run = verify_rls(&db, &args).exits(code.exit().code().into());
        assert!(run.stderr.contains(words), "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains("Hint: "), "{args:?}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{args:?}");
    }
    assert_eq!(
        std::fs::read_to_string(&there).unwrap(),
        "[[known]]\nid = \"x\"\n"
    );
    for args in [
        &["--update-baseline"][..],
        &["--write-baseline", "a", "--baseline", "b"],
        &["--write-baseline", "a", "--catalog-only"],
        &["--write-baseline", "a", "--self-test"],
    ] {
        verify_rls(&db, args).exits(2);
    }
}
