//! All statements against one relation in one probe, one look after them: what
//! goes as it should needs no more. Whatever does not is tried apart.

use sqlx::PgConnection;

use super::again::expected;
use super::watch::{Known, before, fingerprint, look, return_to};
use super::{ASLEEP, Aim, Planned, resolve};
use crate::verify::finding::Access;
use crate::verify::keys;
use crate::verify::model::{Policy, Relation, RoleScope};
use crate::verify::probes::report::{Cell, Report};
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::{World, is_view};

/// Runs them and gives back those that must be tried apart.
pub(super) async fn run<'w>(
    conn: &mut PgConnection,
    world: &World<'_>,
    mut planned: Vec<Planned<'w>>,
    report: &mut Report,
) -> anyhow::Result<Vec<Planned<'w>>> {
    resolve(conn, world, &mut planned).await?;
    let mut apart = Vec::new();
    let mut groups: Vec<Vec<Planned<'w>>> = Vec::new();
    let mut asleep = Vec::new();
    for group in planned.chunk_by(|a, b| {
        a.role.oid == b.role.oid
            && a.role.name == b.role.name
            && a.tenant == b.tenant
            && a.relation.oid == b.relation.oid
    }) {
        let Some(one) = group.first() else { continue };
        // Of a view the rows below it are watched.
        let watched = if is_view(one.relation) {
            fingerprint(world, one.relation, one.tenant).is_some()
        } else {
            keys::owned(one.relation)
        };
        if one.role.scope != RoleScope::Tenant || !watched {
            apart.extend(group.iter().cloned());
            continue;
        }
        let mut ordered = Vec::new();
        for planned in group {
            match planned.statement.aim {
                Aim::DeleteAlone if looks_elsewhere(world, planned.relation) => {
                    apart.push(planned.clone());
                }
                Aim::DeleteAlone => asleep.push(planned.clone()),
                _ => ordered.push(planned.clone()),
            }
        }
        // Rows come before they change, and change before they go.
        ordered.sort_by_key(|planned| match planned.statement.aim {
            Aim::Delete => 2,
            Aim::Update | Aim::TakeOver | Aim::GiveAway => 1,
            _ => 0,
        });
        if !ordered.is_empty() {
            groups.push(ordered);
        }
    }
    let wanted = groups
        .iter()
        .filter_map(|group| group.first())
        .chain(&asleep)
        .map(|one| (one.relation, one.tenant))
        .collect();
    let known = before(conn, world, wanted).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for group in groups {
        let Some(one) = group.first() else { continue };
        let setting = Setting::Tenant(world.id(one.tenant).to_owned());
        let mut probe = Probe::new();
        probe.all(&world.actors.enter(world.scope, one.role, &setting));
        let places: Vec<usize> = group
            .iter()
            .map(|planned| probe.step(Kind::Try, planned.statement.sql.clone()))
            .collect();
        return_to(world, one.role, one.tenant, &mut probe);
        let look = look(world, one.relation, one.tenant, &mut probe);
        probes.push(probe);
        asked.push((group, places, look));
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((group, places, look), answer) in asked.into_iter().zip(answers) {
        report.outcome.probes += group.len() as u64;
        let same = group
            .first()
            .is_some_and(|one| unchanged(&known, one, look, &answer));
        if !same || answer.failure.is_some() {
            apart.extend(group);
            continue;
        }
        // Nothing of others changed: what went as it should has said all that it can.
        let updated = group.iter().zip(&places).any(|(one, place)| {
            one.statement.aim == Aim::Update && answer.number(*place).unwrap_or(0) > 0
        });
        for (one, place) in group.into_iter().zip(places) {
            if calm(world, &one, place, updated, &answer) {
                tell(world, &one, place, &answer, report);
            } else {
                apart.push(one);
            }
        }
    }
    apart.extend(sleeping(conn, world, asleep, &known, report).await?);
    Ok(apart)
}

/// Other tenants' rows are what they were.
fn unchanged(known: &Known, one: &Planned<'_>, look: Option<usize>, answer: &Answer) -> bool {
    let was = known
        .get(&(one.relation.oid, one.tenant))
        .and_then(Option::as_deref);
    let is = look.and_then(|place| answer.text(place));
    is.is_some_and(|text| !text.starts_with('!')) && is == was
}

