//! What policies change on a table whose row security was on before and is on now.

use crate::migrate::effect::Effect;
use crate::migrate::effect::compare::Comparison;
use crate::migrate::effect::predicate::{implies, is_tied};
use crate::migrate::effect::snapshot::{Oid, Policy, Relation, Texts};

pub(super) fn compare(found: &mut Comparison<'_>, old: &Relation, new: &Relation) {
    let mut before = found.before.policies_of(old.id);
    let mut now = found.now.policies_of(new.id);
    // What is there twice, under whatever name, did not change.
    now.retain(|policy| {
        let same = before
            .iter()
            .position(|old| equal(found.texts, old, policy));
        same.map(|at| before.remove(at)).is_none()
    });
    let mut pairs = Vec::new();
    before.retain(|old| {
        let same = now
            .iter()
            .position(|new| new.name == old.name && new.permissive == old.permissive);
        match same {
            Some(at) => pairs.push((*old, now.remove(at))),
            None => return true,
        }
        false
    });
    for (old, new_one) in pairs {
        changed(found, new, old, new_one);
    }
    for policy in now {
        added(found, old, new, policy);
    }
    for policy in before {
        let what = format!("dropped: {}", text(found.texts, policy));
        let object = object(policy, new);
        if policy.permissive {
            found.narrows(object, what);
        } else {
            found.widens(object, what);
        }
    }
}

fn object(policy: &Policy, relation: &Relation) -> String {
    let kind = if policy.permissive {
        "policy"
    } else {
        "restrictive policy"
    };
    format!("{kind} {} on {}", policy.name, relation.name)
}

/// What a policy says, for people.
pub(super) fn text(texts: &Texts, policy: &Policy) -> String {
    let (using, check) = texts.of(policy);
    match (using, check) {
        (Some(using), Some(check)) if using != check => format!("using {using} with check {check}"),
        (Some(using), _) => format!("using {using}"),
        (None, Some(check)) => format!("with check {check}"),
        (None, None) => "no condition".to_owned(),
    }
}

fn equal(texts: &Texts, one: &Policy, other: &Policy) -> bool {
    one.permissive == other.permissive
        && one.command == other.command
        && covers(one, other)
        && covers(other, one)
        && (one.stored == other.stored && one.id == other.id || texts.of(one) == texts.of(other))
}

/// `wide` is for every role that `narrow` is for.
fn covers(wide: &Policy, narrow: &Policy) -> bool {
    wide.roles.contains(&0) || narrow.roles.iter().all(|role| wide.roles.contains(role))
}

/// `wide` lets through all that `narrow` does: roles, commands and conditions.
fn is_within(texts: &Texts, narrow: &Policy, wide: &Policy) -> bool {
    let (using, check) = texts.of(narrow);
    let (wide_using, wide_check) = texts.of(wide);
    let commands = wide.command == '*' || wide.command == narrow.command;
    let reads = narrow.command == 'a' || implies(using, wide_using);
    let writes = matches!(narrow.command, 'r' | 'd') || implies(check, wide_check);
    covers(wide, narrow) && commands && reads && writes
}

fn added(found: &mut Comparison<'_>, old: &Relation, new: &Relation, policy: &Policy) {
    let object = object(policy, new);
    let what = format!("new: {}", text(found.texts, policy));
    if !policy.permissive {
        return found.narrows(object, what);
    }
    let known = found.before.policies_of(old.id);
    let covered = known
        .into_iter()
        .any(|other| other.permissive && is_within(found.texts, policy, other));
    if policy.roles == [new.owner] {
        let what = format!("{what}, for its owner alone, who can change what binds him");
        found.add(Effect::Neutral, object, what);
    } else if covered {
        found.add(
            Effect::Neutral,
            object,
            format!("{what}, which another one let through already"),
        );
    } else if is_for_new_roles(found, policy) && is_tied_whole(found.texts, policy) {
        let what = format!("{what}, for a new role");
        found.add(Effect::Neutral, object, what);
    } else {
        found.widens(object, what);
    }
}

fn is_for_new_roles(found: &Comparison<'_>, policy: &Policy) -> bool {
    let old = |id: &Oid| *id == 0 || found.before.roles.contains_key(id);
    !policy.roles.iter().any(old)
}

/// All that it lets through is tied to a setting of the session.
pub(super) fn is_tied_whole(texts: &Texts, policy: &Policy) -> bool {
    let (using, check) = texts.of(policy);
    using.is_none_or(is_tied) && check.is_none_or(is_tied)
}

fn changed(found: &mut Comparison<'_>, relation: &Relation, old: &Policy, new: &Policy) {
    let (narrower, wider) = if old.permissive {
        (
            is_within(found.texts, new, old),
            is_within(found.texts, old, new),
        )
    } else {
        // A restrictive one closes more where it is for more roles and commands, and lets through less.
        (
            closes_more(found.texts, new, old),
            closes_more(found.texts, old, new),
        )
    };
    let effect = match (narrower, wider) {
        (true, true) => Effect::Neutral,
        (true, false) => Effect::Narrows,
        _ => Effect::Widens,
    };
    let (was, is) = (text(found.texts, old), text(found.texts, new));
    let what = if was == is {
        "is for other roles or commands".to_owned()
    } else {
        format!("was {was}, is {is}")
    };
    found.add(effect, object(new, relation), what);
}

/// `one` restricts at least all that `other` does.
fn closes_more(texts: &Texts, one: &Policy, other: &Policy) -> bool {
    let (using, check) = texts.of(one);
    let (other_using, other_check) = texts.of(other);
    let commands = one.command == '*' || one.command == other.command;
    covers(one, other) && commands && implies(using, other_using) && implies(check, other_check)
}
