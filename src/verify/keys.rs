//! Whose row is it: SQL predicates from a relation's tenant key.
//!
//! Every predicate is for a query that reads the relation unaliased, so that
//! configured expressions may name its columns with or without the table.

use super::model::{Relation, RelationKind, Scope, TenantKey};
use super::session::fill;
use crate::db::ident::{Ident, Literal};

/// How deep parents of parents are followed.
const DEPTH: usize = 8;

/// Types whose equality is not identity, or which have no equality.
fn by_text(type_name: &str) -> bool {
    let name = type_name.to_ascii_lowercase();
    name.contains("citext")
        || name.starts_with("character(")
        || name == "character"
        || name.starts_with("json")
        || name.ends_with("[]")
        || name == "name"
}

fn column(relation: &Relation, name: &Ident) -> String {
    format!("{}.{name}", relation.name)
}

/// `column = id`, in the form that an index can serve and that never fails on
/// the text of an id of another type.
fn equals(relation: &Relation, name: &Ident, type_name: &str, id: &str) -> String {
    let column = column(relation, name);
    if by_text(type_name) || !fits(type_name, id) {
        format!("{column}::text = {}", Literal::new(id))
    } else {
        format!("{column} = {}", Literal::new(id))
    }
}

/// Whether the text of an id can be a value of the key's type.
pub(crate) fn fits(type_name: &str, id: &str) -> bool {
    match type_name {
        "uuid" => uuid::Uuid::try_parse(id).is_ok(),
        "integer" => id.parse::<i32>().is_ok(),
        "bigint" => id.parse::<i64>().is_ok(),
        "smallint" => id.parse::<i16>().is_ok(),
        name if name.starts_with("numeric") => id.parse::<i64>().is_ok(),
        "text" | "character varying" => true,
        name => name.starts_with("character varying("),
    }
}

/// The rows of tenant `id`. None where nothing tells whose a row is.
pub(crate) fn own(
    scope: &Scope,
    relation: &Relation,
    id: &str,
    user: Option<&str>,
) -> Option<String> {
    predicate(scope, relation, id, user, DEPTH, false)
}

/// The rows of any tenant but `id`; shared rows (NULL) are neither.
pub(crate) fn foreign(
    scope: &Scope,
    relation: &Relation,
    id: &str,
    user: Option<&str>,
) -> Option<String> {
    predicate(scope, relation, id, user, DEPTH, true)
}

fn predicate(
    scope: &Scope,
    relation: &Relation,
    id: &str,
    user: Option<&str>,
    depth: usize,
    foreign: bool,
) -> Option<String> {
    match &relation.tenant {
        TenantKey::Column {
            column: name,
            type_name,
            ..
        } => {
            let equal = equals(relation, name, type_name, id);
            Some(if foreign {
                let shared: String = relation
                    .shared
                    .iter()
                    .map(|share| format!(" and ({}) is not true", fill(&share.predicate, id, user)))
                    .collect();
                let also: String = scope
                    .users
                    .also(id)
                    .iter()
                    .map(|other| {
                        format!(
                            " and ({}) is false",
                            equals(relation, name, type_name, other)
                        )
                    })
                    .collect();
                format!("(({equal}) is false{also}{shared})")
            } else {
                format!("({equal})")
            })
        }
        TenantKey::Expression(expression) => {
            let mut ids = Literal::new(id).to_string();
            if foreign {
                for other in scope.users.also(id) {
                    ids.push_str(&format!(", {}", Literal::new(&other)));
                }
            }
            let operator = if foreign { "not in" } else { "in" };
            Some(format!("(({expression})::text {operator} ({ids}))"))
        }
        TenantKey::Parent {
            columns,
            parent,
            references,
        } => {
            let above = scope.relation(*parent).filter(|_| depth > 0)?;
            let inner = predicate(scope, above, id, user, depth - 1, foreign)?;
            let join = columns
                .iter()
                .zip(references)
                .map(|(own, key)| format!("{} = {}", column(above, key), column(relation, own)))
                .collect::<Vec<_>>()
                .join(" and ");
            if above.oid == relation.oid {
                return None;
            }
            Some(format!(
                "exists (select from {} where {join} and {inner})",
                above.name
            ))
        }
        TenantKey::Owns(predicate) => {
            let filled = |tenant: &str, user: Option<&str>| {
                let known = scope.users.of(tenant);
                let user = user.or(known.as_deref());
                if user.is_none() && mentions_user(predicate) {
                    return "false".to_owned(); // nobody is known there
                }
                fill(predicate, tenant, user)
            };
            let own = format!("coalesce(({}), false)", filled(id, user));
            if !foreign {
                return Some(own);
            }
            if mentions_user(predicate) {
                // Whoever else owns it, in this tenant or another, it is not this user's.
                let mine = filled(id, user);
                return (mine != "false").then(|| format!("(({mine}) is false)"));
            }
            // Only tenants that are known can be told from nobody's.
            // Where the database has none, those that were made up are known.
            let made = match &scope.tenants.sample[..] {
                [] => scope.users.tenants(),
                _ => std::collections::BTreeSet::new(),
            };
            let known = scope.tenants.sample.iter().chain(&made);
            let others = known
                .filter(|other| other.as_str() != id)
                .map(|other| format!("({})", filled(other, None)))
                .collect::<Vec<_>>();
            if others.is_empty() {
                return None;
            }
            Some(format!("(not {own} and ({}))", others.join(" or ")))
        }
        TenantKey::Global | TenantKey::Unknown => None,
    }
}

