//! Real statements as the application's roles, in every kind of context, in a
//! transaction that is rolled back.
//!
//! What is built here only asks; [`report`] says what it means. Order matters:
//! contexts that were never set come first, because a session cannot go back.

pub mod docs;
mod effects;
mod flow;
mod read;
mod refer;
pub(crate) mod report;
mod write;
mod write_odd;

use std::sync::Arc;

use sqlx::PgConnection;

use self::report::Report;
use super::details::Details;
use super::finding::Outcome;
use super::model::{Options, Scope};
use super::world::{self, World};

/// Runs every probe of the scope.
///
/// # Errors
/// When the connection fails; a probe that fails is a finding.
pub async fn run(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
) -> anyhow::Result<Outcome> {
    world::open(conn, options).await?;
    let outcome = within(conn, scope, options).await;
    let closed = world::close(conn, options).await;
    let outcome = outcome?;
    closed?;
    Ok(outcome)
}

async fn within(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
) -> anyhow::Result<Outcome> {
    let details = Details::read(conn, scope).await?;
    staged(conn, scope, options, details).await
}

/// The probes, on details that were read before.
pub(crate) async fn staged(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
    details: Arc<Details>,
) -> anyhow::Result<Outcome> {
    let mut report = Report::default();
    let mut world = World::begin(conn, scope, options, details).await?;
    if world.roles.is_empty() || world.contexts.is_empty() {
        return Ok(report.outcome);
    }
    read::fresh(conn, &world, &mut report).await?;
    let makers: Vec<usize> = {
        let mut list: Vec<usize> = world.watched().into_iter().take(2).collect();
        list.extend(world.lookalike.filter(|place| !list.contains(place)));
        list
    };
    world.make(conn, &makers).await?;
    world.count(conn).await?;
    read::contexts(conn, &world, &mut report).await?;
    read::odd(conn, &world, &mut report).await?;
    if !options.read_only {
        flow::run(conn, &world, &mut report).await?;
        write::run(conn, &world, &mut report).await?;
        write_odd::run(conn, &world, &mut report).await?;
        refer::run(conn, &world, &mut report).await?;
        effects::run(conn, &world, &mut report).await?;
    }
    super::algebra::evaluate(conn, &world, &mut report).await?;
    read::prove(&world, &mut report);
    Ok(report.outcome)
}
