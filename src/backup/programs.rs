//! pg_dump and pg_restore of the right version, and how they reach the server:
//! through the environment, never by a command line that others can read.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::ConnectOptions as _;

use crate::db::Target;
use crate::dev::program_folders;
use crate::fault::{Code, fail};

/// One program and its major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it lies.
    pub path: PathBuf,
    /// Its major version.
    pub major: i32,
}

/// The program of the server's own major version; else the next newer one, which
/// reads older servers too.
///
/// # Errors
/// `no-postgres` where none is new enough.
pub fn find(name: &str, server_major: i32) -> anyhow::Result<Program> {
    let mut best: Option<Program> = None;
    let mut too_old: Option<i32> = None;
    for folder in program_folders() {
        let path = folder.join(name);
        let Some(major) = major_of(&path) else {
            continue;
        };
        if major < server_major {
            too_old = too_old.max(Some(major));
        } else if best.as_ref().is_none_or(|best| major < best.major) {
            best = Some(Program { path, major });
        }
        if best.as_ref().is_some_and(|best| best.major == server_major) {
            break;
        }
    }
    match (best, too_old) {
        (Some(best), _) => Ok(best),
        (None, Some(major)) => fail(
            Code::NoPostgres,
            format!(
                "`{name}` {major} is older than the server, which is PostgreSQL {server_major}"
            ),
            format!(
                "install the client programs of PostgreSQL {server_major}, or set KINEDB_PG_BIN to their folder"
            ),
        ),
        (None, None) => fail(
            Code::NoPostgres,
            format!("no `{name}` is installed"),
            format!(
                "install the client programs of PostgreSQL {server_major}, or set KINEDB_PG_BIN to their folder"
            ),
        ),
    }
}

/// `pg_dump (PostgreSQL) 15.18 (Debian ...)` gives 15.
fn major_of(path: &Path) -> Option<i32> {
    if !path.is_file() {
        return None;
    }
    let output = Command::new(path).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// A command that connects as kinedb does. Password and all go by environment.
pub fn command(program: &Program, target: &Target) -> Command {
    let mut command = Command::new(&program.path);
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("PG") && shown != "PGPASSFILE" && !shown.starts_with("PGSSL") {
            command.env_remove(&name);
        }
    }
    let options = target.options();
    let host = options.get_socket().map_or_else(
        || options.get_host().to_owned(),
        |folder| folder.display().to_string(),
    );
    command
        .env("PGHOST", host)
        .env("PGPORT", options.get_port().to_string())
        .env("PGUSER", options.get_username())
        .env("PGDATABASE", target.database())
        .env("PGAPPNAME", "kinedb backup")
        .env("PGCLIENTENCODING", "UTF8");
    // sqlx tells password and TLS files in the form of a URL only.
    let url = options.to_url_lossy();
    if let Some(password) = url.password() {
        let plain = percent_decoded(password);
        command.env("PGPASSWORD", plain);
    }
    for (key, value) in url.query_pairs() {
        let name = match &*key {
            "sslmode" | "ssl-mode" => "PGSSLMODE",
            "sslrootcert" | "ssl-root-cert" => "PGSSLROOTCERT",
            "sslcert" | "ssl-cert" => "PGSSLCERT",
            "sslkey" | "ssl-key" => "PGSSLKEY",
            _ => continue,
        };
        command.env(name, value.to_lowercase());
    }
    command
}

fn percent_decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// A program that runs; ended when it is dropped.
pub struct Running {
    child: Child,
    said: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    /// Starts it, its stderr collected.
    ///
    /// # Errors
    /// The system's.
    pub fn start(mut command: Command, stdin: Stdio, stdout: Stdio) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        // A signal for kinedb's group is kinedb's to handle: it ends this one itself.
        command.process_group(0);
        let mut child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take();
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(mut stderr) = stderr {
                let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
            }
            text
        });
        Ok(Self {
            child,
            said: Some(said),
        })
    }

    /// Its stdin.
    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Its stdout.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// It has ended: successfully or not; none while it runs.
    ///
    /// # Errors
    /// The system's.
    pub fn ended(&mut self) -> std::io::Result<Option<bool>> {
        Ok(self.child.try_wait()?.map(|status| status.success()))
    }

    /// What it said on stderr, once it has ended: the first lines, which name the cause.
    pub fn said(&mut self) -> String {
        let text = self
            .said
            .take()
            .and_then(|said| said.join().ok())
            .unwrap_or_default();
        let lines = text
            .lines()
            .filter(|line| line.contains("error:") || line.contains("FATAL"));
        let mut lines: Vec<&str> = lines.take(3).collect();
        if lines.is_empty() {
            lines = text.lines().take(3).collect();
        }
        lines.join("; ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
