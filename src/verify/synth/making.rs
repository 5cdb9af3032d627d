//! Making the rows: parents before children, wave by wave, other ways where one fails.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use sqlx::PgConnection;

use super::insert::{Insert, Wanted, build, choices};
use super::plan::Planner;
use super::{Ground, Made, Stage, text_of};
use crate::db::ident::Ident;
use crate::verify::details::Details;
use crate::verify::keys;
use crate::verify::model::{ActingRole, Oid, Relation, RelationKind, RoleScope, Scope};
use crate::verify::script::{self, Answer, Budget, Failure, Kind, Probe};
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
    /// A trigger made the row when its parent was made: the columns that it is found by.
    found_by: Vec<String>,
    /// With other rows in one probe it was not told what becomes of it.
    alone: bool,
}

impl Work<'_> {
    /// Not tried before.
    fn untried(&self) -> bool {
        self.attempt == 0
            && self.named.is_empty()
            && !self.adopts
            && self.found_by.is_empty()
            && !self.alone
    }
}

/// A row with the statement that is to make it, and its step.
struct Tried<'a> {
    work: Work<'a>,
    insert: Insert,
    place: usize,
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
    budget: Budget,
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
    for (number, relation) in scope.relations.iter().chain(&scope.outside).enumerate() {
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
                found_by: Vec::new(),
                alone: false,
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
    // Who stands in such a list sees every tenant.
    let of_platform = scope.platform.contains(&relation.oid);
    keys::has_places(relation) && !is_partition && !of_platform
}

