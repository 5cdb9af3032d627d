//! What the database records of migrations. Reading needs no lock and no DDL.

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Executor as _, Row as _};

use crate::db::error::{of_sqlx, sentence, sqlstate};
use crate::fault::{Code, Fault, fail};

const STATE: &str = include_str!("sql/state.sql");
const SURROUNDINGS: &str = include_str!("sql/surroundings.sql");
/// The tables of history, as they are made.
pub const HISTORY_TABLES: &str = include_str!("sql/history_tables.sql");

/// Where the database is.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// `server_version_num`.
    pub server_version: i32,
    /// The server is a standby.
    pub standby: bool,
    /// Transactions are read-only by default.
    pub read_only: bool,
    /// The backend's process id as SQL sees it.
    pub backend: i32,
    /// The user.
    pub user: String,
    /// The user is a superuser.
    pub superuser: bool,
    /// The database.
    pub database: String,
    /// `kinedb_history` does not exist yet.
    pub no_history: bool,
    /// What is applied, by name.
    pub applied: Vec<Applied>,
    /// Non-transactional steps that were begun and not finished.
    pub unfinished: Vec<Unfinished>,
    /// What history tells, oldest first. Joined here, because planning that join costs
    /// the server more than all the rest.
    events: Vec<Told>,
}

/// A row of history, as far as the state needs it.
#[derive(Debug, Clone)]
struct Told {
    id: i64,
    name: String,
    direction: String,
    outcome: String,
    checksum: String,
}

/// What a run that changes something has to know of its server.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The server can notice, while a statement runs, that its client is gone.
    pub watches_client: bool,
    /// When the server started, as text.
    pub server_started: String,
    /// The port at which the server answers this session; nothing over a socket.
    pub server_port: Option<i32>,
    /// The address likewise.
    pub server_address: Option<String>,
    /// Its socket folders, which only a superuser is told.
    pub socket_folders: Option<String>,
    /// The port it is configured with.
    pub configured_port: i32,
    /// How far transactions are apart from others where they do not say.
    pub isolation: Isolation,
}

/// An isolation level of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Each statement sees what is committed when it begins.
    #[default]
    ReadCommitted,
    /// All see what was committed when the first began.
    RepeatableRead,
    /// As if one transaction ran after the other.
    Serializable,
}

impl Isolation {
    fn of(setting: &str) -> Self {
        match setting {
            "serializable" => Self::Serializable,
            "repeatable read" => Self::RepeatableRead,
            // PostgreSQL takes `read uncommitted` for this one.
            _ => Self::ReadCommitted,
        }
    }

    /// As SQL has it.
    pub fn keywords(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

impl Surroundings {
    /// Asks for them.
    pub async fn read(conn: &mut PgConnection) -> anyhow::Result<Self> {
        let row = (&mut *conn)
            .fetch_one(sqlx::raw_sql(SURROUNDINGS))
            .await
            .map_err(unreadable)?;
        Ok(Self {
            watches_client: row.try_get(0)?,
            server_started: row.try_get(1)?,
            server_port: row.try_get(2)?,
            server_address: row.try_get(3)?,
            socket_folders: row.try_get(4)?,
            configured_port: row.try_get(5)?,
            isolation: Isolation::of(row.try_get(6)?),
        })
    }

    /// The server is spoken with over TCP, not over a socket of this machine.
    pub fn over_tcp(&self) -> bool {
        self.server_address.is_some()
    }
}

/// An applied migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its name.
    pub name: String,
    /// When, in seconds since 1970 (sea-orm's own column).
    pub applied_at: i64,
    /// The checksum it had; none where sea-orm's own tool applied it.
    pub checksum: Option<String>,
}

/// A step that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The migration.
    pub name: String,
    /// `up` or `down`.
    pub direction: String,
}

