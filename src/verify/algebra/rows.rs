//! Rows that need not exist: one SELECT that joins, for every column the
//! predicate speaks of, the values worth trying, stamped with other tenants.

use std::collections::BTreeSet;

use crate::db::ident::{Ident, Literal};
use crate::verify::details::ColumnDetail;
use crate::verify::keys::{self, speaks_of};
use crate::verify::model::{ExceptionKind, Oid, Policy, Relation, TenantKey};
use crate::verify::scope::documents::paths;
use crate::verify::synth::{Harvest, admitted, candidates, text_of, told_by};
use crate::verify::world::{World, names};

/// Values of one column, and columns that vary, so that the join stays small.
const VALUES: usize = 12;
const COLUMNS: usize = 5;
/// Values that a column's checks speak of.
const CHECKED: usize = 4;
/// Rows tried at most.
const ROWS: usize = 20_000;

/// What the rows hold in the columns that the predicate speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// Values that say nothing.
    Plain,
    /// The same, and what names the session's own tenant: no text's casts stumble over these.
    Own,
    /// Every value of its text.
    Wide,
}

/// A query that counts foreign rows that the predicate admits, over these values. None where the relation's key is
/// not a column.
pub(super) fn query(
    world: &World<'_>,
    relation: &Relation,
    tenant: usize,
    predicate: &str,
    kind: Values,
) -> Option<String> {
    let TenantKey::Column { type_name, .. } = &relation.tenant else {
        return None;
    };
    let mut ids = others(world, tenant);
    ids.retain(|id| keys::fits(type_name, id) || !known(type_name));
    stamped(world, relation, tenant, predicate, kind, &ids)
}

