//! The run's one connection: locked, fenced, and replaced when it was lost.
//!
//! A lost connection loses the lock, so it is never replaced silently: the lock
//! is taken again and the state is read again before anything else is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::sync::Mutex;

use crate::db::{self, error};
use crate::fault::{Code, Fault, fail};
use crate::migrate::history::{self, Isolation, State, Surroundings};
use crate::migrate::live::Shared;
use crate::migrate::lock;
use crate::migrate::record::{Prepared, Recorder};

/// How long a server that went away may take to come back, within the budget.
const COMES_BACK: Duration = Duration::from_secs(60);

/// So long ago a transaction may have been opened without a look whether it still is.
const FRESH: Duration = Duration::from_millis(20);

/// What goes first in every message that begins work: whatever an earlier
/// migration left in the session must not reach the next one.
const CLEAN: &str = "reset session authorization; reset role; reset all;";

/// What goes before a record of history: a migration may have become somebody else.
pub(super) const MYSELF: &str = "reset session authorization;reset role;";

/// Where the lock is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// In the session, from the first migration to the last.
    Session,
    /// In each transaction: sessions behind a pooler are not ours to keep.
    Transaction,
}

/// The connection of a run and what is known of its server.
pub(crate) struct Session {
    /// The connection, also lent to migrations that ask the database.
    pub(crate) conn: Shared,
    /// Where the lock is kept.
    pub(crate) hold: Hold,
    /// The history tables are still to be made.
    pub(crate) no_history: bool,
    /// The history table has a column for details; those of older versions have none.
    pub(crate) keeps_details: bool,
    /// The server can notice that a killed client is gone, and end its statement.
    watches_client: bool,
    /// The server is spoken with over TCP, where a peer can be gone without a word.
    over_tcp: bool,
    /// What transactions are begun with; an earlier migration may have said otherwise.
    pub(super) isolation: Isolation,
    /// When the server started: another time means that it went away.
    server_started: String,
    /// What is prepared stays so: the session is ours, and no migration may forget it.
    pub(crate) keeps_statements: bool,
    /// What opens a transaction and what records that a migration is done, where prepared.
    pub(crate) prepared: Option<Prepared>,
    /// How often something was to be prepared.
    preparations: u32,
    /// How many transactions were opened.
    opened: u32,
    /// The next transaction, where it was opened together with the last COMMIT.
    ahead: Option<(Opened, Instant)>,
}

/// A transaction that was opened.
pub(crate) struct Opened {
    /// Its id.
    pub(crate) id: String,
    /// The backend that runs it.
    pub(crate) backend: i32,
}

impl Opened {
    /// With whether the lock is ours.
    fn of(row: &PgRow) -> Result<(Self, bool), sqlx::Error> {
        let opened = Self {
            id: row.try_get(0)?,
            backend: row.try_get(1)?,
        };
        Ok((opened, row.try_get(2)?))
    }
}

/// The timeouts of a transaction; zero is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For each lock.
    pub(crate) lock: Duration,
    /// For each statement.
    pub(crate) statement: Duration,
}

/// What became of a connection that broke.
pub(crate) enum Regained {
    /// It is open and locked again; this is where the database is now.
    Again(Box<State>),
    /// Somebody ended this very session while the server went on.
    EndedOnPurpose,
}

impl Session {
    /// Takes over the connection that read `state`.
    pub(crate) fn new(
        conn: PgConnection,
        hold: Hold,
        state: &State,
        around: &Surroundings,
    ) -> Self {
        Self {
            conn: Arc::new(Mutex::new(conn)),
            hold,
            no_history: state.no_history,
            keeps_details: state.no_history,
            watches_client: around.watches_client,
            isolation: around.isolation,
            server_started: around.server_started.clone(),
            over_tcp: around.over_tcp(),
            keeps_statements: false,
            prepared: None,
            preparations: 0,
            opened: 0,
            ahead: None,
        }
    }

    /// What to prepare with the next transaction: what opens it and what records, from
    /// the second one of a session on, because for a single one it is not worth it.
    fn next_preparation(&mut self) -> Option<Prepared> {
        self.opened += 1;
        let worth = self.opened > 1 && !self.no_history && self.keeps_statements;
        if self.prepared.is_some() || !worth {
            return None;
        }
        self.preparations += 1;
        Some(Prepared {
            number: self.preparations,
            details: self.keeps_details,
        })
    }

    /// Finds out whether the history table has a column for details.
    pub(crate) async fn look_for_details(&mut self) -> anyhow::Result<()> {
        if self.no_history {
            return Ok(());
        }
        let text = "select exists (select from pg_catalog.pg_attribute \
                    where attrelid = 'public.kinedb_history'::regclass and attname = 'details')";
        let mut conn = self.conn.lock().await;
        let row = (&mut *conn).fetch_one(sqlx::raw_sql(text)).await?;
        self.keeps_details = row.try_get(0)?;
        Ok(())
    }

