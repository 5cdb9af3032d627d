//! Views that read tables as their owner: the owner's policies bind them, evaluated
//! in the context of the role that uses the view, which is the current user there.
//!
//! They tell of cells that no probe could tell of that no foreign row is among them;
//! that one is among them is left to the probes, as a view's own condition counts too.

use std::collections::HashMap;

use super::predicate::{Check, effective};
use super::{Asked, Usage, rows};
use crate::verify::finding::{Access, Source};
use crate::verify::keys;
use crate::verify::model::{ActingRole, Oid, Policy, Relation};
use crate::verify::probes::report::{Cell, Report};
use crate::verify::world::{World, is_view};

/// Whom views work as.
pub(super) fn owners(world: &World<'_>) -> Vec<Oid> {
    world
        .relations()
        .filter(|relation| is_view(relation) && !world.details.invokes(relation.oid))
        .map(|relation| relation.owner)
        .collect()
}

/// The predicates of the tables below a view; none for a command that some table
/// of tenants below has no predicate for that can be evaluated.
pub(super) fn predicates<'w>(
    world: &'w World<'_>,
    usage: &Usage,
    role: &'w ActingRole,
    view: &'w Relation,
    tenant: usize,
) -> Vec<Asked<'w>> {
    let mut asked: Vec<Asked<'w>> = Vec::new();
    let (Some(grant), Some(below)) = (
        world.grant(role, view),
        world.details.reached_as(view.oid, world.scope),
    ) else {
        return asked;
    };
    // The tables' own cells tell all of a view that works with its user's rights.
    if below.iter().all(|(_, owner)| owner.is_none()) {
        return asked;
    }
    let tables: Vec<(&Relation, Oid)> = below
        .iter()
        .filter_map(|(table, owner)| {
            Some((world.scope.relation(*table)?, owner.unwrap_or(role.oid)))
        })
        .filter(|(table, _)| keys::owned(table))
        .collect();
    if tables.is_empty()
        || !tables
            .iter()
            .all(|(table, user)| bound(world, usage, table, *user))
    {
        return asked;
    }
    for check in Check::ALL.into_iter().filter(|check| check.granted(grant)) {
        let told: Option<Vec<(&Relation, String, String)>> = tables
            .iter()
            .map(|(table, user)| {
                let text = effective(world.scope, table, *user, usage, check)?;
                let sql = rows::query(world, table, tenant, &text, true)?;
                Some((*table, text, sql))
            })
            .collect();
        for (table, text, sql) in told.into_iter().flatten() {
            let same = |one: &&mut Asked<'_>| one.relation.oid == table.oid && one.text == text;
            if let Some(same) = asked.iter_mut().find(same) {
                same.checks.push(check);
            } else {
                asked.push(Asked {
                    view: Some(view),
                    ..Asked::new(role, table, tenant, check, text, sql)
                });
            }
        }
    }
    asked
}

/// Whether policies bind who reads the table, and say the same whoever asks: what
/// they read themselves is read with the rights of the view's owner.
fn bound(world: &World<'_>, usage: &Usage, table: &Relation, user: Oid) -> bool {
    let owner = user == table.owner || usage.contains(&(user, table.owner));
    table.rls
        && (table.force || !owner)
        && !world.details.unbound_owners.contains(&user)
        && Policy::on(&world.scope.policies, table.oid).all(|predicate| predicate.reads.is_empty())
}

/// Evidence for the commands that no table below admits a foreign row for.
pub(super) fn judge(asked: &[Asked<'_>], report: &mut Report) {
    let mut shut: HashMap<(Oid, Oid, Check), (Cell<'_>, bool)> = HashMap::new();
    for one in asked {
        let Some(view) = one.view else { continue };
        for check in &one.checks {
            let cell = Cell::new(view, one.role, check.action());
            shut.entry((view.oid, one.role.oid, *check))
                .or_insert((cell, true))
                .1 &= one.wide == Some(0);
        }
    }
    let open: Vec<_> = shut
        .values()
        .filter(|(_, shut)| !shut)
        .map(|(cell, _)| (cell.object, cell.role.oid, cell.action))
        .collect();
    let mut list: Vec<_> = shut.iter().filter(|(_, (_, shut))| *shut).collect();
    list.sort_by_key(|((view, role, check), _)| (*view, *role, check.name()));
    for ((_, _, check), (cell, _)) in list {
        // An UPDATE has two predicates, and both count.
        if !open.contains(&(cell.object, cell.role.oid, cell.action)) {
            report.see_by(
                Source::Algebra,
                *cell,
                Access::Isolated,
                format!(
                    "{} of the tables below, as the view's owner, is true for no foreign row tried",
                    check.name()
                ),
            );
        }
    }
}
