//! Writing in a tenant's context: own rows can be, foreign ones never; a row
//! cannot be stamped with, taken from, or given to another tenant.
//!
//! Bare statements throughout: a WHERE or RETURNING would add the SELECT policy
//! and hide a hole. After each, the verifier looks at what is stored.

pub(super) mod again;
mod compose;
mod judge;
pub(super) mod large;
mod odd;
mod rarer;
mod together;
mod watch;

use std::collections::HashMap;

use sqlx::PgConnection;

use self::compose::{insert, statements, writable};
pub(super) use self::watch::other_than;
use self::watch::{looked_after, remember};
use super::report::{Report, reproduce};
use crate::db::ident::Literal;
use crate::verify::finding::Action;
use crate::verify::model::{ActAs, ActingRole, Relation, RelationKind};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::{Insert, literals};
use crate::verify::world::World;

/// Puts triggers and referential actions to sleep.
const ASLEEP: &str = "set local session_replication_role = replica";

/// What a statement tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Own rows, or all that the policies let through.
    Update,
    /// Rows of others, stamped with the own tenant.
    TakeOver,
    /// Own rows, stamped with another tenant.
    GiveAway,
    /// All that the policies let through.
    Delete,
    /// The same, with referential actions asleep.
    DeleteAlone,
    /// An own row.
    InsertOwn,
    /// A row of another tenant, its references leading to that tenant's rows.
    InsertForeign,
    /// The same, its references leading to own rows.
    InsertMixed,
    /// A row without a tenant.
    InsertShared,
    /// A row that meets another tenant's by its key.
    Upsert,
    /// All that the policies let through, by MERGE.
    Merge,
    MergeDelete,
}

impl Aim {
    fn action(self) -> Action {
        match self {
            Self::Update | Self::TakeOver | Self::GiveAway | Self::Upsert | Self::Merge => {
                Action::Update
            }
            Self::Delete | Self::DeleteAlone | Self::MergeDelete => Action::Delete,
            _ => Action::Insert,
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Update | Self::Upsert | Self::Merge => "foreign-rows-updated",
            Self::TakeOver => "foreign-rows-taken-over",
            Self::GiveAway => "own-rows-given-away",
            Self::Delete | Self::DeleteAlone | Self::MergeDelete => "foreign-rows-deleted",
            Self::InsertShared => "shared-rows-written",
            _ => "foreign-row-inserted",
        }
    }
}

struct Asked<'w> {
    aim: Aim,
    relation: &'w Relation,
    role: &'w ActingRole,
    named: bool,
    tenant: usize,
    show: String,
    run: usize,
    look: usize,
}

/// The statements of a probe, with the verifier's look after it.
fn plan(
    world: &World<'_>,
    relation: &Relation,
    role: &ActingRole,
    tenant: usize,
    enter: &[String],
    before: Option<&str>,
    statement: &str,
) -> (Probe, usize, usize) {
    let mut probe = Probe::new();
    let mut run = 0;
    let look = looked_after(world, relation, role, tenant, &mut probe, |probe| {
        if let Some(before) = before {
            probe.step(Kind::Execute, before);
        }
        probe.all(enter);
        run = probe.step(Kind::Execute, statement);
    });
    (probe, run, look)
}

/// A statement to try, and what chooses its values, where it is an INSERT.
#[derive(Clone)]
struct Statement {
    aim: Aim,
    sql: String,
    /// With what follows its values.
    insert: Option<(Insert, String)>,
}

impl Statement {
    fn of(aim: Aim, sql: String) -> Self {
        Self {
            aim,
            sql,
            insert: None,
        }
    }
}

/// A statement with who tries it, where.
#[derive(Clone)]
struct Planned<'w> {
    role: &'w ActingRole,
    named: bool,
    tenant: usize,
    relation: &'w Relation,
    statement: Statement,
}

