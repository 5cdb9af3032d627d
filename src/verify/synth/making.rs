//! Making the rows: parents before children, wave by wave, other ways where one fails.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use super::insert::{Insert, Wanted, build, choices};
use super::plan::Planner;
use super::{Ground, Made, Stage, text_of};
use crate::verify::details::Details;
use crate::verify::keys;
use crate::verify::model::{ActingRole, Oid, Relation, RelationKind, RoleScope, Scope};
use crate::verify::script::{self, Answer, Kind, Probe};
use crate::verify::session::{self, Actors, Origin};
use crate::verify::world::BIG;

/// How often a row is tried with other values or by another way.
const ATTEMPTS: u8 = 5;

struct Work<'a> {
    relation: &'a Relation,
    tenant: usize,
    attempt: u8,
    salt: u32,
    named: Vec<String>,
    /// A unique key refused other values too: a row that exists will do.
    adopts: bool,
}

struct Making<'a> {
    scope: &'a Scope,
    details: &'a Details,
    origin: &'a Origin,
    actors: &'a Actors,
    stage: Stage,
    relaxed: bool,
}

/// Makes a row per tenant in every table.
///
/// # Errors
/// When the connection fails; a row that cannot be made is a reason in the stage.
pub(crate) async fn run(
    conn: &mut PgConnection,
    ground: Ground<'_>,
    stage: Stage,
    makers: &[usize],
    budget: Duration,
) -> anyhow::Result<Stage> {
    let scope = ground.scope;
    let mut making = Making {
        scope,
        details: ground.details,
        origin: ground.origin,
        actors: ground.actors,
        stage,
        relaxed: false,
    };
    let mut waiting: Vec<Work<'_>> = Vec::new();
    for (number, relation) in scope.relations.iter().enumerate() {
        if !ground.focus.makes(relation.oid) || !makeable(scope, relation) {
            continue;
        }
        for &tenant in makers {
            let real = making
                .stage
                .tenants
                .get(tenant)
                .is_some_and(|tenant| !tenant.synthetic);
            let registry = matches!(&scope.tenants.table, Some((oid, _)) if *oid == relation.oid);
            if real && registry {
                continue;
            }
            waiting.push(Work {
                relation,
                tenant,
                attempt: 0,
                salt: u32::try_from(100 + number * 8 + tenant).unwrap_or(1),
                named: Vec::new(),
                adopts: false,
            });
        }
    }
    making.choose(conn, &waiting, budget).await?;
    while !waiting.is_empty() {
        let open: HashSet<(Oid, usize)> = waiting
            .iter()
            .map(|work| (work.relation.oid, work.tenant))
            .collect();
        let (ready, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|work| making.ready(work, &open));
        if ready.is_empty() {
            if making.relaxed {
                for work in later {
                    making.stage.reasons.insert(
                        (work.relation.oid, work.tenant),
                        "its references go round in a circle of NOT NULL columns".to_owned(),
                    );
                }
                break;
            }
            making.relaxed = true;
            waiting = later;
            continue;
        }
        let mut again = making.wave(conn, ready, budget).await?;
        again.extend(later);
        waiting = again;
    }
    Ok(making.stage)
}

/// Partitions take their rows through the parent; views and foreign tables hold none of their own.
fn makeable(scope: &Scope, relation: &Relation) -> bool {
    let is_partition = relation.parents.iter().any(|parent| {
        scope
            .relation(*parent)
            .is_some_and(|parent| parent.kind == RelationKind::PartitionedTable)
    });
    keys::has_places(relation) && !is_partition
}

impl<'a> Making<'a> {
    /// Nothing that the row refers to is still to be made.
    fn ready(&self, work: &Work<'_>, open: &HashSet<(Oid, usize)>) -> bool {
        self.details
            .references
            .iter()
            .filter(|reference| {
                reference.relation == work.relation.oid && reference.parent != work.relation.oid
            })
            .all(|reference| {
                !open.contains(&(reference.parent, work.tenant))
                    || self.relaxed
                        && self
                            .planner()
                            .nullable(work.relation.oid, &reference.columns)
            })
    }

