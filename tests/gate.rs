//! What the gate of `upgrade` does not do: probe what a migration is far from, throw
//! its plans away, take a look that was cut short for a leak.

// Helpers are not test functions, where these are allowed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use std::fmt::Write as _;
use std::time::Duration;

use common::{ISOLATION, TestDb, TestServer, block_on, kinedb};
use kinedb::migrate::touched::may_drop;
use kinedb::verify::finding::{Severity, Verdict};
use kinedb::verify::{self, Config, Options};
use migrations::Migrations;

/// A table of tenants that `web` works with, with more clauses of its own.
fn table(name: &str, more: &str) -> String {
    format!(
        "create table {name} (tenant uuid not null, id int not null, body text, primary key (tenant, id){more});\n\
         alter table {name} enable row level security, force row level security;\n\
         create policy own on {name} using (tenant = (select current_setting('app.tenant')::uuid));\n\
         grant select, insert, update, delete on {name} to web;\n"
    )
}

/// Three tenants, and the role of the application.
fn clinics(db: &TestDb) {
    db.sql(
        "create role web; create table tenants (tenant uuid primary key); \
         insert into tenants select gen_random_uuid() from generate_series(1, 3); \
         alter table tenants enable row level security, force row level security; \
         create policy own on tenants using (tenant = (select current_setting('app.tenant')::uuid)); \
         grant select on tenants to web",
    );
}

fn upgrade(db: &TestDb, folder: &Migrations) -> common::Run {
    let config = folder.path().join("kinedb.toml");
    std::fs::write(&config, ISOLATION).unwrap();
    kinedb(
        ["upgrade", "--migrations", folder.arg(), "--config"]
            .map(std::ffi::OsStr::new)
            .iter()
            .copied()
            .chain([config.as_os_str()]),
    )
    .on(db)
    .run()
}

/// How often the far tables were read or written since the server counts.
const TOUCHED: &str = "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del + seq_scan + coalesce(idx_scan, 0)), 0) from pg_stat_user_tables where relname ~ '^far_'";

/// A finding of theirs would make the gate look at the whole database, so they are
/// neither probed nor read in the catalogue.
#[test]
fn tables_that_a_migration_is_far_from_are_not_looked_at() {
    let server = TestServer::own();
    let db = server.database("far");
    clinics(&db);
    let mut far = String::new();
    for place in 0..60 {
        far += &table(&format!("far_{place:02}"), "");
        // Broken before: the migration is not to blame.
        writeln!(far, "create policy open on far_{place:02} using (true);").unwrap();
    }
    db.sql(&far);
    // With the first one of a database come the tables of history, which concern all.
    let folder = Migrations::of(&[("m0_first", "create table plain (id int);\n", "")]);
    upgrade(&db, &folder).ok();
    let before = db.value(TOUCHED);
    for (name, up) in [
        (
            "m1_rooms",
            table("rooms", ", foreign key (tenant) references tenants").as_str(),
        ),
        (
            "m2_seen",
            "create view rooms_seen with (security_invoker = true, security_barrier = true) as select id, body from rooms;\ngrant select on rooms_seen to web;\n",
        ),
        ("m3_column", "alter table rooms add column label text;\n"),
    ] {
        folder.write(name, up, "");
    }
    upgrade(&db, &folder).ok();
    assert_eq!(db.value(TOUCHED), before);
    // The gate did look: what it is near to is refused, and only that is named.
    folder.write("m4_open", "create policy open on rooms using (true);\n", "");
    let run = upgrade(&db, &folder).exits(4);
    assert!(
        run.stderr.contains("rooms [foreign-rows-visible]") && !run.stderr.contains("far_"),
        "{}",
        run.stderr
    );
    assert_ne!(db.value(TOUCHED), before, "nothing is counted");
}

/// To put triggers to sleep throws away every plan of a session, so it is not done where
/// rows go without.
#[test]
fn statements_of_the_gate_are_planned_once() {
    let server = TestServer::own();
    let db = server.database("plans");
    db.sql("alter system set shared_preload_libraries = 'pg_stat_statements'");
    server.dev().stop().unwrap();
    server.dev().start().unwrap();
    let counts = "create extension pg_stat_statements";
    if block_on(async {
        let mut conn = db.connect().await;
        sqlx::Executor::execute(&mut conn, counts).await.is_err()
    }) {
        eprintln!("SKIPPED: no pg_stat_statements here");
        return;
    }
    for setting in ["track_planning = on", "track = 'all'"] {
        db.sql(&format!("alter system set pg_stat_statements.{setting}"));
    }
    db.sql("select pg_reload_conf()");
    clinics(&db);
    let folder = Migrations::of(&[]);
    for place in 0..10 {
        let name = format!("rooms_{place}");
        let view = format!(
            "create view {name}_seen with (security_invoker = true, security_barrier = true) as select id, body from {name};\ngrant select on {name}_seen to web;\n"
        );
        let up = format!("{}{view}", table(&name, ""));
        folder.write(&format!("m{place:02}"), &up, "");
    }
    upgrade(&db, &folder).ok();
    // The great statements of the gate are asked once for each migration. The first one
    // brings the tables of history, which the plans before it do not know.
    let often =
        "select count(*) from pg_stat_statements where calls >= 10 and length(query) > 2000";
    assert_ne!(
        db.value(often),
        "0",
        "the statements of the gate are not found"
    );
    let again = "select coalesce(string_agg(plans || ' plans in ' || calls || ' calls: ' || left(query, 60), E'\\n'), '') from pg_stat_statements where calls >= 10 and length(query) > 2000 and plans * 2 > calls";
    assert_eq!(db.value(again), "");
}

