//! `kinedb backup`

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::backup::{check, dump};
use crate::commands::context::Context;
use crate::commands::encryption::{Encryption, Signing, folder_of, warn_of_partial};
use crate::exit::Exit;
use crate::fault::{Code, Fault, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::report::{self, table::table};
use crate::verify::Config;

/// Back up the database with a manifest of all it holds, or check backups
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Folder that the backup becomes; it must not exist
    #[arg(long, value_name = "FOLDER", required = true)]
    to: Option<PathBuf>,
    #[command(flatten)]
    encryption: Encryption,
    #[command(flatten)]
    signing: Signing,
    /// Leave it readable for everyone who gets hold of the file
    #[arg(long, env = "KINEDB_PLAIN", conflicts_with = "recipient")]
    plain: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Tell whether there would be something to restore from
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Folder that holds the backups
    #[arg(long = "in", value_name = "FOLDER")]
    folder: PathBuf,
    /// The newest backup may be so old
    #[arg(long, env = "KINEDB_BACKUP_MAX_AGE", value_name = "DURATION", default_value = "26h", value_parser = crate::cli::duration)]
    max_age: Duration,
    /// The last proven restore may be so old
    #[arg(long, env = "KINEDB_BACKUP_MAX_DRILL_AGE", value_name = "DURATION", default_value = "840h", value_parser = crate::cli::duration)]
    max_drill_age: Duration,
    /// Look at the folder only, not at the server's archiving
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    signing: Signing,
}

/// Takes a backup, or checks those that there are.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    match (&args.action, &args.to) {
        (Some(Action::Check(args)), _) => run_check(args, context).await,
        (None, Some(place)) => take(args, place, context).await,
        (None, None) => fail(
            Code::Usage,
            "no folder was named",
            "kinedb backup --to FOLDER",
        ),
    }
}

/// Names that a tenant's column may have.
pub(super) fn tenant_columns(config: &Config) -> Vec<String> {
    match config.isolation.tenant_columns.clone() {
        given if given.is_empty() => vec!["tenant_id".to_owned()],
        given => given,
    }
}

async fn take(args: &Args, place: &std::path::Path, context: &Context<'_>) -> anyhow::Result<Exit> {
    let recipients = args.encryption.recipients()?;
    let key = args.signing.key()?;
    let target = context.target().await?;
    let cancel = Cancel::default();
    let work = async {
        let mut conn = context.connect(&target, "backup").await?;
        let state = history::read(&mut conn).await?;
        state.require_version()?;
        cancel.set_backend(state.backend);
        warn_of_partial(folder_of(place), context.ui);
        if recipients.is_empty() && !args.plain {
            context
                .ui
                .warn("this backup will not be encrypted; give --recipient, or say --plain");
        }
        let bar = context.ui.progress(0, "bytes");
        let plan = dump::Plan {
            target: &target,
            place,
            recipients: &recipients,
            key: key.as_ref(),
            tenant_columns: &tenant_columns(&context.isolation()?),
            state: &state,
            cancel: &cancel,
        };
        let manifest = dump::take(&mut conn, &plan, &mut |progress| match progress {
            dump::Progress::Bytes(bytes) => bar.set_position(bytes),
            dump::Progress::Counted(table, _) => bar.set_message(table.to_owned()),
        })
        .await?;
        bar.finish_and_clear();
        if context.json() {
            report::json(&json!({
                "backup": place,
                "taken_at": manifest.taken_at,
                "duration_ms": manifest.duration_ms,
                "bytes": manifest.dump.bytes,
                "rows": manifest.rows(),
                "encrypted": manifest.dump.encrypted,
                "sha256": manifest.dump.sha256,
                "signed": key.is_some(),
                "heads": manifest.heads,
            }))?;
            return Ok(Exit::Success);
        }
        report::line(format!(
            "backed up {} rows of {} tables as of {} to `{}` in {} ms ({} bytes, {}{})",
            manifest.rows(),
            manifest.tables.len(),
            manifest.taken_at,
            place.display(),
            manifest.duration_ms,
            manifest.dump.bytes,
            if manifest.dump.encrypted {
                "encrypted"
            } else {
                "not encrypted"
            },
            if key.is_some() { ", signed" } else { "" },
        ))?;
        context.ui.say(format!(
            "a backup counts when it was restored: kinedb restore {} --verify",
            place.display()
        ));
        Ok(Exit::Success)
    };
    cancel.guard(&target, work).await
}

async fn run_check(args: &CheckArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let (found, forged) = check::backups(&args.folder, args.signing.key()?.as_ref())?;
    warn_of_partial(&args.folder, context.ui);
    let archiving = if args.offline {
        None
    } else {
        let target = context.target().await?;
        let mut conn = context.connect(&target, "backup").await?;
        Some(check::archiving(&mut conn).await?)
    };
    let mut problems = forged;
    problems.extend(check::problems(
        &found,
        archiving.as_ref(),
        args.max_age,
        args.max_drill_age,
        chrono::Utc::now(),
    ));
    if context.json() {
        report::json(&json!({ "backups": found, "archiving": archiving, "problems": problems }))?;
    } else {
        let line = |one: &check::Found| {
            [
                one.backup.display().to_string(),
                one.database.clone(),
                one.taken_at.clone(),
                one.bytes.to_string(),
                if one.encrypted { "yes" } else { "no" }.to_owned(),
                one.verified_at
                    .clone()
                    .unwrap_or_else(|| "never".to_owned()),
            ]
        };
        if !found.is_empty() {
            report::line(table(
                [
                    "BACKUP",
                    "DATABASE",
                    "TAKEN",
                    "BYTES",
                    "ENCRYPTED",
                    "RESTORE PROVEN",
                ],
                found.iter().map(line),
            ))?;
        }
        if let Some(archiving) = &archiving {
            let tool = archiving.tool.as_deref().unwrap_or("nothing");
            report::line(format!("\nWAL archiving: {}, by {tool}", archiving.mode))?;
        }
    }
    let Some(first) = problems.first() else {
        return Ok(Exit::Success);
    };
    let rest: String = problems
        .iter()
        .skip(1)
        .map(|more| format!("; {more}"))
        .collect();
    Err(Fault::new(Code::BackupStale, format!("{first}{rest}"))
        .hint("kinedb backup --to FOLDER, then kinedb restore FOLDER --verify")
        .into())
}
