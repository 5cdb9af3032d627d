//! Cells that no first attempt could prove: other assignments, other values, and
//! the context of a tenant whose only rows are those made for it, which no rule
//! about real rows stands against.

use sqlx::PgConnection;

use super::{Aim, Planned, Statement, ask, insert, judge, writable};
use crate::verify::details::Grant;
use crate::verify::finding::Action;
use crate::verify::model::{ActAs, ActingRole, RelationKind, RoleScope};
use crate::verify::model::{ExceptionKind, Relation};
use crate::verify::probes::assign::ranked;
use crate::verify::probes::report::{Cell, Report};
use crate::verify::world::World;

/// Assignments of one table that are tried.
const ASSIGNMENTS: usize = 8;
/// Rows that are tried.
const ROWS: u32 = 3;

/// Whether a role is meant to be able to do this, so that it must be shown.
pub(in crate::verify::probes) fn expected(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    grant: &Grant,
    action: Action,
) -> bool {
    if relation.kind == RelationKind::ForeignTable {
        return false;
    }
    let kept = relation.append_only || world.allows(relation, ExceptionKind::InsertOnly, role);
    match action {
        Action::Insert => !grant.columns('a').is_empty(),
        Action::Update => !kept && !grant.columns('w').is_empty(),
        Action::Delete => !kept && grant.delete,
        _ => false,
    }
}

/// Tries what is not settled yet: first the likeliest, then all the rest.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    for likeliest in [true, false] {
        let planned = unsettled(world, report, likeliest);
        if planned.is_empty() {
            continue;
        }
        let (asked, answers) = ask(conn, world, planned).await?;
        report.outcome.probes += answers.len() as u64;
        for (at, (one, answer)) in asked.iter().zip(&answers).enumerate() {
            let cell = Cell::new(one.relation, one.role, one.aim.action());
            if report.settled(cell) {
                continue;
            }
            match &answer.failure {
                None if answer.number(one.run).unwrap_or(0) > 0 => {
                    judge::judge(world, &asked, &answers, at, report);
                }
                None => report.because(cell, "the statement reaches no row"),
                Some(failure) => report.because(cell, failure.sentence()),
            }
        }
    }
    Ok(())
}

fn unsettled<'w>(world: &'w World<'_>, report: &Report, likeliest: bool) -> Vec<Planned<'w>> {
    let mut planned = Vec::new();
    for (role, named) in world.acting() {
        if !named || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        // Made tenants first: nothing but what was made stands in their way.
        let mut tenants: Vec<usize> = world
            .lookalike
            .filter(|_| role.tenant.is_none())
            .into_iter()
            .collect();
        tenants.extend(world.contexts_of(role));
        tenants.dedup();
        if likeliest {
            tenants.truncate(1);
        }
        for relation in world.relations() {
            let Some(grant) = world.grant(role, relation) else {
                continue;
            };
            if world.big(relation) || !writable(world, relation) {
                continue;
            }
            for action in [Action::Insert, Action::Update, Action::Delete] {
                let cell = Cell::new(relation, role, action);
                if !expected(world, relation, role, grant, action)
                    || report.settled(cell)
                    // Another time nothing else would hold them.
                    || report.is_held(cell)
                {
                    continue;
                }
                for &tenant in &tenants {
                    let mut list = attempts(world, relation, grant, action, tenant);
                    if likeliest {
                        list.truncate(2);
                    }
                    planned.extend(list.into_iter().map(|statement| Planned {
                        role,
                        named,
                        tenant,
                        relation,
                        statement,
                    }));
                }
            }
        }
    }
    planned
}

fn attempts(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    action: Action,
    tenant: usize,
) -> Vec<Statement> {
    let name = &relation.name;
    match action {
        Action::Update => ranked(world, relation, &grant.columns('w'), world.id(tenant))
            .into_iter()
            .take(ASSIGNMENTS)
            .map(|(_, assignment)| {
                Statement::of(Aim::Update, format!("update {name} set {assignment}"))
            })
            .collect(),
        Action::Delete => vec![Statement::of(Aim::Delete, format!("delete from {name}"))],
        _ => (1..=ROWS)
            .filter_map(|turn| {
                let whose = (tenant, tenant, tenant);
                insert(world, relation, grant, whose, Aim::InsertOwn, turn)
            })
            .collect(),
    }
}
