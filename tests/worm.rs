//! Attacks on what is written once, by every role: refused, or, where the attacker is
//! a superuser, found by `kinedb audit verify` with heads that were kept elsewhere.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use clinics::{A, USER, fill};
use common::{TestDb, TestServer, block_on, kinedb};
use sqlx::{AssertSqlSafe, Executor as _};

/// What is tried on `note_versions` and on a partition of `audit_events`; `{t}` is the
/// table, `{c}` a column of text.
const ATTACKS: &[(&str, &str)] = &[
    ("update", "update {t} set {c} = 'changed'"),
    ("delete", "delete from {t}"),
    ("truncate", "truncate {t} cascade"),
    (
        "switch the guards off",
        "alter table {t} disable trigger all; delete from {t}; alter table {t} enable always trigger worm_row; alter table {t} enable always trigger worm_statement",
    ),
    (
        "act as a replica",
        "set local session_replication_role = replica; delete from {t}",
    ),
    (
        "replace the guard's function",
        "create or replace function public.refuse_change() returns trigger language plpgsql as 'begin return old; end'; delete from {t}",
    ),
    (
        "drop the guards",
        "drop trigger worm_row on {t}; drop trigger worm_statement on {t}; delete from {t}",
    ),
    (
        "rewrite a column",
        "alter table {t} alter column {c} type text using 'changed'",
    ),
    ("drop a column", "alter table {t} drop column {c} cascade"),
    ("drop the table", "drop table {t} cascade"),
    (
        "take it over",
        "alter table {t} owner to current_user; alter table {t} disable trigger all; update {t} set {c} = 'changed'",
    ),
    (
        "become its owner",
        "do $$ begin execute format('grant kine_audit to %I', session_user); end $$; set local role kine_audit; alter table {t} disable trigger all; delete from {t}",
    ),
    ("forge a row", "insert into {t} select * from {t} limit 1"),
    (
        "a rule instead",
        "create rule silent as on insert to {t} do instead nothing",
    ),
    (
        "open it to all",
        "alter table {t} no force row level security; alter table {t} disable row level security",
    ),
];

