//! Changes of data: never "0 rows" taken for success, and tenant by tenant.

use std::sync::Arc;

use migration::{DbErr, PerTenant, Progress, SchemaManager};
use sea_orm::Database;

use crate::common::{TestDb, TestServer, block_on, kinedb};
use crate::migrations::Migrations;
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
    assert_eq!(applied(&db), "m1_trim m2_more m3_super");
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
