//! The effective predicate of each role, table and command, evaluated over rows
//! that need not exist: foreign rows that hold what the policies' text speaks of.
//!
//! The server evaluates it as the role itself, in a tenant's context, so that
//! functions and sub-selects mean what they mean in the policy. Nothing is read
//! of the table, so its size does not matter.

pub(crate) mod predicate;
mod rows;

pub(crate) use self::rows::speaks_of;

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context as _;
use sqlx::{PgConnection, Row as _};

use self::predicate::{Check, effective};
use super::details::Details;
use super::finding::{Access, Action, Outcome, Source};
use super::keys;
use super::model::{ActAs, ActingRole, ExceptionKind, Oid, Options, Relation, Scope};
use super::probes::report::{Cell, Report, reproduce};
use super::script::{self, Kind, Probe};
use super::session::Setting;
use super::world::{self, World, budget};

/// (role, role whose policies apply to it).
pub(crate) type Usage = HashSet<(Oid, Oid)>;

/// Evaluates the policies of every table of the scope.
///
/// # Errors
/// When the connection fails.
pub async fn run(
    conn: &mut PgConnection,
    scope: &Scope,
    options: &Options,
) -> anyhow::Result<Outcome> {
    world::open(conn, options).await?;
    let outcome = async {
        let details = Details::read(&mut *conn, scope, options).await?;
        let world = World::begin(&mut *conn, scope, options, Arc::clone(&details)).await?;
        let mut report = Report::default();
        evaluate(&mut *conn, &world, &mut report).await?;
        Ok::<_, anyhow::Error>(report.outcome)
    }
    .await;
    let closed = world::close(conn, options).await;
    let outcome = outcome?;
    closed?;
    Ok(outcome)
}

struct Asked<'w> {
    role: &'w ActingRole,
    relation: &'w Relation,
    check: Check,
    wide: usize,
    narrow: usize,
    show: String,
}

/// The same in a world that was made before, with its synthetic rows.
pub(crate) async fn evaluate(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let usage = usage(conn, world).await?;
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, _) in world.acting() {
        let Some(&tenant) = world.contexts_of(role).first() else {
            continue;
        };
        if role.act_as == ActAs::Login || role.bypasses && role.reach.len() == 1 {
            continue;
        }
        let setting = Setting::Tenant(world.id(tenant).to_owned());
        let enter = world.actors.enter(world.scope, role, &setting);
        for relation in world.relations() {
            let owner = usage.contains(&(role.oid, relation.owner));
            if !relation.rls || owner && !relation.force || !keys::owned(relation) {
                continue;
            }
            let Some(grant) = world.grant(role, relation) else {
                continue;
            };
            for check in Check::ALL {
                if !check.granted(grant) {
                    continue;
                }
                let Some(text) = effective(world.scope, relation, role, &usage, check) else {
                    continue;
                };
                let Some((wide, narrow)) = rows::queries(world, relation, tenant, &text) else {
                    continue;
                };
                let mut probe = Probe::new();
                probe.all(&enter);
                let wide_at = probe.step(Kind::Ask, wide.clone());
                let narrow_at = probe.step(Kind::Ask, narrow);
                probes.push(probe);
                asked.push(Asked {
                    role,
                    relation,
                    check,
                    wide: wide_at,
                    narrow: narrow_at,
                    show: reproduce(&enter, &wide),
                });
            }
        }
    }
    let answers = script::run(conn, &probes, budget(world.options)).await?;
    report.outcome.probes += answers.len() as u64;
    for (one, answer) in asked.into_iter().zip(answers) {
        let number = |place: usize| answer.number(place);
        let admitted = number(one.wide).or_else(|| number(one.narrow));
        let cell = Cell::new(one.relation, one.role, one.check.action());
        match admitted {
            Some(rows) if rows > 0 => {
                if one.check.reads()
                    && world.allows(one.relation, ExceptionKind::GlobalRead, one.role)
                {
                    continue;
                }
                let id = if number(one.narrow).unwrap_or(0) > 0 {
                    "predicate-admits-foreign-rows"
                } else {
                    "predicate-admits-by-content"
                };
                report.find(
                    id,
                    cell,
                    format!(
                        "{} is true for a row of another tenant ({rows} of the rows tried)",
                        one.check.name()
                    ),
                    Some(one.show),
                );
            }
            Some(_) => report.see_by(
                Source::Algebra,
                cell,
                Access::Isolated,
                format!("{} is true for no foreign row tried", one.check.name()),
            ),
            None => {}
        }
    }
    Ok(())
}

/// Whose policies apply to whom: rights that are inherited, not those to be taken.
async fn usage(conn: &mut PgConnection, world: &World<'_>) -> anyhow::Result<Usage> {
    let oids = |list: Vec<Oid>| {
        list.into_iter()
            .map(sqlx::postgres::types::Oid)
            .collect::<Vec<_>>()
    };
    let mut others: Vec<Oid> = world
        .scope
        .policies
        .iter()
        .flat_map(|policy| policy.roles.iter().copied())
        .chain(world.scope.relations.iter().map(|relation| relation.owner))
        .filter(|oid| *oid != 0)
        .collect();
    others.sort_unstable();
    others.dedup();
    let rows = sqlx::query(
        "select r.oid, o.oid from pg_catalog.pg_roles r cross join pg_catalog.pg_roles o \
         where r.oid = any($1) and o.oid = any($2) and pg_catalog.pg_has_role(r.oid, o.oid, 'USAGE')",
    )
    .bind(oids(world.roles.iter().map(|role| role.oid).collect()))
    .bind(oids(others))
    .fetch_all(conn)
    .await
    .context("asking which roles inherit which")?;
    let mut usage = Usage::new();
    for row in rows {
        let (one, other): (sqlx::postgres::types::Oid, sqlx::postgres::types::Oid) =
            (row.try_get(0)?, row.try_get(1)?);
        usage.insert((one.0, other.0));
    }
    Ok(usage)
}

impl Check {
    /// The cell of the matrix that it speaks of.
    pub(crate) fn action(self) -> Action {
        match self {
            Self::Select => Action::Select,
            Self::Insert => Action::Insert,
            Self::Update | Self::Restamp => Action::Update,
            Self::Delete => Action::Delete,
        }
    }
}
