//! Finds the programs of a PostgreSQL server on this machine.
//!
//! Looked through in this order: the folder named by `KINEDB_PG_BIN`, `PATH`,
//! the places of packages (newest first). A folder counts only if it holds both
//! `postgres` and `initdb`: Debian puts a Perl wrapper named `psql`, and no
//! server, on the `PATH`.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::install::install_hint;
use super::user::ServerUser;
use crate::fault::{Code, Fault, fail};

/// The oldest major version that kinedb supports: the first with
/// `security_invoker` views.
pub const OLDEST_MAJOR: u32 = 15;

/// Folders of packages; `*` stands for a version or one folder of any name.
const PACKAGE_PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/lib64/postgresql/*/bin",
    "/usr/libexec/postgresql*",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/opt/local/lib/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// The programs of one server version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
    version: String,
}

/// Why a folder was passed over.
enum Unfit {
    Incomplete(&'static str),
    TooOld(String),
    Unusable(String),
}

impl Binaries {
    /// Searches this machine. `explicit` is the folder that the user named, and
    /// then the only one; `wanted` is the major version of an existing data
    /// folder, preferred where several are installed.
    ///
    /// # Errors
    /// `no-postgres`, with what was found instead and the install command.
    pub(super) fn find(
        explicit: Option<&Path>,
        wanted: Option<u32>,
        user: &ServerUser,
    ) -> Result<Self> {
        if let Some(folder) = explicit {
            return look_into(folder, user).map_err(|unfit| unfit.fault(folder).into());
        }
        let mut second_best = None;
        let mut passed_over = None;
        for folder in candidates() {
            match look_into(&folder, user) {
                Ok(found) if wanted.is_none_or(|major| major == found.major) => return Ok(found),
                Ok(found) => second_best = second_best.or(Some(found)),
                Err(Unfit::Incomplete(_)) => {}
                Err(unfit) => passed_over = passed_over.or(Some((folder, unfit))),
            }
        }
        match (second_best, passed_over) {
            (Some(found), _) => Ok(found),
            (None, Some((folder, unfit))) => Err(unfit.fault(&folder).into()),
            (None, None) => fail(
                Code::NoPostgres,
                "no PostgreSQL server is installed: found no `postgres` with its `initdb` in PATH \
                 or in the places of packages",
                install_hint(),
            ),
        }
    }

    /// The folder they lie in, symbolic links resolved.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The major version: 15, 16, ...
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The version as `postgres --version` writes it, without the first words.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Unfit {
    fn fault(self, folder: &Path) -> Fault {
        let folder = folder.display();
        match self {
            Self::Incomplete(program) => Fault::new(
                Code::NoPostgres,
                format!("`{folder}` holds no program `{program}`"),
            ),
            Self::TooOld(version) => Fault::new(
                Code::NoPostgres,
                format!(
                    "PostgreSQL {version} in `{folder}` is too old: kinedb needs {OLDEST_MAJOR} or newer"
                ),
            ),
            Self::Unusable(why) => Fault::new(
                Code::NoPostgres,
                format!("`{folder}/postgres` cannot be used: {why}"),
            ),
        }
        .hint(install_hint())
    }
}

fn look_into(folder: &Path, user: &ServerUser) -> Result<Binaries, Unfit> {
    // An entry may be a link to the real program, beside which the rest lies.
    let Ok(postgres) = folder.join("postgres").canonicalize() else {
        return Err(Unfit::Incomplete("postgres"));
    };
    let home = postgres.parent().unwrap_or(folder);
    let folder = if home.join("initdb").is_file() {
        home
    } else if folder.join("initdb").is_file() {
        folder
    } else {
        return Err(Unfit::Incomplete("initdb"));
    };
    if let Some(blocked) = user.blocked_at(folder) {
        return Err(Unfit::Unusable(format!(
            "the server runs as user `{}`, who cannot enter `{}`",
            user.name,
            blocked.display()
        )));
    }
    let mut command = Command::new(folder.join("postgres"));
    command
        .arg("--version")
        .current_dir("/")
        .stdin(Stdio::null());
    let out = user
        .applied_to(&mut command)
        .output()
        .map_err(|error| Unfit::Unusable(error.to_string()))?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let Some((major, version)) = parse_version(&text) else {
        let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(Unfit::Unusable(format!(
            "`postgres --version` says `{}`",
            if text.is_empty() { said } else { text }
        )));
    };
    if major < OLDEST_MAJOR {
        return Err(Unfit::TooOld(version));
    }
    Ok(Binaries {
        folder: folder.to_path_buf(),
        major,
        version,
    })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 18beta1`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

/// Folders that may hold the client programs: the one that `KINEDB_PG_BIN` names, and
/// then no other, else `PATH` and the places of packages.
pub fn program_folders() -> Vec<PathBuf> {
    match std::env::var_os("KINEDB_PG_BIN").filter(|folder| !folder.is_empty()) {
        Some(folder) => vec![PathBuf::from(folder)],
        None => candidates(),
    }
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .collect();
    let mut packaged: Vec<PathBuf> = PACKAGE_PLACES
        .iter()
        .flat_map(|place| expand(place))
        .collect();
    packaged.sort_by_key(|folder| Reverse(version_in(folder)));
    found.extend(packaged);
    found
}

/// The folders that a place with at most one `*` stands for.
fn expand(place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once('*') else {
        return vec![PathBuf::from(place)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("/", before));
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The version that a folder's path names: its last run of digits.
fn version_in(folder: &Path) -> u32 {
    let text = folder.to_string_lossy();
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .next_back()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{parse_version, version_in};

    #[test]
    fn versions_of_all_packagers_are_read() {
        for (text, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15),
            ("postgres (PostgreSQL) 18beta1", 18),
            ("postgres (PostgreSQL) 9.6.24", 9),
        ] {
            assert_eq!(parse_version(text).unwrap().0, major);
        }
        assert_eq!(parse_version("psql: error"), None);
    }

    #[test]
    fn the_newest_package_comes_first() {
        assert_eq!(version_in(Path::new("/usr/lib/postgresql/17/bin")), 17);
        assert_eq!(
            version_in(Path::new("/opt/homebrew/opt/postgresql@16/bin")),
            16
        );
        assert_eq!(version_in(Path::new("/usr/local/pgsql/bin")), 0);
    }
}
