//! Network round trips, counted: exact on any machine.

use std::time::Duration;

use crate::common::TestDb;
use crate::migrations::Migrations;
use crate::tools::Proxy;
use crate::upgrade;

/// Asking for TLS, starting the session.
const CONNECT: usize = 2;

#[test]
fn nothing_to_do_is_one_question() {
    let (db, folder) = (
        TestDb::new("nothing_to_do_is_one_question"),
        Migrations::three(),
    );
    upgrade(&db, &folder, &[]).run().ok();
    let proxy = Proxy::new(&db);
    upgrade(&db, &folder, &[])
        .env("KINEDB_DATABASE_URL", proxy.url(&db))
        .run()
        .ok();
    assert_eq!(proxy.trips(), CONNECT + 1);
}

#[test]
fn a_migration_is_three_messages() {
    let trips = |count: usize| {
        let (db, folder) = (TestDb::new(&format!("trips_{count}")), Migrations::three());
        upgrade(&db, &folder, &["+1"]).run().ok();
        for number in 0..count {
            let up = format!(
                "create table t{number} (id int);\nalter table t{number} add column x int;\n"
            );
            folder.write(&format!("m4_{number:02}"), &up, "");
        }
        let proxy = Proxy::new(&db);
        upgrade(&db, &folder, &[])
            .env("KINEDB_DATABASE_URL", proxy.url(&db))
            .run()
            .ok();
        proxy.trips()
    };
    let (few, many) = (trips(1), trips(11));
    assert_eq!(many - few, 10 * 3);
    // State, surroundings, is it a pooler, lock, state again; two migrations of the folder and one more.
    assert_eq!(few, CONNECT + 5 + 3 * 3);
}

#[test]
fn a_slow_network_costs_its_round_trips_and_no_more() {
    let (db, folder) = (TestDb::new("a_slow_network"), Migrations::three());
    upgrade(&db, &folder, &[]).run().ok();
    let proxy = Proxy::with(&db, Duration::from_millis(50), None);
    let began = std::time::Instant::now();
    upgrade(&db, &folder, &[])
        .env("KINEDB_DATABASE_URL", proxy.url(&db))
        .run()
        .ok();
    assert!(
        began.elapsed() < Duration::from_millis(400),
        "{:?}",
        began.elapsed()
    );
}
