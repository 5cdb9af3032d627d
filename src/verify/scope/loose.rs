//! Alternatives in the text of a function that nothing ties to the session, while
//! others of the same text are: `where m.user_id = uid() or m.rank = 'guest'`, a
//! `union` with all rows of another kind. A policy that asks such a function lets
//! through what that one alternative lets through.
//!
//! An alternative counts only beside one that is tied. What a text never compares
//! with the session is no slip of one alternative, and other checks look at it.

use std::collections::HashSet;

use super::brackets::{closing, items, keyword};
use super::lexer::{Token, split, strip, tokens};
use super::predicate::render;

/// What may follow the name of a table that has no other name.
const AFTER_A_NAME: [&str; 14] = [
    "on", "join", "where", "left", "right", "inner", "cross", "full", "using", "group", "order",
    "limit", "union", "natural",
];

/// The first such alternative; `ties` says whether a place of the tokens asks for the session.
pub(super) fn alternative(text: &str, ties: &dyn Fn(&[Token], usize) -> bool) -> Option<String> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for statement in tokens.split(|token| token.is(";")) {
        let look = Look {
            ties,
            named: named(statement, ties),
        };
        let keyword = |word: &str| statement.iter().position(|token| token.is_word(word));
        if let Some(at) = keyword("return") {
            let rest = &statement[at + 1..];
            match rest {
                [query, rest @ ..] if query.is_word("query") => look.query(rest, &mut found),
                _ => look.expression(rest, &mut found),
            }
        } else if keyword("with").is_some() {
            look.queries(statement, &mut found);
        } else if let Some(at) = keyword("select") {
            look.query(&statement[at..], &mut found);
        }
    }
    found.into_iter().next()
}

/// Queries that a statement gives names to, where the session ties them: `with mine as (..)`.
fn named<'t>(statement: &'t [Token], ties: &dyn Fn(&[Token], usize) -> bool) -> HashSet<&'t str> {
    let mut found = HashSet::new();
    if !statement.iter().any(|token| token.is_word("with")) {
        return found;
    }
    for (at, token) in statement.iter().enumerate() {
        let Some(name) = token.name() else { continue };
        let rest = &statement[at + 1..];
        // Names of its columns may stand in between.
        let listed = rest.first().is_some_and(|next| next.is("("));
        let skip = if listed {
            closing(rest, 0).map_or(rest.len(), |end| end + 1)
        } else {
            0
        };
        let rest = rest.get(skip..).unwrap_or_default();
        if !rest.first().is_some_and(|next| next.is_word("as")) {
            continue;
        }
        let words = rest[1..]
            .iter()
            .take_while(|word| word.is_word("not") || word.is_word("materialized"));
        let open = 1 + words.count();
        let end = closing(rest, open).unwrap_or(rest.len());
        let body = rest.get(open..end).unwrap_or_default();
        if body.first().is_some_and(|next| next.is("(")) && (0..body.len()).any(|at| ties(body, at))
        {
            found.insert(name);
        }
    }
    found
}

struct Look<'a> {
    ties: &'a dyn Fn(&[Token], usize) -> bool,
    /// Names of queries that are tied: what is joined with one of them is as well.
    named: HashSet<&'a str>,
}

