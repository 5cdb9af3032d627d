//! Many probes in one message: each a subtransaction on the server, all their
//! outcomes handed back together.
//!
//! Knows nothing of tenants or roles; [`super::session`] gives the steps that
//! take a role and a context.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::db::ident::Literal;

/// The block that runs them.
const BLOCK: &str = include_str!("script.sql");
/// Probes in one message: enough to make round trips cheap, few enough to keep the message small.
const BATCH: usize = 150;
/// Bytes of SQL in one message, unless one probe alone has more.
const BYTES: usize = 512 * 1024;
/// Looks that are put into one statement: planning them together is cheaper.
const TOGETHER: usize = 16;
/// Statements of one probe that may run out of time before the rest is given up.
const PATIENCE: usize = 4;
/// Statement or probe ran out of time.
const CANCELED: &str = "57014";
/// A probe paused because its message had taken long enough.
const PAUSED: &str = "KDB02";

/// How long a message may take, and whether the server holds the block compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    time: Duration,
    compiled: bool,
}

impl Budget {
    /// Where the block is not `compiled`, it goes along with each message.
    pub(crate) fn new(time: Duration, compiled: bool) -> Self {
        Self { time, compiled }
    }

    /// The same time in another session.
    pub(crate) fn elsewhere(self) -> Self {
        Self::new(self.time, false)
    }
}

/// Makes what runs probes a function of this session, where that is allowed and wakes
/// nobody, and tells whether it is there: compiling it with each message is a tenth of
/// the time of a run. It is gone with the transaction that is rolled back, or the session.
///
/// # Errors
/// When the connection fails.
pub async fn compile(conn: &mut PgConnection) -> anyhow::Result<bool> {
    let make = format!(
        "do $kinedb_make$\n{}\n$kinedb_make$;",
        include_str!("compile.sql").replace("BLOCK", BLOCK)
    );
    is_there(conn, &make).await
}

/// Whether the session holds what [`compile`] made.
pub(crate) async fn is_compiled(conn: &mut PgConnection) -> anyhow::Result<bool> {
    is_there(conn, "").await
}

async fn is_there(conn: &mut PgConnection, make: &str) -> anyhow::Result<bool> {
    let message =
        format!("{make} select pg_catalog.to_regprocedure('pg_temp.kinedb_probes()') is not null");
    let rows = sqlx::raw_sql(AssertSqlSafe(message))
        .fetch_all(conn)
        .await
        .context("preparing to run probes")?;
    Ok(rows.last().map_or(Ok(false), |row| row.try_get(0))?)
}

/// What a step's outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The number of rows it touched.
    Execute,
    /// The first column of its first row.
    Query,
    /// Nothing; the first column is `$1` of the steps after it.
    Memo,
    /// Like `Execute`, but the probe goes on after a failure.
    Try,
    /// Like `Query`, but the probe goes on after a failure.
    Ask,
    /// Like `Ask`, of a query that gives one value and changes nothing: it may be
    /// run as a part of another statement.
    Look,
    /// Like `Ask`, of a call: what a failure says is told by a digest, for it may
    /// speak of rows.
    Call,
    /// Like `Ask`, of an INSERT: what a failure names is told, see [`Answer::refused`].
    Make,
}

impl Kind {
    fn letter(self) -> &'static str {
        match self {
            Self::Execute => "x",
            Self::Query => "q",
            Self::Memo => "m",
            Self::Try => "t",
            Self::Ask | Self::Look | Self::Call | Self::Make => "s",
        }
    }
}

/// One statement of a probe.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    kind: Kind,
    sql: String,
}

/// A list of statements that share one subtransaction.
#[derive(Debug, Clone, Default)]
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

    /// How many steps come before what is asked, where no answer depends on
    /// another: such a probe can be taken up again where it stopped.
    fn prologue(&self) -> Option<usize> {
        let first = self
            .steps
            .iter()
            .position(|step| step.kind != Kind::Execute)?;
        let loose = self.steps[first..]
            .iter()
            .all(|step| matches!(step.kind, Kind::Ask | Kind::Look | Kind::Call));
        (loose && !self.keep).then_some(first)
    }
}

