//! A tenant that a session without a context falls into: `coalesce(current_setting(…), '1')`.
//! Where no such tenant exists yet no row shows it, so the ids that the text speaks of are
//! tried on rows that need not exist.

use sqlx::PgConnection;

use super::predicate::{Check, effective};
use super::rows::{self, Values};
use super::{Usage, is_view};
use crate::verify::keys;
use crate::verify::model::{
    ActAs, ActingRole, ExceptionKind, NoContext, Relation, RoleScope, TenantKey,
};
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::Harvest;
use crate::verify::world::World;

/// Ids tried of one table.
const IDS: usize = 12;

/// Which relation, in which context, at which place of the answer.
struct Asked<'w> {
    relation: &'w Relation,
    setting: Setting,
    enter: Vec<String>,
    sql: String,
    place: usize,
}

/// Asks for each table whether a row of a tenant that the policies name is seen without a
/// context, and not in the context of another: what that sees as well is shared.
pub(super) async fn evaluate(
    conn: &mut PgConnection,
    world: &World<'_>,
    usage: &Usage,
    report: &mut Report,
) -> anyhow::Result<()> {
    if world.scope.no_context == NoContext::None {
        return Ok(());
    }
    let reset = Setting::Raw {
        label: "reset to the empty text",
        value: "",
    };
    let mut probes = Vec::new();
    let mut asked: Vec<(&ActingRole, usize, Vec<Asked<'_>>)> = Vec::new();
    for (role, _) in world.acting() {
        if role.tenant.is_some() || role.scope != RoleScope::Tenant || role.act_as == ActAs::Login {
            continue;
        }
        let Some(&tenant) = world.contexts_of(role).first() else {
            continue;
        };
        let tables = queries(world, usage, role, tenant);
        if tables.is_empty() {
            continue;
        }
        let own = Setting::Tenant(world.id(tenant).to_owned());
        for setting in [own, Setting::Missing, reset.clone()] {
            let enter = world.actors.enter(world.scope, role, &setting);
            let mut probe = Probe::new();
            probe.all(&enter);
            let list = tables.iter().map(|(relation, sql)| Asked {
                relation,
                setting: setting.clone(),
                enter: enter.clone(),
                sql: sql.clone(),
                place: probe.step(Kind::Look, sql.clone()),
            });
            let list = list.collect();
            asked.push((role, probes.len(), list));
            probes.push(probe);
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    let rows = |probe: usize, place: usize| answers.get(probe)?.number(place);
    for turn in asked.chunks(3) {
        let [(role, within, tables), without @ ..] = turn else {
            continue;
        };
        for (at, table) in tables.iter().enumerate() {
            report.outcome.probes += 3;
            if rows(*within, table.place) != Some(0) {
                continue;
            }
            for (_, probe, list) in without {
                let one = &list[at];
                if rows(*probe, one.place).unwrap_or(0) == 0 {
                    continue;
                }
                report.find(
                    "rows-visible-without-tenant",
                    Cell::new(one.relation, role, Check::Select.action()),
                    format!(
                        "rows of a tenant that its policies name would be visible {}",
                        one.setting.sentence()
                    ),
                    Some(reproduce(&one.enter, &one.sql)),
                );
            }
        }
    }
    Ok(())
}

/// For each table that a role reads by policies, what counts rows of the tenants they name.
fn queries<'w>(
    world: &'w World<'_>,
    usage: &Usage,
    role: &ActingRole,
    tenant: usize,
) -> Vec<(&'w Relation, String)> {
    let bound = |relation: &&Relation| {
        let owner = usage.contains(&(role.oid, relation.owner)) && !relation.force;
        !is_view(relation)
            && relation.rls
            && !owner
            && keys::owned(relation)
            && !world.alike(relation)
            && !world.allows(relation, ExceptionKind::NoContext, role)
            && !world.allows(relation, ExceptionKind::GlobalRead, role)
    };
    let tables = world.relations().filter(bound).filter_map(|relation| {
        let grant = world.grant(role, relation)?;
        if !Check::Select.granted(grant) {
            return None;
        }
        let text = effective(world.scope, relation, role.oid, usage, Check::Select)?;
        let ids = named(world, relation, &rows::spoken(world, relation, &text));
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let sql = rows::stamped(world, relation, tenant, &text, Values::Plain, &ids)?;
        Some((relation, sql))
    });
    tables.collect()
}

/// The ids that a text speaks of and a key could hold, but for tenants that were tried.
fn named(world: &World<'_>, relation: &Relation, spoken: &str) -> Vec<String> {
    let TenantKey::Column { type_name, .. } = &relation.tenant else {
        return Vec::new();
    };
    let harvest = Harvest::of(spoken);
    let allowed = match &world.scope.no_context {
        NoContext::Tenant(id) => Some(id),
        _ => None,
    };
    let numbers = harvest.numbers.iter().map(i64::to_string);
    let mut ids: Vec<String> = harvest.strings.into_iter().chain(numbers).collect();
    ids.retain(|id| {
        !id.is_empty()
            && Some(id) != allowed
            && !world.scope.settings.contains(id)
            && keys::fits(type_name, id)
            && !world.stage.tenants.iter().any(|tenant| tenant.id == *id)
    });
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(IDS);
    ids
}
