//! The differences between tables and what the entities declare.

use crate::catalogue::Fingerprint;
use crate::db::ident::Ident;
use crate::policy::entities::{SHADOW, Table, create, list, plain};

/// One difference between a table and its entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub object: String,
    /// In words.
    pub what: String,
    /// The SQL that makes the table what the entity declares.
    pub sql: String,
    /// It loses data, or may.
    pub destroys: bool,
    /// Why the server does not do it, where it was tried.
    pub refused: Option<String>,
}

impl Change {
    /// Why it is left to whoever writes the migration, if it is.
    pub fn left_because(&self) -> Option<String> {
        match &self.refused {
            _ if self.destroys => Some("it may lose data".to_owned()),
            Some(sentence) => Some(format!("the server refuses it ({sentence})")),
            None => None,
        }
    }
}

/// Every difference, in an order that runs. `seen` holds the schema and, in
/// [`SHADOW`], the declared tables.
pub fn changes(seen: &Fingerprint, tables: &[Table]) -> Vec<Change> {
    let mut all = Vec::new();
    for table in tables {
        let there = format!(
            "{}.{}",
            plain(table.name.schema.as_str()),
            plain(table.name.name.as_str())
        );
        let shadow = format!("{SHADOW}.{}", plain(table.name.name.as_str()));
        let name = &table.name;
        let mut push = |object: String, what: String, sql: String, destroys: bool| {
            all.push(Change {
                object,
                what,
                sql,
                destroys,
                refused: None,
            });
        };
        if seen.get(&format!("table {there}")).is_none() {
            push(
                format!("table {there}"),
                "declared by an entity, made by no migration".to_owned(),
                create(&name.to_string(), table),
                false,
            );
        } else {
            columns(seen, table, &there, &shadow, &mut push);
            let key = |of: &str| {
                seen.parts(&format!("table {of}"))
                    .find_map(|(object, one)| {
                        Some((
                            object.to_owned(),
                            one.get("definition")
                                .filter(|text| text.starts_with("PRIMARY KEY"))?
                                .to_owned(),
                        ))
                    })
            };
            let (found, wanted) = (key(&there), key(&shadow));
            if let Some((_, wanted)) = &wanted
                && found.as_ref().map(|(_, text)| text) != Some(wanted)
            {
                let drop = found
                    .as_ref()
                    .and_then(|(object, _)| constraint(object))
                    .map_or_else(String::new, |old| {
                        format!("alter table {name} drop constraint {old};\n")
                    });
                push(
                    format!("table {there}"),
                    format!(
                        "the primary key is `{}`, declared is `{wanted}`",
                        found.map_or("none".to_owned(), |(_, text)| text)
                    ),
                    format!(
                        "{drop}alter table {name} add constraint {} {wanted}",
                        Ident::new(format!("{}_pkey", name.name.as_str()))
                    ),
                    false,
                );
            }
        }
        let has = |prefix: &str, text: &str| {
            seen.parts(&format!("table {there}")).any(|(object, one)| {
                object.starts_with(prefix)
                    && one
                        .get("definition")
                        .is_some_and(|found| found.contains(text))
            })
        };
        for columns in &table.unique {
            let text = format!(
                "UNIQUE ({})",
                columns
                    .iter()
                    .map(|one| plain(one))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            if !has("constraint ", &text) {
                let key = Ident::new(format!("{}_{}_key", name.name.as_str(), columns.join("_")));
                push(
                    format!("table {there}"),
                    format!("declared `{text}` is missing"),
                    format!(
                        "alter table {name} add constraint {key} unique ({})",
                        list(columns)
                    ),
                    false,
                );
            }
        }
        for columns in &table.indexes {
            let text = format!(
                "({})",
                columns
                    .iter()
                    .map(|one| plain(one))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            if !has("index ", &text) {
                let index = Ident::new(format!("{}_{}_idx", name.name.as_str(), columns.join("_")));
                push(
                    format!("table {there}"),
                    format!("a declared index on `{text}` is missing"),
                    format!("create index {index} on {name} ({})", list(columns)),
                    false,
                );
            }
        }
    }
    // References last: the table they point at may be new, too.
    for table in tables {
        let there = format!(
            "{}.{}",
            plain(table.name.schema.as_str()),
            plain(table.name.name.as_str())
        );
        for reference in &table.references {
            let names = |columns: &[String]| {
                columns
                    .iter()
                    .map(|one| plain(one))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let text = format!(
                "FOREIGN KEY ({}) REFERENCES {}.{}({})",
                names(&reference.columns),
                plain(reference.to.schema.as_str()),
                plain(reference.to.name.as_str()),
                names(&reference.their)
            );
            let made = seen.parts(&format!("table {there}")).any(|(_, one)| {
                one.get("definition")
                    .is_some_and(|found| found.starts_with(&text))
            });
            if !made {
                let key = Ident::new(format!(
                    "{}_{}_fkey",
                    table.name.name.as_str(),
                    reference
                        .columns
                        .last()
                        .map_or("", String::as_str)
                        .trim_end_matches("_id")
                ));
                all.push(Change {
                    object: format!("table {there}"),
                    what: format!("declared `{text}` is missing"),
                    sql: format!(
                        "alter table {} add constraint {key} foreign key ({}) references {} ({})",
                        table.name,
                        list(&reference.columns),
                        reference.to,
                        list(&reference.their)
                    ),
                    destroys: false,
                    refused: None,
                });
            }
        }
    }
    all
}

fn constraint(object: &str) -> Option<String> {
    Some(
        object
            .strip_prefix("constraint ")?
            .split_once(" on ")?
            .0
            .to_owned(),
    )
}

fn columns(
    seen: &Fingerprint,
    table: &Table,
    there: &str,
    shadow: &str,
    push: &mut dyn FnMut(String, String, String, bool),
) {
    let name = &table.name;
    for (column, text) in &table.columns {
        let quoted = Ident::new(column);
        let object = format!("column {there}.{}", plain(column));
        let Some(wanted) = seen.get(&format!("column {shadow}.{}", plain(column))) else {
            continue;
        };
        let Some(found) = seen.get(&object) else {
            push(
                object,
                "declared by the entity, made by no migration".to_owned(),
                format!("alter table {name} add column {text}"),
                false,
            );
            continue;
        };
        let (is, should) = (
            found.get("type").unwrap_or_default(),
            wanted.get("type").unwrap_or_default(),
        );
        // In a list an entity cannot tell the two texts apart.
        if is != should && !(is == "text[]" && should == "character varying[]") {
            push(
                object.clone(),
                format!("the type is `{is}`, declared is `{should}`"),
                format!(
                    "alter table {name} alter column {quoted} type {should} using {quoted}::{should}"
                ),
                !widens(is, should),
            );
        }
        if found.get("not null") != wanted.get("not null") {
            let (what, verb) = if wanted.get("not null").is_some() {
                ("it may be null, declared is `not null`", "set")
            } else {
                ("it is `not null`, declared is that it may be null", "drop")
            };
            push(
                object.clone(),
                what.to_owned(),
                format!("alter table {name} alter column {quoted} {verb} not null"),
                false,
            );
        }
        if let Some(default) = wanted.get("default")
            && found.get("default") != Some(default)
        {
            push(
                object.clone(),
                format!(
                    "the default is `{}`, declared is `{default}`",
                    found.get("default").unwrap_or("none")
                ),
                format!("alter table {name} alter column {quoted} set default {default}"),
                false,
            );
        }
    }
    for (object, _) in seen.parts(&format!("table {there}")) {
        let Some(column) = object
            .strip_prefix("column ")
            .and_then(|rest| rest.strip_prefix(there))
            .map(|rest| rest.trim_start_matches('.'))
        else {
            continue;
        };
        if !table.columns.iter().any(|(name, _)| plain(name) == column) {
            push(
                object.to_owned(),
                "the entity does not declare it".to_owned(),
                format!("alter table {name} drop column {column}"),
                true,
            );
        }
    }
}

/// No value is lost from one type to the other.
fn widens(from: &str, to: &str) -> bool {
    let text = |name: &str| name == "text" || name.starts_with("character varying");
    let length =
        |name: &str| -> Option<u32> { name.split_once('(')?.1.trim_end_matches(')').parse().ok() };
    match (from, to) {
        ("smallint", "integer" | "bigint" | "numeric")
        | ("integer", "bigint" | "numeric")
        | ("bigint", "numeric")
        | ("real", "double precision")
        | ("json", "jsonb" | "text") => true,
        (_, "text") => text(from) || from.starts_with("character") || from == "uuid",
        _ if text(from) && text(to) => match (length(from), length(to)) {
            (_, None) => true,
            (Some(from), Some(to)) => from <= to,
            (None, Some(_)) => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_every_value_widens() {
        assert!(
            widens("integer", "bigint")
                && widens("character varying(5)", "character varying(9)")
                && widens("character varying(5)", "text")
        );
        assert!(
            !widens("bigint", "integer")
                && !widens("text", "character varying(9)")
                && !widens("text", "uuid")
        );
    }
}
