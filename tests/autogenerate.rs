//! `revision --autogenerate`: for each kind of change the SQL that is written
//! makes the declared state, and its way down restores what was there before.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use std::path::Path;

use common::{Run, TestServer, block_on, kinedb};
use kinedb::catalogue::{self, Fingerprint};
use kinedb::db::ident::{Ident, Qualified};
use kinedb::dev::template;
use kinedb::policy::autogenerate::{Generated, write};
use kinedb::policy::build;
use kinedb::policy::declared::{Class, Policies};
use kinedb::policy::entities::{self, Reference, Table};
use kinedb::policy::entity_changes;
use kinedb::policy::generate::generate;
use migrations::project;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

type Kind = (&'static str, fn(&mut Policies, &mut Vec<Table>));

fn class<'a>(policies: &'a mut Policies, name: &str) -> &'a mut Class {
    policies.classes.get_mut(name).unwrap()
}

/// Replaces in the template of tenant_scoped.
fn template(policies: &mut Policies, from: &str, to: &str) {
    let class = class(policies, "tenant_scoped");
    assert!(class.template.contains(from), "{from}");
    class.template = class.template.replace(from, to);
}

/// Replaces in a table's own file.
fn own(policies: &mut Policies, table: &str, from: &str, to: &str) {
    let class = class(policies, "tenant_scoped");
    let text = class.tables.get_mut(table).unwrap();
    assert!(text.contains(from), "{from}");
    *text = text.replacen(from, to, 1);
}

fn more(policies: &mut Policies, table: &str, sql: &str) {
    let class = class(policies, "tenant_scoped");
    let text = class.tables.get_mut(table).unwrap();
    text.push('\n');
    text.push_str(sql);
}

fn audited(policies: &mut Policies, sql: &str) {
    let class = class(policies, "append_only");
    let text = class.tables.get_mut("audit_events").unwrap();
    text.push('\n');
    text.push_str(sql);
}

fn table<'a>(tables: &'a mut [Table], name: &str) -> &'a mut Table {
    tables
        .iter_mut()
        .find(|one| one.name.name.as_str() == name)
        .unwrap()
}

fn column<'a>(tables: &'a mut [Table], of: &str, name: &str) -> &'a mut String {
    let table = table(tables, of);
    &mut table
        .columns
        .iter_mut()
        .find(|(one, _)| one == name)
        .unwrap()
        .1
}

const ISOLATION: &str = "create policy tenant_isolation on public.{table}
  as permissive for all to public
  using (tenant_id = (select current_setting('app.tenant_id')::uuid))
  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));";
const HELPER: &str = "create or replace function public.is_own(t uuid) returns boolean language sql stable set search_path = pg_catalog as 'select t = current_setting(''app.tenant_id'')::uuid';\nalter function public.is_own(uuid) owner to kine_owner;";

