//! Errors that users meet: a stable code, an exit code, one sentence, a hint.
//!
//! Engines return `anyhow::Result`; wherever the cause is known, the chain
//! contains a [`Fault`]. What has no `Fault` in its chain is an internal error
//! (exit 1). Nothing here prints: `ui` does.

mod page;

use std::fmt;

use crate::exit::Exit;
pub use page::{Page, Retry};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal => $exit:ident, $solution:literal;)+) => {
        /// Stable error codes: what scripts and searches hold on to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $variant),+ }

        impl Code {
            /// Every code, in the order of the table in `docs/errors.md`.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The code as users see it.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),+ }
            }

            /// The exit code that goes with it.
            pub fn exit(self) -> Exit {
                match self { $(Code::$variant => Exit::$exit),+ }
            }

            /// What causes it, for `docs/errors.md`.
            pub fn cause(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),+)),+ }
            }

            /// What to do about it, for `docs/errors.md`.
            pub fn solution(self) -> &'static str {
                match self { $(Code::$variant => $solution),+ }
            }
        }
    };
}

codes! {
    /// A bug in kinedb: an error without a known cause reached the top.
    Internal = "internal" => Internal, "Report it with the output of the command; nothing half done is left behind.";
    /// The command line is wrong, or a value given on it is.
    Usage = "usage" => Usage, "Run the command with `--help`.";
    /// No database was named by flag, file, environment or `--dev`.
    NoTarget = "no-target" => Usage, "Pass `--database-url`, set `DATABASE_URL`, set `PGHOST`/`PGDATABASE`, or use `--dev`.";
    /// The database URL cannot be parsed. It is never shown, because it may hold a password.
    BadUrl = "bad-url" => Usage, "Write it as `postgres://USER@HOST:PORT/DATABASE`, special characters percent-encoded.";
    /// A file that the command needs is missing, unreadable, or not of the form it must have.
    BadFile = "bad-file" => Usage, "Correct the file at the line that the message names.";
    /// `kinedb.toml` is wrong: a key, a name, or a query in it.
    BadConfig = "bad-config" => Usage, "Correct the key that the message names; see the configuration reference.";
    /// A revision was named that does not exist.
    UnknownRevision = "unknown-revision" => Usage, "`kinedb history` lists the revisions.";
    /// A part of a name fits several revisions.
    AmbiguousRevision = "ambiguous-revision" => Usage, "Write more of the name.";
    /// PostgreSQL itself, or a program of it, is not on this machine or too old.
    NoPostgres = "no-postgres" => Usage, "Install PostgreSQL 15 or newer, or set `KINEDB_PG_BIN` to its bin folder.";
    /// The local server cannot run in the folder it was given.
    BadDevFolder = "bad-dev-folder" => Usage, "Name another folder with `--dev-dir` or `KINEDB_DEV_DIR`.";
    /// The local server did not start.
    DevServerFailed = "dev-server-failed" => Unreachable, "Read the log that the message names; `kinedb dev reset` starts from nothing.";
    /// A pending migration, or a difference, was found by a command that only looks.
    Pending = "pending" => Pending, "Run `kinedb upgrade`.";
    /// The proof of isolation failed: a leak, or something that could not be proven.
    NotIsolated = "not-isolated" => NotIsolated, "`kinedb verify-rls --explain ID` tells each finding's cause and repair.";
    /// A migration would open a leak and was rolled back.
    GateRefused = "gate-refused" => NotIsolated, "Repair the migration as the finding says; nothing was committed.";
    /// Another run holds the lock of this database.
    Locked = "locked" => Locked, "Wait for the run that is named, or give more time with `--lock-wait`.";
    /// The time allowed for locks or statements is spent.
    BudgetSpent = "budget-spent" => BudgetSpent, "End the sessions that are named, or give more time with `--lock-budget`.";
    /// Nothing answers at the address.
    Unreachable = "unreachable" => Unreachable, "Check host and port, and that the server runs; `--wait` waits for one that starts.";
    /// The server refused the user or the password.
    Authentication = "authentication" => Unreachable, "Check user and password; `PGPASSWORD` or a password file keeps it off the command line.";
    /// The database does not exist on that server.
    NoDatabase = "no-database" => Unreachable, "Create it with `createdb`, or correct the name.";
    /// TLS was required and could not be had, or its certificate is not trusted.
    Tls = "tls" => Unreachable, "Give `sslrootcert`, or say `sslmode=disable` where plain text is meant.";
    /// The user may not do what the command needs.
    Privilege = "privilege" => Unreachable, "Grant what the message names, or use another login.";
    /// The connection was lost in the middle of a run.
    ConnectionLost = "connection-lost" => Unreachable, "Run the command again: it starts from what history records.";
    /// The server itself failed: its files, its libraries, its memory of itself.
    ServerFailed = "server-failed" => Unreachable, "Read the server's log; where its programs were upgraded under it, restart it.";
    /// The server is older than PostgreSQL 15.
    ServerTooOld = "server-too-old" => Unreachable, "Upgrade the server to PostgreSQL 15 or newer.";
    /// An applied migration is not what it was when it was applied.
    Edited = "edited" => History, "Restore the file, or accept the edit with `kinedb repair`.";
    /// The database has a revision that this program does not know.
    UnknownApplied = "unknown-applied" => History, "Use the version of the program that has it.";
    /// A pending migration is older than the newest one applied.
    OutOfOrder = "out-of-order" => History, "Give it a new name, or allow it with `--allow-out-of-order`.";
    /// A step outside a transaction was begun and not finished.
    Unfinished = "unfinished" => Unfinished, "Run `kinedb upgrade` again: it looks at the real state and resumes.";
    /// The server is a standby or read-only.
    ReadOnly = "read-only" => ReadOnly, "Connect to the primary.";
    /// The connection goes through a pooler that shares sessions between transactions.
    Pooler = "pooler" => Pooler, "Connect to the server itself, or to a session pool.";
    /// A downgrade would destroy data and nobody consented to that for this database.
    DataLoss = "data-loss" => Refused, "Back up, then consent with `--accept-data-loss DATABASE`.";
    /// The database is not marked as one for development.
    NotDevelopment = "not-development" => Refused, "Name a development database; one that is meant to be is marked with `kinedb stamp --environment development`.";
    /// A guard refused what was asked.
    Refused = "refused" => Refused, "The message says what the guard protects and how to go on.";
    /// A migration's SQL failed; its transaction was rolled back.
    MigrationFailed = "migration-failed" => MigrationFailed, "Correct the SQL at the line that is named, then run `kinedb upgrade` again.";
    /// A migration cannot be undone.
    Irreversible = "irreversible" => MigrationFailed, "Write the way back as a new migration.";
    /// The audit trail is not what was sealed, or what guards it is not in place.
    AuditBroken = "audit-broken" => VerificationFailed, "Keep the database as it is, compare with a backup, and find out who had such rights; see `docs/audit.md`.";
    /// A backup, an export or an archive could not be written whole; nothing of it is left.
    BackupFailed = "backup-failed" => VerificationFailed, "Remove the cause that is named and run the command again.";
    /// The newest backup, the last proven restore or the archive of the write-ahead log is too old or failing.
    BackupStale = "backup-stale" => VerificationFailed, "Take a backup, prove it with `kinedb restore BACKUP --verify`, and repair the schedule.";
    /// What was restored, or what is to be restored, is not what was backed up.
    RestoreDiffers = "restore-differs" => VerificationFailed, "Do not use this backup; take the one before, and find out what happened to this one.";
    /// A fixture does not fit the schema.
    BadFixture = "bad-fixture" => Usage, "Correct the fixture at the line that is named.";
    /// The run was interrupted by SIGINT and rolled back.
    Interrupted = "interrupted" => Interrupted, "Run the command again.";
    /// The terminal that the run was started on is gone (SIGHUP); it was rolled back.
    HungUp = "hung-up" => HungUp, "Run the command again; `nohup` or `tmux` lets it outlive a terminal.";
    /// The run was ended by SIGTERM and rolled back.
    Terminated = "terminated" => Terminated, "Run the command again.";
}

/// One error that a user meets: lowercase fragment, cause chain around it, hint.
#[derive(Debug)]
pub struct Fault {
    code: Code,
    message: String,
    hint: Option<String>,
}

impl Fault {
    /// A fault of this code. `message` is a lowercase fragment without a full
    /// stop, names in backquotes, and never holds a password or data of a row.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds a command to type, shown behind `Hint:`.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The command to type, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The first fault in the chain of an error.
    pub fn of(error: &anyhow::Error) -> Option<&Fault> {
        error
            .downcast_ref()
            .or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// Shorthand for `Err(Fault::new(..).hint(..).into())`.
pub fn fail<T>(
    code: Code,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> anyhow::Result<T> {
    Err(Fault::new(code, message).hint(hint).into())
}
