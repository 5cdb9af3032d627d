//! `kinedb restore`

use std::path::PathBuf;

use serde_json::json;

use crate::archive::Identities;
use crate::backup::check::{self, Drill};
use crate::backup::manifest::Manifest;
use crate::backup::restore::{self, Outcome, Progress};
use crate::backup::signature::Signature;
use crate::commands::backup::tenant_columns;
use crate::commands::context::Context;
use crate::commands::encryption::Signing;
use crate::commands::first_of;
use crate::db::connect;
use crate::exit::Exit;
use crate::fault::{Code, Fault};
use crate::migrate::cancel::Cancel;
use crate::report;

/// Restore a backup into an empty database, compared and proven
///
/// Needs a superuser of the server that is restored to: objects get their owners back,
/// and one of them is a role that nobody is a member of.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backup's folder
    backup: PathBuf,
    /// Only prove that it can be restored: into a scratch database of that server, which is dropped
    #[arg(long)]
    verify: bool,
    /// File with the secret key (repeatable)
    #[arg(long, env = "KINEDB_IDENTITY", value_name = "FILE")]
    identity: Vec<PathBuf>,
    #[command(flatten)]
    signing: Signing,
    /// Make roles that this server lacks, without login
    #[arg(long)]
    create_roles: bool,
}

/// Restores, compares, tells.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let (manifest, signature) = Manifest::read(&args.backup, args.signing.key()?.as_ref())?;
    let identities = Identities::read(&args.identity)?;
    let target = context.target().await?;
    let wanted = target.database().to_owned();
    // The database that is restored to need not exist; this one always does.
    let door = if args.verify {
        target.clone()
    } else {
        target.with_database("postgres")
    };
    let config = context.isolation()?;
    let cancel = Cancel::default();
    let work = async {
        context.ui.say(target.to_string());
        if signature == Signature::Unchecked {
            context
                .ui
                .warn("the manifest is signed, and was not checked; give --manifest-key FILE");
        }
        let mut conn = connect::connect_waiting(&door, "restore", context.global.wait).await?;
        for name in restore::left_behind(&mut conn).await? {
            context.ui.warn(format!(
                "database `{name}` is of a restore that was killed; remove it with: dropdb {name}"
            ));
        }
        drop(conn);
        let bar = context.ui.progress(manifest.dump.bytes, "bytes");
        let plan = restore::Plan {
            backup: &args.backup,
            manifest: &manifest,
            door: &door,
            name: (!args.verify).then_some(wanted.as_str()),
            identities: &identities,
            create_roles: args.create_roles,
            isolation: &config,
            tenant_columns: &tenant_columns(&config),
            cancel: &cancel,
        };
        let outcome = restore::restore(&plan, &mut |progress| match progress {
            Progress::Bytes(bytes) => bar.set_position(bytes),
            Progress::Comparing => bar.set_message("comparing"),
        })
        .await?;
        bar.finish_and_clear();
        conclude(args, context, &manifest, &outcome, &wanted)
    };
    cancel.guard(&door, work).await
}

fn conclude(
    args: &Args,
    context: &Context<'_>,
    manifest: &Manifest,
    outcome: &Outcome,
    wanted: &str,
) -> anyhow::Result<Exit> {
    let now = chrono::Utc::now();
    let taken: Option<chrono::DateTime<chrono::Utc>> = manifest.taken_at.parse().ok();
    let behind = taken.map_or(0, |taken| (now - taken).num_seconds());
    if context.json() {
        report::json(&json!({
            "verdict": if outcome.differences.is_empty() { "restored" } else { "differs" },
            "recovery_point": manifest.taken_at,
            "recovery_point_age_s": behind,
            "restore_ms": outcome.restore_ms,
            "verify_ms": outcome.verify_ms,
            "rows": outcome.rows,
            "isolation": outcome.isolation,
            "differences": outcome.differences,
        }))?;
    } else if outcome.differences.is_empty() {
        let place = if args.verify {
            "a scratch database, dropped again".to_owned()
        } else {
            format!("database `{wanted}`")
        };
        report::line(format!(
            "restored {} rows into {place}; every table, tenant, role and policy as backed up; {}",
            outcome.rows, outcome.isolation
        ))?;
        report::line(format!(
            "recovery point  {} ({behind} s ago)",
            manifest.taken_at
        ))?;
        report::line(format!(
            "recovery time   {} ms, and {} ms for the proof",
            outcome.restore_ms, outcome.verify_ms
        ))?;
    } else {
        for difference in &outcome.differences {
            report::line(difference.to_string())?;
        }
    }
    if let Some(told) = first_of(&outcome.differences) {
        return Err(Fault::new(
            Code::RestoreDiffers,
            format!("what was restored is not what was backed up, and was dropped: {told}"),
        )
        .hint("take another backup; `kinedb backup check --in FOLDER` lists them")
        .into());
    }
    let drill = Drill {
        verified_at: now.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        sha256: manifest.dump.sha256.clone(),
        restore_ms: outcome.restore_ms,
        verify_ms: outcome.verify_ms,
        rows: outcome.rows,
    };
    if let Err(cause) = check::note(&args.backup, &drill) {
        context
            .ui
            .warn(format!("cannot note the proof beside the backup: {cause}"));
    }
    Ok(Exit::Success)
}
