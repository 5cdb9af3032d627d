//! Two clinics with a little of everything, and reading what a backup says.

// Each test binary uses a part. Helpers are not test functions.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::path::Path;

use super::common::{TestDb, TestServer, kinedb};

pub const A: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
pub const B: &str = "bbbbbbbb-0000-4000-8000-00000000000b";
pub const USER: &str = "00000000-0000-4000-8000-000000000001";

/// A pair of keys for tests only.
pub const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
pub const KEY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

/// A migrated database with two clinics, sealed. On a server of its own: open
/// transactions of other tests would hold the seals back.
pub fn clinics(test: &str) -> TestDb {
    let db = TestServer::own().migrated_database(test);
    fill(&db);
    db
}

pub fn fill(db: &TestDb) {
    for (clinic, slug) in [(A, "a"), (B, "b")] {
        let context = format!(
            "select set_config('app.tenant_id', '{clinic}', true), set_config('app.user_id', '{USER}', true)"
        );
        db.sql(&format!(
            "begin; {context}; set local role kine_owner; \
             insert into tenants (tenant_id, slug, name) values ('{clinic}', '{slug}', 'Clinic'); \
             insert into users (id, email, full_name, role) values ('{USER}', 'a@example.org', 'A', 'practitioner'); commit; \
             begin; {context}; set local role kine_app; \
             insert into patients (id, mrn, given_name, family_name, birth_date) values \
               ('00000000-0000-4000-8000-000000000002', '1', 'Marguerite', 'Roy', '2000-01-01'), \
               ('00000000-0000-4000-8000-000000000003', '2', 'Jean', E'O''Neil\\n\"x\\\\', '1990-01-01'); \
             insert into encounters (id, patient_id, practitioner_id) values \
               ('00000000-0000-4000-8000-000000000004', '00000000-0000-4000-8000-000000000002', '{USER}'); \
             insert into notes (id, encounter_id, author_id, plan) values \
               ('00000000-0000-4000-8000-000000000005', '00000000-0000-4000-8000-000000000004', '{USER}', 'rest'); \
             update notes set plan = 'rest and tea'; commit"
        ));
    }
    kinedb(["audit", "seal"]).on(db).run().ok();
}

/// Other server versions come without client programs.
pub fn has_pg_dump(db: &TestDb) -> bool {
    let place = std::env::temp_dir().join(format!("kinedb-none-{}", std::process::id()));
    let inside = place.join("missing").join("one");
    // Looks for the program before the folder.
    let run = kinedb(["backup", "--plain", "--to", inside.to_str().unwrap()])
        .on(db)
        .run();
    if run.stderr.contains("no-postgres") {
        eprintln!("SKIPPED: no pg_dump for this server");
        return false;
    }
    true
}

/// The manifest of a backup.
pub fn manifest(backup: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(backup.join("manifest.json")).unwrap()).unwrap()
}

/// Rows of a table as the manifest counts them.
pub fn rows(backup: &Path, table: &str) -> i64 {
    let manifest = manifest(backup);
    let tables = manifest["tables"].as_array().unwrap();
    let found = tables.iter().find(|one| one["name"] == table).unwrap();
    let parts = found["parts"].as_array().unwrap();
    parts
        .iter()
        .map(|part| part["rows"].as_i64().unwrap())
        .sum()
}
