//! The runner: lock, plan, one transaction per migration, what to tell.
//!
//! One connection does it all. `transaction` holds what happens inside one,
//! `outside` what cannot be inside.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::fault::{Code, fail};
use crate::migrate::blockers::Blocker;
use crate::migrate::cancel::Cancel;
use crate::migrate::effect::{Change, Effect, Effects, Watch};
use crate::migrate::gate::Gate;
use crate::migrate::history::{self, State, Surroundings};
use crate::migrate::lock::{self, Holder};
use crate::migrate::plan::{Leave, Listed, Plan, plan};
use crate::migrate::pooler;
use crate::migrate::preflight;
use crate::migrate::record::Recorder;
use crate::migrate::revision::Revision;
use crate::migrate::script::{Direction, Script};
use crate::migrate::session::{Hold, Session};
use crate::migrate::target::Target;
use crate::migrate::transaction::Planned;

/// How a run behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long to wait for another run.
    pub lock_wait: Duration,
    /// How long one attempt may wait for a lock on a table.
    pub lock_timeout: Duration,
    /// How long to go on trying.
    pub lock_budget: Duration,
    /// How long one statement may take; zero is for ever.
    pub statement_timeout: Duration,
    /// One transaction for all migrations of the run.
    pub single_transaction: bool,
    /// Roll everything back at the end.
    pub dry_run: bool,
    /// What the planner may overlook.
    pub leave: Leave,
    /// Go through a transaction pooler, with locks of transactions only.
    pub allow_pooler: bool,
    /// The code base that runs, for history.
    pub git_commit: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(60),
            lock_timeout: Duration::from_millis(100),
            lock_budget: Duration::from_secs(300),
            statement_timeout: Duration::ZERO,
            single_transaction: false,
            dry_run: false,
            leave: Leave::default(),
            allow_pooler: false,
            git_commit: None,
        }
    }
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// There is something to do; the run has this id in history.
    Starts(Uuid),
    /// Another run holds the lock.
    WaitingForLock(Option<&'a Holder>),
    /// The plan is made: the names in order.
    Planned(&'a [&'a str]),
    /// A migration begins: its name, its place from 1, how many there are.
    Begins(&'a str, usize, usize),
    /// An attempt could not get a lock, or lost a deadlock: SQLSTATE, the sessions in the way, the pause.
    Retries {
        attempt: u32,
        sqlstate: &'a str,
        blockers: &'a [Blocker],
        pause: Duration,
    },
    /// The connection broke; the run connects again and finds out what was committed.
    Lost,
    /// A statement outside a transaction begins: its migration, its place from 1, how many there are.
    Statement(&'a str, usize, usize),
    /// Transactions that have to end before an index can be built.
    WaitingForOthers(&'a [Blocker]),
    /// A migration is committed (or, in a dry run or a single transaction, done).
    Done(&'a Step),
}

/// What a run did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {
    /// The run's id in history.
    pub run_id: Uuid,
    /// What was applied or undone, in order.
    pub done: Vec<Step>,
    /// The newest applied revision now.
    pub head: Option<String>,
}

/// One migration that was run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Which way.
    pub direction: Direction,
    /// How long it took.
    pub duration_ms: u64,
    /// What it does to isolation; nothing where nobody looked.
    pub effect: Option<Effect>,
    /// What of that it changed.
    pub changes: Vec<Change>,
}

impl Step {
    pub(super) fn of(revision: &Revision, direction: Direction, took: Duration) -> Self {
        Self {
            name: revision.name.clone(),
            direction,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            effect: None,
            changes: Vec::new(),
        }
    }

    /// With what it does to isolation.
    pub(super) fn with(mut self, effects: Option<Effects>) -> Self {
        self.effect = effects.as_ref().map(Effects::effect);
        self.changes = effects.map(|effects| effects.changes).unwrap_or_default();
        self
    }
}

/// Everything a run needs.
pub struct Runner<'a> {
    pub(super) target: &'a crate::db::Target,
    pub(super) revisions: &'a [Revision],
    pub(super) options: &'a Options,
    pub(super) cancel: Cancel,
    pub(super) gate: Option<Gate>,
    /// Looks at what each migration does to isolation.
    pub(super) watch: Option<Watch>,
    pub(super) tell: &'a mut dyn FnMut(Event<'_>),
    pub(super) recorder: Recorder,
    /// A transaction of this run is open.
    pub(super) inside: bool,
    /// Another one follows, and nothing is looked at in between.
    pub(super) another: bool,
    /// What the server said it committed.
    pub(super) committed: Vec<String>,
    /// Where the database was found when a lost connection was replaced: without it there
    /// was no lock, and another run may have gone on.
    pub(super) found: Option<Box<State>>,
}

