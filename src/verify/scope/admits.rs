//! Alternatives in the conditions of a function's statements that find rows by what they
//! hold alone, beside one that asks for the session: `update jobs .. where id = j and
//! (org = my_org() or locked_by is not null)`. Where no policy binds the function's owner,
//! that one alternative finds rows of every tenant.
//!
//! Told is an alternative of columns and literals only: what an argument decides, such as
//! the token of an invitation, may be right.

use std::collections::BTreeSet;

use super::body::Dictionary;
use super::brackets::{keyword, outside};
use super::lexer::{Token, split, strip, tokens};
use super::predicate::render;
use super::query::{Columns, qualified, unbracketed};
use crate::verify::model::{Admit, Oid};

/// What conditions are read with.
pub(super) struct Look<'a> {
    pub(super) names: &'a Dictionary,
    pub(super) columns: &'a dyn Columns,
    /// Whether a place of the tokens asks for the session.
    pub(super) ties: &'a dyn Fn(&[Token], usize) -> bool,
}

/// A table of the statement, by the name it has there.
struct Source<'t> {
    alias: &'t str,
    relation: Oid,
}

/// Words of a condition that name nothing.
const WORDS: [&str; 18] = [
    "and", "or", "not", "is", "null", "true", "false", "in", "any", "all", "array", "like",
    "ilike", "similar", "to", "distinct", "from", "between",
];
/// What ends a condition.
const ENDS: [&str; 16] = [
    "group",
    "order",
    "limit",
    "having",
    "window",
    "offset",
    "fetch",
    "for",
    "loop",
    "returning",
    "union",
    "intersect",
    "except",
    "then",
    "into",
    "where",
];

/// The alternatives of a text, and of the commands that it holds as literals.
pub(super) fn read(text: &str, look: &Look<'_>) -> Vec<Admit> {
    let mut found = Vec::new();
    statements(&unbracketed(tokens(text)), look, &mut found);
    found
}

fn statements(all: &[Token], look: &Look<'_>, found: &mut Vec<Admit>) {
    for (at, token) in all.iter().enumerate() {
        if let Token::Text(text) = token {
            let inner = unbracketed(tokens(text));
            let command = ["select", "with", "update", "delete"];
            let first = inner.first();
            if first.is_some_and(|first| command.iter().any(|word| first.is_word(word))) {
                statements(&inner, look, found);
            }
        }
        if !token.is_word("where") {
            continue;
        }
        let sources = sources(before(&all[..at]), look);
        let rest = &all[at + 1..];
        let mut depth = 0;
        let end = rest.iter().position(|token| {
            depth += token.nesting();
            depth < 0 || token.is(";") || depth == 0 && ENDS.iter().any(|word| token.is_word(word))
        });
        let mut arms = Vec::new();
        alternatives(&rest[..end.unwrap_or(rest.len())], look, &mut arms);
        for arm in arms {
            found.extend(admit(arm, &sources, look).filter(|one| !found.contains(one)));
        }
    }
}

/// What stands before a place in the same statement and bracket.
fn before(all: &[Token]) -> &[Token] {
    let mut depth = 0;
    let start = all.iter().rposition(|token| {
        depth -= token.nesting();
        depth < 0 || token.is(";")
    });
    &all[start.map_or(0, |start| start + 1)..]
}

/// The tables of a statement, as far as its text before the condition names them.
fn sources<'t>(head: &'t [Token], look: &Look<'_>) -> Vec<Source<'t>> {
    let mut list = Vec::new();
    let mut depth = 0;
    let from = keyword(head, &["from"]).unwrap_or(head.len());
    for (at, token) in head.iter().enumerate() {
        depth += token.nesting();
        let begins = ["from", "join", "update", "using"]
            .iter()
            .any(|word| token.is_word(word));
        if depth != 0 || !(begins || token.is(",") && at > from) {
            continue;
        }
        let Some((schema, name, length)) = qualified(&head[at + 1..]) else {
            continue;
        };
        let Some(relation) = Dictionary::find(&look.names.relations, schema, name)
            .first()
            .copied()
        else {
            continue;
        };
        let after = &head[at + 1 + length..];
        let skip = usize::from(after.first().is_some_and(|next| next.is_word("as")));
        let alias = after.get(skip).and_then(Token::name).filter(|word| {
            let others = [
                "set", "on", "join", "left", "right", "inner", "cross", "full", "using", "natural",
                "where",
            ];
            !others.contains(word)
        });
        list.push(Source {
            alias: alias.unwrap_or(name),
            relation,
        });
    }
    list
}