/// How much of a probe is done.
struct Progress {
    answer: Answer,
    /// Where a loose probe begins to ask.
    prologue: Option<usize>,
    /// The step it goes on with.
    next: usize,
    /// Something in it ran out of time: no two looks together any more.
    slow: usize,
    done: bool,
}

impl Progress {
    fn of(probe: &Probe) -> Self {
        Self {
            answer: Answer::default(),
            prologue: probe.prologue(),
            next: 0,
            slow: 0,
            done: false,
        }
    }

    /// What is to be sent of the probe.
    fn program(&self, probe: &Probe) -> Value {
        let first = self.prologue.unwrap_or(0);
        let mut steps: Vec<Value> = Vec::new();
        if self.next > 0 {
            steps.extend(probe.steps[..first].iter().map(single));
        }
        let rest = &probe.steps[self.next..];
        for group in rest.chunk_by(|a, b| a.kind == Kind::Look && b.kind == Kind::Look) {
            if group[0].kind != Kind::Look || self.slow > 0 {
                steps.extend(group.iter().map(single));
            } else {
                steps.extend(group.chunks(TOGETHER).map(together));
            }
        }
        json!({ "keep": probe.keep, "loose": self.prologue.is_some(), "steps": steps })
    }

    /// The answer, once all is done.
    fn told(self, probe: &Probe) -> Answer {
        let Answer { values, failure } = self.answer;
        let values = values.into_iter().zip(&probe.steps);
        Answer {
            values: values
                .map(|(value, step)| Some(outcome(step.kind, value?)))
                .collect(),
            failure: failure.map(|failure| Failure {
                message: failure.message.filter(|_| speaks_of_names(&failure.state)),
                ..failure
            }),
        }
    }

    /// Takes what came back.
    fn take(&mut self, probe: &Probe, mut answer: Answer) {
        let Some(first) = self.prologue else {
            self.answer = answer;
            self.done = true;
            return;
        };
        if self.next > 0 {
            // The prologue again: known, or failed now.
            let skip = first.min(answer.values.len());
            answer.values.drain(..skip);
            if let Some(failure) = &mut answer.failure {
                failure.place = (failure.place + self.next).saturating_sub(first);
            }
        }
        self.answer.values.append(&mut answer.values);
        self.next = self.answer.values.len();
        let out_of_time = answer
            .failure
            .as_ref()
            .is_some_and(|failure| matches!(failure.state.as_str(), CANCELED | PAUSED))
            && self.next >= first;
        if !out_of_time {
            self.answer.failure = answer.failure;
            self.done = true;
            return;
        }
        let Some(failure) = answer.failure.filter(|failure| failure.state == CANCELED) else {
            return;
        };
        // The first time it may be one of many that ran together.
        let lone = probe.steps.get(self.next..).is_some_and(|rest| match rest {
            [one, two, ..] => one.kind != Kind::Look || two.kind != Kind::Look,
            _ => true,
        });
        if self.slow > 0 || lone {
            let told = format!("!{}", failure.told());
            self.answer.values.push(Some(told.clone()));
            self.next += 1;
            if self.slow >= PATIENCE {
                let left = probe.steps.len() - self.next;
                self.answer
                    .values
                    .extend(std::iter::repeat_n(Some(told), left));
                self.next = probe.steps.len();
            }
        }
        self.slow += 1;
        self.done = self.next >= probe.steps.len();
    }
}

/// What the server says of a step that failed, after its SQLSTATE.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    constraint: Option<String>,
    column: Option<String>,
    table: Option<String>,
    message: String,
    detail: String,
    hint: String,
}

