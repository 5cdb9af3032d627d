//! kinedb migrates multi-tenant PostgreSQL databases and proves that tenants
//! stay apart.
//!
//! | module | holds |
//! |---|---|
//! | [`exit`], [`fault`] | how a run ends: exit codes, errors with a code and a hint |
//! | [`db`] | names, targets, connections |
//! | [`catalogue`] | a database's schema and security as text that can be compared |
//! | [`dev`] | the local PostgreSQL: found, started, stopped |
//! | [`entity`], [`tenant`] | what the product uses: its tables, and a transaction bound to one clinic |
//! | [`migrate`] | the migration engine: plan, lock, run, history |
//! | [`policy`], [`lint`], [`scaffold`] | what is declared, what SQL may not say, writing migrations |
//! | [`seed`] | development data |
//! | [`audit`] | seals over the audit trail, partitions, retention |
//! | [`backup`] | backup, restore with proof, one clinic's data |
//! | [`archive`] | files that are whole or not there, encrypted |
//! | [`verify`] | the proof of isolation |
//! | [`cli`], [`commands`] | the command line, one file per command |
//! | [`report`], [`ui`] | the only code that prints |

pub mod archive;
pub mod audit;
pub mod backup;
pub mod catalogue;
pub mod cli;
pub mod commands;
pub mod db;
pub mod dev;
pub mod entity;
pub mod exit;
pub mod fault;
pub mod lint;
pub mod migrate;
pub mod policy;
pub mod report;
pub mod scaffold;
pub mod seed;
pub mod tenant;
pub mod ui;
pub mod verify;

use clap::Parser as _;

use crate::exit::Exit;
use crate::fault::Fault;

/// Parses the command line, runs the command, prints an error if there is one.
pub fn run() -> Exit {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version go to stdout with 0, the rest to stderr with 2.
            let _ = refusal.print();
            return if refusal.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
        }
    };
    let ui = ui::Ui::new(cli.global.quiet);
    let ui = match ui.with_log(cli.global.log_format, cli.global.log_file.as_deref()) {
        Ok(ui) => ui,
        Err(error) => {
            ui.error(&error);
            return Exit::Usage;
        }
    };
    hide_panic_details(ui);
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let work = std::panic::AssertUnwindSafe(|| runtime.block_on(commands::run(&cli, &ui)));
            // The connection is dropped while unwinding, so the server rolls back.
            let outcome = std::panic::catch_unwind(work);
            // A blocking read of a prompt must not hold the exit back.
            runtime.shutdown_background();
            outcome.unwrap_or(Ok(Exit::Internal))
        });
    match outcome {
        Ok(exit) => exit,
        Err(error) => {
            let error = db::error::explained(error);
            ui.error(&error);
            Fault::of(&error).map_or(Exit::Internal, |fault| fault.code().exit())
        }
    }
}

/// A panic is a bug; its message may quote data or a connection string, so only
/// the place is shown.
fn hide_panic_details(ui: ui::Ui) {
    std::panic::set_hook(Box::new(move |info| {
        let place = info
            .location()
            .map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        ui.warn(format!(
            "internal error (a bug){place}; the open transaction is rolled back"
        ));
    }));
}
