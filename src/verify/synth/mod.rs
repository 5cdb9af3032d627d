//! Rows for tenants that have none: a small consistent world per tenant, made
//! from the catalogue inside the caller's transaction.
//!
//! Parents come before children, wave by wave, each wave one message. What
//! cannot be made is remembered with its reason.

mod harvest;
mod insert;
mod literal;
mod pattern;
mod plan;
mod values;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::PgConnection;

pub(crate) use self::harvest::Harvest;
pub(crate) use self::insert::{Insert, Wanted, solved, telling};
use self::insert::{build, choices};
pub(crate) use self::literal::literals;
pub(crate) use self::plan::{Planner, equal_to};
pub(crate) use self::values::candidates;
use super::details::Details;
use super::focus::Focus;
use super::keys;
use super::model::{ActingRole, Oid, Relation, RelationKind, RoleScope, Scope};
use super::script::{self, Answer, Kind, Probe};
use super::session::{self, Actors, Origin};
use super::world::BIG;

/// How often a row is tried with other values or by another way.
const ATTEMPTS: u8 = 5;

/// A tenant that rows are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant {
    /// Its id.
    pub(crate) id: String,
    /// It is not a tenant of the database: it exists in this transaction only.
    pub(crate) synthetic: bool,
}

/// A row that was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Made {
    /// Its values by column, as jsonb gives them.
    pub(crate) values: Map<String, Value>,
    /// The table that holds it (a partition, perhaps) and its place in it.
    pub(crate) place: Option<(Oid, String)>,
}

/// What was made, for whom, and what could not be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    /// Real tenants first, then synthetic ones.
    pub(crate) tenants: Vec<Tenant>,
    made: HashMap<(Oid, usize), Made>,
    order: Vec<(Oid, usize)>,
    reasons: HashMap<(Oid, usize), String>,
    /// By relation: columns with the value that every row may hold.
    chosen: HashMap<Oid, Vec<(i16, String, String)>>,
}

impl Stage {
    /// The columns of a relation whose value is the same for every row.
    pub(crate) fn chosen(&self, relation: Oid) -> &[(i16, String, String)] {
        self.chosen.get(&relation).map_or(&[], Vec::as_slice)
    }

    /// Nothing made yet.
    pub(crate) fn of(tenants: Vec<Tenant>) -> Self {
        Self {
            tenants,
            ..Self::default()
        }
    }

    /// The row made in this relation for this tenant.
    pub(crate) fn row(&self, relation: Oid, tenant: usize) -> Option<&Made> {
        self.made.get(&(relation, tenant))
    }

    /// Why there is none.
    pub(crate) fn reason(&self, relation: Oid, tenant: usize) -> Option<&str> {
        self.reasons.get(&(relation, tenant)).map(String::as_str)
    }

    /// The rows of a tenant, children before parents.
    pub(crate) fn newest_first(&self, tenant: usize) -> Vec<(Oid, &Made)> {
        self.order
            .iter()
            .rev()
            .filter(|(_, of)| *of == tenant)
            .filter_map(|key| Some((key.0, self.made.get(key)?)))
            .collect()
    }
}

/// The type of the ids of tenants.
fn id_type(scope: &Scope) -> String {
    let table = scope.tenants.table.as_ref().and_then(|(oid, key)| {
        let column = scope
            .relation(*oid)?
            .columns
            .iter()
            .find(|column| &column.name == key)?;
        Some(column.type_name.clone())
    });
    table
        .or_else(|| {
            scope
                .relations
                .iter()
                .find_map(|relation| keys::key(relation).map(|(_, type_name)| type_name.to_owned()))
        })
        .unwrap_or_else(|| "text".to_owned())
}

/// The tenants to act for: those of the scope, and lookalikes of the first.
/// Without any real one, both are made.
pub(crate) fn cast(scope: &Scope, lookalikes: u32) -> Vec<Tenant> {
    let id_type = id_type(scope);
    let real = |id: &String| Tenant {
        id: id.clone(),
        synthetic: false,
    };
    let mut tenants: Vec<Tenant> = scope.tenants.sample.iter().map(real).collect();
    let invented = match id_type.as_str() {
        "uuid" => "0b0e7a11-5eed-4000-8000-00000000a000",
        "integer" | "bigint" => "90210",
        "smallint" => "2020",
        _ => "kinedb-tenant",
    };
    while tenants.is_empty() || (tenants.len() < 2 && scope.tenants.sample.is_empty()) {
        let id = tenants.first().map_or_else(
            || Some(invented.to_owned()),
            |first: &Tenant| keys::lookalike(&id_type, &first.id, 0),
        );
        let Some(id) = id else { break };
        tenants.push(Tenant {
            id,
            synthetic: true,
        });
    }
    let Some(model) = tenants.first().map(|tenant| tenant.id.clone()) else {
        return tenants;
    };
    let mut found = 0;
    for turn in 0..lookalikes * 4 {
        let Some(id) = keys::lookalike(&id_type, &model, turn) else {
            continue;
        };
        if found < lookalikes && !tenants.iter().any(|tenant| tenant.id == id) {
            found += 1;
            tenants.push(Tenant {
                id,
                synthetic: true,
            });
        }
    }
    tenants
}

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

/// What rows are made from.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) details: &'a Details,
    pub(crate) origin: &'a Origin,
    pub(crate) actors: &'a Actors,
    pub(crate) focus: &'a Focus,
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

/// The text form of a scalar.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
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