const KINDS: &[Kind] = &[
    ("enable, force and policy of a whole class gone", |p, _| {
        template(
            p,
            "alter table public.{table} enable row level security;\nalter table public.{table} force row level security;",
            "",
        );
    }),
    ("force gone", |p, _| {
        template(
            p,
            "alter table public.{table} force row level security;",
            "",
        )
    }),
    ("policy: using", |p, _| {
        template(
            p,
            "using (tenant_id = (select current_setting('app.tenant_id')::uuid))",
            "using (tenant_id = (select current_setting('app.tenant')::uuid))",
        )
    }),
    ("policy: with check", |p, _| {
        template(
            p,
            "with check (tenant_id = (select current_setting('app.tenant_id')::uuid))",
            "with check (tenant_id is not null)",
        )
    }),
    ("policy: no check", |p, _| {
        template(
            p,
            "\n  with check (tenant_id = (select current_setting('app.tenant_id')::uuid));",
            ";",
        )
    }),
    ("policy: roles", |p, _| {
        template(p, "for all to public", "for all to kine_app, kine_owner")
    }),
    ("policy: command", |p, _| {
        template(
            p,
            ISOLATION,
            "create policy tenant_isolation on public.{table} for select to public using (tenant_id = (select current_setting('app.tenant_id')::uuid));",
        )
    }),
    ("policy: another name", |p, _| {
        template(
            p,
            "create policy tenant_isolation",
            "create policy of_the_tenant",
        )
    }),
    ("policy: dropped", |p, _| template(p, ISOLATION, "")),
    ("policy: extra, permissive", |p, _| {
        more(
            p,
            "patients",
            "create policy extra on public.patients for select to kine_auditor using (archived_at is null);",
        )
    }),
    ("policy: extra, restrictive", |p, _| {
        more(
            p,
            "patients",
            "create policy narrow on public.patients as restrictive for update to kine_app using (archived_at is null) with check (archived_at is null);",
        )
    }),
    ("policy: comment", |p, _| {
        more(
            p,
            "patients",
            "comment on policy tenant_isolation on public.patients is 'o''clock';",
        )
    }),
    ("policy: calls a new function", |p, _| {
        more(
            p,
            "patients",
            &format!(
                "{HELPER}\ncreate policy extra on public.patients for select to kine_app using (public.is_own(tenant_id));"
            ),
        )
    }),
    ("view: security_invoker", |p, _| {
        own(
            p,
            "patients",
            "security_invoker = true",
            "security_invoker = false",
        )
    }),
    ("view: security_barrier", |p, _| {
        own(
            p,
            "patients",
            "security_invoker = true, security_barrier = true",
            "security_invoker = true",
        )
    }),
    ("view: check option", |p, _| {
        own(
            p,
            "patients",
            "security_barrier = true)",
            "security_barrier = true, check_option = local)",
        )
    }),
    ("view: column gone", |p, _| {
        own(p, "patients", "  address,\n", "")
    }),
    ("view: column at the end", |p, _| {
        own(
            p,
            "patients",
            "  updated_at\nfrom",
            "  updated_at,\n  tenant_id\nfrom",
        )
    }),
    ("view: column in between", |p, _| {
        own(
            p,
            "patients",
            "  mrn,\n",
            "  mrn,\n  lower(mrn) as mrn_key,\n",
        )
    }),
    ("view: where", |p, _| {
        own(
            p,
            "patients",
            "from public.patients;",
            "from public.patients where archived_at is null;",
        )
    }),
    ("view: owner", |p, _| {
        own(
            p,
            "patients",
            "alter view public.api_patients owner to kine_owner",
            "alter view public.api_patients owner to kine_audit",
        )
    }),
    ("view: comment", |p, _| {
        more(
            p,
            "patients",
            "comment on view public.api_patients is 'What the product reads';",
        )
    }),
    ("view: comment on a column", |p, _| {
        more(
            p,
            "patients",
            "comment on column public.api_patients.mrn is 'Number';",
        )
    }),
    ("view: gone", |p, _| {
        let class = class(p, "tenant_scoped");
        class.tables.insert(
            "encounters".to_owned(),
            "grant select on public.encounters to kine_app;".to_owned(),
        );
    }),
    ("view: another", |p, _| {
        more(
            p,
            "patients",
            "create view public.api_names with (security_invoker = true) as select id, family_name from public.patients;\nalter view public.api_names owner to kine_owner;\ngrant select on public.api_names to kine_app;",
        )
    }),
    ("view: over a view, in a file that comes first", |p, _| {
        more(
            p,
            "appointments",
            "create view public.api_calendar with (security_invoker = true) as select a.id, p.family_name from public.api_appointments a join public.api_patients p on p.id = a.patient_id;\nalter view public.api_calendar owner to kine_owner;\ngrant select on public.api_calendar to kine_app;",
        )
    }),
    ("view: default of a column", |p, _| {
        more(
            p,
            "patients",
            "alter view public.api_patients alter column sex set default 'unknown';",
        )
    }),
    ("grant: table, more", |p, _| {
        more(
            p,
            "patients",
            "grant delete on public.patients to kine_app;",
        )
    }),
    ("grant: table, less", |p, _| {
        own(
            p,
            "appointments",
            "grant select, delete on public.appointments to kine_app;",
            "grant select on public.appointments to kine_app;",
        )
    }),
    ("grant: view, less", |p, _| {
        own(
            p,
            "patients",
            "grant select, insert, update on public.api_patients to kine_app;",
            "grant select on public.api_patients to kine_app;",
        )
    }),
    ("grant: another role", |p, _| {
        more(
            p,
            "patients",
            "grant select on public.patients to kine_auditor;",
        )
    }),
    ("grant: everybody", |p, _| {
        more(
            p,
            "patients",
            "grant select on public.api_patients to public;",
        )
    }),
    ("grant: with grant option", |p, _| {
        more(
            p,
            "patients",
            "grant select on public.patients to kine_app with grant option;",
        )
    }),
    ("grant: column, less", |p, _| {
        own(
            p,
            "users",
            "grant update (email, full_name, role, status)",
            "grant update (full_name, status)",
        )
    }),
    ("grant: column, more", |p, _| {
        more(
            p,
            "users",
            "grant update (created_at) on public.users to kine_app;",
        )
    }),
    ("grant: function, less", |p, _| {
        let text = class(p, "append_only")
            .tables
            .get_mut("audit_events")
            .unwrap();
        *text = text.replace(
            "grant execute on function public.record_read(text, uuid[]) to kine_app;",
            "",
        );
    }),
    ("grant: schema", |p, _| {
        p.roles
            .push_str("\ngrant create on schema public to kine_app;")
    }),
    ("default privileges", |p, _| {
        p.roles.push_str("\nalter default privileges for role kine_owner in schema public grant select on tables to kine_auditor;")
    }),
    ("function: new", |p, _| {
        more(
            p,
            "patients",
            &format!(
                "{HELPER}\nrevoke all on function public.is_own(uuid) from public;\ngrant execute on function public.is_own(uuid) to kine_app;\ncomment on function public.is_own(uuid) is 'Own.';"
            ),
        )
    }),
    ("function: body", |p, _| {
        more(
            p,
            "patients",
            "create or replace function public.touch_updated_at() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $f$ begin new.updated_at := clock_timestamp(); return new; end $f$;",
        )
    }),
    ("function: security, settings, volatility", |p, _| {
        more(
            p,
            "patients",
            "alter function public.touch_updated_at() security definer stable set statement_timeout = '1s';",
        )
    }),
    ("trigger: new", |p, _| {
        more(
            p,
            "patients",
            "create trigger again before insert on public.patients for each row execute function public.touch_updated_at();",
        )
    }),
    ("trigger: disabled", |p, _| {
        more(
            p,
            "patients",
            "alter table public.patients disable trigger touch_updated_at;",
        )
    }),
    ("trigger: always", |p, _| {
        more(
            p,
            "patients",
            "alter table public.patients enable always trigger touch_updated_at;",
        )
    }),
    ("trigger: definition", |p, _| {
        more(
            p,
            "patients",
            "create or replace trigger touch_updated_at before update on public.patients for each row execute function public.touch_updated_at();",
        )
    }),
    ("comment: table and column", |p, _| {
        more(
            p,
            "patients",
            "comment on table public.patients is 'Others';\ncomment on column public.patients.mrn is null;",
        )
    }),
    ("table: option and replica identity", |p, _| {
        more(
            p,
            "patients",
            "alter table public.patients set (fillfactor = 80); alter table public.patients replica identity full;",
        )
    }),
    ("index and check in a file", |p, _| {
        more(
            p,
            "patients",
            "create index p_extra on public.patients (tenant_id, sex); alter table public.patients add constraint p_extra_check check (mrn <> '');",
        )
    }),
    ("entity: nullable column", |_, t| {
        table(t, "patients")
            .columns
            .push(("nickname".to_owned(), "nickname text".to_owned()))
    }),
    ("entity: column with default", |_, t| {
        table(t, "patients").columns.push((
            "visits".to_owned(),
            "visits integer not null default 0".to_owned(),
        ))
    }),
    ("entity: column without default", |_, t| {
        table(t, "patients")
            .columns
            .push(("must".to_owned(), "must text not null".to_owned()))
    }),
    ("entity: column that the view shows", |p, t| {
        table(t, "patients")
            .columns
            .push(("nickname".to_owned(), "nickname text".to_owned()));
        own(p, "patients", "  mrn,\n", "  mrn,\n  nickname,\n");
        more(
            p,
            "patients",
            "grant update (nickname) on public.patients to kine_app;",
        );
    }),
    ("entity: wider type under a view", |_, t| {
        *column(t, "audit_events", "txid") = "txid numeric not null".to_owned()
    }),
    ("entity: may be null", |_, t| {
        *column(t, "patients", "birth_date") = "birth_date date".to_owned()
    }),
    ("entity: not null", |_, t| {
        *column(t, "patients", "phone") = "phone text not null".to_owned()
    }),
    ("entity: default", |_, t| {
        *column(t, "patients", "phone") = "phone text default 'none'".to_owned()
    }),
    ("entity: unique key", |_, t| {
        table(t, "users")
            .unique
            .push(vec!["tenant_id".to_owned(), "full_name".to_owned()])
    }),
    ("entity: index", |_, t| {
        table(t, "patients")
            .indexes
            .push(vec!["tenant_id".to_owned(), "sex".to_owned()])
    }),
    ("entity: reference", |_, t| {
        let columns = vec!["tenant_id".to_owned(), "resource_id".to_owned()];
        table(t, "encounters")
            .columns
            .push(("resource_id".to_owned(), "resource_id uuid".to_owned()));
        table(t, "encounters").references.push(Reference {
            columns,
            to: Qualified::new("public", "users"),
            their: vec!["tenant_id".to_owned(), "id".to_owned()],
        });
    }),
    ("entity: new table with a class", |p, t| {
        let mut new = table(t, "users").clone();
        new.name = Qualified::new("public", "rooms");
        new.columns = vec![
            ("tenant_id".to_owned(), "tenant_id uuid not null".to_owned()),
            (
                "id".to_owned(),
                "id uuid not null default gen_random_uuid()".to_owned(),
            ),
            ("name".to_owned(), "name text not null".to_owned()),
        ];
        new.primary_key = vec!["tenant_id".to_owned(), "id".to_owned()];
        t.push(new);
        class(p, "tenant_scoped").tables.insert("rooms".to_owned(), "drop view if exists public.api_rooms;\ncreate view public.api_rooms with (security_invoker = true, security_barrier = true) as select id, name from public.rooms;\nalter view public.api_rooms owner to kine_owner;\ngrant select on public.rooms to kine_app;\ngrant insert (tenant_id, name) on public.rooms to kine_app;\ngrant select on public.api_rooms to kine_app;\ncomment on table public.rooms is 'Rooms.';\ncomment on column public.rooms.name is 'Name.';".to_owned());
    }),
    ("partition: new", |p, _| {
        audited(
            p,
            "create table public.audit_events_2031_01 partition of public.audit_events for values from ('2031-01-01') to ('2031-02-01');\nalter table public.audit_events_2031_01 owner to kine_audit, enable row level security, force row level security;\nalter table public.audit_events_2031_01 alter column action set default 'later';\ncomment on table public.audit_events_2031_01 is 'January';\ncreate index later on public.audit_events_2031_01 (txid);",
        );
    }),
    ("partition: detached, another bound", |p, _| {
        audited(
            p,
            "alter table public.audit_events detach partition public.audit_events_default;",
        );
    }),
    ("partition: of a new table, in levels", |p, _| {
        more(
            p,
            "patients",
            "create table public.z_whole (tenant_id uuid not null, n int not null default 1, at date not null, primary key (tenant_id, n, at), check (n > 0)) partition by range (n);\ncreate table public.b_half partition of public.z_whole for values from (0) to (10) partition by list (at);\ncreate table public.a_leaf partition of public.b_half (n default 2) for values in ('2030-01-01', null);\ncreate table public.c_rest partition of public.z_whole default;\ncreate index on public.z_whole (at);\nalter table public.z_whole owner to kine_owner; alter table public.b_half owner to kine_owner; alter table public.a_leaf owner to kine_owner; alter table public.c_rest owner to kine_owner;",
        );
    }),
    ("inheritance: a child", |p, _| {
        more(
            p,
            "patients",
            "create table public.z_whole (tenant_id uuid not null, n int check (n > 0));\ncreate table public.a_child (more text, primary key (n)) inherits (public.z_whole);\nalter table public.z_whole owner to kine_owner; alter table public.a_child owner to kine_owner;",
        );
    }),
    ("inheritance: of a table that is there", |p, _| {
        more(
            p,
            "patients",
            "create table public.z_whole (tenant_id uuid not null);\nalter table public.z_whole owner to kine_owner;\nalter table public.patients inherit public.z_whole;",
        );
    }),
    ("extension: new, and what it gives", |p, _| {
        more(
            p,
            "patients",
            "create extension citext;\nalter table public.patients add column nick public.citext;",
        );
    }),
    ("extension: another schema", |p, _| {
        more(
            p,
            "patients",
            "create schema elsewhere; alter extension btree_gist set schema elsewhere;",
        );
    }),
    ("publication: tables, columns, rows", |p, _| {
        more(
            p,
            "patients",
            "create publication p_some for table public.patients (tenant_id, id, mrn) where (mrn <> 'x, y'), public.users with (publish = 'insert, delete', publish_via_partition_root = true);\nalter publication p_some owner to kine_owner;\ncomment on publication p_some is 'Some.';",
        );
    }),
    ("publication: all tables, and of a schema", |p, _| {
        more(
            p,
            "patients",
            "create publication p_whole for all tables;\ncreate publication p_part for tables in schema public;\ncreate publication p_none;",
        );
    }),
    ("event trigger", |p, _| {
        more(
            p,
            "patients",
            "create function public.watch() returns event_trigger language plpgsql set search_path = pg_catalog as 'begin null; end';\ncreate event trigger \"Watch it\" on ddl_command_end when tag in ('CREATE TABLE', 'DROP TABLE') execute function public.watch();\nalter event trigger \"Watch it\" enable always;\ncomment on event trigger \"Watch it\" is 'Watches.';",
        );
    }),
    ("identity: new column", |p, _| {
        more(
            p,
            "patients",
            "alter table public.patients add column n bigint generated always as identity, add column m smallint generated by default as identity (start 5 increment 5 maxvalue 500 cycle);",
        );
    }),
    ("identity: of a column that is there", |p, _| {
        more(
            p,
            "patients",
            "alter table public.note_versions alter version add generated by default as identity (start 100);",
        );
    }),
    ("database: grants and settings", |p, _| {
        p.roles.push_str("\ndo $d$ begin execute format('grant temporary on database %I to kine_auditor with grant option', current_database()); execute format('revoke connect on database %I from public', current_database()); execute format('alter database %I set statement_timeout = %L', current_database(), '9min'); end $d$;");
    }),
    ("a name that needs quotes", |p, _| {
        more(
            p,
            "patients",
            "create policy \"O'Brien; drop table x\" on public.patients for select to kine_app using (mrn <> 'x;--''y');",
        )
    }),
];

