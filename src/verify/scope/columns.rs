//! The tenant of a row by what stands in the row: a column that refers to the tenants, or
//! what the relation's own policies compare with the session.

use std::collections::{BTreeSet, HashMap};

use super::raw;
use super::relations::{Input, reads};
use super::{detect, documents, entry};
use crate::db::ident::{Ident, Qualified};
use crate::verify::model::{Oid, Policy, TenantKey};

pub(super) fn of_column(column: &raw::Column) -> TenantKey {
    TenantKey::Column {
        column: Ident::new(&column.name),
        type_name: column.type_name.clone(),
        nullable: !column.not_null,
    }
}

/// Two columns that refer to the table of tenants and that a policy compares with the session,
/// while the usual column is missing: a row between two tenants belongs to both.
pub(super) fn two_ends(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
    let (table, _) = input.table?;
    let usual = input.columns.first()?;
    if !input.isolation.tenant_columns.is_empty() || relation.column_named(usual).is_some() {
        return None;
    }
    let name = Qualified::new(&relation.schema, &relation.name);
    let ends: BTreeSet<&str> = input
        .snapshot
        .references
        .iter()
        .filter(|reference| reference.child == relation.oid && reference.parent == *table)
        .filter(|reference| reference.columns.len() == 1)
        .filter_map(|reference| relation.column(*reference.columns.first()?))
        .map(|column| column.name.as_str())
        .filter(|column| {
            input
                .policies
                .iter()
                .filter(|policy| policy.relation == relation.oid && policy.permissive)
                .filter_map(|policy| policy.using.as_ref())
                .any(|using| using.session_columns.iter().any(|own| own == column))
        })
        .collect();
    let list: Vec<String> = ends
        .iter()
        .map(|column| format!("{name}.{}::text", Ident::new(*column)))
        .collect();
    (list.len() > 1).then(|| TenantKey::Owns(format!(":tenant in ({})", list.join(", "))))
}

/// A user's own rows: nothing was told, and all that the policies ask of a row to be
/// seen is whose it is, though it names a tenant, too.
pub(super) fn own_rows(
    input: &Input<'_>,
    relation: &raw::Relation,
    key: &TenantKey,
) -> Option<TenantKey> {
    let TenantKey::Column { column: key, .. } = key else {
        return None;
    };
    if !input.isolation.tenant_columns.is_empty() {
        return None;
    }
    let mut users = BTreeSet::new();
    for policy in input.policies {
        if policy.relation != relation.oid
            || !policy.permissive
            || !matches!(policy.command, 'r' | '*')
        {
            continue;
        }
        let using = policy.using.as_ref()?;
        let one = using.session_columns.first()?;
        if using.session_columns.len() > 1
            || one == key.as_str()
            || !using.user_columns.contains(one)
            || !using.reads.is_empty()
        {
            return None;
        }
        users.insert(one.as_str());
    }
    let mut users = users.into_iter();
    let column = users.next().filter(|_| users.next().is_none())?;
    let name = Qualified::new(&relation.schema, &relation.name);
    Some(TenantKey::Owns(format!(
        "{name}.{}::text = :user",
        Ident::new(column)
    )))
}

/// The tenant table's own key, and columns of other names that reference it alone.
pub(super) fn by_table(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
    let (table, key) = input.table?;
    if relation.oid == *table {
        return relation.column_named(key).map(of_column);
    }
    let target = input.snapshot.relation(*table)?.column_named(key)?.number;
    let mut columns = input
        .snapshot
        .references
        .iter()
        .filter(|reference| {
            reference.child == relation.oid
                && reference.parent == *table
                && reference.targets == [target]
                && reference.columns.len() == 1
        })
        .filter_map(|reference| relation.column(*reference.columns.first()?));
    // Two such columns (from, to) do not tell whose row it is.
    columns
        .next()
        .filter(|_| columns.next().is_none())
        .map(of_column)
}