/// The outcome of a step as its kind tells it: of a failure its SQLSTATE, and no more
/// of what was said than may leave this file.
fn outcome(kind: Kind, text: String) -> String {
    let Some((state, said)) = text
        .strip_prefix('!')
        .and_then(|failed| failed.split_once(' '))
    else {
        return text;
    };
    let Ok(said) = serde_json::from_str::<Said>(said) else {
        return text;
    };
    match kind {
        Kind::Make => {
            let named = json!({
                "constraint": said.constraint,
                "column": said.column,
                "table": said.table,
                "message": speaks_of_names(state).then_some(said.message),
            });
            format!("!{state} {named}")
        }
        Kind::Call => {
            let mut digest = DefaultHasher::new();
            (said.message, said.detail, said.hint).hash(&mut digest);
            format!("!{state} {:016x}", digest.finish())
        }
        _ if ["42", "54", "55", "57"].contains(&class(state)) => {
            format!("!{state} {}", said.message)
        }
        _ => format!("!{state}"),
    }
}

/// Messages of other classes may quote contents of rows.
fn speaks_of_names(state: &str) -> bool {
    ["42", "25", "0A", "28", "54", "55", "57"].contains(&class(state))
}

fn class(state: &str) -> &str {
    state.get(..2).unwrap_or_default()
}

fn single(step: &Step) -> Value {
    json!([step.kind.letter(), step.sql])
}

fn together(steps: &[Step]) -> Value {
    let list: Vec<&str> = steps.iter().map(|step| step.sql.as_str()).collect();
    json!(["b", list])
}

/// Gives a name to each group of looks that a message holds more than once.
fn name_repeated(batch: &mut [Value]) {
    let mut groups: HashMap<String, Vec<&mut Vec<Value>>> = HashMap::new();
    let steps = batch
        .iter_mut()
        .filter_map(|probe| probe.get_mut("steps")?.as_array_mut());
    for step in steps.flatten().filter_map(Value::as_array_mut) {
        if let [kind, list] = &step[..]
            && kind == "b"
        {
            groups.entry(list.to_string()).or_default().push(step);
        }
    }
    for (number, steps) in groups.into_values().filter(|all| all.len() > 1).enumerate() {
        for step in steps {
            step[0] = "p".into();
            step.push(format!("kinedb_look_{number}").into());
        }
    }
}

/// Why a probe stopped.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Failure {
    /// The SQLSTATE.
    pub(crate) state: String,
    /// The step that failed.
    pub(crate) place: usize,
    /// The constraint, column and table that the server named, or ''.
    pub(crate) constraint: Option<String>,
    pub(crate) column: Option<String>,
    pub(crate) table: Option<String>,
    /// The server's message; for a report only where its class never quotes data.
    pub(crate) message: Option<String>,
}

impl Failure {
    /// A constraint of the table refused the row: it came past the policies. The
    /// constraints of a domain and what a trigger raises by itself speak before them,
    /// and name no table.
    pub(crate) fn past_policies(&self) -> bool {
        self.state.starts_with("23") && self.table.as_ref().is_some_and(|table| !table.is_empty())
    }

    /// The bounds of the partition that was named refused the row, before any policy of an
    /// UPDATE was asked: the only check that has no name.
    pub(crate) fn out_of_bounds(&self) -> bool {
        self.state == "23514"
            && self.past_policies()
            && self.constraint.as_ref().is_none_or(String::is_empty)
    }

    /// It says nothing of policies: time ran out, a lock was held, the server was
    /// short of something.
    pub(crate) fn cut_short(&self) -> bool {
        cut_short(&self.state)
    }

    /// As a step tells it that was allowed to fail.
    fn told(&self) -> String {
        match &self.message {
            Some(message) => format!("{} {message}", self.state),
            None => self.state.clone(),
        }
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
            (None, None) => spoken(&self.state),
        }
    }
}

/// The SQLSTATE of a statement on rows that another session changed after this one's snapshot.
pub(crate) const CONTESTED: &str = "40001";

