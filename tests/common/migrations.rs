//! Folders of migrations that a test writes itself, for `--migrations`.

// Each test binary uses a part. Helpers are not test functions.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::path::Path;

use tempfile::TempDir;

/// A folder of `NAME.up.sql` and `NAME.down.sql`, removed after the test.
pub struct Migrations(TempDir);

impl Migrations {
    /// Name, way up, way down; an empty way down is not written.
    pub fn of(pairs: &[(&str, &str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder for migrations"));
        for (name, up, down) in pairs {
            folder.write(name, up, down);
        }
        folder
    }

    /// Three tables, each with a way back.
    pub fn three() -> Self {
        Self::of(&[
            (
                "m1_rooms",
                "create table rooms (id int primary key);\n",
                "drop table rooms;\n",
            ),
            (
                "m2_beds",
                "create table beds (id int primary key, room int references rooms);\n",
                "drop table beds;\n",
            ),
            (
                "m3_labels",
                "alter table rooms add column label text not null default '';\n",
                "alter table rooms drop column label;\n",
            ),
        ])
    }

    /// Writes or overwrites a pair.
    pub fn write(&self, name: &str, up: &str, down: &str) {
        std::fs::write(self.0.path().join(format!("{name}.up.sql")), up).expect("a written file");
        if !down.is_empty() {
            std::fs::write(self.0.path().join(format!("{name}.down.sql")), down)
                .expect("a written file");
        }
    }

    /// Removes a pair.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.path().join(format!("{name}.up.sql"))).expect("a file");
        let _ = std::fs::remove_file(self.0.path().join(format!("{name}.down.sql")));
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where it is, for a command line.
    pub fn arg(&self) -> &str {
        self.0.path().to_str().expect("a path in UTF-8")
    }
}

/// A copy of the parts of this project that `revision` and `check` read, removed
/// after the test.
pub fn project() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder for a project");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["migration/src", "policies"] {
        copy_folder(&root.join(part), &folder.path().join(part));
    }
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder to copy") {
        let path = entry.expect("an entry").path();
        let goal = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &goal);
        } else {
            std::fs::copy(&path, goal).expect("a copy");
        }
    }
}
