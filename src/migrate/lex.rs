//! What kinedb must know of SQL text without parsing it: statements, comments,
//! directives, and a form in which two texts that mean the same compare equal.

use std::ops::Range;

use sha2::{Digest as _, Sha256};
use squawk_lexer::{LiteralKind, TokenKind, tokenize};

/// One token that means something, and where it stands (bytes).
struct Word<'a> {
    kind: TokenKind,
    text: &'a str,
    range: Range<usize>,
}

fn words(sql: &str) -> impl Iterator<Item = Word<'_>> {
    let mut offset = 0;
    tokenize(sql).filter_map(move |token| {
        let range = offset..offset + token.len as usize;
        offset = range.end;
        let text = sql.get(range.clone())?;
        let skipped = matches!(
            token.kind,
            TokenKind::Whitespace
                | TokenKind::LineComment
                | TokenKind::BlockComment { .. }
                | TokenKind::Eof
        ) || text == squawk_lexer::BOM;
        (!skipped).then_some(Word {
            kind: token.kind,
            text,
            range,
        })
    })
}

/// SHA-256 of the text without comments, white space and line endings between
/// tokens, as 64 hexadecimal digits. Texts inside quotes count to the letter,
/// except that a line ends the same way on every system.
pub fn checksum(sql: &str) -> String {
    let mut hash = Sha256::new();
    for word in words(sql) {
        let quoted = matches!(word.kind, TokenKind::Literal { .. });
        if quoted && word.text.contains('\r') {
            hash.update(word.text.replace("\r\n", "\n"));
        } else {
            hash.update(word.text);
        }
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The statements of a text, as byte ranges without the semicolon, empty ones
/// left out. Bodies in dollar quotes and `begin atomic ... end` stay whole.
pub fn statements(sql: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current: Option<Range<usize>> = None;
    let mut depth = 0_usize;
    let mut after_begin = false;
    for word in words(sql) {
        let is = |keyword: &str| {
            word.kind == TokenKind::Ident && word.text.eq_ignore_ascii_case(keyword)
        };
        match () {
            () if depth == 0 && after_begin && is("atomic") => depth = 1,
            () if depth > 0 && is("case") => depth += 1,
            () if depth > 0 && is("end") => depth -= 1,
            () => {}
        }
        after_begin = is("begin");
        if word.kind == TokenKind::Semi && depth == 0 {
            found.extend(current.take());
        } else {
            let start = current
                .as_ref()
                .map_or(word.range.start, |range| range.start);
            current = Some(start..word.range.end);
        }
    }
    found.extend(current);
    found
}

/// A statement that ends or opens a transaction, which only the runner may do.
pub fn controls_transaction(statement: &str) -> bool {
    const CONTROL: &[&str] = &[
        "begin",
        "commit",
        "rollback",
        "end",
        "abort",
        "start",
        "savepoint",
        "release",
    ];
    let mut head = words(statement).map(|word| word.text.to_ascii_lowercase());
    match head.next().as_deref() {
        Some("prepare") => head.next().as_deref() == Some("transaction"),
        Some(first) => CONTROL.contains(&first),
        None => false,
    }
}

/// `copy .. from stdin` or `copy .. to stdout`: the server would wait for rows, or send
/// them, and nobody is there.
pub fn copies_to_client(statement: &str) -> bool {
    let mut depth = 0_usize;
    let mut outside: Vec<String> = Vec::new();
    for word in words(statement) {
        match word.kind {
            TokenKind::OpenParen => depth += 1,
            TokenKind::CloseParen => depth = depth.saturating_sub(1),
            _ if depth == 0 => outside.push(word.text.to_ascii_lowercase()),
            _ => {}
        }
    }
    outside.first().is_some_and(|first| first == "copy")
        && outside.windows(2).any(|pair| {
            let pair = (pair[0].as_str(), pair[1].as_str());
            matches!(pair, ("from", "stdin") | ("to", "stdout"))
        })
}

/// The first command of psql in a statement, at its beginning or behind it as
/// `\gexec` is, and where it stands.
pub fn psql_command(statement: &str) -> Option<(&str, usize)> {
    // No operator of SQL has a backslash.
    let start = words(statement)
        .find(|word| word.text.starts_with('\\'))?
        .range
        .start;
    let command = statement.get(start..)?.split_whitespace().next()?;
    Some((command, start))
}

/// The values of `-- kinedb: NAME [VALUE]` comment lines of this name; the value
/// may be empty.
pub fn directive<'a>(sql: &'a str, name: &str) -> Option<&'a str> {
    let mut offset = 0;
    tokenize(sql).find_map(|token| {
        let text = sql.get(offset..offset + token.len as usize)?;
        offset += token.len as usize;
        if token.kind != TokenKind::LineComment {
            return None;
        }
        let rest = text
            .trim_start_matches('-')
            .trim()
            .strip_prefix("kinedb:")?
            .trim();
        let value = rest.strip_prefix(name)?;
        (value.is_empty() || value.starts_with([' ', ':']))
            .then(|| value.trim_start_matches([' ', ':']).trim())
    })
}

