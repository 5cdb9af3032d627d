//! Who acts within a tenant: the table that says who belongs to it, and what its
//! rows must hold for the policies to let their user do everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entry;
use super::lexer::{Token, tokens};
use crate::db::ident::Literal;
use crate::verify::model::{Body, Oid, Policy, Preferred, Relation, TenantKey};

/// The table of memberships.
pub(crate) struct Members {
    /// Finds a user of the tenant `:tenant`: the one that policies let do most.
    pub(crate) query: String,
    /// What a row should hold so that policies let its user do most.
    pub(crate) preferred: Vec<Preferred>,
}

impl Members {
    /// A tenant is a user.
    pub(crate) fn themselves() -> Self {
        Self {
            query: "select :tenant".to_owned(),
            preferred: Vec::new(),
        }
    }

    /// The table that holds both a tenant and a user, memberships first.
    pub(crate) fn find(
        relations: &[Relation],
        policies: &[Policy],
        bodies: &HashMap<Oid, Body>,
    ) -> Option<Self> {
        let texts = spoken(policies, bodies);
        let users: BTreeSet<String> = texts
            .iter()
            .flat_map(|text| compared_with_user(text))
            .collect();
        let usual = |name: &str| matches!(name, "user_id" | "userId" | "uid" | "profile_id");
        let (.., relation, key, user) = relations
            .iter()
            .filter(|relation| relation.holds_tenants())
            .filter_map(|relation| {
                let TenantKey::Column { column: key, .. } = &relation.tenant else {
                    return None;
                };
                let user = relation
                    .columns
                    .iter()
                    .filter(|column| column.name != *key)
                    .find(|column| usual(column.name.as_str()))
                    .or_else(|| {
                        relation.columns.iter().find(|column| {
                            column.name != *key && users.contains(column.name.as_str())
                        })
                    })?;
                let member = relation.name.name.as_str().contains("member");
                let read = policies
                    .iter()
                    .flat_map(Policy::predicates)
                    .any(|predicate| predicate.reads.contains(&relation.oid));
                let usual = usual(user.name.as_str());
                Some((
                    (!read, !usual, !member, relation.columns.len()),
                    relation,
                    key,
                    &user.name,
                ))
            })
            .min_by_key(|(rank, relation, ..)| (*rank, relation.oid))?;
        let preferred = preferred(relation, policies, &texts);
        let mut order = String::new();
        for one in preferred.iter().filter(|one| !one.list) {
            let separator = if order.is_empty() { " order by " } else { ", " };
            let cases: String = one
                .values
                .iter()
                .enumerate()
                .map(|(place, value)| format!(" when {} then {place}", Literal::new(value)))
                .collect();
            order.push_str(&format!(
                "{separator}case {}::text{cases} else {} end",
                one.column,
                one.values.len()
            ));
        }
        Some(Self {
            query: format!(
                "select {user}::text from {} where {key}::text = :tenant{order} limit 1",
                relation.name
            ),
            preferred,
        })
    }
}

/// Every predicate with the functions that it calls, as one text.
fn spoken(policies: &[Policy], bodies: &HashMap<Oid, Body>) -> Vec<Vec<Token>> {
    policies
        .iter()
        .flat_map(Policy::predicates)
        .map(|predicate| {
            let mut all = tokens(&predicate.text);
            for body in predicate.functions.iter().filter_map(|oid| bodies.get(oid)) {
                all.push(Token::Punct(";".to_owned()));
                all.extend(tokens(&body.text));
            }
            all
        })
        .collect()
}

