//! What belongs to the database as a whole: extensions, publications, event triggers.

use super::kin::list;
use super::{Phase, Work, part};
use crate::catalogue::Object;
use crate::db::ident::Literal;

impl Work<'_> {
    pub(super) fn create_extension(&mut self, object: &str, name: &str, one: &Object) {
        self.say(
            Phase::Extensions,
            None,
            object,
            format!(
                "create extension {name} schema {} version {}",
                part(one, "schema"),
                Literal::new(part(one, "version"))
            ),
        );
    }

    pub(super) fn alter_extension(
        &mut self,
        object: &str,
        attribute: &str,
        right: Option<&str>,
    ) -> bool {
        let sql = match (attribute, right) {
            ("version", Some(version)) => format!("update to {}", Literal::new(version)),
            ("schema", Some(schema)) => format!("set schema {schema}"),
            // PostgreSQL has no statement for another owner.
            _ => return false,
        };
        self.say(
            Phase::Extensions,
            None,
            object,
            format!("alter {object} {sql}"),
        );
        true
    }

    pub(super) fn create_publication(&mut self, object: &str, name: &str, one: &Object) {
        self.say(
            Phase::Publications,
            None,
            object,
            format!(
                "create publication {name}{} with ({})",
                published(one).map_or_else(String::new, |what| format!(" for {what}")),
                publishes(one)
            ),
        );
    }

    /// One that published all tables, or shall, cannot be altered to it.
    pub(super) fn alter_publication(&mut self, object: &str, attribute: &str) -> bool {
        let (Some(from), Some(to)) = (self.from.get(object), self.to.get(object)) else {
            return false;
        };
        let (kind, name) = super::kind_and_name(object);
        let all = |one: &Object| one.get("tables") == Some("all");
        match attribute {
            "publishes" => self.say(
                Phase::Publications,
                None,
                object,
                format!("alter {kind} {name} set ({})", publishes(to)),
            ),
            "tables" | "schemas" => match published(to) {
                Some(what) if !all(from) && !all(to) => self.say(
                    Phase::Publications,
                    None,
                    object,
                    format!("alter {kind} {name} set {what}"),
                ),
                _ => {
                    self.say(
                        Phase::DropPublications,
                        None,
                        object,
                        format!("drop {object}"),
                    );
                    self.create_publication(object, name, to);
                    if let Some(owner) = to.get("owner") {
                        self.say(
                            Phase::Owners,
                            None,
                            object,
                            format!("alter {object} owner to {owner}"),
                        );
                    }
                    if let Some(text) = to.get("comment") {
                        self.comment(object, Some(text), None);
                    }
                }
            },
            _ => return false,
        }
        true
    }

    pub(super) fn create_event_trigger(&mut self, object: &str, name: &str, one: &Object) {
        let tags = one.get("tags").map_or_else(String::new, |tags| {
            let tags: Vec<String> = tags
                .split(", ")
                .map(|tag| Literal::new(tag).to_string().trim_start().to_owned())
                .collect();
            format!("\n  when tag in ({})", tags.join(", "))
        });
        self.say(
            Phase::EventTriggers,
            None,
            object,
            format!(
                "create event trigger {name} on {}{tags}\n  execute function {}",
                part(one, "event"),
                part(one, "function")
            ),
        );
        self.alter_event_trigger(object, "enabled", one.get("enabled"));
    }

    pub(super) fn alter_event_trigger(
        &mut self,
        object: &str,
        attribute: &str,
        right: Option<&str>,
    ) -> bool {
        match attribute {
            "enabled" => {
                let how = match right {
                    Some("always") => "enable always",
                    Some("on a replica") => "enable replica",
                    Some("no") => "disable",
                    _ => "enable",
                };
                // A new one is enabled; after all that it would fire at.
                if how != "enable" || self.from.get(object).is_some() {
                    self.say(
                        Phase::EventTriggers,
                        None,
                        object,
                        format!("alter {object} {how}"),
                    );
                }
                true
            }
            "event" | "tags" | "function" => {
                let to = self.to;
                let Some(one) = to.get(object) else {
                    return false;
                };
                self.say(
                    Phase::DropEventTriggers,
                    None,
                    object,
                    format!("drop {object}"),
                );
                let name = super::kind_and_name(object).1.to_owned();
                self.create_event_trigger(object, &name, one);
                if let Some(owner) = one.get("owner") {
                    self.say(
                        Phase::EventTriggers,
                        None,
                        object,
                        format!("alter {object} owner to {owner}"),
                    );
                }
                if let Some(text) = one.get("comment") {
                    self.ordered(
                        Phase::EventTriggers,
                        usize::MAX,
                        None,
                        object,
                        format!("comment on {object} is {}", Literal::new(text)),
                    );
                }
                true
            }
            _ => false,
        }
    }
}

/// What stands behind `for` or `set`; none where nothing is published.
fn published(one: &Object) -> Option<String> {
    match (one.get("tables"), one.get("schemas")) {
        (Some("all"), _) => Some("all tables".to_owned()),
        (tables, schemas) => {
            let mut parts = Vec::new();
            if let Some(tables) = tables {
                parts.push(format!("table {tables}"));
            }
            if let Some(schemas) = schemas {
                parts.push(format!("tables in schema {}", list(schemas).join(", ")));
            }
            (!parts.is_empty()).then(|| parts.join(", "))
        }
    }
}

/// `insert, update, through the root` as options.
fn publishes(one: &Object) -> String {
    let words = list(part(one, "publishes"));
    let root = words.contains(&"through the root");
    let actions: Vec<&str> = words
        .into_iter()
        .filter(|word| *word != "through the root")
        .collect();
    format!(
        "publish = {}, publish_via_partition_root = {root}",
        Literal::new(actions.join(", "))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(parts: &[(&str, &str)]) -> Object {
        let mut one = Object::default();
        for (attribute, value) in parts {
            one.attributes
                .insert((*attribute).to_owned(), (*value).to_owned());
        }
        one
    }

    #[test]
    fn what_a_publication_publishes() {
        assert_eq!(
            published(&one(&[("tables", "s.a (x, y), s.b"), ("schemas", "t")])).as_deref(),
            Some("table s.a (x, y), s.b, tables in schema t")
        );
        assert_eq!(published(&one(&[])), None);
        assert_eq!(
            publishes(&one(&[("publishes", "insert, through the root")])),
            "publish = 'insert', publish_via_partition_root = true"
        );
    }
}
