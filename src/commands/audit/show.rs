//! `kinedb audit show`

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::audit::access;
use crate::audit::show::{self, Event, Wanted};
use crate::commands::context::Context;
use crate::exit::Exit;
use crate::report::{self, table::table};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The clinic
    #[arg(long, value_name = "ID")]
    tenant: Uuid,
    /// By this user only
    #[arg(long, value_name = "ID")]
    actor: Option<Uuid>,
    /// From this time on: 2026-03-01 or 2026-03-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<chrono::DateTime<chrono::Utc>>,
    /// Of this table only
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Of this row only
    #[arg(long, value_name = "ID")]
    row: Option<Uuid>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    limit: i64,
}

/// A day or a time, in UTC.
fn moment(text: &str) -> Result<chrono::DateTime<chrono::Utc>, String> {
    let day = || format!("{text}T00:00:00Z").parse();
    text.parse().or_else(|_| day()).map_err(|_| {
        format!("`{text}` is not a time; write it like 2026-03-01 or 2026-03-01T08:00:00Z")
    })
}

/// Shows the newest events that fit.
pub(super) async fn run(
    args: &Args,
    context: &Context<'_>,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    let wanted = Wanted {
        actor: args.actor,
        since: args.since,
        table: args.table.clone(),
        row: args.row,
        limit: args.limit,
    };
    let access = access::find(conn).await?;
    access::begin_reading(conn, &access).await?;
    let events = show::show(conn, &access, args.tenant, &wanted).await?;
    crate::audit::end(conn).await?;
    if context.json() {
        report::json(&events)?;
        return Ok(Exit::Success);
    }
    if events.is_empty() {
        report::line("no event fits")?;
        return Ok(Exit::Success);
    }
    let line = |one: &Event| {
        let what = one.row_id.map_or_else(
            || one.table_name.clone(),
            |row| format!("{} {row}", one.table_name),
        );
        [
            one.occurred_at.clone(),
            one.actor.clone(),
            one.action.clone(),
            what,
            one.changed_columns
                .as_ref()
                .map(|names| names.join(", "))
                .unwrap_or_default(),
            one.application_name.clone(),
        ]
    };
    report::line(table(
        [
            "TIME (UTC)",
            "ACTOR",
            "ACTION",
            "ROW",
            "COLUMNS",
            "APPLICATION",
        ],
        events.iter().map(line),
    ))?;
    if events.len() as i64 == args.limit {
        context
            .ui
            .say(format!("the newest {}; more with --limit", args.limit));
    }
    Ok(Exit::Success)
}
