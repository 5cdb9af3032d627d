//! A live database against what its recorded revision gives.
//!
//! Both sides may lie on different servers and have been migrated by different
//! logins at different times. What that alone explains is no drift: who owns the
//! database, the login that installed, roles that the migrations do not make,
//! months that have partitions. A role that holds less than declared is told,
//! not counted: the installer may not have been able to give it.

use std::collections::BTreeSet;

use crate::catalogue::{self, Difference, Fingerprint, Object};

/// What was found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Drift {
    /// One line per attribute: left is what history gives, right what is there.
    pub differences: Vec<Difference>,
    /// What differs and is no drift.
    pub notes: Vec<String>,
}

/// Compares. `installer` made the expected side; `installers` may have made the
/// live one.
pub fn compare(
    mut expected: Fingerprint,
    mut live: Fingerprint,
    installer: &str,
    installers: &BTreeSet<String>,
) -> Drift {
    let mut drift = Drift::default();
    of_the_place(&mut expected);
    of_the_place(&mut live);
    let roles: BTreeSet<String> = expected
        .kind("role ")
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.strip_prefix("role ") != Some(installer))
        .collect();
    for side in [&mut expected, &mut live] {
        side.objects
            .retain(|name, _| !name.starts_with("role ") || roles.contains(name));
    }
    for role in &roles {
        // A role of the cluster that nothing here refers to: the migrations make it, and
        // whether it exists elsewhere under other rights cannot be seen from here.
        let (Some(wanted), Some(found)) =
            (expected.objects.get_mut(role), live.objects.get_mut(role))
        else {
            continue;
        };
        let weaker: Vec<String> = wanted
            .attributes
            .iter()
            .filter(|(attribute, value)| {
                value.as_str() == "yes"
                    && attribute.as_str() != "inherits"
                    && found.get(attribute) == Some("no")
            })
            .map(|(attribute, _)| attribute.clone())
            .collect();
        for attribute in weaker {
            drift.notes.push(format!(
                "{role}: {attribute}: declared, and not given by whoever installed"
            ));
            wanted.attributes.remove(&attribute);
            found.attributes.remove(&attribute);
        }
    }
    same_installer(&mut expected, &live, installer, installers);
    catalogue::same_partitions(&mut expected, &mut live);
    drift.differences = expected.differences(&live);
    drift
}

fn of_the_place(side: &mut Fingerprint) {
    side.leave_place();
    if let Some(database) = side.objects.get_mut("database") {
        // Who may connect is granted by whoever runs the place.
        database
            .attributes
            .retain(|attribute, value| value != "connect" || attribute == "grants to public");
    }
}

/// What the installer owns on one side, an installer may own on the other.
fn same_installer(
    expected: &mut Fingerprint,
    live: &Fingerprint,
    installer: &str,
    installers: &BTreeSet<String>,
) {
    let name = crate::db::ident::plain(installer);
    for (object, wanted) in &mut expected.objects {
        let Some(owner) = live
            .objects
            .get(object)
            .and_then(|found| found.get("owner"))
        else {
            continue;
        };
        let theirs = installers
            .iter()
            .any(|login| crate::db::ident::plain(login) == owner);
        if wanted.get("owner") == Some(name.as_str()) && theirs {
            let owner = owner.to_owned();
            wanted.attributes.insert("owner".to_owned(), owner);
        }
    }
}

/// The objects that one side has and that are parts of nothing, by kind; for a
/// sentence on how much was compared.
pub fn count(of: &Fingerprint) -> usize {
    of.objects
        .values()
        .map(|object: &Object| object.attributes.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(lines: &[(&str, &str, &str)]) -> Fingerprint {
        let mut found = Fingerprint::default();
        for (object, attribute, value) in lines {
            let object = found.objects.entry((*object).to_owned()).or_default();
            object
                .attributes
                .insert((*attribute).to_owned(), (*value).to_owned());
        }
        found
    }

    fn lines(expected: &[(&str, &str, &str)], live: &[(&str, &str, &str)]) -> Vec<String> {
        let installers = BTreeSet::from(["deploy".to_owned()]);
        compare(side(expected), side(live), "postgres", &installers)
            .differences
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn another_place_is_no_drift() {
        assert_eq!(
            lines(
                &[
                    ("database", "owner", "postgres"),
                    ("extension x", "owner", "postgres"),
                    ("role kine_backup", "bypasses row security", "yes"),
                ],
                &[
                    ("database", "owner", "deploy"),
                    ("database", "grants to api", "connect"),
                    ("extension x", "owner", "deploy"),
                    ("role kine_backup", "bypasses row security", "no"),
                    ("role somebody", "superuser", "no"),
                ],
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn more_rights_and_other_owners_are() {
        assert_eq!(
            lines(
                &[
                    ("role kine_app", "bypasses row security", "no"),
                    ("extension x", "owner", "postgres"),
                ],
                &[
                    ("role kine_app", "bypasses row security", "yes"),
                    ("extension x", "owner", "stranger"),
                ],
            ),
            [
                "extension x: owner: `postgres` became `stranger`",
                "role kine_app: bypasses row security: `no` became `yes`"
            ]
        );
    }
}
