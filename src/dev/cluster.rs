//! One data folder: made by initdb, served by `postgres`, stopped by a signal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::binaries::Binaries;
use super::folder::{Folder, remove_tree, unusable};
use super::pidfile::{Phase, PidFile};
use super::process;
use super::socket::{self, Answer};
use super::user::ServerUser;
use crate::fault::{Code, Fault, fail};

/// The server's superuser, and the one that URLs name.
pub(super) const SUPERUSER: &str = "postgres";

const SETTINGS: &str = include_str!("postgresql.conf");
const ACCESS: &str = include_str!("pg_hba.conf");

/// What a new data folder is made with; a change makes kept copies useless.
pub(super) const RECIPE: &str = concat!(
    "1 ",
    include_str!("postgresql.conf"),
    include_str!("pg_hba.conf")
);

const POLL: Duration = Duration::from_millis(1);
const START_WITHIN: Duration = Duration::from_secs(60);
const FAST_STOP_WITHIN: Duration = Duration::from_secs(10);
const HARD_STOP_WITHIN: Duration = Duration::from_secs(5);
const LOG_LIMIT: u64 = 4 * 1024 * 1024;
const SHOWN_LINES: usize = 12;

/// The major version that made a data folder; none where it is no whole one.
pub(super) fn major_of(data: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(data.join("PG_VERSION")).ok()?;
    text.trim().parse().ok()
}

/// Runs initdb in `data`, which must not exist, and writes our settings.
///
/// # Errors
/// `dev-server-failed` with what initdb said.
pub(super) fn create(binaries: &Binaries, data: &Path, user: &ServerUser) -> Result<()> {
    let mut said = String::new();
    for locale in locales(binaries.major()) {
        remove_tree(data)?;
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(data)
            .and_then(|()| user.own(data))
            .map_err(|error| unusable(data, &error))?;
        let mut command = program(binaries, "initdb");
        command
            .args([
                "--no-sync",
                "--no-instructions",
                "--auth=trust",
                "--encoding=UTF8",
            ])
            .arg(format!("--username={SUPERUSER}"))
            .args(*locale)
            .arg("-D")
            .arg(data)
            .stdin(Stdio::null());
        let out = user
            .applied_to(&mut command)
            .output()
            .with_context(|| format!("run `{}`", binaries.program("initdb").display()))?;
        if out.status.success() {
            return settle(data, user).map_err(|error| unusable(data, &error));
        }
        said = [out.stdout, out.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
            .join("\n");
        if !said.contains("locale") {
            break;
        }
    }
    let _ = remove_tree(data);
    fail(
        Code::DevServerFailed,
        format!(
            "initdb failed as user `{}`:\n{}",
            user.name,
            last_lines(&said)
        ),
        hint_for(&said),
    )
}

/// Order by code point everywhere, upper and lower case of all of Unicode where
/// the system has it: the same on every laptop.
fn locales(major: u32) -> &'static [&'static [&'static str]] {
    const BUILTIN: &[&str] = &[
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
    ];
    const LIBC: &[&str] = &["--locale=C.UTF-8"];
    const PLAIN: &[&str] = &["--locale=C"];
    if major >= 17 {
        &[BUILTIN, LIBC, PLAIN]
    } else {
        &[LIBC, PLAIN]
    }
}

fn settle(data: &Path, user: &ServerUser) -> io::Result<()> {
    use std::io::Write;
    OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))?
        .write_all(format!("\n{SETTINGS}").as_bytes())?;
    let access = data.join("pg_hba.conf");
    std::fs::write(&access, ACCESS)?;
    user.own(&access)
}

/// A program with an environment of its own: PG* variables and the language of
/// whoever calls must not leak into a server that outlives the call.
fn program(binaries: &Binaries, name: &str) -> Command {
    let mut command = Command::new(binaries.program(name));
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
    for kept in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command.current_dir("/");
    command
}

/// The parts of one start.
pub(super) struct Launch<'a> {
    pub(super) binaries: &'a Binaries,
    pub(super) socket: &'a Path,
    pub(super) folder: &'a Folder,
    pub(super) user: &'a ServerUser,
}

