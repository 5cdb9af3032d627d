//! The local server as commands see it: locate, start, stop, status, reset.
//!
//! All calls block; none of them takes longer than a start does. Answering
//! "it runs" costs one connection and no process.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::binaries::Binaries;
use super::cluster::{self, SUPERUSER};
use super::folder::{Folder, remove_tree};
use super::install::install_hint;
use super::pidfile::{Phase, PidFile};
use super::process;
use super::site::Site;
use super::socket::{self, Answer};
use super::store::{PRISTINE, Store};
use super::user::ServerUser;
use crate::fault::{Code, fail};

/// How long a server that is on its way up or down is waited for.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);

/// One local server: a folder, and the ways to run PostgreSQL in it.
#[derive(Debug, Clone)]
pub struct DevServer {
    folder: Folder,
    user: ServerUser,
    sockets: PathBuf,
    programs: Option<PathBuf>,
    templates: Option<PathBuf>,
}

/// How a start went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The data folder was made by this call.
    pub fresh: bool,
    /// The server ran before this call.
    pub already_running: bool,
    /// The key of the prepared data folder that was copied; `pristine` is what
    /// initdb makes.
    pub template: Option<String>,
    /// How long the call took.
    pub took: Duration,
    /// The server's process.
    pub pid: u32,
}

/// What is known of the server without starting it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether it runs.
    pub state: State,
    /// The server's process, while it runs.
    pub pid: Option<u32>,
    /// The major version of the data folder, if there is one.
    pub major: Option<u32>,
    /// The folder that holds all of it.
    pub folder: PathBuf,
    /// The folder of its socket.
    pub socket: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// Whether the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no data folder.
    Absent,
    /// There is a data folder, and no server.
    Stopped,
    /// It accepts connections.
    Running,
    /// It is on its way up or down, or does not answer.
    Changing,
}

/// What the socket and the pid file say together.
enum Seen {
    Ready(u32),
    Changing(u32),
    Nothing,
}

impl DevServer {
    /// The server of this folder or, with none named, of the project around the
    /// current folder (`.kinedb` beside `Cargo.toml` and `migration/`), else of
    /// the user's data home. Root's server runs as another user; where that one
    /// cannot get to a folder that was not named, one below `/var/lib/kinedb`
    /// takes its place.
    ///
    /// # Errors
    /// `bad-dev-folder` where the folder cannot be used, with what blocks it.
    pub fn locate(dir: Option<&Path>) -> Result<Self> {
        let (folder, user) = Folder::choose(dir)?;
        Ok(Self {
            sockets: socket::folder_for(folder.path(), &folder.hash(), &user),
            folder,
            user,
            programs: std::env::var_os("KINEDB_PG_BIN")
                .filter(|bin| !bin.is_empty())
                .map(PathBuf::from),
            templates: None,
        })
    }

    /// Uses the programs in this folder, whatever `KINEDB_PG_BIN` says.
    #[must_use]
    pub fn with_programs(mut self, bin: impl Into<PathBuf>) -> Self {
        self.programs = Some(bin.into());
        self
    }

    /// Keeps prepared data folders here, not in the user's cache home.
    #[must_use]
    pub fn with_templates(mut self, dir: impl Into<PathBuf>) -> Self {
        self.templates = Some(dir.into());
        self
    }

    /// The folder that holds data, socket and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that would have been taken if the server's user could enter it.
    pub fn instead_of(&self) -> Option<&Path> {
        self.folder.instead_of()
    }

    /// The server's log.
    pub fn log_path(&self) -> PathBuf {
        self.folder.log()
    }

    /// The folder of the server's socket.
    pub fn socket_folder(&self) -> &Path {
        &self.sockets
    }

    /// Makes sure that the server runs; makes its data folder if there is none.
    ///
    /// # Errors
    /// `no-postgres`, `bad-dev-folder`, `dev-server-failed`.
    pub fn start(&self) -> Result<Started> {
        self.start_prepared(PRISTINE)
    }

