//! A restored database against the manifest of its backup, line by line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::manifest::{Manifest, Part, Table};
use crate::catalogue::Fingerprint;

/// One thing that is not as it was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `rows`, `contents`, `catalogue`, `history`, `sequence`, `audit`, `isolation`.
    pub kind: &'static str,
    /// The table, and the tenant where it is one tenant's rows; the object.
    pub place: String,
    /// What was backed up and what is there.
    pub detail: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.kind, self.place, self.detail)
    }
}

/// What a restored database holds, in the manifest's own form.
pub struct Restored<'a> {
    /// Its tables.
    pub tables: &'a [Table],
    /// Its catalogue.
    pub fingerprint: &'a Fingerprint,
    /// Its migrations.
    pub applied: &'a [(String, Option<String>)],
    /// Its sequences.
    pub sequences: &'a [(String, Option<i64>)],
}

/// Everything in which the two differ.
pub fn compare(manifest: &Manifest, restored: &Restored<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    rows(&manifest.tables, restored.tables, &mut found);
    catalogue(&manifest.fingerprint, restored.fingerprint, &mut found);
    if manifest.applied != restored.applied {
        found.push(Difference {
            kind: "history",
            place: "applied migrations".to_owned(),
            detail: format!(
                "{} were backed up, {} are there, or other ones",
                manifest.applied.len(),
                restored.applied.len()
            ),
        });
    }
    let sequences: BTreeMap<_, _> = restored.sequences.iter().cloned().collect();
    for (name, value) in &manifest.sequences {
        if sequences.get(name) != Some(value) {
            found.push(Difference {
                kind: "sequence",
                place: name.clone(),
                detail: "it stands at another value".to_owned(),
            });
        }
    }
    found
}

fn parts(tables: &[Table]) -> BTreeMap<(&str, Option<&str>), &Part> {
    tables
        .iter()
        .flat_map(|table| {
            let name = table.name.as_str();
            table
                .parts
                .iter()
                .map(move |part| ((name, part.tenant.as_deref()), part))
        })
        .collect()
}

fn rows(backed_up: &[Table], restored: &[Table], found: &mut Vec<Difference>) {
    let (left, right) = (parts(backed_up), parts(restored));
    let mut keys: Vec<_> = left.keys().chain(right.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let count = |side: &BTreeMap<_, &Part>| side.get(key).map_or(0, |part: &&Part| part.rows);
        let (was, is) = (count(&left), count(&right));
        let place = match key.1 {
            Some(tenant) => format!("`{}` of tenant {tenant}", key.0),
            None => format!("`{}`", key.0),
        };
        if was != is {
            found.push(Difference {
                kind: "rows",
                place,
                detail: format!("{was} were backed up, {is} are there"),
            });
        } else if left.get(key).map(|part| &part.digest) != right.get(key).map(|part| &part.digest)
        {
            found.push(Difference {
                kind: "contents",
                place,
                detail: format!("{was} rows, and not those that were backed up"),
            });
        }
    }
    for table in backed_up {
        if !restored.iter().any(|other| other.name == table.name) {
            found.push(Difference {
                kind: "catalogue",
                place: format!("`{}`", table.name),
                detail: "the table is not there".to_owned(),
            });
        }
    }
}

fn catalogue(backed_up: &Fingerprint, restored: &Fingerprint, found: &mut Vec<Difference>) {
    for line in backed_up.differences(restored) {
        let attribute = line.attribute.map_or_else(String::new, |one| one + ": ");
        let detail = match (line.left, line.right) {
            (Some(was), Some(is)) => format!("{attribute}`{was}` became `{is}`"),
            (Some(was), None) => format!("{attribute}`{was}` is missing"),
            (None, Some(is)) => format!("{attribute}`{is}` was not backed up"),
            (None, None) => continue,
        };
        found.push(Difference {
            kind: "catalogue",
            place: line.object,
            detail,
        });
    }
}
