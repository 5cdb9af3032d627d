//! What policies ask of a row of memberships: the ranks and states that let its user do most.

use std::collections::{BTreeMap, BTreeSet};

use super::Ground;
use super::compared::path_start;
use crate::db::ident::Literal;
use crate::verify::model::{Policy, Preferred, Relation};
use crate::verify::scope::lexer::{Token, tokens};
use crate::verify::scope::ranks::LookUps;

/// Last words of types that are not of somebody's own making.
const BUILT_IN: [&str; 14] = [
    "text",
    "varying",
    "uuid",
    "integer",
    "bigint",
    "smallint",
    "boolean",
    "jsonb",
    "json",
    "date",
    "zone",
    "numeric",
    "citext",
    "character",
];

/// An order that puts rows first which hold what policies ask for.
pub(super) fn best_first(preferred: &[Preferred]) -> String {
    let mut order = String::new();
    for one in preferred.iter().filter(|one| !one.list) {
        let separator = if order.is_empty() { " order by " } else { ", " };
        let cases: String = one
            .values
            .iter()
            .enumerate()
            .map(|(place, value)| format!(" when {} then {place}", Literal::new(value)))
            .chain(one.avoid.iter().map(|value| {
                let last = one.values.len() + 1;
                format!(" when {} then {last}", Literal::new(value))
            }))
            .collect();
        order.push_str(&format!(
            "{separator}case {}::text{cases} else {} end",
            one.column,
            one.values.len()
        ));
    }
    order
}

/// For each column that texts compare with literals, those that most texts ask for, best first.
/// What holds on the whole platform is left for last: whoever has it belongs to no tenant alone.
pub(super) fn preferred(
    relation: &Relation,
    (policies, texts, everywhere, look_ups): Ground<'_>,
) -> Vec<Preferred> {
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
                for value in asked(text, name)
                    .union(&answered(text, name, look_ups))
                    .cloned()
                {
                    *votes.entry(value).or_default() += 1;
                }
                for value in enumerated(text, &column.type_name) {
                    *votes.entry(value).or_default() += 1;
                }
                if column.type_name == "boolean" {
                    for value in switched(text, name) {
                        *votes.entry(value.to_string()).or_default() += 1;
                    }
                }
            }
            let mut values: Vec<(String, usize)> = votes.into_iter().collect();
            values.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
            let (avoid, values): (Vec<String>, Vec<String>) = values
                .into_iter()
                .map(|(value, _)| value)
                .partition(|value| everywhere.contains(value));
            let asked = !values.is_empty() || !avoid.is_empty();
            (asked && !column.type_name.starts_with("json")).then(|| Preferred {
                relation: relation.oid,
                column: column.name.clone(),
                list: column.type_name.ends_with("[]"),
                values,
                avoid,
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
        let start = path_start(text, at);
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

/// The labels of a type of its own that a text speaks of: `is_authorized(org, 'ADMIN'::public.rank)`,
/// whose function compares them with the column.
fn enumerated(text: &[Token], type_name: &str) -> BTreeSet<String> {
    let parts: Vec<Token> = tokens(type_name);
    let own = parts
        .last()
        .and_then(Token::name)
        .filter(|name| !BUILT_IN.contains(name));
    let Some(own) = own else {
        return BTreeSet::new();
    };
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        let (Token::Text(value), Some(cast)) = (token, text.get(at + 1)) else {
            continue;
        };
        let mut named = at + 2;
        while text.get(named + 1).is_some_and(|next| next.is(".")) {
            named += 2;
        }
        if cast.is("::") && text.get(named).and_then(Token::name) == Some(own) {
            found.insert(value.clone());
        }
    }
    found
}

/// What a text asks of a column that is true or false: `m.is_owner`, `is_owner is true`,
/// `not m.suspended`.
fn switched(text: &[Token], column: &str) -> BTreeSet<bool> {
    let mut found = BTreeSet::new();
    for (at, token) in text.iter().enumerate() {
        if token.name() != Some(column) || text.get(at + 1).is_some_and(|next| next.is("(")) {
            continue;
        }
        let start = path_start(text, at);
        let before = text[..start].iter().rev().find(|token| !token.is("("));
        let mut after = text[at + 1..].iter().filter(|token| !token.is(")"));
        let not = before.is_some_and(|token| token.is_word("not"));
        let value = match (after.next(), after.next(), after.next()) {
            (Some(is), Some(no), Some(value)) if is.is_word("is") && no.is_word("not") => {
                value.is_word("false")
            }
            (Some(is), Some(value), _) if is.is_word("is") || is.is("=") => value.is_word("true"),
            (Some(next), ..) if !next.is_word("and") && !next.is_word("or") && !next.is(";") => {
                continue;
            }
            // In a list of columns nothing is asked of it.
            _ if !before.is_some_and(|token| {
                ["and", "or", "not", "where"]
                    .iter()
                    .any(|word| token.is_word(word))
            }) =>
            {
                continue;
            }
            _ => true,
        };
        found.insert(value != not);
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
fn answered(text: &[Token], column: &str, look_ups: &LookUps<'_>) -> BTreeSet<String> {
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
    let mut own = true; // the policy's own text, which functions' texts follow
    for (at, token) in text.iter().enumerate() {
        if !hands_out {
            break;
        }
        own &= !token.is(";");
        if token.is("(") {
            depth += 1;
            let called = at
                .checked_sub(1)
                .and_then(|before| text[before].name())
                .filter(|word| !matches!(*word, "and" | "or" | "not" | "where" | "any" | "in"))
                .is_some_and(|word| own || look_ups.has(word));
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
            answered(&tokens(text), "role", &LookUps::named(&["g"]))
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            answered("(g(auth.uid(), id) = 'owner'::text); select m.role from m where m.x = 'y'"),
            ["owner"]
        );
        assert!(answered("(g(id) = 'owner'); select 1 from m").is_empty());
        // One function asks another.
        assert_eq!(
            answered("k(); select h(x) = 'z' and g(y) in ('a', 'b'); select m.role from m"),
            ["a", "b"]
        );
    }

    #[test]
    fn labels_of_a_type_of_its_own() {
        let found = |text: &str, of: &str| {
            enumerated(&tokens(text), of)
                .into_iter()
                .collect::<Vec<_>>()
        };
        let text = "may(org, 'ADMIN'::public.rank) and x = 'y'::text and 'a'::other.kind = k";
        assert_eq!(found(text, "rank"), ["ADMIN"]);
        assert_eq!(found(text, "public.rank"), ["ADMIN"]);
        assert!(found(text, "text").is_empty());
        assert!(found("'x'::character varying", "character varying").is_empty());
    }

    #[test]
    fn what_is_asked_of_a_column_that_is_true_or_false() {
        let found = |text: &str| {
            switched(&tokens(text), "own")
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(found("(m.x = y) AND (m.own IS TRUE)"), [true]);
        assert_eq!(found("((x = y) AND own)"), [true]);
        assert_eq!(found("where m.own and m.x = f()"), [true]);
        assert_eq!(found("a = b and not m.own"), [false]);
        assert_eq!(
            found("(m.own = false) or m.own is not false"),
            [false, true]
        );
        assert!(found("select own from m where m.own <> x and own(m)").is_empty());
        assert!(found("insert into m (x, own) values (y, true)").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'. =,]{0,80}") {
            let tokens = tokens(&text);
            let _ = asked(&tokens, "a");
            let _ = switched(&tokens, "a");
        }
    }
}
