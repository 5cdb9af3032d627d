//! The proof that tenants stay apart.
//!
//! [`verify`] makes the scope, asks each source, and settles one verdict.
//! Nothing here prints, and nothing decides an exit code.

pub mod algebra;
pub mod checks;
pub mod config;
mod databases;
mod details;
pub mod explain;
pub mod finding;
mod focus;
mod keys;
pub mod model;
pub mod probes;
mod rights;
pub mod scope;
mod script;
pub mod self_test;
mod session;
mod synth;
pub mod truth;
pub mod unfinished;
mod verdict;
mod world;

use std::time::Instant;

use sqlx::PgConnection;

pub use self::config::Config;
pub use self::explain::{explain, list};
pub use self::model::{Depth, Options};
pub use self::verdict::{Baseline, Cells, Checked, Excepted, Known, Report};

/// Verifies the database behind a connection.
///
/// Outside of a transaction it opens its own and rolls each back; inside of one
/// (`options.in_transaction`) it uses savepoints only.
///
/// # Errors
/// `BadConfig` where the configuration does not fit the database; whatever the
/// connection says where it is lost. What could not be looked at is a finding,
/// not an error.
pub async fn verify(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
) -> anyhow::Result<Report> {
    let start = Instant::now();
    let scope = scope::load(conn, config, options).await?;
    let mut outcome = checks::run(conn, &scope, options).await?;
    if let (Some(connect), Depth::Full, false) =
        (&options.connect, options.depth, options.in_transaction)
    {
        outcome.merge(databases::run(conn, &scope, connect).await?);
    }
    if options.depth == Depth::Full {
        outcome.merge(probes::prove(conn, &scope, options).await?);
    }
    verdict::without_evidence(&scope, options, &mut outcome);
    rights::explain_missing(conn, &scope, &mut outcome).await?;
    Ok(verdict::settle(&scope, options, outcome, start.elapsed()))
}
