//! Every command that the pages on audit and recovery tell people to type, typed, in
//! their order, against a database of clinics.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/clinics.rs"]
mod clinics;
mod common;

use std::path::Path;

use clinics::{A, KEY, RECIPIENT, USER, fill, has_pg_dump};
use common::{TestServer, kinedb};

/// The lines of all `sh` blocks of a page.
fn script(page: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        match line.trim() {
            "```sh" => inside = true,
            "```" => inside = false,
            text if inside => lines.push(text),
            _ => {}
        }
    }
    lines.join("\n")
}

fn run(page: &str, at_least: usize) {
    let server = TestServer::own();
    let db = server.migrated_database("kine");
    fill(&db);
    if !has_pg_dump(&db) && page.contains("kinedb backup") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.txt"), format!("{KEY}\n")).unwrap();
    let text = script(page);
    let typed = text
        .lines()
        .filter(|line| line.starts_with("kinedb "))
        .count();
    assert!(typed >= at_least, "{text}");
    let program = Path::new(env!("CARGO_BIN_EXE_kinedb"));
    let path = std::env::var("PATH").unwrap();
    // The environment of a run of kinedb, for a shell that finds it by name.
    let clean = kinedb([""; 0]).on(&db).within(folder.path()).command();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-eux", "-c", &text]).current_dir(folder.path());
    for (name, value) in clean.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell
        .env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        )
        .env("CLINIC", A)
        .env("USER_ID", USER)
        .env("PUBLIC_KEY", RECIPIENT)
        .env("RECOVERY_URL", server.url("recovered"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_page_on_audit() {
    run(include_str!("../docs/audit.md"), 7);
}

#[test]
fn the_page_on_recovery() {
    run(include_str!("../docs/backup-and-recovery.md"), 9);
}

#[test]
fn the_checklist_leads_to_the_pages() {
    let checklist = include_str!("../docs/operations.md");
    for page in ["backup-and-recovery.md", "audit.md", "threat-model.md"] {
        assert!(checklist.contains(&format!("({page})")), "{page}");
    }
}