    /// The same, but a new data folder is a copy of the one that
    /// [`DevServer::prepare`] kept under this key, if there is one.
    ///
    /// # Errors
    /// As [`DevServer::start`].
    pub fn start_prepared(&self, key: &str) -> Result<Started> {
        let since = Instant::now();
        let running = |pid| Started {
            fresh: false,
            already_running: true,
            template: None,
            took: since.elapsed(),
            pid,
        };
        if let Seen::Ready(pid) = self.look()? {
            return Ok(running(pid));
        }
        let lock = self.folder.claim(&self.user)?;
        // Another call may have started it while this one waited.
        if let Some(pid) = self.settled()? {
            return Ok(running(pid));
        }
        let binaries = self.binaries()?;
        let store = Store::open(self.templates.as_deref(), &binaries);
        let (pid, fresh, template) = self.site(&binaries).start(store.as_ref(), key, &lock)?;
        Ok(Started {
            fresh,
            already_running: false,
            template,
            took: since.elapsed(),
            pid,
        })
    }

    /// Keeps a copy of the data folder under this key, for new folders to start
    /// from. The server is stopped for that, which ends all sessions, and
    /// started again. False where the key is kept already or cannot be.
    ///
    /// # Errors
    /// As [`DevServer::start`].
    pub fn prepare(&self, key: &str) -> Result<bool> {
        let binaries = self.binaries()?;
        let Some(store) = Store::open(self.templates.as_deref(), &binaries) else {
            return Ok(false);
        };
        if store.has(key) {
            return Ok(false);
        }
        let Some(lock) = self.folder.lock_existing()? else {
            return Ok(false);
        };
        let Some(pid) = self.settled()? else {
            return Ok(false);
        };
        cluster::stop(pid, &self.folder.data())?;
        let kept = store.keep(key, &self.folder.data());
        self.site(&binaries).start(None, PRISTINE, &lock)?;
        Ok(kept)
    }

    /// Stops the server; false where none ran.
    ///
    /// # Errors
    /// `dev-server-failed` where it does not end; `bad-dev-folder` where the
    /// folder is not one of ours.
    pub fn stop(&self) -> Result<bool> {
        let Some(_lock) = self.folder.lock_existing()? else {
            return Ok(false);
        };
        self.stop_locked()
    }

    /// What is known of the server; changes nothing.
    ///
    /// # Errors
    /// `bad-dev-folder` where the folder belongs to somebody else.
    pub fn status(&self) -> Result<Status> {
        let major = cluster::major_of(&self.folder.data());
        let (state, pid) = match self.look()? {
            Seen::Ready(pid) => (State::Running, Some(pid)),
            Seen::Changing(pid) => (State::Changing, Some(pid)),
            Seen::Nothing if major.is_some() => (State::Stopped, None),
            Seen::Nothing => (State::Absent, None),
        };
        Ok(Status {
            state,
            pid,
            major,
            folder: self.folder.path().to_path_buf(),
            socket: self.sockets.clone(),
            log: self.folder.log(),
        })
    }

    /// Stops the server and deletes its data; false where there was none.
    /// Prepared data folders stay.
    ///
    /// # Errors
    /// `bad-dev-folder` where the folder is not one of ours; it stays as it is.
    pub fn reset(&self) -> Result<bool> {
        let Some(_lock) = self.folder.lock_existing()? else {
            return Ok(false);
        };
        self.stop_locked()?;
        self.folder.sweep()?;
        remove_tree(&self.sockets)?;
        remove_tree(&self.folder.log())?;
        self.folder.remove_data()
    }

