//! `kinedb audit`

mod guard;
mod partitions;
mod retain;
mod seal;
mod show;
mod verify;

use sqlx::postgres::PgConnection;

use crate::commands::context::Context;
use crate::exit::Exit;
use crate::migrate::cancel::Cancel;
use crate::migrate::history;

/// Seal, verify, read and retire the audit trail
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Chain what is settled of each clinic's trail, and print the heads
    Seal(seal::Args),
    /// Find edits, deletions, insertions and cut tails, and name the range
    Verify(verify::Args),
    /// Keep the owner of the tables from switching the trail off
    Guard(guard::Args),
    /// Make monthly partitions ahead, and empty the default one
    Partitions(partitions::Args),
    /// Archive and remove months older than the law asks for
    Retain(retain::Args),
    /// Show who did what in one clinic
    Show(show::Args),
}

/// Runs one of them.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    if let Action::Guard(args) = &args.action
        && args.sql
    {
        return args.print();
    }
    let target = context.target().await?;
    let cancel = Cancel::default();
    let work = async {
        let mut conn = context.connect(&target, "audit").await?;
        let backend = sqlx::query_scalar("select pg_catalog.pg_backend_pid()");
        cancel.set_backend(backend.fetch_one(&mut conn).await?);
        match &args.action {
            Action::Seal(args) => seal::run(args, context, &mut conn).await,
            Action::Verify(args) => verify::run(args, context, &target, &mut conn).await,
            Action::Guard(args) => guard::run(args, context, &mut conn).await,
            Action::Partitions(args) => partitions::run(args, context, &mut conn).await,
            Action::Retain(args) => retain::run(args, context, &target, &mut conn).await,
            Action::Show(args) => show::run(args, context, &mut conn).await,
        }
    };
    cancel.guard(&target, work).await
}

async fn writable(conn: &mut PgConnection) -> anyhow::Result<()> {
    history::read(conn).await.map_or_else(
        // Whoever seals need not read the history; a standby refuses the write itself.
        |_| Ok(()),
        |state| state.require_writable(),
    )
}

async fn database(conn: &mut PgConnection) -> anyhow::Result<String> {
    let name = sqlx::query_scalar("select pg_catalog.current_database()::text");
    Ok(name.fetch_one(conn).await?)
}
