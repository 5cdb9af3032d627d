//! Migrations outside a transaction: recorded when they begin, statement by
//! statement, and resumed by looking at the real state.
//!
//! A statement that a transaction can hold is run in one, together with the record
//! that it is done. Only the few that cannot are looked after: see `concurrent`.

use std::time::Instant;

use anyhow::Context as _;
use migration::SchemaManager;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::db::error::{connection_lost, is_lost, server_error};
use crate::db::ident::Literal;
use crate::fault::{Code, Fault, fail};
use crate::migrate::blockers::Watcher;
use crate::migrate::concurrent::{Kind, kind};
use crate::migrate::effect::Effects;
use crate::migrate::failpoint;
use crate::migrate::failure::{self, Failed};
use crate::migrate::gate::Suspicion;
use crate::migrate::history;
use crate::migrate::index::backend;
use crate::migrate::lex;
use crate::migrate::live;
use crate::migrate::record::Details;
use crate::migrate::retry::{self, Backoff};
use crate::migrate::revision::Revision;
use crate::migrate::run::{Event, Runner, Step};
use crate::migrate::script::{Direction, Script};
use crate::migrate::session::{MYSELF, RUN_AGAIN, Regained, Session};

/// A migration outside a transaction, taken apart.
pub(super) struct Outside<'a> {
    pub(super) revision: &'a Revision,
    pub(super) direction: Direction,
    sql: &'a str,
    statements: Vec<&'a str>,
    /// It was begun by an earlier run, or before the connection was lost.
    pub(super) resumed: bool,
    /// So many statements are recorded as done.
    done: usize,
}

/// What a record of progress keeps of the statements that are done.
pub(super) fn checksum(done: &[&str]) -> String {
    lex::checksum(&done.join(";"))
}

impl Outside<'_> {
    /// What an earlier `set role` and the like set, to be sent before a statement.
    pub(super) fn settings(&self, place: usize) -> String {
        let settings = self.statements[..place].iter();
        settings
            .filter(|statement| kind(statement) == Kind::Setting)
            .map(|statement| format!("{statement};"))
            .collect()
    }

    /// The checksum of the statements that are done: they must not be edited any more.
    fn checksum(&self, done: usize) -> String {
        checksum(&self.statements[..done])
    }

    /// The fault of a statement: what stands and what to do.
    pub(super) fn failed(&self, place: usize, cause: anyhow::Error, left: &str) -> anyhow::Error {
        let failed = Failed {
            name: &self.revision.name,
            direction: self.direction,
            sql: self.sql,
            completed: Some(place),
            timed_out: false,
        };
        // The position is one in the statement that was sent, not in the file.
        let place_only = server_error(&cause)
            .and_then(|_| failure::told(&cause, &failed))
            .unwrap_or_else(|| cause.to_string());
        let of = self.statements.len();
        let stands = match place {
            0 => "nothing of it is done".to_owned(),
            1 => format!("statement 1 of {of} is done"),
            several => format!("statements 1 to {several} of {of} are done"),
        };
        let fault = Fault::new(Code::Unfinished, format!("{place_only}\n  {stands}{left}"));
        let hint = match server_error(&cause).map(|server| server.code()) {
            Some("25001" | "2D000") => {
                "kinedb runs this statement, or the block around it, in a transaction: run it by hand with psql, remove it here, then run `kinedb upgrade` again: it resumes there"
            }
            _ => {
                "correct the cause, or this statement, then run `kinedb upgrade` again: it resumes there"
            }
        };
        cause.context(fault.hint(hint))
    }
}

