//! Writing in contexts that name no tenant: nothing must be written.

use sqlx::PgConnection;

use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, NoContext, Relation, RelationKind, RoleScope,
};
use crate::verify::probes::assign::neutral;
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::probes::stopped;
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Insert, literals};
use crate::verify::world::{World, budget, is_view};

/// Updates, inserts and deletes of everything that the role may write.
pub(in crate::verify::probes) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    if world.scope.no_context != NoContext::Deny {
        return Ok(());
    }
    let settings = [
        Setting::Missing,
        Setting::Raw {
            label: "reset to the empty text",
            value: "",
        },
        Setting::Odd {
            label: "malformed",
            value: "kinedb: no tenant".to_owned(),
        },
    ];
    let mut planned = Vec::new();
    for (role, _) in world.acting() {
        if role.tenant.is_some() || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        let list: Vec<_> = world
            .relations()
            .filter(|relation| !report.stuck(&relation.label))
            .flat_map(|relation| {
                statements(world, relation, role)
                    .into_iter()
                    .map(move |(action, sql, insert)| (relation, action, sql, insert))
            })
            .collect();
        planned.push((role, list));
    }
    let inserts: Vec<Insert> = planned
        .iter()
        .flat_map(|(_, list)| list.iter().filter_map(|(.., insert)| insert.clone()))
        .collect();
    let known = literals(conn, world.unbound(), &inserts, budget(world.options)).await?;
    let mut probes = Vec::new();
    let mut asked: Vec<(&ActingRole, &Setting, Vec<String>, Vec<_>)> = Vec::new();
    for (role, list) in &planned {
        for setting in &settings {
            let enter = world.actors.enter(world.scope, role, setting);
            let mut probe = Probe::new();
            probe.all(&enter);
            let mut places = Vec::new();
            for (relation, action, sql, _) in list {
                let sql = known.get(sql).unwrap_or(sql).clone();
                places.push((probe.step(Kind::Try, sql.clone()), *relation, *action, sql));
            }
            probes.push(probe);
            asked.push((role, setting, enter, places));
        }
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    for ((role, setting, enter, places), answer) in asked.into_iter().zip(answers) {
        for (place, relation, action, sql) in places {
            report.outcome.probes += 1;
            let cut = answer.state(place).is_some_and(script::cut_short)
                || place >= answer.values.len()
                    && answer
                        .failure
                        .as_ref()
                        .is_some_and(script::Failure::cut_short);
            if cut {
                let reason = stopped(&answer, place).unwrap_or_default();
                let sentence = format!("writing {}: {reason}", setting.sentence());
                let cell = Cell::new(relation, role, action);
                report.cut(cell, &sentence, Some(reproduce(&enter, &sql)));
                continue;
            }
            let rows = answer.number(place).unwrap_or(0);
            if rows > 0 {
                report.find(
                    "write-without-tenant",
                    Cell::new(relation, role, action),
                    format!("{rows} rows were written {}", setting.sentence()),
                    Some(reproduce(&enter, &sql)),
                );
            }
        }
    }
    Ok(())
}

fn statements(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
) -> Vec<(Action, String, Option<Insert>)> {
    let mut list = Vec::new();
    let Some(grant) = world.grant(role, relation) else {
        return list;
    };
    if !keys::owned(relation)
        || is_view(relation)
        || world.alike(relation)
        || world.big(relation)
        || relation.kind == RelationKind::ForeignTable
        || keys::shared(relation).is_some()
        || world.allows(relation, ExceptionKind::NoContext, role)
        || world.allows(relation, ExceptionKind::GlobalWrite, role)
    {
        return list;
    }
    let updatable = grant.columns('w');
    if let Some(assignment) = neutral(world, relation, &updatable).first() {
        list.push((
            Action::Update,
            format!("update {} set {assignment}", relation.name),
            None,
        ));
    }
    if grant.insert
        && let Some(&tenant) = world.contexts.first()
    {
        let planner = crate::verify::synth::Planner {
            scope: world.scope,
            details: &world.details,
            stage: &world.stage,
        };
        let built = planner.insert(
            relation,
            planner.wanted(relation, tenant, tenant, 7001),
            None,
        );
        if built.missing.is_none() {
            list.push((Action::Insert, built.sql.clone(), Some(built)));
        }
    }
    if grant.delete {
        list.push((
            Action::Delete,
            format!("delete from {}", relation.name),
            None,
        ));
    }
    list
}