/// The part of a path that the relation's policies compare with the session: `split_part(name, '/', 1)`.
pub(super) fn by_path(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
    let name = Qualified::new(&relation.schema, &relation.name);
    let predicates = Policy::on(input.policies, relation.oid);
    let mut keys: Vec<TenantKey> = Vec::new();
    for predicate in predicates {
        for column in &predicate.session_columns {
            let Some(known) = relation.column_named(column) else {
                continue;
            };
            let Some(place) = detect::path_part(&predicate.text, column) else {
                continue;
            };
            let own = Ident::new(&known.name);
            let part = format!("split_part({own}, '/', {place})");
            let key = if predicate.user_columns.contains(column) {
                TenantKey::Owns(format!("split_part({name}.{own}, '/', {place}) = :user"))
            } else {
                TenantKey::Expression(part)
            };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    // Two parts do not tell whose row it is.
    (keys.len() == 1).then(|| keys.remove(0))
}

/// The part of a document that the relation's policies compare with the session: `doc ->> 'tenant'`.
pub(super) fn by_json(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
    let mut parts = BTreeSet::new();
    for predicate in Policy::on(input.policies, relation.oid) {
        for name in &predicate.session_columns {
            let json = relation
                .column_named(name)
                .is_some_and(|column| column.type_name.starts_with("json"));
            if json && !predicate.user_columns.contains(name) {
                parts.extend(documents::part(&predicate.text, name));
            }
        }
    }
    let mut parts = parts.into_iter();
    parts
        .next()
        .filter(|_| parts.next().is_none())
        .map(TenantKey::Expression)
}

/// A single column that the relation's own policies compare with the session.
pub(super) fn by_policy<'a>(
    input: &Input<'_>,
    relation: &raw::Relation,
    tied: impl Iterator<Item = &'a String>,
) -> Option<TenantKey> {
    let usual = input
        .snapshot
        .relations
        .iter()
        .find_map(|other| {
            input
                .columns
                .iter()
                .find_map(|name| other.column_named(name))
        })
        .map(|column| column.type_name.as_str());
    let mut columns = tied
        .filter(|name| input.columns.is_empty() || !entry::about_user(name))
        .filter_map(|name| relation.column_named(name))
        .filter(|column| !leads_on(input, relation, column))
        .filter(|column| usual.is_none_or(|usual| usual == column.type_name));
    columns
        .next()
        .filter(|_| columns.next().is_none())
        .map(|column| by_session(input, relation, column))
}

/// A column that refers to a row which has a tenant of its own, as a foreign key or a policy
/// says, or that a table which the
/// policies read refers to: it leads to the tenant, and is not the tenant.
fn leads_on(input: &Input<'_>, relation: &raw::Relation, column: &raw::Column) -> bool {
    let read = |oid: Oid| reads(input, relation.oid, oid);
    let bears = |oid: Oid| {
        input.snapshot.relation(oid).is_some_and(|other| {
            input
                .columns
                .iter()
                .any(|name| other.column_named(name).is_some())
        })
    };
    let joined = Policy::on(input.policies, relation.oid)
        .flat_map(|predicate| predicate.joins.iter().flatten())
        .filter(|join| join.relation != relation.oid && bears(join.relation))
        .flat_map(|join| &join.pairs)
        .any(|(own, theirs)| *own == column.name && !input.columns.contains(theirs));
    // Found by a row that refers to it, whosever that is.
    let found = Policy::on(input.policies, relation.oid)
        .flat_map(|predicate| &predicate.finds)
        .filter(|join| join.pairs.iter().any(|(own, _)| *own == column.name))
        .any(|join| {
            input.snapshot.references.iter().any(|reference| {
                reference.child == join.relation
                    && reference.child != relation.oid
                    && reference.parent == relation.oid
                    && reference.targets == [column.number]
            })
        });
    joined
        || found
        || input.snapshot.references.iter().any(|reference| {
            reference.parent == relation.oid
                && reference.child != relation.oid
                && reference.targets == [column.number]
                && read(reference.child)
                && bears(reference.child)
                || reference.child == relation.oid
                    && reference.columns == [column.number]
                    && input
                        .table
                        .is_none_or(|(table, _)| *table != reference.parent)
                    && bears(reference.parent)
        })
}

/// The column as the tenant's, or as the user's where policies compare it with that.
fn by_session(input: &Input<'_>, relation: &raw::Relation, column: &raw::Column) -> TenantKey {
    if !by_user(input, relation, column) {
        return of_column(column);
    }
    let name = Qualified::new(&relation.schema, &relation.name);
    TenantKey::Owns(format!("{name}.{}::text = :user", Ident::new(&column.name)))
}

/// Tables that nothing else tells about, by whatever single column their policies
/// compare with the session; columns of users only where nothing else is compared anywhere.
pub(super) fn last_resort(input: &Input<'_>, keys: &mut HashMap<Oid, TenantKey>) {
    let tied = detect::tied(input.policies);
    for relation in &input.snapshot.relations {
        if keys.contains_key(&relation.oid) {
            continue;
        }
        let mut columns = tied
            .get(&relation.oid)
            .into_iter()
            .flatten()
            .filter(|name| input.columns.is_empty() || !entry::about_user(name))
            .filter_map(|name| relation.column_named(name))
            .filter(|column| !leads_on(input, relation, column));
        if let Some(column) = columns.next()
            && columns.next().is_none()
            && detect::alike(input.snapshot, input.columns, column)
        {
            keys.insert(relation.oid, by_session(input, relation, column));
            continue;
        }
        // A user's own rows, whatever tenants the user is in.
        let mut users: Vec<&String> = Policy::on(input.policies, relation.oid)
            .flat_map(|predicate| &predicate.user_columns)
            .collect();
        users.sort_unstable();
        users.dedup();
        if let [user] = users[..]
            && !input.columns.is_empty()
            && input.isolation.tenant_columns.is_empty()
            && relation.column_named(user).is_some()
        {
            let name = Qualified::new(&relation.schema, &relation.name);
            let own = format!("{name}.{}::text = :user", Ident::new(user));
            keys.insert(relation.oid, TenantKey::Owns(own));
        }
    }
}

/// A row's own key that policies compare with the user, not with the tenant.
fn by_user(input: &Input<'_>, relation: &raw::Relation, column: &raw::Column) -> bool {
    !input.columns.is_empty()
        && !input.columns.contains(&column.name)
        && Policy::on(input.policies, relation.oid).any(|predicate| {
            predicate.session_columns.contains(&column.name)
                && predicate.user_columns.contains(&column.name)
        })
}
