//! A text that a regular expression matches, for the simple expressions that
//! CHECK constraints are made of. A guess: the server decides whether it fits.

/// How often an open-ended part is repeated where the text is to differ from others.
const REPEATED: usize = 8;

/// A text for the pattern, or none where it is beyond what is understood.
pub(crate) fn sample(pattern: &str) -> Option<String> {
    read(pattern, None)
}

/// Another text for the pattern, for each number another one where the pattern has room.
pub(crate) fn varied(pattern: &str, number: u32) -> Option<String> {
    // Numbers that follow one another are to differ in more than their last digit.
    read(pattern, Some(u64::from(number).wrapping_mul(2_654_435_761)))
}

fn read(pattern: &str, turn: Option<u64>) -> Option<String> {
    let characters: Vec<char> = pattern.chars().collect();
    let mut parser = Parser {
        characters: &characters,
        at: 0,
        turn,
    };
    let text = parser.alternatives(0)?;
    (parser.at == characters.len()).then_some(text)
}

struct Parser<'a> {
    characters: &'a [char],
    at: usize,
    /// What is left of the number that classes choose their characters by.
    turn: Option<u64>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// The first alternative; the others are read and dropped.
    fn alternatives(&mut self, depth: usize) -> Option<String> {
        if depth > 16 {
            return None;
        }
        let first = self.sequence(depth)?;
        while self.peek() == Some('|') {
            self.at += 1;
            self.sequence(depth)?;
        }
        Some(first)
    }

    fn sequence(&mut self, depth: usize) -> Option<String> {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c == '|' || c == ')' {
                break;
            }
            let start = self.at;
            let piece = self.atom(depth)?;
            let times = self.quantifier()?;
            if piece.len() * times > 4096 {
                return None;
            }
            let end = self.at;
            text.push_str(&piece.repeat(times.min(1)));
            for _ in 1..times {
                // Read again, so that its classes choose again.
                self.at = start;
                text.push_str(&self.atom(depth)?);
            }
            self.at = end;
        }
        Some(text)
    }

    fn atom(&mut self, depth: usize) -> Option<String> {
        match self.take()? {
            '^' | '$' => Some(String::new()),
            '.' => Some("x".to_owned()),
            '(' => {
                if self.peek() == Some('?') {
                    self.at += 1;
                    match self.take()? {
                        ':' => {}
                        // A negative look-ahead asks for nothing; a positive one is beyond us.
                        '!' => {
                            self.alternatives(depth + 1)?;
                            return (self.take()? == ')').then(String::new);
                        }
                        _ => return None,
                    }
                }
                let inner = self.alternatives(depth + 1)?;
                (self.take()? == ')').then_some(inner)
            }
            '[' => self.class().map(String::from),
            '\\' => escaped(self.take()?).map(|c| c.map(String::from).unwrap_or_default()),
            c => Some(c.to_string()),
        }
    }

    /// A character of a bracket expression.
    fn class(&mut self) -> Option<char> {
        let negated = self.peek() == Some('^');
        if negated {
            self.at += 1;
        }
        let mut members: Vec<(char, char)> = Vec::new();
        loop {
            let c = match self.take()? {
                ']' if !members.is_empty() => break,
                '[' if self.peek() == Some(':') => {
                    let mut name = String::new();
                    self.at += 1;
                    while let Some(c) = self.take() {
                        if c == ':' {
                            break;
                        }
                        name.push(c);
                    }
                    self.take()?;
                    match name.as_str() {
                        "digit" | "xdigit" | "alnum" => '1',
                        "upper" => 'A',
                        "space" | "blank" => ' ',
                        "punct" => '.',
                        _ => 'a',
                    }
                }
                '\\' => escaped(self.take()?)??,
                c => c,
            };
            if self.peek() == Some('-')
                && self.characters.get(self.at + 1).is_some_and(|c| *c != ']')
            {
                self.at += 1;
                members.push((c, self.take()?));
            } else {
                members.push((c, c));
            }
        }
        if negated {
            let outside = |candidate: &char| {
                !members
                    .iter()
                    .any(|(low, high)| (low..=high).contains(&candidate))
            };
            match &mut self.turn {
                None => "xX1 _".chars().find(outside),
                Some(turn) => {
                    let free: Vec<char> = ('a'..='z').filter(outside).collect();
                    let all = free.len().max(1);
                    let place = usize::try_from(*turn).unwrap_or(0) % all;
                    *turn /= all as u64;
                    free.get(place).copied()
                }
            }
        } else {
            match &mut self.turn {
                None => members.first().map(|(low, _)| *low),
                Some(turn) => {
                    let size = |(low, high): &(char, char)| {
                        u64::from(u32::from(*high).saturating_sub(u32::from(*low))) + 1
                    };
                    let all = members.iter().map(size).sum::<u64>().max(1);
                    let mut place = *turn % all;
                    *turn /= all;
                    members.iter().find_map(|member| {
                        if place < size(member) {
                            let code = u32::from(member.0) + u32::try_from(place).ok()?;
                            return char::from_u32(code);
                        }
                        place -= size(member);
                        None
                    })
                }
            }
        }
    }

    fn quantifier(&mut self) -> Option<usize> {
        let times = match self.peek() {
            Some('*' | '+') if self.turn.is_some() => REPEATED,
            Some('*' | '+') => 1,
            Some('?') => 0,
            Some('{') => {
                let mut number = String::new();
                self.at += 1;
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    number.push(c);
                    self.at += 1;
                }
                let mut most = String::new();
                while let Some(c) = self.peek().filter(|c| *c != '}') {
                    if c.is_ascii_digit() {
                        most.push(c);
                    }
                    self.at += 1;
                }
                if self.turn.is_some() && !number.is_empty() {
                    let least: usize = number.parse().ok()?;
                    let most = most.parse().unwrap_or(least);
                    number = least.max(most.min(REPEATED)).to_string();
                }
                let times: usize = number.parse().ok()?;
                if times == 0 { 1 } else { times }
            }
            _ => return Some(1),
        };
        self.at += 1;
        if self.peek() == Some('?') {
            self.at += 1;
        }
        Some(times)
    }
}