/// A SQLSTATE whose message may quote data, in words of our own.
pub(crate) fn spoken(state: &str) -> String {
    match state {
        "22P02" => "a text is no value of its type (SQLSTATE 22P02)".to_owned(),
        CONTESTED => format!("another session changed its rows meanwhile (SQLSTATE {CONTESTED})"),
        "22004" | "23502" => format!("a value is missing (SQLSTATE {state})"),
        _ => format!("SQLSTATE {state}"),
    }
}

/// Whether a SQLSTATE says nothing of policies: time ran out, a lock was held, a
/// deadlock, or the server was short of something.
pub(crate) fn cut_short(state: &str) -> bool {
    state == "55P03" || ["40", "53", "57", "58", "XX"].contains(&class(state))
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

    /// What a look saw. One that was cut short saw nothing, whatever it was compared with.
    pub(crate) fn seen(&self, place: usize) -> Option<&str> {
        self.text(place)
            .filter(|_| !self.state(place).is_some_and(cut_short))
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

    /// Why a step to [`Kind::Make`] failed while its probe went on.
    pub(crate) fn refused(&self, place: usize) -> Option<Failure> {
        let (state, named) = self.text(place)?.strip_prefix('!')?.split_once(' ')?;
        let mut failure: Failure = serde_json::from_str(named).ok()?;
        failure.state = state.to_owned();
        failure.place = place;
        Some(failure)
    }
}

/// Runs all probes in order and gives one answer each. The time of the budget is to be
/// no longer than the session's `statement_timeout`.
///
/// What runs out of time has failed with SQLSTATE 57014; the rest is run all the same.
pub(crate) async fn run(
    conn: &mut PgConnection,
    probes: &[Probe],
    budget: Budget,
) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(probes.len());
    let mut progress: VecDeque<(&Probe, Progress)> = VecDeque::new();
    let mut waiting = probes.iter();
    loop {
        while progress.len() < BATCH
            && let Some(probe) = waiting.next()
        {
            progress.push_back((probe, Progress::of(probe)));
        }
        if progress.is_empty() {
            return Ok(answers);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (probe, progress) in &progress {
            bytes += probe.steps.iter().map(|step| step.sql.len()).sum::<usize>();
            if bytes > BYTES && !batch.is_empty() {
                break;
            }
            batch.push(progress.program(probe));
        }
        name_repeated(&mut batch);
        let answered = send(conn, &batch, budget).await?;
        for ((probe, progress), answer) in progress.iter_mut().zip(answered) {
            progress.take(probe, answer);
        }
        while progress.front().is_some_and(|(_, first)| first.done) {
            answers.extend(progress.pop_front().map(|(probe, first)| first.told(probe)));
        }
    }
}

/// One message: answers for the first of its probes at least.
async fn send(
    conn: &mut PgConnection,
    batch: &[Value],
    budget: Budget,
) -> anyhow::Result<Vec<Answer>> {
    let program = serde_json::to_string(batch).context("writing a batch of probes")?;
    let run = if budget.compiled {
        "select pg_temp.kinedb_probes()".to_owned()
    } else {
        format!("do $kinedb$\n{BLOCK}\n$kinedb$")
    };
    let message = format!(
        "select pg_catalog.length(pg_catalog.set_config('kinedb.program', {}, true)),\n\
         pg_catalog.length(pg_catalog.set_config('kinedb.budget', '{} ms', true));\n{run};\n\
         select pg_catalog.current_setting('kinedb.answer')",
        Literal::new(program),
        (budget.time.as_millis() / 2).max(1)
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(message))
        .fetch_all(&mut *conn)
        .await
        .context("running a batch of probes")?;
    let text: String = rows
        .last()
        .context("a batch of probes gave no answer")?
        .try_get(0)?;
    let answers: Vec<Answer> =
        serde_json::from_str(&text).context("reading the answers of a batch of probes")?;
    anyhow::ensure!(
        !answers.is_empty() && answers.len() <= batch.len(),
        "a batch of {} probes gave {} answers",
        batch.len(),
        answers.len()
    );
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
