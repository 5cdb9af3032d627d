//! Many probes in one message: each a subtransaction on the server, all their
//! outcomes handed back together.
//!
//! Knows nothing of tenants or roles; [`super::session`] gives the steps that
//! take a role and a context.

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::db::ident::Literal;

const SCRIPT: &str = include_str!("script.sql");
/// Probes in one message: enough to make round trips cheap, few enough to keep the message small.
const BATCH: usize = 150;

/// What a step's outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Kind {
    /// The number of rows it touched.
    #[serde(rename = "x")]
    Execute,
    /// The first column of its first row.
    #[serde(rename = "q")]
    Query,
    /// Nothing; the first column is `$1` of the steps after it.
    #[serde(rename = "m")]
    Memo,
    /// Like `Execute`, but the probe goes on after a failure.
    #[serde(rename = "t")]
    Try,
    /// Like `Query`, but the probe goes on after a failure.
    #[serde(rename = "s")]
    Ask,
}

/// One statement of a probe.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    kind: Kind,
    sql: String,
}

/// A list of statements that share one subtransaction.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Probe {
    keep: bool,
    steps: Vec<Step>,
}

impl Probe {
    /// A probe that leaves nothing behind.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A probe whose work stays in the caller's transaction if nothing fails.
    pub(crate) fn kept() -> Self {
        Self {
            keep: true,
            steps: Vec::new(),
        }
    }

    /// Adds a step and tells its place.
    pub(crate) fn step(&mut self, kind: Kind, sql: impl Into<String>) -> usize {
        self.steps.push(Step {
            kind,
            sql: sql.into(),
        });
        self.steps.len() - 1
    }

    /// Adds statements whose outcome does not matter unless they fail.
    pub(crate) fn all(&mut self, statements: &[String]) {
        for sql in statements {
            self.step(Kind::Execute, sql.clone());
        }
    }
}

/// Why a probe stopped.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Failure {
    /// The SQLSTATE.
    pub(crate) state: String,
    /// The step that failed.
    pub(crate) place: usize,
    /// The constraint, column and table that the server named, or ''.
    pub(crate) constraint: Option<String>,
    pub(crate) column: Option<String>,
    pub(crate) table: Option<String>,
    /// The server's message, where its class never quotes data.
    pub(crate) message: Option<String>,
}

impl Failure {
    /// A constraint of the table refused the row: it came past the policies. The
    /// constraints of a domain and what a trigger raises by itself speak before them,
    /// and name no table.
    pub(crate) fn past_policies(&self) -> bool {
        self.state.starts_with("23") && self.table.as_ref().is_some_and(|table| !table.is_empty())
    }

    /// For a report: the SQLSTATE and what it is about.
    pub(crate) fn sentence(&self) -> String {
        let about = [&self.constraint, &self.column, &self.table]
            .into_iter()
            .flatten()
            .find(|name| !name.is_empty());
        match (&self.message, about) {
            (Some(message), _) => format!("{message} ({})", self.state),
            (None, Some(name)) => format!("SQLSTATE {} about `{name}`", self.state),
            (None, None) => format!("SQLSTATE {}", self.state),
        }
    }
}

/// The outcome of one probe.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Answer {
    /// One value per step that ran.
    pub(crate) values: Vec<Option<String>>,
    /// Why it stopped, if it did.
    pub(crate) failure: Option<Failure>,
}

impl Answer {
    /// The text of a step, if it ran and gave one.
    pub(crate) fn text(&self, place: usize) -> Option<&str> {
        self.values.get(place).and_then(|value| value.as_deref())
    }

    /// The number of a step, if it ran and gave one.
    pub(crate) fn number(&self, place: usize) -> Option<i64> {
        self.text(place).and_then(|text| text.parse().ok())
    }

    /// The SQLSTATE of a step that was allowed to fail, or of the failure at this place.
    pub(crate) fn state(&self, place: usize) -> Option<&str> {
        match &self.failure {
            Some(failure) if failure.place == place => Some(failure.state.as_str()),
            _ => self
                .text(place)
                .and_then(|text| text.strip_prefix('!'))
                .and_then(|text| text.get(..5)),
        }
    }
}

/// Runs all probes in order and gives one answer each. `budget` is the time a
/// message may take; set it no longer than the session's `statement_timeout`.
pub(crate) async fn run(
    conn: &mut PgConnection,
    probes: &[Probe],
    budget: Duration,
) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(probes.len());
    while answers.len() < probes.len() {
        let end = probes.len().min(answers.len() + BATCH);
        let batch = &probes[answers.len()..end];
        let program = serde_json::to_string(batch).context("writing a batch of probes")?;
        let message = format!(
            "select pg_catalog.length(pg_catalog.set_config('kinedb.program', {}, true)),\n\
             pg_catalog.length(pg_catalog.set_config('kinedb.budget', '{} ms', true));\n{SCRIPT};\n\
             select pg_catalog.current_setting('kinedb.answer')",
            Literal::new(program),
            (budget.as_millis() / 2).max(1)
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(message))
            .fetch_all(&mut *conn)
            .await
            .context("running a batch of probes")?;
        let text: String = rows
            .last()
            .context("a batch of probes gave no answer")?
            .try_get(0)?;
        let batch_answers: Vec<Answer> =
            serde_json::from_str(&text).context("reading the answers of a batch of probes")?;
        anyhow::ensure!(
            !batch_answers.is_empty() && batch_answers.len() <= batch.len(),
            "a batch of {} probes gave {} answers",
            batch.len(),
            batch_answers.len()
        );
        answers.extend(batch_answers);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_its_failure() {
        let answer: Answer = serde_json::from_str(
            r#"{"values":["3",null,"!42501"],"failure":{"state":"23503","place":3,"constraint":"f"}}"#,
        )
        .unwrap();
        assert_eq!(answer.number(0), Some(3));
        assert_eq!(answer.text(1), None);
        assert_eq!(answer.state(2), Some("42501"));
        assert_eq!(answer.state(3), Some("23503"));
        assert_eq!(
            answer.failure.unwrap().sentence(),
            "SQLSTATE 23503 about `f`"
        );
    }
}
