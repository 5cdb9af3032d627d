//! Where one local server lives, and the proof that a folder is one of ours.
//!
//! ```text
//! <folder>/kinedb-dev.lock   the mark of the folder, and the lock
//!          data/             PostgreSQL's data, the server's user's own
//!          socket/           the socket, the server's user's own
//!          server.log
//! ```
//! The folder itself stays with whoever runs kinedb: where that is root, no
//! other user can put a link in the place of a file that root will write.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::lock::Lock;
use super::user::{ServerUser, is_root};
use crate::fault::{Code, fail};

const MARK: &str = "kinedb-dev.lock";
const MARK_TEXT: &str =
    "This folder holds a local PostgreSQL of kinedb; `kinedb dev reset` empties it.\n";
const ROOTS_PLACE: &str = "/var/lib/kinedb";
const CHOOSE_ANOTHER: &str = "name another folder with `--dev-dir` or `KINEDB_DEV_DIR`";

/// The folder of one local server.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
    instead_of: Option<PathBuf>,
}

impl Folder {
    /// The folder that was named, or the one that follows from where we are.
    pub(super) fn choose(named: Option<&Path>) -> Result<(Self, ServerUser)> {
        let wished = match named {
            Some(dir) => absolute(dir)?,
            None => default_place()?,
        };
        let path = settled(&wished);
        let parent = path.parent().unwrap_or(&path);
        let user = ServerUser::for_data(&path.join("data"))?;
        let Some(blocked) = user.blocked_at(parent) else {
            let folder = Self {
                path,
                instead_of: None,
            };
            return Ok((folder, user));
        };
        if named.is_none() {
            let folder = Self {
                path: Path::new(ROOTS_PLACE).join(hash_of(&path)),
                instead_of: Some(path),
            };
            let user = ServerUser::for_data(&folder.data())?;
            return Ok((folder, user));
        }
        fail(
            Code::BadDevFolder,
            format!(
                "the server runs as user `{}`, who cannot enter `{}` on the way to `{}`",
                user.name,
                blocked.display(),
                path.display()
            ),
            format!(
                "type `chmod o+x {}`, or name a folder elsewhere with `--dev-dir`",
                blocked.display()
            ),
        )
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that was wished for and that the server's user cannot reach.
    pub(super) fn instead_of(&self) -> Option<&Path> {
        self.instead_of.as_deref()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Short and stable: names things of this folder that lie elsewhere.
    pub(super) fn hash(&self) -> String {
        hash_of(&self.path)
    }

    /// A name for what is being made and may be left half done.
    pub(super) fn scratch(&self, purpose: &str) -> PathBuf {
        self.path
            .join(format!("{purpose}.tmp-{}", std::process::id()))
    }

    /// Makes the folder if need be, marks it as ours, and locks it.
    ///
    /// # Errors
    /// `bad-dev-folder` where it cannot be made, cannot be entered by the
    /// server's user, or holds something else.
    pub(super) fn claim(&self, user: &ServerUser) -> Result<Lock> {
        self.create()?;
        self.let_in(user)?;
        if !self.is_marked()? && !self.is_empty()? && !self.is_marked()? {
            return fail(
                Code::BadDevFolder,
                format!(
                    "`{}` holds other things than a local server of kinedb",
                    self.path.display()
                ),
                CHOOSE_ANOTHER,
            );
        }
        let lock = self.lock(true)?;
        // Where the project's own ignore file does not know of us.
        let ignore = self.path.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n")
                .and_then(|()| self.hand_over(&ignore))
                .map_err(|error| self.unwritable(error))?;
        }
        Ok(lock)
    }

    /// Locks a folder that is ours; none if there is nothing of ours here.
    ///
    /// # Errors
    /// `bad-dev-folder` where it holds something else.
    pub(super) fn lock_existing(&self) -> Result<Option<Lock>> {
        if self.is_marked()? {
            return self.lock(false).map(Some);
        }
        if self.is_empty()? {
            return Ok(None);
        }
        fail(
            Code::BadDevFolder,
            format!(
                "`{}` is not a folder of kinedb's local server, and stays as it is",
                self.path.display()
            ),
            CHOOSE_ANOTHER,
        )
    }

    /// Opens the log to append to; a link in its place is refused.
    pub(super) fn open_log(&self) -> io::Result<File> {
        let file = plain_file()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.log())?;
        self.hand_over(&self.log())?;
        Ok(file)
    }

