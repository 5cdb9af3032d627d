//! `kinedb show`

use serde_json::json;

use crate::commands::context::Context;
use crate::exit::Exit;
use crate::fault::{Code, Fault};
use crate::migrate::script::Direction;
use crate::migrate::target::find;
use crate::report;

/// Show a migration whole: its SQL up and down, its checksum
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A revision's name or an unambiguous part of it
    revision: String,
}

/// Needs no database.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let revisions = context.revisions().await?;
    let names: Vec<&str> = revisions.iter().map(|one| one.name.as_str()).collect();
    let revision = &revisions[find(&names, &args.revision)?];
    let down = match revision.script(Direction::Down).await {
        Ok(script) => script.sql,
        Err(cause) if Fault::of(&cause).is_some_and(|fault| fault.code() == Code::Irreversible) => {
            format!("-- {cause}")
        }
        Err(cause) => return Err(cause),
    };
    if context.json() {
        report::json(&json!({
            "name": revision.name,
            "checksum": revision.checksum,
            "transaction": !revision.up.no_transaction,
            "asks_the_database": revision.up.live,
            "up": revision.up.sql,
            "down": down,
        }))?;
        return Ok(Exit::Success);
    }
    report::line(format!(
        "-- {}\n-- checksum {}\n",
        revision.name, revision.checksum
    ))?;
    if revision.up.live {
        report::line(
            "-- it asks the database while it runs; what follows is what it sends before that",
        )?;
    }
    report::line(format!(
        "-- up\n{}\n\n-- down\n{}",
        revision.up.sql.trim(),
        down.trim()
    ))?;
    Ok(Exit::Success)
}
