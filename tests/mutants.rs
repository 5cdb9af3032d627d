//! Every kind of finding is made by the fault that is planted for it, names the
//! object, and is not made where nothing is planted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{TestDb, TestServer, block_on};
use kinedb::migrate::gate::{self, Gate, Suspicion};
use kinedb::migrate::touched::{Touched, may_drop};
use kinedb::verify::finding::{Finding, Severity, Verdict};
use kinedb::verify::{Config, Depth, Options, Report, list, self_test, verify};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/mutants")
}

fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(folder().join(name)).ok()
}

fn config(id: &str) -> Config {
    let text = read(&format!("{id}.toml")).or_else(|| read("_clean.toml"));
    Config::parse(&text.unwrap()).unwrap()
}

/// What a mutant says of itself: `-- name: value`.
fn directive<'a>(sql: &'a str, name: &str) -> Option<&'a str> {
    let head = format!("-- {name}: ");
    sql.lines().find_map(|line| line.strip_prefix(&head))
}

/// Plants a fault into the clean schema, verifies, and takes everything back.
///
/// A mutant that stands `alone` meets an empty database, outside of a transaction.
async fn look(conn: &mut PgConnection, id: &str, sql: &str, depth: Depth) -> Report {
    let alone = directive(sql, "alone").is_some();
    let options = Options {
        depth,
        in_transaction: !alone,
        hold_needs: true,
        ..Options::default()
    };
    if !alone {
        conn.execute("begin").await.unwrap();
        let clean = read("_clean.sql").unwrap();
        conn.execute(AssertSqlSafe(clean)).await.unwrap();
    }
    if let Err(error) = conn.execute(AssertSqlSafe(sql.to_owned())).await {
        panic!("mutant `{id}` does not apply: {error}");
    }
    let report = verify(conn, &config(id), &options).await;
    let end = if alone { "reset all" } else { "rollback" };
    conn.execute(end).await.unwrap();
    report.unwrap_or_else(|error| panic!("mutant `{id}`: {error:#}"))
}

/// What was found instead, where the fault was not.
fn missed(id: &str, sql: &str, report: &Report) -> Option<String> {
    let object = directive(sql, "object");
    let severity = list()
        .iter()
        .find(|entry| entry.id == id)
        .map(|entry| entry.severity);
    let found = report.findings.iter().any(|finding| {
        finding.id == id
            && object.is_none_or(|object| finding.object == object)
            && Some(finding.severity) == severity
    });
    let seen =
        |finding: &Finding| format!("{} [{}] {}", finding.id, finding.object, finding.detail);
    (!found).then(|| {
        let seen: Vec<String> = report.findings.iter().map(seen).collect();
        format!("{id}: {}", seen.join("; "))
    })
}

#[test]
fn every_finding_has_a_mutant_and_every_mutant_a_finding() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
        .filter(|name| !name.starts_with('_'))
        .collect();
    let known: BTreeSet<String> = list().iter().map(|entry| entry.id.to_owned()).collect();
    assert_eq!(files, known);
}

#[test]
fn every_mutant_is_found() {
    let db = TestDb::new("mutants");
    block_on(async {
        let mut silent = Vec::new();
        for entry in list() {
            let Some(sql) = read(&format!("{}.sql", entry.id)) else {
                continue;
            };
            if directive(&sql, "elsewhere").is_some() {
                continue;
            }
            // Probes need what runs as a role; a query over the catalogue does without.
            let made = matches!(
                entry.id,
                "check-failed" | "exception-expired" | "exception-unmatched"
            );
            let whole = directive(&sql, "depth") == Some("full");
            let depth = if !whole && (entry.catalogue || made) {
                Depth::Catalogue
            } else {
                Depth::Full
            };
            // A session of its own: what was set once reads as the empty text ever after.
            let mut conn = db.connect().await;
            let report = look(&mut conn, entry.id, &sql, depth).await;
            silent.extend(missed(entry.id, &sql, &report));
        }
        assert!(silent.is_empty(), "missed:\n{}", silent.join("\n"));
    });
}

/// What the gate lets pass, or refuses in other words.
const NOT_BY_THE_GATE: [&str; 6] = [
    // Nothing leaks where nothing is reached yet, and the way there begins so.
    "no-table",
    "no-reach",
    "no-role",
    "no-context",
    // The run's own session, which ends with it.
    "large-object-compat",
    // Where the catalogue cannot be read, the run stops.
    "check-failed",
];

