//! `kinedb revision`

use crate::commands::autogenerate;
use crate::commands::context::Context;
use crate::commands::scratch::PlaceArgs;
use crate::exit::Exit;
use crate::fault::{Code, Fault};
use crate::report;
use crate::scaffold::{self, Project, Request};

/// Write a new migration and enter it in the list
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it does, in a few words; becomes part of its name
    #[arg(short, long, value_name = "TEXT")]
    message: String,
    /// A new table: writes its SQL, policy file and fixture file too
    #[arg(long, value_name = "TABLE", requires = "class")]
    table: Option<String>,
    /// The policy class of the new table
    #[arg(long, value_name = "CLASS", requires = "table")]
    class: Option<String>,
    /// Write the SQL that takes head to what `policies/` and the entities declare
    #[arg(long, conflicts_with = "table")]
    autogenerate: bool,
    #[command(flatten)]
    scratch: PlaceArgs,
}

/// Needs no database; with `--autogenerate` a server for scratch databases.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().map_err(|cause| {
        Fault::new(
            Code::BadFile,
            format!("the current folder cannot be read: {cause}"),
        )
        .hint("change to the project's folder")
    })?;
    let project = Project::find(&here)?;
    let mut request = Request {
        message: args.message.clone(),
        table: args.table.clone().zip(args.class.clone()),
        sql: None,
    };
    scaffold::check(&project, &request, chrono::Utc::now())?;
    if args.autogenerate {
        let Some(generated) = autogenerate::run(context, &project, &args.scratch).await? else {
            if context.json() {
                report::json(&serde_json::json!({ "name": null, "files": [] }))?;
            } else {
                report::line("nothing to write: the migrations make what is declared")?;
            }
            return Ok(Exit::Success);
        };
        for one in &generated.refused {
            context.ui.warn(format!(
                "not done, because it may lose data: {}: {}",
                one.object, one.what
            ));
        }
        for one in generated.unwritten() {
            context
                .ui
                .warn(format!("not written, do it by hand: {one}"));
        }
        let message = args.message.trim().lines().next().unwrap_or_default();
        request.sql = Some((generated.up_file(message), generated.down_file(message)));
    }
    let written = scaffold::write(&project, &request, chrono::Utc::now())?;
    if context.json() {
        report::json(&written)?;
        return Ok(Exit::Success);
    }
    for file in &written.files {
        report::line(format!("wrote {}", file.display()))?;
    }
    report::line(format!(
        "listed {} in {}",
        written.name,
        written.list.display()
    ))?;
    context
        .ui
        .say("next: edit the SQL, build, then `kinedb check` and `kinedb --dev upgrade --dry-run`");
    Ok(Exit::Success)
}