/// The list as the planner sees it.
pub fn listed(revisions: &[Revision]) -> Vec<Listed<'_>> {
    revisions
        .iter()
        .map(|one| Listed {
            name: &one.name,
            checksum: &one.checksum,
        })
        .collect()
}

impl<'a> Runner<'a> {
    /// Prepares a run; nothing is sent yet.
    pub fn new(
        target: &'a crate::db::Target,
        revisions: &'a [Revision],
        options: &'a Options,
        cancel: Cancel,
        gate: Option<Gate>,
        tell: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        Self {
            target,
            revisions,
            options,
            cancel,
            gate,
            watch: None,
            tell,
            recorder: Recorder::new(Uuid::now_v7(), options.git_commit.clone()),
            inside: false,
            another: false,
            committed: Vec::new(),
            found: None,
        }
    }

    /// The run's id in history.
    pub fn run_id(&self) -> Uuid {
        self.recorder.run_id()
    }

    /// Goes to `to`. `conn` has read `state` already; where there is nothing to
    /// do, nothing more is sent.
    pub async fn run(
        mut self,
        mut conn: PgConnection,
        mut state: State,
        direction: Direction,
        to: &Target,
    ) -> anyhow::Result<Summary> {
        let mut plan = self.plan(&state, direction, to)?;
        if plan.steps.is_empty() {
            return Ok(self.summary(Vec::new(), &state));
        }
        state.require_writable()?;
        (self.tell)(Event::Starts(self.recorder.run_id()));
        self.cancel.set_backend(state.backend);
        let around = Surroundings::read(&mut conn).await?;
        let pooler = self.options.allow_pooler;
        let hold = pooler::hold(&mut conn, self.target, &state, &around, pooler).await?;
        preflight::check(&mut conn, &state, &self.scripts(&plan).await?).await?;
        if hold == Hold::Session {
            let tell = &mut *self.tell;
            let wait = self.options.lock_wait;
            lock::acquire(&mut conn, wait, around.over_tcp(), &self.cancel, |holder| {
                tell(Event::WaitingForLock(holder));
            })
            .await?;
            // Another run may have done it while this one waited.
            state = history::read(&mut conn).await?;
            plan = self.plan(&state, direction, to)?;
        }
        let names: Vec<&str> = plan
            .steps
            .iter()
            .map(|index| self.revisions[*index].name.as_str())
            .collect();
        (self.tell)(Event::Planned(&names));
        if let (Hold::Session, Some(gate)) = (hold, &mut self.gate) {
            gate.keep_plans();
        }
        let mut session = Session::new(conn, hold, &state, &around);
        let done = self.all(&mut session, &plan).await?;
        if let Some(found) = self.found.take() {
            state = *found;
        }
        let summary = if self.options.dry_run {
            self.summary(done, &state)
        } else {
            for step in &done {
                state.applied.retain(|one| one.name != step.name);
                if direction == Direction::Up {
                    state.applied.push(history::Applied {
                        name: step.name.clone(),
                        applied_at: 0,
                        checksum: None,
                    });
                }
            }
            self.summary(done, &state)
        };
        if let Some(conn) = std::sync::Arc::into_inner(session.conn) {
            // The lock goes with the connection; a failure to say goodbye changes nothing.
            let _ = conn.into_inner().close().await;
        }
        Ok(summary)
    }

