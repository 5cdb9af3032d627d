//! Every revision up, down, up gives the same catalogue; and what `policies/`
//! declares is what the migrations made.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TestDb, TestServer, block_on, kinedb};
use kinedb::catalogue::{self, Fingerprint};
use kinedb::policy::declared::Policies;
use sqlx::{AssertSqlSafe, Executor as _};

fn fingerprint(db: &TestDb) -> Fingerprint {
    block_on(async { catalogue::read(&mut db.connect().await).await.unwrap() })
}

fn assert_same(what: &str, left: &Fingerprint, right: &Fingerprint) {
    let lines: Vec<String> = left
        .differences(right)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(lines.is_empty(), "{what}:\n{}", lines.join("\n"));
}

/// Up one by one, each time also down and up again.
fn round_trips(db: &TestDb, login: &str) {
    let go = |args: &[&str]| {
        let args = args.iter().chain(&["--gate", "off"]);
        kinedb(args).on_as(db, login).run().ok()
    };
    let steps = kinedb(["upgrade", "--check"])
        .on_as(db, login)
        .run()
        .exits(3)
        .stdout
        .lines()
        .count();
    assert!(steps >= 6, "{steps}");
    for step in 1..=steps {
        let before = fingerprint(db);
        go(&["upgrade", "+1"]);
        let up = fingerprint(db);
        go(&["downgrade", "-1"]);
        let down = fingerprint(db);
        go(&["upgrade", "+1"]);
        assert_same(&format!("step {step}, down"), &before, &down);
        assert_same(&format!("step {step}, up again"), &up, &fingerprint(db));
    }
    let head = fingerprint(db);
    go(&["downgrade", "base"]);
    go(&["upgrade"]);
    assert_same("from base again", &head, &fingerprint(db));
}

#[test]
fn a_superuser_goes_up_down_up() {
    let server = TestServer::own();
    round_trips(&server.database("a_superuser_goes_up_down_up"), "postgres");
}

#[test]
fn a_plain_owner_goes_up_down_up() {
    let server = TestServer::own();
    let db = server.database("a_plain_owner_goes_up_down_up");
    db.sql(&format!(
        "create role plain_owner login createrole; alter database {} owner to plain_owner",
        db.name()
    ));
    // The first grant on a database writes the owner's own rights down, for good.
    kinedb(["upgrade", "+1"])
        .on_as(&db, "plain_owner")
        .run()
        .ok();
    kinedb(["downgrade", "-1"])
        .on_as(&db, "plain_owner")
        .run()
        .ok();
    round_trips(&db, "plain_owner");
}

#[test]
fn the_policies_folder_declares_what_the_migrations_made() {
    // Not a copy of a template: a copy does not have its database's own grants.
    let db = TestDb::new("the_policies_folder_declares");
    kinedb(["upgrade"]).on(&db).run().ok();
    let head = fingerprint(&db);
    block_on(async {
        let mut conn = db.connect().await;
        conn.execute(sqlx::raw_sql(STRIP)).await.unwrap();
    });
    let stripped = fingerprint(&db);
    assert!(
        !head.differences(&stripped).is_empty(),
        "nothing was stripped"
    );
    let policies = Policies::embedded().unwrap();
    block_on(async {
        let mut conn = db.connect().await;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(policies.roles.clone())))
            .await
            .unwrap();
        for (table, sql) in policies.render_all().unwrap() {
            let text = format!("begin; {sql}\n; commit; reset role");
            conn.execute(sqlx::raw_sql(AssertSqlSafe(text)))
                .await
                .unwrap_or_else(|error| panic!("{table}: {error}"));
        }
    });
    assert_same("policies/ against the migrations", &head, &fingerprint(&db));
}

/// Takes away all that a policy file gives: policies, row security, views, grants.
const STRIP: &str = r"
do $strip$
declare one record;
begin
  for one in select schemaname, viewname from pg_views where schemaname = 'public' and viewname like 'api\_%' loop
    execute format('drop view %I.%I', one.schemaname, one.viewname);
  end loop;
  for one in select * from pg_policies where schemaname = 'public' loop
    execute format('drop policy %I on %I.%I', one.policyname, one.schemaname, one.tablename);
  end loop;
  for one in
    select c.oid::regclass as name from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and c.relrowsecurity
  loop
    execute format('alter table %s disable row level security, no force row level security', one.name);
    execute format('revoke all on table %s from public, kine_app, kine_auditor, kine_backup', one.name);
  end loop;
end
$strip$";
