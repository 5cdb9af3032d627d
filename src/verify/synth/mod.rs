//! Rows for tenants that have none: a small consistent world per tenant, made
//! from the catalogue inside the caller's transaction.
//!
//! Parents come before children, wave by wave, each wave one message. What
//! cannot be made is remembered with its reason.

mod apart;
mod demands;
mod harvest;
mod insert;
mod literal;
mod making;
mod pattern;
mod plan;
mod values;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

pub(crate) use self::demands::equal_to;
pub(crate) use self::harvest::Harvest;
pub(crate) use self::insert::{Insert, Wanted, admitted, solved, telling, told_by};
pub(crate) use self::literal::literals;
pub(crate) use self::making::run;
pub(crate) use self::plan::Planner;
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
    let of = |relation| keys::key(relation).map(|(_, type_name): (_, &str)| type_name.to_owned());
    let mut keys = scope.relations.iter().filter_map(of);
    let first = table.or_else(|| keys.next());
    // Text holds what another table's key demands; the other way round it fails.
    let loose = |type_name: &String| type_name.contains("char") || type_name == "text";
    match first {
        Some(first) if loose(&first) => keys.find(|other| !loose(other)).or(Some(first)),
        first => first,
    }
    .unwrap_or_else(|| "text".to_owned())
}

/// How many characters a type holds, where it says so: `character varying(8)`.
fn width(type_name: &str) -> Option<usize> {
    let (_, rest) = type_name.split_once('(')?;
    rest.trim_end_matches(')').parse().ok()
}

/// Ids of the form that a check or a domain demands of them; none where none does.
fn patterned(scope: &Scope, details: &Details) -> Vec<String> {
    let listed = scope.tenants.table.as_ref();
    let listed = listed.map(|(oid, key)| (*oid, key.as_str()));
    let others = scope
        .relations
        .iter()
        .filter_map(|relation| Some((relation.oid, keys::key(relation)?.0.as_str())));
    let forms = listed.into_iter().chain(others).map(|(oid, name)| {
        let column = details.columns_of(oid).find(|column| column.name == name);
        let text: String = column.map_or_else(String::new, |column| {
            let domain = insert::domain_checks(details, column);
            let own = details.checks.iter().filter(|check| {
                check.relation == oid && check.columns.as_deref() == Some(&[column.number])
            });
            domain
                .chain(own.map(|check| check.check.as_str()))
                .collect::<Vec<_>>()
                .join(" ")
        });
        let harvest = Harvest::of(&text);
        (1..3).flat_map(|turn| harvest.varied(turn)).collect()
    });
    let mut forms: Vec<Vec<String>> = forms.filter(|ids: &Vec<String>| ids.len() > 1).collect();
    forms.drain(..).next().unwrap_or_default()
}

/// The tenants to act for: those of the scope, and lookalikes of the first.
/// Without any real one, both are made.
pub(crate) fn cast(scope: &Scope, details: &Details, lookalikes: u32) -> Vec<Tenant> {
    let id_type = id_type(scope);
    let real = |id: &String| Tenant {
        id: id.clone(),
        synthetic: scope.tenants.absent,
    };
    let mut tenants: Vec<Tenant> = scope.tenants.sample.iter().map(real).collect();
    let invented = match id_type.as_str() {
        "uuid" => "0b0e7a11-5eed-4000-8000-00000000a000",
        "integer" | "bigint" => "90210",
        "smallint" => "2020",
        _ => "kinedb-tenant",
    };
    let room = width(&id_type).unwrap_or(invented.len());
    let invented: String = invented.chars().take(room).collect();
    let mut patterned = patterned(scope, details).into_iter();
    while tenants.is_empty() || (tenants.len() < 2 && scope.tenants.sample.is_empty()) {
        let id = patterned.next().or_else(|| {
            tenants.first().map_or_else(
                || Some(invented.clone()),
                |first: &Tenant| keys::lookalike(&id_type, &first.id, 0),
            )
        });
        let Some(id) = id else { break };
        tenants.push(Tenant {
            id,
            synthetic: true,
        });
    }
    // Of a domain the type below it tells what resembles what.
    let id_type = scope
        .tenants
        .table
        .as_ref()
        .and_then(|(oid, key)| {
            let mut columns = details.columns_of(*oid);
            columns.find(|column| column.name == key.as_str())
        })
        .filter(|column| column.base == "citext")
        .map_or(id_type, |column| column.base.clone());
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
