//! `kinedb revision`

use crate::commands::context::Context;
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
}

/// Needs no database.
pub fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let here = std::env::current_dir().map_err(|cause| {
        Fault::new(
            Code::BadFile,
            format!("the current folder cannot be read: {cause}"),
        )
        .hint("change to the project's folder")
    })?;
    let project = Project::find(&here)?;
    let request = Request {
        message: args.message.clone(),
        table: args.table.clone().zip(args.class.clone()),
    };
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
        .say("next: edit the SQL, build, then `kinedb --dev upgrade --dry-run`");
    Ok(Exit::Success)
}
