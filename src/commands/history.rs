//! `kinedb history`

use serde_json::json;

use crate::commands::context::Context;
use crate::exit::Exit;
use crate::migrate::history::{self, Record};
use crate::migrate::plan::short;
use crate::report;
use crate::report::table::table;

/// List the revisions, and what was done to the database by whom
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Every run, with user, host, duration and checksum
    #[arg(short, long)]
    verbose: bool,
}

/// Reads and reports.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.target().await?;
    let revisions = context.revisions().await?;
    let mut conn = context.connect(&target, "history").await?;
    let state = history::read(&mut conn).await?;
    let records = history::records(&mut conn, &state).await?;
    if context.json() {
        let list: Vec<_> = revisions.iter().map(|one| json!({ "name": one.name, "checksum": one.checksum, "applied": state.has(&one.name) })).collect();
        report::json(&json!({ "revisions": list, "records": records }))?;
        return Ok(Exit::Success);
    }
    if args.verbose {
        let rows = records.iter().map(|one: &Record| {
            [
                one.started_at.clone(),
                one.direction.clone(),
                one.name.clone(),
                outcome(one),
                one.effect().unwrap_or_default().to_owned(),
                one.duration_ms
                    .map_or_else(String::new, |ms| format!("{ms} ms")),
                one.database_user.clone(),
                one.host.clone().unwrap_or_default(),
                one.kinedb_version.clone(),
                short(&one.checksum).to_owned(),
                one.reason.clone().unwrap_or_default(),
            ]
        });
        report::line(table(
            [
                "STARTED", "WAY", "REVISION", "OUTCOME", "EFFECT", "TOOK", "USER", "HOST",
                "KINEDB", "CHECKSUM", "REASON",
            ],
            rows,
        ))?;
        return Ok(Exit::Success);
    }
    let unknown = state
        .applied
        .iter()
        .filter(|one| !revisions.iter().any(|known| known.name == one.name));
    let known = revisions.iter().map(|one| {
        let state = state
            .applied
            .iter()
            .find(|applied| applied.name == one.name);
        [
            one.name.clone(),
            state.map_or_else(|| "pending".to_owned(), |applied| when(applied.applied_at)),
        ]
    });
    let rows: Vec<[String; 2]> = known
        .chain(unknown.map(|one| {
            [
                one.name.clone(),
                format!("{} (unknown to this program)", when(one.applied_at)),
            ]
        }))
        .collect();
    report::line(table(["REVISION", "APPLIED"], rows))?;
    Ok(Exit::Success)
}

/// Of a migration outside a transaction also how far it came.
fn outcome(record: &Record) -> String {
    match record.step {
        Some(step) => format!("{} ({step} done)", record.outcome),
        None => record.outcome.clone(),
    }
}

fn when(seconds: i64) -> String {
    chrono::DateTime::from_timestamp(seconds, 0).map_or_else(
        || seconds.to_string(),
        |time| time.format("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}
