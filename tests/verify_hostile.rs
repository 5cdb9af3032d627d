//! `kinedb verify-rls` on databases that are broken, slow, locked, or named so
//! that careless quoting breaks: never a crash, never a silent skip.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{Run, TestDb, TestServer, block_on, kinedb};
use kinedb::verify::{self, Config, Options};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};

const CONTEXT: &str = "(select nullif(current_setting('app.tenant_id', true), '')::uuid)";

/// Two tenants with rooms and notes, as it should be; on a server of its own.
fn sound(name: &str) -> TestDb {
    let db = TestServer::own().database(name);
    db.sql(&format!(
        "create role app; grant create, usage on schema public to app; revoke create on schema public from app;
         create table tenants (tenant_id uuid primary key, name text not null);
         insert into tenants values ('aaaaaaaa-0000-4000-8000-00000000000a', 'A'), ('bbbbbbbb-0000-4000-8000-00000000000b', 'B');
         {} {} {}
         insert into rooms select tenant_id, gen_random_uuid(), 'r' from tenants;
         insert into notes select tenant_id, gen_random_uuid(), 'n' from tenants;",
        guarded("tenants", "tenant_id = ", CONTEXT, "select"),
        table("rooms"),
        table("notes"),
    ));
    db
}

fn table(name: &str) -> String {
    format!(
        "create table {name} (tenant_id uuid not null references tenants (tenant_id), id uuid default gen_random_uuid(), body text, primary key (tenant_id, id)); {}",
        guarded(
            name,
            "tenant_id = ",
            CONTEXT,
            "select, insert, update, delete"
        )
    )
}

fn guarded(name: &str, compared: &str, with: &str, granted: &str) -> String {
    format!(
        "alter table {name} enable row level security; alter table {name} force row level security;
         create policy own on {name} using ({compared}{with}); grant {granted} on {name} to app;"
    )
}

fn verify_rls(db: &TestDb, args: &[&str]) -> Run {
    kinedb(["verify-rls", "--format", "json"].iter().chain(args))
        .on(db)
        .run()
}

/// The findings that count, as (id, object, verdict).
fn errors(report: &Value) -> Vec<(String, String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .map(|one| (text(one, "id"), text(one, "object"), text(one, "verdict")))
        .collect()
}

/// Nothing but these objects is found wanting, and they are only unproven.
fn only_unproven(report: &Value, objects: &[&str]) {
    let errors = errors(report);
    for (id, object, verdict) in &errors {
        assert!(
            verdict == "unproven" && objects.contains(&object.as_str()),
            "{id} {object} {verdict}: {report:#}"
        );
    }
    for object in objects {
        assert!(
            errors.iter().any(|(_, own, _)| own == object),
            "{object}: {report:#}"
        );
    }
    isolated(report, "rooms");
}

/// Every cell of an object that the application has rights on is proven.
fn isolated(report: &Value, object: &str) {
    let line = report["matrix"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["object"] == object && line["select"] != "denied")
        .unwrap_or_else(|| panic!("{object} is not in the matrix: {report:#}"));
    for action in ["select", "insert", "update", "delete"] {
        assert_eq!(line[action], "isolated", "{action} of {line}");
    }
}

fn told(report: &Value, object: &str, words: &str) {
    let found = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|finding| {
            finding["object"] == object && finding["detail"].as_str().unwrap().contains(words)
        });
    assert!(found, "nothing of `{object}` says `{words}`: {report:#}");
}