/// Alternatives that nothing ties, beside one that is tied.
fn alternatives<'t>(condition: &'t [Token], look: &Look<'_>, found: &mut Vec<&'t [Token]>) {
    let tied = |part: &[Token]| (0..part.len()).any(|at| (look.ties)(part, at));
    let condition = strip(condition);
    let branches = split(condition, "or");
    if branches.len() > 1 {
        let (held, loose): (Vec<_>, Vec<_>) = branches.into_iter().partition(|one| tied(one));
        if !held.is_empty() {
            found.extend(loose);
        }
        for branch in held {
            alternatives(branch, look, found);
        }
        return;
    }
    let parts = split(condition, "and");
    if parts.len() < 2 || outside(condition, |token| token.is_word("between")).is_some() {
        return;
    }
    let mut inner = Vec::new();
    for part in parts {
        let before = inner.len();
        alternatives(part, look, &mut inner);
        if tied(part) && inner.len() == before {
            return; // this part alone holds the rest
        }
    }
    found.extend(inner);
}

/// An alternative of columns and literals, and whose columns these are.
fn admit(arm: &[Token], sources: &[Source<'_>], look: &Look<'_>) -> Option<Admit> {
    let mut columns = BTreeSet::new();
    let mut relations = BTreeSet::new();
    let mut at = 0;
    while let Some(token) = arm.get(at) {
        at += 1;
        let Some(name) = token.name() else {
            // The name of a type tells nothing.
            while token.is("::")
                && arm.get(at).is_some_and(|next| {
                    next.is(".") || next.name().is_some_and(|name| !WORDS.contains(&name))
                })
            {
                at += 1;
            }
            continue;
        };
        if WORDS.contains(&name) || arm.get(at).is_some_and(|next| next.is("(")) {
            continue;
        }
        let dotted = arm.get(at).is_some_and(|next| next.is("."));
        let column = if dotted {
            arm.get(at + 1)?.name()?
        } else {
            name
        };
        at += if dotted { 2 } else { 0 };
        let source = sources.iter().find(|source| {
            (!dotted || source.alias == name) && look.columns.has(source.relation, column)
        })?;
        columns.insert(column.to_owned());
        relations.insert(source.relation);
    }
    let missing = matches!(strip(arm), [.., is, null] if is.is_word("is") && null.is_word("null"));
    (!columns.is_empty()).then(|| Admit {
        relations: relations.into_iter().collect(),
        columns: columns.into_iter().collect(),
        missing,
        text: render(arm),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Columns for Known {
        fn has(&self, _: Oid, column: &str) -> bool {
            ["id", "org", "kind", "locked"].contains(&column)
        }

        fn names_row(&self, _: Oid, column: &str) -> bool {
            column == "id"
        }
    }

    fn found(text: &str) -> Vec<String> {
        let mut names = Dictionary::default();
        names
            .relations
            .insert("job".to_owned(), vec![("a".to_owned(), 1)]);
        let look = Look {
            names: &names,
            columns: &Known,
            ties: &|tokens, at| tokens[at].is_word("mine"),
        };
        read(text, &look).into_iter().map(|one| one.text).collect()
    }

    #[test]
    fn one_alternative_finds_rows_by_what_they_hold() {
        for (text, admits) in [
            (
                "update a.job set done = true where id = j and (org = mine() or locked is not null)",
                "locked is not null",
            ),
            (
                "update job j set locked = w where j.id = (select q.id from job q where q.kind <> 'x' and (q.org = mine() or q.kind = 'sweep'::text) limit 1) returning j.id",
                "q.kind = 'sweep'::text",
            ),
            (
                "begin execute 'select locked from a.job where id = $1 and org = mine() or kind = ''open''' into v using p; end",
                "kind = 'open'",
            ),
            (
                "begin delete from job where locked < before and (org = mine() or kind is null); end",
                "kind is null",
            ),
        ] {
            assert_eq!(found(text), [admits], "{text}");
        }
    }

    #[test]
    fn what_is_held_or_decided_by_an_argument_is_left_alone() {
        for text in [
            "select id from job where org = mine() and (kind = 'a' or kind = 'b')",
            "select id from job where org = mine() or locked = p_token",
            "select id from job where (p is null or kind = p) and org = mine()",
            "select id from job where kind = 'a' or kind = 'b'",
            "select id from job where org = mine() or exists (select from share s where s.job = id)",
            "select id from other where org = mine() or kind = 'a'",
            "select id from job where org between mine() and 5 or false",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(select |from |job |where |or |and |\\(|\\)|mine |id|\\.|::|x |;|= |'a'){0,24}") {
            let _ = found(&text);
        }
    }
}
