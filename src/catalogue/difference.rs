//! Two descriptions compared: one line per attribute, both texts.

use std::collections::BTreeSet;

use super::{Fingerprint, Object};

/// The attribute that says in which order columns stand.
pub const COLUMN_ORDER: &str = "column order";

/// One line in which two databases differ. An object that one of them lacks is
/// one line, and so is all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What it is about.
    pub object: String,
    /// Which property of it; none where the whole object is missing on one side.
    pub attribute: Option<String>,
    /// On the left side; nothing where the property is missing there.
    pub left: Option<String>,
    /// On the right side.
    pub right: Option<String>,
}

impl Fingerprint {
    /// Every line in which the two differ, in order.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let names: BTreeSet<&String> = self.objects.keys().chain(other.objects.keys()).collect();
        let mut lines = Vec::new();
        for name in names {
            match (self.objects.get(name), other.objects.get(name)) {
                (Some(left), Some(right)) => lines.extend(attributes(name, left, right)),
                (left, right) => {
                    let parent = left.or(right).and_then(|object| object.parent.as_ref());
                    // What goes with its whole has been said.
                    let gone = |side: &Self| {
                        parent.is_some_and(|parent| !side.objects.contains_key(parent))
                    };
                    if left.is_none() && gone(self) || right.is_none() && gone(other) {
                        continue;
                    }
                    lines.push(Difference {
                        object: name.clone(),
                        attribute: None,
                        left: left.map(Object::summary),
                        right: right.map(Object::summary),
                    });
                }
            }
        }
        lines
    }
}

fn attributes(name: &str, left: &Object, right: &Object) -> Vec<Difference> {
    let keys: BTreeSet<&String> = left
        .attributes
        .keys()
        .chain(right.attributes.keys())
        .collect();
    keys.into_iter()
        .filter(|key| left.attributes.get(*key) != right.attributes.get(*key))
        .filter(|key| {
            key.as_str() != COLUMN_ORDER
                || common_order(left.get(key), right.get(key))
                    != common_order(right.get(key), left.get(key))
        })
        .map(|key| Difference {
            object: name.to_owned(),
            attribute: Some(key.clone()),
            left: left.attributes.get(key).cloned(),
            right: right.attributes.get(key).cloned(),
        })
        .collect()
}

/// The columns that both have, in the order of the first.
fn common_order<'a>(of: Option<&'a str>, with: Option<&str>) -> Vec<&'a str> {
    let others: BTreeSet<&str> = with.unwrap_or_default().split(", ").collect();
    of.unwrap_or_default()
        .split(", ")
        .filter(|column| others.contains(column))
        .collect()
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.object)?;
        if let Some(attribute) = &self.attribute {
            write!(f, ": {attribute}")?;
        }
        match (&self.left, &self.right) {
            (Some(left), Some(right)) => {
                write!(f, ": `{}` became `{}`", one_line(left), one_line(right))
            }
            (None, Some(right)) => write!(f, ": added `{}`", one_line(right)),
            (Some(left), None) => write!(f, ": removed `{}`", one_line(left)),
            (None, None) => Ok(()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(lines: &[(&str, Option<&str>, &str, &str)]) -> Fingerprint {
        let mut found = Fingerprint::default();
        for (object, parent, attribute, value) in lines {
            let object = found.objects.entry((*object).to_owned()).or_default();
            object.parent = parent.map(str::to_owned);
            object
                .attributes
                .insert((*attribute).to_owned(), (*value).to_owned());
        }
        found
    }

    #[test]
    fn a_missing_object_is_one_line_with_its_parts() {
        let whole = one(&[
            ("table t", None, "owner", "o"),
            ("column t.a", Some("table t"), "type", "text"),
        ]);
        let none = Fingerprint::default();
        let lines: Vec<String> = whole
            .differences(&none)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(lines, ["table t: removed `owner o`"]);
        let part = one(&[("table t", None, "owner", "o")]);
        let lines: Vec<String> = part
            .differences(&whole)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(lines, ["column t.a: added `type text`"]);
    }

    #[test]
    fn order_is_that_of_the_columns_both_have() {
        let order = |columns| one(&[("table t", None, COLUMN_ORDER, columns)]);
        assert!(order("a, b, c").differences(&order("a, c")).is_empty());
        assert_eq!(order("a, b, c").differences(&order("a, c, b")).len(), 1);
    }
}
