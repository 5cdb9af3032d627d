//! `kinedb seed`

use std::time::Instant;

use sqlx::postgres::PgConnection;

use crate::commands::context::Context;
use crate::commands::local;
use crate::commands::migrating::teller;
use crate::db::Target;
use crate::exit::Exit;
use crate::fault::{Code, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::gate::{Depth, Gate};
use crate::migrate::run::{Options, Runner};
use crate::migrate::script::Direction;
use crate::migrate::{history, target::Target as Goal};
use crate::report;
use crate::seed::{self, Environment, SeedEvent, SeedSummary};
use crate::verify;
use crate::verify::finding::Verdict;

const RELATIONS: &str = include_str!("sql/user_relations.sql");

/// Load reference data; with --dev three invented clinics, then verify
#[derive(Debug, clap::Args)]
pub struct Args {
    /// With --dev: generate N patients more, with appointments, encounters and notes
    #[arg(long, value_name = "N", env = "KINEDB_SCALE", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub scale: Option<u64>,
}

/// With `--dev` the whole way from nothing to a proven database; without, the
/// reference data that every environment needs.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    if context.global.dev {
        development(args, context).await
    } else if let Some(patients) = args.scale {
        fail(
            Code::Usage,
            "`--scale` invents patients, which only a development database may hold",
            format!("kinedb seed --dev --scale {patients}"),
        )
    } else {
        reference(context).await
    }
}

async fn reference(context: &Context<'_>) -> anyhow::Result<Exit> {
    let target = context.named_target()?;
    let mut conn = context.connect(&target, "seed").await?;
    let summary = seed::load_reference(&mut conn).await?;
    if summary.clinics.is_empty() {
        report::line("nothing to load: this schema has no reference data")?;
        context.ui.say("for development clinics: kinedb seed --dev");
        return Ok(Exit::Success);
    }
    report::line(loaded(&summary))?;
    Ok(Exit::Success)
}

async fn development(args: &Args, context: &Context<'_>) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let (target, unprepared) = match context.chosen_target()? {
        Some(target) => (target, None),
        None => {
            let server = local::server(context)?;
            let started = local::start(context, &server).await?;
            let key = local::key(context).await?;
            let unprepared = started.fresh && started.template.as_deref() != Some(key.as_str());
            (local::target(&server), unprepared.then_some((server, key)))
        }
    };
    let mut conn = context.connect(&target, "seed").await?;
    require_development(&mut conn, &target).await?;
    let applied = upgrade(context, &target, conn).await?;
    let mut conn = crate::db::connect(&target, "seed").await?;
    let bar = context.ui.progress(0, "clinics");
    let summary = seed::load_dev(&mut conn, &mut |event| match event {
        SeedEvent::Clinic {
            name, number, of, ..
        } => {
            bar.set_length(of as u64);
            bar.set_position(number as u64 - 1);
            bar.set_message(name);
        }
        SeedEvent::Table { .. } => {}
    })
    .await?;
    bar.finish_and_clear();
    report::line(loaded(&summary))?;
    let mut generated = 0;
    if let Some(patients) = args.scale {
        (conn, generated) = generate(context, &target, conn, &summary, patients).await?;
    }
    let here = if context.chosen_target()?.is_none() {
        " --dev"
    } else {
        ""
    };
    let verify = format!("kinedb verify-rls{here}");
    if applied == 0 && summary.loaded() == 0 && generated == 0 {
        // Says nothing of isolation: what was not looked at again is not proven again.
        report::line(format!("nothing changed; for the proof: {verify}"))?;
        return Ok(Exit::Success);
    }
    let report = prove(context, &mut conn).await?;
    drop(conn);
    report::line(format!(
        "{}: {} probes as the application's roles",
        report::verification::verdict(report.verdict),
        report.checked.probes
    ))?;
    if report.verdict != Verdict::Isolated {
        let worst = report.findings.first();
        return fail(
            Code::NotIsolated,
            worst.map_or_else(
                || "isolation is not proven".to_owned(),
                |finding| format!("`{}`: {}", finding.object, finding.title),
            ),
            verify,
        );
    }
    if let Some((server, key)) = unprepared {
        // The next fresh folder starts as a copy of this one, which is proven.
        server.prepare(&key)?;
    }
    context.ui.say(format!(
        "{} ms from start to a proven database; next:",
        began.elapsed().as_millis()
    ));
    context.ui.say(format!(
        "  {verify}      the proof in full, with the access matrix"
    ));
    if !here.is_empty() {
        context.ui.say("  kinedb dev psql              look around");
        context
            .ui
            .say("  kinedb dev url               for the product's backend");
    }
    Ok(Exit::Success)
}