/// Runs every writing probe.
pub(super) async fn run(
    conn: &mut PgConnection,
    world: &World<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut planned = Vec::new();
    for (role, named) in world.acting() {
        if role.act_as == ActAs::Login {
            continue;
        }
        for (turn, tenant) in world.contexts_of(role).into_iter().take(2).enumerate() {
            for relation in world.relations() {
                if turn > 0 && world.alike(relation) {
                    continue;
                }
                let Some(grant) = world.grant(role, relation) else {
                    continue;
                };
                if world.big(relation) || relation.kind == RelationKind::ForeignTable {
                    continue;
                }
                planned.extend(statements(world, relation, grant, tenant).into_iter().map(
                    |statement| Planned {
                        role,
                        named,
                        tenant,
                        relation,
                        statement,
                    },
                ));
            }
        }
    }
    let apart = together::run(conn, world, planned, report).await?;
    let (asked, answers) = ask(conn, world, apart).await?;
    report.outcome.probes += answers.len() as u64;
    for at in 0..asked.len() {
        judge::judge(world, &asked, &answers, at, report);
    }
    odd::run(conn, world, report).await?;
    rarer::run(conn, world, report).await?;
    large::run(conn, world, report).await?;
    again::run(conn, world, report).await
}

/// Chooses the values of INSERTs, each once.
async fn resolve(
    conn: &mut PgConnection,
    world: &World<'_>,
    planned: &mut [Planned<'_>],
) -> anyhow::Result<()> {
    let inserts: Vec<Insert> = planned
        .iter()
        .filter_map(|one| one.statement.insert.as_ref())
        .map(|(insert, _)| insert.clone())
        .collect();
    let known = literals(conn, world.unbound(), &inserts, world.budget).await?;
    for one in planned {
        if let Some((insert, suffix)) = one.statement.insert.take()
            && let Some(sql) = known.get(&insert.sql)
        {
            one.statement.sql = format!("{sql}{suffix}");
        }
    }
    Ok(())
}

/// A statement for whoever repeats it: another real tenant in the place of the one
/// that was made, where there is one.
fn shown(world: &World<'_>, tenant: usize, aim: Aim, sql: &str) -> String {
    let mut text = sql.to_owned();
    let made = other_than(world, tenant).map(|place| &world.stage.tenants[place]);
    let real = world
        .stage
        .tenants
        .iter()
        .enumerate()
        .find(|(place, other)| *place != tenant && !other.synthetic);
    if let (Some(made), Some((_, real))) = (made.filter(|other| other.synthetic), real) {
        text = text.replace(
            &Literal::new(&made.id).to_string(),
            &Literal::new(&real.id).to_string(),
        );
    }
    if !matches!(aim, Aim::Delete | Aim::DeleteAlone | Aim::MergeDelete) {
        text = format!(
            "-- a policy refuses it with SQLSTATE 42501; any other error comes after the policies\n{text}"
        );
    }
    text
}

/// Runs all statements, each apart.
async fn ask<'w>(
    conn: &mut PgConnection,
    world: &World<'_>,
    mut planned: Vec<Planned<'w>>,
) -> anyhow::Result<(Vec<Asked<'w>>, Vec<script::Answer>)> {
    resolve(conn, world, &mut planned).await?;
    remember(conn, world, &planned).await?;
    let mut contexts: HashMap<(u32, String, usize), Vec<String>> = HashMap::new();
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for one in planned {
        let enter = contexts
            .entry((one.role.oid, one.role.name.as_str().to_owned(), one.tenant))
            .or_insert_with(|| {
                let setting = Setting::Tenant(world.id(one.tenant).to_owned());
                world.actors.enter(world.scope, one.role, &setting)
            });
        let sql = one.statement.sql;
        let before = (one.statement.aim == Aim::DeleteAlone).then_some(ASLEEP);
        let (probe, run, look) = plan(
            world,
            one.relation,
            one.role,
            one.tenant,
            enter,
            before,
            &sql,
        );
        probes.push(probe);
        asked.push(Asked {
            aim: one.statement.aim,
            relation: one.relation,
            role: one.role,
            named: one.named,
            tenant: one.tenant,
            show: reproduce(enter, &shown(world, one.tenant, one.statement.aim, &sql)),
            run,
            look,
        });
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    Ok((asked, answers))
}