/// Columns that a text compares with the user: `user_id = auth.uid()`, either way round.
fn compared_with_user(text: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        if !token.is("=") {
            continue;
        }
        let after = text[at + 1..]
            .iter()
            .take_while(|token| !(token.is("=") || token.is_word("and") || token.is_word("or")))
            .take(8);
        let before = text[..at]
            .iter()
            .rev()
            .take_while(|token| !(token.is("=") || token.is_word("and") || token.is_word("or")))
            .take(8);
        let user = |side: &mut dyn Iterator<Item = &Token>| {
            side.collect::<Vec<_>>().windows(2).any(|pair| {
                let called = |name: &Token, open: &Token| {
                    open.is("(") && name.name().is_some_and(entry::about_user)
                };
                called(pair[0], pair[1]) || called(pair[1], pair[0])
            })
        };
        let name = |token: Option<&Token>| token.and_then(Token::name).map(str::to_owned);
        if user(&mut after.clone()) {
            found.extend(name(at.checked_sub(1).and_then(|at| text.get(at))));
        }
        if user(&mut before.clone()) {
            let mut own = text[at + 1..].iter();
            let mut last = own.next();
            while let Some(dot) = own.next().filter(|token| token.is(".")) {
                debug_assert!(dot.is("."));
                last = own.next();
            }
            found.extend(name(last));
        }
    }
    found
}

/// For each column that texts compare with literals, those that most texts ask for, best first.
fn preferred(relation: &Relation, policies: &[Policy], texts: &[Vec<Token>]) -> Vec<Preferred> {
    // What its own policies ask for counts twice: a row of it is judged by that.
    let own: Vec<Vec<Token>> = Policy::on(policies, relation.oid)
        .map(|predicate| tokens(&predicate.text))
        .collect();
    let key = crate::verify::keys::key(relation).map(|(column, _)| column);
    relation
        .columns
        .iter()
        .filter(|column| Some(&column.name) != key)
        .filter_map(|column| {
            let mut votes: BTreeMap<String, usize> = BTreeMap::new();
            for text in texts.iter().chain(&own) {
                let name = column.name.as_str();
                for value in asked(text, name).union(&answered(text, name)).cloned() {
                    *votes.entry(value).or_default() += 1;
                }
            }
            let mut values: Vec<(String, usize)> = votes.into_iter().collect();
            values.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
            (!values.is_empty() && !column.type_name.starts_with("json")).then(|| Preferred {
                relation: relation.oid,
                column: column.name.clone(),
                list: column.type_name.ends_with("[]"),
                values: values.into_iter().map(|(value, _)| value).collect(),
            })
        })
        .collect()
}

/// The literals that a text compares a column with: `role = 'owner'`, `role in ('owner', 'admin')`,
/// `role = any (array['owner'])`, `'write' = any (scopes)`.
fn asked(text: &[Token], column: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        if token.name() != Some(column) || text.get(at + 1).is_some_and(|next| next.is("(")) {
            continue;
        }
        let mut start = at;
        while start >= 2 && text[start - 1].is(".") {
            start -= 2;
        }
        // As it is printed: `(m.role)::text = ..`; not the end of a call's arguments.
        let alone = start >= 1
            && text[start - 1].is("(")
            && start
                .checked_sub(2)
                .and_then(|before| text[before].name())
                .is_none_or(|word| matches!(word, "and" | "or" | "not" | "where"));
        if let [value, equal, any, open] = &text[start.saturating_sub(4)..start]
            && equal.is("=")
            && any.is_word("any")
            && open.is("(")
            && let Token::Text(value) = value
        {
            found.insert(value.clone());
        } else if let [Token::Text(value), cast, _, equal, any, open] =
            &text[start.saturating_sub(6)..start]
            && cast.is("::")
            && equal.is("=")
            && any.is_word("any")
            && open.is("(")
        {
            found.insert(value.clone());
        }
        let closed = usize::from(alone && text.get(at + 1).is_some_and(|next| next.is(")")));
        found.extend(compared(&text[at + 1 + closed..]));
    }
    found
}

