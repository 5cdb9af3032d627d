//! A second coordinate: a session is in a place within the tenant, and policies
//! compare a column of its own with a setting of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::raw::{Relation, Snapshot};
use crate::db::ident::{Ident, Qualified};
use crate::verify::model::{Oid, Policy, TenantKey};

/// The setting and the column that tell the place.
#[derive(Debug, Clone)]
pub(crate) struct Second {
    /// The setting that a context fills with `:user`.
    pub(crate) setting: String,
    /// The column that is compared with it.
    pub(crate) column: String,
    /// Finds a place in the tenant `:tenant`.
    pub(crate) query: String,
    /// Relations whose policies ask for both.
    relations: BTreeSet<Oid>,
    /// The tenant's own column.
    first: String,
}

impl Second {
    /// Looks for one beside the first of the tenant columns; none where there are several.
    pub(crate) fn find(
        snapshot: &Snapshot,
        policies: &[Policy],
        columns: &[String],
    ) -> Option<Self> {
        let first = columns.first()?;
        let mut pairs: BTreeMap<Oid, BTreeSet<(&str, &str)>> = BTreeMap::new();
        for policy in policies {
            for predicate in policy.predicates() {
                let own = predicate
                    .pairs
                    .iter()
                    .map(|(a, b)| (a.as_str(), b.as_str()));
                pairs.entry(policy.relation).or_default().extend(own);
            }
        }
        // One policy that asks for the tenant and another for the user do not ask for both.
        let both = |oid: Oid, pair: (&str, &str)| {
            let mut on = policies.iter().filter(|policy| policy.relation == oid);
            on.any(|policy| {
                policy.predicates().any(|predicate| {
                    let has = |found: &dyn Fn(&str, &str) -> bool| {
                        predicate.pairs.iter().any(|(a, b)| found(a, b))
                    };
                    has(&|a, b| (a, b) == pair) && (!policy.permissive || has(&|a, _| a == first))
                })
            })
        };
        let settings: BTreeSet<&str> = pairs
            .values()
            .flatten()
            .filter(|(column, _)| column == first)
            .map(|(_, setting)| *setting)
            .collect();
        let mut found: BTreeMap<(&str, &str), BTreeSet<Oid>> = BTreeMap::new();
        for (oid, own) in &pairs {
            if !own.iter().any(|(column, _)| column == first) {
                continue;
            }
            for (column, setting) in own {
                if column != first && !settings.contains(setting) && both(*oid, (column, setting)) {
                    found.entry((column, setting)).or_default().insert(*oid);
                }
            }
        }
        let mut found = found.into_iter();
        let ((column, setting), relations) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        let query = relations
            .iter()
            .filter_map(|oid| snapshot.relation(*oid))
            .find_map(|relation| place(snapshot, relation, first, column))
            .or_else(|| {
                let relation = snapshot.relation(*relations.first()?)?;
                Some(among(relation, first, column))
            })?;
        Some(Self {
            setting: setting.to_owned(),
            column: column.to_owned(),
            query,
            relations,
            first: first.clone(),
        })
    }

    /// What makes a row of this relation the session's.
    pub(crate) fn key(&self, relation: &Relation) -> Option<TenantKey> {
        if !self.relations.contains(&relation.oid) {
            return None;
        }
        let name = Qualified::new(&relation.schema, &relation.name);
        Some(TenantKey::Owns(format!(
            "{name}.{}::text = :tenant and {name}.{}::text = :user",
            Ident::new(&self.first),
            Ident::new(&self.column)
        )))
    }
}

/// The places of a tenant, in the table that a relation's column refers to.
fn place(snapshot: &Snapshot, relation: &Relation, first: &str, column: &str) -> Option<String> {
    let number = relation.column_named(column)?.number;
    snapshot.references.iter().find_map(|reference| {
        let at = reference
            .columns
            .iter()
            .position(|own| *own == number)
            .filter(|_| reference.child == relation.oid && reference.parent != relation.oid)?;
        let parent = snapshot.relation(reference.parent)?;
        parent.column_named(first)?;
        let target = &parent.column(*reference.targets.get(at)?)?.name;
        Some(among(parent, first, target))
    })
}

fn among(relation: &Relation, first: &str, column: &str) -> String {
    format!(
        "select {}::text from {} where {}::text = :tenant order by 1 limit 1",
        Ident::new(column),
        Qualified::new(&relation.schema, &relation.name),
        Ident::new(first)
    )
}
