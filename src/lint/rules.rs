//! Our own rules: what opens the rows of one tenant to another.

use std::collections::BTreeSet;

use super::keys::keys;
use super::own::RULES;
use super::text::{Statement, statements};
use super::{Finding, Settings};
use crate::migrate::lex;

/// Collects findings of one file.
pub(super) struct Found<'a> {
    file: &'a str,
    sql: &'a str,
    all: Vec<Finding>,
}

impl Found<'_> {
    pub(super) fn add(&mut self, id: &str, statement: &Statement, word: usize, title: String) {
        self.at(id, statement.offset(word), title);
    }

    fn at(&mut self, id: &str, offset: usize, title: String) {
        if let Some(rule) = RULES.iter().find(|rule| rule.id == id) {
            self.all.push(Finding {
                rule: rule.id.to_owned(),
                weight: rule.weight,
                file: self.file.to_owned(),
                line: lex::line_column_at(self.sql, offset).0,
                title,
                why: rule.why.to_owned(),
                fix: rule.fix.to_owned(),
            });
        }
    }
}

pub(super) fn up(file: &str, sql: &str, settings: &Settings) -> Vec<Finding> {
    let mut found = Found {
        file,
        sql,
        all: Vec::new(),
    };
    let statements = statements(sql);
    let named = |words: &[&str]| -> BTreeSet<String> {
        statements
            .iter()
            .filter(|one| one.find(words).is_some())
            .filter_map(altered)
            .collect()
    };
    let enabled = named(&["enable", "row", "level", "security"]);
    let forced = named(&["force", "row", "level", "security"]);
    for one in &statements {
        row_security(one, &forced, &mut found);
        policies(one, &statements, &mut found);
        grants(one, &mut found);
        functions(one, &mut found);
        views(one, &mut found);
        keys(one, settings, &mut found);
        new_table(one, &enabled, settings, &mut found);
        if one.is_at(0, &["create"])
            && let Some(at) = one.find(&["if", "not", "exists"])
        {
            found.add(
                "hidden-drift",
                one,
                at,
                "`if not exists` hides what is there already".to_owned(),
            );
        }
    }
    control(&mut found);
    found.all
}

/// Where dropping is the purpose, only what opens the state before counts.
pub(super) fn down(file: &str, sql: &str, _: &Settings) -> Vec<Finding> {
    let mut found = Found {
        file,
        sql,
        all: Vec::new(),
    };
    control(&mut found);
    found.all
}

fn control(found: &mut Found<'_>) {
    let mut statements = lex::statements(found.sql).into_iter();
    if let Some(range) =
        statements.find(|range| lex::controls_transaction(&found.sql[range.clone()]))
    {
        let word = found.sql[range.clone()]
            .split_whitespace()
            .next()
            .unwrap_or_default();
        let title = format!("`{word}` in a migration");
        found.at("transaction-control", range.start, title);
    }
}

/// The table of `alter table [if exists] [only] T`.
pub(super) fn altered(one: &Statement) -> Option<String> {
    let mut at = one.find(&["alter", "table"])? + 2;
    if one.is_at(at, &["if", "exists"]) {
        at += 2;
    }
    if one.is_at(at, &["only"]) {
        at += 1;
    }
    Some(one.name(at).0)
}

fn row_security(one: &Statement, forced: &BTreeSet<String>, found: &mut Found<'_>) {
    let Some(table) = altered(one) else { return };
    if let Some(at) = one.find(&["disable", "row", "level", "security"]) {
        found.add(
            "rls-disabled",
            one,
            at,
            format!("row security of `{table}` is switched off"),
        );
    }
    if let Some(at) = one.find(&["no", "force", "row", "level", "security"]) {
        found.add(
            "force-missing",
            one,
            at,
            format!("`{table}` no longer binds its owner"),
        );
    } else if let Some(at) = one.find(&["enable", "row", "level", "security"])
        && !forced.contains(&table)
    {
        found.add(
            "force-missing",
            one,
            at,
            format!("row security of `{table}` does not bind its owner"),
        );
    }
}

/// Policy name and table of `create|alter|drop policy P on T`.
fn policy(one: &Statement, verb: &str) -> Option<(String, String)> {
    let mut at = one.find(&[verb, "policy"])? + 2;
    if one.is_at(at, &["if", "exists"]) {
        at += 2;
    }
    let on = one.find_from(at, &["on"])?;
    Some((one.word(at).to_owned(), one.name(on + 1).0))
}

