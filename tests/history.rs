//! `kinedb history`: the list, and everything that was ever done.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::{TestDb, kinedb, normal};
use insta::assert_snapshot;
use migrations::Migrations;

#[test]
fn the_list_and_what_was_done() {
    let (db, folder) = (
        TestDb::new("the_list_and_what_was_done"),
        Migrations::three(),
    );
    let run = |args: &[&str]| {
        kinedb(args.iter().chain(&["--migrations", folder.arg()]))
            .on(&db)
            .run()
            .ok()
    };
    assert_snapshot!(run(&["history"]).normal(), @r#"
    exit 0
    --- stdout
    REVISION   APPLIED
    m1_rooms   pending
    m2_beds    pending
    m3_labels  pending
    --- stderr
    database `the_list_and_what_was_done` on `[server]/socket` as `postgres`
    "#);
    run(&["upgrade", "+2"]);
    run(&["downgrade", "-1"]);
    folder.remove("m1_rooms");
    assert_snapshot!(run(&["history", "-q"]).normal(), @r#"
    exit 0
    --- stdout
    REVISION   APPLIED
    m2_beds    pending
    m3_labels  pending
    m1_rooms   [time] (unknown to this program)
    "#);
    let verbose = run(&["history", "-v", "-q"]);
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    // Columns are as wide as their values, and these differ.
    let lines: Vec<String> = verbose
        .stdout
        .replace(&host, "[host]")
        .lines()
        .map(|line| {
            normal(line)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    STARTED WAY REVISION OUTCOME EFFECT TOOK USER HOST KINEDB CHECKSUM REASON
    [time] up m1_rooms done neutral [took] postgres [host] 0.1.0 3741acf7dc6f
    [time] up m2_beds done neutral [took] postgres [host] 0.1.0 6b4b749caa78
    [time] down m2_beds done neutral [took] postgres [host] 0.1.0 6b4b749caa78
    "#);
}

#[test]
fn records_for_programs() {
    let (db, folder) = (TestDb::new("records_for_programs"), Migrations::three());
    let run = |args: &[&str]| {
        kinedb(args.iter().chain(&["--migrations", folder.arg()]))
            .on(&db)
            .env("GITHUB_SHA", "0123abc")
            .run()
            .ok()
    };
    run(&["upgrade", "+1"]);
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let mut json = run(&["history", "--format", "json", "-q"]);
    json.stdout = json.stdout.replace(&host, "[host]");
    assert_snapshot!(json.normal(), @r#"
    exit 0
    --- stdout
    {
      "revisions": [
        {
          "name": "m1_rooms",
          "checksum": "[sha256]",
          "applied": true
        },
        {
          "name": "m2_beds",
          "checksum": "[sha256]",
          "applied": false
        },
        {
          "name": "m3_labels",
          "checksum": "[sha256]",
          "applied": false
        }
      ],
      "records": [
        {
          "run_id": "[uuid]",
          "name": "m1_rooms",
          "direction": "up",
          "checksum": "[sha256]",
          "started_at": "[time]",
          "duration_ms": [took],
          "outcome": "done",
          "database_user": "postgres",
          "host": "[host]",
          "kinedb_version": "0.1.0",
          "git_commit": "0123abc",
          "reason": null,
          "step": null,
          "details": {
            "effect": "neutral",
            "changes": [
              {
                "what": "new, and open to nobody but its owner",
                "effect": "neutral",
                "object": "table public.rooms"
              }
            ]
          }
        }
      ]
    }
    "#);
}

#[test]
fn history_is_append_only() {
    let (db, folder) = (TestDb::new("history_is_append_only"), Migrations::three());
    kinedb(["upgrade", "--migrations", folder.arg()])
        .on(&db)
        .run()
        .ok();
    for attack in [
        "update kinedb_history set name = 'x'",
        "delete from kinedb_history",
        "truncate kinedb_history",
    ] {
        let refused = db.try_sql(attack).expect_err(attack);
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}
