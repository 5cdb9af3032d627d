//! Where documents are taken apart: the keys that lead from a document to what is read
//! of it, in any of the forms that SQL has for that.

use std::collections::BTreeSet;

use super::lexer::{Token, tokens};
use crate::db::ident::{Ident, Literal};

/// The next keys on the way, as an operator or a subscript names them.
struct Step {
    keys: Vec<String>,
    /// What it gives is text, not a document.
    text: bool,
    arrow: bool,
    next: usize,
}

/// A way that has not ended in a text.
#[derive(Default)]
struct Way {
    keys: Vec<String>,
    subscript: bool,
}

/// The ways that a text takes into documents: `-> 'a' ->> 'b'`, `#>> '{a,b}'`, `['a']['b']`,
/// `jsonb_extract_path_text(.., 'a', 'b')`, `jsonb_path_query(.., '$.a.b')` and
/// `jsonb_to_record(..) as x(a text)`.
pub(crate) fn paths(text: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let rest = walk(&tokens(text), &mut found);
    rest.end(&mut found);
    found
}

/// The keys that operators and subscripts name, one after the other.
pub(super) fn keys(tokens: &[Token]) -> Vec<String> {
    let all = (0..tokens.len()).filter_map(|at| step(tokens, at));
    all.flat_map(|step| step.keys).collect()
}

/// What a predicate compares of a JSON column, as an expression: `"doc" ->> 'tenant'`.
pub(crate) fn part(text: &str, column: &str) -> Option<String> {
    let tokens = tokens(text);
    let own = Ident::new(column);
    tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.name() == Some(column))
        .find_map(|(at, _)| {
            let (keys, arrows) = of_column(&tokens, at)?;
            let keys: Vec<String> = keys
                .iter()
                .map(|key| Literal::new(key).to_string())
                .collect();
            let (last, before) = keys.split_last()?;
            Some(if arrows {
                let before: String = before.iter().map(|key| format!(" -> {key}")).collect();
                format!("{own}{before} ->> {last}")
            } else {
                format!("{own} #>> array[{}]", keys.join(", "))
            })
        })
}

/// The keys that are read of the column at a place, and whether arrows alone name them.
fn of_column(tokens: &[Token], at: usize) -> Option<(Vec<String>, bool)> {
    let mut keys = Vec::new();
    let mut arrows = true;
    let mut subscript = false;
    let mut place = at + 1;
    loop {
        while let Some(next) = after_cast(tokens, place).or_else(|| {
            tokens
                .get(place)
                .filter(|token| token.is(")"))
                .map(|_| place + 1)
        }) {
            place = next;
        }
        let Some(step) = step(tokens, place) else {
            break;
        };
        arrows &= step.arrow;
        subscript |= !step.arrow && !step.text;
        keys.extend(step.keys);
        place = step.next;
        if step.text {
            return (!keys.is_empty()).then_some((keys, arrows));
        }
    }
    let call = (0..at).rev().find_map(|start| {
        let call = call(tokens, start)?;
        (call.first.start <= at && at < call.first.end).then_some(call)
    });
    if let Some(call) = call {
        return (!call.keys.is_empty()).then(|| ([keys, call.keys].concat(), false));
    }
    (subscript && !keys.is_empty()).then_some((keys, false))
}

impl Way {
    /// What is left of a way by subscripts is compared as it is.
    fn end(self, found: &mut BTreeSet<Vec<String>>) {
        if self.subscript && !self.keys.is_empty() {
            found.insert(self.keys);
        }
    }
}

/// Follows all ways in the tokens; gives back the one that goes on behind them.
fn walk(tokens: &[Token], found: &mut BTreeSet<Vec<String>>) -> Way {
    let mut way = Way::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some(step) = step(tokens, at) {
            way.subscript |= !step.arrow && !step.text;
            way.keys.extend(step.keys);
            if step.text && !way.keys.is_empty() {
                found.insert(std::mem::take(&mut way).keys);
            }
            at = step.next;
        } else if let Some(call) = call(tokens, at) {
            way = walk(&tokens[call.first.clone()], found);
            let start = std::mem::take(&mut way.keys);
            let whole = |keys: &[String]| [start.as_slice(), keys].concat();
            if call.record {
                found.extend(call.keys.iter().map(|key| whole(std::slice::from_ref(key))));
            } else if call.text && !call.keys.is_empty() {
                found.insert(whole(&call.keys));
            } else {
                way.keys = whole(&call.keys);
            }
            at = call.end;
        } else {
            let ends = token.is("=")
                || token.is(";")
                || ["and", "or", "select"]
                    .iter()
                    .any(|word| token.is_word(word));
            if ends {
                std::mem::take(&mut way).end(found);
            }
            at += 1;
        }
    }
    way
}

