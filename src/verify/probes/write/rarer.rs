//! The other statements that write: INSERT .. ON CONFLICT DO UPDATE against the
//! key of another tenant's row, MERGE, and row locks.
//!
//! All of a table go into one probe, because as a rule none of them reaches
//! anything; where some row of another tenant is gone, each is tried alone.

use sqlx::PgConnection;

use super::watch::{before, look, return_to};
use super::{Aim, Planned, Statement, ask, judge, other_than, resolve, writable};
use crate::db::ident::{Ident, Literal};
use crate::verify::details::Grant;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{ActAs, ExceptionKind, Relation, RoleScope};
use crate::verify::probes::assign::neutral;
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Planner, text_of};
use crate::verify::world::World;

/// The version that brought MERGE.
const MERGE: i32 = 150_000;

/// Tries them in the first context of every role.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut list = Vec::new();
    for (role, named) in world.acting() {
        if role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        let Some(tenant) = world.contexts_of(role).first().copied() else {
            continue;
        };
        for relation in world.relations() {
            let Some(grant) = world.grant(role, relation) else {
                continue;
            };
            if !keys::owned(relation)
                || !keys::has_places(relation)
                || !writable(world, relation)
                || world.big(relation)
                || report.leaks(&relation.label)
                || report.stuck(&relation.label)
            {
                continue;
            }
            for statement in statements(world, relation, grant, tenant) {
                list.push(Planned {
                    role,
                    named,
                    tenant,
                    relation,
                    statement,
                });
            }
        }
    }
    resolve(conn, world, &mut list).await?;
    let wanted = list.iter().map(|one| (one.relation, one.tenant)).collect();
    let known = before(conn, world, wanted).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for group in list.chunk_by(|a, b| a.role.oid == b.role.oid && a.relation.oid == b.relation.oid)
    {
        let Some(one) = group.first() else { continue };
        let setting = Setting::Tenant(world.id(one.tenant).to_owned());
        let enter = world.actors.enter(world.scope, one.role, &setting);
        let mut probe = Probe::new();
        probe.all(&enter);
        // Locks first: what was written since is locked already.
        let locked =
            locking(world, one, report).map(|sql| (probe.step(Kind::Ask, sql.clone()), sql));
        for planned in group {
            probe.step(Kind::Try, planned.statement.sql.clone());
        }
        return_to(world, one.role, one.tenant, &mut probe);
        let look = look(world, one.relation, one.tenant, &mut probe);
        report.outcome.probes += group.len() as u64;
        probes.push(probe);
        asked.push((group, enter, look, locked));
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    let mut alone = Vec::new();
    for ((group, enter, look, locked), answer) in asked.into_iter().zip(answers) {
        let is = look.and_then(|place| answer.text(place));
        let was = group
            .first()
            .and_then(|one| known.get(&(one.relation.oid, one.tenant)))
            .and_then(Option::as_deref);
        // Nothing to look at is nothing to tell; a look that failed is tried again apart.
        if look.is_some() && is != was {
            alone.extend(group.iter().cloned());
        }
        if let (Some((place, sql)), Some(one)) = (locked, group.first())
            && let Some(rows) = answer.number(place).filter(|rows| *rows > 0)
        {
            report.find(
                "foreign-rows-visible",
                Cell::new(one.relation, one.role, Action::Select),
                format!(
                    "{rows} rows of other tenants can be locked in the context of tenant `{}`",
                    world.id(one.tenant)
                ),
                Some(reproduce(&enter, &sql)),
            );
        }
    }
    if alone.is_empty() {
        return Ok(());
    }
    let (asked, answers) = ask(conn, world, alone).await?;
    for at in 0..asked.len() {
        judge::judge(world, &asked, &answers, at, report);
    }
    Ok(())
}

/// Locks rows of other tenants, where the role may read whose they are.
fn locking(world: &World<'_>, one: &Planned<'_>, report: &Report) -> Option<String> {
    let grant = world.grant(one.role, one.relation)?;
    let (key, _) = keys::key(one.relation)?;
    if !grant.column(key.as_str(), 'r')
        || grant.columns('w').is_empty()
        || report.leaks(&one.relation.label)
        || world.allows(one.relation, ExceptionKind::GlobalRead, one.role)
        || world.allows(one.relation, ExceptionKind::SharedRows, one.role)
    {
        return None;
    }
    let foreign = keys::foreign(world.scope, one.relation, world.id(one.tenant), None)?;
    Some(format!(
        "select count(*) from (select {key} from {} where {foreign} for no key update) as kinedb_rows",
        one.relation.name
    ))
}

fn statements(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    tenant: usize,
) -> Vec<Statement> {
    let mut list = Vec::new();
    let name = &relation.name;
    let merges = world.scope.server_version >= MERGE;
    let one = "using (select 1) as kinedb_one(one) on true when matched then";
    if let Some(assignment) =
        neutral(world, relation, &grant.columns('w'), world.id(tenant)).first()
    {
        list.extend(upserts(world, relation, grant, tenant, assignment));
        if merges {
            list.push(Statement::of(
                Aim::Merge,
                format!("merge into {name} {one} update set {assignment}"),
            ));
        }
    }
    if merges && grant.delete {
        list.push(Statement::of(
            Aim::MergeDelete,
            format!("merge into {name} {one} delete"),
        ));
    }
    list
}

/// One for each unique key: the other tenant's values, stamped with the own
/// tenant where the key does not hold it.
fn upserts(
    world: &World<'_>,
    relation: &Relation,
    grant: &Grant,
    tenant: usize,
    assignment: &str,
) -> Vec<Statement> {
    let mut list = Vec::new();
    let Some((other, made)) = other_than(world, tenant)
        .and_then(|other| Some((other, world.stage.row(relation.oid, other)?)))
    else {
        return list;
    };
    let planner = Planner {
        scope: world.scope,
        details: &world.details,
        stage: &world.stage,
    };
    let key = keys::key(relation).map(|(column, _)| column.as_str());
    let allowed: Vec<String> = grant.columns('a').into_iter().map(str::to_owned).collect();
    for unique in &world.details.uniques {
        if unique.relation != relation.oid
            || !unique.plain
            || !unique.columns.iter().all(|name| allowed.contains(name))
        {
            continue;
        }
        let stamp = if key.is_some_and(|key| unique.columns.iter().any(|name| name == key)) {
            other
        } else {
            tenant
        };
        let mut wanted = planner.wanted(relation, stamp, stamp, 9300);
        for column in world.details.columns_of(relation.oid) {
            if unique.columns.contains(&column.name)
                && key != Some(column.name.as_str())
                && let Some(text) = made.values.get(&column.name).and_then(text_of)
            {
                wanted.fixed.insert(
                    column.name.clone(),
                    format!("{}::{}", Literal::new(text), column.type_name),
                );
            }
        }
        let built = planner.insert(relation, wanted, Some(allowed.clone()));
        if built.missing.is_some() {
            continue;
        }
        let arbiter = unique
            .columns
            .iter()
            .map(|name| Ident::new(name).to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let suffix = format!(" on conflict ({arbiter}) do update set {assignment}");
        list.push(Statement {
            aim: Aim::Upsert,
            sql: format!("{}{suffix}", built.sql),
            insert: Some((built, suffix)),
        });
    }
    list
}
