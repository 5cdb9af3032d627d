//! What text of migrations was written for: other tools, that divide one file in two.

use squawk_lexer::{TokenKind, tokenize};

use crate::migrate::script::Direction;

/// A comment by which another tool divides one file into a way up and a way down, as
/// `-- +goose Down`, `-- migrate:down`, `-- Down Migration`, `-- !Downs`. The line of
/// the other way than this and where it stands, where a statement follows it.
pub(super) fn divided(sql: &str, direction: Direction) -> Option<(&str, usize)> {
    let other = match direction {
        Direction::Up => "down",
        Direction::Down => "up",
    };
    let mut offset = 0;
    let mut found: Option<(&str, usize)> = None;
    for token in tokenize(sql) {
        let start = offset;
        offset += token.len as usize;
        let text = sql.get(start..offset)?;
        match token.kind {
            TokenKind::LineComment if found.is_none() && divides(text, other) => {
                found = Some((text.trim_end(), start));
            }
            TokenKind::LineComment
            | TokenKind::BlockComment { .. }
            | TokenKind::Whitespace
            | TokenKind::Semi
            | TokenKind::Eof => {}
            _ if found.is_some() => return found,
            _ => {}
        }
    }
    None
}

fn divides(comment: &str, way: &str) -> bool {
    let text = comment.trim_start_matches('-').trim();
    let marked = text.contains(['+', '!', '@', ':']);
    let parts: Vec<String> = text
        .split(|c: char| c.is_whitespace() || c == ':')
        .map(|part| part.trim_matches(['+', '!', '@', '-', '=']))
        .filter(|part| !part.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let is_way = |part: &&String| part.as_str() == way || **part == format!("{way}s");
    let (ways, others): (Vec<_>, Vec<_>) = parts.iter().partition(is_way);
    // A sentence with such a word in it is none.
    let alone = match others.as_slice() {
        [] => true,
        [one] => marked || one.starts_with("migrat"),
        _ => false,
    };
    ways.len() == 1 && alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_divides_a_file_for_another_tool_is_seen() {
        for line in [
            "-- +goose Down",
            "-- migrate:down",
            "-- +migrate Down",
            "-- !Downs",
            "-- Down Migration",
            "-- down",
            "--Down",
        ] {
            let sql = format!("select 1;\n{line}\nselect 2;\n");
            assert_eq!(divided(&sql, Direction::Up), Some((line, 10)), "{line}");
            assert_eq!(divided(&sql, Direction::Down), None, "{line}");
            let nothing = format!("select 1;\n{line}\n-- x\n;");
            assert_eq!(divided(&nothing, Direction::Up), None, "{line}");
        }
        let whole = "-- +goose Up\nselect 1;\n-- +goose Down\nselect 2;\n";
        assert_eq!(divided(whole, Direction::Down), Some(("-- +goose Up", 0)));
    }

    #[test]
    fn sentences_and_texts_are_not() {
        for line in [
            "-- tear down",
            "-- write it down: later",
            "-- the way down",
            "-- +goose StatementBegin",
            "-- download",
        ] {
            let sql = format!("{line}\nselect 2;");
            assert_eq!(divided(&sql, Direction::Up), None, "{line}");
        }
        assert_eq!(
            divided("select '\n-- down\n'; select 1", Direction::Up),
            None
        );
    }
}
