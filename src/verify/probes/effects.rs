//! What follows from an ordinary write: another tenant's session must see the
//! same before and after, and append-only tables must keep their rows.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::assign::neutral;
use super::report::{Cell, Report, reproduce};
use crate::db::ident::Ident;
use crate::verify::details::Grant;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, Oid, Relation, RelationKind, RoleScope, TenantKey,
};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::Planner;
use crate::verify::world::{World, budget};

/// Looks as the other tenant, writes as the one, looks again.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let joint = owned_jointly(conn, world).await?;
    let apart = |relation: &Relation| {
        !joint.contains(&relation.oid)
            && !world
                .details
                .tables_below(relation.oid, world.scope)
                .iter()
                .any(|table| joint.contains(table))
    };
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, named) in world.acting() {
        if !named
            || role.scope != RoleScope::Tenant
            || role.act_as == ActAs::Login
            || role.tenant.is_some()
        {
            continue;
        }
        let [first_tenant, second_tenant, ..] = world.contexts[..] else {
            continue;
        };
        for (one, other, deleting) in [
            (first_tenant, second_tenant, false),
            (second_tenant, first_tenant, false),
            (first_tenant, second_tenant, true),
        ] {
            let enter = |tenant: usize| {
                let setting = Setting::Tenant(world.id(tenant).to_owned());
                world.actors.enter(world.scope, role, &setting)
            };
            let mut probe = Probe::new();
            let seen: Vec<(&Relation, String)> = world
                .relations()
                .filter(|relation| apart(relation))
                .filter_map(|relation| Some((relation, digest(world, relation, role)?)))
                .collect();
            let look = |probe: &mut Probe| {
                probe.all(&world.origin.back(role));
                probe.all(&enter(other));
                seen.iter()
                    .map(|(_, sql)| probe.step(Kind::Ask, sql.clone()))
                    .collect::<Vec<_>>()
            };
            let first = look(&mut probe);
            let again = look(&mut probe);
            probe.all(&world.origin.back(role));
            probe.all(&enter(one));
            let mut written = Vec::new();
            for relation in world.relations().filter(|relation| apart(relation)) {
                let statements = if deleting {
                    deletes(world, relation, role).into_iter().collect()
                } else {
                    writes(world, relation, role, one)
                };
                for sql in statements {
                    written.push((probe.step(Kind::Try, sql.clone()), relation, sql));
                }
            }
            let last = look(&mut probe);
            probes.push(probe);
            asked.push((role, enter(one), seen, [first, again, last], written));
        }
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    for ((role, enter, seen, [first, again, last], written), answer) in
        asked.into_iter().zip(answers)
    {
        report.outcome.probes += written.len() as u64;
        let done: Vec<&str> = written
            .iter()
            .filter(|(place, _, _)| answer.number(*place).is_some_and(|rows| rows > 0))
            .map(|(_, _, sql)| sql.as_str())
            .collect();
        for (index, (relation, _)) in seen.iter().enumerate() {
            let text = |places: &[usize]| places.get(index).and_then(|place| answer.text(*place));
            let (before, steady, after) = (text(&first), text(&again), text(&last));
            if before.is_some()
                && before == steady
                && after.is_some()
                && after != before
                && !report.leaks(&relation.label)
            {
                report.find(
                    "effects-cross-tenants",
                    Cell::new(relation, role, Action::Other),
                    "another tenant's session sees something else after this tenant's own writes",
                    Some(reproduce(&enter, &done.join(";\n"))),
                );
            }
        }
    }
    cascades(conn, world, report).await
}

