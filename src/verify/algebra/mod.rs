//! The effective predicate of each role, table and command, evaluated over rows
//! that need not exist: foreign rows that hold what the policies' text speaks of.
//!
//! The server evaluates it as the role itself, in a tenant's context, so that
//! functions and sub-selects mean what they mean in the policy. Nothing is read
//! of the table, so its size does not matter.

mod claims;
mod defaults;
mod named;
pub(crate) mod predicate;
mod rows;
mod settings;
mod views;

use std::collections::HashSet;

use anyhow::Context as _;
use sqlx::{PgConnection, Row as _};

use self::predicate::{Check, effective};
use self::rows::Values;
use super::finding::{Access, Action, Outcome, Source};
use super::keys;
use super::model::{ActAs, ActingRole, ExceptionKind, Oid, Options, Relation, RoleScope, Scope};
use super::probes::report::{Cell, Report, reproduce};
use super::probes::stopped;
use super::script::{self, Kind, Probe};
use super::session::Setting;
use super::world::{self, World, is_view};

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
        let world = World::of(&mut *conn, scope, options).await?;
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

/// One predicate of a table for a role; several commands may share it.
struct Asked<'w> {
    role: &'w ActingRole,
    relation: &'w Relation,
    /// The view that reads the table as its owner.
    view: Option<&'w Relation>,
    tenant: usize,
    text: String,
    checks: Vec<Check>,
    sql: String,
    /// The values of the first of the two.
    values: Values,
    /// Rows admitted of those that hold what the text speaks of, and of plain ones.
    wide: Option<i64>,
    narrow: Option<i64>,
    /// Why the first could not be told.
    failed: Option<String>,
}

impl<'w> Asked<'w> {
    fn new(
        role: &'w ActingRole,
        relation: &'w Relation,
        tenant: usize,
        check: Check,
        text: String,
        sql: String,
    ) -> Self {
        Self {
            role,
            relation,
            view: None,
            tenant,
            text,
            checks: vec![check],
            sql,
            values: Values::Wide,
            wide: None,
            narrow: None,
            failed: None,
        }
    }
}

/// The same in a world that was made before, with its synthetic rows.
pub(crate) async fn evaluate(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let usage = usage(conn, world).await?;
    let mut asked = predicates(world, &usage);
    let all: Vec<usize> = (0..asked.len()).collect();
    for (at, told) in ask(conn, world, &asked, &all).await? {
        (asked[at].wide, asked[at].failed) = told;
    }
    // Where a cast of the text stumbles over another of its values, those of the tenant alone.
    let mut stumbled = Vec::new();
    for (at, one) in asked.iter_mut().enumerate() {
        if one.wide.is_some() {
            continue;
        }
        let (relation, text) = (one.relation, &one.text);
        let sql = rows::query(world, relation, one.tenant, text, Values::Own);
        if let Some(sql) = sql.filter(|sql| *sql != one.sql) {
            one.sql = sql;
            one.values = Values::Own;
            stumbled.push(at);
        }
    }
    for (at, (rows, _)) in ask(conn, world, &asked, &stumbled).await? {
        asked[at].wide = rows.filter(|rows| *rows > 0);
    }
    // What admits nothing of the many admits nothing of the few.
    let open: Vec<usize> = all
        .into_iter()
        .filter(|at| asked[*at].wide != Some(0))
        .collect();
    for at in &open {
        let one = &mut asked[*at];
        if let Some(sql) = rows::query(world, one.relation, one.tenant, &one.text, Values::Plain) {
            one.sql = sql;
        }
    }
    for (at, (rows, _)) in ask(conn, world, &asked, &open).await? {
        asked[at].narrow = rows;
    }
    for one in &asked {
        report.outcome.probes += one.checks.len() as u64;
        if one.view.is_none() {
            judge(world, one, report);
        }
    }
    views::judge(&asked, report);
    views::conditions(&mut *conn, world, report).await?;
    views::joins(world, report);
    settings::evaluate(&mut *conn, world, &usage, report).await?;
    named::evaluate(&mut *conn, world, &usage, report).await?;
    defaults::evaluate(conn, world, &usage, report).await
}