    fn plan(&self, state: &State, direction: Direction, to: &Target) -> anyhow::Result<Plan> {
        plan(
            &listed(self.revisions),
            state,
            direction,
            to,
            self.options.leave,
        )
    }

    fn summary(&self, done: Vec<Step>, state: &State) -> Summary {
        Summary {
            run_id: self.recorder.run_id(),
            done,
            head: state.head().map(str::to_owned),
        }
    }

    async fn scripts(&self, plan: &Plan) -> anyhow::Result<Vec<(&'a Revision, Script)>> {
        let mut scripts = Vec::with_capacity(plan.steps.len());
        for index in &plan.steps {
            let revision = &self.revisions[*index];
            scripts.push((revision, revision.script(plan.direction).await?));
        }
        Ok(scripts)
    }

    async fn all(&mut self, session: &mut Session, plan: &Plan) -> anyhow::Result<Vec<Step>> {
        let scripts = self.scripts(plan).await?;
        let scripts: Vec<Planned<'_>> = scripts
            .iter()
            .map(|(revision, script)| (*revision, script))
            .collect();
        let together = self.options.single_transaction || self.options.dry_run;
        if let Some((outside, _)) = scripts.iter().find(|(_, script)| script.no_transaction) {
            refuse_outside(&outside.name, together, session.hold)?;
        }
        // A statement kept prepared is lost to a pooler, and to who discards all.
        let keeps = session.hold == Hold::Session
            && !scripts.iter().any(|(_, script)| forgets(&script.sql));
        if self.gate.is_some() || self.options.dry_run {
            self.watch = Some(Watch::new(!keeps));
        }
        if let Some(gate) = self.gate.as_mut().filter(|_| keeps) {
            gate.keep_probes();
        }
        session.keeps_statements = keeps && !scripts.iter().any(|(_, script)| script.live);
        if self.watch.is_some() || scripts.iter().any(|(_, script)| script.no_transaction) {
            session.look_for_details().await?;
        }
        self.look_before(session).await?;
        if together && !scripts.is_empty() {
            return self.retrying(session, plan.direction, &scripts).await;
        }
        let mut done = Vec::with_capacity(scripts.len());
        for (place, (revision, script)) in scripts.iter().enumerate() {
            if self.is_done_by_others(&revision.name, plan.direction) {
                continue;
            }
            (self.tell)(Event::Begins(&revision.name, place + 1, scripts.len()));
            self.another = self.watch.is_none()
                && session.hold == Hold::Session
                && scripts
                    .get(place + 1)
                    .is_some_and(|(_, next)| !next.no_transaction);
            let steps = if script.no_transaction {
                self.outside(session, plan.direction, revision, script)
                    .await?
            } else {
                self.retrying(session, plan.direction, &[(revision, script)])
                    .await?
            };
            done.extend(steps);
        }
        Ok(done)
    }
}

/// It may drop statements that the session keeps prepared.
fn forgets(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    sql.contains("discard") || sql.contains("deallocate")
}

/// A migration outside a transaction needs its own session, and cannot be undone
/// together with others.
fn refuse_outside(name: &str, together: bool, hold: Hold) -> anyhow::Result<()> {
    if together {
        return fail(
            Code::Usage,
            format!("`{name}` runs outside a transaction and cannot be part of a single one"),
            "run it by itself, without `--single-transaction` and `--dry-run`",
        );
    }
    if hold == Hold::Transaction {
        return fail(
            Code::Pooler,
            format!("`{name}` runs outside a transaction, which no pooler of transactions allows"),
            "connect to the server itself for this migration",
        );
    }
    Ok(())
}
