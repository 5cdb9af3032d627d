//! The tenant of a row by other rows: those that it belongs to, and those that share it out.

use std::collections::{BTreeSet, HashMap};

use super::raw::{Reference, Snapshot};
use super::relations::{Input, reads};
use super::{entry, names};
use crate::db::ident::{Ident, Qualified};
use crate::verify::config::Table;
use crate::verify::model::{Join, Oid, Policy, TenantKey};

/// Tables that a link table shares out: policies read it, it refers to the row and bears the tenant.
pub(super) fn links(input: &Input<'_>, keys: &mut HashMap<Oid, TenantKey>) {
    let snapshot = input.snapshot;
    for relation in &snapshot.relations {
        if keys.contains_key(&relation.oid) {
            continue;
        }
        let read = |oid: Oid| reads(input, relation.oid, oid);
        let found = snapshot.references.iter().find_map(|reference| {
            let one = reference.parent == relation.oid && reference.columns.len() == 1;
            let link = snapshot
                .relation(reference.child)
                .filter(|link| one && link.oid != relation.oid && read(link.oid))?;
            let whose = match keys.get(&link.oid)? {
                TenantKey::Column { column, .. } => format!(
                    "{}.{column}::text = :tenant",
                    Qualified::new(&link.schema, &link.name)
                ),
                TenantKey::Owns(owns) => format!("({owns})"),
                _ => return None,
            };
            let refers = Ident::new(&link.column(*reference.columns.first()?)?.name);
            let target = Ident::new(&relation.column(*reference.targets.first()?)?.name);
            let (own, other) = (
                Qualified::new(&relation.schema, &relation.name),
                Qualified::new(&link.schema, &link.name),
            );
            Some(TenantKey::Owns(format!(
                "exists (select from {other} where {other}.{refers} = {own}.{target} and {whose})"
            )))
        });
        keys.extend(found.map(|key| (relation.oid, key)));
    }
}

/// Tables that are owned through a foreign key, as told or as inferred.
pub(super) fn parents(
    input: &Input<'_>,
    told: &HashMap<Oid, &Table>,
    keys: &mut HashMap<Oid, TenantKey>,
) -> anyhow::Result<()> {
    let snapshot = input.snapshot;
    for (oid, table) in told {
        if let Some(parent) = &table.parent {
            let parent = names::relation(snapshot, input.schemas, parent)?;
            let reference = snapshot
                .references
                .iter()
                .find(|reference| reference.child == *oid && reference.parent == parent.oid);
            match reference.and_then(|reference| key(snapshot, reference)) {
                Some(key) => drop(keys.insert(*oid, key)),
                None => {
                    return crate::verify::config::bad(
                        format!("no foreign key leads to the parent `{}`", parent.name),
                        "add the foreign key, or tell the tenant by `tenant` or `owns`",
                    );
                }
            }
        }
    }
    loop {
        let mut found = Vec::new();
        for relation in snapshot
            .relations
            .iter()
            .filter(|relation| !keys.contains_key(&relation.oid))
        {
            let mut candidates: Vec<&Reference> = snapshot
                .references
                .iter()
                .filter(|reference| {
                    reference.child == relation.oid && reference.parent != relation.oid
                })
                .filter(|reference| {
                    keys.get(&reference.parent)
                        .is_some_and(|key| !matches!(key, TenantKey::Global | TenantKey::Unknown))
                })
                .filter(|reference| {
                    input
                        .table
                        .is_none_or(|(table, _)| *table != reference.parent)
                })
                .collect();
            let nullable = |reference: &&Reference| {
                reference.columns.iter().any(|number| {
                    relation
                        .column(*number)
                        .is_some_and(|column| !column.not_null)
                })
            };
            // Where it refers to several, its policies say which one it belongs to.
            let tied: BTreeSet<&str> = Policy::on(input.policies, relation.oid)
                .flat_map(|predicate| predicate.tied_columns.iter().map(String::as_str))
                .collect();
            let untied = |reference: &&Reference| {
                !reference.columns.iter().any(|number| {
                    relation
                        .column(*number)
                        .is_some_and(|column| tied.contains(column.name.as_str()))
                })
            };
            candidates.sort_by_key(|reference| (untied(reference), nullable(reference)));
            found.extend(
                candidates
                    .first()
                    .and_then(|reference| key(snapshot, reference))
                    .map(|key| (relation.oid, key)),
            );
        }
        if found.is_empty() {
            return Ok(());
        }
        keys.extend(found);
    }
}

/// Tables that nothing refers from: all policies that show their rows find a row of a tenant
/// for each, by the same columns.
pub(super) fn joined(input: &Input<'_>, keys: &mut HashMap<Oid, TenantKey>) {
    for relation in &input.snapshot.relations {
        if keys.contains_key(&relation.oid) {
            continue;
        }
        let mut found = Vec::new();
        let shown = input.policies.iter().filter(|policy| {
            policy.relation == relation.oid
                && policy.permissive
                && matches!(policy.command, 'r' | '*')
        });
        for using in shown.filter_map(|policy| policy.using.as_ref()) {
            let joins = using.joins.iter().flatten();
            found.extend(joins.filter(|join| {
                matches!(
                    keys.get(&join.relation),
                    Some(TenantKey::Column { .. } | TenantKey::Parent { .. })
                ) && join.relation != relation.oid
                    && join
                        .pairs
                        .iter()
                        .all(|(own, theirs)| !entry::about_user(own) && !entry::about_user(theirs))
            }));
        }
        let names = |join: &Join| -> (Vec<Ident>, Vec<Ident>) {
            let pairs = join.pairs.iter();
            pairs
                .map(|(own, theirs)| (Ident::new(own), Ident::new(theirs)))
                .unzip()
        };
        if let Some(first) = found.first()
            && found.iter().all(|join| join == first)
        {
            let (columns, references) = names(first);
            let key = TenantKey::Parent {
                columns,
                parent: first.relation,
                references,
            };
            keys.insert(relation.oid, key);
        }
    }
}

fn key(snapshot: &Snapshot, reference: &Reference) -> Option<TenantKey> {
    let name = |oid, numbers: &[i16]| -> Option<Vec<Ident>> {
        let relation = snapshot.relation(oid)?;
        numbers
            .iter()
            .map(|number| {
                relation
                    .column(*number)
                    .map(|column| Ident::new(&column.name))
            })
            .collect()
    };
    Some(TenantKey::Parent {
        columns: name(reference.child, &reference.columns)?,
        parent: reference.parent,
        references: name(reference.parent, &reference.targets)?,
    })
}