impl<'a> Making<'a> {
    /// Nothing that the row refers to is still to be made.
    fn ready(&self, work: &Work<'_>, open: &HashSet<(Oid, usize)>) -> bool {
        let waits = |parent: Oid| open.contains(&(parent, work.tenant));
        let planner = self.planner();
        let joined = planner.joined(work.relation);
        if !self.relaxed && joined.iter().any(|(parent, ..)| waits(*parent)) {
            return false;
        }
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
        budget: Budget,
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

    /// Tries all that is ready, in one message: what is new in one probe a tenant,
    /// what failed before each in its own. Gives back what is to be tried again.
    async fn wave(
        &mut self,
        conn: &mut PgConnection,
        ready: Vec<Work<'a>>,
        budget: Budget,
    ) -> anyhow::Result<Vec<Work<'a>>> {
        let mut shared: BTreeMap<usize, Vec<Tried<'a>>> = BTreeMap::new();
        let mut tried: Vec<(Vec<Tried<'a>>, bool)> = Vec::new();
        let mut probes = Vec::new();
        for work in ready {
            let insert = build(self.details, work.relation, &self.wanted(&work));
            if let Some((column, type_name)) = &insert.missing {
                self.stage.reasons.insert(
                    (work.relation.oid, work.tenant),
                    format!("no value of type `{type_name}` is known for column `{column}`"),
                );
                continue;
            }
            let mut one = Tried {
                work,
                insert,
                place: 0,
            };
            if one.work.untried() {
                shared.entry(one.work.tenant).or_default().push(one);
            } else {
                let (probe, place) = self.probe(&one.work, &one.insert.sql);
                one.place = place;
                probes.push(probe);
                tried.push((vec![one], false));
            }
        }
        for mut list in shared.into_values() {
            probes.push(self.together(&mut list));
            tried.push((list, true));
        }
        let answers = script::run(conn, &probes, budget).await?;
        let mut again = Vec::new();
        for ((list, together), answer) in tried.into_iter().zip(answers) {
            for mut one in list {
                let lost = answer.failure.is_some() || answer.values.len() <= one.place;
                let short = one.insert.brief.is_some() && answer.text(one.place).is_none();
                if together && (lost || short) {
                    // It says nothing of this row, or that few values were too few.
                    one.work.alone = true;
                    again.push(one.work);
                } else {
                    let failure = answer
                        .failure
                        .clone()
                        .or_else(|| answer.refused(one.place).filter(|_| together));
                    again.extend(self.settle(one, failure, &answer));
                }
            }
        }
        Ok(again)
    }

    /// All new rows of a tenant in one probe, in its context.
    fn together(&self, list: &mut [Tried<'a>]) -> Probe {
        let mut probe = Probe::kept();
        if let Some(one) = list.first() {
            let tenant = &self.stage.tenants[one.work.tenant].id;
            if let Some(role) = self.role(&one.work) {
                probe.all(&session::context(
                    self.scope,
                    role,
                    tenant,
                    self.actors.user(role, tenant),
                ));
            }
        }
        for one in list {
            let row = told("kinedb_row");
            let insert = one.insert.brief.as_ref().unwrap_or(&one.insert.sql);
            one.place = probe.step(Kind::Make, format!("{insert} returning {row}"));
        }
        probe.all(&self.origin.forget());
        probe
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
        let existing = self.completed(work).or_else(|| {
            keys::own(self.scope, work.relation, tenant, None)
                .filter(|_| work.adopts)
                .map(|own| {
                    let name = work.relation.name.to_string();
                    format!("select {} from {name} where {own} limit 1", told(&name))
                })
        });
        let place = probe.step(
            Kind::Query,
            existing.unwrap_or_else(|| format!("{insert} returning {}", told("kinedb_row"))),
        );
        probe.all(&back);
        (probe, place)
    }

    /// Takes the row that a trigger made, with what it still lacks.
    fn completed(&self, work: &Work<'_>) -> Option<String> {
        let wanted = self.wanted(work);
        let name = &work.relation.name;
        let found: Option<Vec<String>> = work
            .found_by
            .iter()
            .map(|column| {
                let value = wanted.fixed.get(column)?;
                Some(format!("kinedb_row.{} = {value}", Ident::new(column)))
            })
            .collect();
        let found = found.filter(|found| !found.is_empty())?.join(" and ");
        let lacking: Vec<String> = wanted
            .fixed
            .iter()
            .filter(|(column, _)| !work.found_by.contains(column))
            .map(|(column, value)| format!("{} = {value}", Ident::new(column)))
            .collect();
        let row = told("kinedb_row");
        Some(if lacking.is_empty() {
            format!("select {row} from {name} as kinedb_row where {found}")
        } else {
            let lacking = lacking.join(", ");
            format!("update {name} as kinedb_row set {lacking} where {found} returning {row}")
        })
    }

    /// Whether the row is there already, made by a trigger with the row that it refers to.
    fn doubled(&self, work: &mut Work<'_>, failure: &Failure) -> bool {
        let unique = self
            .details
            .uniques
            .iter()
            .find(|unique| Some(&unique.name) == failure.constraint.as_ref());
        let Some(unique) = unique else { return false };
        let fixed = self.wanted(work).fixed;
        // A real row stays as it is: others may stand on what it says.
        let real = !self.stage.tenants[work.tenant].synthetic
            && self.stage.real.contains(&work.relation.oid);
        let doubled = !real
            && unique.columns.iter().all(|own| fixed.contains_key(own))
            && self.of_our_making(work, &unique.columns);
        if doubled {
            work.found_by.clone_from(&unique.columns);
        }
        doubled
    }

    /// Whether a row with this key can only have been made here: it refers to one that was.
    fn of_our_making(&self, work: &Work<'_>, columns: &[String]) -> bool {
        self.details.references.iter().any(|reference| {
            reference.relation == work.relation.oid
                && reference.parent != work.relation.oid
                && reference.columns.iter().all(|own| columns.contains(own))
                && self.stage.row(reference.parent, work.tenant).is_some()
        })
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
        tried: Tried<'a>,
        failure: Option<Failure>,
        answer: &Answer,
    ) -> Option<Work<'a>> {
        let Tried {
            mut work,
            insert,
            place,
        } = tried;
        let key = (work.relation.oid, work.tenant);
        let Some(failure) = failure else {
            let Some(made) = answer.text(place).and_then(made) else {
                self.stage.reasons.insert(
                    key,
                    if insert.checks.is_empty() && keys::key(work.relation).is_none() {
                        "no values were found that make the row this tenant's".to_owned()
                    } else {
                        format!(
                            "no values were found that satisfy {}",
                            listed(&insert.checks)
                        )
                    },
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
        };
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
            ("23505", _) if work.found_by.is_empty() && self.doubled(&mut work, &failure) => {}
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
