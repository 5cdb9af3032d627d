//! What a function sends to whoever listens: the arguments of `pg_notify`, of
//! functions that pass theirs on to it, and what went into the variables there.

use std::collections::HashSet;

use super::brackets::enclosed;
use super::lexer::{Token, tokens};

/// What goes into notifications, as text for the checks: names as they stand,
/// literals left empty. None where nothing is sent. `passes_on` tells other
/// functions that send what they are given.
pub(crate) fn payload(
    source: &str,
    passes_on: &dyn Fn(Option<&str>, &str) -> bool,
) -> Option<String> {
    let tokens = tokens(source);
    let mut parts: Vec<&[Token]> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let called = tokens.get(at + 1).is_some_and(|next| next.is("("));
        if let Some(name) = token.name().filter(|_| called) {
            let schema = (at >= 2 && tokens[at - 1].is("."))
                .then(|| tokens[at - 2].name())
                .flatten();
            if name == "pg_notify" || passes_on(schema, name) {
                parts.push(enclosed(&tokens, at + 1));
            }
        }
        // Text that is put together and run.
        if matches!(token, Token::Text(text) if text.trim_start().to_lowercase().starts_with("notify "))
        {
            parts.push(statement(&tokens, at));
        }
    }
    if parts.is_empty() {
        return None;
    }
    let mut seen: HashSet<&str> = HashSet::new();
    let mut at = 0;
    while let Some(part) = parts.get(at).copied() {
        at += 1;
        for (place, token) in part.iter().enumerate() {
            let Some(name) = token.name() else { continue };
            let member = place > 0 && part[place - 1].is(".");
            if !member && !matches!(name, "new" | "old") && seen.insert(name) {
                parts.extend(assigned(&tokens, name));
            }
        }
    }
    Some(
        parts
            .iter()
            .map(|part| render(part))
            .collect::<Vec<_>>()
            .join(" ; "),
    )
}

/// The statement around a token.
fn statement(tokens: &[Token], at: usize) -> &[Token] {
    let from = tokens[..at]
        .iter()
        .rposition(|token| token.is(";"))
        .map_or(0, |before| before + 1);
    let to = tokens[at..]
        .iter()
        .position(|token| token.is(";"))
        .map_or(tokens.len(), |after| at + after);
    &tokens[from..to]
}

/// What is assigned to a variable: `x := ..`, `x type := ..`, `select .. into x`.
fn assigned<'a>(tokens: &'a [Token], name: &str) -> Vec<&'a [Token]> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.name() != Some(name) {
            continue;
        }
        let whole = statement(tokens, at);
        let into = at > 0 && (tokens[at - 1].is_word("into") || tokens[at - 1].is_word("strict"));
        let starts = at == 0
            || tokens[at - 1].is(";")
            || ["begin", "then", "else", "loop", "declare"]
                .iter()
                .any(|word| tokens[at - 1].is_word(word));
        let gives = |token: &Token| token.is(":=") || token.is("=") || token.is_word("default");
        if into {
            found.push(whole);
        } else if starts && let Some(sign) = whole.iter().position(gives) {
            found.push(&whole[sign..]);
        }
    }
    found
}

fn render(tokens: &[Token]) -> String {
    let word = |token: &Token| match token {
        Token::Word(word) | Token::Number(word) | Token::Punct(word) => word.clone(),
        Token::Quoted(word) => format!("\"{word}\""),
        Token::Text(_) => "''".to_owned(),
    };
    tokens.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(source: &str) -> Option<String> {
        payload(source, &|_, name| name == "announce")
    }

    #[test]
    fn variables_and_helpers_are_followed() {
        let direct = sent("begin perform pg_notify('x', row_to_json(new)::text); end");
        assert_eq!(direct.as_deref(), Some("'' , row_to_json ( new ) :: text"));
        for source in [
            "declare p text; begin p := json_build_object('b', new.body)::text; perform pg_notify('x', p); end",
            "declare p text := new.body; begin perform pg_notify('x', p); end",
            "begin select new.body into p; perform pg_notify('x', p); end",
            "begin perform private.announce('x', new.body); end",
            "begin execute format('notify x, %L', new.body); end",
        ] {
            assert!(
                sent(source).is_some_and(|text| text.contains("new . body")),
                "{source}"
            );
        }
        assert_eq!(sent("begin new.body := 'pg_notify(new)'; end"), None);
        let quiet = sent("begin new.a := 1; perform pg_notify('x', tg_op); end");
        assert!(quiet.is_some_and(|text| !text.contains("new")));
    }
}
