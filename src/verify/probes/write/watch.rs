//! What the verifier sees of other tenants' rows before and after a statement.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::Planned;
use crate::verify::keys;
use crate::verify::model::{ActingRole, Oid, Relation};
use crate::verify::probes::seeded_digest_of;
use crate::verify::script::{self, Kind, Probe};
use crate::verify::world::{World, is_view};

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
pub(in crate::verify::probes) fn other_than(world: &World<'_>, tenant: usize) -> Option<usize> {
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

/// What happens before the verifier looks at other tenants' rows again; gives the
/// place of what changed since [`remember`].
pub(super) fn looked_after(
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
pub(super) async fn remember(
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
    script::run(conn, &probes, world.budget).await.map(|_| ())
}

/// One text for all that is watched: another place, row or number of them gives
/// another. None where nothing is.
pub(super) fn fingerprint(world: &World<'_>, relation: &Relation, tenant: usize) -> Option<String> {
    let parts: Vec<String> = watch(world, relation, tenant)
        .iter()
        .map(|(table, predicate, _)| {
            let digest = seeded_digest_of(
                &format!("{table}.ctid::text"),
                &format!("{table}.tableoid::bigint"),
                &format!("{table} where {predicate}"),
            );
            format!("({digest})")
        })
        .collect();
    (!parts.is_empty()).then(|| format!("select pg_catalog.concat_ws(',', {})", parts.join(", ")))
}

/// The fingerprints of other tenants' rows before any probe, by relation and tenant.
pub(super) type Known = HashMap<(Oid, usize), Option<String>>;

/// The fingerprints of these relations, as they are before any probe.
pub(super) async fn before(
    conn: &mut PgConnection,
    world: &World<'_>,
    mut wanted: Vec<(&Relation, usize)>,
) -> anyhow::Result<Known> {
    wanted.sort_by_key(|(relation, tenant)| (*tenant, relation.oid));
    wanted.dedup_by_key(|(relation, tenant)| (*tenant, relation.oid));
    let mut probes: Vec<Probe> = Vec::new();
    let mut asked = Vec::new();
    let mut last = None;
    for (relation, tenant) in &wanted {
        let Some(sql) = fingerprint(world, relation, *tenant) else {
            asked.push(None);
            continue;
        };
        if last != Some(*tenant) {
            let mut probe = Probe::new();
            if let Some(other) = other_than(world, *tenant).filter(|_| !world.unbound()) {
                world.look_as(&mut probe, other);
            }
            probes.push(probe);
            last = Some(*tenant);
        }
        let at = probes.len() - 1;
        asked.push(
            probes
                .last_mut()
                .map(|probe| (at, probe.step(Kind::Look, sql))),
        );
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    let told = |(probe, place): (usize, usize)| answers.get(probe)?.text(place).map(str::to_owned);
    Ok(wanted
        .iter()
        .zip(asked)
        .map(|((relation, tenant), place)| ((relation.oid, *tenant), place.and_then(told)))
        .collect())
}

/// Looks after what happened in a probe; gives the place of the fingerprint.
pub(super) fn look(
    world: &World<'_>,
    relation: &Relation,
    tenant: usize,
    probe: &mut Probe,
) -> Option<usize> {
    fingerprint(world, relation, tenant).map(|sql| probe.step(Kind::Look, sql))
}

/// The verifier is itself again, and sees the rows of others.
pub(super) fn return_to(world: &World<'_>, role: &ActingRole, tenant: usize, probe: &mut Probe) {
    probe.all(&world.origin.back(role));
    if let Some(other) = other_than(world, tenant).filter(|_| !world.unbound()) {
        world.look_as(probe, other);
    }
}
