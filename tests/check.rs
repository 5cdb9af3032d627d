//! `kinedb check`: this project is clean; each rule fires; drift of a live
//! database is one line per attribute.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{Run, TestDb, TestServer, block_on, kinedb};
use kinedb::catalogue;
use kinedb::lint::{self, Settings};
use kinedb::policy::reprint;
use migrations::{Migrations, project};

fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn check(server: &TestServer, args: &[&str]) -> Run {
    kinedb(
        ["check", "--scratch-url", &server.url("postgres")]
            .iter()
            .chain(args),
    )
    .within(root())
    .run()
}

#[test]
fn this_project_is_clean() {
    let server = TestServer::own();
    let run = check(&server, &["--format", "json"]).ok();
    let json = run.json();
    assert_eq!(json["verdict"], "clean", "{}", run.stdout);
    assert_eq!(
        json["findings"].as_array().unwrap().len(),
        0,
        "{}",
        run.stdout
    );
    let basis = json["basis"].to_string();
    let ups = std::fs::read_dir(root().join("migration/src"))
        .unwrap()
        .flatten();
    let count = ups
        .filter(|file| file.file_name().to_string_lossy().ends_with(".up.sql"))
        .count();
    assert!(
        basis.contains(&format!(
            "{count} of {count} revisions went up, down and up again"
        )),
        "{basis}"
    );
    assert!(basis.contains(" entities compared"), "{basis}");
    assert!(basis.contains("m20260105_090000_roles "), "{basis}");
    assert!(
        basis.contains(" neutral") || basis.contains(" widens"),
        "{basis}"
    );
    let db = server.database("left_behind");
    assert_eq!(
        db.value("select count(*) from pg_database where datname like 'kinedb\\_scratch%'"),
        "0"
    );
}

