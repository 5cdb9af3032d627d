//! References: an own row must not lead to a row of another tenant, neither as it is
//! made nor by an update: its policies may differ.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::report::{Cell, Report, reproduce};
use super::write::other_than;
use crate::db::ident::Ident;
use crate::verify::details::{Grant, Reference};
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{ActAs, Policy, Relation, RoleScope, TenantKey};
use crate::verify::scope::lexer::tokens;
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Planner, literals};
use crate::verify::world::World;

/// Inserts own rows whose references lead to the other tenant's rows, and leads own
/// rows there.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let planner = Planner {
        scope: world.scope,
        details: &world.details,
        stage: &world.stage,
    };
    let registry = world.scope.tenants.table.as_ref().map(|(oid, _)| *oid);
    let mut inserts = Vec::new();
    let mut planned = Vec::new();
    let mut moved = Vec::new();
    for (role, named) in world.acting() {
        if !named || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        let Some(tenant) = world.contexts_of(role).first().copied() else {
            continue;
        };
        let Some(other) = other_than(world, tenant) else {
            continue;
        };
        let enter = world.actors.enter(
            world.scope,
            role,
            &Setting::Tenant(world.id(tenant).to_owned()),
        );
        for reference in &world.details.references {
            let (Some(child), Some(parent)) = (
                world
                    .relations()
                    .find(|relation| relation.oid == reference.relation),
                world.scope.relation(reference.parent),
            ) else {
                continue;
            };
            let Some(grant) = world.grant(role, child) else {
                continue;
            };
            let key = keys::key(child).map(|(column, _)| column.as_str());
            if !keys::owned(parent)
                || !keys::owned(child)
                || Some(parent.oid) == registry
                // Users are named by tenants they belong to: their rows are no tenant's.
                || matches!(&parent.tenant, TenantKey::Owns(owns) if !owns.contains(":tenant"))
                || given_by(world, parent, child, reference)
                || key.is_some_and(|key| reference.columns.iter().any(|column| column == key))
                || key.is_none()
                    && matches!(&child.tenant, TenantKey::Parent { columns, .. } if columns.iter().all(|column: &Ident| reference.columns.contains(&column.as_str().to_owned())))
                || world.stage.row(parent.oid, other).is_none()
                || world.big(child)
            {
                continue;
            }
            let foreign = planner.keys(reference, other, true);
            let both = both(world, parent, reference, &foreign, world.id(tenant));
            if let Some((sql, look)) = led(world, child, grant, &foreign, world.id(tenant)) {
                moved.push((
                    role,
                    child,
                    parent,
                    reference,
                    enter.clone(),
                    sql,
                    look,
                    both.clone(),
                ));
            }
            if grant.columns('a').is_empty() {
                continue;
            }
            let mut wanted = planner.wanted(child, tenant, tenant, 9100);
            // None of them may be left out for a check's sake: that is what is tried.
            for (column, value) in foreign {
                wanted.loose.remove(&column);
                wanted.fixed.insert(column, value);
            }
            let allowed = grant.columns('a').into_iter().map(str::to_owned).collect();
            let built = planner.insert(child, wanted, Some(allowed));
            if built.missing.is_some() {
                continue;
            }
            inserts.push(built.clone());
            planned.push((
                role,
                child,
                parent,
                reference,
                enter.clone(),
                built.sql,
                both,
            ));
        }
    }
    let known = literals(conn, world.unbound(), &inserts, world.budget).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, child, parent, reference, enter, sql, both) in planned {
        let sql = known.get(&sql).unwrap_or(&sql);
        let mut probe = Probe::new();
        let both = both.map(|sql| probe.step(Kind::Query, sql));
        probe.all(&enter);
        let run = probe.step(Kind::Execute, sql.clone());
        probes.push(probe);
        let show = reproduce(&enter, sql);
        asked.push((
            role,
            child,
            parent,
            reference,
            Action::Insert,
            (run, both),
            show,
        ));
    }
    for (role, child, parent, reference, enter, sql, look, both) in moved {
        let mut probe = Probe::new();
        let both = both.map(|sql| probe.step(Kind::Query, sql));
        probe.all(&enter);
        probe.step(Kind::Execute, sql.clone());
        probe.all(&world.origin.back(role));
        // A trigger may have put back what was there.
        let led = probe.step(Kind::Query, look);
        probes.push(probe);
        let show = reproduce(&enter, &sql);
        asked.push((
            role,
            child,
            parent,
            reference,
            Action::Update,
            (led, both),
            show,
        ));
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    let mut refused: BTreeMap<(String, String, String), bool> = BTreeMap::new();
    for ((role, child, parent, reference, action, (run, both), show), answer) in
        asked.into_iter().zip(answers)
    {
        report.outcome.probes += 1;
        if both.is_some_and(|place| answer.number(place).unwrap_or(0) > 0) {
            continue;
        }
        let cell = Cell::new(child, role, action);
        // A policy, a check or a trigger: not for want of something else, for own rows pass.
        let closed =
            answer.failure.as_ref().is_some_and(|failure| {
                matches!(failure.state.as_str(), "42501" | "23514" | "P0001")
            }) && report.has_worked(cell);
        let name = role.name.as_str().to_owned();
        let all = refused.entry((child.label.clone(), name, reference.name.clone()));
        *all.or_insert(true) &= closed;
        if answer.number(run).unwrap_or(0) > 0 {
            report.find(
                "foreign-row-referenced",
                cell,
                format!(
                    "through `{}` a row of one tenant refers to a row of another in `{}`",
                    reference.name, parent.label
                ),
                Some(show),
            );
        } else if let Some(failure) = &answer.failure {
            report.see(
                cell,
                Access::Isolated,
                format!(
                    "a foreign reference through `{}` fails: {}",
                    reference.name, failure.state
                ),
            );
        }
    }
    let closed = refused.into_iter().filter(|(_, all)| *all);
    report.outcome.refused.extend(closed.map(|(one, _)| one));
    Ok(())
}

