//! `kinedb completions`

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::report;

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Writes the script to stdout.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kinedb", &mut script);
    report::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Success)
}
