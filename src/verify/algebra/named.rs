//! Tenants that the policies name themselves: an id written into a policy, or into a
//! function that it calls, may open more than what is that tenant's own. None of the
//! sampled contexts need be that one, and there may be no such tenant at all.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::predicate::{Check, effective};
use super::{Usage, rows};
use crate::verify::keys;
use crate::verify::model::{ActAs, ExceptionKind, Function, Policy, Relation};
use crate::verify::probes::report::{Cell, Report, reproduce};
use crate::verify::script::{self, Kind, Probe};
use crate::verify::session::Setting;
use crate::verify::synth::Harvest;
use crate::verify::world::{World, is_view};

/// Ids tried of one schema.
const IDS: usize = 8;

/// Enters the context of each id that the policies name, and asks whether rows of others pass.
pub(super) async fn evaluate(
    conn: &mut PgConnection,
    world: &World<'_>,
    usage: &Usage,
    report: &mut Report,
) -> anyhow::Result<()> {
    // Most policies of a schema say the same.
    let mut read = HashMap::new();
    let relations: Vec<(&Relation, BTreeSet<String>)> = world
        .relations()
        .filter(|relation| relation.rls && !is_view(relation) && !report.leaks(&relation.label))
        .map(|relation| (relation, ids(world, relation, &mut read)))
        .filter(|(_, ids)| !ids.is_empty())
        .collect();
    let ids: BTreeSet<&String> = relations.iter().flat_map(|(_, ids)| ids).collect();
    let mut probes = Vec::new();
    let mut asked = Vec::new();
    for (role, _) in world.acting() {
        let way = role.context.as_ref().unwrap_or(&world.scope.context);
        let told = way.iter().any(|statement| statement.contains(":tenant"));
        let Some(&tenant) = world.contexts_of(role).first() else {
            continue;
        };
        if !told || role.act_as == ActAs::Login || role.bypasses && role.reach.len() == 1 {
            continue;
        }
        for id in ids.iter().take(IDS) {
            let setting = Setting::Odd {
                label: "named by the policies",
                value: (*id).clone(),
            };
            let enter = world.actors.enter(world.scope, role, &setting);
            let mut probe = Probe::new();
            probe.all(&enter);
            for (relation, own) in &relations {
                let Some(grant) = world
                    .grant(role, relation)
                    .filter(|_| own.contains(*id))
                    .filter(|_| {
                        !world.allows(relation, ExceptionKind::BypassSetting, role)
                            && !world.allows(relation, ExceptionKind::GlobalRead, role)
                    })
                else {
                    continue;
                };
                for check in Check::ALL {
                    if !check.granted(grant)
                        || check == Check::Insert && world.scope.registers(relation)
                    {
                        continue;
                    }
                    let Some(text) = effective(world.scope, relation, role.oid, usage, check)
                    else {
                        continue;
                    };
                    if let Some(sql) =
                        rows::query(world, relation, tenant, &text, rows::Values::Plain)
                    {
                        let place = probe.step(Kind::Look, sql.clone());
                        let show = reproduce(&enter, &sql);
                        asked.push((probes.len(), place, role, *relation, check, *id, show));
                    }
                }
            }
            probes.push(probe);
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    let answers = script::run(conn, &probes, world.budget).await?;
    for (probe, place, role, relation, check, id, show) in asked {
        report.outcome.probes += 1;
        let rows = answers.get(probe).and_then(|answer| answer.number(place));
        if rows.is_some_and(|rows| rows > 0) {
            report.find(
                "predicate-admits-foreign-rows",
                Cell::new(relation, role, check.action()),
                format!(
                    "in the context of `{id}`, which its policies name, {} is true for rows of other tenants",
                    check.name()
                ),
                Some(show),
            );
        }
    }
    Ok(())
}

/// Literals of the policies, and of the functions they call, that may be a tenant's id and
/// are none of those whose rows and contexts are looked at anyway.
fn ids<'w>(
    world: &'w World<'_>,
    relation: &Relation,
    read: &mut HashMap<&'w str, Harvest>,
) -> BTreeSet<String> {
    let Some((column, type_name)) = keys::key(relation) else {
        return BTreeSet::new();
    };
    // A domain takes what its base type takes, or refuses it.
    let base = world
        .details
        .columns_of(relation.oid)
        .find(|detail| detail.domain && detail.name == column.as_str())
        .map_or(type_name, |detail| match detail.base.as_str() {
            "int2" => "smallint",
            "int4" => "integer",
            "int8" => "bigint",
            "varchar" | "bpchar" | "citext" => "text",
            other => other,
        });
    let known = |id: &str| world.stage.tenants.iter().any(|tenant| tenant.id == id);
    let mut spoken: Vec<&str> = Vec::new();
    for predicate in Policy::on(&world.scope.policies, relation.oid) {
        if predicate.settings.is_empty() && predicate.functions.is_empty() {
            continue;
        }
        spoken.push(&predicate.text);
        let called = |function: &&Function| {
            predicate.functions.contains(&function.oid)
                || world.scope.functions.iter().any(|caller| {
                    predicate.functions.contains(&caller.oid)
                        && caller.body.calls.contains(&function.oid)
                })
        };
        if !predicate.functions.is_empty() {
            let functions = world.scope.functions.iter().filter(called);
            spoken.extend(functions.map(|function| function.body.text.as_str()));
        }
    }
    spoken.sort_unstable();
    spoken.dedup();
    let setting = |text: &String| world.scope.settings.contains(&text.to_lowercase());
    let mut ids = BTreeSet::new();
    for text in spoken {
        let harvest = read.entry(text).or_insert_with(|| Harvest::of(text));
        ids.extend(harvest.strings.iter().cloned());
        // What lies on either side of a bound as well.
        let near = |number: &i64| [*number, number.saturating_sub(1), number.saturating_add(1)];
        ids.extend(
            harvest
                .numbers
                .iter()
                .flat_map(near)
                .map(|number| number.to_string()),
        );
    }
    ids.retain(|text| {
        let short = !text.is_empty() && text.len() < 64;
        short && !setting(text) && keys::fits(base, text) && !known(text)
    });
    ids
}
