//! Writing in a tenant's context: own rows can be, foreign ones never; a row
//! cannot be stamped with, taken from, or given to another tenant.
//!
//! Bare statements throughout: a WHERE or RETURNING would add the SELECT policy
//! and hide a hole. After each, the verifier looks at what is stored.

pub(super) mod again;
mod judge;
pub(super) mod large;
mod odd;
mod rarer;
mod together;

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::assign::neutral;
use super::report::{Report, reproduce};
use crate::db::ident::Literal;
use crate::verify::details::Grant;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{ActAs, ActingRole, Relation, RelationKind, TenantKey};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Insert, Planner, literals, text_of};
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
    /// A row that meets another tenant's by its key.
    Upsert,
    /// All that the policies let through, by MERGE.
    Merge,
    MergeDelete,
}

impl Aim {
    fn action(self) -> Action {
        match self {
            Self::Update | Self::TakeOver | Self::GiveAway | Self::Upsert | Self::Merge => {
                Action::Update
            }
            Self::Delete | Self::DeleteAlone | Self::MergeDelete => Action::Delete,
            _ => Action::Insert,
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Update | Self::Upsert | Self::Merge => "foreign-rows-updated",
            Self::TakeOver => "foreign-rows-taken-over",
            Self::GiveAway => "own-rows-given-away",
            Self::Delete | Self::DeleteAlone | Self::MergeDelete => "foreign-rows-deleted",
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

/// The statements of a probe, with the verifier's look after it.
fn plan(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    enter: &[String],
    before: Option<&str>,
    statement: &str,
) -> (Probe, usize, usize) {
    let mut probe = Probe::new();
    let mut run = 0;
    let look = looked_after(world, relation, role, tenant, &mut probe, |probe| {
        if let Some(before) = before {
            probe.step(Kind::Execute, before);
        }
        probe.all(enter);
        run = probe.step(Kind::Execute, statement);
    });
    (probe, run, look)
}

/// What happens before the verifier looks at other tenants' rows again; gives the
/// place of what changed since [`remember`].
fn looked_after(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    probe: &mut Probe,
    within: impl FnOnce(&mut Probe),
) -> usize {
    let watched = watch(world, relation, tenant);
    within(probe);
    probe.all(&world.origin.back(role));
    if watched.is_empty() {
        return usize::MAX;
    }
    if let Some(other) = other_than(world, tenant).filter(|_| !world.unbound()) {
        world.look_as(probe, other);
    }
    let now = places_of(&watched);
    probe.step(
        Kind::Query,
        format!(
            "with now(place) as ({now}), was(place) as (select pg_catalog.jsonb_array_elements_text(pg_catalog.current_setting('{}')::jsonb)), \
             gone(place) as (select place from was except select place from now), \
             come(place) as (select place from now except select place from was) \
             select pg_catalog.concat_ws(' ', (select count(*) from gone where place like 'f%'), \
             (select count(*) from come where place like 'f%'), (select count(*) from gone where place like 's%'))",
            memory(relation, tenant)
        ),
    )
}

/// Where the places are kept that a relation's rows of others had before any probe.
fn memory(relation: &Relation, tenant: usize) -> String {
    format!("kinedb.places_{}_{tenant}", relation.oid)
}

/// The verifier's look before: once for all probes of a relation in a context,
/// because each of them is undone.
async fn remember(
    conn: &mut PgConnection,
    world: &World<'_>,
    planned: &[Planned<'_>],
) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let mut probes = Vec::new();
    for one in planned {
        if !seen.insert((one.relation.oid, one.tenant)) {
            continue;
        }
        let watched = watch(world, one.relation, one.tenant);
        if watched.is_empty() {
            continue;
        }
        let mut probe = Probe::kept();
        if let Some(other) = other_than(world, one.tenant).filter(|_| !world.unbound()) {
            world.look_as(&mut probe, other);
        }
        probe.step(
            Kind::Execute,
            format!(
                "select pg_catalog.set_config('{}', (select coalesce(pg_catalog.jsonb_agg(place), '[]')::text from ({}) as kinedb_places(place)), true)",
                memory(one.relation, one.tenant),
                places_of(&watched)
            ),
        );
        probe.all(&world.origin.forget());
        probes.push(probe);
    }
    script::run(conn, &probes, budget(world.options))
        .await
        .map(|_| ())
}

/// A statement to try, and what chooses its values, where it is an INSERT.
#[derive(Clone)]
struct Statement {
    aim: Aim,
    sql: String,
    /// With what follows its values.
    insert: Option<(Insert, String)>,
}

impl Statement {
    fn of(aim: Aim, sql: String) -> Self {
        Self {
            aim,
            sql,
            insert: None,
        }
    }
}

/// A statement with who tries it, where.
#[derive(Clone)]
struct Planned<'w> {
    role: &'w ActingRole,
    named: bool,
    tenant: usize,
    relation: &'w Relation,
    statement: Statement,
}

/// Runs every writing probe.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut planned = Vec::new();
    for (role, named) in world.acting() {
        if role.act_as == ActAs::Login {
            continue;
        }
        for tenant in world.contexts_of(role).into_iter().take(2) {
            for relation in world.relations() {
                let Some(grant) = world.grant(role, relation) else {
                    continue;
                };
                if world.big(relation) || relation.kind == RelationKind::ForeignTable {
                    continue;
                }
                planned.extend(statements(world, relation, grant, tenant).into_iter().map(
                    |statement| Planned {
                        role,
                        named,
                        tenant,
                        relation,
                        statement,
                    },
                ));
            }
        }
    }
    let apart = together::run(conn, world, planned, report).await?;
    let (asked, answers) = ask(conn, world, apart).await?;
    report.outcome.probes += answers.len() as u64;
    for at in 0..asked.len() {
        judge::judge(world, &asked, &answers, at, report);
    }
    odd::run(conn, world, report).await?;
    rarer::run(conn, world, report).await?;
    large::run(conn, world, report).await?;
    again::run(conn, world, report).await
}

/// Chooses the values of INSERTs, each once.
async fn resolve(
    conn: &mut PgConnection,
    world: &World<'_>,
    planned: &mut [Planned<'_>],
) -> anyhow::Result<()> {
    let inserts: Vec<Insert> = planned
        .iter()
        .filter_map(|one| one.statement.insert.as_ref())
        .map(|(insert, _)| insert.clone())
        .collect();
    let known = literals(conn, world.unbound(), &inserts, budget(world.options)).await?;
    for one in planned {
        if let Some((insert, suffix)) = one.statement.insert.take()
            && let Some(sql) = known.get(&insert.sql)
        {
            one.statement.sql = format!("{sql}{suffix}");
        }
    }
    Ok(())
}

/// Runs all statements, each apart.
async fn ask<'w>(
    conn: &mut PgConnection,
    world: &World<'_>,
    mut planned: Vec<Planned<'w>>,
) -> anyhow::Result<(Vec<Asked<'w>>, Vec<script::Answer>)> {
    resolve(conn, world, &mut planned).await?;
    remember(conn, world, &planned).await?;
    let mut contexts: HashMap<(u32, String, usize), Vec<String>> = HashMap::new();
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for one in planned {
        let enter = contexts
            .entry((one.role.oid, one.role.name.as_str().to_owned(), one.tenant))
            .or_insert_with(|| {
                let setting = Setting::Tenant(world.id(one.tenant).to_owned());
                world.actors.enter(world.scope, one.role, &setting)
            });
        let sql = one.statement.sql;
        let before = (one.statement.aim == Aim::DeleteAlone)
            .then_some("set local session_replication_role = replica");
        let (probe, run, look) = plan(
            world,
            one.relation,
            one.role,
            one.tenant,
            enter,
            before,
            &sql,
        );
        probes.push(probe);
        asked.push(Asked {
            aim: one.statement.aim,
            relation: one.relation,
            role: one.role,
            named: one.named,
            tenant: one.tenant,
            show: reproduce(enter, &sql),
            run,
            look,
        });
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    Ok((asked, answers))
}

fn statements(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    tenant: usize,
) -> Vec<Statement> {
    let mut list = Vec::new();
    let name = &relation.name;
    if !writable(world, relation) {
        return list;
    }
    let other = other_than(world, tenant);
    let updatable = grant.columns('w');
    if !updatable.is_empty() {
        for assignment in neutral(world, relation, &updatable) {
            list.push(Statement::of(
                Aim::Update,
                format!("update {name} set {assignment}"),
            ));
        }
        for (aim, to) in [(Aim::TakeOver, Some(tenant)), (Aim::GiveAway, other)] {
            if let Some(assignment) = to.and_then(|to| stamp(world, relation, &updatable, to)) {
                list.push(Statement::of(
                    aim,
                    format!("update {name} set {assignment}"),
                ));
            }
        }
    }
    if grant.delete {
        list.push(Statement::of(Aim::Delete, format!("delete from {name}")));
        let referred = world
            .details
            .references
            .iter()
            .any(|reference| reference.parent == relation.oid);
        if referred && world.may_silence(relation) && !is_view(relation) {
            list.push(Statement::of(
                Aim::DeleteAlone,
                format!("delete from {name}"),
            ));
        }
    }
    let insertable = grant.columns('a');
    if !insertable.is_empty() {
        for (aim, stamp, parents) in [
            (Aim::InsertOwn, Some(tenant), Some(tenant)),
            (Aim::InsertForeign, other, other),
            (Aim::InsertMixed, other, Some(tenant)),
        ] {
            if let (Some(stamp), Some(parents)) = (stamp, parents) {
                list.extend(insert(
                    world,
                    relation,
                    grant,
                    (tenant, stamp, parents),
                    aim,
                    0,
                ));
            }
        }
        let key = keys::key(relation).map(|(column, _)| column.as_str());
        if key.is_some_and(|key| insertable.contains(&key))
            && keys::shared(relation).is_some()
            && !is_view(relation)
        {
            list.extend(insert(
                world,
                relation,
                grant,
                (tenant, tenant, tenant),
                Aim::InsertShared,
                0,
            ));
        }
    }
    list
}

/// Whether writing a relation means writing rows that can be told apart.
fn writable(world: &World<'_>, relation: &Relation) -> bool {
    if is_view(relation) {
        world.details.writable_views.contains(&relation.oid)
    } else {
        !matches!(relation.tenant, TenantKey::Unknown)
    }
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
                    let value = made.values.get(key.as_str()).and_then(text_of)?;
                    Some(format!("{own} = {}", Literal::new(value)))
                })
                .collect::<Option<Vec<_>>>()
                .map(|list| list.join(", "))
        }
        _ => None,
    }
}

