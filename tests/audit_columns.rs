//! Which columns an audit event names: those that changed, whatever was done to the
//! table since the trigger was written, and in sessions that were open meanwhile.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use clinics::{A, USER, fill};
use common::{TestDb, block_on};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

/// Columns that an update of one row names, in the order of the event; nothing where it left none.
fn changed(db: &TestDb, table: &str, set: &str) -> String {
    let which = match table {
        "patients" => "where id = '00000000-0000-4000-8000-000000000002'",
        _ => "",
    };
    let told =
        "select coalesce(max(e.xid)::text, '') from (select txid as xid from audit_events) e";
    let before = db.value(told);
    db.sql(&format!(
        "begin; select set_config('app.tenant_id', '{A}', true), set_config('app.user_id', '{USER}', true); \
         set local role kine_owner; update {table} set {set} {which}; commit"
    ));
    if db.value(told) == before {
        return String::new();
    }
    db.value(
        "select array_to_string(changed_columns, ' ') from audit_events \
         where action = 'update' order by txid desc limit 1",
    )
}

#[test]
fn every_column_that_changes_is_named_however_the_table_has_changed_since() {
    let db = TestDb::migrated("changed_columns");
    fill(&db);
    // Any text will do; what the tables allow is not what is tested here.
    db.sql(
        "do $$ declare c record; begin for c in select conrelid::regclass as t, conname from pg_constraint \
           where contype = 'c' and connamespace = 'public'::regnamespace loop \
           execute format('alter table %s drop constraint %I', c.t, c.conname); end loop; end $$",
    );
    let columns = db.query_rows(
        "select c.relname, a.attname, format_type(a.atttypid, -1) from pg_attribute a join pg_class c on c.oid = a.attrelid \
         where c.relnamespace = 'public'::regnamespace and c.relname in ('patients', 'users', 'tenants', 'encounters') \
           and a.attnum > 0 and not a.attisdropped and a.attname <> 'updated_at' \
           and format_type(a.atttypid, -1) <> 'uuid' order by 1, a.attnum",
    );
    assert!(columns.len() > 25, "{columns:?}");
    for row in &columns {
        let [Some(table), Some(column), Some(kind)] = &row[..] else {
            panic!("{row:?}")
        };
        let other = if kind == "text" {
            "other"
        } else {
            "2001-01-01"
        };
        let set = format!("{column} = '{other}'");
        assert_eq!(&changed(&db, table, &set), column, "{table}");
        assert_eq!(changed(&db, table, &set), "", "{table}.{column} again");
    }
    assert_eq!(
        changed(&db, "patients", "phone = '1', email = '2', mrn = '3'"),
        "email mrn phone"
    );
    // What later migrations do to the table changes nothing of that.
    for (ddl, set, names) in [
        (
            "alter table patients add column nickname text",
            "nickname = 'n', phone = '2'",
            "nickname phone",
        ),
        (
            "alter table patients rename column phone to telephone",
            "nickname = 'm', telephone = '3'",
            "nickname telephone",
        ),
        (
            "alter table patients drop column nickname",
            "telephone = '4'",
            "telephone",
        ),
        (
            "alter table patients drop column address; alter table patients add column street text",
            "street = 's', email = '5'",
            "email street",
        ),
    ] {
        db.sql(&format!(
            "drop view if exists api_patients; set role kine_owner; {ddl}"
        ));
        assert_eq!(changed(&db, "patients", set), names, "{ddl}");
    }
    db.sql("drop view api_users; alter table users alter column email type varchar(50)");
    assert_eq!(
        changed(&db, "users", "email = '6', full_name = 'n'"),
        "email full_name"
    );
}

/// What the trigger is told of the tables that it compares by name: the table, and its columns with types.
fn told(body: &str) -> Vec<(&str, String, &str)> {
    let mut told = Vec::new();
    for part in body.split("audited_as('").skip(1) {
        let (table, rest) = part.split_once('\'').unwrap();
        let (list, rest) = rest.split_once(")\n").unwrap();
        let columns: String = list.split('\'').skip(1).step_by(2).collect();
        told.push((table, columns, rest.split("end if").next().unwrap()));
    }
    told
}