#[test]
fn a_statement_timeout_in_the_middle_leaves_one_table_unproven() {
    let db = sound("statement_timeout");
    db.sql(&format!(
        "create function slow() returns boolean language plpgsql as $$ begin loop end loop; end $$;
         create table sleepy (tenant_id uuid not null, id int, primary key (tenant_id, id));
         insert into sleepy select tenant_id, 1 from tenants; {}",
        guarded(
            "sleepy",
            "tenant_id = ",
            &format!("{CONTEXT} and slow()"),
            "select, insert, update, delete"
        )
    ));
    let began = Instant::now();
    let report = verify_rls(&db, &["--statement-timeout", "400ms"])
        .exits(4)
        .json();
    only_unproven(&report, &["sleepy"]);
    told(&report, "sleepy", "57014");
    assert!(
        began.elapsed() < Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn policies_that_raise_and_that_recurse_are_unproven() {
    let db = sound("raise_and_recurse");
    db.sql(&format!(
        "create function refuse() returns boolean language plpgsql as $$ begin raise exception 'no'; end $$;
         create table raising (tenant_id uuid not null, id int, primary key (tenant_id, id));
         insert into raising select tenant_id, 1 from tenants; {}
         create table round (tenant_id uuid not null, id int, primary key (tenant_id, id));
         insert into round select tenant_id, 1 from tenants; {}",
        guarded("raising", "tenant_id = ", &format!("{CONTEXT} and refuse()"), "select, insert, update, delete"),
        guarded(
            "round",
            "tenant_id = ",
            &format!("{CONTEXT} and tenant_id in (select r.tenant_id from round r)"),
            "select, insert, update, delete"
        ),
    ));
    let report = verify_rls(&db, &[]).exits(4).json();
    only_unproven(&report, &["raising", "round"]);
    told(&report, "round", "infinite recursion");
    told(&report, "raising", "P0001");
}

#[test]
fn functions_that_fail_or_never_end_harm_nobody_else() {
    let db = sound("functions_that_fail");
    db.sql(
        "create function broken(a text) returns int language plpgsql security definer set search_path = '' as $$ begin return 1 / 0; end $$;
         create function endless(a text) returns int language plpgsql stable security definer set search_path = '' as $$ begin loop end loop; end $$;
         create function deep(a int) returns int language plpgsql stable as $$ begin return public.deep(a + 1); end $$;",
    );
    let report = verify_rls(&db, &["--statement-timeout", "600ms"]).run_json();
    isolated(&report, "rooms");
    assert!(
        errors(&report)
            .iter()
            .all(|(_, object, _)| object.contains('(')),
        "{report:#}"
    );
}

#[test]
fn a_view_that_fails_is_unproven() {
    let db = sound("a_view_that_fails");
    db.sql(
        "create view failing with (security_invoker = true) as select body, 1 / (length(body) - length(body)) as never from notes;
         grant select on failing to app;",
    );
    let report = verify_rls(&db, &[]).exits(4).json();
    only_unproven(&report, &["failing"]);
    told(&report, "failing", "22012");
}

#[test]
fn a_trigger_that_fails_is_unproven() {
    let db = sound("a_trigger_that_fails");
    db.sql(
        "create function fail() returns trigger language plpgsql as $$ begin return 1 / 0; end $$;
         create trigger fail before insert or update or delete on notes for each row execute function fail();",
    );
    let report = verify_rls(&db, &[]).exits(4).json();
    only_unproven(&report, &["notes"]);
}

#[test]
fn the_check_of_a_domain_is_no_hole_in_a_policy() {
    let db = sound("the_check_of_a_domain");
    db.sql(&format!(
        "create domain code as text check (value ~ '^[A-Z]{{3}}-[0-9]{{4}}$');
         create table coded (tenant_id uuid not null references tenants (tenant_id), id int, code code not null, primary key (tenant_id, id));
         insert into coded select tenant_id, i, 'ABC-0001' from tenants, generate_series(1, 10) i; {}
         update pg_class set reltuples = 1000000 where relname = 'coded';",
        guarded("coded", "tenant_id = ", CONTEXT, "select, insert, update, delete")
    ));
    let report = verify_rls(&db, &[]).run_json();
    assert!(
        errors(&report)
            .iter()
            .all(|(_, _, verdict)| verdict == "unproven"),
        "{report:#}"
    );
    isolated(&report, "rooms");
}

#[test]
fn names_that_break_careless_quoting_break_nothing() {
    let long = "x".repeat(63);
    for (at, name) in [
        "with \"quotes\" and 'apostrophes'",
        "new\nline\ttab",
        "back\\slash",
        "naïve 表 🏥",
        long.as_str(),
        "\"; drop table rooms; --",
        "select",
        ":tenant $1 %s {}",
    ]
    .into_iter()
    .enumerate()
    {
        let db = sound(&format!("hostile_{at}"));
        let q = format!("\"{}\"", name.replace('"', "\"\""));
        db.sql(&format!(
            "create schema {q}; create role {q}; grant usage on schema {q} to {q}; grant usage on schema public to {q};
             create function {q}.{q}() returns uuid language sql stable as $f$ select {CONTEXT} $f$;
             create table {q}.{q} (tenant_id uuid not null references tenants (tenant_id), {q} text not null check ({q} <> ''), id int generated always as identity, primary key (tenant_id, id), unique (tenant_id, {q}));
             insert into {q}.{q} (tenant_id, {q}) select tenant_id, 'v' from tenants;
             alter table {q}.{q} enable row level security; alter table {q}.{q} force row level security;
             create policy {q} on {q}.{q} to {q} using (tenant_id = {q}.{q}());
             grant select, insert, update, delete on {q}.{q} to {q};",
        ));
        let report = verify_rls(&db, &[]).run_json();
        let label = report["matrix"]
            .as_array()
            .unwrap()
            .iter()
            .find(|line| line["role"] == name && line["object"].as_str().unwrap() != "tenants")
            .map(|line| line["object"].as_str().unwrap().to_owned())
            .unwrap_or_else(|| panic!("{name:?} has no line: {report:#}"));
        isolated(&report, &label);
        assert_eq!(report["verdict"], "isolated", "{name:?}: {report:#}");
        // What was reported leaks when the policy goes, under the same name.
        db.sql(&format!(
            "drop policy {q} on {q}.{q}; create policy {q} on {q}.{q} using (true)"
        ));
        let run = verify_rls(&db, &[]).exits(4);
        let report = run.json();
        assert_eq!(report["verdict"], "leak", "{name:?}");
        for finding in report["findings"].as_array().unwrap() {
            let shown = finding["reproduce"].as_str().unwrap_or("");
            if shown.starts_with("begin;") {
                // A reference may lead to a row that was made for the proof; text that
                // does not parse or names what is not there is of class 42.
                if let Err(error) = db.try_sql(shown) {
                    let state = error.as_database_error().and_then(|told| told.code());
                    assert!(
                        state.is_some_and(|state| state.starts_with("23")),
                        "{name:?}: {error} in\n{shown}"
                    );
                    assert!(shown.contains("-- "), "{shown}");
                }
            }
        }
        for format in ["table", "markdown", "html", "junit", "sarif", "github"]
            .into_iter()
            .filter(|_| at == 0)
        {
            let run = kinedb(["verify-rls", "--format", format])
                .on(&db)
                .run()
                .exits(4);
            assert!(!run.stdout.is_empty(), "{format}");
        }
    }
}

#[test]
fn a_verifier_that_is_bound_proves_on_rows_of_its_own() {
    let db = sound("a_bound_verifier");
    db.sql(
        "create role checker login; grant app to checker; grant usage on schema public to checker;
         grant select, insert, update, delete on all tables in schema public to checker;",
    );
    let run = kinedb(["verify-rls", "--format", "json"])
        .on_as(&db, "checker")
        .run();
    let report = run.json();
    assert!(
        errors(&report)
            .iter()
            .all(|(_, _, verdict)| verdict == "unproven"),
        "{report:#}"
    );
    let basis = report["basis"].to_string();
    assert!(
        basis.contains("itself bound by row level security"),
        "{basis}"
    );
    // Whoever may make nothing finds the same.
    db.sql("do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$");
    let again = kinedb(["verify-rls", "--format", "json"])
        .on_as(&db, "checker")
        .run();
    assert_eq!(errors(&again.json()), errors(&report));
}

#[test]
fn nobody_is_told_of_what_a_run_makes() {
    let db = sound("nobody_is_told");
    db.sql(
        "create sequence told;
         create function tell() returns event_trigger language plpgsql as $$ begin perform nextval('public.told'); end $$;
         create event trigger tells on ddl_command_end execute function tell();",
    );
    let report = verify_rls(&db, &[]).run_json();
    assert_eq!(report["verdict"], "isolated", "{report:#}");
    assert_eq!(db.value("select is_called from told"), "f");
}

#[test]
fn nothing_of_a_run_stays_in_its_session() {
    let db = sound("nothing_stays");
    let config = Config::parse("[isolation]\n").unwrap();
    let left = "select (select count(*) from pg_prepared_statements where name like 'kinedb%') \
                || ' ' || (select count(*) from pg_proc where proname like 'kinedb%')";
    // In another session than it was made in, what runs the probes is not there.
    for (in_transaction, compiled) in [(false, false), (true, false), (true, true)] {
        let options = Options {
            in_transaction,
            compiled,
            ..Options::default()
        };
        block_on(async {
            let mut conn = db.connect().await;
            if in_transaction {
                conn.execute("begin").await.unwrap();
            }
            let report = verify::verify(&mut conn, &config, &options).await.unwrap();
            assert!(report.checked.probes > 0);
            let left: String = sqlx::query_scalar(left).fetch_one(&mut conn).await.unwrap();
            assert_eq!(left, "0 0");
        });
    }
}

#[test]
fn what_the_verifiers_login_sets_changes_nothing() {
    let db = sound("what_the_verifiers_login_sets");
    // How statements are read, and how what the catalogue holds is printed.
    db.sql(
        "create role odd superuser login;
         alter role odd set standard_conforming_strings = off;
         alter role odd set transform_null_equals = on;
         alter role odd set array_nulls = off;
         alter role odd set quote_all_identifiers = on;
         alter role odd set row_security = off;
         alter role odd set bytea_output = 'escape';
         alter role odd set datestyle = 'SQL, DMY';
         alter role odd set intervalstyle = 'iso_8601';
         alter role odd set default_transaction_isolation = 'serializable';
         alter role odd set idle_in_transaction_session_timeout = '20ms';
         create view shown with (security_invoker = true) as select id, body from notes;
         grant select, update on shown to app;",
    );
    let as_odd = || {
        kinedb(["verify-rls", "--format", "json"])
            .on_as(&db, "odd")
            .run()
    };
    let report = as_odd().exits(0).json();
    assert_eq!(errors(&report), [], "{report:#}");
    db.sql("create policy shared on rooms for select using (body = 'shared' or body is null)");
    let (found, usual) = (as_odd().exits(4).json(), verify_rls(&db, &[]).json());
    assert!(!errors(&usual).is_empty());
    assert_eq!(errors(&found), errors(&usual), "{found:#}");
}

#[test]
fn a_verifier_without_rights_says_which() {
    let db = sound("a_verifier_without_rights");
    db.sql("create role nobody_much login; grant usage on schema public to nobody_much;");
    let run = kinedb(["verify-rls", "--format", "json"])
        .on_as(&db, "nobody_much")
        .run()
        .exits(4);
    let report = run.json();
    let (id, ..) = &errors(&report)[0];
    assert_eq!(id, "verifier-lacks-rights", "{report:#}");
    assert!(
        report["findings"][0]["fix"]
            .as_str()
            .unwrap()
            .contains("grant app to nobody_much"),
        "{report:#}"
    );
}

#[test]
fn read_only_says_what_was_left_out_and_writes_nothing() {
    let db = sound("read_only");
    db.sql(
        "create sequence counted; create function bump() returns bigint language sql volatile as $$ select nextval('public.counted') $$;
         grant usage on sequence counted to app;",
    );
    let report = verify_rls(&db, &["--read-only"]).run_json();
    assert!(
        report["basis"].to_string().contains("read-only"),
        "{report:#}"
    );
    assert_eq!(db.value("select is_called from counted"), "f");
    let rooms = report["matrix"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["object"] == "rooms" && line["role"] == "app")
        .unwrap();
    assert_eq!(rooms["select"], "isolated");
    assert_eq!(db.value("select count(*) from rooms"), "2");
}

#[test]
fn a_locked_table_is_unproven_and_the_others_are_not() {
    let db = sound("a_locked_table");
    block_on(async {
        let mut holder = db.connect().await;
        holder
            .execute("begin; lock table notes in exclusive mode")
            .await
            .unwrap();
        let began = Instant::now();
        let report = verify_rls(&db, &["--lock-timeout", "50ms"]).exits(4).json();
        only_unproven(&report, &["notes"]);
        told(&report, "notes", "lock");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{:?}",
            began.elapsed()
        );
        holder.close().await.unwrap();
    });
}

/// What a view shows is compared with and without the rows of another tenant: where
/// those cannot be taken away, two equal looks prove nothing.
#[test]
fn a_view_is_not_proven_by_rows_that_stay() {
    let db = sound("rows_that_stay");
    db.sql(
        "create view some_notes with (security_invoker) as select count(*) >= 0 as some from notes;
         grant select on some_notes to app",
    );
    verify_rls(&db, &[]).exits(0);
    db.sql(
        "create rule keep as on delete to notes do instead nothing;
         alter table notes enable always rule keep",
    );
    let report = verify_rls(&db, &[]).exits(4).json();
    told(&report, "some_notes", "taken away");
}

#[test]
fn a_table_that_is_locked_against_reading_leaves_what_reads_it_unproven() {
    let db = sound("a_table_locked_against_reading");
    db.sql(&format!(
        "{} {} insert into doors select tenant_id, gen_random_uuid(), 'd' from tenants; insert into bells select tenant_id, gen_random_uuid(), 'b' from tenants;
         create view noted with (security_invoker) as select n.id, r.body from notes n join rooms r using (tenant_id); grant select on noted to app;
         alter policy own on doors using (tenant_id = {CONTEXT} and exists (select from notes));
         create function counted() returns bigint language sql stable return (select count(*) from notes);
         alter policy own on bells using (tenant_id = {CONTEXT} and counted() >= 0)",
        table("doors"),
        table("bells"),
    ));
    block_on(async {
        let mut holder = db.connect().await;
        holder
            .execute("set application_name = 'a migration'; begin; lock table notes in access exclusive mode")
            .await
            .unwrap();
        let began = Instant::now();
        let report = verify_rls(&db, &["--lock-timeout", "50ms"]).exits(4).json();
        only_unproven(&report, &["notes", "noted", "doors", "bells"]);
        told(&report, "notes", "lock_timeout");
        told(&report, "notes", "`a migration`");
        told(&report, "doors", "reads `notes`");
        let catalogue = verify_rls(&db, &["--lock-timeout", "50ms", "--catalog-only"])
            .exits(4)
            .json();
        told(&catalogue, "notes", "lock_timeout");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{:?}",
            began.elapsed()
        );
        holder.close().await.unwrap();
    });
}

