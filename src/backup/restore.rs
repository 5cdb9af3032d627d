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

use super::compare::{self, Difference, Restored};
use super::content;
use super::dump::quoted;
use super::manifest::{Manifest, Role};
use super::programs::{self, Program, Running};
use crate::archive::{Identities, measure, open};
use crate::audit;
use crate::db::ident::Ident;
use crate::db::{Target, connect};
use crate::fault::{Code, Fault, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::verify;
use crate::verify::finding::Verdict;

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

/// All that can be said before a byte is restored.
async fn before_data(
    plan: &Plan<'_>,
    door: &mut PgConnection,
) -> anyhow::Result<(Program, String)> {
    let manifest = plan.manifest;
    let path = manifest.dump_path(plan.backup);
    let damaged = |what: String| {
        Fault::new(
            Code::RestoreDiffers,
            format!(
                "the dump `{}` is not the one that was written: {what}",
                path.display()
            ),
        )
        .hint("take another backup; `kinedb backup check --in FOLDER` lists them")
    };
    let found = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || measure(&path)).await?
    };
    let found = found.map_err(|cause| damaged(format!("it cannot be read: {cause}")))?;
    if found.bytes != manifest.dump.bytes {
        return Err(damaged(format!("{} bytes of {}", found.bytes, manifest.dump.bytes)).into());
    }
    if found.sha256 != manifest.dump.sha256 {
        return Err(damaged("its checksum is another one".to_owned()).into());
    }
    // A missing or a wrong key is told now, not with a database half made.
    drop(open(&path, manifest.dump.encrypted, plan.identities)?);
    plan.cancel.check()?;

    let (version, superuser): (i32, bool) = sqlx::query_as(
        "select current_setting('server_version_num')::int, current_setting('is_superuser') = 'on'",
    )
    .fetch_one(&mut *door)
    .await
    .context("cannot look at the server")?;
    let (ours, theirs) = (version / 10_000, manifest.database.server_version / 10_000);
    if ours < theirs {
        return fail(
            Code::Refused,
            format!(
                "the backup is of PostgreSQL {theirs}, and this server is {ours}: an older server cannot hold it"
            ),
            format!("name a server of PostgreSQL {theirs} or newer"),
        );
    }
    if !superuser {
        return fail(
            Code::Privilege,
            "a restore gives objects to several owners, which only a superuser may",
            "use a superuser of the server that is restored to",
        );
    }
    missing_roles(plan, door).await?;
    let program = programs::find("pg_restore", manifest.dump.pg_dump.max(theirs))?;
    let suffix = &uuid::Uuid::new_v4().simple().to_string()[..12];
    let name = match plan.name {
        Some(wanted) => {
            refuse_full(plan, door, wanted).await?;
            let short: String = wanted.chars().take(12).collect();
            format!("{short}_restore_{suffix}")
        }
        None => format!("kinedb_restore_{suffix}"),
    };
    Ok((program, name))
}

