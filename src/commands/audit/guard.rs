//! `kinedb audit guard`

use serde_json::json;
use sqlx::postgres::PgConnection;

use super::writable;
use crate::audit::guard;
use crate::commands::context::Context;
use crate::exit::Exit;
use crate::report;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Take the guard away again
    #[arg(long)]
    remove: bool,
    /// Print the statements instead, for an administrator to run; needs no database
    #[arg(long)]
    pub(super) sql: bool,
}

impl Args {
    /// Prints what would be sent.
    pub(super) fn print(&self) -> anyhow::Result<Exit> {
        report::line(self.text().trim_end())?;
        Ok(Exit::Success)
    }

    fn text(&self) -> &'static str {
        if self.remove { guard::DOWN } else { guard::UP }
    }
}

/// Makes the event triggers, or drops them.
pub(super) async fn run(
    args: &Args,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    writable(conn).await?;
    if args.remove {
        guard::remove(conn).await?;
    } else {
        guard::install(conn).await?;
    }
    let state = if args.remove { "none" } else { "in-place" };
    if context.json() {
        report::json(&json!({ "guard": state }))?;
    } else if args.remove {
        report::line("the audit trail is no longer guarded against the owner of its tables")?;
    } else {
        report::line("the owner of the tables can no longer switch the audit trail off")?;
    }
    Ok(Exit::Success)
}