/// Relations with rows that two tenants own at once: what one does there the other is to see.
async fn owned_jointly(conn: &mut PgConnection, world: &World<'_>) -> anyhow::Result<HashSet<Oid>> {
    let [one, other, ..] = world.contexts[..] else {
        return Ok(HashSet::new());
    };
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for relation in world.relations() {
        if !matches!(relation.tenant, TenantKey::Owns(_)) || world.big(relation) {
            continue;
        }
        let own = |tenant: usize| keys::own(world.scope, relation, world.id(tenant), None);
        if let (Some(mine), Some(theirs)) = (own(one), own(other)) {
            let mut probe = Probe::new();
            let place = probe.step(
                Kind::Query,
                format!(
                    "select count(*) from {} where {mine} and {theirs}",
                    relation.name
                ),
            );
            probes.push(probe);
            asked.push((relation.oid, place));
        }
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    Ok(asked
        .into_iter()
        .zip(answers)
        .filter(|((_, place), answer)| answer.number(*place).unwrap_or(0) > 0)
        .map(|((oid, _), _)| oid)
        .collect())
}

/// What a role sees of a relation, as one text.
fn digest(world: &World<'_>, relation: &Relation, role: &ActingRole) -> Option<String> {
    let grant = world.grant(role, relation)?;
    if world.big(relation)
        || relation.kind == RelationKind::ForeignTable
        || matches!(relation.tenant, TenantKey::Global)
        || world.allows(relation, ExceptionKind::GlobalWrite, role)
        || world.allows(relation, ExceptionKind::GlobalRead, role)
        || world.allows(relation, ExceptionKind::SharedRows, role)
    {
        return None;
    }
    digest_sql(relation, grant)
}

/// A digest of the first thousands of rows, in the columns that may be read.
pub(super) fn digest_sql(relation: &Relation, grant: &Grant) -> Option<String> {
    let columns: Vec<String> = grant
        .columns('r')
        .into_iter()
        .map(|name| Ident::new(name).to_string())
        .collect();
    if columns.is_empty() {
        return None;
    }
    Some(format!(
        "select count(*) || ' ' || pg_catalog.md5(coalesce(pg_catalog.string_agg(kinedb_rows::text, '|' order by kinedb_rows::text), '')) \
         from (select {} from {} limit 5000) as kinedb_rows",
        columns.join(", "),
        relation.name
    ))
}

fn writes(world: &World<'_>, relation: &Relation, role: &ActingRole, tenant: usize) -> Vec<String> {
    let mut list = Vec::new();
    let Some(grant) = world.grant(role, relation) else {
        return list;
    };
    if world.big(relation)
        || !keys::owned(relation)
        || !keys::has_places(relation)
        || keys::shared(relation).is_some()
    {
        return list;
    }
    if grant.insert {
        let planner = Planner {
            scope: world.scope,
            details: &world.details,
            stage: &world.stage,
        };
        let built = planner.insert(
            relation,
            planner.wanted(relation, tenant, tenant, 8200),
            None,
        );
        if built.missing.is_none() {
            list.push(built.sql);
        }
    }
    if let Some(assignment) = neutral(world, relation, &grant.columns('w')).first() {
        list.push(format!("update {} set {assignment}", relation.name));
    }
    list
}

/// Deleting all that can be deleted, where something else may follow from it.
fn deletes(world: &World<'_>, relation: &Relation, role: &ActingRole) -> Option<String> {
    let may = world
        .grant(role, relation)
        .is_some_and(|grant| grant.delete);
    (may && !world.big(relation)
        && keys::owned(relation)
        && keys::has_places(relation)
        && keys::shared(relation).is_none())
    .then(|| format!("delete from {}", relation.name))
}

/// Deletes in each table, one at a time, and counts what append-only tables lose.
async fn cascades(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let kept: Vec<&Relation> = world
        .relations()
        .filter(|relation| relation.append_only && !world.big(relation))
        .collect();
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, named) in world.acting() {
        if !named
            || role.scope != RoleScope::Tenant
            || kept.is_empty()
            || role.act_as == ActAs::Login
        {
            continue;
        }
        let Some(tenant) = world.contexts_of(role).first().copied() else {
            continue;
        };
        let enter = world.actors.enter(
            world.scope,
            role,
            &Setting::Tenant(world.id(tenant).to_owned()),
        );
        for relation in world.relations() {
            let may = world
                .grant(role, relation)
                .is_some_and(|grant| grant.delete);
            if !may || world.big(relation) || relation.append_only {
                continue;
            }
            let statement = format!("delete from {}", relation.name);
            let mut probe = Probe::new();
            let count = |probe: &mut Probe| {
                kept.iter()
                    .map(|kept| {
                        probe.step(
                            Kind::Ask,
                            format!(
                                "select pg_catalog.md5(coalesce(pg_catalog.string_agg(x, '|' order by x), '')) || ' ' || count(*) \
                                 from (select tableoid || ' ' || ctid::text as x from {}) as kinedb_rows",
                                kept.name
                            ),
                        )
                    })
                    .collect::<Vec<_>>()
            };
            if !world.unbound() {
                world.look_as(&mut probe, tenant);
            }
            let first = count(&mut probe);
            probe.all(&enter);
            let run = probe.step(Kind::Execute, statement.clone());
            probe.all(&world.origin.back(role));
            if !world.unbound() {
                world.look_as(&mut probe, tenant);
            }
            let last = count(&mut probe);
            probes.push(probe);
            asked.push((
                role,
                first,
                run,
                last,
                reproduce(&enter, &statement),
                relation,
            ));
        }
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    for ((role, first, _, last, show, relation), answer) in asked.into_iter().zip(answers) {
        for (index, kept) in kept.iter().enumerate() {
            let rows = |places: &[usize]| -> Option<i64> {
                answer.text(places[index])?.split_once(' ')?.1.parse().ok()
            };
            if let (Some(before), Some(after)) = (rows(&first), rows(&last))
                && after < before
            {
                report.find(
                    "append-only-changed",
                    Cell::new(kept, role, Action::Delete),
                    format!(
                        "deleting from `{}` removes {} rows of it",
                        relation.label,
                        before - after
                    ),
                    Some(show.clone()),
                );
            }
        }
    }
    Ok(())
}
