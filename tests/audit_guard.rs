//! `kinedb audit guard`: event triggers that keep the owner of the tables from
//! switching the trail off. And that two sessions verify one state.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TestDb, TestServer, block_on, kinedb};
use kinedb::audit::access::{self, Access};
use kinedb::audit::guards;
use sqlx::{AssertSqlSafe, Executor as _};

fn guarded(test: &str) -> TestDb {
    let db = TestDb::migrated(test);
    kinedb(["audit", "guard"]).on(&db).run().ok();
    db
}

/// What the owner of the tables tries; rolled back whatever comes of it.
fn owner(db: &TestDb, sql: &str) -> Result<(), String> {
    let whole = format!("begin; set local role kine_owner; {sql}; rollback");
    db.try_sql(&whole).map_err(|refusal| refusal.to_string())
}

const FULL: &str = "after insert or update or delete on patients for each row";

#[test]
fn every_way_to_switch_the_trail_off_is_refused() {
    let open = TestDb::migrated("owner_unguarded");
    let db = guarded("owner_guarded");
    for sql in [
        "alter table patients disable trigger record_audit_event",
        "alter table patients disable trigger user",
        "alter table patients enable replica trigger record_audit_event",
        "drop trigger record_audit_event on patients",
        "alter trigger record_audit_event on patients rename to harmless",
        "create or replace trigger record_audit_event after insert on patients for each row \
           execute function record_audit_event('id', 'actor')",
        &format!(
            "create or replace trigger record_audit_event {FULL} when (false) execute function record_audit_event('id', 'actor')"
        ),
        &format!(
            "create or replace trigger record_audit_event {FULL} execute function touch_updated_at()"
        ),
        "create rule nothing as on update to patients do instead nothing",
        "alter table notes disable trigger record_next_version",
        "drop trigger record_first_version on notes",
        "alter trigger record_first_version on notes rename to harmless",
    ] {
        assert_eq!(
            owner(&open, sql),
            Ok(()),
            "without the guard the owner may: {sql}"
        );
        let refusal = owner(&db, sql).expect_err(sql);
        assert!(
            refusal.contains("audit trail") && refusal.contains("guarded"),
            "{sql}: {refusal}"
        );
    }
}

#[test]
fn what_does_not_weaken_the_trail_goes_on() {
    let db = guarded("guarded_goes_on");
    for sql in [
        "alter table patients add column nickname text",
        "create index nicknames on patients (tenant_id, language)",
        "create trigger another before insert on patients for each row execute function touch_updated_at()",
        &format!(
            "create or replace trigger record_audit_event {FULL} execute function record_audit_event('id', 'actor'); \
             alter table patients enable always trigger record_audit_event"
        ),
        "create table rooms (tenant_id uuid not null); drop table rooms",
        "drop table appointments cascade",
    ] {
        assert_eq!(owner(&db, sql), Ok(()), "{sql}");
    }
    kinedb(["downgrade", "base", "--accept-data-loss", db.name()])
        .on(&db)
        .run()
        .ok();
    kinedb(["upgrade"]).on(&db).run().ok();
    kinedb(["verify-rls"]).on(&db).run().ok();
    kinedb(["audit", "guard"]).on(&db).run().ok();
    owner(&db, "drop trigger record_audit_event on patients").unwrap_err();
}

#[test]
fn verify_tells_whether_the_guard_is_there_and_whole() {
    let server = TestServer::own();
    let db = server.migrated_database("guard_state");
    let verify = |code| {
        let run = kinedb(["audit", "verify", "--format", "json"])
            .on(&db)
            .run()
            .exits(code);
        let result = run.json();
        let ranges: Vec<String> = result["problems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{}: {}", one["range"], one["detail"]).replace('"', ""))
            .collect();
        (result["guard"].as_str().unwrap().to_owned(), ranges)
    };
    assert_eq!(verify(0), ("none".to_owned(), vec![]));
    let run = kinedb(["audit", "verify"]).on(&db).run().ok();
    assert!(run.stderr.contains("kinedb audit guard"), "{}", run.stderr);
    kinedb(["audit", "guard"]).on(&db).run().ok();
    assert_eq!(verify(0), ("in-place".to_owned(), vec![]));
    for (sql, problem) in [
        (
            "alter event trigger kine_guard_changes disable",
            "event trigger kine_guard_changes: is switched off",
        ),
        (
            "drop event trigger kine_guard_drops",
            "event trigger kine_guard_drops: is missing",
        ),
    ] {
        db.sql(sql);
        assert_eq!(verify(14), ("none".to_owned(), vec![problem.to_owned()]));
        kinedb(["audit", "guard"]).on(&db).run().ok();
    }
    db.sql(
        "create or replace function kine_guard.refuse_weakening() returns event_trigger language plpgsql \
         as $$ begin end $$",
    );
    assert_eq!(verify(14).1.len(), 2);
    kinedb(["audit", "guard"]).on(&db).run().ok();
    assert_eq!(verify(0).0, "in-place");
    kinedb(["audit", "guard", "--remove"]).on(&db).run().ok();
    assert_eq!(verify(0).0, "none");
    owner(&db, "drop trigger record_audit_event on patients").unwrap();
}

