//! Backups whose manifest is signed, and what comes back with one.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use std::path::Path;

use clinics::{clinics, has_pg_dump, manifest};
use common::{Run, TestDb, kinedb};

fn run(db: &TestDb, args: &[&str], key: Option<&Path>) -> Run {
    let mut all: Vec<&str> = args.to_vec();
    if let Some(key) = key {
        all.extend(["--manifest-key", key.to_str().unwrap()]);
    }
    kinedb(all).on(db).run()
}

#[test]
fn a_manifest_that_was_changed_or_never_signed_is_refused() {
    let db = clinics("manifest_signed");
    if !has_pg_dump(&db) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let key = place("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    let other = place("other");
    std::fs::write(&other, "fedcba9876543210fedcba9876543210\n").unwrap();
    std::fs::create_dir(place("all")).unwrap();
    let one = place("all").join("one");
    let (all, one_text) = (place("all"), one.to_str().unwrap().to_owned());
    let restore: &[&str] = &["restore", &one_text, "--verify"];
    let check: &[&str] = &[
        "backup",
        "check",
        "--offline",
        "--in",
        all.to_str().unwrap(),
    ];

    let taken = run(&db, &["backup", "--plain", "--to", &one_text], Some(&key)).ok();
    assert!(taken.stdout.contains("signed"), "{}", taken.stdout);
    run(&db, restore, Some(&key)).ok();
    run(&db, check, Some(&key)).ok();
    let unchecked = run(&db, restore, None).ok();
    assert!(
        unchecked.stderr.contains("was not checked"),
        "{}",
        unchecked.stderr
    );

    let refused = |key: &Path, why: &str| {
        for command in [restore, check] {
            let run = run(&db, command, Some(key)).exits(14);
            assert!(run.stderr.contains(why), "{}", run.stderr);
        }
    };
    refused(&other, "is not the one that was signed with this key");
    // One who can write here gives a role more than it had, and corrects whatever he likes.
    let honest = std::fs::read(one.join("manifest.json")).unwrap();
    let mut text = manifest(&one);
    text["roles"][0]["bypassrls"] = true.into();
    std::fs::write(one.join("manifest.json"), text.to_string()).unwrap();
    refused(&key, "is not the one that was signed with this key");
    std::fs::write(one.join("manifest.json"), honest).unwrap();
    run(&db, check, Some(&key)).ok();
    for nonsense in ["", "zz", "00"] {
        std::fs::write(one.join("manifest.hmac"), nonsense).unwrap();
        refused(&key, "is not the one that was signed with this key");
    }
    std::fs::remove_file(one.join("manifest.hmac")).unwrap();
    refused(&key, "is not signed");
    run(&db, check, None).ok();
}

#[test]
fn a_key_that_is_missing_or_short_is_told_before_anything_is_done() {
    let db = clinics("manifest_key");
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short");
    std::fs::write(
        &short,
        "secret\nand more in a second line, which does not count",
    )
    .unwrap();
    let to = folder.path().join("backup");
    for key in [folder.path().join("missing"), short] {
        let args = ["backup", "--plain", "--to", to.to_str().unwrap()];
        let run = run(&db, &args, Some(&key)).exits(2);
        assert!(
            run.stderr.contains("openssl rand -hex 32") && !run.stderr.contains("secret\n"),
            "{}",
            run.stderr
        );
    }
    assert!(!to.exists());
}

#[test]
fn event_triggers_come_back_with_the_rest() {
    let db = clinics("guard_restored");
    if !has_pg_dump(&db) {
        return;
    }
    kinedb(["audit", "guard"]).on(&db).run().ok();
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    let one = one.to_str().unwrap();
    run(&db, &["backup", "--plain", "--to", one], None).ok();
    run(&db, &["restore", one, "--verify"], None).ok();
    let url = db.server().url("guard_recovered");
    kinedb(["restore", one, "-u", &url]).run().ok();
    let verified = kinedb(["audit", "verify", "-u", &url, "--format", "json"])
        .run()
        .ok();
    assert_eq!(verified.json()["guard"], "in-place");
}
