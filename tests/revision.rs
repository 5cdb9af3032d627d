//! `kinedb revision`

// Helpers are not test functions, where these are allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{Run, kinedb};

/// A copy of the parts of the project that `revision` looks at.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["migration/src", "policies"] {
        copy(&root.join(part), &folder.path().join(part));
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let goal = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &goal)
        } else {
            std::fs::copy(&path, goal).map(drop).unwrap()
        }
    }
}

fn revision(folder: &Path, args: &[&str]) -> Run {
    kinedb(["revision"].iter().chain(args)).within(folder).run()
}

/// Every file and its text, to show that nothing changed.
fn contents(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((
                path.display().to_string(),
                std::fs::read_to_string(&path).unwrap(),
            ));
        }
    }
    all.sort();
    all
}

#[test]
fn a_new_revision_is_written_and_listed_and_nothing_else_changes() {
    let project = project();
    let before = contents(project.path());
    let run = revision(
        project.path(),
        &["-m", "Add visit rooms", "--format", "json"],
    )
    .ok();
    let name = run.json()["name"].as_str().unwrap().to_owned();
    assert!(name.ends_with("_add_visit_rooms"), "{name}");
    let list = std::fs::read_to_string(project.path().join("migration/src/lib.rs")).unwrap();
    let line = format!("            sql!(\"{name}\"),\n");
    let after: Vec<_> = contents(project.path())
        .into_iter()
        .filter(|(path, _)| !path.contains(&name))
        .collect();
    assert_eq!(list.matches(&line).count(), 1);
    let restored: Vec<_> = after
        .into_iter()
        .map(|(path, text)| (path, text.replace(&line, "")))
        .collect();
    assert_eq!(restored, before);
    for way in ["up", "down"] {
        assert!(
            project
                .path()
                .join(format!("migration/src/{name}.{way}.sql"))
                .exists()
        );
    }
}

#[test]
fn a_new_table_comes_with_its_policies_and_works() {
    let project = project();
    let args = [
        "-m",
        "add rooms",
        "--table",
        "rooms",
        "--class",
        "tenant_scoped",
        "--format",
        "json",
    ];
    let name = revision(project.path(), &args).ok().json()["name"]
        .as_str()
        .unwrap()
        .to_owned();
    let up = std::fs::read_to_string(project.path().join(format!("migration/src/{name}.up.sql")))
        .unwrap();
    let down = std::fs::read_to_string(
        project
            .path()
            .join(format!("migration/src/{name}.down.sql")),
    )
    .unwrap();
    let policy =
        std::fs::read_to_string(project.path().join("policies/tenant_scoped/rooms.sql")).unwrap();
    assert!(up.contains("force row level security") && up.contains(policy.trim()));
    let db = common::TestDb::migrated("a_new_table_comes_with_its_policies_and_works");
    db.sql(&format!("begin; {up}; commit"));
    assert_eq!(
        db.value(
            "select relrowsecurity and relforcerowsecurity from pg_class where relname = 'rooms'"
        ),
        "t"
    );
    db.sql(&format!("begin; {down}; commit"));
    assert_eq!(db.value("select to_regclass('rooms')"), "");
}

#[test]
fn what_is_written_as_a_stub_is_refused_until_it_is_filled_in() {
    let project = project();
    revision(project.path(), &["-m", "later"]).ok();
    let folder = project.path().join("migration/src");
    let db = common::TestDb::new("what_is_written_as_a_stub");
    let run = kinedb(["upgrade", "--migrations"]).on(&db);
    let mut command = run.command();
    command.arg(&folder);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("later.up.sql` has no statement"), "{said}");
}

#[test]
fn bad_requests_change_nothing() {
    let project = project();
    revision(project.path(), &["-m", "one more"]).ok();
    let before = contents(project.path());
    for (args, said) in [
        (vec!["-m", ""], "needs 1 to 60"),
        (
            vec!["-m", "caf\u{e9}"],
            "cannot be part of a migration's name",
        ),
        (vec!["-m", "x; drop table y"], "cannot be part"),
        (vec!["-m", "One, more"], "has the same name already"),
        (
            vec![
                "-m",
                "again",
                "--table",
                "patients",
                "--class",
                "tenant_scoped",
            ],
            "is in class `tenant_scoped` already",
        ),
        (
            vec!["-m", "again", "--table", "rooms", "--class", "nothing"],
            "no class `nothing`",
        ),
        (
            vec![
                "-m",
                "again",
                "--table",
                "Rooms",
                "--class",
                "tenant_scoped",
            ],
            "is not a name for a new table",
        ),
        (vec!["-m", "again", "--table", "rooms"], "--class"),
    ] {
        let run = revision(project.path(), &args).exits(2);
        assert!(run.stderr.contains(said), "{args:?}: {}", run.stderr);
    }
    assert_eq!(contents(project.path()), before);
}

#[test]
fn a_dirty_list_is_refused() {
    let project = project();
    let stray = project
        .path()
        .join("migration/src/m20300101_000000_stray.up.sql");
    std::fs::write(&stray, "select 1").unwrap();
    let run = revision(project.path(), &["-m", "next"]).exits(2);
    assert!(
        run.stderr
            .contains("`m20300101_000000_stray` has a file but no line"),
        "{}",
        run.stderr
    );
    std::fs::remove_file(&stray).unwrap();
    let list = project.path().join("migration/src/lib.rs");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, text.replace("vec![\n", "vec![ // mine\n")).unwrap();
    let run = revision(project.path(), &["-m", "next"]).exits(2);
    assert!(
        run.stderr.contains("no list of the expected form"),
        "{}",
        run.stderr
    );
}

#[test]
fn outside_of_a_project_it_says_so() {
    let nowhere = tempfile::tempdir().unwrap();
    let run = revision(nowhere.path(), &["-m", "x"]).exits(2);
    insta::assert_snapshot!(run.normal(), @r###"
    exit 2
    --- stderr
    error: `[tmp]` is in no project: there is no `migration/src/lib.rs` above it
    Hint: run the command in the folder of the project
    (bad-file, exit 2)
    "###);
}
