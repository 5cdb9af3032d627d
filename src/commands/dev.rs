//! `kinedb dev`

use anyhow::Context as _;

use crate::commands::context::Context;
use crate::commands::local;
use crate::dev::State;
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::report;

/// Run the local PostgreSQL: start, stop, status, url, psql, reset
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Start it, making its data folder if there is none
    Start,
    /// Stop it; its data stays
    Stop,
    /// Tell whether it runs, and where
    Status,
    /// Print the URL of its database, for other programs
    Url,
    /// Open psql on its database
    Psql {
        /// Arguments for psql
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Stop it and delete its data
    Reset {
        /// Do not ask
        #[arg(short, long, env = "KINEDB_YES")]
        yes: bool,
    },
}

/// Runs one of them.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let server = local::server(context)?;
    match &args.what {
        What::Start => {
            local::start(context, &server).await?;
            report::line(server.url(local::DATABASE))?;
        }
        What::Stop => {
            let stopped = server.stop()?;
            report::line(if stopped {
                "stopped"
            } else {
                "it was not running"
            })?;
        }
        What::Status => status(context, &server)?,
        What::Url => {
            if server.status()?.state != State::Running {
                return fail(
                    Code::DevServerFailed,
                    "the local server does not run",
                    "start it with `kinedb dev start`",
                );
            }
            report::line(server.url(local::DATABASE))?;
        }
        What::Psql { args } => {
            local::start(context, &server).await?;
            let status = server
                .psql(local::DATABASE, args)?
                .status()
                .context("cannot run psql")?;
            if !status.success() {
                return fail(
                    Code::Usage,
                    format!("psql ended with {status}"),
                    "see its message above",
                );
            }
        }
        What::Reset { yes } => {
            if !yes {
                let answer = context
                    .ui
                    .ask("Delete all data of the local server? Type yes", "--yes")
                    .await?;
                if answer != "yes" {
                    return fail(
                        Code::Refused,
                        "not confirmed; nothing was deleted",
                        "kinedb dev reset --yes",
                    );
                }
            }
            let deleted = server.reset()?;
            report::line(if deleted {
                "deleted the local server's data"
            } else {
                "there was nothing to delete"
            })?;
        }
    }
    Ok(Exit::Success)
}

fn status(context: &Context<'_>, server: &crate::dev::DevServer) -> anyhow::Result<()> {
    let status = server.status()?;
    let state = match status.state {
        State::Absent => "absent",
        State::Stopped => "stopped",
        State::Running => "running",
        State::Changing => "starting or stopping",
    };
    if context.json() {
        return report::json(&serde_json::json!({
            "state": state,
            "pid": status.pid,
            "postgresql": status.major,
            "folder": status.folder,
            "socket": status.socket,
            "log": status.log,
            "url": server.url(local::DATABASE),
        }));
    }
    report::line(format!("state   {state}"))?;
    if let Some(pid) = status.pid {
        report::line(format!("pid     {pid}"))?;
    }
    if let Some(major) = status.major {
        report::line(format!("server  PostgreSQL {major}"))?;
    }
    report::line(format!("folder  {}", status.folder.display()))?;
    report::line(format!("log     {}", status.log.display()))?;
    report::line(format!("url     {}", server.url(local::DATABASE)))
}