    /// Root at work in the folder of another user leaves its files to that user.
    fn hand_over(&self, path: &Path) -> io::Result<()> {
        let owner = std::fs::metadata(&self.path)?;
        if is_root() && owner.uid() != 0 {
            std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    }

    /// Removes what killed runs left half made. Call it under the lock.
    pub(super) fn sweep(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.path)
            .with_context(|| format!("look into `{}`", self.path.display()))?
            .flatten()
        {
            if entry.file_name().to_string_lossy().contains(".tmp-") {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the server's data, whole or not at all. Call it under the lock.
    pub(super) fn remove_data(&self) -> Result<bool> {
        let data = self.data();
        if std::fs::symlink_metadata(&data).is_err() {
            return Ok(false);
        }
        let doomed = self.scratch("data-removed");
        std::fs::rename(&data, &doomed).map_err(|error| self.unwritable(error))?;
        remove_tree(&doomed)?;
        Ok(true)
    }

    fn create(&self) -> Result<()> {
        let missing: Vec<&Path> = self
            .path
            .ancestors()
            .take_while(|folder| !folder.exists())
            .collect();
        let mode = if is_root() { 0o755 } else { 0o700 };
        for folder in missing.into_iter().rev() {
            match std::fs::DirBuilder::new().mode(mode).create(folder) {
                // Not left to the umask: the server's user must pass.
                Ok(()) => std::fs::set_permissions(folder, Permissions::from_mode(mode))
                    .map_err(|error| self.unwritable(error))?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.unwritable(error)),
            }
        }
        if self.path.is_dir() {
            return Ok(());
        }
        fail(
            Code::BadDevFolder,
            format!("`{}` is not a folder", self.path.display()),
            CHOOSE_ANOTHER,
        )
    }

    /// A folder that root made for us with `mktemp -d` is closed to the
    /// server's user; what lies in it is closed on its own account.
    fn let_in(&self, user: &ServerUser) -> Result<()> {
        if user.blocked_at(&self.path).is_none() {
            return Ok(());
        }
        let meta = std::fs::metadata(&self.path)
            .with_context(|| format!("look at `{}`", self.path.display()))?;
        if meta.uid() == 0 && (self.is_marked()? || self.is_empty()?) {
            return std::fs::set_permissions(
                &self.path,
                Permissions::from_mode((meta.mode() & 0o7777) | 0o011),
            )
            .map_err(|error| self.unwritable(error));
        }
        fail(
            Code::BadDevFolder,
            format!(
                "the server runs as user `{}`, who cannot enter `{}`",
                user.name,
                self.path.display()
            ),
            format!("type `chmod o+x {}`", self.path.display()),
        )
    }

    fn is_marked(&self) -> Result<bool> {
        let mut text = String::new();
        match File::open(self.path.join(MARK)) {
            Ok(file) => {
                let read = file.take(200).read_to_string(&mut text);
                // Empty: its maker has not come to write it yet.
                Ok(read.is_ok() && (text.is_empty() || text == MARK_TEXT))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.unwritable(error)),
        }
    }

    fn is_empty(&self) -> Result<bool> {
        match std::fs::read_dir(&self.path) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(self.unwritable(error)),
        }
    }

    fn lock(&self, create: bool) -> Result<Lock> {
        let path = self.path.join(MARK);
        let mut file = plain_file()
            .read(true)
            .append(true)
            .create(create)
            .mode(0o600)
            .open(&path)
            .map_err(|error| self.unwritable(error))?;
        let lock_file = file.try_clone().map_err(|error| self.unwritable(error))?;
        let lock = Lock::take(lock_file, &path)?;
        if file.metadata().is_ok_and(|meta| meta.len() == 0) {
            file.write_all(MARK_TEXT.as_bytes())
                .and_then(|()| self.hand_over(&path))
                .map_err(|error| self.unwritable(error))?;
        }
        Ok(lock)
    }

    fn unwritable(&self, error: io::Error) -> anyhow::Error {
        unusable(&self.path, &error)
    }
}

fn plain_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// The fault for a folder that the system refuses us.
pub(super) fn unusable(path: &Path, error: &io::Error) -> anyhow::Error {
    let hint = if error.kind() == io::ErrorKind::StorageFull {
        "free some space, or name a folder on another disk with `--dev-dir`"
    } else {
        CHOOSE_ANOTHER
    };
    crate::fault::Fault::new(
        Code::BadDevFolder,
        format!("cannot use `{}`: {error}", path.display()),
    )
    .hint(hint)
    .into()
}

/// How long what a killed run left at work may go on making files.
const STILL_MADE: Duration = Duration::from_secs(10);

/// Removes a file or a folder with all it holds; nothing there is fine.
///
/// An `initdb` outlives the run that was killed, and what it makes while its
/// folder is emptied leaves the folder not empty: it is then emptied again.
pub(super) fn remove_tree(path: &Path) -> Result<()> {
    let since = Instant::now();
    loop {
        let removed = match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
            Ok(_) => std::fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty
                    && since.elapsed() < STILL_MADE =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove `{}`", path.display()));
            }
            _ => return Ok(()),
        }
    }
}

