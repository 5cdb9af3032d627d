//! `kinedb downgrade`

use sqlx::postgres::PgConnection;

use crate::commands::context::Context;
use crate::commands::migrating::{RunArgs, conclude, teller};
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::gate::Gate;
use crate::migrate::loss::{self, Loss};
use crate::migrate::plan::{Leave, plan};
use crate::migrate::revision::Revision;
use crate::migrate::run::{Runner, listed};
use crate::migrate::script::Direction;
use crate::migrate::target::Target;
use crate::migrate::{history, offline};
use crate::report;

/// Undo migrations, after showing what data would be lost
#[derive(Debug, clap::Args)]
pub struct Args {
    /// base, -N, or a part of the name of the revision to go back to
    #[arg(allow_hyphen_values = true)]
    revision: Target,
    /// Consent to losing the data that is shown, for the database of this name
    #[arg(long, env = "KINEDB_ACCEPT_DATA_LOSS", value_name = "DATABASE")]
    accept_data_loss: Option<String>,
    /// Consent to losing append-only data (audit, versions), for the database of this name
    #[arg(long, env = "KINEDB_ACCEPT_AUDIT_LOSS", value_name = "DATABASE")]
    accept_audit_loss: Option<String>,
    #[command(flatten)]
    run: RunArgs,
}

/// Undoes what was applied.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.target().await?;
    let revisions = context.revisions().await?;
    let cancel = Cancel::default();
    let work = downgrade(args, context, &target, &revisions, &cancel);
    cancel.guard(&target, work).await
}

async fn downgrade(
    args: &Args,
    context: &Context<'_>,
    target: &crate::db::Target,
    revisions: &[Revision],
    cancel: &Cancel,
) -> anyhow::Result<Exit> {
    let mut conn = context.connect(target, "downgrade").await?;
    let state = history::read(&mut conn).await?;
    let listed = listed(revisions);
    let plan = plan(
        &listed,
        &state,
        Direction::Down,
        &args.revision,
        Leave::default(),
    )?;
    if args.run.sql && !args.run.dry_run {
        report::line(offline::script(revisions, &plan, &state, None).await?)?;
        return Ok(Exit::Success);
    }
    if !plan.steps.is_empty() {
        state.require_writable()?;
        cancel.set_backend(state.backend);
        consent(args, context, &mut conn, revisions, &plan, &state.database).await?;
    }
    let options = args.run.options();
    let gate = Gate::new(args.run.depth(), context.isolation()?);
    let verb = if args.run.dry_run { "tried" } else { "undid" };
    let mut tell = teller(context.ui, verb);
    let runner = Runner::new(target, revisions, &options, cancel.clone(), gate, &mut tell);
    let before = args.run.sql.then(|| state.clone());
    let summary = runner
        .run(conn, state, Direction::Down, &args.revision)
        .await?;
    if let Some(state) = before {
        let done = Some(summary.done.as_slice());
        report::line(offline::script(revisions, &plan, &state, done).await?)?;
        return Ok(Exit::Success);
    }
    conclude(context, &args.run, "undid", &summary)?;
    Ok(Exit::Success)
}

/// Shows what the way down destroys and gets consent for it, by the database's
/// name. `--yes` alone would be typed without reading.
async fn consent(
    args: &Args,
    context: &Context<'_>,
    conn: &mut PgConnection,
    revisions: &[Revision],
    plan: &crate::migrate::plan::Plan,
    database: &str,
) -> anyhow::Result<()> {
    let lost = loss::of_plan(conn, revisions, plan, args.run.lock_timeout).await?;
    let holding: Vec<&Loss> = lost.iter().filter(|one| one.holds_data()).collect();
    if holding.is_empty() || args.run.dry_run {
        for one in &holding {
            context.ui.say(format!("would lose {one}"));
        }
        return Ok(());
    }
    refuse_audit_loss(args, context, &holding, database)?;
    context.ui.warn(format!(
        "this downgrade destroys data of database `{database}`:"
    ));
    for one in &holding {
        context.ui.warn(one.to_string());
    }
    let flag = format!("--accept-data-loss {database}");
    let given = match &args.accept_data_loss {
        Some(name) => name.clone(),
        None => match context
            .ui
            .ask("Type the name of the database to destroy this data", &flag)
            .await
        {
            Ok(answer) => answer,
            Err(_) => {
                return fail(
                    Code::DataLoss,
                    format!(
                        "{} would lose data of database `{database}`",
                        tables(&holding)
                    ),
                    format!("back up first, then consent with `{flag}`"),
                );
            }
        },
    };
    if given == database {
        return Ok(());
    }
    fail(
        Code::DataLoss,
        format!(
            "consent was given for `{given}`, but the database is `{database}`; nothing was changed"
        ),
        format!("back up first, then consent with `{flag}`"),
    )
}

/// What was promised to be kept for ever takes a consent of its own, which no
/// prompt gives.
fn refuse_audit_loss(
    args: &Args,
    context: &Context<'_>,
    lost: &[&Loss],
    database: &str,
) -> anyhow::Result<()> {
    let config = context.isolation()?;
    let kept: Vec<&str> = config
        .isolation
        .append_only
        .tables
        .iter()
        .map(|name| name.strip_prefix("public.").unwrap_or(name))
        .collect();
    let lost: Vec<&Loss> = lost
        .iter()
        .copied()
        .filter(|one| {
            let column_of = |table: &str| {
                let rest = one.object.strip_prefix(table);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            kept.iter().any(|table| column_of(table))
        })
        .collect();
    if lost.is_empty() || args.accept_audit_loss.as_deref() == Some(database) {
        return Ok(());
    }
    let list: Vec<String> = lost.iter().map(ToString::to_string).collect();
    fail(
        Code::DataLoss,
        format!(
            "append-only data of database `{database}` would be lost: {}; the law may require it to be kept",
            list.join(", ")
        ),
        format!(
            "export it first, then consent with `--accept-audit-loss {database} --accept-data-loss {database}`"
        ),
    )
}

fn tables(lost: &[&Loss]) -> String {
    let names: Vec<String> = lost.iter().map(|one| format!("`{}`", one.object)).collect();
    names.join(", ")
}