#[test]
fn a_lock_on_the_tenants_leaves_what_is_theirs_proven_by_tenants_that_are_made() {
    let db = sound("a_lock_on_the_tenants");
    db.sql("alter table rooms drop constraint rooms_tenant_id_fkey; alter table notes drop constraint notes_tenant_id_fkey");
    block_on(async {
        let mut holder = db.connect().await;
        holder
            .execute("begin; lock table tenants in access exclusive mode")
            .await
            .unwrap();
        let report = verify_rls(&db, &["--lock-timeout", "50ms"]).exits(4).json();
        only_unproven(&report, &["tenants"]);
        holder.close().await.unwrap();
    });
}

#[test]
fn a_lock_in_the_way_of_looking_up_roles_is_told_with_who_holds_it() {
    let db = sound("a_lock_in_the_way_of_roles");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kinedb.toml");
    let query = "select 'app' from tenants where tenant_id::text = :tenant";
    let tenants =
        "['aaaaaaaa-0000-4000-8000-00000000000a', 'bbbbbbbb-0000-4000-8000-00000000000b']";
    std::fs::write(
        &path,
        format!("[isolation]\ntenants = {tenants}\n[[isolation.role]]\nquery = \"{query}\"\n"),
    )
    .unwrap();
    block_on(async {
        let mut holder = db.connect().await;
        holder
            .execute("set application_name = 'a migration'; begin; lock table tenants in access exclusive mode")
            .await
            .unwrap();
        let run = verify_rls(
            &db,
            &["--lock-timeout", "50ms", "--config", path.to_str().unwrap()],
        )
        .exits(5);
        assert!(run.stderr.contains("`a migration`"), "{}", run.stderr);
        assert!(
            run.stderr.contains("of a role waits for a lock"),
            "{}",
            run.stderr
        );
        holder.close().await.unwrap();
    });
}

