//! `kinedb seed`

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TestDb, kinedb};
use kinedb::seed::{self, Source};

/// What tells one state of the data from another.
const STATE: &str = "select concat_ws(' ', (select count(*) from patients), (select count(*) from notes), \
    (select count(*) from note_versions), (select count(*) from audit_events), \
    (select md5(string_agg(p::text, ',' order by tenant_id, id)) from (select tenant_id, id, mrn, family_name from patients) p))";

fn seed_dev(db: &TestDb) -> common::Run {
    kinedb(["seed", "--dev"]).on(db).run()
}

#[test]
fn an_empty_database_becomes_three_clinics_and_stays_so() {
    let db = TestDb::new("an_empty_database_becomes_three_clinics");
    seed_dev(&db).ok();
    let first = db.value(STATE);
    assert_eq!(db.value("select count(*) from tenants"), "3");
    assert_eq!(
        db.value("select environment from kinedb_environment"),
        "development"
    );
    seed_dev(&db).ok();
    assert_eq!(db.value(STATE), first, "the second run changed something");
    let other = TestDb::new("an_empty_database_becomes_three_clinics_again");
    seed_dev(&other).ok();
    let ids = "select md5(string_agg(id::text, ',' order by id)) from patients";
    assert_eq!(
        db.value(ids),
        other.value(ids),
        "ids differ between machines"
    );
}

#[test]
fn every_status_role_and_kind_is_there() {
    let db = TestDb::new("every_status_role_and_kind_is_there");
    seed_dev(&db).ok();
    for (table, column) in [
        ("users", "role"),
        ("users", "status"),
        ("appointments", "kind"),
        ("appointments", "status"),
        ("encounters", "kind"),
        ("encounters", "status"),
        ("notes", "status"),
        ("patients", "sex"),
        ("tenants", "status"),
    ] {
        let check = format!(
            "select pg_get_constraintdef(oid) from pg_constraint where conrelid = '{table}'::regclass \
             and contype = 'c' and conname = '{table}_{column}_check'"
        );
        let known = db.value(&check);
        let listed: Vec<&str> = known.split('\'').skip(1).step_by(2).collect();
        assert!(listed.len() > 1, "{table}.{column}: {known}");
        for word in listed {
            let there = db.value(&format!(
                "select count(*) > 0 from {table} where {column} = '{word}'"
            ));
            assert_eq!(there, "t", "no {table} with {column} {word}");
        }
    }
}

#[test]
fn a_database_that_is_not_for_development_is_refused_and_left_alone() {
    let db = TestDb::new("a_database_that_is_not_for_development");
    db.sql("create table orders (id int); insert into orders values (1)");
    let run = seed_dev(&db).exits(12);
    assert!(
        run.stderr
            .contains("not marked as one for development and holds 1 tables"),
        "{}",
        run.stderr
    );
    assert_eq!(db.value("select to_regclass('patients')"), "");
    let db = TestDb::migrated("a_database_that_is_for_production");
    db.sql(
        "create table if not exists kinedb_environment (singleton boolean primary key default true, environment text not null); \
         insert into kinedb_environment (environment) values ('production')",
    );
    let run = kinedb(["seed", "--dev", "--quiet"]).on(&db).run().exits(12);
    assert!(
        run.stderr.contains("is marked as `production`"),
        "{}",
        run.stderr
    );
    assert_eq!(db.value("select count(*) from tenants"), "0");
}

