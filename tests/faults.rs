//! Faults injected for real: a second process, a signal, a killed backend, a proxy,
//! a pooler, a full disk.

// Helpers are not test functions, where these are allowed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub
)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

#[path = "faults/chaos.rs"]
mod chaos;
#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/data.rs"]
mod data;
#[path = "faults/locks.rs"]
mod locks;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/outside.rs"]
mod outside;
#[path = "faults/refusals.rs"]
mod refusals;
#[path = "faults/servers.rs"]
mod servers;
#[path = "faults/signals.rs"]
mod signals;
#[path = "faults/texts.rs"]
mod texts;
#[path = "faults/tools.rs"]
mod tools;
#[path = "faults/trips.rs"]
mod trips;

use common::{Kinedb, TestDb, kinedb};
use migrations::Migrations;

/// An upgrade with the migrations of a folder, without the gate: what it proves
/// is not the matter here, and it takes time.
fn upgrade(db: &TestDb, folder: &Migrations, more: &[&str]) -> Kinedb {
    let args = ["upgrade", "--gate", "off", "--migrations", folder.arg()];
    kinedb(args.iter().chain(more)).on(db)
}

/// Takes back down to a revision, or so many steps (`-1`).
fn downgrade(db: &TestDb, folder: &Migrations, to: &str) {
    let args = [
        "downgrade",
        to,
        "--gate",
        "off",
        "--migrations",
        folder.arg(),
    ];
    kinedb(args).on(db).run().ok();
}

fn applied(db: &TestDb) -> String {
    db.value("select coalesce(string_agg(version, ' ' order by version), '') from seaql_migrations")
}

/// Migration `m1_rooms` applied, `m2_slow` pending: it makes a table and then sleeps.
fn slow(test: &str, seconds: &str) -> (TestDb, Migrations) {
    let db = TestDb::new(test);
    let folder = Migrations::of(&[(
        "m1_rooms",
        "create table rooms (id int primary key);\n",
        "drop table rooms;\n",
    )]);
    upgrade(&db, &folder, &[]).run().ok();
    let up = format!("create table half (id int);\nselect pg_sleep({seconds});\n");
    folder.write("m2_slow", &up, "drop table half;\n");
    (db, folder)
}
