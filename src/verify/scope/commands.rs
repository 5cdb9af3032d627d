//! What a function does with commands: arguments that it puts into their text as they
//! are, and commands that take the guards off a table.
//!
//! Both are read from the text alone. An argument that is quoted (`quote_ident`,
//! `%I`, `using`), cast to a type that cannot hold a command, or held against a list or
//! a pattern first is not told.

use std::collections::HashSet;

use super::lexer::{Token, tokens};

/// Functions whose result holds nothing of a command, whatever they are given.
const HARMLESS: [&str; 7] = [
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "to_regclass",
    "length",
    "md5",
    "count",
];

/// Types of text: what is cast to one of them stays what it was.
const TEXT: [&str; 6] = ["text", "varchar", "character", "bpchar", "char", "name"];

/// The parameter of which a text in PL/pgSQL makes a part of a command, unquoted.
pub(super) fn spliced(source: &str, parameters: &[String]) -> Option<String> {
    let tokens = fields(tokens(source));
    let mut tainted: HashSet<&str> = parameters
        .iter()
        .map(String::as_str)
        .filter(|name| !held(&tokens, name))
        .collect();
    if tainted.is_empty() {
        return None;
    }
    for at in 0..tokens.len() {
        if let Some((variable, value)) = assignment(&tokens, at)
            && raw(value, &tainted).is_some()
        {
            tainted.insert(variable);
        }
        // `grant execute on` and `execute function` are commands of their own.
        let runs = tokens[at].is_word("execute")
            && !tokens.get(at + 1).is_some_and(|next| {
                ["on", "function", "procedure"]
                    .iter()
                    .any(|word| next.is_word(word))
            });
        if runs && let Some(name) = raw(until(&tokens[at + 1..]), &tainted) {
            return Some(name.to_owned());
        }
    }
    None
}

/// The fields of a trigger's rows as one name each, `new.name`.
fn fields(tokens: Vec<Token>) -> Vec<Token> {
    let mut all: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let row = match all.as_slice() {
            [.., row, dot] if dot.is(".") => ["new", "old"].iter().find(|word| row.is_word(word)),
            _ => None,
        };
        match (row, token.name()) {
            (Some(row), Some(name)) => {
                let field = format!("{row}.{name}");
                all.truncate(all.len() - 2);
                all.push(Token::Word(field));
            }
            _ => all.push(token),
        }
    }
    all
}

/// The command of a text that takes the guards off a table.
pub(super) fn unguards(source: &str) -> Option<&'static str> {
    const COMMANDS: [&[&str]; 5] = [
        &["disable", "row", "level", "security"],
        &["no", "force", "row", "level", "security"],
        &["alter", "policy"],
        &["drop", "policy"],
        &["disable", "trigger"],
    ];
    let mut all = tokens(source);
    let within: Vec<Token> = all
        .iter()
        .filter_map(|token| match token {
            Token::Text(text) => Some(tokens(text)),
            _ => None,
        })
        .flatten()
        .collect();
    all.extend(within);
    let says = |words: &[&str]| {
        all.windows(words.len()).any(|part| {
            let mut pairs = part.iter().zip(words);
            pairs.all(|(token, word)| token.is_word(word))
        })
    };
    COMMANDS
        .into_iter()
        .filter(|words| says(words))
        // Policies that are made anew, as for a new partition.
        .find(|words| words[0] != "drop" || !says(&["create", "policy"]))
        .map(|words| match words[0] {
            "disable" if words[1] == "trigger" => "disable trigger",
            "disable" => "disable row level security",
            "no" => "no force row level security",
            "alter" => "alter policy",
            _ => "drop policy",
        })
}

/// Whether a parameter is held against a list or a pattern somewhere.
fn held(tokens: &[Token], name: &str) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let word = |ahead: usize, word: &str| {
            tokens
                .get(at + ahead)
                .is_some_and(|token| token.is_word(word))
        };
        let punct = |ahead: usize, all: &[&str]| {
            tokens
                .get(at + ahead)
                .is_some_and(|token| all.iter().any(|punct| token.is(punct)))
        };
        token.name() == Some(name)
            && (word(1, "in")
                || word(1, "not") && word(2, "in")
                || punct(1, &["<>", "!="]) && word(2, "all")
                || punct(1, &["="]) && word(2, "any")
                || punct(1, &["~", "!~"]))
    })
}

/// A variable and what it is given, where its assignment begins at a place.
fn assignment(tokens: &[Token], at: usize) -> Option<(&str, &[Token])> {
    let name = tokens[at].name()?;
    let starts = at == 0
        || tokens[at - 1].is(";")
        || ["begin", "then", "else", "loop", "declare"]
            .iter()
            .any(|word| tokens[at - 1].is_word(word));
    if !starts {
        return None;
    }
    let rest = &tokens[at + 1..];
    let statement = &rest[..rest.iter().position(|token| token.is(";"))?];
    let equal = statement
        .iter()
        .position(|token| token.is(":=") || token.is_word("default"))
        .or_else(|| statement.first().filter(|token| token.is("=")).map(|_| 0))?;
    Some((name, &statement[equal + 1..]))
}

/// The expression at the beginning of these tokens.
fn until(tokens: &[Token]) -> &[Token] {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        depth += token.nesting();
        depth < 0
            || token.is(";")
            || depth == 0
                && ["using", "into", "loop"]
                    .iter()
                    .any(|word| token.is_word(word))
    });
    &tokens[..end.unwrap_or(tokens.len())]
}