/// What an escape stands for: a character, or (inner none) an assertion of no width.
fn escaped(c: char) -> Option<Option<char>> {
    Some(match c {
        'd' => Some('1'),
        'w' => Some('a'),
        's' => Some(' '),
        'D' | 'S' => Some('x'),
        'W' => Some('.'),
        'm' | 'M' | 'y' | 'Y' | 'A' | 'Z' | 'b' => None,
        'n' => Some('\n'),
        't' => Some('\t'),
        c if c.is_alphanumeric() => return None,
        c => Some(c),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn common_patterns_have_a_sample() {
        assert_eq!(sample("^[A-Z]{3}-[0-9]{4}$").as_deref(), Some("AAA-0000"));
        assert_eq!(
            sample(r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$").as_deref(),
            Some("x@x.aa")
        );
        assert_eq!(sample("^(draft|signed)$").as_deref(), Some("draft"));
        assert_eq!(sample(r"^\+?[1-9]\d{1,14}$").as_deref(), Some("11"));
        assert_eq!(sample("^[[:alpha:]_]+$").as_deref(), Some("a"));
        assert_eq!(sample(r"(?=x)").as_deref(), None);
    }

    #[test]
    fn each_number_has_its_own_text() {
        let handle = "^[a-zA-Z]([a-zA-Z0-9][_]?)+$";
        let key = "^[A-Z][A-Z0-9]{1,9}$";
        for pattern in [handle, key] {
            let all: std::collections::BTreeSet<_> = (100..140)
                .map(|number| varied(pattern, number).unwrap())
                .collect();
            assert_eq!(all.len(), 40, "{pattern}: {all:?}");
            assert!(all.iter().all(|text| (2..=24).contains(&text.len())));
        }
        assert_eq!(varied("^fixed$", 7).as_deref(), Some("fixed"));
        assert_eq!(varied("^[0-9]{3}$", 7).unwrap().len(), 3);
    }

    proptest! {
        #[test]
        fn no_pattern_breaks_it(pattern in ".{0,40}", number in proptest::num::u32::ANY) {
            let _ = sample(&pattern);
            let _ = varied(&pattern, number);
        }
    }
}
