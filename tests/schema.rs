//! What the schema itself holds, whoever writes: the life of a note, tables that are
//! written once, an audit that covers everything, roles that databases share.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TestDb, TestServer, kinedb};

const CLINIC: &str = "aaaaaaaa-0000-4000-8000-00000000000a";

/// Runs statements as a role in the context of the clinic; an error is its SQLSTATE
/// and the constraint, if it names one.
fn run_as(db: &TestDb, role: &str, sql: &str) -> Result<(), String> {
    let text = format!(
        "begin; select set_config('app.tenant_id', '{CLINIC}', true); set local role {role}; {sql}; commit"
    );
    db.try_sql(&text).map_err(|error| {
        let database = error.as_database_error().unwrap();
        let code = database.code().unwrap().into_owned();
        match database.constraint() {
            Some(constraint) => format!("{code} {constraint}"),
            None => code,
        }
    })
}

/// A clinic with one user, one patient, one encounter and one draft.
fn clinic(test: &str) -> TestDb {
    let db = TestDb::migrated(test);
    run_as(
        &db,
        "kine_owner",
        &format!(
            "insert into tenants (tenant_id, slug, name) values ('{CLINIC}', 'a', 'A'); \
             insert into users (id, email, full_name, role) \
               values ('00000000-0000-4000-8000-000000000001', 'a@example.org', 'A', 'practitioner'); \
             insert into patients (id, mrn, given_name, family_name, birth_date) \
               values ('00000000-0000-4000-8000-000000000002', '1', 'G', 'F', '2000-01-01'); \
             insert into encounters (id, patient_id, practitioner_id) \
               values ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000002', \
                       '00000000-0000-4000-8000-000000000001'); \
             insert into notes (encounter_id, author_id, plan) \
               values ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000001', 'rest')"
        ),
    )
    .unwrap();
    db
}

#[test]
fn a_note_lives_forwards_and_keeps_every_version() {
    let db = clinic("a_note_lives");
    let app = |sql: &str| run_as(&db, "kine_app", sql);
    let refused = |constraint: &str| Err(format!("23514 {constraint}"));

    assert_eq!(
        app("update notes set status = 'amended', amend_reason = 'r'"),
        refused("notes_amended_after_signed")
    );
    app("update notes set plan = 'rest and tea'").unwrap();
    app("update notes set status = 'signed'").unwrap();
    assert_eq!(
        app("update notes set plan = 'x'"),
        refused("notes_signed_text")
    );
    assert_eq!(
        app("update notes set plan = 'x', status = 'amended'"),
        refused("notes_signed_text")
    );
    assert_eq!(
        app("update notes set status = 'draft'"),
        refused("notes_status_forward")
    );
    assert_eq!(
        app("update notes set status = 'amended', amend_reason = 'no change'"),
        refused("notes_amendment_has_text")
    );
    app("update notes set plan = 'x', status = 'amended', amend_reason = 'typo'").unwrap();
    assert_eq!(
        app("update notes set plan = 'y', amend_reason = 'typo'"),
        refused("notes_signed_text")
    );
    app("update notes set plan = 'y', amend_reason = 'typo again'").unwrap();
    assert_eq!(
        app("update notes set signed_at = null"),
        Err("42501".to_owned())
    );
    // Not the owner either, and not a superuser without the clinic's context.
    assert_eq!(
        run_as(&db, "kine_owner", "update notes set plan = 'z'"),
        refused("notes_signed_text")
    );
    assert!(
        db.try_sql("update notes set plan = 'z', amend_reason = 'by hand'")
            .is_err()
    );

    assert_eq!(
        db.value(
            "select string_agg(concat_ws(' ', v.version, v.status, v.plan, v.reason, \
                 v.hash = note_version_hash(v), v.prev_hash is not distinct from p.hash), '; ' order by v.version) \
             from note_versions v left join note_versions p \
               on p.note_id = v.note_id and p.version = v.version - 1"
        ),
        "1 draft rest t t; 2 draft rest and tea t t; 3 signed rest and tea t t; \
         4 amended x typo t t; 5 amended y typo again t t"
    );
}