/// A key that an operator or a subscript names at a place.
fn step(tokens: &[Token], at: usize) -> Option<Step> {
    let token = tokens.get(at)?;
    let deep = token.is("#>") || token.is("#>>");
    if token.is("->") || token.is("->>") || deep {
        let (keys, next) = match tokens.get(at + 1)? {
            Token::Text(list) if deep => (elements(list), at + 2),
            Token::Text(key) => (vec![key.clone()], at + 2),
            word if deep && word.is_word("array") => {
                let end = (at + 2..tokens.len()).find(|place| tokens[*place].is("]"))?;
                (texts(&tokens[at + 2..end]), end + 1)
            }
            _ => return None,
        };
        return Some(Step {
            keys,
            text: token.is("->>") || token.is("#>>"),
            arrow: !deep,
            next: after_cast(tokens, next).unwrap_or(next),
        });
    }
    let before = at.checked_sub(1).and_then(|before| tokens.get(before))?;
    let of_something =
        before.is(")") || before.is("]") || before.name().is_some() && !before.is_word("array");
    match tokens.get(at + 1)? {
        Token::Text(key) if token.is("[") && of_something => {
            let close = after_cast(tokens, at + 2).unwrap_or(at + 2);
            tokens.get(close).filter(|token| token.is("]"))?;
            Some(Step {
                keys: vec![key.clone()],
                text: false,
                arrow: false,
                next: close + 1,
            })
        }
        _ => None,
    }
}

/// The place behind `::text` or `::text[]`.
fn after_cast(tokens: &[Token], at: usize) -> Option<usize> {
    let type_name = tokens.get(at + 1).and_then(Token::name);
    if !tokens.get(at)?.is("::") || type_name.is_none() {
        return None;
    }
    let list = tokens.get(at + 2).is_some_and(|token| token.is("["))
        && tokens.get(at + 3).is_some_and(|token| token.is("]"));
    Some(if list { at + 4 } else { at + 2 })
}

struct Call {
    /// The tokens of its first argument, the document.
    first: std::ops::Range<usize>,
    keys: Vec<String>,
    text: bool,
    /// Each key is a way of its own.
    record: bool,
    end: usize,
}

/// A function that takes a document apart.
fn call(tokens: &[Token], at: usize) -> Option<Call> {
    let name = tokens.get(at)?.name()?;
    let name = name
        .strip_prefix("jsonb_")
        .or_else(|| name.strip_prefix("json_"))?;
    let extracts = name.starts_with("extract_path");
    let record = matches!(name, "to_record" | "to_recordset");
    if !extracts && !record && !name.starts_with("path_query") {
        return None;
    }
    tokens.get(at + 1).filter(|token| token.is("("))?;
    let mut depth = 0;
    let mut comma = None;
    let mut close = None;
    for (place, token) in tokens.iter().enumerate().skip(at + 1) {
        depth += token.nesting();
        if depth == 1 && comma.is_none() && token.is(",") {
            comma = Some(place);
        }
        if depth == 0 {
            close = Some(place);
            break;
        }
    }
    let close = close?;
    let rest = &tokens[comma.unwrap_or(close)..close];
    let mut end = close + 1;
    let keys = if extracts {
        texts(rest)
    } else if record {
        let open = (close + 1..tokens.len().min(close + 4)).find(|place| tokens[*place].is("("))?;
        let mut names = Vec::new();
        let mut depth = 0;
        for place in open..tokens.len() {
            let token = &tokens[place];
            let first = token.is("(") && depth == 0 || token.is(",") && depth == 1;
            if let Some(name) = tokens
                .get(place + 1)
                .and_then(Token::name)
                .filter(|_| first)
            {
                names.push(name.to_owned());
            }
            depth += token.nesting();
            end = place + 1;
            if depth == 0 {
                break;
            }
        }
        names
    } else {
        texts(rest).first().map(|path| members(path))?
    };
    Some(Call {
        first: at + 2..comma.unwrap_or(close),
        keys,
        // What a path query gives is compared, in whatever form it is then given.
        text: name.ends_with("_text") || !extracts,
        record,
        end,
    })
}

