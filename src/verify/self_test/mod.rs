//! The verifier put to the test on the user's own schema: each kind of fault is
//! planted, one at a time, and must be noticed and named.
//!
//! Every fault lives in a transaction that is rolled back. Planting takes the locks
//! that the same DDL takes anywhere (ACCESS EXCLUSIVE on the table, most of the
//! time) for as long as one verification runs: whether that may be done on a
//! database is for the caller to ask.

mod catalogue;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use self::catalogue::{Fault, faults};
pub use self::catalogue::{Kind, kinds};
use super::config::Config;
use super::finding::{Action, Finding, Severity};
use super::held::Held;
use super::model::{Options, Scope};
use super::verdict::Report;

/// Faults of one kind that are planted, unless all are asked for.
pub const SAMPLE: usize = 3;

/// What became of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A new finding names the broken object.
    Noticed,
    /// None does.
    Missed,
    /// The server refused it; nothing is said about the verifier.
    NotPlanted,
}

/// One fault and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// The kind's id.
    pub kind: &'static str,
    /// What it breaks.
    pub object: String,
    /// The SQL that plants it.
    pub sql: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Ids of the findings that noticed it.
    pub by: Vec<String>,
    /// Why it was not planted, or could not be verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How many faults of a kind there were and what became of them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tally {
    /// Places where this schema could have such a fault.
    pub possible: usize,
    /// Planted.
    pub planted: usize,
    /// Noticed by name.
    pub noticed: usize,
}

/// The mutation score of the verifier on a schema.
#[derive(Debug, Clone, Serialize)]
pub struct Score {
    /// Faults that were planted.
    pub planted: usize,
    /// Faults that were noticed by name.
    pub noticed: usize,
    /// Per kind of fault; kinds that the schema has no place for have zeros.
    pub kinds: BTreeMap<&'static str, Tally>,
    /// How many faults each check noticed.
    pub checks: BTreeMap<String, usize>,
    /// Every fault.
    pub trials: Vec<Trial>,
    /// Errors that were there before anything was planted.
    pub before: usize,
    /// How long it took.
    pub duration_ms: u64,
}

impl Score {
    /// Everything planted was noticed, and something was planted.
    pub fn perfect(&self) -> bool {
        self.planted > 0 && self.noticed == self.planted
    }
}

/// What tells one finding from another.
type Key = (String, String, Option<String>, Option<Action>, Severity);

fn key(finding: &Finding) -> Key {
    (
        finding.id.clone(),
        finding.object.clone(),
        finding.role.clone(),
        finding.action,
        finding.severity,
    )
}

/// Plants, verifies and rolls back: at most `per_kind` faults of each kind, all
/// where that is none. `progress` is told the place, the number of
/// faults and what is planted now.
///
/// # Errors
/// As [`super::verify`]; where the connection is lost everything planted is rolled
/// back by the server.
pub async fn run(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
    per_kind: Option<usize>,
    progress: &mut (dyn FnMut(usize, usize, &str) + Send),
) -> anyhow::Result<Score> {
    let start = Instant::now();
    let inside = Options {
        in_transaction: true,
        connect: None,
        ..options.clone()
    };
    begin(conn, &inside).await?;
    let looked = look_around(conn, config, &inside).await;
    conn.execute("rollback").await?;
    let (faults, before) = looked?;
    let known: BTreeSet<Key> = before.findings.iter().map(key).collect();
    let mut score = Score {
        planted: 0,
        noticed: 0,
        kinds: kinds()
            .iter()
            .map(|kind| (kind.id, Tally::default()))
            .collect(),
        checks: BTreeMap::new(),
        trials: Vec::new(),
        before: before
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count(),
        duration_ms: 0,
    };
    let chosen = sample(faults, per_kind, &mut score.kinds);
    let total = chosen.len();
    for (place, fault) in chosen.into_iter().enumerate() {
        progress(place, total, &format!("{} {}", fault.kind.id, fault.object));
        let trial = plant(conn, config, &inside, &known, fault).await?;
        score.count(trial);
    }
    progress(total, total, "");
    score.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(score)
}

impl Score {
    fn count(&mut self, trial: Trial) {
        let tally = self.kinds.entry(trial.kind).or_default();
        if trial.outcome != Outcome::NotPlanted {
            tally.planted += 1;
            self.planted += 1;
        }
        if trial.outcome == Outcome::Noticed {
            tally.noticed += 1;
            self.noticed += 1;
        }
        for id in &trial.by {
            *self.checks.entry(id.clone()).or_default() += 1;
        }
        self.trials.push(trial);
    }
}

