//! All that can be refused before a byte is restored: a dump that is not the one
//! that was written, a missing key, an older server, missing roles, a full target.

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::manifest::Role;
use super::programs::{self, Program};
use super::restore::Plan;
use crate::archive::{measure, open};
use crate::db::connect;
use crate::db::ident::Ident;
use crate::fault::{Code, Fault, fail};

/// All that can be said before a byte is restored.
pub(super) async fn before_data(
    plan: &Plan<'_>,
    door: &mut PgConnection,
) -> anyhow::Result<(Program, String)> {
    let manifest = plan.manifest;
    // What needs no reading of the dump comes first: it may be terabytes.
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
            "a restore gives objects back to their owners, which only a superuser of the server may",
            "name one: kinedb restore BACKUP -u postgres://postgres@HOST/DATABASE",
        );
    }
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
