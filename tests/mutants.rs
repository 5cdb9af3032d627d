//! Every check of the catalogue finds the fault that is planted for it, names the
//! object, and is silent where nothing is planted.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{TestDb, block_on};
use kinedb::verify::finding::{Severity, Verdict};
use kinedb::verify::{Config, Depth, Options, Report, list, verify};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

/// Made by the engine itself, not by a query over the catalogue.
const BY_THE_ENGINE: [&str; 4] = [
    "check-failed",
    "exception-expired",
    "exception-unmatched",
    "other-database",
];

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

async fn look(conn: &mut PgConnection, id: &str, sql: &str, depth: Depth) -> Report {
    let alone = sql.contains("-- alone:");
    let options = Options {
        depth,
        in_transaction: !alone,
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

#[test]
fn every_check_has_a_mutant_and_every_mutant_a_check() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
        .filter(|name| !name.starts_with('_'))
        .collect();
    let checks: BTreeSet<String> = list()
        .iter()
        .filter(|entry| entry.catalogue && !BY_THE_ENGINE.contains(&entry.id))
        .map(|entry| entry.id.to_owned())
        .collect();
    assert_eq!(files, checks);
}

#[test]
fn every_mutant_is_found() {
    let db = TestDb::new("mutants");
    block_on(async {
        let mut conn = db.connect().await;
        let mut missed = Vec::new();
        for entry in list().iter().filter(|entry| entry.catalogue) {
            let Some(sql) = read(&format!("{}.sql", entry.id)) else {
                continue;
            };
            let report = look(&mut conn, entry.id, &sql, Depth::Catalogue).await;
            let object = sql
                .lines()
                .find_map(|line| line.strip_prefix("-- object: "));
            let found = report.findings.iter().any(|finding| {
                finding.id == entry.id
                    && object.is_none_or(|object| finding.object == object)
                    && finding.severity == entry.severity
            });
            if !found {
                let seen: Vec<String> = report
                    .findings
                    .iter()
                    .map(|finding| {
                        format!("{} [{}] {}", finding.id, finding.object, finding.detail)
                    })
                    .collect();
                missed.push(format!("{}: {}", entry.id, seen.join("; ")));
            }
        }
        assert!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
    });
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
