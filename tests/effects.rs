//! What a migration is said to do to isolation, case by case.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{TestDb, TestServer, kinedb};
use kinedb::migrate::touched::Touched;
use migrations::Migrations;
use serde_json::Value;
use sqlx::Executor as _;
use sqlx::postgres::types::Oid;

/// A table of a tenant, closed by a policy; a view over it; roles.
const BASE: &str = "
create role web; create role staff; create role keeper;
create table notes (tenant uuid not null, id int, body text, primary key (tenant, id));
alter table notes enable row level security, force row level security;
create policy own on notes using (tenant = (select current_setting('app.tenant')::uuid));
grant select, insert on notes to web;
grant update (body) on notes to web;
create view notes_seen with (security_invoker = true, security_barrier = true) as select tenant, body from notes;
create view notes_owned as select body from notes;
create table plain (id int);
grant select on plain to web;
create function tenant() returns uuid stable language sql as $$ select current_setting('app.tenant')::uuid $$;
create table asked (tenant uuid, body text);
alter table asked enable row level security, force row level security;
create policy own on asked using (tenant = tenant());
grant select on asked to web;
create function guard() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
create trigger worm before update on notes for each row execute function guard();
create function total() returns bigint language sql security definer as $$ select count(*) from notes $$;
revoke execute on function total() from public;
";

const OWN: &str = "(tenant = (select current_setting('app.tenant')::uuid))";

/// Runs the cases one after the other in one transaction that is rolled back.
fn judged(db: &TestDb, cases: &[(&str, &str, &str)]) -> Vec<Value> {
    db.sql(BASE);
    let folder = Migrations::of(&[]);
    for (place, (sql, ..)) in cases.iter().enumerate() {
        let sql = sql
            .replace("OWN", OWN)
            .replace("NEW", &format!("new_{place}"));
        folder.write(&format!("m{place:03}"), &format!("{sql};\n"), "");
    }
    let run = kinedb([
        "upgrade",
        "--gate",
        "off",
        "--dry-run",
        "--format",
        "json",
        "--migrations",
        folder.arg(),
    ])
    .on(db)
    .run()
    .ok();
    let summary: Value = serde_json::from_str(&run.stdout).expect("a summary");
    summary["done"].as_array().expect("steps").clone()
}