/// Whether a predicate asks for the user, in the text that `fill` reads.
pub(crate) fn mentions_user(predicate: &str) -> bool {
    fill(predicate, "", Some("kinedb user")).contains("'kinedb user'")
}

/// Shared rows: those that no tenant owns by a NULL key.
pub(crate) fn shared(relation: &Relation) -> Option<String> {
    match &relation.tenant {
        TenantKey::Column {
            column: name,
            nullable: true,
            ..
        } => Some(format!("({} is null)", column(relation, name))),
        TenantKey::Expression(expression) => Some(format!("(({expression}) is null)")),
        _ => None,
    }
}

/// Whether a text names a column, as a word of its own.
pub(crate) fn speaks_of(text: &str, name: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let before = rest[..at].chars().next_back();
        let after = rest[at + name.len()..].chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if !word(before) && !word(after) {
            return true;
        }
        rest = &rest[at + name.len()..];
    }
    false
}

/// The key column, where it is one.
pub(crate) fn key(relation: &Relation) -> Option<(&Ident, &str)> {
    match &relation.tenant {
        TenantKey::Column {
            column, type_name, ..
        } => Some((column, type_name)),
        _ => None,
    }
}

/// Whether a relation holds rows that have an owner by key.
pub(crate) fn owned(relation: &Relation) -> bool {
    !matches!(relation.tenant, TenantKey::Global | TenantKey::Unknown)
}

/// Whether the rows of a relation have a place that names them (`ctid`).
pub(crate) fn has_places(relation: &Relation) -> bool {
    matches!(
        relation.kind,
        RelationKind::Table | RelationKind::PartitionedTable
    )
}

/// An id that resembles this one as closely as its type allows: same length,
/// same beginning, or the same but for case. `turn` gives another each time.
pub(crate) fn lookalike(type_name: &str, id: &str, turn: u32) -> Option<String> {
    match type_name {
        "uuid" => {
            let value = uuid::Uuid::try_parse(id).ok()?.as_u128();
            Some(uuid::Uuid::from_u128(value ^ u128::from(turn + 1)).to_string())
        }
        "integer" | "bigint" | "smallint" => {
            let value: i64 = id.parse().ok()?;
            let next = value
                .checked_mul(10)
                .and_then(|n| n.checked_add(i64::from(turn)))
                .filter(|n| fits(type_name, &n.to_string()) && *n != value);
            Some(
                next.unwrap_or(value.wrapping_sub(1 + i64::from(turn)))
                    .to_string(),
            )
        }
        _ => {
            let swapped: String = id
                .chars()
                .map(|c| {
                    if c.is_lowercase() {
                        c.to_uppercase().next().unwrap_or(c)
                    } else {
                        c.to_lowercase().next().unwrap_or(c)
                    }
                })
                .collect();
            let mut forms = Vec::new();
            // Where case tells nothing apart, that would be the same tenant.
            if swapped != id && !id.is_empty() && !type_name.ends_with("citext") {
                forms.push(swapped);
            }
            forms.push(format!("{id}0"));
            forms.push(format!("{id}-{turn}"));
            forms.into_iter().nth(turn as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_lookalike_is_another_id(id in "[a-zA-Z0-9_%-]{1,20}", turn in 0u32..2) {
            let other = lookalike("text", &id, turn).unwrap();
            prop_assert_ne!(other, id);
        }

        #[test]
        fn a_lookalike_of_a_number_fits(id in any::<i32>(), turn in 0u32..9) {
            let other = lookalike("integer", &id.to_string(), turn);
            if let Some(other) = other {
                prop_assert_ne!(&other, &id.to_string());
                prop_assert!(fits("integer", &other) || id == i32::MIN || id < i32::MIN + 20);
            }
        }
    }

    #[test]
    fn a_lookalike_differs_by_more_than_case_where_case_tells_nothing() {
        assert_eq!(lookalike("text", "ab", 0).as_deref(), Some("AB"));
        assert_eq!(lookalike("citext", "ab", 0).as_deref(), Some("ab0"));
    }

    #[test]
    fn a_lookalike_uuid_differs_in_its_last_digit() {
        assert_eq!(
            lookalike("uuid", "aaaaaaaa-0000-4000-8000-00000000000a", 0).as_deref(),
            Some("aaaaaaaa-0000-4000-8000-00000000000b")
        );
    }
}
