//! Predicates of policies, compared as far as their text allows.

use std::collections::BTreeSet;

use crate::migrate::lex;

/// The parts that a predicate joins by AND, in no order.
fn conjuncts(text: &str) -> BTreeSet<String> {
    let text = strip(text);
    let parts = split(text, "AND");
    match parts.as_slice() {
        // `between x and y` is deparsed as two comparisons, so AND always joins.
        [_] => BTreeSet::from([text.to_owned()]),
        several => several.iter().flat_map(|part| conjuncts(part)).collect(),
    }
}

/// No row passes `narrow` that does not pass `wide`: every part of `wide` is one of `narrow`.
pub(super) fn implies(narrow: Option<&str>, wide: Option<&str>) -> bool {
    let parts = |text: Option<&str>| {
        let mut parts = text.map(conjuncts).unwrap_or_default();
        parts.remove("true");
        parts
    };
    let narrow = parts(narrow);
    narrow.contains("false") || parts(wide).is_subset(&narrow)
}

/// One of its parts compares a column of the row with a setting of the session, and
/// with nothing that the row itself could say.
pub(super) fn is_tied(text: &str) -> bool {
    conjuncts(text).iter().any(|part| {
        let sides = split(part, "=");
        let [left, right] = sides.as_slice() else {
            return false;
        };
        is_column(left) && is_session(right) || is_column(right) && is_session(left)
    })
}

/// Without parentheses around the whole.
fn strip(text: &str) -> &str {
    let text = text.trim();
    let Some(inside) = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    else {
        return text;
    };
    let mut depth = 0i32;
    for (word, _) in lex::tokens(inside) {
        depth += match word {
            "(" => 1,
            ")" => -1,
            _ => 0,
        };
        if depth < 0 {
            return text;
        }
    }
    strip(inside)
}

/// Split at an operator outside of all parentheses.
fn split<'a>(text: &'a str, at: &str) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (word, place) in lex::tokens(text) {
        match word {
            "(" => depth += 1,
            ")" => depth -= 1,
            word if depth == 0 && word == at => {
                parts.push(text[from..place.start].trim());
                from = place.end;
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

fn is_column(text: &str) -> bool {
    let text = strip(text);
    let name = text.split("::").next().map_or(text, strip);
    let mut words = lex::tokens(name).into_iter();
    match (words.next(), words.next()) {
        (Some((word, _)), None) => {
            let first = word.chars().next().unwrap_or_default();
            (first.is_alphabetic() || first == '_' || first == '"')
                && !["true", "false", "null"].contains(&word.to_ascii_lowercase().as_str())
        }
        _ => false,
    }
}

/// Made of `current_setting` and casts only: no name of a column can be among them.
fn is_session(text: &str) -> bool {
    const KNOWN: &[&str] = &[
        "(",
        ")",
        ",",
        ":",
        "::",
        "SELECT",
        "NULLIF",
        "current_setting",
        "true",
        "uuid",
        "text",
        "bigint",
        "integer",
        "smallint",
        "character",
        "varying",
    ];
    let words: Vec<&str> = lex::tokens(text)
        .into_iter()
        .map(|(word, _)| word)
        .collect();
    let mut previous = "";
    let known = words.iter().all(|word| {
        let named = std::mem::replace(&mut previous, word) == "AS";
        named || *word == "AS" || word.starts_with('\'') || KNOWN.contains(word)
    });
    known && words.contains(&"current_setting")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str =
        "(tenant_id = ( SELECT (current_setting('app.tenant_id'::text))::uuid AS current_setting))";

    #[test]
    fn a_part_more_is_narrower() {
        let more = format!("({TENANT} AND (deleted_at IS NULL))");
        assert!(implies(Some(&more), Some(TENANT)));
        assert!(!implies(Some(TENANT), Some(&more)));
        assert!(implies(Some(TENANT), Some(TENANT)) && implies(Some(TENANT), Some("true")));
        assert!(!implies(Some("true"), Some(TENANT)) && implies(Some("false"), Some(TENANT)));
        assert!(!implies(
            Some(&format!("({TENANT} OR public)")),
            Some(TENANT)
        ));
        let swapped = format!("((deleted_at IS NULL) AND {TENANT})");
        assert!(implies(Some(&swapped), Some(&more)) && implies(Some(&more), Some(&swapped)));
    }

    #[test]
    fn tied_is_only_what_the_row_cannot_talk_itself_out_of() {
        assert!(is_tied(TENANT));
        assert!(is_tied(&format!("({TENANT} AND is_public)")));
        assert!(is_tied(
            "((tenant)::text = current_setting('app.tenant'::text, true))"
        ));
        assert!(is_tied(
            "(NULLIF(current_setting('a.b'::text, true), ''::text) = tenant)"
        ));
        for open in [
            "true",
            "(tenant_id = tenant_id)",
            "(tenant_id = COALESCE((current_setting('a.b'::text))::uuid, tenant_id))",
            "(true = (current_setting('a.b'::text))::boolean)",
            "((tenant_id = (current_setting('a.b'::text))::uuid) OR is_public)",
            "(tenant_id <> (current_setting('a.b'::text))::uuid)",
            "(tenant_id = app.tenant())",
        ] {
            assert!(!is_tied(open), "{open}");
        }
    }
}