#[test]
fn a_locked_partition_is_not_waited_for_twice() {
    let db = sound("a_locked_partition");
    db.sql(&format!(
        "create table parted (tenant_id uuid not null, id int, primary key (tenant_id, id)) partition by list (id);
         create table parted_1 partition of parted for values in (1); create table parted_2 partition of parted for values in (2);
         insert into parted select tenant_id, 1 from tenants; {}",
        guarded("parted", "tenant_id = ", CONTEXT, "select, insert, update, delete"),
    ));
    block_on(async {
        let mut holder = db.connect().await;
        holder
            .execute("begin; lock table parted_1 in access exclusive mode")
            .await
            .unwrap();
        let report = verify_rls(&db, &["--lock-timeout", "50ms"]).exits(4).json();
        only_unproven(&report, &["parted"]);
        told(&report, "parted", "lock_timeout");
        holder.close().await.unwrap();
    });
}

#[test]
fn a_large_table_that_nobody_analysed_is_taken_for_large() {
    let db = sound("a_large_table_never_analysed");
    db.sql(
        "alter table notes set (autovacuum_enabled = false);
         insert into notes select tenant_id, gen_random_uuid(), 'n' from tenants, generate_series(1, 20000);",
    );
    assert_eq!(
        db.value("select reltuples from pg_class where relname = 'notes'"),
        "-1"
    );
    let report = verify_rls(&db, &[]).ok().json();
    let basis = report["basis"].to_string();
    assert!(
        basis.contains("of large tables") && basis.contains("`notes`"),
        "{basis}"
    );
    isolated(&report, "notes");
}