/// The same, of rows stamped with these ids.
pub(super) fn stamped(
    world: &World<'_>,
    relation: &Relation,
    tenant: usize,
    predicate: &str,
    kind: Values,
    ids: &[&str],
) -> Option<String> {
    let TenantKey::Column { column, .. } = &relation.tenant else {
        return None;
    };
    if ids.is_empty() {
        return None;
    }
    let spoken = spoken(world, relation, predicate);
    let harvest = Harvest::of(&spoken);
    let build = || {
        let mut varied = 0;
        let mut lists = Vec::new();
        for detail in world.details.columns_of(relation.oid) {
            let values = if detail.name == column.as_str() {
                ids.iter()
                    .map(|id| format!("{}::{}", Literal::new(*id), bare(detail)))
                    .collect()
            } else if kind != Values::Plain
                && varied < COLUMNS
                && speaks_of(&spoken, &detail.name)
                // Rows that are shared on purpose are told by which they are.
                && !relation.shared.iter().any(|share| share.target.as_str() == detail.name)
            {
                varied += 1;
                let mut list = if kind == Values::Wide {
                    values(world, relation, detail, &harvest)
                } else {
                    vec![plain(world, relation, detail)]
                };
                list.extend(document(detail, &spoken, world.id(tenant)));
                list
            } else {
                let mut list = vec![plain(world, relation, detail)];
                list.extend(checked(world, relation, detail));
                list
            };
            lists.push((detail, values));
        }
        narrow(&mut lists);
        let mut from = Vec::new();
        for (detail, values) in lists {
            from.push(format!(
                "(select kinedb_value as {} from {}) as kinedb_{}",
                Ident::new(&detail.name),
                admitted(&world.details, detail, &values),
                from.len()
            ));
        }
        let columns = world
            .details
            .columns_of(relation.oid)
            .map(|detail| Ident::new(&detail.name).to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let mut filter = vec![format!("({predicate})")];
        for check in &world.details.checks {
            if check.relation == relation.oid {
                filter.push(format!("({}) is not false", check.check));
            }
        }
        // A generated column holds what it is made of.
        filter.extend(told_by(&world.details, relation).map(|expression| {
            format!(
                "({expression}) is not distinct from {}",
                Ident::new(column.as_str())
            )
        }));
        // What the user himself wrote or belongs to is his own, in whichever tenant: small
        // numbers are easily his.
        if let Some(user) = world.scope.users.of(world.id(tenant)) {
            let mut own: BTreeSet<&str> = BTreeSet::new();
            for one in Policy::on(&world.scope.policies, relation.oid) {
                own.extend(one.user_columns.iter().map(String::as_str));
            }
            own.retain(|name| *name != column.as_str());
            for name in own {
                filter.push(format!(
                    "({}::text is distinct from {})",
                    Ident::new(name),
                    Literal::new(&user)
                ));
            }
        }
        for exception in &world.scope.exceptions {
            if exception.kind == ExceptionKind::SharedRows
                && !exception.expired
                && names(relation, &exception.object)
            {
                filter.push(match &exception.filter {
                    Some(text) => format!("(({text}) is not true)"),
                    None => "false".to_owned(),
                });
            }
        }
        format!(
            "select count(*) from (select 1 from (select {columns} from {}) as {} where {} limit 100) as kinedb_rows",
            from.join(" cross join "),
            relation.name.name,
            filter.join(" and ")
        )
    };
    Some(build())
}

/// Tenants that rows are stamped with which are none of this one's.
pub(super) fn others<'w>(world: &'w World<'_>, tenant: usize) -> Vec<&'w str> {
    let also = world.scope.users.also(world.id(tenant));
    world
        .stage
        .tenants
        .iter()
        .map(|other| other.id.as_str())
        .filter(|id| *id != world.id(tenant) && !also.contains(*id))
        .take(6)
        .collect()
}

/// The predicate, with the texts of the functions that the relation's policies call.
pub(super) fn spoken(world: &World<'_>, relation: &Relation, predicate: &str) -> String {
    let mut called: BTreeSet<Oid> = Policy::on(&world.scope.policies, relation.oid)
        .flat_map(|predicate| predicate.functions.iter().copied())
        .collect();
    let functions = &world.scope.functions;
    let inner: Vec<Oid> = functions
        .iter()
        .filter(|function| called.contains(&function.oid))
        .flat_map(|function| function.body.calls.iter().copied())
        .collect();
    called.extend(inner);
    functions
        .iter()
        .filter(|function| called.contains(&function.oid))
        .fold(predicate.to_owned(), |text, function| {
            text + "\n" + &function.body.text
        })
}

/// Shortens the longest lists until the rows they make are few enough.
fn narrow(lists: &mut [(&ColumnDetail, Vec<String>)]) {
    while lists
        .iter()
        .map(|(_, values)| values.len())
        .product::<usize>()
        > ROWS
        && let Some((_, longest)) = lists.iter_mut().max_by_key(|(_, values)| values.len())
    {
        longest.pop();
    }
}

fn known(type_name: &str) -> bool {
    matches!(type_name, "uuid" | "integer" | "bigint" | "smallint")
}

/// The type that values are tried in: below a domain, which would stop the query over
/// a value that it refuses.
fn bare(detail: &ColumnDetail) -> &str {
    if detail.domain {
        &detail.base_type
    } else {
        &detail.type_name
    }
}

/// The value of the row that was made for another tenant, or a plain one.
pub(super) fn plain(world: &World<'_>, relation: &Relation, detail: &ColumnDetail) -> String {
    world
        .lookalike
        .and_then(|other| world.stage.row(relation.oid, other))
        .and_then(|made| made.values.get(&detail.name))
        .and_then(text_of)
        .map_or_else(
            || {
                if detail.not_null && !detail.domain {
                    candidates(detail, 3, &Harvest::default())
                        .into_iter()
                        .next()
                        .map(|value| format!("({value})::{}", bare(detail)))
                } else {
                    None
                }
                .unwrap_or_else(|| format!("null::{}", bare(detail)))
            },
            |text| format!("{}::{}", Literal::new(text), bare(detail)),
        )
}

/// What the column's own checks speak of: a plain value may not pass them.
fn checked(world: &World<'_>, relation: &Relation, detail: &ColumnDetail) -> Vec<String> {
    let made = world
        .lookalike
        .is_some_and(|other| world.stage.row(relation.oid, other).is_some());
    if made || !detail.not_null || detail.domain {
        return Vec::new();
    }
    let texts: String = world
        .details
        .checks
        .iter()
        .filter(|check| check.relation == relation.oid && speaks_of(&check.check, &detail.name))
        .map(|check| check.check.as_str())
        .collect();
    if texts.is_empty() {
        return Vec::new();
    }
    candidates(detail, 3, &Harvest::of(&texts))
        .into_iter()
        .take(CHECKED)
        .map(|value| format!("({value})::{}", bare(detail)))
        .collect()
}

/// A document that names the session's own tenant wherever the text looks into it.
fn document(detail: &ColumnDetail, spoken: &str, id: &str) -> Option<String> {
    if !detail.base.starts_with("json") {
        return None;
    }
    let document: serde_json::Map<String, serde_json::Value> = paths(spoken)
        .into_iter()
        .filter(|path| path.len() == 1)
        .flatten()
        .map(|key| (key, id.into()))
        .collect();
    (!document.is_empty()).then(|| {
        let text = serde_json::Value::Object(document).to_string();
        format!("{}::{}", Literal::new(text), bare(detail))
    })
}

fn values(
    world: &World<'_>,
    relation: &Relation,
    detail: &ColumnDetail,
    harvest: &Harvest,
) -> Vec<String> {
    let mut list = vec![plain(world, relation, detail)];
    if !detail.not_null {
        list.push(format!("null::{}", bare(detail)));
    }
    let textual = matches!(
        detail.base.as_str(),
        "text" | "varchar" | "citext" | "bpchar"
    );
    if textual {
        // Only what the text says: other texts might not survive its casts.
        list.extend(
            harvest
                .texts()
                .into_iter()
                .filter(|text| text.len() < 60)
                .map(|text| format!("{}::{}", Literal::new(text), bare(detail))),
        );
    } else if !detail.domain && detail.base != "uuid" {
        list.extend(
            candidates(detail, 3, harvest)
                .into_iter()
                .map(|value| format!("({value})::{}", bare(detail))),
        );
    }
    list.dedup();
    list.truncate(VALUES);
    list
}

#[cfg(test)]
mod tests {
    use super::speaks_of;

    #[test]
    fn columns_are_words() {
        assert!(speaks_of("(status = 'x')", "status"));
        assert!(!speaks_of("(status_code = 'x')", "status"));
        assert!(speaks_of("(status_code = 1 and status)", "status"));
    }
}
