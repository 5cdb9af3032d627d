//! Views and functions whose rows bear no tenant: what a session sees or gets
//! must not change when another tenant's rows disappear, and calling must not
//! change another tenant's rows.

mod calls;
mod functions;
mod triggers;
mod views;

use sqlx::PgConnection;

use self::functions::functions;
use self::triggers::triggers;
use self::views::views;
use super::read::stopped;
use super::report::Report;
use super::triggers::Triggers;
use crate::db::ident::Literal;
use crate::verify::keys;
use crate::verify::model::{ActAs, ActingRole, NoContext, Oid, RelationKind, RoleScope};
use crate::verify::script::{self, Answer, Kind, Probe, cut_short};
use crate::verify::session::Setting;
use crate::verify::world::World;

/// A session in one tenant's context, and the tenant whose rows disappear.
struct Ground<'w> {
    role: &'w ActingRole,
    tenant: usize,
    other: usize,
    enter: Vec<String>,
    enter_other: Vec<String>,
    enter_second: Option<Vec<String>>,
    /// A session without a tenant, where that is meant to see nothing.
    bare: Option<Vec<String>>,
    /// Triggers and referential actions sleep while rows disappear.
    asleep: bool,
}

fn grounds<'w>(world: &'w World<'_>) -> Vec<Ground<'w>> {
    let mut list = Vec::new();
    for (role, named) in world.acting() {
        if !named || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        let contexts = world.contexts_of(role);
        let Some(&tenant) = contexts.first() else {
            continue;
        };
        let Some(other) = super::write::other_than(world, tenant) else {
            continue;
        };
        let enter = |place: usize| {
            let setting = Setting::Tenant(world.id(place).to_owned());
            world.actors.enter(world.scope, role, &setting)
        };
        let bare =
            (world.scope.no_context == NoContext::Deny && role.tenant.is_none()).then(|| {
                let setting = Setting::Raw {
                    label: "reset to the empty text",
                    value: "",
                };
                world.actors.enter(world.scope, role, &setting)
            });
        list.push(Ground {
            bare,
            role,
            tenant,
            other,
            enter: enter(tenant),
            enter_other: enter(other),
            enter_second: contexts.get(1).map(|second| enter(*second)),
            asleep: world.scope.verifier.superuser,
        });
    }
    list
}

/// Runs it for views, then for functions and triggers.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut loose = Triggers::read(world).loose(world);
    for mut ground in grounds(world) {
        if ground.asleep && world.options.keep_plans {
            ground.asleep = false;
            ground.asleep = !leaves(conn, world, &ground).await?;
        }
        views(conn, world, &ground, report).await?;
        if !world.options.read_only {
            functions(conn, world, &ground, report).await?;
            triggers(conn, world, &ground, &mut loose, report).await?;
        }
    }
    Ok(())
}

/// Whether the rows made for the other tenant go with triggers awake. Putting those to
/// sleep makes the server throw away every plan that a session keeps.
async fn leaves(
    conn: &mut PgConnection,
    world: &World<'_>,
    ground: &Ground<'_>,
) -> anyhow::Result<bool> {
    let mut probe = Probe::new();
    let gone = vanish(world, ground, &mut probe);
    let answers = script::run(conn, &[probe], world.budget).await?;
    Ok(answers.first().is_some_and(|answer| {
        gone.iter()
            .all(|(_, place)| answer.number(*place).is_some_and(|rows| rows > 0))
    }))
}

/// The verifier makes other tenants' rows disappear: those made for this one, and
/// all of small tables where it may put referential actions to sleep. Gives the
/// tables with the steps that tell how many rows went.
fn vanish(world: &World<'_>, ground: &Ground<'_>, probe: &mut Probe) -> Vec<(Oid, usize)> {
    let (tenant, other) = (ground.tenant, ground.other);
    let mut gone = Vec::new();
    if world.options.read_only {
        return gone;
    }
    if ground.asleep {
        probe.step(
            Kind::Execute,
            "set local session_replication_role = replica",
        );
        for relation in &world.scope.relations {
            // Rows that were made go below, by their place.
            if relation.kind == RelationKind::Table
                && world.focus.makes(relation.oid)
                && !world.big(relation)
                && world.may_silence(relation)
                && let Some(foreign) = keys::foreign(world.scope, relation, world.id(tenant), None)
            {
                let place = probe.step(
                    Kind::Try,
                    format!("delete from {} where {foreign}", relation.name),
                );
                gone.push((relation.oid, place));
            }
        }
    } else if !world.unbound() {
        world.look_as(probe, other);
    }
    for (oid, made) in world.stage.newest_first(other) {
        let Some((table, place)) = &made.place else {
            continue;
        };
        let name = world
            .scope
            .relation(*table)
            .or_else(|| world.scope.relation(oid))
            .map(|relation| relation.name.to_string());
        if let Some(name) = name {
            let place = probe.step(
                Kind::Try,
                format!(
                    "delete from {name} where tableoid = {table} and ctid = {}::tid",
                    Literal::new(place)
                ),
            );
            gone.push((oid, place));
        }
    }
    if ground.asleep {
        probe.step(Kind::Execute, "set local session_replication_role = origin");
    }
    gone
}

/// Why a step says nothing of rows: it was cut short, or something before it was.
fn unfinished(answer: &Answer, place: usize) -> Option<String> {
    let ran = answer.values.len() > place;
    (!ran || answer.state(place).is_some_and(cut_short))
        .then(|| stopped(answer, place).unwrap_or_else(|| "it did not run".to_owned()))
}