/// A server with logins as they are in production, and a clinic with a sealed trail.
fn world() -> (TestServer, TestDb, tempfile::TempDir, Vec<(String, String)>) {
    let server = TestServer::own();
    // Not a copy of a template: a copy does not have its database's own grants.
    let db = server.database("attacked");
    kinedb(["upgrade", "--gate", "off"]).on(&db).run().ok();
    fill(&db);
    for (login, role) in [
        ("migrator", "kine_owner"),
        ("product", "kine_app"),
        ("auditor", "kine_auditor"),
        ("sealer", "kine_sealer"),
        ("keeper", "kine_retention"),
        ("backer", "kine_backup"),
    ] {
        db.sql(&format!(
            "create role {login} login; grant {role} to {login}"
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let heads = folder.path().join("heads.json");
    kinedb(["audit", "seal", "--heads", heads.to_str().unwrap()])
        .on(&db)
        .run()
        .ok();
    let part = db.value("select relid::regclass::text from pg_partition_tree('audit_events') t join pg_class c on c.oid = t.relid \
                         where t.isleaf and exists (select from audit_events e where e.tableoid = t.relid)");
    let tables = vec![
        ("note_versions".to_owned(), "plan".to_owned()),
        (part, "action".to_owned()),
        ("audit_seals".to_owned(), "kind".to_owned()),
    ];
    (server, db, folder, tables)
}

/// The attack in one transaction, in the clinic's context; the answer's SQLSTATE.
fn attack(db: &TestDb, login: &str, role: Option<&str>, sql: &str) -> Result<(), String> {
    let role = role.map_or_else(String::new, |role| format!("set local role {role};"));
    let text = format!(
        "begin; select set_config('app.tenant_id', '{A}', true), set_config('app.user_id', '{USER}', true); {role} {sql}; commit"
    );
    block_on(async {
        let mut conn = db.connect_as(login).await;
        conn.execute(sqlx::raw_sql(AssertSqlSafe(text)))
            .await
            .map(drop)
            .map_err(|error| {
                error
                    .as_database_error()
                    .and_then(|error| error.code())
                    .map_or_else(|| error.to_string(), std::borrow::Cow::into_owned)
            })
    })
}

#[test]
fn no_role_but_a_superuser_gets_through() {
    let (_server, db, folder, tables) = world();
    let attackers = [
        ("migrator", None),
        ("migrator", Some("kine_owner")),
        ("product", None),
        ("product", Some("kine_app")),
        ("auditor", Some("kine_auditor")),
        ("sealer", Some("kine_sealer")),
        ("keeper", Some("kine_retention")),
        ("backer", Some("kine_backup")),
    ];
    let whole = "select (select count(*) from note_versions) || ' ' || (select count(*) from audit_events) || ' ' || (select count(*) from audit_seals)";
    let before = db.value(whole);
    let mut tried = 0;
    for (table, column) in &tables {
        for (name, sql) in ATTACKS {
            let sql = sql.replace("{t}", table).replace("{c}", column);
            for (login, role) in attackers {
                let answer = attack(&db, login, role, &sql);
                assert!(answer.is_err(), "{name} on {table} by {login} {role:?}");
                let code = answer.unwrap_err();
                assert!(
                    ["42501", "42704"].contains(&code.as_str()),
                    "{name} on {table} by {login} {role:?}: {code}"
                );
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 3 * 15 * 8);
    assert_eq!(db.value(whole), before);
    let heads = folder.path().join("heads.json");
    kinedb([
        "audit",
        "verify",
        "--rows",
        "--heads",
        heads.to_str().unwrap(),
    ])
    .on(&db)
    .run()
    .ok();
}

#[test]
fn a_superuser_is_refused_or_found() {
    let (_server, db, folder, tables) = world();
    let heads = folder.path().join("heads.json");
    let heads = heads.to_str().unwrap();
    let attacked = |table: &str, column: &str| refused_or_found(&db, table, column, heads);
    let refused: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = tables
            .iter()
            .map(|(table, column)| scope.spawn(|| attacked(table, column)))
            .collect();
        let each = runs.into_iter().flat_map(|run| run.join().unwrap());
        each.collect()
    });
    // Update, delete, truncate and the replica's role run into guards that fire always.
    for (table, _) in &tables {
        for name in ["update", "delete", "truncate", "act as a replica"] {
            assert!(
                refused.contains(&format!("{name} on {table}: 42501")),
                "{name} on {table}: {refused:?}"
            );
        }
    }
}

/// Every attack on a table by a superuser, each on a copy: those that were refused. The
/// others are found by `audit verify`.
fn refused_or_found(db: &TestDb, table: &str, column: &str, heads: &str) -> Vec<String> {
    let mut refused = Vec::new();
    for (name, sql) in ATTACKS {
        let copy = db.copied();
        let sql = sql.replace("{t}", table).replace("{c}", column);
        // As one who may: the guard is in the way, not a missing right.
        if let Err(code) = attack(&copy, "postgres", None, &sql) {
            refused.push(format!("{name} on {table}: {code}"));
            continue;
        }
        let run = kinedb(["audit", "verify", "--heads", heads])
            .on(&copy)
            .run();
        assert_eq!(
            run.status, 14,
            "{name} on {table} is not found\n{}{}",
            run.stdout, run.stderr
        );
        copy.sql("do $$ begin if exists (select from pg_auth_members where roleid = 'kine_audit'::regrole) then revoke kine_audit from postgres; end if; end $$");
    }
    refused
}

#[test]
fn an_event_cannot_be_forged_or_left_out_by_the_product() {
    let (_server, db, _folder, _) = world();
    let product = |sql: &str| attack(&db, "product", Some("kine_app"), sql);
    for forged in [
        format!(
            "insert into audit_events (tenant_id, action, table_name) values ('{A}', 'delete', 'patients')"
        ),
        "select seal_audit_events(1)".to_owned(),
        "select record_audit_event()".to_owned(),
        "create table mine (tenant_id uuid, id uuid)".to_owned(),
        "create temp table mine (tenant_id uuid, id uuid)".to_owned(),
        "alter table patients disable trigger record_audit_event".to_owned(),
        "set local session_replication_role = replica".to_owned(),
        "select audit_digest('aaaaaaaa-0000-4000-8000-00000000000a', 'x')".to_owned(),
        "select * from audit_keys".to_owned(),
    ] {
        assert!(product(&forged).is_err(), "{forged}");
    }
    // Patient data has an author, and a login of the product cannot name a system instead.
    let nameless =
        "set_config('app.user_id', '', true), set_config('app.system_actor', 'seed', true)";
    for table in [
        "update patients set phone = '1'",
        "update notes set plan = 'x'",
        "update encounters set status = 'completed'",
    ] {
        assert_eq!(
            product(&format!("select {nameless}; {table}")),
            Err("22023".to_owned()),
            "{table}"
        );
    }
    // Who may act as the owner leaves the name of what it was.
    db.sql(&format!(
        "begin; select set_config('app.tenant_id', '{A}', true), {nameless}; set local role kine_owner; update patients set phone = '2'; commit"
    ));
    assert_eq!(
        db.value("select distinct system_actor from audit_events where actor_id is null and changed_columns = '{phone}'"),
        "seed"
    );
}

#[test]
fn a_column_that_opted_in_leaves_a_keyed_digest_and_never_a_value() {
    let (_server, db, _folder, _) = world();
    db.sql(
        "create or replace trigger record_audit_event after insert or update or delete on patients \
            for each row execute function record_audit_event('id', 'actor', 'phone')",
    );
    for value in ["555-0100", "555-0199", "555-0100"] {
        attack(
            &db,
            "product",
            Some("kine_app"),
            &format!("update patients set phone = '{value}' where mrn = '1'"),
        )
        .unwrap();
    }
    let digests = db.query_rows("select digests ->> 'phone' from audit_events where changed_columns = '{phone}' order by occurred_at");
    let digests: Vec<String> = digests.into_iter().flatten().flatten().collect();
    assert_eq!(digests.len(), 3);
    assert!(digests[0] == digests[2] && digests[0] != digests[1]);
    // HMAC-SHA256 as everybody else computes it, under a key of its own for each clinic.
    let key = db.query_rows(&format!("select encode(inner_pad, 'hex'), encode(outer_pad, 'hex') from audit_keys where tenant_id = '{A}'"));
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    };
    use sha2::Digest as _;
    let inner = sha2::Sha256::new()
        .chain_update(bytes(key[0][0].as_ref().unwrap()))
        .chain_update("patients.phone:555-0100")
        .finalize();
    let outer = sha2::Sha256::new()
        .chain_update(bytes(key[0][1].as_ref().unwrap()))
        .chain_update(inner)
        .finalize();
    assert_eq!(kinedb::archive::hex(&outer), digests[0]);
    assert_eq!(
        db.value("select count(distinct inner_pad) = count(*) and count(*) = 2 from audit_keys"),
        "t"
    );
    assert_eq!(
        db.value("select count(*) from audit_events e where e::text like '%555-01%'"),
        "0"
    );
}

#[test]
fn a_version_rewritten_with_its_whole_chain_is_found_by_its_digest() {
    let (_server, db, _folder, _) = world();
    db.sql(&format!(
        "begin; select set_config('app.tenant_id', '{A}', true); \
         alter table note_versions disable trigger all; alter table notes disable trigger all; \
         update note_versions set plan = 'never said' where tenant_id = '{A}' and version = 2; \
         update note_versions v set hash = note_version_hash(v) where tenant_id = '{A}' and version = 2; \
         update notes set plan = 'never said' where tenant_id = '{A}'; \
         alter table note_versions enable always trigger worm_row; alter table note_versions enable always trigger worm_statement; \
         alter table note_versions enable always trigger record_audit_event; \
         alter table notes enable trigger all; alter table notes enable always trigger record_audit_event; commit"
    ));
    let run = kinedb(["audit", "verify"]).on(&db).run().exits(14);
    assert!(
        run.stdout
            .contains("the trail tells of a version that is not there, or not as it was written"),
        "{}",
        run.stdout
    );
}
