//! What the audit trail costs: statements with and without its trigger, side by side
//! through one client; sealing and verifying as whole processes.

use std::time::{Duration, Instant};

use crate::common::{TestDb, TestServer, block_on, kinedb};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const CLINIC: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
const USER: &str = "00000000-0000-4000-8000-000000000001";
const EVENTS: u32 = 400_000;

pub(crate) fn measure_all() {
    let server = TestServer::own();
    let (with, without) = (clinic(&server, "with"), clinic(&server, "without"));
    without.sql("drop trigger record_audit_event on patients");
    block_on(async {
        let (mut with, mut without) = (with.connect().await, without.connect().await);
        let one = "insert into patients (mrn, given_name, family_name, birth_date) \
                   values (gen_random_uuid()::text, 'G', 'F', '2000-01-01')";
        let change = "update patients set phone = gen_random_uuid()::text where mrn = 'first'";
        for (title, sql) in [("insert of one row", one), ("update of one row", change)] {
            ratio(title, Work::Unit, &mut without, &mut with, sql, 600, 1.35).await;
        }
        let many = |count: u32| {
            format!(
                "insert into patients (mrn, given_name, family_name, birth_date) \
                 select gen_random_uuid()::text, 'G', 'F', '2000-01-01' from generate_series(1, {count})"
            )
        };
        ratio(
            "2,000 rows in a statement",
            Work::Statement,
            &mut without,
            &mut with,
            &many(2_000),
            9,
            2.6,
        )
        .await;
        ratio(
            "20,000 rows in a statement",
            Work::Statement,
            &mut without,
            &mut with,
            &many(20_000),
            5,
            2.6,
        )
        .await;
        let (small, large) = (
            timed(Work::Statement, &mut with, &many(2_000), 5).await,
            timed(Work::Statement, &mut with, &many(20_000), 3).await,
        );
        let factor = large.as_secs_f64() / small.as_secs_f64() / 10.0;
        goal("20,000 rows per row, against 2,000", factor, 1.5, "x");
    });
    trail(&server);
}

/// A database with one clinic, its user and one patient.
fn clinic(server: &TestServer, name: &str) -> TestDb {
    let db = server.migrated_database(name);
    db.sql(&format!(
        "begin; select set_config('app.tenant_id', '{CLINIC}', true); set local role kine_owner; \
         insert into tenants (tenant_id, slug, name) values ('{CLINIC}', 'a', 'A'); \
         insert into users (id, email, full_name, role) values ('{USER}', 'a@example.org', 'A', 'practitioner'); \
         insert into patients (mrn, given_name, family_name, birth_date) values ('first', 'G', 'F', '2000-01-01'); commit"
    ));
    db
}

/// What is timed.
#[derive(Clone, Copy)]
enum Work {
    /// What the product does for one row: it begins, takes the context as `TenantDb`
    /// does (which no session keeps), sends the statement, commits.
    Unit,
    /// The statement alone, in a transaction that has its context.
    Statement,
}

/// The median of so many runs, each in its own transaction, all statements prepared.
async fn timed(work: Work, conn: &mut PgConnection, sql: &str, runs: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..runs {
        let began = Instant::now();
        let mut tx = conn.begin().await.unwrap();
        sqlx::query(include_str!("../../src/tenant/begin.sql"))
            .bind(CLINIC)
            .bind(USER)
            .execute(&mut *tx)
            .await
            .unwrap();
        let sent = Instant::now();
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        times.push(match work {
            Work::Unit => began.elapsed(),
            Work::Statement => sent.elapsed(),
        });
    }
    times.sort();
    times[times.len() / 2]
}

/// Both sides in turn, in small portions, so that both meet the same machine.
async fn ratio(
    title: &str,
    work: Work,
    without: &mut PgConnection,
    with: &mut PgConnection,
    sql: &str,
    runs: usize,
    most: f64,
) {
    let portion = (runs / 20).max(1);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for _ in 0..runs.div_ceil(portion) {
        left.push(timed(work, without, sql, portion).await);
        right.push(timed(work, with, sql, portion).await);
    }
    left.sort();
    right.sort();
    let (left, right) = (left[left.len() / 2], right[right.len() / 2]);
    println!("\n{title}: {left:.2?} without, {right:.2?} with audit");
    goal(
        "with audit",
        right.as_secs_f64() / left.as_secs_f64(),
        most,
        "x",
    );
}

fn goal(what: &str, found: f64, most: f64, unit: &str) {
    let word = if found <= most { "met" } else { "MISSED" };
    println!("  {what}: {found:.2} {unit} (goal: <= {most} {unit}) {word}");
}

fn rate(what: &str, took: Duration, least: f64) {
    let rate = f64::from(EVENTS) / took.as_secs_f64();
    let word = if rate >= least { "met" } else { "MISSED" };
    println!(
        "\n{what}: {EVENTS} events in {took:.2?}, {rate:.0} per second (goal: >= {least}) {word}"
    );
}

/// Sealing and verifying a trail, the whole process each time.
fn trail(server: &TestServer) {
    let db = clinic(server, "trail");
    db.sql(&format!(
        "insert into audit_events (tenant_id, occurred_at, action, table_name, row_id, actor_id, changed_columns) \
         select '{CLINIC}', now() + i * interval '10 microseconds', 'update', 'patients', gen_random_uuid(), '{USER}', \
           array['phone', 'email'] from generate_series(1, {EVENTS}) i"
    ));
    db.sql("vacuum analyze audit_events");
    for (what, action, least) in [("seal", "seal", 100_000.0), ("verify", "verify", 150_000.0)] {
        let began = Instant::now();
        kinedb(["audit", action]).on(&db).run().ok();
        rate(what, began.elapsed(), least);
    }
    let conn = block_on(async {
        let mut conn = db.connect().await;
        let peak: i64 = sqlx::query_scalar("select count(*) from audit_seals")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        let _ = conn.close().await;
        peak
    });
    println!(
        "  in {conn} seals, each read and hashed by itself: memory does not grow with the trail"
    );
}
