//! `kinedb audit`: sealing, and every way of changing a trail being found.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{TestDb, TestServer, block_on, kinedb};
use sqlx::{AssertSqlSafe, Executor as _};

const A: &str = "aaaaaaaa-0000-4000-8000-00000000000a";
const B: &str = "bbbbbbbb-0000-4000-8000-00000000000b";
const USER: &str = "00000000-0000-4000-8000-000000000001";

/// Statements of the clinic's user as the product.
fn product(db: &TestDb, clinic: &str, sql: &str) {
    db.sql(&format!(
        "begin; select set_config('app.tenant_id', '{clinic}', true), set_config('app.user_id', '{USER}', true); \
         set local role kine_app; {sql}; commit"
    ));
}

/// Two clinics, each with a user and so many patients, each patient in its own transaction.
fn clinics(test: &str, patients: u32) -> TestDb {
    let db = TestDb::migrated(test);
    fill(&db, patients);
    db
}

fn fill(db: &TestDb, patients: u32) {
    for (clinic, slug) in [(A, "a"), (B, "b")] {
        db.sql(&format!(
            "begin; select set_config('app.tenant_id', '{clinic}', true); set local role kine_owner; \
             insert into tenants (tenant_id, slug, name) values ('{clinic}', '{slug}', 'Clinic'); \
             insert into users (id, email, full_name, role) \
               values ('{USER}', 'a@example.org', 'A', 'practitioner'); commit"
        ));
        for number in 0..patients {
            patient(db, clinic, &number.to_string());
        }
    }
}

fn patient(db: &TestDb, clinic: &str, mrn: &str) {
    product(
        db,
        clinic,
        &format!(
            "insert into patients (mrn, given_name, family_name, birth_date) values ('{mrn}', 'G', 'F', '2000-01-01')"
        ),
    );
}

/// What a superuser does who has put the guards out of the way.
fn tamper(db: &TestDb, sql: &str) {
    db.sql(&format!(
        "begin; alter table audit_seals disable trigger all; \
         do $$ declare p regclass; begin for p in select relid from pg_partition_tree('audit_events') loop \
           execute format('alter table %s disable trigger all', p); end loop; end $$; \
         {sql}; \
         alter table audit_seals enable always trigger worm_row; alter table audit_seals enable always trigger worm_statement; \
         do $$ declare p regclass; begin for p in select relid from pg_partition_tree('audit_events') loop \
           execute format('alter table %s enable always trigger worm_row', p); \
           execute format('alter table %s enable always trigger worm_statement', p); end loop; end $$; \
         commit"
    ));
}

