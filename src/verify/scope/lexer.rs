//! Tokens of SQL and PL/pgSQL text: enough to tell names, literals and
//! punctuation apart. Does not parse; comments and white space are dropped.

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A name or keyword, folded to lower case unless it was quoted.
    Word(String),
    /// A quoted name.
    Quoted(String),
    /// The contents of a string or dollar-quoted literal.
    Text(String),
    /// A number.
    Number(String),
    /// An operator, bracket, comma, full stop, `::` or `:=`.
    Punct(String),
}

impl Token {
    /// The name, if it is one, quoted or not.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            _ => None,
        }
    }

    /// It is this keyword (never a quoted name).
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own == word)
    }

    /// It is this punctuation.
    pub(crate) fn is(&self, punct: &str) -> bool {
        matches!(self, Token::Punct(own) if own == punct)
    }
}

/// Splits text into tokens. Text that ends inside a literal ends there.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer {
        chars: &chars,
        at: 0,
    };
    std::iter::from_fn(|| lexer.next()).collect()
}

/// Removes brackets that enclose the whole.
pub(crate) fn strip(mut tokens: &[Token]) -> &[Token] {
    while let [first, inner @ .., last] = tokens {
        if !first.is("(")
            || !last.is(")")
            || inner.first().is_some_and(|token| token.is_word("select"))
        {
            break;
        }
        let mut depth = 0;
        let closes_early = inner.iter().any(|token| {
            depth += token.nesting();
            depth < 0
        });
        if closes_early {
            break;
        }
        tokens = inner;
    }
    tokens
}

/// Splits at a keyword outside of brackets and CASE.
pub(crate) fn split<'a>(tokens: &'a [Token], keyword: &str) -> Vec<&'a [Token]> {
    let mut depth = 0;
    tokens
        .split(|token| {
            depth += token.nesting();
            depth += i32::from(token.is_word("case")) - i32::from(token.is_word("end"));
            depth == 0 && token.is_word(keyword)
        })
        .collect()
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<Token> {
        self.skip();
        let c = self.peek(0)?;
        Some(match c {
            '\'' => Token::Text(self.quoted('\'', false)),
            '"' => Token::Quoted(self.quoted('"', false)),
            'e' | 'E' if self.peek(1) == Some('\'') => {
                self.at += 1;
                Token::Text(self.quoted('\'', true))
            }
            '$' => self.dollar(),
            c if c.is_ascii_digit() => {
                Token::Number(self.run(|c| c.is_ascii_alphanumeric() || c == '.'))
            }
            c if c == '_' || c.is_alphabetic() => Token::Word(
                self.run(|c| c == '_' || c == '$' || c.is_alphanumeric())
                    .to_lowercase(),
            ),
            ':' if matches!(self.peek(1), Some(':' | '=')) => {
                self.at += 2;
                Token::Punct(format!(":{}", self.chars[self.at - 1]))
            }
            c if operator(c) => self.operator(),
            c => {
                self.at += 1;
                Token::Punct(c.to_string())
            }
        })
    }

    fn operator(&mut self) -> Token {
        let start = self.at;
        while self.peek(0).is_some_and(operator) && !self.comment() {
            self.at += 1;
        }
        Token::Punct(self.chars[start..self.at].iter().collect())
    }

    fn comment(&self) -> bool {
        matches!(
            (self.peek(0), self.peek(1)),
            (Some('-'), Some('-')) | (Some('/'), Some('*'))
        )
    }

    fn skip(&mut self) {
        while let Some(c) = self.peek(0) {
            if c.is_whitespace() {
                self.at += 1;
            } else if self.comment() && c == '-' {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if self.comment() {
                self.block();
            } else {
                return;
            }
        }
    }

    fn block(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => (depth, self.at) = (depth + 1, self.at + 2),
                (Some('*'), Some('/')) => (depth, self.at) = (depth - 1, self.at + 2),
                (Some(_), _) => self.at += 1,
                (None, _) => return,
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn run(&mut self, take: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&take) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn quoted(&mut self, end: char, escapes: bool) -> String {
        let mut text = String::new();
        self.at += 1;
        while let Some(c) = self.peek(0) {
            if c == end && self.peek(1) != Some(end) {
                self.at += 1;
                return text;
            }
            let skip = usize::from(c == end || (escapes && c == '\\'));
            text.extend(self.peek(skip));
            self.at += 1 + skip;
        }
        text
    }

    fn dollar(&mut self) -> Token {
        let rest = &self.chars[self.at..];
        let tag = rest
            .iter()
            .skip(1)
            .position(|c| *c == '$')
            .map(|length| &rest[..length + 2]);
        let valid = tag.is_some_and(|tag| {
            tag.get(1).is_some_and(|c| !c.is_ascii_digit())
                && tag[1..tag.len() - 1]
                    .iter()
                    .all(|c| *c == '_' || c.is_alphanumeric())
        });
        let Some(tag) = tag.filter(|_| valid) else {
            self.at += 1;
            let number = self.run(|c| c.is_ascii_digit());
            return Token::Punct(format!("${number}"));
        };
        let body = &rest[tag.len()..];
        let length = body.windows(tag.len()).position(|window| window == tag);
        let text = body[..length.unwrap_or(body.len())].iter().collect();
        self.at += tag.len() + length.map_or(body.len(), |length| length + tag.len());
        Token::Text(text)
    }
}

fn operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|?`".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_comments_and_operators() {
        let all = tokens(
            "a.\"B\"\"c\" = 'it''s' -- gone\n or $x$ y 'z' $x$ /* /* n */ */ <> E'\\'q' and $1::int",
        );
        let text = format!("{all:?}");
        for part in [
            "Quoted(\"B\\\"c\")",
            "Text(\"it's\")",
            "Text(\" y 'z' \")",
            "Punct(\"<>\")",
            "Text(\"'q\")",
            "Punct(\"$1\")",
            "Punct(\"::\")",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("gone") && !text.contains('n'.to_string().repeat(2).as_str()));
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_ends(text in ".{0,200}") {
            let _ = tokens(&text);
        }
    }
}
