//! SQL that takes a database from one description to another, in an order that
//! runs. Written for both ways by the same code: the way down is the way from
//! the second description to the first.
//!
//! What it cannot write is said in [`Script::unwritten`]; the caller tries the
//! script in a scratch database and says what is left, so nothing is silent.

mod code;
mod columns;
mod grants;
mod kin;
mod names;
mod script;
mod security;
mod tables;
mod whole;

use std::collections::BTreeSet;

use crate::catalogue::{Difference, Fingerprint, Object};

use names::{column_of, kind_and_name, name_and_table, part};
pub use script::Script;
use script::{Phase, Statement, tidy};

/// What the parts work on.
struct Work<'a> {
    from: &'a Fingerprint,
    to: &'a Fingerprint,
    /// Views that are dropped and made again, because what they read changes.
    remade: BTreeSet<&'a str>,
    script: Script,
}

/// Writes the way.
pub fn generate(from: &Fingerprint, to: &Fingerprint) -> Script {
    let mut work = Work {
        from,
        to,
        remade: BTreeSet::new(),
        script: Script::default(),
    };
    work.remade = code::remade(from, to);
    let mut all: Vec<Difference> = from.differences(to);
    // A view that is made again is written whole, with all that is a part of it.
    all.retain(|one| {
        !work
            .remade
            .iter()
            .any(|view| one.object == *view || work.is_part(&one.object, view))
    });
    all.retain(|one| !follows_parent(from, to, one));
    for view in work.remade.clone() {
        work.drop_object(view);
        work.create_object(view);
    }
    for one in &all {
        match (&one.attribute, &one.left, &one.right) {
            (None, Some(_), None) => work.drop_object(&one.object),
            (None, None, Some(_)) => work.create_object(&one.object),
            (Some(attribute), left, right) => {
                work.alter(&one.object, attribute, left.as_deref(), right.as_deref());
            }
            _ => {}
        }
    }
    work.script
        .statements
        .sort_by_key(|one| (one.phase, one.order));
    work.script.statements.dedup_by(|a, b| a.sql == b.sql);
    work.script
}

impl<'a> Work<'a> {
    fn is_part(&self, object: &str, of: &str) -> bool {
        let parent = |side: &Fingerprint| side.get(object).and_then(|one| one.parent.clone());
        parent(self.from).or_else(|| parent(self.to)).as_deref() == Some(of)
    }

    fn say(&mut self, phase: Phase, role: Option<String>, about: &str, sql: impl Into<String>) {
        let order = self.script.statements.len();
        self.ordered(phase, order, role, about, sql);
    }

    /// What PostgreSQL prints as the whole of an object, for its table's owner to run.
    fn defined(&mut self, phase: Phase, object: &str, one: &Object) {
        let role = self.owner(object);
        self.say(phase, role, object, part(one, "definition"));
    }

    fn ordered(
        &mut self,
        phase: Phase,
        order: usize,
        role: Option<String>,
        about: &str,
        sql: impl Into<String>,
    ) {
        let mut sql = sql.into();
        if about == "database" && sql.contains(" on database %I ") {
            sql = format!(
                "do $grant$ begin\n  execute format({}, current_database());\nend $grant$",
                crate::db::ident::Literal::new(sql)
            );
        }
        let sql = tidy(&sql);
        self.script.statements.push(Statement {
            phase,
            order,
            role,
            about: about.to_owned(),
            sql,
        });
    }

    fn cannot(&mut self, what: String) {
        self.script.unwritten.push(what);
    }

