//! Comments that allow a rule to be broken, each with a reason.

use std::collections::BTreeSet;

use super::{Finding, Rule, Weight};
use crate::migrate::lex;

const MARK: &str = "kinedb: allow";

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "allow-without-reason",
        weight: Weight::Error,
        title: "a rule is allowed to be broken without a reason",
        why: "the next reader cannot know whether the reason still holds",
        fix: "write `-- kinedb: allow RULE: REASON`",
    },
    Rule {
        id: "allow-unknown",
        weight: Weight::Error,
        title: "a rule is allowed to be broken that does not exist",
        why: "a misspelt name allows nothing",
        fix: "`kinedb check --list` shows the names",
    },
    Rule {
        id: "allow-unused",
        weight: Weight::Warning,
        title: "a rule is allowed to be broken that nothing breaks",
        why: "it would hide the next mistake in the same statement",
        fix: "remove the comment",
    },
];

/// One comment: what it allows, and in which lines.
struct Allowed {
    rule: String,
    reason: String,
    line: usize,
    /// First and last line of its statement.
    lines: (usize, usize),
}

/// Takes out what a comment allows, adds what is wrong with comments.
pub(super) fn apply(
    file: &str,
    sql: &str,
    mut found: Vec<Finding>,
    known: &BTreeSet<String>,
) -> Vec<Finding> {
    let mut wrong = Vec::new();
    for one in allowed(sql) {
        let (id, what) = if !known.contains(&one.rule) {
            ("allow-unknown", format!("there is no rule `{}`", one.rule))
        } else if one.reason.len() < 8 {
            (
                "allow-without-reason",
                format!("`{}` is allowed without a reason", one.rule),
            )
        } else {
            let before = found.len();
            found.retain(|finding| {
                finding.rule != one.rule || finding.line < one.lines.0 || finding.line > one.lines.1
            });
            if found.len() < before {
                continue;
            }
            (
                "allow-unused",
                format!("`{}` is allowed, and nothing breaks it here", one.rule),
            )
        };
        if let Some(rule) = RULES.iter().find(|rule| rule.id == id) {
            wrong.push(Finding {
                rule: rule.id.to_owned(),
                weight: rule.weight,
                file: file.to_owned(),
                line: one.line,
                title: what,
                why: rule.why.to_owned(),
                fix: rule.fix.to_owned(),
            });
        }
    }
    found.extend(wrong);
    found
}

fn allowed(sql: &str) -> Vec<Allowed> {
    let statements: Vec<(usize, usize)> = lex::statements(sql)
        .into_iter()
        .map(|range| {
            (
                lex::line_column_at(sql, range.start).0,
                lex::line_column_at(sql, range.end).0,
            )
        })
        .collect();
    let mut all = Vec::new();
    for (at, text) in sql.lines().enumerate() {
        let line = at + 1;
        let Some((_, rest)) = text
            .split_once("--")
            .and_then(|(_, comment)| comment.trim_start().split_once(MARK))
        else {
            continue;
        };
        let (rule, reason) = rest.split_once(':').unwrap_or((rest, ""));
        // The statement that it stands in, or the next one.
        let Some(&(first, last)) = statements.iter().find(|(_, last)| *last >= line) else {
            continue;
        };
        all.push(Allowed {
            rule: rule.trim().to_owned(),
            reason: reason.trim().to_owned(),
            line,
            lines: (first.min(line), last),
        });
    }
    all
}
