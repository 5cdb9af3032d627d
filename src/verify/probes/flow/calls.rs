//! The calls that a function is tried with: ids and texts of the other tenant's rows,
//! alone and beside own ones.

use std::collections::BTreeSet;

use crate::db::ident::Literal;
use crate::verify::details::{Argument, ColumnDetail, FunctionDetail};
use crate::verify::model::{Function, Oid};
use crate::verify::probes::digest_of;
use crate::verify::script::Kind;
use crate::verify::synth::text_of;
use crate::verify::world::World;

/// Calls of one function with different arguments.
const CALLS: usize = 32;
/// Ids of the other's tried beside each tenant that is named.
const MIXED: usize = 8;
/// Pairs of rows, one of them the other's, that a function is called with.
const CROSSED: usize = 192;
/// Calls with arguments that the other tenant's rows speak of.
pub(super) fn calls(
    world: &World<'_>,
    function: &Function,
    detail: &FunctionDetail,
    (own, other): (usize, usize),
) -> Vec<(String, Kind)> {
    let lists: Vec<Vec<String>> = detail
        .arguments
        .iter()
        .map(|argument| arguments(world, argument, other))
        .collect();
    let most = lists.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let mut rows: Vec<Vec<String>> = Vec::new();
    // With the rights of its owner it may ask whose one argument is, and use another.
    if function.definer {
        rows.extend(mixed(world, detail, &lists, (own, other)));
        for row in crossed(world, function, detail, &lists, (own, other)) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    let most_rows = rows.len() + CALLS;
    // Every argument goes through its list, each at its own pace, so that pairs differ.
    for turn in 0..most * 3 {
        let row: Vec<String> = lists
            .iter()
            .enumerate()
            .filter_map(|(place, list)| {
                let step = if place == 0 {
                    turn
                } else {
                    turn / most + turn * place
                };
                list.get(step % list.len().max(1)).cloned()
            })
            .collect();
        if row.len() == lists.len() && !rows.contains(&row) && rows.len() < most_rows {
            rows.push(row);
        }
    }
    rows.into_iter()
        .map(|row| {
            let call = format!("{}({})", function.name, row.join(", "));
            if function.kind == 'p' {
                (format!("call {call}"), Kind::Try)
            } else {
                let values = format!("(select {call} as kinedb_value limit 5000) as kinedb_rows");
                (
                    digest_of("pg_catalog.to_jsonb(kinedb_rows)::text", &values),
                    Kind::Call,
                )
            }
        })
        .collect()
}

/// Calls that name a tenant, the own one and the other, beside each of the other's ids.
fn mixed(
    world: &World<'_>,
    detail: &FunctionDetail,
    lists: &[Vec<String>],
    (own, other): (usize, usize),
) -> Vec<Vec<String>> {
    let keyed = keyed(detail);
    let mut rows = Vec::new();
    if keyed.len() < 2 {
        return rows;
    }
    for place in &keyed {
        let argument = &detail.arguments[*place];
        for tenant in [own, other].map(|tenant| world.id(tenant)) {
            let uuid = argument.base == "uuid";
            if uuid && uuid::Uuid::try_parse(tenant).is_err()
                || !uuid && tenant.parse::<i64>().is_err()
            {
                continue;
            }
            let longest = keyed.iter().map(|at| lists[*at].len()).max().unwrap_or(0);
            for turn in 0..longest.min(MIXED) {
                let row = (0..lists.len())
                    .filter_map(|at| {
                        if at == *place {
                            return Some(format!(
                                "{}::{}",
                                Literal::new(tenant),
                                argument.type_name
                            ));
                        }
                        let list = &lists[at];
                        let step = if keyed.contains(&at) { turn } else { 0 };
                        list.get(step % list.len().max(1)).cloned()
                    })
                    .collect::<Vec<_>>();
                if row.len() == lists.len() && !rows.contains(&row) {
                    rows.push(row);
                }
            }
        }
    }
    rows
}

/// Calls that name an own row beside one of the other's, of the tables that the function speaks
/// of, and then two of the other's: whether this one of its users may enter that one of its rooms.
fn crossed(
    world: &World<'_>,
    function: &Function,
    detail: &FunctionDetail,
    lists: &[Vec<String>],
    (own, other): (usize, usize),
) -> Vec<Vec<String>> {
    let keyed = keyed(detail);
    let mut rows: Vec<Vec<String>> = Vec::new();
    if keyed.len() < 2 {
        return rows;
    }
    let body = &function.body;
    let tables: BTreeSet<Oid> = body.reads.iter().chain(&body.writes).copied().collect();
    let keys = |tenant: usize, argument: &Argument| -> Vec<String> {
        let mut found = Vec::new();
        // What rows are known by comes before what else is in them.
        for known in [true, false] {
            for (oid, made) in world.stage.newest_first(tenant) {
                if !tables.contains(&oid) {
                    continue;
                }
                for column in world.details.columns_of(oid) {
                    let value = made.values.get(&column.name).and_then(text_of);
                    let fits = column.base == argument.base && known_by(world, column) == known;
                    if let Some(text) = value.filter(|_| fits) {
                        let literal = format!("{}::{}", Literal::new(text), argument.type_name);
                        if !found.contains(&literal) {
                            found.push(literal);
                        }
                    }
                }
            }
        }
        found.truncate(MIXED);
        found
    };
    let theirs: Vec<Vec<String>> = detail
        .arguments
        .iter()
        .map(|argument| keys(other, argument))
        .collect();
    let owns = keyed.iter().map(|place| (own, place));
    // Of two of the other's each pair is one, wherever it begins.
    for (tenant, place) in owns.chain(keyed.first().map(|place| (other, place))) {
        for mine in keys(tenant, &detail.arguments[*place]) {
            for turn in 0..MIXED {
                let row: Option<Vec<String>> = (0..lists.len())
                    .map(|at| {
                        if at == *place {
                            Some(mine.clone())
                        } else if keyed.contains(&at) {
                            theirs[at].get(turn).cloned()
                        } else {
                            lists[at].first().cloned()
                        }
                    })
                    .collect();
                if let Some(row) = row.filter(|row| !rows.contains(row)) {
                    rows.push(row);
                }
            }
        }
    }
    rows.truncate(CROSSED);
    rows
}

/// Whether rows are found by this column, or find others by it.
fn known_by(world: &World<'_>, column: &ColumnDetail) -> bool {
    let mut uniques = world.details.uniques.iter();
    let mut references = world.details.references.iter();
    uniques
        .any(|unique| unique.relation == column.relation && unique.columns.contains(&column.name))
        || references.any(|reference| {
            reference.relation == column.relation && reference.columns.contains(&column.name)
        })
}

/// The arguments that take ids.
fn keyed(detail: &FunctionDetail) -> Vec<usize> {
    let places = detail.arguments.iter().enumerate();
    places
        .filter(|(_, argument)| is_id(&argument.base))
        .map(|(at, _)| at)
        .collect()
}

/// Types that ids are of.
fn is_id(base: &str) -> bool {
    matches!(base, "uuid" | "int2" | "int4" | "int8")
}

fn arguments(world: &World<'_>, argument: &Argument, other: usize) -> Vec<String> {
    let mut texts: BTreeSet<String> = BTreeSet::new();
    let mut first: Vec<String> = Vec::new();
    let wanted = argument.base.as_str();
    let textual = matches!(wanted, "text" | "varchar" | "citext" | "bpchar" | "name");
    for (oid, made) in world.stage.newest_first(other) {
        for column in world.details.columns_of(oid) {
            let fits = column.base == wanted
                || textual && matches!(column.base.as_str(), "text" | "varchar" | "citext");
            if fits && let Some(text) = made.values.get(&column.name).and_then(text_of) {
                texts.insert(text);
            }
        }
    }
    match wanted {
        "uuid" => first.push(world.id(other).to_owned()),
        _ if textual => {
            first.extend([
                String::new(),
                "%".to_owned(),
                "kinedb".to_owned(),
                world.id(other).to_owned(),
            ]);
        }
        "int2" | "int4" | "int8" | "numeric" => {
            first.push(world.id(other).to_owned());
            first.extend(["1".to_owned(), "100".to_owned()]);
        }
        "bool" => first.extend(["true".to_owned(), "false".to_owned()]),
        "date" | "timestamp" | "timestamptz" => {
            first.extend(["-infinity".to_owned(), "infinity".to_owned()]);
        }
        "json" | "jsonb" => first.push("{}".to_owned()),
        _ => {}
    }
    let mut list: Vec<String> = first.into_iter().chain(texts).take(CALLS).collect();
    list.retain(|text| match wanted {
        "int2" | "int4" | "int8" => text.parse::<i64>().is_ok(),
        "numeric" => text.parse::<f64>().is_ok(),
        _ => true,
    });
    let mut list: Vec<String> = list
        .into_iter()
        .map(|text| format!("{}::{}", Literal::new(text), argument.type_name))
        .collect();
    if list.is_empty() {
        list.push(format!("null::{}", argument.type_name));
    }
    list
}