    /// The owner of an object, or of what it is a part of: who may change it.
    fn owner(&self, object: &str) -> Option<String> {
        let of = |side: &'a Fingerprint| {
            let one = side.get(object)?;
            match (one.get("owner"), &one.parent) {
                (Some(owner), _) => Some(owner),
                (None, Some(parent)) => side.get(parent)?.get("owner"),
                (None, None) => None,
            }
        };
        of(self.from).or_else(|| of(self.to)).map(str::to_owned)
    }

    /// An object that `to` has and `from` has not, with its parts.
    fn create_object(&mut self, object: &str) {
        let to = self.to;
        let Some(one) = to.get(object) else { return };
        if one
            .parent
            .as_deref()
            .is_some_and(|parent| parent.starts_with("view "))
        {
            return self.view_part(object);
        }
        let (kind, name) = kind_and_name(object);
        let known = match kind {
            "table" => self.create_table(object, name, one),
            "column" => self.create_column(object, one),
            "constraint" => self.create_constraint(object, one),
            "index" => self.create_index(object, one),
            "policy" => self.create_policy(object, one),
            "trigger" => self.create_trigger(object, one),
            "rule" => self.create_rule(object, one),
            "view" => self.create_view(object, name, one),
            "function" | "procedure" => self.create_function(object, one),
            "type" => self.create_type(object, name, one),
            "schema" => {
                self.say(
                    Phase::Schemas,
                    None,
                    object,
                    format!("create schema {name}"),
                );
                true
            }
            "sequence" => self.create_sequence(object, name, one),
            "extension" => {
                self.create_extension(object, name, one);
                return;
            }
            "publication" => {
                self.create_publication(object, name, one);
                true
            }
            "event trigger" => {
                self.create_event_trigger(object, name, one);
                true
            }
            "default" => {
                self.default_privileges(object, None, Some(one));
                return;
            }
            _ => false,
        };
        if !known {
            self.cannot(format!("{object}: new"));
            return;
        }
        let role = self.owner(object);
        if let Some(owner) = one.get("owner")
            && matches!(
                kind,
                "table"
                    | "view"
                    | "function"
                    | "procedure"
                    | "type"
                    | "schema"
                    | "sequence"
                    | "publication"
                    | "event trigger"
            )
        {
            self.say(
                owning(kind),
                None,
                object,
                format!("alter {object} owner to {owner}"),
            );
        }
        if let Some(text) = one.get("comment") {
            self.comment(object, Some(text), role);
        }
        self.all_grants(object, None, Some(one));
        let parts: Vec<String> = to.parts(object).map(|(part, _)| part.to_owned()).collect();
        for part in parts {
            if kind == "table" && part.starts_with("column ") {
                if let Some(column) = to.get(&part) {
                    self.column_extras(&part, column);
                    if let Some(text) = column.get("comment") {
                        let role = self.owner(object);
                        self.comment(&part, Some(text), role);
                    }
                    self.all_grants(&part, None, Some(column));
                }
            } else if kind == "view" {
                self.view_part(&part);
            } else {
                self.create_object(&part);
            }
        }
    }

    /// An object that `from` has and `to` has not.
    fn drop_object(&mut self, object: &str) {
        let (kind, name) = kind_and_name(object);
        let role = self.owner(object);
        let phase = match kind {
            "view" => {
                let depth = code::depth(self.from, object);
                self.ordered(
                    Phase::DropViews,
                    1_000_000 - depth,
                    role,
                    object,
                    format!("drop view {name}"),
                );
                return;
            }
            "policy" | "trigger" | "rule" => Phase::DropBehaviour,
            "constraint" => return self.drop_constraint(object),
            "index" => Phase::DropKeys,
            "column"
                if self
                    .from
                    .get(object)
                    .and_then(|one| one.parent.as_deref())
                    .is_some_and(|parent| parent.starts_with("view ")) =>
            {
                return self.clear_view_column(object);
            }
            "column" => return self.drop_column(object),
            "table" => {
                // Parts of a whole before it.
                let order = usize::MAX / 2 - kin::depth(self.from, object) * kin::STEP;
                self.ordered(
                    Phase::DropTables,
                    order,
                    role,
                    object,
                    format!("drop {object}"),
                );
                return;
            }
            "extension" => Phase::DropExtensions,
            "publication" => Phase::DropPublications,
            "event trigger" => Phase::DropEventTriggers,
            "schema" | "sequence" | "type" => Phase::DropTables,
            "function" | "procedure" => Phase::DropFunctions,
            "default" => {
                let one = self.from.get(object).cloned().unwrap_or_default();
                self.default_privileges(object, Some(&one), None);
                return;
            }
            _ => {
                self.cannot(format!("{object}: gone"));
                return;
            }
        };
        if kind == "trigger"
            && self
                .from
                .get(object)
                .is_some_and(|one| one.get("partition of").is_some())
        {
            return;
        }
        self.say(phase, role, object, format!("drop {object}"));
    }

    fn alter(&mut self, object: &str, attribute: &str, left: Option<&str>, right: Option<&str>) {
        let (kind, name) = kind_and_name(object);
        let role = self.owner(object);
        let known = match attribute {
            "comment" => {
                self.comment(object, right, role);
                true
            }
            "owner" => match right {
                Some(_) if matches!(kind, "extension" | "foreign") => false,
                Some(owner) => {
                    self.say(
                        owning(kind),
                        None,
                        object,
                        format!("alter {object} owner to {owner}"),
                    );
                    true
                }
                None => false,
            },
            _ if attribute.starts_with("grants to ") => {
                self.grant_change(object, attribute, left, right);
                true
            }
            _ => match kind {
                "table" if attribute == "partition of" => {
                    self.alter_partition(object, name, left, right);
                    true
                }
                "table" if attribute == "inherits" => {
                    self.alter_inheritance(object, name, left, right);
                    true
                }
                "table" => self.alter_table(object, attribute, right),
                // They follow their table.
                "column" | "constraint" if attribute == "inherited" => true,
                "index" if attribute == "partition of" => true,
                "extension" => self.alter_extension(object, attribute, right),
                "publication" => self.alter_publication(object, attribute),
                "event trigger" => self.alter_event_trigger(object, attribute, right),
                "column" => self.alter_column(object, attribute, right),
                "constraint" => self.remake(object, attribute, &["definition"]),
                "index" => self.remake(object, attribute, &["definition"]),
                "policy" => self.alter_policy(object, attribute),
                "trigger" => self.alter_trigger(object, attribute, right),
                "rule" => self.alter_trigger(object, attribute, right),
                "view" => self.alter_view(object, attribute, left, right),
                "function" | "procedure" => self.alter_function(object),
                "sequence" => self.alter_sequence(object, attribute, right),
                "role" => self.alter_role(object, attribute, left, right),
                "database" => self.alter_database(attribute, right),
                "default" => {
                    let (from, to) = (self.from.get(object).cloned(), self.to.get(object).cloned());
                    self.default_privileges(object, from.as_ref(), to.as_ref());
                    true
                }
                "type" => self.alter_type(object, attribute, left, right),
                "domain" => self.alter_domain(object, attribute, right),
                _ => false,
            },
        };
        if !known {
            let text = |side: Option<&str>| side.unwrap_or("none").to_owned();
            self.cannot(format!(
                "{object}: {attribute}: `{}` to `{}`",
                text(left),
                text(right)
            ));
        }
    }

    /// Drops and makes again what cannot be altered.
    fn remake(&mut self, object: &str, attribute: &str, by: &[&str]) -> bool {
        if !by.contains(&attribute) {
            return false;
        }
        self.drop_object(object);
        self.create_object(object);
        true
    }

    fn comment(&mut self, object: &str, text: Option<&str>, role: Option<String>) {
        let text = text.map_or_else(
            || "null".to_owned(),
            |text| crate::db::ident::Literal::new(text).to_string(),
        );
        // `constraint c on table t` is told apart from one of a domain only there.
        let on = object.replace(" on table ", " on ");
        // Those of the whole database are not the owner's of any table.
        let (phase, role) = match kind_and_name(object).0 {
            "publication" => (Phase::Publications, None),
            "event trigger" => (Phase::EventTriggers, None),
            _ => (Phase::Comments, role),
        };
        self.say(
            phase,
            role,
            object,
            format!("comment on {on} is {}", text.trim_start()),
        );
    }
}