/// Generates patients over two connections, or one where the server gives no more.
async fn generate(
    context: &Context<'_>,
    target: &Target,
    conn: PgConnection,
    summary: &SeedSummary,
    patients: u64,
) -> anyhow::Result<(PgConnection, u64)> {
    let blocks = seed::blocks(&summary.clinics, patients);
    let mut connections = Vec::from([conn]);
    if blocks.len() > 1
        && let Ok(second) = crate::db::connect(target, "seed").await
    {
        connections.push(second);
    }
    let bar = context.ui.progress(patients, "patients");
    let began = Instant::now();
    let made = seed::generate(&mut connections, &blocks, &|done| bar.inc(done)).await?;
    bar.finish_and_clear();
    report::line(format!(
        "generated: {made} patients with appointments, encounters and notes new, {} already there, in {:.1} s",
        patients - made,
        began.elapsed().as_secs_f64()
    ))?;
    let conn = connections.swap_remove(0);
    Ok((conn, made))
}

/// Seeded is not done until it is proven.
async fn prove(context: &Context<'_>, conn: &mut PgConnection) -> anyhow::Result<verify::Report> {
    let state = history::read(conn).await?;
    let config = context.isolation_of(&state).await?;
    verify::verify(conn, &config, &verify::Options::default()).await
}

/// A database is for development only if it says so itself. One without a marker
/// may get it if nothing is in it and it is on this machine.
async fn require_development(conn: &mut PgConnection, target: &Target) -> anyhow::Result<()> {
    let hint =
        "name a development database; `kinedb seed --dev` without a URL uses the local server";
    match seed::environment(conn).await? {
        Some(Environment::Development) => Ok(()),
        Some(other) => fail(
            Code::NotDevelopment,
            format!("{target} is marked as `{other}`"),
            hint,
        ),
        None => {
            let relations: i64 = sqlx::query_scalar(RELATIONS).fetch_one(&mut *conn).await?;
            if relations > 0 {
                return fail(
                    Code::NotDevelopment,
                    format!(
                        "{target} is not marked as one for development and holds {relations} tables or views"
                    ),
                    hint,
                );
            }
            if !target.is_local() {
                return fail(
                    Code::NotDevelopment,
                    format!("{target} is empty, but it is not on this machine"),
                    hint,
                );
            }
            seed::mark_development(conn).await
        }
    }
}

/// To head, through the gate. Tells how many migrations it took.
async fn upgrade(
    context: &Context<'_>,
    target: &Target,
    mut conn: PgConnection,
) -> anyhow::Result<usize> {
    let revisions = context.revisions().await?;
    let state = history::read(&mut conn).await?;
    // One transaction and so one proof: a laptop waits for it.
    let options = Options {
        single_transaction: true,
        ..Options::default()
    };
    let cancel = Cancel::default();
    // The sessions come after the load, when there are rows to see.
    let gate = Gate::new(Depth::Catalog, context.isolation()?);
    let mut tell = teller(context.ui, "applied");
    let runner = Runner::new(
        target,
        &revisions,
        &options,
        cancel.clone(),
        gate,
        &mut tell,
    );
    cancel
        .guard(target, runner.run(conn, state, Direction::Up, &Goal::Head))
        .await
        .map(|summary| summary.done.len())
}

fn loaded(summary: &SeedSummary) -> String {
    let clinics: Vec<String> = summary
        .clinics
        .iter()
        .map(|clinic| {
            format!(
                "{}: {} new, {} already there",
                clinic.name,
                clinic.loaded(),
                clinic.present()
            )
        })
        .collect();
    clinics.join("\n")
}