/// The first 12 hexadecimal digits of a path's SHA-256.
pub(super) fn hash_of(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    digest.iter().take(6).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn absolute(dir: &Path) -> Result<PathBuf> {
    if dir.as_os_str().is_empty() {
        return fail(
            Code::BadDevFolder,
            "the folder for the local server has an empty name",
            CHOOSE_ANOTHER,
        );
    }
    std::path::absolute(dir).with_context(|| format!("find `{}`", dir.display()))
}

/// Links resolved as far as the path exists: one server has one name.
fn settled(path: &Path) -> PathBuf {
    for existing in path.ancestors() {
        if let Ok(real) = existing.canonicalize() {
            let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
            return if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
        }
    }
    path.to_path_buf()
}

/// `.kinedb` of the project around us, else the user's data home.
fn default_place() -> Result<PathBuf> {
    let here = std::env::current_dir().context("find the current folder")?;
    let project = here
        .ancestors()
        .find(|folder| folder.join("Cargo.toml").is_file() && folder.join("migration").is_dir());
    if let Some(project) = project {
        return Ok(project.join(".kinedb"));
    }
    match home_place(
        "XDG_DATA_HOME",
        ".local/share",
        "Library/Application Support",
    ) {
        Some(home) => Ok(home.join("dev")),
        None => fail(
            Code::BadDevFolder,
            "no project is around this folder and `HOME` is not set: no place for the local server",
            CHOOSE_ANOTHER,
        ),
    }
}

/// `kinedb` below one of the user's homes (XDG Base Directory Specification).
pub(super) fn home_place(variable: &str, unix: &str, macos: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    if let Some(home) = named.filter(|home| home.is_absolute()) {
        return Some(home.join("kinedb"));
    }
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let below = if cfg!(target_os = "macos") {
        macos
    } else {
        unix
    };
    home.is_absolute().then(|| home.join(below).join("kinedb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_still_written_to_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let doomed = place.path().join("data.tmp-1");
        let inner = doomed.join("base");
        std::fs::create_dir_all(&inner).unwrap();
        let writer = {
            let inner = inner.clone();
            std::thread::spawn(move || {
                let since = Instant::now();
                for made in 0_u64.. {
                    let wrote = std::fs::write(inner.join(made.to_string()), "");
                    if wrote.is_err() || since.elapsed() > Duration::from_millis(300) {
                        break;
                    }
                }
            })
        };
        while !inner.join("100").exists() {
            std::thread::yield_now();
        }
        remove_tree(&doomed).unwrap();
        writer.join().unwrap();
        assert!(!doomed.exists());
    }
}
