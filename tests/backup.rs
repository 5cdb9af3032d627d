//! `kinedb backup`: from one snapshot, by a role that sees everything, whole or not there.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use clinics::{A, KEY, RECIPIENT, clinics, has_pg_dump, manifest};
use common::{TestDb, TestServer, kinedb};

#[test]
fn a_backup_says_what_it_holds() {
    let db = clinics("a_backup_says");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    let run = kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .run()
        .ok();
    assert!(run.stdout.starts_with("backed up "), "{}", run.stdout);
    let manifest = manifest(&place);
    let table = |name: &str| {
        let all = manifest["tables"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(table("patients")["parts"][0]["tenant"], A);
    assert_eq!(table("patients")["parts"][0]["rows"], 2);
    assert_eq!(manifest["heads"].as_array().unwrap().len(), 2);
    let roles: Vec<&str> = manifest["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    for role in [
        "kine_app",
        "kine_audit",
        "kine_backup",
        "kine_owner",
        "kine_sealer",
    ] {
        assert!(roles.contains(&role), "{roles:?}");
    }
    let dump = place.join(manifest["dump"]["file"].as_str().unwrap());
    assert_eq!(
        std::fs::metadata(&dump).unwrap().len(),
        manifest["dump"]["bytes"].as_u64().unwrap()
    );
    assert_eq!(
        std::fs::metadata(&dump).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        std::fs::metadata(&place).unwrap().permissions().mode() & 0o777,
        0o700
    );
    // Names, counts and hashes; nothing of a row.
    let text = std::fs::read_to_string(place.join("manifest.json")).unwrap();
    assert!(!text.contains("Marguerite"), "{text}");

    let again = kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .run()
        .exits(12);
    assert!(
        again.stderr.contains("nothing is written over"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_backup_is_for_its_recipients_only() {
    let db = clinics("for_its_recipients");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    let place = place.to_str().unwrap();
    kinedb(["backup", "--to", place, "--recipient", RECIPIENT])
        .on(&db)
        .run()
        .ok();
    let file = manifest(place.as_ref())["dump"]["file"]
        .as_str()
        .unwrap()
        .to_owned();
    let bytes = std::fs::read(std::path::Path::new(place).join(file)).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1"));
    assert!(
        !bytes
            .windows(6)
            .any(|part| part == b"notes\0" || part == b"PGDMP\x01")
    );
    // A secret key given by mistake is not shown.
    let other = folder.path().join("two");
    let wrong = kinedb([
        "backup",
        "--to",
        other.to_str().unwrap(),
        "--recipient",
        KEY,
    ])
    .on(&db)
    .run()
    .exits(2);
    assert!(!wrong.stderr.contains("SECRET"), "{}", wrong.stderr);
    assert!(!other.exists());
}

#[test]
fn a_role_that_row_security_binds_is_refused_before_a_byte_is_written() {
    let server = TestServer::own();
    let db = server.migrated_database("bound_roles");
    clinics::fill(&db);
    for (login, role) in [
        ("migrator", "kine_owner"),
        ("product", "kine_app"),
        ("backer", "kine_backup"),
    ] {
        db.sql(&format!(
            "create role {login} login; grant {role} to {login}"
        ));
    }
    db.sql("grant pg_read_all_data to product");
    let folder = tempfile::tempdir().unwrap();
    let take = |login: &str| {
        let place = folder.path().join(login);
        kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
            .on_as(&db, login)
            .run()
    };
    for login in ["migrator", "product"] {
        let refused = take(login).exits(12);
        assert!(
            refused
                .stderr
                .contains(&format!("row security binds `{login}`")),
            "{}",
            refused.stderr
        );
        assert!(refused.stderr.contains("kine_backup"), "{}", refused.stderr);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    if has_pg_dump(&db) {
        take("backer").ok();
        assert_eq!(clinics::rows(&folder.path().join("backer"), "patients"), 4);
    }
}

#[test]
fn a_full_disk_leaves_nothing_and_says_so() {
    let db = clinics("a_full_disk");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"])
        .arg(&small)
        .output();
    if !mounted.is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED: a small disk needs the right to mount one");
        return;
    }
    let place = small.join("one");
    let run = kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .run();
    let left = std::fs::read_dir(&small).unwrap().count();
    let _ = Command::new("umount").arg("-l").arg(&small).output();
    let run = run.exits(14);
    assert!(
        run.stderr.contains("No space left on device") && run.stderr.contains("make room"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("(backup-failed, exit 14)"),
        "{}",
        run.stderr
    );
    assert_eq!(left, 0);
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let db = clinics("a_signal");
    if !has_pg_dump(&db) {
        return;
    }
    db.sql("create table big (x text); insert into big select repeat(md5(i::text), 100) from generate_series(1, 200000) i");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    let mut run = kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .command();
    let mut run = run.stderr(std::process::Stdio::null()).spawn().unwrap();
    // Once it writes.
    for _ in 0..500 {
        if std::fs::read_dir(folder.path()).unwrap().count() > 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn check_tells_whether_there_is_something_to_restore_from() {
    let db = clinics("check_tells");
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().to_str().unwrap();
    let check = |more: &[&str]| {
        kinedb(["backup", "check", "--in", inside].iter().chain(more))
            .on(&db)
            .run()
    };
    let none = check(&["--offline"]).exits(14);
    assert!(
        none.stderr
            .contains("there is no whole backup; no backup was ever restored"),
        "{}",
        none.stderr
    );
    assert!(
        check(&[])
            .exits(14)
            .stderr
            .contains("does not archive its write-ahead log")
    );
    assert!(
        none.stderr.contains("(backup-stale, exit 14)"),
        "{}",
        none.stderr
    );
    kinedb(["backup", "check", "--offline", "--in", "/nowhere"])
        .on(&db)
        .run()
        .exits(2);
    if !has_pg_dump(&db) {
        return;
    }
    let place = folder.path().join("one");
    kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .run()
        .ok();
    assert!(
        check(&["--offline"])
            .exits(14)
            .stderr
            .contains("ever restored and proven")
    );
    kinedb(["restore", place.to_str().unwrap(), "--verify"])
        .on(&db)
        .run()
        .ok();
    check(&["--offline"]).ok();
    // A proof of another dump is none of this one.
    let drill = place.join("verified.json");
    let proof = std::fs::read_to_string(&drill).unwrap();
    let sum = manifest(&place)["dump"]["sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::write(&drill, proof.replace(&sum, &sum.replace('a', "b"))).unwrap();
    assert!(
        check(&["--offline"])
            .exits(14)
            .stderr
            .contains("ever restored and proven")
    );
    std::fs::write(&drill, proof).unwrap();
    check(&["--offline"]).ok();
    assert!(
        check(&["--offline", "--max-age", "0s"])
            .exits(14)
            .stderr
            .contains("the newest backup is of")
    );
    // One whose dump was cut is none.
    let dump = place.join("dump.pgdump");
    std::fs::write(&dump, &std::fs::read(&dump).unwrap()[..100]).unwrap();
    check(&["--offline"]).exits(14);
}

#[test]
fn a_database_without_migrations_is_backed_up_too() {
    let db = TestDb::new("without_migrations");
    if !has_pg_dump(&db) {
        return;
    }
    db.sql("create schema \"My App\"; create table \"My App\".\"Order\" (tenant_id int, \"Weird \"\"name\"\"\" text); \
            insert into \"My App\".\"Order\" values (1, 'x'), (2, null), (null, 'y')");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("one");
    kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .run()
        .ok();
    assert_eq!(clinics::rows(&place, "\"My App\".\"Order\""), 3);
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    let db = clinics("a_file_limit");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clean = kinedb(["backup", "--plain", "--to", "one"])
        .on(&db)
        .within(folder.path())
        .command();
    // Eight blocks: less than a dump, more than the pipes of a shell ask for.
    let mut limited = Command::new("sh");
    limited
        .args([
            "-c",
            "ulimit -f 8; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_kinedb"),
        ])
        .args(clean.get_args())
        .current_dir(folder.path());
    for (name, value) in clean.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let run = limited.output().unwrap();
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(14), "{told}");
    assert!(told.contains("ulimit -f unlimited"), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_a_killed_run_leaves_is_told_by_the_next() {
    let db = clinics("killed_backup");
    if !has_pg_dump(&db) {
        return;
    }
    db.sql("create table big (x text); insert into big select repeat(md5(i::text), 100) from generate_series(1, 200000) i");
    let folder = tempfile::tempdir().unwrap();
    let partial = || {
        let names = std::fs::read_dir(folder.path()).unwrap().flatten();
        let mut names = names.map(|entry| entry.file_name().into_string().unwrap());
        names.find(|name| name.ends_with(".partial"))
    };
    let place = folder.path().join("one");
    let mut run = kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .command();
    let mut run = run.stderr(std::process::Stdio::null()).spawn().unwrap();
    for _ in 0..500 {
        if partial().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let check = || {
        kinedb([
            "backup",
            "check",
            "--offline",
            "--in",
            folder.path().to_str().unwrap(),
        ])
        .on(&db)
        .run()
        .exits(14)
        .stderr
    };
    let left = partial().expect("it began");
    assert!(
        !check().contains(&left),
        "a run that goes on is not one that was killed"
    );
    run.kill().unwrap();
    run.wait().unwrap();
    let told = check();
    assert!(
        told.contains(&left) && told.contains("remove it with: rm -r"),
        "{told}"
    );
    assert!(told.contains("there is no whole backup"), "{told}");
}

#[test]
fn a_dump_program_that_fails_at_its_end_leaves_nothing() {
    use std::os::unix::fs::PermissionsExt as _;

    let db = clinics("program_fails");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    let script = programs.join("pg_dump");
    let major = db.value("select current_setting('server_version_num')::int / 10000");
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) {major}.0'; exit; fi\n\
             echo half of a dump\necho 'pg_dump: error: the connection was lost' >&2\nexit 1\n"
        ),
    )
    .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let place = folder.path().join("one");
    let run = kinedb(["backup", "--plain", "--to", place.to_str().unwrap()])
        .on(&db)
        .env("KINEDB_PG_BIN", &programs)
        .run()
        .exits(14);
    assert!(
        run.stderr
            .contains("pg_dump failed: pg_dump: error: the connection was lost"),
        "{}",
        run.stderr
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
