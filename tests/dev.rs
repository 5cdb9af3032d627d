//! The local server: each state that a laptop can leave it in.

// Helpers are not test functions, where these are allowed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Guard, TestServer, block_on, test_programs};
use kinedb::db::ident::Ident;
use kinedb::dev::{DevServer, OLDEST_MAJOR, State, template};
use kinedb::fault::{Code, Fault};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

/// A place for a server, cleared away after the test.
struct Place {
    dev: DevServer,
    _guard: Guard,
}

impl Place {
    fn new() -> Self {
        Self::of(TestServer::place())
    }

    fn of(dev: DevServer) -> Self {
        let _guard = Guard::over(dev.folder(), dev.socket_folder());
        Self { dev, _guard }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dev.folder().join(name)
    }

    /// Runs SQL in database `postgres`; the first value of the first row.
    fn sql(&self, sql: &str) -> String {
        let sql = AssertSqlSafe(sql.to_owned());
        block_on(async {
            let mut conn = self
                .dev
                .connect_options("postgres")
                .connect()
                .await
                .unwrap();
            let rows = sqlx::raw_sql(sql).fetch_all(&mut conn).await.unwrap();
            rows.first().map_or_else(String::new, |row| {
                row.try_get_raw(0).unwrap().as_str().unwrap().to_owned()
            })
        })
    }

    /// Kills the server as a power cut would, and waits for its processes.
    fn crash(&self) {
        let pid = self.dev.status().unwrap().pid.unwrap();
        signal(pid, rustix::process::Signal::KILL);
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
        let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Code, sentence and hint of what must have failed.
fn refusal<T: std::fmt::Debug>(result: anyhow::Result<T>) -> (Code, String, String) {
    let error = result.expect_err("this must be refused");
    let fault = Fault::of(&error).unwrap_or_else(|| panic!("no fault in: {error:#}"));
    (
        fault.code(),
        format!("{error:#}"),
        fault.hint_text().expect("a hint").to_owned(),
    )
}

fn settings_of(place: &Place) -> (String, String) {
    (
        place.sql("show listen_addresses"),
        place.sql("select rolsuper::text || ' ' || current_user from pg_roles where rolname = current_user"),
    )
}

#[test]
fn the_first_start_makes_it_and_the_next_finds_it() {
    let place = Place::new();
    assert_eq!(place.dev.status().unwrap().state, State::Absent);
    let first = place.dev.start().unwrap();
    assert!(first.fresh && !first.already_running);
    let second = place.dev.start().unwrap();
    assert!(!second.fresh && second.already_running);
    assert_eq!(first.pid, second.pid);
    let status = place.dev.status().unwrap();
    assert_eq!(
        (status.state, status.pid),
        (State::Running, Some(first.pid))
    );
    assert!(status.major.unwrap() >= OLDEST_MAJOR);
}

#[test]
fn nothing_but_the_closed_socket_reaches_it() {
    let place = Place::new();
    place.dev.start().unwrap();
    let (addresses, user) = settings_of(&place);
    assert_eq!((addresses.as_str(), user.as_str()), ("", "true postgres"));
    let sockets = std::fs::metadata(place.dev.socket_folder()).unwrap();
    assert_eq!(sockets.mode() & 0o777, 0o700);
    assert_eq!(
        place.sql("select count(*) from pg_hba_file_rules where type <> 'local'"),
        "0"
    );
    assert_eq!(place.sql("show server_encoding"), "UTF8");
    assert_eq!(place.sql("select upper('\u{e9}')"), "\u{c9}");
}

#[test]
fn finding_it_running_needs_no_programs() {
    let place = Place::new();
    place.dev.start().unwrap();
    let blind = place.dev.clone().with_programs("/no/such/folder");
    assert!(blind.start().unwrap().already_running);
}

#[test]
fn a_stop_ends_the_process_and_keeps_the_data() {
    let place = Place::new();
    let pid = place.dev.start().unwrap().pid;
    place.sql("create table kept (x int)");
    assert!(place.dev.stop().unwrap());
    let gone = rustix::process::test_kill_process(
        rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
    );
    assert_eq!(gone, Err(rustix::io::Errno::SRCH));
    assert_eq!(place.dev.status().unwrap().state, State::Stopped);
    assert!(!place.dev.stop().unwrap());
    assert!(!place.dev.start().unwrap().fresh);
    assert_eq!(place.sql("select to_regclass('kept')"), "kept");
}

#[test]
fn threads_that_start_it_at_once_get_one_server() {
    let place = Place::new();
    let barrier = std::sync::Barrier::new(8);
    let started: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    place.dev.start().unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(started.iter().filter(|s| s.fresh).count(), 1);
    assert_eq!(started.iter().filter(|s| s.already_running).count(), 7);
    assert!(started.iter().all(|s| s.pid == started[0].pid));
}

/// Not a test: what others run as a process of its own, in a state that threads
/// cannot have. Prints what came of it as one line.
#[test]
#[ignore = "run by other tests as a process"]
fn helper() {
    let Some(task) = std::env::var_os("KINEDB_TEST_TASK") else {
        return;
    };
    let named = std::env::var_os("KINEDB_TEST_FOLDER").map(PathBuf::from);
    let outcome = DevServer::locate(named.as_deref()).and_then(|dev| {
        let dev = match std::env::var_os("KINEDB_TEST_TEMPLATES") {
            Some(templates) => dev.with_templates(templates),
            None => dev,
        };
        if task == "locate" {
            return Ok(format!("{} {:?}", dev.folder().display(), dev.instead_of()));
        }
        let started = dev.start()?;
        if task == "round" {
            let psql = dev
                .psql("postgres", ["-XAtc", "select current_user"])?
                .output()?;
            dev.stop()?;
            return Ok(format!(
                "{} {}",
                started.fresh,
                String::from_utf8_lossy(&psql.stdout)
            ));
        }
        Ok(format!("{} {}", started.fresh, started.pid))
    });
    match outcome {
        Ok(line) => println!("\noutcome={line}"),
        Err(error) => println!("\noutcome=failed: {error:#}"),
    }
}

fn helper_command(program: &Path, task: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "helper", "--ignored", "--nocapture"])
        .env("KINEDB_TEST_TASK", task)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(bin) = test_programs() {
        command.env("KINEDB_PG_BIN", bin);
    }
    command
}

