//! The relations of the scope and how a row of each tells its tenant.

use std::collections::{HashMap, HashSet};

use super::raw::{self, Reference, Snapshot};
use super::second::Second;
use super::{detect, entry, excepted, names};
use crate::db::ident::{Ident, Qualified};
use crate::verify::config::{Isolation, Table};
use crate::verify::model::{
    Column, Exception, ExceptionKind, Oid, Policy, Relation, RelationKind, TenantKey,
};

/// What the relations are made from.
pub(crate) struct Input<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) isolation: &'a Isolation,
    pub(crate) schemas: &'a [String],
    pub(crate) columns: &'a [String],
    pub(crate) policies: &'a [Policy],
    pub(crate) table: Option<&'a (Oid, String)>,
    pub(crate) exceptions: &'a [Exception],
    pub(crate) second: Option<&'a Second>,
}

/// Puts the relations together.
///
/// # Errors
/// `BadConfig` for names of the configuration that are no relations or columns.
pub(crate) fn build(input: &Input<'_>) -> anyhow::Result<Vec<Relation>> {
    let Input {
        snapshot,
        isolation,
        schemas,
        ..
    } = input;
    let mut told: HashMap<Oid, &Table> = HashMap::new();
    for (name, table) in &isolation.table {
        told.insert(names::relation(snapshot, schemas, name)?.oid, table);
    }
    let mut append_only = Vec::new();
    for name in &isolation.append_only.tables {
        append_only.push(names::relation(snapshot, schemas, name)?.oid);
    }
    let mut sensitive = Vec::new();
    for name in &isolation.sensitive.columns {
        let (relation, number) = names::column(snapshot, schemas, name)?;
        sensitive.push((relation.oid, number));
    }
    let mut keys = keys(input, &told)?;
    parents(input, &told, &mut keys)?;
    links(input, &mut keys);
    last_resort(input, &mut keys);
    let beyond = beyond(snapshot, schemas);
    let in_scope = snapshot
        .relations
        .iter()
        .filter(|relation| schemas.contains(&relation.schema) || beyond.contains(&relation.oid));
    Ok(in_scope
        .map(|relation| {
            let name = Qualified::new(&relation.schema, &relation.name);
            let lines = ancestry(snapshot, relation.oid);
            let columns = relation.columns.iter().map(|column| Column {
                number: column.number,
                name: Ident::new(&column.name),
                type_name: column.type_name.clone(),
                not_null: column.not_null,
                sensitive: sensitive.iter().any(|(oid, number)| {
                    lines.contains(oid)
                        && snapshot
                            .relation(*oid)
                            .and_then(|owner| owner.column(*number))
                            .is_some_and(|own| own.name == column.name)
                }),
            });
            Relation {
                oid: relation.oid,
                label: name.human(),
                kind: kind(relation.kind),
                owner: relation.owner,
                rls: relation.rls,
                force: relation.force,
                parents: relation.parents.clone(),
                estimate: relation.estimate,
                columns: columns.collect(),
                tenant: keys.remove(&relation.oid).unwrap_or(TenantKey::Unknown),
                visible: lines
                    .iter()
                    .find_map(|oid| told.get(oid))
                    .and_then(|table| table.visible.clone()),
                shared: Vec::new(),
                append_only: lines.iter().any(|oid| append_only.contains(oid)),
                name,
            }
        })
        .collect())
}

