//! `kinedb export`: one clinic's rows, all of them and nobody else's.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use clinics::{A, B, RECIPIENT, USER, clinics, fill};
use common::{TestServer, kinedb};

#[test]
fn one_clinic_gets_its_rows_exactly() {
    let db = clinics("one_clinic_gets");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    let to = place.to_str().unwrap();
    let result = kinedb(["export", "--tenant", A, "--to", to, "--format", "json"])
        .on(&db)
        .run()
        .ok()
        .json();
    let count = |table: &str| {
        let files = result["files"].as_array().unwrap();
        files.iter().find(|one| one["table"] == table).unwrap()["rows"]
            .as_i64()
            .unwrap()
    };
    assert_eq!(
        (count("tenants"), count("patients"), count("note_versions")),
        (1, 2, 2)
    );
    assert_eq!(result["counted"], true);
    assert_eq!(
        result["kept_back"],
        serde_json::json!(["audit_keys", "audit_seals"])
    );
    for file in result["files"].as_array().unwrap() {
        let text = std::fs::read_to_string(place.join(file["file"].as_str().unwrap())).unwrap();
        assert_eq!(text.lines().count() as i64, file["rows"].as_i64().unwrap());
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(row["tenant_id"], A);
        }
        assert_ne!(file["role"], "postgres");
    }
    let patients = std::fs::read_to_string(place.join("patients.ndjson")).unwrap();
    assert!(
        patients.contains(r#""family_name":"O'Neil\n\"x\\""#),
        "{patients}"
    );
    // It left a trace, and so does the next one, with its user.
    let trace = "select count(*) || ' ' || count(actor_id) || ' ' || count(system_actor) from audit_events where action = 'export'";
    let tables = result["files"].as_array().unwrap().len();
    assert_eq!(db.value(trace), format!("{tables} 0 {tables}"));
    let again = kinedb(["export", "--tenant", A, "--to", to])
        .on(&db)
        .run()
        .exits(12);
    assert!(
        again.stderr.contains("nothing is written over"),
        "{}",
        again.stderr
    );
    let other = folder.path().join("two");
    kinedb([
        "export",
        "--tenant",
        B,
        "--to",
        other.to_str().unwrap(),
        "--user",
        USER,
        "--recipient",
        RECIPIENT,
    ])
    .on(&db)
    .run()
    .ok();
    assert_eq!(db.value(trace), format!("{} {tables} {tables}", tables * 2));
    let sealed = std::fs::read(other.join("patients.ndjson.age")).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1"));
}

#[test]
fn a_clinic_that_does_not_exist_is_refused() {
    let db = clinics("does_not_exist");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    let nobody = "cccccccc-0000-4000-8000-00000000000c";
    let run = kinedb([
        "export",
        "--tenant",
        nobody,
        "--to",
        place.to_str().unwrap(),
    ])
    .on(&db)
    .run()
    .exits(12);
    assert!(run.stderr.contains("there is no clinic"), "{}", run.stderr);
    kinedb(["export", "--tenant", "x", "--to", place.to_str().unwrap()])
        .on(&db)
        .run()
        .exits(2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_table_that_row_security_does_not_bind_is_not_exported() {
    let server = TestServer::own();
    let db = server.migrated_database("does_not_bind");
    fill(&db);
    db.sql("create role clerk login; grant kine_app, kine_auditor to clerk; create role stranger login");
    let folder = tempfile::tempdir().unwrap();
    let export = |login: &str, name: &str, more: &[&str]| {
        let place = folder.path().join(name);
        let args = ["export", "--tenant", A, "--to", place.to_str().unwrap()];
        kinedb(args.iter().chain(more)).on_as(&db, login).run()
    };
    let nameless = export("clerk", "nameless", &[]).exits(7);
    assert!(nameless.stderr.contains("--user"), "{}", nameless.stderr);
    let plain = export("clerk", "plain", &["--user", USER]).ok();
    assert!(
        plain.stderr.contains("not counted past row security"),
        "{}",
        plain.stderr
    );
    export("stranger", "stranger", &["--user", USER]).exits(7);
    db.sql("alter table patients disable row level security");
    let open = export("postgres", "open", &[]).exits(12);
    assert!(
        open.stderr.contains("other clinics' rows"),
        "{}",
        open.stderr
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn rows_that_the_clinic_itself_does_not_see_fail_its_export() {
    let server = TestServer::own();
    let db = server.migrated_database("does_not_see");
    fill(&db);
    db.sql(
        "create policy hidden on patients as restrictive for select to kine_app using (mrn <> '2')",
    );
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    let run = kinedb(["export", "--tenant", A, "--to", place.to_str().unwrap()])
        .on(&db)
        .run()
        .exits(14);
    assert!(
        run.stderr
            .contains("`patients` holds 2 rows of the clinic, and 1 were exported"),
        "{}",
        run.stderr
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
