//! Columns, and the attributes of composite types, which are described like them.

use super::{Phase, Work, column_of, part};
use crate::catalogue::Object;

impl Work<'_> {
    pub(super) fn create_column(&mut self, object: &str, one: &Object) -> bool {
        let Some((table, column)) = column_of(object) else {
            return false;
        };
        let role = self.owner(object);
        let sql = if of_type(one) {
            format!(
                "alter type {table} add attribute {column} {}",
                definition(one)
            )
        } else {
            format!(
                "alter table {table} add column {column} {}",
                definition(one)
            )
        };
        self.say(Phase::Columns, role, object, sql);
        self.column_extras(object, one);
        true
    }

    /// What cannot be said where the column is made.
    pub(super) fn column_extras(&mut self, object: &str, one: &Object) {
        for attribute in ["storage", "compression", "statistics target", "options"] {
            if let Some(value) = one.get(attribute) {
                self.alter_column(object, attribute, Some(value));
            }
        }
    }

    pub(super) fn drop_column(&mut self, object: &str) {
        if let Some((table, column)) = column_of(object) {
            let role = self.owner(object);
            let sql = if self.from.get(object).is_some_and(of_type) {
                format!("alter type {table} drop attribute {column}")
            } else {
                format!("alter table {table} drop column {column}")
            };
            self.say(Phase::DropColumns, role, object, sql);
        }
    }

    pub(super) fn alter_column(
        &mut self,
        object: &str,
        attribute: &str,
        right: Option<&str>,
    ) -> bool {
        let Some((table, column)) = column_of(object) else {
            return false;
        };
        let phase = Phase::Columns;
        let sql = match (attribute, right) {
            ("type" | "collation", _) => {
                let Some(to) = self.to.get(object) else {
                    return false;
                };
                if of_type(to) {
                    return false;
                }
                let collate = to
                    .get("collation")
                    .map_or_else(String::new, |name| format!(" collate {name}"));
                format!(
                    "type {}{collate} using {column}::{}",
                    part(to, "type"),
                    part(to, "type")
                )
            }
            ("not null", Some(_)) => "set not null".to_owned(),
            ("not null", None) => "drop not null".to_owned(),
            ("default", Some(default)) => format!("set default {default}"),
            ("default", None) => "drop default".to_owned(),
            ("generated", None) => "drop expression".to_owned(),
            ("identity", right) => return self.alter_identity(object, right),
            ("storage", Some(how)) => format!("set storage {how}"),
            ("compression", how) => format!("set compression {}", how.unwrap_or("default")),
            ("statistics target", target) => format!("set statistics {}", target.unwrap_or("-1")),
            ("options", Some(options)) => format!("set ({options})"),
            _ => return false,
        };
        let role = self.owner(object);
        // A default of another type is in the way of the new type.
        if attribute == "type"
            && self.from.get(object).is_some_and(|one| {
                one.get("default").is_some()
                    && one.get("default") != self.to.get(object).and_then(|to| to.get("default"))
            })
        {
            self.say(
                phase,
                role.clone(),
                object,
                format!("alter table {table} alter column {column} drop default"),
            );
            self.say(
                phase,
                role.clone(),
                object,
                format!("alter table {table} alter column {column} {sql}"),
            );
            if let Some(default) = self
                .to
                .get(object)
                .and_then(|to| to.get("default"))
                .map(str::to_owned)
            {
                self.say(
                    phase,
                    role,
                    object,
                    format!("alter table {table} alter column {column} set default {default}"),
                );
            }
            return true;
        }
        self.say(
            phase,
            role,
            object,
            format!("alter table {table} alter column {column} {sql}"),
        );
        true
    }

    /// Made last, because the column has to be not null and without a default; gone
    /// first, because it is in the way of both.
    fn alter_identity(&mut self, object: &str, right: Option<&str>) -> bool {
        let Some((table, column)) = column_of(object) else {
            return false;
        };
        let had = self
            .from
            .get(object)
            .is_some_and(|one| one.get("identity").is_some());
        let (last, sql) = match right {
            None => (false, "drop identity".to_owned()),
            Some(text) => {
                let (how, options) = identity(text);
                let sql = if had {
                    format!("set generated {how} set {}", options.join(" set "))
                } else {
                    let options = options.join(" ");
                    format!("add generated {how} as identity ({options})")
                };
                (true, sql)
            }
        };
        let role = self.owner(object);
        let order = if last {
            super::kin::STEP + self.script.statements.len()
        } else {
            0
        };
        let warning = if last && !had {
            "-- Values that rows have already are not counted: where there are rows, let it start above them.\n"
        } else {
            ""
        };
        self.ordered(
            Phase::Columns,
            order,
            role,
            object,
            format!("{warning}alter table {table} alter column {column} {sql}"),
        );
        true
    }
}

/// An attribute of a composite type, which is described like a column.
fn of_type(one: &Object) -> bool {
    one.parent
        .as_deref()
        .is_some_and(|parent| parent.starts_with("type "))
}

/// A column as `create table` takes it, without its name.
pub(super) fn definition(one: &Object) -> String {
    let mut text = part(one, "type").to_owned();
    if let Some(name) = one.get("collation") {
        text.push_str(&format!(" collate {name}"));
    }
    if one.get("not null").is_some() {
        text.push_str(" not null");
    }
    if let Some(default) = one.get("default") {
        text.push_str(&format!(" default {default}"));
    }
    if let Some(generated) = one.get("generated") {
        let expression = generated
            .trim_end_matches(" stored")
            .trim_end_matches(" virtual");
        text.push_str(&format!(" generated always as ({expression}) stored"));
    }
    if let Some(text_of) = one.get("identity") {
        let (how, options) = identity(text_of);
        let usual = [
            "start with 1",
            "minvalue 1",
            "increment by 1",
            "cache 1",
            "no cycle",
        ];
        let whole = match part(one, "type") {
            "smallint" => "maxvalue 32767",
            "integer" => "maxvalue 2147483647",
            _ => "maxvalue 9223372036854775807",
        };
        let own: Vec<&str> = options
            .iter()
            .map(String::as_str)
            .filter(|option| !usual.contains(option) && *option != whole)
            .collect();
        text.push_str(&format!(" generated {how} as identity"));
        if !own.is_empty() {
            text.push_str(&format!(" ({})", own.join(" ")));
        }
    }
    text
}

/// `always bigint start 1 minimum 1 ..` as the words of SQL: how, and each option.
fn identity(text: &str) -> (&str, Vec<String>) {
    let how = if text.starts_with("always") {
        "always"
    } else {
        "by default"
    };
    let words: Vec<&str> = text.split(' ').collect();
    let mut options = Vec::new();
    for (name, sql) in [
        ("start", "start with"),
        ("minimum", "minvalue"),
        ("maximum", "maxvalue"),
        ("increment", "increment by"),
        ("cache", "cache"),
    ] {
        if let Some(at) = words.iter().position(|word| *word == name)
            && let Some(value) = words.get(at + 1)
        {
            options.push(format!("{sql} {value}"));
        }
    }
    let cycle = words.last() == Some(&"cycle");
    options.push(if cycle { "cycle" } else { "no cycle" }.to_owned());
    (how, options)
}