fn check(name: &str, cases: &[(&str, &str, &str)]) {
    let server = TestServer::own();
    let db = server.database(name);
    let steps = judged(&db, cases);
    let mut wrong = Vec::new();
    for ((sql, effect, told), step) in cases.iter().zip(&steps) {
        let changes = step["changes"].to_string();
        if step["effect"] != *effect || !changes.contains(told) {
            wrong.push(format!(
                "{sql}\n  should be {effect} (`{told}`), is {} {changes}",
                step["effect"]
            ));
        }
    }
    assert_eq!(steps.len(), cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn grants_owners_and_roles() {
    check(
        "grants_owners_and_roles",
        &[
            (
                "grant delete on notes to web",
                "widens",
                "web may now delete",
            ),
            (
                "revoke delete on notes from web",
                "narrows",
                "web may no longer delete",
            ),
            (
                "grant update (id) on notes to web",
                "widens",
                "column id of public.notes",
            ),
            ("grant select (body) on notes to web", "neutral", "[]"),
            (
                "grant select on notes to public",
                "widens",
                "public may now select",
            ),
            ("grant select on notes to staff", "neutral", "[]"),
            (
                "grant select on notes to staff with grant option",
                "widens",
                "grant select to others",
            ),
            (
                "revoke select on notes from public",
                "narrows",
                "public may no longer select",
            ),
            (
                "alter table notes owner to keeper",
                "widens",
                "belongs to keeper",
            ),
            ("grant staff to web", "widens", "is a member of staff"),
            (
                "revoke staff from web",
                "narrows",
                "no longer a member of staff",
            ),
            ("create role fresh; grant fresh to web", "neutral", "[]"),
            ("alter role web bypassrls", "widens", "bypassrls"),
            ("alter role web nobypassrls", "narrows", "bypassrls"),
            ("grant create on schema public to web", "widens", "create"),
            (
                "create schema other; grant usage on schema other to web",
                "neutral",
                "[]",
            ),
            (
                "alter default privileges grant select on tables to web",
                "widens",
                "default privileges",
            ),
            (
                "alter default privileges revoke execute on functions from public",
                "narrows",
                "default privileges",
            ),
            (
                "alter default privileges grant execute on functions to public",
                "widens",
                "public may now execute",
            ),
            (
                "alter role web set app.tenant = 'x'",
                "widens",
                "settings changed",
            ),
            ("alter role web set work_mem = '8MB'", "neutral", "[]"),
            (
                "create publication p for table notes",
                "widens",
                "subscriber",
            ),
            ("drop role fresh", "narrows", "dropped"),
            // Nobody was a role that is made here: what it may is bound, or it widens.
            (
                "create role r1; grant usage, create on schema public to r1; grant select, insert on notes to r1; grant select on notes_seen to r1",
                "neutral",
                "r1, a new role, may insert, select",
            ),
            (
                "create role r2; grant select (id) on notes to r2",
                "neutral",
                "r2, a new role, may select",
            ),
            (
                "create role r3; grant select on plain to r3",
                "widens",
                "r3 may now select",
            ),
            (
                "create role r4; grant truncate on notes to r4",
                "widens",
                "r4 may now truncate",
            ),
            (
                "create role r5; grant select on notes_owned to r5",
                "widens",
                "r5 may now select",
            ),
            (
                "create role r6; grant select on notes to r6; create policy every on notes to r6 using (true)",
                "widens",
                "r6 may now select",
            ),
            (
                "create role r7; grant select on notes to r7",
                "neutral",
                "r7, a new role",
            ),
            ("create role r8 bypassrls", "widens", "bypassrls"),
            (
                "create role r9; grant execute on function total() to r9",
                "widens",
                "r9 may now execute",
            ),
            (
                "create role r10; create role r11; grant r10 to r11; grant r11 to web; grant delete on notes to r10",
                "widens",
                "is a member of r11, which is new",
            ),
            (
                "create role r12; create policy own_again on asked to r12 using OWN; grant select on asked to r12",
                "widens",
                "r12 may now select",
            ),
            (
                "create role r13; create policy own_too on notes for select to r13 using (tenant = (select current_setting('app.other')::uuid))",
                "neutral",
                "for a new role",
            ),
            (
                "create role r14; grant select on notes to r14 with grant option",
                "widens",
                "grant select to others",
            ),
        ],
    );
}

#[test]
fn row_security_and_policies() {
    check(
        "row_security_and_policies",
        &[
            (
                "alter table notes no force row level security",
                "widens",
                "no longer binds its owner",
            ),
            (
                "alter table notes force row level security",
                "narrows",
                "binds its owner now",
            ),
            (
                "alter table notes disable row level security",
                "widens",
                "disabled",
            ),
            ("drop policy own on notes", "neutral", "[]"),
            ("create policy own on notes using OWN", "neutral", "[]"),
            (
                "alter table notes enable row level security",
                "narrows",
                "enabled",
            ),
            (
                "create policy every on notes using (true)",
                "widens",
                "new: using true",
            ),
            (
                "drop policy every on notes",
                "narrows",
                "dropped: using true",
            ),
            (
                "create policy reads on notes for select using (OWN and body is not null)",
                "neutral",
                "let through already",
            ),
            ("drop policy reads on notes", "narrows", "dropped"),
            (
                "alter policy own on notes using (OWN and body is not null)",
                "narrows",
                "was using",
            ),
            ("alter policy own on notes using OWN", "widens", "was using"),
            (
                "alter policy own on notes using (OWN or body is null)",
                "widens",
                " OR ",
            ),
            ("alter policy own on notes using OWN", "widens", "is using"),
            (
                "alter policy own on notes with check (true)",
                "widens",
                "with check true",
            ),
            (
                "drop policy own on notes; create policy renamed on notes using OWN",
                "narrows",
                "dropped",
            ),
            (
                "drop policy renamed on notes; create policy own on notes using OWN",
                "neutral",
                "[]",
            ),
            ("alter policy own on notes to web", "narrows", "other roles"),
            (
                "alter policy own on notes to public",
                "widens",
                "other roles",
            ),
            (
                "create policy limit_it on notes as restrictive using (body <> '')",
                "narrows",
                "restrictive policy limit_it",
            ),
            (
                "alter policy limit_it on notes using (true)",
                "widens",
                "was using",
            ),
            (
                "alter policy limit_it on notes to web",
                "widens",
                "other roles",
            ),
            (
                "alter policy limit_it on notes to public",
                "narrows",
                "other roles",
            ),
            ("drop policy limit_it on notes", "widens", "dropped"),
            (
                "alter table notes rename column tenant to clinic",
                "neutral",
                "[]",
            ),
            ("alter table notes rename to memos", "neutral", "[]"),
            (
                "create or replace function tenant() returns uuid stable language sql as $$ select null::uuid $$",
                "widens",
                "policies call functions",
            ),
            ("drop table memos cascade", "narrows", "dropped"),
        ],
    );
}

#[test]
fn what_is_new_and_what_runs_for_others() {
    const CLOSED: &str = "create table NEW (tenant uuid, x int); alter table NEW enable row level security, force row level security; create policy own on NEW using OWN; grant select, insert on NEW to web";
    check(
        "what_is_new",
        &[
            (
                CLOSED,
                "neutral",
                "open to each tenant's own rows: web may insert, select",
            ),
            (
                &CLOSED.replace("force", "no force"),
                "widens",
                "does not bind its owner",
            ),
            (
                &CLOSED.replace("using OWN", "using (true)"),
                "widens",
                "does not tie its rows",
            ),
            (
                &CLOSED.replace("using OWN", "using OWN with check (true)"),
                "widens",
                "does not tie its rows",
            ),
            (
                &CLOSED.replace("select, insert", "truncate"),
                "widens",
                "does not bind: web may truncate",
            ),
            (
                &CLOSED.replace(
                    "using OWN",
                    "using (x > 0); create policy tied on NEW as restrictive using OWN",
                ),
                "neutral",
                "own rows",
            ),
            (
                "create table v (x int); grant select on v to web",
                "widens",
                "without row security",
            ),
            ("create table w (x int)", "neutral", "nobody but its owner"),
            ("grant select on w to web", "widens", "web may now select"),
            (
                "create view a with (security_invoker = true) as select * from notes; grant select on a to web",
                "neutral",
                "what its reader may read",
            ),
            (
                "create view b as select * from notes; grant select on b to web",
                "widens",
                "what its owner may read",
            ),
            (
                "alter view a set (security_invoker = false)",
                "widens",
                "owner's rights",
            ),
            (
                "alter view a set (security_invoker = true)",
                "narrows",
                "reader's rights",
            ),
            (
                "alter view notes_seen reset (security_barrier)",
                "widens",
                "no barrier",
            ),
            (
                "create or replace view notes_seen with (security_invoker = true) as select tenant, body from notes where body <> ''",
                "neutral",
                "[]",
            ),
            (
                "create or replace view notes_owned as select body from notes where body <> ''",
                "widens",
                "its query changed",
            ),
            (
                "drop view a; create view a with (security_invoker = true) as select * from notes; grant select on a to web",
                "neutral",
                "[]",
            ),
            (
                "create materialized view m as select * from notes; grant select on m to web",
                "widens",
                "materialized view",
            ),
            (
                "create function f() returns int language sql as 'select 1'",
                "neutral",
                "[]",
            ),
            (
                "create function g() returns int language sql security definer as 'select 1'",
                "widens",
                "public may call it",
            ),
            (
                "create function h() returns int language sql security definer as 'select 1'; revoke execute on function h() from public",
                "neutral",
                "[]",
            ),
            (
                "grant execute on function total() to web",
                "widens",
                "web may now execute",
            ),
            (
                "create or replace function total() returns bigint language sql security definer as $$ select 1::bigint $$",
                "widens",
                "runs as its owner",
            ),
            (
                "alter function total() security invoker",
                "narrows",
                "no longer runs",
            ),
            (
                "create or replace function guard() returns trigger language plpgsql as $$ begin return new; end $$",
                "widens",
                "a trigger runs it",
            ),
            (
                "alter table notes disable trigger worm",
                "widens",
                "fires no more",
            ),
            (
                "alter table notes enable trigger worm",
                "narrows",
                "fires again",
            ),
            ("drop trigger worm on notes", "widens", "dropped"),
            (
                "create trigger stamp before insert on notes for each row execute function guard()",
                "neutral",
                "whoever changes a row",
            ),
            (
                "create rule r as on delete to notes do instead nothing",
                "widens",
                "rule r",
            ),
            (
                "create table child () inherits (plain)",
                "neutral",
                "nobody but its owner",
            ),
            (
                "alter table w add column id int; alter table w inherit plain",
                "widens",
                "reached through public.plain",
            ),
            (
                "alter table w no inherit plain",
                "narrows",
                "no longer reached",
            ),
        ],
    );
}

/// What the gate takes for touched, statement by statement: too little would let a leak
/// through, too much would prove the whole of a large database for one column.
#[test]
fn what_a_statement_touches_is_told() {
    let server = TestServer::own();
    let db = server.database("touched");
    db.sql(BASE);
    db.sql("create function hidden_drop() returns void language plpgsql as $$ begin execute 'dr' || 'op policy own on asked'; end $$");
    let cases = [
        ("comment on table notes is 'x'", "", ""),
        ("create index on notes (body)", "", ""),
        ("insert into plain values (1)", "", ""),
        ("grant select on plain to staff", "plain", ""),
        ("grant select (id) on plain to staff", "plain", ""),
        ("alter table plain enable row level security", "plain", ""),
        ("create policy more on notes using (true)", "notes", ""),
        ("alter policy own on asked using (true)", "asked", ""),
        ("alter table notes disable trigger worm", "notes", ""),
        (
            "alter view notes_seen set (security_invoker = false)",
            "notes_seen",
            "",
        ),
        (
            "create or replace view notes_owned as select body from notes where true",
            "notes_owned",
            "",
        ),
        (
            "alter table plain alter column id set default 1",
            "plain",
            "",
        ),
        (
            "alter table plain add column more double precision default random()",
            "plain",
            "",
        ),
        ("create table child () inherits (plain)", "plain child", ""),
        ("alter function total() security invoker", "total", ""),
        (
            "do $$ begin create policy p on plain using (true); exception when others then null; end $$",
            "plain",
            "",
        ),
        ("drop policy own on asked", "", "gone"),
        ("drop trigger worm on notes", "", "gone"),
        ("drop function total()", "", "gone"),
        ("alter table notes drop constraint notes_pkey", "", "gone"),
        ("select hidden_drop()", "", "gone"),
        ("drop view notes_owned", "", "gone"),
        ("grant staff to web", "", "global"),
        ("alter role staff bypassrls", "", "global"),
        (
            "alter default privileges grant select on tables to web",
            "",
            "global",
        ),
        ("create schema other", "", "global"),
        ("grant usage on schema public to web", "", "global"),
        ("alter role web set app.tenant = 'x'", "", "global"),
        ("create publication all_of_it for all tables", "", "global"),
        (
            "grant execute on function pg_read_file(text) to web",
            "",
            "global",
        ),
        (
            "set local track_counts = off; grant staff to web",
            "",
            "global",
        ),
    ];
    common::block_on(async {
        let mut conn = db.connect().await;
        let mut wrong = Vec::new();
        for (sql, object, rest) in cases {
            conn.execute("begin; select pg_current_xact_id()")
                .await
                .unwrap();
            conn.execute(sql).await.unwrap();
            let touched = Touched::look(&mut conn, false).await.unwrap();
            let names: Vec<String> = sqlx::query_scalar(
                "select relname::text from pg_class where oid = any ($1) \
                 union all select proname from pg_proc where oid = any ($1)",
            )
            .bind(touched.objects.iter().copied().map(Oid).collect::<Vec<_>>())
            .fetch_all(&mut conn)
            .await
            .unwrap();
            conn.execute("rollback").await.unwrap();
            let concerns = match (touched.gone, touched.global) {
                (false, false) => "",
                (true, false) => "gone",
                (false, true) => "global",
                (true, true) => "both",
            };
            if names.join(" ") != object || concerns != rest {
                wrong.push(format!("{sql}: {names:?} {concerns}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// With a table that had nothing else, nothing else is gone.
#[test]
fn a_bare_table_that_is_dropped_narrows() {
    check(
        "bare_table",
        &[
            (
                "create table bare (id int); grant select on bare to web",
                "widens",
                "public.bare",
            ),
            ("drop table bare", "narrows", "dropped"),
        ],
    );
}
