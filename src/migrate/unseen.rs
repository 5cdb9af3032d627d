//! A change of data that row security reduced to nothing.
//!
//! FORCE binds a table's owner too. Where a policy lets a missing context through
//! as "no rows", an `update` without a tenant succeeds and changes nothing. What is
//! inside of functions and `do` blocks is not seen here.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::db::ident::{Ident, Literal};
use crate::fault::{Code, Fault};
use crate::migrate::lex;

/// A statement that changed no row, with the role that ran it.
#[derive(Debug, PartialEq, Eq)]
struct Idle<'a> {
    statement: &'a str,
    at: usize,
    table: String,
    role: Option<String>,
}

/// Refuses a script one of whose updates or deletes changed no row of a table that
/// has rows and whose row security binds whoever ran it. `changed` has the count of
/// each statement. The directive `allow-no-rows` says that it is meant.
pub(crate) async fn refuse(
    conn: &mut PgConnection,
    file: &str,
    sql: &str,
    changed: &[u64],
) -> anyhow::Result<()> {
    if lex::directive(sql, "allow-no-rows").is_some() {
        return Ok(());
    }
    for idle in idle(sql, changed) {
        if !is_bound(conn, &idle).await? {
            continue;
        }
        let (line, column) = lex::line_column_at(sql, idle.at);
        let message = format!(
            "{file}:{line}:{column}: row security hid every row of {} from this statement, so it changed none\n  in: {}\n  rolled back",
            idle.table,
            idle.statement
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        );
        return Err(Fault::new(Code::MigrationFailed, message)
            .hint("change data tenant by tenant, each in its own context (`PerTenant` of the migration crate); if no row is right, say `-- kinedb: allow-no-rows`")
            .into());
    }
    Ok(())
}

fn idle<'a>(sql: &'a str, changed: &[u64]) -> Vec<Idle<'a>> {
    let mut found = Vec::new();
    let mut role = None;
    for (range, rows) in lex::statements(sql).into_iter().zip(changed) {
        let statement = &sql[range.clone()];
        let tokens = lex::tokens(statement);
        let lower: Vec<String> = tokens
            .iter()
            .map(|(word, _)| word.to_ascii_lowercase())
            .collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        let at = match words.as_slice() {
            ["set", "role", ..] => {
                role = named(&tokens, 2);
                continue;
            }
            ["set", "local" | "session", "role", ..] => {
                role = named(&tokens, 3);
                continue;
            }
            ["reset", "role" | "all", ..] => {
                role = None;
                continue;
            }
            ["update", "only", ..] => 2,
            ["update", ..] => 1,
            ["delete", "from", "only", ..] => 3,
            ["delete", "from", ..] => 2,
            _ => continue,
        };
        if *rows > 0 {
            continue;
        }
        let word = |at: usize| tokens.get(at).map_or("", |(word, _)| *word);
        let table = if word(at + 1) == "." {
            format!("{}.{}", word(at), word(at + 2))
        } else {
            word(at).to_owned()
        };
        found.push(Idle {
            statement,
            at: range.start,
            table,
            role: role.clone(),
        });
    }
    found
}

fn named(tokens: &[(&str, std::ops::Range<usize>)], at: usize) -> Option<String> {
    let word = tokens.get(at)?.0;
    match word.strip_prefix('"') {
        Some(inside) => Some(inside.trim_end_matches('"').replace("\"\"", "\"")),
        None if word.eq_ignore_ascii_case("none") => None,
        None => Some(word.to_ascii_lowercase()),
    }
}

/// Row security binds this role on this table, and the table has pages with rows.
async fn is_bound(conn: &mut PgConnection, idle: &Idle<'_>) -> anyhow::Result<bool> {
    let become_role = match &idle.role {
        Some(role) => format!("set local role {};", Ident::new(role)),
        None => String::new(),
    };
    let table = Literal::new(&idle.table);
    let text = format!(
        "savepoint kinedb_look; {become_role} \
         select coalesce(row_security_active(to_regclass({table})), false) and \
         coalesce((select sum(pg_relation_size(relid)) from pg_partition_tree(to_regclass({table}))), pg_relation_size(to_regclass({table})), 0) > 0"
    );
    let bound: bool = (&mut *conn)
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(text)))
        .await?
        .try_get(0)?;
    (&mut *conn)
        .execute(sqlx::raw_sql("rollback to savepoint kinedb_look"))
        .await?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_without_rows_are_looked_at() {
        let sql = "update a set x = 1; set local role \"Owner\"; delete from only public.b; update c set x = 1; reset role; delete from d";
        let found = idle(sql, &[0, 0, 0, 5, 0, 0]);
        let seen: Vec<(&str, Option<&str>)> = found
            .iter()
            .map(|one| (one.table.as_str(), one.role.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [("a", None), ("public.b", Some("Owner")), ("d", None)]
        );
    }
}