fn helper_on(place: &Place, task: &str) -> Command {
    let mut command = helper_command(&std::env::current_exe().unwrap(), task);
    command.env("KINEDB_TEST_FOLDER", place.dev.folder()).env(
        "KINEDB_TEST_TEMPLATES",
        common::target_tmp().join("templates"),
    );
    command
}

fn outcome(child: Child) -> String {
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("outcome="))
        .unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&out.stderr)))
        .to_owned()
}

#[test]
fn processes_that_start_it_at_once_get_one_server() {
    let place = Place::new();
    let children: Vec<Child> = (0..8)
        .map(|_| helper_on(&place, "start").spawn().unwrap())
        .collect();
    let outcomes: Vec<String> = children.into_iter().map(outcome).collect();
    let pid = place.dev.status().unwrap().pid.unwrap();
    let made = outcomes
        .iter()
        .filter(|o| **o == format!("true {pid}"))
        .count();
    let found = outcomes
        .iter()
        .filter(|o| **o == format!("false {pid}"))
        .count();
    assert_eq!((made, found), (1, 7), "{outcomes:?}");
}

/// A process of the server's own user, which PostgreSQL would take for a server.
fn bystander(place: &Place) -> Child {
    let owner = std::fs::metadata(place.path("data")).unwrap();
    let mut command = Command::new("sleep");
    command.arg("60").current_dir("/");
    if is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.spawn().unwrap()
}

