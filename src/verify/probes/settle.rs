//! The end of it: every cell that a role holds a privilege for has evidence, or a
//! finding that says why there is none.

use super::assign::neutral;
use super::report::{Cell, Report};
use super::write::again::expected;
use crate::verify::details::Grant;
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, Oid, Predicate, Relation, RelationKind, RoleScope, TenantKey,
    UNKNOWN_TENANT,
};
use crate::verify::world::{World, is_view};

/// Cells that were never exercised are not proven.
pub(super) fn run(world: &World<'_>, report: &mut Report) {
    for (role, named) in world.acting() {
        if !named || role.act_as == ActAs::Login {
            continue;
        }
        for relation in world.relations() {
            denied(world, relation, role, report);
            let Some(grant) = world.grant(role, relation) else {
                continue;
            };
            if role.scope != RoleScope::Tenant {
                declared(relation, role, grant, report);
                continue;
            }
            if !grant.columns('r').is_empty() {
                let cell = Cell::new(relation, role, Action::Select);
                if !known(world, relation, role, cell, report) {
                    unproven(world, relation, cell, report);
                }
            }
            for action in [Action::Insert, Action::Update, Action::Delete] {
                let cell = Cell::new(relation, role, action);
                if world.options.read_only {
                    continue;
                }
                if !expected(world, relation, role, grant, action) {
                    kept(world, relation, cell, grant, report);
                } else if !known(world, relation, role, cell, report) {
                    unproven(world, relation, cell, report);
                }
            }
        }
    }
}

/// Cells that a role has no privilege for.
fn denied(world: &World<'_>, relation: &Relation, role: &ActingRole, report: &mut Report) {
    let grant = world.grant(role, relation);
    let has = |right: char| grant.is_some_and(|grant| !grant.columns(right).is_empty());
    for (action, granted) in [
        (Action::Select, has('r')),
        (Action::Insert, has('a')),
        (Action::Update, has('w')),
        (Action::Delete, grant.is_some_and(|grant| grant.delete)),
    ] {
        if !granted {
            let cell = Cell::new(relation, role, action);
            report.see(cell, Access::Denied, "no privilege, or none that works");
        }
    }
}

/// What a role that is no tenant's may read is declared, or a finding of its own.
fn declared(relation: &Relation, role: &ActingRole, grant: &Grant, report: &mut Report) {
    for (action, right) in [
        (Action::Select, 'r'),
        (Action::Insert, 'a'),
        (Action::Update, 'w'),
    ] {
        let cell = Cell::new(relation, role, action);
        if !grant.columns(right).is_empty() && !report.seen(cell) {
            report.see(
                cell,
                Access::Excepted,
                "the role is declared to reach more than one tenant",
            );
        }
    }
    let cell = Cell::new(relation, role, Action::Delete);
    if grant.delete && !report.seen(cell) {
        report.see(
            cell,
            Access::Excepted,
            "the role is declared to reach more than one tenant",
        );
    }
}

/// Rows that are kept: that changing them fails was seen, or is a finding.
fn kept(
    world: &World<'_>,
    relation: &Relation,
    cell: Cell<'_>,
    grant: &Grant,
    report: &mut Report,
) {
    let granted = match cell.action {
        Action::Update => !grant.columns('w').is_empty(),
        Action::Delete => grant.delete,
        _ => false,
    };
    if granted && !report.seen(cell) {
        let access = if world.allows(relation, ExceptionKind::InsertOnly, cell.role) {
            Access::Excepted
        } else {
            Access::Denied
        };
        report.see(cell, access, "rows are only added; none was changed");
    }
}

/// Whether a cell is settled, be it by what the table is.
fn known(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    cell: Cell<'_>,
    report: &mut Report,
) -> bool {
    if report.settle(cell, evaluated(world, relation, cell, report)) {
        return true;
    }
    if let Some(like) = alike_part(world, relation, cell, report) {
        report.worked(cell);
        let detail = format!(
            "it holds no row of a tenant looked at; its policies are those of `{like}`, which were tried"
        );
        report.see(cell, Access::Isolated, detail);
        return true;
    }
    if world.scope.platform.contains(&relation.oid) {
        if !report.seen(cell) {
            let why = "who stands there is of the platform, which no user of a tenant is";
            report.see(cell, Access::Denied, why);
        }
        return true;
    }
    let reads = cell.action == Action::Select;
    if reads && world.allows(relation, ExceptionKind::GlobalRead, role)
        || matches!(relation.tenant, TenantKey::Global)
    {
        if !report.seen(cell) {
            report.see(cell, Access::Excepted, "declared the same for every tenant");
        }
        return true;
    }
    if is_view(relation) {
        let below = world.details.tables_below(relation.oid, world.scope);
        let owned = below
            .iter()
            .filter_map(|oid| world.scope.relation(*oid))
            .any(keys::owned);
        if !owned && reads {
            report.see(
                cell,
                Access::Isolated,
                "it reads no table that holds rows of tenants",
            );
            return true;
        }
    } else if matches!(relation.tenant, TenantKey::Unknown) {
        // Whether that is a fault the catalogue tells; the cell shows what was looked at.
        if reads && !report.seen(cell) {
            report.see(
                cell,
                Access::Isolated,
                "no column of it can name a row of a tenant",
            );
        }
        return true;
    }
    false
}