#[test]
fn a_way_down_that_forgets_and_a_leak_are_found() {
    let server = TestServer::own();
    let folder = Migrations::of(&[
        (
            "m20260101_000000_a",
            "create table a (x int);\ncreate index a_x on a (x);\n",
            "drop table a;\n",
        ),
        (
            "m20260102_000000_b",
            "create table b (x int);\ncomment on table a is 'changed';\n",
            "drop table b;\n",
        ),
    ]);
    let run = check(&server, &["--migrations", folder.arg()]);
    assert!(
        run.stdout
            .contains("m20260102_000000_b: table public.a: comment: added `changed` [down]"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let open = Migrations::of(&[(
        "m20260101_000000_open",
        "create role check_app nologin;\ncreate table t (tenant_id uuid not null, x int);\ngrant select on t to check_app;\n",
        "drop table t;\ndrop role check_app;\n",
    )]);
    let config = open.path().join("kinedb.toml");
    std::fs::write(
        &config,
        "[isolation]\ntenant_columns = [\"tenant_id\"]\ncontext = [\"select set_config('app.tenant_id', :tenant, true)\"]\n[[isolation.role]]\nname = \"check_app\"\n",
    )
    .unwrap();
    let run = check(
        &server,
        &[
            "--migrations",
            open.arg(),
            "--config",
            config.to_str().unwrap(),
        ],
    )
    .exits(4);
    assert!(
        run.stdout
            .contains("isolation is broken or not proven after this revision"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains(
            ".up.sql:2: `t` has a tenant's column and no row security [table-without-rls]"
        ),
        "{}",
        run.stdout
    );
}

const CLOSED: &str = "create role check_app nologin;
create table t (tenant_id uuid not null, x int);
alter table t enable row level security;
alter table t force row level security;
create policy p on t using (tenant_id = (select current_setting('app.tenant_id')::uuid));
grant select on t to check_app;
";

/// A folder with its own `kinedb.toml`, and what `check` says of it.
fn check_isolated(server: &TestServer, pairs: &[(&str, &str, &str)]) -> Run {
    let folder = Migrations::of(pairs);
    let config = folder.path().join("kinedb.toml");
    std::fs::write(
        &config,
        "[isolation]\ntenant_columns = [\"tenant_id\"]\ntenants = [\"00000000-0000-0000-0000-000000000001\", \"00000000-0000-0000-0000-000000000002\"]\ncontext = [\"select set_config('app.tenant_id', :tenant, true)\"]\n[[isolation.role]]\nname = \"check_app\"\n",
    )
    .unwrap();
    check(
        server,
        &[
            "--migrations",
            folder.arg(),
            "--config",
            config.to_str().unwrap(),
            "--format",
            "json",
        ],
    )
}

/// Which revisions isolation is said to be broken after.
fn broken_after(run: &Run) -> Vec<String> {
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    let of_revisions = findings.iter().filter(|one| one["id"] == "isolation");
    of_revisions
        .map(|one| one["object"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_leak_that_a_later_revision_closes_is_found_at_its_revision() {
    let server = TestServer::own();
    let first = ("m1_closed", CLOSED, "drop table t;\ndrop role check_app;\n");
    let opened = (
        "m2_opened",
        "-- kinedb: allow rls-disabled: the test needs a leak\nalter table t disable row level security;\n",
        "alter table t enable row level security;\n",
    );
    let closed = (
        "m3_closed",
        "alter table t enable row level security;\nalter table t force row level security;\n",
        "alter table t disable row level security;\n",
    );
    check_isolated(&server, &[first]).ok();
    let run = check_isolated(&server, &[first, opened, closed]).exits(4);
    assert_eq!(broken_after(&run), ["m2_opened"], "{}", run.stdout);
    // At head nothing is wrong: it was the way there.
    assert_eq!(
        run.json()["findings"].as_array().unwrap().len(),
        1,
        "{}",
        run.stdout
    );
    // Roles are the server's: what the migrations made is gone with the database.
    let db = server.database("roles_left");
    assert_eq!(
        db.value("select count(*) from pg_roles where rolname = 'check_app'"),
        "0"
    );
    let stays = ("m3_other", "create schema other;\n", "drop schema other;\n");
    let run = check_isolated(&server, &[first, opened, stays]).exits(4);
    assert_eq!(broken_after(&run), ["m2_opened"], "{}", run.stdout);
}

#[test]
fn a_way_up_that_gives_something_else_the_second_time_is_found() {
    let server = TestServer::own();
    // What remembers the first time is a role that nothing refers to.
    let up = "create table a (x int);
do $$ begin
  if exists (select from pg_roles where rolname = 'check_ghost') then
    comment on table a is 'again';
  else
    create role check_ghost;
  end if;
end $$;
";
    let folder = Migrations::of(&[("m1_a", up, "drop table a;\n")]);
    let run = check(&server, &["--migrations", folder.arg()]);
    assert!(
        run.stdout
            .contains("m1_a: table public.a: comment: added `again` [up-again]"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("[down]"), "{}", run.stdout);
}

#[test]
fn policies_and_files_that_differ_from_what_was_built_are_found() {
    let server = TestServer::own();
    let project = project();
    let edit = |file: &str, from: &str, to: &str| {
        let path = project.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    };
    let here = |args: &[&str]| {
        let url = server.url("postgres");
        kinedb(["check", "--scratch-url", &url].iter().chain(args))
            .within(project.path())
            .run()
    };
    edit(
        "policies/tenant_scoped/users.sql",
        "security_barrier = true",
        "security_barrier = false",
    );
    let run = here(&[]).exits(3);
    let errors: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("error"))
        .collect();
    assert_eq!(
        errors,
        [
            "error    view public.api_users: options: `security_barrier=true, security_invoker=true` became `security_barrier=false, security_invoker=true` [policies]"
        ]
    );
    edit(
        "migration/src/m20260105_090100_tenants_users.up.sql",
        "create table public.users",
        "create schema more;\ncreate table public.users",
    );
    // That is all that is said: what follows would speak of something else.
    for args in [&["--lint-only"][..], &[][..]] {
        let run = here(args).exits(3);
        assert!(
            run.stdout.contains(
                "migration/src/m20260105_090100_tenants_users.up.sql:1: this kinedb was built before"
            ) && run.stdout.contains("[program-stale]"),
            "{}",
            run.stdout
        );
        assert!(!run.stdout.contains("[policies]"), "{}", run.stdout);
    }
}

/// The lines of a rule, without the file and the fix.
fn lines<'a>(run: &'a Run, rule: &str) -> Vec<&'a str> {
    let end = format!(" [{rule}]");
    let of = run
        .stdout
        .lines()
        .filter_map(|line| line.strip_suffix(&end));
    of.map(|line| line.trim_start_matches("error").trim())
        .collect()
}

#[test]
fn migrations_that_make_other_tables_than_the_entities_are_found() {
    let server = TestServer::own();
    let project = project();
    let here = || {
        let url = server.url("postgres");
        let args = [
            "check",
            "--scratch-url",
            &url,
            "--migrations",
            "migration/src",
        ];
        kinedb(args.iter().chain(&["--config", "policies/isolation.toml"]))
            .within(project.path())
            .run()
    };
    // The project's own folder is compared like what is compiled in, another one is not.
    let clean = here().ok();
    assert!(
        clean.stdout.contains("8 entities compared with head"),
        "{}",
        clean.stdout
    );
    let path = project
        .path()
        .join("migration/src/m20260105_090100_tenants_users.up.sql");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, users) = text.split_once("create table public.users").unwrap();
    let edited = users
        .replace("full_name text not null,", "full_name varchar(200),\n  nick text,")
        .replace("  status text not null default 'active',\n", "  status text default 'active',\n")
        .replace(
            "  constraint users_tenant_fkey foreign key (tenant_id) references public.tenants (tenant_id),\n",
            "",
        )
        .replace("primary key (tenant_id, id)", "primary key (id, tenant_id)");
    std::fs::write(&path, format!("{before}create table public.users{edited}")).unwrap();
    let run = here().exits(3);
    assert_eq!(
        lines(&run, "entity"),
        [
            "column public.users.full_name: it may be null, declared is `not null`",
            "column public.users.full_name: the type is `character varying(200)`, declared is `text`",
            "column public.users.nick: the entity does not declare it",
            "column public.users.status: it may be null, declared is `not null`",
            "table public.users: declared `FOREIGN KEY (tenant_id) REFERENCES public.tenants(tenant_id)` is missing",
            "table public.users: the primary key is `PRIMARY KEY (id, tenant_id)`, declared is `PRIMARY KEY (tenant_id, id)`",
        ],
        "{}",
        run.stdout
    );
}

#[test]
fn a_way_down_that_does_not_run_or_cannot_be_followed_is_a_finding() {
    let server = TestServer::own();
    let first = ("m1_a", "create table a (x int);\n", "drop table a;\n");
    for (down, wanted) in [
        (
            "drop table nowhere;\n",
            "m2_b: the way down does not run [down]",
        ),
        (
            "select;\n",
            "m2_b: after the way down, the way up does not run again [up-again]",
        ),
    ] {
        let folder = Migrations::of(&[
            first,
            ("m2_b", "create table b (x int);\n", down),
            ("m3_c", "create table c (x int);\n", "drop table c;\n"),
        ]);
        let run = check(&server, &["--migrations", folder.arg()]).exits(3);
        assert!(run.stdout.contains(wanted), "{}", run.stdout);
        assert!(!run.stdout.contains("m3_c:"), "{}", run.stdout);
    }
    let db = server.database("left_behind");
    assert_eq!(scratch_databases(&db).len(), 0);
}

fn scratch_databases(db: &TestDb) -> Vec<String> {
    db.query_rows(
        "select datname from pg_database where datname like 'kinedb\\_scratch%' order by 1",
    )
    .into_iter()
    .map(|mut row| row.remove(0).unwrap())
    .collect()
}

#[test]
fn what_a_killed_run_leaves_is_dropped_and_what_a_live_one_uses_is_not() {
    let server = TestServer::own();
    let db = server.database("watching");
    let slow = Migrations::of(&[("m1_slow", "select pg_sleep(300);\n", "select;\n")]);
    let quick = Migrations::of(&[("m1_quick", "create table q (x int);\n", "drop table q;\n")]);
    let url = server.url("postgres");
    let start = || {
        let before = scratch_databases(&db);
        let mut run = kinedb(["check", "--scratch-url", &url, "--migrations", slow.arg()])
            .within(root())
            .command()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let fresh = (0..400).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(25));
            let asleep = db.value("select count(*) from pg_stat_activity where query like 'select pg\\_sleep(%' and state = 'active'");
            let now = scratch_databases(&db);
            let fresh = now.into_iter().find(|name| !before.contains(name))?;
            (asleep.parse::<usize>().unwrap() > before.len()).then_some(fresh)
        });
        if fresh.is_none() {
            run.kill().unwrap();
            run.wait().unwrap();
        }
        (run, fresh.expect("a run that has begun"))
    };
    let (mut live, used) = start();
    let (mut killed, left) = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(scratch_databases(&db).len(), 2);
    check(&server, &["--migrations", quick.arg()]);
    let after = scratch_databases(&db);
    live.kill().unwrap();
    live.wait().unwrap();
    assert!(!after.contains(&left), "{left} in {after:?}");
    assert_eq!(after, [used]);
}