impl Runner<'_> {
    /// Runs it, resuming after a lost connection.
    pub(super) async fn outside(
        &mut self,
        session: &mut Session,
        direction: Direction,
        revision: &Revision,
        script: &Script,
    ) -> anyhow::Result<Vec<Step>> {
        let started = Instant::now();
        let backoff = Backoff::new(self.options.lock_budget);
        let effects = loop {
            let attempt = self
                .begun_outside(session, direction, revision, script)
                .await;
            let cause = match attempt {
                Ok(effects) => break effects,
                Err(cause) => cause,
            };
            self.cancel.check()?;
            if !connection_lost(&cause) {
                return Err(cause);
            }
            let left = backoff.left();
            let regained = self.regain(session, direction, &cause, true, left).await?;
            let Regained::Again(state) = regained else {
                let fault = Fault::new(
                    Code::ConnectionLost,
                    format!(
                        "an administrator ended this session; `{}` is begun and not finished",
                        revision.name
                    ),
                );
                return Err(cause.context(fault.hint(RUN_AGAIN)));
            };
            if state.has(&revision.name) == (direction == Direction::Up) {
                break None;
            }
        };
        let step = Step::of(revision, direction, started.elapsed()).with(effects);
        self.tell_done(std::slice::from_ref(&step));
        Ok(vec![step])
    }

    async fn begun_outside(
        &mut self,
        session: &mut Session,
        direction: Direction,
        revision: &Revision,
        script: &Script,
    ) -> anyhow::Result<Option<Effects>> {
        let statements = lex::statements(&script.sql);
        let mut work = Outside {
            revision,
            direction,
            sql: &script.sql,
            statements: statements
                .into_iter()
                .map(|range| &script.sql[range])
                .collect(),
            resumed: false,
            done: 0,
        };
        self.begin_outside(session, &mut work).await?;
        if script.live {
            self.live_outside(session, &work).await?;
        } else {
            for place in work.done..work.statements.len() {
                self.cancel.check()?;
                self.statement(session, &work, place).await?;
            }
        }
        self.end_outside(session, &work).await
    }

    /// Finds out how far an earlier run came, or records that this one begins.
    async fn begin_outside(
        &mut self,
        session: &mut Session,
        work: &mut Outside<'_>,
    ) -> anyhow::Result<()> {
        let opened = self.open(session).await?;
        self.cancel.set_backend(opened.backend);
        if session.no_history {
            history::create_tables(&mut *session.conn.lock().await).await?;
        }
        let begun = self.begun(session, work).await?;
        session.send("commit").await?;
        session.no_history = false;
        let Some(known) = begun else {
            return self.record_start(session, work).await;
        };
        if let (Some(gate), Some(known)) = (&mut self.gate, known) {
            gate.recall(known)?;
        }
        Ok(())
    }

    /// Nothing can be rolled back later, so what the proof finds before is looked for
    /// now, and kept with the start for a run that resumes this one.
    async fn record_start(
        &mut self,
        session: &mut Session,
        work: &Outside<'_>,
    ) -> anyhow::Result<()> {
        let mut known = None;
        if let Some(gate) = &mut self.gate {
            let mut conn = session.conn.lock().await;
            gate.judge(&mut conn, &work.revision.name).await?;
            gate.before(&mut conn).await?;
            known = gate.known().filter(|_| session.keeps_details);
        }
        let details = known.as_ref().map(Details::known);
        let record = self.recorder.progress(
            work.direction,
            work.revision,
            0,
            &work.revision.checksum,
            details.as_ref(),
        );
        self.open(session).await?;
        session.send(record).await?;
        session.send("commit").await?;
        Ok(())
    }

    /// How far an earlier run came; nothing where none began. With what the proof
    /// had found before, where that was kept.
    async fn begun(
        &self,
        session: &Session,
        work: &mut Outside<'_>,
    ) -> anyhow::Result<Option<Option<serde_json::Value>>> {
        let details = match session.keeps_details {
            true => {
                "(select b.details -> 'known' from public.kinedb_history b where b.name = s.name and b.direction = s.direction and b.outcome = 'started' and b.step = 0 and b.details is not null order by b.id desc limit 1)::text"
            }
            false => "null::text",
        };
        let text = format!(
            "select step, checksum, {details} from public.kinedb_history s where name = {name} and direction = '{way}' and outcome = 'started' \
             and not exists (select from public.kinedb_history d where d.name = s.name and d.outcome = 'done' and d.id > s.id) \
             order by step desc, id desc limit 1",
            name = Literal::new(&work.revision.name),
            way = work.direction.name(),
        );
        let row = {
            let mut conn = session.conn.lock().await;
            (&mut *conn)
                .fetch_optional(sqlx::raw_sql(AssertSqlSafe(text)))
                .await?
        };
        let Some(row) = row else { return Ok(None) };
        work.resumed = true;
        work.done = usize::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default();
        let then: String = row.try_get(1)?;
        let same = work.done <= work.statements.len() && work.checksum(work.done) == then;
        if work.done > 0 && !same {
            return fail(
                Code::Unfinished,
                format!(
                    "`{}` was begun, and its first {} statements, which are done, were edited since",
                    work.revision.name, work.done
                ),
                "restore those statements; only what follows them may still change",
            );
        }
        let known: Option<String> = row.try_get(2)?;
        Ok(Some(
            known.as_deref().map(serde_json::from_str).transpose()?,
        ))
    }

    async fn statement(
        &mut self,
        session: &mut Session,
        work: &Outside<'_>,
        place: usize,
    ) -> anyhow::Result<()> {
        let statement = work.statements[place];
        let of = work.statements.len();
        let kind = kind(statement);
        if kind == Kind::Setting {
            return Ok(());
        }
        (self.tell)(Event::Statement(&work.revision.name, place + 1, of));
        if kind == Kind::InTransaction {
            return self.with_its_record(session, work, place).await;
        }
        session
            .prepare_outside(&work.settings(place), self.options.statement_timeout)
            .await?;
        session.fence().await?;
        match kind {
            Kind::CreateIndex(index) => self.build_index(session, work, place, &index).await?,
            Kind::DropIndex { index } => {
                let gone = format!("select to_regclass({}) is null", Literal::new(&index));
                if !(work.resumed && ask(session, gone).await?) {
                    self.alone(session, work, place, statement).await?;
                }
            }
            Kind::Detach { parent, partition } => {
                let pair = format!(
                    "from pg_catalog.pg_inherits where inhparent = to_regclass({}) and inhrelid = to_regclass({})",
                    Literal::new(&parent),
                    Literal::new(&partition)
                );
                let half = format!("select exists (select {pair} and inhdetachpending)");
                let gone = format!("select not exists (select {pair})");
                if ask(session, half).await? {
                    let text =
                        format!("alter table {parent} detach partition {partition} finalize");
                    self.alone(session, work, place, &text).await?;
                } else if !(work.resumed && ask(session, gone).await?) {
                    self.alone(session, work, place, statement).await?;
                }
            }
            Kind::Repeatable | Kind::Setting | Kind::InTransaction => {
                self.alone(session, work, place, statement).await?;
            }
        }
        failpoint::hit("before-step-record").await;
        failpoint::hit(&format!("before-record-of-{}", place + 1)).await;
        let record = self.progress(work, place + 1);
        session
            .send(format!("{MYSELF}{record}"))
            .await
            .with_context(|| format!("cannot record a statement of `{}`", work.revision.name))
    }

    fn progress(&self, work: &Outside<'_>, done: usize) -> String {
        let checksum = work.checksum(done);
        self.recorder
            .progress(work.direction, work.revision, done, &checksum, None)
    }

    /// Sends one statement in a message of its own, which PostgreSQL takes as no transaction.
    async fn alone(
        &mut self,
        session: &Session,
        work: &Outside<'_>,
        place: usize,
        text: &str,
    ) -> anyhow::Result<()> {
        let watcher = Watcher::new(self.target);
        watcher.look_at(backend(session).await?);
        match watcher.while_it_lives(session.send(text)).await {
            Err(lost) if is_lost(&lost) => Err(lost.into()),
            Err(cause) => {
                self.cancel.check()?;
                Err(work.failed(place, cause.into(), ""))
            }
            Ok(()) => Ok(()),
        }
    }

    /// A statement that a transaction can hold, tried again like any other.
    async fn with_its_record(
        &mut self,
        session: &mut Session,
        work: &Outside<'_>,
        place: usize,
    ) -> anyhow::Result<()> {
        let mut backoff = Backoff::new(self.options.lock_budget);
        let watcher = Watcher::new(self.target);
        let text = format!(
            "{}{}\n;{MYSELF}{}",
            work.settings(place),
            work.statements[place],
            self.progress(work, place + 1)
        );
        loop {
            self.cancel.check()?;
            let opened = self.open(session).await?;
            watcher.look_at(opened.backend);
            let work_done = async {
                session.send(text.clone()).await?;
                session.send("commit").await
            };
            let outcome = watcher.while_it_lives(work_done).await;
            backoff.saw(watcher.rest());
            let Err(cause) = outcome else { return Ok(()) };
            if is_lost(&cause) {
                return Err(cause.into());
            }
            session.send("rollback").await?;
            self.cancel.check()?;
            let cause = anyhow::Error::from(cause);
            let state = server_error(&cause).map(|error| error.code().to_owned());
            let Some(code) = state.filter(|code| retry::is_retryable(code)) else {
                return Err(work.failed(place, cause, ""));
            };
            let Some(pause) = backoff.pause() else {
                return Err(backoff.spent(&work.revision.name, cause));
            };
            let blockers = backoff.blockers();
            (self.tell)(Event::Retries {
                attempt: backoff.attempts(),
                sqlstate: &code,
                blockers,
                pause,
            });
            self.cancel.pause(pause).await?;
        }
    }

    /// A migration in Rust: it has to look at the real state by itself.
    async fn live_outside(&mut self, session: &Session, work: &Outside<'_>) -> anyhow::Result<()> {
        session
            .prepare_outside("", self.options.statement_timeout)
            .await?;
        let lent = live::lend(&session.conn, live::Inside::Nothing).await?;
        let manager = SchemaManager::new(&lent);
        let migration = work.revision.migration();
        let outcome = match work.direction {
            Direction::Up => migration.up(&manager).await,
            Direction::Down => migration.down(&manager).await,
        };
        match outcome.map_err(anyhow::Error::from) {
            Err(cause) if !connection_lost(&cause) => Err(work.failed(0, cause, "")),
            outcome => outcome,
        }
    }

    async fn end_outside(
        &mut self,
        session: &mut Session,
        work: &Outside<'_>,
    ) -> anyhow::Result<Option<Effects>> {
        self.cancel.check()?;
        let opened = self.open(session).await?;
        if let Some(gate) = &mut self.gate {
            let found = gate
                .after(&mut *session.conn.lock().await, &work.revision.name, None)
                .await;
            if let Err(finding) = found {
                session.send("rollback").await?;
                return Err(found_outside(finding, &work.revision.name));
            }
        }
        let effects = match &mut self.watch {
            Some(watch) => Some(watch.after(&mut *session.conn.lock().await, None).await?),
            None => None,
        };
        // Of what an earlier run did, nothing is known.
        let effects = effects.filter(|_| !work.resumed);
        let details = effects.as_ref().filter(|_| session.keeps_details);
        let details = details.map(Details::effect);
        let record =
            self.recorder
                .done(work.direction, work.revision, &opened.id, details.as_ref());
        failpoint::hit("before-done-record").await;
        session.send(record).await?;
        session.send("commit").await?;
        Ok(effects)
    }
}

