//! `kinedb man`

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::report;

/// Print a manual page in roff
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command it describes; without one, kinedb itself
    command: Option<String>,
}

/// Writes the page to stdout.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut root = Cli::command();
    root.build();
    let page = match &args.command {
        None => root,
        Some(name) => match root.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                return fail(
                    Code::Usage,
                    format!("there is no command `{name}`"),
                    "list them with `kinedb --help`",
                );
            }
        },
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff)?;
    report::line(String::from_utf8_lossy(&roff).trim_end())?;
    Ok(Exit::Success)
}
