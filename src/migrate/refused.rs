//! What the text of a migration may not hold: it is refused before anything is sent,
//! because the server would understand it otherwise than its author, or not at all.

use std::ops::Range;

use crate::fault::{Code, Fault};
use crate::migrate::concurrent;
use crate::migrate::foreign;
use crate::migrate::lex;
use crate::migrate::script::{Direction, Script};

/// Refuses a script that the runner cannot send as it stands.
pub(super) fn check(name: &str, direction: Direction, script: &Script) -> anyhow::Result<()> {
    let Some((offset, what, hint)) = first(script, direction) else {
        return Ok(());
    };
    let (line, column) = lex::line_column_at(&script.sql, offset);
    let place = format!("{name}.{}.sql:{line}:{column}", direction.name());
    let fault = Fault::new(Code::BadFile, format!("{place}: {what}"));
    Err(fault.hint(hint).into())
}

/// Where, what is wrong, what to do.
type Refusal = (usize, String, &'static str);

fn first(script: &Script, direction: Direction) -> Option<Refusal> {
    let sql = script.sql.as_str();
    if let Some(offset) = sql.find('\0') {
        let what = "PostgreSQL takes no NUL byte in a text".to_owned();
        return Some((offset, what, "remove it, or save the file as UTF-8"));
    }
    let open = lex::unterminated(sql);
    // What follows a command that is none of the server's need not be SQL.
    let end = open.unwrap_or(sql.len());
    let statement = lex::statements(sql)
        .into_iter()
        .filter(|range| range.start < end)
        .find_map(|range| refused(script, range.start..range.end.min(end)));
    if statement.is_some() {
        return statement;
    }
    if let Some(offset) = open {
        let what = "a quote or comment is not closed".to_owned();
        return Some((
            offset,
            what,
            "close it; what follows would be read as part of it",
        ));
    }
    let (line, offset) = foreign::divided(sql, direction)?;
    let way = direction.name();
    let what = format!(
        "the line `{line}` divides a file for another tool, and kinedb would run what follows on the way {way} too"
    );
    let hint = match direction {
        Direction::Up => "move what follows it to the file that ends with `.down.sql`",
        Direction::Down => "leave only the way down in this file, and remove the line",
    };
    Some((offset, what, hint))
}

fn refused(script: &Script, range: Range<usize>) -> Option<Refusal> {
    let start = range.start;
    let statement = script.sql.get(range)?;
    // A compiled migration outside a transaction that asks the database minds its own.
    let own = script.live && script.no_transaction;
    if !own && lex::controls_transaction(statement) {
        let hint = if script.no_transaction {
            "remove it: each statement of this migration is committed by itself"
        } else {
            "remove it; what cannot run inside a transaction goes into a migration whose first line is `-- kinedb: no-transaction`"
        };
        return Some((
            start,
            "a migration may not begin or end a transaction".to_owned(),
            hint,
        ));
    }
    if lex::copies_to_client(statement) {
        return Some((
            start,
            "COPY has no client here that would send or take rows".to_owned(),
            "write the rows as `insert`, or name a file on the server: `copy .. from '/path'`",
        ));
    }
    if let Some((command, at)) = lex::psql_command(statement) {
        return Some((
            start + at,
            format!("`{command}` is a command of psql, not of the server"),
            match command {
                "\\restrict" | "\\unrestrict" | "\\connect" => {
                    "pg_dump writes such lines for psql: `sed -i '/^\\\\/d' FILE` takes them out"
                }
                _ => "remove it: a migration holds SQL only",
            },
        ));
    }
    if script.no_transaction && concurrent::is_unnamed_index(statement) {
        return Some((
            start,
            "an index that is built concurrently needs a name: a rerun could not find it"
                .to_owned(),
            "write `create index concurrently NAME on ..`",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(sql: &str, no_transaction: bool) -> String {
        let script = Script {
            sql: sql.to_owned(),
            live: false,
            no_transaction,
        };
        check("m1", Direction::Up, &script)
            .map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn each_is_named_with_its_place() {
        for (sql, told) in [
            ("select 1;\n  begin;", "m1.up.sql:2:3: a migration may not"),
            ("copy t from stdin;\n1\n\\.\n", "m1.up.sql:1:1: COPY has"),
            (
                "select 1; COPY (select a from stdin) to STDOUT",
                "1:11: COPY",
            ),
            ("select 1;\n\\d t\n", "m1.up.sql:2:1: `\\d` is a command"),
            ("select 'a\0b'", "m1.up.sql:1:10: PostgreSQL takes no NUL"),
            ("select 'a", "m1.up.sql:1:8: a quote"),
            ("select 1 \\gexec", "m1.up.sql:1:10: `\\gexec` is a command"),
            ("copy t from stdin;\n1 it's\n", "m1.up.sql:1:1: COPY has"),
            (
                "select 1;\n-- +goose Down\nselect 2;",
                "m1.up.sql:2:1: the line `-- +goose Down`",
            ),
        ] {
            assert!(what(sql, false).contains(told), "{}", what(sql, false));
            assert!(what(sql, true).contains(told), "{}", what(sql, true));
        }
        assert_eq!(what("create index on t (a)", true), "fine");
        let unnamed = what("create unique index concurrently on t (a)", true);
        assert!(unnamed.contains("needs a name"), "{unnamed}");
    }

    #[test]
    fn what_only_looks_like_it_passes() {
        for sql in [
            "copy t from '/srv/rows.csv'",
            "copy (select 'to stdout', stdin from t) to '/srv/out'",
            "do $$ begin perform 1; end $$",
            "create function f() returns int language sql begin atomic; select 1; end",
            "prepare x as select 1",
            "comment on table t is 'copy t from stdin; \\d'",
        ] {
            assert_eq!(what(sql, false), "fine", "{sql}");
            assert_eq!(what(sql, true), "fine", "{sql}");
        }
    }
}
