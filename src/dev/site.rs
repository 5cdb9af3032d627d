//! Brings a server up that does not run: data first, from a copy or by initdb,
//! then the process.

use std::path::Path;

use anyhow::{Context, Result};

use super::binaries::Binaries;
use super::cluster::{self, Launch};
use super::folder::{Folder, remove_tree, unusable};
use super::lock::Lock;
use super::socket;
use super::stale;
use super::store::{PRISTINE, Store};
use super::user::ServerUser;
use crate::fault::{Code, fail};

/// What a start works with.
pub(super) struct Site<'a> {
    pub(super) folder: &'a Folder,
    pub(super) binaries: &'a Binaries,
    pub(super) user: &'a ServerUser,
    pub(super) sockets: &'a Path,
}

impl Site<'_> {
    /// Starts the server that does not run: pid, whether the data is new, and
    /// the key of the copy it came from.
    pub(super) fn start(
        &self,
        store: Option<&Store>,
        key: &str,
        _held: &Lock,
    ) -> Result<(u32, bool, Option<String>)> {
        self.folder.sweep()?;
        socket::ensure_folder(self.sockets, self.user)?;
        if self.has_data()? {
            return Ok((self.launch()?, false, None));
        }
        for key in [key, PRISTINE] {
            let Some(store) = store.filter(|store| store.has(key)) else {
                continue;
            };
            if self.fill(|new| store.fetch(key, new, self.user))? {
                match self.launch() {
                    Ok(pid) => return Ok((pid, true, Some(key.to_owned()))),
                    // The copy is of no use: what made it is at hand.
                    Err(_) => {
                        store.forget(key);
                        self.folder.remove_data()?;
                    }
                }
            }
        }
        let new = self.folder.scratch("data");
        cluster::create(self.binaries, &new, self.user)?;
        if let Some(store) = store {
            store.keep(PRISTINE, &new);
        }
        self.put_in_place(&new)?;
        Ok((self.launch()?, true, None))
    }

    /// Whether there is a data folder; an empty one is none.
    fn has_data(&self) -> Result<bool> {
        let data = self.folder.data();
        if cluster::major_of(&data).is_some() {
            self.user.must_own(&data)?;
            return Ok(true);
        }
        if !data.exists() || std::fs::remove_dir(&data).is_ok() {
            return Ok(false);
        }
        fail(
            Code::BadDevFolder,
            format!(
                "`{}` is not a whole data folder of PostgreSQL",
                data.display()
            ),
            "type `kinedb dev reset` to delete it and start from nothing",
        )
    }

    fn fill(&self, make: impl FnOnce(&Path) -> bool) -> Result<bool> {
        let new = self.folder.scratch("data");
        if make(&new) {
            self.put_in_place(&new)?;
            return Ok(true);
        }
        remove_tree(&new)?;
        Ok(false)
    }

    fn put_in_place(&self, new: &Path) -> Result<()> {
        std::fs::rename(new, self.folder.data())
            .map_err(|error| unusable(self.folder.path(), &error))
    }

    fn launch(&self) -> Result<u32> {
        let data = self.folder.data();
        stale::clear(&data, self.sockets).context("clear what a dead server left")?;
        Launch {
            binaries: self.binaries,
            folder: self.folder,
            socket: self.sockets,
            user: self.user,
        }
        .run()
    }
}