impl Launch<'_> {
    /// Spawns `postgres` and waits until it answers; its pid.
    ///
    /// # Errors
    /// `dev-server-failed` with the end of the log.
    pub(super) fn run(&self) -> Result<u32> {
        let since = Instant::now();
        let (log, start_of_ours) = self
            .open_log()
            .map_err(|error| unusable(&self.folder.log(), &error))?;
        let mut child = self.spawn(log)?;
        loop {
            let ended = child.try_wait().context("watch the local server")?;
            if ended.is_some() {
                return Err(self.failure("the local server ended at its start", start_of_ours));
            }
            if self.is_ready(child.id()) {
                return Ok(child.id());
            }
            if since.elapsed() > START_WITHIN {
                // The child is ours and not yet collected: its pid is its own.
                let _ = child.kill();
                let _ = child.wait();
                let late = format!(
                    "the local server was not ready within {} s",
                    START_WITHIN.as_secs()
                );
                return Err(self.failure(&late, start_of_ours));
            }
            sleep(POLL);
        }
    }

    fn is_ready(&self, pid: u32) -> bool {
        PidFile::read(&self.folder.data())
            .is_some_and(|file| file.pid == pid && file.phase == Phase::Ready)
            && matches!(socket::ask(self.socket), Answer::Speaks(_))
    }

    fn open_log(&self) -> io::Result<(File, u64)> {
        let path = self.folder.log();
        if std::fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
            std::fs::rename(&path, path.with_extension("log.old"))?;
        }
        let log = self.folder.open_log()?;
        let length = log.metadata()?.len();
        Ok((log, length))
    }

    fn spawn(&self, log: File) -> Result<Child> {
        let mut command = program(self.binaries, "postgres");
        command
            .arg("-D")
            .arg(self.folder.data())
            .arg("-k")
            .arg(quoted_for_list(self.socket))
            .arg("-p")
            .arg(socket::PORT.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("open the server's log twice")?)
            .stderr(log);
        self.user.applied_to(&mut command);
        leave_the_terminal(&mut command);
        command.spawn().with_context(|| {
            format!(
                "run `{}` as user `{}`",
                self.binaries.program("postgres").display(),
                self.user.name
            )
        })
    }

    fn failure(&self, what: &str, from: u64) -> anyhow::Error {
        let mut text = Vec::new();
        let read = File::open(self.folder.log()).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            file.take(LOG_LIMIT).read_to_end(&mut text)
        });
        let text = String::from_utf8_lossy(&text);
        let shown = if read.is_ok() && !text.trim().is_empty() {
            last_lines(&text)
        } else {
            "(it wrote nothing)".to_owned()
        };
        Fault::new(
            Code::DevServerFailed,
            format!(
                "{what}; the end of its log `{}`:\n{shown}",
                self.folder.log().display()
            ),
        )
        .hint(hint_for(&text))
        .into()
    }
}

/// A session of its own: neither Ctrl-C nor a closed window reaches the server.
#[allow(unsafe_code)]
fn leave_the_terminal(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call, which is
    // async-signal-safe, and touches no memory that the parent shares.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
}

/// `unix_socket_directories` is a list: quotes keep a comma in a name together.
fn quoted_for_list(folder: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let mut quoted = vec![b'"'];
    for byte in folder.as_os_str().as_bytes() {
        if *byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    std::ffi::OsString::from_vec(quoted)
}

/// Stops the server with this pid: sessions are ended, data is written; where
/// that takes too long it is stopped hard, which costs a recovery later.
///
/// # Errors
/// `dev-server-failed` where it does not end.
pub(super) fn stop(number: u32, data: &Path) -> Result<()> {
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    for (signal, patience) in [
        (Signal::INT, FAST_STOP_WITHIN),
        (Signal::QUIT, HARD_STOP_WITHIN),
        (Signal::KILL, HARD_STOP_WITHIN),
    ] {
        match kill_process(pid, signal) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => {
                return Err(io::Error::from(error))
                    .with_context(|| format!("stop the local server, process {number}"));
            }
        }
        let since = Instant::now();
        while since.elapsed() < patience {
            if process::has_ended(number, data) {
                // Collects it where it is our own child; else this does nothing.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                return Ok(());
            }
            sleep(POLL);
        }
    }
    fail(
        Code::DevServerFailed,
        format!("the local server, process {number}, does not end"),
        format!("type `kill -9 {number}`"),
    )
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn hint_for(log: &str) -> String {
    if log.contains("No space left on device") {
        "free some space, or name a folder on another disk with `--dev-dir`".to_owned()
    } else if log.contains("could not look up effective user ID") {
        "run kinedb as a user that `/etc/passwd` knows: initdb asks for the name".to_owned()
    } else {
        "type `kinedb dev reset` to delete the local data and start from nothing".to_owned()
    }
}

/// The path of `psql` beside the server, else the one on the `PATH`.
pub(super) fn psql(binaries: Option<&Binaries>) -> Option<PathBuf> {
    let beside = binaries.map(|binaries| binaries.program("psql"));
    if let Some(psql) = beside.filter(|psql| psql.is_file()) {
        return Some(psql);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("psql"))
        .find(|psql| psql.is_file())
}

#[cfg(test)]
mod tests {
    use super::{last_lines, quoted_for_list};
    use std::path::Path;

    #[test]
    fn a_comma_in_a_socket_folder_does_not_split_it() {
        assert_eq!(quoted_for_list(Path::new("/a,b\"c")), "\"/a,b\"\"c\"");
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let log: String = (1..=40).map(|n| format!("line {n}\n\n")).collect();
        let shown = last_lines(&log);
        assert!(shown.starts_with("  line 29\n"), "{shown}");
        assert!(shown.ends_with("  line 40"), "{shown}");
    }
}
