//! A failed migration, told with file, line, column, SQLSTATE and statement.

use sqlx::postgres::PgDatabaseError;

use crate::db::error::{position, sentence, server_error};
use crate::fault::{Code, Fault};
use crate::migrate::lex;
use crate::migrate::script::Direction;
use crate::migrate::shown;

/// Which migration failed, and what is known of where.
pub struct Failed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Which way it went.
    pub direction: Direction,
    /// The text that was sent, so that a position becomes a line of the file.
    pub sql: &'a str,
    /// So many of its statements had succeeded, where that was counted.
    pub completed: Option<usize>,
    /// It had run for as long as one statement may.
    pub timed_out: bool,
}

impl Failed<'_> {
    /// All of its own statements had succeeded: what failed is the record of it.
    fn was_done(&self) -> bool {
        self.completed
            .is_some_and(|completed| completed >= lex::statements(self.sql).len())
    }
}

/// What only the migration itself can have done to its record. A disk that is full, a right
/// that lacks and a limit of time have their own next step, wherever they are met.
fn is_of_its_making(sqlstate: &str) -> bool {
    sqlstate == "25006" || sqlstate.starts_with("42") && sqlstate != "42501"
}

/// Explains the failure of a migration that was rolled back.
pub fn of_migration(cause: anyhow::Error, failed: Failed<'_>) -> anyhow::Error {
    let name = failed.name;
    if let Some(refused) =
        server_error(&cause).filter(|refused| failed.was_done() && is_of_its_making(refused.code()))
    {
        let message = format!(
            "what `{name}` did cannot be recorded: {}\n  rolled back; {}",
            sentence(refused),
            outcome(name, failed.direction)
        );
        let fault = Fault::new(Code::MigrationFailed, message);
        return cause.context(fault.hint(
            "take out what changes `public.seaql_migrations`, `public.kinedb_history` or the transaction itself",
        ));
    }
    let Some(server) = server_error(&cause) else {
        return cause.context(
            Fault::new(
                Code::MigrationFailed,
                format!("`{name}` failed; it was rolled back"),
            )
            .hint(meaning("", "", false, failed.direction).1),
        );
    };
    // A migration may set a limit of its own; only the server's words tell that one.
    let own = failed.sql.to_lowercase().contains("statement_timeout");
    let (code, hint) = if own && server.message().contains("statement timeout") {
        (
            Code::BudgetSpent,
            "raise the `statement_timeout` that the migration sets, or split it",
        )
    } else {
        meaning(
            server.code(),
            server.message(),
            failed.timed_out,
            failed.direction,
        )
    };
    let hint = placeholder(server, failed.sql).unwrap_or(hint);
    let message = told(&cause, &failed).unwrap_or_else(|| sentence(server));
    let fault = Fault::new(
        code,
        format!(
            "{message}\n  rolled back; {}",
            outcome(name, failed.direction)
        ),
    );
    cause.context(fault.hint(hint))
}

/// A constraint that is checked last refused the COMMIT.
pub fn at_commit(cause: anyhow::Error, name: &str, direction: Direction) -> anyhow::Error {
    let Some(server) = server_error(&cause) else {
        return cause.context(format!("cannot commit `{name}`"));
    };
    let message = format!(
        "`{name}` failed at its end, when deferred constraints are checked: {}\n  rolled back; {}",
        sentence(server),
        outcome(name, direction)
    );
    let fault = Fault::new(Code::MigrationFailed, message);
    cause.context(fault.hint(meaning("", "", false, direction).1))
}

fn outcome(name: &str, direction: Direction) -> String {
    match direction {
        Direction::Up => format!("nothing of `{name}` is applied"),
        Direction::Down => format!("`{name}` stays applied"),
    }
}

