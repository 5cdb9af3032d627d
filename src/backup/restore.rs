//! Bringing a backup back: into a database of its own that gets its name when all
//! of it was compared with the manifest and found isolated, or is dropped.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::compare::Difference;
use super::dump::quoted;
use super::manifest::Manifest;
use super::programs::{self, Program, Running};
use super::prove::prove;
use super::ready::before_data;
use crate::archive::{Identities, open};
use crate::db::ident::Ident;
use crate::db::{Target, connect};
use crate::fault::{Code, fail};
use crate::migrate::cancel::Cancel;
use crate::verify;

/// The mark on a database that a restore has not finished.
const MARK: &str = "kinedb: a restore that is not finished";

/// How to restore.
pub struct Plan<'a> {
    /// The backup's folder.
    pub backup: &'a Path,
    /// What it must hold.
    pub manifest: &'a Manifest,
    /// A database on the server that can be connected to now.
    pub door: &'a Target,
    /// The name that the restored database gets; none for a drill, after which it is dropped.
    pub name: Option<&'a str>,
    /// The keys.
    pub identities: &'a Identities,
    /// Make roles that are missing, without login.
    pub create_roles: bool,
    /// What verify-rls is told; none where only the catalogue can tell.
    pub isolation: &'a verify::Config,
    /// Names that a tenant's column may have.
    pub tenant_columns: &'a [String],
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// Everything that is not as it was backed up.
    pub differences: Vec<Difference>,
    /// What verify-rls says.
    pub isolation: String,
    /// Milliseconds until the data was back.
    pub restore_ms: u64,
    /// Milliseconds until it was compared and proven.
    pub verify_ms: u64,
    /// Rows that agree.
    pub rows: i64,
}

/// What is told while it runs.
pub enum Progress {
    /// So many bytes of the dump went to pg_restore.
    Bytes(u64),
    /// The data is back; it is compared now.
    Comparing,
}

/// Checks everything that can be checked before data, restores, compares.
///
/// # Errors
/// `refused` where the target is not empty, the server is older, a key is missing;
/// `restore-differs` where the dump is damaged or roles are missing; `privilege`.
/// A difference found after the restore is no error here: it is in the outcome, and
/// the database is dropped.
pub async fn restore(plan: &Plan<'_>, tell: &mut dyn FnMut(Progress)) -> anyhow::Result<Outcome> {
    let mut door = connect(plan.door, "restore").await?;
    let (program, name) = before_data(plan, &mut door).await?;
    create(plan, &mut door, &name).await?;
    let outcome = into_scratch(plan, &program, &name, tell).await;
    let keep = outcome
        .as_ref()
        .is_ok_and(|outcome| outcome.differences.is_empty());
    match plan.name.filter(|_| keep) {
        Some(wanted) => hand_over(&mut door, &name, wanted).await?,
        None => drop_database(&mut door, &name).await?,
    }
    outcome
}

/// A database that nobody but superusers enters until it is whole.
async fn create(plan: &Plan<'_>, door: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    let about = &plan.manifest.database;
    let ident = Ident::new(name);
    let create = format!(
        "create database {ident} template template0 encoding {} lc_collate {} lc_ctype {}",
        quoted(&about.encoding),
        quoted(&about.collate),
        quoted(&about.ctype)
    );
    for statement in [
        create,
        format!("comment on database {ident} is {}", quoted(MARK)),
        format!("revoke all on database {ident} from public"),
    ] {
        door.execute(sqlx::raw_sql(AssertSqlSafe(statement)))
            .await
            .with_context(|| format!("cannot make the database `{name}`"))?;
    }
    Ok(())
}

async fn into_scratch(
    plan: &Plan<'_>,
    program: &Program,
    name: &str,
    tell: &mut dyn FnMut(Progress),
) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let target = plan.door.with_database(name);
    load(plan, program, &target, tell).await?;
    settle(plan, &target, name).await?;
    let restored = began.elapsed();
    tell(Progress::Comparing);
    plan.cancel.check()?;
    let mut outcome = prove(plan, &target).await?;
    outcome.restore_ms = u64::try_from(restored.as_millis()).unwrap_or(u64::MAX);
    outcome.verify_ms = u64::try_from((began.elapsed() - restored).as_millis()).unwrap_or(u64::MAX);
    Ok(outcome)
}

