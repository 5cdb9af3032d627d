//! Settings that turn something on, and name nobody.

use std::collections::{BTreeMap, HashSet};

use super::lexer::{Token, tokens};

/// What policies that let nothing through without a tie ask a setting to hold beside it: the
/// literal that most of them compare it with.
pub(super) fn demanded<'a>(
    predicates: impl Iterator<Item = &'a str>,
    setting: &str,
) -> Option<String> {
    let mut votes: BTreeMap<String, usize> = BTreeMap::new();
    for text in predicates {
        let tokens = tokens(text);
        for (at, token) in tokens.iter().enumerate() {
            if !matches!(token, Token::Text(name) if name.eq_ignore_ascii_case(setting)) {
                continue;
            }
            let mut rest = tokens[at + 1..].iter().take_while(|token| {
                !["and", "or", "is"].iter().any(|word| token.is_word(word)) && !token.is("<>")
            });
            let equal = rest.by_ref().any(|token| token.is("="));
            if let Some(Token::Text(value)) = rest.next().filter(|_| equal)
                && !value.is_empty()
            {
                *votes.entry(value.clone()).or_default() += 1;
            }
        }
    }
    let most = votes.into_iter().rev().max_by_key(|(_, votes)| *votes);
    most.map(|(value, _)| value)
}

/// Whether all that is asked of a setting is which of some literals it holds; `readers` are
/// functions that read the setting which they are called with.
pub(super) fn is_switch(texts: &[&str], setting: &str, readers: &HashSet<String>) -> bool {
    let mut any = false;
    for text in texts {
        let tokens = tokens(text);
        for at in 0..tokens.len() {
            let reads = tokens[at].is_word("current_setting")
                || tokens[at].name().is_some_and(|name| readers.contains(name));
            let named = reads
                && matches!(tokens.get(at + 2), Some(Token::Text(name)) if name.eq_ignore_ascii_case(setting));
            if named {
                if !beside_literal(&tokens, at) {
                    return false;
                }
                any = true;
            }
        }
    }
    any
}

/// Whether the call at a place is compared with a literal, whatever stands around it.
fn beside_literal(tokens: &[Token], at: usize) -> bool {
    let wraps = |token: &Token| {
        token.is("(")
            || ["coalesce", "nullif", "lower", "upper", "trim", "not"]
                .iter()
                .any(|word| token.is_word(word))
    };
    let mut before = at;
    while before > 0 && (wraps(&tokens[before - 1]) || tokens[before - 1].is(".")) {
        before -= 1;
    }
    let yoda = before >= 2 && {
        let cast = tokens[before - 1].is("=") && tokens[before - 2].name().is_some();
        let literal = if cast && before >= 4 {
            before - 4
        } else {
            before - 2
        };
        tokens[before - 1].is("=") && matches!(tokens[literal], Token::Text(_))
    };
    let mut next = at + 1;
    while let Some(token) = tokens.get(next) {
        let boolean = ["boolean", "bool"].iter().any(|word| token.is_word(word));
        if boolean && tokens[next - 1].is("::") {
            return true;
        }
        let passed = token.is("(")
            || token.is(")")
            || token.is(",")
            || token.is("::")
            || tokens[next - 1].is("::")
            || matches!(token, Token::Text(_))
            || token.is_word("true");
        if !passed {
            break;
        }
        next += 1;
    }
    let equal = |token: &Token| token.is("=") || token.is("<>") || token.is_word("in");
    let rest = match tokens.get(next) {
        Some(token) if equal(token) => next + 1,
        Some(token) if token.is_word("is") => (next..tokens.len())
            .find(|place| tokens[*place].is_word("from"))
            .map_or(tokens.len(), |place| place + 1),
        _ => return yoda,
    };
    let value = tokens[rest.min(tokens.len())..].iter().find(|token| {
        !(token.is("(") || token.is("[") || token.is_word("any") || token.is_word("array"))
    });
    matches!(value, Some(Token::Text(text)) if !text.is_empty()) || yoda
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_with_literals_turns_something_on() {
        let switch =
            |text: &str| is_switch(&[text], "app.x", &HashSet::from(["setting_of".to_owned()]));
        for text in [
            "(current_setting('app.x'::text, true) = 'on'::text)",
            "select coalesce(nullif(current_setting('app.x', true), ''), 'no') = 'yes'",
            "if lower(current_setting('app.x', true)) in ('a', 'b') then",
            "(COALESCE((NULLIF(current_setting('app.x'::text, true), ''::text))::boolean, false))",
            "(NOT (current_setting('app.x'::text, true) IS DISTINCT FROM '1'::text))",
            "('on'::text = current_setting('app.x'::text, true))",
        ] {
            assert!(switch(text), "{text}");
        }
        for text in [
            "(tenant_id = (NULLIF(current_setting('app.x'::text, true), ''::text))::uuid)",
            "((NULLIF(current_setting('app.x'::text, true), ''::text) IS NULL) OR true)",
            "(current_setting('app.x'::text, true) = (tenant_id)::text)",
            "(current_setting('app.x'::text, true) = ''::text)",
            "select current_setting('app.x', true)",
            "true",
        ] {
            assert!(!switch(text), "{text}");
        }
    }

    #[test]
    fn what_is_asked_for_beside_a_tie() {
        let of = |texts: &[&str]| demanded(texts.iter().copied(), "app.x");
        let shop =
            "((setting_of('app.x'::text) = 'shop'::text) and (shop = setting_of('app.y')::uuid))";
        assert_eq!(of(&[shop]).as_deref(), Some("shop"));
        assert_eq!(
            of(&[shop, "(current_setting('app.x') = 'z') and a = b", shop]).as_deref(),
            Some("shop")
        );
        assert_eq!(
            of(&[
                "current_setting('app.x') <> 'a' and b = 'c'",
                "current_setting('app.x') = d"
            ]),
            None
        );
        assert!(is_switch(
            &[shop],
            "app.x",
            &HashSet::from(["setting_of".to_owned()])
        ));
        assert!(!is_switch(
            &[shop],
            "app.y",
            &HashSet::from(["setting_of".to_owned()])
        ));
    }
}
