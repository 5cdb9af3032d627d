//! Queries in the text of a function, as far as equalities say which rows they find: what
//! nothing from outside of the query determines is found by what any tenant may hold.

use std::collections::HashSet;

use super::body::Dictionary;
use super::brackets::{closing, items, keyword, outside};
use super::lexer::{Token, split, strip};
use crate::verify::model::Oid;

/// What is known of the columns of relations.
pub(crate) trait Columns {
    /// The relation has this column.
    fn has(&self, relation: Oid, column: &str) -> bool;
    /// It refers to a row, or is what others refer to: a value of it is one row's.
    fn names_row(&self, relation: Oid, column: &str) -> bool;
}

/// A table of a query, by the name it has there.
pub(super) struct Source<'a> {
    pub(super) alias: &'a str,
    pub(super) relation: Oid,
}

/// A side of an equality.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Side<'a> {
    /// A column of a table of the query, by its alias.
    Column(&'a str, &'a str),
    Outside,
}

/// What names in a query mean.
pub(super) struct Look<'a> {
    pub(super) names: &'a Dictionary,
    pub(super) columns: &'a dyn Columns,
}

/// A query: what it selects, and what is determined of the rows it finds.
pub(super) struct Query<'a> {
    pub(super) items: Vec<&'a [Token]>,
    pub(super) sources: Vec<Source<'a>>,
    pub(super) columns: HashSet<(&'a str, &'a str)>,
    pub(super) rows: HashSet<&'a str>,
}

impl<'a> Query<'a> {
    /// A query over tables alone; of another nothing is told.
    pub(super) fn read(look: &Look<'_>, tokens: &'a [Token]) -> Option<Self> {
        let from = keyword(tokens, &["from"])?;
        let first = 1 + usize::from(tokens.get(1).is_some_and(|t| t.is_word("distinct")));
        let ends = ["group", "order", "limit", "union", "having", "for"];
        let end = keyword(tokens, &ends).unwrap_or(tokens.len());
        let rest = tokens.get(from..end)?;
        if rest.iter().any(|t| t.is_word("natural")) {
            return None;
        }
        let mut query = Self {
            items: items(tokens.get(first..from)?),
            sources: Vec::new(),
            columns: HashSet::new(),
            rows: HashSet::new(),
        };
        let filter = keyword(rest, &["where"]).unwrap_or(rest.len());
        let mut depth = 0;
        for at in 0..filter {
            depth += rest[at].nesting();
            let begins = ["from", "join"].iter().any(|word| rest[at].is_word(word));
            if depth != 0 || !(begins || rest[at].is(",")) {
                continue;
            }
            let (schema, name, length) = qualified(&rest[at + 1..])?;
            let after = &rest[at + 1 + length..];
            let skip = usize::from(after.first().is_some_and(|t| t.is_word("as")));
            let alias = after.get(skip).and_then(Token::name).filter(|word| {
                ![
                    "on", "join", "where", "left", "right", "inner", "cross", "full", "using",
                ]
                .contains(word)
            });
            query.sources.push(Source {
                alias: alias.unwrap_or(name),
                relation: *Dictionary::find(&look.names.relations, schema, name).first()?,
            });
        }
        query.settle(look, rest);
        Some(query)
    }

    /// Follows the equalities from what stands outside.
    fn settle(&mut self, look: &Look<'_>, rest: &'a [Token]) {
        let mut pairs = Vec::new();
        let words = [
            "on", "where", "join", "left", "right", "inner", "cross", "full",
        ];
        for part in clauses(rest, &words) {
            for part in split(strip(part), "and") {
                let part = strip(part);
                if split(part, "or").len() > 1 || part.first().is_some_and(|t| t.is_word("not")) {
                    continue;
                }
                let Some(at) = part.iter().position(|t| t.is("=") || t.is_word("in")) else {
                    continue;
                };
                pairs.push((
                    self.side(look, &part[..at]),
                    self.side(look, &part[at + 1..]),
                ));
            }
        }
        // `join x using (a, b)`: of all tables that have it.
        for (at, _) in rest.iter().enumerate().filter(|(_, t)| t.is_word("using")) {
            let Some(close) = closing(rest, at + 1) else {
                continue;
            };
            for column in rest[at + 2..close].iter().filter_map(Token::name) {
                for (one, other) in self.sources.iter().zip(self.sources.iter().skip(1)) {
                    pairs.push((
                        Side::Column(one.alias, column),
                        Side::Column(other.alias, column),
                    ));
                }
            }
        }
        loop {
            let before = (self.columns.len(), self.rows.len());
            for (one, other) in &pairs {
                for (from, to) in [(one, other), (other, one)] {
                    let Side::Column(alias, column) = *to else {
                        continue;
                    };
                    if !self.known(from) {
                        continue;
                    }
                    self.columns.insert((alias, column));
                    let source = self.sources.iter().find(|source| source.alias == alias);
                    if source.is_some_and(|s| look.columns.names_row(s.relation, column)) {
                        self.rows.insert(alias);
                    }
                }
            }
            if before == (self.columns.len(), self.rows.len()) {
                break;
            }
        }
    }

