//! `kinedb audit seal`

use std::path::PathBuf;

use serde_json::json;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{database, writable};
use crate::audit::heads::{Head, Heads};
use crate::audit::seal::{self, Sealed};
use crate::commands::context::Context;
use crate::exit::Exit;
use crate::report::{self, table::table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// This clinic only (repeatable)
    #[arg(long, value_name = "ID")]
    tenant: Vec<Uuid>,
    /// Write the heads to this file, to be kept where this database's administrators cannot write
    #[arg(long, env = "KINEDB_AUDIT_HEADS", value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Let a seal cover at most so many events
    #[arg(long, env = "KINEDB_AUDIT_BATCH", value_name = "N", default_value_t = seal::BATCH, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    batch: i32,
}

/// Seals, and keeps the heads.
pub(super) async fn run(
    args: &Args,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    writable(conn).await?;
    let tenants = if args.tenant.is_empty() {
        seal::tenants(conn).await?
    } else {
        args.tenant.clone()
    };
    let bar = context.ui.progress(tenants.len() as u64, "clinics");
    let mut all: Vec<Sealed> = Vec::new();
    for tenant in tenants {
        bar.set_message(tenant.to_string());
        all.push(seal::seal(conn, tenant, args.batch, &mut |_| {}).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let heads = Heads {
        database: database(conn).await?,
        taken_at: chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        heads: all.iter().filter_map(|one| one.head.clone()).collect(),
    };
    if let Some(file) = &args.heads {
        heads.write(file)?;
    }
    if context.json() {
        report::json(&json!({ "sealed": all, "heads": heads }))?;
        return Ok(Exit::Success);
    }
    let line = |one: &Sealed| {
        let (number, hash) = one
            .head
            .as_ref()
            .map_or(("-".to_owned(), "-".to_owned()), |head: &Head| {
                (head.number.to_string(), head.hash.clone())
            });
        [one.tenant.to_string(), one.events.to_string(), number, hash]
    };
    report::line(table(
        ["CLINIC", "SEALED", "SEAL", "HEAD"],
        all.iter().map(line),
    ))?;
    if args.heads.is_none() {
        context.ui.say(
            "a chain cannot see its own tail cut off: keep the heads elsewhere, with --heads FILE",
        );
    }
    Ok(Exit::Success)
}
