//! What follows from an ordinary write: another tenant's session must see the
//! same before and after, and append-only tables must keep their rows.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::assign::neutral;
use super::digest_of;
use super::report::{Cell, Report, reproduce};
use crate::db::ident::{Ident, Literal};
use crate::verify::details::Grant;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, Oid, Policy, Relation, RelationKind, RoleScope, TenantKey,
};
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Insert, Planner, literals};
use crate::verify::world::{World, budget};

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
    let joint = owned_jointly(conn, world).await?;
    let apart = |relation: &Relation| {
        !joint.contains(&relation.oid)
            && !world
                .details
                .tables_below(relation.oid, world.scope)
                .iter()
                .any(|table| joint.contains(table))
    };
    let inserts: Vec<Insert> = world
        .acting()
        .flat_map(|(role, _)| world.contexts.iter().take(2).map(move |one| (role, *one)))
        .flat_map(|(role, one)| {
            world
                .relations()
                .filter(|relation| stirs(world, relation))
                .flat_map(move |relation| {
                    [
                        inserted(world, relation, role, one),
                        lured(world, relation, role, one),
                    ]
                })
                .flatten()
        })
        .collect();
    let known = literals(conn, world.unbound(), &inserts, budget(world.options)).await?;
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
            for deletes_now in [false, true] {
                if deletes_now && !deleting {
                    continue;
                }
                probe.all(&world.origin.back(role));
                probe.all(&enter(one));
                let mut done = Vec::new();
                let stirring =
                    |one: &&Relation| stirs(world, one) && apart(one) && !report.stuck(&one.label);
                for relation in world.relations().filter(stirring) {
                    let statements = if deletes_now {
                        deletes(world, relation, role).into_iter().collect()
                    } else {
                        writes(world, relation, role, one)
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
    let answers = script::run(conn, &probes, budget(world.options)).await?;
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
                let text = |turn: usize| answer.text(one.looks[turn][index]);
                let (Some(before), Some(after)) = (text(turn - 1), text(turn)) else {
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
    let answers = script::run(conn, &again, budget(world.options)).await?;
    for ((relation, role, show, [first, second]), answer) in doubted.into_iter().zip(answers) {
        if answer.text(first).is_some() && answer.text(first) == answer.text(second) {
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
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    let joint = asked
        .into_iter()
        .zip(answers)
        .filter(|((_, place), answer)| answer.number(*place).unwrap_or(0) > 0)
        .map(|((oid, _), _)| oid);
    let shared = world
        .relations()
        .filter(|relation| is_shared(world, relation));
    Ok(joint.chain(shared.map(|relation| relation.oid)).collect())
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
    let Some(failure) = answer
        .failure
        .as_ref()
        .filter(|failure| failure.cut_short())
    else {
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
        format!(
            "what follows from writes was not seen to its end: {}",
            failure.sentence()
        ),
        Some(reproduce(&one.enter, "select 1")),
    );
}

/// Whether writing a relation may change anything but the rows written: a trigger,
/// a rule, a referential action, or a function that a policy, check or default calls.
fn stirs(world: &World<'_>, relation: &Relation) -> bool {
    let details = &world.details;
    let family = world
        .scope
        .relations
        .iter()
        .filter(|child| child.parents.contains(&relation.oid))
        .map(|child| child.oid)
        .chain([relation.oid]);
    let active = |action: char| !matches!(action, 'a' | 'r');
    // Functions of the system are written without a schema.
    let calls = |text: &str| text.contains('.') && text.contains('(');
    for oid in family {
        if details.triggers.contains(&oid)
            || details.uses.iter().any(|(user, _)| *user == oid)
            || details.references.iter().any(|reference| {
                reference.parent == oid
                    && (active(reference.on_delete) || active(reference.on_update))
            })
            || details
                .columns_of(oid)
                .any(|column| column.default.as_deref().is_some_and(calls))
            || details
                .checks
                .iter()
                .any(|check| check.relation == oid && calls(&check.check))
        {
            return true;
        }
    }
    Policy::on(&world.scope.policies, relation.oid).any(|predicate| !predicate.functions.is_empty())
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
    Some(digest_of(
        "kinedb_rows::text",
        &format!(
            "(select {} from {} limit 5000) as kinedb_rows",
            columns.join(", "),
            relation.name
        ),
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
    list.extend(inserted(world, relation, role, tenant).map(|built| built.sql));
    list.extend(lured(world, relation, role, tenant).map(|built| built.sql));
    if let Some(assignment) =
        neutral(world, relation, &grant.columns('w'), world.id(tenant)).first()
    {
        list.push(format!("update {} set {assignment}", relation.name));
    }
    list
}

/// An own row that the role may insert.
fn inserted(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Option<Insert> {
    built(world, relation, role, tenant, Vec::new())
}

/// The same, its documents naming the other tenant wherever a trigger reads them: one that
/// takes from there whom a row is for believes whoever writes.
fn lured(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Option<Insert> {
    if !world.details.triggers.contains(&relation.oid) {
        return None;
    }
    let other = *world.contexts.iter().take(2).find(|one| **one != tenant)?;
    let document: serde_json::Map<String, serde_json::Value> = world
        .scope
        .functions
        .iter()
        .filter(|function| function.trigger)
        .flat_map(|function| taken_apart(&function.body.text))
        .map(|key| (key, world.id(other).into()))
        .collect();
    let columns: Vec<(String, String)> = world
        .details
        .columns_of(relation.oid)
        .filter(|column| column.base.starts_with("json") && !column.generated)
        .map(|column| {
            let value = Literal::new(serde_json::Value::Object(document.clone()).to_string());
            (
                column.name.clone(),
                format!("{value}::{}", column.type_name),
            )
        })
        .collect();
    (!document.is_empty() && !columns.is_empty())
        .then(|| built(world, relation, role, tenant, columns))?
}

/// The keys that a text takes out of documents: `new.meta ->> 'org'`.
fn taken_apart(text: &str) -> Vec<String> {
    text.split("->")
        .skip(1)
        .filter_map(|rest| {
            let inner = rest
                .trim_start_matches('>')
                .trim_start()
                .strip_prefix('\'')?;
            inner.split_once('\'').map(|(key, _)| key.to_owned())
        })
        .collect()
}

fn built(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    documents: Vec<(String, String)>,
) -> Option<Insert> {
    let writes = keys::owned(relation)
        && keys::has_places(relation)
        && keys::shared(relation).is_none()
        && !world.big(relation)
        && world.grant(role, relation)?.insert;
    let planner = Planner {
        scope: world.scope,
        details: &world.details,
        stage: &world.stage,
    };
    if !writes {
        return None;
    }
    let salt = if documents.is_empty() { 8200 } else { 8300 };
    let mut wanted = planner.wanted(relation, tenant, tenant, salt);
    wanted.fixed.extend(documents);
    let built = planner.insert(relation, wanted, None);
    built.missing.is_none().then_some(built)
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
    let answers = script::run(conn, &probes, budget(world.options)).await?;
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

#[cfg(test)]
mod tests {
    use super::taken_apart;

    #[test]
    fn keys_of_documents() {
        assert_eq!(
            taken_apart(
                "if new.meta ? 'x' then f(new.meta->>'org', new.meta -> 'a' ->> 'b', c -> 1)"
            ),
            ["org", "a", "b"]
        );
        assert!(taken_apart("a -> b ->> '").is_empty());
    }
}
