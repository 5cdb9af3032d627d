//! A proof beside an application that writes all the while: what that commits is no leak.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/migrations.rs"]
mod migrations;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{ISOLATION, TestDb, TestServer, block_on, kinedb};
use kinedb::verify::finding::Verdict;
use kinedb::verify::{self, Config, Options};
use migrations::Migrations;
use sqlx::Executor as _;

/// Notes of three tenants, some of each, a view over them and a function that reads them.
const NOTES: &str = "
create role web;
create table tenants (tenant uuid primary key);
insert into tenants select gen_random_uuid() from generate_series(1, 3);
create table notes (tenant uuid not null references tenants, id int not null, turn int not null default 0, primary key (tenant, id));
insert into notes select tenant, n from tenants, generate_series(1, 50) n;
alter table tenants enable row level security, force row level security;
alter table notes enable row level security, force row level security;
create policy own on tenants using (tenant = (select current_setting('app.tenant')::uuid));
create policy own on notes using (tenant = (select current_setting('app.tenant')::uuid));
grant select on tenants to web;
grant select, insert, update, delete on notes to web;
create view api_notes with (security_invoker = true, security_barrier = true) as select tenant, id, turn from notes;
grant select, insert, update, delete on api_notes to web;
create table labels (tenant uuid not null, id int not null, note int not null, primary key (tenant, id), foreign key (tenant, note) references notes on delete cascade);
alter table labels enable row level security, force row level security;
create policy own on labels using (tenant = (select current_setting('app.tenant')::uuid));
grant select, insert, update, delete on labels to web;
create function turns() returns bigint language sql volatile as 'select sum(turn) from notes';
";

/// An application that changes a row of some tenant again and again.
struct Traffic {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Changes a row of some tenant.
const CHANGE: &str = "update notes set turn = turn + 1 \
     where (tenant, id) = (select tenant, id from notes order by random() limit 1)";

/// Removes rows of each tenant where they are, and otherwise puts them back.
const COME_AND_GO: &str = "do $$ begin delete from notes where id > 40; \
     if not found then insert into notes select tenant, n from tenants, generate_series(41, 50) n; end if; end $$";

impl Traffic {
    fn on(server: &TestServer, db: &TestDb, change: &'static str, pause: Duration) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (server, name, told) = (server.clone(), db.name().to_owned(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            block_on(async {
                let mut conn = server.connect(&name).await;
                while !told.load(Ordering::Relaxed) {
                    conn.execute(change).await.unwrap();
                    std::thread::sleep(pause);
                }
            });
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn what_others_commit_meanwhile_is_no_leak() {
    let server = TestServer::own();
    let db = server.database("meanwhile");
    db.sql(NOTES);
    let config = Config::parse(ISOLATION).unwrap();
    let _traffic = Traffic::on(&server, &db, CHANGE, Duration::from_millis(1));
    for _ in 0..3 {
        let report = block_on(async {
            let mut conn = db.connect().await;
            verify::verify(&mut conn, &config, &Options::default())
                .await
                .unwrap()
        });
        let wrong: Vec<String> = report
            .findings
            .iter()
            .filter(|one| one.verdict != Verdict::Isolated)
            .map(|one| format!("{} {} {}", one.id, one.object, one.detail))
            .collect();
        // What it would write to rows that change under it, it says it could not.
        assert!(
            wrong
                .iter()
                .all(|one| one.starts_with("not-exercised") && one.contains("40001")),
            "{wrong:#?}"
        );
    }
}

/// A session that connects for real is compared with what the verifier counted.
#[test]
fn a_real_login_sees_the_snapshot_that_was_counted_in() {
    let server = TestServer::own();
    let db = server.database("real_login");
    db.sql(NOTES);
    db.sql("alter role web login");
    let url = db.url().replace("postgres@", "web@");
    let config = Config::parse(&format!("{ISOLATION}url = \"{url}\"\n")).unwrap();
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let _traffic = Traffic::on(&server, &db, COME_AND_GO, Duration::ZERO);
    for _ in 0..8 {
        let report = block_on(async {
            let mut conn = db.connect().await;
            verify::verify(&mut conn, &config, &options).await.unwrap()
        });
        let hidden: Vec<&str> = report
            .findings
            .iter()
            .filter(|one| one.id == "own-rows-hidden" || one.id == "foreign-rows-visible")
            .map(|one| one.detail.as_str())
            .collect();
        assert!(hidden.is_empty(), "{hidden:#?}");
    }
}

#[test]
fn a_migration_is_not_refused_for_what_others_commit() {
    let server = TestServer::own();
    let db = server.database("not_refused");
    db.sql(NOTES);
    let numbered: Vec<(String, String)> = (0..6)
        .map(|n| {
            let up = format!(
                "create view notes_{n} with (security_invoker = true, security_barrier = true) as select tenant, id, turn from notes;\n\
                 grant select on notes_{n} to web;\n\
                 create function sum_{n}() returns bigint language sql volatile as 'select sum(turn) from notes';\n\
                 alter table labels add column c{n} int;\n"
            );
            (format!("m{n}_view"), up)
        })
        .collect();
    let list: Vec<(&str, &str, &str)> = numbered
        .iter()
        .map(|(name, up)| (name.as_str(), up.as_str(), ""))
        .collect();
    let folder = Migrations::of(&list);
    let config = folder.path().join("kinedb.toml");
    std::fs::write(&config, ISOLATION).unwrap();
    let _traffic = Traffic::on(&server, &db, CHANGE, Duration::from_millis(2));
    let args = ["upgrade", "--migrations", folder.arg(), "--config"];
    let run = kinedb(args.into_iter().chain(config.to_str()))
        .on(&db)
        .run();
    for false_leak in ["foreign-rows", "view-shows", "function-reaches", "effects-"] {
        assert!(!run.stderr.contains(false_leak), "{}", run.stderr);
    }
    assert!(
        run.status == 0 || run.stderr.contains("40001"),
        "{}",
        run.stderr
    );
}