#[test]
fn a_connection_that_is_ended_is_told_as_such() {
    let db = sound("a_connection_that_is_ended");
    db.sql(&format!(
        "create function wait() returns boolean language plpgsql as $$ begin perform pg_sleep(20); return true; end $$;
         create table sleepy (tenant_id uuid not null, id int, primary key (tenant_id, id));
         insert into sleepy select tenant_id, 1 from tenants; {}",
        guarded("sleepy", "tenant_id = ", &format!("{CONTEXT} and wait()"), "select")
    ));
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| verify_rls(&db, &[]));
        let killed = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                      where application_name like 'kinedb%' and wait_event = 'PgSleep'";
        let began = Instant::now();
        while db.value(killed) == "0" {
            assert!(began.elapsed() < Duration::from_secs(60), "it never slept");
            std::thread::sleep(Duration::from_millis(50));
        }
        run.join().unwrap()
    });
    let run = run.exits(7);
    assert!(run.stderr.contains("connection"), "{}", run.stderr);
}

#[test]
fn copies_in_other_databases_are_found() {
    let db = sound("copies");
    let other = db.server().database("a \"copy\" of it");
    other.sql("create table notes (tenant_id uuid, body text); insert into notes values (null, 'x'); grant select on notes to app");
    let quiet = db.server().database("nothing_in_it");
    quiet.sql("create table other (id int)");
    let report = verify_rls(&db, &[]).exits(4).json();
    let errors = errors(&report);
    assert_eq!(errors.len(), 1, "{report:#}");
    assert_eq!(errors[0].0, "other-database");
}

/// The report of a run that may have found something.
trait Json {
    fn run_json(&self) -> Value;
}

impl Json for Run {
    fn run_json(&self) -> Value {
        assert!(
            self.status == 0 || self.status == 4,
            "exit {}: {}",
            self.status,
            self.stderr
        );
        self.json()
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_what_to_type() {
    let db = sound("a_file_that_cannot_be_read");
    for (flag, words) in [
        ("--config", "--config FILE"),
        ("--baseline", "kinedb verify-rls"),
    ] {
        let run = verify_rls(&db, &[flag, "/no/such/file.toml"]);
        assert_eq!(run.status, 2, "{}", run.stderr);
        let hint = run.stderr.lines().find(|line| line.starts_with("Hint: "));
        assert!(
            hint.is_some_and(|hint| hint.contains(words)),
            "{}",
            run.stderr
        );
    }
}
