//! A database that is probed in portions gets the verdict that it gets as a whole.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use common::{TestDb, TestServer, block_on};
use kinedb::verify::finding::Severity;
use kinedb::verify::{self, Config, Options, Report};

/// A schema and what is told of it.
macro_rules! shape {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../fixtures/shapes/", $name, ".sql")),
            include_str!(concat!("../fixtures/shapes/", $name, ".toml")),
        )
    };
    ($name:literal, bare) => {
        (
            $name,
            include_str!(concat!("../fixtures/shapes/", $name, ".sql")),
            "[isolation]",
        )
    };
}

/// The table that was made last lets every tenant read all of it.
const OPENED: &str = "do $$ declare t regclass; begin \
     select oid into t from pg_class where relrowsecurity and relkind = 'r' order by oid desc limit 1; \
     execute format('create policy opened_to_all on %s for select using (true)', t); end $$";

/// What a trigger writes down, of a table that is far from those who act.
const NOTED: &str = "create table club.noted (wish uuid, club text); \
     create function club.note_wish() returns trigger language plpgsql security definer \
     set search_path = pg_catalog, pg_temp as $$ begin \
     insert into club.noted values (new.id, new.form ->> 'club'); return new; end $$; \
     create trigger note_wish after insert on club.wish for each row execute function club.note_wish()";

fn verified(db: &TestDb, server: &TestServer, toml: &str, at_once: usize) -> Report {
    let config = Config::parse(toml).unwrap();
    let options = Options {
        connect: Some(server.dev().connect_options(db.name())),
        at_once,
        ..Options::default()
    };
    block_on(async {
        let mut conn = db.connect().await;
        verify::verify(&mut conn, &config, &options).await.unwrap()
    })
}

/// What is wrong, and what may be reached: not how it was seen.
fn told(report: &Report) -> BTreeSet<String> {
    let wrong = report
        .findings
        .iter()
        .filter(|one| one.severity != Severity::Note);
    let wrong =
        wrong.map(|one| format!("{} {} {:?} {:?}", one.id, one.object, one.role, one.action));
    let cells = report.matrix.iter().map(|row| format!("{row:?}"));
    wrong.chain(cells).collect()
}

#[test]
fn portions_say_what_the_whole_says() {
    for (name, sql, toml) in [
        shape!("club_desk", bare),
        shape!("hospital_records"),
        shape!("crm_orgs"),
        shape!("role_per_tenant"),
    ] {
        let server = TestServer::own();
        let db = server.database(name);
        db.sql(sql);
        let noted = if name == "club_desk" { NOTED } else { "" };
        for change in [noted, OPENED] {
            db.sql(change);
            let whole = verified(&db, &server, toml, usize::MAX);
            let portions = verified(&db, &server, toml, 3);
            assert_eq!(told(&whole), told(&portions), "{name} {change}");
            assert_eq!(whole.verdict, portions.verdict);
            assert!(
                change != OPENED
                    || told(&portions)
                        .iter()
                        .any(|one| one.contains("rows-visible")),
                "{name}: {:?}",
                told(&portions)
            );
        }
    }
}