#[test]
fn a_policy_changed_by_hand_is_one_line() {
    let server = TestServer::own();
    // Roles are the whole cluster's: on the database's own, a role that was changed by hand
    // would be found changed by the migrations, too.
    let other = TestServer::own();
    let db = server.database("changed_by_hand");
    kinedb(["upgrade", "--gate", "off"]).on(&db).run().ok();
    let drift = |args: &[&str]| {
        kinedb(
            ["check", "--scratch-url", &other.url("postgres")]
                .iter()
                .chain(args),
        )
        .run()
    };
    drift(&["--database-url", &db.url()]).ok();
    db.sql("alter policy tenant_isolation on patients using (true)");
    db.sql("grant select on notes to public");
    db.sql("create index by_hand on notes (tenant_id, status)");
    let run = drift(&["--database-url", &db.url()]).exits(3);
    let lines: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("error"))
        .collect();
    assert_eq!(
        lines,
        [
            "error    index public.by_hand: added `CREATE INDEX by_hand ON public.notes USING btree (tenant_id, status)` [drift]",
            "error    policy tenant_isolation on public.patients: using: `(tenant_id = ( SELECT (current_setting('app.tenant_id'::text))::uuid AS current_setting))` became `true` [drift]",
            "error    table public.notes: grants to public: added `select` [drift]",
        ]
    );
    assert!(run.stderr.contains("differs in 3 places"), "{}", run.stderr);
    // Ten more things that peers do not see, each one line.
    for (sql, line) in [
        (
            "alter table users no force row level security",
            "table public.users: force row security",
        ),
        (
            "alter table users disable row level security",
            "table public.users: row security",
        ),
        (
            "alter view api_notes reset (security_invoker)",
            "view public.api_notes: options",
        ),
        (
            "alter view api_notes owner to kine_audit",
            "view public.api_notes: owner",
        ),
        (
            "alter table notes disable trigger record_audit_event",
            "trigger record_audit_event on public.notes: enabled",
        ),
        (
            "alter function touch_updated_at() security definer",
            "function public.touch_updated_at(): security",
        ),
        (
            "alter role kine_app bypassrls",
            "role kine_app: bypasses row security",
        ),
    ] {
        db.sql(sql);
        let run = drift(&["--database-url", &db.url(), "--format", "github"]).exits(3);
        let seen = run.stdout.replace("%3A", ":");
        assert_eq!(seen.matches(line).count(), 1, "{line}:\n{}", run.stdout);
    }
}

