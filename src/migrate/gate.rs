//! The gate: isolation is proven inside a migration's transaction, before COMMIT.
//!
//! What a migration touched is told by the versions of the catalogue's rows, and where
//! something is gone, by comparing the security state before and after it; only that,
//! and what depends on it, is verified.
//! A finding that was there before is reported, never blamed on the migration:
//! the runner rolls back, the gate looks at the state before, and the migration
//! runs once more if nothing in it is new.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::postgres::types::Oid;
use sqlx::{Connection as _, Executor as _, Row as _};

use crate::fault::{Code, Fault};
use crate::migrate::touched::Touched;
use crate::verify::finding::{Action, Finding, NOTHING_YET, Severity};
use crate::verify::{self, Config, Options, unfinished};

const SECURITY_STATE: &str = include_str!("sql/security_state.sql");
const REACHED: &str = include_str!("sql/reached.sql");

/// How much of the proof the gate runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// Catalogue checks and probes.
    #[default]
    Full,
    /// Catalogue checks only.
    Catalog,
    /// Nothing.
    Off,
}

/// One hash per relation and function, and two for what concerns all.
type State = BTreeMap<(String, i64), String>;

/// What tells one finding from another.
type Key = (String, String, Option<String>, Option<Action>);

/// Compares what verification finds before and after each migration.
pub struct Gate {
    config: Config,
    depth: verify::Depth,
    /// The security state before the migration that runs now, where it was noted.
    state: Option<State>,
    /// Findings that were there before the run; none while nobody has looked.
    known: Option<HashSet<Key>>,
    /// What made the last look suspicious.
    suspects: Vec<Finding>,
    /// The session belongs to this run: statements prepared in it stay there.
    alone: bool,
    /// No migration of the run throws away what the session holds.
    lasting: bool,
    /// The session holds what runs probes.
    compiled: bool,
}

/// Findings that may have been there before: the runner rolls back and asks
/// [`Gate::judge`].
#[derive(Debug)]
pub struct Suspicion;

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the proof of isolation found something that has to be compared with the state before",
        )
    }
}

impl std::error::Error for Suspicion {}

impl Gate {
    /// None where the gate is off.
    pub fn new(depth: Depth, config: Config) -> Option<Self> {
        let depth = match depth {
            Depth::Off => return None,
            Depth::Catalog => verify::Depth::Catalogue,
            Depth::Full => verify::Depth::Full,
        };
        Some(Self {
            config,
            depth,
            state: None,
            known: None,
            suspects: Vec::new(),
            alone: false,
            lasting: false,
            compiled: false,
        })
    }

    /// The session belongs to this run alone, so that plans can be kept in it.
    pub fn keep_plans(&mut self) {
        self.alone = true;
    }

    /// No migration throws away what the session holds.
    pub fn keep_probes(&mut self) {
        self.lasting = true;
    }

    /// Before any transaction of a session: what runs probes is made once, not with each
    /// message of each proof. Made later, the first temporary object of a session would
    /// throw away its plans.
    pub async fn settle_in(&mut self, conn: &mut PgConnection) -> anyhow::Result<()> {
        if self.alone && self.lasting && self.depth == verify::Depth::Full {
            self.compiled = verify::compile(conn).await?;
        }
        Ok(())
    }

    /// Notes the state that a migration starts from, where it may take something away, or
    /// is not one transaction.
    pub async fn before(&mut self, conn: &mut PgConnection) -> anyhow::Result<()> {
        if self.state.is_none() {
            self.hold_plans(conn).await?;
            self.state = Some(security_state(conn, self.alone).await?);
        }
        Ok(())
    }

    /// The next migration starts from another state than was noted.
    pub fn forget(&mut self) {
        self.state = None;
    }

    /// A migration may have dropped the statements prepared in its session. What is
    /// left of the transaction, which is nearly nothing, runs with plans that are kept.
    pub async fn hold_plans(&self, conn: &mut PgConnection) -> anyhow::Result<()> {
        if !self.alone || conn.cached_statements_size() == 0 {
            return Ok(());
        }
        let row = conn
            .fetch_one(sqlx::raw_sql(
                "select count(*), pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true) \
                 from pg_catalog.pg_prepared_statements where name like 'sqlx%'",
            ))
            .await?;
        let held = usize::try_from(row.try_get::<i64, _>(0)?)?;
        if held < conn.cached_statements_size() {
            conn.clear_cached_statements().await?;
        }
        Ok(())
    }

