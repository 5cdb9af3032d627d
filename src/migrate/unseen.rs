//! A change of data that row security reduced to nothing.
//!
//! FORCE binds a table's owner too. Where a policy lets a missing context through
//! as "no rows", an `update` without a tenant succeeds and changes nothing. Of what
//! `do` blocks change, the server counts the rows; what functions do is not seen.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::db::ident::{Ident, Literal};
use crate::fault::{Code, Fault};
use crate::migrate::lex;
use crate::migrate::shown;

const COUNTED: &str = include_str!("sql/changed_rows.sql");

/// A statement that changed no row, with the role that ran it.
#[derive(Debug, PartialEq, Eq)]
struct Idle<'a> {
    statement: &'a str,
    at: usize,
    table: String,
    role: Option<String>,
}

/// Changes that stand in `do` blocks, with the rows that were changed before them.
#[derive(Debug, Default)]
pub(crate) struct Hidden<'a> {
    changes: Vec<Idle<'a>>,
    before: Vec<i64>,
}

impl<'a> Hidden<'a> {
    /// Reads them from the text. The server is asked only where there are some.
    pub(crate) async fn before(conn: &mut PgConnection, sql: &'a str) -> anyhow::Result<Self> {
        let changes = match lex::directive(sql, "allow-no-rows") {
            Some(_) => Vec::new(),
            None => in_blocks(sql),
        };
        let before = counted(conn, &changes).await?;
        Ok(Self { changes, before })
    }

    /// Refuses the script where one of them changed no row of a table that has rows
    /// and whose row security binds.
    pub(crate) async fn refuse(
        self,
        conn: &mut PgConnection,
        file: &str,
        sql: &str,
    ) -> anyhow::Result<()> {
        let after = counted(conn, &self.changes).await?;
        for (change, (before, after)) in self.changes.iter().zip(self.before.iter().zip(after)) {
            if after == *before && is_bound(conn, change).await? {
                return Err(refusal(file, sql, change));
            }
        }
        Ok(())
    }
}

/// Rows that this transaction has changed in the table of each.
async fn counted(conn: &mut PgConnection, changes: &[Idle<'_>]) -> anyhow::Result<Vec<i64>> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let tables: Vec<String> = changes
        .iter()
        .map(|one| Literal::new(&one.table).to_string())
        .collect();
    let text = COUNTED.replace(":tables", &tables.join(", "));
    let rows = (&mut *conn)
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(text)))
        .await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?)
}

/// The changes that stand in the bodies of `do` blocks.
fn in_blocks(sql: &str) -> Vec<Idle<'_>> {
    let mut found = Vec::new();
    let mut role = None;
    for range in lex::statements(sql) {
        let statement = &sql[range.clone()];
        let tokens = lex::tokens(statement);
        if take_role(&tokens, 0, &mut role) {
            continue;
        }
        let is_block = tokens
            .first()
            .is_some_and(|(word, _)| word.eq_ignore_ascii_case("do"));
        let body = tokens
            .iter()
            .find(|(word, _)| word.starts_with(['$', '\'']));
        if let (true, Some((body, place))) = (is_block, body) {
            in_body(body, range.start + place.start, role.clone(), &mut found);
        }
    }
    found
}

/// Those of one body, or of a text that it executes.
fn in_body<'a>(quoted: &'a str, at: usize, mut role: Option<String>, found: &mut Vec<Idle<'a>>) {
    let tag = match quoted.strip_prefix('$').and_then(|rest| rest.find('$')) {
        Some(end) => end + 2,
        None => 1,
    };
    let Some(body) = quoted.get(tag..quoted.len().saturating_sub(tag)) else {
        return;
    };
    let at = at + tag;
    let tokens = lex::tokens(body);
    let word = |place: usize| tokens.get(place).map_or("", |(word, _)| *word);
    let is = |place: usize, keyword: &str| word(place).eq_ignore_ascii_case(keyword);
    let mut executes = false;
    for place in 0..tokens.len() {
        if take_role(&tokens, place, &mut role) {
            continue;
        }
        executes = (executes || is(place, "execute")) && word(place) != ";";
        if executes && word(place).starts_with('\'') {
            in_body(word(place), at + tokens[place].1.start, role.clone(), found);
        }
        let previous = |keyword| place > 0 && is(place - 1, keyword);
        let first = match () {
            () if is(place, "update") && !["for", "do", "key"].into_iter().any(previous) => {
                place + 1
            }
            () if is(place, "delete") && is(place + 1, "from") => place + 2,
            () => continue,
        };
        let first = first + usize::from(is(first, "only"));
        let (table, after) = name(&tokens, first);
        let end = (place..tokens.len()).find(|next| word(*next) == ";");
        let end = end.unwrap_or(tokens.len());
        // `update t [as] [u] set`; a trigger's `update on` or `update of` is none.
        let sets = (after..end.min(after + 4)).any(|next| is(next, "set"));
        let named = table.starts_with(|first: char| first.is_alphabetic() || "_\"".contains(first));
        if !named || (is(place, "update") && !sets) {
            continue;
        }
        let text = tokens[place].1.start..tokens[end - 1].1.end;
        found.push(Idle {
            statement: &body[text.clone()],
            at: at + text.start,
            table,
            role: role.clone(),
        });
    }
}