/// The gate's finding about statements that stay.
fn found_outside(finding: anyhow::Error, name: &str) -> anyhow::Error {
    let stays =
        format!("all statements of `{name}` are done and stay, but it is not recorded as applied");
    if let Some(told) = Fault::of(&finding) {
        // What cannot be rolled back was not.
        let rolled_back = format!("`{name}` was rolled back: it would break");
        let message = told.to_string().replace(&rolled_back, "it breaks");
        let fault = Fault::new(told.code(), format!("{stays}: {message}"));
        let hint = "repair what it did by hand or by a statement more at its end, then run `kinedb upgrade` again";
        return fault.hint(hint).into();
    }
    if !finding.is::<Suspicion>() {
        return finding.context(stays);
    }
    let fault = Fault::new(
        Code::GateRefused,
        format!(
            "{stays}: isolation has findings, and after a resumption nobody can tell whether they were there before"
        ),
    );
    finding.context(fault.hint("look with `kinedb verify-rls`; where they are known, finish with `kinedb upgrade --gate off`"))
}

/// A question with one yes or no.
async fn ask(session: &Session, text: String) -> anyhow::Result<bool> {
    let mut conn = session.conn.lock().await;
    let row = (&mut *conn)
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(text)))
        .await?;
    Ok(row.try_get(0)?)
}
