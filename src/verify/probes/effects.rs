//! What follows from an ordinary write: another tenant's session must see the
//! same before and after, and append-only tables must keep their rows.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::digest_of;
use super::read::excused;
use super::report::{Cell, Report, reproduce};
use super::stirring::{baited, deletes, inserted, lured, stirs, told, writes};
use super::triggers::Triggers;
use crate::db::ident::{Ident, Literal};
use crate::verify::details::Grant;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, Oid, Relation, RelationKind, RoleScope, TenantKey,
};
use crate::verify::script::{self, Answer, Failure, Kind, Probe, cut_short, spoken};
use crate::verify::session::Setting;
use crate::verify::synth::{Insert, literals};
use crate::verify::world::World;

/// Looks as the other tenant, writes as the one, looks again. Only writes that
/// something follows from: of the others the writing probes tell.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    if !world.relations().any(|relation| stirs(world, relation)) {
        return Ok(());
    }
    let both = owned_jointly(conn, world).await?;
    let shared = world
        .relations()
        .filter(|relation| is_shared(world, relation))
        .map(|relation| relation.oid);
    let joint: HashSet<Oid> = both.iter().copied().chain(shared).collect();
    let apart = |relation: &Relation| {
        !joint.contains(&relation.oid)
            && !world
                .details
                .tables_below(relation.oid, world.scope)
                .iter()
                .any(|table| joint.contains(table))
    };
    let triggers = Triggers::read(world);
    let triggers = &triggers;
    let inserts: Vec<Insert> = world
        .acting()
        .flat_map(|(role, _)| world.contexts.iter().take(2).map(move |one| (role, *one)))
        .flat_map(|(role, one)| {
            world
                .relations()
                .filter(|relation| stirs(world, relation))
                .flat_map(move |relation| {
                    inserted(world, relation, role, one)
                        .into_iter()
                        .chain(lured(world, triggers, relation, role, one))
                        .chain(baited(world, triggers, relation, role, one, 0))
                        .chain(baited(world, triggers, relation, role, one, 1))
                })
        })
        .collect();
    let known = literals(conn, world.unbound(), &inserts, world.budget).await?;
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
        let Some((first_tenant, second_tenant)) = world.strangers() else {
            continue;
        };
        let seen: Vec<(&Relation, String)> = world
            .relations()
            .filter(|relation| apart(relation) && !report.stuck(&relation.label))
            .filter_map(|relation| Some((relation, digest(world, relation, role)?)))
            .collect();
        for (one, other, deleting) in [
            (first_tenant, second_tenant, true),
            (second_tenant, first_tenant, false),
        ] {
            let enter = |tenant: usize| {
                let setting = Setting::Tenant(world.id(tenant).to_owned());
                world.actors.enter(world.scope, role, &setting)
            };
            let mut probe = Probe::new();
            let look = |probe: &mut Probe| {
                probe.all(&world.origin.back(role));
                probe.all(&enter(other));
                seen.iter()
                    .map(|(_, sql)| probe.step(Kind::Look, sql.clone()))
                    .collect::<Vec<_>>()
            };
            let mut looks = vec![look(&mut probe)];
            let mut written = vec![Vec::new()];
            let mut turns = vec![Turn::Write];
            if !triggers.settings.is_empty() {
                turns.push(Turn::Told);
            }
            if deleting {
                turns.push(Turn::Delete);
            }
            for turn in turns {
                let deletes_now = turn == Turn::Delete;
                probe.all(&world.origin.back(role));
                probe.all(&enter(one));
                let mut done = Vec::new();
                if turn == Turn::Told {
                    for name in &triggers.settings {
                        let sql = format!(
                            "select pg_catalog.set_config({}, {}, true)",
                            Literal::new(name),
                            Literal::new(world.id(other))
                        );
                        done.push((probe.step(Kind::Try, sql.clone()), sql));
                    }
                }
                // What follows elsewhere from writing a row that others may see is still no business
                // of theirs; that they lose one with it is.
                let stirring = |one: &&Relation| {
                    stirs(world, one)
                        && (apart(one) || !deletes_now && !both.contains(&one.oid))
                        && !report.stuck(&one.label)
                };
                for relation in world.relations().filter(stirring) {
                    let statements = match turn {
                        Turn::Write => writes(world, triggers, relation, role, one),
                        Turn::Told => told(world, relation, role, one),
                        Turn::Delete => deletes(world, relation, role).into_iter().collect(),
                    };
                    for sql in statements {
                        let sql = known.get(&sql).unwrap_or(&sql).clone();
                        done.push((probe.step(Kind::Try, sql.clone()), sql));
                    }
                }
                written.push(done);
                looks.push(look(&mut probe));
            }
            if written.iter().all(Vec::is_empty) {
                continue;
            }
            probes.push(probe);
            asked.push(Asked {
                role,
                enter: enter(one),
                other: enter(other),
                seen: seen.clone(),
                looks,
                written,
            });
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    let mut doubted = Vec::new();
    let mut again = Vec::new();
    for (one, answer) in asked.iter().zip(&answers) {
        report.outcome.probes += one.written.iter().map(Vec::len).sum::<usize>() as u64;
        cut(one, answer, report);
        for turn in 1..one.looks.len() {
            let done: Vec<&str> = one.written[..=turn]
                .iter()
                .flatten()
                .filter(|(place, _)| answer.number(*place).is_some_and(|rows| rows > 0))
                .map(|(_, sql)| sql.as_str())
                .collect();
            for (index, (relation, sql)) in one.seen.iter().enumerate() {
                let seen = |turn: usize| answer.seen(one.looks[turn][index]);
                let (Some(before), Some(after)) = (seen(turn - 1), seen(turn)) else {
                    continue;
                };
                if before != after && !report.leaks(&relation.label) {
                    // What differs without any write is no effect of one.
                    let mut probe = Probe::new();
                    probe.all(&one.other);
                    let places = [sql, sql].map(|sql| probe.step(Kind::Ask, sql.clone()));
                    again.push(probe);
                    doubted.push((
                        *relation,
                        one.role,
                        reproduce(&one.enter, &done.join(";\n")),
                        places,
                    ));
                }
            }
        }
    }
    let answers = script::run(conn, &again, world.budget).await?;
    for ((relation, role, show, [first, second]), answer) in doubted.into_iter().zip(answers) {
        if answer.seen(first).is_some() && answer.seen(first) == answer.seen(second) {
            report.find(
                "effects-cross-tenants",
                Cell::new(relation, role, Action::Other),
                "another tenant's session sees something else after this tenant's own writes",
                Some(show),
            );
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
    let answers = script::run(conn, &probes, world.budget).await?;
    let joint = asked
        .into_iter()
        .zip(answers)
        .filter(|((_, place), answer)| answer.number(*place).unwrap_or(0) > 0)
        .map(|((oid, _), _)| oid);
    Ok(joint.collect())
}

/// Whether rows of it, or those that they belong to, are shared on purpose.
fn is_shared(world: &World<'_>, relation: &Relation) -> bool {
    let mut at = Some(relation);
    for _ in 0..8 {
        let Some(one) = at else { break };
        if !one.shared.is_empty() {
            return true;
        }
        at = match &one.tenant {
            TenantKey::Parent { parent, .. } => world.scope.relation(*parent),
            _ => None,
        };
    }
    false
}

/// What is done between two looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Write,
    /// The same, with settings that only triggers read naming the other tenant.
    Told,
    Delete,
}

struct Asked<'w> {
    role: &'w ActingRole,
    enter: Vec<String>,
    other: Vec<String>,
    seen: Vec<(&'w Relation, String)>,
    /// The places of each look, before anything and after each turn.
    looks: Vec<Vec<usize>>,
    /// What was written in each turn; nothing in the first.
    written: Vec<Vec<(usize, String)>>,
}

/// What was not seen to its end proves nothing of what follows from writes.
fn cut(one: &Asked<'_>, answer: &Answer, report: &mut Report) {
    let stopped = answer
        .failure
        .as_ref()
        .filter(|failure| failure.cut_short())
        .map(Failure::sentence);
    let looked = || {
        let states = one.looks.iter().flatten().map(|place| answer.state(*place));
        states.flatten().find(|state| cut_short(state)).map(spoken)
    };
    let Some(why) = stopped.or_else(looked) else {
        return;
    };
    let cell = Cell {
        object: "database",
        role: one.role,
        action: Action::Other,
    };
    report.find(
        "not-exercised",
        cell,
        format!("what follows from writes was not seen to its end: {why}"),
        Some(reproduce(&one.enter, "select 1")),
    );
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
    // A row that was written once more has another place, even where it holds the same as before.
    let place = (grant.select && keys::has_places(relation)).then(|| "ctid".to_owned());
    // Rows that are shared on purpose may change before everybody's eyes.
    let others = excused(world, relation, Some("true".to_owned()));
    digest_with(relation, grant, place, &others)
}

/// A digest of the first thousands of rows, in the columns that may be read.
pub(super) fn digest_sql(relation: &Relation, grant: &Grant) -> Option<String> {
    digest_with(relation, grant, None, "true")
}

fn digest_with(
    relation: &Relation,
    grant: &Grant,
    also: Option<String>,
    filter: &str,
) -> Option<String> {
    let mut columns: Vec<String> = grant
        .columns('r')
        .into_iter()
        .map(|name| Ident::new(name).to_string())
        .collect();
    if columns.is_empty() {
        return None;
    }
    columns.extend(also);
    Some(digest_of(
        "kinedb_rows::text",
        &format!(
            "(select {} from {} where {filter} limit 5000) as kinedb_rows",
            columns.join(", "),
            relation.name
        ),
    ))
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
            if !may
                || world.big(relation)
                || relation.append_only
                || !stirs(world, relation)
                || report.stuck(&relation.label)
            {
                continue;
            }
            let statement = format!("delete from {}", relation.name);
            let mut probe = Probe::new();
            let count = |probe: &mut Probe| {
                kept.iter()
                    .map(|kept| {
                        probe.step(Kind::Look, format!("select count(*) from {}", kept.name))
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
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((role, first, _, last, show, relation), answer) in asked.into_iter().zip(answers) {
        for (index, kept) in kept.iter().enumerate() {
            let rows = |places: &[usize]| answer.number(places[index]);
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