#[test]
fn what_a_migration_leaves_set_changes_no_proof() {
    let db = TestDb::new("what_a_migration_leaves_set");
    clinics(&db);
    let odd = "set standard_conforming_strings = off;\nset quote_all_identifiers = on;\n\
               set array_nulls = off;\n";
    // As pg_dump begins what it writes, and a schema that is taken over with it.
    let dump = "set statement_timeout = 0;\nset lock_timeout = 0;\nset check_function_bodies = false;\n\
                set client_min_messages = warning;\nset row_security = off;\n\
                select pg_catalog.set_config('search_path', '', false);\n";
    let folder = Migrations::of(&[
        ("m0_rooms", &format!("{}{dump}", table("rooms", "")), ""),
        ("m1_visits", &format!("{odd}{}", table("visits", "")), ""),
        (
            "m2_bills",
            &format!(
                "{odd}{}create policy all_of_them on bills for select using (true);\n",
                table("bills", "")
            ),
            "",
        ),
    ]);
    let run = upgrade(&db, &folder).exits(4);
    assert!(
        run.stderr.contains("applied m0_rooms")
            && run.stderr.contains("applied m1_visits")
            && run.stderr.contains("`m2_bills` was rolled back")
            && run.stderr.contains("bills [foreign-rows-visible]"),
        "{}",
        run.stderr
    );
}

/// Nothing is noted of the state before a script whose drops seem to find nothing. One that
/// takes something with it all the same, far from what the script makes, is proven.
#[test]
fn a_drop_that_seemed_to_find_nothing_is_answered_for() {
    let server = TestServer::own();
    let db = server.database("seemed_to_find_nothing");
    clinics(&db);
    db.sql(&table("notes", ""));
    let here = "create view here as select current_setting('app.tenant')::uuid as tenant;\n\
                grant select on here to web;\n";
    db.sql(&format!(
        "{here} alter policy own on notes using (true); \
         create policy only_own on notes as restrictive using (tenant = (select tenant from here))"
    ));
    let up = format!(
        "create table labels (id int primary key);\ndrop view if exists here cascade;\n{here}"
    );
    assert!(!may_drop(&up));
    let folder = Migrations::of(&[
        ("m0_first", "create table plain (id int);\n", ""),
        ("m1_labels", &up, ""),
    ]);
    let run = upgrade(&db, &folder).exits(4);
    assert!(
        run.stderr.contains("applied m0_first")
            && run.stderr.contains("notes [foreign-rows-visible]"),
        "{}",
        run.stderr
    );
    assert_eq!(
        db.value("select count(*) from pg_policy where polname = 'only_own'"),
        "1"
    );
}

/// A view that takes its time once the other tenant's rows are gone, shows nothing
/// of them: that it could not be looked at again is no answer.
#[test]
fn a_look_that_was_cut_short_is_no_leak() {
    let server = TestServer::own();
    let db = server.database("cut_short");
    clinics(&db);
    db.sql(&table("notes", ""));
    db.sql("insert into notes select tenant, i, 'x' from tenants, generate_series(1, 3) i");
    db.sql(
        "create function others() returns bigint language sql stable security definer as \
         $$ select count(*) from notes where tenant <> current_setting('app.tenant')::uuid $$; \
         create function waits(id int) returns boolean language plpgsql volatile cost 100000 as \
         $$ declare seen text := 'slow.t' || md5(current_setting('app.tenant')); \
         begin \
           if others() < coalesce(nullif(current_setting(seen, true), ''), '0')::bigint \
           then perform pg_sleep(5); end if; \
           perform set_config(seen, others()::text, true); \
           return true; \
         end $$; \
         create view slow with (security_invoker = true) as select id from notes where waits(id); \
         grant select on slow to web;",
    );
    let config = Config::parse(ISOLATION).unwrap();
    let report = block_on(async {
        let mut conn = db.connect().await;
        let options = Options {
            statement_timeout: Duration::from_millis(800),
            ..Options::default()
        };
        verify::verify(&mut conn, &config, &options).await.unwrap()
    });
    let told: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.object == "slow" && finding.severity == Severity::Error)
        .map(|finding| {
            (
                finding.id.as_str(),
                finding.verdict,
                finding.detail.as_str(),
            )
        })
        .collect();
    assert!(
        !told.is_empty()
            && told
                .iter()
                .all(|(_, verdict, _)| *verdict == Verdict::Unproven),
        "{told:#?}"
    );
    assert!(
        told.iter()
            .any(|(_, _, detail)| detail.contains("reading it again")),
        "{told:#?}"
    );
}