    fn known(&self, side: &Side<'_>) -> bool {
        match side {
            Side::Outside => true,
            Side::Column(alias, column) => {
                self.rows.contains(alias) || self.columns.contains(&(*alias, *column))
            }
        }
    }

    /// What a side of a comparison names.
    fn side(&self, look: &Look<'_>, tokens: &'a [Token]) -> Side<'a> {
        let cast = outside(tokens, |token| token.is("::"));
        let bare = cast.map_or(tokens, |cast| &tokens[..cast]);
        let (alias, column) = match strip(bare) {
            [alias, dot, column] if dot.is(".") => (alias.name(), column.name()),
            [column] => (None, column.name()),
            _ => return Side::Outside,
        };
        let Some(column) = column else {
            return Side::Outside;
        };
        let source = self.sources.iter().find(|source| match alias {
            Some(alias) => source.alias == alias,
            None => look.columns.has(source.relation, column),
        });
        source.map_or(Side::Outside, |source| Side::Column(source.alias, column))
    }

    /// The table that a selected column comes from, where nothing determines it.
    pub(super) fn loose(&self, look: &Look<'_>, item: &'a [Token]) -> Option<Oid> {
        // `m.org_id as org`
        let item = match item {
            [item @ .., word, _] if word.is_word("as") => item,
            item => item,
        };
        if !(item.len() == 1 || item.len() == 3) {
            return None;
        }
        let side = self.side(look, item);
        let Side::Column(alias, _) = side else {
            return None;
        };
        let source = self.sources.iter().find(|source| source.alias == alias)?;
        (!self.known(&side)).then_some(source.relation)
    }
}

/// Without the brackets that PostgreSQL prints around joins: `from (a join b on ..)`.
pub(super) fn unbracketed(tokens: Vec<Token>) -> Vec<Token> {
    let mut all = Vec::with_capacity(tokens.len());
    let mut dropped = Vec::new(); // per open bracket
    for (at, token) in tokens.iter().enumerate() {
        if token.is("(") {
            let joins = match at.checked_sub(1).map(|before| &tokens[before]) {
                Some(before) if before.is("(") => dropped.last() == Some(&true),
                Some(before) => ["from", "join"].iter().any(|word| before.is_word(word)),
                None => false,
            };
            let selects = tokens
                .get(at + 1)
                .is_some_and(|next| next.is_word("select"));
            dropped.push(joins && !selects);
            if joins && !selects {
                continue;
            }
        } else if token.is(")") && dropped.pop() == Some(true) {
            continue;
        }
        all.push(token.clone());
    }
    all
}

/// A name with or without a schema, and how many tokens it takes.
pub(super) fn qualified(tokens: &[Token]) -> Option<(Option<&str>, &str, usize)> {
    let first = tokens.first()?.name()?;
    match (tokens.get(1), tokens.get(2).and_then(Token::name)) {
        (Some(dot), Some(second)) if dot.is(".") => Some((Some(first), second, 3)),
        _ => Some((None, first, 1)),
    }
}

/// Splits at these keywords, but for those of queries within.
fn clauses<'a>(tokens: &'a [Token], words: &[&str]) -> Vec<&'a [Token]> {
    let mut within = Vec::new(); // per open bracket: it holds a query
    let ends: Vec<bool> = tokens
        .iter()
        .enumerate()
        .map(|(at, token)| {
            if token.is("(") {
                within.push(
                    tokens
                        .get(at + 1)
                        .is_some_and(|next| next.is_word("select")),
                );
            } else if token.is(")") {
                within.pop();
            }
            !within.contains(&true) && words.iter().any(|word| token.is_word(word))
        })
        .collect();
    let mut places = ends.into_iter();
    tokens.split(|_| places.next().unwrap_or(false)).collect()
}
