//! What functions and triggers change: those that run as their owner, those that
//! policies ask, those that guard tables.

use crate::migrate::effect::Effect;
use crate::migrate::effect::acl::Rights;
use crate::migrate::effect::compare::Comparison;
use crate::migrate::effect::snapshot::{Function, Policy, Snapshot, Trigger};

pub(super) fn compare(found: &mut Comparison<'_>) {
    let (before, now) = (found.before, found.now);
    for (id, function) in &now.functions {
        let by_name = || {
            before
                .functions
                .values()
                .find(|old| old.name == function.name && !now.functions.contains_key(&old.id))
        };
        match before.functions.get(id).or_else(by_name) {
            Some(old) => changed(found, old, function),
            None => added(found, function),
        }
    }
    for old in before.functions.values() {
        let still = now.functions.contains_key(&old.id)
            || now
                .functions
                .values()
                .any(|function| function.name == old.name);
        if !still && gives(old) && !callers(before, old).is_empty() {
            found.narrows(object(old), "dropped");
        }
    }
    triggers(found);
}

fn object(function: &Function) -> String {
    format!("function {}", function.name)
}

/// Calling it may give what the caller does not have. A trigger's cannot be called.
fn gives(function: &Function) -> bool {
    (function.definer || !function.trusted) && !function.trigger
}

/// Who may call it; functions are everybody's where nothing was said.
fn callers(snapshot: &Snapshot, function: &Function) -> Rights {
    match &function.acl {
        Some(items) => Rights::of(items, snapshot.role(function.owner)),
        None => Rights::of(&["=X/".to_owned()], ""),
    }
}

fn added(found: &mut Comparison<'_>, function: &Function) {
    let callers = callers(found.now, function);
    if !gives(function) || callers.is_empty() {
        return;
    }
    let who: Vec<&str> = callers.0.keys().map(String::as_str).collect();
    let owner = found.now.role(function.owner).to_owned();
    let how = if function.definer {
        format!("runs as {owner}")
    } else {
        "in a language that is not trusted".to_owned()
    };
    found.widens(
        object(function),
        format!("new, {how}, and {} may call it", who.join(", ")),
    );
}

fn changed(found: &mut Comparison<'_>, old: &Function, new: &Function) {
    let object = object(new);
    let none = Rights::default();
    let (was, is) = (callers(found.before, old), callers(found.now, new));
    match (gives(old), gives(new)) {
        (false, true) if !is.is_empty() => found.widens(&object, "runs as its owner now"),
        (true, false) => found.narrows(&object, "no longer runs as its owner"),
        (true, true) => found.rights(&object, (&was, &none), (&is, &none), &|_, _| false),
        _ => {}
    }
    if old.owner != new.owner && new.definer {
        found.owner(&object, old.owner, new.owner);
    }
    let same = old.body == new.body && old.settings == new.settings;
    let called = |policy: &Policy| policy.calls.iter().flatten().any(|id| *id == new.id);
    if same && (old.definer == new.definer || !found.now.policies.iter().any(called)) {
        return;
    }
    // A function that a policy calls may call this one.
    let asked = found
        .now
        .policies
        .iter()
        .any(|policy| policy.calls.as_ref().is_some_and(|calls| !calls.is_empty()));
    let fires = found
        .now
        .triggers
        .iter()
        .any(|trigger| trigger.function == new.id);
    let why = match () {
        () if new.definer => "it changed, and runs as its owner",
        () if fires => "it changed, and a trigger runs it",
        () if asked => "it changed, and policies call functions",
        () => return,
    };
    found.widens(object, why);
}

fn triggers(found: &mut Comparison<'_>) {
    let (before, now) = (found.before, found.now);
    for trigger in &now.triggers {
        let Some(relation) = now.relations.get(&trigger.relation) else {
            continue;
        };
        if !before.relations.contains_key(&trigger.relation) {
            continue;
        }
        let object = format!("trigger {} on {}", trigger.name, relation.name);
        let function = now.functions.get(&trigger.function);
        let definer = function.is_none_or(|function| function.definer);
        let same = |old: &&Trigger| old.relation == trigger.relation && old.name == trigger.name;
        match before.triggers.iter().find(same) {
            None if definer => found.widens(object, "new, and runs as the owner of its function"),
            None => found.add(
                Effect::Neutral,
                object,
                "new, and runs as whoever changes a row",
            ),
            Some(old) if old.what != trigger.what => found.widens(object, "changed"),
            Some(old) if old.enabled == trigger.enabled => {}
            Some(_) if trigger.enabled == 'A' => found.narrows(object, "always fires now"),
            Some(old) if trigger.enabled == 'O' && old.enabled != 'A' => {
                found.narrows(object, "fires again")
            }
            Some(_) => found.widens(object, "fires no more, or not always"),
        }
    }
    for old in &before.triggers {
        let Some(relation) = now.relations.get(&old.relation) else {
            continue;
        };
        let still =
            |trigger: &Trigger| trigger.relation == old.relation && trigger.name == old.name;
        if !now.triggers.iter().any(still) {
            let object = format!("trigger {} on {}", old.name, relation.name);
            found.widens(
                object,
                "dropped: what it guarded or filled in is left to others",
            );
        }
    }
}