/// When an object of this kind gets its owner: the last two are made late.
fn owning(kind: &str) -> Phase {
    match kind {
        "publication" => Phase::Publications,
        "event trigger" => Phase::EventTriggers,
        _ => Phase::Owners,
    }
}

/// What a partition gets from its table by itself.
fn follows_parent(from: &Fingerprint, to: &Fingerprint, one: &Difference) -> bool {
    let part = to.get(&one.object).or_else(|| from.get(&one.object));
    let Some(table) = part.and_then(|part| part.parent.as_deref()) else {
        return false;
    };
    let whole = to.get(table).or_else(|| from.get(table));
    let Some(parent) = whole
        .and_then(|whole| whole.get("partition of"))
        .and_then(|text| text.split(' ').next())
    else {
        return false;
    };
    let own = table.trim_start_matches("table ");
    match kind_and_name(&one.object).0 {
        "column" => {
            let above = one.object.replacen(own, parent, 1);
            let attribute = one.attribute.as_deref();
            let handed_down = matches!(
                attribute,
                None | Some("type" | "not null" | "collation" | "generated")
            );
            let value = |side: &Fingerprint| {
                side.get(&above).map(|column| {
                    attribute
                        .and_then(|name| column.get(name))
                        .map(str::to_owned)
                })
            };
            handed_down && value(from) != value(to)
        }
        "constraint" => {
            let above = format!("table {parent}");
            let made = |side: &Fingerprint| {
                side.parts(&above).any(|(_, other)| {
                    other.get("definition").is_some_and(|text| {
                        [&one.left, &one.right]
                            .into_iter()
                            .flatten()
                            .any(|own| own == text)
                    })
                })
            };
            made(from) || made(to)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_partition_has_of_its_own_is_not_left_to_its_table() {
        let side = |own: bool, above: bool| {
            let mut side = Fingerprint::default();
            let mut add = |name: &str, parent: Option<&str>, attributes: &[(&str, &str)]| {
                let one = side.objects.entry(name.to_owned()).or_default();
                one.parent = parent.map(str::to_owned);
                for (attribute, value) in attributes {
                    one.attributes
                        .insert((*attribute).to_owned(), (*value).to_owned());
                }
            };
            let bound = "s.whole for values in (1)";
            let not_null = |yes: bool| {
                [("type", "integer"), ("not null", "yes")][..1 + usize::from(yes)].to_vec()
            };
            add("table s.whole", None, &[("partitioned by", "list (a)")]);
            add("table s.part", None, &[("partition of", bound)]);
            add("column s.whole.a", Some("table s.whole"), &not_null(above));
            add("column s.part.a", Some("table s.part"), &not_null(own));
            side
        };
        let written = |from, to| generate(&from, &to).text(None);
        let own = written(side(false, false), side(true, false));
        assert!(
            own.contains("alter table s.part alter column a set not null"),
            "{own}"
        );
        let handed_down = written(side(false, false), side(true, true));
        assert!(
            handed_down.contains("alter table s.whole alter column a set not null")
                && !handed_down.contains("alter table s.part"),
            "{handed_down}"
        );
    }

    #[test]
    fn what_no_statement_makes_or_drops_is_said() {
        let side = |objects: &[&str]| {
            let mut side = Fingerprint::default();
            for object in objects {
                let one = side.objects.entry((*object).to_owned()).or_default();
                one.attributes.insert("owner".to_owned(), "o".to_owned());
            }
            side
        };
        let kinds = [
            "materialized view s.m",
            "foreign table s.f",
            "operator s.=== (box, integer)",
            "aggregate s.total(integer)",
            "role r",
        ];
        let (none, all) = (side(&[]), side(&kinds));
        for (from, to, end) in [(&none, &all, "new"), (&all, &none, "gone")] {
            let script = generate(from, to);
            let mut said = script.unwritten.clone();
            said.sort();
            let mut wanted: Vec<String> =
                kinds.iter().map(|kind| format!("{kind}: {end}")).collect();
            wanted.sort();
            assert_eq!(said, wanted);
            assert!(!script.is_empty() && script.text(None).is_empty());
        }
    }
}
