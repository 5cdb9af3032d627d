//! Writes that something may follow from, and the ordinary statements that do them.

use std::collections::BTreeSet;

use super::assign::neutral;
use super::triggers::{Triggers, contested};
use crate::db::ident::{Ident, Literal};
use crate::verify::keys;
use crate::verify::model::{ActingRole, Policy, Relation};
use crate::verify::synth::{Insert, Planner, text_of};
use crate::verify::world::World;

/// Whether writing a relation may change anything but the rows written: a trigger,
/// a rule, a referential action, or a function that a policy, check or default calls.
pub(super) fn stirs(world: &World<'_>, relation: &Relation) -> bool {
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

pub(super) fn writes(
    world: &World<'_>,
    triggers: &Triggers<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Vec<String> {
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
    list.extend(lured(world, triggers, relation, role, tenant).map(|built| built.sql));
    let bait = |turn| {
        baited(world, triggers, relation, role, tenant, turn)
            .into_iter()
            .map(|built| built.sql)
    };
    list.extend(bait(0));
    if let Some(assignment) =
        neutral(world, relation, &grant.columns('w'), world.id(tenant)).first()
    {
        list.push(format!("update {} set {assignment}", relation.name));
        // It may have changed what the first were to be found by.
        list.extend(bait(1));
    }
    list
}

/// Ordinary writes of rows that have a trigger.
pub(super) fn told(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Vec<String> {
    let mut list = Vec::new();
    if !world.details.triggers.contains(&relation.oid) || world.big(relation) {
        return list;
    }
    list.extend(inserted(world, relation, role, tenant).map(|built| built.sql));
    let columns = world.grant(role, relation).map(|grant| grant.columns('w'));
    let own = keys::owned(relation) && keys::has_places(relation);
    if let Some(columns) = columns.filter(|_| own && keys::shared(relation).is_none())
        && let Some(assignment) = neutral(world, relation, &columns, world.id(tenant)).first()
    {
        list.push(format!("update {} set {assignment}", relation.name));
    }
    list
}

/// An own row that the role may insert.
pub(super) fn inserted(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Option<Insert> {
    built(world, relation, role, tenant, 8200, Vec::new())
}

/// The same, its documents naming the other tenant wherever a trigger reads them: one that
/// takes from there whom a row is for believes whoever writes.
pub(super) fn lured(
    world: &World<'_>,
    triggers: &Triggers<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
) -> Option<Insert> {
    if !world.details.triggers.contains(&relation.oid) {
        return None;
    }
    let other = *world.contexts.iter().take(2).find(|one| **one != tenant)?;
    let document: serde_json::Map<String, serde_json::Value> = triggers
        .keys
        .iter()
        .map(|key| (key.clone(), world.id(other).into()))
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
        .then(|| built(world, relation, role, tenant, 8300, columns))?
}

/// Own rows that name rows of the other tenant by what they are found by: a trigger that
/// works with its owner's rights, and looks a row up by a value that tells no tenant,
/// finds that of whoever has it.
pub(super) fn baited(
    world: &World<'_>,
    triggers: &Triggers<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    turn: u32,
) -> Vec<Insert> {
    let Some(other) = world
        .contexts
        .iter()
        .take(2)
        .find(|one| **one != tenant)
        .filter(|_| world.details.triggers.contains(&relation.oid))
    else {
        return Vec::new();
    };
    let known = keys::key(relation).map(|(column, _)| column.as_str());
    let mut list = Vec::new();
    let mut seen = BTreeSet::new();
    for trigger in &triggers.definers {
        let column = |own: &str| {
            world
                .details
                .columns_of(relation.oid)
                .find(|column| column.name == own && Some(column.name.as_str()) != known)
                .filter(|column| !column.generated)
        };
        // What it asks of a row before it does anything.
        let asked: Vec<(String, String)> = trigger
            .asked
            .iter()
            .filter_map(|(own, value)| {
                let type_name = &column(own)?.type_name;
                Some((own.clone(), format!("{}::{type_name}", Literal::new(value))))
            })
            .collect();
        let mut baits: Vec<Vec<(String, String)>> = Vec::new();
        for one in &asked {
            if seen.insert((0, one.0.clone(), one.1.clone())) {
                baits.push(vec![one.clone()]);
            }
        }
        let body = &trigger.function.body;
        // Whose a row of another table shall be may be told by any column of this one.
        let whose = keys::key(relation).and_then(|(key, _)| {
            let mut columns = world.details.columns_of(relation.oid);
            columns.find(|column| column.name == key.as_str())
        });
        for name in &trigger.spoken_of {
            let Some(detail) = column(name) else { continue };
            if whose.is_some_and(|whose| whose.base == detail.base)
                && seen.insert((1, name.clone(), String::new()))
            {
                let id = Literal::new(world.id(*other));
                baits.push(vec![(name.clone(), format!("{id}::{}", detail.type_name))]);
            }
        }
        let blank: Vec<(String, String)> = body
            .assigns
            .iter()
            .filter_map(|name| column(name))
            .filter(|column| !column.not_null)
            .map(|column| (column.name.clone(), "null".to_owned()))
            .collect();
        let pairs = trigger.looked_up.iter().cloned();
        for (theirs, own) in &pairs
            .chain(contested(world, trigger))
            .collect::<BTreeSet<_>>()
        {
            let Some(detail) = column(own) else { continue };
            for target in body.reads.iter().chain(&body.writes) {
                let found = world
                    .scope
                    .relation(*target)
                    .filter(|target| keys::has_places(target) && !world.big(target))
                    .filter(|target| {
                        let mut columns = target.columns.iter();
                        columns.any(|column| column.name.as_str() == theirs)
                    })
                    .filter(|_| seen.insert((*target, theirs.clone(), own.clone())));
                let foreign = found.and_then(|target| {
                    // What a row that was made holds is known; else it is looked up.
                    let made = world.stage.row(target.oid, *other);
                    let planted = triggers.planted.get(&(target.oid, theirs.clone()));
                    let known = planted
                        .cloned()
                        .or_else(|| made?.values.get(theirs).and_then(text_of))
                        .map(|text| format!("{}::{}", Literal::new(text), detail.type_name));
                    known.or_else(|| {
                        let owns = keys::own(world.scope, target, world.id(*other), None)?;
                        Some(format!(
                            "(select {0}.{1} from {0} where {owns} limit 1)::{2}",
                            target.name,
                            Ident::new(theirs),
                            detail.type_name
                        ))
                    })
                });
                let Some(foreign) = foreign else { continue };
                let bait = (own.clone(), foreign);
                baits.push(vec![bait.clone()]);
                let mut empty = blank.clone();
                empty.retain(|(name, _)| name != own);
                if !empty.is_empty() {
                    empty.push(bait.clone());
                    baits.push(empty);
                }
                let mut met: Vec<_> = asked.iter().filter(|(name, _)| name != own).collect();
                met.dedup_by(|a, b| a.0 == b.0);
                if !met.is_empty() {
                    baits.push(met.into_iter().cloned().chain([bait]).collect());
                }
            }
        }
        for bait in baits.into_iter().take(BAITS) {
            let salt = 8400 + turn * 200 + u32::try_from(list.len()).unwrap_or(0);
            list.extend(built(world, relation, role, tenant, salt, bait));
        }
    }
    list
}

/// Rows tried of one trigger's function.
const BAITS: usize = 8;

fn built(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    salt: u32,
    told: Vec<(String, String)>,
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
    let mut wanted = planner.wanted(relation, tenant, tenant, salt);
    wanted.fixed.extend(told);
    let built = planner.insert(relation, wanted, None);
    built.missing.is_none().then_some(built)
}

/// Own rows under the other tenant's ids, where a key lets two tenants have the same: what
/// asks whose a row is, and then looks for the id alone, takes the one for the other. None
/// where it would refer to the other's rows by them: it goes with those, so what is answered
/// by it is no answer about them.
pub(super) fn collided(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    (tenant, other): (usize, usize),
) -> Option<Insert> {
    let key = keys::key(relation).map(|(key, _)| key.as_str())?;
    let theirs = world.stage.row(relation.oid, other)?;
    let mut uniques = world.details.uniques.iter();
    let unique = uniques.find(|unique| {
        unique.relation == relation.oid
            && unique.plain
            && unique.columns.len() > 1
            && unique.columns.iter().any(|column| column == key)
    })?;
    let others = unique.columns.iter().filter(|column| *column != key);
    // Where the rest is a key by itself, no two rows have it.
    let mut uniques = world.details.uniques.iter();
    if uniques.any(|one| {
        one.relation == relation.oid
            && !one.columns.iter().any(|column| column == key)
            && one
                .columns
                .iter()
                .any(|column| unique.columns.contains(column))
    }) {
        return None;
    }
    let mut references = world.details.references.iter();
    if references.any(|reference| {
        reference.relation == relation.oid
            && !reference.columns.iter().any(|column| column == key)
            && reference
                .columns
                .iter()
                .any(|column| unique.columns.contains(column))
    }) {
        return None;
    }
    let told: Option<Vec<(String, String)>> = others
        .map(|name| {
            let mut columns = world.details.columns_of(relation.oid);
            let column = columns.find(|column| column.name == *name && !column.generated)?;
            let value = theirs.values.get(name).and_then(text_of)?;
            let literal = format!("{}::{}", Literal::new(value), column.type_name);
            Some((name.clone(), literal))
        })
        .collect();
    built(world, relation, role, tenant, 8900, told?)
}

/// Deleting all that can be deleted, where something else may follow from it.
pub(super) fn deletes(world: &World<'_>, relation: &Relation, role: &ActingRole) -> Option<String> {
    let may = world
        .grant(role, relation)
        .is_some_and(|grant| grant.delete);
    (may && !world.big(relation)
        && keys::owned(relation)
        && keys::has_places(relation)
        && keys::shared(relation).is_none())
    .then(|| format!("delete from {}", relation.name))
}