#[test]
fn a_text_that_another_version_prints_otherwise_is_no_drift() {
    let server = TestServer::own();
    let db = server.database("printed_otherwise");
    db.sql(
        "create table t (tenant_id uuid, a text default lower('A'), b text default 'b', n int, \
         g int generated always as (n * 2) stored, check (a <> 'x')); \
         create view v as select tenant_id, a from t; create view w as select a from v; grant select on v to public; \
         create policy p on t using (tenant_id = (select current_setting('app.tenant_id')::uuid)); \
         create policy q on t using (a = 'x'); create index i on t (a) where a <> 'y'",
    );
    let (lines, left) = block_on(async {
        let mut conn = db.connect().await;
        let expected = catalogue::read(&mut conn).await.unwrap();
        let mut live = expected.clone();
        let mut edit = |object: &str, attribute: &str, from: &str, to: &str| {
            let object = live.objects.get_mut(object).expect(object);
            let value = object.attributes.get_mut(attribute).unwrap();
            assert!(value.contains(from), "{value}");
            *value = value.replace(from, to);
        };
        edit("view public.v", "definition", "SELECT", "select");
        edit("policy p on public.t", "using", "::text", "");
        edit("index public.i", "definition", "WHERE", "where");
        edit(
            "constraint t_a_check on table public.t",
            "definition",
            "::text",
            "",
        );
        // These are others, one cannot even be run.
        edit("policy q on public.t", "using", "'x'", "'y'");
        edit("column public.t.b", "default", "'b'", "nowhere()");
        edit("column public.t.a", "type", "text", "varchar");
        // Nothing is written for this one, so that nothing is found to be the same.
        edit("column public.t.g", "generated", "2", "3");
        let all = expected.differences(&live);
        let same = reprint::printed_otherwise(&mut conn, &expected, &live, &all)
            .await
            .unwrap();
        let object = |one: &catalogue::Difference| one.object.clone();
        let lines: Vec<String> = same.iter().map(object).collect();
        let left = all.iter().filter(|one| !same.contains(one)).map(object);
        assert_eq!(expected, catalogue::read(&mut conn).await.unwrap());
        (lines, left.collect::<Vec<_>>())
    });
    assert_eq!(
        lines,
        [
            "constraint t_a_check on table public.t",
            "index public.i",
            "policy p on public.t",
            "view public.v"
        ]
    );
    assert_eq!(
        left,
        [
            "column public.t.a",
            "column public.t.b",
            "column public.t.g",
            "policy q on public.t"
        ]
    );
}

