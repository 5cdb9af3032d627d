//! All statements against one relation in one probe, one look after them: what
//! goes as it should needs no more. Whatever does not is tried apart.

use sqlx::PgConnection;

use super::again::expected;
use super::{Aim, Planned, looked_after, remember, resolve};
use crate::verify::finding::Access;
use crate::verify::keys;
use crate::verify::model::{RoleScope, TenantKey};
use crate::verify::probes::report::{Cell, Report};
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::{World, budget};

/// Runs them and gives back those that must be tried apart.
pub(super) async fn run<'w>(
    conn: &mut PgConnection,
    world: &World<'_>,
    mut planned: Vec<Planned<'w>>,
    report: &mut Report,
) -> anyhow::Result<Vec<Planned<'w>>> {
    resolve(conn, world, &mut planned).await?;
    remember(conn, world, &planned).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    let mut apart = Vec::new();
    for group in planned.chunk_by(|a, b| {
        a.role.oid == b.role.oid
            && a.role.name == b.role.name
            && a.tenant == b.tenant
            && a.relation.oid == b.relation.oid
    }) {
        let Some(one) = group.first() else { continue };
        if one.role.scope != RoleScope::Tenant
            || !keys::owned(one.relation)
            || matches!(one.relation.tenant, TenantKey::Global)
        {
            apart.extend(group.iter().cloned());
            continue;
        }
        let setting = Setting::Tenant(world.id(one.tenant).to_owned());
        let enter = world.actors.enter(world.scope, one.role, &setting);
        let mut ordered: Vec<&Planned<'w>> = Vec::new();
        for planned in group {
            if planned.statement.aim == Aim::DeleteAlone {
                apart.push(planned.clone());
            } else {
                ordered.push(planned);
            }
        }
        // Rows come before they change, and change before they go.
        ordered.sort_by_key(|planned| match planned.statement.aim {
            Aim::Delete => 2,
            Aim::Update | Aim::TakeOver | Aim::GiveAway => 1,
            _ => 0,
        });
        let mut probe = Probe::new();
        let mut places = Vec::new();
        let look = looked_after(
            world,
            one.relation,
            one.role,
            one.tenant,
            &mut probe,
            |probe| {
                probe.all(&enter);
                for planned in &ordered {
                    places.push(probe.step(Kind::Try, planned.statement.sql.clone()));
                }
            },
        );
        probes.push(probe);
        asked.push((ordered, places, look));
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    for ((group, places, look), answer) in asked.into_iter().zip(answers) {
        report.outcome.probes += group.len() as u64;
        if calm(world, &group, &places, look, &answer) {
            tell(world, &group, &places, &answer, report);
        } else {
            apart.extend(group.into_iter().cloned());
        }
    }
    Ok(apart)
}

/// Whether everything went as it should: own rows written, no other's touched.
fn calm(
    world: &World<'_>,
    group: &[&Planned<'_>],
    places: &[usize],
    look: usize,
    answer: &Answer,
) -> bool {
    if answer.failure.is_some() || answer.text(look) != Some("0 0 0") {
        return false;
    }
    let touched = |place: usize| answer.number(place).unwrap_or(0) > 0;
    let updated = group
        .iter()
        .zip(places)
        .any(|(one, place)| one.statement.aim == Aim::Update && touched(*place));
    group.iter().zip(places).all(|(one, place)| {
        let state = answer.state(*place);
        let aim = one.statement.aim;
        let wanted = one.named
            && world
                .grant(one.role, one.relation)
                .is_some_and(|grant| expected(world, one.relation, one.role, grant, aim.action()));
        match aim {
            Aim::Update if one.relation.append_only => !touched(*place),
            Aim::Delete if one.relation.append_only => !touched(*place),
            Aim::Update => updated || !wanted,
            // A constraint speaks of rows that the policies let through.
            Aim::Delete => touched(*place) || state == Some("23503") || !wanted,
            Aim::InsertOwn => touched(*place) || !wanted,
            Aim::TakeOver => state.is_none_or(|state| state == "42501"),
            Aim::InsertShared => !touched(*place),
            _ => !touched(*place) && state.is_none_or(|state| state == "42501"),
        }
    })
}

fn tell(
    world: &World<'_>,
    group: &[&Planned<'_>],
    places: &[usize],
    answer: &Answer,
    report: &mut Report,
) {
    for (one, place) in group.iter().zip(places) {
        if !one.named {
            continue;
        }
        let cell = Cell::new(one.relation, one.role, one.statement.aim.action());
        let context = format!("in the context of tenant `{}`", world.id(one.tenant));
        let own = matches!(
            one.statement.aim,
            Aim::Update | Aim::Delete | Aim::InsertOwn
        );
        let held = one.statement.aim == Aim::Delete && answer.state(*place) == Some("23503");
        if own && (held || answer.number(*place).unwrap_or(0) > 0) {
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
}
