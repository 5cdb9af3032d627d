//! The description of a database: every attribute is seen, once each; nothing
//! depends on how or in which order things were made.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TestDb, TestServer, block_on, kinedb};
use kinedb::catalogue::{self, Fingerprint};
use sqlx::{AssertSqlSafe, Executor as _};

const BASE: &str = include_str!("sql/catalogue_base.sql");
const FLIPS: &str = include_str!("sql/catalogue_flips.sql");

/// One flip per line: what it changes, a bar, the SQL that changes it.
fn flips() -> Vec<(&'static str, &'static str)> {
    FLIPS
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("--"))
        .map(|line| {
            let (what, sql) = line.split_once(" | ").expect(line);
            (what.trim(), sql.trim())
        })
        .collect()
}

#[test]
fn every_attribute_that_flips_is_one_line() {
    let server = TestServer::own();
    let db = server.database("every_attribute_that_flips");
    db.sql(BASE);
    let mut wrong = Vec::new();
    let flips = flips();
    assert!(flips.len() >= 130, "{}", flips.len());
    block_on(async {
        let mut conn = db.connect().await;
        let before = catalogue::read(&mut conn).await.unwrap();
        for (what, sql) in &flips {
            conn.execute(sqlx::raw_sql("begin")).await.unwrap();
            let flipped = conn
                .execute(sqlx::raw_sql(AssertSqlSafe((*sql).to_owned())))
                .await;
            if let Err(error) = flipped {
                wrong.push(format!("{what}: {error}"));
            } else {
                let after = catalogue::read_within_again(&mut conn).await.unwrap();
                let lines: Vec<String> = before
                    .differences(&after)
                    .iter()
                    .map(|one| {
                        assert!(one.left.is_some() || one.right.is_some());
                        let attribute = one.attribute.as_deref();
                        let attribute =
                            attribute.map_or_else(String::new, |name| format!(": {name}"));
                        format!("{}{attribute}", one.object)
                    })
                    .collect();
                if lines != [*what] {
                    wrong.push(format!("{what}: {lines:?}"));
                }
            }
            conn.execute(sqlx::raw_sql("rollback")).await.unwrap();
        }
        assert_eq!(before, catalogue::read(&mut conn).await.unwrap());
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn fingerprint(db: &TestDb) -> Fingerprint {
    block_on(async { catalogue::read(&mut db.connect().await).await.unwrap() })
}

#[test]
fn order_of_making_and_dropped_columns_leave_no_trace() {
    let (one, two) = (
        TestDb::new("made_in_one_order"),
        TestDb::new("made_in_another"),
    );
    one.sql(
        "create table a (x int, y text); create table b (z int); create view v as select x from a; \
         grant select on a to public; alter table b enable row level security",
    );
    two.sql(
        "create table pad (p int); create table b (gone int, z int); alter table b drop column gone; \
         create table a (x int, y text); drop table pad; alter table b enable row level security; \
         alter table b owner to current_user; grant insert on a to public; revoke insert on a from public; \
         grant select on a to public; create view v as select x from a",
    );
    let lines = fingerprint(&one).differences(&fingerprint(&two));
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn a_plain_login_reads_all_of_it_in_one_round_trip() {
    let db = TestDb::migrated("a_plain_login_reads");
    db.sql("create role catalogue_reader login");
    let whole = fingerprint(&db);
    let plain = block_on(async {
        let mut conn = db.connect_as("catalogue_reader").await;
        // What is read is what is there, whatever the session's settings are.
        conn.execute("set search_path = public; set standard_conforming_strings = off")
            .await
            .unwrap();
        let plain = catalogue::read(&mut conn).await.unwrap();
        // With plans that are kept, whatever happens in between.
        assert_eq!(plain, catalogue::read_again(&mut conn).await.unwrap());
        db.sql("create table in_between (x int)");
        assert_eq!(
            catalogue::read(&mut conn).await.unwrap(),
            catalogue::read_again(&mut conn).await.unwrap()
        );
        db.sql("drop table in_between");
        plain
    });
    assert_eq!(whole, plain);
    assert!(whole.objects.len() > 300, "{}", whole.objects.len());
    db.sql("drop role catalogue_reader");
}

#[test]
fn show_prints_it_and_compares_with_what_was_saved() {
    let db = TestDb::new("show_prints_it");
    db.sql("create table t (a text not null); create policy p on t using (a = 'x'); alter role current_user set app.api_secret = 'hush'");
    let shown = kinedb(["show", "--catalogue"]).on(&db).run().ok().stdout;
    assert!(shown.contains("table public.t\n"), "{shown}");
    assert!(shown.contains("policy p on public.t\n"), "{shown}");
    assert!(shown.contains("  using: (a = 'x'::text)\n"), "{shown}");
    let saved = kinedb(["show", "--catalogue", "--format", "json"])
        .on(&db)
        .run()
        .ok()
        .stdout;
    assert!(!saved.contains("hush") && !shown.contains("hush"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    std::fs::write(&file, &saved).unwrap();
    let against = |args: &[&str]| {
        kinedb(
            ["show", "--catalogue", "--against", file.to_str().unwrap()]
                .iter()
                .chain(args),
        )
        .on(&db)
        .run()
    };
    assert_eq!(against(&[]).ok().stdout, "no difference\n");
    db.sql("alter policy p on t using (true)");
    let run = against(&[]).exits(3);
    assert_eq!(
        run.stdout,
        "policy p on public.t: using: `(a = 'x'::text)` became `true`\n"
    );
    let json = against(&["--format", "json"]).exits(3).json();
    assert_eq!(json["differences"][0]["attribute"], "using");
    std::fs::write(&file, "[]").unwrap();
    let run = against(&[]).exits(2);
    assert!(run.stderr.contains("is no catalogue"), "{}", run.stderr);
}
