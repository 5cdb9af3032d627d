//! Writing in a tenant's context: own rows can be, foreign ones never; a row
//! cannot be stamped with, taken from, or given to another tenant.
//!
//! Bare statements throughout: a WHERE or RETURNING would add the SELECT policy
//! and hide a hole. After each, the verifier looks at what is stored.

use sqlx::PgConnection;

use super::assign::neutral;
use super::report::{Cell, Report, reproduce};
use crate::db::ident::Literal;
use crate::verify::details::Grant;
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, Relation, RelationKind, RoleScope, TenantKey,
};
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::{World, budget, is_view};

/// What a statement tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Own rows, or all that the policies let through.
    Update,
    /// Rows of others, stamped with the own tenant.
    TakeOver,
    /// Own rows, stamped with another tenant.
    GiveAway,
    /// All that the policies let through.
    Delete,
    /// The same, with referential actions asleep.
    DeleteAlone,
    /// An own row.
    InsertOwn,
    /// A row of another tenant, its references leading to that tenant's rows.
    InsertForeign,
    /// The same, its references leading to own rows.
    InsertMixed,
    /// A row without a tenant.
    InsertShared,
}

impl Aim {
    fn action(self) -> Action {
        match self {
            Self::Update | Self::TakeOver | Self::GiveAway => Action::Update,
            Self::Delete | Self::DeleteAlone => Action::Delete,
            _ => Action::Insert,
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Update => "foreign-rows-updated",
            Self::TakeOver => "foreign-rows-taken-over",
            Self::GiveAway => "own-rows-given-away",
            Self::Delete | Self::DeleteAlone => "foreign-rows-deleted",
            Self::InsertShared => "shared-rows-written",
            _ => "foreign-row-inserted",
        }
    }
}

struct Asked<'w> {
    aim: Aim,
    relation: &'w Relation,
    role: &'w ActingRole,
    named: bool,
    tenant: usize,
    show: String,
    run: usize,
    look: usize,
}

/// What the verifier watches: the rows of other tenants, below views too.
fn watch(world: &World<'_>, relation: &Relation, tenant: usize) -> Vec<(String, String, char)> {
    let tables: Vec<&Relation> = if is_view(relation) {
        world
            .details
            .tables_below(relation.oid, world.scope)
            .into_iter()
            .filter_map(|oid| world.scope.relation(oid))
            .collect()
    } else {
        vec![relation]
    };
    tables
        .into_iter()
        .filter(|table| keys::has_places(table) && !world.big(table))
        .flat_map(|table| {
            let name = table.name.to_string();
            let foreign = if world.unbound() {
                keys::foreign(world.scope, table, world.id(tenant), None)
            } else {
                other_than(world, tenant)
                    .and_then(|other| keys::own(world.scope, table, world.id(other), None))
            };
            let shared = keys::shared(table).filter(|_| !is_view(relation));
            foreign
                .map(|predicate| (name.clone(), predicate, 'f'))
                .into_iter()
                .chain(shared.map(|predicate| (name, predicate, 's')))
        })
        .collect()
}

/// The tenant that rows are stamped with in this context.
pub(super) fn other_than(world: &World<'_>, tenant: usize) -> Option<usize> {
    world
        .lookalike
        .filter(|place| *place != tenant)
        .or_else(|| world.watched().into_iter().find(|place| *place != tenant))
}

fn places_of(watched: &[(String, String, char)]) -> String {
    watched
        .iter()
        .map(|(table, predicate, mark)| {
            format!(
                "select '{mark} ' || {table}.tableoid::bigint || ' ' || {table}.ctid::text from {table} where {predicate}"
            )
        })
        .collect::<Vec<_>>()
        .join(" union all ")
}

/// The statements of a probe, with the verifier's look before and after.
pub(super) fn plan(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    enter: &[String],
    before: Option<&str>,
    statement: &str,
) -> (Probe, usize, usize) {
    let watched = watch(world, relation, tenant);
    let mut probe = Probe::new();
    let other = other_than(world, tenant).filter(|_| !world.unbound());
    if !watched.is_empty() {
        if let Some(other) = other {
            world.look_as(&mut probe, other);
        }
        probe.step(
            Kind::Memo,
            format!(
                "select coalesce(pg_catalog.jsonb_agg(place), '[]') from ({}) as kinedb_places(place)",
                places_of(&watched)
            ),
        );
    }
    if let Some(before) = before {
        probe.step(Kind::Execute, before);
    }
    probe.all(enter);
    let run = probe.step(Kind::Execute, statement);
    probe.all(&world.origin.back(role));
    if watched.is_empty() {
        return (probe, run, usize::MAX);
    }
    if let Some(other) = other {
        world.look_as(&mut probe, other);
    }
    let now = places_of(&watched);
    let look = probe.step(
        Kind::Query,
        format!(
            "with now(place) as ({now}), was(place) as (select pg_catalog.jsonb_array_elements_text($1::jsonb)), \
             gone(place) as (select place from was except select place from now), \
             come(place) as (select place from now except select place from was) \
             select pg_catalog.concat_ws(' ', (select count(*) from gone where place like 'f%'), \
             (select count(*) from come where place like 'f%'), (select count(*) from gone where place like 's%'))"
        ),
    );
    (probe, run, look)
}

