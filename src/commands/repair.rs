//! `kinedb repair`

use std::time::Duration;

use crate::cli::duration;
use crate::commands::context::Context;
use crate::commands::scratch;
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::migrate::adopt;
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::migrate::revision::Revision;
use crate::migrate::run::listed;
use crate::migrate::target::find;
use crate::report;

/// Accept a harmless edit of an applied migration, and record the reason
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A part of the edited revision's name; without it all edited ones
    revision: Option<String>,
    /// Why the edit is harmless, for history
    #[arg(long, env = "KINEDB_REASON", value_name = "TEXT")]
    reason: String,
    /// Do not compare the database with what the edited migrations make
    #[arg(long, env = "KINEDB_FORCE")]
    force: bool,
    /// Wait so long for another run
    #[arg(long, env = "KINEDB_LOCK_WAIT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    lock_wait: Duration,
}

/// An edit is harmless if the edited migrations still make the catalogue that the
/// database has. What a migration does to data cannot be compared.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.target().await?;
    let revisions = context.revisions().await?;
    let cancel = Cancel::default();
    let work = repair(args, context, &target, &revisions, &cancel);
    cancel.guard(&target, work).await
}

async fn repair(
    args: &Args,
    context: &Context<'_>,
    target: &crate::db::Target,
    revisions: &[Revision],
    cancel: &Cancel,
) -> anyhow::Result<Exit> {
    let mut conn = context.connect(target, "repair").await?;
    let state = history::read(&mut conn).await?;
    state.require_writable()?;
    let listed = listed(revisions);
    let mut changes = adopt::edited(&listed, &state);
    if let Some(part) = &args.revision {
        let names: Vec<&str> = listed.iter().map(|one| one.name).collect();
        let name = names[find(&names, part)?];
        changes.retain(|change| change.name() == name);
    }
    if changes.is_empty() {
        report::line("nothing to do: no applied migration was edited")?;
        return Ok(Exit::Success);
    }
    if !args.force {
        let count = listed.iter().take_while(|one| state.has(one.name)).count();
        if count != state.applied.len() {
            return fail(
                Code::OutOfOrder,
                "history has gaps or unknown revisions, so there is nothing to compare with",
                "see `kinedb status`; `--force` accepts the edit without a comparison",
            );
        }
        let differences = scratch::differences(&mut conn, target, revisions, count, cancel).await?;
        if !differences.is_empty() {
            return Err(scratch::refusal("the edit is not harmless", &differences).into());
        }
    }
    adopt::write(
        &mut conn,
        &listed,
        &state,
        &changes,
        &args.reason,
        cancel,
        args.lock_wait,
    )
    .await?;
    if context.json() {
        report::json(&serde_json::json!({ "changes": changes }))?;
        return Ok(Exit::Success);
    }
    for change in &changes {
        report::line(format!("accepted {}", change.name()))?;
    }
    Ok(Exit::Success)
}