/// An INSERT that a role with this grant may write, in the context of `tenant`:
/// stamped with one tenant, its references leading to another's rows.
fn insert(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    (tenant, stamp, parents): (usize, usize, usize),
    aim: Aim,
    turn: u32,
) -> Option<Statement> {
    let planner = Planner {
        scope: world.scope,
        details: &world.details,
        stage: &world.stage,
    };
    let salt = 5000
        + turn * 1000
        + u32::try_from(relation.columns.len() + stamp * 31 + aim as usize * 7).ok()?;
    let allowed: Vec<String> = grant.columns('a').into_iter().map(str::to_owned).collect();
    let below = is_view(relation)
        .then(|| below(world, relation, &allowed))
        .flatten();
    // Whose constraints and references the row must fit.
    let table = below.as_ref().unwrap_or(relation);
    let mut wanted = planner.wanted(table, stamp, parents, salt);
    if let Some((column, _)) = keys::key(table) {
        let name = column.as_str().to_owned();
        if !grant.column(&name, 'a') && stamp != tenant {
            return None;
        }
        if aim == Aim::InsertShared {
            let type_name = world
                .details
                .columns_of(table.oid)
                .find(|detail| detail.name == name)
                .map(|detail| detail.type_name.clone())?;
            wanted.fixed.insert(name, format!("null::{type_name}"));
        }
    } else if aim == Aim::InsertMixed || aim == Aim::InsertShared {
        return None;
    }
    if is_view(relation) && below.is_none() {
        // A view's columns demand nothing; give it what its tables would be given.
        wanted.named.clone_from(&allowed);
    }
    let built = planner.insert(table, wanted, Some(allowed));
    built.missing.is_none().then(|| Statement {
        aim,
        sql: built.sql.clone(),
        insert: Some((built, String::new())),
    })
}

/// The table that an INSERT into a view reaches, under the view's name.
fn below(world: &World<'_>, view: &Relation, columns: &[String]) -> Option<Relation> {
    if world.details.triggers.contains(&view.oid) {
        return None;
    }
    let found = world
        .details
        .tables_below(view.oid, world.scope)
        .into_iter()
        .filter_map(|oid| world.scope.relation(oid))
        .find(|table| {
            columns.iter().all(|name| {
                world
                    .details
                    .columns_of(table.oid)
                    .any(|column| &column.name == name)
            })
        })?;
    let mut table = found.clone();
    table.name = view.name.clone();
    Some(table)
}
