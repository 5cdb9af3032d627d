//! What tables and views change: new ones, owners, grants, row security, the
//! rights that a view runs with.

use std::collections::BTreeMap;

use crate::migrate::effect::Effect;
use crate::migrate::effect::acl::Rights;
use crate::migrate::effect::compare::Comparison;
use crate::migrate::effect::policies;
use crate::migrate::effect::predicate::is_tied;
use crate::migrate::effect::snapshot::{Oid, Policy, Relation, Snapshot, Texts};

pub(super) fn compare(found: &mut Comparison<'_>) {
    let (before, now) = (found.before, found.now);
    let gone: BTreeMap<(&str, char), &Relation> = before
        .relations
        .values()
        .filter(|old| !now.relations.contains_key(&old.id))
        .map(|old| ((old.name.as_str(), old.class()), old))
        .collect();
    for relation in now.relations.values() {
        // One that was dropped and made again under its name is the same to whoever uses it.
        let old = before.relations.get(&relation.id);
        match old.or_else(|| gone.get(&(&relation.name, relation.class())).copied()) {
            Some(old) => changed(found, old, relation),
            None => added(found, relation),
        }
    }
    for old in gone.values() {
        let again = now
            .relations
            .values()
            .any(|new| new.name == old.name && new.class() == old.class());
        if !again && !before.reach(old).is_empty() {
            found.narrows(old.object(), "dropped");
        }
    }
    parents(found);
    rules(found);
}

fn added(found: &mut Comparison<'_>, new: &Relation) {
    let reach = found.now.reach(new);
    let object = new.object();
    let open = !reach.is_empty();
    match new.class() {
        'r' => table_added(found, new, &reach),
        'v' if new.option("security_invoker") => {
            found.add(
                Effect::Neutral,
                object,
                "new, and shows what its reader may read",
            );
        }
        'v' | 'm' if open => found.widens(
            object,
            format!("new, shows what its owner may read: {reach}"),
        ),
        'f' if open => found.widens(object, format!("new, with rows of another server: {reach}")),
        _ => {}
    }
}

fn table_added(found: &mut Comparison<'_>, new: &Relation, reach: &Rights) {
    let object = new.object();
    if reach.is_empty() {
        return found.add(
            Effect::Neutral,
            object,
            "new, and open to nobody but its owner",
        );
    }
    if !new.rls {
        return found.widens(object, format!("new, without row security: {reach}"));
    }
    let beyond = reach
        .0
        .iter()
        .find(|(_, held)| held.keys().any(|letter| "DxtmX".contains(*letter)));
    if let Some((who, _)) = beyond {
        return found.widens(
            object,
            format!("new, and {who} has rights that row security does not bind: {reach}"),
        );
    }
    if !new.force {
        return found.widens(
            object,
            format!("new, and row security does not bind its owner: {reach}"),
        );
    }
    // An owner can change what binds him, so what is for him alone opens nothing.
    let others = |policy: &Policy| policy.roles != [new.owner];
    match loose(found.now, found.texts, new, &others) {
        Some(policy) => {
            let text = policies::text(found.texts, policy);
            found.widens(
                object,
                format!(
                    "new, and policy {} does not tie its rows to a setting of the session: {text}",
                    policy.name
                ),
            );
        }
        None => found.add(
            Effect::Neutral,
            object,
            format!("new, and open to each tenant's own rows: {reach}"),
        ),
    }
}

/// The permissive policy, of those that count, that lets through rows of all tenants;
/// none where a restrictive one for everybody and everything ties all of them.
fn loose<'a>(
    now: &'a Snapshot,
    texts: &Texts,
    relation: &Relation,
    counts: &dyn Fn(&Policy) -> bool,
) -> Option<&'a Policy> {
    let policies = now.policies_of(relation.id);
    let closes = |policy: &&Policy| {
        let (using, check) = texts.of(policy);
        let ties = using.is_some_and(is_tied) && check.is_some_and(is_tied);
        !policy.permissive && counts(policy) && policy.command == '*' && policy.roles == [0] && ties
    };
    if policies.iter().any(closes) {
        return None;
    }
    policies.into_iter().find(|policy| {
        policy.permissive && counts(policy) && !policies::is_tied_whole(texts, policy)
    })
}

