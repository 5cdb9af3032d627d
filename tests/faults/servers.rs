//! Servers that cannot: read-only, standby, full, without the rights; names that
//! are hostile; a bug in a migration.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{TestDb, TestServer, kinedb};
use crate::migrations::Migrations;
use crate::tools::Running;
use crate::{applied, slow, upgrade};

/// Where `pg_dump` and its kin lie.
pub fn programs() -> PathBuf {
    let psql = TestServer::shared()
        .dev()
        .psql("postgres", [""; 0])
        .unwrap();
    Path::new(psql.get_program()).parent().unwrap().to_owned()
}

#[test]
fn a_database_that_is_read_only_is_left_alone() {
    let (db, folder) = slow("a_database_that_is_read_only", "0");
    db.sql(&format!(
        "alter database {} set default_transaction_read_only = on",
        db.name()
    ));
    let run = upgrade(&db, &folder, &[]).run().exits(10);
    insta::assert_snapshot!(run.normal(), @r#"
    exit 10
    --- stderr
    database `a_database_that_is_read_only` on `[server]/socket` as `postgres`
    error: the server, database or user is set to read-only transactions
    Hint: connect to the primary, or see `show default_transaction_read_only`
    (read-only, exit 10)
    "#);
    upgrade(&db, &folder, &["--check"]).run().exits(3);
    let role = "create role reading login superuser; alter role reading set default_transaction_read_only = on";
    let (other, folder) = slow("a_role_that_is_read_only", "0");
    other.sql(role);
    let run = kinedb(["upgrade", "--migrations", folder.arg()])
        .on_as(&other, "reading")
        .run()
        .exits(10);
    assert!(
        run.stderr.contains("(read-only, exit 10)"),
        "{}",
        run.stderr
    );
    other.sql("drop role reading");
}

#[test]
fn a_standby_is_refused_before_a_lock_is_taken() {
    let primary = TestServer::own();
    let db = primary.database("a_standby_is_refused");
    let folder = Migrations::three();
    upgrade(&db, &folder, &["+1"]).run().ok();
    // Replication is a database of its own to the server's list of who may come in.
    let access = primary.dev().folder().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&access).unwrap();
    std::fs::write(access, format!("{rules}\nlocal replication all trust\n")).unwrap();
    db.sql("select pg_reload_conf()");
    let Some(standby) = Standby::of(&primary) else {
        return;
    };
    let url = standby.url(db.name());
    let run = upgrade(&db, &folder, &[])
        .env("KINEDB_DATABASE_URL", &url)
        .run()
        .exits(10);
    assert!(
        run.stderr.contains("the server is a standby"),
        "{}",
        run.stderr
    );
    kinedb(["status", "--migrations", folder.arg()])
        .env("DATABASE_URL", &url)
        .run()
        .ok();
    kinedb(["history", "--migrations", folder.arg()])
        .env("DATABASE_URL", &url)
        .run()
        .ok();
}

/// A hot standby, made by pg_basebackup.
struct Standby {
    folder: tempfile::TempDir,
    _process: Running,
}

impl Standby {
    fn of(primary: &TestServer) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let as_server = |command: &mut Command| {
            if rustix::process::geteuid().is_root() {
                use std::os::unix::process::CommandExt;
                // PostgreSQL refuses root: its files belong to whom the primary's do.
                let owner = std::fs::metadata(primary.dev().folder().join("data")).unwrap();
                use std::os::unix::fs::MetadataExt;
                std::os::unix::fs::chown(folder.path(), Some(owner.uid()), Some(owner.gid()))
                    .unwrap();
                command.uid(owner.uid()).gid(owner.gid());
            }
            command.current_dir("/");
        };
        let mut backup = Command::new(programs().join("pg_basebackup"));
        backup
            .args([
                "-h",
                primary.dev().socket_folder().to_str()?,
                "-U",
                "postgres",
                "-R",
                "-c",
                "fast",
                "-D",
            ])
            .arg(&data);
        as_server(&mut backup);
        let Ok(done) = backup.output() else {
            eprintln!("SKIPPED: no pg_basebackup here");
            return None;
        };
        let told = String::from_utf8_lossy(&done.stderr);
        if told.contains("incompatible server version") {
            eprintln!("SKIPPED: no pg_basebackup of this server's version here");
            return None;
        }
        assert!(done.status.success(), "pg_basebackup: {told}");
        let mut server = Command::new(programs().join("postgres"));
        server
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "hot_standby=on", "-k"])
            .arg(folder.path());
        as_server(&mut server);
        let mut process = Running::spawn(&mut server);
        crate::tools::wait_until("the standby", std::time::Duration::from_secs(20), || {
            assert!(process.goes_on(), "the standby ended");
            Command::new(programs().join("psql"))
                .args(["-XAtc", "select 1", "-U", "postgres", "-h"])
                .arg(folder.path())
                .output()
                .is_ok_and(|answer| answer.status.success())
        });
        Some(Self {
            folder,
            _process: process,
        })
    }

    fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{folder}:5432/{database}")
    }
}

