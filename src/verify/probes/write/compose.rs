//! The statements that are tried against a relation.

use super::{Aim, Statement, other_than};
use crate::db::ident::{Ident, Literal};
use crate::verify::details::Grant;
use crate::verify::keys::{self, speaks_of};
use crate::verify::model::{Policy, Relation, TenantKey};
use crate::verify::probes::assign::neutral;
use crate::verify::synth::{Planner, Wanted, text_of, told_by};
use crate::verify::world::{World, is_view};

/// Everything that a role with this grant may write, own rows and foreign ones.
pub(super) fn statements(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    tenant: usize,
) -> Vec<Statement> {
    let mut list = Vec::new();
    let name = &relation.name;
    if !writable(world, relation) {
        return list;
    }
    let other = other_than(world, tenant);
    let updatable = grant.columns('w');
    if !updatable.is_empty() {
        for assignment in neutral(world, relation, &updatable, world.id(tenant)) {
            list.push(Statement::of(
                Aim::Update,
                format!("update {name} set {assignment}"),
            ));
        }
        for (aim, to) in [(Aim::TakeOver, Some(tenant)), (Aim::GiveAway, other)] {
            if let Some(assignment) = to.and_then(|to| stamp(world, relation, &updatable, to)) {
                list.push(Statement::of(
                    aim,
                    format!("update {name} set {assignment}"),
                ));
            }
        }
    }
    if grant.delete {
        list.push(Statement::of(Aim::Delete, format!("delete from {name}")));
        let referred = world
            .details
            .references
            .iter()
            .any(|reference| reference.parent == relation.oid);
        if referred && world.may_silence(relation) && !is_view(relation) {
            list.push(Statement::of(
                Aim::DeleteAlone,
                format!("delete from {name}"),
            ));
        }
    }
    let insertable = grant.columns('a');
    if !insertable.is_empty() {
        for (aim, stamp, parents) in [
            (Aim::InsertOwn, Some(tenant), Some(tenant)),
            (Aim::InsertForeign, other, other),
            (Aim::InsertMixed, other, Some(tenant)),
        ] {
            if let (Some(stamp), Some(parents)) = (stamp, parents) {
                list.extend(insert(
                    world,
                    relation,
                    grant,
                    (tenant, stamp, parents),
                    aim,
                    0,
                ));
            }
        }
        let key = keys::key(relation).map(|(column, _)| column.as_str());
        if key.is_some_and(|key| insertable.contains(&key))
            // What is made of other columns cannot be left out.
            && told_by(&world.details, relation).is_none()
            && keys::shared(relation).is_some()
            && !is_view(relation)
        {
            list.extend(insert(
                world,
                relation,
                grant,
                (tenant, tenant, tenant),
                Aim::InsertShared,
                0,
            ));
        }
    }
    list
}

/// Whether writing a relation means writing rows that can be told apart.
pub(super) fn writable(world: &World<'_>, relation: &Relation) -> bool {
    if is_view(relation) {
        world.details.writable_views.contains(&relation.oid)
    } else {
        !matches!(relation.tenant, TenantKey::Unknown)
    }
}

/// The assignment that makes a row one of this tenant's: its key, or the
/// reference to the parent that it is owned through.
fn stamp(
    world: &World<'_>,
    relation: &Relation,
    updatable: &[&str],
    tenant: usize,
) -> Option<String> {
    match &relation.tenant {
        TenantKey::Column { column, .. } if updatable.contains(&column.as_str()) => {
            Some(format!("{column} = {}", Literal::new(world.id(tenant))))
        }
        TenantKey::Parent {
            columns,
            parent,
            references,
        } if columns.iter().all(|own| updatable.contains(&own.as_str())) => {
            let made = world.stage.row(*parent, tenant)?;
            columns
                .iter()
                .zip(references)
                .map(|(own, key)| {
                    let value = made.values.get(key.as_str()).and_then(text_of)?;
                    Some(format!("{own} = {}", Literal::new(value)))
                })
                .collect::<Option<Vec<_>>>()
                .map(|list| list.join(", "))
        }
        _ => None,
    }
}

/// An INSERT that a role with this grant may write, in the context of `tenant`:
/// stamped with one tenant, its references leading to another's rows.
pub(super) fn insert(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    (tenant, stamp, parents): (usize, usize, usize),
    aim: Aim,
    turn: u32,
) -> Option<Statement> {
    let planner = Planner {
        scope: world.scope,
        details: &world.details,
        stage: &world.stage,
    };
    let salt = 5000
        + turn * 1000
        + u32::try_from(relation.columns.len() + stamp * 31 + aim as usize * 7).ok()?;
    let allowed: Vec<String> = grant.columns('a').into_iter().map(str::to_owned).collect();
    let below = is_view(relation)
        .then(|| below(world, relation, &allowed))
        .flatten();
    // Whose constraints and references the row must fit.
    let table = below.as_ref().unwrap_or(relation);
    let mut wanted = planner.wanted(table, stamp, parents, salt);
    if let Some((column, _)) = keys::key(table) {
        let name = column.as_str().to_owned();
        if !grant.column(&name, 'a') && stamp != tenant {
            return None;
        }
        if aim == Aim::InsertShared {
            let type_name = world
                .details
                .columns_of(table.oid)
                .find(|detail| detail.name == name)
                .map(|detail| detail.type_name.clone())?;
            wanted.fixed.insert(name, format!("null::{type_name}"));
        }
    } else if aim == Aim::InsertMixed {
        // Under a row of the other tenant, and all else as the own user writes it.
        wanted
            .fixed
            .extend(under(&planner, table, &allowed, stamp)?);
    } else if aim == Aim::InsertShared || stamp != tenant && !stampable(&table.tenant, &allowed) {
        return None;
    }
    allow_for(world, table, &mut wanted);
    if aim == Aim::InsertOwn && turn == 0 {
        for (name, type_name) in spared(world, table, &wanted) {
            wanted.fixed.insert(name, format!("null::{type_name}"));
        }
    }
    if is_view(relation) && below.is_none() {
        // A view's columns demand nothing; give it what its tables would be given.
        wanted.named.clone_from(&allowed);
    }
    let built = planner.insert(table, wanted, Some(allowed));
    built.missing.is_none().then(|| Statement {
        aim,
        sql: built.sql.clone(),
        insert: Some((built, String::new())),
    })
}