/// A bracket that stands open, and which argument of its call is being read.
struct Call<'a> {
    name: Option<&'a str>,
    template: Option<&'a str>,
    argument: usize,
}

/// The name of these that goes into the value of an expression as it is.
fn raw<'a>(expression: &'a [Token], names: &HashSet<&str>) -> Option<&'a str> {
    let mut calls: Vec<Call<'a>> = Vec::new();
    let mut asked = false; // between WHEN and THEN nothing is put anywhere
    for (at, token) in expression.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| expression.get(before));
        let next = expression.get(at + 1);
        asked = token.is_word("when") || asked && !token.is_word("then");
        if token.is("(") || token.is("[") {
            calls.push(Call {
                name: before.and_then(Token::name).filter(|_| token.is("(")),
                template: match next {
                    Some(Token::Text(text)) => Some(text),
                    _ => None,
                },
                argument: 0,
            });
        } else if token.is(")") || token.is("]") {
            calls.pop();
        } else if token.is(",") {
            if let Some(call) = calls.last_mut() {
                call.argument += 1;
            }
        } else if let Some(name) = token.name().filter(|name| names.contains(name)) {
            let part = before.is_some_and(|token| token.is(".") || token.is("::"))
                || next.is_some_and(|token| token.is(".") || token.is("("));
            let cast = next.is_some_and(|token| token.is("::"))
                && !expression
                    .get(at + 2)
                    .and_then(Token::name)
                    .is_some_and(|name| TEXT.contains(&name));
            let chosen = before.is_some_and(|token| token.is_word("case"));
            let safe = calls.iter().any(|call| match call.name {
                Some("format") => call
                    .template
                    .is_some_and(|template| !as_it_is(template, call.argument)),
                Some(name) => HARMLESS.contains(&name),
                None => false,
            });
            if !(part || cast || chosen || safe || asked) {
                return Some(name);
            }
        }
    }
    None
}

/// Whether a template of `format` puts this argument in by `%s`.
fn as_it_is(template: &str, argument: usize) -> bool {
    let mut chars = template.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        let mut number = String::new();
        let mut place = None;
        for c in chars.by_ref() {
            match c {
                '$' => place = std::mem::take(&mut number).parse::<usize>().ok(),
                '-' => {}
                c if c.is_ascii_digit() => number.push(c),
                '%' => break,
                kind => {
                    next = place.unwrap_or(next + 1);
                    if kind == 's' && next == argument {
                        return true;
                    }
                    break;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_become_parts_of_commands() {
        let spliced = |text: &str| spliced(text, &["p".to_owned(), "q".to_owned()]);
        for text in [
            "begin execute p; end",
            "begin execute 'select 1 from t where ' || p into n; end",
            "begin return query execute format('select * from t order by %s', p); end",
            "begin execute format('select %I from %2$s', q, p); end",
            "declare c text := 'select ' || p; begin execute c using q; end",
            "begin c = concat('select ', p); for r in execute c loop end loop; end",
            "begin execute 'select ' || p::text; end",
            "begin execute format(p, q); end",
        ] {
            assert!(spliced(text).is_some(), "{text}");
        }
        for text in [
            "begin execute format('select * from %I where a = %L', p, q); end",
            "begin execute 'select * from ' || quote_ident(p) || ' where a = $1' using q; end",
            "begin execute 'select count(*) from ' || p::regclass; end",
            "begin if p not in ('a', 'b') then raise exception 'no'; end if; execute 'select ' || p; end",
            "begin execute 'select ' || case p when 'a' then 'x' else 'y' end; end",
            "begin execute 'select 1 order by a ' || case when upper(p) = 'DESC' then 'desc' else 'asc' end; end",
            "begin select p into c; execute 'analyze'; end",
            "begin execute format('%s %1$I %2$L', now(), q); end",
        ] {
            assert_eq!(spliced(text), None, "{text}");
        }
    }

    #[test]
    fn fields_of_rows_that_become_parts_of_commands() {
        let spliced = |text: &str| spliced(text, &["new.bed No".to_owned(), "new.code".to_owned()]);
        for text in [
            r#"begin execute 'update t set a = 1 where b = ''' || new."bed No" || ''''; end"#,
            "declare c text := NEW.code; begin execute 'select ' || c; end",
            "begin execute format('select * from %s', new . code); end",
        ] {
            assert!(spliced(text).is_some(), "{text}");
        }
        for text in [
            "begin execute 'update t set a = 1 where b = $1' using new.code; end",
            "begin execute 'update t set a = 1 where n = ' || new.number; end",
            "begin execute format('select * from %I', new.code); end",
            "begin execute 'select ' || code; end",
        ] {
            assert_eq!(spliced(text), None, "{text}");
        }
    }

    #[test]
    fn commands_that_take_guards_off() {
        assert_eq!(
            unguards("begin execute format('alter table %I disable row level security', t); end"),
            Some("disable row level security")
        );
        assert_eq!(
            unguards("alter policy p on t using (true)"),
            Some("alter policy")
        );
        assert_eq!(
            unguards("begin drop policy if exists p on t; create policy p on t using (a); end"),
            None
        );
        assert_eq!(
            unguards("begin execute 'alter table x enable row level security'; end"),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z()'|%,;:= ]{0,80}") {
            let _ = spliced(&text, &["p".to_owned()]);
            let _ = unguards(&text);
        }
    }
}