impl State {
    /// Takes checksums and unfinished steps from what history tells.
    fn join_events(&mut self) {
        self.applied.sort_by(|a, b| a.name.cmp(&b.name));
        self.events.sort_by_key(|event| event.id);
        for (at, event) in self.events.iter().enumerate() {
            if event.outcome == "done" && event.direction != "down" {
                let applied = self.applied.iter_mut();
                applied
                    .filter(|one| one.name == event.name)
                    .for_each(|one| one.checksum = Some(event.checksum.clone()));
            }
            let finished = || {
                let mut later = self.events[at + 1..].iter();
                later.any(|later| later.name == event.name && later.outcome == "done")
            };
            let step = Unfinished {
                name: event.name.clone(),
                direction: event.direction.clone(),
            };
            if event.outcome == "started" && !self.unfinished.contains(&step) && !finished() {
                self.unfinished.push(step);
            }
        }
    }

    /// Takes one row of one of the questions of `state.sql`, counted from 0.
    fn take(&mut self, question: usize, row: &PgRow) -> Result<(), sqlx::Error> {
        match question {
            0 => {
                self.server_version = row.try_get::<&str, _>(0)?.parse().unwrap_or_default();
                self.standby = row.try_get(1)?;
                self.read_only = row.try_get::<&str, _>(2)? == "on";
                self.backend = row.try_get(3)?;
                self.user = row.try_get(4)?;
                self.superuser = row.try_get::<&str, _>(5)? == "on";
                self.database = row.try_get(6)?;
            }
            1 => self.applied.push(Applied {
                name: row.try_get(0)?,
                applied_at: row.try_get(1)?,
                checksum: None,
            }),
            _ => self.events.push(Told {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                direction: row.try_get(2)?,
                outcome: row.try_get(3)?,
                checksum: row.try_get(4)?,
            }),
        }
        Ok(())
    }

    /// It is applied.
    pub fn has(&self, name: &str) -> bool {
        self.applied.iter().any(|one| one.name == name)
    }

    /// The newest applied revision by name.
    pub fn head(&self) -> Option<&str> {
        self.applied.iter().map(|one| one.name.as_str()).max()
    }

    #[cfg(test)]
    pub(crate) fn of_names(names: &[&str]) -> Self {
        let applied = names.iter().map(|name| Applied {
            name: (*name).to_owned(),
            applied_at: 0,
            checksum: None,
        });
        Self {
            applied: applied.collect(),
            ..Self::default()
        }
    }

    /// Refuses a server that nothing may be changed on.
    pub fn require_writable(&self) -> anyhow::Result<()> {
        self.require_version()?;
        if self.standby {
            return fail(
                Code::ReadOnly,
                "the server is a standby",
                "connect to the primary",
            );
        }
        if self.read_only {
            return fail(
                Code::ReadOnly,
                "the server, database or user is set to read-only transactions",
                "connect to the primary, or see `show default_transaction_read_only`",
            );
        }
        Ok(())
    }

    /// Refuses a server that is too old.
    pub fn require_version(&self) -> anyhow::Result<()> {
        if self.server_version >= 150_000 {
            return Ok(());
        }
        fail(
            Code::ServerTooOld,
            format!(
                "the server is PostgreSQL {}; kinedb needs 15 or newer",
                self.server_version / 10_000
            ),
            "upgrade the server",
        )
    }
}

/// Reads the state in one round trip.
pub async fn read(conn: &mut PgConnection) -> anyhow::Result<State> {
    let mut state = State::default();
    match answers(conn, STATE, &mut state).await {
        Ok(()) => {}
        // One of the two tables is missing; the questions before it are answered.
        Err(error) if sqlstate(&error) == Some("42P01") => state.no_history = true,
        Err(error) => return Err(unreadable(error)),
    }
    state.join_events();
    Ok(state)
}

/// Takes the rows of each question as they come.
async fn answers(
    conn: &mut PgConnection,
    questions: &'static str,
    state: &mut State,
) -> Result<(), sqlx::Error> {
    let mut results = conn.fetch_many(sqlx::raw_sql(questions));
    let mut question = 0;
    while let Some(result) = results.try_next().await? {
        match result {
            sqlx::Either::Left(_) => question += 1,
            sqlx::Either::Right(row) => state.take(question, &row)?,
        }
    }
    Ok(())
}

