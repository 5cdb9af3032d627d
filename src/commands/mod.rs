//! One file per command: its arguments and `run`.

pub mod audit;
pub mod autogenerate;
pub mod backup;
pub mod baseline;
pub mod check;
pub mod check_history;
pub mod check_live;
pub mod completions;
pub mod context;
pub mod dev;
pub mod downgrade;
pub mod encryption;
pub mod export;
pub mod history;
pub mod local;
pub mod man;
pub mod migrating;
pub mod repair;
pub mod restore;
pub mod revision;
pub mod scratch;
pub mod seed;
pub mod show;
pub mod stamp;
pub mod status;
pub mod upgrade;
pub mod verify_rls;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::ui::Ui;

/// Runs the command that was parsed.
pub async fn run(cli: &Cli, ui: &Ui) -> anyhow::Result<Exit> {
    let context = context::Context {
        global: &cli.global,
        ui,
    };
    if !matches!(cli.command, Command::VerifyRls(_) | Command::Check(_))
        && !verify_rls::supports(cli.global.format)
    {
        return fail(
            Code::Usage,
            "this command has the formats `table` and `json` only",
            "the other formats belong to `kinedb verify-rls` and `kinedb check`",
        );
    }
    match &cli.command {
        Command::Upgrade(args) => upgrade::run(args, &context).await,
        Command::Downgrade(args) => downgrade::run(args, &context).await,
        Command::Seed(args) => seed::run(args, &context).await,
        Command::VerifyRls(args) => verify_rls::run(args, &context).await,
        Command::Check(args) => check::run(args, &context).await,
        Command::Dev(args) => dev::run(args, &context).await,
        Command::Status(args) => status::run(args, &context).await,
        Command::History(args) => history::run(args, &context).await,
        Command::Revision(args) => revision::run(args, &context).await,
        Command::Stamp(args) => stamp::run(args, &context).await,
        Command::Repair(args) => repair::run(args, &context).await,
        Command::Show(args) => show::run(args, &context).await,
        Command::Audit(args) => audit::run(args, &context).await,
        Command::Backup(args) => backup::run(args, &context).await,
        Command::Restore(args) => restore::run(args, &context).await,
        Command::Export(args) => export::run(args, &context).await,
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

/// The first of what was found, and how much more there is; none where nothing was.
fn first_of<T: std::fmt::Display>(found: &[T]) -> Option<String> {
    match found {
        [] => None,
        [first] => Some(first.to_string()),
        [first, rest @ ..] => Some(format!("{first}, and {} more", rest.len())),
    }
}
