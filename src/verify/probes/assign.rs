//! What an UPDATE may set without reading the table: an assignment that reads a
//! column would add the SELECT policy to the statement and hide a hole.

use crate::db::ident::{Ident, Literal};
use crate::verify::details::ColumnDetail;
use crate::verify::keys;
use crate::verify::keys::speaks_of;
use crate::verify::model::{Oid, Policy, Relation, TenantKey};
use crate::verify::synth::{Harvest, candidates, equal_to, solved, telling, text_of, told_by};
use crate::verify::world::{World, is_view};

/// The assignments to begin with: one that breaks no constraint, or two that may.
pub(super) fn neutral(
    world: &World<'_>,
    relation: &Relation,
    updatable: &[&str],
    tenant: &str,
) -> Vec<String> {
    let mut ranked = ranked(world, relation, updatable, tenant);
    // One that breaks nothing is enough; else another is worth a try.
    let enough = if ranked.first().is_some_and(|(rank, _)| *rank < 6) {
        1
    } else {
        2
    };
    ranked.truncate(enough);
    ranked.into_iter().map(|(_, text)| text).collect()
}

/// Assignments that read nothing, those that break no constraint first.
pub(super) fn ranked(
    world: &World<'_>,
    relation: &Relation,
    updatable: &[&str],
    tenant: &str,
) -> Vec<(u8, String)> {
    let key = keys::key(relation).map(|(key, _)| key.as_str());
    // A view's columns know no constraints; those of the tables below it do.
    let tables: Vec<Oid> = if is_view(relation) {
        world.details.tables_below(relation.oid, world.scope)
    } else {
        vec![relation.oid]
    };
    let mut ranked: Vec<(u8, String)> = Vec::new();
    for column in world.details.columns_of(relation.oid) {
        if column.generated
            || column.identity == "a"
            || key == Some(column.name.as_str())
            || !updatable.contains(&column.name.as_str())
        {
            continue;
        }
        let stored = tables
            .iter()
            .flat_map(|table| world.details.columns_of(*table))
            .find(|stored| stored.name == column.name)
            .unwrap_or(column);
        let table = world.scope.relation(stored.relation).unwrap_or(relation);
        let owner = matches!(&table.tenant, TenantKey::Parent { columns, .. }
            if columns.iter().any(|own| own.as_str() == column.name));
        if owner || stored.generated || stored.identity == "a" {
            continue;
        }
        if let Some(expression) = told_by(&world.details, table)
            && speaks_of(expression, &column.name)
        {
            let value = telling(&world.details, table, stored, expression, tenant);
            ranked.push((12, format!("{} = {value}", Ident::new(&column.name))));
            continue;
        }
        // A policy may mean a value that it speaks of: such columns come last, with the
        // value that it asks for.
        let texts = || {
            Policy::on(&world.scope.policies, table.oid).map(|predicate| predicate.text.as_str())
        };
        let spoken = texts().any(|text| speaks_of(text, &column.name));
        let asked = texts().find_map(|text| equal_to(text, &column.name));
        if let Some(value) = asked.filter(|_| spoken) {
            let name = Ident::new(&column.name);
            let value = Literal::new(value);
            ranked.push((9, format!("{name} = {value}::{}", stored.type_name)));
            continue;
        }
        let found_by = Policy::on(&world.scope.policies, table.oid)
            .flat_map(|predicate| predicate.finds.iter().flat_map(|join| &join.pairs))
            .any(|(own, _)| *own == column.name);
        if let Some(value) = found_by
            .then(|| kept(world, table, &column.name, tenant))
            .flatten()
        {
            let (name, value) = (Ident::new(&column.name), Literal::new(value));
            ranked.push((9, format!("{name} = {value}::{}", stored.type_name)));
            continue;
        }
        ranked.extend(
            assignment(world, table, stored, tenant)
                .map(|(rank, text)| (if spoken { rank + 10 } else { rank }, text)),
        );
    }
    ranked.sort();
    ranked
}

/// What the row that was made for a tenant holds.
fn kept(world: &World<'_>, relation: &Relation, column: &str, tenant: &str) -> Option<String> {
    let place = world
        .stage
        .tenants
        .iter()
        .position(|other| other.id == tenant)?;
    let row = world.stage.row(relation.oid, place)?;
    row.values.get(column).and_then(text_of)
}

/// An assignment to one column, with its rank: below 6 it breaks no constraint;
/// one that does speaks of rows that the policy let through.
fn assignment(
    world: &World<'_>,
    relation: &Relation,
    column: &ColumnDetail,
    tenant: &str,
) -> Option<(u8, String)> {
    let name = Ident::new(&column.name);
    let details = &world.details;
    let refers = details.references.iter().any(|reference| {
        reference.relation == relation.oid && reference.columns.contains(&column.name)
    });
    let linked = refers
        || details
            .uniques
            .iter()
            .any(|unique| unique.relation == relation.oid && unique.columns.contains(&column.name))
        || details.references.iter().any(|reference| {
            reference.parent == relation.oid && reference.keys.contains(&column.name)
        });
    let checked = details.checks.iter().any(|check| {
        check.relation == relation.oid
            && check
                .columns
                .iter()
                .flatten()
                .any(|number| *number == column.number)
    });
    let chosen = world
        .stage
        .chosen(relation.oid)
        .iter()
        .find(|(number, _, _)| *number == column.number)
        .map(|(_, _, value)| format!("{name} = {value}"));
    let solve = || {
        chosen
            .clone()
            .or_else(|| solved(details, column, 6200).map(|value| format!("{name} = {value}")))
    };
    if linked {
        return if !column.not_null {
            Some((5, format!("{name} = null")))
        } else if refers {
            made(world, relation, column, tenant).map(|value| (8, format!("{name} = {value}")))
        } else {
            solve().map(|text| (7, text))
        };
    }
    if !checked && !column.domain {
        if matches!(column.base.as_str(), "text" | "varchar" | "citext") {
            return Some((0, format!("{name} = 'k'")));
        }
        if !column.not_null {
            return Some((1, format!("{name} = null")));
        }
        if column.has_default && column.identity.is_empty() {
            return Some((2, format!("{name} = default")));
        }
    }
    if let Some(text) = solve() {
        return Some((if checked { 4 } else { 3 }, text));
    }
    // Checks that relate columns: a value that some made row has may fit.
    let value = made(world, relation, column, tenant).or_else(|| {
        candidates(column, 6200, &Harvest::default())
            .into_iter()
            .next()
    })?;
    Some((6, format!("{name} = {value}")))
}

/// The value of a row that was made, for the tenant itself where there is one: what is
/// another's, a user say, would not leave things as they are.
fn made(
    world: &World<'_>,
    relation: &Relation,
    column: &ColumnDetail,
    tenant: &str,
) -> Option<String> {
    let value = kept(world, relation, &column.name, tenant).or_else(|| {
        let mut all = 0..world.stage.tenants.len();
        let row = all.find_map(|tenant| world.stage.row(relation.oid, tenant))?;
        text_of(row.values.get(&column.name)?)
    })?;
    Some(format!("{}::{}", Literal::new(value), column.type_name))
}
