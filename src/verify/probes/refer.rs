//! References: an own row must not lead to a row of another tenant.

use sqlx::PgConnection;

use super::report::{Cell, Report, reproduce};
use super::write::other_than;
use crate::db::ident::Ident;
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{ActAs, RoleScope, TenantKey};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Planner, literals};
use crate::verify::world::World;

/// Inserts own rows whose references lead to the other tenant's rows.
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
            if grant.columns('a').is_empty()
                || !keys::owned(parent)
                || !keys::owned(child)
                || Some(parent.oid) == registry
                // Users are named by tenants they belong to: their rows are no tenant's.
                || matches!(&parent.tenant, TenantKey::Owns(owns) if !owns.contains(":tenant"))
                || key.is_some_and(|key| reference.columns.iter().any(|column| column == key))
                || key.is_none()
                    && matches!(&child.tenant, TenantKey::Parent { columns, .. } if columns.iter().all(|column: &Ident| reference.columns.contains(&column.as_str().to_owned())))
                || world.stage.row(parent.oid, other).is_none()
                || world.big(child)
            {
                continue;
            }
            let mut wanted = planner.wanted(child, tenant, tenant, 9100);
            for (column, value) in planner.keys(reference, other, true) {
                wanted.fixed.insert(column, value);
            }
            let allowed = grant.columns('a').into_iter().map(str::to_owned).collect();
            let built = planner.insert(child, wanted, Some(allowed));
            if built.missing.is_some() {
                continue;
            }
            inserts.push(built.clone());
            planned.push((role, child, parent, reference, enter.clone(), built.sql));
        }
    }
    let known = literals(conn, world.unbound(), &inserts, world.budget).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, child, parent, reference, enter, sql) in planned {
        let sql = known.get(&sql).unwrap_or(&sql);
        let mut probe = Probe::new();
        probe.all(&enter);
        let run = probe.step(Kind::Execute, sql.clone());
        probes.push(probe);
        asked.push((role, child, parent, reference, run, reproduce(&enter, sql)));
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((role, child, parent, reference, run, show), answer) in asked.into_iter().zip(answers) {
        report.outcome.probes += 1;
        let cell = Cell::new(child, role, Action::Insert);
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
    Ok(())
}
