//! `kinedb upgrade`

use crate::commands::context::Context;
use crate::commands::migrating::{RunArgs, conclude, teller};
use crate::exit::Exit;
use crate::fault::{Code, Fault};
use crate::migrate::cancel::Cancel;
use crate::migrate::gate::Gate;
use crate::migrate::plan::{Leave, plan};
use crate::migrate::run::{Options, Runner, listed};
use crate::migrate::script::Direction;
use crate::migrate::target::Target;
use crate::migrate::{history, offline};
use crate::report;

/// Apply pending migrations, each proven to keep tenants apart
#[derive(Debug, clap::Args)]
pub struct Args {
    /// head, +N, or a part of a revision's name
    #[arg(default_value = "head")]
    revision: Target,
    /// Change nothing; exit 3 if anything is pending
    #[arg(long, env = "KINEDB_CHECK", conflicts_with_all = ["dry_run", "sql"])]
    check: bool,
    /// Apply pending migrations that are older than the newest one applied
    #[arg(long, env = "KINEDB_ALLOW_OUT_OF_ORDER")]
    allow_out_of_order: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// Applies what is pending.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.target().await?;
    let cancel = Cancel::default();
    let work = upgrade(args, context, &target, &cancel);
    cancel.guard(&target, work).await
}

async fn upgrade(
    args: &Args,
    context: &Context<'_>,
    target: &crate::db::Target,
    cancel: &Cancel,
) -> anyhow::Result<Exit> {
    let (mut conn, revisions) = context.connect_and_read(target, "upgrade").await?;
    let revisions = revisions.as_slice();
    let state = history::read(&mut conn).await?;
    let leave = Leave {
        out_of_order: args.allow_out_of_order,
    };
    if args.check || (args.run.sql && !args.run.dry_run) {
        let listed = listed(revisions);
        let plan = plan(&listed, &state, Direction::Up, &args.revision, leave)?;
        if args.run.sql {
            report::line(offline::script(revisions, &plan, &state, None).await?)?;
            return Ok(Exit::Success);
        }
        let steps = plan.steps.iter();
        let pending = steps.map(|index| revisions[*index].name.as_str()).collect();
        return check(context, pending);
    }
    let options = Options {
        leave,
        ..args.run.options()
    };
    let gate = Gate::new(args.run.depth(), context.isolation()?);
    let verb = if args.run.dry_run { "tried" } else { "applied" };
    let mut tell = teller(context.ui, verb);
    let runner = Runner::new(target, revisions, &options, cancel.clone(), gate, &mut tell);
    let before = args.run.sql.then(|| state.clone());
    let summary = runner
        .run(conn, state, Direction::Up, &args.revision)
        .await?;
    if let Some(state) = before {
        let listed = listed(revisions);
        let plan = plan(&listed, &state, Direction::Up, &args.revision, leave)?;
        let done = Some(summary.done.as_slice());
        report::line(offline::script(revisions, &plan, &state, done).await?)?;
        return Ok(Exit::Success);
    }
    conclude(context, &args.run, "applied", &summary)?;
    Ok(Exit::Success)
}

fn check(context: &Context<'_>, pending: Vec<&str>) -> anyhow::Result<Exit> {
    if context.json() {
        report::json(&serde_json::json!({ "pending": pending }))?;
    } else if pending.is_empty() {
        report::line("nothing is pending")?;
    } else {
        report::line(pending.join("\n"))?;
    }
    if pending.is_empty() {
        return Ok(Exit::Success);
    }
    let count = pending.len();
    let what = if count == 1 {
        "migration is"
    } else {
        "migrations are"
    };
    Err(Fault::new(Code::Pending, format!("{count} {what} pending"))
        .hint("apply with `kinedb upgrade`")
        .into())
}