/// Tables of other schemas that rows of these refer to, and so on: without a row there
/// none can be made here.
fn beyond(snapshot: &Snapshot, schemas: &[String]) -> HashSet<Oid> {
    let inside = |oid: Oid| {
        let relation = snapshot.relation(oid);
        relation.is_some_and(|relation| schemas.contains(&relation.schema))
    };
    let mut found = HashSet::new();
    loop {
        let before = found.len();
        for reference in &snapshot.references {
            let from = inside(reference.child) || found.contains(&reference.child);
            if from && !inside(reference.parent) {
                found.insert(reference.parent);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn kind(kind: char) -> RelationKind {
    match kind {
        'p' => RelationKind::PartitionedTable,
        'f' => RelationKind::ForeignTable,
        'v' => RelationKind::View,
        'm' => RelationKind::MaterializedView,
        _ => RelationKind::Table,
    }
}

/// A relation and everything it is a partition or child of.
fn ancestry(snapshot: &Snapshot, oid: Oid) -> Vec<Oid> {
    let mut line = vec![oid];
    let mut at = 0;
    while let Some(oid) = line.get(at).copied() {
        line.extend(
            snapshot
                .relation(oid)
                .into_iter()
                .flat_map(|relation| relation.parents.iter().copied()),
        );
        at += 1;
    }
    line
}

fn keys(input: &Input<'_>, told: &HashMap<Oid, &Table>) -> anyhow::Result<HashMap<Oid, TenantKey>> {
    let snapshot = input.snapshot;
    let tied = detect::tied(input.policies);
    let mut keys = HashMap::new();
    for relation in &snapshot.relations {
        let name = Qualified::new(&relation.schema, &relation.name);
        let told = ancestry(snapshot, relation.oid)
            .iter()
            .find_map(|oid| told.get(oid).copied());
        let global = excepted(
            input.exceptions,
            &name,
            &[ExceptionKind::GlobalRead, ExceptionKind::GlobalWrite],
        );
        let key = if let Some(column) = told.and_then(|table| table.tenant_column.as_ref()) {
            match relation.column_named(column) {
                Some(column) => Some(of_column(column)),
                None => return names::missing_column(relation, column),
            }
        } else if let Some(expression) = told.and_then(|table| table.tenant.clone()) {
            Some(TenantKey::Expression(expression))
        } else if let Some(owns) = told.and_then(|table| table.owns.clone()) {
            Some(TenantKey::Owns(owns))
        } else if told.is_some_and(|table| table.parent.is_some()) {
            None
        } else if global {
            Some(TenantKey::Global)
        } else {
            let named = || {
                let mut names = input.columns.iter();
                names
                    .find_map(|name| relation.column_named(name))
                    .map(of_column)
                    .or_else(|| by_table(input, relation))
            };
            two_ends(input, relation)
                .or_else(|| input.second?.key(relation))
                .or_else(|| own_rows(input, relation, &named()?))
                .or_else(named)
                .or_else(|| by_path(input, relation))
                .or_else(|| by_json(input, relation))
                .or_else(|| by_policy(input, relation, tied.get(&relation.oid)?.iter()))
        };
        keys.extend(key.map(|key| (relation.oid, key)));
    }
    Ok(keys)
}

fn of_column(column: &raw::Column) -> TenantKey {
    TenantKey::Column {
        column: Ident::new(&column.name),
        type_name: column.type_name.clone(),
        nullable: !column.not_null,
    }
}

/// Two columns that refer to the table of tenants and that a policy compares with the session,
/// while the usual column is missing: a row between two tenants belongs to both.
fn two_ends(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
    let (table, _) = input.table?;
    let usual = input.columns.first()?;
    if !input.isolation.tenant_columns.is_empty() || relation.column_named(usual).is_some() {
        return None;
    }
    let name = Qualified::new(&relation.schema, &relation.name);
    let ends: std::collections::BTreeSet<&str> = input
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
fn own_rows(input: &Input<'_>, relation: &raw::Relation, key: &TenantKey) -> Option<TenantKey> {
    let TenantKey::Column { column: key, .. } = key else {
        return None;
    };
    if !input.isolation.tenant_columns.is_empty() {
        return None;
    }
    let mut users = std::collections::BTreeSet::new();
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
fn by_table(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
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
fn by_path(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
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
fn by_json(input: &Input<'_>, relation: &raw::Relation) -> Option<TenantKey> {
    let mut parts = std::collections::BTreeSet::new();
    for predicate in Policy::on(input.policies, relation.oid) {
        for name in &predicate.session_columns {
            let json = relation
                .column_named(name)
                .is_some_and(|column| column.type_name.starts_with("json"));
            if json && !predicate.user_columns.contains(name) {
                parts.extend(detect::json_part(&predicate.text, name));
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
fn by_policy<'a>(
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

/// Policies of one relation read another.
fn reads(input: &Input<'_>, relation: Oid, other: Oid) -> bool {
    Policy::on(input.policies, relation).any(|predicate| predicate.reads.contains(&other))
}

/// A column that refers to a row which has a tenant of its own, or that a table which the
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
    input.snapshot.references.iter().any(|reference| {
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

/// Tables that a link table shares out: policies read it, it refers to the row and bears the tenant.
fn links(input: &Input<'_>, keys: &mut HashMap<Oid, TenantKey>) {
    let snapshot = input.snapshot;
    for relation in &snapshot.relations {
        if keys.contains_key(&relation.oid) {
            continue;
        }
        let read = |oid: Oid| reads(input, relation.oid, oid);
        let found = snapshot.references.iter().find_map(|reference| {
            let one = reference.parent == relation.oid && reference.columns.len() == 1;
            let link = snapshot
                .relation(reference.child)
                .filter(|link| one && link.oid != relation.oid && read(link.oid))?;
            let Some(TenantKey::Column { column, .. }) = keys.get(&link.oid) else {
                return None;
            };
            let refers = Ident::new(&link.column(*reference.columns.first()?)?.name);
            let target = Ident::new(&relation.column(*reference.targets.first()?)?.name);
            let (own, other) = (
                Qualified::new(&relation.schema, &relation.name),
                Qualified::new(&link.schema, &link.name),
            );
            Some(TenantKey::Owns(format!(
                "exists (select from {other} where {other}.{refers} = {own}.{target} and {other}.{column}::text = :tenant)"
            )))
        });
        keys.extend(found.map(|key| (relation.oid, key)));
    }
}

/// Tables that nothing else tells about, by whatever single column their policies
/// compare with the session; columns of users only where nothing else is compared anywhere.
fn last_resort(input: &Input<'_>, keys: &mut HashMap<Oid, TenantKey>) {
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
            .filter_map(|name| relation.column_named(name));
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
    let asks = |text: &str| {
        ["uid()", "user_id()", "'sub'"]
            .iter()
            .any(|part| text.contains(part))
    };
    !input.columns.is_empty()
        && !input.columns.contains(&column.name)
        && Policy::on(input.policies, relation.oid).any(|predicate| {
            predicate.session_columns.contains(&column.name) && asks(&predicate.text)
        })
}

/// Tables that are owned through a foreign key, as told or as inferred.
fn parents(
    input: &Input<'_>,
    told: &HashMap<Oid, &Table>,
    keys: &mut HashMap<Oid, TenantKey>,
) -> anyhow::Result<()> {
    let snapshot = input.snapshot;
    for (oid, table) in told {
        if let Some(parent) = &table.parent {
            let parent = names::relation(snapshot, input.schemas, parent)?;
            let reference = snapshot
                .references
                .iter()
                .find(|reference| reference.child == *oid && reference.parent == parent.oid);
            match reference.and_then(|reference| key(snapshot, reference)) {
                Some(key) => drop(keys.insert(*oid, key)),
                None => {
                    return crate::verify::config::bad(
                        format!("no foreign key leads to the parent `{}`", parent.name),
                        "add the foreign key, or tell the tenant by `tenant` or `owns`",
                    );
                }
            }
        }
    }
    loop {
        let mut found = Vec::new();
        for relation in snapshot
            .relations
            .iter()
            .filter(|relation| !keys.contains_key(&relation.oid))
        {
            let mut candidates: Vec<&Reference> = snapshot
                .references
                .iter()
                .filter(|reference| {
                    reference.child == relation.oid && reference.parent != relation.oid
                })
                .filter(|reference| {
                    keys.get(&reference.parent)
                        .is_some_and(|key| !matches!(key, TenantKey::Global | TenantKey::Unknown))
                })
                .filter(|reference| {
                    input
                        .table
                        .is_none_or(|(table, _)| *table != reference.parent)
                })
                .collect();
            let nullable = |reference: &&Reference| {
                reference.columns.iter().any(|number| {
                    relation
                        .column(*number)
                        .is_some_and(|column| !column.not_null)
                })
            };
            // Where it refers to several, its policies say which one it belongs to.
            let tied: std::collections::BTreeSet<&str> = Policy::on(input.policies, relation.oid)
                .flat_map(|predicate| predicate.tied_columns.iter().map(String::as_str))
                .collect();
            let untied = |reference: &&Reference| {
                !reference.columns.iter().any(|number| {
                    relation
                        .column(*number)
                        .is_some_and(|column| tied.contains(column.name.as_str()))
                })
            };
            candidates.sort_by_key(|reference| (untied(reference), nullable(reference)));
            found.extend(
                candidates
                    .first()
                    .and_then(|reference| key(snapshot, reference))
                    .map(|key| (relation.oid, key)),
            );
        }
        if found.is_empty() {
            return Ok(());
        }
        keys.extend(found);
    }
}

fn key(snapshot: &Snapshot, reference: &Reference) -> Option<TenantKey> {
    let name = |oid, numbers: &[i16]| -> Option<Vec<Ident>> {
        let relation = snapshot.relation(oid)?;
        numbers
            .iter()
            .map(|number| {
                relation
                    .column(*number)
                    .map(|column| Ident::new(&column.name))
            })
            .collect()
    };
    Some(TenantKey::Parent {
        columns: name(reference.child, &reference.columns)?,
        parent: reference.parent,
        references: name(reference.parent, &reference.targets)?,
    })
}
