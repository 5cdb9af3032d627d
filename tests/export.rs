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

#[test]
fn an_export_that_was_changed_is_refused_by_whoever_receives_it() {
    let db = clinics("export_signed");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    let to = place.to_str().unwrap();
    let (key, other) = (folder.path().join("key"), folder.path().join("other"));
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::write(&other, "fedcba9876543210fedcba9876543210\n").unwrap();
    let (key, other) = (key.to_str().unwrap(), other.to_str().unwrap());
    kinedb(["export", "--tenant", A, "--to", to, "--manifest-key", key])
        .on(&db)
        .run()
        .ok();
    // Whoever receives it has no database.
    let check = |more: &[&str]| {
        let args = ["export", "check", "--in", to, "--format", "json"];
        kinedb(args.iter().chain(more)).run()
    };
    let whole = check(&["--manifest-key", key]).ok().json();
    assert_eq!(whole["signature"], "good");
    assert_eq!(whole["verdict"], "whole");
    let unchecked = check(&[]).ok();
    assert!(
        unchecked.stderr.contains("was not checked"),
        "{}",
        unchecked.stderr
    );
    let wrong = check(&["--manifest-key", other]).exits(14);
    assert!(wrong.stderr.contains("this key"), "{}", wrong.stderr);

    // A row less, with a manifest that agrees with it: only the signature tells.
    let file = place.join("patients.ndjson");
    let honest = std::fs::read_to_string(&file).unwrap();
    let shorter = honest.lines().next().unwrap().to_owned() + "\n";
    std::fs::write(&file, &shorter).unwrap();
    let differs = check(&[]).exits(14);
    assert!(
        differs
            .stderr
            .contains("`patients.ndjson` is not the file that was written"),
        "{}",
        differs.stderr
    );
    check(&["--manifest-key", key]).exits(14);
    let text = std::fs::read_to_string(place.join("manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let files = manifest["files"].as_array_mut().unwrap();
    let entry = files
        .iter_mut()
        .find(|one| one["file"] == "patients.ndjson")
        .unwrap();
    let digest = sha2::Digest::finalize(sha2::Digest::chain_update(
        <sha2::Sha256 as sha2::Digest>::new(),
        &shorter,
    ));
    entry["sha256"] = digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into();
    std::fs::write(place.join("manifest.json"), manifest.to_string()).unwrap();
    let count = check(&[]).exits(14);
    assert!(
        count.stderr.contains("holds 1 rows, its manifest says 2"),
        "{}",
        count.stderr
    );
    let files = manifest["files"].as_array_mut().unwrap();
    for one in files
        .iter_mut()
        .filter(|one| one["file"] == "patients.ndjson")
    {
        one["rows"] = 1.into();
    }
    std::fs::write(place.join("manifest.json"), manifest.to_string()).unwrap();
    check(&[]).ok();
    let forged = check(&["--manifest-key", key]).exits(14);
    assert!(
        forged.stderr.contains("is not the one that was signed"),
        "{}",
        forged.stderr
    );
    std::fs::remove_file(place.join("manifest.hmac")).unwrap();
    let unsigned = check(&["--manifest-key", key]).exits(14);
    assert!(
        unsigned.stderr.contains("is not signed"),
        "{}",
        unsigned.stderr
    );

    // What is not whole without any key.
    std::fs::write(&file, &shorter).unwrap();
    std::fs::write(place.join("more.ndjson"), "").unwrap();
    let more = check(&[]).exits(14).json();
    assert_eq!(
        more["problems"],
        serde_json::json!(["`more.ndjson` is not in the manifest"])
    );
    std::fs::remove_file(&file).unwrap();
    assert!(check(&[]).exits(14).stderr.contains("is missing"));
    std::fs::remove_file(place.join("manifest.json")).unwrap();
    let none = check(&[]).exits(2);
    assert!(none.stderr.contains("is no export"), "{}", none.stderr);
}
