//! A database's schema and security as ordered text that can be compared.
//!
//! Read from the catalogue with PostgreSQL's own deparsers, in one snapshot and
//! one message. Nothing in it depends on oids, on the order in which things were
//! made, or on the names of the cluster. What belongs to kinedb itself (its
//! history) or to an extension is left out; so is data, and what only statistics
//! hold. Values whose names say that they are secrets are not shown.

mod difference;
mod partitions;
mod read;

use std::collections::BTreeMap;

pub use difference::{COLUMN_ORDER, Difference};
pub use partitions::same_partitions;
pub use read::{read, read_again, read_within, read_within_again};

/// What a name begins with that is told for the writing of SQL, and neither
/// shown nor compared: it follows from other attributes.
const HIDDEN: char = '~';

/// The description of a database: its objects by name, for example
/// `policy tenant_isolation on public.notes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint {
    /// Every object by its kind and name.
    pub objects: BTreeMap<String, Object>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Object {
    /// The object that it is a part of: a column's table, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Attribute and value. What an object does not have is not in it.
    pub attributes: BTreeMap<String, String>,
    /// Where in `attributes` it does not belong: for writing SQL.
    #[serde(skip)]
    pub hidden: BTreeMap<String, String>,
}

impl Object {
    /// An attribute's value.
    pub fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).map(String::as_str)
    }

    /// The object in one text.
    fn summary(&self) -> String {
        if let Some(definition) = self.get("definition") {
            return definition.to_owned();
        }
        self.attributes
            .iter()
            .map(|(attribute, value)| format!("{attribute} {value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Attributes of the database itself that belong to its place, not to its schema.
const OF_THE_PLACE: &[&str] = &["owner", "connections", "comment"];

impl Fingerprint {
    /// Leaves out what whoever runs the server decides of the database itself: who
    /// owns it, how many may connect, its comment.
    pub fn leave_place(&mut self) {
        if let Some(database) = self.objects.get_mut("database") {
            database
                .attributes
                .retain(|attribute, _| !OF_THE_PLACE.contains(&attribute.as_str()));
        }
    }

    /// One object.
    pub fn get(&self, object: &str) -> Option<&Object> {
        self.objects.get(object)
    }

    /// The objects that are parts of this one.
    pub fn parts<'a>(&'a self, of: &'a str) -> impl Iterator<Item = (&'a str, &'a Object)> {
        self.objects
            .iter()
            .filter(move |(_, object)| object.parent.as_deref() == Some(of))
            .map(|(name, object)| (name.as_str(), object))
    }

    /// The objects whose names begin so, for example `view `.
    pub fn kind<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Object)> {
        self.objects
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, object)| (name.as_str(), object))
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, object) in &self.objects {
            writeln!(f, "{name}")?;
            for (attribute, value) in &object.attributes {
                if value.contains('\n') {
                    writeln!(f, "  {attribute}:")?;
                    for line in value.trim_end().lines() {
                        writeln!(f, "    {line}")?;
                    }
                } else {
                    writeln!(f, "  {attribute}: {value}")?;
                }
            }
        }
        Ok(())
    }
}
