//! `kinedb stamp`

use std::time::Duration;

use crate::cli::duration;
use crate::commands::context::Context;
use crate::commands::scratch;
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::migrate::adopt::{self, Change};
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::migrate::revision::Revision;
use crate::migrate::run::listed;
use crate::migrate::target::{Target as Goal, find};
use crate::report;
use crate::seed::{self, Environment};

/// Adopt a database that was made by other means, or say what it is for
#[derive(Debug, clap::Args)]
pub struct Args {
    /// head, base, or a part of the name of the newest revision that the database holds
    #[arg(required_unless_present = "environment")]
    revision: Option<Goal>,
    /// Say what the database is for: development, staging or production
    #[arg(long, env = "KINEDB_ENVIRONMENT", value_name = "ENVIRONMENT", value_parser = environment)]
    environment: Option<Environment>,
    /// Do not compare the database with what the migrations make
    #[arg(long, env = "KINEDB_FORCE", requires = "reason")]
    force: bool,
    /// Why, for history
    #[arg(long, env = "KINEDB_REASON", value_name = "TEXT")]
    reason: Option<String>,
    /// Wait so long for another run
    #[arg(long, env = "KINEDB_LOCK_WAIT", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    lock_wait: Duration,
}

fn environment(word: &str) -> Result<Environment, String> {
    word.parse()
        .map_err(|fault: crate::fault::Fault| fault.to_string())
}

/// Compares, then records without running anything.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.target().await?;
    let revisions = context.revisions().await?;
    let cancel = Cancel::default();
    let work = stamp(args, context, &target, &revisions, &cancel);
    cancel.guard(&target, work).await
}

async fn stamp(
    args: &Args,
    context: &Context<'_>,
    target: &crate::db::Target,
    revisions: &[Revision],
    cancel: &Cancel,
) -> anyhow::Result<Exit> {
    let mut conn = context.connect(target, "stamp").await?;
    let state = history::read(&mut conn).await?;
    state.require_writable()?;
    if let Some(environment) = args.environment {
        seed::mark(&mut conn, environment).await?;
        report::line(format!("database {} is for {environment}", state.database))?;
    }
    let Some(goal) = &args.revision else {
        return Ok(Exit::Success);
    };
    let listed = listed(revisions);
    let names: Vec<&str> = listed.iter().map(|one| one.name).collect();
    let count = match goal {
        Goal::Head => names.len(),
        Goal::Base => 0,
        Goal::Named(part) => find(&names, part)? + 1,
        Goal::Up(_) | Goal::Down(_) => {
            return fail(
                Code::Usage,
                "a stamp says where the database is, not how far to go",
                "name the revision: `kinedb stamp head`",
            );
        }
    };
    let changes = adopt::to_stamp(&listed, &state, count);
    if changes.is_empty() {
        report::line("nothing to do: history says so already")?;
        return Ok(Exit::Success);
    }
    if !args.force {
        let differences = scratch::differences(&mut conn, target, revisions, count, cancel).await?;
        if !differences.is_empty() {
            return Err(scratch::refusal("nothing was stamped", &differences).into());
        }
    }
    let reason = args
        .reason
        .as_deref()
        .unwrap_or("the catalogue was compared and is equal");
    adopt::write(
        &mut conn,
        &listed,
        &state,
        &changes,
        reason,
        cancel,
        args.lock_wait,
    )
    .await?;
    if context.json() {
        report::json(&serde_json::json!({ "changes": changes }))?;
        return Ok(Exit::Success);
    }
    for change in &changes {
        report::line(match change {
            Change::Unstamp(name) => format!("no longer applied  {name}"),
            other => format!("applied            {}", other.name()),
        })?;
    }
    Ok(Exit::Success)
}