#[test]
fn the_gate_stops_a_migration_that_plants_an_error() {
    // The clean schema is committed, with its roles: a server of its own.
    let server = TestServer::own();
    let db = server.database("mutants_gate");
    db.sql(&read("_clean.sql").unwrap().replace("set local", "set"));
    block_on(async {
        let mut passed = Vec::new();
        for entry in list() {
            let sql = read(&format!("{}.sql", entry.id)).unwrap();
            let elsewhere = ["elsewhere", "alone"].map(|name| directive(&sql, name).is_some());
            if entry.severity != Severity::Error
                || elsewhere.contains(&true)
                || NOT_BY_THE_GATE.contains(&entry.id)
            {
                continue;
            }
            let whole = directive(&sql, "depth") == Some("full");
            let depth = if !whole && (entry.catalogue || entry.id == "check-failed") {
                gate::Depth::Catalog
            } else {
                gate::Depth::Full
            };
            let mut conn = db.connect().await;
            let mut gate = Gate::new(depth, config(entry.id)).unwrap();
            gate.keep_plans();
            let neutral =
                "comment on table shop.tasks is 'Work'; create index on shop.tasks (title)";
            through(&mut gate, &mut conn, neutral.to_owned())
                .await
                .unwrap();
            let stopped = through(&mut gate, &mut conn, sql).await;
            match stopped {
                Ok(()) => passed.push(format!("{}: passed", entry.id)),
                Err(error) if error.is::<Suspicion>() => {
                    let told = gate
                        .judge(&mut conn, entry.id)
                        .await
                        .unwrap_err()
                        .to_string();
                    if !told.contains(&format!("[{}]", entry.id)) && !told.contains(" more") {
                        passed.push(format!("{}: {told}", entry.id));
                    }
                }
                Err(error) => passed.push(format!("{}: {error:#}", entry.id)),
            }
        }
        assert!(passed.is_empty(), "not stopped:\n{}", passed.join("\n"));
    });
}

/// What a run does with one migration, and a rollback.
async fn through(gate: &mut Gate, conn: &mut PgConnection, sql: String) -> anyhow::Result<()> {
    conn.execute("begin; select pg_current_xact_id()").await?;
    gate.forget();
    if may_drop(&sql) {
        gate.before(conn).await?;
    }
    conn.execute(AssertSqlSafe(sql)).await?;
    gate.hold_plans(conn).await?;
    let touched = Touched::look(conn, true).await?;
    let stopped = gate.after(conn, "migration", Some(&touched)).await;
    conn.execute("rollback").await?;
    stopped
}

/// A membership touches no relation: it concerns all, and is proven by looking at all.
#[test]
fn a_membership_alone_is_stopped_where_it_hands_rights_on() {
    let db = TestDb::new("membership_alone");
    block_on(async {
        let stopped = |grant: &'static str| {
            let db = &db;
            async move {
                let mut conn = db.connect().await;
                let mut gate = Gate::new(gate::Depth::Catalog, config("_clean")).unwrap();
                let clean = read("_clean.sql").unwrap();
                let groups = "create role mut_readers; create role mut_nobody; \
                              grant usage on schema shop to mut_readers; grant select on shop.tasks to mut_readers";
                conn.execute("begin; select pg_current_xact_id()")
                    .await
                    .unwrap();
                conn.execute(AssertSqlSafe(format!("{clean};\n{groups}")))
                    .await
                    .unwrap();
                conn.execute(grant).await.unwrap();
                let touched = Touched::look(&mut conn, false).await.unwrap();
                let stopped = gate.after(&mut conn, "membership", Some(&touched)).await;
                conn.execute("rollback").await.unwrap();
                stopped.err().map(|error| error.is::<Suspicion>())
            }
        };
        let admits = "grant mut_readers to mut_app with admin option";
        assert_eq!(stopped(admits).await, Some(true), "{admits}");
        // A member reads no more than it may; a role without rights has none to hand on.
        for harmless in [
            "grant mut_readers to mut_app",
            "grant mut_nobody to mut_app with admin option",
        ] {
            assert_eq!(stopped(harmless).await, None, "{harmless}");
        }
    });
}

#[test]
fn a_copy_in_another_database_is_found() {
    let sql = read("other-database.sql").unwrap();
    // Roles are kept here: a server of its own.
    let server = TestServer::own();
    let shop = server.database("shop");
    let copy = server.database(directive(&sql, "elsewhere").unwrap());
    shop.sql(&read("_clean.sql").unwrap().replace("set local", "set"));
    let look = || {
        block_on(async {
            let mut conn = shop.connect().await;
            let options = Options {
                connect: Some(server.dev().connect_options("shop")),
                ..Options::default()
            };
            verify(&mut conn, &config("other-database"), &options)
                .await
                .unwrap()
        })
    };
    assert_eq!(look().verdict, Verdict::Isolated);
    copy.sql(&sql);
    assert_eq!(missed("other-database", &sql, &look()), None);
}

