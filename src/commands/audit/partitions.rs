//! `kinedb audit partitions`

use sqlx::postgres::PgConnection;

use super::writable;
use crate::audit::{access, partitions};
use crate::commands::context::Context;
use crate::exit::Exit;
use crate::report::{self, table::table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// So many months after this one
    #[arg(long, env = "KINEDB_AUDIT_AHEAD", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(0..=120))]
    ahead: i32,
}

/// Makes what is missing.
pub(super) async fn run(
    args: &Args,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    writable(conn).await?;
    let access = access::find(conn).await?;
    let months = partitions::make(conn, &access, args.ahead).await?;
    if context.json() {
        report::json(&months)?;
        return Ok(Exit::Success);
    }
    let line = |one: &partitions::Month| {
        let made = if one.made { "made" } else { "there" };
        [one.month.clone(), made.to_owned(), one.moved.to_string()]
    };
    report::line(table(
        ["MONTH", "PARTITION", "MOVED"],
        months.iter().map(line),
    ))?;
    Ok(Exit::Success)
}
