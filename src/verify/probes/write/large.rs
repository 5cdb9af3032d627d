//! Tables too large to be written as a whole: the rows that were made, found by
//! their place or key, and rows of its own.

use sqlx::PgConnection;

use super::{Aim, Planned, Statement, insert, other_than, resolve, writable};
use crate::db::ident::{Ident, Literal};
use crate::verify::finding::{Access, Action};
use crate::verify::keys;
use crate::verify::model::{ActAs, Relation, RelationKind, RoleScope};
use crate::verify::probes::assign::neutral;
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::text_of;
use crate::verify::world::{World, is_view};

/// Where the row is that was made for a tenant, as a condition that needs no scan.
pub(in crate::verify::probes) fn at_made(
    world: &World<'_>,
    relation: &Relation,
    tenant: usize,
) -> Option<String> {
    if !is_view(relation) {
        let (table, place) = world.stage.row(relation.oid, tenant)?.place.clone()?;
        let name = &relation.name;
        return Some(format!(
            "{name}.tableoid = {table} and {name}.ctid = {}::tid",
            Literal::new(place)
        ));
    }
    let shown: Vec<&str> = world
        .details
        .columns_of(relation.oid)
        .map(|column| column.name.as_str())
        .collect();
    world
        .details
        .tables_below(relation.oid, world.scope)
        .into_iter()
        .find_map(|oid| {
            let made = world.stage.row(oid, tenant)?;
            let unique = world
                .details
                .uniques
                .iter()
                .find(|unique| unique.relation == oid && unique.plain)?;
            let parts: Vec<String> = unique
                .columns
                .iter()
                .filter(|name| shown.contains(&name.as_str()))
                .filter_map(|name| {
                    let text = made.values.get(name).and_then(text_of)?;
                    Some(format!("{} = {}", Ident::new(name), Literal::new(text)))
                })
                .collect();
            (!parts.is_empty()).then(|| parts.join(" and "))
        })
}

/// Writes own and foreign made rows in the first context of every role.
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
            if !world.big(relation)
                || !keys::owned(relation) && !is_view(relation)
                || !writable(world, relation)
                || relation.kind == RelationKind::ForeignTable
            {
                continue;
            }
            let mut add = |statement| {
                list.push(Planned {
                    role,
                    named,
                    tenant,
                    relation,
                    statement,
                });
            };
            let other = other_than(world, tenant);
            for (update, delete, whose) in [
                (Aim::Update, Aim::Delete, Some(tenant)),
                (Aim::TakeOver, Aim::DeleteAlone, other),
            ] {
                let Some(place) = whose.and_then(|whose| at_made(world, relation, whose)) else {
                    continue;
                };
                if let Some(assignment) =
                    neutral(world, relation, &grant.columns('w'), world.id(tenant)).first()
                {
                    let sql = format!("update {} set {assignment} where {place}", relation.name);
                    add(Statement::of(update, sql));
                }
                if grant.delete {
                    let sql = format!("delete from {} where {place}", relation.name);
                    add(Statement::of(delete, sql));
                }
            }
            if grant.columns('a').is_empty() {
                continue;
            }
            for (aim, stamp) in [(Aim::InsertOwn, Some(tenant)), (Aim::InsertForeign, other)] {
                if let Some(stamp) = stamp {
                    let whose = (tenant, stamp, stamp);
                    insert(world, relation, grant, whose, aim, 0)
                        .into_iter()
                        .for_each(&mut add);
                }
            }
        }
    }
    resolve(conn, world, &mut list).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for one in &list {
        let setting = Setting::Tenant(world.id(one.tenant).to_owned());
        let enter = world.actors.enter(world.scope, one.role, &setting);
        let mut probe = Probe::new();
        probe.all(&enter);
        let place = probe.step(Kind::Execute, one.statement.sql.clone());
        probes.push(probe);
        asked.push((one, place, reproduce(&enter, &one.statement.sql)));
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    report.outcome.probes += answers.len() as u64;
    for ((one, place, show), answer) in asked.into_iter().zip(answers) {
        let action = match one.statement.aim {
            Aim::Update | Aim::TakeOver => Action::Update,
            Aim::Delete | Aim::DeleteAlone => Action::Delete,
            _ => Action::Insert,
        };
        let cell = Cell::new(one.relation, one.role, action);
        let context = format!("in the context of tenant `{}`", world.id(one.tenant));
        let touched = answer.number(place).unwrap_or(0) > 0;
        // A domain speaks before any policy does.
        let broke = answer
            .failure
            .as_ref()
            .is_some_and(script::Failure::past_policies);
        if let Some(failure) = answer
            .failure
            .as_ref()
            .filter(|failure| failure.cut_short())
        {
            report.cut(cell, &failure.sentence(), Some(show));
            continue;
        }
        let stamps = world.details.triggers.contains(&one.relation.oid);
        match one.statement.aim {
            Aim::TakeOver | Aim::DeleteAlone if touched || broke => {
                let id = if action == Action::Update {
                    "foreign-rows-updated"
                } else {
                    "foreign-rows-deleted"
                };
                report.find(
                    id,
                    cell,
                    format!("a made row of another tenant is reached {context}"),
                    Some(show),
                );
            }
            // What a trigger stamps anew is no foreign row any more.
            Aim::InsertForeign if (touched || broke) && !stamps && !is_view(one.relation) => {
                report.find(
                    "foreign-row-inserted",
                    cell,
                    format!("no policy refused it {context}"),
                    Some(show),
                );
            }
            Aim::TakeOver | Aim::DeleteAlone | Aim::InsertForeign => {}
            Aim::Delete if one.named && broke => {
                report.held(cell, format!("{context}: a reference holds the row"));
            }
            _ if one.named && (touched || broke) => {
                report.worked(cell);
                report.see(
                    cell,
                    Access::Isolated,
                    format!("an own row written {context}"),
                );
            }
            _ if one.named => report.because(
                cell,
                answer.failure.as_ref().map_or_else(
                    || "the statement reaches no row".to_owned(),
                    script::Failure::sentence,
                ),
            ),
            _ => {}
        }
    }
    Ok(())
}
