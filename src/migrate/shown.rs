//! A statement as messages show it: in one line, not endless, and without secrets.

use squawk_lexer::{LiteralKind, TokenKind, tokenize};

/// How much of a statement a message shows, in characters.
const SHOWN: usize = 400;

/// What stands for a text that is not shown.
const HIDDEN: &str = "'***'";

/// The statement for people.
pub(super) fn statement(sql: &str) -> String {
    let text = without_secrets(sql);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line,
    }
}

/// The text without its comments, and without texts that stand behind `password` and
/// the like, or hold such a word or a URL themselves.
fn without_secrets(sql: &str) -> String {
    let mut shown = String::with_capacity(sql.len());
    let mut offset = 0;
    // How many words ago something was named whose value is none to show.
    let mut since = usize::MAX;
    for token in tokenize(sql) {
        let start = offset;
        offset += token.len as usize;
        let text = sql.get(start..offset).unwrap_or_default();
        match token.kind {
            TokenKind::LineComment | TokenKind::BlockComment { .. } => shown.push(' '),
            TokenKind::Whitespace | TokenKind::Eof => shown.push_str(text),
            TokenKind::Literal { kind } if is_text(kind) => {
                since = since.saturating_add(1);
                match dollar_quoted(text) {
                    _ if since <= 2 => shown.push_str(HIDDEN),
                    // A body: what is in it is SQL again.
                    Some((mark, inside)) => {
                        let inside = without_secrets(inside);
                        shown.push_str(&format!("{mark}{inside}{mark}"));
                    }
                    None if is_secret(text) || text.contains("://") => shown.push_str(HIDDEN),
                    None => shown.push_str(text),
                }
            }
            _ => {
                since = match text {
                    _ if is_secret(text) => 0,
                    // `=>` and `:=` come as two.
                    "=" | ">" | ":" => since,
                    _ => since.saturating_add(1),
                };
                shown.push_str(text);
            }
        }
    }
    shown
}

fn is_text(kind: LiteralKind) -> bool {
    matches!(
        kind,
        LiteralKind::Str { .. }
            | LiteralKind::EscStr { .. }
            | LiteralKind::UnicodeEscStr { .. }
            | LiteralKind::NationalStr { .. }
            | LiteralKind::DollarQuotedString { .. }
    )
}

fn is_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ["password", "passwd", "secret"]
        .iter()
        .any(|one| word.contains(one))
}

/// The mark and the inside of a text in dollar quotes.
fn dollar_quoted(text: &str) -> Option<(&str, &str)> {
    let end = text.strip_prefix('$')?.find('$')? + 2;
    let mark = text.get(..end)?;
    Some((mark, text.strip_prefix(mark)?.strip_suffix(mark)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (sql, shown) in [
            (
                "create user a -- the first\n  password 'c4n4ry' foo",
                "create user a password '***' foo",
            ),
            (
                "create user mapping for a server s options (user 'a', password 'c4n4ry')",
                "create user mapping for a server s options (user 'a', password '***')",
            ),
            (
                "do $x$ begin execute 'create role a password ''c4n4ry'''; x := 'b'; end $x$",
                "do $x$ begin execute '***'; x := 'b'; end $x$",
            ),
            (
                "create subscription s connection 'host=a password=c4n4ry' publication p",
                "create subscription s connection '***' publication p",
            ),
            (
                "select dblink('postgres://a:c4n4ry@b/c', 'select 1')",
                "select dblink('***', 'select 1')",
            ),
            (
                "select f(secret_key => $$c4n4ry$$)",
                "select f(secret_key => '***')",
            ),
            (
                "alter table t add column password text default 'x'",
                "alter table t add column password text default 'x'",
            ),
        ] {
            assert_eq!(statement(sql), shown);
        }
        assert_eq!(statement(&"x ".repeat(300)).chars().count(), SHOWN + 4);
    }
}
