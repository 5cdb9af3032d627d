//! Every exit code. They are an API: never reused, never a bit mask.

/// How a run of kinedb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Success = 0,
    /// Internal error: a bug.
    Internal = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Pending migrations or drift, told by a command that only looks.
    Pending = 3,
    /// Isolation broken or not proven.
    NotIsolated = 4,
    /// Another run holds the lock; trying again is right.
    Locked = 5,
    /// The time allowed for locks or statements is spent; trying again is right.
    BudgetSpent = 6,
    /// Cannot connect, authenticate, or lacks privileges.
    Unreachable = 7,
    /// History does not fit: edited, missing, out of order, newer than this program.
    History = 8,
    /// An unfinished non-transactional step needs a rerun.
    Unfinished = 9,
    /// The server is read-only or a standby.
    ReadOnly = 10,
    /// The connection goes through a transaction pooler.
    Pooler = 11,
    /// Refused by a guard: data loss without consent, seed on a database that is not for development.
    Refused = 12,
    /// A migration failed and was rolled back.
    MigrationFailed = 13,
    /// Verification of a backup, a restore or the audit trail failed.
    VerificationFailed = 14,
    /// Ended by SIGHUP; rolled back.
    HungUp = 129,
    /// Ended by SIGINT; rolled back.
    Interrupted = 130,
    /// Ended by SIGTERM; rolled back.
    Terminated = 143,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
