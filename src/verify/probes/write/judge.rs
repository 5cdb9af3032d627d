//! What a write tells: whose rows it touched, and what refused it.

use super::{Aim, Asked};
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{ExceptionKind, Open, OpenKind, RoleScope, TenantKey};
use crate::verify::probes::report::{Cell, Report};
use crate::verify::script::{self, Answer};
use crate::verify::world::{World, is_view};

/// (rows of others that are gone from their place, rows of others that are new).
fn looked(answer: &Answer, look: usize) -> Option<(i64, i64)> {
    let mut numbers = answer.text(look)?.split(' ');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Shared rows that are gone from their place.
fn shared_gone(answer: &Answer, look: usize) -> i64 {
    answer
        .text(look)
        .and_then(|text| text.split(' ').nth(2)?.parse().ok())
        .unwrap_or(0)
}

pub(super) fn judge(
    world: &World<'_>,
    asked: &[Asked<'_>],
    answers: &[Answer],
    at: usize,
    report: &mut Report,
) {
    let (Some(one), Some(answer)) = (asked.get(at), answers.get(at)) else {
        return;
    };
    let cell = Cell::new(one.relation, one.role, one.aim.action());
    let context = world.named_context(one.role, one.tenant);
    let state = answer
        .failure
        .as_ref()
        .filter(|failure| failure.place <= one.run)
        .map(|failure| failure.state.as_str());
    let global = matches!(one.relation.tenant, TenantKey::Global);
    let allowed = global && world.allows(one.relation, ExceptionKind::GlobalWrite, one.role);
    let touched = answer.number(one.run).unwrap_or(0);
    let entered = answer
        .failure
        .as_ref()
        .is_none_or(|failure| failure.place >= one.run);
    if !entered {
        if one.named {
            unproven(world, one, cell, answer, report);
        }
        return;
    }
    // What was cut short, or could not be looked at after, says nothing.
    if answer
        .failure
        .as_ref()
        .is_some_and(|failure| failure.cut_short() || failure.place > one.run)
    {
        unproven(world, one, cell, answer, report);
        return;
    }
    if global {
        if touched > 0 && !allowed {
            report.find(
                "global-rows-written",
                cell,
                format!("{touched} rows that all tenants share were written {context}"),
                Some(one.show.clone()),
            );
        } else {
            let access = if allowed {
                Access::Excepted
            } else {
                Access::Denied
            };
            report.see(cell, access, format!("{touched} rows written {context}"));
        }
        return;
    }
    let hit = looked(answer, one.look);
    if one.role.scope != RoleScope::Tenant {
        let shared = shared_gone(answer, one.look);
        if state.is_none() && touched > shared && keys::owned(one.relation) {
            report.find(
                "all-scope-writes",
                cell,
                format!("{touched} rows of tenants were written {context}"),
                Some(one.show.clone()),
            );
        } else {
            report.see(
                cell,
                Access::Denied,
                format!("no tenant's row written {context}"),
            );
        }
        return;
    }
    let sibling = |aim: Aim| {
        asked.iter().zip(answers).find_map(|(other, answer)| {
            (other.aim == aim
                && other.relation.oid == one.relation.oid
                && other.role.oid == one.role.oid
                && other.tenant == one.tenant)
                .then_some((other, answer))
        })
    };
    let broke = state.is_some()
        && answer
            .failure
            .as_ref()
            .is_some_and(script::Failure::past_policies);
    let bounded = answer
        .failure
        .as_ref()
        .is_some_and(script::Failure::out_of_bounds);
    let leak = match one.aim {
        Aim::Update
        | Aim::Delete
        | Aim::DeleteAlone
        | Aim::Upsert
        | Aim::Merge
        | Aim::MergeDelete => hit.is_some_and(|(gone, _)| gone > 0),
        Aim::TakeOver => {
            let spared = sibling(Aim::Update).is_some_and(|(other, answer)| {
                answer.failure.is_none()
                    && looked(answer, other.look).is_some_and(|(gone, _)| gone == 0)
            });
            // Own rows keep their key, so a constraint speaks of foreign ones; not so
            // where own rows move to one parent, or from another tenant of the same user.
            let elsewhere = !world.scope.users.also(world.id(one.tenant)).is_empty();
            hit.is_some_and(|(gone, _)| gone > 0)
                || broke && !spared && !elsewhere && keys::key(one.relation).is_some()
        }
        // A row cannot leave a partition that is changed by its own name.
        Aim::GiveAway => hit.is_some_and(|(_, come)| come > 0) || broke && !bounded,
        // No row of a tenant that there is can be made; another one is a tenant of its own.
        Aim::InsertForeign if world.scope.registers(one.relation) => false,
        Aim::InsertForeign => {
            let keyed = keys::key(one.relation).is_some();
            let mixed = sibling(Aim::InsertMixed).filter(|_| keyed);
            let overridden = mixed.is_some_and(|(other, answer)| {
                answer.failure.is_none()
                    && looked(answer, other.look).is_some_and(|(_, come)| come == 0)
                    || answer
                        .failure
                        .as_ref()
                        .is_some_and(|failure| failure.state == "42501")
            });
            hit.is_some_and(|(_, come)| come > 0) || broke && !overridden
        }
        Aim::InsertMixed => hit.is_some_and(|(_, come)| come > 0),
        Aim::InsertOwn => false,
        Aim::InsertShared => state.is_none() && touched > 0 && stays_shared(world, one),
    };
    if leak {
        let detail = match (&hit, state) {
            (_, Some(state)) => format!(
                "no policy refused it {context}: it got as far as SQLSTATE {state}, a constraint"
            ),
            (Some((gone, come)), None) => format!(
                "{touched} rows written {context}; of other tenants {gone} changed or gone, {come} new"
            ),
            (None, None) => format!("{touched} rows written {context}"),
        };
        report.find(one.aim.id(), cell, detail, Some(one.show.clone()));
        return;
    }
    let shared = shared_gone(answer, one.look);
    if shared > 0 && state.is_none() && one.aim.action() != Action::Insert {
        report.find(
            "shared-rows-written",
            cell,
            format!("{shared} rows without a tenant were changed {context}"),
            Some(one.show.clone()),
        );
        return;
    }
    if !one.named || one.role.scope != RoleScope::Tenant {
        return;
    }
    // One assignment may be refused for what it assigns; another shows the right is there.
    let reached = one.aim == Aim::Update
        && asked.iter().zip(answers).any(|(other, answer)| {
            matches!(other.aim, Aim::Update | Aim::TakeOver)
                && other.relation.oid == one.relation.oid
                && other.role.oid == one.role.oid
                && other.tenant == one.tenant
                && answer.failure.is_none()
                && answer.number(other.run).unwrap_or(0) > 0
        });
    if reached && !one.relation.append_only {
        report.worked(cell);
        report.see(
            cell,
            Access::Isolated,
            format!("own rows written {context}, no foreign one"),
        );
        return;
    }
    positive(world, one, cell, answer, state, touched, &context, report);
}

/// A row without a tenant that a trigger stamped is not shared; one in a table
/// where the tenant was filled in by a default is neither.
fn stays_shared(world: &World<'_>, one: &Asked<'_>) -> bool {
    !world.allows(one.relation, ExceptionKind::GlobalWrite, one.role)
        && keys::shared(one.relation).is_some()
        && !world.details.triggers.contains(&one.relation.oid)
}

#[allow(clippy::too_many_arguments)]
fn positive(
    world: &World<'_>,
    one: &Asked<'_>,
    cell: Cell<'_>,
    answer: &Answer,
    state: Option<&str>,
    touched: i64,
    context: &str,
    report: &mut Report,
) {
    let count = world.counted(one.relation, one.tenant).unwrap_or_default();
    let insert_only = world.allows(one.relation, ExceptionKind::InsertOnly, one.role);
    match one.aim {
        Aim::Update | Aim::Delete | Aim::DeleteAlone | Aim::InsertOwn => {
            let broke = answer
                .failure
                .as_ref()
                .is_some_and(script::Failure::past_policies);
            if one.relation.append_only && one.aim != Aim::InsertOwn {
                if touched > 0 && state.is_none() {
                    report.find(
                        "append-only-changed",
                        cell,
                        format!("{touched} rows changed {context}"),
                        Some(one.show.clone()),
                    );
                }
                return;
            }
            let right = match one.aim {
                Aim::Update => 'w',
                Aim::InsertOwn => 'a',
                _ => 'd',
            };
            let answered = world.details.answered(one.relation.oid, right);
            let refused = state.is_some_and(|state| state == "42501");
            let reached = touched > 0 || broke;
            if !reached && (refused || state.is_none()) && of_platform(world, one, right) {
                let why = "only a state of the session that no tenant's has opens it";
                report.hint(cell, Access::Denied, format!("{why}: refused {context}"));
                return;
            }
            if broke && one.aim == Aim::Delete {
                // Whose rows the reference holds it does not say.
                report.held(cell, format!("{context}: a reference holds rows"));
            } else if touched > 0 || broke && one.aim != Aim::Update {
                report.worked(cell);
                report.see(
                    cell,
                    Access::Isolated,
                    format!("own rows written {context}, no foreign one"),
                );
            } else if let Some(state) = state {
                if broke && count.own > 0 {
                    report.hint(
                        cell,
                        Access::Isolated,
                        format!("{context} a constraint speaks of own rows, which the policies let through"),
                    );
                }
                let refused = state == "42501";
                let message = answer
                    .failure
                    .as_ref()
                    .map(script::Failure::sentence)
                    .unwrap_or_default();
                if refused && !is_view(one.relation) {
                    report.find(
                        "own-write-refused",
                        cell,
                        format!("{context}: {message}"),
                        Some(one.show.clone()),
                    );
                } else if state == "P0001" || state == "55000" {
                    report.hint(
                        cell,
                        Access::Denied,
                        format!("refused by a trigger {context}"),
                    );
                }
            } else if touched == 0 && answered {
                report.hint(
                    cell,
                    Access::Denied,
                    format!("a rule does something else instead {context}"),
                );
            } else if count.own == 1 && touched == 0 && spared(world, one, right) {
                report.hint(
                    cell,
                    Access::Denied,
                    format!("a policy spares the user's own row, and no other was there {context}"),
                );
            } else if touched == 0 && lends(world, one) {
                report.hint(
                    cell,
                    Access::Denied,
                    format!("one of the two that share by these rows may not write them {context}"),
                );
            } else if count.own > 0
                && touched == 0
                && !insert_only
                && !is_view(one.relation)
                && one.aim != Aim::InsertOwn
                && one.aim != Aim::DeleteAlone
            {
                report.find(
                    "own-write-refused",
                    cell,
                    format!("0 of {} own rows were reached {context}", count.own),
                    Some(one.show.clone()),
                );
            }
        }
        _ => {
            let broke = answer
                .failure
                .as_ref()
                .is_some_and(script::Failure::past_policies);
            if one.aim == Aim::TakeOver && (touched > 0 || broke) {
                // Own rows, stamped with what they bear already.
                report.worked(cell);
            }
            report.see(
                cell,
                Access::Isolated,
                format!("refused or kept to own rows {context}"),
            );
        }
    }
}

/// Its rows are what tenants share others by: they belong to both ends, and giving is not taking.
fn lends(world: &World<'_>, one: &Asked<'_>) -> bool {
    let mut all = world.scope.relations.iter();
    all.any(|relation| {
        let mut shares = relation.shared.iter();
        shares.any(|share| share.link == one.relation.oid)
    })
}

/// All that opens the command asks for a state of the session, and for nothing of the row:
/// whoever runs the platform may do it, no tenant is meant to.
fn of_platform(world: &World<'_>, one: &Asked<'_>, right: char) -> bool {
    let policies = world.scope.policies.iter().filter(|policy| {
        policy.permissive
            && policy.relation == one.relation.oid
            && (policy.command == right || policy.command == '*')
    });
    let mut any = false;
    for policy in policies {
        let check = policy.check.as_ref().filter(|_| right == 'a');
        let Some(predicate) = check.or(policy.using.as_ref()) else {
            return false;
        };
        any = true;
        let session = |open: &Open| open.kind == OpenKind::Session;
        let all = !predicate.open.is_empty() && predicate.open.iter().all(session);
        if !all || !predicate.tied_columns.is_empty() {
            return false;
        }
    }
    any
}

/// A policy of the command asks for another user's row.
fn spared(world: &World<'_>, one: &Asked<'_>, right: char) -> bool {
    world.scope.policies.iter().any(|policy| {
        policy.relation == one.relation.oid
            && (policy.command == right || policy.command == '*')
            && policy.using.as_ref().is_some_and(|using| using.spares_user)
    })
}

fn unproven(
    world: &World<'_>,
    one: &Asked<'_>,
    cell: Cell<'_>,
    answer: &Answer,
    report: &mut Report,
) {
    if world.allows(one.relation, ExceptionKind::Unproven, one.role) {
        return;
    }
    let Some(failure) = &answer.failure else {
        return;
    };
    if failure.cut_short() || failure.place > one.run {
        report.cut(cell, &failure.sentence(), Some(one.show.clone()));
    }
}