/// The way to a tenant's row, for what is owned through one.
fn under(
    planner: &Planner<'_>,
    table: &Relation,
    allowed: &[String],
    tenant: usize,
) -> Option<Vec<(String, String)>> {
    let TenantKey::Parent {
        columns, parent, ..
    } = &table.tenant
    else {
        return None;
    };
    let mut references = planner.details.references.iter();
    let reference = references.find(|one| {
        one.relation == table.oid
            && one.parent == *parent
            && one
                .columns
                .iter()
                .map(String::as_str)
                .eq(columns.iter().map(Ident::as_str))
    })?;
    let values = planner.keys(reference, tenant, true);
    let named = values.iter().all(|(column, _)| allowed.contains(column));
    (named && values.len() == columns.len()).then_some(values)
}

/// A member that may do most may not be made by everybody: `rank <> 'owner'`.
fn allow_for(world: &World<'_>, table: &Relation, wanted: &mut Wanted) {
    let checks: Vec<&str> = world
        .scope
        .policies
        .iter()
        .filter(|policy| policy.relation == table.oid && matches!(policy.command, 'a' | '*'))
        .filter_map(|policy| Some(policy.check.as_ref()?.text.as_str()))
        .collect();
    let refused = |value: &String| {
        let differs = format!("<> {}", Literal::new(value));
        checks.iter().any(|text| text.contains(&differs))
    };
    let preferred = world.scope.preferred.iter();
    for one in preferred.filter(|one| one.relation == table.oid && !one.list) {
        if !one.values.first().is_some_and(refused) {
            continue;
        }
        let detail = world.details.columns_of(table.oid);
        let detail = detail
            .into_iter()
            .find(|detail| detail.name == one.column.as_str());
        let labels = detail
            .and_then(|detail| detail.labels.clone())
            .unwrap_or_default();
        let other = one
            .values
            .iter()
            .chain(&labels)
            .find(|value| !refused(value));
        if let (Some(detail), Some(value)) = (detail, other) {
            let value = format!("{}::{}", Literal::new(value), detail.type_name);
            wanted.fixed.insert(detail.name.clone(), value);
        }
    }
}

/// Whether an INSERT that names only these columns can say whose row it is. Else a
/// default says it, and the row is the session's own whatever is tried.
fn stampable(key: &TenantKey, allowed: &[String]) -> bool {
    match key {
        TenantKey::Owns(text) | TenantKey::Expression(text) => {
            allowed.iter().any(|name| speaks_of(text, name))
        }
        TenantKey::Parent { columns, .. } => {
            let named = |own: &Ident| allowed.iter().any(|name| name == own.as_str());
            columns.iter().any(named)
        }
        TenantKey::Column { .. } | TenantKey::Global | TenantKey::Unknown => true,
    }
}

/// References that a second row of the tenant need not bear, and cannot: a unique
/// key over them holds the row that was made. None that a policy speaks of.
fn spared(world: &World<'_>, table: &Relation, wanted: &Wanted) -> Vec<(String, String)> {
    let details = &world.details;
    let refers = |name: &String| {
        let mut references = details.references.iter();
        references.any(|one| one.relation == table.oid && one.columns.contains(name))
    };
    let free = |name: &String| {
        let spoken = Policy::on(&world.scope.policies, table.oid)
            .any(|predicate| speaks_of(&predicate.text, name));
        let key = keys::key(table).is_some_and(|(column, _)| column.as_str() == name);
        !spoken && !key && refers(name)
    };
    details
        .uniques
        .iter()
        .filter(|unique| unique.relation == table.oid)
        .filter(|unique| {
            unique
                .columns
                .iter()
                .all(|name| wanted.fixed.contains_key(name))
        })
        .filter_map(|unique| {
            let column = details
                .columns_of(table.oid)
                .find(|column| !column.not_null && unique.columns.contains(&column.name))?;
            free(&column.name).then(|| (column.name.clone(), column.type_name.clone()))
        })
        .collect()
}

/// The table that an INSERT into a view reaches, under the view's name.
fn below(world: &World<'_>, view: &Relation, columns: &[String]) -> Option<Relation> {
    if world.details.triggers.contains(&view.oid) {
        return None;
    }
    let found = world
        .details
        .tables_below(view.oid, world.scope)
        .into_iter()
        .filter_map(|oid| world.scope.relation(oid))
        .find(|table| {
            columns.iter().all(|name| {
                world
                    .details
                    .columns_of(table.oid)
                    .any(|column| &column.name == name)
            })
        })?;
    let mut table = found.clone();
    table.name = view.name.clone();
    Some(table)
}
