//! A proof without data that row level security binds a role: with `row_security`
//! off, a statement that a policy would narrow fails instead.

use sqlx::PgConnection;

use super::report::{Cell, Report, reproduce};
use crate::db::ident::Ident;
use crate::verify::finding::Action;
use crate::verify::keys;
use crate::verify::model::{ActAs, RoleScope};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::world::World;

/// Asks for no row of every table that has policies.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, _) in world.acting() {
        if role.act_as == ActAs::Login || role.scope != RoleScope::Tenant {
            continue;
        }
        let mut enter = world.actors.enter(world.scope, role, &Setting::Missing);
        enter.push("set local row_security = off".to_owned());
        let mut probe = Probe::new();
        probe.all(&enter);
        let mut places = Vec::new();
        for relation in world.relations() {
            if !relation.rls || !keys::owned(relation) || !keys::has_places(relation) {
                continue;
            }
            let Some(column) = world
                .grant(role, relation)
                .and_then(|grant| grant.columns('r').first().map(|name| Ident::new(*name)))
            else {
                continue;
            };
            let sql = format!("select {column} from {} limit 0", relation.name);
            places.push((probe.step(Kind::Ask, sql.clone()), relation, sql));
        }
        if !places.is_empty() {
            probes.push(probe);
            asked.push((role, enter, places));
        }
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for ((role, enter, places), answer) in asked.into_iter().zip(answers) {
        for (place, relation, sql) in places {
            report.outcome.probes += 1;
            if answer.values.len() > place && answer.state(place).is_none() {
                report.find(
                    "rls-does-not-bind",
                    Cell::new(relation, role, Action::Select),
                    "with row_security off a statement is not refused, so no policy narrows it",
                    Some(reproduce(&enter, &sql)),
                );
            }
        }
    }
    Ok(())
}
