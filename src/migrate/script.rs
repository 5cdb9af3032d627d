//! What a migration would send, found without a database.
//!
//! A migration is run against a connection that only records. The same recording
//! serves the plan, the checksum, `--sql` and the run itself.

use std::sync::{Arc, Mutex, PoisonError};

use migration::{MigrationTrait, SchemaManager};
use sea_orm::{DbBackend, DbErr, ProxyDatabaseTrait, ProxyExecResult, ProxyRow, Statement};

use crate::fault::{Code, fail};
use crate::migrate::lex;
use crate::migrate::refused;

/// Which way a migration goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards head.
    Up,
    /// Towards base.
    Down,
}

impl Direction {
    /// As history and file names write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One direction of a migration, recorded.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// The SQL, statement by statement as the migration sent it, joined.
    pub sql: String,
    /// It looks at the database while it runs, so the recording ends at its first
    /// question; it has to be run live.
    pub live: bool,
    /// It must not run in a transaction.
    pub no_transaction: bool,
}

impl Script {
    /// The checksum that history keeps.
    pub fn checksum(&self) -> String {
        lex::checksum(&self.sql)
    }
}

#[derive(Debug, Default)]
struct Recorder {
    statements: Mutex<Vec<Statement>>,
    live: Mutex<bool>,
}

impl Recorder {
    fn mark_live(&self) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

#[derive(Debug)]
struct Recording(Arc<Recorder>);

/// What a recording answers to a question.
const QUESTION: &str = "kinedb: this migration asks the database";

#[async_trait::async_trait]
impl ProxyDatabaseTrait for Recording {
    async fn query(&self, _: Statement) -> Result<Vec<ProxyRow>, DbErr> {
        self.0.mark_live();
        Err(DbErr::Custom(QUESTION.to_owned()))
    }

    async fn execute(&self, statement: Statement) -> Result<ProxyExecResult, DbErr> {
        if statement
            .values
            .as_ref()
            .is_some_and(|values| !values.0.is_empty())
        {
            self.0.mark_live();
        }
        self.0
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(statement);
        Ok(ProxyExecResult::default())
    }

    async fn begin(&self) {
        self.0.mark_live();
    }
}

/// Records one direction of a migration. A way down that does not exist is a
/// fault of code `Irreversible`.
pub async fn record(
    migration: &dyn MigrationTrait,
    direction: Direction,
) -> anyhow::Result<Script> {
    let name = migration.name();
    let recorder = Arc::new(Recorder::default());
    let proxy: Box<dyn ProxyDatabaseTrait> = Box::new(Recording(Arc::clone(&recorder)));
    let connection = sea_orm::Database::connect_proxy(DbBackend::Postgres, Arc::new(proxy)).await?;
    let manager = SchemaManager::new(&connection);
    let outcome = match direction {
        Direction::Up => migration.up(&manager).await,
        Direction::Down => migration.down(&manager).await,
    };
    let live = *recorder.live.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Ok(()) => {}
        Err(_) if live => {}
        Err(DbErr::Migration(reason)) if direction == Direction::Down => {
            return fail(
                Code::Irreversible,
                format!("`{name}` has no way down: {reason}"),
                "write the way back as a new migration",
            );
        }
        Err(cause) => {
            return Err(
                anyhow::Error::from(cause).context(format!("cannot read migration `{name}`"))
            );
        }
    }
    let statements = recorder
        .statements
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // What editors put before the first character is no part of the text.
    let sql = join(&statements)
        .trim_start_matches(squawk_lexer::BOM)
        .to_owned();
    if direction == Direction::Down
        && let Some(reason) = lex::directive(&sql, "irreversible")
    {
        let reason = if reason.is_empty() {
            "its file says so"
        } else {
            reason
        };
        return fail(
            Code::Irreversible,
            format!("`{name}` has no way down: {reason}"),
            "write the way back as a new migration",
        );
    }
    if !live && lex::statements(&sql).is_empty() {
        return fail(
            Code::BadFile,
            format!("`{name}.{}.sql` has no statement", direction.name()),
            match direction {
                Direction::Up => "write it, or remove the migration",
                Direction::Down => {
                    "write it, or leave the line `-- kinedb: irreversible: the reason`"
                }
            },
        );
    }
    let no_transaction = migration.use_transaction() == Some(false)
        || lex::directive(&sql, "no-transaction").is_some();
    let script = Script {
        sql,
        live,
        no_transaction,
    };
    refused::check(name, direction, &script)?;
    Ok(script)
}

fn join(statements: &[Statement]) -> String {
    match statements {
        [only] => only.to_string(),
        several => several
            .iter()
            .map(|one| format!("{};\n", one.to_string().trim_end().trim_end_matches(';')))
            .collect(),
    }
}
