//! Holds the direction of imports, the places that may print, and the pairing of
//! files that must stay in step.

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(current) = folders.pop() {
        for entry in std::fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The top-level module of a source file: `src/migrate/run.rs` is in `migrate`.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// What a file uses of this crate: `use crate::db::..` and `crate::db::..` give `db`.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    code.match_indices("crate::")
        .map(|(at, found)| {
            code[at + found.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

/// Layers from bottom to top; a module may use its own layer's lower modules only.
const ALLOWED: &[(&str, &[&str])] = &[
    ("exit", &[]),
    ("fault", &["exit"]),
    ("archive", &["fault"]),
    ("db", &["fault"]),
    ("entity", &[]),
    ("tenant", &["fault", "db", "entity"]),
    ("catalogue", &["fault", "db"]),
    ("lint", &["fault", "db", "migrate"]),
    ("dev", &["fault", "db"]),
    ("verify", &["fault", "db"]),
    ("policy", &["fault", "db", "catalogue", "entity", "migrate"]),
    ("migrate", &["fault", "db", "verify"]),
    ("scaffold", &["fault", "db", "catalogue", "policy"]),
    ("seed", &["fault", "db"]),
    ("audit", &["fault", "db", "archive"]),
    (
        "backup",
        &[
            "fault",
            "db",
            "dev",
            "archive",
            "audit",
            "catalogue",
            "migrate",
            "verify",
        ],
    ),
    ("report", &["fault", "verify"]),
    ("ui", &["fault"]),
    (
        "commands",
        &[
            "exit",
            "fault",
            "db",
            "dev",
            "catalogue",
            "lint",
            "verify",
            "policy",
            "migrate",
            "scaffold",
            "seed",
            "entity",
            "report",
            "ui",
            "cli",
            "archive",
            "audit",
            "backup",
        ],
    ),
    ("cli", &["commands", "report", "ui"]),
    ("lib", &["cli", "commands", "exit", "fault", "ui"]),
    ("main", &[]),
];

#[test]
fn imports_go_downwards_only() {
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        let module = module(&path);
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!(
                "{}: module `{module}` has no place in the layers of this test",
                path.display()
            ));
            continue;
        };
        for used in imports(&std::fs::read_to_string(&path).unwrap()) {
            if used != module
                && !allowed.contains(&used.as_str())
                && ALLOWED.iter().any(|(name, _)| *name == used)
            {
                wrong.push(format!("{} uses `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn engines_know_no_terminal_and_no_command_line() {
    const OUTSIDE: &[&str] = &[
        "clap::",
        "dialoguer::",
        "indicatif::",
        "comfy_table::",
        "std::process::exit",
    ];
    let mut wrong = Vec::new();
    for path in files("src", "rs") {
        if matches!(
            module(&path).as_str(),
            "commands" | "cli" | "report" | "ui" | "lib" | "main"
        ) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        wrong.extend(
            OUTSIDE
                .iter()
                .filter(|name| text.contains(*name))
                .map(|name| format!("{}: {name}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_migration_crate_knows_nothing_of_kinedb() {
    for path in files("migration", "rs") {
        assert!(
            !std::fs::read_to_string(&path).unwrap().contains("kinedb::"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn every_command_has_a_test_file() {
    // A command of several parts is tested as one: its parts lie in a folder of its name.
    let commands: BTreeSet<String> = files("src/commands", "rs")
        .iter()
        .filter(|path| {
            path.parent()
                .is_some_and(|folder| folder.ends_with("commands"))
        })
        .map(|path| stem(path))
        .collect();
    let tests: BTreeSet<String> = files("tests", "rs").iter().map(|path| stem(path)).collect();
    // Shared by several commands and tested with them.
    let shared = [
        "mod",
        "context",
        "migrating",
        "local",
        "scratch",
        "check_history",
        "check_live",
        "encryption",
    ];
    let missing: Vec<&String> = commands
        .iter()
        .filter(|name| !shared.contains(&name.as_str()) && !tests.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no tests/<command>.rs for {missing:?}");
}

#[test]
fn every_migration_has_both_ways_and_is_listed() {
    let list = std::fs::read_to_string(root().join("migration/src/lib.rs")).unwrap();
    for path in files("migration/src", "sql") {
        let file = path.file_name().unwrap().to_str().unwrap();
        let name = file
            .trim_end_matches(".sql")
            .trim_end_matches(".up")
            .trim_end_matches(".down");
        assert!(
            list.contains(&format!("sql!(\"{name}\"),")),
            "{name} is not in the list"
        );
        for way in ["up", "down"] {
            assert!(
                root()
                    .join(format!("migration/src/{name}.{way}.sql"))
                    .exists(),
                "{name} has no {way}"
            );
        }
    }
}

#[test]
fn every_check_has_a_mutant_and_every_mutant_a_check() {
    let stems = |folder: &str| -> BTreeSet<String> {
        let all = files(folder, "sql");
        all.iter()
            .map(|path| stem(path))
            .filter(|name| !name.starts_with('_') && !name.starts_with("clean"))
            .collect()
    };
    let checks: BTreeSet<String> = stems("src/verify/checks")
        .union(&stems("src/verify/probes"))
        .cloned()
        .collect();
    let mutants = stems("fixtures/mutants");
    let without: Vec<&String> = checks.difference(&mutants).collect();
    assert!(without.is_empty(), "checks without a mutant: {without:?}");
    let unknown: Vec<&String> = mutants.difference(&checks).collect();
    assert!(unknown.is_empty(), "mutants without a check: {unknown:?}");
}

#[test]
fn text_files_name_no_machine_and_no_registry() {
    // Written apart, so that this file does not name them.
    let words = [
        ["crates", ".io"],
        ["registry.", "npmjs"],
        ["deb.", "debian"],
        ["pypi.", "org"],
    ]
    .map(|word| word.concat());
    for folder in ["src", "migration", "policies", "fixtures", "tests", "docs"] {
        for extension in ["rs", "sql", "toml", "md", "sh"] {
            for path in files(folder, extension) {
                let text = std::fs::read_to_string(&path).unwrap();
                let found: Vec<&String> =
                    words.iter().filter(|word| text.contains(*word)).collect();
                assert!(found.is_empty(), "{}: {found:?}", path.display());
            }
        }
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}
