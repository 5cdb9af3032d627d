//! Values that a constraint's text speaks of: its literals, the numbers beside
//! them, texts of the lengths and patterns it names.

use super::pattern;
use crate::verify::session::quoted;

/// What a text mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Harvest {
    /// String literals, unquoted.
    pub(crate) strings: Vec<String>,
    /// Numbers.
    pub(crate) numbers: Vec<i64>,
}

impl Harvest {
    /// Reads the literals of an expression.
    pub(crate) fn of(sql: &str) -> Self {
        let mut harvest = Self::default();
        let mut rest = sql;
        let mut previous = ' ';
        while let Some(first) = rest.chars().next() {
            let taken = match first {
                '\'' => {
                    let length = quoted(rest, '\'');
                    let inner = rest.get(1..length.saturating_sub(1)).unwrap_or("");
                    let mut text = inner.replace("''", "'");
                    if previous == 'E' {
                        text = text.replace("\\\\", "\\");
                    }
                    add(&mut harvest.strings, text);
                    length
                }
                '"' => quoted(rest, '"'),
                '0'..='9' if !previous.is_alphanumeric() && previous != '_' && previous != '$' => {
                    let length = rest
                        .find(|c: char| !c.is_ascii_digit())
                        .unwrap_or(rest.len());
                    if let Ok(number) = rest[..length].parse::<i64>() {
                        let number = if previous == '-' { -number } else { number };
                        add(&mut harvest.numbers, number);
                    }
                    length
                }
                _ => first.len_utf8(),
            };
            previous = rest[..taken].chars().last().unwrap_or(' ');
            rest = &rest[taken..];
        }
        // `'{a,b}'::text[]` and `'5'::numeric` hide values in one literal.
        for text in harvest.strings.clone() {
            if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
                for part in inner.split(',') {
                    add(&mut harvest.strings, part.trim_matches('"').to_owned());
                }
            }
            if let Ok(number) = text.parse::<f64>() {
                #[allow(clippy::cast_possible_truncation)]
                add(&mut harvest.numbers, number as i64);
            }
        }
        harvest
    }

    /// What patterns match, for each number something else.
    pub(crate) fn varied(&self, number: u32) -> Vec<String> {
        let patterns = self
            .strings
            .iter()
            .filter(|string| string.contains(['^', '$', '[', '\\', '(']));
        patterns
            .filter_map(|string| pattern::varied(string, number))
            .collect()
    }

    /// Texts worth trying: the literals, what patterns match, the lengths named.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for string in &self.strings {
            add(&mut texts, string.clone());
            if string.contains(['^', '$', '[', '\\', '('])
                && let Some(sample) = pattern::sample(string)
            {
                add(&mut texts, sample);
            }
            if string.contains(['%', '_']) {
                add(&mut texts, string.replace('%', "").replace('_', "x"));
                add(&mut texts, string.replace(['%', '_'], "x"));
            }
        }
        for number in self.numbers.iter().filter(|n| (1..=512).contains(*n)) {
            let length = usize::try_from(*number).unwrap_or(1);
            for unit in ["x", "1", "A"] {
                add(&mut texts, unit.repeat(length));
                add(&mut texts, unit.repeat(length + 1));
            }
        }
        texts
    }

    /// Numbers worth trying: those named and their neighbours.
    pub(crate) fn near(&self) -> Vec<i64> {
        let mut near = Vec::new();
        for number in &self.numbers {
            for candidate in [*number, number.saturating_add(1), number.saturating_sub(1)] {
                add(&mut near, candidate);
            }
        }
        near
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.len() < 64 && !list.contains(&item) {
        list.push(item);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_are_found() {
        let harvest = Harvest::of(
            "((status = ANY (ARRAY['a'::text, 'it''s'::text])) AND (n2 > 5) AND (\"x9\" < -3))",
        );
        assert_eq!(harvest.strings, ["a", "it's"]);
        assert_eq!(harvest.numbers, [5, -3]);
        assert!(harvest.near().contains(&6));
    }

    #[test]
    fn lengths_and_patterns_give_texts() {
        let texts = Harvest::of("(char_length(code) = 4 and code ~ '^[0-9]+$'::text)").texts();
        assert!(texts.contains(&"1111".to_owned()));
        assert!(texts.contains(&"0".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(sql in ".{0,80}") {
            let _ = Harvest::of(&sql).texts();
        }
    }
}
