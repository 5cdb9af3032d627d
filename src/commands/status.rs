//! `kinedb status`

use serde_json::json;

use crate::commands::context::Context;
use crate::exit::Exit;
use crate::migrate::history;
use crate::migrate::plan::misfits;
use crate::migrate::run::listed;
use crate::report;

/// Show where the database is: revision, pending migrations, misfits
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Reads and reports; never fails because history does not fit.
pub async fn run(_args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.target().await?;
    let revisions = context.revisions().await?;
    let mut conn = context.connect(&target, "status").await?;
    let state = history::read(&mut conn).await?;
    let pending: Vec<&str> = revisions
        .iter()
        .map(|one| one.name.as_str())
        .filter(|name| !state.has(name))
        .collect();
    let listed = listed(&revisions);
    let problems: Vec<String> = misfits(&listed, &state)
        .iter()
        .map(ToString::to_string)
        .collect();
    if context.json() {
        report::json(&json!({
            "database": state.database,
            "server_version": state.server_version,
            "standby": state.standby,
            "revision": state.head(),
            "applied": state.applied.len(),
            "pending": pending,
            "unfinished": state.unfinished.iter().map(|one| &one.name).collect::<Vec<_>>(),
            "problems": problems,
        }))?;
        return Ok(Exit::Success);
    }
    let version = format!(
        "{}.{}",
        state.server_version / 10_000,
        state.server_version % 10_000
    );
    report::line(format!(
        "database   {} (PostgreSQL {version})",
        state.database
    ))?;
    report::line(format!("revision   {}", state.head().unwrap_or("base")))?;
    report::line(format!(
        "applied    {} of {}",
        revisions.len() - pending.len(),
        revisions.len()
    ))?;
    for name in &pending {
        report::line(format!("pending    {name}"))?;
    }
    for one in &state.unfinished {
        report::line(format!("unfinished {} {}", one.name, one.direction))?;
    }
    for problem in &problems {
        report::line(format!("problem    {problem}"))?;
    }
    Ok(Exit::Success)
}
