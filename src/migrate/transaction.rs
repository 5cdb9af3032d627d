//! Migrations inside a transaction: three messages each, of which the last of one and
//! the first of the next go together where nothing is looked at in between.
//!
//! Open it and prove that the lock is still ours; the migration's SQL with its
//! history row; COMMIT, apart from all that it commits, after asking whether the run
//! was cancelled. A client that dies before has committed nothing.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use migration::SchemaManager;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::db::error::{connection_lost, server_error, sqlstate};
use crate::fault::{Code, Fault, fail};
use crate::migrate::blockers::Watcher;
use crate::migrate::effect::Effects;
use crate::migrate::failpoint;
use crate::migrate::failure::{self, Failed};
use crate::migrate::gate::Suspicion;
use crate::migrate::history::Isolation;
use crate::migrate::live;
use crate::migrate::lock;
use crate::migrate::plan::misfits;
use crate::migrate::record::{Details, Prepared, Recorder};
use crate::migrate::retry::{self, Backoff};
use crate::migrate::revision::Revision;
use crate::migrate::run::{Event, Runner, Step, listed};
use crate::migrate::script::{Direction, Script};
use crate::migrate::session::{Hold, Limits, MYSELF, Opened, RUN_AGAIN, Regained, Session};
use crate::migrate::touched::{Touched, may_drop, may_hide};
use crate::migrate::unseen::{self, Hidden};
use crate::verify::CONTESTED;

/// One migration of a plan with what it sends.
pub(crate) type Planned<'a> = (&'a Revision, &'a Script);