    /// Asks for the values that every row may hold.
    async fn choose(
        &mut self,
        conn: &mut PgConnection,
        works: &[Work<'_>],
        budget: Duration,
    ) -> anyhow::Result<()> {
        let mut probe = Probe::new();
        let mut asked = Vec::new();
        let mut seen = HashSet::new();
        for work in works {
            let relation = work.relation.oid;
            if !seen.insert(relation) {
                continue;
            }
            for (number, sql) in choices(self.details, work.relation) {
                asked.push((relation, number, probe.step(Kind::Look, sql)));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let answers = script::run(conn, &[probe], budget).await?;
        for (relation, number, place) in asked {
            let value = answers
                .first()
                .and_then(|answer| answer.text(place))
                .filter(|text| !text.is_empty() && !text.starts_with('!'));
            let column = self
                .details
                .columns_of(relation)
                .find(|column| column.number == number);
            if let (Some(value), Some(column)) = (value, column) {
                let value = format!("{value}::{}", column.type_name);
                let name = column.name.clone();
                let list = self.stage.chosen.entry(relation).or_default();
                list.push((number, name, value));
            }
        }
        Ok(())
    }

    async fn wave(
        &mut self,
        conn: &mut PgConnection,
        ready: Vec<Work<'a>>,
        budget: Duration,
    ) -> anyhow::Result<Vec<Work<'a>>> {
        let (first, later): (Vec<_>, Vec<_>) = ready
            .into_iter()
            .partition(|work| work.attempt == 0 && work.named.is_empty() && !work.adopts);
        let mut rest = self.together(conn, first, budget).await?;
        rest.extend(later);
        let mut probes = Vec::new();
        let mut places = Vec::new();
        let mut works = Vec::new();
        let mut checks = Vec::new();
        for work in rest {
            let insert = build(self.details, work.relation, &self.wanted(&work));
            if let Some((column, type_name)) = &insert.missing {
                self.stage.reasons.insert(
                    (work.relation.oid, work.tenant),
                    format!("no value of type `{type_name}` is known for column `{column}`"),
                );
                continue;
            }
            let (probe, place) = self.probe(&work, &insert.sql);
            probes.push(probe);
            places.push(place);
            checks.push(insert.checks);
            works.push(work);
        }
        let answers = script::run(conn, &probes, budget).await?;
        let mut again = Vec::new();
        for (((work, answer), place), checks) in
            works.into_iter().zip(answers).zip(places).zip(checks)
        {
            again.extend(self.settle(work, &answer, place, &checks));
        }
        Ok(again)
    }

    /// Makes all rows of a tenant in one probe, in its context; gives back those
    /// that fail, which are told why one by one.
    async fn together(
        &mut self,
        conn: &mut PgConnection,
        works: Vec<Work<'a>>,
        budget: Duration,
    ) -> anyhow::Result<Vec<Work<'a>>> {
        let mut rest = Vec::new();
        let mut by_tenant: BTreeMap<usize, Vec<(Work<'a>, Insert)>> = BTreeMap::new();
        for work in works {
            let insert = build(self.details, work.relation, &self.wanted(&work));
            if insert.missing.is_some() {
                rest.push(work);
            } else {
                by_tenant
                    .entry(work.tenant)
                    .or_default()
                    .push((work, insert));
            }
        }
        let mut probes = Vec::new();
        let mut asked = Vec::new();
        for list in by_tenant.into_values() {
            let Some((one, _)) = list.first() else {
                continue;
            };
            let tenant = &self.stage.tenants[one.tenant].id;
            let mut probe = Probe::kept();
            if let Some(role) = self.role(one) {
                probe.all(&session::context(
                    self.scope,
                    role,
                    tenant,
                    self.actors.user(role, tenant),
                ));
            }
            let places: Vec<usize> = list
                .iter()
                .map(|(_, insert)| {
                    let row = told("kinedb_row");
                    probe.step(Kind::Ask, format!("{} returning {row}", insert.sql))
                })
                .collect();
            probe.all(&self.origin.forget());
            probes.push(probe);
            asked.push((list, places));
        }
        let answers = script::run(conn, &probes, budget).await?;
        for ((list, places), answer) in asked.into_iter().zip(answers) {
            for ((work, insert), place) in list.into_iter().zip(places) {
                let done = answer.failure.is_none()
                    && answer.values.len() > place
                    && answer.state(place).is_none();
                if done {
                    rest.extend(self.settle(work, &answer, place, &insert.checks));
                } else {
                    rest.push(work);
                }
            }
        }
        Ok(rest)
    }

    /// Tries as the verifier in the tenant's context; then with none; then as a
    /// role that may insert.
    fn probe(&self, work: &Work<'_>, insert: &str) -> (Probe, usize) {
        let mut probe = Probe::kept();
        let tenant = &self.stage.tenants[work.tenant].id;
        let role = self.role(work);
        let mut back = self.origin.forget();
        if let Some(role) = role {
            match work.attempt % 3 {
                2 => {
                    probe.all(&self.actors.enter(
                        self.scope,
                        role,
                        &session::Setting::Tenant(tenant.clone()),
                    ));
                    back.splice(0..0, self.origin.back(role));
                }
                1 => {}
                _ => probe.all(&session::context(
                    self.scope,
                    role,
                    tenant,
                    self.actors.user(role, tenant),
                )),
            }
        }
        let existing = keys::own(self.scope, work.relation, tenant, None)
            .filter(|_| work.adopts)
            .map(|own| {
                let name = work.relation.name.to_string();
                format!("select {} from {name} where {own} limit 1", told(&name))
            });
        let place = probe.step(
            Kind::Query,
            existing.unwrap_or_else(|| format!("{insert} returning {}", told("kinedb_row"))),
        );
        probe.all(&back);
        (probe, place)
    }

    fn role(&self, work: &Work<'_>) -> Option<&'a ActingRole> {
        let tenant = &self.stage.tenants[work.tenant].id;
        let mut roles = self.scope.roles.iter().filter(|role| {
            role.scope == RoleScope::Tenant
                && role.tenant.as_ref().is_none_or(|only| only == tenant)
        });
        if work.attempt % 3 == 2 {
            roles.find(|role| {
                self.details
                    .grant(role.oid, work.relation.oid)
                    .is_some_and(|grant| grant.insert)
            })
        } else {
            roles.next()
        }
    }

    fn wanted(&self, work: &Work<'_>) -> Wanted {
        let mut wanted = self
            .planner()
            .wanted(work.relation, work.tenant, work.tenant, work.salt);
        wanted.named.extend(work.named.clone());
        wanted
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            scope: self.scope,
            details: self.details,
            stage: &self.stage,
        }
    }

    /// Takes the row, tries again another way, or keeps the reason.
    fn settle(
        &mut self,
        mut work: Work<'a>,
        answer: &Answer,
        place: usize,
        checks: &[String],
    ) -> Option<Work<'a>> {
        let key = (work.relation.oid, work.tenant);
        if answer.failure.is_none() {
            let Some(made) = answer.text(place).and_then(made) else {
                self.stage.reasons.insert(
                    key,
                    format!("no values were found that satisfy {}", listed(checks)),
                );
                return None;
            };
            let id = &self.stage.tenants[work.tenant].id;
            let stamped = keys::key(work.relation)
                .and_then(|(column, _)| made.values.get(column.as_str()))
                .and_then(text_of);
            if stamped.is_some_and(|stamp| &stamp != id) {
                self.stage.reasons.insert(
                    key,
                    "a trigger stamps the row with another tenant".to_owned(),
                );
                return None;
            }
            self.stage.made.insert(key, made);
            self.stage.order.push(key);
            self.stage.reasons.remove(&key);
            return None;
        }
        let failure = answer.failure.as_ref()?;
        let sentence = failure.sentence();
        let new_column = failure
            .column
            .as_ref()
            .filter(|column| !column.is_empty() && !work.named.contains(column));
        self.stage
            .reasons
            .entry(key)
            .and_modify(|reason| {
                if !reason.contains(&sentence) {
                    reason.push_str("; ");
                    reason.push_str(&sentence);
                }
            })
            .or_insert_with(|| format!("the insert failed: {sentence}"));
        match (failure.state.as_str(), new_column) {
            ("23502", Some(column)) => work.named.push(column.clone()),
            ("23505" | "23P01", _) => {
                // Far from numbers that are counted up.
                work.salt = 1_900_000_000 + work.salt.wrapping_mul(7).wrapping_add(13) % 100_000;
                let unique = self
                    .details
                    .uniques
                    .iter()
                    .find(|unique| Some(&unique.name) == failure.constraint.as_ref());
                if let Some(unique) = unique {
                    work.named.extend(unique.columns.clone());
                }
                // A trigger may have made the row already.
                let made =
                    self.stage.tenants[work.tenant].synthetic || work.relation.estimate < BIG;
                if work.attempt > 0 && made && !work.adopts {
                    work.adopts = true;
                    return Some(work);
                }
                work.attempt += 1;
                if !work.attempt.is_multiple_of(3) && work.attempt < 3 {
                    // Same way, other values.
                    work.attempt += 2;
                }
            }
            _ => work.attempt += 1,
        }
        (work.attempt < ATTEMPTS && work.named.len() < 64).then_some(work)
    }
}

/// What tells a row with its place.
fn told(row: &str) -> String {
    format!(
        "pg_catalog.jsonb_build_object('row', pg_catalog.to_jsonb({row}.*), \
         'table', {row}.tableoid::bigint, 'place', {row}.ctid::text)::text"
    )
}

fn made(text: &str) -> Option<Made> {
    let value: Value = serde_json::from_str(text).ok()?;
    let table = value.get("table")?.as_u64()?;
    let place = value.get("place")?.as_str()?.to_owned();
    Some(Made {
        values: value.get("row")?.as_object()?.clone(),
        place: Some((Oid::try_from(table).ok()?, place)),
    })
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "its triggers".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
