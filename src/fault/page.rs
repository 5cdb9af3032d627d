//! What `docs/errors.md` says of each code beyond its one sentence: the usual
//! causes, what to type, whether trying again helps.

use crate::fault::Code;

/// Whether the same command may succeed without anybody doing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It may: a pipeline tries again by itself.
    Later,
    /// It may where the server or the network was the cause.
    Perhaps,
    /// It will not.
    No,
}

impl Retry {
    /// For the page.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Later => "yes: a pipeline may try again by itself",
            Self::Perhaps => {
                "where the server or the network was the cause; a wrong setting stays wrong"
            }
            Self::No => "no: something has to change first",
        }
    }
}

/// The page of one code.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The usual causes, as sentences.
    pub causes: &'static [&'static str],
    /// What to type, each with what it is for.
    pub steps: &'static [(&'static str, &'static str)],
    /// Whether trying again helps.
    pub retry: Retry,
}

const fn page(
    causes: &'static [&'static str],
    steps: &'static [(&'static str, &'static str)],
    retry: Retry,
) -> Page {
    Page {
        causes,
        steps,
        retry,
    }
}

impl Code {
    /// Its page in `docs/errors.md`.
    pub fn page(self) -> Page {
        use Retry::{Later, No, Perhaps};
        match self {
            Self::Internal => page(
                &[
                    "A case that nobody thought of. An open transaction is rolled back when the process ends.",
                ],
                &[
                    ("kinedb status", "shows where the database is"),
                    (
                        "kinedb upgrade --log-format json",
                        "runs again and keeps lines to send with the report",
                    ),
                ],
                No,
            ),
            Self::Usage => page(
                &[
                    "A flag is misspelt, or two exclude each other.",
                    "A duration has no unit: write `30s` or `5m`.",
                    "A migration outside a transaction was asked for together with `--single-transaction` or `--dry-run`.",
                ],
                &[("kinedb upgrade --help", "lists what a command takes")],
                No,
            ),
            Self::NoTarget => page(
                &[
                    "The variable `DATABASE_URL` is not set in this environment: a secret is missing in the job, or `sudo` dropped it.",
                    "A laptop without a database: then `--dev` is what was meant.",
                ],
                &[
                    ("kinedb status --dev", "takes the local server"),
                    (
                        "kinedb status --database-url-file /run/secrets/url",
                        "takes the URL from a file",
                    ),
                ],
                No,
            ),
            Self::BadUrl => page(
                &[
                    "A password with `@`, `/`, `?`, `#` or `&` that is not percent-encoded.",
                    "A parameter that kinedb does not know, such as one of another driver.",
                ],
                &[(
                    "kinedb status --database-url postgres://kine@db.example:5432/clinic",
                    "is the form; the password goes into `PGPASSWORD` or a file",
                )],
                No,
            ),
            Self::BadFile => page(
                &[
                    "The folder or the file that was named does not exist, or is not readable by this user.",
                    "A quote or a comment in a migration is not closed.",
                    "A migration begins or ends a transaction by itself.",
                ],
                &[("kinedb show NAME", "prints a migration as kinedb reads it")],
                No,
            ),
            Self::BadConfig => page(
                &[
                    "A key of `kinedb.toml` is misspelt.",
                    "A query in it fails, or does not give what it is for.",
                    "It names a role or a table that does not exist.",
                ],
                &[(
                    "kinedb verify-rls --config kinedb.toml",
                    "reads it again after the correction",
                )],
                No,
            ),
            Self::UnknownRevision => page(
                &[
                    "The part of a name fits nothing in this program's list; it may be that of a newer version.",
                    "More steps were asked for than there are.",
                ],
                &[("kinedb history", "lists all revisions")],
                No,
            ),
            Self::AmbiguousRevision => page(
                &["Several names contain the part that was given."],
                &[("kinedb history", "lists all revisions")],
                No,
            ),
            Self::NoPostgres => page(
                &[
                    "The client package is installed, the server package is not.",
                    "The programs lie outside of the usual places.",
                    "They are older than version 15.",
                ],
                &[("kinedb dev status", "says which programs it takes")],
                No,
            ),
            Self::BadDevFolder => page(
                &[
                    "The folder belongs to another user, or its path is too long for a socket.",
                    "It holds the data of another major version.",
                ],
                &[
                    (
                        "kinedb dev start --dev-dir /var/tmp/kine",
                        "takes another folder",
                    ),
                    ("kinedb dev reset", "starts from nothing"),
                ],
                No,
            ),
            Self::DevServerFailed => page(
                &[
                    "The disk is full.",
                    "The data folder was damaged by a crash.",
                    "The machine has no shared memory left.",
                ],
                &[
                    ("kinedb dev status", "names the log"),
                    ("kinedb dev reset", "starts from nothing"),
                ],
                Perhaps,
            ),
            Self::Pending => page(
                &[
                    "The code was deployed before its migrations.",
                    "The command is one that only looks: this is its answer.",
                ],
                &[
                    ("kinedb upgrade --check", "lists what is pending"),
                    ("kinedb upgrade", "applies it"),
                ],
                No,
            ),
            Self::NotIsolated => page(
                &[
                    "A policy, a grant, a view or a function lets a tenant reach another one's rows.",
                    "Something could not be proven: a role is missing, a table is not classified, the login is bound by row security.",
                ],
                &[
                    ("kinedb verify-rls", "lists every finding with its repair"),
                    (
                        "kinedb verify-rls --explain policy-open",
                        "tells one check whole",
                    ),
                ],
                No,
            ),
            Self::GateRefused => page(
                &[
                    "A migration adds a table without a policy file, a policy that lets everything through, or a grant beyond the class of its table.",
                    "The table is right and `kinedb.toml` does not say what it is.",
                ],
                &[
                    (
                        "kinedb upgrade --dry-run",
                        "tries the corrected migration and rolls it back",
                    ),
                    (
                        "kinedb verify-rls --explain policy-open",
                        "tells the check whole",
                    ),
                ],
                No,
            ),
            Self::Locked => page(
                &[
                    "Another deployment runs at the same time; the message names its process, application and host.",
                    "A run hangs because somebody holds a lock that it waits for.",
                    "A machine died: the server frees the lock when it notices, after seconds.",
                ],
                &[
                    ("kinedb upgrade --lock-wait 10m", "waits for it longer"),
                    (
                        "select pg_terminate_backend(PID)",
                        "ends the holder that the message names; its work is rolled back",
                    ),
                ],
                Later,
            ),
            Self::BudgetSpent => page(
                &[
                    "A long transaction or a report holds a lock on the table.",
                    "A running backup (`pg_dump`) does.",
                    "A statement takes longer than `--statement-timeout` or the role's own limit.",
                ],
                &[
                    (
                        "kinedb upgrade --lock-budget 30m",
                        "goes on trying for longer",
                    ),
                    (
                        "select pg_terminate_backend(PID)",
                        "ends the session that the message names",
                    ),
                    (
                        "kinedb upgrade --statement-timeout 0s",
                        "lets a statement take its time",
                    ),
                ],
                Later,
            ),
            Self::Unreachable => page(
                &[
                    "The server is starting, or restarting after a failover.",
                    "Host, port or the folder of the socket are wrong, or a firewall is between.",
                    "The server, the database or the role has no connection left.",
                ],
                &[
                    (
                        "pg_isready -h HOST -p PORT",
                        "tells whether a server answers there",
                    ),
                    (
                        "kinedb upgrade --wait 60s",
                        "waits for a server that starts, or for a connection that comes free",
                    ),
                ],
                Perhaps,
            ),
            Self::Authentication => page(
                &[
                    "No password was given: the variable is not set in this environment, or others may read the password file, so it is left out.",
                    "The password was changed or the secret is that of another environment.",
                    "The role does not exist, or may not log in.",
                    "`pg_hba.conf` has no line for this user, database and address.",
                ],
                &[(
                    "kinedb status --database-url-file /run/secrets/url",
                    "reads the URL that is meant",
                )],
                No,
            ),
            Self::NoDatabase => page(
                &[
                    "The name is misspelt.",
                    "A new environment: the database is made by whoever makes the server, not by a migration.",
                ],
                &[
                    ("createdb clinic", "makes it"),
                    ("kinedb upgrade", "fills it"),
                ],
                No,
            ),
            Self::Tls => page(
                &[
                    "The server has no TLS, and beyond this machine it is required.",
                    "Its certificate is signed by an authority that this machine does not know, or is for another name.",
                ],
                &[
                    (
                        "kinedb status --database-url \"postgres://kine@db.example/clinic?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem\"",
                        "names the authority",
                    ),
                    (
                        "kinedb status --database-url \"postgres://kine@db.example/clinic?sslmode=disable\"",
                        "means plain text",
                    ),
                ],
                No,
            ),
            Self::Privilege => page(
                &[
                    "The migrator is no member of `kine_owner`, or for the proof not of `kine_app`.",
                    "The first run makes roles and needs CREATEROLE.",
                    "A table belongs to somebody else.",
                ],
                &[(
                    "grant kine_owner to migrator",
                    "is one of the grants that the message lists",
                )],
                No,
            ),
            Self::ConnectionLost => page(
                &[
                    "An administrator ended the session.",
                    "The server stopped and did not come back within a minute.",
                    "A proxy or a firewall cut an idle connection.",
                    "The server came back without commits of this run: it crashed with synchronous_commit off, or a standby that was behind took over.",
                ],
                &[
                    ("kinedb status", "shows what was committed"),
                    ("kinedb upgrade", "goes on from there"),
                ],
                Later,
            ),
            Self::ServerFailed => page(
                &[
                    "Its programs were upgraded and it was not restarted: it cannot load its own libraries.",
                    "Files of the database are missing or damaged, or the disk fails.",
                    "A bug of the server, or of an extension.",
                ],
                &[
                    (
                        "select pg_current_logfile()",
                        "tells which file its log is in",
                    ),
                    (
                        "select pg_postmaster_start_time()",
                        "tells whether it was restarted since",
                    ),
                ],
                No,
            ),
            Self::ServerTooOld => page(
                &[
                    "The server is version 14 or older: it has no views that run with their reader's rights.",
                ],
                &[("select version()", "tells which one answers")],
                No,
            ),
            Self::Edited => page(
                &[
                    "A migration that shipped was edited. Comments and white space do not count.",
                    "A branch was merged that had been applied before it was finished.",
                ],
                &[
                    ("kinedb status", "names the migration"),
                    (
                        "kinedb repair --reason \"reformatted\"",
                        "accepts an edit that makes the same catalogue, and records why",
                    ),
                ],
                No,
            ),
            Self::UnknownApplied => page(
                &[
                    "An older version of the program runs against a newer database: a rollback of the deployment, or a stale image.",
                    "A migration was removed from the list.",
                ],
                &[
                    ("kinedb history", "shows what the database has"),
                    (
                        "kinedb downgrade -1",
                        "typed with the newer program, takes back its last one",
                    ),
                ],
                No,
            ),
            Self::OutOfOrder => page(
                &["Two branches were merged in another order than their migrations were written."],
                &[(
                    "kinedb upgrade --allow-out-of-order",
                    "applies it where it does not depend on the newer ones",
                )],
                No,
            ),
            Self::Unfinished => page(
                &[
                    "A migration outside a transaction was killed or failed between two of its statements.",
                    "An index could not be built: duplicate rows, a full disk.",
                ],
                &[
                    ("kinedb status", "names it"),
                    ("kinedb upgrade", "looks at the real state and resumes"),
                ],
                Perhaps,
            ),
            Self::ReadOnly => page(
                &[
                    "The address leads to a standby: a failover moved the primary.",
                    "`default_transaction_read_only` is set for the role or the database.",
                ],
                &[
                    ("show default_transaction_read_only", "tells the setting"),
                    (
                        "kinedb upgrade --wait 60s",
                        "is run again with the primary's address",
                    ),
                ],
                Perhaps,
            ),
            Self::Pooler => page(
                &[
                    "The URL is that of PgBouncer or of a hosted pooler; its transaction mode gives each transaction another session.",
                ],
                &[(
                    "kinedb upgrade --allow-pooler",
                    "goes through it with locks of transactions only",
                )],
                No,
            ),
            Self::DataLoss => page(
                &["The way down drops a table or a column that holds rows."],
                &[
                    ("kinedb downgrade -1 --dry-run", "shows what would be lost"),
                    (
                        "kinedb downgrade -1 --accept-data-loss clinic",
                        "consents, for this database by name",
                    ),
                ],
                No,
            ),
            Self::NotDevelopment => page(
                &[
                    "The database is marked for something else, or not at all.",
                    "The variable `DATABASE_URL` points at another database than you think: the first line of stderr names it.",
                ],
                &[
                    ("kinedb status", "names the database"),
                    (
                        "kinedb stamp --environment development",
                        "marks one that is meant to be",
                    ),
                ],
                No,
            ),
            Self::Refused => page(
                &[
                    "Audit data or versions would be lost.",
                    "A database that is to be stamped is not what the migrations make.",
                    "A step would lock tables that are in use.",
                ],
                &[("kinedb status", "shows where the database is")],
                No,
            ),
            Self::MigrationFailed => page(
                &[
                    "The SQL is wrong; the message has file, line, column and SQLSTATE.",
                    "The data does not allow it: a constraint, a cast, a duplicate.",
                    "Row security hid all rows from a change of data.",
                ],
                &[
                    (
                        "kinedb upgrade --dry-run",
                        "tries the corrected file and rolls it back",
                    ),
                    ("kinedb upgrade", "goes on: what came before it is applied"),
                ],
                No,
            ),
            Self::Irreversible => page(
                &["The migration says that it cannot be undone, or has no way down."],
                &[
                    ("kinedb show NAME", "gives the reason"),
                    (
                        "kinedb revision -m \"undo visits\"",
                        "writes the way back as a new migration",
                    ),
                ],
                No,
            ),
            Self::AuditBroken => page(
                &[
                    "Somebody with the rights of a superuser or of the owner changed, removed or added events or versions.",
                    "A trigger or a policy that guards them was switched off or replaced.",
                    "The heads that were compared are those of another database.",
                ],
                &[
                    (
                        "kinedb audit verify",
                        "names the clinic and the range again",
                    ),
                    (
                        "kinedb audit show --tenant 7c6da189-8d88-55b3-a737-299e5fd3389c",
                        "prints the events of a clinic",
                    ),
                ],
                No,
            ),
            Self::BackupFailed => page(
                &[
                    "The disk of the backup is full, or the folder may not be written to.",
                    "The server ended the session of the dump.",
                    "The programs of PostgreSQL are of another version than the server.",
                ],
                &[(
                    "kinedb backup check --in backups",
                    "tells how old the newest whole backup is",
                )],
                Perhaps,
            ),
            Self::BackupStale => page(
                &[
                    "The job that takes backups has not run, or fails.",
                    "No restore was proven for longer than the schedule allows.",
                    "The archive of the write-ahead log fails or is not set up.",
                ],
                &[(
                    "kinedb backup check --in backups",
                    "looks again after the repair",
                )],
                No,
            ),
            Self::RestoreDiffers => page(
                &[
                    "The dump was damaged or cut short on its way.",
                    "It was taken by a login that row security binds, or a role is missing here.",
                    "The manifest, or a file of an export, was changed after it was written.",
                ],
                &[(
                    "kinedb backup check --in backups",
                    "tells of the other backups",
                )],
                No,
            ),
            Self::BadFixture => page(
                &[
                    "A fixture names a column or a row that is not there, or a value that a constraint refuses.",
                ],
                &[("kinedb seed --dev", "loads it again")],
                No,
            ),
            Self::Interrupted => page(
                &["Ctrl-C, or a pipeline that was cancelled."],
                &[
                    ("kinedb status", "shows what was committed before"),
                    ("kinedb upgrade", "goes on from there"),
                ],
                Later,
            ),
            Self::HungUp => page(
                &[
                    "The terminal was closed, or the connection to the machine broke.",
                    "A process that manages others sent SIGHUP to have it read its configuration again: kinedb has none to read.",
                ],
                &[
                    ("kinedb status", "shows what was committed before"),
                    ("kinedb upgrade", "goes on from there"),
                    (
                        "nohup kinedb upgrade --log-file kinedb.log &",
                        "is a run that no hangup ends",
                    ),
                ],
                Later,
            ),
            Self::Terminated => page(
                &["The job's time was over, or its node was drained."],
                &[
                    ("kinedb status", "shows what was committed before"),
                    ("kinedb upgrade", "goes on from there"),
                ],
                Later,
            ),
        }
    }
}