fn texts(tokens: &[Token]) -> Vec<String> {
    tokens
        .iter()
        .filter_map(|token| match token {
            Token::Text(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
}

/// The elements of `{a,b}`.
fn elements(list: &str) -> Vec<String> {
    list.trim_matches(['{', '}'])
        .split(',')
        .map(|key| key.trim().trim_matches('"').to_owned())
        .filter(|key| !key.is_empty())
        .collect()
}

/// The members that a path names from its root: `$.a."b"`.
fn members(path: &str) -> Vec<String> {
    let path = path.trim_start_matches(|c: char| c.is_whitespace() || c.is_alphabetic());
    let Some(mut rest) = path.strip_prefix('$') else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    while let Some(member) = rest.strip_prefix('.') {
        let (key, behind) = if let Some(quoted) = member.strip_prefix('"') {
            let Some((key, behind)) = quoted.split_once('"') else {
                break;
            };
            (key, behind)
        } else {
            let end = member
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(member.len());
            member.split_at(end)
        };
        if key.is_empty() || behind.trim_start().starts_with('(') {
            break;
        }
        keys.push(key.to_owned());
        rest = behind.trim_start();
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: &str = "((NULLIF(current_setting('c'::text, true), ''::text))::jsonb";

    #[test]
    fn all_forms_lead_to_the_same_place() {
        for tail in [
            " -> 'app'::text) ->> 'firm'::text)",
            " #>> '{app,firm}'::text[])",
            " #>> ARRAY['app'::text, 'firm'::text])",
            ")['app'::text]['firm'::text]",
            ")['app'::text] #>> '{firm}'::text[]",
            ")['app'::text]['firm'::text] #>> '{}'::text[]",
        ] {
            let text = format!("(id = ({SETTING}{tail})::bigint)");
            let expected = BTreeSet::from([vec!["app".to_owned(), "firm".to_owned()]]);
            assert_eq!(paths(&text), expected, "{text}");
        }
        for (text, keys) in [
            (
                format!(
                    "(id = jsonb_extract_path_text({SETTING}), VARIADIC ARRAY['app'::text, 'firm'::text]))"
                ),
                vec!["app", "firm"],
            ),
            (
                format!(
                    "jsonb_extract_path_text({SETTING}) -> 'app'::text, VARIADIC ARRAY['firm'::text])"
                ),
                vec!["app", "firm"],
            ),
            (
                format!(
                    "(jsonb_path_query_first({SETTING}), '$.\"app\".\"firm\"'::jsonpath) #>> '{{}}'::text[])"
                ),
                vec!["app", "firm"],
            ),
            (
                format!("( SELECT x.firm FROM jsonb_to_record({SETTING})) x(firm text))"),
                vec!["firm"],
            ),
        ] {
            let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
            assert_eq!(paths(&text), BTreeSet::from([keys]), "{text}");
        }
    }

    #[test]
    fn what_is_compared_of_a_column() {
        for (text, expected) in [
            ("((doc ->> 'firm'::text) = x)", "\"doc\" ->> 'firm'"),
            (
                "(((doc -> 'meta'::text) ->> 'firm'::text) = x)",
                "\"doc\" -> 'meta' ->> 'firm'",
            ),
            (
                "((doc #>> '{meta,firm}'::text[]) = x)",
                "\"doc\" #>> array['meta', 'firm']",
            ),
            (
                "((doc['meta'::text]['firm'::text] #>> '{}'::text[]) = x)",
                "\"doc\" #>> array['meta', 'firm']",
            ),
            (
                "(jsonb_extract_path_text(doc, VARIADIC ARRAY['meta'::text, 'firm'::text]) = x)",
                "\"doc\" #>> array['meta', 'firm']",
            ),
            (
                "((jsonb_path_query_first(doc, '$.\"meta\".\"firm\"'::jsonpath) #>> '{}'::text[]) = x)",
                "\"doc\" #>> array['meta', 'firm']",
            ),
            (
                "(COALESCE(NULLIF((doc ->> 'firm'::text), ''::text), '0'::text) = x)",
                "\"doc\" ->> 'firm'",
            ),
        ] {
            assert_eq!(part(text, "doc").as_deref(), Some(expected), "{text}");
        }
        assert_eq!(part("(doc ? 'firm'::text)", "doc"), None);
        assert_eq!(part("((doc -> 'firm'::text) = x)", "doc"), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'\\[\\]{}#>:$., =-]{0,80}") {
            let _ = paths(&text);
            let _ = part(&text, "a");
            let _ = paths(&format!("jsonb_path_query_first({text}"));
        }
    }
}
