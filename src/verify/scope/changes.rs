//! What UPDATE and DELETE statements in the text of a function find their rows by:
//! the columns that they hold equal to something.

use super::body::Dictionary;
use super::brackets::keyword;
use super::lexer::{Token, split, strip, tokens};
use crate::verify::model::Change;

/// The statements of a text, each with the relation it changes.
pub(super) fn read(text: &str, names: &Dictionary) -> Vec<Change> {
    let mut found = Vec::new();
    let lower = text.to_ascii_lowercase();
    if !lower.contains("update") && !lower.contains("delete") {
        return found;
    }
    let tokens = tokens(text);
    for at in 0..tokens.len() {
        let deletes =
            tokens[at].is_word("delete") && tokens.get(at + 1).is_some_and(|t| t.is_word("from"));
        // `for update`, `after insert or update`, `on conflict do update`, `on update cascade`.
        let updates = tokens[at].is_word("update")
            && !(at > 0
                && ["for", "or", "do", "on", "key"]
                    .iter()
                    .any(|word| tokens[at - 1].is_word(word)));
        if !deletes && !updates {
            continue;
        }
        let mut place = at + 1 + usize::from(deletes);
        place += usize::from(tokens.get(place).is_some_and(|t| t.is_word("only")));
        let Some(first) = tokens.get(place).and_then(Token::name) else {
            continue;
        };
        let second = tokens
            .get(place + 1)
            .filter(|t| t.is("."))
            .and_then(|_| tokens.get(place + 2)?.name());
        let (schema, name) = second.map_or((None, first), |second| (Some(first), second));
        let rest = &tokens[place..];
        let end = rest
            .iter()
            .position(|t| t.is(";") || t.is_word("returning"))
            .unwrap_or(rest.len());
        let condition = keyword(&rest[..end], &["where"]);
        let (equal, asks) = condition.map_or_else(
            || (Vec::new(), true),
            |start| compared(&rest[start + 1..end]),
        );
        for relation in Dictionary::find(&names.relations, schema, name) {
            found.push(Change {
                relation,
                equal: equal.clone(),
                asks,
            });
        }
    }
    found
}

/// Columns held equal to something in every row that is found, and whether anything but the
/// text itself decides which rows these are.
fn compared(tokens: &[Token]) -> (Vec<String>, bool) {
    let mut equal = Vec::new();
    let mut asks = false;
    for part in split(strip(tokens), "and") {
        let part = strip(part);
        asks |= part.iter().enumerate().any(|(at, token)| {
            matches!(token, Token::Punct(punct) if punct.starts_with('$'))
                || token.is_word("new")
                || token.is_word("old")
                || {
                    let beside = at > 0
                        && ["=", "<>", "!=", "<", ">"]
                            .iter()
                            .any(|s| part[at - 1].is(s));
                    beside
                        && token.name().is_some()
                        && !part.get(at + 1).is_some_and(|next| next.is("("))
                }
        });
        if split(part, "or").len() > 1 {
            continue;
        }
        for (at, token) in part.iter().enumerate() {
            if !(token.is("=") || token.is_word("in")) {
                continue;
            }
            // A column stands before it or after it, with or without its table's name.
            let row = |t: Option<&Token>| t.is_some_and(|t| t.is_word("new") || t.is_word("old"));
            let left = at.checked_sub(1).and_then(|p| part[p].name());
            let dotted = at >= 3 && part[at - 2].is(".");
            if let Some(column) = left.filter(|_| !(dotted && row(part.get(at - 3)))) {
                equal.push(column.to_owned());
            }
            let right = if part.get(at + 2).is_some_and(|t| t.is(".")) {
                part.get(at + 3).filter(|_| !row(part.get(at + 1)))
            } else {
                part.get(at + 1)
            };
            equal.extend(right.and_then(Token::name).map(str::to_owned));
        }
    }
    (equal, asks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(text: &str) -> Vec<(u32, Vec<String>, bool)> {
        let names = Dictionary {
            relations: [("product".to_owned(), vec![("shop".to_owned(), 7)])].into(),
            ..Dictionary::default()
        };
        read(text, &names)
            .into_iter()
            .map(|one| (one.relation, one.equal, one.asks))
            .collect()
    }

    fn by(columns: &[&str], asks: bool) -> Vec<(u32, Vec<String>, bool)> {
        vec![(7, columns.iter().map(|c| (*c).to_owned()).collect(), asks)]
    }

    #[test]
    fn what_rows_are_found_by() {
        for (text, expected) in [
            (
                "begin update shop.product set price = new.price where sku = new.sku and store_id <> new.store_id; end",
                by(&["sku"], true),
            ),
            (
                "update only shop.product p set a = 1 where p.store_id = new.store_id and new.id = p.id;",
                by(&["store_id", "id"], true),
            ),
            (
                "update shop.product set price = $2 where sku = $1",
                by(&["sku"], true),
            ),
            ("delete from product where seen < now()", by(&[], false)),
            (
                "delete from product where a = new.a or b = 1",
                by(&[], true),
            ),
            ("update product set a = 1", by(&[], true)),
            (
                "select 1 from product for update; on conflict do update set a = 1",
                vec![],
            ),
        ] {
            assert_eq!(changes(text), expected, "{text}");
        }
    }
}