/// Streams the dump through decryption into pg_restore.
async fn load(
    plan: &Plan<'_>,
    program: &Program,
    target: &Target,
    tell: &mut dyn FnMut(Progress),
) -> anyhow::Result<()> {
    let path = plan.manifest.dump_path(plan.backup);
    let mut source = open(&path, plan.manifest.dump.encrypted, plan.identities)?;
    let mut command = programs::command(program, target);
    command
        .args(["--format=custom", "--no-password", "--exit-on-error"])
        .arg("--dbname")
        .arg(target.database());
    let mut running = Running::start(command, Stdio::piped(), Stdio::null())
        .with_context(|| format!("cannot start `{}`", program.path.display()))?;
    let stdin = running.stdin();
    let passed = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&passed);
    let mut pump = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        let mut stdin = stdin.ok_or_else(|| std::io::Error::other("no input"))?;
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = source.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stdin.write_all(&buffer[..count])?;
            counted.fetch_add(count as u64, Ordering::Relaxed);
        }
    });
    let fed = loop {
        tokio::select! {
            done = &mut pump => break done?,
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                plan.cancel.check()?;
                tell(Progress::Bytes(passed.load(Ordering::Relaxed)));
            }
        }
    };
    let succeeded = loop {
        match running.ended().context("cannot wait for pg_restore")? {
            Some(succeeded) => break succeeded,
            None => {
                plan.cancel.check()?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let why = match (succeeded, fed) {
        (true, Ok(())) => return Ok(()),
        (true, Err(cause)) => cause.to_string(),
        (false, _) => running.said(),
    };
    fail(
        Code::RestoreDiffers,
        format!("the dump cannot be restored: {why}"),
        "take another backup; `kinedb backup check --in FOLDER` lists them",
    )
}

/// What pg_dump leaves to others: owner, grants and settings of the database itself.
async fn settle(plan: &Plan<'_>, target: &Target, name: &str) -> anyhow::Result<()> {
    let about = &plan.manifest.database;
    let ident = Ident::new(name);
    let mut statements = vec![format!(
        "alter database {ident} owner to {}",
        Ident::new(&*about.owner)
    )];
    for (role, privilege, grantable) in &about.grants {
        let known = ["CREATE", "CONNECT", "TEMPORARY"].contains(&privilege.as_str());
        // A scratch database stays closed to everyone.
        if !known || (plan.name.is_none() && role.is_none() && privilege == "CONNECT") {
            continue;
        }
        let to = role.as_ref().map_or_else(
            || "public".to_owned(),
            |role| Ident::new(&**role).to_string(),
        );
        let option = if *grantable { " with grant option" } else { "" };
        statements.push(format!(
            "grant {privilege} on database {ident} to {to}{option}"
        ));
    }
    for (role, setting, value) in &about.settings {
        let of = role.as_ref().map_or_else(
            || format!("alter database {ident}"),
            |role| format!("alter role {} in database {ident}", Ident::new(&**role)),
        );
        statements.push(format!(
            "{of} set {} = {}",
            Ident::new(&**setting),
            setting_value(setting, value)
        ));
    }
    let mut conn = connect(target, "restore").await?;
    for statement in statements {
        conn.execute(sqlx::raw_sql(AssertSqlSafe(statement)))
            .await
            .context("cannot give the database its owner and grants")?;
    }
    conn.execute(sqlx::raw_sql("analyze"))
        .await
        .context("cannot gather statistics")?;
    let _ = conn.close().await;
    Ok(())
}

/// The catalogue keeps lists of names quoted one by one; as one literal they would be one name.
fn setting_value(setting: &str, value: &str) -> String {
    const LISTS: &[&str] = &[
        "search_path",
        "temp_tablespaces",
        "session_preload_libraries",
        "local_preload_libraries",
    ];
    if !LISTS.contains(&setting) {
        return quoted(value);
    }
    let names = value
        .split(", ")
        .map(|name| quoted(&name.trim_matches('"').replace("\"\"", "\"")));
    names.collect::<Vec<_>>().join(", ")
}

async fn hand_over(door: &mut PgConnection, name: &str, wanted: &str) -> anyhow::Result<()> {
    // The empty one that was there gives its name; both in one go would need no other session.
    for statement in [
        format!("drop database if exists {}", Ident::new(wanted)),
        format!(
            "alter database {} rename to {}",
            Ident::new(name),
            Ident::new(wanted)
        ),
        format!("comment on database {} is null", Ident::new(wanted)),
    ] {
        door.execute(sqlx::raw_sql(AssertSqlSafe(statement)))
            .await
            .with_context(|| {
                format!("`{name}` is restored and proven, and cannot get its name `{wanted}`")
            })?;
    }
    Ok(())
}

async fn drop_database(door: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    let text = format!("drop database if exists {} with (force)", Ident::new(name));
    door.execute(sqlx::raw_sql(AssertSqlSafe(text)))
        .await
        .map(drop)
        .with_context(|| format!("cannot drop the scratch database `{name}`"))
}

/// Databases that restores left behind when they were killed.
///
/// # Errors
/// A lost connection.
pub async fn left_behind(conn: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    sqlx::query_scalar(
        "select d.datname::text from pg_catalog.pg_database d \
         where pg_catalog.shobj_description(d.oid, 'pg_database') = $1 \
           and not exists (select from pg_catalog.pg_stat_activity a where a.datid = d.oid) order by 1",
    )
    .bind(MARK)
    .fetch_all(&mut *conn)
    .await
    .context("cannot look for restores that were not finished")
}