/// Place, sentence and statement, as far as they are known; nothing where the
/// server did not say what is wrong.
pub fn told(cause: &anyhow::Error, failed: &Failed<'_>) -> Option<String> {
    let server = server_error(cause)?;
    let Failed { name, sql, .. } = failed;
    let mut place = format!("{name}.{}.sql", failed.direction.name());
    let character = position(server)
        .filter(|_| !sql.is_empty())
        .map(|position| {
            sql.char_indices()
                .nth(position.saturating_sub(1))
                .map_or(sql.len(), |(at, _)| at)
        });
    // Most errors of DDL have no position; then it is the first statement that did not succeed.
    let statement = match (character, failed.completed) {
        (Some(offset), _) => lex::statement_at(sql, offset),
        (None, Some(completed)) => lex::statements(sql).into_iter().nth(completed),
        (None, None) => None,
    };
    if let Some(offset) = character.or(statement.as_ref().map(|range| range.start)) {
        let (line, column) = lex::line_column_at(sql, offset);
        place = format!("{place}:{line}:{column}");
    }
    let mut message = format!("{place}: {}", sentence(server));
    if let Some(detail) = server.detail().filter(|_| reveals_no_row(server.code())) {
        message = format!("{message}; {detail}");
    }
    if let Some(statement) = statement.and_then(|range| sql.get(range)) {
        message = format!("{message}\n  in: {}", shown::statement(statement));
    }
    Some(message)
}

/// The detail of a constraint violation quotes the row's values: patients' data.
fn reveals_no_row(sqlstate: &str) -> bool {
    !sqlstate.starts_with("23") && !sqlstate.starts_with("22")
}

/// A syntax error at what psql, or a tool for templates, would have put a value for.
fn placeholder(server: &PgDatabaseError, sql: &str) -> Option<&'static str> {
    let position = position(server).filter(|_| server.code() == "42601")?;
    let mut near = sql.chars().skip(position.saturating_sub(1));
    match (near.next()?, near.next()?) {
        (':', next) if next.is_alphabetic() || "_\"'".contains(next) => Some(
            "psql puts the value of a variable in the place of `:name`, the server does not: write the value",
        ),
        ('$', '{') | ('{', '{') => Some(
            "another tool puts a value in the place of this, the server does not: write the value",
        ),
        _ => None,
    }
}

/// Exit and next step by SQLSTATE.
fn meaning(
    sqlstate: &str,
    message: &str,
    timed_out: bool,
    direction: Direction,
) -> (Code, &'static str) {
    match sqlstate {
        "57014" if timed_out => (
            Code::BudgetSpent,
            "give each statement more time with `--statement-timeout`, or split the migration",
        ),
        "57014" => (
            Code::MigrationFailed,
            "somebody cancelled the statement (`pg_cancel_backend`); run `kinedb upgrade` again",
        ),
        "53100" => (
            Code::MigrationFailed,
            "the server's disk is full: free space there, then run `kinedb upgrade` again",
        ),
        "42501" => (
            Code::MigrationFailed,
            "grant what is missing: `grant kine_owner to <user>` for later deploys; the first run needs CREATEROLE and the database",
        ),
        // A policy that casts a setting which is not there: the safe way to fail.
        "42704" if message.contains("configuration parameter") => (
            Code::MigrationFailed,
            "row security needs a tenant's context: change data tenant by tenant (`PerTenant` of the migration crate)",
        ),
        "25001" if message.contains("SET TRANSACTION") => (
            Code::MigrationFailed,
            "a migration runs in a transaction of kinedb's, `read committed`, which has begun: remove the statement",
        ),
        "25001" => (
            Code::MigrationFailed,
            "move the statement to a migration whose first line is `-- kinedb: no-transaction`",
        ),
        "25006" => (Code::ReadOnly, "connect to the primary"),
        "55P04" => (
            Code::MigrationFailed,
            "a new value of an enum can be used once it is committed: put `alter type .. add value` into a migration of its own, before this one",
        ),
        "2D000" => (
            Code::MigrationFailed,
            "a migration is one transaction, so its blocks and procedures may not COMMIT: remove that; `PerTenant` of the migration crate changes data in batches",
        ),
        _ => (
            Code::MigrationFailed,
            match direction {
                Direction::Up => "correct the file, then run `kinedb upgrade` again",
                Direction::Down => "correct the file, then run `kinedb downgrade` again",
            },
        ),
    }
}