/// Whether the policies of a relation ask other rows than the one they speak of:
/// they say something else when those are gone.
fn looks_elsewhere(world: &World<'_>, relation: &Relation) -> bool {
    Policy::on(&world.scope.policies, relation.oid)
        .any(|predicate| !predicate.reads.is_empty() || !predicate.functions.is_empty())
}

/// Deletes with referential actions asleep, all of a role in one probe. What
/// reaches no own row, or any other, is given back.
async fn sleeping<'w>(
    conn: &mut PgConnection,
    world: &World<'_>,
    asleep: Vec<Planned<'w>>,
    known: &Known,
    report: &mut Report,
) -> anyhow::Result<Vec<Planned<'w>>> {
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for group in asleep.chunk_by(|a, b| {
        a.role.oid == b.role.oid && a.role.name == b.role.name && a.tenant == b.tenant
    }) {
        let Some(one) = group.first() else { continue };
        let setting = Setting::Tenant(world.id(one.tenant).to_owned());
        let mut probe = Probe::new();
        probe.step(Kind::Execute, ASLEEP);
        probe.all(&world.actors.enter(world.scope, one.role, &setting));
        let places: Vec<usize> = group
            .iter()
            .map(|planned| probe.step(Kind::Try, planned.statement.sql.clone()))
            .collect();
        return_to(world, one.role, one.tenant, &mut probe);
        let looks: Vec<Option<usize>> = group
            .iter()
            .map(|planned| look(world, planned.relation, planned.tenant, &mut probe))
            .collect();
        probes.push(probe);
        asked.push((group, places, looks));
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    let mut apart = Vec::new();
    for ((group, places, looks), answer) in asked.into_iter().zip(answers) {
        for ((one, place), look) in group.iter().zip(places).zip(looks) {
            report.outcome.probes += 1;
            let reached = answer.number(place).is_some_and(|rows| rows > 0);
            if !reached || !unchanged(known, one, look, &answer) {
                apart.push(one.clone());
            } else if one.named {
                let cell = Cell::new(one.relation, one.role, one.statement.aim.action());
                report.worked(cell);
                report.see(
                    cell,
                    Access::Isolated,
                    format!(
                        "own rows written in the context of tenant `{}`, no foreign one",
                        world.id(one.tenant)
                    ),
                );
            }
        }
    }
    Ok(apart)
}

/// Whether a statement went as it should: own rows written, nothing refused but by
/// policies. `updated`: one of the assignments that were tried reached own rows.
fn calm(
    world: &World<'_>,
    one: &Planned<'_>,
    place: usize,
    updated: bool,
    answer: &Answer,
) -> bool {
    let touched = answer.number(place).unwrap_or(0) > 0;
    let state = answer.state(place);
    let aim = one.statement.aim;
    let wanted = one.named
        && world
            .grant(one.role, one.relation)
            .is_some_and(|grant| expected(world, one.relation, one.role, grant, aim.action()));
    match aim {
        Aim::Update | Aim::Delete if one.relation.append_only => !touched,
        Aim::Update => updated || !wanted,
        Aim::Delete => touched || state == Some("23503") || !wanted,
        Aim::InsertOwn => touched || !wanted,
        Aim::TakeOver => state.is_none_or(|state| state == "42501"),
        Aim::InsertShared => !touched,
        _ => !touched && state.is_none_or(|state| state == "42501"),
    }
}

fn tell(world: &World<'_>, one: &Planned<'_>, place: usize, answer: &Answer, report: &mut Report) {
    if !one.named {
        return;
    }
    let cell = Cell::new(one.relation, one.role, one.statement.aim.action());
    let context = format!("in the context of tenant `{}`", world.id(one.tenant));
    let own = matches!(
        one.statement.aim,
        Aim::Update | Aim::Delete | Aim::InsertOwn
    );
    if one.statement.aim == Aim::Delete && answer.state(place) == Some("23503") {
        report.held(cell, format!("{context}: a reference holds rows"));
    } else if own && answer.number(place).unwrap_or(0) > 0 {
        report.worked(cell);
        report.see(
            cell,
            Access::Isolated,
            format!("own rows written {context}, no foreign one"),
        );
    } else if !own {
        report.see(
            cell,
            Access::Isolated,
            format!("refused or kept to own rows {context}"),
        );
    }
}
