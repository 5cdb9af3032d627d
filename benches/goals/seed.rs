//! `seed --scale` beside COPY by a superuser of the same rows into the same tables,
//! with the same triggers and indexes: rows are worth what they cost to load.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{TestDb, TestServer, kinedb};
use kinedb::seed;
use sqlx::{Connection as _, PgConnection};

/// Tables in the order of their references, with the columns that are written.
const TABLES: [(&str, &str, &str); 5] = [
    (
        "users",
        "tenant_id, id, email, full_name, role, status",
        "email like '%@generated.example.org'",
    ),
    (
        "patients",
        "tenant_id, id, mrn, given_name, family_name, birth_date, sex, language, phone, email, health_insurance_number, primary_practitioner_id",
        "mrn like 'GEN-%'",
    ),
    (
        "appointments",
        "tenant_id, id, patient_id, practitioner_id, starts_at, ends_at, kind, status, reason",
        "practitioner_id in (select id from users where email like '%@generated.example.org')",
    ),
    (
        "encounters",
        "tenant_id, id, patient_id, practitioner_id, appointment_id, kind, started_at, ended_at, status",
        "practitioner_id in (select id from users where email like '%@generated.example.org')",
    ),
    (
        "notes",
        "tenant_id, id, encounter_id, author_id, subjective, objective, assessment, plan, status",
        "author_id in (select id from users where email like '%@generated.example.org')",
    ),
];

pub(crate) fn measure_all() {
    let patients: u64 =
        std::env::var("KINEDB_BENCH_PATIENTS").map_or(20_000, |count| count.parse().unwrap());
    let rounds: usize =
        std::env::var("KINEDB_BENCH_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let full = seeded("seed_scale_rows");
    runtime.block_on(generate(&full, patients, 1));
    let folder = tempfile::tempdir().unwrap();
    let script = dump(&full, folder.path());

    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds {
        let db = seeded(&format!("seed_scale_copy_{round}"));
        let began = Instant::now();
        let output = psql(&db, &["-Xq", "-v", "ON_ERROR_STOP=1", "-f", &script])
            .output()
            .unwrap();
        times[0].push(began.elapsed());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for connections in [1, 2] {
            let db = seeded(&format!("seed_scale_{connections}_{round}"));
            times[connections].push(runtime.block_on(generate(&db, patients, connections)));
        }
    }
    println!("\nseed --scale {patients}, medians of {rounds} runs");
    let copy = median(&mut times[0]);
    println!("  {:<34} {:>8.2} s", "COPY by a superuser", copy);
    for (connections, goal) in [(1, 0.8), (2, 1.3)] {
        let time = median(&mut times[connections]);
        let speed = copy / time;
        println!(
            "  {:<34} {time:>8.2} s  {speed:>5.2} x its speed (goal: >= {goal}) {}",
            format!("kinedb, {connections} connection(s)"),
            if speed >= goal { "met" } else { "MISSED" }
        );
    }
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// A database with the three clinics of the fixtures.
fn seeded(name: &str) -> TestDb {
    let db = TestDb::new(name);
    kinedb(["seed", "--dev"]).on(&db).run().ok();
    db
}

async fn generate(db: &TestDb, patients: u64, connections: usize) -> Duration {
    let mut conns = Vec::new();
    for _ in 0..connections {
        conns.push(PgConnection::connect(&db.url()).await.unwrap());
    }
    let clinics = seed::load_dev(&mut conns[0], &mut |_| {}).await.unwrap();
    let began = Instant::now();
    let blocks = seed::blocks(&clinics.clinics, patients);
    let made = seed::generate(&mut conns, &blocks, &|_| {}).await.unwrap();
    let took = began.elapsed();
    assert_eq!(made, patients);
    for conn in conns {
        conn.close().await.unwrap();
    }
    took
}

/// Writes the generated rows to files, per clinic, and the script that copies them in.
fn dump(db: &TestDb, folder: &std::path::Path) -> String {
    let mut out = String::new();
    let mut back = String::new();
    for tenant in db
        .value("select string_agg(tenant_id::text, ',') from tenants")
        .split(',')
    {
        writeln!(
            back,
            "begin;\nselect set_config('app.tenant_id', '{tenant}', true) \\g /dev/null"
        )
        .unwrap();
        for (table, columns, generated) in TABLES {
            let file = folder.join(format!("{tenant}-{table}"));
            let file = file.display();
            writeln!(out, "\\copy (select {columns} from {table} where tenant_id = '{tenant}' and {generated}) to '{file}'").unwrap();
            writeln!(back, "\\copy {table} ({columns}) from '{file}'").unwrap();
        }
        writeln!(back, "commit;").unwrap();
    }
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(path("out.sql"), out).unwrap();
    std::fs::write(path("back.sql"), back).unwrap();
    let output = psql(
        db,
        &["-Xq", "-v", "ON_ERROR_STOP=1", "-f", &path("out.sql")],
    )
    .output()
    .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    path("back.sql")
}

/// The server package's own psql, not a wrapper.
fn psql(db: &TestDb, args: &[&str]) -> Command {
    TestServer::shared().dev().psql(db.name(), args).unwrap()
}