    fn clean(&self) -> String {
        let keepalive = if self.over_tcp { lock::KEEPALIVE } else { "" };
        format!("{CLEAN}{keepalive}")
    }

    /// Sends one message whose rows nobody needs.
    pub(crate) async fn send(&self, text: impl Into<String>) -> Result<(), sqlx::Error> {
        let text = AssertSqlSafe(text.into());
        let mut conn = self.conn.lock().await;
        (&mut *conn).execute(sqlx::raw_sql(text)).await.map(drop)
    }

    /// Opens a transaction with its timeouts and proves that the lock is still
    /// ours. Nothing is returned where the lock is one of transactions and
    /// another run has it.
    pub(crate) async fn open(
        &mut self,
        limits: Limits,
        recorder: &Recorder,
    ) -> anyhow::Result<Option<Opened>> {
        if let Some((opened, since)) = self.ahead.take() {
            if since.elapsed() > FRESH {
                self.fence().await?;
            }
            return Ok(Some(opened));
        }
        let preparing = self.next_preparation();
        let text = self.opening(limits, recorder, preparing);
        let row = {
            let mut conn = self.conn.lock().await;
            (&mut *conn)
                .fetch_one(sqlx::raw_sql(AssertSqlSafe(text)))
                .await
                .context("cannot open a migration's transaction")?
        };
        self.prepared = self.prepared.or(preparing);
        let (opened, ours) = Opened::of(&row)?;
        match (ours, self.hold) {
            (true, _) => Ok(Some(opened)),
            (false, Hold::Transaction) => Ok(None),
            (false, Hold::Session) => fail(
                Code::Locked,
                "this run has lost the migration lock",
                "run again; nothing of the next migration was started",
            ),
        }
    }

    fn opening(&self, limits: Limits, recorder: &Recorder, preparing: Option<Prepared>) -> String {
        // The statements of one message are a transaction, which BEGIN takes over as it
        // is: one that was opened before the settings of its session were reset.
        let (clean, begin) = match self.hold {
            Hold::Session => {
                let level = self.isolation.keywords();
                let begin = format!("begin isolation level {level}, read write;");
                (self.clean(), begin)
            }
            Hold::Transaction => (String::new(), "begin;".to_owned()),
        };
        match (preparing, self.prepared) {
            (Some(new), _) => format!(
                "{clean} {begin} {record} prepare kinedb_open_{number} as {open}; execute kinedb_open_{number}",
                record = recorder.prepare(new),
                open = self.limit_and_fence(limits),
                number = new.number,
            ),
            (None, Some(Prepared { number, .. })) => {
                format!("{clean} {begin} execute kinedb_open_{number}")
            }
            (None, None) => format!("{clean} {begin} {}", self.limit_and_fence(limits)),
        }
    }

    /// The first statement of a transaction: its timeouts, its id, whether the lock is
    /// still ours. One statement, because each costs the server more than what it does.
    fn limit_and_fence(&self, limits: Limits) -> String {
        let lock = match self.hold {
            Hold::Session => lock::STILL_OURS.to_owned(),
            Hold::Transaction => format!("pg_try_advisory_xact_lock({})", lock::KEY),
        };
        let set = |name: &str, value: u128| format!(", set_config('{name}', '{value}', true)");
        let mut settings = set("lock_timeout", limits.lock.as_millis());
        settings.push_str(&set("statement_timeout", limits.statement.as_millis()));
        let silence = lock::silence().as_millis();
        settings.push_str(&set("idle_in_transaction_session_timeout", silence));
        if self.hold == Hold::Session {
            settings.push_str(&format!(
                ", set_config('idle_session_timeout', '{silence}', false)"
            ));
        }
        if self.watches_client {
            settings.push_str(&set("client_connection_check_interval", 1000));
        }
        format!("select pg_current_xact_id()::text, pg_backend_pid(), {lock}{settings}")
    }

