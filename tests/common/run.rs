//! Runs of the built `kinedb`, in an environment where nothing leaks in.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{TestDb, normal, target_tmp, test_programs};

/// No command of a test takes longer, unless it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// A command line of `kinedb`, to be run once.
#[derive(Debug)]
pub struct Kinedb(Command);

/// `kinedb` with these arguments: no PG*, KINEDB_* or DATABASE_URL from outside.
pub fn kinedb<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Kinedb {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kinedb"));
    let foreign = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("PG")
            || name.starts_with("KINEDB_")
            || name.starts_with("XDG_")
            || [
                "DATABASE_URL",
                "NO_COLOR",
                "CLICOLOR_FORCE",
                "COLUMNS",
                "RUST_BACKTRACE",
                "RUST_LOG",
            ]
            .contains(&&*name)
    };
    for (name, _) in std::env::vars_os() {
        if foreign(&name) {
            command.env_remove(name);
        }
    }
    // Not the caches and data of whoever runs the tests.
    command.env("XDG_CACHE_HOME", target_tmp().join("cache"));
    command.env("XDG_DATA_HOME", target_tmp().join("data"));
    if let Some(bin) = test_programs() {
        command.env("KINEDB_PG_BIN", bin);
    }
    command.args(args).stdin(Stdio::null());
    Kinedb(command)
}

impl Kinedb {
    /// Against this database, as the superuser.
    #[must_use]
    pub fn on(self, db: &TestDb) -> Self {
        self.env("KINEDB_DATABASE_URL", db.url())
    }

    /// Against this database, as another login.
    #[must_use]
    pub fn on_as(self, db: &TestDb, login: &str) -> Self {
        self.env("KINEDB_DATABASE_URL", db.url_as(login))
    }

    /// With a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// In this folder.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// The command itself, to spawn, to signal, to feed.
    pub fn command(self) -> Command {
        self.0
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it hangs.
    pub fn run(self) -> Run {
        let shown = format!("{:?}", self.0.get_args().collect::<Vec<_>>());
        let output = assert_cmd::Command::from_std(self.0)
            .timeout(HANGS_AFTER)
            .output()
            .unwrap_or_else(|error| panic!("run kinedb {shown}: {error}"));
        Run {
            // As a shell counts: 128 and the signal.
            status: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            shown,
        }
    }
}

/// What a run left.
#[derive(Debug)]
pub struct Run {
    /// The exit code.
    pub status: i32,
    /// The result.
    pub stdout: String,
    /// All else.
    pub stderr: String,
    shown: String,
}

impl Run {
    /// It ended with 0.
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It ended with this code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.status, code,
            "kinedb {}\n--- stdout\n{}\n--- stderr\n{}",
            self.shown, self.stdout, self.stderr
        );
        self
    }

    /// The result, parsed.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}, in:\n{}", self.stdout))
    }

    /// Status and both streams in the form for snapshots, normalised.
    pub fn normal(&self) -> String {
        let mut text = format!("exit {}\n", self.status);
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                text.push_str(&format!("--- {name}\n{}\n", normal(stream).trim_end()));
            }
        }
        text
    }
}
