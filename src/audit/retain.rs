//! Retention: months older than the law asks for leave the database, after they
//! stand in an archive that was read back. The floor lies in the database, where no
//! command line reaches it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{refused, rollback, send};
use crate::archive::{Outlet, Recipients, Written, measure};
use crate::db::ident::Ident;
use crate::fault::{Code, Fault, fail};

/// A month that may go.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Month {
    /// `YYYY-MM`, in UTC.
    pub month: String,
    /// Its events.
    pub events: i64,
    /// In so many clinics.
    pub clinics: i64,
    /// Where they stand now; none in a dry run.
    pub archive: Option<PathBuf>,
    /// SHA-256 of that file, as the chains record it.
    pub sha256: Option<String>,
}

/// The policy of clinics asks for one; no clinic has this id, so what is seen is what
/// the retention policy shows.
const BEGIN: &str = "begin isolation level repeatable read read only; set local timezone = 'UTC'; \
     set local app.tenant_id = '00000000-0000-0000-0000-000000000000'";

const GRANT: &str = "as an administrator: grant kine_retention to <user>";

/// The months that ended so many months ago.
///
/// # Errors
/// `refused` below the configured floor; `privilege`.
pub async fn plan(conn: &mut PgConnection, months: i32) -> anyhow::Result<Vec<Month>> {
    let (floor, shown): (i32, String) = sqlx::query_as(
        "select (extract(year from f) * 12 + extract(month from f) \
           + case when extract(day from f) > 0 then 1 else 0 end)::int, f::text \
         from public.audit_retention_floor() f",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(|cause| refused(cause, "reading the retention floor", GRANT))?;
    if months < floor {
        return fail(
            Code::Refused,
            format!("audit events are kept for {shown} at the least; {months} months is less"),
            format!("kinedb audit retain --older-than {floor}mo --archive FOLDER"),
        );
    }
    send(conn, BEGIN)
        .await
        .context("cannot begin to read the audit trail")?;
    let planned = look(conn, months).await;
    rollback(conn).await?;
    planned
}

async fn look(conn: &mut PgConnection, months: i32) -> anyhow::Result<Vec<Month>> {
    let names: Vec<String> = sqlx::query_scalar(include_str!("sql/retirable.sql"))
        .bind(months)
        .fetch_all(&mut *conn)
        .await
        .map_err(|cause| refused(cause, "listing the months", GRANT))?;
    let mut planned = Vec::new();
    for month in names {
        let (events, clinics): (i64, i64) = sqlx::query_as(
            "select count(*), count(distinct e.tenant_id) from public.audit_events e \
             where e.occurred_at >= ($1 || '-01')::timestamp at time zone 'UTC' \
               and e.occurred_at < (($1 || '-01')::timestamp + interval '1 month') at time zone 'UTC'",
        )
        .bind(&month)
        .fetch_one(&mut *conn)
        .await
        .map_err(|cause| refused(cause, &format!("counting the events of {month}"), GRANT))?;
        planned.push(Month {
            month,
            events,
            clinics,
            archive: None,
            sha256: None,
        });
    }
    Ok(planned)
}

/// Exports one month, reads the archive back, then removes the partition and leaves
/// a seal in each clinic's chain: the last two in one transaction.
///
/// # Errors
/// `refused` if the archive exists or not all events are sealed; `backup-failed` if
/// the archive cannot be written; `budget-spent` behind a lock. Nothing is removed then.
pub async fn retire(
    conn: &mut PgConnection,
    month: &Month,
    folder: &Path,
    recipients: &Recipients,
) -> anyhow::Result<Month> {
    let name = format!("audit_events_{}.ndjson", month.month.replace('-', "_"));
    let file = folder.join(if recipients.is_empty() {
        name
    } else {
        format!("{name}.age")
    });
    let (counts, written) = export(conn, &month.month, &file, recipients).await?;
    let lines: i64 = counts.values().sum();
    let on_disk = measure(&file).map_err(|cause| unwritten(&file, &cause))?;
    if on_disk != written || lines != month.events {
        let _ = std::fs::remove_file(&file);
        return fail(
            Code::BackupFailed,
            format!(
                "the archive `{}` does not hold what was written to it",
                file.display()
            ),
            "check the disk, then run the command again; nothing was removed",
        );
    }
    send(conn, "begin; set local lock_timeout = '2s'")
        .await
        .context("cannot begin to remove a month")?;
    let removed: Result<i64, sqlx::Error> = sqlx::query_scalar(
        "select public.retire_audit_month(($1 || '-01')::date, $2, pg_catalog.decode($3, 'hex'))",
    )
    .bind(&month.month)
    .bind(lines)
    .bind(&written.sha256)
    .fetch_one(&mut *conn)
    .await;
    if let Err(cause) = removed {
        rollback(conn).await?;
        // Without its seal in the chains the archive is no one's.
        let _ = std::fs::remove_file(&file);
        return Err(not_removed(cause, &month.month));
    }
    send(conn, "commit")
        .await
        .context("cannot remove a month")?;
    Ok(Month {
        archive: Some(file),
        sha256: Some(written.sha256),
        ..month.clone()
    })
}

fn not_removed(cause: sqlx::Error, month: &str) -> anyhow::Error {
    let server = crate::db::error::of_sqlx(&cause);
    match server.filter(|server| server.code() == "55000") {
        Some(server) => Fault::new(
            Code::Refused,
            format!("{month} is not removed: {}", server.message()),
        )
        .hint("kinedb audit seal")
        .into(),
        None => refused(cause, &format!("removing {month}"), GRANT),
    }
}

/// One JSON object per line, by clinic and time.
async fn export(
    conn: &mut PgConnection,
    month: &str,
    file: &Path,
    recipients: &Recipients,
) -> anyhow::Result<(BTreeMap<Uuid, i64>, Written)> {
    let mut outlet = Outlet::create(file, recipients).map_err(|cause| {
        if cause.kind() == std::io::ErrorKind::AlreadyExists {
            return Fault::new(
                Code::Refused,
                format!(
                    "`{}` exists, and an archive is never written over",
                    file.display()
                ),
            )
            .hint("name another folder with `--archive`, or move the file")
            .into();
        }
        unwritten(file, &cause)
    })?;
    send(conn, BEGIN)
        .await
        .context("cannot begin to read the audit trail")?;
    let streamed = stream(conn, month, file, &mut outlet).await;
    rollback(conn).await?;
    let counts = streamed?;
    let written = outlet.finish().map_err(|cause| unwritten(file, &cause))?;
    Ok((counts, written))
}

async fn stream(
    conn: &mut PgConnection,
    month: &str,
    file: &Path,
    outlet: &mut Outlet,
) -> anyhow::Result<BTreeMap<Uuid, i64>> {
    let relation = Ident::new(format!("audit_events_{}", month.replace('-', "_")));
    // Through the parent, whose policy binds this role; the bounds are the partition's.
    let text = format!(
        "copy (select pg_catalog.row_to_json(e) from public.audit_events e \
         where e.tableoid = 'public.{relation}'::regclass order by e.tenant_id, e.occurred_at, e.id) \
         to stdout (format csv, quote e'\\x01', delimiter e'\\x02')"
    );
    let mut counts = BTreeMap::new();
    let mut rest = Vec::new();
    let mut rows = conn
        .copy_out_raw(&text)
        .await
        .map_err(|cause| refused(cause, &format!("exporting {month}"), GRANT))?;
    while let Some(chunk) = rows
        .try_next()
        .await
        .map_err(|cause| refused(cause, &format!("exporting {month}"), GRANT))?
    {
        outlet
            .write_all(&chunk)
            .map_err(|cause| unwritten(file, &cause))?;
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event: serde_json::Value = serde_json::from_slice(&line)?;
            let tenant = event["tenant_id"].as_str().unwrap_or_default().parse()?;
            *counts.entry(tenant).or_default() += 1;
        }
    }
    Ok(counts)
}

fn unwritten(file: &Path, cause: &std::io::Error) -> anyhow::Error {
    Fault::new(
        Code::BackupFailed,
        format!("cannot write `{}`: {cause}", file.display()),
    )
    .hint("name a folder with room in it; nothing was removed")
    .into()
}