fn policies(one: &Statement, all: &[Statement], found: &mut Found<'_>) {
    if let Some((name, table)) = policy(one, "drop") {
        let replaced = all.iter().any(|other| {
            // What was made before under its name is what is dropped.
            let later = other.offset(0) > one.offset(0);
            policy(other, "create").is_some_and(|(new, on)| on == table && (later || new != name))
                || later
                    && other.is_at(0, &["drop", "table"])
                    && other
                        .find(&[table.rsplit('.').next().unwrap_or(&table)])
                        .is_some()
        });
        if !replaced {
            let at = one.find(&["drop", "policy"]).unwrap_or(0);
            found.add(
                "policy-dropped",
                one,
                at,
                format!("policy `{name}` of `{table}` is dropped and none takes its place"),
            );
        }
    }
    for verb in ["create", "alter"] {
        let Some((name, table)) = policy(one, verb) else {
            continue;
        };
        for clause in [
            &["using", "(", "true", ")"][..],
            &["check", "(", "true", ")"][..],
        ] {
            if let Some(at) = one.find(clause) {
                found.add(
                    "policy-true",
                    one,
                    at,
                    format!("policy `{name}` of `{table}` admits every row"),
                );
                break;
            }
        }
    }
}

fn grants(one: &Statement, found: &mut Found<'_>) {
    if !(one.is_at(0, &["grant"]) || one.find(&["alter", "default", "privileges"]).is_some()) {
        return;
    }
    let Some(grant) = one.find(&["grant"]) else {
        return;
    };
    let Some(to) = one.all(&["to"]).into_iter().rfind(|at| *at > grant) else {
        return;
    };
    if let Some(at) = one.find_from(to, &["public"])
        // `grant .. on schema public to r` names a schema before, a role after `to`.
        && !one.is_at(at + 1, &["."])
    {
        found.add(
            "grant-public",
            one,
            at,
            "a right is granted to everybody".to_owned(),
        );
    }
}

fn functions(one: &Statement, found: &mut Found<'_>) {
    let create = one.is_at(0, &["create", "function"])
        || one.is_at(0, &["create", "procedure"])
        || one.is_at(0, &["create", "or", "replace", "function"])
        || one.is_at(0, &["create", "or", "replace", "procedure"]);
    let alter = one.is_at(0, &["alter", "function"]) || one.is_at(0, &["alter", "procedure"]);
    let Some(at) = one
        .find(&["security", "definer"])
        .filter(|_| create || alter)
    else {
        return;
    };
    if one.find(&["set", "search_path"]).is_none() {
        let name = one.find(&["("]).map_or(0, |open| open - 1);
        let title = format!(
            "`{}` runs with its owner's rights and its caller's search_path",
            one.word(name)
        );
        found.add("definer-search-path", one, at, title);
    }
}

fn views(one: &Statement, found: &mut Found<'_>) {
    let Some(view) = one
        .find(&["view"])
        .filter(|at| one.is_at(0, &["create"]) && *at <= 4)
    else {
        return;
    };
    if one.find(&["materialized"]).is_some_and(|at| at < view) {
        return;
    }
    let mut at = view + 1;
    if one.is_at(at, &["if", "not", "exists"]) {
        at += 3;
    }
    let (name, end) = one.name(at);
    let body = one.find_from(end, &["as"]).unwrap_or(end);
    let invoker = one
        .find_from(end, &["security_invoker"])
        .filter(|at| *at < body)
        .is_some_and(|at| {
            !one.is_at(at + 1, &["="]) || matches!(one.word(at + 2), "true" | "on" | "1" | "yes")
        });
    if !invoker {
        found.add(
            "view-security-invoker",
            one,
            view,
            format!("view `{name}` reads with its owner's rights"),
        );
    }
}

/// The table of `create table T (`, and where its list opens.
pub(super) fn created(one: &Statement) -> Option<(String, usize)> {
    let table = one
        .find(&["table"])
        .filter(|at| one.is_at(0, &["create"]) && *at <= 3)?;
    if (0..table).any(|at| matches!(one.word(at), "temp" | "temporary")) {
        return None;
    }
    let mut at = table + 1;
    if one.is_at(at, &["if", "not", "exists"]) {
        at += 3;
    }
    let (name, end) = one.name(at);
    one.is_at(end, &["("]).then_some((name, end))
}

fn new_table(
    one: &Statement,
    enabled: &BTreeSet<String>,
    settings: &Settings,
    found: &mut Found<'_>,
) {
    let Some((table, open)) = created(one) else {
        return;
    };
    let (items, _) = one.list(open);
    let tenant = items.iter().any(|item| {
        settings
            .tenant_columns
            .iter()
            .any(|column| column == one.word(item.start))
    });
    if tenant && !enabled.contains(&table) && !dynamic(found.sql) {
        found.add(
            "table-without-rls",
            one,
            0,
            format!("`{table}` has a tenant's column and no row security"),
        );
    }
}

/// A block builds statements from names that it looks up: which table they mean
/// cannot be read here.
fn dynamic(sql: &str) -> bool {
    sql.to_lowercase().contains("enable row level security', ")
}