fn unreadable(error: sqlx::Error) -> anyhow::Error {
    match of_sqlx(&error) {
        Some(server) if server.code() == "42501" => {
            Fault::new(Code::Privilege, format!("cannot read the migration history: {}", sentence(server)))
                .hint("grant select on seaql_migrations and kinedb_history to this user, or use the migrator's login")
                .into()
        }
        // Undefined columns, or columns of other types.
        Some(server) if matches!(server.code(), "42703" | "42883" | "42804" | "42846") => Fault::new(
            Code::UnknownApplied,
            format!("`public.seaql_migrations` or `public.kinedb_history` is another tool's table: {}", sentence(server)),
        )
        .hint("look at both with `psql -c '\\d public.seaql_migrations'`; rename the one that is not the history of migrations")
        .into(),
        _ => anyhow::Error::from(error).context("cannot read the migration history"),
    }
}

/// When the server started. One of two servers that answer at one address has another time.
pub async fn server_started(conn: &mut PgConnection) -> anyhow::Result<String> {
    let text = "select pg_catalog.pg_postmaster_start_time()::text";
    let row = (&mut *conn).fetch_one(sqlx::raw_sql(text)).await?;
    Ok(row.try_get(0)?)
}

/// Creates both history tables, under the lock and inside the caller's transaction.
pub async fn create_tables(conn: &mut PgConnection) -> anyhow::Result<()> {
    (&mut *conn).execute(sqlx::raw_sql(HISTORY_TABLES)).await.map(drop).map_err(|error| {
        match of_sqlx(&error) {
            Some(server) if server.code() == "3F000" => Fault::new(
                Code::Privilege,
                format!("cannot create the history tables: {}", sentence(server)),
            )
            .hint("they stand in schema public: `create schema public`")
            .into(),
            Some(server) => Fault::new(Code::Privilege, format!("cannot create the history tables: {}", sentence(server)))
                .hint("the first run needs CREATE on schema public: `grant create on schema public to <user>`, or own the database")
                .into(),
            None => anyhow::Error::from(error).context("cannot create the history tables"),
        }
    })
}

/// One row of `kinedb_history`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Record {
    /// The run that wrote it.
    pub run_id: String,
    /// The migration.
    pub name: String,
    /// `up`, `down`, `stamp` or `repair`.
    pub direction: String,
    /// Checksum of the way up at that time.
    pub checksum: String,
    /// When it began, in UTC.
    pub started_at: String,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// `started` or `done`.
    pub outcome: String,
    /// The session's user.
    pub database_user: String,
    /// The machine that ran kinedb.
    pub host: Option<String>,
    /// The version of kinedb.
    pub kinedb_version: String,
    /// The commit that was deployed, where the pipeline told it.
    pub git_commit: Option<String>,
    /// Why, for what people decided.
    pub reason: Option<String>,
    /// Of a migration outside a transaction: so many of its statements are done.
    pub step: Option<i32>,
    /// What it does to isolation; of one that was begun outside a transaction, what
    /// was known before.
    pub details: Option<serde_json::Value>,
}

impl Record {
    /// `widens`, `narrows` or `neutral`, where somebody looked.
    pub fn effect(&self) -> Option<&str> {
        self.details.as_ref()?.get("effect")?.as_str()
    }
}

fn details(text: Option<String>) -> anyhow::Result<Option<serde_json::Value>> {
    Ok(text.as_deref().map(serde_json::from_str).transpose()?)
}

/// Everything that was done, oldest first.
pub async fn records(conn: &mut PgConnection, state: &State) -> anyhow::Result<Vec<Record>> {
    if state.no_history {
        return Ok(Vec::new());
    }
    let rows = (&mut *conn)
        .fetch_all(sqlx::raw_sql(include_str!("sql/records.sql")))
        .await
        .map_err(unreadable)?;
    rows.iter()
        .map(|row| {
            Ok(Record {
                run_id: row.try_get(0)?,
                name: row.try_get(1)?,
                direction: row.try_get(2)?,
                checksum: row.try_get(3)?,
                started_at: row.try_get(4)?,
                duration_ms: row.try_get(5)?,
                outcome: row.try_get(6)?,
                database_user: row.try_get(7)?,
                host: row.try_get(8)?,
                kinedb_version: row.try_get(9)?,
                git_commit: row.try_get(10)?,
                reason: row.try_get(11)?,
                step: row.try_get(12)?,
                details: details(row.try_get(13)?)?,
            })
        })
        .collect()
}
