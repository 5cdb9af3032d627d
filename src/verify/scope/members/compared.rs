//! Columns that policies, with the functions they call, compare with who the user is.

use std::collections::{BTreeSet, HashMap};

use crate::verify::model::{Body, Oid, Policy};
use crate::verify::scope::entry;
use crate::verify::scope::lexer::{Token, tokens};
use crate::verify::scope::ranks::LookUps;

/// The column that ends here, with or without a cast: `m.user_id`, `(m.user_id)::text`.
fn column_before(text: &[Token], end: usize) -> Option<String> {
    let mut at = end.checked_sub(1)?;
    if at >= 2 && text[at - 1].is("::") {
        at -= 2;
    }
    if text[at].is(")") {
        at = at.checked_sub(1)?;
        let open = path_start(text, at).checked_sub(1)?;
        text[open].is("(").then_some(())?;
    }
    text[at].name().map(str::to_owned)
}

/// Every predicate with the functions that it calls, as one text.
pub(in crate::verify::scope) fn spoken(
    policies: &[Policy],
    bodies: &HashMap<Oid, Body>,
) -> Vec<Vec<Token>> {
    policies
        .iter()
        .flat_map(Policy::predicates)
        .map(|predicate| {
            let mut all = tokens(&predicate.text);
            let called = predicate.functions.iter();
            let called = called
                .filter_map(|oid| bodies.get(oid))
                .flat_map(|body| &body.calls);
            let all_of: BTreeSet<&Oid> = predicate.functions.iter().chain(called).collect();
            for body in all_of.into_iter().filter_map(|oid| bodies.get(oid)) {
                all.push(Token::Punct(";".to_owned()));
                all.extend(tokens(&body.text));
            }
            all
        })
        .collect()
}

/// Columns that a text compares with the user: `user_id = auth.uid()`, either way round;
/// with `settings` also those that it compares with a setting of such a name, which are often
/// the authors of rows.
pub(super) fn compared_with_user(
    text: &[Token],
    settings: bool,
    look_ups: &LookUps<'_>,
) -> BTreeSet<String> {
    let told = |name: &str| look_ups.tells_user(name);
    compared_by(text, &|name| settings && told(name), &told)
}

/// Columns that a text compares with what the session itself says of the user: by functions
/// that look nothing up, by settings and by claims.
pub(super) fn compared_with_session(text: &[Token], look_ups: &LookUps<'_>) -> BTreeSet<String> {
    let told = |name: &str| look_ups.tells_user(name) && !look_ups.has(name);
    let set = |name: &str| look_ups.tells_user(name);
    let mut found = compared_by(text, &set, &told);
    for (at, token) in text.iter().enumerate() {
        let claim = matches!(text.get(at + 1), Some(Token::Text(name)) if entry::about_user(name));
        if !token.is("->>") || !claim {
            continue;
        }
        // `(auth.jwt() ->> 'sub') = subject`, `subject = (auth.jwt() ->> 'sub')`
        let ends = |token: &Token| token.is_word("and") || token.is_word("or") || token.is(";");
        let mut before = text[..at].iter().enumerate().rev().take(24);
        let equal = before.find(|(_, token)| token.is("=") || ends(token));
        if let Some((equal, token)) = equal
            && token.is("=")
        {
            found.extend(column_before(text, equal));
        }
        let mut after = text[at + 2..]
            .iter()
            .take(6)
            .skip_while(|token| !token.is("="));
        if after.next().is_some() {
            let path: Vec<&Token> = after
                .take_while(|token| token.name().is_some() || token.is(".") || token.is("("))
                .collect();
            found.extend(
                path.last()
                    .and_then(|token| token.name())
                    .map(str::to_owned),
            );
        }
    }
    found
}

/// The same with settings and functions that these choose.
pub(in crate::verify::scope) fn compared_by(
    text: &[Token],
    settings: &dyn Fn(&str) -> bool,
    names: &dyn Fn(&str) -> bool,
) -> BTreeSet<String> {
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
            let side: Vec<&Token> = side.collect();
            let read = |window: &[&Token]| {
                let setting = |token: &Token| matches!(token, Token::Text(text) if settings(text));
                let (first, last) = (window[0], window[2]);
                first.is_word("current_setting") && setting(last)
                    || last.is_word("current_setting") && setting(first)
            };
            side.windows(2).any(|pair| {
                let called =
                    |name: &Token, open: &Token| open.is("(") && name.name().is_some_and(names);
                called(pair[0], pair[1]) || called(pair[1], pair[0])
            }) || side.windows(3).any(read)
        };
        let name = |token: Option<&Token>| token.and_then(Token::name).map(str::to_owned);
        if user(&mut after.clone()) {
            found.extend(column_before(text, at));
        }
        if user(&mut before.clone()) {
            let mut own = text[at + 1..].iter().skip_while(|token| token.is("("));
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

/// Where the name that ends there begins: `schema.table.column`.
pub(super) fn path_start(text: &[Token], end: usize) -> usize {
    let mut start = end;
    while start >= 2 && text[start - 1].is(".") {
        start -= 2;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_are_compared_with_the_user() {
        let found = |text: &str| {
            compared_with_user(&tokens(text), false, &LookUps::named(&[]))
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
            let _ = compared_with_user(&tokens(&text), true, &LookUps::named(&[]));
        }
    }
}