/// A new role with these rights on the relation reaches each tenant's own rows at most.
fn binds(now: &Snapshot, texts: &Texts, relation: &Relation, who: &str, letters: &[char]) -> bool {
    let mut roles = now.roles.keys();
    let Some(role) = roles.find(|id| now.role(**id) == who) else {
        return false;
    };
    let acts_as = now.made_of(*role);
    let applies = |policy: &Policy| {
        policy
            .roles
            .iter()
            .any(|id| *id == 0 || acts_as.contains(id))
    };
    match relation.class() {
        'r' => {
            relation.rls
                && letters.iter().all(|letter| "rawd".contains(*letter))
                && loose(now, texts, relation, &applies).is_none()
        }
        'v' => relation.option("security_invoker"),
        _ => false,
    }
}

fn changed(found: &mut Comparison<'_>, old: &Relation, new: &Relation) {
    let object = new.object();
    let (before, now) = (found.before, found.now);
    found.owner(&object, old.owner, new.owner);
    let none = Rights::default();
    let (was, is) = (before.rights(old), now.rights(new));
    let texts = found.texts;
    let bound = |who: &str, letters: &[char]| binds(now, texts, new, who, letters);
    found.rights(&object, (&was, &none), (&is, &none), &bound);
    let (columns_were, columns_are) = (before.column_rights(old), now.column_rights(new));
    let mut names: Vec<&str> = columns_were
        .keys()
        .chain(columns_are.keys())
        .copied()
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let then = columns_were.get(name).unwrap_or(&none);
        let here = columns_are.get(name).unwrap_or(&none);
        // A right on the whole covers each column.
        found.rights(
            &format!("column {name} of {}", new.name),
            (then, &was),
            (here, &is),
            &bound,
        );
    }
    match new.class() {
        'r' => row_security(found, old, new),
        'v' | 'm' => view(found, old, new),
        _ => {}
    }
}

fn row_security(found: &mut Comparison<'_>, old: &Relation, new: &Relation) {
    let object = new.object();
    match (old.force, new.force) {
        (true, false) => found.widens(&object, "row security no longer binds its owner"),
        (false, true) => found.narrows(&object, "row security binds its owner now"),
        _ => {}
    }
    match (old.rls, new.rls) {
        (true, false) => found.widens(&object, "row security disabled"),
        // Whatever its policies let through is less than everything.
        (false, true) => found.narrows(&object, "row security enabled"),
        (true, true) => policies::compare(found, old, new),
        (false, false) => {}
    }
}

fn view(found: &mut Comparison<'_>, old: &Relation, new: &Relation) {
    let object = new.object();
    let invoker = |view: &Relation| view.option("security_invoker");
    match (invoker(old), invoker(new)) {
        (true, false) => found.widens(&object, "runs with its owner's rights now"),
        (false, true) => found.narrows(&object, "runs with its reader's rights now"),
        (false, false) if old.rule != new.rule => {
            found.widens(
                &object,
                "its query changed, and it runs with its owner's rights",
            );
        }
        _ => {}
    }
    match (
        old.option("security_barrier"),
        new.option("security_barrier"),
    ) {
        (true, false) => found.widens(
            &object,
            "is no barrier any more: conditions of a reader may see rows it hides",
        ),
        (false, true) => found.narrows(&object, "is a barrier now"),
        _ => {}
    }
}

fn parents(found: &mut Comparison<'_>) {
    let (before, now) = (found.before, found.now);
    let name = |id: &Oid| {
        now.relations
            .get(id)
            .map_or("another", |one| one.name.as_str())
    };
    for (child, parent) in &now.parents {
        let made_here = !before.relations.contains_key(child);
        if made_here || before.parents.contains(&(*child, *parent)) {
            continue;
        }
        let what = format!("its rows are reached through {} too", name(parent));
        found.widens(format!("table {}", name(child)), what);
    }
    for (child, parent) in &before.parents {
        let both = now.relations.contains_key(child) && now.relations.contains_key(parent);
        if both && !now.parents.contains(&(*child, *parent)) {
            let what = format!("its rows are no longer reached through {}", name(parent));
            found.narrows(format!("table {}", name(child)), what);
        }
    }
}

fn rules(found: &mut Comparison<'_>) {
    let (before, now) = (found.before, found.now);
    for (key, what) in &now.rules {
        let Some(relation) = now.relations.get(&key.0) else {
            continue;
        };
        if before.rules.get(key) != Some(what) {
            let object = format!("rule {} on {}", key.1, relation.name);
            found.widens(
                object,
                "new or changed, and it acts with the rights of the table's owner",
            );
        }
    }
    for key in before.rules.keys() {
        if let (Some(relation), false) = (now.relations.get(&key.0), now.rules.contains_key(key)) {
            found.widens(
                format!("rule {} on {}", key.1, relation.name),
                "dropped: what it replaced happens again",
            );
        }
    }
}
