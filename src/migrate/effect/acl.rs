//! Grants as the catalogue stores them: `grantee=arw*/grantor`.

use std::collections::BTreeMap;

/// The name that stands for everybody; no role can have it.
pub(super) const PUBLIC: &str = "public";

/// Who may do what: letters of privileges, and whether they may be passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights(pub(super) BTreeMap<String, BTreeMap<char, bool>>);

impl Rights {
    /// From the stored items, without those of the owner, who can always grant himself.
    pub(super) fn of(items: &[String], owner: &str) -> Self {
        let mut rights = Self::default();
        for (who, letters) in items.iter().filter_map(|item| parse(item)) {
            if who == owner {
                continue;
            }
            let held: &mut BTreeMap<char, bool> = rights.0.entry(who).or_default();
            for (letter, grantable) in letters {
                *held.entry(letter).or_default() |= grantable;
            }
        }
        rights
    }

    /// This role, or everybody, may.
    pub(super) fn may(&self, who: &str, letter: char) -> bool {
        [who, PUBLIC].iter().any(|name| {
            self.0
                .get(*name)
                .is_some_and(|held| held.contains_key(&letter))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// Adds those of another object that it is reached with.
    pub(super) fn join(&mut self, other: &Self) {
        for (who, letters) in &other.0 {
            let held = self.0.entry(who.clone()).or_default();
            for (letter, grantable) in letters {
                *held.entry(*letter).or_default() |= grantable;
            }
        }
    }
}

impl std::fmt::Display for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(who, letters)| format!("{who} may {}", words(letters.keys().copied())))
            .collect();
        f.write_str(&parts.join("; "))
    }
}

/// Privileges in words.
pub(super) fn words(letters: impl Iterator<Item = char>) -> String {
    letters.map(word).collect::<Vec<_>>().join(", ")
}

fn word(letter: char) -> &'static str {
    match letter {
        'r' => "select",
        'a' => "insert",
        'w' => "update",
        'd' => "delete",
        'D' => "truncate",
        'x' => "references",
        't' => "trigger",
        'X' => "execute",
        'U' => "usage",
        'C' => "create",
        'c' => "connect",
        'T' => "temporary",
        's' => "set",
        'A' => "alter system",
        'm' => "maintain",
        _ => "more",
    }
}

fn parse(item: &str) -> Option<(String, Vec<(char, bool)>)> {
    let (who, rest) = match item.strip_prefix('"') {
        Some(quoted) => {
            // A quote inside of a name is doubled.
            let mut name = String::new();
            let mut letters = quoted.char_indices().peekable();
            loop {
                let (at, letter) = letters.next()?;
                if letter != '"' {
                    name.push(letter);
                } else if letters.next_if(|(_, next)| *next == '"').is_some() {
                    name.push('"');
                } else {
                    break (name, &quoted[at + 1..]);
                }
            }
        }
        None => {
            let (who, _) = item.split_once('=')?;
            (who.to_owned(), &item[who.len()..])
        }
    };
    let letters = rest.strip_prefix('=')?.split('/').next()?;
    let mut found: Vec<(char, bool)> = Vec::new();
    for letter in letters.chars() {
        match (letter, found.last_mut()) {
            ('*', Some(last)) => last.1 = true,
            _ => found.push((letter, false)),
        }
    }
    let who = if who.is_empty() {
        PUBLIC.to_owned()
    } else {
        who
    };
    Some((who, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_with_any_name() {
        let items = [
            "=r/a",
            "kine_app=ar*/a",
            "\"odd \"\"=/ one\"=w/a",
            "a=arwd/a",
        ];
        let rights = Rights::of(&items.map(str::to_owned), "a");
        assert_eq!(
            rights.to_string(),
            "kine_app may insert, select; odd \"=/ one may update; public may select"
        );
        assert!(rights.may("anyone", 'r') && !rights.may("anyone", 'a'));
        assert!(rights.0["kine_app"][&'r'] && !rights.0["kine_app"][&'a']);
    }
}