#[test]
fn a_scratch_server_of_another_version_is_said_and_is_no_drift() {
    // Only where the tests are told of a second version.
    let Some(other) = TestServer::of_the_machine() else {
        return;
    };
    let server = TestServer::own();
    let db = other.database("other_version");
    kinedb(["upgrade", "--gate", "off"]).on(&db).run().ok();
    let drift = || {
        let scratch = server.url("postgres");
        kinedb([
            "check",
            "--database-url",
            &db.url(),
            "--scratch-url",
            &scratch,
        ])
        .run()
    };
    let run = drift().ok();
    assert!(
        run.stdout.contains("and the scratch server"),
        "{}",
        run.stdout
    );
    db.sql("alter policy tenant_isolation on patients using (tenant_id is not null)");
    let run = drift().exits(3);
    assert!(run.stderr.contains("differs in 1 place"), "{}", run.stdout);
}

/// Each rule: SQL that breaks it, SQL that does not.
const RULES: &[(&str, &str, &str)] = &[
    (
        "rls-disabled",
        "alter table t disable row level security;",
        "alter table t enable row level security;\nalter table t force row level security;",
    ),
    (
        "force-missing",
        "alter table t enable row level security;",
        "alter table t enable row level security, force row level security;",
    ),
    (
        "force-missing",
        "alter table t no force row level security;",
        "alter table t force row level security;",
    ),
    (
        "table-without-rls",
        "create table t (tenant_id uuid not null, x text);",
        "create table t (tenant_id uuid not null);\nalter table t enable row level security;\nalter table t force row level security;",
    ),
    (
        "policy-dropped",
        "drop policy p on t;",
        "drop policy p on t;\ncreate policy q on t using (tenant_id = '1');",
    ),
    (
        "policy-true",
        "create policy p on t using (true);",
        "create policy p on t using (tenant_id = '1');",
    ),
    (
        "policy-true",
        "do $$ begin execute 'alter policy p on t with check (true)'; end $$;",
        "do $$ begin perform 1; end $$;",
    ),
    (
        "grant-public",
        "grant select on t to public;",
        "grant select on public.t to app;",
    ),
    (
        "grant-public",
        "alter default privileges in schema s grant select on tables to public;",
        "revoke all on t from public;",
    ),
    (
        "definer-search-path",
        "create function f() returns int language sql security definer as 'select 1';",
        "create function f() returns int language sql security definer set search_path = pg_catalog as 'select 1';",
    ),
    (
        "view-security-invoker",
        "create view v as select 1;",
        "create view v with (security_invoker = true) as select 1;",
    ),
    (
        "view-security-invoker",
        "create or replace view v with (security_invoker = off) as select 1;",
        "create materialized view v as select 1;",
    ),
    (
        "foreign-key-tenant",
        "alter table t add constraint c foreign key (a) references u (id) not valid;",
        "alter table t add constraint c foreign key (tenant_id, a) references u (tenant_id, id) not valid;",
    ),
    (
        "unique-tenant",
        "create unique index concurrently i on t (a);",
        "create unique index concurrently i on t (tenant_id, a);",
    ),
    (
        "unique-tenant",
        "create table t (tenant_id uuid, a int unique);\nalter table t enable row level security, force row level security;",
        "create table t (tenant_id uuid, a int, unique (tenant_id, a));\nalter table t enable row level security, force row level security;",
    ),
    (
        "transaction-control",
        "create schema a;\ncommit;",
        "create schema a;",
    ),
    (
        "hidden-drift",
        "create table if not exists t (a bigint);",
        "create table t (a bigint);",
    ),
    (
        "policy-dropped",
        "drop policy p on t;\ncreate policy q on u using (tenant_id = '1');",
        "create policy q on t using (tenant_id = '1');\ndrop policy p on t;",
    ),
    (
        "policy-dropped",
        "create policy p on t using (tenant_id = '1');\ndrop policy p on t;",
        "drop policy p on t;\ndrop table t;",
    ),
    (
        "grant-public",
        "grant select on t to app, public;",
        "do $$ begin execute 'grant select on t to app'; alter table public.t rename to u; end $$;",
    ),
    (
        "definer-search-path",
        "create or replace function f() returns int language sql security definer as 'select 1';",
        "alter function f() security definer set search_path = pg_catalog;",
    ),
    (
        "definer-search-path",
        "create procedure f() language sql security definer as 'select 1';",
        "create procedure f() language sql as 'select 1';",
    ),
    (
        "definer-search-path",
        "create or replace procedure f() language sql security definer as 'select 1';",
        "create or replace procedure f() language sql security invoker as 'select 1';",
    ),
    (
        "definer-search-path",
        "alter function f() security definer;",
        "alter function f() security invoker;",
    ),
    (
        "definer-search-path",
        "alter procedure f() security definer;",
        "alter procedure f() owner to app;",
    ),
    (
        "view-security-invoker",
        "create view v as select security_invoker from t;",
        "create view v with (security_invoker) as select 1;",
    ),
    (
        "foreign-key-tenant",
        "create table t (tenant_id uuid, a int references u (id));",
        "create table t (tenant_id uuid, a int, foreign key (tenant_id, a) references u);",
    ),
    (
        "unique-tenant",
        "create table t (tenant_id uuid, a int, constraint k unique (a));",
        "create table t (a int primary key);",
    ),
    (
        "unique-tenant",
        "create table t (tenant_id uuid, a int primary key);",
        "create table t (tenant_id uuid primary key);",
    ),
    (
        "unique-tenant",
        "create table t (tenant_id uuid, a int, primary key (a));",
        "create table t (tenant_id uuid, a int, primary key (tenant_id, a));",
    ),
    (
        "unique-tenant",
        "create table t (tenant_id uuid, a int4range, exclude using gist (a with &&));",
        "create table t (tenant_id uuid, a int4range, exclude using gist (tenant_id with =, a with &&));",
    ),
    (
        "table-without-rls",
        "create unlogged table t (tenant_id uuid);",
        "create temp table t (tenant_id uuid);",
    ),
    (
        "table-without-rls",
        "create table t (tenant_id uuid);\ndo $$ begin perform 1; end $$;",
        "create table t (tenant_id uuid);\ndo $$ begin execute format('alter table %I enable row level security', 't'); end $$;",
    ),
    (
        "force-missing",
        "alter table if exists t enable row level security;\nalter table if exists u force row level security;",
        "alter table if exists t enable row level security;\nalter table t force row level security;",
    ),
    (
        "force-missing",
        "alter table only t enable row level security;\nalter table only u force row level security;",
        "alter table only t enable row level security;\nalter table t force row level security;",
    ),
    (
        "require-concurrent-index-creation",
        "create index i on t (tenant_id);",
        "create table t (a bigint);\ncreate index i on t (a);",
    ),
    (
        "adding-foreign-key-constraint",
        "alter table t add constraint c foreign key (tenant_id) references u (tenant_id);",
        "alter table t add constraint c foreign key (tenant_id) references u (tenant_id) not valid;",
    ),
    (
        "changing-column-type",
        "alter table t alter column a type bigint;",
        "alter table t alter column a set default 1;",
    ),
    (
        "renaming-column",
        "alter table t rename column a to b;",
        "alter table t add column b text;",
    ),
];