    /// Sends COMMIT, and in the same message opens the next transaction: a round
    /// trip less for each migration. An error is one of COMMIT; what fails after it
    /// is left for [`Self::open`] to meet again.
    pub(crate) async fn commit_and_open(
        &mut self,
        limits: Limits,
        recorder: &Recorder,
    ) -> Result<(), sqlx::Error> {
        let preparing = self.next_preparation();
        let text = format!("commit; {}", self.opening(limits, recorder, preparing));
        let mut conn = self.conn.lock().await;
        let mut results = conn.fetch_many(sqlx::raw_sql(AssertSqlSafe(text)));
        let mut committed = false;
        let mut row = None;
        let ended = loop {
            match results.try_next().await {
                Ok(Some(sqlx::Either::Left(_))) => committed = true,
                Ok(Some(sqlx::Either::Right(one))) => row = Some(one),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        drop(results);
        drop(conn);
        match (committed, ended, row) {
            (false, Some(error), _) => return Err(error),
            (_, None, Some(row)) => {
                self.prepared = self.prepared.or(preparing);
                self.ahead = Opened::of(&row)
                    .ok()
                    .and_then(|(opened, ours)| ours.then(|| (opened, Instant::now())));
            }
            _ => {}
        }
        if self.ahead.is_none() {
            // What is open, if anything is, must not take in the next one's work; a
            // connection that is lost is found to be so by whoever opens.
            let _ = self.send("rollback").await;
        }
        Ok(())
    }

    /// Prepares the session for work outside a transaction. What the role or the
    /// database begins sessions with must not end an index that takes an hour.
    pub(crate) async fn prepare_outside(
        &self,
        settings: &str,
        statement: Duration,
    ) -> anyhow::Result<()> {
        self.send(format!(
            "{} set idle_session_timeout = {}; set lock_timeout = 0; set statement_timeout = {}; {}; {settings}",
            self.clean(),
            lock::silence().as_millis(),
            statement.as_millis(),
            if self.watches_client {
                "set client_connection_check_interval = '1s'"
            } else {
                ""
            }
        ))
        .await
        .context("cannot prepare the session")
    }

    /// The lock is still ours.
    pub(crate) async fn fence(&self) -> anyhow::Result<()> {
        let text = format!("select {}", lock::STILL_OURS);
        let mut conn = self.conn.lock().await;
        let row = (&mut *conn)
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(text)))
            .await
            .context("cannot look at the migration lock")?;
        if row.try_get::<bool, _>(0)? {
            return Ok(());
        }
        fail(
            Code::Locked,
            "this run has lost the migration lock",
            "run again; it looks at the real state and resumes",
        )
    }

    /// Connects again after `cause` ended the connection, takes the lock and reads
    /// the state. A server that restarts is waited for; a session that was not
    /// `working` and lost its connection to a server that goes on was ended by somebody.
    pub(crate) async fn regain(
        &mut self,
        target: &db::Target,
        cause: &anyhow::Error,
        working: bool,
        lock_wait: Duration,
        budget: Duration,
        cancel: &crate::migrate::cancel::Cancel,
    ) -> anyhow::Result<Regained> {
        let deadline = Instant::now() + budget.min(COMES_BACK);
        let told = error::server_error(cause).is_some_and(|told| told.code() == "57P01");
        let ended_by_command = told || !working;
        loop {
            cancel.check()?;
            match self.reconnect(target, ended_by_command).await {
                Ok(Some(fresh)) => {
                    cancel.set_backend(0);
                    // The server holds the old session's lock for as long as its end of the
                    // wire is open.
                    let mut conn = self.conn.lock().await;
                    *conn = fresh;
                    if self.hold == Hold::Session {
                        // The old session holds the lock until the server noticed its
                        // end; once it is ours, what it did is final.
                        lock::acquire(&mut conn, lock_wait, self.over_tcp, cancel, |_| {}).await?;
                    }
                    let state = history::read(&mut conn).await?;
                    state.require_writable()?;
                    cancel.set_backend(state.backend);
                    self.no_history = state.no_history;
                    self.keeps_details |= state.no_history;
                    self.server_started = history::server_started(&mut conn).await?;
                    self.prepared = None;
                    self.ahead = None;
                    return Ok(Regained::Again(Box::new(state)));
                }
                Ok(None) => return Ok(Regained::EndedOnPurpose),
                Err(failure) if Instant::now() < deadline && comes_back(&failure) => {
                    cancel.pause(Duration::from_millis(100)).await?;
                }
                Err(failure) => {
                    let told = Fault::of(&failure)
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    let fault = Fault::new(
                        Code::ConnectionLost,
                        format!(
                            "the connection was lost in the middle of a migration, and the server did not come back: {told}"
                        ),
                    );
                    return Err(failure.context(fault.hint(RUN_AGAIN)));
                }
            }
        }
    }

    /// Nothing where somebody ended the session while the server went on.
    async fn reconnect(
        &self,
        target: &db::Target,
        ended_by_command: bool,
    ) -> anyhow::Result<Option<PgConnection>> {
        let mut conn = db::connect(target, "upgrade").await?;
        let started = history::server_started(&mut conn).await?;
        let same_server = started == self.server_started;
        Ok((!(same_server && ended_by_command)).then_some(conn))
    }
}

/// What to do after a lost connection.
pub(crate) const RUN_AGAIN: &str =
    "run the command again: what was not committed is rolled back, and history tells the rest";

/// Nothing answers, or it is starting or stopping.
fn comes_back(failure: &anyhow::Error) -> bool {
    Fault::of(failure).is_some_and(|fault| fault.code() == Code::Unreachable)
        || failure
            .chain()
            .filter_map(|cause| cause.downcast_ref::<sqlx::Error>())
            .any(error::is_lost)
}