/// Another part of the same partitioned table that was exercised, and whose policies say
/// the same: a partition that takes no row of the tenants looked at needs no row of its own.
fn alike_part<'w>(
    world: &'w World<'_>,
    relation: &Relation,
    cell: Cell<'_>,
    report: &Report,
) -> Option<&'w str> {
    let root = root_of(world, relation);
    if root == relation.oid || !relation.rls {
        return None;
    }
    let said = said(world, relation);
    let woken = |oid: Oid| world.details.triggers.contains(&oid);
    let mut all = world.scope.relations.iter();
    all.find(|other| {
        let its = Cell {
            object: &other.label,
            ..cell
        };
        other.oid != relation.oid
            && root_of(world, other) == root
            && (other.rls, other.force, other.owner)
                == (relation.rls, relation.force, relation.owner)
            // Triggers of the whole stand on its parts as well.
            && (woken(other.oid) || !woken(relation.oid))
            && self::said(world, other) == said
            && report.has_worked(its)
            && !report.leaks(&other.label)
    })
    .map(|other| other.label.as_str())
}

/// The partitioned table at the top; itself where it is no partition.
fn root_of(world: &World<'_>, relation: &Relation) -> Oid {
    let parents = relation.parents.iter();
    let mut above = parents.filter_map(|parent| world.scope.relation(*parent));
    above
        .find(|parent| parent.kind == RelationKind::PartitionedTable)
        .map_or(relation.oid, |parent| root_of(world, parent))
}

/// What the policies on a table say, in any order and whatever it is called.
fn said(world: &World<'_>, relation: &Relation) -> Vec<String> {
    let own = format!("{}.", relation.name.name);
    let text = |predicate: &Option<Predicate>| {
        let text = predicate.as_ref().map(|predicate| &predicate.text);
        text.map(|text| text.replace(&own, ""))
    };
    let policies = world.scope.policies.iter();
    let mut said: Vec<String> = policies
        .filter(|policy| policy.relation == relation.oid)
        .map(|policy| {
            let (using, check) = (text(&policy.using), text(&policy.check));
            let (permissive, command, roles) = (policy.permissive, policy.command, &policy.roles);
            format!("{permissive} {command} {roles:?} {using:?} {check:?}")
        })
        .collect();
    said.sort();
    said
}

/// Whether the predicate of a cell was found true for no foreign row; of a view that
/// works with the rights of who uses it, those of the tables below.
fn evaluated(world: &World<'_>, relation: &Relation, cell: Cell<'_>, report: &Report) -> bool {
    if !is_view(relation) {
        return report.evaluated(cell);
    }
    let Some(below) = world.details.reached_as(relation.oid, world.scope) else {
        return false;
    };
    // What some view reads as its owner was evaluated with the owner's policies.
    if below.iter().any(|(_, owner)| owner.is_some()) {
        return report.evaluated(cell);
    }
    let mut tables = below
        .iter()
        .filter_map(|(oid, _)| world.scope.relation(*oid))
        .filter(|table| keys::owned(table))
        .peekable();
    tables.peek().is_some()
        && tables.all(|table| {
            report.evaluated(Cell {
                object: &table.label,
                ..cell
            })
        })
}

/// Why an UPDATE that says nothing of whose the row is cannot be put together.
fn unassignable(world: &World<'_>, relation: &Relation, cell: Cell<'_>) -> Option<&'static str> {
    let grant = world.grant(cell.role, relation)?;
    let updatable = grant.columns('w');
    let tenant = world.id(*world.watched().first()?);
    let none =
        cell.action == Action::Update && neutral(world, relation, &updatable, tenant).is_empty();
    let key = keys::key(relation).is_some_and(|(key, _)| updatable == [key.as_str()]);
    none.then_some(if key {
        "the only column that it may change tells whose the row is, and changing it alone moves the row; revoke update, or grant it on other columns"
    } else {
        "no column that it may change can be assigned: each is generated or an identity; revoke update"
    })
}

fn unproven(world: &World<'_>, relation: &Relation, cell: Cell<'_>, report: &mut Report) {
    let made = world
        .watched()
        .iter()
        .find_map(|tenant| world.stage.reason(relation.oid, *tenant));
    let unknown = cell.role.tenant.as_deref() == Some(UNKNOWN_TENANT);
    let reason = unknown
        .then_some("nothing tells for which tenant this role acts")
        .or(report.reason(cell))
        .or_else(|| unassignable(world, relation, cell))
        .or(made)
        .unwrap_or(if world.options.read_only {
            "no tenant has rows in it, and `--read-only` makes none; without it, rows are made and rolled back"
        } else {
            "no tenant has rows in it that this role is meant to reach"
        })
        .to_owned();
    report.find(
        "not-exercised",
        cell,
        format!("no own row was reached in any context: {reason}"),
        None,
    );
}
