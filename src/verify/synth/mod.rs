//! Rows for tenants that have none: a small consistent world per tenant, made
//! from the catalogue inside the caller's transaction.
//!
//! Parents come before children, wave by wave, each wave one message. What
//! cannot be made is remembered with its reason.

mod harvest;
mod insert;
mod literal;
mod making;
mod pattern;
mod plan;
mod values;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

pub(crate) use self::harvest::Harvest;
pub(crate) use self::insert::{Insert, Wanted, solved, telling};
pub(crate) use self::literal::literals;
pub(crate) use self::making::run;
pub(crate) use self::plan::{Planner, equal_to};
pub(crate) use self::values::candidates;
use super::details::Details;
use super::focus::Focus;
use super::keys;
use super::model::{Oid, Scope};
use super::session::{Actors, Origin};

/// A tenant that rows are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// Its id.
    pub(crate) id: String,
    /// It is not a tenant of the database: it exists in this transaction only.
    pub(crate) synthetic: bool,
}

/// A row that was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// Its values by column, as jsonb gives them.
    pub(crate) values: Map<String, Value>,
    /// The table that holds it (a partition, perhaps) and its place in it.
    pub(crate) place: Option<(Oid, String)>,
}

/// What was made, for whom, and what could not be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    /// Real tenants first, then synthetic ones.
    pub(crate) tenants: Vec<Tenant>,
    made: HashMap<(Oid, usize), Made>,
    order: Vec<(Oid, usize)>,
    reasons: HashMap<(Oid, usize), String>,
    /// By relation: columns with the value that every row may hold.
    chosen: HashMap<Oid, Vec<(i16, String, String)>>,
    /// Relations that held rows before any were made.
    pub(crate) real: HashSet<Oid>,
}

impl Stage {
    /// The columns of a relation whose value is the same for every row.
    pub(crate) fn chosen(&self, relation: Oid) -> &[(i16, String, String)] {
        self.chosen.get(&relation).map_or(&[], Vec::as_slice)
    }

    /// Nothing made yet.
    pub(crate) fn of(tenants: Vec<Tenant>) -> Self {
        Self {
            tenants,
            ..Self::default()
        }
    }

    /// The row made in this relation for this tenant.
    pub(crate) fn row(&self, relation: Oid, tenant: usize) -> Option<&Made> {
        self.made.get(&(relation, tenant))
    }

    /// Why there is none.
    pub(crate) fn reason(&self, relation: Oid, tenant: usize) -> Option<&str> {
        self.reasons.get(&(relation, tenant)).map(String::as_str)
    }

    /// The rows of a tenant, children before parents.
    pub(crate) fn newest_first(&self, tenant: usize) -> Vec<(Oid, &Made)> {
        self.order
            .iter()
            .rev()
            .filter(|(_, of)| *of == tenant)
            .filter_map(|key| Some((key.0, self.made.get(key)?)))
            .collect()
    }
}

/// The type of the ids of tenants.
fn id_type(scope: &Scope) -> String {
    let table = scope.tenants.table.as_ref().and_then(|(oid, key)| {
        let column = scope
            .relation(*oid)?
            .columns
            .iter()
            .find(|column| &column.name == key)?;
        Some(column.type_name.clone())
    });
    table
        .or_else(|| {
            scope
                .relations
                .iter()
                .find_map(|relation| keys::key(relation).map(|(_, type_name)| type_name.to_owned()))
        })
        .unwrap_or_else(|| "text".to_owned())
}

/// The tenants to act for: those of the scope, and lookalikes of the first.
/// Without any real one, both are made.
pub(crate) fn cast(scope: &Scope, lookalikes: u32) -> Vec<Tenant> {
    let id_type = id_type(scope);
    let real = |id: &String| Tenant {
        id: id.clone(),
        synthetic: false,
    };
    let mut tenants: Vec<Tenant> = scope.tenants.sample.iter().map(real).collect();
    let invented = match id_type.as_str() {
        "uuid" => "0b0e7a11-5eed-4000-8000-00000000a000",
        "integer" | "bigint" => "90210",
        "smallint" => "2020",
        _ => "kinedb-tenant",
    };
    while tenants.is_empty() || (tenants.len() < 2 && scope.tenants.sample.is_empty()) {
        let id = tenants.first().map_or_else(
            || Some(invented.to_owned()),
            |first: &Tenant| keys::lookalike(&id_type, &first.id, 0),
        );
        let Some(id) = id else { break };
        tenants.push(Tenant {
            id,
            synthetic: true,
        });
    }
    let Some(model) = tenants.first().map(|tenant| tenant.id.clone()) else {
        return tenants;
    };
    let mut found = 0;
    for turn in 0..lookalikes * 4 {
        let Some(id) = keys::lookalike(&id_type, &model, turn) else {
            continue;
        };
        if found < lookalikes && !tenants.iter().any(|tenant| tenant.id == id) {
            found += 1;
            tenants.push(Tenant {
                id,
                synthetic: true,
            });
        }
    }
    tenants
}

/// What rows are made from.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) details: &'a Details,
    pub(crate) origin: &'a Origin,
    pub(crate) actors: &'a Actors,
    pub(crate) focus: &'a Focus,
}

/// The text form of a scalar.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}
