//! Settings that turn something on, and name nobody.

use super::lexer::{Token, tokens};

/// Whether all that is asked of a setting is which of some literals it holds.
pub(super) fn is_switch(texts: &[&str], setting: &str) -> bool {
    let mut any = false;
    for text in texts {
        let tokens = tokens(text);
        for at in 0..tokens.len() {
            let named = tokens[at].is_word("current_setting")
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
        let switch = |text: &str| is_switch(&[text], "app.x");
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
}
