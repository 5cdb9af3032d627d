//! Where brackets close, and what stands outside of them.

use super::lexer::Token;

impl Token {
    /// By how much deeper what follows stands: 1 after an opening bracket, -1 after a closing one.
    pub(crate) fn nesting(&self) -> i32 {
        i32::from(self.is("(") || self.is("[")) - i32::from(self.is(")") || self.is("]"))
    }
}

/// Where the bracket that opens at a place closes; nothing where none opens there, or it stays open.
pub(crate) fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let rest = tokens.get(open..)?;
    if !rest.first()?.is("(") {
        return None;
    }
    let mut depth = 0;
    let end = rest.iter().position(|token| {
        depth += token.nesting();
        depth == 0
    })?;
    Some(open + end)
}

/// Where the bracket that closes at a place opens.
pub(crate) fn opening(tokens: &[Token], close: usize) -> Option<usize> {
    let before = tokens.get(..=close)?;
    if !before.last()?.is(")") {
        return None;
    }
    let mut depth = 0;
    before.iter().rposition(|token| {
        depth += token.nesting();
        depth == 0
    })
}

/// What stands in the bracket that opens at a place, to the end of the text where it stays open.
pub(crate) fn enclosed(tokens: &[Token], open: usize) -> &[Token] {
    let end = closing(tokens, open).unwrap_or(tokens.len());
    tokens.get(open + 1..end).unwrap_or_default()
}

/// The first such token outside of brackets.
pub(crate) fn outside(tokens: &[Token], wanted: impl Fn(&Token) -> bool) -> Option<usize> {
    let mut depth = 0;
    tokens.iter().position(|token| {
        depth += token.nesting();
        depth == 0 && wanted(token)
    })
}

/// The first of these keywords outside of brackets.
pub(crate) fn keyword(tokens: &[Token], words: &[&str]) -> Option<usize> {
    outside(tokens, |token| words.iter().any(|word| token.is_word(word)))
}

/// The parts between commas outside of brackets.
pub(crate) fn items(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    tokens
        .split(|token| {
            depth += token.nesting();
            depth == 0 && token.is(",")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    #[test]
    fn brackets_of_both_kinds_are_passed_over() {
        let all = tokens("f(a, array[1, 2], g(b)), c from t where x in (select 1 from u)");
        assert_eq!(closing(&all, 1), Some(15));
        assert_eq!(closing(&all, 0), None);
        assert_eq!(opening(&all, 15), Some(1));
        assert_eq!(opening(&all, 16), None);
        assert_eq!(items(enclosed(&all, 1)).len(), 3);
        assert_eq!(items(&all).len(), 2);
        assert_eq!(keyword(&all, &["where", "from"]), Some(18));
        assert_eq!(keyword(&all, &["select"]), None);
    }

    #[test]
    fn what_stays_open_reaches_to_the_end() {
        let all = tokens("f(a, (b)");
        assert_eq!(closing(&all, 1), None);
        assert_eq!(enclosed(&all, 1).len(), 5);
        assert!(enclosed(&all, 9).is_empty());
    }
}