#[test]
fn a_full_disk_is_told_and_rolled_back() {
    let server = TestServer::own();
    let db = server.database("a_full_disk");
    let Some(disk) = SmallDisk::new(&db) else {
        return;
    };
    db.sql(&format!(
        "create tablespace small location '{}'",
        disk.folder.path().display()
    ));
    let folder = Migrations::of(&[("m1_rooms", "create table rooms (id int);\n", "")]);
    folder.write("m2_big", "create table big tablespace small as select repeat(md5(i::text), 50) as x from generate_series(1, 20000) i;\n", "drop table big;\n");
    let run = upgrade(&db, &folder, &[]).run().exits(13);
    assert!(run.stderr.contains("(SQLSTATE 53100)"), "{}", run.stderr);
    assert!(
        run.stderr
            .contains("the server's disk is full: free space there"),
        "{}",
        run.stderr
    );
    assert_eq!(
        (
            applied(&db).as_str(),
            db.value("select to_regclass('big')").as_str()
        ),
        ("m1_rooms", "")
    );
    folder.write(
        "m2_big",
        "create table big (id int) tablespace small;\n",
        "drop table big;\n",
    );
    upgrade(&db, &folder, &[]).run().ok();
    db.sql("drop table big");
    db.sql("drop tablespace small");
}