#[test]
fn what_is_written_once_is_refused_to_every_role() {
    let db = clinic("written_once");
    let tables = db.query_rows(
        "select relid::regclass::text from pg_partition_tree('audit_events') \
         union all select 'note_versions'",
    );
    assert!(tables.len() >= 7);
    for table in tables.into_iter().flatten().flatten() {
        for attack in [
            format!("delete from {table}"),
            format!("update {table} set tenant_id = tenant_id"),
            format!("truncate {table}"),
            format!("set local session_replication_role = replica; delete from {table}"),
            format!("set local session_replication_role = replica; truncate {table}"),
        ] {
            // A superuser is refused by the guards, all others before.
            assert_eq!(
                run_as(&db, "postgres", &attack),
                Err("42501".to_owned()),
                "{attack}"
            );
        }
        for role in ["kine_app", "kine_auditor", "kine_owner"] {
            for attack in [
                format!("delete from {table}"),
                format!("truncate {table}"),
                format!("insert into {table} select * from {table}"),
                format!("alter table {table} disable trigger all"),
                format!("alter table {table} no force row level security"),
                format!("drop table {table} cascade"),
            ] {
                assert_eq!(
                    run_as(&db, role, &attack),
                    Err("42501".to_owned()),
                    "{role}: {attack}"
                );
            }
        }
    }
    assert_eq!(
        db.value("select count(*) from pg_auth_members where roleid = 'kine_audit'::regrole"),
        "0"
    );
    assert_ne!(db.value("select count(*) from audit_events"), "0");
}

#[test]
fn every_table_of_a_clinic_is_isolated_commented_and_audited() {
    let db = TestDb::migrated("every_table_of_a_clinic");
    let none: Vec<Vec<Option<String>>> = Vec::new();
    let tables = "pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') \
                  and c.relname not in ('seaql_migrations', 'kinedb_history', 'kinedb_environment')";
    let open = format!(
        "select c.relname from {tables} and not (c.relrowsecurity and c.relforcerowsecurity and exists \
         (select from pg_policy p where p.polrelid = c.oid and p.polname = 'tenant_isolation'))"
    );
    assert_eq!(db.query_rows(&open), none);
    let silent = format!(
        "select c.relname from {tables} and not c.relispartition and exists \
         (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 \
          and col_description(c.oid, a.attnum) is null)"
    );
    assert_eq!(db.query_rows(&silent), none);
    let unaudited = format!(
        "select c.relname from {tables} and c.relname not like 'audit\\_%' and not exists \
         (select from pg_trigger t where t.tgrelid = c.oid and t.tgfoid = 'record_audit_event()'::regprocedure)"
    );
    assert_eq!(db.query_rows(&unaudited), none);
    // Every index but the slug's begins with the tenant, and so does every reference.
    let loose = "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid \
                 join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] \
                 where c.relnamespace = 'public'::regnamespace and a.attname <> 'tenant_id' \
                 and c.relname not in ('seaql_migrations', 'kinedb_history', 'kinedb_environment')";
    assert_eq!(
        db.query_rows(loose),
        [[Some("tenants_slug_key".to_owned())]]
    );
    let crossing = "select f.conname from pg_constraint f join pg_attribute a on a.attrelid = f.conrelid \
                    and a.attnum = f.conkey[1] where f.contype = 'f' and f.connamespace = 'public'::regnamespace \
                    and a.attname <> 'tenant_id'";
    assert_eq!(db.query_rows(crossing), none);
    let callable = "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'public'::regnamespace \
                    and has_function_privilege('kine_app', p.oid, 'execute') order by 1";
    assert_eq!(
        db.query_rows(callable),
        [
            [Some("note_version_hash(note_versions)".to_owned())],
            [Some("record_export(text[])".to_owned())],
            [Some("record_read(text,uuid[])".to_owned())],
        ]
    );
}

#[test]
fn a_new_table_of_the_owner_can_be_audited() {
    let db = clinic("a_new_table_of_the_owner");
    run_as(
        &db,
        "kine_owner",
        "create table rooms (tenant_id uuid, id uuid, name text); \
         create trigger record_audit_event after insert or update or delete on rooms \
           for each row execute function record_audit_event('id'); \
         insert into rooms values (current_setting('app.tenant_id')::uuid, gen_random_uuid(), 'One'); \
         update rooms set name = 'Two'; update rooms set name = 'Two'; delete from rooms",
    )
    .unwrap();
    assert_eq!(
        db.value(
            "select string_agg(concat_ws(' ', action, changed_columns), ', ' order by occurred_at) \
             from audit_events where table_name = 'rooms'"
        ),
        "insert, update {name}, delete"
    );
}