fn name_in_pid_file(place: &Place, pid: u32) {
    let file = place.path("data/postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&file, format!("{pid}\n{rest}")).unwrap();
}

#[test]
fn a_pid_that_another_program_got_does_not_stop_it() {
    let place = Place::new();
    place.dev.start().unwrap();
    place.sql("create table kept (x int)");
    place.crash();
    let mut other = bystander(&place);
    name_in_pid_file(&place, other.id());
    assert_eq!(place.dev.status().unwrap().state, State::Stopped);
    assert!(!place.dev.stop().unwrap(), "it must not stop a bystander");
    assert!(other.try_wait().unwrap().is_none());
    assert!(!place.dev.start().unwrap().fresh);
    assert_eq!(place.sql("select to_regclass('kept')"), "kept");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_server_that_died_and_was_not_collected_does_not_stop_it() {
    let place = Place::new();
    let pid = place.dev.start().unwrap().pid;
    // Not waited for: it stays a zombie, as below a container's first process.
    signal(pid, rustix::process::Signal::KILL);
    let since = Instant::now();
    while place.dev.status().unwrap().state != State::Stopped {
        assert!(since.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(
        rustix::process::test_kill_process(
            rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
        ),
        Ok(()),
        "it must still be there as a zombie"
    );
    assert_ne!(place.dev.start().unwrap().pid, pid);
    assert_eq!(place.sql("select 1"), "1");
}

#[test]
fn a_left_over_socket_lock_does_not_stop_it() {
    let place = Place::new();
    place.dev.start().unwrap();
    place.dev.stop().unwrap();
    let mut other = bystander(&place);
    let sockets = place.dev.socket_folder();
    let lock = format!(
        "{}\n/elsewhere\n0\n5432\n{}\n",
        other.id(),
        sockets.display()
    );
    std::fs::write(sockets.join(".s.PGSQL.5432.lock"), lock).unwrap();
    std::fs::write(sockets.join(".s.PGSQL.5432"), "").unwrap();
    place.dev.start().unwrap();
    assert_eq!(place.sql("select 1"), "1");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_pid_file_cut_off_while_written_does_not_stop_it() {
    let place = Place::new();
    place.dev.start().unwrap();
    place.dev.stop().unwrap();
    std::fs::write(place.path("data/postmaster.pid"), "").unwrap();
    place.dev.start().unwrap();
    assert_eq!(place.sql("select 1"), "1");
}

#[test]
fn a_data_folder_deleted_under_it_is_made_anew() {
    let place = Place::new();
    let lost = place.dev.start().unwrap().pid;
    std::fs::remove_dir_all(place.path("data")).unwrap();
    let started = place.dev.start().unwrap();
    assert!(started.fresh);
    assert_ne!(started.pid, lost);
    assert_eq!(place.sql("select 1"), "1");
}

#[test]
fn a_killed_initdb_is_recovered_from() {
    let place = Place::new();
    let templates = place.path("none");
    let mut run = helper_on(&place, "start")
        .env("KINEDB_TEST_TEMPLATES", &templates)
        .spawn()
        .unwrap();
    let half_made = || {
        std::fs::read_dir(place.dev.folder())
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with("data.tmp-"))
            .filter(|entry| entry.path().join("base").exists())
    };
    let since = Instant::now();
    while half_made().is_none() {
        assert!(since.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(!place.path("data").exists(), "killed too late");
    assert!(place.dev.start().unwrap().fresh);
    assert!(half_made().is_none());
    assert_eq!(place.sql("select 1"), "1");
}

/// A folder as `mktemp -d` makes it: closed to all but its maker.
fn closed_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

#[test]
fn a_folder_that_the_servers_user_cannot_enter_is_named() {
    let closed = closed_folder();
    let wished = closed.path().join("a/b");
    if is_root() {
        let (code, sentence, hint) = refusal(DevServer::locate(Some(&wished)));
        assert_eq!(code, Code::BadDevFolder);
        assert!(
            sentence.contains(&format!("cannot enter `{}`", closed.path().display())),
            "{sentence}"
        );
        assert!(
            hint.contains(&format!("chmod o+x {}", closed.path().display())),
            "{hint}"
        );
        assert!(!wished.exists());
    } else {
        std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
        let (code, sentence, _) = refusal(TestServer::at(&wished).start());
        assert_eq!(code, Code::BadDevFolder);
        assert!(
            sentence.contains(&wished.display().to_string()),
            "{sentence}"
        );
        std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_project_that_the_servers_user_cannot_enter_gets_another_folder() {
    let home = closed_folder();
    let project = home.path().canonicalize().unwrap();
    std::fs::write(project.join("Cargo.toml"), "").unwrap();
    std::fs::create_dir_all(project.join("migration/src")).unwrap();
    let locate = || {
        let child = helper_command(&std::env::current_exe().unwrap(), "locate")
            .current_dir(project.join("migration/src"))
            .spawn();
        outcome(child.unwrap())
    };
    let own = project.join(".kinedb");
    if is_root() {
        let chosen = locate();
        assert!(chosen.starts_with("/var/lib/kinedb/"), "{chosen}");
        assert!(chosen.ends_with(&format!("Some({own:?})")), "{chosen}");
        std::fs::set_permissions(&project, std::fs::Permissions::from_mode(0o711)).unwrap();
    }
    assert_eq!(locate(), format!("{} None", own.display()));
}

#[test]
fn an_empty_folder_closed_by_mktemp_is_opened_for_the_server() {
    let folder = closed_folder();
    let place = Place::of(TestServer::at(folder.path()));
    place.dev.start().unwrap();
    assert_eq!(place.sql("select 1"), "1");
}

/// A folder with fake programs, which everybody can enter.
fn programs(postgres: Option<&str>, initdb: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    if let Some(says) = postgres {
        write("postgres", &format!("#!/bin/sh\necho '{says}'\n"));
    }
    if initdb {
        write("initdb", "#!/bin/sh\nexit 1\n");
    }
    folder
}

#[test]
fn programs_that_are_missing_old_or_strange_are_refused() {
    for (postgres, initdb, said) in [
        (None, true, "holds no program `postgres`"),
        (
            Some("postgres (PostgreSQL) 17.2"),
            false,
            "holds no program `initdb`",
        ),
        (
            Some("postgres (PostgreSQL) 14.11 (Debian)"),
            true,
            "PostgreSQL 14.11 (Debian) in",
        ),
        (Some("hello"), true, "says `hello`"),
    ] {
        let place = Place::new();
        let bin = programs(postgres, initdb);
        let (code, sentence, hint) = refusal(place.dev.clone().with_programs(bin.path()).start());
        assert_eq!(code, Code::NoPostgres);
        assert!(sentence.contains(said), "{sentence}");
        assert_eq!(hint, kinedb::dev::install_hint());
        assert!(!place.path("data").exists());
    }
}

#[test]
fn programs_that_the_servers_user_cannot_reach_are_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let bin = programs(Some("postgres (PostgreSQL) 17.2"), true);
    std::fs::set_permissions(bin.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (code, sentence, _) = refusal(place.dev.clone().with_programs(bin.path()).start());
    assert_eq!(code, Code::NoPostgres);
    assert!(sentence.contains("who cannot enter"), "{sentence}");
}

#[test]
fn a_failing_initdb_is_heard() {
    let place = Place::new();
    let bin = programs(Some("postgres (PostgreSQL) 17.2"), true);
    std::fs::write(
        bin.path().join("initdb"),
        "#!/bin/sh\necho 'initdb: error: could not write: No space left on device' >&2; exit 1\n",
    )
    .unwrap();
    let (code, sentence, hint) = refusal(
        place
            .dev
            .clone()
            .with_programs(bin.path())
            .with_templates(place.path("none"))
            .start(),
    );
    assert_eq!(code, Code::DevServerFailed);
    assert!(sentence.contains("No space left on device"), "{sentence}");
    assert!(hint.contains("free some space"), "{hint}");
    assert!(!place.path("data").exists());
}

#[test]
fn a_path_too_long_for_a_socket_gets_a_short_one() {
    let base = TestServer::place();
    let long = base.folder().join("d".repeat(60)).join("e".repeat(60));
    let place = Place::of(TestServer::at(&long));
    let sockets = place.dev.socket_folder().to_path_buf();
    assert!(
        sockets.starts_with("/tmp") && sockets.as_os_str().len() < 60,
        "{sockets:?}"
    );

    // Somebody else was there first, and left the door open.
    std::fs::create_dir(&sockets).unwrap();
    std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, sentence, _) = refusal(place.dev.start());
    assert_eq!(code, Code::BadDevFolder);
    assert!(
        sentence.contains(&sockets.display().to_string()),
        "{sentence}"
    );
    std::fs::remove_dir(&sockets).unwrap();

    // Or a link to a folder of ours.
    let target = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(target.path(), &sockets).unwrap();
    assert_eq!(refusal(place.dev.start()).0, Code::BadDevFolder);
    std::fs::remove_file(&sockets).unwrap();

    place.dev.start().unwrap();
    assert_eq!(place.sql("select 1"), "1");
    assert_eq!(std::fs::metadata(&sockets).unwrap().mode() & 0o777, 0o700);
    assert!(place.dev.reset().unwrap());
    assert!(!sockets.exists());
    std::fs::remove_dir_all(base.folder()).unwrap();
}

#[test]
fn a_reset_deletes_ours_and_nothing_else() {
    let place = Place::new();
    place.dev.start().unwrap();
    place.sql("create table gone (x int)");
    assert!(place.dev.reset().unwrap());
    assert_eq!(place.dev.status().unwrap().state, State::Absent);
    assert!(!place.dev.reset().unwrap());
    assert!(place.dev.start().unwrap().fresh);
    assert_eq!(place.sql("select to_regclass('gone') is null"), "t");

    let foreign = tempfile::tempdir().unwrap();
    std::fs::create_dir(foreign.path().join("data")).unwrap();
    std::fs::write(foreign.path().join("data/thesis.tex"), "years of work").unwrap();
    let dev = TestServer::at(foreign.path());
    for result in [dev.reset(), dev.stop(), dev.start().map(|_| true)] {
        let (code, sentence, _) = refusal(result);
        assert_eq!(code, Code::BadDevFolder);
        assert!(
            sentence.contains(&foreign.path().display().to_string()),
            "{sentence}"
        );
    }
    assert!(foreign.path().join("data/thesis.tex").exists());
    assert_eq!(std::fs::read_dir(foreign.path()).unwrap().count(), 1);
    // Its name alone does not make a folder ours.
    std::fs::write(foreign.path().join("kinedb-dev.lock"), "something else").unwrap();
    assert_eq!(refusal(dev.reset()).0, Code::BadDevFolder);
}

#[test]
fn the_end_of_the_log_is_shown_when_it_does_not_start() {
    let place = Place::new();
    place.dev.start().unwrap();
    place.dev.stop().unwrap();
    let conf = place.path("data/postgresql.conf");
    let mut text = std::fs::read_to_string(&conf).unwrap();
    text.push_str("no_such_setting = 7\n");
    std::fs::write(&conf, text).unwrap();
    let (code, sentence, hint) = refusal(place.dev.start());
    assert_eq!(code, Code::DevServerFailed);
    assert!(
        sentence.contains("unrecognized configuration parameter \"no_such_setting\""),
        "{sentence}"
    );
    assert!(
        sentence.contains(&place.dev.log_path().display().to_string()),
        "{sentence}"
    );
    assert!(hint.contains("kinedb dev reset"), "{hint}");
}

#[test]
fn data_of_another_major_version_is_refused() {
    let place = Place::new();
    place.dev.start().unwrap();
    place.dev.stop().unwrap();
    std::fs::write(place.path("data/PG_VERSION"), "14\n").unwrap();
    let (code, sentence, hint) = refusal(place.dev.start());
    assert_eq!(code, Code::BadDevFolder);
    assert!(sentence.contains("made by PostgreSQL 14"), "{sentence}");
    assert!(hint.contains("kinedb dev reset"), "{hint}");
}

#[test]
fn a_data_folder_that_is_not_whole_is_refused_and_reset() {
    let place = Place::new();
    place.dev.start().unwrap();
    place.dev.stop().unwrap();
    std::fs::remove_file(place.path("data/PG_VERSION")).unwrap();
    let (code, _, hint) = refusal(place.dev.start());
    assert_eq!(code, Code::BadDevFolder);
    assert!(hint.contains("kinedb dev reset"), "{hint}");
    assert!(place.dev.reset().unwrap());
    assert!(place.dev.start().unwrap().fresh);
}

#[test]
fn prepared_data_is_copied_and_bad_copies_are_made_anew() {
    let templates = tempfile::tempdir().unwrap();
    let place = Place::of(TestServer::place().with_templates(templates.path()));
    let first = place.dev.start_prepared("seeded").unwrap();
    assert_eq!((first.fresh, first.template), (true, None));
    place.sql("create table prepared (x int)");
    assert!(place.dev.prepare("seeded").unwrap());
    assert_eq!(place.sql("select to_regclass('prepared')"), "prepared");
    assert!(!place.dev.prepare("seeded").unwrap(), "kept already");

    let copy = Place::of(TestServer::place().with_templates(templates.path()));
    let started = copy.dev.start_prepared("seeded").unwrap();
    assert_eq!(started.template.as_deref(), Some("seeded"));
    assert_eq!(copy.sql("select to_regclass('prepared')"), "prepared");
    copy.dev.reset().unwrap();
    assert_eq!(
        copy.dev.start().unwrap().template.as_deref(),
        Some("pristine")
    );

    // A copy without its control file cannot be served.
    copy.dev.reset().unwrap();
    for kept in std::fs::read_dir(templates.path()).unwrap().flatten() {
        for key in std::fs::read_dir(kept.path()).unwrap().flatten() {
            std::fs::remove_file(key.path().join("global/pg_control")).unwrap();
        }
    }
    let anew = copy.dev.start_prepared("seeded").unwrap();
    assert_eq!((anew.fresh, anew.template), (true, None));
    assert_eq!(copy.sql("select to_regclass('prepared') is null"), "t");
}

#[test]
fn psql_and_urls_take_any_name() {
    let place = Place::new();
    place.dev.start().unwrap();
    let odd = "My \"clinic\" / d\u{e9}mo?";
    block_on(async {
        let mut conn = place
            .dev
            .connect_options("postgres")
            .connect()
            .await
            .unwrap();
        let name = Ident::new(odd);
        assert!(
            template::create_database(&mut conn, &name, None)
                .await
                .unwrap()
        );
        assert!(
            !template::create_database(&mut conn, &name, None)
                .await
                .unwrap()
        );
        let by_url: sqlx::postgres::PgConnectOptions = place.dev.url(odd).parse().unwrap();
        let mut there = by_url.connect().await.unwrap();
        let found: String = sqlx::query_scalar("select current_database()::text")
            .fetch_one(&mut there)
            .await
            .unwrap();
        assert_eq!(found, odd);
    });
    let psql = place.dev.psql(odd, ["-XAtc", "select current_database()"]);
    let out = psql.unwrap().output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), odd);
}

#[test]
fn a_template_is_copied_by_many_and_entered_by_none() {
    let place = Place::new();
    place.dev.start().unwrap();
    let head = Ident::new("head");
    block_on(async {
        let mut conn = place
            .dev
            .connect_options("postgres")
            .connect()
            .await
            .unwrap();
        template::create_database(&mut conn, &head, None)
            .await
            .unwrap();
        let mut there = place.dev.connect_options("head").connect().await.unwrap();
        sqlx::raw_sql("create table t (x int)")
            .execute(&mut there)
            .await
            .unwrap();
        drop(there);
        template::mark_template(&mut conn, &head).await.unwrap();
        assert!(place.dev.connect_options("head").connect().await.is_err());
    });
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (dev, head) = (&place.dev, &head);
            scope.spawn(move || {
                block_on(async {
                    let mut conn = dev.connect_options("postgres").connect().await.unwrap();
                    let name = Ident::new(format!("copy{n}"));
                    assert!(
                        template::create_database(&mut conn, &name, Some(head))
                            .await
                            .unwrap()
                    );
                    let mut there = dev.connect_options(name.as_str()).connect().await.unwrap();
                    sqlx::raw_sql("select x from t")
                        .execute(&mut there)
                        .await
                        .unwrap();
                    // Somebody is still connected.
                    template::drop_database(&mut conn, &name).await.unwrap();
                });
            });
        }
    });
    block_on(async {
        let mut conn = place
            .dev
            .connect_options("postgres")
            .connect()
            .await
            .unwrap();
        template::drop_database(&mut conn, &head).await.unwrap();
    });
    assert_eq!(
        place.sql("select count(*) from pg_database where datname = 'head'"),
        "0"
    );
}

#[test]
fn a_normal_user_needs_no_root() {
    if !is_root() {
        // Then all other tests show it.
        return;
    }
    // Somebody who can neither enter root's folders nor find a home.
    let (uid, gid) = (65534, 65534);
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("dev-tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [home.path(), &program] {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
    let folder = home.path().join("server");
    let mut command = helper_command(&program, "round");
    command
        .env("KINEDB_TEST_FOLDER", &folder)
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .current_dir(home.path())
        .uid(uid)
        .gid(gid);
    // A child that another test forks while the program is copied keeps it open for
    // writing until it becomes another program itself.
    let child = loop {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20));
            }
            child => break child.unwrap(),
        }
    };
    assert_eq!(outcome(child), "true postgres");
    assert_eq!(std::fs::metadata(folder.join("data")).unwrap().uid(), uid);

    // And root, in that user's folder, serves as that user.
    let place = Place::of(TestServer::at(&folder));
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    assert!(!place.dev.start().unwrap().fresh);
    assert_eq!(place.sql("select 1"), "1");
    place.dev.stop().unwrap();
    let log = std::fs::metadata(place.dev.log_path()).unwrap();
    assert_eq!(log.uid(), uid);
}
