//! `kinedb export`

use std::path::PathBuf;

use uuid::Uuid;

use crate::backup::export::{self, File};
use crate::commands::backup::tenant_columns;
use crate::commands::context::Context;
use crate::commands::encryption::{Encryption, folder_of, warn_of_partial};
use crate::exit::Exit;
use crate::migrate::cancel::Cancel;
use crate::migrate::history;
use crate::report::{self, table::table};

/// Export one clinic's data, read as the clinic itself
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The clinic
    #[arg(long, value_name = "ID")]
    tenant: Uuid,
    /// Folder that the export becomes; it must not exist
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// The user it is for, as the audit trail records it
    #[arg(long, value_name = "ID")]
    user: Option<Uuid>,
    #[command(flatten)]
    encryption: Encryption,
}

/// Roles that row security binds, tried in this order.
const ROLES: &[&str] = &["kine_app", "kine_auditor"];

/// Exports and tells.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let recipients = args.encryption.recipients()?;
    let target = context.target().await?;
    let cancel = Cancel::default();
    let work = async {
        let mut conn = context.connect(&target, "export").await?;
        let backend = sqlx::query_scalar("select pg_catalog.pg_backend_pid()");
        cancel.set_backend(backend.fetch_one(&mut conn).await?);
        if let Ok(state) = history::read(&mut conn).await {
            state.require_version()?;
        }
        warn_of_partial(folder_of(&args.to), context.ui);
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
            tenant: args.tenant,
            user: args.user,
            place: &args.to,
            recipients: &recipients,
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
