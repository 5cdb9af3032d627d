//! `kinedb export`

use std::path::{Path, PathBuf};

use serde_json::json;
use uuid::Uuid;

use crate::backup::export::{self, File};
use crate::backup::received::{self, Received};
use crate::backup::signature::Signature;
use crate::commands::backup::tenant_columns;
use crate::commands::context::Context;
use crate::commands::encryption::{Encryption, Signing, folder_of, warn_of_partial};
use crate::commands::first_of;
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::report::{self, table::table};

/// Export one clinic's data, read as the clinic itself, or check an export
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The clinic
    #[arg(long, value_name = "ID", required = true)]
    tenant: Option<Uuid>,
    /// Folder that the export becomes; it must not exist
    #[arg(long, value_name = "FOLDER", required = true)]
    to: Option<PathBuf>,
    /// The user it is for, as the audit trail records it
    #[arg(long, value_name = "ID")]
    user: Option<Uuid>,
    #[command(flatten)]
    encryption: Encryption,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Tell whether an export is what was written; needs no database
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The export's folder
    #[arg(long = "in", value_name = "FOLDER")]
    folder: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

/// Roles that row security binds, tried in this order.
const ROLES: &[&str] = &["kine_app", "kine_auditor"];

/// Exports and tells, or checks what was exported.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    match (&args.action, args.tenant, &args.to) {
        (Some(Action::Check(args)), ..) => run_check(args, context),
        (None, Some(tenant), Some(place)) => take(args, tenant, place, context).await,
        (None, ..) => fail(
            Code::Usage,
            "no clinic or no folder was named",
            "kinedb export --tenant ID --to FOLDER",
        ),
    }
}

fn run_check(args: &CheckArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    let Received {
        export,
        signature,
        problems,
    } = received::check(&args.folder, args.signing.key()?.as_ref())?;
    if signature == Signature::Unchecked {
        context
            .ui
            .warn("the manifest is signed, and was not checked; give --manifest-key FILE");
    }
    if context.json() {
        report::json(&json!({
            "verdict": if problems.is_empty() { "whole" } else { "differs" },
            "tenant": export.tenant,
            "taken_at": export.taken_at,
            "signature": signature,
            "files": export.files,
            "problems": problems,
        }))?;
    } else {
        for problem in &problems {
            report::line(problem)?;
        }
        if problems.is_empty() {
            let rows: i64 = export.files.iter().map(|file| file.rows).sum();
            report::line(format!(
                "{rows} rows of clinic {} in {} files, as they were written on {}",
                export.tenant,
                export.files.len(),
                export.taken_at
            ))?;
        }
    }
    let Some(told) = first_of(&problems) else {
        return Ok(Exit::Success);
    };
    fail(
        Code::RestoreDiffers,
        format!(
            "`{}` is not what was exported: {told}",
            args.folder.display()
        ),
        "export the clinic again: kinedb export --tenant ID --to FOLDER",
    )
}

async fn take(
    args: &Args,
    tenant: Uuid,
    place: &Path,
    context: &Context<'_>,
) -> anyhow::Result<Exit> {
    let recipients = args.encryption.recipients()?;
    let key = args.signing.key()?;
    let target = context.target().await?;
    let cancel = Cancel::default();
    let work = async {
        let mut conn = context.connect(&target, "export").await?;
        let backend = sqlx::query_scalar("select pg_catalog.pg_backend_pid()");
        cancel.set_backend(backend.fetch_one(&mut conn).await?);
        if let Ok(state) = history::read(&mut conn).await {
            state.require_version()?;
        }
        warn_of_partial(folder_of(place), context.ui);
        let config = context.isolation()?;
        let mut roles: Vec<String> = config
            .isolation
            .role
            .iter()
            .filter(|role| {
                role.scope
                    .is_none_or(|scope| scope == crate::verify::model::RoleScope::Tenant)
            })
            .filter_map(|role| role.name.clone())
            .collect();
        roles.extend(ROLES.iter().map(|role| (*role).to_owned()));
        let bar = context.ui.progress(0, "tables");
        let plan = export::Plan {
            tenant,
            user: args.user,
            place,
            recipients: &recipients,
            key: key.as_ref(),
            context: &config.isolation.context,
            tenant_columns: &tenant_columns(&config),
            roles: &roles,
        };
        let exported = export::export(&mut conn, &plan, &mut |table, _| {
            bar.inc(1);
            bar.set_message(table.to_owned());
        })
        .await?;
        bar.finish_and_clear();
        if context.json() {
            report::json(&exported)?;
            return Ok(Exit::Success);
        }
        let line = |one: &File| [one.table.clone(), one.rows.to_string(), one.file.clone()];
        report::line(table(
            ["TABLE", "ROWS", "FILE"],
            exported.files.iter().map(line),
        ))?;
        if !exported.kept_back.is_empty() {
            context.ui.say(format!(
                "kept back, because no role of a clinic reads it: {}",
                exported.kept_back.join(", ")
            ));
        }
        if !exported.counted {
            context
                .ui
                .say("rows were not counted past row security: this login cannot");
        }
        Ok(Exit::Success)
    };
    cancel.guard(&target, work).await
}
