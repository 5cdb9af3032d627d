//! A failed migration, told with file, line, column, SQLSTATE and statement.

use crate::db::error::{position, sentence, server_error};
use crate::fault::{Code, Fault};
use crate::migrate::lex;
use crate::migrate::script::Direction;

/// How much of a statement a message shows, in characters.
const SHOWN: usize = 400;

/// Explains the failure of a migration. `sql` is the text that was sent, so that
/// the server's position can be turned into a line of the file.
pub fn of_migration(
    cause: anyhow::Error,
    name: &str,
    direction: Direction,
    sql: &str,
) -> anyhow::Error {
    let Some(server) = server_error(&cause) else {
        return cause.context(Fault::new(
            Code::MigrationFailed,
            format!("`{name}` failed; it was rolled back"),
        ));
    };
    let file = format!("{name}.{}.sql", direction.name());
    let mut place = file.clone();
    let mut statement = None;
    if let Some(position) = position(server) {
        let offset = sql
            .char_indices()
            .nth(position.saturating_sub(1))
            .map_or(sql.len(), |(offset, _)| offset);
        let (line, column) = lex::line_column(sql, position);
        place = format!("{file}:{line}:{column}");
        statement = lex::statement_at(sql, offset).map(shorten);
    }
    let (code, hint) = meaning(server.code());
    let mut message = format!("{place}: {}", sentence(server));
    if let Some(detail) = server.detail().filter(|_| reveals_no_row(server.code())) {
        message = format!("{message}; {detail}");
    }
    if let Some(statement) = statement {
        message = format!("{message}\n  in: {statement}");
    }
    cause.context(
        Fault::new(
            code,
            format!("{message}\n  rolled back; nothing of `{name}` is applied"),
        )
        .hint(hint),
    )
}

/// The detail of a constraint violation quotes the row's values: patients' data.
fn reveals_no_row(sqlstate: &str) -> bool {
    !sqlstate.starts_with("23") && !sqlstate.starts_with("22")
}

fn shorten(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

/// Exit and next step by SQLSTATE.
fn meaning(sqlstate: &str) -> (Code, &'static str) {
    match sqlstate {
        "57014" => (
            Code::BudgetSpent,
            "give it more time with `--statement-timeout`, or split the migration",
        ),
        "53100" => (
            Code::MigrationFailed,
            "the server's disk is full: free space there, then run `kinedb upgrade` again",
        ),
        "42501" => (
            Code::MigrationFailed,
            "grant what is missing: `grant kine_owner to <user>` for later deploys; the first run needs CREATEROLE and the database",
        ),
        "25006" => (Code::ReadOnly, "connect to the primary"),
        _ => (
            Code::MigrationFailed,
            "correct the file, then run `kinedb upgrade` again",
        ),
    }
}
