//! One writer at a time: a file lock around every change of the server's state.
//!
//! The kernel frees it when its holder dies, so it cannot go stale. Looking
//! whether the server runs takes no lock.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::fault::{Code, fail};

/// Longer than any start or stop may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Held while it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock on this open file.
    pub(super) fn take(file: File, path: &Path) -> Result<Self> {
        let since = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => {
                    return fail(
                        Code::DevServerFailed,
                        format!(
                            "another kinedb has held `{}` for {} s",
                            path.display(),
                            PATIENCE.as_secs()
                        ),
                        format!("type `fuser {}` to see who it is", path.display()),
                    );
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock `{}`", path.display()));
                }
            }
        }
    }
}