/// The literals that what stands before is compared with.
fn compared(text: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = text.iter().peekable();
    while rest
        .next_if(|token| {
            token.is("::")
                || token.is_word("text")
                || token.is_word("character")
                || token.is_word("varying")
        })
        .is_some()
    {}
    if !rest
        .next()
        .is_some_and(|operator| operator.is("=") || operator.is_word("in"))
    {
        return found;
    }
    let mut open = 0_usize;
    let mut cast = false;
    for token in rest {
        // A name that is no type is a call or a column.
        let named = cast || token.is_word("any") || token.is_word("array");
        if token.name().is_some() && !named {
            break;
        }
        cast = token.is("::") || cast && token.is(".") || cast && token.name().is_some();
        match token {
            Token::Text(value) => {
                match value
                    .strip_prefix('{')
                    .and_then(|list| list.strip_suffix('}'))
                {
                    Some(list) => {
                        let one = |one: &str| one.trim_matches('"').to_owned();
                        found.extend(list.split(',').map(one));
                    }
                    None => drop(found.insert(value.clone())),
                }
                if open == 0 {
                    break;
                }
            }
            Token::Punct(punct) => match punct.as_str() {
                "(" | "[" => open += 1,
                ")" | "]" if open > 0 => open -= 1,
                "::" | "," | "." if open > 0 => {}
                _ => break,
            },
            Token::Word(_) | Token::Quoted(_) => {}
            Token::Number(_) => break,
        }
    }
    found
}

/// The literals that a text compares the answer of functions with which hand out a
/// column: `my_role(org_id) = 'owner'`.
fn answered(text: &[Token], column: &str) -> BTreeSet<String> {
    let hands_out = text.windows(2).enumerate().any(|(at, pair)| {
        let next = text.get(at + 2);
        pair[0].is_word("select")
            && (pair[1].name() == Some(column) && !next.is_some_and(|next| next.is("."))
                || next.is_some_and(|next| next.is("."))
                    && text.get(at + 3).and_then(Token::name) == Some(column))
    });
    let mut found = BTreeSet::new();
    let mut depth = 0_usize;
    let mut calls = Vec::new(); // open calls, by depth
    for (at, token) in text.iter().enumerate() {
        if token.is(";") || !hands_out {
            break;
        }
        if token.is("(") {
            depth += 1;
            let called = at
                .checked_sub(1)
                .and_then(|before| text[before].name())
                .is_some_and(|word| !matches!(word, "and" | "or" | "not" | "where" | "any" | "in"));
            if called {
                calls.push(depth);
            }
        } else if token.is(")") {
            if calls.last() == Some(&depth) {
                calls.pop();
                found.extend(compared(&text[at + 1..]));
            }
            depth = depth.saturating_sub(1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        asked(&tokens(text), "role").into_iter().collect()
    }

    #[test]
    fn literals_that_a_column_is_compared_with() {
        assert_eq!(of("m.role = 'owner' and m.user_id = f('x')"), ["owner"]);
        assert_eq!(of("((m.role)::text = 'owner'::text)"), ["owner"]);
        assert_eq!(
            of("(m.role = ANY (ARRAY['owner'::public.r, 'admin'::public.r])) and x = 'y'"),
            ["admin", "owner"]
        );
        assert_eq!(of("role in ('owner', 'admin')"), ["admin", "owner"]);
        assert_eq!(of("role = any ('{owner,admin}')"), ["admin", "owner"]);
        assert_eq!(
            of("('write'::text = ANY (m.role)) or 'x' = any (m.y)"),
            ["write"]
        );
        assert!(of("role <> 'viewer' and role = other and role('x')").is_empty());
        assert!(of("(g(auth.uid(), role) = 'owner'::text)").is_empty());
        assert!(of("(role = (NULLIF(current_setting('a.b'::text), ''::text))::uuid)").is_empty());
        let answered = |text: &str| {
            answered(&tokens(text), "role")
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            answered("(g(auth.uid(), id) = 'owner'::text); select m.role from m where m.x = 'y'"),
            ["owner"]
        );
        assert!(answered("(g(id) = 'owner'); select 1 from m").is_empty());
    }

    #[test]
    fn columns_that_are_compared_with_the_user() {
        let found = |text: &str| {
            compared_with_user(&tokens(text))
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(found("m.person = ( SELECT auth.uid() AS uid)"), ["person"]);
        assert_eq!(found("auth.uid() = m.person and m.org = x"), ["person"]);
        assert!(found("m.org = f(m.x) and uid = 3").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'. =,]{0,80}") {
            let tokens = tokens(&text);
            let _ = (asked(&tokens, "a"), compared_with_user(&tokens));
        }
    }
}
