//! Taking a backup: one snapshot for the dump and its manifest, into a folder that
//! gets its name when everything in it is on disk.

use std::fs::File;
use std::io::Read as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use super::manifest::{Dump, FILE, FORMAT, Manifest};
use super::programs::{self, Running};
use super::signature::{self, Key};
use super::{content, unwritten};
use crate::archive::{Outlet, Recipients, Written, sync_folder, write_whole};
use crate::db::Target;
use crate::db::ident::{Ident, Literal};
use crate::fault::{Code, Fault, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::history::State;

/// What is told while it runs.
pub enum Progress<'a> {
    /// So many bytes of the dump are written.
    Bytes(u64),
    /// This table was counted.
    Counted(&'a str, i64),
}

/// How to take it.
pub struct Plan<'a> {
    /// The database.
    pub target: &'a Target,
    /// The folder that the backup becomes.
    pub place: &'a Path,
    /// Who can read it.
    pub recipients: &'a Recipients,
    /// What the manifest is signed with, if it is.
    pub key: Option<&'a Key>,
    /// Names that a tenant's column may have.
    pub tenant_columns: &'a [String],
    /// Where the database is.
    pub state: &'a State,
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// A folder that vanishes unless it is kept.
pub(super) struct Staging(
    pub(super) PathBuf,
    #[expect(dead_code, reason = "held, for the lock on it")] File,
);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Staging {
    /// Beside the place that it is to become, for nobody else to enter.
    pub(super) fn beside(place: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        if place.exists() {
            return fail(
                Code::Refused,
                format!("`{}` exists, and nothing is written over", place.display()),
                "name a folder that does not exist yet",
            );
        }
        let Some(name) = place.file_name() else {
            return fail(
                Code::Usage,
                format!("`{}` names no folder", place.display()),
                "name a folder that does not exist yet",
            );
        };
        let beside = place.with_file_name(format!(
            ".{}.{}.partial",
            name.to_string_lossy(),
            Uuid::new_v4().simple()
        ));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&beside)
            .and_then(|()| File::open(&beside))
            .map(|lock| {
                // Where a file system knows no locks, an old one is not told from one in the making.
                let _ = lock.try_lock();
                Self(beside, lock)
            })
            .map_err(|cause| unwritten(place, &cause))
    }

    /// Gives it its name.
    pub(super) fn keep(self, place: &Path) -> anyhow::Result<()> {
        sync_folder(&self.0.join("x"))
            .and_then(|()| std::fs::rename(&self.0, place))
            .and_then(|()| sync_folder(place))
            .map_err(|cause| unwritten(place, &cause))
    }
}

/// Folders that backups and exports left in this one when they were killed: the system
/// frees the lock of whoever ends, however it ends.
pub fn left_behind(folder: &Path) -> Vec<PathBuf> {
    let dead = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.')
            && name.ends_with(".partial")
            && path.is_dir()
            && File::open(path).is_ok_and(|lock| lock.try_lock().is_ok())
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(dead).collect();
    found.sort();
    found
}

/// The role to read as: the user itself, or one that it may become.
async fn reader(conn: &mut PgConnection) -> anyhow::Result<Option<String>> {
    let (own, other, name): (bool, Option<String>, String) =
        sqlx::query_as(include_str!("sql/reader.sql"))
            .fetch_one(&mut *conn)
            .await
            .context("cannot look at the user's rights")?;
    if own {
        return Ok(None);
    }
    if other.is_some() {
        return Ok(other);
    }
    fail(
        Code::Refused,
        format!("row security binds `{name}`: its dump would lack rows, or all of them"),
        "as a superuser: alter role kine_backup bypassrls, and grant kine_backup to the login that takes backups",
    )
}

