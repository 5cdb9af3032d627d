//! Tables, constraints, indexes, types, sequences.

use super::columns::definition;
use super::{Phase, Work, kind_and_name, name_and_table, part};
use crate::catalogue::{COLUMN_ORDER, Object};

/// Above a statement that the rules on SQL would refuse elsewhere.
const UNBOUND: &str = "-- kinedb: allow force-missing: in this transaction only, so that the reference is checked against all tenants' rows";

impl Work<'_> {
    pub(super) fn create_table(&mut self, object: &str, name: &str, one: &Object) -> bool {
        if one.get("of type").is_some() {
            return false;
        }
        let partitioned = one
            .get("partitioned by")
            .map_or_else(String::new, |by| format!(" partition by {by}"));
        let options = one
            .get("options")
            .map_or_else(String::new, |options| format!(" with ({options})"));
        if one.get("partition of").is_some() || one.get("inherits").is_some() {
            self.create_child(object, name, one, &format!("{partitioned}{options}"));
        } else {
            let order: Vec<&str> = part(one, COLUMN_ORDER).split(", ").collect();
            let columns: Vec<String> = order
                .iter()
                .filter_map(|column| {
                    let one = self.to.get(&format!("column {name}.{column}"))?;
                    Some(format!("  {column} {}", definition(one)))
                })
                .collect();
            let unlogged = if one.get("persistence") == Some("unlogged") {
                "unlogged "
            } else {
                ""
            };
            let role = one.get("owner").map(str::to_owned);
            self.say(
                Phase::Tables,
                role,
                object,
                format!(
                    "create {unlogged}table {name} (\n{}\n){partitioned}{options}",
                    columns.join(",\n")
                ),
            );
        }
        for (attribute, value) in [
            ("row security", "enabled"),
            ("force row security", "forced"),
        ] {
            if one.get(attribute) == Some(value) {
                self.alter_table(object, attribute, Some(value));
            }
        }
        true
    }

    pub(super) fn alter_table(
        &mut self,
        object: &str,
        attribute: &str,
        right: Option<&str>,
    ) -> bool {
        let sql = match (attribute, right) {
            ("row security", Some("enabled")) => "enable row level security".to_owned(),
            ("row security", Some(_)) => "disable row level security".to_owned(),
            ("force row security", Some("forced")) => "force row level security".to_owned(),
            ("force row security", Some(_)) => "no force row level security".to_owned(),
            ("replica identity", identity) => {
                format!("replica identity {}", identity.unwrap_or("default"))
            }
            ("persistence", Some("unlogged")) => "set unlogged".to_owned(),
            ("persistence", None) => "set logged".to_owned(),
            ("options", _) => match options_change(
                self.from.get(object).and_then(|one| one.get("options")),
                right,
            ) {
                Some(change) => change,
                None => return true,
            },
            // The order of columns cannot be changed; nothing depends on it that names its columns.
            (COLUMN_ORDER, _) => return true,
            _ => return false,
        };
        let role = self.owner(object);
        self.say(
            Phase::RowSecurity,
            role,
            object,
            format!("alter {object} {sql}"),
        );
        true
    }

    pub(super) fn create_constraint(&mut self, object: &str, one: &Object) -> bool {
        let Some((name, table)) = name_and_table(object) else {
            return false;
        };
        if self.comes_from_above(one) {
            return true;
        }
        let definition = part(one, "definition");
        let on = if object.contains(" on domain ") {
            "domain"
        } else {
            "table"
        };
        let phase = if definition.starts_with("FOREIGN KEY") {
            Phase::References
        } else {
            Phase::Keys
        };
        let role = self.owner(object);
        let mut between = Vec::new();
        if phase == Phase::References {
            between = self.forced(object, definition);
        }
        for table in &between {
            self.say(
                phase,
                role.clone(),
                object,
                format!("{UNBOUND}\nalter table {table} no force row level security"),
            );
        }
        self.say(
            phase,
            role.clone(),
            object,
            format!("alter {on} {table} add constraint {name} {definition}"),
        );
        for table in &between {
            self.say(
                phase,
                role.clone(),
                object,
                format!("alter table {table} force row level security"),
            );
        }
        true
    }

    /// The tables that a new reference is checked against, where FORCE binds their
    /// owner: its policies would fail without a tenant, or check one tenant's rows.
    fn forced(&self, object: &str, definition: &str) -> Vec<String> {
        let own = object.split(" on table ").nth(1);
        let other = definition
            .split(" REFERENCES ")
            .nth(1)
            .and_then(|rest| rest.split('(').next());
        let mut tables: Vec<String> = own.into_iter().chain(other).map(str::to_owned).collect();
        tables.dedup();
        tables.retain(|table| {
            let name = format!("table {table}");
            [self.from, self.to].iter().all(|side| {
                side.get(&name)
                    .is_none_or(|one| one.get("force row security") == Some("forced"))
            }) && self.from.get(&name).is_some()
        });
        tables
    }

    pub(super) fn drop_constraint(&mut self, object: &str) {
        let Some((name, table)) = name_and_table(object) else {
            return;
        };
        let on = if object.contains(" on domain ") {
            "domain"
        } else {
            "table"
        };
        let reference = self
            .from
            .get(object)
            .is_some_and(|one| part(one, "definition").starts_with("FOREIGN KEY"));
        let phase = if reference {
            Phase::DropReferences
        } else {
            Phase::DropKeys
        };
        let role = self.owner(object);
        self.say(
            phase,
            role,
            object,
            format!("alter {on} {table} drop constraint {name}"),
        );
    }

    pub(super) fn create_index(&mut self, object: &str, one: &Object) -> bool {
        if one.get("partition of").is_some() {
            return true;
        }
        // That of a partitioned table is printed without its parts, and made with them;
        // the one that is not valid was made without.
        let definition = part(one, "definition");
        let definition = if one.get("valid").is_some() {
            definition.to_owned()
        } else {
            definition.replacen(" ON ONLY ", " ON ", 1)
        };
        let role = self.owner(object);
        self.say(Phase::Indexes, role, object, definition);
        true
    }

    pub(super) fn create_type(&mut self, object: &str, name: &str, one: &Object) -> bool {
        let Some(labels) = one.get("labels") else {
            return false;
        };
        let role = one.get("owner").map(str::to_owned);
        self.say(
            Phase::Types,
            role,
            object,
            format!("create type {name} as enum ({labels})"),
        );
        true
    }

    /// Labels can be added, not taken away.
    pub(super) fn alter_type(
        &mut self,
        object: &str,
        attribute: &str,
        left: Option<&str>,
        right: Option<&str>,
    ) -> bool {
        let ("labels", Some(left), Some(right)) = (attribute, left, right) else {
            return false;
        };
        let split = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
        let (old, new) = (split(left), split(right));
        let kept: Vec<&String> = new.iter().filter(|label| old.contains(label)).collect();
        if kept != old.iter().collect::<Vec<_>>() {
            return false;
        }
        let role = self.owner(object);
        for (at, label) in new
            .iter()
            .enumerate()
            .filter(|(_, label)| !old.contains(label))
        {
            let place = match at.checked_sub(1).and_then(|before| new.get(before)) {
                Some(before) => format!(" after {before}"),
                None => format!(" before {}", old.first().map_or("", String::as_str)),
            };
            self.say(
                Phase::Types,
                role.clone(),
                object,
                format!("alter {object} add value {label}{place}"),
            );
        }
        true
    }

    pub(super) fn alter_domain(
        &mut self,
        object: &str,
        attribute: &str,
        right: Option<&str>,
    ) -> bool {
        let sql = match (attribute, right) {
            ("default", Some(value)) => format!("set default {value}"),
            ("default", None) => "drop default".to_owned(),
            ("not null", Some(_)) => "set not null".to_owned(),
            ("not null", None) => "drop not null".to_owned(),
            _ => return false,
        };
        let role = self.owner(object);
        self.say(Phase::Types, role, object, format!("alter {object} {sql}"));
        true
    }

    pub(super) fn create_sequence(&mut self, object: &str, name: &str, one: &Object) -> bool {
        // One that a column owns comes with the column's `serial`, which no declaration here uses.
        if one.get("owned by").is_some() {
            return false;
        }
        let cycle = if one.get("cycle").is_some() {
            " cycle"
        } else {
            ""
        };
        let role = one.get("owner").map(str::to_owned);
        self.say(Phase::Sequences, role, object, format!(
            "create sequence {name} as {} increment by {} minvalue {} maxvalue {} start with {} cache {}{cycle}",
            part(one, "data type"), part(one, "increment"), part(one, "minimum"), part(one, "maximum"), part(one, "start"), part(one, "cache")));
        true
    }

    pub(super) fn alter_sequence(
        &mut self,
        object: &str,
        attribute: &str,
        right: Option<&str>,
    ) -> bool {
        let (_, name) = kind_and_name(object);
        let sql = match (attribute, right) {
            ("increment", Some(value)) => format!("increment by {value}"),
            ("minimum", Some(value)) => format!("minvalue {value}"),
            ("maximum", Some(value)) => format!("maxvalue {value}"),
            ("start", Some(value)) => format!("start with {value}"),
            ("cache", Some(value)) => format!("cache {value}"),
            ("data type", Some(value)) => {
                // Another type takes bounds of its own.
                let Some(to) = self.to.get(object) else {
                    return false;
                };
                let (least, most) = (part(to, "minimum"), part(to, "maximum"));
                format!("as {value} minvalue {least} maxvalue {most}")
            }
            ("cycle", Some(_)) => "cycle".to_owned(),
            ("cycle", None) => "no cycle".to_owned(),
            _ => return false,
        };
        let role = self.owner(object);
        self.say(
            Phase::Sequences,
            role,
            object,
            format!("alter sequence {name} {sql}"),
        );
        true
    }
}

/// `set (a = 1)` for what is new or changed, `reset (b)` for what is gone; one
/// of them, where both are needed the setting and then the resetting.
pub(super) fn options_change(left: Option<&str>, right: Option<&str>) -> Option<String> {
    let split = |text: Option<&str>| -> Vec<String> {
        text.map_or_else(Vec::new, |text| {
            text.split(", ").map(str::to_owned).collect()
        })
    };
    let (old, new) = (split(left), split(right));
    let key = |option: &String| option.split('=').next().unwrap_or_default().to_owned();
    let set: Vec<String> = new
        .iter()
        .filter(|option| !old.contains(option))
        .cloned()
        .collect();
    let reset: Vec<String> = old
        .iter()
        .map(key)
        .filter(|name| !new.iter().any(|option| key(option) == *name))
        .collect();
    match (set.is_empty(), reset.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("set ({})", set.join(", "))),
        (true, false) => Some(format!("reset ({})", reset.join(", "))),
        (false, false) => Some(format!(
            "set ({}), reset ({})",
            set.join(", "),
            reset.join(", ")
        )),
    }
}