#[test]
fn only_a_superuser_makes_it_and_only_over_triggers_that_are_in_order() {
    let server = TestServer::own();
    let db = server.migrated_database("guard_made");
    db.sql("create role deployer login; grant kine_owner to deployer");
    let run = kinedb(["audit", "guard"])
        .on_as(&db, "deployer")
        .run()
        .exits(7);
    assert!(
        run.stderr
            .contains("hand `kinedb audit guard --sql` to who has one"),
        "{}",
        run.stderr
    );
    let sql = kinedb(["audit", "guard", "--sql"]).run().ok().stdout;
    db.sql("alter table patients disable trigger record_audit_event");
    let run = kinedb(["audit", "guard"]).on(&db).run().exits(14);
    assert!(run.stderr.contains("is not in order"), "{}", run.stderr);
    assert_eq!(db.value("select count(*) from pg_event_trigger"), "0");
    db.sql("alter table patients enable always trigger record_audit_event");
    db.sql(&sql);
    assert_eq!(db.value("select count(*) from pg_event_trigger"), "2");
    let undo = kinedb(["audit", "guard", "--remove", "--sql"])
        .run()
        .ok()
        .stdout;
    db.sql(&undo);
    assert_eq!(
        db.value("select count(*) from pg_event_trigger")
            + &db.value("select count(*) from pg_namespace where nspname = 'kine_guard'"),
        "00"
    );
}

#[test]
fn two_sessions_that_verify_see_one_state() {
    let db = TestDb::migrated("one_state");
    db.sql("create table seen (x int)");
    block_on(async {
        let (mut first, mut second) = (db.connect().await, db.connect().await);
        let joined =
            access::begin_reading_together(&mut first, &mut second, &Access::Unbound).await;
        assert!(joined.unwrap());
        // Neither has looked at anything yet.
        let mut third = db.connect().await;
        sqlx::query("insert into seen values (1)")
            .execute(&mut third)
            .await
            .unwrap();
        for conn in [&mut first, &mut second] {
            let count: i64 = sqlx::query_scalar("select count(*) from public.seen")
                .fetch_one(&mut *conn)
                .await
                .unwrap();
            assert_eq!(count, 0);
            let writes = sqlx::query("insert into public.seen values (2)")
                .execute(&mut *conn)
                .await;
            assert!(writes.is_err(), "a reader writes nothing");
        }
    });
}

#[test]
fn what_could_write_under_another_name_is_found() {
    let db = guarded("another_name");
    const ROBIN: &str = "00000000-0000-4000-8000-00000000000f";
    let function = |name: &str, body: &str| {
        format!(
            "create function {name}() returns trigger language plpgsql as $f$ begin {body}; return new; end $f$; \
             create trigger a_{name} before insert or update on patients for each row execute function {name}(); "
        )
    };
    let problems = |sql: &str| -> Vec<String> {
        block_on(async {
            let mut conn = db.connect().await;
            let begin = format!("begin; set local role kine_owner; {sql}; reset role");
            conn.execute(sqlx::raw_sql(AssertSqlSafe(begin)))
                .await
                .unwrap();
            conn.execute(sqlx::raw_sql("set local search_path = pg_catalog, pg_temp"))
                .await
                .unwrap();
            let mut problems = Vec::new();
            guards::check(&mut conn, &mut problems).await.unwrap();
            problems
                .iter()
                .map(|one| format!("{}: {}", one.range, one.detail))
                .collect()
        })
    };
    assert_eq!(problems("select 1"), [""; 0]);
    // A trigger of the owner's own that says nothing of who acts is nobody's business.
    assert_eq!(
        problems(&function("tidy", "new.phone := trim(new.phone)")),
        [""; 0]
    );
    let forged = format!("perform set_config('app.user_id', '{ROBIN}', true)");
    let found = "public.patients: the trigger a_robin may change who acts: it calls public.robin()";
    for (sql, found) in [
        (function("robin", &forged), found.to_owned()),
        (function("robin", &format!("set local app.user_id = '{ROBIN}'")), found.to_owned()),
        (function("robin", "execute 'select ' || new.phone"), found.to_owned()),
        (
            function("robin", "new.phone := trim(new.phone)")
                + &format!("reset role; alter function robin() set app.user_id = '{ROBIN}'"),
            found.to_owned(),
        ),
        (
            format!("create function hood() returns void language plpgsql as $f$ begin {forged}; end $f$; ")
                + &function("robin", "perform public.hood ()"),
            "public.patients: the trigger a_robin may change who acts: it calls public.hood()".to_owned(),
        ),
        (
            format!("alter table patients alter column phone set default set_config('app.user_id', '{ROBIN}', true)"),
            "public.patients: the default of phone may change who acts: it sets a setting".to_owned(),
        ),
        (
            format!(
                "create function hood(text) returns boolean language sql return set_config('app.user_id', '{ROBIN}', true) is not null; \
                 alter table patients add constraint polite check (hood(phone)) not valid"
            ),
            "public.patients: the constraint polite may change who acts: it calls public.hood(text)".to_owned(),
        ),
        (
            format!(
                "create policy polite on patients as restrictive using (set_config('app.user_id', '{ROBIN}', true) is not null)"
            ),
            "public.patients: the policy polite may change who acts: it sets a setting".to_owned(),
        ),
    ] {
        assert_eq!(problems(&sql), [found], "{sql}");
    }
}
