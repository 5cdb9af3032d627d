//! `kinedb audit verify`

use std::path::PathBuf;

use serde_json::json;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::audit::access::{self, Access};
use crate::audit::examine::{self, Examined, Wanted};
use crate::audit::heads::Heads;
use crate::audit::verify::{Problem, Verified};
use crate::audit::{guard, guards};
use crate::commands::context::Context;
use crate::commands::first_of;
use crate::db::{Target, connect};
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::report::{self, table::table};

#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// This clinic only (repeatable)
    #[arg(long, value_name = "ID")]
    tenant: Vec<Uuid>,
    /// Compare with heads that `audit seal --heads` wrote (repeatable, the oldest are worth most)
    #[arg(long, value_name = "FILE")]
    heads: Vec<PathBuf>,
    /// Also compare every row with its trail, which reads all tables
    #[arg(long)]
    rows: bool,
}

/// Verifies, and tells what is wrong.
pub(super) async fn run(
    args: &Args,
    context: &Context<'_>,
    target: &Target,
    conn: &mut PgConnection,
) -> anyhow::Result<Exit> {
    let heads: Vec<Heads> = args
        .heads
        .iter()
        .map(|file| Heads::read(file))
        .collect::<anyhow::Result<_>>()?;
    let Examined {
        verified,
        problems,
        guard,
        ..
    } = examine(args, context, target, conn, &heads).await?;
    if context.json() {
        report::json(&json!({
            "verdict": if problems.is_empty() { "intact" } else { "broken" },
            "guard": guard,
            "clinics": verified,
            "problems": problems,
        }))?;
    } else {
        tell(&verified, &problems, heads.is_empty(), context)?;
        if guard == guard::State::None {
            context.ui.say("the owner of the tables can switch the trail off, and only `--rows` shows it afterwards; a superuser ends that with `kinedb audit guard`");
        }
    }
    let Some(told) = first_of(&problems) else {
        return Ok(Exit::Success);
    };
    fail(
        Code::AuditBroken,
        format!("the audit trail is not intact: {told}"),
        "change nothing; restore a backup beside it to compare: kinedb restore BACKUP --verify",
    )
}

/// Looks at everything in one snapshot.
pub(super) async fn examine(
    args: &Args,
    context: &Context<'_>,
    target: &Target,
    conn: &mut PgConnection,
    heads: &[Heads],
) -> anyhow::Result<Examined> {
    let access = access::find(conn).await?;
    // A second session halves the time; a login that may have only one goes without.
    let mut second = connect(target, "audit").await.ok();
    if let Some(other) = &mut second {
        if !access::begin_reading_together(conn, other, &access).await? {
            second = None;
        }
    } else {
        access::begin_reading(conn, &access).await?;
    }
    let mut problems = Vec::new();
    if !guards::present(conn, &mut problems).await? {
        // What is left cannot be read as a trail.
        crate::audit::end(conn).await?;
        return Ok(Examined {
            problems,
            ..Examined::default()
        });
    }
    let mut tenants = if args.tenant.is_empty() {
        access::tenants(conn, &access).await?
    } else {
        args.tenant.clone()
    };
    if args.tenant.is_empty() {
        // A clinic that only a head remembers is one whose chain is gone.
        tenants.extend(
            heads
                .iter()
                .flat_map(|file| file.heads.iter().map(|head| head.tenant)),
        );
        tenants.sort_unstable();
        tenants.dedup();
    }
    guards::check(conn, &mut problems).await?;
    let guarded = guard::state(conn, &mut problems).await?;
    let wanted = Wanted {
        tenants: &tenants,
        heads,
        rows: args.rows,
    };
    let bar = context.ui.progress(0, "steps");
    let step = |steps: usize| {
        bar.set_length(steps as u64);
        bar.inc(1);
    };
    let mut found = examine::examine(conn, second.as_mut(), &access, &wanted, &step).await?;
    bar.finish_and_clear();
    crate::audit::end(conn).await?;
    problems.append(&mut found.problems);
    found.problems = problems;
    found.guard = guarded;
    if found.versions_unseen {
        context
            .ui
            .say("versions of notes were not looked at: this user may not read them all");
    }
    if access == Access::Bound && args.rows {
        context
            .ui
            .say("rows were compared as far as row security lets this user see them");
    }
    Ok(found)
}

fn tell(
    verified: &[Verified],
    problems: &[Problem],
    without_heads: bool,
    context: &Context<'_>,
) -> anyhow::Result<()> {
    let line = |one: &Verified| {
        [
            one.tenant.to_string(),
            one.seals.to_string(),
            one.events.to_string(),
            one.unsealed.to_string(),
            one.retired
                .iter()
                .map(|(month, _)| month.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        ]
    };
    report::line(table(
        ["CLINIC", "SEALS", "PROVEN", "UNSEALED", "RETIRED"],
        verified.iter().map(line),
    ))?;
    for problem in problems {
        report::line(format!("\n{problem}"))?;
    }
    if problems.is_empty() {
        report::line("\nintact")?;
    }
    if without_heads {
        context
            .ui
            .say("no heads were given: a tail that was cut off is not noticed; use --heads FILE");
    }
    Ok(())
}
