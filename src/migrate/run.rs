//! The runner: lock, one transaction per migration, fence, gate, commit alone.
//!
//! One connection does it all. A migration's transaction is three messages:
//! open it and prove that the lock is still ours; the migration's SQL with its
//! history row; COMMIT, alone and last, after asking whether the run was
//! cancelled. A client that dies before the last one has committed nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use migration::SchemaManager;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::db::error::{of_sqlx, server_error, sqlstate};
use crate::db::ident::Literal;
use crate::fault::{Code, Fault, fail};
use crate::migrate::cancel::Cancel;
use crate::migrate::failure;
use crate::migrate::gate::{Gate, Suspicion};
use crate::migrate::history::{self, State};
use crate::migrate::live::{self, Shared};
use crate::migrate::lock::{self, Holder};
use crate::migrate::plan::{Leave, Listed, Plan, plan};
use crate::migrate::retry::{self, Backoff};
use crate::migrate::revision::Revision;
use crate::migrate::script::{Direction, Script};
use crate::migrate::target::Target;

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
            git_commit: None,
        }
    }
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another run holds the lock.
    WaitingForLock(Option<&'a Holder>),
    /// The plan is made: the names in order.
    Planned(&'a [&'a str]),
    /// A migration begins: its name, its place from 1, how many there are.
    Begins(&'a str, usize, usize),
    /// An attempt could not get a lock, or lost a deadlock: SQLSTATE, the sessions in the way, the pause.
    Retries {
        sqlstate: &'a str,
        blockers: &'a [retry::Blocker],
        pause: Duration,
    },
    /// A migration is committed (or, in a dry run or a single transaction, done).
    Done(&'a str, Duration),
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
}

/// Everything a run needs.
pub struct Runner<'a> {
    target: &'a crate::db::Target,
    revisions: &'a [Revision],
    options: &'a Options,
    cancel: Cancel,
    gate: Option<Gate>,
    tell: &'a mut dyn FnMut(Event<'_>),
    run_id: Uuid,
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
            tell,
            run_id: Uuid::now_v7(),
        }
    }

    /// Goes to `to`. `conn` has read `state` already; where there is nothing to
    /// do, nothing more is sent.
    pub async fn run(
        mut self,
        mut conn: PgConnection,
        state: State,
        direction: Direction,
        to: &Target,
    ) -> anyhow::Result<Summary> {
        let first = plan(
            &listed(self.revisions),
            &state,
            direction,
            to,
            self.options.leave,
        )?;
        if first.steps.is_empty() && state.unfinished.is_empty() {
            return Ok(self.summary(Vec::new(), &state));
        }
        state.require_writable()?;
        self.cancel.set_backend(state.backend);
        let tell = &mut *self.tell;
        lock::acquire(&mut conn, self.options.lock_wait, |holder| {
            tell(Event::WaitingForLock(holder))
        })
        .await?;
        // Another run may have done it while this one waited.
        let mut state = history::read(&mut conn).await?;
        let plan = plan(
            &listed(self.revisions),
            &state,
            direction,
            to,
            self.options.leave,
        )?;
        if state.no_history {
            history::create_tables(&mut conn).await?;
        }
        let names: Vec<&str> = plan
            .steps
            .iter()
            .map(|index| self.revisions[*index].name.as_str())
            .collect();
        (self.tell)(Event::Planned(&names));
        let conn: Shared = Arc::new(Mutex::new(conn));
        let outcome = self.all(&conn, &plan).await;
        let done = match outcome {
            Ok(done) => done,
            Err(cause) if self.cancel.requested() => return Err(cause.context(self.cancel.fault())),
            Err(cause) => return Err(cause),
        };
        if !self.options.dry_run {
            for step in &done {
                state.applied.retain(|one| one.name != step.name);
                if direction == Direction::Up {
                    let checksum = None;
                    state.applied.push(history::Applied {
                        name: step.name.clone(),
                        applied_at: 0,
                        checksum,
                    });
                }
            }
        }
        let summary = self.summary(done, &state);
        if let Ok(conn) = Arc::try_unwrap(conn) {
            // The lock goes with the connection; a failure to say goodbye changes nothing.
            let _ = conn.into_inner().close().await;
        }
        Ok(summary)
    }

    fn summary(&self, done: Vec<Step>, state: &State) -> Summary {
        Summary {
            run_id: self.run_id,
            done,
            head: state.head().map(str::to_owned),
        }
    }

    async fn all(&mut self, conn: &Shared, plan: &Plan) -> anyhow::Result<Vec<Step>> {
        let one_transaction = self.options.single_transaction || self.options.dry_run;
        let mut scripts = Vec::with_capacity(plan.steps.len());
        for index in &plan.steps {
            let revision = &self.revisions[*index];
            let script = revision.script(plan.direction).await?;
            if script.no_transaction && one_transaction {
                return fail(
                    Code::Usage,
                    format!(
                        "`{}` runs outside a transaction and cannot be part of a single one",
                        revision.name
                    ),
                    "run it by itself, without `--single-transaction` and `--dry-run`",
                );
            }
            scripts.push((revision, script));
        }
        if let Some(gate) = &mut self.gate {
            gate.before(&mut *conn.lock().await).await?;
        }
        if one_transaction {
            self.together(conn, plan.direction, &scripts).await
        } else {
            let mut done = Vec::with_capacity(scripts.len());
            for (place, (revision, script)) in scripts.iter().enumerate() {
                (self.tell)(Event::Begins(&revision.name, place + 1, scripts.len()));
                let step = self
                    .retrying(conn, plan.direction, &[(revision, script)])
                    .await?;
                done.extend(step);
            }
            Ok(done)
        }
    }

    async fn together(
        &mut self,
        conn: &Shared,
        direction: Direction,
        scripts: &[(&Revision, Script)],
    ) -> anyhow::Result<Vec<Step>> {
        let pairs: Vec<(&Revision, &Script)> = scripts
            .iter()
            .map(|(revision, script)| (*revision, script))
            .collect();
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        self.retrying(conn, direction, &pairs).await
    }

    /// One transaction, tried again while it only lost a race for locks.
    async fn retrying(
        &mut self,
        conn: &Shared,
        direction: Direction,
        scripts: &[(&Revision, &Script)],
    ) -> anyhow::Result<Vec<Step>> {
        let mut backoff = Backoff::new(self.options.lock_budget);
        loop {
            self.cancel.check()?;
            let watch = backoff.watch(self.target, conn).await;
            let outcome = self.transaction(conn, direction, scripts).await;
            let blockers = watch.finish().await;
            let Err(cause) = outcome else { return outcome };
            let state = server_error(&cause).map(|error| error.code().to_owned());
            let retryable = state.as_deref().filter(|code| retry::is_retryable(code));
            let rolled_back = (&mut *conn.lock().await)
                .execute(sqlx::raw_sql("rollback"))
                .await;
            if let Err(lost) = rolled_back {
                return Err(self.lost(cause, &lost));
            }
            if cause.is::<Suspicion>()
                && let Some(gate) = &mut self.gate
            {
                let names: Vec<&str> = scripts
                    .iter()
                    .map(|(revision, _)| revision.name.as_str())
                    .collect();
                gate.judge(&mut *conn.lock().await, &names.join(", "))
                    .await?;
                continue;
            }
            let Some(code) = retryable else {
                return Err(cause);
            };
            let Some(pause) = backoff.pause() else {
                return Err(backoff.spent(&scripts[0].0.name, &blockers, cause));
            };
            (self.tell)(Event::Retries {
                sqlstate: code,
                blockers: &blockers,
                pause,
            });
            tokio::time::sleep(pause).await;
        }
    }

    fn lost(&self, cause: anyhow::Error, lost: &sqlx::Error) -> anyhow::Error {
        let ended =
            of_sqlx(lost).map_or_else(|| lost.to_string(), |error| error.message().to_owned());
        cause.context(
            Fault::new(Code::ConnectionLost, format!("the connection was lost in the middle of a migration: {ended}"))
                .hint("run the command again: what was not committed is rolled back, and history tells the rest"),
        )
    }

    async fn transaction(
        &mut self,
        conn: &Shared,
        direction: Direction,
        scripts: &[(&Revision, &Script)],
    ) -> anyhow::Result<Vec<Step>> {
        let transaction = self.open(conn).await?;
        let mut done = Vec::with_capacity(scripts.len());
        for (place, (revision, script)) in scripts.iter().enumerate() {
            if scripts.len() > 1 {
                (self.tell)(Event::Begins(&revision.name, place + 1, scripts.len()));
            }
            let started = Instant::now();
            self.apply(conn, direction, revision, script, &transaction)
                .await?;
            if let Some(gate) = &mut self.gate {
                gate.after(&mut *conn.lock().await, &revision.name).await?;
            }
            let duration = started.elapsed();
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            done.push(Step {
                name: revision.name.clone(),
                direction,
                duration_ms,
            });
        }
        self.cancel.check()?;
        let end = if self.options.dry_run {
            "rollback"
        } else {
            "commit"
        };
        (&mut *conn.lock().await)
            .execute(sqlx::raw_sql(end))
            .await
            .with_context(|| format!("cannot {end} `{}`", scripts[scripts.len() - 1].0.name))?;
        for step in &done {
            (self.tell)(Event::Done(
                &step.name,
                Duration::from_millis(step.duration_ms),
            ));
        }
        Ok(done)
    }

    /// Opens the transaction and proves that this session still holds the lock.
    /// Returns the transaction's id.
    async fn open(&self, conn: &Shared) -> anyhow::Result<String> {
        let text = format!(
            "reset all; begin; set local lock_timeout = {}; set local statement_timeout = {}; \
             set local idle_in_transaction_session_timeout = 0; \
             do $$ begin perform set_config('client_connection_check_interval', '1s', true); exception when others then null; end $$; \
             select pg_current_xact_id()::text, exists (select from pg_catalog.pg_locks where locktype = 'advisory' \
             and pid = pg_backend_pid() and granted and ((classid::bigint << 32) | objid::bigint) = {})",
            self.options.lock_timeout.as_millis(),
            self.options.statement_timeout.as_millis(),
            lock::KEY,
        );
        let mut conn = conn.lock().await;
        let row = (&mut *conn)
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(text)))
            .await
            .context("cannot open a migration's transaction")?;
        if !row.try_get::<bool, _>(1)? {
            return fail(
                Code::Locked,
                "this run has lost the migration lock",
                "run again; nothing of the next migration was started",
            );
        }
        Ok(row.try_get(0)?)
    }

    async fn apply(
        &self,
        conn: &Shared,
        direction: Direction,
        revision: &Revision,
        script: &Script,
        transaction: &str,
    ) -> anyhow::Result<()> {
        let record = self.record(direction, revision, transaction);
        let mut sent = String::new();
        if script.live {
            let lent = live::lend(conn).await?;
            let manager = SchemaManager::new(&lent);
            match direction {
                Direction::Up => revision.migration().up(&manager).await,
                Direction::Down => revision.migration().down(&manager).await,
            }
            .map_err(|cause| failure::of_migration(cause.into(), &revision.name, direction, ""))?;
        } else {
            sent.clone_from(&script.sql);
            sent.push_str("\n;");
        }
        let text = format!("{sent}reset role;{record}");
        let mut conn = conn.lock().await;
        match recorded(&mut conn, text).await {
            Ok(1) => Ok(()),
            Ok(_) => fail(
                Code::MigrationFailed,
                format!("`{}` ended the transaction that it runs in", revision.name),
                "remove COMMIT and ROLLBACK from it; check what it left with `kinedb status`",
            ),
            Err(cause) if sqlstate(&cause).is_some() => Err(failure::of_migration(
                cause.into(),
                &revision.name,
                direction,
                &sent,
            )),
            Err(cause) => Err(anyhow::Error::from(cause).context(
                Fault::new(
                    Code::ConnectionLost,
                    format!("the connection was lost in `{}`", revision.name),
                )
                .hint("run the command again: the server rolls back what was not committed"),
            )),
        }
    }

    /// The statements that record a migration, valid only in the transaction in
    /// which it ran.
    fn record(&self, direction: Direction, revision: &Revision, transaction: &str) -> String {
        let name = Literal::new(&revision.name);
        let here = format!(
            "pg_current_xact_id_if_assigned()::text = {}",
            Literal::new(transaction)
        );
        let ours = match direction {
            Direction::Up => format!(
                "insert into public.seaql_migrations (version, applied_at) \
                 select {name}, extract(epoch from now())::bigint where {here};"
            ),
            Direction::Down => {
                format!("delete from public.seaql_migrations where version = {name} and {here};")
            }
        };
        let commit = self
            .options
            .git_commit
            .as_ref()
            .map_or_else(|| "null".to_owned(), |id| Literal::new(id).to_string());
        format!(
            "{ours}insert into public.kinedb_history \
             (run_id, name, direction, checksum, started_at, duration_ms, outcome, host, kinedb_version, git_commit) \
             select '{run}', {name}, '{direction}', '{checksum}', now(), \
             (extract(epoch from clock_timestamp() - now()) * 1000)::bigint, 'done', {host}, {version}, {commit} where {here}",
            run = self.run_id,
            direction = direction.name(),
            checksum = revision.checksum,
            host = Literal::new(host()),
            version = Literal::new(env!("CARGO_PKG_VERSION")),
        )
    }
}

/// Sends the message to its end and tells how many rows its last statement
/// touched. Rows that a migration selects are read and dropped.
async fn recorded(conn: &mut PgConnection, text: String) -> Result<u64, sqlx::Error> {
    let mut results = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
    let mut last = 0;
    while let Some(result) = results.try_next().await? {
        if let sqlx::Either::Left(done) = result {
            last = done.rows_affected();
        }
    }
    Ok(last)
}

/// This machine's name, for history.
fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