    /// A URL for `psql` and for drivers: the socket's folder stands,
    /// percent-encoded, in the place of the host.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://{SUPERUSER}@{}:{}/{}",
            percent_encoded(self.sockets.as_os_str().as_bytes()),
            socket::PORT,
            percent_encoded(database.as_bytes())
        )
    }

    /// The same for sqlx; what PG* variables say does not count.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.sockets)
            .port(socket::PORT)
            .username(SUPERUSER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// `psql` of the same installation, connected to this database.
    ///
    /// # Errors
    /// `no-postgres` where there is no psql.
    pub fn psql<S: AsRef<OsStr>>(
        &self,
        database: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Result<Command> {
        let binaries = self.binaries().ok();
        let Some(psql) = cluster::psql(binaries.as_ref()) else {
            return fail(Code::NoPostgres, "no `psql` is installed", install_hint());
        };
        let mut command = Command::new(psql);
        for (name, _) in std::env::vars_os() {
            if is_libpq_variable(&name) {
                command.env_remove(name);
            }
        }
        command.arg(self.url(database)).args(args);
        Ok(command)
    }

    fn site<'a>(&'a self, binaries: &'a Binaries) -> Site<'a> {
        Site {
            folder: &self.folder,
            binaries,
            user: &self.user,
            sockets: &self.sockets,
        }
    }

    fn binaries(&self) -> Result<Binaries> {
        let wanted = cluster::major_of(&self.folder.data());
        let found = Binaries::find(self.programs.as_deref(), wanted, &self.user)?;
        match wanted {
            Some(major) if major != found.major() => fail(
                Code::BadDevFolder,
                format!(
                    "the data in `{}` was made by PostgreSQL {major}, and `{}` holds PostgreSQL {}",
                    self.folder.path().display(),
                    found.folder().display(),
                    found.major()
                ),
                format!(
                    "type `kinedb dev reset` to delete the local data and start from nothing, or \
                     set `KINEDB_PG_BIN` to the programs of PostgreSQL {major}"
                ),
            ),
            _ => Ok(found),
        }
    }

    fn look(&self) -> Result<Seen> {
        let file = PidFile::read(&self.folder.data());
        Ok(match (socket::ask(&self.sockets), file) {
            (Answer::Speaks(_), Some(file)) if file.phase == Phase::Ready => Seen::Ready(file.pid),
            (Answer::Speaks(_), Some(file)) => Seen::Changing(file.pid),
            // Its data folder was deleted under it.
            (Answer::Speaks(peer), None) => peer.map_or(Seen::Nothing, Seen::Changing),
            (Answer::Mute, file) => {
                return fail(
                    Code::DevServerFailed,
                    format!(
                        "the local server in `{}` accepts connections and does not answer",
                        self.folder.path().display()
                    ),
                    file.map_or_else(
                        || "type `kinedb dev stop`".to_owned(),
                        |file| format!("type `kill -9 {}`", file.pid),
                    ),
                );
            }
            (Answer::Nobody, Some(file))
                if file.phase != Phase::Ready
                    && process::may_serve(file.pid, &self.folder.data()) =>
            {
                Seen::Changing(file.pid)
            }
            (Answer::Nobody, _) => Seen::Nothing,
        })
    }

    /// Waits while the server is on its way; the pid of one that runs.
    fn settled(&self) -> Result<Option<u32>> {
        let since = Instant::now();
        loop {
            match self.look()? {
                Seen::Ready(pid) => return Ok(Some(pid)),
                Seen::Nothing => return Ok(None),
                Seen::Changing(pid) if since.elapsed() > CHANGE_WITHIN => {
                    return fail(
                        Code::DevServerFailed,
                        format!(
                            "the local server, process {pid}, has been on its way up or down for {} s",
                            CHANGE_WITHIN.as_secs()
                        ),
                        "type `kinedb dev stop`",
                    );
                }
                Seen::Changing(pid) if !self.folder.data().exists() => {
                    cluster::stop(pid, &self.folder.data())?
                }
                Seen::Changing(_) => sleep(Duration::from_millis(1)),
            }
        }
    }

    fn stop_locked(&self) -> Result<bool> {
        let file = PidFile::read(&self.folder.data());
        let pid = match self.look() {
            Ok(Seen::Ready(pid) | Seen::Changing(pid)) => Some(pid),
            // It does not answer, or its socket was deleted: the pid file tells.
            Ok(Seen::Nothing) | Err(_) => file
                .map(|file| file.pid)
                .filter(|pid| process::may_serve(*pid, &self.folder.data())),
        };
        match pid {
            Some(pid) => cluster::stop(pid, &self.folder.data()).map(|()| true),
            None => Ok(false),
        }
    }
}

fn is_libpq_variable(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"PG")
}

/// RFC 3986: all but unreserved characters.
fn percent_encoded(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn what_urls_cannot_hold_is_encoded() {
        assert_eq!(percent_encoded(b"/run/a b@c"), "%2Frun%2Fa%20b%40c");
        assert_eq!(percent_encoded("\u{e9}-1_~.".as_bytes()), "%C3%A9-1_~.");
    }
}
