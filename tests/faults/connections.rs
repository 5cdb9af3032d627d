//! Connections that break: ended by an administrator, cut at COMMIT, lost with the
//! server, led through a pooler or without TLS.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Run, TestDb, TestServer, kinedb};
use crate::migrations::Migrations;
use crate::tools::{
    Cut, Ended, Proxy, Running, Session, wait_for_no_session, wait_for_statement, wait_until,
};
use crate::{applied, slow, upgrade};

const END_IT: &str = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'kinedb upgrade' and datname = current_database()";

#[test]
fn a_run_whose_session_is_ended_starts_nothing_more() {
    let (db, folder) = slow("a_run_whose_session_is_ended", "20");
    folder.write(
        "m3_more",
        "create table more (id int);\n",
        "drop table more;\n",
    );
    let run = Running::start(upgrade(&db, &folder, &[]));
    wait_for_statement(&db, "%pg_sleep%");
    db.sql(END_IT);
    let ended = run.end().exits(7);
    assert!(
        ended.stderr.contains("an administrator ended this session"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        (
            applied(&db).as_str(),
            db.value("select to_regclass('half')").as_str()
        ),
        ("m1_rooms", "")
    );
}

#[test]
fn a_session_ended_between_two_migrations_lets_no_second_writer_in() {
    let (db, folder) = slow("a_session_ended_between", "0");
    folder.write(
        "m3_more",
        "create table more (id int);\n",
        "drop table more;\n",
    );
    let run =
        Running::start(upgrade(&db, &folder, &[]).env("KINEDB_FAILPOINT", "after-commit=1000"));
    wait_until("the second migration", Duration::from_secs(10), || {
        applied(&db) == "m1_rooms m2_slow"
    });
    db.sql(END_IT);
    let mut other = Session::named(&db, "other-run");
    wait_until("the lock", Duration::from_secs(5), || {
        other.value("select pg_try_advisory_lock(118100567876706)") == "t"
    });
    let ended = run.end().exits(7);
    assert!(
        ended.stderr.contains("an administrator ended this session")
            && ended.stderr.contains("(connection-lost, exit 7)"),
        "{}",
        ended.stderr
    );
    assert_eq!(applied(&db), "m1_rooms m2_slow");
}

#[test]
fn a_run_that_gave_its_lock_away_starts_nothing_more() {
    let db = TestDb::new("a_run_that_gave_its_lock_away");
    let folder = Migrations::of(&[
        (
            "m1_gives",
            "create table one (id int);\nselect pg_advisory_unlock_all();\n",
            "",
        ),
        ("m2_next", "create table two (id int);\n", ""),
    ]);
    let run = upgrade(&db, &folder, &[]).run().exits(5);
    assert!(
        run.stderr.contains("this run has lost the migration lock"),
        "{}",
        run.stderr
    );
    assert_eq!(applied(&db), "m1_gives");
    assert_eq!(db.value("select to_regclass('two')"), "");
    // The next run takes the lock again.
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1_gives m2_next");
}

#[test]
fn a_cut_during_commit_is_resolved_from_history() {
    for (cut, test) in [
        (Cut::Answer, "a_cut_answer"),
        (Cut::Request, "a_cut_request"),
    ] {
        let (db, folder) = slow(test, "0");
        folder.write(
            "m3_more",
            "create table more (id int);\n",
            "drop table more;\n",
        );
        let proxy = Proxy::with(&db, Duration::ZERO, Some((cut, b"commit\0")));
        let run = upgrade(&db, &folder, &[])
            .env("KINEDB_DATABASE_URL", proxy.url(&db))
            .run()
            .ok();
        assert!(
            run.stdout
                .starts_with("applied 2 migrations; the database is at m3_more"),
            "{}",
            run.stdout
        );
        assert!(
            run.stderr
                .contains("the connection was lost; connecting again"),
            "{}",
            run.stderr
        );
        assert_eq!(applied(&db), "m1_rooms m2_slow m3_more");
        assert_eq!(
            db.value("select string_agg(name, ' ' order by id) from kinedb_history"),
            "m1_rooms m2_slow m3_more"
        );
    }
}

/// Three migrations of tenants' tables, of which the last opens a leak.
fn with_a_leak(db: &TestDb) -> Migrations {
    let role = db.name();
    let table = |name: &str| {
        format!(
            "create table {name} (tenant uuid not null, id int not null, primary key (tenant, id));\n\
             alter table {name} enable row level security, force row level security;\n\
             create policy own on {name} using (tenant = (select current_setting('app.tenant')::uuid));\n\
             grant select, insert, update, delete on {name} to {role};\n"
        )
    };
    let folder = Migrations::of(&[
        (
            "m1_tenants",
            &format!(
                "create role {role};\ncreate table tenants (tenant uuid primary key);\n\
                 insert into tenants select gen_random_uuid() from generate_series(1, 2);\n"
            ),
            "",
        ),
        ("m2_visits", &table("visits"), ""),
        (
            "m3_bills",
            &format!(
                "{}create policy all_of_them on bills for select using (true);\n",
                table("bills")
            ),
            "",
        ),
    ]);
    let config = format!(
        "[isolation]\ntenant_columns = [\"tenant\"]\ntenants = \"select tenant::text from tenants\"\n\
         context = [\"select set_config('app.tenant', :tenant, true)\"]\n\n\
         [[isolation.role]]\nname = \"{role}\"\n"
    );
    std::fs::write(folder.path().join("kinedb.toml"), config).unwrap();
    folder
}

#[test]
fn a_cut_in_the_middle_of_a_proof_ends_in_a_whole_one() {
    for (place, cut) in [Cut::Answer, Cut::Request].into_iter().enumerate() {
        let db = TestDb::new(&format!("a_cut_in_a_proof_{place}"));
        let folder = with_a_leak(&db);
        let probes = b"pg_catalog.set_config('kinedb.program'";
        let proxy = Proxy::with(&db, Duration::ZERO, Some((cut, probes)));
        let run = proven(&db, &folder, &proxy).exits(4);
        assert!(
            run.stderr
                .contains("the connection was lost; connecting again")
                && run.stderr.contains("bills [foreign-rows-visible]"),
            "{}",
            run.stderr
        );
        assert_eq!(applied(&db), "m1_tenants m2_visits");
        assert_eq!(db.value("select to_regclass('bills')"), "");
        forget_role(&db);
    }
}

#[test]
fn a_cut_before_the_first_proof_starts_nothing() {
    let db = TestDb::new("a_cut_before_the_first_proof");
    let folder = with_a_leak(&db);
    let cut = Some((Cut::Answer, &b"function pg_temp.kinedb_probes"[..]));
    let proxy = Proxy::with(&db, Duration::ZERO, cut);
    let run = proven(&db, &folder, &proxy).exits(7);
    assert!(
        run.stderr
            .contains("error: the connection was lost\nHint: "),
        "{}",
        run.stderr
    );
    assert_eq!(db.value("select to_regclass('tenants')"), "");
    // What the hint says.
    proven(&db, &folder, &proxy).exits(4);
    assert_eq!(applied(&db), "m1_tenants m2_visits");
    forget_role(&db);
}

/// Migrates through the proxy, each migration proven.
fn proven(db: &TestDb, folder: &Migrations, proxy: &Proxy) -> Run {
    let config = folder.path().join("kinedb.toml");
    let args = ["upgrade", "--migrations", folder.arg(), "--config"];
    kinedb(args.into_iter().chain(config.to_str()))
        .on(db)
        .env("KINEDB_DATABASE_URL", proxy.url(db))
        .run()
}

/// Drops the role of [`with_a_leak`], which is the server's.
fn forget_role(db: &TestDb) {
    db.sql(&format!("drop owned by {}; drop role {0}", db.name()));
}

/// Three migrations, of which the second has begun when the server crashes.
fn crashed(server: &TestServer, db: &TestDb) -> (Running, Migrations) {
    // It writes what was committed without being written, whenever it likes.
    let writer = "select pid from pg_stat_activity where backend_type = 'walwriter'";
    let writer = Pid::from_raw(db.value(writer).parse().unwrap()).unwrap();
    kill_process(writer, Signal::STOP).unwrap();
    let folder = Migrations::three();
    folder.write(
        "m2_beds",
        "create table beds (id int);\nselect pg_sleep(1);\n",
        "drop table beds;\n",
    );
    let run = Running::start(upgrade(db, &folder, &[]));
    wait_for_statement(db, "%pg_sleep%");
    let status = server.dev().status().unwrap();
    let pid = Pid::from_raw(i32::try_from(status.pid.unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::QUIT).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    // It was told to quit by now, and does so before all else.
    let _ = kill_process(writer, Signal::CONT);
    wait_until("the server to be gone", Duration::from_secs(10), || {
        server
            .dev()
            .status()
            .is_ok_and(|status| status.pid.is_none())
    });
    std::thread::sleep(Duration::from_millis(300));
    (run, folder)
}

/// The same, and the server is back.
fn crashed_and_back(server: &TestServer, db: &TestDb) -> Ended {
    let (run, _folder) = crashed(server, db);
    server.dev().start().unwrap();
    run.end()
}

/// While the server was gone, so was the lock.
#[test]
fn what_another_run_did_after_a_crash_is_not_done_again() {
    let server = TestServer::own();
    let db = server.database("what_another_run_did");
    let (run, folder) = crashed(&server, &db);
    run.signal(Signal::STOP);
    server.dev().start().unwrap();
    upgrade(&db, &folder, &[]).run().ok();
    run.signal(Signal::CONT);
    let ended = run.end().exits(0);
    assert!(
        ended.stdout.contains("applied 1 migration;"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert_eq!(
        db.value("select string_agg(name, ' ' order by id) from kinedb_history"),
        "m1_rooms m2_beds m3_labels"
    );
}

#[test]
fn a_server_that_crashes_and_comes_back_is_waited_for() {
    let server = TestServer::own();
    let db = server.database("a_server_that_crashes");
    let ended = crashed_and_back(&server, &db).exits(0);
    assert!(
        ended
            .stderr
            .contains("the connection was lost; connecting again"),
        "{}",
        ended.stderr
    );
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
    assert_eq!(
        db.value("select string_agg(name, ' ' order by id) from kinedb_history"),
        "m1_rooms m2_beds m3_labels"
    );
}

/// It commits before it writes, or a standby that was behind has taken its place.
#[test]
fn nothing_follows_what_a_server_has_lost() {
    let server = TestServer::own();
    let db = server.database("nothing_follows");
    db.sql("alter system set synchronous_commit = off");
    db.sql("select pg_reload_conf()");
    let ended = crashed_and_back(&server, &db).exits(7);
    assert!(
        ended.stderr.contains(
            "the server came back without `m1_rooms`, which it had committed for this run"
        ),
        "{}",
        ended.stderr
    );
    assert_eq!(db.value("select to_regclass('beds')"), "");
    let folder = Migrations::three();
    upgrade(&db, &folder, &[]).run().ok();
    assert_eq!(applied(&db), "m1_rooms m2_beds m3_labels");
}

#[test]
fn a_server_that_starts_late_is_waited_for_if_one_says_so() {
    let server = TestServer::own();
    let db = server.database("a_server_that_starts_late");
    let folder = Migrations::three();
    server.dev().stop().unwrap();
    let run = upgrade(&db, &folder, &["--wait", "300ms"]).run().exits(7);
    assert!(
        run.stderr.contains("it has no socket there"),
        "{}",
        run.stderr
    );
    let run = Running::start(upgrade(&db, &folder, &["--wait", "30s"]));
    std::thread::sleep(Duration::from_millis(800));
    server.dev().start().unwrap();
    run.end().exits(0);
}

#[test]
fn a_server_without_tls_beyond_this_machine_is_refused() {
    let db = TestDb::new("a_server_without_tls");
    let Some(address) = own_address() else {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return;
    };
    let proxy = Proxy::on(&address, &db, Duration::ZERO, None);
    let url = format!(
        "postgres://postgres@{address}:{}/{}",
        proxy.port(),
        db.name()
    );
    let run = kinedb(["status"]).env("DATABASE_URL", &url).run().exits(7);
    assert!(run.stderr.contains("(tls, exit 7)"), "{}", run.stderr);
    kinedb(["status"])
        .env("DATABASE_URL", format!("{url}?sslmode=disable"))
        .run()
        .ok();
    kinedb(["status"])
        .env("DATABASE_URL", &url)
        .env("PGSSLMODE", "disable")
        .run()
        .ok();
}

/// An address of this machine by which others would reach it.
fn own_address() -> Option<String> {
    // Nothing is sent: connecting a datagram socket only chooses the address.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}

/// A PgBouncer in transaction mode before the server of a database.
struct Bouncer {
    process: Running,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Bouncer {
    fn before(db: &TestDb, mode: &str) -> Option<Self> {
        let found = Command::new("pgbouncer").arg("--version").output();
        if found.is_err() {
            eprintln!("SKIPPED: no pgbouncer here; `apt-get install pgbouncer` to run this test");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let ini = format!(
            "[databases]\n* = host={socket} port=5432\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\nmax_client_conn = 50\ndefault_pool_size = 4\nignore_startup_parameters = extra_float_digits\nlogfile = {log}\n",
            socket = db.server().dev().socket_folder().display(),
            log = folder.path().join("log").display(),
        );
        let ini = ini.replace("[databases]\n* =", "[databases]\n* = user=postgres");
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, ini).unwrap();
        let mut command = Command::new("pgbouncer");
        if rustix::process::geteuid().is_root() {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))
                .unwrap();
            command.args(["-u", "postgres"]);
        }
        let process = Running::spawn(command.arg(&file));
        wait_until("the pooler", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Self {
            process,
            _folder: folder,
            port,
        })
    }

    fn url(&self, db: &TestDb) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{}?sslmode=disable",
            self.port,
            db.name()
        )
    }
}

#[test]
fn a_pooler_of_transactions_is_refused_or_used_with_care() {
    let (db, folder) = slow("a_pooler_of_transactions", "0.3");
    let Some(mut pooler) = Bouncer::before(&db, "transaction") else {
        return;
    };
    let url = pooler.url(&db);
    let run = upgrade(&db, &folder, &[])
        .env("KINEDB_DATABASE_URL", &url)
        .run()
        .exits(11);
    insta::assert_snapshot!(run.normal(), @r#"
    exit 11
    --- stderr
    database `a_pooler_of_transactions` on `127.0.0.1:[port]` as `postgres`
    error: `127.0.0.1:[port]` is a pooler that gives one server session to several clients; locks and settings of a session leak there
    Hint: connect to the server itself or to a session pool, or accept locks of transactions with `--allow-pooler`
    (pooler, exit 11)
    "#);
    assert_eq!(applied(&db), "m1_rooms");
    // Two at once, each in locks of transactions only.
    let start = || {
        Running::start(upgrade(&db, &folder, &["--allow-pooler"]).env("KINEDB_DATABASE_URL", &url))
    };
    let (one, two) = (start(), start());
    for ended in [one.end().exits(0), two.end().exits(0)] {
        assert!(!ended.stderr.contains("error"), "{}", ended.stderr);
    }
    assert_eq!(
        db.value("select string_agg(name, ' ' order by id) from kinedb_history"),
        "m1_rooms m2_slow"
    );
    // Nothing of it stays in the sessions that the next client gets.
    assert_eq!(db.value("select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"), "0");
    folder.write(
        "m3_index",
        "-- kinedb: no-transaction\ncreate index concurrently by_id on half (id);\n",
        "",
    );
    let run = upgrade(&db, &folder, &["--allow-pooler"])
        .env("KINEDB_DATABASE_URL", &url)
        .run()
        .exits(11);
    assert!(
        run.stderr
            .contains("which no pooler of transactions allows"),
        "{}",
        run.stderr
    );
    assert!(pooler.process.goes_on());
}

#[test]
fn a_pooler_of_sessions_is_as_good_as_the_server() {
    let (db, folder) = slow("a_pooler_of_sessions", "0");
    let Some(pooler) = Bouncer::before(&db, "session") else {
        return;
    };
    upgrade(&db, &folder, &[])
        .env("KINEDB_DATABASE_URL", pooler.url(&db))
        .run()
        .ok();
    assert_eq!(applied(&db), "m1_rooms m2_slow");
    drop(pooler);
    wait_for_no_session(&db);
}