impl Look<'_> {
    fn tied(&self, tokens: &[Token]) -> bool {
        (0..tokens.len()).any(|at| (self.ties)(tokens, at))
            || (0..tokens.len()).any(|at| self.joined(tokens, at))
    }

    /// A query of a tied name is read there, alone or compared with what else is read:
    /// the step of a recursion goes on from rows that the one before has found.
    fn joined(&self, tokens: &[Token], at: usize) -> bool {
        let begins =
            ["from", "join"].iter().any(|word| tokens[at].is_word(word)) || tokens[at].is(",");
        let name = tokens.get(at + 1).and_then(Token::name);
        let Some(name) = name.filter(|name| begins && self.named.contains(name)) else {
            return false;
        };
        let after = &tokens[at + 2..];
        let skip = usize::from(after.first().is_some_and(|token| token.is_word("as")));
        let next = after.get(skip).and_then(Token::name);
        let alias = next
            .filter(|word| !AFTER_A_NAME.contains(word))
            .unwrap_or(name);
        let alone = tokens[at].is_word("from")
            && !after
                .iter()
                .any(|token| token.is_word("join") || token.is(","));
        alone
            || after
                .windows(2)
                .any(|pair| pair[0].name() == Some(alias) && pair[1].is("."))
            || after.iter().any(|token| token.is_word("using"))
    }

    fn expression(&self, tokens: &[Token], found: &mut Vec<String>) {
        let tokens = strip(tokens);
        let branches = split(tokens, "or");
        if branches.len() > 1 {
            let (tied, loose): (Vec<_>, Vec<_>) =
                branches.into_iter().partition(|branch| self.tied(branch));
            if !tied.is_empty() {
                found.extend(
                    loose
                        .into_iter()
                        .filter(|branch| !harmless(branch))
                        .map(render),
                );
            }
            for branch in tied {
                self.expression(branch, found);
            }
            return;
        }
        // `between x and y` is no conjunction.
        let parts = split(tokens, "and");
        if parts.len() > 1 && !tokens.iter().any(|token| token.is_word("between")) {
            let mut inner = Vec::new();
            for part in parts {
                let before = inner.len();
                self.expression(part, &mut inner);
                if self.tied(part) && inner.len() == before {
                    return; // this part alone holds the rest
                }
            }
            found.extend(inner);
            return;
        }
        self.queries(tokens, found);
    }

    /// The outermost sub-selects of an expression.
    fn queries(&self, tokens: &[Token], found: &mut Vec<String>) {
        let mut at = 0;
        while at < tokens.len() {
            let opens = tokens[at].is("(")
                && tokens
                    .get(at + 1)
                    .is_some_and(|next| next.is_word("select") || next.is_word("with"));
            if !opens {
                at += 1;
                continue;
            }
            let end = closing(tokens, at).unwrap_or(tokens.len());
            self.query(&tokens[at + 1..end], found);
            at = end + 1;
        }
    }

    fn query(&self, tokens: &[Token], found: &mut Vec<String>) {
        let mut branches = vec![tokens];
        for keyword in ["union", "intersect", "except"] {
            branches = branches
                .into_iter()
                .flat_map(|branch| split(branch, keyword))
                .collect();
        }
        if branches.iter().any(|branch| self.tied(branch)) {
            let loose = branches
                .iter()
                .filter(|branch| !self.tied(branch) && keyword(branch, &["from"]).is_some());
            found.extend(loose.map(|branch| render(branch)));
        }
        for branch in branches {
            let from = keyword(branch, &["from"]).unwrap_or(branch.len());
            let condition = keyword(branch, &["where"]);
            let ends = [
                "group", "order", "limit", "having", "window", "offset", "fetch", "for", "loop",
            ];
            let Some(start) = condition else {
                let list = branch.get(1..from).unwrap_or_default();
                for item in items(list) {
                    self.expression(item, found);
                }
                self.queries(&branch[from..], found);
                continue;
            };
            let rest = &branch[start + 1..];
            let text = &rest[..keyword(rest, &ends).unwrap_or(rest.len())];
            self.expression(text, found);
            if !self.tied(text) {
                self.queries(&branch[..start], found);
            }
        }
    }
}

/// Rows without a tenant are shared, and looked at as that.
fn harmless(tokens: &[Token]) -> bool {
    let tokens = strip(tokens);
    matches!(tokens, [.., is, null] if is.is_word("is") && null.is_word("null"))
        || matches!(tokens, [word] if word.is_word("false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        alternative(text, &|tokens, at| tokens[at].is_word("uid"))
    }

    #[test]
    fn one_alternative_of_several_is_not_tied() {
        for (text, loose) in [
            (
                "select exists (select from m where m.user_id = uid() and m.org = o or m.rank = 'guest')",
                "m.rank = 'guest'",
            ),
            (
                "select m.org from m where m.user_id = uid() union select o.id from o where o.name = 'Demo'",
                "select o.id from o where o.name = 'Demo'",
            ),
            (
                "begin return l.a = uid() or l.note = 'public'; end",
                "l.note = 'public'",
            ),
            (
                "select exists (select from g where g.id = o and (g.is_public or g.id in (select uid())))",
                "g.is_public",
            ),
            (
                "begin return query select id from (select id from m where owner = uid() or shown) x; end",
                "shown",
            ),
            (
                "with recursive d as (select org as id from m where u = uid() union select o.id from o join d on true) select id from d",
                "select o.id from o join d on true",
            ),
        ] {
            assert_eq!(found(text).as_deref(), Some(loose), "{text}");
        }
    }

    #[test]
    fn what_is_held_by_another_part_or_never_tied_is_left_alone() {
        for text in [
            "select m.org from m where m.user_id = uid() and (m.rank = 'a' or m.rank = 'b')",
            "select m.org from m where m.user_id = uid() and (exists (select from g where g.x = uid() or g.open))",
            "select m.org from m where (p is null or m.org = p) and m.user_id = uid()",
            "select id from t where org = uid() or org is null",
            "select m.org from m where m.user_id = uid() or m.team in (select team from x where u = uid())",
            "select id from plans where code = 'free' or code = 'pro'",
            "select a from m where uid() between b and c or false",
            "begin if x then raise exception 'no'; end if; return exists (select from m where u = uid()); end",
            "with recursive d as (select org as id from m where u = uid() union select o.id from o join d on o.parent = d.id) select id from d",
            "with recursive d (id) as (select org from m where u = uid() union all select o.id from d as x, o where o.parent = x.id) select id from d",
            "with mine as materialized (select org from m where u = uid()) select org from mine union select s.org from s join mine using (org)",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'. =,;]{0,80}|(select |where |or |and |\\(|\\)|union |uid |x |;){0,20}") {
            let _ = found(&text);
        }
    }
}
