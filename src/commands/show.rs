//! `kinedb show`

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::catalogue::{self, Fingerprint};
use crate::commands::context::Context;
use crate::exit::Exit;
use crate::fault::{Code, Fault};
use crate::migrate::script::Direction;
use crate::migrate::target::find;
use crate::report;

/// Show a migration whole, or a database's schema and security
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A revision's name or an unambiguous part of it
    #[arg(required_unless_present = "catalogue")]
    revision: Option<String>,
    /// Describe the database instead: every object and attribute, in order
    #[arg(long, alias = "catalog", conflicts_with = "revision")]
    catalogue: bool,
    /// Compare with what `--catalogue --format json` said before; exit 3 if it differs
    #[arg(long, value_name = "FILE", requires = "catalogue")]
    against: Option<PathBuf>,
}

/// A migration needs no database, a catalogue does.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let Some(name) = &args.revision else {
        return describe(args, context).await;
    };
    let revisions = context.revisions().await?;
    let names: Vec<&str> = revisions.iter().map(|one| one.name.as_str()).collect();
    let revision = &revisions[find(&names, name)?];
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

async fn describe(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let before = args.against.as_deref().map(saved).transpose()?;
    let target = context.target().await?;
    let mut conn = context.connect(&target, "show").await?;
    let now = catalogue::read(&mut conn).await?;
    let Some(before) = before else {
        if context.json() {
            report::json(&now)?;
        } else {
            report::line(now.to_string().trim_end())?;
        }
        return Ok(Exit::Success);
    };
    let differences = before.differences(&now);
    if context.json() {
        report::json(&json!({ "differences": differences }))?;
    } else if differences.is_empty() {
        report::line("no difference")?;
    } else {
        let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
        report::line(lines.join("\n"))?;
    }
    if differences.is_empty() {
        return Ok(Exit::Success);
    }
    let what = if differences.len() == 1 {
        "place"
    } else {
        "places"
    };
    Err(Fault::new(
        Code::Pending,
        format!(
            "the database differs in {} {what} from the file",
            differences.len()
        ),
    )
    .hint("save what is there now with `kinedb show --catalogue --format json > FILE`")
    .into())
}

/// A description that was saved.
fn saved(file: &Path) -> anyhow::Result<Fingerprint> {
    let unusable = |cause: String| {
        Fault::new(
            Code::BadFile,
            format!("`{}` is no catalogue: {cause}", file.display()),
        )
        .hint("make one with `kinedb show --catalogue --format json > FILE`")
    };
    let text = std::fs::read_to_string(file).map_err(|cause| unusable(cause.to_string()))?;
    Ok(serde_json::from_str(&text).map_err(|cause| unusable(cause.to_string()))?)
}