/// Takes a backup.
///
/// # Errors
/// `refused` for a role that row security binds or a place that exists, before a byte
/// is written; `no-postgres`; `backup-failed`. Nothing is left of a backup that failed.
pub async fn take(
    conn: &mut PgConnection,
    plan: &Plan<'_>,
    tell: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<Manifest> {
    let began = Instant::now();
    let role = reader(conn).await?;
    let program = programs::find("pg_dump", plan.state.server_version / 10_000)?;
    let staging = Staging::beside(plan.place)?;
    let mut open = format!(
        "begin isolation level repeatable read read only; {}",
        content::SETTINGS
    );
    if let Some(role) = &role {
        open.push_str(&format!("; set local role {}", Ident::new(role)));
    }
    conn.execute(sqlx::raw_sql(AssertSqlSafe(open)))
        .await
        .context("cannot begin to read the database")?;
    let (snapshot, taken_at): (String, String) = sqlx::query_as(
        "select pg_export_snapshot(), to_char(now() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    )
    .fetch_one(&mut *conn)
    .await
    .context("cannot take a snapshot")?;

    let mut command = programs::command(&program, plan.target);
    command
        .args([
            "--format=custom",
            "--no-password",
            "--lock-wait-timeout=60s",
        ])
        .arg(format!("--snapshot={snapshot}"));
    if let Some(role) = &role {
        command.arg(format!("--role={role}"));
    }
    let file = if plan.recipients.is_empty() {
        "dump.pgdump"
    } else {
        "dump.pgdump.age"
    };
    let outlet = Outlet::create(&staging.0.join(file), plan.recipients)
        .map_err(|cause| unwritten(plan.place, &cause))?;
    let mut running = Running::start(command, Stdio::null(), Stdio::piped())
        .with_context(|| format!("cannot start `{}`", program.path.display()))?;
    let passed = Arc::new(AtomicU64::new(0));
    let pump = pump(&mut running, outlet, Arc::clone(&passed));

    let counted = async {
        let about = content::about(conn).await?;
        let fingerprint = content::fingerprint(conn).await?;
        let tables = content::tables(conn, plan.tenant_columns, &mut |name, rows| {
            tell(Progress::Counted(name, rows));
        })
        .await?;
        let heads = content::heads(conn).await?;
        Ok::<_, anyhow::Error>((about, fingerprint, tables, heads))
    };
    let (about, fingerprint, tables, heads) = counted.await?;
    let written = finish(pump, &mut running, plan, &passed, tell).await?;
    conn.execute(sqlx::raw_sql("rollback"))
        .await
        .context("cannot end the snapshot")?;

    let manifest = Manifest {
        format: FORMAT,
        kinedb: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        database: about.database,
        applied: plan
            .state
            .applied
            .iter()
            .map(|one| (one.name.clone(), one.checksum.clone()))
            .collect(),
        roles: about.roles,
        fingerprint,
        tables,
        sequences: about.sequences,
        heads,
        dump: Dump {
            file: file.to_owned(),
            bytes: written.bytes,
            sha256: written.sha256,
            encrypted: !plan.recipients.is_empty(),
            pg_dump: program.major,
        },
    };
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    write_whole(&staging.0.join(FILE), text.as_bytes())
        .map_err(|cause| unwritten(plan.place, &cause))?;
    if let Some(key) = plan.key {
        let signed = key.sign(text.as_bytes())?;
        write_whole(&staging.0.join(signature::FILE), signed.as_bytes())
            .map_err(|cause| unwritten(plan.place, &cause))?;
    }
    plan.cancel.check()?;
    staging.keep(plan.place)?;
    Ok(manifest)
}

type Pump = tokio::task::JoinHandle<std::io::Result<Outlet>>;

/// Moves what the program writes to the file, on a thread of its own.
fn pump(running: &mut Running, mut outlet: Outlet, passed: Arc<AtomicU64>) -> Pump {
    let stdout = running.stdout();
    tokio::task::spawn_blocking(move || {
        let mut stdout = stdout.ok_or_else(|| std::io::Error::other("no output"))?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = stdout.read(&mut buffer)?;
            if count == 0 {
                return Ok(outlet);
            }
            outlet.write_all(&buffer[..count])?;
            passed.fetch_add(count as u64, Ordering::Relaxed);
        }
    })
}

/// Waits for the program, then makes its file last.
async fn finish(
    mut pump: Pump,
    running: &mut Running,
    plan: &Plan<'_>,
    passed: &AtomicU64,
    tell: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<Written> {
    let outlet = loop {
        tokio::select! {
            done = &mut pump => break done?,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                plan.cancel.check()?;
                tell(Progress::Bytes(passed.load(Ordering::Relaxed)));
            }
        }
    };
    let outlet = outlet.map_err(|cause| unwritten(plan.place, &cause))?;
    let succeeded = loop {
        match running.ended().context("cannot wait for pg_dump")? {
            Some(succeeded) => break succeeded,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    if !succeeded {
        let fault = Fault::new(
            Code::BackupFailed,
            format!("pg_dump failed: {}", running.said()),
        );
        return Err(fault
            .hint("remove the cause and run the command again; nothing of this backup is left")
            .into());
    }
    let finished = tokio::task::spawn_blocking(move || outlet.finish()).await?;
    finished.map_err(|cause| unwritten(plan.place, &cause))
}

/// Quoted for a comment or a statement.
pub(super) fn quoted(text: &str) -> String {
    Literal::new(text).to_string()
}