    /// Verifies what the migration touched, inside its transaction; without `touched`,
    /// what differs from the state that was noted.
    ///
    /// # Errors
    /// A [`Suspicion`] at the first finding that nobody knows whether it is new;
    /// a fault of code `gate-refused` where it is.
    pub async fn after(
        &mut self,
        conn: &mut PgConnection,
        name: &str,
        touched: Option<&Touched>,
    ) -> anyhow::Result<()> {
        let before = self.state.take();
        let only = match touched {
            Some(touched) if touched.is_empty() => return Ok(()),
            Some(touched) if before.is_none() || !touched.gone => {
                touched.only().map(<[u32]>::to_vec)
            }
            _ => {
                self.hold_plans(conn).await?;
                let now = security_state(conn, self.alone).await?;
                match differences(&before.unwrap_or_default(), &now) {
                    Some(only) => only,
                    None => return Ok(()),
                }
            }
        };
        if let Some(only) = &only
            && !self.reached(conn, only).await?
        {
            return Ok(());
        }
        let report = self.verify(conn, only).await?;
        let found = errors(report);
        if let Some(known) = &self.known {
            let fresh: Vec<&Finding> = found
                .iter()
                .filter(|finding| !known.contains(&key(finding)))
                .collect();
            if !fresh.is_empty() {
                return Err(refusal(name, &fresh));
            }
        } else if !found.is_empty() {
            self.suspects = found;
            return Err(Suspicion.into());
        }
        Ok(())
    }

    /// After a rollback: verifies the state before the migration. Goes on where
    /// all that was suspicious was there already.
    pub async fn judge(&mut self, conn: &mut PgConnection, name: &str) -> anyhow::Result<()> {
        conn.execute("begin isolation level repeatable read")
            .await?;
        let report = self.verify(conn, None).await;
        conn.execute("rollback").await?;
        let before = errors(report?);
        let known: HashSet<Key> = before.iter().map(key).collect();
        let suspects = std::mem::take(&mut self.suspects);
        let fresh: Vec<&Finding> = suspects
            .iter()
            .filter(|finding| !known.contains(&key(finding)))
            .collect();
        if !fresh.is_empty() {
            return Err(refusal(name, &fresh));
        }
        self.known = Some(known);
        self.forget();
        Ok(())
    }

    /// What was found before, to be kept for a run that resumes this one.
    pub fn known(&self) -> Option<serde_json::Value> {
        let known: Vec<_> = self.known.as_ref()?.iter().collect();
        serde_json::to_value(known).ok()
    }

    /// Takes what an earlier run had found before its migration, and looks at the
    /// whole afterwards: what that run touched, nobody knows.
    ///
    /// # Errors
    /// What was kept is not of the form that [`Gate::known`] gives.
    pub fn recall(&mut self, known: serde_json::Value) -> anyhow::Result<()> {
        let known: HashSet<Key> = serde_json::from_value(known)
            .context("what history keeps of the state before cannot be read")?;
        self.known = Some(known);
        self.state = Some(State::new());
        Ok(())
    }

    /// Whether any role that row security could bind, or that a configuration names,
    /// has a way to what was touched.
    ///
    /// Where none has, there is nothing to prove. A finding that counts needs a role
    /// that reaches an object, by a grant on the object or on what stands over it, by
    /// owning it, or by a function: of those some row would have been written, and
    /// written rows are what is asked about. Rights that come later touch the relation
    /// again, or the roles, which concerns all.
    async fn reached(&self, conn: &mut PgConnection, only: &[u32]) -> anyhow::Result<bool> {
        let oids: Vec<Oid> = only.iter().copied().map(Oid).collect();
        let roles: Vec<&str> = self
            .config
            .isolation
            .role
            .iter()
            .flat_map(|role| role.name.iter().chain(&role.login))
            .map(String::as_str)
            .collect();
        sqlx::query_scalar(REACHED)
            .bind(oids)
            .bind(roles)
            .persistent(self.alone)
            .fetch_one(conn)
            .await
            .context("cannot tell who reaches what was changed")
    }

