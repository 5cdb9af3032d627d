//! Changes of data: never "0 rows" taken for success, and tenant by tenant.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kinedb::db::{Target, connect};
use kinedb::migrate::cancel::Cancel;
use kinedb::migrate::run::{Options, Runner};
use kinedb::migrate::script::Direction;
use kinedb::migrate::{history, revision};
use migration::{
    DbErr, MigrationName, MigrationTrait, PerTenant, Progress, SchemaManager, async_trait,
};
use rustix::process::Signal;
use sea_orm::Database;

use crate::common::{TestDb, TestServer, block_on, kinedb};
use crate::migrations::Migrations;
use crate::tools::{Running, wait_for_no_session, wait_until};
use crate::{applied, upgrade};

#[test]
fn an_update_that_row_security_reduces_to_nothing_is_refused() {
    let server = TestServer::own();
    let db = server.database("an_update_reduced_to_nothing");
    // A policy that shows no rows without a context, instead of failing.
    db.sql(
        "create role keeper login; grant create on schema public to keeper; create table notes (tenant text, body text); \
         insert into notes values ('a', ' x '), ('b', ' y '); alter table notes owner to keeper; \
         alter table notes enable row level security, force row level security; \
         create policy p on notes using (tenant = current_setting('app.tenant', true))",
    );
    let folder = Migrations::of(&[(
        "m1_trim",
        "-- trim all\nupdate notes\n  set body = trim(body);\n",
        "",
    )]);
    let run = || {
        kinedb(["upgrade", "--gate", "off", "--migrations", folder.arg()])
            .on_as(&db, "keeper")
            .run()
    };
    let refused = run().exits(13);
    insta::assert_snapshot!(refused.normal(), @r#"
    exit 13
    --- stderr
    database `an_update_reduced_to_nothing` on `[server]/socket` as `keeper`
    error: m1_trim.up.sql:2:1: row security hid every row of notes from this statement, so it changed none
      in: update notes set body = trim(body)
      rolled back
    Hint: change data tenant by tenant, each in its own context (`PerTenant` of the migration crate); if no row is right, say `-- kinedb: allow-no-rows`
    (migration-failed, exit 13)
    "#);
    assert_eq!(db.value("select to_regclass('seaql_migrations')"), "");
    // Through a role that is taken, and for deletes.
    folder.write(
        "m1_trim",
        "set local role keeper;\ndelete from only public.notes where body = '';\nreset role;\n",
        "",
    );
    upgrade(&db, &folder, &[]).run().exits(13);
    // Inside of a block of code, where no count of rows comes back.
    folder.write(
        "m1_trim",
        "do $$ begin\n  perform 1;\n  update notes set body = trim(body);\nend $$;\n",
        "",
    );
    let block = run().exits(13);
    assert!(
        block
            .stderr
            .contains("m1_trim.up.sql:3:3: row security hid every row of notes"),
        "{}",
        block.stderr
    );
    folder.write(
        "m1_trim",
        "set local role keeper;\ndo $$ begin execute 'delete from notes'; end $$;\nreset role;\n",
        "",
    );
    upgrade(&db, &folder, &[]).run().exits(13);
    folder.write(
        "m0_loop",
        "do $$ declare t text; begin\nforeach t in array array['a', 'b'] loop perform set_config('app.tenant', t, true); update notes set body = body || '.'; end loop;\nend $$;\n",
        "",
    );
    kinedb([
        "upgrade",
        "+1",
        "--gate",
        "off",
        "--migrations",
        folder.arg(),
    ])
    .on_as(&db, "keeper")
    .run()
    .ok();
    assert_eq!(
        db.value("select string_agg(body, '' order by tenant) from notes"),
        " x . y ."
    );
    // In a tenant's context it is right; so it is where nobody is bound, or where one says so.
    folder.write(
        "m1_trim",
        "select set_config('app.tenant', 'a', true);\nupdate notes set body = trim(body);\n",
        "",
    );
    run().ok();
    folder.write(
        "m2_more",
        "-- kinedb: allow-no-rows\nupdate notes set body = '' where body = 'z';\n",
        "",
    );
    run().ok();
    folder.write(
        "m3_super",
        "update notes set body = '' where body = 'z';\n",
        "",
    );
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m0_loop m1_trim m2_more m3_super");
}

#[test]
fn the_schema_itself_refuses_an_update_without_a_context() {
    let db = TestDb::migrated("an_update_without_a_context");
    let tenant = "5e000000-0000-0000-0000-000000000001";
    db.sql(&format!("begin; set local app.tenant_id = '{tenant}'; insert into tenants (tenant_id, slug, name) values ('{tenant}', 'one', 'One'); commit"));
    db.sql("delete from seaql_migrations");
    let folder = Migrations::of(&[(
        "m9_names",
        "set local role kine_owner;\nupdate public.tenants set name = trim(name);\nreset role;\n",
        "",
    )]);
    let run = upgrade(&db, &folder, &[]).run().exits(13);
    assert!(
        run.stderr
            .contains("change data tenant by tenant (`PerTenant` of the migration crate)"),
        "{}",
        run.stderr
    );
}

#[test]
fn tenants_are_walked_through_one_by_one_and_resumed() {
    let db = TestDb::migrated("tenants_are_walked_through");
    for number in 1..=3 {
        let tenant = format!("5e000000-0000-0000-0000-00000000000{number}");
        db.sql(&format!(
            "begin; set local app.tenant_id = '{tenant}'; insert into tenants (tenant_id, slug, name) values ('{tenant}', 'clinic-{number}', 'Clinic'); \
             insert into users (tenant_id, email, full_name, role) select '{tenant}', i || '@example.org', ' Name ' || i, 'admin' from generate_series(1, 5) i; commit"
        ));
    }
    let batch = "update public.users set full_name = trim(full_name) where (tenant_id, id) in \
                 (select tenant_id, id from public.users where full_name <> trim(full_name) limit 2)";
    let walk = |batch: &str| -> (Vec<Progress>, Result<(), DbErr>) {
        block_on(async {
            let connection = Database::connect(db.url()).await.unwrap();
            let manager = SchemaManager::new(&connection);
            let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
            let told = Arc::clone(&seen);
            let outcome = PerTenant::new("m9_trim")
                .batch(batch)
                .run(&manager, move |progress| {
                    told.lock().unwrap().push(progress)
                })
                .await;
            connection.close().await.unwrap();
            let seen = seen.lock().unwrap().clone();
            (seen, outcome)
        })
    };
    // Broken off at the second clinic: the first is done, with its record.
    let broken = format!(
        "{batch} and current_setting('app.tenant_id') < '5e000000-0000-0000-0000-000000000002' or 1 / (case when current_setting('app.tenant_id') like '%2' then 0 else 1 end) = 0"
    );
    let (seen, outcome) = walk(&broken);
    assert!(outcome.is_err());
    assert_eq!(
        seen.iter()
            .map(|one| (one.place, one.tenants, one.rows))
            .collect::<Vec<_>>(),
        [(1, 3, 5)]
    );
    let (seen, outcome) = walk(batch);
    outcome.unwrap();
    assert_eq!(
        seen.iter()
            .map(|one| (one.place, one.rows))
            .collect::<Vec<_>>(),
        [(2, 5), (3, 5)]
    );
    assert_eq!(
        db.value("select count(*) from users where full_name <> trim(full_name)"),
        "0"
    );
    let (seen, outcome) = walk(batch);
    outcome.unwrap();
    assert_eq!(seen, []);
}

/// A change of data as a product writes it: in Rust, compiled in.
struct Trim;

impl MigrationName for Trim {
    fn name(&self) -> &str {
        "m20400101_000000_trim"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Trim {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        PerTenant::new(self.name())
            .batch(
                "update public.users set full_name = trim(full_name) where (tenant_id, id) in \
                 (select tenant_id, id from public.users where full_name <> trim(full_name) limit 1) \
                 and pg_sleep(0.05) is not null",
            )
            .run(manager, |_| {})
            .await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const CHILD: &str = "KINEDB_TEST_COMPILED_URL";

#[test]
#[ignore = "a process of its own, which the next test starts and kills"]
fn a_process_with_a_compiled_migration() {
    let Ok(url) = std::env::var(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let target = Target::from_url(&url).unwrap();
        let mut migrations = <migration::Migrator as migration::MigratorTrait>::migrations();
        migrations.push(Box::new(Trim));
        let revisions = revision::of(migrations).await.unwrap();
        let mut conn = connect::connect(&target, "upgrade").await.unwrap();
        let state = history::read(&mut conn).await.unwrap();
        let options = Options::default();
        let mut tell = |_: kinedb::migrate::run::Event<'_>| {};
        let runner = Runner::new(
            &target,
            &revisions,
            &options,
            Cancel::default(),
            None,
            &mut tell,
        );
        let head = "head".parse().unwrap();
        let summary = runner.run(conn, state, Direction::Up, &head).await.unwrap();
        assert_eq!(summary.head.as_deref(), Some("m20400101_000000_trim"));
    });
}

#[test]
fn a_compiled_migration_goes_on_with_the_tenant_it_was_killed_at() {
    let db = TestDb::migrated("a_compiled_migration");
    for number in 1..=3 {
        let tenant = format!("5e000000-0000-0000-0000-00000000000{number}");
        db.sql(&format!(
            "begin; set local app.tenant_id = '{tenant}'; insert into tenants (tenant_id, slug, name) values ('{tenant}', 'clinic-{number}', 'Clinic'); \
             insert into users (tenant_id, email, full_name, role) select '{tenant}', i || '@example.org', ' Name ' || i, 'admin' from generate_series(1, 4) i; commit"
        ));
    }
    let process = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "data::a_process_with_a_compiled_migration",
                "--ignored",
            ])
            .env(CHILD, db.url());
        command
    };
    let done = "select coalesce(string_agg(right(split_part(reason, ' ', 2), 1), ' ' order by id), '') from kinedb_history where reason like 'tenant % is done'";
    let left = "select count(*) from users where full_name <> trim(full_name)";
    let run = Running::spawn(&mut process());
    wait_until(
        "the first clinic to be done",
        Duration::from_secs(30),
        || db.value(done) == "1",
    );
    run.signal(Signal::KILL);
    run.end();
    wait_for_no_session(&db);
    assert_eq!(db.value(done), "1");
    assert!(
        ["5", "6", "7", "8"].contains(&db.value(left).as_str()),
        "{}",
        db.value(left)
    );
    let status = kinedb(["status"]).on(&db).run().ok();
    assert!(
        status
            .stdout
            .contains("unfinished m20400101_000000_trim up"),
        "{}",
        status.stdout
    );
    Running::spawn(&mut process()).end().exits(0);
    assert_eq!(
        (db.value(done).as_str(), db.value(left).as_str()),
        ("1 2 3", "0")
    );
    assert!(applied(&db).ends_with("m20400101_000000_trim"));
    // Done is done: it is applied, and no clinic is gone through again.
    Running::spawn(&mut process()).end().exits(0);
    assert_eq!(db.value(done), "1 2 3");
}