/// Runs every writing probe.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut asked = Vec::new();
    let mut probes = Vec::new();
    for (role, named) in world.acting() {
        if role.act_as == ActAs::Login {
            continue;
        }
        for tenant in world.contexts_of(role).into_iter().take(2) {
            let setting = Setting::Tenant(world.id(tenant).to_owned());
            let enter = world.actors.enter(world.scope, role, &setting);
            for relation in world.relations() {
                let Some(grant) = world.grant(role, relation) else {
                    continue;
                };
                if world.big(relation) || relation.kind == RelationKind::ForeignTable {
                    continue;
                }
                for (aim, statement) in statements(world, relation, grant, tenant) {
                    let before = (aim == Aim::DeleteAlone)
                        .then_some("set local session_replication_role = replica");
                    let (probe, run, look) =
                        plan(world, relation, role, tenant, &enter, before, &statement);
                    probes.push(probe);
                    asked.push(Asked {
                        aim,
                        relation,
                        role,
                        named,
                        tenant,
                        show: reproduce(&enter, &statement),
                        run,
                        look,
                    });
                }
            }
        }
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    report.outcome.probes += answers.len() as u64;
    for (at, asked_one) in asked.iter().enumerate() {
        judge(world, &asked, &answers, at, asked_one, report);
    }
    Ok(())
}

fn statements(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    tenant: usize,
) -> Vec<(Aim, String)> {
    let mut list = Vec::new();
    let name = &relation.name;
    let key = keys::key(relation).map(|(column, _)| column.clone());
    let writable = !is_view(relation) || world.details.writable_views.contains(&relation.oid);
    if !writable || matches!(relation.tenant, TenantKey::Unknown) && !is_view(relation) {
        return list;
    }
    let other = other_than(world, tenant);
    let updatable = grant.columns('w');
    if !updatable.is_empty() {
        for assignment in neutral(world, relation, &updatable) {
            list.push((Aim::Update, format!("update {name} set {assignment}")));
        }
        for (aim, to) in [(Aim::TakeOver, Some(tenant)), (Aim::GiveAway, other)] {
            if let Some(assignment) = to.and_then(|to| stamp(world, relation, &updatable, to)) {
                list.push((aim, format!("update {name} set {assignment}")));
            }
        }
    }
    if grant.delete {
        list.push((Aim::Delete, format!("delete from {name}")));
        let referred = world
            .details
            .references
            .iter()
            .any(|reference| reference.parent == relation.oid);
        if referred && world.scope.verifier.superuser && !is_view(relation) {
            list.push((Aim::DeleteAlone, format!("delete from {name}")));
        }
    }
    let insertable = grant.columns('a');
    if !insertable.is_empty() {
        for (aim, stamp, parents) in [
            (Aim::InsertOwn, Some(tenant), Some(tenant)),
            (Aim::InsertForeign, other, other),
            (Aim::InsertMixed, other, Some(tenant)),
        ] {
            if let (Some(stamp), Some(parents)) = (stamp, parents)
                && let Some(statement) = insert(world, relation, grant, stamp, parents, aim)
            {
                list.push((aim, statement));
            }
        }
        if let (Some(key), Some(_), false) = (&key, keys::shared(relation), is_view(relation))
            && insertable.contains(&key.as_str())
            && let Some(statement) =
                insert(world, relation, grant, tenant, tenant, Aim::InsertShared)
        {
            list.push((Aim::InsertShared, statement));
        }
    }
    list
}