/// Without its roles PostgreSQL drops a policy and keeps the data.
async fn missing_roles(plan: &Plan<'_>, door: &mut PgConnection) -> anyhow::Result<()> {
    let there: Vec<String> = sqlx::query_scalar("select rolname::text from pg_catalog.pg_roles")
        .fetch_all(&mut *door)
        .await
        .context("cannot list the roles")?;
    let missing: Vec<&Role> = plan
        .manifest
        .roles
        .iter()
        .filter(|role| !there.contains(&role.name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let statements: Vec<String> = missing
        .iter()
        .map(|role| {
            let bypasses = if role.bypassrls { " bypassrls" } else { "" };
            format!("create role {} nologin{bypasses};", Ident::new(&*role.name))
        })
        .collect();
    if plan.create_roles {
        for statement in statements {
            door.execute(sqlx::raw_sql(AssertSqlSafe(statement)))
                .await
                .context("cannot make a role")?;
        }
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|role| role.name.as_str()).collect();
    fail(
        Code::RestoreDiffers,
        format!(
            "roles are missing on this server: `{}`; without them policies would be lost and the data kept",
            names.join("`, `")
        ),
        format!(
            "make them, or let `--create-roles` do it:\n  {}",
            statements.join("\n  ")
        ),
    )
}

/// Only a database that does not exist or holds nothing is restored over.
async fn refuse_full(plan: &Plan<'_>, door: &mut PgConnection, wanted: &str) -> anyhow::Result<()> {
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(wanted)
            .fetch_one(&mut *door)
            .await
            .context("cannot list the databases")?;
    if !there {
        return Ok(());
    }
    let mut target = connect(&plan.door.with_database(wanted), "restore").await?;
    let (relations, others): (i64, i64) = sqlx::query_as(include_str!("sql/full.sql"))
        .fetch_one(&mut target)
        .await
        .context("cannot look into the target")?;
    let _ = target.close().await;
    if relations > 0 || others > 0 {
        return fail(
            Code::Refused,
            format!("database `{wanted}` is not empty, and nothing is restored over data"),
            "name a database that does not exist yet, or try the backup with --verify",
        );
    }
    Ok(())
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

/// Compares everything, then proves isolation anew.
async fn prove(plan: &Plan<'_>, target: &Target) -> anyhow::Result<Outcome> {
    let mut conn = connect(target, "restore").await?;
    let state = history::read(&mut conn).await?;
    plan.cancel.set_backend(state.backend);
    let open = format!(
        "begin isolation level repeatable read read only; {}",
        content::SETTINGS
    );
    conn.execute(sqlx::raw_sql(AssertSqlSafe(open)))
        .await
        .context("cannot begin to compare")?;
    let about = content::about(&mut conn).await?;
    let mut fingerprint = content::fingerprint(&mut conn).await?;
    if plan.name.is_none() {
        reopen(&mut fingerprint, &plan.manifest.fingerprint);
    }
    let tables = content::tables(&mut conn, plan.tenant_columns, &mut |_, _| {}).await?;
    conn.execute(sqlx::raw_sql("rollback"))
        .await
        .context("cannot end the comparison")?;
    let applied: Vec<_> = state
        .applied
        .iter()
        .map(|one| (one.name.clone(), one.checksum.clone()))
        .collect();
    let mut differences = compare::compare(
        plan.manifest,
        &Restored {
            tables: &tables,
            fingerprint: &fingerprint,
            applied: &applied,
            sequences: &about.sequences,
        },
    );
    plan.cancel.check()?;
    trail(plan, &mut conn, &mut differences).await?;
    let options = verify::Options::default();
    let report = verify::verify(&mut conn, plan.isolation, &options).await?;
    let isolation = match report.verdict {
        Verdict::Isolated => "isolated",
        Verdict::Leak => "leak",
        Verdict::Unproven => "unproven",
    };
    if report.verdict != Verdict::Isolated {
        let first = report.findings.first();
        differences.push(Difference {
            kind: "isolation",
            place: first.map_or_else(
                || "the database".to_owned(),
                |one| format!("`{}`", one.object),
            ),
            detail: first.map_or_else(
                || isolation.to_owned(),
                |one| format!("{isolation}: {}", one.title),
            ),
        });
    }
    let _ = conn.close().await;
    Ok(Outcome {
        differences,
        isolation: isolation.to_owned(),
        restore_ms: 0,
        verify_ms: 0,
        rows: plan.manifest.rows(),
    })
}

/// A drill keeps the public out on purpose; that one line is no difference.
fn reopen(found: &mut Vec<(String, String, String)>, wanted: &[(String, String, String)]) {
    let line = |one: &&(String, String, String)| one.0 == "database" && one.1 == "grant to public";
    if let Some(wanted) = wanted.iter().find(line) {
        let mut granted: Vec<&str> = found
            .iter()
            .filter(|one| line(one))
            .flat_map(|one| one.2.split(", "))
            .collect();
        granted.push("CONNECT");
        granted.sort_unstable();
        let granted = granted.join(", ");
        found.retain(|one| !line(&one));
        if wanted.2.split(", ").any(|privilege| privilege == "CONNECT") {
            found.push((wanted.0.clone(), wanted.1.clone(), granted));
        }
    }
}

/// The audit chains must be those that were backed up, and whole.
async fn trail(
    plan: &Plan<'_>,
    conn: &mut PgConnection,
    differences: &mut Vec<Difference>,
) -> anyhow::Result<()> {
    if plan.manifest.heads.is_empty() {
        return Ok(());
    }
    let heads = audit::heads::Heads {
        database: plan.manifest.database.name.clone(),
        taken_at: plan.manifest.taken_at.clone(),
        heads: plan.manifest.heads.clone(),
    };
    let access = audit::access::find(conn).await?;
    audit::access::begin_reading(conn, &access).await?;
    let mut problems = Vec::new();
    let whole = audit::guards::present(conn, &mut problems).await?;
    if whole {
        audit::guards::check(conn, &mut problems).await?;
    }
    for head in heads.heads.iter().filter(|_| whole) {
        audit::verify::verify(
            conn,
            &access,
            head.tenant,
            Some(&heads),
            &mut problems,
            &mut |_| {},
        )
        .await?;
        audit::rows::versions(conn, head.tenant, &mut problems).await?;
    }
    audit::end(conn).await?;
    differences.extend(problems.into_iter().map(|problem| Difference {
        kind: "audit",
        place: problem.range.clone(),
        detail: problem.to_string(),
    }));
    Ok(())
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
