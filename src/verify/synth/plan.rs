//! What a row must hold before values are looked for: its tenant, and the keys
//! of the rows it refers to.

use std::collections::BTreeMap;

use super::insert::{Insert, LOOKED_UP, Wanted, build, referred};
use super::{Stage, text_of, values};
use crate::db::ident::{Ident, Literal};
use crate::verify::details::{Details, Reference};
use crate::verify::keys;
use crate::verify::model::{Oid, Relation, Scope};
use crate::verify::world::BIG;

/// Plans rows on a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planner<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) details: &'a Details,
    pub(crate) stage: &'a Stage,
}

impl Planner<'_> {
    /// A row stamped with tenant `stamp` whose references lead to rows of tenant `parents`.
    pub(crate) fn wanted(
        &self,
        relation: &Relation,
        stamp: usize,
        parents: usize,
        salt: u32,
    ) -> Wanted {
        let id = &self.stage.tenants[stamp].id;
        let mut wanted = Wanted {
            named: referred(self.details, relation.oid),
            tenant: id.clone(),
            salt,
            ..Wanted::default()
        };
        self.refer(relation, parents, salt, &mut wanted);
        if let Some((column, type_name)) = keys::key(relation) {
            let exact = self
                .details
                .columns_of(relation.oid)
                .find(|detail| detail.name == column.as_str())
                .map_or(type_name, |detail| detail.type_name.as_str());
            wanted.fixed.insert(
                column.as_str().to_owned(),
                format!("{}::{exact}", Literal::new(id)),
            );
        }
        wanted
    }

    /// The INSERT for it, with only these columns where a role may not name all.
    pub(crate) fn insert(
        &self,
        relation: &Relation,
        mut wanted: Wanted,
        allowed: Option<Vec<String>>,
    ) -> Insert {
        wanted.allowed = allowed;
        build(self.details, relation, &wanted)
    }

    pub(crate) fn nullable(&self, relation: Oid, columns: &[String]) -> bool {
        self.details
            .columns_of(relation)
            .any(|column| columns.contains(&column.name) && !column.not_null)
    }

    /// Gives every reference the key of the tenant's own parent row.
    fn refer(&self, relation: &Relation, tenant: usize, salt: u32, wanted: &mut Wanted) {
        let columns: BTreeMap<&str, _> = self
            .details
            .columns_of(relation.oid)
            .map(|column| (column.name.as_str(), column))
            .collect();
        for reference in self
            .details
            .references
            .iter()
            .filter(|reference| reference.relation == relation.oid)
        {
            let nullable = self.nullable(relation.oid, &reference.columns);
            if reference.parent == relation.oid {
                if !nullable {
                    // A row may refer to itself.
                    for (own, key) in reference.columns.iter().zip(&reference.keys) {
                        let value = columns
                            .get(key.as_str())
                            .and_then(|column| values::first(column, salt));
                        if let Some(value) = value {
                            wanted.fixed.insert(key.clone(), value.clone());
                            wanted.fixed.insert(own.clone(), value);
                        }
                    }
                }
                continue;
            }
            for (own, value) in self.keys(reference, tenant, nullable) {
                wanted.fixed.entry(own).or_insert(value);
            }
        }
    }

    /// The values that make a reference lead to a row of this tenant.
    pub(crate) fn keys(
        &self,
        reference: &Reference,
        tenant: usize,
        nullable: bool,
    ) -> Vec<(String, String)> {
        let parent = self.stage.row(reference.parent, tenant);
        let mut list = Vec::new();
        for (own, key) in reference.columns.iter().zip(&reference.keys) {
            let Some(column) = self
                .details
                .columns_of(reference.relation)
                .find(|column| &column.name == own)
            else {
                continue;
            };
            let value = parent
                .and_then(|made| made.values.get(key))
                .and_then(text_of)
                .map(|text| format!("{}::{}", Literal::new(text), column.type_name))
                .or_else(|| {
                    (!nullable)
                        .then(|| self.existing(reference.parent, key, tenant))
                        .flatten()
                });
            if let Some(value) = value {
                list.push((own.clone(), value));
            }
        }
        list
    }

    /// The key of any row of the tenant, or of any row where nobody owns them.
    fn existing(&self, parent: Oid, key: &str, tenant: usize) -> Option<String> {
        let relation = self.scope.relation(parent)?;
        let filter = keys::own(self.scope, relation, &self.stage.tenants[tenant].id, None)
            .map_or_else(String::new, |own| format!(" where {own}"));
        // The first by place, so that it is the same each time; of a large table any.
        let order = if relation.estimate < BIG {
            format!(" order by {}.ctid", relation.name)
        } else {
            String::new()
        };
        Some(format!(
            "(select {0}.{1} from {0}{filter}{order}{LOOKED_UP}",
            relation.name,
            Ident::new(key)
        ))
    }
}
