//! A statement as words: what the rules look at.

use std::ops::Range;

use crate::migrate::lex;

/// A statement's words in lower case (names keep their quotes off), and where
/// each begins in the file.
pub(super) struct Statement {
    words: Vec<String>,
    at: Vec<usize>,
}

/// All statements of a text, those inside the bodies of `do` blocks and the
/// literals that they execute too.
pub(super) fn statements(sql: &str) -> Vec<Statement> {
    let mut all = Vec::new();
    collect(sql, 0, 0, &mut all);
    all
}

fn collect(sql: &str, offset: usize, depth: u32, all: &mut Vec<Statement>) {
    for range in lex::statements(sql) {
        let text = &sql[range.clone()];
        let mut statement = Statement {
            words: Vec::new(),
            at: Vec::new(),
        };
        let mut inner: Vec<Range<usize>> = Vec::new();
        for (word, place) in lex::tokens(text) {
            let start = range.start + place.start;
            if word.starts_with('$') || word.starts_with('\'') {
                inner.push(start..range.start + place.end);
            }
            statement.words.push(normal(word));
            statement.at.push(offset + start);
        }
        // Of functions only what they are matters here, not what they do when called.
        let does = statement.is_at(0, &["do"]) || statement.find(&["execute"]).is_some();
        all.push(statement);
        if does && depth < 4 {
            for literal in inner {
                let (open, close) = delimiters(&sql[literal.clone()]);
                let (start, end) = (literal.start + open, literal.end - close);
                if start < end {
                    collect(&sql[start..end], offset + start, depth + 1, all);
                }
            }
        }
    }
}

/// How many bytes open and close a literal.
fn delimiters(literal: &str) -> (usize, usize) {
    if let Some(rest) = literal.strip_prefix('$') {
        let tag = rest.find('$').map_or(0, |end| end + 2);
        (tag, tag.min(literal.len() - tag))
    } else {
        (1, 1)
    }
}

fn normal(word: &str) -> String {
    match word
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => word.to_lowercase(),
    }
}

impl Statement {
    /// The words stand here.
    pub(super) fn is_at(&self, at: usize, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(step, word)| self.words.get(at + step).is_some_and(|found| found == word))
    }

    /// Where the words stand first.
    pub(super) fn find(&self, words: &[&str]) -> Option<usize> {
        self.find_from(0, words)
    }

    /// Where the words stand first from here on.
    pub(super) fn find_from(&self, from: usize, words: &[&str]) -> Option<usize> {
        (from..self.words.len()).find(|at| self.is_at(*at, words))
    }

    /// Every place where the words stand.
    pub(super) fn all(&self, words: &[&str]) -> Vec<usize> {
        (0..self.words.len())
            .filter(|at| self.is_at(*at, words))
            .collect()
    }

    /// The word here.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// Where in the file a word begins (bytes).
    pub(super) fn offset(&self, at: usize) -> usize {
        self.at.get(at).or(self.at.first()).copied().unwrap_or(0)
    }

    /// A name that may be qualified, without the schema `public`, and where it ends.
    pub(super) fn name(&self, at: usize) -> (String, usize) {
        let mut name = self.word(at).to_owned();
        let mut end = at + 1;
        while self.is_at(end, &["."]) {
            name = format!("{name}.{}", self.word(end + 1));
            end += 2;
        }
        (
            name.strip_prefix("public.")
                .map(str::to_owned)
                .unwrap_or(name),
            end,
        )
    }

    /// The top-level items of the list in parentheses that opens here, as the
    /// indices of their words, and where it ends.
    pub(super) fn list(&self, open: usize) -> (Vec<Range<usize>>, usize) {
        let mut items = Vec::new();
        let (mut depth, mut start) = (0_usize, open + 1);
        for at in open..self.words.len() {
            match self.word(at) {
                "(" => depth += 1,
                ")" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        if at > start {
                            items.push(start..at);
                        }
                        return (items, at + 1);
                    }
                }
                "," if depth == 1 => {
                    items.push(start..at);
                    start = at + 1;
                }
                _ => {}
            }
        }
        (items, self.words.len())
    }
}