#[test]
fn a_practitioner_is_booked_once_at_a_time() {
    let db = clinic("booked_once");
    let book = |from: &str, to: &str, status: &str| {
        run_as(
            &db,
            "kine_app",
            &format!(
                "insert into appointments (patient_id, practitioner_id, starts_at, ends_at, status) values \
                 ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', \
                  '2026-01-12 {from}Z', '2026-01-12 {to}Z', '{status}')"
            ),
        )
    };
    book("10:00", "10:30", "booked").unwrap();
    assert_eq!(
        book("10:15", "10:45", "booked"),
        Err("23P01 appointments_practitioner_booked_once".to_owned())
    );
    book("10:30", "11:00", "booked").unwrap();
    book("10:00", "11:00", "cancelled").unwrap();
    assert_eq!(
        book("12:00", "12:00", "booked"),
        Err("23514 appointments_time_check".to_owned())
    );
}

#[test]
fn a_new_months_partition_is_as_closed_as_the_table() {
    let db = clinic("a_new_months_partition");
    run_as(
        &db,
        "kine_owner",
        "select create_audit_partition('2031-05-17')",
    )
    .unwrap();
    run_as(
        &db,
        "kine_owner",
        "select create_audit_partition('2031-05-01')",
    )
    .unwrap();
    assert_eq!(
        run_as(
            &db,
            "kine_app",
            "select create_audit_partition('2031-06-01')"
        ),
        Err("42501".to_owned())
    );
    let shape = |table: &str| {
        db.value(&format!(
            "select concat_ws(' ', c.relrowsecurity, c.relforcerowsecurity, c.relowner::regrole, c.relacl, \
               (select string_agg(concat_ws(' ', p.polname, p.polcmd, p.polroles::regrole[], \
                  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), ', ' order by p.polname) \
                from pg_policy p where p.polrelid = c.oid), \
               (select string_agg(t.tgname || t.tgenabled::text || t.tgtype, ', ' order by t.tgname) \
                from pg_trigger t where t.tgrelid = c.oid)) \
             from pg_class c where c.oid = '{table}'::regclass"
        ))
    };
    assert_eq!(shape("audit_events_2031_05"), shape("audit_events_default"));
    assert_eq!(
        db.value("select pg_get_expr(relpartbound, oid) from pg_class where relname = 'audit_events_2031_05'"),
        "FOR VALUES FROM ('2031-05-01 00:00:00+00') TO ('2031-06-01 00:00:00+00')"
    );
}

#[test]
fn the_last_database_of_a_cluster_drops_the_roles() {
    let server = TestServer::own();
    let (one, two) = (server.database("one"), server.database("two"));
    let roles = "select count(*) from pg_roles where rolname like 'kine\\_%'";
    for db in [&one, &two] {
        kinedb(["upgrade"]).on(db).run().ok();
    }
    for (db, left) in [(&one, "7"), (&two, "0")] {
        kinedb(["downgrade", "base"]).on(db).run().ok();
        assert_eq!(db.value(roles), left);
    }
}

#[test]
fn an_owner_with_createrole_installs_and_is_no_member_of_kine_audit() {
    let server = TestServer::own();
    let db = server.database("installed");
    db.sql("create role installer login createrole; alter database installed owner to installer");
    kinedb(["upgrade"]).on_as(&db, "installer").run().ok();
    assert_eq!(
        db.value(
            "select count(*) from pg_class c where c.relnamespace = 'public'::regnamespace \
             and c.relkind in ('r', 'p', 'v') and c.relowner not in ('kine_owner'::regrole, 'kine_audit'::regrole)"
        ),
        "0"
    );
    let member = "select pg_has_role('installer', 'kine_audit', 'usage')::text";
    assert_eq!(db.value(member), "false");
    let bypasses = "select rolbypassrls::text from pg_roles where rolname = 'kine_backup'";
    assert_eq!(db.value(bypasses), "false");
    kinedb(["downgrade", "base", "--accept-data-loss", "installed"])
        .on_as(&db, "installer")
        .run()
        .ok();
    assert_eq!(
        db.value("select count(*) from pg_roles where rolname like 'kine\\_%'"),
        "0"
    );
}
