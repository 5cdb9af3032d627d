//! The relations of the scope and how a row of each tells its tenant.

use std::collections::{HashMap, HashSet};

use super::raw::Snapshot;
use super::second::Second;
use super::{columns, detect, excepted, lineage, names};
use crate::db::ident::{Ident, Qualified};
use crate::verify::config::{Isolation, Table};
use crate::verify::model::{
    Column, Exception, ExceptionKind, Oid, Policy, Relation, RelationKind, TenantKey,
};

/// What the relations are made from.
pub(crate) struct Input<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) isolation: &'a Isolation,
    pub(crate) schemas: &'a [String],
    pub(crate) columns: &'a [String],
    pub(crate) policies: &'a [Policy],
    pub(crate) table: Option<&'a (Oid, String)>,
    pub(crate) exceptions: &'a [Exception],
    pub(crate) second: Option<&'a Second>,
}

/// Puts the relations together.
///
/// # Errors
/// `BadConfig` for names of the configuration that are no relations or columns.
pub(crate) fn build(input: &Input<'_>) -> anyhow::Result<Vec<Relation>> {
    let Input {
        snapshot,
        isolation,
        schemas,
        ..
    } = input;
    let mut told: HashMap<Oid, &Table> = HashMap::new();
    for (name, table) in &isolation.table {
        told.insert(names::relation(snapshot, schemas, name)?.oid, table);
    }
    let mut append_only = Vec::new();
    for name in &isolation.append_only.tables {
        append_only.push(names::relation(snapshot, schemas, name)?.oid);
    }
    let mut sensitive = Vec::new();
    for name in &isolation.sensitive.columns {
        let (relation, number) = names::column(snapshot, schemas, name)?;
        sensitive.push((relation.oid, number));
    }
    let mut keys = keys(input, &told)?;
    lineage::parents(input, &told, &mut keys)?;
    lineage::links(input, &mut keys);
    lineage::joined(input, &mut keys);
    columns::last_resort(input, &mut keys);
    // What those own, now that they are known.
    lineage::parents(input, &told, &mut keys)?;
    lineage::links(input, &mut keys);
    let beyond = beyond(snapshot, schemas);
    let in_scope = snapshot
        .relations
        .iter()
        .filter(|relation| schemas.contains(&relation.schema) || beyond.contains(&relation.oid));
    Ok(in_scope
        .map(|relation| {
            let name = Qualified::new(&relation.schema, &relation.name);
            let lines = ancestry(snapshot, relation.oid);
            let columns = relation.columns.iter().map(|column| Column {
                number: column.number,
                name: Ident::new(&column.name),
                type_name: column.type_name.clone(),
                not_null: column.not_null,
                sensitive: sensitive.iter().any(|(oid, number)| {
                    lines.contains(oid)
                        && snapshot
                            .relation(*oid)
                            .and_then(|owner| owner.column(*number))
                            .is_some_and(|own| own.name == column.name)
                }),
            });
            Relation {
                oid: relation.oid,
                label: name.human(),
                kind: kind(relation.kind),
                owner: relation.owner,
                rls: relation.rls,
                force: relation.force,
                parents: relation.parents.clone(),
                estimate: relation.estimate,
                columns: columns.collect(),
                tenant: keys.remove(&relation.oid).unwrap_or(TenantKey::Unknown),
                visible: lines
                    .iter()
                    .find_map(|oid| told.get(oid))
                    .and_then(|table| table.visible.clone()),
                shared: Vec::new(),
                append_only: lines.iter().any(|oid| append_only.contains(oid)),
                name,
            }
        })
        .collect())
}

/// Tables of other schemas that rows of these refer to, and so on: without a row there
/// none can be made here.
fn beyond(snapshot: &Snapshot, schemas: &[String]) -> HashSet<Oid> {
    let inside = |oid: Oid| {
        let relation = snapshot.relation(oid);
        relation.is_some_and(|relation| schemas.contains(&relation.schema))
    };
    let mut found = HashSet::new();
    loop {
        let before = found.len();
        for reference in &snapshot.references {
            let from = inside(reference.child) || found.contains(&reference.child);
            if from && !inside(reference.parent) {
                found.insert(reference.parent);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn kind(kind: char) -> RelationKind {
    match kind {
        'p' => RelationKind::PartitionedTable,
        'f' => RelationKind::ForeignTable,
        'v' => RelationKind::View,
        'm' => RelationKind::MaterializedView,
        _ => RelationKind::Table,
    }
}

/// A relation and everything it is a partition or child of.
fn ancestry(snapshot: &Snapshot, oid: Oid) -> Vec<Oid> {
    let mut line = vec![oid];
    let mut at = 0;
    while let Some(oid) = line.get(at).copied() {
        line.extend(
            snapshot
                .relation(oid)
                .into_iter()
                .flat_map(|relation| relation.parents.iter().copied()),
        );
        at += 1;
    }
    line
}

fn keys(input: &Input<'_>, told: &HashMap<Oid, &Table>) -> anyhow::Result<HashMap<Oid, TenantKey>> {
    let snapshot = input.snapshot;
    let tied = detect::tied(input.policies);
    let mut keys = HashMap::new();
    for relation in &snapshot.relations {
        let name = Qualified::new(&relation.schema, &relation.name);
        let told = ancestry(snapshot, relation.oid)
            .iter()
            .find_map(|oid| told.get(oid).copied());
        let global = excepted(
            input.exceptions,
            &name,
            &[ExceptionKind::GlobalRead, ExceptionKind::GlobalWrite],
        );
        let key = if let Some(column) = told.and_then(|table| table.tenant_column.as_ref()) {
            match relation.column_named(column) {
                Some(column) => Some(columns::of_column(column)),
                None => return names::missing_column(relation, column),
            }
        } else if let Some(expression) = told.and_then(|table| table.tenant.clone()) {
            Some(TenantKey::Expression(expression))
        } else if let Some(owns) = told.and_then(|table| table.owns.clone()) {
            Some(TenantKey::Owns(owns))
        } else if told.is_some_and(|table| table.parent.is_some()) {
            None
        } else if global {
            Some(TenantKey::Global)
        } else {
            let named = || {
                let mut names = input.columns.iter();
                names
                    .find_map(|name| relation.column_named(name))
                    .map(columns::of_column)
                    .or_else(|| columns::by_table(input, relation))
            };
            columns::two_ends(input, relation)
                .or_else(|| input.second?.key(relation))
                .or_else(|| columns::own_rows(input, relation, &named()?))
                .or_else(named)
                .or_else(|| columns::by_path(input, relation))
                .or_else(|| columns::by_json(input, relation))
                .or_else(|| columns::by_policy(input, relation, tied.get(&relation.oid)?.iter()))
        };
        keys.extend(key.map(|key| (relation.oid, key)));
    }
    Ok(keys)
}

/// Policies of one relation read another.
pub(super) fn reads(input: &Input<'_>, relation: Oid, other: Oid) -> bool {
    Policy::on(input.policies, relation).any(|predicate| predicate.reads.contains(&other))
}
