//! `kinedb show`: one migration whole, without a database.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use common::kinedb;
use insta::assert_snapshot;
use migrations::Migrations;

#[test]
fn both_ways_and_the_checksum() {
    let folder = Migrations::three();
    folder.write(
        "m4_index",
        "-- kinedb: no-transaction\ncreate index concurrently by_label on rooms (label);\n",
        "",
    );
    let show = |args: &[&str]| {
        kinedb(["show", "--migrations", folder.arg()].iter().chain(args))
            .run()
            .normal()
    };
    assert_snapshot!(show(&["beds"]), @r#"
    exit 0
    --- stdout
    -- m2_beds
    -- checksum [sha256]

    -- up
    create table beds (id int primary key, room int references rooms);

    -- down
    drop table beds;
    "#);
    assert_snapshot!(show(&["index"]), @r#"
    exit 0
    --- stdout
    -- m4_index
    -- checksum [sha256]

    -- up
    -- kinedb: no-transaction
    create index concurrently by_label on rooms (label);

    -- down
    -- `m4_index` has no way down: `m4_index.down.sql` does not exist
    "#);
    assert_snapshot!(show(&["m4", "--format", "json"]), @r#"
    exit 0
    --- stdout
    {
      "name": "m4_index",
      "checksum": "[sha256]",
      "transaction": false,
      "asks_the_database": false,
      "up": "-- kinedb: no-transaction\ncreate index concurrently by_label on rooms (label);\n",
      "down": "-- `m4_index` has no way down: `m4_index.down.sql` does not exist"
    }
    "#);
    assert_snapshot!(show(&["m"]), @r#"
    exit 2
    --- stderr
    error: `m` fits 4 revisions: `m1_rooms`, `m2_beds`, `m3_labels`, `m4_index`
    Hint: write more of the name
    (ambiguous-revision, exit 2)
    "#);
    assert_snapshot!(show(&["nowhere"]), @r#"
    exit 2
    --- stderr
    error: no revision is named `nowhere`
    Hint: list them with `kinedb history`
    (unknown-revision, exit 2)
    "#);
}

#[test]
fn the_compiled_ones_are_shown_too() {
    let run = kinedb(["show", "audit_events"]).run().ok();
    assert!(
        run.stdout.contains("create table public.audit_events"),
        "{}",
        run.stdout
    );
}