#[test]
fn every_rule_fires_and_its_repair_does_not() {
    let ids = |sql: &str| -> Vec<String> {
        lint::up("a.sql", sql, &Settings::default())
            .into_iter()
            .map(|one| one.rule)
            .collect()
    };
    let mut wrong = Vec::new();
    for (rule, bad, good) in RULES {
        if !ids(bad).iter().any(|id| id == rule) {
            wrong.push(format!("{rule} does not fire: {bad} gives {:?}", ids(bad)));
        }
        if ids(good).iter().any(|id| id == rule) {
            wrong.push(format!("{rule} fires on its repair: {good}"));
        }
    }
    let (own, _) = lint::rules();
    for rule in own
        .iter()
        .filter(|rule| !rule.id.starts_with("migration-") && !rule.id.starts_with("allow-"))
    {
        if !RULES.iter().any(|(id, _, _)| *id == rule.id) {
            wrong.push(format!("{} has no case", rule.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_finding_names_the_column_that_it_is_about() {
    let found = |sql: &str| -> Vec<String> {
        lint::up("a.sql", sql, &Settings::default())
            .into_iter()
            .filter(|one| one.rule == "unique-tenant")
            .map(|one| one.title)
            .collect()
    };
    assert_eq!(
        found("alter table t add column a int, add column b int unique;"),
        ["`t.b` is unique over all tenants"]
    );
    assert_eq!(
        found("alter table t add constraint k unique (a), add column b int;"),
        ["a key of `t` without the tenant"]
    );
}

#[test]
fn a_way_down_ends_no_transaction_either() {
    let found = lint::down("a.sql", "drop table t;\ncommit;", &Settings::default());
    let found: Vec<_> = found.iter().map(|one| (&*one.rule, one.line)).collect();
    assert_eq!(found, [("transaction-control", 2)]);
}

#[test]
fn an_allow_comment_needs_a_reason_a_rule_and_a_use() {
    let ids = |sql: &str| -> Vec<(String, usize)> {
        lint::up("a.sql", sql, &Settings::default())
            .into_iter()
            .map(|one| (one.rule, one.line))
            .collect()
    };
    let bad = "create view v as\n  select 1;\n";
    assert_eq!(ids(bad), [("view-security-invoker".to_owned(), 1)]);
    // It allows its own rule, no other one that the statement breaks.
    let two = "-- kinedb: allow hidden-drift: made by hand on one server\ncreate table if not exists t (tenant_id uuid);\n";
    assert_eq!(ids(two), [("table-without-rls".to_owned(), 2)]);
    assert_eq!(
        ids(&format!(
            "-- kinedb: allow view-security-invoker: shows no table at all\n{bad}"
        )),
        []
    );
    assert_eq!(
        ids(
            "create view v as -- kinedb: allow view-security-invoker: shows no table at all\n  select 1;"
        ),
        []
    );
    let without = ids(&format!("-- kinedb: allow view-security-invoker\n{bad}"));
    assert_eq!(
        without,
        [
            ("allow-without-reason".to_owned(), 1),
            ("view-security-invoker".to_owned(), 2)
        ]
    );
    let unknown = ids(&format!(
        "-- kinedb: allow view-invoker: shows no table at all\n{bad}"
    ));
    assert_eq!(unknown[0].0, "allow-unknown");
    let unused =
        ids("-- kinedb: allow view-security-invoker: shows no table at all\nselect 1;\nselect 2;");
    assert_eq!(unused, [("allow-unused".to_owned(), 1)]);
    // It allows its own statement, not the next.
    let next = ids(
        "-- kinedb: allow view-security-invoker: shows no table at all\ncreate view v as select 1;\ncreate view w as select 1;",
    );
    assert_eq!(next, [("view-security-invoker".to_owned(), 3)]);
}

#[test]
fn every_format_names_file_and_line() {
    let folder = Migrations::of(&[(
        "m20260101_000000_a",
        "-- why\ncreate view v as select 1;\n",
        "drop view v;\n",
    )]);
    for (format, wanted) in [
        (
            "table",
            "m20260101_000000_a.up.sql:2: view `v` reads with its owner's rights [view-security-invoker]",
        ),
        ("json", "\"line\": 2"),
        ("junit", "view-security-invoker"),
        ("sarif", "\"startLine\": 2"),
        ("github", ",line=2,title="),
        ("html", "view-security-invoker"),
        ("markdown", "m20260101_000000_a.up.sql:2"),
    ] {
        let run = kinedb([
            "check",
            "--lint-only",
            "--migrations",
            folder.arg(),
            "--format",
            format,
        ])
        .run()
        .exits(3);
        assert!(run.stdout.contains(wanted), "{format}:\n{}", run.stdout);
    }
    let list = kinedb(["check", "--list"]).run().ok().stdout;
    assert!(
        list.contains("policy-true") && list.contains("require-concurrent-index-creation"),
        "{list}"
    );
}

#[test]
fn what_cannot_be_checked_is_said_with_a_way_out() {
    let server = TestServer::own();
    let cases: &[(&str, i32, &[&str])] = &[
        (
            "create tabel x ();",
            13,
            &["m1_a.up.sql:1:8", "then `kinedb check` again"],
        ),
        ("", 2, &["`m1_a.up.sql` has no statement", "Hint:"]),
        ("create table a (x int);", 4, &["verify-rls --explain"]),
    ];
    for (up, code, wanted) in cases {
        let folder = Migrations::of(&[("m1_a", up, "drop table a;\n")]);
        let run = check(&server, &["--migrations", folder.arg()]).exits(*code);
        for word in *wanted {
            assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
        }
        let all = format!("{}{}", run.stdout, run.stderr);
        assert!(!all.contains("kinedb_scratch_"), "{all}");
    }
    let folder = Migrations::of(&[("m1_a", "create tabel x ();", "select;")]);
    let run = kinedb(["check", "--lint-only", "--migrations", folder.arg()]).run();
    assert_eq!(run.stdout.matches("[syntax]").count(), 1, "{}", run.stdout);
    let db = server.database("weak_hands");
    db.sql("create role weak_hands login");
    let run = kinedb(["check", "--scratch-url", &db.url_as("weak_hands")])
        .within(root())
        .run()
        .exits(7);
    for word in [
        "cannot make a scratch database: permission denied to create database",
        "`alter role <user> createdb`",
        "--scratch-url",
    ] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
}

#[test]
fn a_scratch_server_that_cannot_be_had_is_said() {
    let run = kinedb([
        "check",
        "--scratch-url",
        "postgres://nobody@127.0.0.1:1/none",
    ])
    .within(root())
    .run();
    assert_eq!(run.status, 7, "{}", run.stderr);
    assert!(run.stderr.contains("127.0.0.1"), "{}", run.stderr);
}