/// Every predicate with the commands that it holds for.
fn predicates<'w>(world: &'w World<'_>, usage: &Usage) -> Vec<Asked<'w>> {
    let mut asked: Vec<Asked<'_>> = Vec::new();
    for (role, _) in world.acting() {
        let Some(&tenant) = world.contexts_of(role).first() else {
            continue;
        };
        if role.act_as == ActAs::Login || role.bypasses && role.reach.len() == 1 {
            continue;
        }
        for relation in world.relations() {
            if is_view(relation) {
                asked.extend(views::predicates(world, usage, role, relation, tenant));
                continue;
            }
            let owner = usage.contains(&(role.oid, relation.owner));
            if !relation.rls || owner && !relation.force || !keys::owned(relation) {
                continue;
            }
            let Some(grant) = world.grant(role, relation) else {
                continue;
            };
            let before = asked.len();
            for check in Check::ALL {
                // What is read of all tenants is listed by column.
                let listed = role.scope == RoleScope::All && check.reads();
                if !check.granted(grant) || listed {
                    continue;
                }
                let Some(text) = effective(world.scope, relation, role.oid, usage, check) else {
                    continue;
                };
                if let Some(same) = asked[before..].iter_mut().find(|one| one.text == text) {
                    same.checks.push(check);
                } else if let Some(sql) = rows::query(world, relation, tenant, &text, Values::Wide)
                {
                    asked.push(Asked::new(role, relation, tenant, check, text, sql));
                }
            }
        }
    }
    asked
}

type Told = (Option<i64>, Option<String>);

/// Asks these, each role's together.
async fn ask(
    conn: &mut PgConnection,
    world: &World<'_>,
    asked: &[Asked<'_>],
    which: &[usize],
) -> anyhow::Result<Vec<(usize, Told)>> {
    let mut probes = Vec::new();
    let mut places = Vec::new();
    for group in which.chunk_by(|a, b| std::ptr::eq(asked[*a].role, asked[*b].role)) {
        let Some(first) = group.first().map(|at| &asked[*at]) else {
            continue;
        };
        let setting = Setting::Tenant(world.id(first.tenant).to_owned());
        let mut probe = Probe::new();
        probe.all(&world.actors.enter(world.scope, first.role, &setting));
        places.push(
            group
                .iter()
                .map(|at| (*at, probe.step(Kind::Look, asked[*at].sql.clone())))
                .collect::<Vec<_>>(),
        );
        probes.push(probe);
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    Ok(places
        .into_iter()
        .zip(answers)
        .flat_map(|(places, answer)| {
            places
                .into_iter()
                .map(move |(at, place)| (at, (answer.number(place), stopped(&answer, place))))
        })
        .collect())
}

fn judge(world: &World<'_>, one: &Asked<'_>, report: &mut Report) {
    let Some(rows) = one.wide.or(one.narrow) else {
        // Nothing is claimed by it; that it was not told is.
        if let Some(why) = &one.failed {
            report.outcome.residual.push(format!(
                "the policies of `{}` could not be evaluated over rows of their own literals for `{}`: {why}",
                one.relation.label, one.role.name.as_str()
            ));
        }
        return;
    };
    let setting = Setting::Tenant(world.id(one.tenant).to_owned());
    for check in &one.checks {
        let cell = Cell::new(one.relation, one.role, check.action());
        if rows == 0 {
            report.see_by(
                Source::Algebra,
                cell,
                Access::Isolated,
                format!("{} is true for no foreign row tried", check.name()),
            );
            continue;
        }
        // A new tenant is nobody's row.
        if *check == Check::Insert && world.scope.registers(one.relation) {
            continue;
        }
        if check.reads() && world.allows(one.relation, ExceptionKind::GlobalRead, one.role) {
            continue;
        }
        let narrow = one.narrow.unwrap_or(0) > 0;
        let id = if narrow {
            "predicate-admits-foreign-rows"
        } else {
            "predicate-admits-by-content"
        };
        let enter = world.actors.enter(world.scope, one.role, &setting);
        let values = if narrow { Values::Plain } else { one.values };
        let sql = rows::query(world, one.relation, one.tenant, &one.text, values);
        report.find(
            id,
            cell,
            format!(
                "{} is true for a row of another tenant ({rows} of the rows tried)",
                check.name()
            ),
            sql.map(|sql| reproduce(&enter, &sql)),
        );
    }
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
    .bind(oids(
        world
            .roles
            .iter()
            .map(|role| role.oid)
            .chain(views::owners(world))
            .collect(),
    ))
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
