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
pub mod held;
mod keys;
pub mod model;
mod near;
mod portions;
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

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::oneshot;

pub use self::config::Config;
use self::details::Early;
pub use self::explain::{explain, list};
use self::finding::Verdict;
use self::held::Held;
pub use self::model::{Depth, Options};
pub(crate) use self::script::CONTESTED;
pub use self::script::compile;
pub use self::verdict::{Applied, Baseline, Cells, Checked, Excepted, Known, Renewed, Report};

/// How often a lock that came up in the middle may make it begin again.
const ROUNDS: usize = 3;
/// How long a second session may take to answer before the first does all.
const PATIENCE: Duration = Duration::from_secs(1);

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
    let mut held = Held::default();
    for _ in 0..ROUNDS {
        match once(conn, config, options, &held, start).await {
            // Whoever opened the transaction that it is inside of begins that again.
            Err(cause) if held::waited(&cause) && !options.in_transaction => {
                if !held.look(conn).await? && held.any() {
                    return Err(held.blame(cause));
                }
            }
            // Another snapshot may find them at rest.
            Ok(report) if contested(&report) && !options.in_transaction => {}
            done => return done,
        }
    }
    once(conn, config, options, &held, start).await
}

/// The application wrote to rows while statements were tried on them.
fn contested(report: &Report) -> bool {
    let told = format!("SQLSTATE {CONTESTED}");
    let mut findings = report.findings.iter();
    findings.any(|finding| finding.verdict == Verdict::Unproven && finding.detail.contains(&told))
}

/// Verifies it without what is held.
async fn once(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
    held: &Held,
    start: Instant,
) -> anyhow::Result<Report> {
    let (scope, mut outcome) = if beside(options) {
        on_two_sessions(conn, config, options, held).await?
    } else {
        let scope = scope::load(conn, config, options, held).await?;
        let mut outcome = catalogue(conn, &scope, options).await?;
        if options.depth == Depth::Full {
            outcome.merge(probes::prove(conn, &scope, options, None).await?);
        }
        (Arc::new(scope), outcome)
    };
    held::tell(conn, &scope, options, &mut outcome).await?;
    verdict::without_evidence(&scope, options, &mut outcome);
    rights::explain_missing(conn, &scope, &mut outcome).await?;
    Ok(verdict::settle(&scope, options, outcome, start.elapsed()))
}

/// Whether a second session may help: inside of a transaction only one sees what was made.
fn beside(options: &Options) -> bool {
    options.connect.is_some() && !options.in_transaction && options.depth == Depth::Full
}

/// The first session makes the scope and then probes; the second reads what rows are
/// made of while the scope is made, and then runs the checks. Neither waits for the
/// other before it needs what that one found.
async fn on_two_sessions(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
    held: &Held,
) -> anyhow::Result<(Arc<model::Scope>, finding::Outcome)> {
    let (tell_early, early) = oneshot::channel();
    let (tell_scope, made) = oneshot::channel();
    let first = async {
        let scope = Arc::new(scope::load(conn, config, options, held).await?);
        let _ = tell_scope.send(Arc::clone(&scope));
        let proven = match portions::wanted(&scope, options) {
            Some(connect) => portions::prove(conn, &scope, options, connect).await?,
            None => probes::prove(conn, &scope, options, Some(early)).await?,
        };
        Ok::<_, anyhow::Error>((scope, proven))
    };
    let other = async {
        let Some((mut second, early)) = second(options, held).await else {
            drop(tell_early);
            return Ok(None);
        };
        match early {
            Some(early) => drop(tell_early.send(early)),
            None => drop(tell_early),
        }
        let Ok(scope) = made.await else {
            return Ok(None);
        };
        let seen = catalogue(&mut second, &scope, options).await?;
        // It read only; a failure to say goodbye changes nothing.
        let _ = second.close().await;
        Ok::<_, anyhow::Error>(Some(seen))
    };
    let (first, other) = join(first, other).await;
    let (scope, proven) = first?;
    let mut outcome = match other? {
        Some(seen) => seen,
        None => catalogue(conn, &scope, options).await?,
    };
    outcome.merge(proven);
    Ok((scope, outcome))
}

/// A session beside the first, so that the server reads the catalogue while it
/// answers the probes, with what it could read before the scope is known. None where
/// the server has no place for another: then the first does all.
async fn second(options: &Options, held: &Held) -> Option<(PgConnection, Option<Early>)> {
    let connect = again(options.connect.as_ref()?, "kinedb verify-rls catalogue");
    let ready = async {
        let mut conn = PgConnection::connect_with(&connect).await?;
        // A pooler lets a client in and keeps its statements waiting for a session.
        conn.execute("select").await?;
        Ok::<_, sqlx::Error>(conn)
    };
    let mut conn = tokio::time::timeout(PATIENCE, ready).await.ok()?.ok()?;
    // Of what is held it would wait for a lock. Whoever needs it reads it himself.
    let early = if held.any() {
        None
    } else {
        Early::read(&mut conn, options).await.ok()
    };
    Some((conn, early))
}

/// How another session connects, under a name of its own.
fn again(connect: &PgConnectOptions, name: &str) -> PgConnectOptions {
    let connect = connect.clone().disable_statement_logging();
    match connect.get_application_name() {
        None => connect.application_name(name),
        Some(_) => connect,
    }
}

async fn catalogue(
    conn: &mut PgConnection,
    scope: &model::Scope,
    options: &Options,
) -> anyhow::Result<finding::Outcome> {
    let mut outcome = checks::run(conn, scope, options).await?;
    if let (Some(connect), Depth::Full, false) =
        (&options.connect, options.depth, options.in_transaction)
    {
        outcome.merge(databases::run(conn, scope, connect).await?);
    }
    Ok(outcome)
}