/// A statement that takes or leaves a role begins here.
fn take_role(tokens: &[Token<'_>], at: usize, role: &mut Option<String>) -> bool {
    let is = |place: usize, keyword: &str| {
        tokens
            .get(at + place)
            .is_some_and(|(word, _)| word.eq_ignore_ascii_case(keyword))
    };
    match () {
        () if is(0, "set") && is(1, "role") => *role = named(tokens, at + 2),
        () if is(0, "set") && (is(1, "local") || is(1, "session")) && is(2, "role") => {
            *role = named(tokens, at + 3);
        }
        () if is(0, "reset") && (is(1, "role") || is(1, "all")) => *role = None,
        () => return false,
    }
    true
}

type Token<'a> = (&'a str, std::ops::Range<usize>);

/// The name at this token, as SQL writes it, and what follows it.
fn name(tokens: &[Token<'_>], at: usize) -> (String, usize) {
    let word = |at: usize| tokens.get(at).map_or("", |(word, _)| *word);
    if word(at + 1) == "." {
        (format!("{}.{}", word(at), word(at + 2)), at + 3)
    } else {
        (word(at).to_owned(), at + 1)
    }
}

fn refusal(file: &str, sql: &str, idle: &Idle<'_>) -> anyhow::Error {
    let (line, column) = lex::line_column_at(sql, idle.at);
    let message = format!(
        "{file}:{line}:{column}: row security hid every row of {} from this statement, so it changed none\n  in: {}\n  rolled back",
        idle.table,
        shown::statement(idle.statement),
    );
    Fault::new(Code::MigrationFailed, message)
        .hint("change data tenant by tenant, each in its own context (`PerTenant` of the migration crate); if no row is right, say `-- kinedb: allow-no-rows`")
        .into()
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
        if is_bound(conn, &idle).await? {
            return Err(refusal(file, sql, &idle));
        }
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
        if take_role(&tokens, 0, &mut role) {
            continue;
        }
        let at = match words.as_slice() {
            ["update", "only", ..] => 2,
            ["update", ..] => 1,
            ["delete", "from", "only", ..] => 3,
            ["delete", "from", ..] => 2,
            _ => continue,
        };
        if *rows > 0 {
            continue;
        }
        let (table, _) = name(&tokens, at);
        found.push(Idle {
            statement,
            at: range.start,
            table,
            role: role.clone(),
        });
    }
    found
}

fn named(tokens: &[Token<'_>], at: usize) -> Option<String> {
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
    #[test]
    fn changes_in_blocks_are_found_through_quotes_roles_and_loops() {
        let sql = "do $$ begin if true then update a as x set y = 1; end if; \
                   set local role keeper; for r in select 1 for update loop delete from only public.b where i = r; end loop; \
                   insert into c values (1) on conflict (i) do update set y = 2; \
                   execute 'update d set y = ''z'''; execute format('delete from %I', 'e'); \
                   create trigger t before update on f for each row execute function g(); \
                   reset role; update \"G g\" set y = 1; end $$; do 'begin delete from h; end'";
        let found = in_blocks(sql);
        let seen: Vec<(&str, Option<&str>)> = found
            .iter()
            .map(|one| (one.table.as_str(), one.role.as_deref()))
            .collect();
        let keeper = Some("keeper");
        assert_eq!(
            seen,
            [
                ("a", None),
                ("public.b", keeper),
                ("d", keeper),
                ("\"G g\"", None),
                ("h", None)
            ]
        );
        assert!(
            found
                .iter()
                .all(|one| sql[one.at..].starts_with(one.statement))
        );
    }
}