/// A file system of eight megabytes; only root may mount one.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new(db: &TestDb) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder.path());
        if !mount.output().is_ok_and(|done| done.status.success()) {
            eprintln!("SKIPPED: a small disk needs the right to mount one");
            return None;
        }
        let owner = std::fs::metadata(db.server().dev().folder().join("data")).unwrap();
        std::os::unix::fs::chown(folder.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
        Some(Self { folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .output();
    }
}

/// Whoever a migration becomes, it is recorded and followed by who runs it.
#[test]
fn a_migration_that_becomes_somebody_else_is_the_only_one_to_be_him() {
    let server = TestServer::own();
    let db = server.database("somebody_else");
    db.sql("create role keeper; create schema his authorization keeper");
    let up = |name: &str| format!("create table his.{name} (id int);\n");
    let folder = Migrations::of(&[
        (
            "m1_his",
            &format!("set session authorization keeper;\n{}", up("one")),
            "",
        ),
        ("m2_mine", &up("two"), ""),
        (
            "m3_apart",
            "-- kinedb: no-transaction\nset session authorization keeper;\ncreate index concurrently one_by_id on his.one (id);\n",
            "",
        ),
        ("m4_mine", &up("three"), ""),
    ]);
    kinedb(["upgrade", "--gate", "off", "--migrations", folder.arg()])
        .on(&db)
        .run()
        .ok();
    assert_eq!(
        db.value(
            "select string_agg(tablename || ' ' || tableowner, ', ' order by tablename) from pg_tables where schemaname = 'his'"
        ),
        "one keeper, three postgres, two postgres"
    );
}

#[test]
fn missing_rights_are_one_list_with_the_grants() {
    let server = TestServer::own();
    let db = server.database("missing_rights");
    db.sql("create role plain login; create role keeper; create table kept (id int); alter table kept owner to keeper");
    let folder = Migrations::of(&[(
        "m1_all",
        "create role made_here;\ncreate schema apart;\nset local role keeper;\nalter table kept add column x int;\nreset role;\nalter table public.kept add column y int;\n",
        "",
    )]);
    let upgrade = || {
        kinedb(["upgrade", "--gate", "off", "--migrations", folder.arg()])
            .on_as(&db, "plain")
            .run()
    };
    let run = upgrade().exits(7);
    insta::assert_snapshot!(run.normal(), @r#"
    exit 7
    --- stderr
    database `missing_rights` on `[server]/socket` as `plain`
    error: user `plain` lacks what these migrations need; nothing was changed:
      CREATE on schema public, for the tables of history
      CREATEROLE, to make roles
      CREATE on this database, to make a schema
      membership in role keeper, as which they act
      ownership of table kept, which belongs to keeper
    Hint: as an administrator of that database:
      grant create on schema public to plain;
      alter role plain createrole;
      grant create on database missing_rights to plain;
      grant keeper to plain;
    (privilege, exit 7)
    "#);
    assert_eq!(db.value("select to_regclass('kinedb_history')"), "");
    // What the hint says is what it takes.
    let (_, hint) = run.stderr.split_once("Hint:").unwrap();
    let grants: Vec<&str> = hint
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with(';'))
        .collect();
    db.sql(&grants.concat());
    upgrade().ok();
    assert_eq!(applied(&db), "m1_all");
}

#[test]
fn a_later_deploy_without_membership_is_told_what_to_grant() {
    let server = TestServer::own();
    let db = server.database("a_later_deploy");
    kinedb(["upgrade", "+1", "--gate", "off"])
        .on(&db)
        .run()
        .ok();
    db.sql("create role deploy login");
    let run = kinedb(["upgrade", "--gate", "off"])
        .on_as(&db, "deploy")
        .run()
        .exits(7);
    assert!(run.stderr.contains("grant"), "{}", run.stderr);
    assert_eq!(db.value("select count(*) from kinedb_history"), "1");
}

#[test]
fn a_bug_inside_a_migration_rolls_back_and_tells_no_secret() {
    let (db, folder) = slow("a_bug_inside_a_migration", "0");
    let run = upgrade(&db, &folder, &[])
        .env("KINEDB_FAILPOINT", "in-transaction=panic")
        .env("RUST_BACKTRACE", "1")
        .env("PGPASSWORD", "c4n4ry")
        .run()
        .exits(1);
    assert!(
        run.stderr.contains("internal error (a bug)"),
        "{}",
        run.stderr
    );
    assert!(
        !run.stderr.contains("secret")
            && !run.stderr.contains("c4n4ry")
            && !run.stderr.contains("postgres://"),
        "{}",
        run.stderr
    );
    crate::tools::wait_for_no_session(&db);
    assert_eq!(
        (
            applied(&db).as_str(),
            db.value("select to_regclass('half')").as_str()
        ),
        ("m1_rooms", "")
    );
}

#[test]
fn hostile_names_work_and_inject_nothing() {
    let server = TestServer::own();
    let db = server.database("hostile_names");
    let long = "n".repeat(63);
    let names = [
        "select",
        "Mixed Case",
        "dot.ted",
        "quo\"te",
        "semi;colon",
        "été",
        "$dollar$",
        "-- comment",
        long.as_str(),
    ];
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (mut up, mut down) = (String::new(), String::new());
    for name in names {
        let q = quoted(name);
        up.push_str(&format!(
            "create schema {q}; create table {q}.{q} ({q} int); insert into {q}.{q} values (1);\n"
        ));
        down.push_str(&format!("drop table {q}.{q}; drop schema {q};\n"));
    }
    let folder = Migrations::of(&[("m1_it's a \"test\"; drop table x; --", &up, &down)]);
    let run = |args: &[&str]| {
        kinedb(args.iter().chain(&["--migrations", folder.arg()]))
            .on(&db)
            .run()
    };
    run(&["upgrade", "--gate", "off"]).ok();
    run(&["status"]).ok();
    run(&["history", "-v"]).ok();
    run(&["show", "m1"]).ok();
    let refused = run(&["downgrade", "base", "--gate", "off"]).exits(12);
    for name in names {
        assert!(
            refused.stderr.contains(name) || refused.stderr.contains(&name.replace('"', "\"\"")),
            "{name}: {}",
            refused.stderr
        );
    }
    let index = format!(
        "-- kinedb: no-transaction\ncreate index concurrently {i} on {s}.{s} ({s});\n",
        i = quoted("In\"dex; --"),
        s = quoted("quo\"te")
    );
    folder.write(
        "m2_index",
        &index,
        "-- kinedb: no-transaction\ndrop index concurrently \"quo\"\"te\".\"In\"\"dex; --\";\n",
    );
    let killed = kinedb(["upgrade", "--gate", "off", "--migrations", folder.arg()])
        .on(&db)
        .env("KINEDB_FAILPOINT", "before-step-record=kill");
    killed.run().exits(137);
    run(&["upgrade", "--gate", "off"]).ok();
    run(&[
        "downgrade",
        "base",
        "--gate",
        "off",
        "--accept-data-loss",
        db.name(),
    ])
    .ok();
    assert_eq!(db.value("select count(*) from pg_namespace where nspname !~ '^pg_' and nspname not in ('public', 'information_schema')"), "0");
}
