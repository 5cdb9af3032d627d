//! What the user lacks, found before anything is changed and told all at once.
//!
//! Only what can be known without running a migration: the rights on history, the
//! roles it acts as, the roles and schemas it makes, the tables it alters.

use std::collections::BTreeSet;

use serde::Deserialize;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::db::ident::{Literal, plain};
use crate::fault::{Code, fail};
use crate::migrate::history::State;
use crate::migrate::lex;
use crate::migrate::revision::Revision;
use crate::migrate::script::Script;

const LACKING: &str = include_str!("sql/lacking.sql");

/// What migrations ask of a user, as far as their text tells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// Roles it acts as.
    roles: BTreeSet<String>,
    /// It makes roles.
    creates_roles: bool,
    /// It makes roles in a body of code, which may look first whether they are there.
    may_create_roles: bool,
    /// It makes schemas.
    creates_schemas: bool,
    /// Tables it alters, each with the role it acts as by then.
    tables: BTreeSet<(String, String)>,
    /// Tables that it makes itself.
    made: BTreeSet<String>,
}

/// What the server says is lacking: a sentence and the statement that helps.
#[derive(Debug, Deserialize)]
struct Lack {
    what: String,
    grant: String,
}

/// Refuses with one list. A superuser lacks nothing.
pub(crate) async fn check(
    conn: &mut PgConnection,
    state: &State,
    scripts: &[(&Revision, Script)],
) -> anyhow::Result<()> {
    if state.superuser {
        return Ok(());
    }
    let mut needs = Needs::default();
    for (_, script) in scripts {
        read(&script.sql, &mut needs);
    }
    let row = (&mut *conn)
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(query(&needs))))
        .await?;
    let lacks: Vec<Lack> = serde_json::from_str(&row.try_get::<String, _>(0)?)?;
    if lacks.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = lacks
        .iter()
        .map(|lack| format!("\n  {}", lack.what))
        .collect();
    let mut grants: Vec<&str> = lacks.iter().map(|lack| lack.grant.as_str()).collect();
    grants.dedup();
    let grants: Vec<String> = grants.iter().map(|grant| format!("\n  {grant};")).collect();
    fail(
        Code::Privilege,
        format!(
            "user `{}` lacks what these migrations need; nothing was changed:{}",
            state.user,
            list.concat()
        ),
        format!("as an administrator of that database:{}", grants.concat()),
    )
}

fn query(needs: &Needs) -> String {
    let list = |values: &mut dyn Iterator<Item = String>| {
        let values: Vec<String> = values
            .map(|value| Literal::new(value).to_string())
            .collect();
        format!("array[{}]::text[]", values.join(", "))
    };
    let altered = needs
        .tables
        .iter()
        .filter(|(table, _)| !needs.made.contains(table));
    LACKING
        .replace(
            ":may_create_roles",
            if needs.may_create_roles {
                "true"
            } else {
                "false"
            },
        )
        .replace(":roles", &list(&mut needs.roles.iter().cloned()))
        .replace(
            ":creates_roles",
            if needs.creates_roles { "true" } else { "false" },
        )
        .replace(
            ":creates_schemas",
            if needs.creates_schemas {
                "true"
            } else {
                "false"
            },
        )
        .replace(
            ":tables",
            &list(&mut altered.clone().map(|(table, _)| table.clone())),
        )
        .replace(":actors", &list(&mut altered.map(|(_, role)| role.clone())))
}

/// Reads what a script asks for. Bodies in quotes are not looked into.
fn read(sql: &str, needs: &mut Needs) {
    let mut role = String::new();
    for range in lex::statements(sql) {
        let statement = &sql[range];
        let words: Vec<&str> = lex::tokens(statement)
            .into_iter()
            .map(|(word, _)| word)
            .collect();
        let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
        let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
        match lower.as_slice() {
            ["set", "role", ..] => role = acting(&words, 2, needs),
            ["set", "local" | "session", "role", ..] => role = acting(&words, 3, needs),
            ["reset", "role" | "all", ..] => role.clear(),
            ["create", "role" | "user" | "group", ..] => needs.creates_roles = true,
            ["do", ..] => {
                needs.may_create_roles |= lower.iter().any(|word| word.contains("create role"));
            }
            ["create", "schema", ..] => needs.creates_schemas = true,
            ["create", "table", rest @ ..] => {
                let skip = if rest.first() == Some(&"if") { 5 } else { 2 };
                needs.made.extend(name(&words, skip));
            }
            ["alter", "table", "if", "exists", ..] => altered(&words, 4, &role, needs),
            ["alter", "table", "only", ..] => altered(&words, 3, &role, needs),
            ["alter", "table", ..] | ["drop", "table", ..] if lower.get(2) != Some(&"if") => {
                altered(&words, 2, &role, needs);
            }
            ["create" | "drop" | "alter", "policy" | "trigger", ..] => {
                let on = lower.iter().position(|word| *word == "on");
                altered(&words, on.map_or(words.len(), |on| on + 1), &role, needs);
            }
            _ => {}
        }
    }
}

fn acting(words: &[&str], at: usize, needs: &mut Needs) -> String {
    let Some(role) = words.get(at).map(|word| unquoted(word)) else {
        return String::new();
    };
    if role == "none" {
        return String::new();
    }
    needs.roles.insert(role.clone());
    role
}

fn altered(words: &[&str], at: usize, role: &str, needs: &mut Needs) {
    if let Some(table) = name(words, at) {
        needs.tables.insert((table, role.to_owned()));
    }
}

/// The name at this word, qualified or not, as SQL writes it.
fn name(words: &[&str], at: usize) -> Option<String> {
    let first = words.get(at)?;
    match (words.get(at + 1), words.get(at + 2)) {
        (Some(&"."), Some(second)) => Some(format!(
            "{}.{}",
            plain(&unquoted(first)),
            plain(&unquoted(second))
        )),
        _ => Some(plain(&unquoted(first))),
    }
}

/// As the catalogue stores it.
fn unquoted(word: &str) -> String {
    match word.strip_prefix(['"', '\'']) {
        Some(inside) => inside.trim_end_matches(['"', '\'']).replace("\"\"", "\""),
        None => word.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_asks_for_is_read_from_its_text() {
        let mut needs = Needs::default();
        read(
            "set local role kine_owner; create table public.a (); alter table public.a add b int; \
             alter table \"Odd\".\"T\" add c int; reset role; create role x; drop policy p on public.b; \
             do $$ begin alter table hidden add d int; end $$",
            &mut needs,
        );
        assert!(needs.creates_roles && !needs.creates_schemas);
        assert_eq!(needs.roles, BTreeSet::from(["kine_owner".to_owned()]));
        let text = query(&needs);
        assert!(
            text.contains("array['\"Odd\".\"T\"', 'public.b']"),
            "{text}"
        );
        assert!(text.contains("array['kine_owner', '']"), "{text}");
    }
}
