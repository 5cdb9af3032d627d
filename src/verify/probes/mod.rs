//! Real statements as the application's roles, in every kind of context, in a
//! transaction that is rolled back.
//!
//! What is built here only asks; [`report`] says what it means. Order matters:
//! contexts that were never set come first, because a session cannot go back.

mod assign;
mod bind;
mod effects;
mod flow;
mod login;
mod nobody;
mod read;
mod refer;
pub(crate) mod report;
pub(crate) use self::read::stopped;
mod settle;
mod stirring;
mod write;

use sqlx::PgConnection;
use tokio::sync::oneshot;

use self::report::Report;
use super::details::{Details, Early};
use super::finding::Outcome;
use super::model::{Options, Scope};
use super::world::{self, World};

/// Runs every probe of the scope, in a transaction of its own that is rolled
/// back, or under a savepoint where the connection is inside one.
///
/// # Errors
/// When the connection fails; a probe that fails is a finding.
pub async fn run(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
) -> anyhow::Result<Outcome> {
    within(conn, scope, options, false, None).await
}

/// What another session reads meanwhile, where there is one: nothing comes where that
/// could not.
pub(crate) type Beside = Option<oneshot::Receiver<Early>>;

/// Probes, algebra and truth in one transaction, on one set of synthetic rows:
/// what the three say apart, in a third of the time. Another session may have read
/// `beside` it what rows are made of.
///
/// # Errors
/// When the connection fails; a probe that fails is a finding.
pub(crate) async fn prove(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    beside: Beside,
) -> anyhow::Result<Outcome> {
    within(conn, scope, options, true, beside).await
}

async fn within(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    all: bool,
    beside: Beside,
) -> anyhow::Result<Outcome> {
    let mut report = Report::default();
    world::open(conn, options).await?;
    let done = staged(conn, scope, options, all, beside, &mut report).await;
    let closed = world::close(conn, options).await;
    done?;
    closed?;
    Ok(report.outcome)
}

async fn staged(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    all: bool,
    beside: Beside,
    report: &mut Report,
) -> anyhow::Result<()> {
    let details = match beside {
        Some(beside) => Details::read_beside(conn, scope, options, beside).await?,
        None => Details::read(conn, scope, options).await?,
    };
    let mut world = World::begin(conn, scope, options, details).await?;
    if world.roles.is_empty() || world.contexts.is_empty() {
        return Ok(());
    }
    report.outcome.basis.extend(world.bounds());
    nobody::fresh(conn, &world, report).await?;
    bind::run(conn, &world, report).await?;
    if all {
        // Before anything is made: this is about real rows.
        super::truth::compare(conn, &world, report).await?;
    }
    if scope.roles.iter().any(|role| role.url.is_some()) {
        world.count(conn).await?;
        login::run(&world, report).await?;
    }
    let mut makers: Vec<usize> = world.watched().into_iter().take(2).collect();
    makers.extend(world.lookalike.filter(|place| !makers.contains(place)));
    // A role of one tenant reaches no rows but that tenant's.
    for role in world.roles.iter().filter(|role| role.tenant.is_some()) {
        for place in world.contexts_of(role) {
            if !makers.contains(&place) {
                makers.push(place);
            }
        }
    }
    world.find_real(conn).await?;
    world.make(conn, &makers).await?;
    world.count(conn).await?;
    read::contexts(conn, &world, report).await?;
    nobody::odd(conn, &world, report).await?;
    flow::run(conn, &world, report).await?;
    if !options.read_only {
        write::run(conn, &world, report).await?;
        refer::run(conn, &world, report).await?;
        effects::run(conn, &world, report).await?;
    }
    if all {
        super::algebra::evaluate(conn, &world, report).await?;
    }
    settle::run(&world, report);
    Ok(())
}

/// Counts rows and digests the text of each, whatever their order: two looks are
/// equal where the rows are.
fn digest_of(row: &str, source: &str) -> String {
    seeded_digest_of(row, "0", source)
}

/// The same, each text digested with a number of its row.
fn seeded_digest_of(row: &str, seed: &str, source: &str) -> String {
    format!(
        "select count(*) || ' ' || coalesce(sum(pg_catalog.hashtextextended({row}, {seed})), 0) from {source}"
    )
}
