//! Claims that hold several tenants: lists in a document, of which policies ask whether
//! a row's tenant is among them.

use std::collections::BTreeSet;

use super::brackets::{enclosed, opening};
use super::documents;
use super::lexer::{Token, tokens};

/// The ways to lists that a text takes values out of: `-> 'tenants' ? tenant`,
/// `-> 'tenants' @> to_jsonb(tenant)`, `jsonb_array_elements_text(.. -> 'tenants')`.
pub(super) fn paths(text: &str) -> BTreeSet<Vec<String>> {
    let tokens = tokens(text);
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let taken_apart = token.name().is_some_and(|name| {
            name.starts_with("jsonb_array_elements") || name.starts_with("json_array_elements")
        });
        let keys = if taken_apart {
            documents::keys(enclosed(&tokens, at + 1))
        } else if token.is("?") || token.is("@>") {
            // A literal is a right that is asked for, no tenant.
            if matches!(tokens.get(at + 1), Some(Token::Text(_))) {
                continue;
            }
            let open = at.checked_sub(1).and_then(|close| opening(&tokens, close));
            open.map_or_else(Vec::new, |open| documents::keys(enclosed(&tokens, open)))
        } else {
            continue;
        };
        let rights = keys.last().is_none_or(|name| name.contains("role"));
        if !rights {
            found.insert(keys);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_a_row_is_looked_for_in() {
        for text in [
            "COALESCE((((auth.jwt() -> 'app'::text) -> 'tenants'::text) ? tenant), false)",
            "(tenant IN ( SELECT jsonb_array_elements_text(((auth.jwt() -> 'app'::text) -> 'tenants'::text)) AS x))",
            "(((auth.jwt() -> 'app'::text) -> 'tenants'::text) @> to_jsonb(tenant))",
        ] {
            let expected = BTreeSet::from([vec!["app".to_owned(), "tenants".to_owned()]]);
            assert_eq!(paths(text), expected, "{text}");
        }
        for text in [
            "((auth.jwt() -> 'rights'::text) ? 'write'::text)",
            "((auth.jwt() -> 'roles'::text) ? rank)",
            "((auth.jwt() ->> 'tenant'::text) = tenant)",
        ] {
            assert_eq!(paths(text), BTreeSet::new(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'?@#>:. ,-]{0,80}|(jsonb_array_elements|\\(|\\)|\\?|-> 'a'|x ){0,20}") {
            let _ = paths(&text);
        }
    }
}
