//! Squawk's rules on DDL that blocks a running application, and on what cannot
//! run in the transaction that the engine opens. Its rules of taste are left out,
//! and so are those that ask for `if not exists`, which hides drift.

use squawk_linter::{Linter, Rule};
use squawk_syntax::SourceFile;

use super::{Finding, Weight};
use crate::migrate::lex;

const TAKEN: &[Rule] = &[
    Rule::RequireConcurrentIndexCreation,
    Rule::RequireConcurrentIndexDeletion,
    Rule::RequireConcurrentReindex,
    Rule::RequireConcurrentPartitionDetach,
    Rule::ConstraintMissingNotValid,
    Rule::AddingFieldWithDefault,
    Rule::AddingForeignKeyConstraint,
    Rule::AddingNotNullableField,
    Rule::AddingRequiredField,
    Rule::AddingSerialPrimaryKeyField,
    Rule::ChangingColumnType,
    Rule::DisallowedUniqueConstraint,
    Rule::RenamingColumn,
    Rule::RenamingTable,
    Rule::BanDropDatabase,
    Rule::BanDropColumn,
    Rule::BanDropTable,
    Rule::BanTruncateCascade,
    Rule::BanCharField,
    Rule::BanDuplicateColumnAssignments,
    Rule::PreferTimestampTz,
    Rule::IdentifierTooLong,
];

pub(super) fn names() -> Vec<String> {
    let mut names: Vec<String> = TAKEN.iter().map(ToString::to_string).collect();
    names.push(SYNTAX.to_owned());
    if !names.contains(&IN_TRANSACTION.to_string()) {
        names.push(IN_TRANSACTION.to_string());
    }
    names
}

const IN_TRANSACTION: Rule = Rule::BanConcurrentIndexCreationInTransaction;
const SYNTAX: &str = "syntax";

pub(super) fn up(file: &str, sql: &str) -> Vec<Finding> {
    let parsed = SourceFile::parse(sql);
    let alone = lex::directive(sql, "no-transaction").is_some();
    let mut rules = TAKEN.to_vec();
    if !alone {
        rules.push(IN_TRANSACTION);
    }
    let mut linter = Linter::from(rules);
    linter.settings.assume_in_transaction = !alone;
    let at = |offset: usize| lex::line_column_at(sql, offset).0;
    let mut found: Vec<Finding> = linter
        .lint(&parsed, sql)
        .into_iter()
        .map(|one| {
            let start = usize::from(one.text_range.start());
            let destroys = matches!(one.code, Rule::BanDropColumn | Rule::BanDropTable);
            let taste = matches!(one.code, Rule::PreferTimestampTz | Rule::BanCharField);
            Finding {
                rule: one.code.to_string(),
                weight: if destroys || taste {
                    Weight::Warning
                } else {
                    Weight::Error
                },
                file: file.to_owned(),
                line: at(start),
                title: first_sentence(&one.message),
                why: one.message.trim().to_owned(),
                fix: one.help.unwrap_or_else(|| safe_form(one.code).to_owned()),
            }
        })
        .collect();
    // One error makes others: the first of a statement is told.
    let mut statement = None;
    let first = parsed.errors().into_iter().filter(|error| {
        let of = lex::statement_at(sql, usize::from(error.range().start()));
        let fresh = of.is_none() || of != statement;
        statement = of;
        fresh
    });
    found.extend(first.map(|error| Finding {
        rule: SYNTAX.to_owned(),
        // PostgreSQL has the last word: the scratch database runs it.
        weight: Weight::Warning,
        file: file.to_owned(),
        line: at(usize::from(error.range().start())),
        title: format!("this does not read as SQL: {}", error.message()),
        why: "what cannot be read cannot be checked by the other rules".to_owned(),
        fix: "correct it, or allow it where PostgreSQL takes it".to_owned(),
    }));
    found
}

fn first_sentence(text: &str) -> String {
    let text = text.trim();
    text.split_once(". ")
        .map_or(text, |(first, _)| first)
        .trim_end_matches('.')
        .to_owned()
}

/// Where squawk names no repair.
fn safe_form(rule: Rule) -> &'static str {
    match rule {
        Rule::RequireConcurrentIndexCreation | Rule::RequireConcurrentIndexDeletion => {
            "write `concurrently`, alone in a migration that begins with `-- kinedb: no-transaction`"
        }
        Rule::AddingForeignKeyConstraint | Rule::ConstraintMissingNotValid => {
            "add it `not valid`, and `validate constraint` in the next migration"
        }
        Rule::DisallowedUniqueConstraint | Rule::AddingSerialPrimaryKeyField => {
            "build the index concurrently, then `add constraint .. using index`"
        }
        Rule::AddingNotNullableField | Rule::AddingRequiredField => {
            "add the column with a constant default, or nullable, fill it tenant by tenant, then add a `check (.. is not null) not valid`"
        }
        Rule::BanDropColumn | Rule::BanDropTable => {
            "stop using it in one release, drop it in the next, and say so in an allow comment"
        }
        _ => "see the reason",
    }
}