/// A copy of a database, dropped by the caller.
async fn copy(server: &TestServer, admin: &mut PgConnection, from: &Ident, name: &str) -> Ident {
    let name = Ident::new(name);
    template::create_database(admin, &name, Some(from))
        .await
        .unwrap();
    let mut conn = server.connect(name.as_str()).await;
    build::copy_rights(&mut conn, from).await.unwrap();
    conn.close().await.unwrap();
    name
}

async fn described(server: &TestServer, db: &Ident) -> Fingerprint {
    let mut conn = server.connect(db.as_str()).await;
    let mut found = catalogue::read(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    found.leave_place();
    found
}

fn lines(left: &Fingerprint, right: &Fingerprint) -> Vec<String> {
    left.differences(right)
        .iter()
        .filter(|one| one.attribute.as_deref() != Some(catalogue::COLUMN_ORDER))
        .map(ToString::to_string)
        .collect()
}

async fn declared(
    server: &TestServer,
    db: &Ident,
    policies: &Policies,
    tables: &[Table],
) -> Vec<entity_changes::Change> {
    let mut conn = server.connect(db.as_str()).await;
    let changes = build::build(&mut conn, policies, Some(tables))
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    conn.close().await.unwrap();
    changes
}

/// What goes wrong with one kind; nothing where all is right. `trial` is a session of
/// a copy of head, which is left as it was.
async fn round_trip(
    server: &TestServer,
    head: &Ident,
    trial: &mut PgConnection,
    before: &Fingerprint,
    kind: &Kind,
    wanted: &str,
) -> Vec<String> {
    let (name, change) = kind;
    let (mut policies, mut tables) = (Policies::embedded().unwrap(), entities::all());
    change(&mut policies, &mut tables);
    let mut admin = server.connect("postgres").await;
    let wanted = copy(server, &mut admin, head, wanted).await;
    let changes = declared(server, &wanted, &policies, &tables).await;
    let after = described(server, &wanted).await;
    template::drop_database(&mut admin, &wanted).await.unwrap();
    admin.close().await.unwrap();
    let made: Generated = write(before, &after, &changes);
    let mut wrong = Vec::new();
    if made.is_empty() || made.up_sql().is_empty() {
        wrong.push(format!("{name}: nothing was seen"));
    }
    wrong.extend(
        made.unwritten()
            .iter()
            .map(|one| format!("{name}: not written: {one}")),
    );
    trial.execute("begin").await.unwrap();
    // Clean afterwards: nothing more to write, and the way down restores.
    for (way, sql, goal) in [
        ("up", made.up_sql(), &after),
        ("down", made.down_sql(), before),
    ] {
        let ran = trial
            .execute(sqlx::raw_sql(AssertSqlSafe(sql.clone())))
            .await;
        if let Err(error) = ran {
            wrong.push(format!("{name}: {way}: {error}\n{sql}"));
            break;
        }
        let mut found = catalogue::read_within_again(trial).await.unwrap();
        found.leave_place();
        let left = lines(goal, &found);
        wrong.extend(left.iter().map(|one| format!("{name}: {way} leaves {one}")));
    }
    trial.execute("rollback").await.unwrap();
    wrong
}

/// How many kinds are tried at the same time.
const WORKERS: usize = 2;

#[test]
fn each_kind_of_change_goes_up_and_down_again() {
    let server = TestServer::own();
    let db = server.database("autogenerate_head");
    kinedb(["upgrade", "--gate", "off"]).on(&db).run().ok();
    let head = Ident::new(db.name());
    assert!(KINDS.len() >= 70, "{}", KINDS.len());
    let only = std::env::var("KIND").unwrap_or_default();
    let kinds: Vec<&Kind> = KINDS
        .iter()
        .filter(|(name, _)| only.split('|').any(|word| name.contains(word)))
        .collect();
    let before = block_on(described(&server, &head));
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let work = |worker: usize| {
            let (server, head, before, kinds) = (&server, &head, &before, &kinds);
            move || {
                block_on(async {
                    let mut admin = server.connect("postgres").await;
                    let trial = copy(server, &mut admin, head, &format!("trial_{worker}")).await;
                    let mut conn = server.connect(trial.as_str()).await;
                    let mut wrong = Vec::new();
                    for kind in kinds.iter().skip(worker).step_by(WORKERS) {
                        let wanted = format!("wanted_{worker}");
                        let found =
                            round_trip(server, head, &mut conn, before, kind, &wanted).await;
                        wrong.extend(found);
                    }
                    wrong
                })
            }
        };
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(work(worker)))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const BASE: &str = include_str!("sql/catalogue_base.sql");
const FLIPS: &str = include_str!("sql/catalogue_flips.sql");

#[test]
fn every_attribute_is_written_or_refused_and_none_is_silent() {
    let server = TestServer::own();
    let db = server.database("written_or_refused");
    db.sql(BASE);
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
    block_on(async {
        let mut conn = db.connect().await;
        let mut before = catalogue::read(&mut conn).await.unwrap();
        before.leave_place();
        let flips = FLIPS
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with("--"))
            .map(|line| line.split_once(" | ").expect(line))
            // States that no statement makes.
            .filter(|(_, sql)| !sql.contains("update pg_"));
        for (what, sql) in flips {
            let after = described_after(&mut conn, sql).await.unwrap();
            if before.differences(&after).is_empty() {
                continue;
            }
            let script = generate(&before, &after);
            if !script.unwritten.is_empty() {
                refused.push(what.trim());
                continue;
            }
            // A body need not make sense in a language that was flipped.
            let sql = format!(
                "set local check_function_bodies = off;\n{}",
                script.text(None)
            );
            match described_after(&mut conn, &sql).await {
                Err(error) => wrong.push(format!("{what}: {error}: {sql}")),
                Ok(made) => wrong.extend(
                    lines(&after, &made)
                        .iter()
                        .map(|line| format!("{what}: leaves {line}: {sql}")),
                ),
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(refused, REFUSED, "docs/policies.md has the list");
}

/// The description after these statements, which are rolled back.
async fn described_after(conn: &mut PgConnection, sql: &str) -> Result<Fingerprint, sqlx::Error> {
    conn.execute("begin").await?;
    let done = conn
        .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await;
    let found = match done {
        Ok(_) => Ok(catalogue::read_within_again(conn).await.unwrap()),
        Err(error) => Err(error),
    };
    conn.execute("rollback").await?;
    found.map(|mut found| {
        found.leave_place();
        found
    })
}

/// What `docs/policies.md` says is not written.
const REFUSED: &[&str] = &[
    "foreign server srv: grants to c_b",
    "table s.plain: toast options",
    "constraint t_name_key on table s.t: index",
    "index s.t_note: clustered",
    "statistics s.t_stat: definition",
    "statistics s.t_stat: target",
    "materialized view s.mv: populated",
    "materialized view s.mv: options",
    "sequence s.owned_a_seq: persistence",
    "aggregate s.total(integer): transition",
    "operator s.=== (box, integer): properties",
    "type s.mood: labels",
    "role c_a: connections",
    "role c_a: valid until",
    "role c_a: parameter log_statement",
    "foreign server srv: options",
    "foreign server srv: user mapping for c_a",
];

#[test]
fn what_loses_data_is_refused_in_writing() {
    let server = TestServer::own();
    let db = server.database("autogenerate_refused");
    kinedb(["upgrade", "--gate", "off"]).on(&db).run().ok();
    let head = Ident::new(db.name());
    let mut tables = entities::all();
    table(&mut tables, "patients")
        .columns
        .retain(|(name, _)| name != "address");
    *column(&mut tables, "users", "full_name") = "full_name varchar(20) not null".to_owned();
    // References stand on this key: only its author knows in which order they go.
    table(&mut tables, "users").primary_key.reverse();
    let (made, same) = block_on(async {
        let before = described(&server, &head).await;
        let mut admin = server.connect("postgres").await;
        let wanted = copy(&server, &mut admin, &head, "wanted").await;
        let changes = declared(&server, &wanted, &Policies::embedded().unwrap(), &tables).await;
        let after = described(&server, &wanted).await;
        (write(&before, &after, &changes), lines(&before, &after))
    });
    assert_eq!(same, Vec::<String>::new());
    assert!(!made.is_empty() && made.up_sql().is_empty());
    let file = made.up_file("lose");
    assert!(file.contains("-- Not done, because it may lose data: column public.patients.address: the entity does not declare it."), "{file}");
    assert!(
        file.contains("\n-- alter table \"public\".\"patients\" drop column address\n"),
        "{file}"
    );
    assert!(
        file.contains(
            "column public.users.full_name: the type is `text`, declared is `character varying(20)`"
        ),
        "{file}"
    );
    assert!(
        file.contains(
            "-- Not done, because the server refuses it (cannot drop constraint users_pkey"
        ),
        "{file}"
    );
}

fn revision(server: &TestServer, folder: &Path) -> Run {
    kinedb([
        "revision",
        "-m",
        "Follow policies",
        "--autogenerate",
        "--scratch-url",
        &server.url("postgres"),
    ])
    .within(folder)
    .run()
}

fn edit(folder: &Path, file: &str, change: impl FnOnce(String) -> String) {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, change(text)).unwrap();
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("migration/src"))
        .unwrap()
        .count()
}

#[test]
fn nothing_changed_writes_nothing_and_a_change_writes_both_ways() {
    let server = TestServer::own();
    let project = project();
    let files = count(project.path());
    let list = std::fs::read_to_string(project.path().join("migration/src/lib.rs")).unwrap();
    let run = revision(&server, project.path()).ok();
    assert_eq!(
        run.stdout,
        "nothing to write: the migrations make what is declared\n"
    );
    assert_eq!(count(project.path()), files);
    assert_eq!(
        std::fs::read_to_string(project.path().join("migration/src/lib.rs")).unwrap(),
        list
    );

    edit(project.path(), "policies/tenant_scoped/users.sql", |text| {
        text.replace("  status,\n", "")
    });
    let run = revision(&server, project.path()).ok();
    assert!(
        run.stdout.contains("_follow_policies.up.sql"),
        "{}",
        run.stdout
    );
    assert_eq!(count(project.path()), files + 2);
    let up = std::fs::read_dir(project.path().join("migration/src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().ends_with("_follow_policies.up.sql"))
        .unwrap();
    // From PostgreSQL 18 on a view over one table is deparsed without its name.
    let text = std::fs::read_to_string(up).unwrap().replace(" users.", " ");
    insta::assert_snapshot!(text, @r#"
    -- Follow policies
    -- Written by `kinedb revision --autogenerate`; read it before it ships.

    set local role kine_owner;

    -- view public.api_users
    drop view public.api_users;
    create view public.api_users
      with (security_barrier=true, security_invoker=true) as
    select id,
        email,
        full_name,
        role,
        created_at,
        updated_at
       from public.users;
    grant insert, select, update on table public.api_users to kine_app;

    reset role;
    "#);
}

#[test]
fn what_cannot_be_built_is_said_and_nothing_is_written() {
    let server = TestServer::own();
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "policies/tenant_scoped/users.sql",
            "\n\nselect from nowhere_at_all;",
            &["policies/tenant_scoped/users.sql:", "nowhere_at_all"],
        ),
        (
            "policies/tenant_scoped/users.sql",
            "\n\ncreate tabel x ();",
            &["policies/tenant_scoped/users.sql:21", "tabel"],
        ),
        (
            "policies/tenant_scoped/users.sql",
            "\n\nselect 1;\ngrant select on public.users\n  to kine_apq;",
            &["policies/tenant_scoped/users.sql:22", "kine_apq"],
        ),
        (
            "policies/tenant_scoped/users.sql",
            "\ncreate view public.a_loop as select * from public.b_loop;",
            &["in a circle", "notes.sql"],
        ),
        (
            "policies/tenant_scoped/_class.sql",
            "\n-- {column}",
            &["second slot", "{column}"],
        ),
        (
            "policies/immutable/users.sql",
            "select 1;",
            &["two classes", "users"],
        ),
        (
            "policies/tenant_scoped/Odd Name.sql",
            "select 1;",
            &["Odd Name"],
        ),
    ];
    for (file, text, wanted) in cases {
        let project = project();
        edit(project.path(), file, |old| format!("{old}{text}"));
        if text.contains("a_loop") {
            edit(project.path(), "policies/tenant_scoped/notes.sql", |old| {
                format!("{old}\ncreate view public.b_loop as select * from public.a_loop;")
            });
        }
        let files = count(project.path());
        let run = revision(&server, project.path());
        assert_eq!(run.status, 2, "{file}: {}{}", run.stdout, run.stderr);
        for word in *wanted {
            assert!(run.stderr.contains(word), "{file}: {}", run.stderr);
        }
        assert_eq!(count(project.path()), files);
    }
    let project = project();
    let run = kinedb([
        "revision",
        "-m",
        "x",
        "--autogenerate",
        "--scratch-url",
        "postgres://nobody@127.0.0.1:1/none",
    ])
    .within(project.path())
    .run();
    assert_eq!(run.status, 7, "{}", run.stderr);
    let db = server.database("left_behind");
    assert_eq!(
        db.value("select count(*) from pg_database where datname like 'kinedb\\_scratch%'"),
        "0"
    );
}