#[test]
fn the_trigger_knows_the_tables_as_the_migrations_leave_them() {
    let db = TestDb::migrated("trigger_knows");
    let body = db.value("select prosrc from pg_proc where proname = 'record_audit_event'");
    let told = told(&body);
    assert_eq!(told.len(), 5, "{told:?}");
    for (table, columns, branch) in told {
        // One list that lags behind costs only time, so nothing else would notice.
        assert_eq!(
            db.value(&format!("select public.audited_as('{table}', '{columns}')")),
            "t",
            "{table}: {columns}"
        );
        for column in columns.split(", ") {
            let name = column.split(' ').next().unwrap();
            let compared =
                format!("case when new.{name} is distinct from old.{name} then '{name}' end");
            assert_eq!(
                branch.contains(&compared),
                name != "updated_at",
                "{table}.{name}"
            );
        }
    }
}

/// The same in a session that stays open: the names, and the columns that have a digest.
async fn said(conn: &mut PgConnection, set: &str) -> String {
    for statement in [
        format!(
            "select set_config('app.tenant_id', '{A}', false), set_config('app.user_id', '{USER}', false)"
        ),
        format!(
            "update patients set {set} where tenant_id = '{A}' and id = '00000000-0000-4000-8000-000000000002'"
        ),
    ] {
        conn.execute(sqlx::raw_sql(AssertSqlSafe(statement)))
            .await
            .unwrap();
    }
    sqlx::query_scalar(
        "select concat_ws(' ', array_to_string(changed_columns, ' '), \
           (select 'digest of ' || string_agg(k, ' ') from jsonb_object_keys(digests) k)) \
         from audit_events where action = 'update' and table_name = 'patients' order by occurred_at desc limit 1",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

#[test]
fn a_session_that_is_open_sees_what_was_altered() {
    let db = TestDb::migrated("open_session");
    fill(&db);
    db.sql("drop view api_patients");
    block_on(async {
        let mut open = db.connect().await;
        // Often enough that every plan of the trigger is kept.
        for turn in 0..8 {
            assert_eq!(said(&mut open, &format!("phone = '{turn}'")).await, "phone");
        }
        for (number, (ddl, set, names)) in [
            ("alter table patients rename column phone to telephone", "telephone = 'T'", "telephone"),
            ("alter table patients rename column telephone to phone", "phone = 'T'", "phone"),
            ("alter table patients add column nickname text", "nickname = 'T'", "nickname"),
            ("alter table patients drop column nickname", "phone = 'T'", "phone"),
            ("alter table patients alter column phone type varchar(20)", "phone = 'T'", "phone"),
            ("alter table patients alter column phone type text", "phone = 'T'", "phone"),
            (
                "create or replace trigger record_audit_event after insert or update or delete on patients \
                   for each row execute function record_audit_event('id', 'actor', 'phone')",
                "phone = 'T'",
                "phone digest of phone",
            ),
            (
                "create or replace trigger record_audit_event after insert or update or delete on patients \
                   for each row execute function record_audit_event('id', 'actor')",
                "phone = 'T'",
                "phone",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            // By another session, then by this one in the middle of a transaction.
            db.sql(ddl);
            let set = set.replace('T', &format!("t{number}"));
            assert_eq!(said(&mut open, &set).await, names, "{ddl}");
        }
        open.execute(sqlx::raw_sql("begin")).await.unwrap();
        assert_eq!(said(&mut open, "phone = 'before'").await, "phone");
        open.execute(sqlx::raw_sql(
            "alter table patients rename column phone to telephone",
        ))
        .await
        .unwrap();
        assert_eq!(said(&mut open, "telephone = 'after'").await, "telephone");
        open.execute(sqlx::raw_sql("rollback")).await.unwrap();
        assert_eq!(said(&mut open, "phone = 'undone'").await, "phone");
        // Another table takes its name: what the trigger knows is of the one in public.
        for ddl in [
            "create schema archive; alter table patients set schema archive",
            "set search_path = archive, public",
        ] {
            open.execute(sqlx::raw_sql(ddl)).await.unwrap();
        }
        assert_eq!(said(&mut open, "phone = 'moved'").await, "phone");
    });
}