impl Runner<'_> {
    /// One transaction, tried again while it only lost a race for locks or its
    /// connection.
    pub(super) async fn retrying(
        &mut self,
        session: &mut Session,
        direction: Direction,
        scripts: &[Planned<'_>],
    ) -> anyhow::Result<Vec<Step>> {
        let usual = session.isolation;
        let outcome = self.attempts(session, direction, scripts).await;
        session.isolation = usual;
        outcome
    }

    async fn attempts(
        &mut self,
        session: &mut Session,
        direction: Direction,
        scripts: &[Planned<'_>],
    ) -> anyhow::Result<Vec<Step>> {
        let mut steady = 0;
        let mut backoff = Backoff::new(self.options.lock_budget);
        let watcher = Watcher::new(self.target);
        loop {
            self.cancel.check()?;
            let attempt = self.transaction(session, direction, scripts, &watcher);
            let outcome = watcher.while_it_lives(attempt).await;
            backoff.saw(watcher.rest());
            let cause = match outcome {
                Ok(done) => return Ok(done),
                Err(cause) => cause,
            };
            let lost = if connection_lost(&cause) {
                true
            } else {
                session.send("rollback").await.is_err()
            };
            if lost {
                match self
                    .resolve(session, direction, scripts, cause, backoff.left())
                    .await?
                {
                    Some(done) => return Ok(done),
                    None => {
                        self.look_before(session).await?;
                        continue;
                    }
                }
            }
            let cause = if cause.is::<Suspicion>() {
                match self.judged(session, scripts).await {
                    Ok(()) => continue,
                    Err(refusal) => refusal,
                }
            } else {
                cause
            };
            self.look_before(session).await?;
            if session.hold == Hold::Session && doubtful(&cause, steady) {
                steady += 1;
                session.isolation = Isolation::RepeatableRead;
                continue;
            }
            let state = server_error(&cause).map(|error| error.code().to_owned());
            let again = |code: &&str| retry::is_retryable(code) || steady > 0 && *code == CONTESTED;
            let Some(code) = state.as_deref().filter(again) else {
                return Err(cause);
            };
            let Some(pause) = backoff.pause() else {
                return Err(backoff.spent(&scripts[0].0.name, cause));
            };
            (self.tell)(Event::Retries {
                attempt: backoff.attempts(),
                sqlstate: code,
                blockers: backoff.blockers(),
                pause,
            });
            self.cancel.pause(pause).await?;
        }
    }

    /// Goes on where what the gate suspects was there before.
    async fn judged(&mut self, session: &Session, scripts: &[Planned<'_>]) -> anyhow::Result<()> {
        let names: Vec<&str> = scripts.iter().map(|(one, _)| one.name.as_str()).collect();
        let mut conn = session.conn.lock().await;
        if let Some(gate) = &mut self.gate {
            gate.judge(&mut conn, &names.join(", ")).await?;
        }
        if let Some(watch) = &mut self.watch {
            watch.before(&mut conn).await?;
        }
        Ok(())
    }

    /// Tells the gate from where the next attempt starts.
    pub(crate) async fn look_before(&mut self, session: &Session) -> anyhow::Result<()> {
        let mut conn = session.conn.lock().await;
        if let Some(gate) = &mut self.gate {
            gate.forget();
            gate.settle_in(&mut conn).await?;
        }
        if let Some(watch) = &mut self.watch {
            watch.before(&mut conn).await?;
        }
        Ok(())
    }

    /// After a lost connection: what this transaction came to. Nothing means that
    /// it was rolled back and can be tried again.
    async fn resolve(
        &mut self,
        session: &mut Session,
        direction: Direction,
        scripts: &[Planned<'_>],
        cause: anyhow::Error,
        budget: Duration,
    ) -> anyhow::Result<Option<Vec<Step>>> {
        let regained = self
            .regain(session, direction, &cause, self.inside, budget)
            .await?;
        let Regained::Again(state) = regained else {
            let fault = Fault::new(
                Code::ConnectionLost,
                "an administrator ended this session; what was running is rolled back, and nothing more was started",
            );
            return Err(cause.context(fault.hint(RUN_AGAIN)));
        };
        let done = self.recorded_by_this_run(session, direction).await?;
        let mine: Vec<Step> = done
            .into_iter()
            .filter(|step| {
                scripts
                    .iter()
                    .any(|(revision, _)| revision.name == step.name)
            })
            .collect();
        if mine.len() == scripts.len() {
            self.tell_done(&mine);
            return Ok(Some(mine));
        }
        for fault in misfits(&listed(self.revisions), &state) {
            if fault.code() != Code::OutOfOrder {
                return Err(fault.into());
            }
        }
        // While the lock was lost, another run may have done it.
        let by_others = scripts
            .iter()
            .all(|(revision, _)| self.is_done_by_others(&revision.name, direction));
        Ok(by_others.then(Vec::new))
    }

    async fn recorded_by_this_run(
        &self,
        session: &Session,
        direction: Direction,
    ) -> anyhow::Result<Vec<Step>> {
        if session.no_history {
            return Ok(Vec::new());
        }
        let text = self.recorder.done_by_this_run(direction);
        let mut conn = session.conn.lock().await;
        let rows = (&mut *conn)
            .fetch_all(sqlx::raw_sql(AssertSqlSafe(text)))
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Step {
                    name: row.try_get(0)?,
                    direction,
                    duration_ms: row.try_get::<i64, _>(1)?.unsigned_abs(),
                    effect: None,
                    changes: Vec::new(),
                })
            })
            .collect()
    }

    async fn transaction(
        &mut self,
        session: &mut Session,
        direction: Direction,
        scripts: &[Planned<'_>],
        watcher: &Watcher,
    ) -> anyhow::Result<Vec<Step>> {
        self.inside = false;
        let opened = self.open(session).await?;
        self.inside = true;
        self.cancel.set_backend(opened.backend);
        watcher.look_at(opened.backend);
        if session.no_history {
            crate::migrate::history::create_tables(&mut *session.conn.lock().await).await?;
        }
        let by_others = self.done_by_others(session, direction, scripts).await?;
        if let Some(gate) = &mut self.gate
            && scripts
                .iter()
                .any(|(_, one)| one.live || may_drop(&one.sql))
        {
            gate.before(&mut *session.conn.lock().await).await?;
        }
        let mut done = Vec::with_capacity(scripts.len());
        let mut touched = None;
        for (place, (revision, script)) in scripts.iter().enumerate() {
            if by_others.contains(&revision.name) {
                continue;
            }
            if scripts.len() > 1 {
                (self.tell)(Event::Begins(&revision.name, place + 1, scripts.len()));
            }
            let started = Instant::now();
            let effects;
            (effects, touched) = self
                .apply(session, direction, revision, script, &opened)
                .await?;
            failpoint::hit("in-transaction").await;
            done.push(Step::of(revision, direction, started.elapsed()).with(effects));
        }
        // What several migrations of one transaction pass through never commits, so
        // the state that would is the one to prove.
        if let Some(gate) = &mut self.gate {
            let names: Vec<&str> = scripts
                .iter()
                .map(|(revision, _)| revision.name.as_str())
                .collect();
            let hidden = scripts.iter().any(|(_, one)| may_hide(&one.sql));
            let touched = touched.as_ref().filter(|_| !hidden);
            let mut conn = session.conn.lock().await;
            gate.after(&mut conn, &names.join("`, `"), touched).await?;
        }
        failpoint::hit("before-commit").await;
        self.cancel.check()?;
        let name = scripts
            .last()
            .map_or("", |(revision, _)| revision.name.as_str());
        let end = if self.options.dry_run {
            "rollback"
        } else {
            "commit"
        };
        let ended = if self.another && !session.no_history {
            session.commit_and_open(self.limits(), &self.recorder).await
        } else {
            session.send(end).await
        };
        ended.map_err(|cause| match sqlstate(&cause) {
            Some(_) if !crate::db::error::is_lost(&cause) => {
                failure::at_commit(cause.into(), name, direction)
            }
            _ => anyhow::Error::from(cause).context(format!("cannot {end} `{name}`")),
        })?;
        failpoint::hit("after-commit").await;
        if !self.options.dry_run {
            session.no_history = false;
        }
        self.tell_done(&done);
        Ok(done)
    }

    pub(super) fn tell_done(&mut self, steps: &[Step]) {
        for step in steps {
            if !self.options.dry_run {
                self.committed.push(step.name.clone());
            }
            (self.tell)(Event::Done(step));
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            lock: self.options.lock_timeout,
            statement: self.options.statement_timeout,
        }
    }

    /// Opens a transaction; behind a pooler the lock is waited for here.
    pub(super) async fn open(&mut self, session: &mut Session) -> anyhow::Result<Opened> {
        let deadline = Instant::now() + self.options.lock_wait;
        let mut told = false;
        loop {
            let opened = session.open(self.limits(), &self.recorder).await?;
            if let Some(opened) = opened {
                return Ok(opened);
            }
            session.send("rollback").await?;
            let holder = match told && Instant::now() < deadline {
                true => None,
                false => lock::holder(&mut *session.conn.lock().await).await?,
            };
            if Instant::now() >= deadline {
                return lock::held(&lock::name(holder.as_ref()), self.options.lock_wait);
            }
            if !told {
                (self.tell)(Event::WaitingForLock(holder.as_ref()));
                told = true;
            }
            self.cancel.pause(Duration::from_millis(50)).await?;
        }
    }

    async fn apply(
        &mut self,
        session: &Session,
        direction: Direction,
        revision: &Revision,
        script: &Script,
        opened: &Opened,
    ) -> anyhow::Result<(Option<Effects>, Option<Touched>)> {
        let mut sent = String::new();
        let started = Instant::now();
        let explain = |cause: anyhow::Error, sent: &str, completed: Option<usize>| {
            let limit = self.options.statement_timeout;
            let timed_out = !limit.is_zero() && started.elapsed() >= limit;
            let failed = Failed {
                name: &revision.name,
                direction,
                sql: sent,
                completed,
                timed_out,
            };
            failure::of_migration(cause, failed)
        };
        if script.live {
            let lent = live::lend(&session.conn, live::Inside::Transaction).await?;
            let manager = SchemaManager::new(&lent);
            match direction {
                Direction::Up => revision.migration().up(&manager).await,
                Direction::Down => revision.migration().down(&manager).await,
            }
            .map_err(|cause| match anyhow::Error::from(cause) {
                lost if connection_lost(&lost) => lost,
                failed => explain(failed, "", None),
            })?;
        } else {
            sent.clone_from(&script.sql);
            sent.push_str("\n;");
        }
        let record = |effects: Option<&Effects>| {
            let details = effects
                .filter(|_| session.keeps_details)
                .map(Details::effect);
            let (id, details) = (opened.id.as_str(), details.as_ref());
            let usable =
                |one: &Prepared| direction == Direction::Up && (one.details || details.is_none());
            match session.prepared.filter(usable) {
                Some(prepared) => Recorder::done_prepared(prepared, revision, id, details),
                None => self.recorder.done(direction, revision, id, details),
            }
        };
        let mut conn = session.conn.lock().await;
        let hidden = Hidden::before(&mut conn, &sent).await?;
        let mut changed = Vec::new();
        let (mut effects, mut touched) = (None, None);
        let outcome = match &mut self.watch {
            None => {
                let text = format!("{sent}{MYSELF}{}", record(None));
                send_counting(&mut conn, text, &mut changed).await
            }
            Some(watch) => {
                // What it does is part of its record, so the record comes after a look.
                let text = format!("{sent}{MYSELF}");
                match send_counting(&mut conn, text, &mut changed).await {
                    Ok(_) => {
                        if let Some(gate) = &self.gate {
                            gate.hold_plans(&mut conn).await?;
                        }
                        let keeps = session.hold == Hold::Session && !script.live;
                        let look = touched.insert(Touched::look(&mut conn, keeps).await?);
                        let look = (!may_hide(&sent)).then_some(&*look);
                        let seen = effects.insert(watch.after(&mut conn, look).await?);
                        send_counting(&mut conn, record(Some(seen)), &mut Vec::new()).await
                    }
                    failed => failed,
                }
            }
        };
        match outcome {
            Ok(1) => {
                let file = format!("{}.{}.sql", revision.name, direction.name());
                unseen::refuse(&mut conn, &file, &sent, &changed).await?;
                hidden.refuse(&mut conn, &file, &sent).await?;
                Ok((effects, touched))
            }
            Ok(_) => fail(
                Code::MigrationFailed,
                format!("`{}` ended the transaction that it runs in", revision.name),
                "remove COMMIT and ROLLBACK from it; check what it left with `kinedb status`",
            ),
            Err(cause) if crate::db::error::is_lost(&cause) || sqlstate(&cause).is_none() => {
                Err(anyhow::Error::from(cause).context(format!("cannot run `{}`", revision.name)))
            }
            Err(cause) => Err(explain(cause.into(), &sent, Some(changed.len()))),
        }
    }
}

/// Sends the message to its end and tells how many rows its last statement
/// touched; `changed` gets the count of each that succeeded. Rows that a migration
/// selects are read and dropped.
pub(super) async fn send_counting(
    conn: &mut PgConnection,
    text: String,
    changed: &mut Vec<u64>,
) -> Result<u64, sqlx::Error> {
    let mut results = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
    let mut last = 0;
    while let Some(result) = results.try_next().await? {
        if let sqlx::Either::Left(done) = result {
            last = done.rows_affected();
            changed.push(last);
        }
    }
    Ok(last)
}

/// How often a proof is tried again in one snapshot.
const STEADY: usize = 3;

/// Whether a refusal may come of what the application committed while the proof was made.
/// A proof in one snapshot does not see that, so its leaks are leaks; but what it writes to
/// rows that changed meanwhile fails, and may not the next time.
fn doubtful(cause: &anyhow::Error, steady: usize) -> bool {
    let refused = Fault::of(cause).filter(|fault| fault.code() == Code::GateRefused);
    refused.is_some_and(|fault| {
        steady == 0 || steady < STEADY && fault.to_string().contains(CONTESTED)
    })
}
