//! Statements that PostgreSQL refuses inside a transaction, and what they left
//! when they were interrupted.
//!
//! Everything else runs in a transaction together with its record, so only these
//! few have a state that must be looked at: an index may be there and invalid, a
//! partition may be half detached.

use std::ops::Range;

use crate::migrate::lex;

/// A statement of a migration outside a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `create index concurrently`.
    CreateIndex(CreateIndex),
    /// `drop index concurrently`: the index as SQL names it.
    DropIndex {
        /// The index as SQL names it.
        index: String,
    },
    /// `alter table .. detach partition .. concurrently`.
    Detach {
        /// The parent as SQL names it.
        parent: String,
        /// The partition as SQL names it.
        partition: String,
    },
    /// Safe to run again, but not inside a transaction: reindex concurrently, vacuum, alter system.
    Repeatable,
    /// `set`, `reset`: sent again at every resumption, never recorded.
    Setting,
    /// Runs in a transaction together with the record that it is done.
    InTransaction,
}

/// The parts of a `create index concurrently` that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateIndex {
    /// The index as SQL names it, without a schema: it lives in its table's.
    pub index: String,
    /// The table as SQL names it.
    pub table: String,
    /// `if not exists` was written.
    pub if_not_exists: bool,
    unique: bool,
    /// What follows the table.
    rest: String,
}

impl CreateIndex {
    /// The same index on another table.
    pub fn on(&self, table: &str, index: &str) -> String {
        let unique = if self.unique { "unique " } else { "" };
        format!("create {unique}index {index} on {table} {}", self.rest)
    }

    /// The statement itself, without `if not exists`, which would take an invalid
    /// index for a good one.
    pub fn create(&self) -> String {
        let unique = if self.unique { "unique " } else { "" };
        format!(
            "create {unique}index concurrently {} on {} {}",
            self.index, self.table, self.rest
        )
    }
}

/// What a statement is.
pub fn kind(statement: &str) -> Kind {
    let tokens = lex::tokens(statement);
    let lower: Vec<String> = tokens
        .iter()
        .map(|(word, _)| word.to_ascii_lowercase())
        .collect();
    let words: Vec<&str> = lower.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["create", "index", "concurrently", ..] => {
            create_index(statement, &tokens, &words, 3, false)
        }
        ["create", "unique", "index", "concurrently", ..] => {
            create_index(statement, &tokens, &words, 4, true)
        }
        ["drop", "index", "concurrently", rest @ ..] => {
            let skip = if rest.first() == Some(&"if") { 5 } else { 3 };
            Kind::DropIndex {
                index: qualified(&tokens, skip).0,
            }
        }
        ["alter", "table", rest @ ..]
            if rest.contains(&"detach") && rest.contains(&"concurrently") =>
        {
            let skip = if rest.first() == Some(&"if") { 4 } else { 2 };
            let (parent, after) = qualified(&tokens, skip);
            let (partition, _) = qualified(&tokens, after + 2);
            Kind::Detach { parent, partition }
        }
        ["reindex", rest @ ..]
            if ["concurrently", "schema", "database", "system"]
                .iter()
                .any(|word| rest.contains(word)) =>
        {
            Kind::Repeatable
        }
        // Without a table it is all of them, one after the other.
        ["vacuum", ..] | ["cluster"] | ["alter", "system", ..] => Kind::Repeatable,
        ["set" | "reset", ..] => Kind::Setting,
        _ => Kind::InTransaction,
    }
}

/// `create index concurrently` without a name: PostgreSQL makes one up, and nothing
/// could be found again.
pub fn is_unnamed_index(statement: &str) -> bool {
    let tokens = lex::tokens(statement);
    let words: Vec<String> = tokens
        .iter()
        .take(5)
        .map(|(word, _)| word.to_ascii_lowercase())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    matches!(
        words.as_slice(),
        ["create", "index", "concurrently", "on", ..]
            | ["create", "unique", "index", "concurrently", "on"]
    )
}

type Token<'a> = (&'a str, Range<usize>);

fn create_index(
    statement: &str,
    tokens: &[Token<'_>],
    words: &[&str],
    mut at: usize,
    unique: bool,
) -> Kind {
    let if_not_exists = words.get(at) == Some(&"if");
    if if_not_exists {
        at += 3;
    }
    // Without a name PostgreSQL makes one up, and nothing could be found again.
    if words.get(at) == Some(&"on") {
        return Kind::InTransaction;
    }
    let (index, after) = qualified(tokens, at);
    let mut table_at = after + 1;
    if words.get(table_at) == Some(&"only") {
        table_at += 1;
    }
    let (table, after) = qualified(tokens, table_at);
    let rest = tokens
        .get(after)
        .and_then(|(_, range)| statement.get(range.start..))
        .unwrap_or_default();
    Kind::CreateIndex(CreateIndex {
        index,
        table,
        if_not_exists,
        unique,
        rest: rest.trim().to_owned(),
    })
}

/// The name at this token as SQL writes it, and the token after it.
fn qualified(tokens: &[Token<'_>], at: usize) -> (String, usize) {
    let word = |at: usize| tokens.get(at).map_or("", |(word, _)| *word);
    if word(at + 1) == "." {
        (format!("{}.{}", word(at), word(at + 2)), at + 3)
    } else {
        (word(at).to_owned(), at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_taken_apart_and_put_together() {
        let Kind::CreateIndex(index) = kind(
            "create unique index concurrently if not exists \"By Name\" on only public.\"T\" using btree (a, lower(b)) where c > 0",
        ) else {
            panic!("not seen");
        };
        assert!(index.if_not_exists);
        assert_eq!(
            (index.index.as_str(), index.table.as_str()),
            ("\"By Name\"", "public.\"T\"")
        );
        assert_eq!(
            index.on("pg_temp.x", "y"),
            "create unique index y on pg_temp.x using btree (a, lower(b)) where c > 0"
        );
        assert_eq!(
            index.create(),
            "create unique index concurrently \"By Name\" on public.\"T\" using btree (a, lower(b)) where c > 0"
        );
    }

    #[test]
    fn the_other_kinds_are_told_apart() {
        assert_eq!(
            kind("DROP INDEX CONCURRENTLY IF EXISTS public.i"),
            Kind::DropIndex {
                index: "public.i".to_owned()
            }
        );
        let detach = Kind::Detach {
            parent: "public.p".to_owned(),
            partition: "p_1".to_owned(),
        };
        assert_eq!(
            kind("alter table public.p detach partition p_1 concurrently"),
            detach
        );
        assert_eq!(
            kind("alter table p validate constraint c"),
            Kind::InTransaction
        );
        assert_eq!(kind("create index on t (a)"), Kind::InTransaction);
        assert_eq!(kind("set role kine_owner"), Kind::Setting);
        for again in [
            "vacuum (analyze) t",
            "reindex (verbose) index concurrently i",
            "reindex schema public",
            "cluster",
            "alter system set work_mem = '64MB'",
        ] {
            assert_eq!(kind(again), Kind::Repeatable, "{again}");
        }
        assert_eq!(kind("reindex table t"), Kind::InTransaction);
        assert_eq!(kind("cluster t"), Kind::InTransaction);
    }
}
