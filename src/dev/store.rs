//! Prepared data folders, kept to be copied: a copy takes a tenth of what
//! initdb and the migrations take.
//!
//! One is only good for the very programs that made it, so its name holds their
//! version and place. It is a cache: whatever goes wrong with it is no error,
//! the work is then done anew.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::binaries::Binaries;
use super::folder::{hash_of, home_place, remove_tree};
use super::user::{ServerUser, is_root};
use super::{cluster, copy};

/// The data folder as initdb leaves it.
pub(super) const PRISTINE: &str = "pristine";

/// Older ones are removed when another is kept.
const KEPT_PER_SERVER: usize = 3;

/// The place of the prepared data folders of one server version.
#[derive(Debug, Clone)]
pub(super) struct Store {
    place: PathBuf,
}

impl Store {
    /// Below `base`, or below the user's cache home; none where there is no home.
    pub(super) fn open(base: Option<&Path>, binaries: &Binaries) -> Option<Self> {
        let base = match base {
            Some(base) => base.to_path_buf(),
            None => cache_home()?.join("templates"),
        };
        let recipe = format!(
            "{} {} {}",
            binaries.version(),
            binaries.folder().display(),
            cluster::RECIPE
        );
        let place = base.join(format!(
            "pg{}-{}",
            binaries.major(),
            hash_of(Path::new(&recipe))
        ));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&place)
            .ok()?;
        // Whoever can write here can put functions into our databases.
        let meta = std::fs::symlink_metadata(&place).ok()?;
        let ours = meta.is_dir()
            && meta.uid() == rustix::process::geteuid().as_raw()
            && meta.mode() & 0o022 == 0;
        ours.then_some(Self { place })
    }

    /// Whether one is kept under this key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.path(key).join("PG_VERSION").is_file()
    }

    /// Copies the one kept under this key to `data`.
    pub(super) fn fetch(&self, key: &str, data: &Path, user: &ServerUser) -> bool {
        self.has(key) && copy::data_folder(&self.path(key), data, Some(user)).is_ok()
    }

    /// Keeps a copy of a data folder whose server does not run.
    pub(super) fn keep(&self, key: &str, data: &Path) -> bool {
        let scratch = self
            .place
            .join(format!("new.tmp-{}-{}", std::process::id(), hash_of(data)));
        let _ = remove_tree(&scratch);
        let kept = copy::data_folder(data, &scratch, None).is_ok()
            && std::fs::rename(&scratch, self.path(key)).is_ok();
        let _ = remove_tree(&scratch);
        self.prune();
        kept || self.has(key)
    }

    /// Removes one that turned out to be of no use.
    pub(super) fn forget(&self, key: &str) {
        let _ = remove_tree(&self.path(key));
    }

    fn path(&self, key: &str) -> PathBuf {
        self.place.join(hash_if_odd(key))
    }

    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.place) else {
            return;
        };
        let mut kept: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                // Scratch copies may be another process's, at work.
                name != PRISTINE && !name.contains(".tmp-")
            })
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        kept.sort();
        kept.reverse();
        for (_, path) in kept.into_iter().skip(KEPT_PER_SERVER) {
            let _ = remove_tree(&path);
        }
    }
}

/// Root's cache is not the home of whoever called `sudo`.
fn cache_home() -> Option<PathBuf> {
    if is_root() && std::env::var_os("XDG_CACHE_HOME").is_none() {
        return Some(PathBuf::from("/var/cache/kinedb"));
    }
    home_place("XDG_CACHE_HOME", ".cache", "Library/Caches")
}

/// A key that is a plain word is its own file name; any other is hashed.
fn hash_if_odd(key: &str) -> String {
    let plain = !key.is_empty()
        && key.len() <= 100
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if plain {
        key.to_owned()
    } else {
        hash_of(Path::new(key))
    }
}