#[test]
fn generated_patients_are_whole_the_same_everywhere_and_made_once() {
    // What is made holds together: visits have patients, encounters their visits, notes their versions.
    const WHOLE: &str = "select concat_ws(' ', (select count(*) from patients where mrn like 'GEN-%'), \
        (select count(distinct tenant_id) from patients where mrn like 'GEN-%'), \
        (select count(*) from appointments a join patients p using (tenant_id) where p.id = a.patient_id and p.mrn like 'GEN-%'), \
        (select count(*) = (select count(*) from note_versions) from notes where version = 1), \
        (select md5(string_agg(p.id::text || p.family_name, ',' order by p.id)) from patients p))";
    let db = TestDb::new("generated_patients");
    let run = kinedb(["seed", "--dev", "--scale", "3000"])
        .on(&db)
        .run()
        .ok();
    assert!(
        run.stdout.contains("generated: 3000 patients"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("isolated"), "{}", run.stdout);
    let first = db.value(WHOLE);
    assert!(first.starts_with("3000 3 6000 "), "{first}");
    let audited = "select count(*) from audit_events";
    let events = db.value(audited);
    let run = kinedb(["seed", "--dev", "--scale", "3000"])
        .on(&db)
        .run()
        .ok();
    assert!(run.stdout.contains("3000 already there"), "{}", run.stdout);
    assert_eq!(db.value(WHOLE), first, "the second run changed something");
    assert_eq!(db.value(audited), events, "the second run wrote something");
    // More of them keeps those that were there.
    kinedb(["seed", "--dev", "--scale", "4000"])
        .on(&db)
        .run()
        .ok();
    let other = TestDb::new("generated_patients_again");
    kinedb(["seed", "--dev", "--scale", "4000"])
        .on(&other)
        .run()
        .ok();
    assert_eq!(
        db.value(WHOLE),
        other.value(WHOLE),
        "it depends on the way there"
    );
}

#[test]
fn patients_are_invented_for_development_only() {
    let db = TestDb::migrated("patients_are_invented_for_development_only");
    let run = kinedb(["seed", "--scale", "10"]).on(&db).run().exits(2);
    assert!(
        run.stderr.contains("Hint: kinedb seed --dev --scale 10"),
        "{}",
        run.stderr
    );
    kinedb(["seed", "--dev", "--scale", "0"])
        .on(&db)
        .run()
        .exits(2);
    assert_eq!(db.value("select count(*) from patients"), "0");
}

#[test]
fn from_nothing_to_a_seeded_database_and_again() {
    let folder = tempfile::tempdir().unwrap();
    // The server's user must be able to get there.
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let dir = folder.path().join("dev");
    let kinedb = |args: &[&str]| kinedb(args).env("KINEDB_DEV_DIR", &dir).run();
    kinedb(&["seed", "--dev"]).ok();
    let run = kinedb(&["seed", "--dev"]).ok();
    assert!(run.stdout.contains("0 new"), "{}", run.stdout);
    assert!(
        !run.stdout.contains("isolated"),
        "it claims what it did not prove: {}",
        run.stdout
    );
    let status = kinedb(&["dev", "status", "--format", "json"]).ok().json();
    assert_eq!(status["state"], "running");
    kinedb(&["dev", "reset", "--yes"]).ok();
    assert_eq!(
        kinedb(&["dev", "status", "--format", "json"]).ok().json()["state"],
        "absent"
    );
}

#[tokio::test]
async fn a_fixture_that_breaks_a_constraint_is_named_and_nothing_of_its_clinic_stays() {
    let db = TestDb::migrated("a_fixture_that_breaks_a_constraint");
    let mut sources: Vec<Source> = seed::dev_sources();
    let text = &mut sources[0].text;
    assert!(text.contains("role = \"practitioner\""));
    *text = text.replacen("role = \"practitioner\"", "role = \"wizard\"", 1);
    let path = sources[0].path.clone();
    sources.truncate(1);
    let mut conn = db.connect().await;
    let error = seed::load(&mut conn, &sources, &mut |_| {})
        .await
        .unwrap_err();
    let said = format!("{error:#}");
    assert!(
        said.contains(&path) && said.contains("users") && said.contains("users_role_check"),
        "{said}"
    );
    assert_eq!(db.value("select count(*) from tenants"), "0");
}

#[tokio::test]
async fn an_unknown_key_is_named_with_its_line() {
    let db = TestDb::migrated("an_unknown_key_is_named_with_its_line");
    let mut sources: Vec<Source> = seed::dev_sources();
    sources[0].text = sources[0]
        .text
        .replacen("patient = \"p-", "patient = \"nobody-", 1);
    sources.truncate(1);
    let mut conn = db.connect().await;
    let error = seed::load(&mut conn, &sources, &mut |_| {})
        .await
        .unwrap_err();
    let said = format!("{error:#}");
    assert!(
        said.contains("nobody-") && said.contains(" line "),
        "{said}"
    );
    assert_eq!(db.value("select count(*) from tenants"), "0");
}

#[test]
fn without_dev_there_is_nothing_to_load() {
    let db = TestDb::migrated("without_dev_there_is_nothing_to_load");
    let run = kinedb(["seed"]).on(&db).run().ok();
    insta::assert_snapshot!(run.normal(), @r###"
    exit 0
    --- stdout
    nothing to load: this schema has no reference data
    --- stderr
    database `without_dev_there_is_nothing_to_load` on `[server]/socket` as `postgres`
    for development clinics: kinedb seed --dev
    "###);
}
