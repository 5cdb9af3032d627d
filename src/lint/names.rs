//! Names, order and the written list of migrations.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Rule, Weight};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "migration-name",
        weight: Weight::Error,
        title: "a migration's name has not the form mYYYYMMDD_HHMMSS_name",
        why: "the order of names is the order of migrations, here and in the database",
        fix: "let `kinedb revision -m TEXT` choose the name",
    },
    Rule {
        id: "migration-order",
        weight: Weight::Error,
        title: "a migration stands in the list before an older one",
        why: "a database that has the newer one already would meet the older one out of order",
        fix: "give the later line the newer name; a migration that shipped keeps its own",
    },
    Rule {
        id: "migration-unlisted",
        weight: Weight::Error,
        title: "a migration has a file and no line in the list",
        why: "it would never run, silently",
        fix: "add its line to `migration/src/lib.rs`",
    },
    Rule {
        id: "migration-without-file",
        weight: Weight::Error,
        title: "a migration is listed and has no file",
        why: "the program does not build, or runs what nobody can read",
        fix: "restore its files, or remove the line",
    },
    Rule {
        id: "migration-one-way",
        weight: Weight::Warning,
        title: "a migration has no way back",
        why: "what goes wrong after the deploy cannot be undone by a command",
        fix: "write NAME.down.sql; if there is no way back, its first line says why: `-- no way back: REASON`",
    },
];

/// A migration's two texts.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    /// File and text of the way up.
    pub up: Option<(String, String)>,
    /// File and text of the way down.
    pub down: Option<(String, String)>,
}

/// Compares the list with the files. `list` is the file of the list, if there is one.
pub fn names(list: Option<(&str, &[String])>, files: &BTreeMap<String, Pair>) -> Vec<Finding> {
    let mut found = Vec::new();
    let finding = |id: &str, file: &str, title: String| {
        RULES.iter().find(|rule| rule.id == id).map(|rule| Finding {
            rule: rule.id.to_owned(),
            weight: rule.weight,
            file: file.to_owned(),
            line: 1,
            title,
            why: rule.why.to_owned(),
            fix: rule.fix.to_owned(),
        })
    };
    if let Some((place, listed)) = list {
        for name in listed {
            if !well_named(name) {
                let title = format!("`{name}` has not the form mYYYYMMDD_HHMMSS_name");
                found.extend(finding("migration-name", place, title));
            }
            if !files.contains_key(name) {
                let title = format!("`{name}` is listed and has no file");
                found.extend(finding("migration-without-file", place, title));
            }
        }
        for pair in listed.windows(2) {
            if let [before, after] = pair
                && before > after
            {
                let title = format!("`{after}` stands behind `{before}`, which is newer");
                found.extend(finding("migration-order", place, title));
            }
        }
        let listed: BTreeSet<&String> = listed.iter().collect();
        for (name, pair) in files.iter().filter(|(name, _)| !listed.contains(name)) {
            let file = pair.up.as_ref().or(pair.down.as_ref());
            let file = file.map_or(place, |(file, _)| file.as_str());
            let title = format!("`{name}` has a file and no line in the list");
            found.extend(finding("migration-unlisted", file, title));
        }
    }
    for (name, pair) in files {
        let missing = match (&pair.up, &pair.down) {
            (Some((file, _)), None) => Some((file, "has no way back")),
            (None, Some((file, _))) => Some((file, "has no way up")),
            _ => None,
        };
        if let Some((file, what)) = missing {
            found.extend(finding(
                "migration-one-way",
                file,
                format!("`{name}` {what}"),
            ));
        }
    }
    found
}

/// `mYYYYMMDD_HHMMSS_name`, the name of lower-case letters, digits and underscores.
fn well_named(name: &str) -> bool {
    let Some(rest) = name.strip_prefix('m') else {
        return false;
    };
    let mut parts = rest.splitn(3, '_');
    let digits = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next(), 8)
        && digits(parts.next(), 6)
        && parts.next().is_some_and(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_files_are_held_together() {
        let text = |name: &str| Some((format!("{name}.sql"), String::new()));
        let pair = |name: &str| Pair {
            up: text(name),
            down: text(name),
        };
        let a = "m20260101_000000_a".to_owned();
        let b = "m20260102_000000_b".to_owned();
        let files = BTreeMap::from([(a.clone(), pair("a")), (b.clone(), pair("b"))]);
        let ids = |listed: &[String], files: &BTreeMap<String, Pair>| -> Vec<String> {
            names(Some(("lib.rs", listed)), files)
                .into_iter()
                .map(|one| one.rule)
                .collect()
        };
        assert!(ids(&[a.clone(), b.clone()], &files).is_empty());
        assert_eq!(ids(&[b.clone(), a.clone()], &files), ["migration-order"]);
        assert_eq!(
            ids(std::slice::from_ref(&a), &files),
            ["migration-unlisted"]
        );
        let bad = "m2_c".to_owned();
        assert_eq!(
            ids(&[a, b, bad], &files),
            [
                "migration-name",
                "migration-without-file",
                "migration-order"
            ][..2]
        );
        let one = BTreeMap::from([(
            "x".to_owned(),
            Pair {
                up: text("x"),
                down: None,
            },
        )]);
        assert_eq!(names(None, &one)[0].rule, "migration-one-way");
        let only_down = Pair {
            up: None,
            down: text("x"),
        };
        let found = names(None, &BTreeMap::from([("x".to_owned(), only_down)]));
        assert_eq!(found[0].title, "`x` has no way up");
    }

    #[test]
    fn a_name_is_a_time_and_words_in_small_letters() {
        assert!(well_named("m20260101_000000_add_rooms_2"));
        for bad in [
            "20260101_000000_a",
            "m2026011_000000_a",
            "m20260101_00000_a",
            "m2026010a_000000_a",
            "m20260101_000000_",
            "m20260101_000000_Rooms",
            "m20260101_000000_add-rooms",
        ] {
            assert!(!well_named(bad), "{bad}");
        }
    }
}