    async fn verify(
        &self,
        conn: &mut PgConnection,
        only: Option<Vec<u32>>,
    ) -> anyhow::Result<verify::Report> {
        let options = Options {
            depth: self.depth,
            in_transaction: true,
            only,
            errors_only: true,
            keep_plans: self.alone,
            compiled: self.compiled,
            ..Options::default()
        };
        let config = unfinished::without_missing(conn, &self.config).await?;
        verify::verify(conn, &config, &options)
            .await
            .context("cannot prove isolation before the commit")
    }
}

/// The relations and functions that differ: none where nothing does. `Some(None)`
/// where something differs that concerns all.
#[allow(
    clippy::option_option,
    reason = "nothing, everything, or a list are three answers"
)]
fn differences(before: &State, now: &State) -> Option<Option<Vec<u32>>> {
    let changed: Vec<&(String, i64)> = now
        .iter()
        .filter(|(key, hash)| before.get(*key) != Some(hash))
        .map(|(key, _)| key)
        .chain(before.keys().filter(|key| !now.contains_key(*key)))
        .collect();
    if changed.is_empty() {
        return None;
    }
    if changed.iter().any(|(kind, _)| kind == "global") {
        return Some(None);
    }
    Some(Some(
        changed
            .iter()
            .filter_map(|(_, oid)| u32::try_from(*oid).ok())
            .collect(),
    ))
}

async fn security_state(conn: &mut PgConnection, keep_plan: bool) -> anyhow::Result<State> {
    let rows = conn
        .fetch_all(sqlx::query(SECURITY_STATE).persistent(keep_plan))
        .await
        .context("cannot read the state of security")?;
    rows.iter()
        .map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?)))
        .collect()
}

/// Whether a finding only says that the schema is not finished. On the way from an empty
/// database to head that is so for a while, and nothing leaks where nothing is reached;
/// `verify-rls` is not green on it.
pub fn is_nothing_yet(id: &str) -> bool {
    NOTHING_YET.contains(&id)
}

fn errors(report: verify::Report) -> Vec<Finding> {
    let weighs =
        |finding: &Finding| finding.severity == Severity::Error && !is_nothing_yet(&finding.id);
    report.findings.into_iter().filter(weighs).collect()
}

fn key(finding: &Finding) -> Key {
    (
        finding.id.clone(),
        finding.object.clone(),
        finding.role.clone(),
        finding.action,
    )
}

fn refusal(name: &str, fresh: &[&Finding]) -> anyhow::Error {
    let mut text = format!("`{name}` was rolled back: it would break the isolation of tenants");
    for finding in fresh.iter().take(5) {
        text = format!(
            "{text}\n  {} [{}]: {}",
            finding.object, finding.id, finding.title
        );
        if !finding.detail.is_empty() {
            text = format!("{text}\n    seen: {}", finding.detail);
        }
        if !finding.fix.is_empty() {
            text = format!(
                "{text}\n    fix:  {}",
                finding.fix.replace('\n', "\n          ")
            );
        }
    }
    if fresh.len() > 5 {
        text = format!("{text}\n  and {} more", fresh.len() - 5);
    }
    let hint = fresh.first().map_or_else(String::new, |finding| {
        format!("kinedb verify-rls --explain {}", finding.id)
    });
    Fault::new(Code::GateRefused, text).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(parts: &[(&str, i64, &str)]) -> State {
        parts
            .iter()
            .map(|(kind, oid, hash)| (((*kind).to_owned(), *oid), (*hash).to_owned()))
            .collect()
    }

    #[test]
    fn what_changed_appeared_or_went_is_touched() {
        let before = state(&[
            ("relation", 1, "a"),
            ("relation", 2, "b"),
            ("function", 3, "c"),
        ]);
        assert_eq!(differences(&before, &before), None);
        let after = state(&[
            ("relation", 1, "x"),
            ("function", 3, "c"),
            ("relation", 4, "d"),
        ]);
        assert_eq!(differences(&before, &after), Some(Some(vec![1, 4, 2])));
    }

    #[test]
    fn what_is_left_out_exists() {
        for id in NOTHING_YET {
            assert!(verify::explain(id).is_some(), "{id}");
        }
    }

    #[test]
    fn what_concerns_all_touches_everything() {
        let before = state(&[("global", 0, "a")]);
        assert_eq!(
            differences(&before, &state(&[("global", 0, "b")])),
            Some(None)
        );
    }
}