/// The faults that this schema has a place for, and what is found without any.
async fn look_around(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
) -> anyhow::Result<(Vec<Fault>, Report)> {
    let scope: Scope = super::scope::load(conn, config, options, &Held::default()).await?;
    let faults = faults(conn, &scope).await?;
    let report = super::verify(conn, config, options).await?;
    Ok((faults, report))
}

/// A few of each kind, spread over the schema.
fn sample(
    faults: Vec<Fault>,
    per_kind: Option<usize>,
    tallies: &mut BTreeMap<&'static str, Tally>,
) -> Vec<Fault> {
    let mut by_kind: BTreeMap<&str, Vec<Fault>> = BTreeMap::new();
    for fault in faults {
        tallies.entry(fault.kind.id).or_default().possible += 1;
        by_kind.entry(fault.kind.id).or_default().push(fault);
    }
    let mut chosen = Vec::new();
    for (_, list) in by_kind {
        let count = list.len();
        let wanted = per_kind.map_or(count, |most| most.min(count));
        let places: BTreeSet<usize> = (0..wanted).map(|n| n * count / wanted.max(1)).collect();
        chosen.extend(
            list.into_iter()
                .enumerate()
                .filter(|(place, _)| places.contains(place))
                .map(|(_, fault)| fault),
        );
    }
    chosen
}

async fn begin(conn: &mut PgConnection, options: &Options) -> anyhow::Result<()> {
    let settings = format!(
        "begin isolation level repeatable read; set local lock_timeout = {}; set local statement_timeout = {}; set local client_min_messages = error",
        millis(options.lock_timeout),
        millis(options.statement_timeout)
    );
    conn.execute(AssertSqlSafe(settings))
        .await
        .context("opening a transaction for a fault")?;
    Ok(())
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis().max(1)
}

async fn plant(
    conn: &mut PgConnection,
    config: &Config,
    options: &Options,
    known: &BTreeSet<Key>,
    fault: Fault,
) -> anyhow::Result<Trial> {
    begin(conn, options).await?;
    let planted = conn.execute(AssertSqlSafe(fault.sql.clone())).await;
    let seen = match planted {
        Ok(_) => Ok(super::verify(conn, config, options).await),
        Err(error) if error.as_database_error().is_some() => Err(reason(&error)),
        Err(error) => return Err(error).context("planting a fault"),
    };
    conn.execute("rollback")
        .await
        .context("taking a fault back")?;
    let mut trial = Trial {
        kind: fault.kind.id,
        object: fault.object,
        sql: fault.sql,
        outcome: Outcome::NotPlanted,
        by: Vec::new(),
        why: None,
    };
    match seen {
        Err(why) => trial.why = Some(why),
        Ok(Err(error)) => {
            trial.outcome = Outcome::Missed;
            trial.why = Some(format!("{error:#}"));
        }
        Ok(Ok(report)) => {
            let names = |finding: &&Finding| {
                finding.severity >= fault.kind.weight
                    && !known.contains(&key(finding))
                    && (finding.object == trial.object
                        || fault.names.contains(&finding.object)
                        || speaks_of(finding, &trial.object, &fault.names))
            };
            let by: BTreeSet<String> = report
                .findings
                .iter()
                .filter(names)
                .map(|finding| finding.id.clone())
                .collect();
            trial.outcome = if by.is_empty() {
                Outcome::Missed
            } else {
                Outcome::Noticed
            };
            trial.by = by.into_iter().collect();
        }
    }
    Ok(trial)
}

/// The finding's text names the broken object, in backquotes.
fn speaks_of(finding: &Finding, object: &str, names: &[String]) -> bool {
    let quoted = |name: &str| finding.detail.contains(&format!("`{name}`"));
    quoted(object) || names.iter().any(|name| quoted(name))
}

fn reason(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(
        || error.to_string(),
        |error| format!("{} ({})", error.message(), error.code().unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_and_all_are_counted() {
        let kind = kinds().remove(0);
        let fault = |n: usize| Fault {
            kind: kind.clone(),
            object: n.to_string(),
            sql: String::new(),
            names: Vec::new(),
        };
        let mut tallies = BTreeMap::new();
        let chosen = sample((0..9).map(fault).collect(), Some(3), &mut tallies);
        let objects: Vec<&str> = chosen.iter().map(|fault| fault.object.as_str()).collect();
        assert_eq!(objects, ["0", "3", "6"]);
        assert_eq!(tallies[kind.id].possible, 9);
        assert_eq!(
            sample((0..9).map(fault).collect(), None, &mut tallies).len(),
            9
        );
    }
}
