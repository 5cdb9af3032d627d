//! Writes that something may follow from, and the ordinary statements that do them.

use super::assign::neutral;
use crate::db::ident::Literal;
use crate::verify::keys;
use crate::verify::model::{ActingRole, Policy, Relation};
use crate::verify::synth::{Insert, Planner};
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
    list.extend(lured(world, relation, role, tenant).map(|built| built.sql));
    if let Some(assignment) =
        neutral(world, relation, &grant.columns('w'), world.id(tenant)).first()
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
    built(world, relation, role, tenant, Vec::new())
}

/// The same, its documents naming the other tenant wherever a trigger reads them: one that
/// takes from there whom a row is for believes whoever writes.
pub(super) fn lured(
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
