//! `kinedb man`

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::kinedb;

#[test]
fn there_is_a_page_for_kinedb_and_for_each_command() {
    let run = kinedb(["man"]).run().ok();
    assert!(run.stdout.contains(".TH kinedb") && run.stdout.contains("upgrade"));
    let run = kinedb(["man", "upgrade"]).run().ok();
    assert!(run.stdout.contains("dry\\-run") && run.stdout.contains("lock\\-timeout"));
}

#[test]
fn an_unknown_command_has_no_page() {
    let run = kinedb(["man", "nothing"]).run().exits(2);
    insta::assert_snapshot!(run.normal(), @r###"
    exit 2
    --- stderr
    error: there is no command `nothing`
    Hint: list them with `kinedb --help`
    (usage, exit 2)
    "###);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::Stdio;
    let mut child = kinedb(["man"])
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    assert!(
        done.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