#[test]
fn a_self_test_plants_each_kind_and_notices_all() {
    let server = TestServer::own();
    let shop = server.database("shop");
    shop.sql(&read("_clean.sql").unwrap());
    let before = shop.value(
        "select md5(string_agg(c::text, ',' order by oid)) from pg_class c where relname !~ '^pg_'",
    );
    let score = block_on(async {
        let mut conn = shop.connect().await;
        let options = Options::default();
        self_test::run(
            &mut conn,
            &config("_clean"),
            &options,
            Some(1),
            &mut |_, _, _| {},
        )
        .await
        .unwrap()
    });
    let missed: Vec<_> = score
        .trials
        .iter()
        .filter(|trial| trial.outcome != self_test::Outcome::Noticed)
        .collect();
    assert!(missed.is_empty() && score.perfect(), "{missed:#?}");
    let without: Vec<_> = score
        .kinds
        .iter()
        .filter(|(_, tally)| tally.possible == 0)
        .map(|(id, _)| *id)
        .collect();
    // The schema has no tenants and so no id to make a default of, and reads its setting in a function.
    assert_eq!(
        without,
        [
            "database-default-tenant",
            "policy-other-setting",
            "role-default-tenant"
        ]
    );
    let after = shop.value(
        "select md5(string_agg(c::text, ',' order by oid)) from pg_class c where relname !~ '^pg_'",
    );
    assert_eq!(before, after, "something was left behind");
}

#[test]
fn nothing_is_found_where_nothing_is_planted() {
    let db = TestDb::new("mutants_clean");
    block_on(async {
        let mut conn = db.connect().await;
        for depth in [Depth::Catalogue, Depth::Full] {
            let report = look(&mut conn, "_clean", "", depth).await;
            let loud: Vec<_> = report
                .findings
                .iter()
                .filter(|finding| finding.severity > Severity::Note)
                .collect();
            assert!(loud.is_empty(), "{depth:?}: {loud:#?}");
            assert_eq!(report.verdict, Verdict::Isolated);
        }
    });
}

/// Since PostgreSQL 18 a constraint can be there and hold nobody to it.
#[test]
fn a_foreign_key_that_is_not_enforced_is_told_from_one_that_is_not_valid() {
    let db = TestDb::new("mutants_not_enforced");
    let sql = read("foreign-key-not-valid.sql").unwrap();
    let version: u32 = db.value("show server_version_num").parse().unwrap();
    let (sql, told, fix) = match version {
        180_000.. => (
            sql.replace("not valid;", "not enforced;"),
            "NOT ENFORCED",
            "alter table shop.tasks alter constraint late enforced;",
        ),
        _ => (
            sql,
            "NOT VALID",
            "alter table shop.tasks validate constraint late;",
        ),
    };
    let report = block_on(async {
        let mut conn = db.connect().await;
        look(&mut conn, "foreign-key-not-valid", &sql, Depth::Catalogue).await
    });
    let mut all = report.findings.iter();
    let found = all.find(|one| one.id == "foreign-key-not-valid").unwrap();
    assert!(found.detail.ends_with(told), "{found:?}");
    assert_eq!(found.fix, fix);
    db.sql(&format!(
        "begin; {}; {sql} {}; rollback",
        read("_clean.sql").unwrap(),
        found.fix
    ));
}

#[test]
fn a_strict_check_counts_as_an_error_and_leaks_nothing() {
    let db = TestDb::new("mutants_strict");
    let whole = "grant select, update on shop.members to mut_app";
    let text = read("_clean.toml").unwrap();
    let strict = text.replace(
        "[isolation]\n",
        "[isolation]\nstrict = [\"rls-not-forced\", \"view-owner-run\", \"sensitive-column\"]\n",
    );
    for (id, fault) in [
        (
            "rls-not-forced",
            "alter table shop.tasks no force row level security",
        ),
        (
            "view-owner-run",
            "alter view shop.task_list reset (security_invoker)",
        ),
        ("sensitive-column", whole),
    ] {
        for (config, verdict) in [(&text, Verdict::Isolated), (&strict, Verdict::Unproven)] {
            let report = block_on(async {
                let mut conn = db.connect().await;
                conn.execute("begin").await.unwrap();
                let planted = format!("{}; {fault}", read("_clean.sql").unwrap());
                conn.execute(AssertSqlSafe(planted)).await.unwrap();
                let options = Options {
                    depth: Depth::Catalogue,
                    in_transaction: true,
                    hold_needs: true,
                    ..Options::default()
                };
                verify(&mut conn, &Config::parse(config).unwrap(), &options)
                    .await
                    .unwrap()
            });
            assert!(
                report.findings.iter().any(|finding| finding.id == id),
                "{id}"
            );
            assert_eq!(report.verdict, verdict, "{id}: {:#?}", report.findings);
        }
    }
}
