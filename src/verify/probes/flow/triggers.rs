//! What a trigger makes of an own row must not depend on another tenant's rows: one that
//! looks with its owner's rights for a value that tells no tenant answers by an error, or
//! by what it writes into the row.

use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::{Ground, vanish};
use crate::verify::finding::Action;
use crate::verify::model::Relation;
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::probes::stirring::baited;
use crate::verify::probes::triggers::Triggers;
use crate::verify::script::{self, Answer, Failure, Kind, Probe, cut_short};
use crate::verify::synth::{Insert, literals};
use crate::verify::world::World;

/// Rows that hold what the other tenant's rows hold, inserted with those there and without.
pub(super) async fn triggers(
    conn: &mut PgConnection,
    world: &World<'_>,
    ground: &Ground<'_>,
    triggers: &mut Triggers<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    if triggers.definers.is_empty() {
        return Ok(());
    }
    let mut two = world.contexts.iter().take(2);
    let Some(&other) = two.find(|one| **one != ground.tenant) else {
        return Ok(());
    };
    let ground = &Ground {
        other,
        asleep: world.scope.verifier.superuser,
        enter: ground.enter.clone(),
        enter_other: Vec::new(),
        enter_second: None,
        bare: None,
        ..*ground
    };
    let planted = triggers.plant(world, other);
    let mut rows: Vec<(&Relation, Insert)> = Vec::new();
    for relation in world.relations() {
        let built = baited(world, triggers, relation, ground.role, ground.tenant, 0);
        rows.extend(built.into_iter().map(|insert| (relation, insert)));
    }
    if rows.is_empty() {
        return Ok(());
    }
    let inserts: Vec<Insert> = rows.iter().map(|(_, insert)| insert.clone()).collect();
    let known = literals(conn, world.unbound(), &inserts, world.budget).await?;
    let steps: Vec<(&Relation, String)> = rows
        .iter()
        .map(|(relation, insert)| {
            let sql = known.get(&insert.sql).unwrap_or(&insert.sql);
            let whole = world
                .grant(ground.role, relation)
                .is_some_and(|grant| grant.select);
            let shown = if whole {
                "pg_catalog.to_jsonb(kinedb_new)"
            } else {
                "true"
            };
            let back = if whole { "*" } else { "1" };
            (
                *relation,
                format!(
                    "with kinedb_new as ({sql} returning {back}) select coalesce(pg_catalog.jsonb_agg({shown}), '[]')::text from kinedb_new"
                ),
            )
        })
        .collect();
    let insert = |probe: &mut Probe| -> Vec<usize> {
        probe.all(&ground.enter);
        let steps = steps.iter();
        steps
            .map(|(_, sql)| probe.step(Kind::Make, sql.clone()))
            .collect()
    };
    let mut probes = Vec::new();
    let mut places = Vec::new();
    for gone in [false, false, true] {
        let mut probe = Probe::new();
        if gone {
            vanish(world, ground, &mut probe);
        } else if !planted.is_empty() {
            probe.step(
                Kind::Execute,
                "set local session_replication_role = replica",
            );
            for sql in &planted {
                probe.step(Kind::Try, sql.clone());
            }
            probe.step(Kind::Execute, "set local session_replication_role = origin");
        }
        places.push(insert(&mut probe));
        probes.push(probe);
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    let [first, again, without] = &answers[..] else {
        return Ok(());
    };
    let mut told = Vec::new();
    for (at, (relation, sql)) in steps.iter().enumerate() {
        report.outcome.probes += 1;
        let look = |answer: &Answer, turn: usize| Outcome::of(answer, places[turn][at]);
        let (Some(there), Some(steady), Some(gone)) =
            (look(first, 0), look(again, 1), look(without, 2))
        else {
            continue;
        };
        if !told.contains(&relation.oid) && there.tells(&steady, &gone) {
            told.push(relation.oid);
            report.find(
                "function-reaches-foreign-rows",
                Cell::new(relation, ground.role, Action::Insert),
                format!(
                    "what a trigger of it makes of an own row depends on rows of another tenant: {}",
                    there.against(&gone)
                ),
                Some(reproduce(&ground.enter, sql)),
            );
        }
    }
    Ok(())
}

/// What became of a row.
enum Outcome {
    Refused(Failure),
    /// As it was stored, where that could be seen.
    Stored(Vec<Map<String, Value>>),
}

impl Outcome {
    /// None where time ran out, or what was asked never ran.
    fn of(answer: &Answer, place: usize) -> Option<Self> {
        if answer.state(place).is_some_and(cut_short) {
            return None;
        }
        if let Some(failure) = answer.refused(place) {
            return Some(Self::Refused(failure));
        }
        let rows: Vec<Value> = serde_json::from_str(answer.text(place)?).ok()?;
        let objects = rows.into_iter().map(|row| match row {
            Value::Object(columns) => columns,
            _ => Map::new(),
        });
        Some(Self::Stored(objects.collect()))
    }

    /// Whether it is another without the other tenant's rows, and not by chance. What a
    /// constraint says of them is told where the constraints are.
    fn tells(&self, again: &Self, gone: &Self) -> bool {
        match (self, again, gone) {
            (Self::Refused(one), Self::Refused(two), Self::Refused(three)) => {
                one.state == two.state
                    && one.state != three.state
                    && !one.past_policies()
                    && !three.past_policies()
            }
            (Self::Refused(one), Self::Refused(two), Self::Stored(rows))
            | (Self::Stored(rows), Self::Stored(_), Self::Refused(one @ two)) => {
                one.state == two.state && !one.past_policies() && !rows.is_empty()
            }
            (Self::Stored(one), Self::Stored(two), Self::Stored(three)) => {
                let rows = one.iter().zip(two).zip(three);
                rows.into_iter().any(|((one, two), three)| {
                    one.iter().any(|(column, value)| {
                        two.get(column) == Some(value)
                            && three.get(column).is_some_and(|now| now != value)
                    })
                })
            }
            _ => false,
        }
    }

    /// For a report: no value of a row.
    fn against(&self, gone: &Self) -> String {
        let said = |one: &Self| match one {
            Self::Refused(failure) => format!("SQLSTATE {}", failure.state),
            Self::Stored(_) => "a row".to_owned(),
        };
        match (self, gone) {
            (Self::Stored(one), Self::Stored(other)) => {
                let mut differ: Vec<&str> = one
                    .iter()
                    .zip(other)
                    .flat_map(|(one, other)| {
                        let columns = one.iter();
                        columns.filter(|(name, value)| other.get(*name) != Some(*value))
                    })
                    .map(|(name, _)| name.as_str())
                    .collect();
                differ.dedup();
                format!("`{}` is another without them", differ.join("`, `"))
            }
            _ => format!("{} with them, {} without", said(self), said(gone)),
        }
    }
}
