//! How a predicate finds rows of another table for a row of its own:
//! `exists (select from parent where parent.code = child.code and ..)`.
//!
//! Only what a single sub-select over a single table says, joined by AND; of anything
//! else nothing is told.

use super::brackets::{closing, keyword, outside};
use super::lexer::{Token, split, strip};
use super::predicate::{Names, Own};
use crate::verify::model::Join;

/// The join of an atom with a sub-select.
pub(crate) fn read(tokens: &[Token], own: &Own<'_>, names: &dyn Names) -> Option<Join> {
    let select = |at: usize| {
        tokens[at].is("(")
            && tokens
                .get(at + 1)
                .is_some_and(|token| token.is_word("select"))
    };
    let mut starts = (0..tokens.len()).filter(|at| select(*at));
    let start = starts.next()?;
    if starts.any(|other| table(&tokens[other + 1..]).is_some()) {
        return None;
    }
    let inner = &tokens[start + 1..closing(tokens, start)?];
    let from = keyword(inner, &["from"])?;
    let filter = keyword(inner, &["where"]);
    let ends = ["group", "order", "limit", "union", "having"];
    if keyword(inner, &ends).is_some() {
        return None;
    }
    let (schema, name, alias) = table(inner)?;
    let (relation, _) = names.relation(schema, name)?;
    let sub = Sub { own, alias };
    let mut pairs = Vec::new();
    let mut others = Vec::new();
    if let Some(filter) = filter {
        sub.conditions(&inner[filter + 1..], &mut pairs, &mut others);
    }
    // What is selected is compared with what stands in front.
    if let Some(theirs) = sub.theirs(&inner[1..from])
        && let Some(mine) = sub.compared(&tokens[..start])
    {
        pairs.push((mine, theirs));
    }
    pairs.sort();
    pairs.dedup();
    others.retain(|other| !pairs.iter().any(|(_, theirs)| theirs == other));
    others.sort();
    others.dedup();
    (!pairs.is_empty()).then_some(Join {
        relation,
        pairs,
        others,
    })
}

/// The table that a sub-select reads, where it reads one alone: schema, name, alias.
fn table(inner: &[Token]) -> Option<(Option<&str>, &str, &str)> {
    let from = keyword(inner, &["from"])?;
    let end = keyword(inner, &["where"]).unwrap_or_else(|| {
        let mut depth = 0;
        inner
            .iter()
            .position(|token| {
                depth += token.nesting();
                depth < 0
            })
            .unwrap_or(inner.len())
    });
    let listed: Vec<&Token> = inner.get(from + 1..end)?.iter().collect();
    let (schema, rest) = match listed[..] {
        [schema, dot, ref rest @ ..] if dot.is(".") => (Some(schema.name()?), rest),
        ref rest => (None, rest),
    };
    match rest {
        [name] => Some((schema, name.name()?, name.name()?)),
        [name, alias] => Some((schema, name.name()?, alias.name()?)),
        _ => None,
    }
}

struct Sub<'a> {
    own: &'a Own<'a>,
    alias: &'a str,
}

impl Sub<'_> {
    /// What conditions joined by AND say.
    fn conditions(
        &self,
        tokens: &[Token],
        pairs: &mut Vec<(String, String)>,
        others: &mut Vec<String>,
    ) {
        let tokens = strip(tokens);
        let parts = split(tokens, "and");
        if parts.len() > 1 {
            for part in parts {
                self.conditions(part, pairs, others);
            }
            return;
        }
        if let Some(equal) = outside(tokens, |token| token.is("=")) {
            let (left, right) = (&tokens[..equal], &tokens[equal + 1..]);
            let both =
                |own: &[Token], other: &[Token]| Some((self.mine(own)?, self.theirs(other)?));
            if let Some(pair) = both(left, right).or_else(|| both(right, left)) {
                pairs.push(pair);
                return;
            }
        }
        others.extend(tokens.windows(3).filter_map(|window| {
            (window[0].name() == Some(self.alias) && window[1].is("."))
                .then(|| window[2].name().map(str::to_owned))
                .flatten()
        }));
    }

    /// A column of the row itself, as sub-selects print it.
    fn mine(&self, tokens: &[Token]) -> Option<String> {
        match bare(tokens) {
            [table, dot, column]
                if dot.is(".")
                    && table.name() == Some(self.own.name)
                    && self.own.name != self.alias =>
            {
                column
                    .name()
                    .filter(|name| self.own.columns.contains(name))
                    .map(str::to_owned)
            }
            _ => None,
        }
    }

    /// A column of the other table.
    fn theirs(&self, tokens: &[Token]) -> Option<String> {
        match bare(tokens) {
            [table, dot, column] if dot.is(".") && table.name() == Some(self.alias) => {
                column.name().map(str::to_owned)
            }
            _ => None,
        }
    }

    /// A column of the row itself in front of `in (` or `= any (`.
    fn compared(&self, before: &[Token]) -> Option<String> {
        let before = match before {
            [rest @ .., equal, any] if equal.is("=") && any.is_word("any") => rest,
            [rest @ .., last] if last.is_word("in") || last.is("=") => rest,
            _ => return None,
        };
        // Brackets that enclose the whole comparison are open here.
        let open = before
            .iter()
            .rposition(|token| token.is("(") || token.is(")"))
            .filter(|at| before[*at].is("("))
            .map_or(0, |at| at + 1);
        match bare(&before[open..]) {
            [column] => column
                .name()
                .filter(|name| self.own.columns.contains(name))
                .map(str::to_owned),
            _ => None,
        }
    }
}

/// Without brackets and casts around it.
fn bare(mut tokens: &[Token]) -> &[Token] {
    loop {
        let stripped = strip(tokens);
        let cast = (0..stripped.len()).rfind(|at| stripped[*at].is("::"));
        let plain = match cast {
            Some(at)
                if stripped[at + 1..]
                    .iter()
                    .all(|token| token.name().is_some()) =>
            {
                &stripped[..at]
            }
            _ => stripped,
        };
        if plain.len() == tokens.len() {
            return plain;
        }
        tokens = plain;
    }
}
