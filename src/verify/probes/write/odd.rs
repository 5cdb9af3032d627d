//! Writing in contexts that name no tenant: nothing must be written.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::db::ident::Literal;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, NoContext, Oid, Relation, RelationKind, RoleScope,
};
use crate::verify::probes::assign::neutral;
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::probes::stopped;
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Insert, literals};
use crate::verify::world::{World, is_view};

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
    let known = literals(conn, world.unbound(), &inserts, world.budget).await?;
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
                let place = probe.step(Kind::Try, sql.clone());
                let mine = (*action == Action::Insert)
                    .then(|| named(world, relation, role, setting))
                    .flatten()
                    .map(|sql| probe.step(Kind::Ask, sql));
                places.push((place, *relation, *action, sql, mine));
            }
            probes.push(probe);
            asked.push((role, setting, enter, places));
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((role, setting, enter, places), answer) in asked.into_iter().zip(answers) {
        // A trigger may stamp a row with what the context says, whatever that is: such rows
        // are of a tenant that nobody is.
        let nobodys: HashMap<Oid, i64> = places
            .iter()
            .filter_map(|(_, relation, .., mine)| Some((relation.oid, answer.number((*mine)?)?)))
            .collect();
        for (place, relation, action, sql, _) in places {
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
            let nobodys = nobodys.get(&relation.oid).copied().unwrap_or(0);
            if rows > 0 && rows > nobodys {
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

/// How many rows bear the very text of a context that names no tenant.
fn named(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    setting: &Setting,
) -> Option<String> {
    let Setting::Odd { value, .. } = setting else {
        return None;
    };
    let (key, type_name) = keys::key(relation)?;
    let grant = world.grant(role, relation)?;
    (keys::fits(type_name, value) && grant.column(key.as_str(), 'r')).then(|| {
        format!(
            "select count(*) from {} where {key} = {}",
            relation.name,
            Literal::new(value)
        )
    })
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
    if let Some(assignment) = neutral(world, relation, &updatable, world.id(0)).first() {
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
