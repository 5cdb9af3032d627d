//! The command line: what all commands share, and the list of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::report::Format;
use crate::ui::LogFormat;

/// Migrate multi-tenant PostgreSQL databases and prove that tenants stay apart
#[derive(Debug, Parser)]
#[command(
    name = "kinedb",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Database URL (also DATABASE_URL; a password is safer in a file or PGPASSWORD)
    #[arg(
        short = 'u',
        long,
        global = true,
        env = "KINEDB_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub database_url: Option<String>,
    /// File whose first line is the database URL
    #[arg(
        long,
        global = true,
        env = "KINEDB_DATABASE_URL_FILE",
        value_name = "FILE"
    )]
    pub database_url_file: Option<PathBuf>,
    /// Use the local development server
    #[arg(long, global = true, env = "KINEDB_DEV")]
    pub dev: bool,
    /// Folder of the local development server
    #[arg(long, global = true, env = "KINEDB_DEV_DIR", value_name = "FOLDER")]
    pub dev_dir: Option<PathBuf>,
    /// Folder of SQL migrations to use instead of those compiled in
    #[arg(long, global = true, env = "KINEDB_MIGRATIONS", value_name = "FOLDER")]
    pub migrations: Option<PathBuf>,
    /// File that tells verification about the schema [default: kinedb.toml, if there is one]
    #[arg(long, global = true, env = "KINEDB_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Wait so long for a server that does not answer yet
    #[arg(long, global = true, env = "KINEDB_WAIT", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub wait: Duration,
    /// Form of the result on stdout
    #[arg(
        long,
        global = true,
        env = "KINEDB_FORMAT",
        value_enum,
        default_value_t
    )]
    pub format: Format,
    /// Form of what is told on stderr
    #[arg(
        long,
        global = true,
        env = "KINEDB_LOG_FORMAT",
        value_enum,
        default_value_t
    )]
    pub log_format: LogFormat,
    /// Append what is told to this file, one JSON object per line
    #[arg(long, global = true, env = "KINEDB_LOG_FILE", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Say nothing on stderr but warnings and errors
    #[arg(short, long, global = true, env = "KINEDB_QUIET")]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Revision(commands::revision::Args),
    Upgrade(commands::upgrade::Args),
    Downgrade(commands::downgrade::Args),
    Seed(commands::seed::Args),
    VerifyRls(commands::verify_rls::Args),
    Check(commands::check::Args),
    Dev(commands::dev::Args),
    Status(commands::status::Args),
    History(commands::history::Args),
    Show(commands::show::Args),
    Stamp(commands::stamp::Args),
    Repair(commands::repair::Args),
    Audit(commands::audit::Args),
    Backup(commands::backup::Args),
    Restore(commands::restore::Args),
    Export(commands::export::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

/// A duration as people write it: `250ms`, `30s`, `5m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let form = || format!("`{text}` is not a duration; write it like 250ms, 30s, 5m or 1h");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| form())?;
    let factor = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(form()),
    };
    number
        .checked_mul(factor)
        .map(Duration::from_millis)
        .ok_or_else(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(
            duration("5").is_err()
                && duration("s").is_err()
                && duration("99999999999999999h").is_err()
        );
    }

    #[test]
    fn help_lines_are_short_imperatives() {
        for command in Cli::command().get_subcommands() {
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            let good = !about.is_empty() && about.len() <= 72 && !about.ends_with('.');
            assert!(good, "{}: `{about}`", command.get_name());
        }
    }
}