/// The assignment that makes a row one of this tenant's: its key, or the
/// reference to the parent that it is owned through.
fn stamp(
    world: &World<'_>,
    relation: &Relation,
    updatable: &[&str],
    tenant: usize,
) -> Option<String> {
    match &relation.tenant {
        TenantKey::Column { column, .. } if updatable.contains(&column.as_str()) => {
            Some(format!("{column} = {}", Literal::new(world.id(tenant))))
        }
        TenantKey::Parent {
            columns,
            parent,
            references,
        } if columns.iter().all(|own| updatable.contains(&own.as_str())) => {
            let made = world.stage.row(*parent, tenant)?;
            columns
                .iter()
                .zip(references)
                .map(|(own, key)| {
                    let value = made
                        .values
                        .get(key.as_str())
                        .and_then(crate::verify::synth::text_of)?;
                    Some(format!("{own} = {}", Literal::new(value)))
                })
                .collect::<Option<Vec<_>>>()
                .map(|list| list.join(", "))
        }
        _ => None,
    }
}

/// An INSERT that a role with this grant may write.
fn insert(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    stamp: usize,
    parents: usize,
    aim: Aim,
) -> Option<String> {
    let planner = crate::verify::synth::Planner {
        scope: world.scope,
        details: &world.details,
        stage: &world.stage,
    };
    let salt = 5000 + u32::try_from(relation.columns.len() + stamp * 31 + aim as usize * 7).ok()?;
    let mut wanted = planner.wanted(relation, stamp, parents, salt);
    if let Some((column, _)) = keys::key(relation) {
        let name = column.as_str().to_owned();
        if !grant.column(&name, 'a') && stamp != parents {
            return None;
        }
        if aim == Aim::InsertShared {
            let type_name = world
                .details
                .columns_of(relation.oid)
                .find(|detail| detail.name == name)
                .map(|detail| detail.type_name.clone())?;
            wanted.fixed.insert(name, format!("null::{type_name}"));
        }
    } else if aim == Aim::InsertMixed || aim == Aim::InsertShared {
        return None;
    }
    if is_view(relation) {
        // A view's columns demand nothing; give it what its tables would be given.
        wanted.named = grant.columns('a').into_iter().map(str::to_owned).collect();
    }
    let allowed: Vec<String> = grant.columns('a').into_iter().map(str::to_owned).collect();
    let built = planner.insert(relation, wanted, Some(allowed));
    built.missing.is_none().then_some(built.sql)
}

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

fn judge(
    world: &World<'_>,
    asked: &[Asked<'_>],
    answers: &[Answer],
    at: usize,
    one: &Asked<'_>,
    report: &mut Report,
) {
    let answer = &answers[at];
    let cell = Cell::new(one.relation, one.role, one.aim.action());
    let context = format!("in the context of tenant `{}`", world.id(one.tenant));
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
    let sibling = |aim: Aim| {
        asked.iter().zip(answers).find_map(|(other, answer)| {
            (other.aim == aim
                && other.relation.oid == one.relation.oid
                && other.role.oid == one.role.oid
                && other.tenant == one.tenant)
                .then_some((other, answer))
        })
    };
    let broke = state.is_some_and(|state| state.starts_with("23"));
    let leak = match one.aim {
        Aim::Update | Aim::Delete | Aim::DeleteAlone => hit.is_some_and(|(gone, _)| gone > 0),
        Aim::TakeOver => {
            let spared = sibling(Aim::Update).is_some_and(|(other, answer)| {
                answer.failure.is_none()
                    && looked(answer, other.look).is_some_and(|(gone, _)| gone == 0)
            });
            // Own rows keep their key, so a constraint speaks of foreign ones; not so
            // where own rows move to one parent.
            hit.is_some_and(|(gone, _)| gone > 0)
                || broke && !spared && keys::key(one.relation).is_some()
        }
        Aim::GiveAway => hit.is_some_and(|(_, come)| come > 0) || broke,
        Aim::InsertForeign => {
            let overridden = sibling(Aim::InsertMixed).is_some_and(|(other, answer)| {
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
            let broke = state.is_some_and(|state| state.starts_with("23"));
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
            if touched > 0 || broke && one.aim != Aim::Update {
                report.worked(cell);
                report.see(
                    cell,
                    Access::Isolated,
                    format!("own rows written {context}, no foreign one"),
                );
            } else if let Some(state) = state {
                if broke && count.own > 0 {
                    // A constraint speaks only of rows that the policy let through.
                    report.worked(cell);
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
                    report.worked(cell);
                    report.see(
                        cell,
                        Access::Denied,
                        format!("refused by a trigger {context}"),
                    );
                }
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
            if one.aim == Aim::TakeOver
                && (touched > 0 || state.is_some_and(|s| s.starts_with("23")))
            {
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
    if let Some(failure) = &answer.failure
        && (failure.state == "57014" || failure.state == "55P03")
    {
        {
            report.find(
                "not-exercised",
                cell,
                format!("the probe was cut short: {}", failure.sentence()),
                Some(one.show.clone()),
            );
        }
    }
}