/// An UPDATE that leads own rows to another tenant's row, and how many there are after.
fn led(
    world: &World<'_>,
    child: &Relation,
    grant: &Grant,
    foreign: &[(String, String)],
    tenant: &str,
) -> Option<(String, String)> {
    let all = |right| {
        let granted = grant.columns(right);
        foreign
            .iter()
            .all(|(own, _)| granted.contains(&own.as_str()))
    };
    if foreign.is_empty() || !all('w') || !world.unbound() {
        return None;
    }
    let said = |joint: &str| {
        let each = foreign
            .iter()
            .map(|(own, value)| format!("{} = {value}", Ident::new(own)));
        each.collect::<Vec<_>>().join(joint)
    };
    let own = keys::own(world.scope, child, tenant, None)?;
    let update = format!("update {} set {}", child.name, said(", "));
    let look = format!(
        "select count(*) from {} where ({own}) and {}",
        child.name,
        said(" and ")
    );
    Some((update, look))
}

/// A membership makes its user the tenant's, and cannot lead astray: whose the parent's rows
/// are rows of the child say, and it is found by what the session names a user by.
fn given_by(world: &World<'_>, parent: &Relation, child: &Relation, reference: &Reference) -> bool {
    let TenantKey::Owns(owns) = &parent.tenant else {
        return false;
    };
    let name = child.name.name.as_str();
    let said = tokens(owns).iter().any(|token| token.name() == Some(name));
    let mut policies = Policy::on(&world.scope.policies, parent.oid);
    said && policies.any(|predicate| {
        let mut keys = reference.keys.iter();
        keys.any(|key| predicate.user_columns.contains(key))
    })
}

/// Whether the row that is referred to is the own tenant's as well: an order belongs to
/// both of its sides.
fn both(
    world: &World<'_>,
    parent: &Relation,
    reference: &Reference,
    foreign: &[(String, String)],
    tenant: &str,
) -> Option<String> {
    let TenantKey::Owns(_) = parent.tenant else {
        return None;
    };
    let own = keys::own(world.scope, parent, tenant, None)?;
    let pairs = reference.columns.iter().zip(&reference.keys);
    let each = pairs.filter_map(|(column, key)| {
        let (_, value) = foreign.iter().find(|(name, _)| name == column)?;
        Some(format!("{} = {value}", Ident::new(key)))
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| {
        format!(
            "select count(*) from {} where ({own}) and {}",
            parent.name,
            each.join(" and ")
        )
    })
}
