//! Comparisons of whole rows, taken apart: `(a, b) = (select x, y from ..)` says
//! `a = (select x from ..)` and `b = (select y from ..)`.

use super::brackets::{closing, items, keyword};
use super::lexer::Token;

/// What a comparison of rows says of each column; none where it is no such comparison.
/// Which row it is that both hold for is lost: the parts say less than the whole.
pub(crate) fn pairs(tokens: &[Token]) -> Option<Vec<Vec<Token>>> {
    let start = usize::from(tokens.first()?.is_word("row"));
    let (left, rest) = bracket(&tokens[start..])?;
    let left = items(left);
    let (operator, right) = match rest {
        [equal, any, right @ ..] if equal.is("=") && any.is_word("any") => {
            (vec![equal.clone(), any.clone()], right)
        }
        [operator, right @ ..] if operator.is("=") || operator.is_word("in") => {
            (vec![operator.clone()], right)
        }
        _ => return None,
    };
    let (inner, []) = bracket(right)? else {
        return None;
    };
    if left.len() < 2 || !inner.first()?.is_word("select") {
        return None;
    }
    let from = keyword(inner, &["from"]);
    let (told, source) = inner.split_at(from.unwrap_or(inner.len()));
    let told = items(&told[1..]);
    if told.len() != left.len() {
        return None;
    }
    let punct = |text: &str| Token::Punct(text.to_owned());
    Some(
        left.iter()
            .zip(told)
            .map(|(own, told)| {
                let mut part = own.to_vec();
                part.extend(operator.iter().cloned());
                part.push(punct("("));
                part.push(Token::Word("select".to_owned()));
                part.extend_from_slice(told);
                part.extend_from_slice(source);
                part.push(punct(")"));
                part
            })
            .collect(),
    )
}

/// What stands in the brackets that the tokens begin with, and what comes after.
fn bracket(tokens: &[Token]) -> Option<(&[Token], &[Token])> {
    let end = closing(tokens, 0)?;
    Some((&tokens[1..end], &tokens[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn of(text: &str) -> Option<Vec<String>> {
        let parts = pairs(&tokens(text))?;
        let word = |token: &Token| match token {
            Token::Word(text)
            | Token::Quoted(text)
            | Token::Text(text)
            | Token::Number(text)
            | Token::Punct(text) => text.clone(),
        };
        Some(
            parts
                .iter()
                .map(|part| part.iter().map(word).collect::<Vec<_>>().join(" "))
                .collect(),
        )
    }

    #[test]
    fn each_column_with_its_own() {
        assert_eq!(
            of("(org, region) = (select f('x', 1), g() from t where a = b)").unwrap(),
            [
                "org = ( select f ( x , 1 ) from t where a = b )",
                "region = ( select g ( ) from t where a = b )"
            ]
        );
        assert_eq!(of("ROW(a, b) = ANY (select x, y from t)").unwrap().len(), 2);
        assert!(of("(a, b) in (select x, y from t)").is_some());
    }

    #[test]
    fn anything_else_is_left() {
        for text in [
            "(a)",
            "(a, b) = (c, d)",
            "(a, b) = (select x)",
            "f(a, b) = (select x, y)",
            "",
        ] {
            assert!(of(text).is_none(), "{text}");
        }
    }
}