/// Waits for other tests' transactions: the horizon is the whole cluster's.
fn settle(db: &TestDb) {
    let settled = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint > coalesce(max(txid), 0) from audit_events";
    for _ in 0..3000 {
        if db.value(settled) == "t" {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("transactions of other tests do not end");
}

fn seal(db: &TestDb) -> serde_json::Value {
    settle(db);
    seal_now(db)
}

fn seal_now(db: &TestDb) -> serde_json::Value {
    kinedb(["audit", "seal", "--format", "json"])
        .on(db)
        .run()
        .ok()
        .json()
}

/// Kinds of the problems that are found, and the whole result.
fn verify(db: &TestDb, more: &[&str]) -> (Vec<String>, serde_json::Value) {
    let args = ["audit", "verify", "--format", "json"].iter().chain(more);
    let run = kinedb(args).on(db).run();
    let result = run.json();
    let problems = result["problems"].as_array().unwrap();
    assert_eq!(
        run.status,
        if problems.is_empty() { 0 } else { 14 },
        "{}",
        run.stderr
    );
    assert!(
        problems.is_empty() || run.stderr.contains("(audit-broken, exit 14)"),
        "{}",
        run.stderr
    );
    let kinds = problems
        .iter()
        .map(|one| one["kind"].as_str().unwrap().to_owned());
    (kinds.collect(), result)
}

#[test]
fn what_is_settled_is_sealed_once_and_proven() {
    let db = clinics("what_is_settled", 3);
    let sealed = seal(&db);
    // One for the tenant, one for the user, three for the patients.
    assert_eq!(sealed["sealed"][0]["events"], 5, "{sealed}");
    assert_eq!(sealed["heads"]["heads"].as_array().unwrap().len(), 2);
    assert_eq!(seal(&db)["sealed"][0]["events"], 0);
    let (kinds, result) = verify(&db, &["--rows"]);
    assert_eq!(kinds, [""; 0]);
    assert_eq!(result["clinics"][0]["events"], 5);
    assert_eq!(result["clinics"][0]["unsealed"], 0);

    let shown = kinedb(["audit", "verify"]).on(&db).run().ok();
    assert!(shown.stdout.contains("intact"), "{}", shown.stdout);
    assert!(shown.stderr.contains("--heads"), "{}", shown.stderr);
}

#[test]
fn an_event_of_an_open_transaction_waits_for_its_end() {
    let server = TestServer::own();
    let db = server.migrated_database("an_open_transaction");
    fill(&db, 1);
    seal(&db);
    block_on(async {
        let mut open = db.connect().await;
        let begin = format!(
            "begin; select set_config('app.tenant_id', '{A}', true); \
             update patients set phone = '1' where tenant_id = '{A}'"
        );
        open.execute(sqlx::raw_sql(AssertSqlSafe(begin)))
            .await
            .unwrap();
        // Younger than the open one, and settled: it may not be sealed past it.
        patient(&db, A, "younger");
        assert_eq!(seal_now(&db)["sealed"][0]["events"], 0);
        open.execute(sqlx::raw_sql("commit")).await.unwrap();
    });
    assert_eq!(seal(&db)["sealed"][0]["events"], 2);
    assert_eq!(verify(&db, &["--rows"]).0, [""; 0]);
}

#[test]
fn sealing_at_once_from_many_processes_makes_one_chain() {
    let db = clinics("sealing_at_once", 30);
    for round in 0..3 {
        patient(&db, A, &format!("round-{round}"));
        settle(&db);
        let mut runs: Vec<_> = (0..4)
            .map(|_| {
                let mut command = kinedb(["audit", "seal", "--batch", "4"]).on(&db).command();
                command
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null());
                command.spawn().unwrap()
            })
            .collect();
        for run in &mut runs {
            assert!(run.wait().unwrap().success());
        }
    }
    let (kinds, result) = verify(&db, &[]);
    assert_eq!(kinds, [""; 0]);
    assert_eq!(result["clinics"][0]["events"], 35);
    assert_eq!(
        db.value("select count(distinct number) = count(*) and min(number) = 1 and max(number) = count(*) \
                  from audit_seals where tenant_id = 'aaaaaaaa-0000-4000-8000-00000000000a'"),
        "t"
    );
}

#[test]
fn an_edit_a_deletion_and_an_insertion_are_found_and_their_range_is_named() {
    let db = clinics("edits_are_found", 12);
    settle(&db);
    kinedb(["audit", "seal", "--batch", "5"]).on(&db).run().ok();
    let one = "select id from audit_events where tenant_id = 'aaaaaaaa-0000-4000-8000-00000000000a' \
               order by occurred_at, id offset 7 limit 1";
    let at = db.value(&format!(
        "select to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') from audit_events where id = ({one})"
    ));
    let cases = [
        (
            format!("update audit_events set action = 'read' where id = ({one})"),
            "edited",
        ),
        (
            format!("delete from audit_events where id = ({one})"),
            "deleted",
        ),
        (
            format!(
                "insert into audit_events select tenant_id, occurred_at + interval '1 microsecond', gen_random_uuid(), action, \
                     table_name, row_id, actor_id, db_user, changed_columns, txid from audit_events where id = ({one})"
            ),
            "inserted",
        ),
        (
            format!(
                "insert into audit_events (tenant_id, occurred_at, action, table_name, txid) \
                     select tenant_id, '2026-01-01', action, table_name, txid from audit_events where id = ({one})"
            ),
            "inserted",
        ),
        (
            format!(
                "update audit_events set occurred_at = occurred_at + interval '1 hour' where id = ({one})"
            ),
            "edited or moved",
        ),
    ];
    let backdated = 3;
    for (place, (sql, kind)) in cases.into_iter().enumerate() {
        let copy = db.copied();
        tamper(&copy, &sql);
        let (kinds, result) = verify(&copy, &[]);
        assert!(!kinds.is_empty(), "{kind}");
        let first = &result["problems"][0];
        assert_eq!(first["tenant"], A);
        if kind != "edited or moved" {
            assert_eq!(kinds, [kind], "{result}");
        }
        // The second batch of five holds the eighth event.
        if first["seal"].is_number() && place != backdated {
            assert_eq!(first["seal"], 2, "{result}");
            let range = first["range"].as_str().unwrap();
            let (from, to) = range.split_once(" to ").unwrap();
            assert!(
                kind == "edited or moved"
                    || (from <= format!("{at}Z").as_str() && to >= format!("{at}Z").as_str()),
                "{range} {at}"
            );
        }
    }
    assert_eq!(verify(&db, &[]).0, [""; 0]);
}

#[test]
fn a_cut_tail_is_seen_by_heads_that_were_kept_elsewhere() {
    let db = clinics("a_cut_tail", 3);
    seal(&db);
    patient(&db, A, "late");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heads.json");
    let heads = file.to_str().unwrap();
    settle(&db);
    kinedb(["audit", "seal", "--heads", heads])
        .on(&db)
        .run()
        .ok();
    assert_eq!(verify(&db, &["--heads", heads]).0, [""; 0]);

    // The last event and its seal are gone: what is left is a whole, shorter chain.
    tamper(
        &db,
        &format!(
            "delete from audit_events where id = (select id from audit_events where tenant_id = '{A}' \
               order by occurred_at desc limit 1); \
             delete from audit_seals where tenant_id = '{A}' and number = 2"
        ),
    );
    assert_eq!(verify(&db, &[]).0, [""; 0]);
    let (kinds, result) = verify(&db, &["--heads", heads]);
    assert_eq!(kinds, ["tail-cut"]);
    assert_eq!(result["problems"][0]["range"], "seals 2 to 2");

    // Another event in its place, sealed anew: the number is there, with another hash.
    patient(&db, A, "other");
    seal(&db);
    assert_eq!(verify(&db, &["--heads", heads]).0, ["tail-cut"]);
    assert_eq!(
        verify(&db, &["--heads", heads, "--heads", heads]).0,
        ["tail-cut", "tail-cut"]
    );
}

#[test]
fn a_seal_that_is_edited_or_missing_breaks_the_chain() {
    let db = clinics("a_seal_that_is_edited", 8);
    settle(&db);
    kinedb(["audit", "seal", "--batch", "3"]).on(&db).run().ok();
    for (sql, kinds) in [
        (
            "update audit_seals set events = events where number = 2",
            vec![],
        ),
        (
            "update audit_seals set sealed_at = sealed_at + interval '1 s' where number = 2",
            vec!["seal-broken", "seal-broken"],
        ),
        // One that was recomputed breaks at the next.
        (
            "update audit_seals s set digest = sha256('x') where number = 2; \
             update audit_seals s set hash = audit_seal_hash(s) where number = 2",
            vec!["edited", "seal-broken", "edited", "seal-broken"],
        ),
        (
            "delete from audit_seals where number = 2",
            vec!["seal-broken", "inserted", "seal-broken", "inserted"],
        ),
    ] {
        let copy = db.copied();
        tamper(&copy, sql);
        assert_eq!(verify(&copy, &[]).0, kinds, "{sql}");
    }
}

#[test]
fn a_missing_seal_is_named() {
    let db = clinics("a_missing_seal", 8);
    settle(&db);
    kinedb(["audit", "seal", "--batch", "3"]).on(&db).run().ok();
    // The one behind it is made to follow the one before.
    tamper(
        &db,
        "delete from audit_seals where number = 2; \
         update audit_seals s set prev_hash = (select b.hash from audit_seals b where b.tenant_id = s.tenant_id and b.number = 1) \
           where number = 3; \
         update audit_seals s set hash = audit_seal_hash(s) where number = 3",
    );
    let (_, result) = verify(&db, &[]);
    let details: Vec<&str> = result["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["detail"].as_str())
        .collect();
    assert!(details.contains(&"seals 2 to 2 are missing"), "{details:?}");
}

#[test]
fn a_seal_is_the_same_whatever_the_client_speaks() {
    let db = clinics("client_speaks", 1);
    db.sql(&format!(
        "begin; select set_config('app.tenant_id', '{A}', true), set_config('app.system_actor', 'Übertragung', true); \
         update patients set phone = '1' where tenant_id = '{A}'; commit"
    ));
    settle(&db);
    db.sql(&format!(
        "begin; set local client_encoding = 'LATIN1'; select set_config('app.tenant_id', '{A}', true); \
         select seal_audit_events(100); commit"
    ));
    let (kinds, result) = verify(&db, &[]);
    assert_eq!(kinds, [""; 0]);
    assert_eq!(result["clinics"][0]["events"], 4, "{result}");
}

#[test]
fn what_guards_the_trail_is_looked_at() {
    let server = TestServer::own();
    let db = server.migrated_database("what_guards");
    fill(&db, 1);
    seal(&db);
    for (sql, place) in [
        (
            "set role kine_owner; alter table patients disable trigger record_audit_event",
            "patients",
        ),
        (
            "set role kine_owner; drop trigger record_next_version on notes",
            "notes",
        ),
        (
            "alter table audit_events_default disable trigger worm_row",
            "audit_events_default",
        ),
        (
            "alter table note_versions owner to kine_owner",
            "note_versions",
        ),
        (
            "alter function record_audit_event() owner to kine_owner",
            "record_audit_event()",
        ),
        (
            "alter table audit_seals no force row level security",
            "audit_seals",
        ),
        (
            "create role insider; grant kine_audit to insider",
            "role insider",
        ),
    ] {
        let copy = db.copied();
        copy.sql(sql);
        let (kinds, result) = verify(&copy, &[]);
        assert!(
            !kinds.is_empty() && kinds.iter().all(|kind| kind == "guard"),
            "{sql}: {result}"
        );
        assert_eq!(result["problems"][0]["range"], place, "{result}");
    }
}

#[test]
fn what_the_owner_does_with_triggers_off_is_found_afterwards() {
    let db = clinics("with_triggers_off", 3);
    seal(&db);
    let off = |sql: &str| {
        let copy = db.copied();
        copy.sql(&format!(
            "begin; select set_config('app.tenant_id', '{A}', true); set local role kine_owner; \
             alter table patients disable trigger record_audit_event; {sql}; \
             alter table patients enable always trigger record_audit_event; commit"
        ));
        assert_eq!(verify(&copy, &[]).0, [""; 0], "{sql}");
        let (kinds, result) = verify(&copy, &["--rows"]);
        assert_eq!(kinds, ["row"], "{sql}");
        result["problems"][0]["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        off("update patients set phone = '1' where mrn = '1'"),
        "1 rows that changed after their last event"
    );
    assert_eq!(
        off(
            "insert into patients (mrn, given_name, family_name, birth_date) values ('x', 'G', 'F', '2000-01-01')"
        ),
        "1 rows whose coming no event tells of"
    );
    assert_eq!(
        off("delete from patients where mrn = '1'"),
        "1 rows that are gone, and no event tells of it"
    );
}

#[test]
fn a_month_without_a_partition_is_made_and_its_events_move() {
    let db = clinics("a_month_without_a_partition", 2);
    // Written by triggers in a month that nobody made a partition for.
    db.sql("drop table audit_events_2027_01, audit_events_2027_02 cascade");
    db.sql(&format!(
        "insert into audit_events (tenant_id, occurred_at, action, table_name) \
         select '{A}', timestamptz '2031-05-15 00:00Z' + i * interval '1 day', 'read', 'patients' from generate_series(0, 30) i"
    ));
    seal(&db);
    let made = kinedb(["audit", "partitions", "--ahead", "4", "--format", "json"])
        .on(&db)
        .run()
        .ok()
        .json();
    let moved: Vec<(&str, i64)> = made
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["moved"] != 0)
        .map(|one| {
            (
                one["month"].as_str().unwrap(),
                one["moved"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(moved, [("2031-05", 17), ("2031-06", 14)]);
    assert_eq!(db.value("select count(*) from audit_events_default"), "0");
    assert_eq!(db.value("select count(*) from audit_events_2031_06"), "14");
    // Nothing is lost, sealed ranges hold, and the default partition is as closed as before.
    assert_eq!(verify(&db, &[]).0, [""; 0]);
    kinedb(["audit", "partitions"]).on(&db).run().ok();
    assert_eq!(
        db.value("select count(distinct (t.tgname, t.tgenabled, t.tgtype)) from pg_trigger t where t.tgrelid in \
                  ('audit_events_default'::regclass, 'audit_events_2031_06'::regclass)"),
        "2"
    );
}

/// A cluster of its own: logins are the whole cluster's.
#[test]
fn least_privilege_is_enough_for_each_task() {
    let server = TestServer::own();
    let db = server.migrated_database("least_privilege");
    fill(&db, 2);
    for (login, role) in [
        ("jan", "kine_sealer"),
        ("rea", "kine_auditor"),
        ("bak", "kine_backup"),
        ("ret", "kine_retention"),
        ("app", "kine_app"),
        ("one", "kine_auditor, kine_sealer"),
    ] {
        db.sql(&format!(
            "create role {login} login; grant {role} to {login}"
        ));
    }
    let run = |login: &str, args: &[&str]| {
        kinedb(args.iter().chain(&["--format", "json"]))
            .on_as(&db, login)
            .run()
    };
    db.sql("select create_audit_partition('2014-03-01')");
    db.sql(&format!(
        "insert into audit_events (tenant_id, occurred_at, action, table_name) \
         select '{A}', timestamptz '2014-03-02 00:00Z' + i * interval '1 day', 'read', 'patients' from generate_series(1, 3) i"
    ));
    let sealed = run("jan", &["audit", "seal"]).ok().json();
    assert_eq!(sealed["sealed"][1]["events"], 4);
    run("jan", &["audit", "partitions", "--ahead", "5"]).ok();
    assert_eq!(
        run("bak", &["audit", "verify"]).ok().json()["clinics"][1]["events"],
        4
    );
    assert_eq!(
        run("one", &["audit", "verify", "--tenant", A]).ok().json()["clinics"][0]["events"],
        7
    );
    run("one", &["audit", "verify"]).exits(2);
    assert_eq!(
        run("rea", &["audit", "show", "--tenant", B])
            .ok()
            .json()
            .as_array()
            .unwrap()
            .len(),
        4
    );
    run(
        "ret",
        &["audit", "retain", "--older-than", "10y", "--archive", "."],
    )
    .ok();
    for (login, args) in [
        ("app", vec!["audit", "seal"]),
        ("rea", vec!["audit", "verify", "--tenant", A]),
        ("app", vec!["audit", "show", "--tenant", A]),
        ("rea", vec!["audit", "seal", "--tenant", A]),
        ("jan", vec!["audit", "show", "--tenant", A]),
        (
            "jan",
            vec!["audit", "retain", "--older-than", "10y", "--archive", "."],
        ),
        ("ret", vec!["audit", "seal"]),
        ("ret", vec!["audit", "partitions"]),
    ] {
        let refused = run(login, &args).exits(7);
        assert!(
            refused
                .stderr
                .contains("Hint: as an administrator: grant kine_"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    // A month that is older than the floor, archived and removed without one right more.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let retired = run(
        "ret",
        &[
            "audit",
            "retain",
            "--older-than",
            "10y",
            "--archive",
            place,
            "--confirm",
            db.name(),
        ],
    )
    .ok();
    assert_eq!(retired.json()[0]["events"], 3);
    assert!(
        retired.stderr.contains("kinedb audit verify"),
        "{}",
        retired.stderr
    );
    run("bak", &["audit", "verify"]).ok();
    db.sql("select create_audit_partition('2014-03-01')");
    db.sql(&format!(
        "insert into audit_events (tenant_id, occurred_at, action, table_name) values ('{A}', '2014-03-02', 'read', 'patients')"
    ));
    // Retention sees nothing younger than the floor, a sealer no event at all.
    for (login, count) in [("ret", "1"), ("jan", "")] {
        let mut seen = String::new();
        block_on(async {
            let mut conn = db.connect_as(login).await;
            let nobody = "set app.tenant_id = '00000000-0000-0000-0000-000000000000'";
            conn.execute(sqlx::raw_sql(nobody)).await.unwrap();
            let query = "select count(*)::text from public.audit_events";
            if let Ok(found) = sqlx::query_scalar::<_, String>(query)
                .fetch_one(&mut conn)
                .await
            {
                seen = found;
            }
        });
        assert_eq!(seen, count, "{login}");
    }
}

#[test]
fn retention_archives_checks_and_removes_what_is_older_than_the_floor() {
    let db = clinics("retention", 2);
    db.sql(
        "select create_audit_partition('2014-03-01'), create_audit_partition('2014-04-01'), create_audit_partition('2025-01-01')",
    );
    for clinic in [A, B] {
        db.sql(&format!(
            "insert into audit_events (tenant_id, occurred_at, action, table_name, application_name) \
             select '{clinic}', timestamptz '2014-03-20 00:00Z' + i * interval '1 day', 'read', 'patients', e'odd\\n\"name\\\\' \
             from generate_series(0, 19) i; \
             insert into audit_events (tenant_id, occurred_at, action, table_name) values ('{clinic}', '2025-01-05', 'read', 'users')"
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let retain = |age: &str, more: &[&str]| {
        kinedb(
            [
                "audit",
                "retain",
                "--older-than",
                age,
                "--archive",
                place,
                "--format",
                "json",
            ]
            .iter()
            .chain(more),
        )
        .on(&db)
        .run()
    };
    let refused = retain("9y", &[]).exits(12);
    assert!(
        refused.stderr.contains("10 years at the least"),
        "{}",
        refused.stderr
    );
    assert_eq!(retain("10years", &[]).status, 2);
    let planned = retain("10y", &[]).ok();
    assert!(planned.stderr.contains("a dry run"), "{}", planned.stderr);
    assert_eq!(planned.json()[0]["month"], "2014-03");
    assert_eq!(planned.json()[0]["events"], 24);
    assert_eq!(planned.json().as_array().unwrap().len(), 2);

    retain("10y", &["--confirm", "another"]).exits(12);
    let unsealed = retain("10y", &["--confirm", db.name()]).exits(12);
    assert!(
        unsealed
            .stderr
            .contains("not all events of 2014-03 are sealed"),
        "{}",
        unsealed.stderr
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(
        db.value("select count(*) from audit_events where occurred_at < '2015-01-01'"),
        "40"
    );

    seal(&db);
    let tampered = db.copied();
    tamper(
        &tampered,
        "update audit_events set action = 'export' where occurred_at = '2014-03-20 00:00Z'",
    );
    kinedb([
        "audit",
        "retain",
        "--older-than",
        "10y",
        "--archive",
        place,
        "--confirm",
        tampered.name(),
    ])
    .on(&tampered)
    .run()
    .exits(14);
    retain("10y", &["--confirm", db.name()]).ok();
    assert_eq!(
        db.value("select count(*) from audit_events where occurred_at < '2015-01-01'"),
        "0"
    );
    let text = std::fs::read_to_string(folder.path().join("audit_events_2014_03.ndjson")).unwrap();
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 24);
    assert_eq!(events[0]["application_name"], "odd\n\"name\\");
    let (kinds, result) = verify(&db, &[]);
    assert_eq!(kinds, [""; 0]);
    assert_eq!(
        result["clinics"][0]["retired"][0],
        serde_json::json!(["2014-03", 12])
    );
    assert_eq!(
        retain("10y", &["--confirm", db.name()]).ok().json(),
        serde_json::json!([])
    );

    // An event that comes back to a month that is gone is one that no seal covers.
    tamper(
        &db,
        &format!(
            "insert into audit_events (tenant_id, occurred_at, action, table_name, txid) values ('{A}', '2014-03-21', 'read', 'users', 1)"
        ),
    );
    assert_eq!(verify(&db, &[]).0, ["inserted"]);
}

#[test]
fn another_cluster_goes_on_with_the_chain() {
    let db = clinics("another_cluster", 4);
    settle(&db);
    kinedb(["audit", "seal", "--batch", "3"]).on(&db).run().ok();
    patient(&db, A, "unsealed");
    // What a restore elsewhere leaves: a chain of another cluster, above transactions that start low.
    tamper(
        &db,
        "do $$ declare s audit_seals; before bytea; begin \
           for s in select * from audit_seals order by tenant_id, number loop \
             s.cluster := 42; s.prev_hash := case when s.number = 1 then null else before end; \
             s.hash := audit_seal_hash(s); before := s.hash; \
             update audit_seals a set cluster = 42, prev_hash = s.prev_hash, hash = s.hash \
               where a.tenant_id = s.tenant_id and a.number = s.number; \
           end loop; end $$",
    );
    let (kinds, result) = verify(&db, &[]);
    assert_eq!(kinds, [""; 0]);
    assert_eq!(result["clinics"][0]["unsealed"], 1);
    // Its transaction number lies in a range that is sealed.
    db.sql(&format!("insert into audit_events (tenant_id, action, table_name, txid) values ('{A}', 'read', 'users', 3)"));
    let (kinds, result) = verify(&db, &[]);
    assert_eq!(kinds, [""; 0]);
    assert_eq!(result["clinics"][0]["unsealed"], 2);
    assert_eq!(seal(&db)["sealed"][0]["events"], 2);
    patient(&db, A, "later");
    assert_eq!(seal(&db)["sealed"][0]["events"], 1);
    let (kinds, result) = verify(&db, &[]);
    assert_eq!(kinds, [""; 0]);
    assert_eq!(result["clinics"][0]["events"], 9);
    assert_eq!(
        db.value(&format!(
            "select string_agg(kind, ' ' order by number) from audit_seals where tenant_id = '{A}'"
        )),
        "events events events adopted events"
    );
}

#[test]
fn people_read_who_did_what() {
    let db = clinics("people_read", 1);
    product(
        &db,
        A,
        "update patients set phone = '1', email = 'x@example.org'",
    );
    let shown = kinedb(["audit", "show", "--tenant", A, "--table", "patients"])
        .on(&db)
        .run()
        .ok();
    insta::assert_snapshot!(shown.normal(), @r"
    exit 0
    --- stdout
    TIME (UTC)           ACTOR                                 ACTION  ROW                                            COLUMNS       APPLICATION
    [time]  [uuid]  insert  patients [uuid]
    [time]  [uuid]  update  patients [uuid]  email, phone
    --- stderr
    database `people_read` on `[server]/socket` as `postgres`
    ");
    let by = |more: &[&str]| {
        let args = ["audit", "show", "--tenant", A, "--format", "json"]
            .iter()
            .chain(more);
        kinedb(args)
            .on(&db)
            .run()
            .ok()
            .json()
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(by(&["--actor", USER]), 2);
    assert_eq!(by(&["--limit", "1"]), 1);
    assert_eq!(by(&["--since", "2999-01-01"]), 0);
    assert_eq!(by(&["--since", "2020-01-01T00:00:00Z"]), 4);
    kinedb(["audit", "show", "--tenant", A, "--since", "yesterday"])
        .on(&db)
        .run()
        .exits(2);
}

#[test]
fn a_database_without_a_trail_says_so() {
    let db = TestDb::new("without_a_trail");
    for args in [
        vec!["audit", "seal", "--tenant", A],
        vec!["audit", "verify"],
        vec!["audit", "show", "--tenant", A],
    ] {
        let run = kinedb(args).on(&db).run().exits(3);
        assert!(run.stderr.contains("kinedb upgrade"), "{}", run.stderr);
    }
}
