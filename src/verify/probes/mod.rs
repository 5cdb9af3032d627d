//! Real statements as the application's roles, in every kind of context, in a
//! transaction that is rolled back.
//!
//! What is built here only asks; [`report`] says what it means. Order matters:
//! contexts that were never set come first, because a session cannot go back.

mod assign;
mod bind;
mod effects;
mod filtered;
mod flow;
mod login;
mod nobody;
mod read;
mod refer;
pub(crate) mod report;
pub(crate) use self::read::stopped;
mod settle;
mod stirring;
mod triggers;
mod write;

use std::sync::Arc;

use sqlx::PgConnection;
use tokio::sync::oneshot;

use self::report::Report;
use super::details::{Details, Early};
use super::finding::Outcome;
use super::model::{Oid, Options, Scope};
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
    within(conn, scope, options, false, From::Catalogue).await
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
    let from = beside.map_or(From::Catalogue, From::Beside);
    within(conn, scope, options, true, from).await
}

/// The same for a portion of the database, whose details are known.
///
/// # Errors
/// When the connection fails; a probe that fails is a finding.
pub(crate) async fn prove_portion(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    details: Arc<Details>,
    portion: Vec<Oid>,
) -> anyhow::Result<Outcome> {
    within(conn, scope, options, true, From::Known(details, portion)).await
}

/// Where the details come from, and what is to be looked at.
enum From {
    Catalogue,
    /// Another session reads a part.
    Beside(oneshot::Receiver<Early>),
    /// They were read before; only these objects are to be looked at.
    Known(Arc<Details>, Vec<Oid>),
}

async fn within(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    all: bool,
    from: From,
) -> anyhow::Result<Outcome> {
    let mut report = Report::default();
    world::open(conn, options).await?;
    let done = staged(conn, scope, options, all, from, &mut report).await;
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
    from: From,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (details, portion) = match from {
        From::Catalogue => (Details::read(conn, scope, options).await?, None),
        From::Beside(beside) => {
            let details = Details::read_beside(conn, scope, options, beside).await?;
            (details, None)
        }
        From::Known(details, portion) => (details, Some(portion)),
    };
    let only = portion.as_deref().or(options.only.as_deref());
    let mut world = World::begin(conn, scope, options, details, only).await?;
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
        login::run(conn, &world, report).await?;
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
    filtered::run(conn, &world, report).await?;
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
