//! Tables that policies cannot tell apart: the same policies, of the key alone.
//!
//! What such a policy says depends on the key and on the session, so in a context
//! that names no tenant it says the same of every such table. In a schema of many
//! tables some of each kind stand for the rest; own and foreign contexts are tried
//! on every table all the same.

use std::collections::{HashMap, HashSet};

use crate::verify::details::Details;
use crate::verify::focus::Focus;
use crate::verify::keys;
use crate::verify::keys::speaks_of;
use crate::verify::model::{Oid, Policy, Relation, RelationKind, Scope};

/// Schemas of so many relations are tried in full.
const FEW: usize = 64;
/// Tables of each kind that stand for the rest.
const EACH: usize = 3;

/// Those that others stand for, of what is probed at all.
pub(super) fn find(scope: &Scope, details: &Details, focus: &Focus) -> HashSet<Oid> {
    let probed = scope
        .relations
        .iter()
        .filter(|relation| focus.relation(relation.oid));
    if probed.clone().count() <= FEW {
        return HashSet::new();
    }
    let mut policies: HashMap<Oid, Vec<&Policy>> = HashMap::new();
    for policy in &scope.policies {
        policies.entry(policy.relation).or_default().push(policy);
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut alike = HashSet::new();
    for relation in probed {
        let own = policies.get(&relation.oid).map_or(&[][..], Vec::as_slice);
        let Some(kind) = kind(details, relation, own) else {
            continue;
        };
        let count = seen.entry(kind).or_default();
        *count += 1;
        if *count > EACH {
            alike.insert(relation.oid);
        }
    }
    alike
}

/// What a table's policies say, where they speak of its key alone.
fn kind(details: &Details, relation: &Relation, policies: &[&Policy]) -> Option<String> {
    let (key, type_name) = keys::key(relation)?;
    if relation.kind != RelationKind::Table
        || !relation.parents.is_empty()
        || !relation.rls
        || !relation.force
        || details.triggers.contains(&relation.oid)
        || keys::shared(relation).is_some()
    {
        return None;
    }
    let mut list: Vec<String> = Vec::new();
    for policy in policies {
        let texts = [&policy.using, &policy.check]
            .map(|predicate| predicate.as_ref().map_or("", |one| one.text.as_str()));
        let other = details.columns_of(relation.oid).any(|column| {
            column.name != key.as_str() && texts.iter().any(|text| speaks_of(text, &column.name))
        });
        if other {
            return None;
        }
        list.push(format!(
            "{} {} {:?} {:?}",
            policy.command, policy.permissive, policy.roles, texts
        ));
    }
    list.sort();
    Some(format!(
        "{} {} {} {list:?}",
        relation.owner,
        key.as_str(),
        type_name
    ))
}
