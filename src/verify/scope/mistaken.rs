//! What a configuration says of tenants and the schema cannot mean.

use super::raw::Snapshot;
use crate::verify::config::{Isolation, bad, nearest};
use crate::verify::keys;
use crate::verify::model::{Relation, Tenants};

/// Refuses tenant columns that no table has, where one of nearly that name is there.
pub(super) fn columns(
    snapshot: &Snapshot,
    schemas: &[String],
    isolation: &Isolation,
) -> anyhow::Result<()> {
    let there = || {
        let inside = snapshot.relations.iter();
        inside
            .filter(|relation| schemas.contains(&relation.schema))
            .flat_map(|relation| &relation.columns)
            .map(|column| column.name.as_str())
    };
    for name in &isolation.tenant_columns {
        if there().any(|column| column == name) {
            continue;
        }
        if let Some(near) = nearest(name, there()) {
            return bad(
                format!("no table of the schemas looked at has the tenant column `{name}`"),
                format!("did you mean `{near}`?"),
            );
        }
    }
    Ok(())
}

/// Refuses ids that no tenant column can hold.
pub(super) fn ids(relations: &[Relation], tenants: &Tenants) -> anyhow::Result<()> {
    let fits = |relation: &Relation, id: &String| {
        keys::key(relation).is_some_and(|(_, type_name)| {
            keys::fits(type_name, id) || !CHECKED.contains(&type_name)
        })
    };
    let mut keyed = relations
        .iter()
        .filter(|relation| keys::key(relation).is_some());
    let wrong = tenants
        .sample
        .iter()
        .find(|id| !keyed.clone().any(|relation| fits(relation, id)));
    match (wrong, keyed.next()) {
        (Some(id), Some(relation)) => {
            let (column, type_name) = keys::key(relation)
                .map(|(column, type_name)| (column.as_str(), type_name))
                .unwrap_or_default();
            bad(
                format!(
                    "`tenants` gives `{id}`, and `{}.{column}` is of type {type_name}",
                    relation.label
                ),
                "select what the tenant columns hold, such as `select id::text from tenants`",
            )
        }
        _ => Ok(()),
    }
}

/// Types whose values can be told from other texts.
const CHECKED: [&str; 4] = ["uuid", "integer", "bigint", "smallint"];