/// An unterminated quote, dollar quote or comment: what follows would be sent as part of it.
pub fn unterminated(sql: &str) -> Option<usize> {
    let mut offset = 0;
    tokenize(sql).find_map(|token| {
        let start = offset;
        offset += token.len as usize;
        let open = match token.kind {
            TokenKind::BlockComment { terminated } | TokenKind::QuotedIdent { terminated, .. } => {
                !terminated
            }
            TokenKind::Literal { kind } => matches!(
                kind,
                LiteralKind::Str { terminated: false }
                    | LiteralKind::EscStr { terminated: false }
                    | LiteralKind::DollarQuotedString { terminated: false }
                    | LiteralKind::UnicodeEscStr { terminated: false }
                    | LiteralKind::NationalStr { terminated: false }
            ),
            _ => false,
        };
        open.then_some(start)
    })
}

/// Line and column (both from 1, in characters) of a character position (from 1).
pub fn line_column(sql: &str, position: usize) -> (usize, usize) {
    let before: String = sql.chars().take(position.saturating_sub(1)).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// Line and column (both from 1, in characters) of a byte offset.
pub fn line_column_at(sql: &str, offset: usize) -> (usize, usize) {
    let position = sql.get(..offset).map_or(0, |before| before.chars().count()) + 1;
    line_column(sql, position)
}

/// The statement that holds a byte offset.
pub fn statement_at(sql: &str, offset: usize) -> Option<Range<usize>> {
    statements(sql)
        .into_iter()
        .find(|range| range.contains(&offset) || range.end == offset)
}

/// The words of a text, without comments and white space, with their places.
pub fn tokens(sql: &str) -> Vec<(&str, Range<usize>)> {
    words(sql).map(|word| (word.text, word.range)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(sql: &str) -> Vec<&str> {
        statements(sql)
            .into_iter()
            .map(|range| &sql[range])
            .collect()
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_bodies() {
        assert_eq!(split("a; b ;; -- c;\n d"), ["a", "b", "d"]);
        assert_eq!(
            split("do $$ begin x; end $$; select ';'"),
            ["do $$ begin x; end $$", "select ';'"]
        );
        let body = "create function f() returns int begin atomic select case when true then 1 end; select 2; end";
        assert_eq!(split(&format!("{body}; select 3")), [body, "select 3"]);
    }

    #[test]
    fn transaction_control_is_seen_and_bodies_are_not() {
        assert!(controls_transaction("COMMIT and chain"));
        assert!(controls_transaction("/* x */ prepare transaction 'x'"));
        assert!(!controls_transaction("prepare q as select 1"));
        assert!(!controls_transaction("do $$ begin perform 1; end $$"));
        assert!(!controls_transaction(
            "create function f() returns int begin atomic select 1; end"
        ));
    }

    #[test]
    fn a_checksum_ignores_form_and_keeps_meaning() {
        let one = checksum("create table a (b int); -- note\r\n");
        assert_eq!(one, checksum("/* x */ create  table a\n(\n b int )\n;"));
        assert_ne!(one, checksum("create table a (b bigint);"));
        assert_ne!(checksum("select 'a b'"), checksum("select 'a  b'"));
        assert_eq!(checksum("do $$a\r\nb$$"), checksum("do $$a\nb$$"));
        assert_ne!(checksum("a b"), checksum("ab"));
    }

    #[test]
    fn commands_of_psql_are_found_behind_a_statement_too() {
        assert_eq!(
            psql_command("select 1 as a \\gset x_\n"),
            Some(("\\gset", 14))
        );
        assert_eq!(psql_command("\\d t"), Some(("\\d", 0)));
        assert_eq!(psql_command("select E'\\n', '\\d', $$\\x$$"), None);
    }

    #[test]
    fn directives_are_read_from_comments_only() {
        assert_eq!(
            directive("-- kinedb: no-transaction\nselect 1", "no-transaction"),
            Some("")
        );
        assert_eq!(
            directive("--kinedb: irreversible: data is gone", "irreversible"),
            Some("data is gone")
        );
        assert_eq!(
            directive("select '-- kinedb: no-transaction'", "no-transaction"),
            None
        );
    }

    #[test]
    fn positions_are_lines_and_columns() {
        assert_eq!(line_column("ab\ncd", 1), (1, 1));
        assert_eq!(line_column("ab\ncdé", 5), (2, 2));
    }

    proptest! {
        #[test]
        fn white_space_and_comments_never_count(parts in prop::collection::vec("[a-z]{1,6}|'[a-z ;]{0,6}'|[(),=;]", 1..20)) {
            let tight = parts.join(" ");
            let loose = parts.join(" /* c; */\r\n\t -- d;\n ");
            prop_assert_eq!(checksum(&tight), checksum(&loose));
        }

        #[test]
        fn no_text_panics(sql in "\\PC{0,200}") {
            let _ = (checksum(&sql), statements(&sql), controls_transaction(&sql), copies_to_client(&sql), unterminated(&sql));
        }
    }
}
